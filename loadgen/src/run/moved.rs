//! The part of the report that belongs to churn, storm and slow: what was owed to whom, who came back when.
//!
//! Why here: a message is written in one loop and owed to sessions in all of them, so what is expected can be counted only
//! from all books together.
//!
//! Invariants: a message that was written is owed to as many as the books say, never to more than were connected; a time
//! that was not reached is absent.

use crate::engine::books::{Attendance, Moved};
use crate::engine::results::Times;
use crate::plan::{Motion, Plan, SLOW_PHASES};
use crate::report::{Churn, Deliveries, Latency, Population, Report, SeriesRow, Slow, Storm};
use crate::units::NS_PER_S;
use std::collections::HashMap;

/// To how many each message was owed.
#[derive(Debug)]
pub(super) enum Owed {
    /// To the same number each.
    Alike(u64),
    /// By publisher and sequence.
    Each { by_message: HashMap<u64, u64>, in_all: u64 },
}

impl Owed {
    /// Counts it from the books.
    pub(super) fn each(moved: &Moved, leaves_senders_out: bool) -> Self {
        let attendance = Attendance::new(&moved.sessions);
        let mut by_message = HashMap::new();
        for (key, written_ns) in moved.writes.iter() {
            let there = attendance.at(written_ns);
            by_message.insert(key, there.saturating_sub(u64::from(leaves_senders_out)));
        }
        let in_all = by_message.values().sum();
        Self::Each { by_message, in_all }
    }

    /// To how many this message was.
    pub(super) fn to(&self, key: u64) -> u64 {
        match self {
            Self::Alike(count) => *count,
            Self::Each { by_message, .. } => by_message.get(&key).copied().unwrap_or(0),
        }
    }

    /// All deliveries owed of so many messages.
    pub(super) fn in_all(&self, sent: u64) -> u64 {
        match self {
            Self::Alike(count) => sent * count,
            Self::Each { in_all, .. } => *in_all,
        }
    }

    /// To how many a message was on average, rounded.
    pub(super) fn typical(&self) -> u64 {
        match self {
            Self::Alike(count) => *count,
            Self::Each { by_message, in_all } => {
                let messages = (by_message.len() as u64).max(1);
                (in_all + messages / 2) / messages
            }
        }
    }
}

/// When the run and its schedule began, monotonic.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) origin_ns: u64,
    pub(super) start_ns: Option<u64>,
}

/// A report that holds the scenario's block and nothing else.
pub(super) fn report(
    plan: &Plan,
    moved: &Moved,
    deliveries: &Deliveries,
    series: &[SeriesRow],
    clock: Clock,
) -> Report {
    let mut report = Report { unbooked_sessions: moved.unbooked, ..Report::default() };
    match plan.motion {
        Motion::Still => {}
        Motion::Churn { .. } => report.churn = Some(churn(moved, deliveries, series)),
        Motion::Storm { .. } => report.storm = Some(storm(moved)),
        Motion::Slow { clients, .. } => {
            let mut slow = slow(moved, clients);
            if let Some(start_ns) = clock.start_ns {
                let since_ns = (start_ns + plan.warmup_ns).saturating_sub(clock.origin_ns);
                let phase_ns = (plan.duration_ns / SLOW_PHASES).max(1);
                slow.server_rss_calm_bytes = rss_max(series, since_ns, phase_ns, 0);
                slow.server_rss_slow_bytes = rss_max(series, since_ns, phase_ns, 1);
            }
            report.slow = Some(slow);
        }
    }
    report
}

fn churn(moved: &Moved, deliveries: &Deliveries, series: &[SeriesRow]) -> Churn {
    let [left_by_close, left_by_fin, left_by_reset] = moved.left;
    Churn {
        joins: moved.joins,
        leaves: moved.left.iter().sum(),
        left_by_close,
        left_by_fin,
        left_by_reset,
        left_unanswered: moved.left_unanswered,
        failed_reconnects: moved.failed,
        failures: moved.failures.clone(),
        handshake_ns: Latency::of(&moved.handshake.0),
        population: population(series),
        expected: deliveries.expected,
        received: deliveries.received,
        lost: deliveries.lost,
        newcomer_deliveries: moved.newcomer_deliveries,
        leaver_deliveries: moved.leaver_deliveries,
    }
}

fn population(series: &[SeriesRow]) -> Population {
    let counts: Vec<_> =
        series.iter().filter(|row| row.phase == "measure").map(|row| row.connected).collect();
    Population {
        min: counts.iter().copied().min().unwrap_or(0),
        mean: counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64,
        max: counts.iter().copied().max().unwrap_or(0),
    }
}

fn storm(moved: &Moved) -> Storm {
    let dropped = moved.left[2];
    let [back_p50_ns, back_p95_ns, back_all_ns] = reached(&moved.back, dropped);
    let [served_p50_ns, served_p95_ns, served_all_ns] = reached(&moved.served, dropped);
    let (mut before, mut during, mut after) = (Times::default(), Times::default(), Times::default());
    for (nth, slice) in moved.phases.iter().enumerate() {
        let begins_ns = (nth as u64).saturating_sub(1) * NS_PER_S;
        match (nth, back_all_ns) {
            (0, _) => before.merge(slice),
            (_, Some(back_ns)) if begins_ns > back_ns => after.merge(slice),
            (_, Some(_) | None) => during.merge(slice),
        }
    }
    let (before_ns, during_ns) = (Latency::of(&before.0), Latency::of(&during.0));
    Storm {
        dropped,
        back: moved.back.0.len(),
        back_p50_ns,
        back_p95_ns,
        back_all_ns,
        served: moved.served.0.len(),
        served_p50_ns,
        served_p95_ns,
        served_all_ns,
        failed_attempts: moved.failed,
        failures: moved.failures.clone(),
        handshake_ns: Latency::of(&moved.handshake.0),
        before_ns,
        during_ns,
        after_ns: Latency::of(&after.0),
        p99_ratio: ratio(&during_ns, &before_ns),
    }
}

