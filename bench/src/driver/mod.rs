//! The client side of every experiment: lean, closed, and the same for all servers.
//!
//! It is a *closed* model on purpose: the next message goes out when the last has come back everywhere. That
//! finds what an operation costs the server, not how long a user waits; for waiting times there is loadgen.
//! One thread, one epoll; received bytes are compared with the expected stream and never parsed.
//!
//! Invariants: a sample exists only if every connection received exactly what it was due; nothing is
//! allocated between the first and the last operation of a sample.

use std::fmt;
use std::io;
use std::time::Duration;

mod amid;
mod crowd;
mod deflate;
mod echo;
mod fanout;
mod fleet;
mod flood;
pub mod frames;
mod handshake;
mod paced;
mod socketio;
mod upgrade;

pub use amid::{Probe, amid};
pub use crowd::{answer_pings, publish};
pub use deflate::Squeeze;
pub use echo::echo;
pub use fanout::fanout;
pub use fleet::{Fleet, Trust, raise_descriptor_limit};
pub use flood::{Flooder, flood};
pub use handshake::{HANDSHAKES_AT_ONCE, handshake};
pub use paced::paced;
pub use socketio::Relay;

/// How long nothing at all may come before we call the rest lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What one measurement did; the server's processor time is read by whoever asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Deliveries, echoes or handshakes, all complete.
    pub operations: u64,
    /// From the first byte sent to the last received.
    pub wall: Duration,
}

/// Why there is no sample.
#[derive(Debug)]
pub enum Failure {
    /// The system refused something.
    System(io::Error),
    /// A connection was not answered with 101.
    Refused(String),
    /// Nothing came any more, but more was due.
    Lost {
        /// Bytes still missing over all connections.
        bytes: u64,
    },
    /// A connection received bytes that were not due or not right.
    Wrong {
        /// Which connection, in the order of connecting.
        client: usize,
        /// Where in its stream, counted from the start of the sample.
        at_bytes: u64,
    },
    /// The server ended a connection.
    Closed {
        /// Which connection, in the order of connecting.
        client: usize,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "the system refused: {error}"),
            Self::Refused(answer) => write!(f, "not upgraded: {answer}"),
            Self::Lost { bytes } => write!(f, "{bytes} bytes never came"),
            Self::Wrong { client, at_bytes } => {
                write!(f, "client {client} received a byte that is not right, after {at_bytes} that were")
            }
            Self::Closed { client } => write!(f, "client {client} was closed by the server"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::System(error.into())
    }
}
