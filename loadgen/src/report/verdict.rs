//! The judge: computes from measured facts whether the numbers of a run can be trusted.
//!
//! Why: a load generator that is itself the bottleneck prints beautiful, wrong numbers. Every rule here compares
//! one measured fact with one constant, and both stand in the report, so that nobody has to believe the verdict.
//!
//! Invariants: the verdict is the worst of its rules'; every rule that applies to the scenario appears in `checks`,
//! kept or not; no rule reads anything but the report. Facts about the *server* (loss, slowness, refusals) make a
//! run OVERLOADED or stand as SUSPECT; only facts about the *generator* or impossible data make it INVALID.

mod moving;

pub use moving::FAILED_RETURNS_OVERLOADED_RATIO;

use super::schema::DECLINED;
use super::{Check, Reason, Report, Verdict};
use crate::units;

/// Busiest generator thread above this share of a core: its queueing is part of the numbers.
pub const THREAD_SUSPECT_RATIO: f64 = 0.85;
/// Busiest generator thread above this share of a core: the numbers are mostly its queueing.
pub const THREAD_INVALID_RATIO: f64 = 0.97;
/// p99 of the loop lag above this: other sockets waited that long behind one turn of ours.
pub const LOOP_LAG_SUSPECT_NS: u64 = 50_000_000;
/// The same, no longer usable.
pub const LOOP_LAG_INVALID_NS: u64 = 1_000_000_000;
/// p99 of the send lag above this: messages left later than they claim; delivery counts it, service does not.
pub const SEND_LAG_SUSPECT_NS: u64 = 10_000_000;
/// The same, no longer usable unless the server was the cause.
pub const SEND_LAG_INVALID_NS: u64 = 1_000_000_000;
/// Share of messages that must leave on time.
pub const SCHEDULE_SUSPECT_RATIO: f64 = 0.99;
/// The same, no longer usable: the typical message was late, so the median is the generator's.
pub const SCHEDULE_INVALID_RATIO: f64 = 0.50;
/// Share of the connections that must be reached: below it another experiment was made than asked for.
pub const CONNECTED_INVALID_RATIO: f64 = 0.99;
/// Share of the planned messages that may stay unsent before the run says OVERLOADED instead of SUSPECT.
pub const UNSENT_OVERLOADED_RATIO: f64 = 0.01;
/// Share of the deliveries that may arrive only in the drain before the server counts as overloaded.
pub const LATE_OVERLOADED_RATIO: f64 = 0.05;
/// Values a percentile needs: p99 of fewer than this is one or two accidents.
pub const SAMPLES_SUSPECT: u64 = 100;
/// A measured phase shorter than this cannot tell a rate from a burst.
pub const MEASURED_SUSPECT_NS: u64 = 1_000_000_000;

/// Judges a filled report: replaces its `checks`, `reasons` and `verdict`.
pub fn judge(report: &mut Report) {
    let mut checks = Vec::with_capacity(16);
    connections(report, &mut checks);
    if report.messages.planned > 0 || report.messages.sent > 0 {
        schedule(report, &mut checks);
        completeness(report, &mut checks);
    }
    moving::rules(report, &mut checks);
    generator(report, &mut checks);
    duration(report, &mut checks);
    let mut failed: Vec<&Check> = checks.iter().filter(|check| check.verdict != Verdict::Valid).collect();
    failed.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    report.reasons = failed
        .iter()
        .map(|check| Reason { check: check.check.clone(), verdict: check.verdict, text: check.text.clone() })
        .collect();
    report.verdict = failed.first().map_or(Verdict::Valid, |check| check.verdict);
    report.checks = checks;
}

/// Adds a rule's outcome.
fn add(checks: &mut Vec<Check>, check: &str, verdict: Verdict, measured: f64, limit: f64, text: String) {
    checks.push(Check { check: check.to_owned(), verdict, measured, limit, text });
}

/// Which of two limits a value has passed; `limits.0` is the one reported while the value is good.
fn above(value: f64, limits: (f64, f64), verdicts: (Verdict, Verdict)) -> (Verdict, f64) {
    if value > limits.1 {
        (verdicts.1, limits.1)
    } else if value > limits.0 {
        (verdicts.0, limits.0)
    } else {
        (Verdict::Valid, limits.0)
    }
}

/// The same for values that must not be below.
fn below(value: f64, limits: (f64, f64), verdicts: (Verdict, Verdict)) -> (Verdict, f64) {
    let (verdict, limit) = above(-value, (-limits.0, -limits.1), verdicts);
    (verdict, -limit)
}

/// Whether zero of something is required, and what one of it means.
fn none(count: u64, verdict: Verdict) -> Verdict {
    if count == 0 { Verdict::Valid } else { verdict }
}

