//! What one peer that floods costs the others: echoes timed without it, then beside it.
//!
//! The flood are empty pongs: nothing is owed for them, so nothing slows the flooding down, and no frame costs a server
//! more for its bytes. It is written and the others' echoes are timed by the same thread in turn, so that flood and
//! probe do not compete for a core.
//!
//! Invariant: the flooding peer always has more to send than its socket takes.

use std::io::{self, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use super::{Failure, Probe, fleet, frames, upgrade};

/// Pongs in one write: 60 KiB, little enough for the probe not to wait for us.
const PONGS: usize = 10 * 1024;

/// A peer that sends without end.
pub struct Flooder {
    stream: TcpStream,
    bytes: Vec<u8>,
    gone: usize,
}

impl Flooder {
    /// Connects and upgrades.
    ///
    /// # Errors
    /// When the system refuses a socket or the server an upgrade.
    pub fn connect(server: SocketAddrV4) -> Result<Self, Failure> {
        const SOURCE: usize = 198; // of its own, away from the fleet's and the probe's
        let mut stream = fleet::open(server, SOURCE, &frames::request("/echo"))?;
        upgrade::await_upgrade(&mut stream)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, bytes: frames::PONG.repeat(PONGS), gone: 0 })
    }

    /// Sends what the socket takes of one write.
    fn pour(&mut self) -> Result<(), Failure> {
        match self.stream.write(&self.bytes[self.gone..]) {
            Ok(count) => self.gone = (self.gone + count) % self.bytes.len(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Times the probe's echoes for `duration` while nobody else speaks, and for as long beside `flooder`.
///
/// # Errors
/// When the server ends one of the two.
pub fn flood(
    probe: &mut Probe,
    flooder: &mut Flooder,
    duration: Duration,
) -> Result<[Vec<Duration>; 2], Failure> {
    let calm = probe.watch(duration, || Ok(()))?;
    Ok([calm, probe.watch(duration, || flooder.pour())?])
}
