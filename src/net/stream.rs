//! A connected socket of any kind, as one type of sixteen bytes.
//!
//! Invariant: a connection is no larger for the kinds there are; what is large is boxed.

use std::os::fd::{AsRawFd as _, RawFd};

use mio::net::{TcpStream, UnixStream};

use super::Peer;
use super::tls::TlsSocket;

/// A connected socket of any kind.
#[derive(Debug)]
pub enum OsSocket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsSocket>),
}

impl OsSocket {
    pub(super) fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(tls) => tls.stream().as_raw_fd(),
        }
    }

    /// The TCP stream below, if there is one.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
            Self::Tls(tls) => Some(tls.stream()),
        }
    }

    /// Who is at the other end of the stream itself.
    pub(super) fn peer(&self) -> Peer {
        match self.tcp() {
            Some(stream) => stream.peer_addr().map_or(Peer::Unknown, Peer::Ip),
            None => Peer::Local,
        }
    }
}