fn connections(report: &Report, checks: &mut Vec<Check>) {
    let connect = &report.connect;
    let ratio = connect.connected as f64 / (connect.requested.max(1)) as f64;
    let verdict = if connect.connected == 0 && connect.requested > 0 {
        Verdict::Invalid
    } else {
        below(ratio, (1.0, CONNECTED_INVALID_RATIO), (Verdict::Suspect, Verdict::Invalid)).0
    };
    let text = format!("{} of {} connections were reached", connect.connected, connect.requested);
    let text = match connect.failures.iter().max_by_key(|(_, count)| **count) {
        Some((why, count)) if verdict != Verdict::Valid => format!("{text}; {count} times: {why}"),
        Some(_) | None => text,
    };
    add(checks, "connections_reached", verdict, connect.connected as f64, connect.requested as f64, text);

    if report.plan.deflate && connect.connected > 0 {
        let compressed: u64 =
            connect.extensions.iter().filter(|(answer, _)| *answer != DECLINED).map(|(_, count)| count).sum();
        let text = if compressed == connect.connected {
            "every connection agreed on permessage-deflate".to_owned()
        } else {
            let declined = connect.connected - compressed;
            format!(
                "the server declined permessage-deflate for {declined} of {} connections",
                connect.connected
            )
        };
        let verdict = none(connect.connected - compressed, Verdict::Suspect);
        add(checks, "deflate", verdict, compressed as f64, connect.connected as f64, text);
    }

    // A subscriber that goes away in the middle makes losses that are not the message path's.
    let verdict = if connect.dropped as f64 > 0.01 * connect.connected as f64 {
        Verdict::Overloaded
    } else {
        none(connect.dropped, Verdict::Suspect)
    };
    let text = format!("{} connections dropped before the end without having been asked to", connect.dropped);
    add(checks, "connections_kept", verdict, connect.dropped as f64, 0.0, text);
}

fn schedule(report: &Report, checks: &mut Vec<Check>) {
    let (messages, generator) = (&report.messages, &report.generator);
    if report.plan.closed {
        return; // the closed model has no schedule to keep: it slows down with the server, and says CLOSED
    }
    let unsent_ratio = messages.unsent as f64 / messages.planned.max(1) as f64;
    // A publisher that cannot write is one whose server does not read.
    let (verdict, _) =
        above(unsent_ratio, (0.0, UNSENT_OVERLOADED_RATIO), (Verdict::Suspect, Verdict::Overloaded));
    let text = format!(
        "{} of {} planned messages were never sent{}",
        messages.unsent,
        messages.planned,
        if messages.unsent > 0 { ": the server did not read their publishers, or lost them" } else { "" }
    );
    add(checks, "unsent", verdict, messages.unsent as f64, 0.0, text);

    // With blocked publishers the lag is the server's doing: then it supports OVERLOADED, not INVALID.
    let worst = if messages.unsent > 0 { Verdict::Overloaded } else { Verdict::Invalid };
    let kept = generator.schedule_kept_ratio;
    let limits = (SCHEDULE_SUSPECT_RATIO, SCHEDULE_INVALID_RATIO);
    let (verdict, limit) = below(kept, limits, (Verdict::Suspect, worst));
    let text = format!(
        "{} of the messages left on time, {} should",
        units::format_percent(kept),
        units::format_percent(SCHEDULE_SUSPECT_RATIO)
    );
    add(checks, "schedule_kept", verdict, kept, limit, text);

    let lag = report.latency.send_lag_ns.p99;
    let limits = (SEND_LAG_SUSPECT_NS as f64, SEND_LAG_INVALID_NS as f64);
    let (verdict, limit) = above(lag as f64, limits, (Verdict::Suspect, worst));
    let text = format!(
        "p99 of the send lag is {}, {} is allowed",
        units::format_ns(lag),
        units::format_ns(SEND_LAG_SUSPECT_NS)
    );
    add(checks, "send_lag", verdict, lag as f64, limit, text);
}

