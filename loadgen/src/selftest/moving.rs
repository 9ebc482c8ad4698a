//! The self-test of the scenarios in which clients move: churn, storm and slow, each with what it exists to notice.
//!
//! Why apart: where clients come and go, what was under way to one of them at that moment is known to neither side. So a count is
//! compared for equality where it does not depend on such a moment, and otherwise as a bound: the report holds *some* of
//! a fault, and never more than was committed.
//!
//! Invariants: as in the rest of the self-test; what a fault does not touch is zero.

use super::cases::{Case, Motion};
use super::fault::{CLIENTS, Counts, Fault};
use crate::report::Report;

/// The flags of a scenario, instead of those of a short run.
///
/// A life of two seconds (`--drain`) is more than any machine takes for a message; sessions are longer, so that much is owed.
pub(super) const fn flags(motion: Motion, fault: Fault) -> &'static [&'static str] {
    match (motion, fault) {
        (Motion::Still, _) => &[],
        (Motion::Churn, _) => &[
            "--scenario=churn",
            "--rate=40",
            "--duration=4s",
            "--drain=2s",
            "--session=uniform:2500ms..4s",
            "--backoff=const:100ms",
        ],
        (Motion::Storm, _) => &[
            "--scenario=storm",
            "--rate=100",
            "--duration=3s",
            "--drain=1s",
            "--storm-at=1500ms",
            "--storm=50%",
            "--backoff=const:100ms",
        ],
        // Small enough for the system's buffers, so that a server without fault has nothing to do with slowness.
        (Motion::Slow, Fault::None) => &["--scenario=slow", "--rate=40", "--duration=8s", "--slow-rate=0"],
        (Motion::Slow, _) => {
            &["--scenario=slow", "--rate=50", "--size=1ki", "--duration=8s", "--slow-rate=0", "--drain=2s"]
        }
    }
}

/// Everything in which the report differs from the books.
pub(super) fn problems(case: &Case, counts: &Counts, report: &Report) -> Vec<String> {
    let mut problems = Vec::new();
    for (what, reported, booked) in equal(case, counts, report) {
        if reported != booked {
            problems.push(format!("{what}: reported {reported}, the server booked {booked}"));
        }
    }
    for (what, reported, booked) in bounded(counts, report) {
        if reported > booked || (reported == 0) != (booked == 0) {
            problems.push(format!("{what}: reported {reported}, the server booked {booked}, and no more"));
        }
    }
    if counts.heard == 0 || counts.expected == 0 {
        problems.push("the server heard nothing at all".to_owned());
    }
    problems
}

/// What does not depend on a moment at which somebody goes.
fn equal(case: &Case, counts: &Counts, report: &Report) -> Vec<(&'static str, u64, u64)> {
    let (connect, deliveries) = (&report.connect, &report.deliveries);
    let slow = report.slow.clone().unwrap_or_default();
    let mut pairs = vec![
        ("connected at first", connect.connected, CLIENTS),
        ("sent", report.messages.sent, counts.heard),
        ("reordered", deliveries.reordered, 0),
        ("corrupt", deliveries.corrupt, 0),
        ("unexpected", deliveries.unexpected, 0),
        // Who is cut may be one that is not slow: on a busy machine anybody is, for a while.
        ("connections ended by the server", connect.dropped + slow.closed, counts.cut),
        ("gaps told", deliveries.gaps + slow.gaps, counts.told),
    ];
    // What lay in a socket that was cut is known to nobody; what is owed to one that was let in and forgotten is a bound.
    if !matches!(case.fault, Fault::CutSlow | Fault::Forget { .. }) {
        let lost = deliveries.lost + slow.missed + slow.unaccounted;
        pairs.push(("lost, with or without notice", lost, counts.lost));
    }
    if let Some(storm) = &report.storm {
        let back = counts.admitted.saturating_sub(CLIENTS);
        pairs.extend([
            ("came back", storm.back, back),
            ("back and served", storm.served, back.saturating_sub(counts.forgotten)),
        ]);
    }
    pairs
}

/// What was under way when somebody went, or the run ended: the server has booked it, and loadgen may have met it or not.
fn bounded(counts: &Counts, report: &Report) -> Vec<(&'static str, u64, u64)> {
    let deliveries = &report.deliveries;
    let mut bounds = vec![("duplicate", deliveries.duplicate, counts.duplicate)];
    if counts.withheld > 0 {
        bounds.push(("lost", deliveries.lost, counts.withheld));
    }
    if let Some(churn) = &report.churn {
        let heard = churn.received + churn.newcomer_deliveries + churn.leaver_deliveries;
        bounds.extend([
            ("received by anybody", heard, counts.delivered),
            ("refused", churn.failed_reconnects, counts.refused),
            ("came back", churn.joins, counts.admitted - CLIENTS),
            ("left unanswered", churn.left_unanswered, counts.unanswered),
        ]);
    }
    if let Some(storm) = &report.storm {
        bounds.push(("refused", storm.failed_attempts, counts.refused));
    }
    if let Some(slow) = &report.slow {
        bounds.push(("received", deliveries.received + slow.received, counts.delivered));
    }
    bounds
}
