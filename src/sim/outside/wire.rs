//! What happens on the wire: pieces arrive, ends are seen, edges begin, peers read and answer.
//!
//! Invariants: pieces of one direction arrive in order; an edge that has begun is listed once until it is reported.

use rustix::io::Errno;

use super::super::link::End;
use super::super::peer::{Deed, Reading};
use super::super::tally::Fault;
use super::super::trace::{Note, hash_of};
use super::{Event, Outside};
use crate::base::tick::{MILLI, Nanos, SECOND};

/// The longest that a piece is held up: well below every deadline that a world can have.
const LAG_MAX: Nanos = 700 * MILLI;

impl Outside {
    pub(super) fn knock(&mut self, number: usize) {
        if !self.listening {
            return;
        }
        self.note(Note::Knocked(number));
        let doors = self.doors.len();
        let door = &mut self.doors[number % doors];
        door.edge |= door.knocking.is_empty();
        door.knocking.push_back(number);
        let mut deeds = Vec::new();
        self.peers[number].begin(&mut deeds);
        self.carry_out(number, deeds);
    }

    pub(super) fn up(&mut self, number: usize, bytes: &[u8]) {
        let link = &self.links[number];
        if link.reset || link.vanished {
            return;
        }
        if link.closed {
            // Bytes for a socket that is closed are answered with a reset.
            let delay = self.latency();
            return self.after(delay, Event::DownEnd(number, End::Reset));
        }
        self.note(Note::Arrived(number, bytes.len()));
        if self.links[number].arrive(bytes) || self.strikes(self.faults.repeat, Fault::Repeated) {
            self.edge(number, true, false, false);
        }
    }

    pub(super) fn see_end(&mut self, number: usize) {
        if !self.links[number].vanished && self.links[number].sees_end() {
            self.edge(number, true, false, true);
        }
    }

    /// The connection is broken, as the server will see when it looks.
    pub(super) fn reset(&mut self, number: usize, errno: Errno) {
        let is_discarded = self.rng.bool();
        let link = &mut self.links[number];
        if link.reset || (link.vanished && errno != Errno::TIMEDOUT) {
            return;
        }
        link.reset = true;
        // Who resets after its end is found out by a write.
        link.error = Some(if link.ended && errno == Errno::CONNRESET { Errno::PIPE } else { errno });
        link.backlog.clear();
        if is_discarded {
            link.arrived.clear();
        }
        self.edge(number, true, true, true);
    }

    /// Readiness begins.
    pub(super) fn edge(&mut self, number: usize, readable: bool, writable: bool, closed: bool) {
        let edge = &mut self.links[number].edge;
        edge.readable |= readable;
        edge.writable |= writable;
        edge.closed |= closed;
        // Before the accept nobody is registered: `accept` looks at the state itself.
        if !std::mem::replace(&mut edge.listed, true) && self.links[number].id.is_some() {
            self.edges.push_back(number);
        } else if self.links[number].id.is_none() {
            self.links[number].edge.listed = false;
        }
    }

    pub(super) fn room(&mut self, number: usize) {
        let now = self.now;
        if !self.links[number].vanished && self.links[number].unblocks(now) {
            self.edge(number, false, true, false);
        }
    }

    pub(super) fn read_soon(&mut self, number: usize, delay: Nanos) {
        let link = &mut self.links[number];
        let has_something = !link.unread.is_empty() || link.end_unread.is_some();
        if has_something && !link.read_listed {
            match self.peers[number].reading {
                Reading::Later | Reading::Never => self.count(Fault::ZeroWindow),
                Reading::Prompt | Reading::Slow(..) => {
                    link.read_listed = true;
                    self.after(delay, Event::Read(number));
                }
            }
        }
    }

