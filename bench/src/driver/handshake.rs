//! What a newcomer costs: connect, upgrade, close, again and again.
//!
//! Invariants: closing is part of it, and it is the client who closes, without a close frame, so that no
//! server's politeness is measured; source addresses rotate, since a closed port rests for a minute.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::{Failure, Sample, fleet, frames, upgrade};

/// Connections that are under way at once.
pub const HANDSHAKES_AT_ONCE: usize = 64;
const SOURCES: usize = 64;

/// Upgrades and closes connections until `duration` is over.
///
/// # Errors
/// When the system refuses a socket or the server an upgrade.
pub fn handshake(server: SocketAddrV4, path: &str, duration: Duration) -> Result<Sample, Failure> {
    let request = frames::request(path);
    let began = Instant::now();
    let mut operations = 0;
    let mut lot = Vec::with_capacity(HANDSHAKES_AT_ONCE);
    while began.elapsed() < duration {
        for source in 0..HANDSHAKES_AT_ONCE {
            lot.push(fleet::open(server, source % SOURCES, &request)?);
        }
        for mut stream in lot.drain(..) {
            upgrade::await_upgrade(&mut stream)?;
            operations += 1;
        }
    }
    Ok(Sample { operations, wall: began.elapsed() })
}