fn completeness(report: &Report, checks: &mut Vec<Check>) {
    let deliveries = &report.deliveries;
    let expected = deliveries.expected;
    let mut count = |check: &str, count: u64, verdict: Verdict, text: String| {
        add(checks, check, none(count, verdict), count as f64, 0.0, text);
    };
    let text = format!("{} of {expected} deliveries were lost", deliveries.lost);
    count("lost", deliveries.lost, Verdict::Overloaded, text);
    let text = format!("{} deliveries came twice", deliveries.duplicate);
    count("duplicate", deliveries.duplicate, Verdict::Suspect, text);
    let text = format!("{} deliveries came out of order", deliveries.reordered);
    count("reordered", deliveries.reordered, Verdict::Suspect, text);
    let text = format!("{} messages came with a damaged marker", deliveries.corrupt);
    count("corrupt", deliveries.corrupt, Verdict::Invalid, text);
    let text =
        format!("{} messages came that this run did not send: is the server shared?", deliveries.unexpected);
    count("unexpected", deliveries.unexpected, Verdict::Suspect, text);

    if deliveries.gaps > 0 {
        let text = format!(
            "the server told {} gaps: it left out {} messages for clients that were too slow",
            deliveries.gaps, deliveries.gaps_missed
        );
        add(checks, "gaps", Verdict::Suspect, deliveries.gaps as f64, 0.0, text);
    }
    if expected > 0 && deliveries.received == 0 {
        let text = format!("nothing arrived of {expected} deliveries: does this server pass messages on?");
        add(checks, "silence", Verdict::Invalid, 0.0, 1.0, text);
    }
    let late_ratio = deliveries.late as f64 / expected.max(1) as f64;
    let (verdict, limit) = above(
        late_ratio,
        (LATE_OVERLOADED_RATIO, LATE_OVERLOADED_RATIO),
        (Verdict::Overloaded, Verdict::Overloaded),
    );
    let text = format!(
        "{} of the deliveries came only after the measured phase, {} may",
        units::format_percent(late_ratio),
        units::format_percent(LATE_OVERLOADED_RATIO)
    );
    add(checks, "late", verdict, late_ratio, limit, text);

    let samples = report.latency.delivery_ns.count;
    let verdict = if samples < SAMPLES_SUSPECT { Verdict::Suspect } else { Verdict::Valid };
    let text = format!("{samples} latencies were recorded, p99 needs {SAMPLES_SUSPECT}");
    add(checks, "samples", verdict, samples as f64, SAMPLES_SUSPECT as f64, text);
}

fn generator(report: &Report, checks: &mut Vec<Check>) {
    let generator = &report.generator;
    let busy = generator.busiest_thread_ratio;
    let limits = (THREAD_SUSPECT_RATIO, THREAD_INVALID_RATIO);
    let (verdict, limit) = above(busy, limits, (Verdict::Suspect, Verdict::Invalid));
    let text = format!(
        "the busiest generator thread used {} of a core, {} is allowed{}",
        units::format_percent(busy),
        units::format_percent(THREAD_SUSPECT_RATIO),
        if verdict == Verdict::Valid { "" } else { ": add --threads, or lower the rate" }
    );
    add(checks, "generator_cpu", verdict, busy, limit, text);

    let lag = generator.loop_lag_ns.p99;
    let limits = (LOOP_LAG_SUSPECT_NS as f64, LOOP_LAG_INVALID_NS as f64);
    let (verdict, limit) = above(lag as f64, limits, (Verdict::Suspect, Verdict::Invalid));
    let text = format!(
        "p99 of the loop lag is {}, {} is allowed",
        units::format_ns(lag),
        units::format_ns(LOOP_LAG_SUSPECT_NS)
    );
    add(checks, "loop_lag", verdict, lag as f64, limit, text);
}

