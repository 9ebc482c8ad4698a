//! How long one waits for an answer while everybody else is being told something.
//!
//! A publication to eighteen thousand peers keeps a server busy for a twelfth of a second. A server that does
//! nothing else meanwhile keeps newcomers, pongs and heartbeats waiting as long; one that writes in slices does
//! not. From outside, that shows as the time of an echo amid publications.
//!
//! Invariants: publications never pause while a probe is under way; the driver looks for the probe's answer after
//! every small batch of events, so that its own work adds a fraction of a millisecond and no more.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use super::{Failure, Fleet, fanout, fleet, frames, upgrade};

/// Pause between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(1);
const PROBE_BYTES: usize = 8;
/// As in the plain fan-out.
const PUBLICATION_BYTES: usize = 64;

/// A connection to `/echo` with at most one message under way.
#[derive(Debug)]
pub struct Probe {
    stream: TcpStream,
    question: Vec<u8>,
    answer: Vec<u8>,
    /// Bytes of the answer that have come.
    come: usize,
    asked: Option<Instant>,
    rests_until: Instant,
    waits: Vec<Duration>,
}

impl Probe {
    /// Connects and upgrades.
    ///
    /// # Errors
    /// When the system refuses a socket or the server an upgrade.
    pub fn connect(server: SocketAddrV4) -> Result<Self, Failure> {
        const SOURCE: usize = 199; // of its own, away from the fleet's
        let mut stream = fleet::open(server, SOURCE, &frames::request("/echo"))?;
        upgrade::await_upgrade(&mut stream)?;
        stream.set_nonblocking(true)?;
        let answer = frames::from_server(PROBE_BYTES);
        let question = frames::from_client(PROBE_BYTES);
        let rests_until = Instant::now();
        Ok(Self { stream, question, answer, come: 0, asked: None, rests_until, waits: Vec::new() })
    }

    /// Asks for `duration`, with `meanwhile` done between two looks; returns how long each answer took.
    pub(super) fn watch(
        &mut self,
        duration: Duration,
        mut meanwhile: impl FnMut() -> Result<(), Failure>,
    ) -> Result<Vec<Duration>, Failure> {
        self.waits.clear();
        let began = Instant::now();
        while began.elapsed() < duration {
            meanwhile()?;
            self.poll()?;
        }
        Ok(std::mem::take(&mut self.waits))
    }

    /// Takes the answer if it is there, asks again if it is time.
    fn poll(&mut self) -> Result<(), Failure> {
        match self.asked {
            Some(asked) => match self.stream.read(&mut self.answer[self.come..]) {
                Ok(0) => return Err(Failure::Closed { client: 0 }),
                Ok(count) => {
                    self.come += count;
                    if self.come == self.answer.len() {
                        self.waits.push(asked.elapsed());
                        (self.asked, self.come) = (None, 0);
                        self.rests_until = Instant::now() + PAUSE;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            },
            None if Instant::now() >= self.rests_until => {
                self.asked = Some(Instant::now());
                self.stream.write_all(&self.question)?;
            }
            None => {}
        }
        Ok(())
    }
}

/// Publishes as [`fanout`] with bursts of one, and meanwhile asks the probe; returns how long it
/// waited each time.
///
/// # Errors
/// As [`fanout`].
pub fn amid(fleet: &mut Fleet, probe: &mut Probe, duration: Duration) -> Result<Vec<Duration>, Failure> {
    probe.waits.clear();
    fanout::publish(fleet, PUBLICATION_BYTES, 1, duration, || probe.poll())?;
    Ok(std::mem::take(&mut probe.waits))
}
