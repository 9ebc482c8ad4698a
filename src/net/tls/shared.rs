//! What all who speak TLS share: one buffer, what may be done for them in a turn, and what has been counted.
//!
//! Encrypting and decrypting cost by the byte and a handshake costs a signature, and one thread does it for all. So a turn has a
//! budget for each, and whoever it does not reach any more is among the first of the next.
//!
//! Invariant: whose send was cut short although its socket takes more has a writable edge in the next turn, as [`Net`](super::super::Net)
//! promises.

use std::io;

use super::TlsSocket;
use super::counts::TlsCounts;
use crate::base::id::ConnId;
use crate::net::Ready;

/// Room for what one system call reads; one for the whole loop.
pub(super) const SCRATCH_BYTES: usize = 128 * 1024;

/// Steps of TLS handshakes made between two waits. One costs a signature, with RSA up to a millisecond: a thousand who
/// come at once would keep everybody else waiting for as long as all of them take.
const HANDSHAKES_MAX: u32 = 16;

/// What may be done in one turn for all who speak TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Steps of handshakes.
    pub(super) handshakes: u32,
    /// Encrypted bytes taken, whatever they come to: a record of one byte costs nearly what one of a thousand does.
    pub(super) bytes: usize,
    /// Bytes encrypted, for all peers together.
    pub(super) sent: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::TURN
    }
}

impl Budget {
    /// Of a turn that begins. Records of one byte are 23 bytes; 25 MiB of them in one turn were seen to take 166 ms.
    pub(super) const TURN: Self =
        Self { handshakes: HANDSHAKES_MAX, bytes: 2 * 1024 * 1024, sent: 4 * 1024 * 1024 };
}

/// What all who speak TLS share.
#[derive(Default)]
pub(in crate::net) struct Shared {
    /// Where records are read to; empty without TLS.
    scratch: Vec<u8>,
    /// What may still be done in this turn.
    budget: Budget,
    /// Who takes more than could be encrypted in this turn: they have a writable edge in the next.
    unsent: Vec<ConnId>,
    counts: TlsCounts,
}

impl Shared {
    /// From now on there are some.
    pub(in crate::net) fn open(&mut self) {
        self.scratch = vec![0; SCRATCH_BYTES];
    }

    /// A turn begins. Tells who has an edge that the system does not know of; returns whether there are such.
    pub(in crate::net) fn begin_turn(&mut self, ready: &mut Vec<Ready>) -> bool {
        self.budget = Budget::TURN;
        let edge = |id| Ready::Connection { id, readable: false, writable: true, closed: false };
        let is_early = !self.unsent.is_empty();
        // Before all others, so that those for whom the last turn had nothing left are the first of this one.
        ready.extend(self.unsent.drain(..).map(edge));
        is_early
    }

    pub(in crate::net) const fn counts(&self) -> &TlsCounts {
        &self.counts
    }

    pub(in crate::net) fn recv(&mut self, socket: &mut TlsSocket, into: &mut [u8]) -> io::Result<usize> {
        let received = socket.recv(&mut self.scratch, &mut self.budget, into);
        if let Some(outcome) = socket.outcome() {
            self.counts.count(outcome);
        }
        received
    }

    pub(in crate::net) fn send(
        &mut self,
        socket: &mut TlsSocket,
        slices: &[io::IoSlice<'_>],
    ) -> io::Result<usize> {
        let sent = socket.send(slices, &mut self.budget);
        if socket.is_send_cut() {
            self.unsent.push(socket.id());
            self.counts.sends_cut += 1;
        }
        sent
    }

    pub(in crate::net) fn close(&mut self, socket: &mut TlsSocket) {
        // A stream that ends without `close_notify` looks cut off to the peer; one that is broken cannot be told.
        let _ = socket.finish();
        if let Some(outcome) = socket.last_outcome() {
            self.counts.count(outcome);
        }
    }
}
