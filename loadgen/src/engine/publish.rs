//! Publishing: what is due, what is blocked, what goes next in the closed model.
//!
//! Why: the schedule goes on whatever the server does. A message that is due while its publisher's socket is full
//! waits in that publisher's backlog with its intended time, and carries the whole wait as send lag when it leaves; if
//! it never leaves, it is unsent, and the report counts how old it became.
//!
//! Invariants: a publisher's messages leave in the order in which they were due; its sequence has no gaps, because it
//! is given at the write; `planned = sent + backlog` in the measured phase of the open model.

use super::assignment::Assignment;
use crate::payload::Payloads;
use crate::plan::{Arrival, Model, Plan};
use crate::schedule::{Due, Schedule};
use crate::units::NS_PER_S;
use std::collections::{HashMap, VecDeque};
use stentor::base::marker::Marker;

/// A message leaves on time within this, or within a tenth of the mean interval if that is longer.
const ON_TIME_NS: u64 = 1_000_000;

/// Where a publisher's next message comes from.
#[derive(Debug)]
enum Source {
    Silent,
    Open { schedule: Schedule, next: Option<Due> },
    Closed { inflight: u32, think_ns: u64, due: VecDeque<(u64, u32)> },
}

/// A message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The publisher's local number.
    pub(super) local: u32,
    /// When it is due.
    pub(super) intended_ns: u64,
}

/// The publishers of one loop.
#[derive(Debug)]
pub(super) struct Publishing {
    source: Source,
    assignment: Assignment,
    /// 0 until it begins.
    start_ns: u64,
    measure_ns: u64,
    end_ns: u64,
    /// How late is on time.
    tolerance_ns: u64,
    /// Next sequence of each local publisher.
    sequences: Vec<u32>,
    /// Intended times of what could not be written yet, of blocked publishers only.
    backlog: HashMap<u32, VecDeque<u64>>,
    backlog_len: u64,
    payloads: Payloads,
    run_id: u32,
}

impl Publishing {
    /// The publishers of the loop `assignment`.
    pub(super) fn new(plan: &Plan, assignment: &Assignment) -> Self {
        let locals = assignment.clients(plan.publishers);
        let (source, mean_ns) = match plan.model {
            Model::Silent => (Source::Silent, 0.0),
            Model::Open { rate_per_s, arrival } => {
                let schedule = Schedule::new(arrival, rate_per_s, plan.publishers.max(1), plan.seed);
                let burst = if let Arrival::Burst(size) = arrival { f64::from(size) } else { 1.0 };
                (Source::Open { schedule, next: None }, burst * NS_PER_S as f64 / rate_per_s)
            }
            Model::Closed { inflight, think_ns } => {
                (Source::Closed { inflight, think_ns, due: VecDeque::new() }, 0.0)
            }
        };
        Self {
            source,
            assignment: *assignment,
            start_ns: 0,
            measure_ns: 0,
            end_ns: 0,
            tolerance_ns: ON_TIME_NS.max((mean_ns / 10.0) as u64),
            sequences: vec![0; locals as usize],
            backlog: HashMap::new(),
            backlog_len: 0,
            payloads: Payloads::new(plan, u64::from(assignment.index) + 1),
            run_id: plan.run_id,
        }
    }

    /// The schedule begins at `start_ns`.
    pub(super) fn begin(&mut self, plan: &Plan, start_ns: u64) {
        self.start_ns = start_ns;
        self.measure_ns = start_ns + plan.warmup_ns;
        self.end_ns = self.measure_ns + plan.duration_ns;
        let locals = self.sequences.len() as u32;
        if let Source::Closed { inflight, due, .. } = &mut self.source {
            due.extend((0..*inflight).flat_map(|_| (0..locals).map(|local| (start_ns, local))));
        }
        self.advance();
    }

    /// Takes the schedule to this loop's next message.
    fn advance(&mut self) {
        if let Source::Open { schedule, next } = &mut self.source {
            let assignment = self.assignment;
            let length_ns = self.end_ns - self.start_ns;
            *next = schedule
                .by_ref()
                .take_while(|due| due.at_ns < length_ns)
                .find(|due| assignment.local(due.publisher).is_some());
        }
    }