    /// The peer reads what it wants of what has come.
    pub(super) fn read(&mut self, number: usize) {
        let link = &mut self.links[number];
        link.read_listed = false;
        if link.reset || link.vanished {
            return;
        }
        let (most, pause) = match self.peers[number].reading {
            Reading::Slow(bytes, pause) => {
                self.count(Fault::Slow);
                (bytes, pause)
            }
            Reading::Prompt | Reading::Later | Reading::Never => (usize::MAX, 0),
        };
        let link = &mut self.links[number];
        let rest = link.unread.split_off(most.min(link.unread.len()));
        let bytes = Vec::from(std::mem::replace(&mut link.unread, rest));
        link.used -= bytes.len();
        let end = if link.unread.is_empty() { link.end_unread.take() } else { None };
        let mut deeds = Vec::new();
        if !bytes.is_empty() {
            self.note(Note::Heard(number, bytes.len(), hash_of(&bytes)));
            self.peers[number].hear(&bytes, &mut self.book.borrow_mut(), &mut deeds);
        }
        match end {
            None => {}
            Some(End::Fin) => self.peers[number].hear_end(&mut self.book.borrow_mut(), &mut deeds),
            Some(End::Reset) => self.peers[number].hear_reset(&mut self.book.borrow_mut()),
        }
        self.room(number);
        self.carry_out(number, deeds);
        self.read_soon(number, pause);
    }

    /// The peer's deeds reach the wire.
    pub(super) fn carry_out(&mut self, number: usize, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Send(bytes) => {
                    self.note(Note::Spoke(number, bytes.len()));
                    self.in_pieces(bytes, |outside, piece| {
                        let delay = outside.arrival_up(number);
                        outside.after(delay, Event::Up(number, piece));
                    });
                }
                Deed::End => {
                    self.count(Fault::HalfClose);
                    self.note(Note::Ended(number));
                    let at = self.arrival_up(number);
                    self.after(at, Event::UpEnd(number));
                }
                Deed::Reset => {
                    self.count(Fault::PeerReset);
                    self.note(Note::Reset(number));
                    let at = self.arrival_up(number);
                    self.after(at, Event::UpReset(number, Errno::CONNRESET));
                }
                Deed::Vanish => {
                    self.count(Fault::Vanished);
                    self.note(Note::Vanished(number));
                    // The system may give up before the server does.
                    let gives_up = SECOND * self.rng.u64(2..120);
                    self.after(gives_up, Event::UpReset(number, Errno::TIMEDOUT));
                    self.links[number].vanished = true;
                    self.book.borrow_mut().accounts[number].facts.vanished = Some(self.now);
                }
                Deed::Again(delay) => self.after(delay, Event::Act(number)),
            }
        }
    }

    /// In how long a piece that leaves the peer now arrives: behind those before it.
    pub(super) fn arrival_up(&mut self, number: usize) -> Nanos {
        let at = (self.now + self.lag() + self.latency()).max(self.links[number].last_up);
        self.links[number].last_up = at;
        at - self.now
    }

    pub(super) fn arrival_down(&mut self, number: usize) -> Nanos {
        let at = (self.now + self.lag() + self.latency()).max(self.links[number].last_down);
        self.links[number].last_down = at;
        at - self.now
    }

    /// For how long a piece is held up on the way, beside what everything takes.
    fn lag(&mut self) -> Nanos {
        if self.strikes(self.faults.lag, Fault::Lag) { self.rng.u64(..LAG_MAX) } else { 0 }
    }

    /// Cuts bytes as the wire does, and hands on each piece.
    pub(super) fn in_pieces(&mut self, mut bytes: Vec<u8>, mut send: impl FnMut(&mut Self, Vec<u8>)) {
        let mut cuts = 0;
        while bytes.len() > 1 && cuts < 12 && self.strikes(self.faults.tear, Fault::TornPiece) {
            cuts += 1;
            let rest = bytes.split_off(self.rng.usize(1..bytes.len()));
            send(self, std::mem::replace(&mut bytes, rest));
        }
        send(self, bytes);
    }
}
