//! The connect phase: how fast, how many at once, and when to give up on one.
//!
//! Why: a server's accept queue is short, and a thousand handshakes begun at once measure its length instead of its
//! speed; a ramp and a bound on handshakes under way keep the phase a measurement.
//!
//! Invariants: attempts begin in order, no earlier than the ramp says; at most `inflight_max` are under way; each ends
//! in exactly one of open, failed or (scenario connect) gone.

use super::assignment::Assignment;
use crate::client::{Client, State};
use crate::plan::Plan;
use crate::units::NS_PER_S;
use std::collections::VecDeque;

/// The connect phase of one loop.
#[derive(Debug)]
pub(super) struct Connecting {
    clients: u32,
    /// The next client to connect.
    next: u32,
    /// Those under way, oldest first; some may be done already.
    under_way: VecDeque<u32>,
    /// How many of them are not done.
    pending: u32,
    inflight_max: u32,
    interval_ns: f64,
    begin_ns: u64,
    timeout_ns: u64,
}

impl Connecting {
    /// This loop's share of the ramp, beginning at `begin_ns`.
    pub(super) fn new(plan: &Plan, assignment: &Assignment, begin_ns: u64) -> Self {
        // The loops' ramps interlock: each begins one of the whole ramp's intervals after the one before it.
        let whole_ns = NS_PER_S as f64 / plan.ramp_per_s;
        Self {
            clients: assignment.clients(plan.clients),
            next: 0,
            under_way: VecDeque::new(),
            pending: 0,
            inflight_max: (plan.max_connecting / plan.loops()).max(1),
            interval_ns: whole_ns * f64::from(assignment.loops),
            begin_ns: begin_ns + (whole_ns * f64::from(assignment.index)) as u64,
            timeout_ns: plan.connect_timeout_ns,
        }
    }

    /// When the next attempt may begin; `None` when all have begun, or too many are under way.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let may = self.next < self.clients && self.pending < self.inflight_max;
        may.then(|| self.begin_ns + (f64::from(self.next) * self.interval_ns) as u64)
    }

    /// Takes the next attempt, if it may begin now.
    pub(super) fn take_next(&mut self, now_ns: u64) -> Option<u32> {
        self.next_ns().filter(|at_ns| *at_ns <= now_ns)?;
        let local = self.next;
        self.next += 1;
        self.pending += 1;
        self.under_way.push_back(local);
        Some(local)
    }

    /// An attempt has ended, well or not.
    pub(super) const fn settle(&mut self) {
        self.pending -= 1;
    }

    /// Whether every client has been tried.
    pub(super) const fn is_done(&self) -> bool {
        self.next == self.clients && self.pending == 0
    }

    /// No more attempts: the run ends early.
    pub(super) const fn stop(&mut self) {
        self.next = self.clients;
    }

    /// The oldest attempt under way, if it has been for too long. Forgets those that are done.
    pub(super) fn expired(
        &mut self,
        clients: &[Client],
        now_ns: u64,
        is_done: impl Fn(State) -> bool,
    ) -> Option<u32> {
        while let Some(&local) = self.under_way.front() {
            let client = &clients[local as usize];
            if is_done(client.state()) {
                self.under_way.pop_front();
            } else if now_ns >= client.started_ns + self.timeout_ns {
                return self.under_way.pop_front();
            } else {
                return None;
            }
        }
        None
    }

    /// When [`Connecting::expired`] should be asked next.
    pub(super) fn deadline_ns(&self, clients: &[Client]) -> Option<u64> {
        self.under_way.front().map(|&local| clients[local as usize].started_ns + self.timeout_ns)
    }
}
