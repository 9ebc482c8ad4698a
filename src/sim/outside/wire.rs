//! What happens on the wire: pieces arrive, ends are seen, edges begin, peers read and answer.
//!
//! Invariants: pieces of one direction arrive in order; an edge that has begun is listed once until it is reported.

use super::super::link::End;
use super::super::peer::{Deed, Reading};
use super::super::trace::{Note, hash_of};
use super::{Event, Outside};
use crate::base::tick::Nanos;

impl Outside {
    pub(super) fn knock(&mut self, number: usize) {
        if !self.listening {
            return;
        }
        self.note(Note::Knocked(number));
        self.knock_edge |= self.knocking.is_empty();
        self.knocking.push_back(number);
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
        if self.links[number].arrive(bytes) || self.strikes(self.faults.repeat) {
            self.edge(number, true, false, false);
        }
    }

    pub(super) fn see_end(&mut self, number: usize) {
        if !self.links[number].vanished && self.links[number].sees_end() {
            self.edge(number, true, false, true);
        }
    }

    pub(super) fn reset(&mut self, number: usize) {
        let link = &mut self.links[number];
        if link.vanished {
            return;
        }
        link.reset = true;
        link.arrived.clear();
        link.backlog.clear();
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
                Reading::Later | Reading::Never => {}
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
            Reading::Slow(bytes, pause) => (bytes, pause),
            Reading::Prompt | Reading::Later | Reading::Never => (usize::MAX, 0),
        };
        let bytes: Vec<u8> = link.unread.drain(..most.min(link.unread.len())).collect();
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
                    for piece in self.pieces(bytes) {
                        let at = self.arrival_up(number);
                        self.after(at, Event::Up(number, piece));
                    }
                }
                Deed::End => {
                    self.note(Note::Ended(number));
                    let at = self.arrival_up(number);
                    self.after(at, Event::UpEnd(number));
                }
                Deed::Reset => {
                    self.note(Note::Reset(number));
                    let at = self.arrival_up(number);
                    self.after(at, Event::UpReset(number));
                }
                Deed::Vanish => {
                    self.note(Note::Vanished(number));
                    self.links[number].vanished = true;
                    self.book.borrow_mut().accounts[number].facts.vanished = Some(self.now);
                }
                Deed::Again(delay) => self.after(delay, Event::Act(number)),
            }
        }
    }

    /// In how long a piece that leaves the peer now arrives: behind those before it.
    pub(super) fn arrival_up(&mut self, number: usize) -> Nanos {
        let at = (self.now + self.latency()).max(self.links[number].last_up);
        self.links[number].last_up = at;
        at - self.now
    }

    pub(super) fn arrival_down(&mut self, number: usize) -> Nanos {
        let at = (self.now + self.latency()).max(self.links[number].last_down);
        self.links[number].last_down = at;
        at - self.now
    }

    /// Cuts bytes as the wire does.
    pub(super) fn pieces(&mut self, mut bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        while bytes.len() > 1 && pieces.len() < 12 && self.strikes(self.faults.tear) {
            let rest = bytes.split_off(self.rng.usize(1..bytes.len()));
            pieces.push(std::mem::replace(&mut bytes, rest));
        }
        pieces.push(bytes);
        pieces
    }
}
