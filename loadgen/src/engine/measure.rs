//! What becomes of a delivery: recognised, tracked, timed, counted.
//!
//! Why: this runs once per delivery, a hundred thousand times a second; it is kept in one place where its cost can be
//! seen: a CRC over 32 bytes, one tracker pair, two histogram records, one fan-out row. No allocation, no clock.
//!
//! Invariants: measured messages alone reach the counts and histograms; warm-up messages are tracked, so that the
//! first measured one is not taken for a hole. What bears no good marker tells no phase: it counts from the schedule's
//! first instant on.

use super::assignment::Assignment;
use super::fanout::{Fanout, Ranks};
use super::population::{Population, Standing};
use super::results::{Counts, Moved, Times};
use super::tracker::{Arrived, Tracker};
use crate::client::Heard;
use crate::plan::Plan;
use stentor::base::marker::{Found, Marker, decode};

/// Points of all fan-out curves of one loop, at most about so many: 16 bytes each.
const POINTS_BUDGET: u64 = 4 << 20;

/// The measuring of one loop.
#[derive(Debug)]
pub(super) struct Measure {
    run_id: u32,
    publishers: u32,
    broadcast: bool,
    /// The schedule's start; 0: not begun, what arrives before is not counted.
    pub(super) start_ns: u64,
    /// The end of the measured phase.
    pub(super) end_ns: u64,
    tracker: Tracker,
    /// One more than the newest sequence that came to this loop, by publisher; empty where nobody moves.
    next: Vec<u64>,
    /// Who was there.
    pub(super) population: Population,
    /// Fan-out rows; broadcast only.
    pub(super) fanout: Option<Fanout>,
    /// The counters.
    pub(super) counts: Counts,
    /// Delivery times of the current second; moved into `delivery` at its end.
    pub(super) second: Times,
    /// Delivery times before the current second.
    pub(super) delivery: Times,
    /// Service times.
    pub(super) service: Times,
    /// Deliveries, warm-up included.
    pub(super) received_all: u64,
    /// Their payload bytes.
    pub(super) received_all_bytes: u64,
}

impl Measure {
    /// For one loop, of no clients yet.
    pub(super) fn new(plan: &Plan, assignment: &Assignment) -> Self {
        Self {
            run_id: plan.run_id,
            publishers: plan.publishers,
            broadcast: plan.is_broadcast(),
            start_ns: 0,
            end_ns: 0,
            tracker: Tracker::new(0),
            next: if plan.motion.is_still() { Vec::new() } else { vec![0; plan.publishers as usize] },
            population: Population::new(plan, assignment),
            fanout: None,
            counts: Counts::default(),
            second: Times::default(),
            delivery: Times::default(),
            service: Times::default(),
            received_all: 0,
            received_all_bytes: 0,
        }
    }

    /// Follows the completeness of so many clients, from the start.
    pub(super) fn follow(&mut self, plan: &Plan, assignment: &Assignment, clients: usize) {
        self.population.follow(plan, assignment, clients as u32);
        let pairs = match (plan.sends(), plan.is_broadcast()) {
            (false, _) => 0,
            (true, true) => clients * plan.publishers as usize,
            (true, false) => clients,
        };
        self.tracker = Tracker::new(pairs);
    }

    /// The clients are in, the schedule begins: fan-out is over `subscribers` of this loop.
    pub(super) fn begin(&mut self, plan: &Plan, subscribers: u32, start_ns: u64) {
        self.start_ns = start_ns;
        self.end_ns = start_ns + plan.warmup_ns + plan.duration_ns;
        if self.broadcast {
            let budget = POINTS_BUDGET / plan.messages_planned().max(1);
            // Where clients come and go no rank is known before: note them evenly, as several loops do.
            let alone = plan.loops() == 1 && plan.motion.is_still();
            let ranks = Ranks::new(subscribers, alone, u32::try_from(budget).unwrap_or(u32::MAX));
            self.fanout = Some(Fanout::new(ranks, self.publishers));
        }
    }

