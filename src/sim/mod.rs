//! The simulator: the real server in a made-up world, where a seed decides what goes wrong.
//!
//! A [`World`] owns one [`Worker`] over a [`SimNet`], scripted [peers](peer), one generator and one clock that jumps to
//! the next event, so that hours of many connections pass in milliseconds and any of them can be seen again.
//!
//! ```text
//!   chaos ─────────▶ calm ──────────────▶ parting ─────────▶ empty
//!   peers come,      faults have ended,   all peers go, or   nothing may
//!   faults strike    everything drains    a signal says so   be left
//! ```
//!
//! Reading order: [`net`] is the world as the server sees it, [`outside`] what it is, with [`link`] for one connection; [`peer`] and [`fault`]
//! are who comes and what goes wrong; [`book`] and [`oracle`] say what must be true; [`trace`] is what happened.
//!
//! Invariant: a run follows from its seed; nothing here reads a clock, a file or an environment.

pub mod book;
pub mod fault;
pub mod link;
pub mod net;
pub mod oracle;
pub mod outside;
pub mod peer;
pub mod trace;
pub mod witness;

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;

use crate::base::tick::{Nanos, SECOND};
use crate::server::Worker;
use crate::service::builtin::Builtin;
use book::{Book, Failure};
use fault::Plan;
use net::SimNet;
use oracle::Watch;
use outside::Outside;
use peer::{Habits, Peer};
use trace::{Note, Sink, Trace};
use witness::Witness;

/// How long nothing goes wrong before everything must have drained.
const CALM: Nanos = 40 * SECOND;
/// How long of that the peers say nothing more.
const HUSH: Nanos = 5 * SECOND;
/// In so much time every entry of the wheel has come up.
const HORIZON: Nanos = 42 * SECOND;
/// No world takes as many turns: one that does hangs.
const TURNS_MAX: u64 = 2_000_000;

/// A server, its peers and their fate.
pub struct World {
    worker: Worker<SimNet, Witness<Builtin>>,
    outside: Rc<RefCell<Outside>>,
    book: Rc<RefCell<Book>>,
    plan: Plan,
    watch: Watch,
    turns: u64,
    is_over: bool,
}

/// How a world went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it was drawn from.
    pub seed: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// Turns of the server.
    pub turns: u64,
    /// Events that happened.
    pub events: u64,
    /// How long it lasted, in simulated nanoseconds.
    pub lasted_ns: Nanos,
    /// Connections accepted.
    pub accepted: u64,
    /// Debts of publications, paid or not.
    pub owed: u64,
    /// What must never be, if it was; `turns` says when.
    pub failure: Option<Failure>,
}

/// Runs the world of `seed`, and hands every event as a line to `sink`.
#[must_use]
pub fn run(seed: u64, sink: Option<Sink>) -> Outcome {
    let mut world = World::new(seed, sink);
    world.live();
    world.outcome(seed)
}

impl World {
    fn new(seed: u64, sink: Option<Sink>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let trace = sink.map_or_else(Trace::default, Trace::narrated);
        let mut book = Book::new(trace, plan.config.overflow, plan.peers);
        let habits = Habits {
            within: plan.chaos,
            message_max: plan.config.ws.message_max,
            is_crowd: plan.is_crowd,
            has_posters: plan.has_posters,
            has_ticks: plan.has_ticks,
        };
        let peers: Vec<Peer> =
            (0..plan.peers).map(|number| Peer::draw(number, &mut rng, habits, &mut book)).collect();
        let book = Rc::new(RefCell::new(book));
        let outside = Outside::new(rng.fork(), plan.faults.clone(), peers, Rc::clone(&book));
        let outside = Rc::new(RefCell::new(outside));
        let net = SimNet::new(Rc::clone(&outside));
        let service = Witness::new(Builtin::default(), Rc::clone(&book));
        let worker = Worker::new(net, service, plan.config.clone(), plan.peers * 2);
        Self { worker, outside, book, plan, watch: Watch::default(), turns: 0, is_over: false }
    }

