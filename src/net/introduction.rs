//! How a proxy says for whom it speaks, before anything else, also before TLS.
//!
//! Invariant: exactly the bytes of the header are taken from the stream.

use std::io::{self, Read as _};

use super::Peer;
use super::os::{OsNet, OsSocket};
use super::proxy::{Claim, ProxyHeader};

/// How far a proxy has come in saying for whom it speaks.
pub(super) enum Introduction {
    Arriving(Box<ProxyHeader>),
    Made(Peer),
}

impl OsNet {
    /// Reads what a proxy says first. Returns false if it ended the stream instead of saying it all.
    pub(super) fn is_introduced(&mut self, socket: &mut OsSocket) -> io::Result<bool> {
        let Some(introduction) = self.introductions.get_mut(&socket.descriptor()) else { return Ok(true) };
        let Introduction::Arriving(header) = introduction else { return Ok(true) };
        loop {
            // From the stream itself, also where TLS is to follow.
            let n = match socket {
                OsSocket::Tcp(stream) => stream.read(header.room())?,
                OsSocket::Unix(stream) => stream.read(header.room())?,
                OsSocket::Tls(tls) => tls.stream().read(header.room())?,
            };
            if n == 0 {
                return Ok(false);
            }
            let claim = header.fill(n).map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))?;
            let peer = match claim {
                None => continue,
                Some(Claim::Client(address)) => Peer::Ip(address),
                Some(Claim::LocalClient) => Peer::Local,
                Some(Claim::Itself) => socket.peer(),
            };
            *introduction = Introduction::Made(peer);
            return Ok(true);
        }
    }
}