fn duration(report: &Report, checks: &mut Vec<Check>) {
    let measured = report.run.measured_ns;
    if report.plan.scenario != "connect" {
        let verdict = if measured < MEASURED_SUSPECT_NS { Verdict::Suspect } else { Verdict::Valid };
        let text = format!("the measured phase took {}", units::format_ns(measured));
        add(checks, "measured_time", verdict, measured as f64, MEASURED_SUSPECT_NS as f64, text);
    }
    let verdict = if report.run.interrupted { Verdict::Suspect } else { Verdict::Valid };
    // Thresholds are checked after the verdict: one that stands here already has ended the run.
    let text = match report.thresholds.iter().find(|outcome| !outcome.passed) {
        Some(outcome) if report.run.interrupted => {
            format!("the run was cut short: `{}` did not hold", outcome.expression)
        }
        _ if report.run.interrupted => "the run was cut short".to_owned(),
        Some(_) | None => "the run ended by itself".to_owned(),
    };
    add(checks, "complete", verdict, f64::from(u8::from(report.run.interrupted)), 0.0, text);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::Latency;

    /// A clean run: 100 subscribers, 30 broadcasts.
    pub(crate) fn clean() -> Report {
        let mut report = Report::default();
        report.plan.scenario = "broadcast".to_owned();
        report.connect.requested = 100;
        report.connect.connected = 100;
        report.messages.planned = 30;
        report.messages.sent = 30;
        report.deliveries.expected = 3_000;
        report.deliveries.received = 3_000;
        report.latency.delivery_ns = Latency { count: 3_000, p99: 2_000_000, ..Latency::default() };
        report.generator.schedule_kept_ratio = 1.0;
        report.generator.busiest_thread_ratio = 0.2;
        report.run.measured_ns = 30 * units::NS_PER_S;
        report
    }

    /// Judges a clean run after one change; returns the verdict and the rules that failed.
    fn judged(change: impl FnOnce(&mut Report)) -> (Verdict, Vec<String>) {
        let mut report = clean();
        change(&mut report);
        judge(&mut report);
        (report.verdict, report.reasons.into_iter().map(|reason| reason.check).collect())
    }

    fn one(check: &str, verdict: Verdict) -> (Verdict, Vec<String>) {
        (verdict, vec![check.to_owned()])
    }

    #[test]
    fn a_clean_run_is_valid_and_shows_every_rule() {
        let mut report = clean();
        judge(&mut report);
        assert_eq!((report.verdict, report.reasons.len()), (Verdict::Valid, 0));
        assert!(report.checks.len() >= 14);
    }

    #[test]
    fn each_fact_gives_its_own_verdict_and_no_other() {
        type Case = (&'static str, Verdict, fn(&mut Report));
        let cases: [Case; 20] = [
            ("generator_cpu", Verdict::Suspect, |r| r.generator.busiest_thread_ratio = 0.86),
            ("generator_cpu", Verdict::Invalid, |r| r.generator.busiest_thread_ratio = 0.98),
            ("loop_lag", Verdict::Suspect, |r| r.generator.loop_lag_ns.p99 = 60_000_000),
            ("loop_lag", Verdict::Invalid, |r| r.generator.loop_lag_ns.p99 = 2_000_000_000),
            ("send_lag", Verdict::Suspect, |r| r.latency.send_lag_ns.p99 = 11_000_000),
            ("send_lag", Verdict::Invalid, |r| r.latency.send_lag_ns.p99 = 1_100_000_000),
            ("schedule_kept", Verdict::Suspect, |r| r.generator.schedule_kept_ratio = 0.98),
            ("schedule_kept", Verdict::Invalid, |r| r.generator.schedule_kept_ratio = 0.4),
            ("connections_reached", Verdict::Invalid, |r| r.connect.connected = 98),
            ("connections_kept", Verdict::Suspect, |r| r.connect.dropped = 1),
            ("connections_kept", Verdict::Overloaded, |r| r.connect.dropped = 2),
            ("lost", Verdict::Overloaded, |r| r.deliveries.lost = 1),
            ("duplicate", Verdict::Suspect, |r| r.deliveries.duplicate = 1),
            ("reordered", Verdict::Suspect, |r| r.deliveries.reordered = 1),
            ("corrupt", Verdict::Invalid, |r| r.deliveries.corrupt = 1),
            ("unexpected", Verdict::Suspect, |r| r.deliveries.unexpected = 1),
            ("gaps", Verdict::Suspect, |r| r.deliveries.gaps = 1),
            ("unsent", Verdict::Overloaded, |r| r.messages.unsent = 3),
            ("late", Verdict::Overloaded, |r| r.deliveries.late = 300),
            ("complete", Verdict::Suspect, |r| r.run.interrupted = true),
        ];
        for (check, verdict, change) in cases {
            assert_eq!(judged(change), one(check, verdict));
        }
    }

    #[test]
    fn blocked_publishers_blame_the_server_not_the_generator() {
        let (verdict, failed) = judged(|report| {
            report.messages.unsent = 15;
            report.generator.schedule_kept_ratio = 0.1;
            report.latency.send_lag_ns.p99 = 5_000_000_000;
        });
        assert_eq!(verdict, Verdict::Overloaded);
        assert_eq!(failed, ["unsent", "schedule_kept", "send_lag"]);
    }

    #[test]
    fn the_worst_reason_comes_first() {
        let (verdict, failed) = judged(|report| {
            report.deliveries.duplicate = 7;
            report.deliveries.corrupt = 1;
        });
        assert_eq!((verdict, failed[0].as_str()), (Verdict::Invalid, "corrupt"));
    }

    #[test]
    fn a_server_that_swallows_everything_is_no_measurement() {
        let (verdict, failed) = judged(|report| {
            report.deliveries.received = 0;
            report.deliveries.lost = 3_000;
        });
        assert_eq!(verdict, Verdict::Invalid);
        assert!(failed.contains(&"silence".to_owned()));
    }

    #[test]
    fn the_closed_model_has_no_schedule_to_break() {
        let (verdict, _) = judged(|report| {
            report.plan.closed = true;
            report.generator.schedule_kept_ratio = 0.0;
        });
        assert_eq!(verdict, Verdict::Valid);
    }
}