/// When half, 95 % and all of `total` had been recorded.
fn reached(times: &Times, total: u64) -> [Option<u64>; 3] {
    let count = times.0.len();
    [(total.div_ceil(2)), (total * 95).div_ceil(100), total].map(|rank| {
        let is_reached = rank > 0 && rank <= count;
        // The quantile of a rank's middle: no rounding can make it the neighbour's.
        let at = || times.0.value_at_quantile((rank as f64 - 0.5) / count as f64).min(times.0.max());
        is_reached.then(at)
    })
}

fn ratio(of: &Latency, to: &Latency) -> Option<f64> {
    (of.count > 0 && to.count > 0 && to.p99 > 0).then(|| of.p99 as f64 / to.p99 as f64)
}

fn slow(moved: &Moved, clients: u32) -> Slow {
    let Owed::Each { in_all: expected, .. } = Owed::each(&slow_books(moved), false) else {
        return Slow::default();
    };
    let phase = |nth: usize| moved.phases.get(nth).map(|times| Latency::of(&times.0)).unwrap_or_default();
    let (calm_ns, slow_ns) = (phase(0), phase(1));
    Slow {
        clients: u64::from(clients),
        expected,
        received: moved.slow_received,
        duplicate: moved.slow_duplicate,
        gaps: moved.slow_gaps,
        missed: moved.slow_missed,
        unaccounted: expected.saturating_sub(moved.slow_received).saturating_sub(moved.slow_missed),
        closed: moved.slow_closed.values().sum(),
        closes: moved.slow_closed.clone(),
        returned: moved.joins,
        calm_ns,
        slow_ns,
        healthy_p99_ratio: ratio(&slow_ns, &calm_ns),
        server_rss_calm_bytes: None,
        server_rss_slow_bytes: None,
    }
}

/// The books as if the slow were everybody.
fn slow_books(moved: &Moved) -> Moved {
    Moved { sessions: moved.slow_sessions.clone(), writes: moved.writes.clone(), ..Moved::default() }
}

/// The most resident memory in the calm (0) or the slow (1) phases, from the seconds that end in them.
fn rss_max(series: &[SeriesRow], since_ns: u64, phase_ns: u64, parity: u64) -> Option<u64> {
    let is_in = |row: &&SeriesRow| {
        let nth = row.at_ns.checked_sub(since_ns).map(|into_ns| into_ns / phase_ns);
        nth.is_some_and(|nth| nth < SLOW_PHASES && nth % 2 == parity)
    };
    series.iter().filter(is_in).filter_map(|row| row.server_rss_bytes).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::books::Sessions;

    #[test]
    fn a_message_is_owed_to_who_was_there() {
        let sessions = Sessions { throughout: 3, intervals: vec![(0, 100), (50, u64::MAX)] };
        let mut moved = Moved { sessions, ..Moved::default() };
        for (sequence, written_ns) in [(0, 10), (1, 50), (2, 101)] {
            moved.writes.note(7, sequence, written_ns);
        }
        let owed = Owed::each(&moved, false);
        let key = |sequence: u64| 7 << 32 | sequence;
        assert_eq!([0, 1, 2].map(|sequence| owed.to(key(sequence))), [4, 5, 4]);
        assert_eq!((owed.in_all(3), owed.typical(), owed.to(key(9))), (13, 4, 0));
        assert_eq!(
            Owed::each(&moved, true).in_all(3),
            10,
            "a sender that does not hear itself is owed nothing"
        );
    }

    #[test]
    fn a_time_that_was_not_reached_is_absent() {
        let mut times = Times::default();
        for ms in 1..=19 {
            times.record(ms * 1_000_000);
        }
        let [half, most, all] =
            reached(&times, 20).map(|time| time.map(|ns| (ns as f64 / 1e6).round() as u64));
        assert_eq!((half, most, all), (Some(10), Some(19), None));
        assert_eq!(reached(&times, 0), [None; 3]);
    }

    #[test]
    fn the_seconds_until_all_were_back_are_the_storm() {
        let mut moved = Moved { left: [0, 0, 1], ..Moved::default() };
        moved.back.record(1_500_000_000);
        moved.phases.resize_with(4, Times::default);
        for (phase, ms) in moved.phases.iter_mut().zip([1, 20, 30, 2]) {
            phase.record(ms * 1_000_000);
        }
        let storm = storm(&moved);
        assert_eq!((storm.before_ns.count, storm.during_ns.count, storm.after_ns.count), (1, 2, 1));
        assert!(storm.p99_ratio.is_some_and(|ratio| (29.0..31.0).contains(&ratio)), "{:?}", storm.p99_ratio);
    }
}
