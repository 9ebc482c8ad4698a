//! What becomes of a delivery: recognised, tracked, timed, counted.
//!
//! Why: this runs once per delivery, a hundred thousand times a second; it is kept in one place where its cost can be
//! seen: a CRC over 32 bytes, one tracker pair, two histogram records, one fan-out row. No allocation, no clock.
//!
//! Invariants: measured messages alone reach the counts and histograms; warm-up messages are tracked, so that the
//! first measured one is not taken for a hole. What bears no good marker tells no phase: it counts from the schedule's
//! first instant on.

use super::fanout::{Fanout, Ranks};
use super::results::{Counts, Times};
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
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            run_id: plan.run_id,
            publishers: plan.publishers,
            broadcast: plan.is_broadcast(),
            start_ns: 0,
            end_ns: 0,
            tracker: Tracker::new(0),
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
    pub(super) fn follow(&mut self, plan: &Plan, clients: usize) {
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
            let ranks = Ranks::new(subscribers, plan.loops() == 1, u32::try_from(budget).unwrap_or(u32::MAX));
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
                match gap(payload) {
                    Some(missed) => {
                        self.counts.gaps += 1;
                        self.counts.gaps_missed = self.counts.gaps_missed.saturating_add(missed);
                    }
                    None => self.counts.unexpected += 1,
                }
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
        let arrived = self.tracker.arrive(pair, marker.sequence);
        if marker.flags & Marker::WARM_UP == 0 {
            self.count(&marker, arrived, global, heard);
        }
        (arrived != Arrived::Duplicate).then_some(marker)
    }

    /// Whether a client may hear this message at all.
    const fn is_for(&self, marker: &Marker, global: u32) -> bool {
        if self.broadcast { marker.publisher < self.publishers } else { marker.publisher == global }
    }

    /// Counts and times one measured arrival.
    #[inline]
    fn count(&mut self, marker: &Marker, arrived: Arrived, global: u32, heard: Heard<'_>) {
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
