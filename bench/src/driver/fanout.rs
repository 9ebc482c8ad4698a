//! What a delivery costs with one publisher and many subscribers.
//!
//! Invariants: the publisher is one of the subscribers; the next burst leaves when everybody has the last.

use std::time::{Duration, Instant};

use super::{Failure, Fleet, Sample};

/// Publishes bursts of `burst` messages of `size` bytes, each burst one write, until `duration` is over.
///
/// # Errors
/// When anything is lost, too much, or wrong.
pub fn fanout(fleet: &mut Fleet, size: usize, burst: usize, duration: Duration) -> Result<Sample, Failure> {
    publish(fleet, size, burst, duration, || Ok(()))
}

/// The same with something done in between, after every batch of events.
pub(super) fn publish(
    fleet: &mut Fleet,
    size: usize,
    burst: usize,
    duration: Duration,
    between: impl FnMut() -> Result<(), Failure>,
) -> Result<Sample, Failure> {
    fleet.begin(size, burst);
    repeat(fleet, burst, duration, between)
}

/// One message of these bytes at a time, as it is sent and as it is due.
pub(super) fn publish_frame(
    fleet: &mut Fleet,
    ours: &[u8],
    theirs: &[u8],
    duration: Duration,
) -> Result<Sample, Failure> {
    fleet.begin_with(ours, theirs, 1);
    repeat(fleet, 1, duration, || Ok(()))
}

fn repeat(
    fleet: &mut Fleet,
    burst: usize,
    duration: Duration,
    mut between: impl FnMut() -> Result<(), Failure>,
) -> Result<Sample, Failure> {
    const BURSTS_MIN: u64 = 1;
    let subscribers = fleet.len() as u64;
    let began = Instant::now();
    let mut bursts = 0;
    while bursts < BURSTS_MIN || began.elapsed() < duration {
        fleet.expect(burst as u64, subscribers);
        fleet.send(0, burst)?;
        while !fleet.is_complete() {
            fleet.pump(|_, _, _| Ok(()))?;
            between()?;
        }
        bursts += 1;
    }
    let messages = bursts * burst as u64;
    fleet.finish(|_| messages)?;
    Ok(Sample { operations: messages * subscribers, wall: began.elapsed() })
}
