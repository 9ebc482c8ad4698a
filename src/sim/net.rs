//! The simulated system: a clock that jumps to the next event, and a network on which everything goes wrong.
//!
//! [`SimNet`] is what the server sees: the [`Net`] trait and nothing else. Behind it the [`Outside`] holds the peers,
//! the connections, one heap of coming events and one generator. Waiting is where the outside lives: events happen, in
//! order of time, until something becomes ready or the time is over.
//!
//! Modelled exactly as the trait promises: an edge is reported once; a short `recv` has drained the socket; a short
//! `send` has filled it, and a writable edge follows. Everything that the trait permits happens: spurious events,
//! events for those who are gone, events in any order and few at a time, late waking, sleeps of our whole process,
//! exhausted descriptors, peers that leave before they are accepted.
//!
//! Invariants: what happens follows from the seed; time never goes back; a socket is closed once.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use rustix::io::Errno;

use super::book::Book;
use super::fault::Faults;
use super::link::{End, Link, Taken};
use super::peer::{Deed, Ending, Peer, Reading};
use super::trace::{Note, hash_of};
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::net::{Net, Ready, Signal};

/// What a system call costs, in nanoseconds.
const CALL: Nanos = 1_000;

/// A connection that carries less than this in a second may not get its last words before its deadline, in bytes.
const THIN: u64 = 256 * 1024;

/// Everything that is not the server.
#[derive(Debug)]
pub struct Outside {
    /// The only clock.
    pub now: Nanos,
    /// What goes wrong.
    pub faults: Faults,
    /// The peers, by number.
    pub peers: Vec<Peer>,
    /// Their connections.
    pub links: Vec<Link>,
    /// Sockets that the server holds.
    pub open: usize,
    /// Who knocks and has not been accepted, in order.
    pub knocking: VecDeque<usize>,
    /// Our own process did not run for so long, in all.
    pub stalled: Nanos,
    /// Calls and events that moved something, ever: a loop in which this stands still spins.
    pub progress: u64,
    rng: Rng,
    book: Rc<RefCell<Book>>,
    coming: BinaryHeap<Coming>,
    order: u64,
    listening: bool,
    knock_edge: bool,
    signals: Vec<Signal>,
    edges: VecDeque<usize>,
    is_interrupted: bool,
}

/// Something that will happen.
#[derive(Debug, PartialEq, Eq)]
struct Coming {
    at: Nanos,
    order: u64,
    event: Event,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Knock(usize),
    Up(usize, Vec<u8>),
    UpEnd(usize),
    UpReset(usize),
    Refill(usize),
    Down(usize, Vec<u8>),
    DownEnd(usize, End),
    Room(usize),
    Act(usize),
    Read(usize),
    Stop,
    Interrupt,
}

impl Ord for Coming {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        Reverse((self.at, self.order)).cmp(&Reverse((other.at, other.order)))
    }
}

impl PartialOrd for Coming {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Outside {
    /// A network with these peers, all of whom are still to come.
    pub fn new(mut rng: Rng, faults: Faults, peers: Vec<Peer>, book: Rc<RefCell<Book>>) -> Self {
        let links = peers
            .iter()
            .map(|_| Link {
                room_max: rng.usize(faults.socket_bytes.0..=faults.socket_bytes.1),
                ..Link::default()
            })
            .collect();
        let mut outside = Self {
            now: SECOND,
            faults,
            peers: Vec::new(),
            links,
            open: 0,
            knocking: VecDeque::new(),
            stalled: 0,
            progress: 0,
            rng,
            book,
            coming: BinaryHeap::new(),
            order: 0,
            listening: true,
            knock_edge: false,
            signals: Vec::new(),
            edges: VecDeque::new(),
            is_interrupted: false,
        };
        for peer in &peers {
            outside.after(peer.comes, Event::Knock(peer.number));
        }
        outside.peers = peers;
        for (number, link) in outside.links.iter().enumerate() {
            // A write in so many is taken only in part, and the rest waits for fifteen milliseconds on average.
            let round = outside.faults.latency.1 + u64::from(outside.faults.stingy) * 15 * MILLI / 1000;
            let a_second = link.room_max as u64 * SECOND / round;
            outside.book.borrow_mut().accounts[number].facts.is_thin = a_second < THIN;
        }
        outside
    }

    /// Has the server told to stop at `at`.
    pub fn stop_at(&mut self, at: Nanos) {
        self.after(at.saturating_sub(self.now), Event::Stop);
    }

