//! The fifth phase: sockets that have room again get what they are owed.
//!
//! Everything that waits for one peer leaves in one vectored write, up to sixty-four frames of it. When the queue has
//! emptied, the peer is told what it missed; when half of its replies have gone, it is read from again.
//!
//! Invariant: a queue that is not empty has a socket that takes nothing, and so a writable edge to come; or it is listed.

use std::io::{self, IoSlice};

use super::config::Overflow;
use super::connection::Stage;
use super::deliver::BROKEN;
use super::limits::{LISTED_KEEP, REPLY_BYTES_SOFT_MAX, SLICES_MAX};
use super::stint::Stint;
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::base::tick::Tick;
use crate::hub::frame::Frame;
use crate::net::Net;
use crate::service::{Departure, Service};
use crate::ws::{Opcode, encode};

impl<N: Net, S: Service> Worker<N, S> {
    /// Writes to those whose socket has room again, as many as there is time for.
    pub(super) fn flush(&mut self) {
        let stint = Stint::begin(&self.net);
        for served in 0..self.writable.len() {
            if served > 0 && stint.is_long(&self.net) {
                self.metrics.flushes_cut += 1;
                break;
            }
            let Some(id) = self.writable.pop_front() else { break };
            self.flush_one(id);
        }
        if self.writable.is_empty() {
            self.writable.shrink_to(LISTED_KEEP);
        }
    }

    /// Puts `id` on the list of those whose socket has room, once.
    pub(super) fn list_writable(&mut self, id: ConnId) {
        if let Some(connection) = self.roster.get(id)
            && !connection.facts.roomy
        {
            connection.facts.roomy = true;
            self.writable.push_back(id);
        }
    }

    fn flush_one(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        (connection.facts.blocked, connection.facts.roomy) = (false, false);
        if connection.stage == Stage::Doomed {
            return;
        }
        if connection.queue.is_empty() {
            // The socket may hold something of its own: a handshake, an alert, the end.
            if self.net.flush(&mut connection.socket).is_err() {
                self.doom(id, Departure::Reset);
            }
            return;
        }
        loop {
            if !self.write_queued(id) {
                return self.doom(id, Departure::Reset);
            }
            let Some(connection) = self.roster.get(id) else { return };
            if connection.queue.is_empty() {
                self.caught_up(id);
            }
            let Some(connection) = self.roster.get(id) else { return };
            if connection.queue.is_empty() || connection.facts.blocked {
                break;
            }
        }
        let Some(connection) = self.roster.get(id) else { return };
        let may_read = !connection.queue.holds_replies(REPLY_BYTES_SOFT_MAX / 2);
        if may_read && (connection.facts.readable || connection.facts.undecoded) {
            self.list_readable(id);
        }
        self.finish_if_written(id);
    }

    /// One write of what waits. Returns whether the stream is whole.
    ///
    /// The pong goes next as soon as no frame is half written, so that never two wait in the queue and only the newest
    /// is sent (RFC 6455 §5.5.3); behind a close frame none is (§5.5.1).
    fn write_queued(&mut self, id: ConnId) -> bool {
        let Self { roster, net, metrics, hub, now, .. } = self;
        let Some(connection) = roster.get(id) else { return true };
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let filled = connection.queue.slices(&mut slices);
        let slices = &slices[..filled];
        metrics.wrote();
        // `writev` costs more than `send` for a single buffer.
        let sent = match slices {
            [one] => net.send(&mut connection.socket, one),
            many => net.send_vectored(&mut connection.socket, many),
        };
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        let n = match sent {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => BROKEN,
        };
        if n == BROKEN {
            return false;
        }
        connection.facts.blocked = n < wanted;
        if n > 0 {
            connection.progress = Tick::of(*now);
            connection.moved = connection.progress;
            metrics.sent(n);
            connection.queue.advance(n, |debt| hub.paid(debt, *now));
            let may_interpose = connection.queue.is_between_frames()
                && (connection.stage == Stage::Open || is_made(Mutation::PongBehindClose));
            if may_interpose && let Some(pong) = connection.pong.take() {
                connection.queue.push_urgent(Frame::reply(&pong));
            }
        }
        true
    }

    /// A queue has begun to wait: if nothing moves for the stall timeout, the peer is given up.
    pub(super) fn watch_stall(&mut self, id: ConnId) {
        let now = Tick::of(self.now);
        let Some(connection) = self.roster.get(id) else { return };
        connection.progress = now;
        self.behind.entry(id).or_insert(now);
        self.hub.topics.lag(id, true);
        if self.config.stall_timeout > 0 {
            self.arm(id, now.after(self.config.stall_timeout));
        }
    }

    /// The queue has emptied: a peer that missed something is told how much.
    fn caught_up(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        self.behind.remove(&id);
        self.hub.topics.lag(id, false);
        let missed = std::mem::take(&mut connection.missed);
        if missed > 0 && connection.stage == Stage::Open && !is_made(Mutation::GapNotTold) {
            let mut frame = Vec::new();
            encode(&mut frame, Opcode::Text, Overflow::gap_notice(missed).as_bytes());
            connection.queue.push(Frame::reply(&frame), 0);
        }
    }
}
