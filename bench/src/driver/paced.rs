//! How long a publication is on its way to those who read, one publication at a time.
//!
//! A publication leaves when its moment has come and everybody has the last, so that what is timed is one publication and
//! never a queue of them.
//!
//! Invariant: the publisher is one of the subscribers, and all of them hear everything.

use std::thread;
use std::time::{Duration, Instant};

use super::{Failure, Fleet};

/// Publishes `count` messages of `size` bytes, `interval` apart or as fast as they arrive, and says how long each delivery took.
///
/// # Errors
/// When anything is lost, too much, or wrong.
pub fn paced(
    fleet: &mut Fleet,
    size: usize,
    count: usize,
    interval: Duration,
) -> Result<Vec<Duration>, Failure> {
    let subscribers = fleet.len();
    let mut times = Vec::with_capacity(count * subscribers);
    fleet.begin(size, 1);
    for _ in 0..count {
        let sent = Instant::now();
        fleet.expect(1, subscribers as u64);
        fleet.send(0, 1)?;
        while !fleet.is_complete() {
            fleet.pump(|_, _, messages| {
                times.extend((0..messages).map(|_| sent.elapsed()));
                Ok(())
            })?;
        }
        thread::sleep(interval.saturating_sub(sent.elapsed()));
    }
    fleet.finish(|_| count as u64)?;
    Ok(times)
}
