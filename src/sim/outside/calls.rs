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
use super::super::tally::Fault;
use super::super::trace::Note;
use super::failing::Call;
use super::{Event, Outside};
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::net::Ready;

/// Errors of an accept when the system has nothing left: the first two are for want of descriptors.
const EXHAUSTED: [(Errno, Fault); 4] = [
    (Errno::MFILE, Fault::AcceptMfile),
    (Errno::NFILE, Fault::AcceptNfile),
    (Errno::NOBUFS, Fault::AcceptNobufs),
    (Errno::NOMEM, Fault::AcceptNomem),
];

impl Outside {
    /// Lets time pass until something is ready or `timeout` is over.
    pub(in crate::sim) fn wait(
        &mut self,
        ready: &mut Vec<Ready>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let began = self.now;
        match self.injected(Call::Wait) {
            Some(Errno::INTR) => return Ok(()),
            Some(other) => return Err(other.into()),
            None => {}
        }
        let until = timeout.map(|timeout| self.now + timeout.as_nanos() as Nanos);
        if self.strikes(self.faults.stall, Fault::Stall) {
            let stall = SECOND * self.rng.u64(1..70);
            self.note(Note::Stalled(stall));
            self.stalled += stall;
            self.pass(self.now + stall);
        }
        self.pass(self.now);
        if self.strikes(self.faults.interrupt, Fault::WaitInterrupted) {
            // As the trait has it: nothing is reported, and nothing is lost.
            self.note(Note::Woke(self.now - began, 0));
            return Ok(());
        }
        let is_quiet = |outside: &Self| {
            outside.edges.is_empty()
                && outside.signals.is_empty()
                && !outside.doors.iter().any(|door| door.edge)
        };
        while is_quiet(self) && !self.is_interrupted {
            let next = self.coming.peek().map_or(Nanos::MAX, |coming| coming.at);
            if until.is_some_and(|until| next > until) || next == Nanos::MAX {
                self.now = self.now.max(until.unwrap_or(0));
                break;
            }
            self.step();
        }
        self.is_interrupted = false;
        if self.strikes(self.faults.late, Fault::Late) {
            let late = self.rng.u64(..20 * MILLI);
            self.pass(self.now + late);
        }
        self.report(ready);
        self.note(Note::Woke(self.now - began, ready.len()));
        Ok(())
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
        for (listener, door) in self.doors.iter_mut().enumerate() {
            if std::mem::take(&mut door.edge) {
                ready.push(Ready::Listener(listener));
            }
        }
        if self.faults.shuffle && self.edges.len() > 1 {
            self.rng.shuffle(self.edges.make_contiguous());
            self.count(Fault::Shuffled);
        }
        if self.edges.len() > self.faults.events_max {
            self.count(Fault::Few);
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
        if self.strikes(self.faults.spurious, Fault::Spurious) {
            self.report_nothing(ready);
        }
    }

    /// Tells the server of readiness that is none, or of somebody who is gone.
    fn report_nothing(&mut self, ready: &mut Vec<Ready>) {
        let index = self.rng.u32(..self.links.len() as u32);
        let id = match self.links[index as usize].id.filter(|_| self.rng.bool()) {
            Some(id) => id,
            None => {
                self.count(Fault::Stale);
                ConnId { index, serial: self.rng.u32(..8) }
            }
        };
        let (readable, writable) = (self.rng.bool(), self.rng.bool());
        ready.push(Ready::Connection { id, readable, writable, closed: false });
        if self.rng.u32(..4) == 0 {
            ready.push(Ready::Listener(self.rng.usize(..self.doors.len())));
        }
    }

    pub(in crate::sim) fn accept(&mut self, listener: usize, id: ConnId) -> io::Result<usize> {
        if let Some(errno) = self.refuses(listener) {
            self.note(Note::NotAccepted(name(errno)));
            let is_lost = matches!(errno, Errno::CONNABORTED | Errno::PROTO);
            if is_lost && let Some(number) = self.doors[listener].knocking.pop_front() {
                self.progress += 1;
                self.links[number].closed = true;
                self.break_off(number);
            }
            return Err(errno.into());
        }
        let front = self.doors.get_mut(listener).and_then(|door| door.knocking.pop_front());
        let Some(number) = front.filter(|_| self.listening) else { return Err(Errno::AGAIN.into()) };
        self.progress += 1;
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

    /// Why whoever knocks at `listener` is not let in now, if so.
    fn refuses(&mut self, listener: usize) -> Option<Errno> {
        if let Some(errno) = self.injected(Call::Accept) {
            if errno == Errno::AGAIN {
                self.after(MILLI, Event::KnockAgain(listener));
            }
            return Some(errno);
        }
        let front = *self.doors.get(listener)?.knocking.front()?;
        let (errno, fault) = if self.open >= self.faults.descriptors_max {
            EXHAUSTED[self.rng.usize(..2)]
        } else if self.happens(self.faults.exhausted) {
            EXHAUSTED[self.rng.usize(..4)]
        } else if self.happens(self.faults.interrupt) {
            (Errno::INTR, Fault::AcceptInterrupted)
        } else if (self.links[front].reset && self.rng.bool()) || self.happens(self.faults.cut) {
            ([Errno::CONNABORTED, Errno::PROTO][self.rng.usize(..2)], Fault::AcceptAborted)
        } else {
            return None;
        };
        self.count(fault);
        Some(errno)
    }

    pub(in crate::sim) fn recv(&mut self, number: usize, into: &mut [u8]) -> io::Result<usize> {
        if let Some(errno) = self.injected(Call::Recv) {
            if errno == Errno::AGAIN {
                self.after(MILLI, Event::Again(number));
            }
            return Err(self.failing(number, errno));
        }
        if self.strikes(self.faults.interrupt, Fault::ReadInterrupted) {
            return Err(Errno::INTR.into());
        }
        if let Some(errno) = self.broken(number) {
            self.count(match errno {
                Errno::TIMEDOUT => Fault::ReadTimedOut,
                Errno::PIPE => Fault::ReadPipe,
                _ => Fault::ReadReset,
            });
            return Err(self.failing(number, errno));
        }
        let link = &self.links[number];
        let mut len = into.len().min(link.arrived.len());
        if len == 0 {
            return if link.ended || link.reset { Ok(0) } else { Err(Errno::AGAIN.into()) };
        }
        let may_tear = len > 1 && len == link.arrived.len() && !link.ended && !link.reset;
        if may_tear && self.strikes(self.faults.sip, Fault::TornRead) {
            len = self.rng.usize(1..len);
            self.links[number].hold_back(len);
        }
        let link = &mut self.links[number];
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

    /// The error that this call on the socket finds, if the stream is broken or breaks now.
    fn broken(&mut self, number: usize) -> Option<Errno> {
        let waiting = self.links[number].error.take();
        if waiting.is_some() || self.links[number].reset || !self.happens(self.faults.cut) {
            return waiting;
        }
        self.count(Fault::Cut);
        Some([Errno::CONNRESET, Errno::TIMEDOUT, Errno::PIPE][self.rng.usize(..3)])
    }

    /// What follows from an error of the socket beside the error.
    fn failing(&mut self, number: usize, errno: Errno) -> io::Error {
        self.note(Note::Failed(number, name(errno)));
        if !matches!(errno, Errno::INTR | Errno::AGAIN) {
            self.progress += 1;
            self.break_off(number);
        }
        errno.into()
    }

    /// Takes what there is room for of `len` bytes.
    fn take(&mut self, number: usize, len: usize) -> io::Result<usize> {
        if let Some(errno) = self.injected(Call::Send) {
            if errno == Errno::AGAIN {
                self.links[number].blocked = true;
                self.after(MILLI, Event::Room(number));
            }
            return Err(self.failing(number, errno));
        }
        if self.strikes(self.faults.interrupt, Fault::WriteInterrupted) {
            return Err(Errno::INTR.into());
        }
        if let Some(errno) = self.broken(number) {
            self.count(match errno {
                Errno::TIMEDOUT => Fault::WriteTimedOut,
                Errno::PIPE => Fault::WritePipe,
                _ => Fault::WriteReset,
            });
            return Err(self.failing(number, errno));
        }
        if self.links[number].reset || self.links[number].finished {
            return Err(Errno::PIPE.into());
        }
        let at_most = if self.happens(self.faults.stingy) { self.rng.usize(..=len) } else { usize::MAX };
        let now = self.now;
        let taken = self.links[number].take(len, at_most, now);
        if at_most < len {
            let delay = self.rng.u64(1..30 * MILLI);
            self.links[number].stingy_until = now + delay;
            self.after(delay, Event::Room(number));
        }
        match taken {
            Taken::Blocked => {
                self.count(Fault::NoRoom);
                Err(Errno::AGAIN.into())
            }
            Taken::Bytes(taken) => {
                if taken < len {
                    self.count(Fault::TornWrite);
                }
                self.progress += 1;
                self.note(Note::Wrote(number, taken, len));
                Ok(taken)
            }
        }
    }

    /// Takes what there is room for, and has it leave for the peer.
    pub(in crate::sim) fn send(&mut self, number: usize, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        let taken = self.take(number, len)?;
        let mut bytes = Vec::with_capacity(taken);
        for slice in slices {
            let rest = taken - bytes.len();
            bytes.extend_from_slice(&slice[..rest.min(slice.len())]);
        }
        if taken > 0 {
            self.in_pieces(bytes, |outside, piece| {
                let delay = outside.arrival_down(number);
                outside.after(delay, Event::Down(number, piece));
            });
        }
        Ok(taken)
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
        let knocking: Vec<usize> = self.doors.iter_mut().flat_map(|door| door.knocking.drain(..)).collect();
        for number in knocking {
            self.links[number].closed = true;
            self.after(0, Event::DownEnd(number, End::Reset));
        }
    }
}

/// An error as a trace has it.
fn name(errno: Errno) -> &'static str {
    match errno {
        Errno::AGAIN => "EAGAIN",
        Errno::CONNABORTED => "ECONNABORTED",
        Errno::CONNRESET => "ECONNRESET",
        Errno::INTR => "EINTR",
        Errno::MFILE => "EMFILE",
        Errno::NFILE => "ENFILE",
        Errno::NOBUFS => "ENOBUFS",
        Errno::NOMEM => "ENOMEM",
        Errno::PIPE => "EPIPE",
        Errno::PROTO => "EPROTO",
        Errno::TIMEDOUT => "ETIMEDOUT",
        _ => "another error",
    }
}
