//! What a crowd does together: a publisher for one that does not listen, and answers to everybody's pings.
//!
//! Invariant: a client that was pinged answers as soon as its thread comes to it, as a good client does.

use std::io::Write;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::{Failure, Fleet, fleet, frames, upgrade};

/// Publishes `count` messages of `size` bytes to all who are on `/broadcast`.
///
/// # Errors
/// When the server does not take them.
pub fn publish(server: SocketAddrV4, size: usize, count: usize) -> Result<(), Failure> {
    const SOURCE: usize = 197; // of its own
    let mut stream = fleet::open(server, SOURCE, &frames::request("/broadcast?self=0"))?;
    upgrade::await_upgrade(&mut stream)?;
    let message = frames::from_client(size);
    for _ in 0..count {
        stream.write_all(&message)?;
    }
    // Its end comes behind what it said.
    stream.write_all(&frames::CLOSE)?;
    Ok(())
}

/// Answers pings for `duration`, and says how many there were.
///
/// # Errors
/// When anything but a ping comes, or none for a long time.
pub fn answer_pings(fleet: &mut Fleet, duration: Duration) -> Result<u64, Failure> {
    const AT_ONCE: usize = 16;
    // More than can come: a sample that ends by the clock.
    const ENDLESS: u64 = u32::MAX as u64;
    fleet.begin_with(&frames::PONG, &frames::PING, AT_ONCE);
    fleet.expect(ENDLESS, 1);
    let (began, mut answered) = (Instant::now(), 0);
    while began.elapsed() < duration {
        fleet.pump(|fleet, client, pings| {
            answered += pings as u64;
            fleet.send(client, pings)
        })?;
    }
    Ok(answered)
}
