//! The server's calls as the outside answers them: waiting, accepting, reading, writing, ending.
//!
//! Waiting is where the outside lives: events happen, in order of time, until something becomes ready or the time is
//! over. A stall of our own process is a wait in which much happens and nobody is told.
//!
//! Invariant: a call keeps what the [`Net`](crate::net::Net) trait promises of it, and no more.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::super::link::{End, Taken};
use super::super::trace::Note;
use super::{Event, Outside};
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::net::Ready;

impl Outside {
    /// Lets time pass until something is ready or `timeout` is over.
    pub(in crate::sim) fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) {
        let began = self.now;
        let until = timeout.map(|timeout| self.now + timeout.as_nanos() as Nanos);
        if self.strikes(self.faults.stall) {
            let stall = SECOND * self.rng.u64(1..70);
            self.note(Note::Stalled(stall));
            self.stalled += stall;
            self.pass(self.now + stall);
        }
        self.pass(self.now);
        while self.edges.is_empty() && !self.knock_edge && self.signals.is_empty() && !self.is_interrupted {
            let next = self.coming.peek().map_or(Nanos::MAX, |coming| coming.at);
            if until.is_some_and(|until| next > until) || next == Nanos::MAX {
                self.now = self.now.max(until.unwrap_or(0));
                break;
            }
            self.step();
        }
        self.is_interrupted = false;
        if self.strikes(self.faults.late) {
            let late = self.rng.u64(..20 * MILLI);
            self.pass(self.now + late);
        }
        self.report(ready);
        self.note(Note::Woke(self.now - began, ready.len()));
    }

    /// Has everything happen that comes up to `until`.
    pub(in crate::sim) fn pass(&mut self, until: Nanos) {
        while self.coming.peek().is_some_and(|coming| coming.at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Tells the server what became ready, each thing once, as few and in whatever order it pleases the network.
    pub(in crate::sim) fn report(&mut self, ready: &mut Vec<Ready>) {
        ready.extend(self.signals.drain(..).map(Ready::Signal));
        if std::mem::take(&mut self.knock_edge) {
            ready.push(Ready::Listener(0));
        }
        if self.faults.shuffle {
            self.rng.shuffle(self.edges.make_contiguous());
        }
        for _ in 0..self.faults.events_max.min(self.edges.len()) {
            let Some(number) = self.edges.pop_front() else { break };
            let edge = std::mem::take(&mut self.links[number].edge);
            if let Some(id) = self.links[number].id {
                let (readable, writable, closed) = (edge.readable, edge.writable, edge.closed);
                ready.push(Ready::Connection { id, readable, writable, closed });
            }
        }
        self.progress += ready.len() as u64;
        if self.strikes(self.faults.spurious) {
            let index = self.rng.u32(..self.links.len() as u32);
            let id = match self.links[index as usize].id.filter(|_| self.rng.bool()) {
                Some(id) => id,
                None => ConnId { index, serial: self.rng.u32(..8) },
            };
            ready.push(Ready::Connection {
                id,
                readable: self.rng.bool(),
                writable: self.rng.bool(),
                closed: false,
            });
            if self.rng.u32(..4) == 0 {
                ready.push(Ready::Listener(0));
            }
        }
    }

    pub(in crate::sim) fn accept(&mut self, id: ConnId) -> io::Result<usize> {
        if !self.listening || self.knocking.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.open >= self.faults.descriptors_max || self.strikes(self.faults.exhausted) {
            let (errno, name) = [(Errno::MFILE, "EMFILE"), (Errno::NFILE, "ENFILE")][self.rng.usize(..2)];
            self.note(Note::NotAccepted(name));
            return Err(errno.into());
        }
        self.progress += 1;
        let Some(number) = self.knocking.pop_front() else { return Err(io::ErrorKind::WouldBlock.into()) };
        if self.links[number].reset && self.rng.bool() {
            self.links[number].closed = true;
            self.note(Note::NotAccepted("ECONNABORTED"));
            return Err(Errno::CONNABORTED.into());
        }
        self.note(Note::Accepted(number, id.serial));
        self.open += 1;
        self.book.borrow_mut().accepted(number, id);
        let (now, link) = (self.now, &mut self.links[number]);
        (link.id, link.accepted) = (Some(id), now);
        let (readable, closed) =
            (!link.arrived.is_empty() || link.ended || link.reset, link.ended || link.reset);
        self.edge(number, readable, true, closed);
        Ok(number)
    }

    pub(in crate::sim) fn recv(&mut self, number: usize, into: &mut [u8]) -> io::Result<usize> {
        if self.strikes(self.faults.interrupt) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let link = &mut self.links[number];
        if link.reset {
            self.progress += 1;
            return Err(Errno::CONNRESET.into());
        }
        let len = into.len().min(link.arrived.len());
        if len == 0 {
            return if link.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let (front, back) = link.arrived.as_slices();
        let from_front = front.len().min(len);
        into[..from_front].copy_from_slice(&front[..from_front]);
        into[from_front..len].copy_from_slice(&back[..len - from_front]);
        link.arrived.drain(..len);
        self.progress += 1;
        if !self.links[number].backlog.is_empty() {
            let delay = self.latency();
            self.after(delay, Event::Refill(number));
        }
        self.note(Note::Read(number, len));
        Ok(len)
    }

    /// Takes what there is room for of `len` bytes.
    pub(in crate::sim) fn take(&mut self, number: usize, len: usize) -> io::Result<usize> {
        if self.strikes(self.faults.interrupt) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.links[number].reset || self.links[number].finished {
            return Err(Errno::PIPE.into());
        }
        let at_most = if self.strikes(self.faults.stingy) { self.rng.usize(..=len) } else { usize::MAX };
        let now = self.now;
        let taken = self.links[number].take(len, at_most, now);
        if at_most < len {
            let delay = self.rng.u64(1..30 * MILLI);
            self.links[number].stingy_until = now + delay;
            self.after(delay, Event::Room(number));
        }
        match taken {
            Taken::Blocked => Err(io::ErrorKind::WouldBlock.into()),
            Taken::Bytes(taken) => {
                self.progress += 1;
                self.note(Note::Wrote(number, taken, len));
                Ok(taken)
            }
        }
    }

    /// Bytes that were taken leave for the peer.
    pub(in crate::sim) fn send_down(&mut self, number: usize, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            for piece in self.pieces(bytes) {
                let at = self.arrival_down(number);
                self.after(at, Event::Down(number, piece));
            }
        }
    }

    pub(in crate::sim) fn finish(&mut self, number: usize) {
        if !std::mem::replace(&mut self.links[number].finished, true) {
            self.progress += 1;
            self.note(Note::Finished(number));
            let at = self.arrival_down(number);
            self.after(at, Event::DownEnd(number, End::Fin));
        }
    }

    pub(in crate::sim) fn close(&mut self, number: usize) {
        let link = &mut self.links[number];
        let is_drained = link.arrived.is_empty() && link.backlog.is_empty();
        let is_unread = !(link.reset || is_drained);
        link.closed = true;
        link.id = None;
        self.edges.retain(|&one| one != number);
        self.open -= 1;
        self.progress += 1;
        self.note(Note::Closed(number, is_unread));
        let (end, is_finished) =
            if is_unread { (End::Reset, false) } else { (End::Fin, self.links[number].finished) };
        if !is_finished {
            let at = self.arrival_down(number);
            self.after(at, Event::DownEnd(number, end));
        }
    }

    /// Sixty-four random bits.
    pub(in crate::sim) fn entropy(&mut self) -> u64 {
        self.rng.u64(..)
    }

    /// Who knocks from now on, and who knocks already, is refused by the system.
    pub(in crate::sim) fn stop_listening(&mut self) {
        self.listening = false;
        while let Some(number) = self.knocking.pop_front() {
            self.links[number].closed = true;
            self.after(0, Event::DownEnd(number, End::Reset));
        }
    }
}
