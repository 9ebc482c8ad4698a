//! Comings and goings in the midst of a run: who goes when and how, who comes back when.
//!
//! Why: churn, a storm and slow clients that are thrown out differ only in who goes and how soon they return; the going,
//! the waiting and the coming back are one mechanism, so each is measured in the same way.
//!
//! How fast: in a storm nothing but `--backoff` spreads the attempts, since that is what is to be seen; in the other
//! scenarios `--ramp` and `--max-connecting` bound them, as they bound the first connections.
//!
//! Invariants: publishers do not go by themselves, but come back when they were thrown out; after the measured phase
//! nobody goes, but who is away may still come; a slot is used again only when its old connection is gone; what waits
//! is at most one entry per client in each queue.

use super::assignment::Assignment;
use super::books::note_reason;
use super::clock::now_ns;
use super::population::{NEVER_MS, NS_PER_MS};
use super::{CLOSE_NS, Loop, Phase};
use crate::client::{Client, State, reason};
use crate::plan::{Backoff, Leave, Motion, Plan};
use crate::units::NS_PER_S;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Attempts begun in one turn, so that reading goes on meanwhile.
const ATTEMPTS_MAX: usize = 64;

/// When something is due, and for which client, in milliseconds since the origin: eight bytes.
type Due = Reverse<(u32, u32)>;

/// What a client's place in the queue of who goes takes, in bytes.
pub(super) const DUE_BYTES: usize = size_of::<Due>();

/// Who goes and who comes, of one loop.
#[derive(Debug)]
pub(super) struct Comings {
    motion: Motion,
    backoff: Backoff,
    leaves: BinaryHeap<Due>,
    returns: BinaryHeap<Due>,
    /// When each attempt under way is given up, oldest first; some may be done already.
    under_way: VecDeque<(u64, u32)>,
    /// When a server that was asked to end a session is not waited for any more: when that was to be, and whose.
    closing: VecDeque<(u64, (u32, u32))>,
    pending: u32,
    pending_max: u32,
    interval_ns: u64,
    /// The ramp allows the next attempt from now on.
    next_attempt_ns: u64,
    timeout_ns: u64,
    /// How many sessions have ended by themselves.
    gone: u64,
    rng: fastrand::Rng,
}

impl Comings {
    /// Of nobody yet.
    pub(super) fn new(plan: &Plan, assignment: &Assignment) -> Self {
        let free = matches!(plan.motion, Motion::Storm { .. });
        let interval_ns = (NS_PER_S as f64 / plan.ramp_per_s * f64::from(assignment.loops)) as u64;
        Self {
            motion: plan.motion,
            backoff: plan.backoff,
            leaves: BinaryHeap::new(),
            returns: BinaryHeap::new(),
            under_way: VecDeque::new(),
            closing: VecDeque::new(),
            pending: 0,
            pending_max: if free { u32::MAX } else { (plan.max_connecting / plan.loops()).max(1) },
            interval_ns: if free { 0 } else { interval_ns },
            next_attempt_ns: 0,
            timeout_ns: plan.connect_timeout_ns,
            gone: 0,
            rng: fastrand::Rng::with_seed(plan.seed.rotate_left(31) ^ u64::from(assignment.index)),
        }
    }

    /// When something is due; `u64::MAX`: nothing is.
    pub(super) fn next_ns(&self, origin_ns: u64) -> u64 {
        let at_ns = |heap: &BinaryHeap<Due>| {
            heap.peek().map_or(u64::MAX, |Reverse((ms, _))| origin_ns + u64::from(*ms) * NS_PER_MS)
        };
        let may_begin = self.pending < self.pending_max;
        let returns_ns = if may_begin { at_ns(&self.returns).max(self.next_attempt_ns) } else { u64::MAX };
        let under_way_ns = self.under_way.front().map_or(u64::MAX, |(at_ns, _)| *at_ns);
        let closing_ns = self.closing.front().map_or(u64::MAX, |(at_ns, _)| *at_ns);
        at_ns(&self.leaves).min(returns_ns).min(under_way_ns).min(closing_ns)
    }

    /// Takes who is due in a queue.
    fn take(heap: &mut BinaryHeap<Due>, now_ms: u32) -> Option<(u32, u32)> {
        heap.peek().filter(|Reverse((ms, _))| *ms <= now_ms)?;
        heap.pop().map(|Reverse(due)| due)
    }
}

