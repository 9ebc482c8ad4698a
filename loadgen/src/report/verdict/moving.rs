//! The rules for churn, storm and slow: whether what was asked for happened, and everybody got through it.
//!
//! Why: a churn in which nobody left, or a slow phase that nobody was there to measure, proves nothing, however good its
//! numbers look.
//!
//! Invariants: as in the rest of the verdict; how *long* anything took is no rule, that is what thresholds are for.

use super::{Check, Report, SAMPLES_SUSPECT, Verdict, above, add, none};

/// Share of the attempts to come back that may fail before the run says OVERLOADED instead of SUSPECT.
pub const FAILED_RETURNS_OVERLOADED_RATIO: f64 = 0.01;

/// Adds the rules of the scenario.
pub(super) fn rules(report: &Report, checks: &mut Vec<Check>) {
    if report.unbooked_sessions > 0 {
        let text =
            format!("{} sessions were not booked: what was expected is unknown", report.unbooked_sessions);
        add(checks, "sessions_booked", Verdict::Invalid, report.unbooked_sessions as f64, 0.0, text);
    }
    churn(report, checks);
    storm(report, checks);
    slow(report, checks);
}

fn churn(report: &Report, checks: &mut Vec<Check>) {
    let Some(churn) = &report.churn else { return };
    let verdict = if churn.leaves == 0 { Verdict::Suspect } else { Verdict::Valid };
    let text = if churn.leaves == 0 {
        "nobody left in the measured phase: shorter --session or longer --duration".to_owned()
    } else {
        format!("{} sessions ended and {} began", churn.leaves, churn.joins)
    };
    add(checks, "churned", verdict, churn.leaves as f64, 1.0, text);

    let failed = churn.failed_reconnects;
    let ratio = failed as f64 / (failed + churn.joins).max(1) as f64;
    let limits = (0.0, FAILED_RETURNS_OVERLOADED_RATIO);
    let (verdict, _) = above(ratio, limits, (Verdict::Suspect, Verdict::Overloaded));
    let text = match churn.failures.iter().max_by_key(|(_, count)| **count) {
        Some((why, count)) => format!("{failed} attempts to come back failed; {count} times: {why}"),
        None => "no attempt to come back failed".to_owned(),
    };
    add(checks, "reconnects", verdict, failed as f64, 0.0, text);

    let text = format!("{} sessions were not ended by the server when asked to", churn.left_unanswered);
    let verdict = none(churn.left_unanswered, Verdict::Suspect);
    add(checks, "leaves_answered", verdict, churn.left_unanswered as f64, 0.0, text);
}

fn storm(report: &Report, checks: &mut Vec<Check>) {
    let Some(storm) = &report.storm else { return };
    let verdict = if storm.dropped == 0 { Verdict::Invalid } else { Verdict::Valid };
    let text = format!("{} connections were reset at once", storm.dropped);
    add(checks, "stormed", verdict, storm.dropped as f64, 1.0, text);

    let away = storm.dropped.saturating_sub(storm.back);
    let text = match storm.failures.iter().max_by_key(|(_, count)| **count) {
        Some((why, count)) if away > 0 => {
            format!("{away} of {} never came back; {count} attempts failed: {why}", storm.dropped)
        }
        Some(_) | None => format!("{} of {} came back", storm.back, storm.dropped),
    };
    add(checks, "back", none(away, Verdict::Overloaded), storm.back as f64, storm.dropped as f64, text);

    let unserved = storm.dropped.saturating_sub(storm.served).saturating_sub(away);
    let text = format!("{} of {} heard a message again", storm.served, storm.dropped);
    add(checks, "served", none(unserved, Verdict::Suspect), storm.served as f64, storm.dropped as f64, text);
    samples(checks, "samples_before", storm.before_ns.count, "before the storm");
    samples(checks, "samples_during", storm.during_ns.count, "in the storm");
}