    /// When the next message is due; `u64::MAX`: never.
    #[inline]
    pub(super) fn next_due_ns(&self) -> u64 {
        if self.start_ns == 0 {
            return u64::MAX;
        }
        match &self.source {
            Source::Silent => u64::MAX,
            Source::Open { next, .. } => next.map_or(u64::MAX, |due| self.start_ns + due.at_ns),
            Source::Closed { due, .. } => due
                .front()
                .map_or(u64::MAX, |(at_ns, _)| if *at_ns < self.end_ns { *at_ns } else { u64::MAX }),
        }
    }

    /// The next message, if it is due at `now_ns`.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<Message> {
        let intended_ns = self.next_due_ns();
        if intended_ns > now_ns {
            return None;
        }
        match &mut self.source {
            Source::Silent => None,
            Source::Open { next, .. } => {
                let due = next.take()?;
                let local = self.assignment.local(due.publisher)?;
                self.advance();
                Some(Message { local, intended_ns })
            }
            Source::Closed { due, .. } => {
                due.pop_front().map(|(intended_ns, local)| Message { local, intended_ns })
            }
        }
    }

    /// Closed model: a message of `local` has come round; the next is due after the pause.
    pub(super) fn come_round(&mut self, local: u32, now_ns: u64) {
        if let Source::Closed { think_ns, due, .. } = &mut self.source {
            due.push_back((now_ns + *think_ns, local));
        }
    }

    /// Whether a message due then belongs to the measured phase.
    pub(super) const fn is_measured(&self, intended_ns: u64) -> bool {
        intended_ns >= self.measure_ns
    }

    /// Whether a lag is within the schedule's tolerance.
    pub(super) const fn is_on_time(&self, lag_ns: u64) -> bool {
        lag_ns <= self.tolerance_ns
    }

    /// Puts a message behind those that its publisher could not write.
    pub(super) fn postpone(&mut self, message: Message) {
        self.backlog.entry(message.local).or_default().push_back(message.intended_ns);
        self.backlog_len += 1;
    }

    /// Whether earlier messages of this publisher wait.
    #[inline]
    pub(super) fn is_waiting(&self, local: u32) -> bool {
        self.backlog_len > 0 && self.backlog.contains_key(&local)
    }

    /// The oldest message of this publisher that waits.
    pub(super) fn take_waiting(&mut self, local: u32) -> Option<Message> {
        let waiting = self.backlog.get_mut(&local)?;
        let intended_ns = waiting.pop_front()?;
        if waiting.is_empty() {
            self.backlog.remove(&local);
        }
        self.backlog_len -= 1;
        Some(Message { local, intended_ns })
    }

    /// How many messages wait.
    pub(super) const fn backlog(&self) -> u64 {
        self.backlog_len
    }

    /// Intended times of everything that was due in the measured phase and never left.
    pub(super) fn unsent(&self) -> impl Iterator<Item = u64> + '_ {
        self.backlog.values().flatten().copied().filter(|intended_ns| self.is_measured(*intended_ns))
    }

    /// Makes the payload of a message that is written now; gives it the publisher's next sequence.
    pub(super) fn encode(&mut self, message: Message, now_ns: u64) -> (Marker, &[u8], [u8; 4]) {
        let sequence = &mut self.sequences[message.local as usize];
        let marker = Marker {
            flags: if message.intended_ns < self.measure_ns { Marker::WARM_UP } else { 0 },
            run: self.run_id,
            publisher: self.assignment.global(message.local),
            sequence: *sequence,
            intended_ns: message.intended_ns,
            send_lag_ns: u32::try_from(now_ns.saturating_sub(message.intended_ns)).unwrap_or(u32::MAX),
        };
        *sequence = sequence.wrapping_add(1);
        let key = self.payloads.mask_key();
        (marker, self.payloads.next(&marker), key)
    }
}
