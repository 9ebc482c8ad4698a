//! The seam to the system: readiness, bytes, time and entropy behind one trait.
//!
//! Everything nondeterministic enters the server through [`Net`]. The server is generic over it, so the same
//! code runs over epoll ([`os::OsNet`]) and in a simulated world where a seed decides what goes wrong.
//!
//! Invariants that every implementation keeps, and that the server relies on:
//! - Readiness is an *edge*: it is reported when it begins and not again until it has ended. A socket is
//!   registered once, for reading and writing, when it is accepted.
//! - A `recv` shorter than the room it was given has drained the socket; a `send` shorter than what it was
//!   given has filled it, and a writable edge will follow.
//! - Events may be spurious, and may name connections that are gone.

pub mod file;
pub mod identity;
mod introduction;
pub mod limits;
mod netstat;
pub mod os;
pub mod proxy;
pub mod signals;
pub mod socket;
mod stream;
mod switchboard;
pub mod tickets;
pub mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::id::ConnId;
use crate::base::tick::Nanos;

/// What the server needs of the system, and all that it gets.
pub trait Net {
    /// A connected stream socket.
    type Socket;

    /// Sleeps until something is ready or `timeout` has passed (`None`: until something is ready) and appends
    /// what became ready to `ready`.
    ///
    /// # Errors
    /// Only those that end the server; an interrupted wait returns as if nothing was ready.
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()>;

    /// Monotonic time in nanoseconds.
    fn now(&self) -> Nanos;

    /// Sixty-four random bits.
    fn entropy(&mut self) -> u64;

    /// How many listeners there are; they are named 0, 1, ….
    fn listeners(&self) -> usize;

    /// Accepts one connection of `listener` and registers it under `id`.
    ///
    /// # Errors
    /// `WouldBlock` when nobody waits; `EMFILE`, `ENFILE`, `ENOBUFS` and `ENOMEM` when nobody can be let in
    /// now; others (`ECONNABORTED` …) concern only the peer that was to be accepted.
    fn accept(&mut self, listener: usize, id: ConnId) -> io::Result<Self::Socket>;

    /// Opens a stream to the worker `sibling` of this machine and registers it under `id`.
    ///
    /// # Errors
    /// It does not listen now (it is starting, or gone), or cannot take more.
    fn dial(&mut self, sibling: u32, id: ConnId) -> io::Result<Self::Socket> {
        let _ = (sibling, id);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Accepts a stream that another worker has opened and registers it under `id`.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    fn pick_up(&mut self, id: ConnId) -> io::Result<Self::Socket> {
        let _ = id;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Whom `socket` is connected to, as far as is known now.
    fn peer(&self, socket: &Self::Socket) -> Peer;

    /// Reads into `into`; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; any other ends the connection. One that holds a [`proxy::Wrong`] says what the
    /// peer did wrong before its first byte.
    fn recv(&mut self, socket: &mut Self::Socket, into: &mut [u8]) -> io::Result<usize>;

    /// Writes from `bytes`, as much as the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; any other ends the connection.
    fn send(&mut self, socket: &mut Self::Socket, bytes: &[u8]) -> io::Result<usize>;

    /// Writes from all `slices` in one call, in order.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn send_vectored(&mut self, socket: &mut Self::Socket, slices: &[io::IoSlice<'_>]) -> io::Result<usize>;

    /// Whether the last `recv`, although it gave nothing, took bytes that the peer sent: of something that is not whole. They are a
    /// sign of life like any other.
    fn has_heard(&self, _: &Self::Socket) -> bool {
        false
    }

    /// Whether there is more to read, or an end, although the last `recv` came short and no event will say so. A
    /// kernel's socket never has; one that carries its own protocol may.
    fn has_more(&self, _: &Self::Socket) -> bool {
        false
    }

    /// Lets the system keep more for this peer than [`socket::Queues::unsent`], as much as its send buffer has room for.
    fn widen(&mut self, _: &mut Self::Socket) {}

    /// At a writable edge with nothing to send: writes what the socket itself still holds.
    ///
    /// # Errors
    /// Any ends the connection.
    fn flush(&mut self, _: &mut Self::Socket) -> io::Result<()> {
        Ok(())
    }

    /// Says that nothing more will be written (FIN); reading goes on.
    fn finish(&mut self, socket: &mut Self::Socket);

    /// Closes the socket; what was written and not yet sent still goes out.
    fn close(&mut self, socket: Self::Socket);

    /// Reads again what was read from files at the start; those who are connected notice nothing. Says what was read,
    /// if there was anything.
    ///
    /// # Errors
    /// One line that says what is wrong with them; what was in use stays in use.
    fn reload(&mut self) -> Result<Option<String>, String> {
        Ok(None)
    }

    /// Closes the listeners whose addresses other workers listen on, too, or opens them again: who knocks meanwhile reaches one
    /// of these. Says how many that are.
    ///
    /// # Errors
    /// They cannot be opened now; another attempt may succeed.
    fn rest(&mut self, is_resting: bool) -> io::Result<usize> {
        let _ = is_resting;
        Ok(0)
    }

    /// Connections that found a listener's queue full, and those dropped before they were accepted, since the system started,
    /// all listeners of this machine; `None` where the system does not say.
    fn listen_overflows(&self) -> Option<(u64, u64)> {
        None
    }

    /// What became of those who speak TLS; `None` where nobody can.
    fn tls_counts(&self) -> Option<&tls::TlsCounts> {
        None
    }

    /// Closes all listeners: whoever knocks now is refused by the system.
    fn stop_listening(&mut self);
}

/// Something became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Somebody knocks.
    Listener(usize),
    /// Another worker does.
    Sibling,
    /// A connection can be read or written.
    Connection {
        /// Who; the connection may be gone by now.
        id: ConnId,
        /// There are bytes, an end or an error to read.
        readable: bool,
        /// There is room to write.
        writable: bool,
        /// The peer has closed its side: read on to the end, even after a short read.
        closed: bool,
    },
    /// The process was told something.
    Signal(Signal),
}

/// Whom a socket is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A client with this address; behind a proxy, the address that the proxy told.
    Ip(SocketAddr),
    /// A client on this machine, or on the proxy's, through a Unix socket.
    Local,
    /// A proxy that has not yet said for whom it speaks; it will be known when bytes have been received.
    Awaited,
    /// The system does not say: the peer is gone already.
    Unknown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Local => f.write_str("unix"),
            Self::Awaited => f.write_str("proxy"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// What a signal asks of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end well.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Whether an accept failed because the system has nothing left to give, and not because of the peer.
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC)
    )
}