fn slow(report: &Report, checks: &mut Vec<Check>) {
    let Some(slow) = &report.slow else { return };
    samples(checks, "samples_calm", slow.calm_ns.count, "in the calm phases");
    samples(checks, "samples_slow", slow.slow_ns.count, "in the slow phases");
    // What lay unread when a connection was ended cannot be known; with no such end, all of it must be.
    let verdict = if slow.closed == 0 { none(slow.unaccounted, Verdict::Suspect) } else { Verdict::Valid };
    let text = format!(
        "of {} deliveries to the slow {} came, {} were left out with notice, {} are unaccounted for",
        slow.expected, slow.received, slow.missed, slow.unaccounted
    );
    add(checks, "slow_accounted", verdict, slow.unaccounted as f64, 0.0, text);
}

/// A comparison of two p99 needs enough values on both sides.
fn samples(checks: &mut Vec<Check>, check: &str, count: u64, when: &str) {
    let verdict = if count < SAMPLES_SUSPECT { Verdict::Suspect } else { Verdict::Valid };
    let text =
        format!("{count} latencies of those who stayed were recorded {when}, p99 needs {SAMPLES_SUSPECT}");
    add(checks, check, verdict, count as f64, SAMPLES_SUSPECT as f64, text);
}

#[cfg(test)]
mod tests {
    use super::super::tests::clean;
    use super::super::{Report, Verdict, judge};
    use crate::report::{Churn, Latency, Slow, Storm};

    fn enough() -> Latency {
        Latency { count: 1_000, p99: 1_000_000, ..Latency::default() }
    }

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
    fn a_churn_must_churn_and_everybody_must_get_in_again() {
        let churn = || Churn { leaves: 1_000, joins: 1_000, ..Churn::default() };
        let with = |churn: Churn| judged(|report| report.churn = Some(churn));
        assert_eq!(with(churn()), (Verdict::Valid, Vec::new()));
        assert_eq!(with(Churn { leaves: 0, ..churn() }), one("churned", Verdict::Suspect));
        assert_eq!(with(Churn { failed_reconnects: 1, ..churn() }), one("reconnects", Verdict::Suspect));
        assert_eq!(with(Churn { failed_reconnects: 90, ..churn() }), one("reconnects", Verdict::Overloaded));
        assert_eq!(with(Churn { left_unanswered: 1, ..churn() }), one("leaves_answered", Verdict::Suspect));
        let unbooked = judged(|report| report.unbooked_sessions = 1);
        assert_eq!(unbooked, one("sessions_booked", Verdict::Invalid));
    }

    #[test]
    fn a_storm_is_over_when_all_are_back() {
        let storm = || Storm {
            dropped: 10,
            back: 10,
            served: 10,
            before_ns: enough(),
            during_ns: enough(),
            ..Storm::default()
        };
        let with = |storm: Storm| judged(|report| report.storm = Some(storm));
        assert_eq!(with(storm()), (Verdict::Valid, Vec::new()));
        assert_eq!(with(Storm { back: 9, served: 9, ..storm() }), one("back", Verdict::Overloaded));
        assert_eq!(with(Storm { served: 9, ..storm() }), one("served", Verdict::Suspect));
        let unmeasured = Storm { before_ns: Latency::default(), ..storm() };
        assert_eq!(with(unmeasured), one("samples_before", Verdict::Suspect));
    }

    #[test]
    fn what_the_slow_did_not_get_is_told_or_suspect() {
        let slow = || Slow { calm_ns: enough(), slow_ns: enough(), ..Slow::default() };
        let with = |slow: Slow| judged(|report| report.slow = Some(slow));
        assert_eq!(with(slow()), (Verdict::Valid, Vec::new()));
        assert_eq!(with(Slow { unaccounted: 3, ..slow() }), one("slow_accounted", Verdict::Suspect));
        assert_eq!(with(Slow { unaccounted: 3, closed: 1, ..slow() }).0, Verdict::Valid);
        let unmeasured = Slow { slow_ns: Latency::default(), ..slow() };
        assert_eq!(with(unmeasured), one("samples_slow", Verdict::Suspect));
    }
}
