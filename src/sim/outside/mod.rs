//! The outside: peers, their connections, one clock and one heap of everything that will happen.
//!
//! Everything that the [`Net`](crate::net::Net) trait permits happens here: spurious events, events for those who are
//! gone, events in any order and few at a time, late waking, sleeps of our whole process, exhausted descriptors, peers
//! that leave before they are accepted. `calls` is what the server does to the outside, `wire` what happens by itself.
//!
//! Invariants: what happens follows from the seed; time never goes back; a socket is closed once.

mod calls;
pub mod failing;
mod wire;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use fastrand::Rng;
use rustix::io::Errno;

use super::account::Serves;
use super::book::Book;
use super::fault::{CALL, Faults};
use super::link::{End, Link};
use super::peer::{Ending, Peer};
use super::tally::Fault;
use super::trace::Note;
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::net::Signal;
use failing::Calls;

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
    /// Where peers knock: by TCP at the first, by a Unix socket at the second, which the server cannot tell apart.
    pub doors: Vec<Door>,
    /// Calls of the server, and which of them is to fail.
    pub calls: Calls,
    /// Our own process did not run for so long, in all.
    pub stalled: Nanos,
    /// Calls and events that moved something, ever: a loop in which this stands still spins.
    pub progress: u64,
    rng: Rng,
    book: Rc<RefCell<Book>>,
    coming: BinaryHeap<Coming>,
    order: u64,
    listening: bool,
    signals: Vec<Signal>,
    edges: VecDeque<usize>,
    is_interrupted: bool,
}

/// A listener.
#[derive(Debug, Default)]
pub struct Door {
    /// Who knocks and has not been accepted, in order.
    pub knocking: VecDeque<usize>,
    /// Somebody knocks, and the server has not been told.
    edge: bool,
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
    UpReset(usize, Errno),
    KnockAgain(usize),
    Again(usize),
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
            peers: Vec::new(),
            links,
            open: 0,
            doors: (0..faults.doors).map(|_| Door::default()).collect(),
            calls: Calls::default(),
            faults,
            stalled: 0,
            progress: 0,
            rng,
            book,
            coming: BinaryHeap::new(),
            order: 0,
            listening: true,
            signals: Vec::new(),
            edges: VecDeque::new(),
            is_interrupted: false,
        };
        for peer in &peers {
            if peer.comes < Nanos::MAX {
                outside.after(peer.comes, Event::Knock(peer.number));
            }
        }
        outside.peers = peers;
        for (number, link) in outside.links.iter().enumerate() {
            // A write in so many is taken only in part, and the rest waits for fifteen milliseconds on average; a piece in
            // so many is held up, for a third of a second. Between two writes for one peer may lie one for each of the others.
            let delays = u64::from(outside.faults.stingy) * 15 + u64::from(outside.faults.lag) * 350;
            let others = outside.peers.len() as u64 * outside.faults.call;
            let round = outside.faults.latency.1 + delays * MILLI / 1000 + others;
            let a_second = link.room_max as u64 * SECOND / round;
            outside.book.borrow_mut().accounts[number].facts.is_thin = a_second < THIN;
        }
        outside
    }

    /// Has a peer come in so much time from now.
    pub fn summon(&mut self, number: usize, delay: Nanos) {
        self.after(delay, Event::Knock(number));
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
        self.book.borrow_mut().calm_since = Some(self.now);
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

    /// Whether anything is on the wire, for or from whoever does not hear ticks: to these something always is.
    #[must_use]
    pub fn is_wire_empty(&self) -> bool {
        let book = self.book.borrow();
        !self.coming.iter().any(|coming| match coming.event {
            Event::Up(peer, _) | Event::UpEnd(peer) | Event::Down(peer, _) | Event::DownEnd(peer, _) => {
                book.accounts[peer].serves != Serves::Tick
            }
            Event::Knock(_)
            | Event::UpReset(..)
            | Event::KnockAgain(_)
            | Event::Again(_)
            | Event::Refill(_)
            | Event::Room(_)
            | Event::Act(_)
            | Event::Read(_)
            | Event::Stop
            | Event::Interrupt => false,
        })
    }

    fn note(&mut self, note: Note) {
        self.book.borrow_mut().note(self.now, note);
    }

    fn after(&mut self, delay: Nanos, event: Event) {
        self.order += 1;
        self.coming.push(Coming { at: self.now + delay, order: self.order, event });
    }

    /// Whether something of this chance, in thousandths, happens now.
    fn happens(&mut self, chance: u32) -> bool {
        chance > 0 && self.rng.u32(..1000) < chance
    }

    /// The same for a fault, which is counted if it does.
    fn strikes(&mut self, chance: u32, fault: Fault) -> bool {
        let strikes = self.happens(chance);
        if strikes {
            self.count(fault);
        }
        strikes
    }

    /// The server has called the system, which takes a moment.
    pub fn called(&mut self) {
        self.now += self.faults.call;
        if self.faults.call > CALL {
            self.count(Fault::Weary);
        }
    }

    fn count(&mut self, fault: Fault) {
        self.book.borrow_mut().tally.count(fault);
    }

    fn latency(&mut self) -> Nanos {
        self.rng.u64(self.faults.latency.0..=self.faults.latency.1)
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
            Event::UpReset(number, errno) => self.reset(number, errno),
            Event::KnockAgain(door) => self.doors[door].edge |= !self.doors[door].knocking.is_empty(),
            Event::Again(number) => {
                let link = &self.links[number];
                let (readable, closed) = (!link.arrived.is_empty(), link.ended || link.reset);
                self.edge(number, readable || closed, false, closed);
            }
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
                self.count(Fault::Stop);
                self.book.borrow_mut().is_stopping = true;
                self.signals.push(Signal::Stop);
            }
            Event::Interrupt => self.is_interrupted = true,
        }
    }
}
