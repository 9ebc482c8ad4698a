//! One subscriber of the self-test's server: its socket, and what the server does when it does not read.
//!
//! Why apart: what is sent is the saboteur's affair ([`fault`](super::fault)); how a socket that is full is met is a fault of its own
//! kind, and only real sockets that are really full can show it.
//!
//! Invariants: frames are never torn: what was begun is ended before anything else is sent; who is shut out stays so.

use super::fault::Line;
use rustix::net::SendFlags;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use stentor::ws::{Opcode, encode};

/// Longest wait for a client that does not read: then it is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection, as the hub has it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    pub(super) joined: bool,
    pub(super) opcode: Opcode,
    pub(super) line: Line,
    /// The rest of a frame for which the socket had no room.
    rest: Vec<u8>,
}

impl Peer {
    /// A connection whose handshake is still to come.
    pub(super) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_write_timeout(Some(WRITE_TIMEOUT));
        Self { stream, joined: false, opcode: Opcode::Binary, line: Line::default(), rest: Vec::new() }
    }

    /// Sends one frame and waits for room; a peer that cannot be written to is gone, and its reader will say so.
    pub(super) fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        if self.stream.write_all(&frame(opcode, payload)).is_err() {
            self.shut_out();
        }
    }

    /// Sends one frame without waiting: what the socket does not take is kept.
    pub(super) fn offer(&mut self, opcode: Opcode, payload: &[u8]) {
        self.rest.extend_from_slice(&frame(opcode, payload));
        self.has_room();
    }

    /// Whether the socket has taken everything that it was offered.
    pub(super) fn has_room(&mut self) -> bool {
        while !self.rest.is_empty() {
            match rustix::net::send(&self.stream, &self.rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.rest.drain(..sent)),
                Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.shut_out();
                    return false;
                }
            }
        }
        true
    }

    /// Ends the connection without a close frame; nothing more is told to it.
    pub(super) fn shut_out(&mut self) {
        self.joined = false;
        self.rest.clear();
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    encode(&mut frame, opcode, payload);
    frame
}