    /// Takes one message that came to the client `local`, which is `global` over all loops.
    ///
    /// Returns the marker if it was a message of this run that had not arrived there before.
    #[inline]
    pub(super) fn deliver(&mut self, local: usize, global: u32, heard: Heard<'_>) -> Option<Marker> {
        let payload = heard.payload;
        if self.start_ns == 0 {
            return None; // a greeting of the server
        }
        let marker = match decode(payload) {
            Found::Marker(marker) if marker.run == self.run_id && self.is_for(&marker, global) => marker,
            Found::Marker(_) | Found::Absent => {
                self.note_unmarked(local, payload);
                return None;
            }
            Found::Corrupt => {
                self.counts.corrupt += 1;
                return None;
            }
        };
        self.received_all += 1;
        self.received_all_bytes += payload.len() as u64;
        let pair =
            if self.broadcast { local * self.publishers as usize + marker.publisher as usize } else { local };
        if let Some(next) = self.next.get_mut(marker.publisher as usize) {
            *next = (*next).max(u64::from(marker.sequence) + 1);
        }
        let standing = self.population.standing(local, &marker, heard.now_ns);
        if standing == Standing::New {
            // Nothing as old is owed to it; whether it came before in another session does not matter.
            self.tracker.skip_to(pair, marker.sequence);
            self.population.moved.newcomer_deliveries += u64::from(marker.flags & Marker::WARM_UP == 0);
            return None;
        }
        let arrived = self.tracker.arrive(pair, marker.sequence);
        if marker.flags & Marker::WARM_UP == 0 {
            match standing {
                Standing::Owed | Standing::New => self.count(&marker, arrived, (local, global), heard),
                Standing::Leaves => self.count_apart(arrived, |moved| &mut moved.leaver_deliveries),
                Standing::Slow if arrived == Arrived::Duplicate => self.population.moved.slow_duplicate += 1,
                Standing::Slow => self.population.moved.slow_received += 1,
            }
        }
        (arrived != Arrived::Duplicate).then_some(marker)
    }

    /// A client begins a session in the midst of the run: what this loop knows to have been written is behind it.
    pub(super) fn forget(&mut self, local: usize) {
        let publishers = self.publishers as usize;
        for publisher in 0..publishers {
            self.tracker.begin(local * publishers + publisher, self.next[publisher]);
        }
    }

    /// Counts what came to somebody it was not owed to.
    fn count_apart(&mut self, arrived: Arrived, count: impl Fn(&mut Moved) -> &mut u64) {
        match arrived {
            Arrived::First | Arrived::Reordered => *count(&mut self.population.moved) += 1,
            Arrived::Duplicate => self.counts.duplicate += 1,
        }
    }

    /// A stentor's notice that it left something out, or what nobody of this run sent.
    fn note_unmarked(&mut self, local: usize, payload: &[u8]) {
        match gap(payload) {
            Some(missed) if self.population.is_slow(local) => {
                let moved = &mut self.population.moved;
                moved.slow_gaps += 1;
                moved.slow_missed = moved.slow_missed.saturating_add(missed);
            }
            Some(missed) => {
                self.counts.gaps += 1;
                self.counts.gaps_missed = self.counts.gaps_missed.saturating_add(missed);
            }
            None => self.counts.unexpected += 1,
        }
    }

    /// Whether a client may hear this message at all.
    const fn is_for(&self, marker: &Marker, global: u32) -> bool {
        if self.broadcast { marker.publisher < self.publishers } else { marker.publisher == global }
    }

    /// Counts and times one measured arrival.
    #[inline]
    fn count(&mut self, marker: &Marker, arrived: Arrived, (local, global): (usize, u32), heard: Heard<'_>) {
        let Heard { payload, wire_bytes, now_ns } = heard;
        match arrived {
            Arrived::First => {}
            Arrived::Reordered => self.counts.reordered += 1,
            Arrived::Duplicate => {
                self.counts.duplicate += 1;
                return;
            }
        }
        self.counts.received += 1;
        self.counts.received_bytes += payload.len() as u64;
        self.counts.received_wire_bytes += wire_bytes as u64;
        self.counts.received_self += u64::from(marker.publisher == global);
        self.counts.late += u64::from(now_ns > self.end_ns);
        let delivery_ns = now_ns.saturating_sub(marker.intended_ns);
        self.second.record(delivery_ns);
        self.population.time(local, marker.intended_ns, delivery_ns);
        self.service.record(delivery_ns.saturating_sub(u64::from(marker.send_lag_ns)));
        if let Some(fanout) = self.fanout.as_mut() {
            fanout.arrive(marker.publisher, marker.sequence, marker.intended_ns, now_ns);
        }
    }

    /// Ends a second: hands out its delivery times and adds them to the whole.
    pub(super) fn take_second(&mut self) -> Times {
        self.delivery.merge(&self.second);
        std::mem::take(&mut self.second)
    }
}

/// How many messages a stentor says it left out for a slow subscriber: exactly `{"type":"gap","missed":N}`.
fn gap(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"{\"type\":\"gap\",\"missed\":")?.strip_suffix(b"}")?;
    // `parse` alone would take a sign too.
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_notice_is_a_gap() {
        assert_eq!(gap(br#"{"type":"gap","missed":17}"#), Some(17));
        for other in [
            &br#"{"type":"gap","missed":}"#[..],
            br#"{"type":"gap","missed":+1}"#,
            br#"{"type":"gap","missed":-1}"#,
            br#"{"type":"gap","missed":1} "#,
            br#"{"type": "gap","missed":1}"#,
            br#"{"type":"gap","missed":99999999999999999999}"#,
            b"",
        ] {
            assert_eq!(gap(other), None, "{}", other.escape_ascii());
        }
    }
}