    /// Has the wait that is under way at `at` return, so that the world can look.
    pub fn interrupt_at(&mut self, at: Nanos) {
        self.after(at.saturating_sub(self.now), Event::Interrupt);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.faults.heal();
        for number in 0..self.peers.len() {
            self.peers[number].heal();
            self.links[number].stingy_until = self.now;
            self.read_soon(number, 0);
            self.room(number);
        }
    }

    /// Has the peers say nothing more of their own.
    pub fn hush(&mut self) {
        self.peers.iter_mut().for_each(Peer::hush);
    }

    /// Has every peer go at once, each in its own manner.
    pub fn dismiss(&mut self) {
        for number in 0..self.peers.len() {
            let ending = [Ending::Polite, Ending::Hasty, Ending::End, Ending::Reset][self.rng.usize(..4)];
            let mut deeds = Vec::new();
            self.peers[number].part(ending, &mut self.book.borrow_mut(), &mut deeds);
            self.carry_out(number, deeds);
        }
    }

    /// Whether anything is on the wire.
    #[must_use]
    pub fn is_wire_empty(&self) -> bool {
        !self.coming.iter().any(|coming| {
            matches!(coming.event, Event::Up(..) | Event::UpEnd(_) | Event::Down(..) | Event::DownEnd(..))
        })
    }

    fn note(&mut self, note: Note) {
        self.book.borrow_mut().note(self.now, note);
    }

    fn after(&mut self, delay: Nanos, event: Event) {
        self.order += 1;
        self.coming.push(Coming { at: self.now + delay, order: self.order, event });
    }

    fn strikes(&mut self, chance: u32) -> bool {
        chance > 0 && self.rng.u32(..1000) < chance
    }

    fn latency(&mut self) -> Nanos {
        self.rng.u64(self.faults.latency.0..=self.faults.latency.1)
    }

