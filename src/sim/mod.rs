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
//! Reading order: [`net`] is the world as the server sees it, [`outside`] what it is, with [`link`] for one connection;
//! [`peer`] and [`fault`] are who comes and what goes wrong; [`book`], [`history`] and [`oracle`] say what must be true;
//! [`trace`] is what happened and [`tally`] how often. [`machine`] is several workers and the bus between them. [`scenario`] and [`exhaustive`] leave nothing to chance.
//!
//! Invariant: a run follows from its seed; nothing here reads a clock, a file or an environment.

pub mod account;
pub mod batch;
pub mod book;
pub mod exhaustive;
pub mod fault;
pub mod history;
pub mod link;
pub mod machine;
pub mod net;
pub mod oracle;
pub mod outside;
pub mod peer;
pub mod scenario;
pub mod tally;
pub mod trace;
pub mod witness;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use fastrand::Rng;

use crate::base::tick::{Nanos, SECOND};
use crate::server::Worker;
use crate::service::Departure;
use crate::service::builtin::Builtin;
use book::{Book, Failure};
use fault::Plan;
use net::SimNet;
use oracle::Watch;
use outside::Outside;
use peer::{Ending, Errand, Habits, Part, Peer, Reading};
use tally::Tally;
use trace::{Note, Sink, Trace};
use witness::Witness;

/// How long nothing goes wrong before everything must have drained.
const CALM: Nanos = 40 * SECOND;
/// How long of that the peers say nothing more.
const HUSH: Nanos = 5 * SECOND;
/// How long what is on its way then may take to arrive.
const DRAIN: Nanos = 3 * SECOND;
/// How long after nothing goes wrong any more a good client comes, and how soon it must be served.
const PROBE_AFTER: Nanos = SECOND;
const PROBE_WITHIN: Nanos = 2 * SECOND;
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
    /// What had become of everybody before they all went.
    fates: Rc<RefCell<Vec<Fate>>>,
}

/// What became of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    /// Messages and requests that it sent.
    said: u32,
    /// How it departed, if it listened and the service was told.
    departed: Option<Departure>,
    /// Its connection was broken, by itself or by a failing call.
    is_broken: bool,
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
    /// How often what happened.
    pub tally: Tally,
    /// What must never be, if it was; `turns` says when.
    pub failure: Option<Failure>,
}

/// Runs the world of `seed`, and hands every event as a line to `sink`.
#[must_use]
pub fn run(seed: u64, sink: Option<Sink>) -> Outcome {
    World::drawn(seed, sink).lived(seed)
}

impl World {
    fn drawn(seed: u64, sink: Option<Sink>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let habits = Habits {
            within: plan.chaos,
            limits: plan.config.ws,
            is_crowd: plan.is_crowd,
            has_posters: plan.has_posters,
            has_ticks: plan.has_ticks,
            is_compressed: plan.is_compressed,
        };
        Self::new(plan, rng, sink, |number, rng, book| Peer::draw(number, rng, habits, book))
    }

    /// A world of this plan, and of the peers that `cast` makes.
    fn new(
        plan: Plan,
        mut rng: Rng,
        sink: Option<Sink>,
        cast: impl Fn(usize, &mut Rng, &mut Book) -> Peer,
    ) -> Self {
        let trace = sink.map_or_else(Trace::default, Trace::narrated);
        let mut book = Book::new(trace, plan.config.overflow, plan.peers + 1);
        let mut peers: Vec<Peer> = (0..plan.peers).map(|number| cast(number, &mut rng, &mut book)).collect();
        let is_open = plan.config.admission.tokens.is_empty();
        let target = if is_open { "/echo".to_owned() } else { format!("/echo?token={}", scenario::TOKEN) };
        let probe = Part {
            comes: Nanos::MAX,
            errand: Errand::Talk(target, 1),
            reading: Reading::Prompt,
            ending: Ending::Stay,
            is_mute: false,
            pace: None,
            size: Some(100),
            is_compressed: plan.is_compressed,
        };
        peers.push(Peer::cast(plan.peers, probe, plan.config.ws, rng.fork(), &mut book));
        let book = Rc::new(RefCell::new(book));
        let outside = Outside::new(rng.fork(), plan.faults.clone(), peers, Rc::clone(&book));
        let outside = Rc::new(RefCell::new(outside));
        let net = SimNet::new(Rc::clone(&outside));
        let service = Witness::new(Builtin::default(), Rc::clone(&book));
        let worker = Worker::new(net, service, plan.config.clone(), plan.peers * 2 + 1);
        Self {
            worker,
            outside,
            book,
            plan,
            watch: Watch::default(),
            turns: 0,
            is_over: false,
            fates: Rc::default(),
        }
    }

    /// Lives its life; a panic of the server is a failure like any other.
    fn lived(mut self, seed: u64) -> Outcome {
        let life = catch_unwind(AssertUnwindSafe(|| self.live()));
        if let Err(panic) = life {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned();
            self.book.borrow_mut().fail("panic", text);
        }
        self.outcome(seed)
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
            self.outside.borrow_mut().summon(self.plan.peers, PROBE_AFTER);
            self.phase("calm");
            if self.pass(PROBE_AFTER + PROBE_WITHIN) {
                self.check(|world, book| oracle::served(&world.outside.borrow(), book));
            }
            if self.pass(CALM - HUSH - PROBE_AFTER - PROBE_WITHIN) {
                self.outside.borrow_mut().hush();
            }
            if self.pass(HUSH) && self.drain() {
                self.check(|world, book| oracle::calm(&world.outside.borrow(), &world.plan, book));
                self.part();
            }
        }
        if self.is_over {
            self.look_back();
        }
        self.settle();
        self.check(|world, book| oracle::empty(&world.worker, &world.outside.borrow(), world.is_over, book));
    }

    /// Keeps what has become of everybody so far.
    fn look_back(&mut self) {
        let book = self.book.borrow();
        let fate = |peer: &Peer| {
            let account = &book.accounts[peer.number];
            // Who does not listen is let go sooner or later, as others speak.
            let departed = account.closed.filter(|_| !account.facts.is_deaf);
            Fate { said: peer.said(), departed, is_broken: account.facts.reset }
        };
        *self.fates.borrow_mut() = self.outside.borrow().peers.iter().map(fate).collect();
    }

    /// Everybody goes, one way or the other.
    fn part(&mut self) {
        self.look_back();
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

    /// Lets arrive what is on its way: somebody may have been let go in the last moment, and others told so.
    fn drain(&mut self) -> bool {
        let now = self.outside.borrow().now;
        self.pass_until(now + DRAIN, |world| {
            world.outside.borrow().is_wire_empty() && !world.worker.metrics().1.is_busy()
        })
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
        match self.worker.turn() {
            Ok(turn) => self.is_over |= turn.is_over,
            Err(error) => return self.book.borrow_mut().fail("wait", error.to_string()),
        }
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
        let mut tally = book.tally.clone();
        tally.take_over(metrics);
        Outcome {
            seed,
            hash: book.trace.hash(),
            turns: self.turns,
            events: book.trace.notes(),
            lasted_ns: self.outside.borrow().now,
            accepted: metrics.accepted,
            owed: hub.ledger.owed,
            tally,
            failure: book.failure.clone(),
        }
    }
}
