//! The second phase: sockets → bytes → sessions → services → outbox.
//!
//! One read per connection and turn, into the loop's large buffer, or behind what the connection holds already: of
//! [`PEER_BYTES_MAX`] bytes, and a second one only for the rest of a large message, whose bytes are cheap. A read
//! shorter than its room has drained the socket, so there is no second one just to hear `EAGAIN`, unless the peer has
//! closed its side: then the end is still to be read. What could not be decoded because enough has been answered for
//! this turn stays listed.
//!
//! Invariants: nobody is read from who does not read its replies; a connection holds a buffer only while something
//! it sent is incomplete or undecoded.

use std::io;

use super::connection::{Connection, Held, Session, Stage};
use super::limits::{
    AHEAD_BYTES_MIN, INFLATE_TURN_BYTES_MAX, LENT_BYTES_SOFT_MAX, LISTED_KEEP, OUTBOX_BYTES_MAX,
    PEER_BYTES_MAX, READ_BYTES_MAX, REPLY_BYTES_SOFT_MAX, WAITING_BYTES_MAX,
};
use super::stint::Stint;
use super::worker::Worker;
use crate::base::buffer::Buffer;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::base::pool::{Pool, size_of_class};
use crate::base::tick::Tick;
use crate::net::Net;
use crate::net::proxy::Wrong;
use crate::net::tls::Refused;
use crate::service::{Departure, Service};
use crate::ws::Cursor;

/// Room for the next read behind what is held, in bytes, at least: the rest of a cut header, and whatever follows.
const ROOM_BYTES_MIN: usize = 256;

/// What a read found.
enum Arrival {
    /// Bytes came: this many.
    Bytes(usize),
    /// Nothing there.
    Nothing,
    /// The peer has ended its side.
    End,
    /// The stream broke.
    Broken(Departure),
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Reads from everybody who is listed, until enough has been answered for this turn.
    pub(super) fn receive(&mut self) {
        let mut stint = Stint::begin(&self.net);
        let read_max = self.metrics.bytes_in + READ_BYTES_MAX;
        let inflated_max = self.deflation.work + INFLATE_TURN_BYTES_MAX;
        // Who is listed meanwhile comes behind those who were not served, and after them.
        for _ in 0..self.readable.len() {
            let is_enough = self.hub.outbox.len() >= OUTBOX_BYTES_MAX
                || self.metrics.bytes_in >= read_max
                || self.deflation.work >= inflated_max
                || stint.is_over(&self.net);
            if is_enough {
                self.metrics.turns_cut += 1;
                break;
            }
            let Some(id) = self.readable.pop_front() else { break };
            if let Some(connection) = self.roster.get(id) {
                connection.facts.listed = false;
                self.receive_from(id);
            }
        }
        if self.readable.is_empty() {
            self.readable.shrink_to(LISTED_KEEP);
        }
    }

    /// Whether too much waits for delivery to hear more publications.
    pub(super) fn is_congested(&self) -> bool {
        self.hub.topics.waiting_bytes() + self.hub.interjections.weight() >= WAITING_BYTES_MAX
            || self.bus.as_ref().is_some_and(|bus| bus.is_full())
    }

    fn receive_from(&mut self, id: ConnId) {
        let is_congested = self.is_congested();
        let Some(connection) = self.roster.get(id) else { return };
        if connection.stage == Stage::Doomed {
            return;
        }
        if connection.queue.holds_replies(REPLY_BYTES_SOFT_MAX) && connection.stage == Stage::Open {
            // `flush` lists it again when half of it has gone.
            self.metrics.readers_paused += 1;
            return;
        }
        if is_congested && connection.facts.publishes {
            self.metrics.publishers_paused += 1;
            return self.list_readable(id);
        }
        let is_undecoded = std::mem::take(&mut connection.facts.undecoded);
        match connection.held.take() {
            Some(mut held) if is_undecoded => {
                self.digest(id, held.buffer.filled_mut(), &mut held.cursor);
                self.keep(id, Some(held), None);
            }
            Some(held) if held.buffer.len() <= AHEAD_BYTES_MIN => {
                // A cut header or a small message: to read behind it into a small buffer would bring little each turn.
                let mut buffer = std::mem::take(&mut self.buffer);
                let filled = held.buffer.len();
                buffer[..filled].copy_from_slice(held.buffer.filled());
                let cursor = held.cursor;
                self.give_back(Some(held));
                self.receive_fresh(id, &mut buffer, filled, cursor);
                self.buffer = buffer;
            }
            Some(mut held) => {
                self.make_room(id, &mut held);
                let room = held.buffer.spare_mut();
                let len = room.len().min(self.missing_of(id).max(PEER_BYTES_MAX));
                let arrival = self.read(id, &mut room[..len]);
                self.arrived_behind(id, arrival, held);
            }
            None => {
                let mut buffer = std::mem::take(&mut self.buffer);
                self.receive_fresh(id, &mut buffer, 0, Cursor::default());
                self.buffer = buffer;
            }
        }
    }

