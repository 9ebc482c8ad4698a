//! One simulated TCP connection: bytes on the way in both directions, and what either end knows of them.
//!
//! ```text
//!   peer ── wire, in pieces ──▶ backlog ──▶ arrived ──▶ recv      up
//!   peer ◀── unread ◀── wire, in pieces ◀── send                  down: `used` of `room_max` bytes
//! ```
//!
//! Invariants: bytes come out in the order they went in, each once; readiness is pending from the moment it begins
//! until the server has been told, and not told again before it has ended.

use std::collections::VecDeque;

use rustix::io::Errno;

use crate::base::id::ConnId;
use crate::base::tick::Nanos;

/// A connection, named by the number of its peer.
#[derive(Debug, Default)]
pub struct Link {
    /// What the server calls it, while it holds its socket.
    pub id: Option<ConnId>,
    /// When it was accepted.
    pub accepted: Nanos,
    /// Bytes that the server can read.
    pub arrived: VecDeque<u8>,
    /// Bytes for which the server's socket has had no room.
    pub backlog: VecDeque<u8>,
    /// The peer's end has arrived behind the backlog.
    pub end_behind: bool,
    /// The peer has ended its side, and the server can know.
    pub ended: bool,
    /// The connection is broken.
    pub reset: bool,
    /// Why, until a call has been told.
    pub error: Option<Errno>,
    /// The peer's host is gone.
    pub vanished: bool,
    /// The server has ended its side.
    pub finished: bool,
    /// The server has closed the socket.
    pub closed: bool,
    /// Bytes written and not read by the peer.
    pub used: usize,
    /// The most of these.
    pub room_max: usize,
    /// The socket takes nothing before this moment, whatever room there is.
    pub stingy_until: Nanos,
    /// The last send was taken only in part: the server waits for an edge.
    pub blocked: bool,
    /// Bytes that have reached the peer and are not read.
    pub unread: VecDeque<u8>,
    /// The server's end, or a reset by it, has reached the peer behind those.
    pub end_unread: Option<End>,
    /// The peer is about to read.
    pub read_listed: bool,
    /// When the last piece in each direction arrives: none overtakes another.
    pub last_up: Nanos,
    /// The same downwards.
    pub last_down: Nanos,
    /// Readiness that the server has not been told.
    pub edge: Edge,
}

/// How the server's side of a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Fin,
    /// Not so.
    Reset,
}

/// Readiness that begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Edge {
    /// There is something to read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The peer has ended its side, or the stream is broken.
    pub closed: bool,
    /// It stands in the list of those to be told.
    pub listed: bool,
}

/// How much of what was to be sent a socket takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// So many bytes, perhaps all.
    Bytes(usize),
    /// None.
    Blocked,
}

/// The server's socket is read in portions of this, so that a peer feels it when the server does not read.
const ARRIVED_MAX: usize = 64 * 1024;

impl Link {
    /// Bytes reach the server's socket. Returns whether that is an edge.
    pub fn arrive(&mut self, bytes: &[u8]) -> bool {
        let was_empty = self.arrived.is_empty();
        if self.backlog.is_empty() && self.arrived.len() + bytes.len() <= ARRIVED_MAX {
            self.arrived.extend(bytes);
        } else {
            self.backlog.extend(bytes);
            self.refill();
        }
        was_empty && !self.arrived.is_empty()
    }

    /// Moves up what there is room for.
    pub fn refill(&mut self) {
        let room = ARRIVED_MAX.saturating_sub(self.arrived.len()).min(self.backlog.len());
        self.arrived.extend(self.backlog.drain(..room));
    }

    /// Has all but the first `len` bytes of what has arrived come once more, later.
    pub fn hold_back(&mut self, len: usize) {
        let mut rest = self.arrived.split_off(len);
        rest.append(&mut self.backlog);
        self.backlog = rest;
    }

    /// Whether the peer's end can be seen now.
    pub fn sees_end(&mut self) -> bool {
        let sees = self.end_behind && self.backlog.is_empty() && !self.ended;
        self.ended |= sees;
        sees
    }

    /// What a send of `len` bytes takes; `at_most` is what the network grants.
    pub fn take(&mut self, len: usize, at_most: usize, now: Nanos) -> Taken {
        let room = if now < self.stingy_until { 0 } else { self.room_max.saturating_sub(self.used) };
        let taken = len.min(room).min(at_most);
        self.blocked = taken < len;
        self.used += taken;
        if taken == 0 && len > 0 { Taken::Blocked } else { Taken::Bytes(taken) }
    }

    /// Whether a writable edge begins: a blocked socket has a third of its room again, as Linux has it.
    pub fn unblocks(&mut self, now: Nanos) -> bool {
        let room = self.room_max.saturating_sub(self.used);
        let is_open = now >= self.stingy_until && room * 3 >= self.room_max && room > 0;
        let unblocks = self.blocked && is_open;
        self.blocked &= !unblocks;
        unblocks
    }
}