    /// From the first peer to the last.
    fn live(&mut self) {
        let began = self.outside.borrow().now;
        if let Some(stop) = self.plan.stop {
            self.outside.borrow_mut().stop_at(began + stop);
        }
        self.phase("chaos");
        if self.pass(self.plan.chaos) {
            self.outside.borrow_mut().heal();
            self.phase("calm");
            if self.pass(CALM - HUSH) {
                self.outside.borrow_mut().hush();
            }
            if self.pass(HUSH) {
                self.check(|world, book| oracle::calm(&world.outside.borrow(), &world.plan, book));
                self.part();
            }
        }
        self.settle();
        self.check(|world, book| oracle::empty(&world.worker, &world.outside.borrow(), world.is_over, book));
    }

    /// Everybody goes, one way or the other.
    fn part(&mut self) {
        self.phase("parting");
        let now = self.outside.borrow().now;
        if self.plan.ends_by_signal {
            self.outside.borrow_mut().stop_at(now);
        } else {
            self.outside.borrow_mut().dismiss();
        }
        let within = self.plan.reaped_within();
        self.pass_until(now + within, |world| world.worker.connections() == 0);
    }

    /// What is left to do when everybody has gone: the last publications to nobody.
    fn settle(&mut self) {
        self.phase("empty");
        if self.plan.stop.is_some() && !self.is_over {
            let (now, stalled) = (self.outside.borrow().now, self.outside.borrow().stalled);
            self.pass_until(now + self.plan.config.drain + SECOND + stalled, |_| false);
        }
        // Entries of those who are gone come up within the horizon of the wheel, and nothing comes of them.
        let now = self.outside.borrow().now;
        self.pass_until(now + HORIZON, |world| world.worker.wheel_entries() == 0);
        for _ in 0..64 {
            if self.worker.metrics().1.is_busy() {
                self.turn();
            }
        }
    }

    /// Lets this much time pass. Returns whether the server still runs and all is well.
    fn pass(&mut self, time: Nanos) -> bool {
        let until = self.outside.borrow().now + time;
        self.pass_until(until, |_| false)
    }

    fn pass_until(&mut self, until: Nanos, mut is_enough: impl FnMut(&Self) -> bool) -> bool {
        self.outside.borrow_mut().interrupt_at(until);
        while !self.is_over && self.outside.borrow().now < until && !is_enough(self) {
            self.turn();
            if self.book.borrow().failure.is_some() {
                return false;
            }
        }
        !self.is_over
    }

    /// One turn of the server, and a look at it.
    fn turn(&mut self) {
        self.turns += 1;
        let turn = self.worker.turn().expect("the simulated wait never fails");
        self.is_over |= turn.is_over;
        let Self { worker, outside, book, plan, watch, .. } = self;
        watch.step(worker, &outside.borrow(), plan, &mut book.borrow_mut());
        if self.turns > TURNS_MAX {
            self.book.borrow_mut().fail("hanging", format!("{TURNS_MAX} turns and no end"));
        }
    }

    fn check(&self, oracle: impl FnOnce(&Self, &mut Book)) {
        let is_well = self.book.borrow().failure.is_none();
        if is_well {
            oracle(self, &mut self.book.borrow_mut());
        }
    }

    fn phase(&self, name: &'static str) {
        let now = self.outside.borrow().now;
        self.book.borrow_mut().note(now, Note::Phase(name));
    }

    fn outcome(&self, seed: u64) -> Outcome {
        let (book, (metrics, hub)) = (self.book.borrow(), self.worker.metrics());
        Outcome {
            seed,
            hash: book.trace.hash(),
            turns: self.turns,
            events: book.trace.notes(),
            lasted_ns: self.outside.borrow().now,
            accepted: metrics.accepted,
            owed: hub.ledger.owed,
            failure: book.failure.clone(),
        }
    }
}