    /// Reads into `room` and keeps what that tells about the socket.
    fn read(&mut self, id: ConnId, room: &mut [u8]) -> Arrival {
        let Some(connection) = self.roster.get(id) else { return Arrival::Nothing };
        let received = self.net.recv(&mut connection.socket, room);
        if self.gate.is_awaited(id) && !matches!(received, Ok(0)) {
            // A proxy may have said for whom it speaks, whether or not its client has said anything yet.
            self.introduce(id);
        }
        let Some(connection) = self.roster.get(id) else { return Arrival::Nothing };
        match received {
            Ok(0) => Arrival::End,
            Ok(n) => {
                let is_full = n == room.len();
                connection.last_heard = Tick::of(self.now);
                let is_more = connection.facts.closed || self.net.has_more(&connection.socket);
                connection.facts.readable = is_full || is_more;
                self.metrics.reads_full += u64::from(is_full);
                self.metrics.bytes_in += n as u64;
                Arrival::Bytes(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.facts.readable = self.net.has_more(&connection.socket);
                if self.net.has_heard(&connection.socket) {
                    connection.last_heard = Tick::of(self.now);
                }
                Arrival::Nothing
            }
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted && !is_made(Mutation::InterruptBreaks) =>
            {
                Arrival::Nothing
            }
            Err(error) => Arrival::Broken(self.broken(id, &error)),
        }
    }

    /// How a peer departs whose socket failed with `error`.
    fn broken(&mut self, id: ConnId, error: &io::Error) -> Departure {
        if let Some(label) = Refused::label_of(error) {
            self.metrics.refusals.count("tls", label);
            tracing::debug!(connection = id.serial, %error, "no TLS with a peer");
            return Departure::Tls;
        }
        let Some(label) = Wrong::label_of(error) else { return Departure::Reset };
        self.metrics.refusals.count("proxy", label);
        tracing::debug!(connection = id.serial, %error, "a proxy does not say for whom it speaks");
        Departure::Refused
    }

    /// Reads into `buffer` behind the little that a connection has left there: as much as is nearly always all there
    /// is, and if a large message has begun in it, the rest of that and what little may follow.
    fn receive_fresh(&mut self, id: ConnId, buffer: &mut [u8], mut filled: usize, mut cursor: Cursor) {
        let mut until = (filled + PEER_BYTES_MAX).min(buffer.len());
        loop {
            let arrival = self.read(id, &mut buffer[filled..until]);
            let Arrival::Bytes(n) = arrival else {
                self.keep(id, None, Some((&buffer[..filled], cursor)));
                return self.ended_by(id, arrival);
            };
            filled += n;
            self.digest(id, &mut buffer[..filled], &mut cursor);
            let missing = self.missing_of(id);
            let is_large = filled == until && until < buffer.len() && missing > PEER_BYTES_MAX;
            if !is_large {
                return self.keep(id, None, Some((&buffer[..filled], cursor)));
            }
            until = filled.saturating_add(missing).saturating_add(AHEAD_BYTES_MIN).min(buffer.len());
        }
    }

    /// Deals with what a read found behind what the connection holds.
    fn arrived_behind(&mut self, id: ConnId, arrival: Arrival, mut held: Box<Held>) {
        if let Arrival::Bytes(n) = arrival {
            held.buffer.fill(n);
            self.digest(id, held.buffer.filled_mut(), &mut held.cursor);
        }
        self.keep(id, Some(held), None);
        self.ended_by(id, arrival);
    }

    /// Deals with the end of the stream, if that is what a read found.
    fn ended_by(&mut self, id: ConnId, arrival: Arrival) {
        match arrival {
            Arrival::Bytes(_) | Arrival::Nothing => {}
            Arrival::End => self.ended(id),
            Arrival::Broken(_) if is_made(Mutation::BrokenIsKept) => {}
            Arrival::Broken(why) => self.doom(id, why),
        }
    }

    fn missing_of(&mut self, id: ConnId) -> usize {
        self.roster.get(id).map_or(0, |connection| connection.missing())
    }

    /// Keeps what is incomplete, gives back what is not needed, and lists the connection if there is more to do.
    fn keep(&mut self, id: ConnId, held: Option<Box<Held>>, fresh: Option<(&[u8], Cursor)>) {
        let Some(connection) = self.roster.get(id) else {
            return self.give_back(held);
        };
        let facts = connection.facts;
        let is_heard = matches!(connection.stage, Stage::Open | Stage::Closing);
        if let Some(mut held) = held {
            let len = held.buffer.len();
            if !is_heard || held.cursor.is_clear(len) {
                self.give_back(Some(held));
            } else {
                let kept = held.cursor.compact(held.buffer.filled_mut(), len);
                held.buffer.truncate(kept);
                Self::move_down(&mut self.pool, connection.missing(), &mut held.buffer);
                connection.held = Some(held);
            }
        } else if let Some((bytes, mut cursor)) = fresh
            && is_heard
            && !cursor.is_clear(bytes.len())
        {
            let parts = cursor.leave(bytes);
            let have = parts[0].len() + parts[1].len();
            let missing = connection.missing();
            let mut buffer = self.pool.take(capacity_for(missing, have));
            parts.iter().for_each(|part| buffer.extend(part));
            connection.held = Some(Box::new(Held { buffer, cursor }));
        }
        if facts.readable || facts.undecoded {
            self.list_readable(id);
        }
    }

    /// Grows what is held so that the next read has room: as much as is missing, but never far ahead of what came.
    fn make_room(&mut self, id: ConnId, held: &mut Held) {
        let missing = self.missing_of(id);
        let (have, spare) = (held.buffer.len(), held.buffer.capacity() - held.buffer.len());
        let capacity = capacity_for(missing, have);
        if spare >= (capacity - have).min(AHEAD_BYTES_MIN) {
            return;
        }
        let mut larger = self.pool.take(capacity);
        larger.extend(held.buffer.filled());
        self.pool.give(std::mem::replace(&mut held.buffer, larger));
    }

    /// Exchanges a buffer that a large message has left behind, and that holds little now, for a small one; but only
    /// while much is lent: a few busy peers would copy for nothing.
    fn move_down(pool: &mut Pool, missing: usize, buffer: &mut Buffer) {
        let capacity = size_of_class(capacity_for(missing, buffer.len()));
        if pool.lent_bytes() > LENT_BYTES_SOFT_MAX && capacity < buffer.capacity() {
            let mut smaller = pool.take(capacity);
            smaller.extend(buffer.filled());
            pool.give(std::mem::replace(buffer, smaller));
        }
    }

    pub(super) fn give_back(&mut self, held: Option<Box<Held>>) {
        if let Some(held) = held {
            self.pool.give(held.buffer);
        }
    }

    /// Has the session decode `bytes` from where `cursor` stands.
    fn digest(&mut self, id: ConnId, bytes: &mut [u8], cursor: &mut Cursor) {
        let Some(connection) = self.roster.get(id) else { return };
        match (&connection.session, connection.stage) {
            (_, Stage::Finishing | Stage::Doomed) => {}
            (Session::Ws(_), Stage::Open | Stage::Closing) => self.converse(id, bytes, cursor),
            (Session::Http(_), Stage::Open | Stage::Closing) => {
                self.exchange(id, bytes, cursor);
                // Bytes behind the upgrade request are frames already.
                if let Some(connection) = self.roster.get(id)
                    && matches!(connection.session, Session::Ws(_))
                    && connection.stage == Stage::Open
                {
                    self.converse(id, bytes, cursor);
                }
            }
        }
    }

    /// The peer has ended its side of the stream.
    fn ended(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        (connection.facts.readable, connection.facts.closed) = (false, true);
        let (parting, is_written) = (connection.parting, connection.queue.is_empty());
        match (&connection.session, connection.stage) {
            (_, Stage::Closing | Stage::Finishing) if is_written || is_made(Mutation::LastWordsLost) => {
                self.doom(id, parting)
            }
            // Whoever has said its last word may still read ours.
            (_, Stage::Closing | Stage::Finishing) => self.finish(id, parting),
            // Whoever closes its side of an HTTP connection may still read what it asked for.
            (Session::Http(None), Stage::Open) => self.finish(id, Departure::PeerClosed),
            (Session::Http(Some(_)), Stage::Open) if !is_written => self.finish(id, Departure::EndOfStream),
            // It has said goodbye; our answer waits for its place behind what it is still owed.
            (Session::Ws(_), Stage::Open) if connection.facts.heard_close => {}
            (Session::Http(Some(_)) | Session::Ws(_), Stage::Open) => self.doom(id, Departure::EndOfStream),
            (_, Stage::Doomed) => {}
        }
    }
}

impl<K> Connection<K> {
    /// Bytes that are known to be missing of what is being received.
    fn missing(&self) -> usize {
        match &self.session {
            Session::Ws(decoder) => decoder.missing() as usize,
            Session::Http(_) => 0,
        }
    }
}

/// How large a buffer to give an item of which `have` bytes are here and `missing` are announced: memory follows bytes
/// received, so the announced is believed only as far as it doubles what came, or to a small bound.
fn capacity_for(missing: usize, have: usize) -> usize {
    let believed = have.saturating_add(missing).min(AHEAD_BYTES_MIN.max(2 * have));
    believed.max(have + ROOM_BYTES_MIN)
}