impl Loop<'_> {
    /// Whether connections that come now come back.
    pub(super) const fn is_moving(&self) -> bool {
        self.measure.start_ns > 0 && !self.measure.population.is_still()
    }

    /// When somebody is to go, come or read a little; `u64::MAX`: never.
    pub(super) fn next_move_ns(&self) -> u64 {
        if self.measure.population.is_still() {
            return u64::MAX;
        }
        let slow_ns = if self.plan.motion.is_slow() { self.slowness.next_ns } else { u64::MAX };
        self.comings.next_ns(self.assignment.origin_ns).min(slow_ns)
    }

    /// The schedule begins: says who will go when.
    pub(super) fn begin_moving(&mut self) {
        let is_open = |(_, client): &(usize, &Client)| client.state() == State::Open;
        let open = self.clients.iter().enumerate().filter(is_open).map(|(local, _)| local);
        self.measure.population.begin(self.plan, self.measure.start_ns, open);
        for local in 0..self.clients.len() {
            if self.clients[local].state() != State::Open || !self.measure.population.moves(local) {
                continue;
            }
            match self.comings.motion {
                Motion::Still | Motion::Slow { .. } => return,
                Motion::Churn { session, .. } => {
                    let rest_ns = session.draw_rest(&mut self.comings.rng);
                    self.expect_leave(local, self.measure.start_ns.saturating_add(rest_ns));
                }
                Motion::Storm { .. } => {
                    let storm_ns = self.measure.population.storm_ns().unwrap_or(u64::MAX);
                    self.expect_leave(local, storm_ns);
                }
            }
        }
    }

    /// A client is to go at this time, unless the measured phase is over then.
    fn expect_leave(&mut self, local: usize, leave_ns: u64) {
        if leave_ns >= self.measure.end_ns {
            return;
        }
        let leave_ms = self.measure.population.ms(leave_ns);
        self.measure.population.expect_leave(local, leave_ms);
        self.comings.leaves.push(Reverse((leave_ms, local as u32)));
    }

    /// Does what is due: going, coming, giving up.
    pub(super) fn move_clients(&mut self) {
        if !self.is_moving() || !self.is_running() {
            return;
        }
        let now_ns = now_ns();
        let now_ms = self.measure.population.ms(now_ns);
        while let Some((leave_ms, local)) = Comings::take(&mut self.comings.leaves, now_ms) {
            let is_open = self.clients[local as usize].state() == State::Open;
            if is_open && self.measure.population.is_due(local as usize, leave_ms) {
                self.leave(leave_ms, local, now_ns);
            }
        }
        self.give_up_waiting(now_ns);
        for _ in 0..ATTEMPTS_MAX {
            if self.comings.pending >= self.comings.pending_max || now_ns < self.comings.next_attempt_ns {
                break;
            }
            let Some((_, local)) = Comings::take(&mut self.comings.returns, now_ms) else { break };
            self.attempt(local, now_ns);
        }
    }

    /// Ends a session, as the plan says.
    fn leave(&mut self, leave_ms: u32, client: u32, now_ns: u64) {
        let local = client as usize;
        let how = match self.comings.motion {
            Motion::Churn { leave, .. } => leave.nth(self.comings.gone),
            Motion::Still | Motion::Storm { .. } | Motion::Slow { .. } => Leave::Reset,
        };
        self.comings.gone += 1;
        self.measure.population.end(local, None);
        let left = &mut self.measure.population.moved.left;
        match how {
            Leave::Close => left[0] += 1,
            Leave::Fin => left[1] += 1,
            Leave::Reset | Leave::Mixed => left[2] += 1,
        }
        match how {
            Leave::Close => self.clients[local].close(&mut self.lent),
            Leave::Fin => self.clients[local].shut(),
            Leave::Reset | Leave::Mixed => {
                self.clients[local].reset();
                self.connected -= 1;
                return self.come_back(local);
            }
        }
        self.comings.closing.push_back((now_ns + CLOSE_NS, (leave_ms, client)));
    }

    /// Gives up on servers that do not end a connection, and on attempts that take too long.
    fn give_up_waiting(&mut self, now_ns: u64) {
        while let Some((_, (leave_ms, local))) = take_over(&mut self.comings.closing, now_ns) {
            let is_this = self.measure.population.was_due(local as usize, leave_ms);
            if is_this && self.clients[local as usize].state() == State::Closing {
                self.measure.population.moved.left_unanswered += 1;
                self.clients[local as usize].reset();
                self.connected -= 1;
                self.come_back(local as usize);
            }
        }
        while let Some((deadline_ns, local)) = take_over(&mut self.comings.under_way, now_ns) {
            let client = &self.clients[local as usize];
            let is_this = client.started_ns + self.comings.timeout_ns == deadline_ns;
            if is_this && matches!(client.state(), State::Connecting | State::Handshaking | State::Entering) {
                let why = client.overdue();
                self.lose(local as usize, why);
            }
        }
    }

    /// Begins to connect again.
    fn attempt(&mut self, local: u32, now_ns: u64) {
        self.comings.next_attempt_ns = now_ns + self.comings.interval_ns;
        self.comings.pending += 1;
        self.clients[local as usize] = Client::default();
        self.measure.population.await_answer(local as usize);
        match self.open(local) {
            Ok(()) => {
                let deadline_ns = self.clients[local as usize].started_ns + self.comings.timeout_ns;
                self.comings.under_way.push_back((deadline_ns, local));
            }
            Err(error) => self.lose(local as usize, &reason(&error)),
        }
    }

    /// Queues a client that is away.
    fn come_back(&mut self, local: usize) {
        if !self.is_running() {
            return;
        }
        let now_ns = now_ns();
        let failed = self.measure.population.session(local).failed;
        let wait_ns = match self.comings.motion {
            // Who leaves is replaced at once.
            Motion::Churn { .. } if failed == 0 => 0,
            Motion::Still | Motion::Churn { .. } | Motion::Storm { .. } | Motion::Slow { .. } => {
                self.comings.backoff.draw_ns(failed, &mut self.comings.rng)
            }
        };
        let population = &self.measure.population;
        // A slow client that was thrown out comes back when everybody reads again.
        let from_ns = match population.next_phase_ns(now_ns) {
            Some(calm_ns) if population.is_slow_now(now_ns) && population.is_slow(local) => calm_ns,
            Some(_) | None => now_ns,
        };
        let due_ms = population.ms(from_ns + wait_ns);
        self.comings.returns.push(Reverse((due_ms, local as u32)));
    }

    /// A client is connected again.
    pub(super) fn returned(&mut self, local: usize, opened_ns: u64) {
        self.comings.pending -= 1;
        self.connected += 1;
        let handshake_ns = opened_ns.saturating_sub(self.clients[local].started_ns);
        let population = &mut self.measure.population;
        population.moved.joins += 1;
        population.moved.handshake.record(handshake_ns);
        if let Some(storm_ns) = population.storm_ns().filter(|_| population.moves(local)) {
            population.moved.back.record(opened_ns.saturating_sub(storm_ns));
        }
        population.open(local, opened_ns, NEVER_MS);
        self.measure.forget(local);
        if let (Motion::Churn { session, .. }, true) =
            (self.comings.motion, self.measure.population.moves(local))
        {
            let length_ns = session.draw(&mut self.comings.rng);
            self.expect_leave(local, opened_ns.saturating_add(length_ns));
        }
        self.send_waiting(local as u32);
    }

    /// A connection that stood at `before` is gone in the midst of the run.
    pub(super) fn parted(&mut self, local: usize, before: State, why: &str) {
        let is_over = self.phase == Phase::Closing;
        match before {
            State::New | State::Connecting | State::Handshaking | State::Entering => {
                self.comings.pending = self.comings.pending.saturating_sub(1);
                if is_over {
                    return;
                }
                let session = self.measure.population.session(local);
                session.failed = session.failed.saturating_add(1);
                self.measure.population.moved.failed += 1;
                note_reason(&mut self.measure.population.moved.failures, why);
            }
            State::Open => {
                self.connected -= 1;
                self.measure.population.end(local, Some(now_ns()));
                if self.measure.population.is_slow(local) {
                    note_reason(&mut self.measure.population.moved.slow_closed, why);
                } else {
                    self.measure.counts.dropped += 1;
                    self.measure.counts.note_failure(why);
                }
            }
            State::Closing => self.connected -= 1,
            State::Gone => return,
        }
        self.come_back(local);
    }
}

/// Takes the front of a queue of deadlines that have passed.
fn take_over<T>(queue: &mut VecDeque<(u64, T)>, now_ns: u64) -> Option<(u64, T)> {
    queue.front().filter(|(at_ns, _)| *at_ns <= now_ns)?;
    queue.pop_front()
}