    /// Lets time pass until something is ready or `timeout` is over.
    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) {
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
    fn pass(&mut self, until: Nanos) {
        while self.coming.peek().is_some_and(|coming| coming.at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Tells the server what became ready, each thing once, as few and in whatever order it pleases the network.
    fn report(&mut self, ready: &mut Vec<Ready>) {
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

    /// The next event happens.
    fn step(&mut self) {
        let Some(Coming { at, event, .. }) = self.coming.pop() else { return };
        self.now = self.now.max(at);
        match event {
            Event::Knock(number) => self.knock(number),
            Event::Up(number, bytes) => self.up(number, &bytes),
            Event::UpEnd(number) => {
                self.links[number].end_behind = true;
                self.see_end(number);
            }
            Event::UpReset(number) => self.reset(number),
            Event::Refill(number) => {
                let link = &mut self.links[number];
                let was_empty = link.arrived.is_empty();
                link.refill();
                if was_empty && !link.arrived.is_empty() {
                    self.edge(number, true, false, false);
                }
                self.see_end(number);
            }
            Event::Down(number, bytes) => {
                if !self.links[number].vanished && !self.links[number].reset {
                    self.links[number].unread.extend(&bytes);
                    self.read_soon(number, 0);
                }
            }
            Event::DownEnd(number, end) => {
                if !self.links[number].vanished && !self.links[number].reset {
                    self.links[number].end_unread.get_or_insert(end);
                    self.read_soon(number, 0);
                }
            }
            Event::Room(number) => self.room(number),
            Event::Act(number) => {
                let mut deeds = Vec::new();
                self.peers[number].act(&mut self.book.borrow_mut(), &mut deeds);
                self.carry_out(number, deeds);
            }
            Event::Read(number) => self.read(number),
            Event::Stop => {
                self.note(Note::Stop);
                self.book.borrow_mut().is_stopping = true;
                self.signals.push(Signal::Stop);
            }
            Event::Interrupt => self.is_interrupted = true,
        }
    }

    fn knock(&mut self, number: usize) {
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

    fn up(&mut self, number: usize, bytes: &[u8]) {
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

    fn see_end(&mut self, number: usize) {
        if !self.links[number].vanished && self.links[number].sees_end() {
            self.edge(number, true, false, true);
        }
    }

    fn reset(&mut self, number: usize) {
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
    fn edge(&mut self, number: usize, readable: bool, writable: bool, closed: bool) {
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

    fn room(&mut self, number: usize) {
        let now = self.now;
        if !self.links[number].vanished && self.links[number].unblocks(now) {
            self.edge(number, false, true, false);
        }
    }

    fn read_soon(&mut self, number: usize, delay: Nanos) {
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
    fn read(&mut self, number: usize) {
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
    fn carry_out(&mut self, number: usize, deeds: Vec<Deed>) {
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
    fn arrival_up(&mut self, number: usize) -> Nanos {
        let at = (self.now + self.latency()).max(self.links[number].last_up);
        self.links[number].last_up = at;
        at - self.now
    }

    fn arrival_down(&mut self, number: usize) -> Nanos {
        let at = (self.now + self.latency()).max(self.links[number].last_down);
        self.links[number].last_down = at;
        at - self.now
    }

    /// Cuts bytes as the wire does.
    fn pieces(&mut self, mut bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        while bytes.len() > 1 && pieces.len() < 12 && self.strikes(self.faults.tear) {
            let rest = bytes.split_off(self.rng.usize(1..bytes.len()));
            pieces.push(std::mem::replace(&mut bytes, rest));
        }
        pieces.push(bytes);
        pieces
    }

    fn accept(&mut self, id: ConnId) -> io::Result<usize> {
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
        let link = &mut self.links[number];
        link.id = Some(id);
        let (readable, closed) =
            (!link.arrived.is_empty() || link.ended || link.reset, link.ended || link.reset);
        self.edge(number, readable, true, closed);
        Ok(number)
    }

    fn recv(&mut self, number: usize, into: &mut [u8]) -> io::Result<usize> {
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
    fn take(&mut self, number: usize, len: usize) -> io::Result<usize> {
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
    fn send_down(&mut self, number: usize, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            for piece in self.pieces(bytes) {
                let at = self.arrival_down(number);
                self.after(at, Event::Down(number, piece));
            }
        }
    }

    fn finish(&mut self, number: usize) {
        if !std::mem::replace(&mut self.links[number].finished, true) {
            self.progress += 1;
            self.note(Note::Finished(number));
            let at = self.arrival_down(number);
            self.after(at, Event::DownEnd(number, End::Fin));
        }
    }

    fn close(&mut self, number: usize) {
        let link = &mut self.links[number];
        let is_unread = !link.reset && !(link.arrived.is_empty() && link.backlog.is_empty());
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
}

/// The server's view of the outside.
#[derive(Debug, Clone)]
pub struct SimNet(Rc<RefCell<Outside>>);

/// A socket: the number of its peer. Not to be copied, so that it is closed once.
#[derive(Debug, PartialEq, Eq)]
pub struct SimSocket(usize);

impl SimNet {
    /// The server's view of `outside`.
    pub fn new(outside: Rc<RefCell<Outside>>) -> Self {
        Self(outside)
    }

    fn call<T>(&self, call: impl FnOnce(&mut Outside) -> T) -> T {
        let mut outside = self.0.borrow_mut();
        outside.now += CALL;
        call(&mut outside)
    }
}

impl Net for SimNet {
    type Socket = SimSocket;

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()> {
        self.call(|outside| outside.wait(ready, timeout));
        Ok(())
    }

    fn now(&self) -> Nanos {
        self.0.borrow().now
    }

    fn entropy(&mut self) -> u64 {
        self.call(|outside| outside.rng.u64(..))
    }

    fn listeners(&self) -> usize {
        1
    }

    fn accept(&mut self, _: usize, id: ConnId) -> io::Result<SimSocket> {
        self.call(|outside| outside.accept(id)).map(SimSocket)
    }

    fn recv(&mut self, socket: &mut SimSocket, into: &mut [u8]) -> io::Result<usize> {
        self.call(|outside| outside.recv(socket.0, into))
    }

    fn send(&mut self, socket: &mut SimSocket, bytes: &[u8]) -> io::Result<usize> {
        self.call(|outside| {
            let taken = outside.take(socket.0, bytes.len())?;
            outside.send_down(socket.0, bytes[..taken].to_vec());
            Ok(taken)
        })
    }

    fn send_vectored(&mut self, socket: &mut SimSocket, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.send(socket, &bytes)
    }

    fn finish(&mut self, socket: &mut SimSocket) {
        self.call(|outside| outside.finish(socket.0));
    }

    fn close(&mut self, socket: SimSocket) {
        self.call(|outside| outside.close(socket.0));
    }

    fn stop_listening(&mut self) {
        self.call(|outside| {
            outside.listening = false;
            // Who knocks is refused by the system.
            while let Some(number) = outside.knocking.pop_front() {
                outside.links[number].closed = true;
                outside.after(0, Event::DownEnd(number, End::Reset));
            }
        });
    }
}
