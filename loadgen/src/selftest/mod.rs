//! `loadgen selftest`: measures a server with known faults and compares the report with the server's own books.
//!
//! Why: a measuring tool must be measured itself. A tool that reports no loss has shown nothing until it has met a
//! server that loses; so each fault is committed on purpose, counted by the one who commits it, and every count of
//! the report must be *equal*; where clients come and go, what was under way to one that goes is a bound (`moving.rs`).
//!
//! Invariants: counts are compared for equality, times as bounds that physics gives (nothing arrives before it was
//! written), speed never: the self-test passes on a slow and busy machine.

pub mod books;
pub mod cases;
pub mod fault;
mod moving;
mod outlet;
pub mod server;

use crate::cli::Cli;
use crate::plan::Plan;
use crate::report::{HISTOGRAM_HIGH_NS, Report};
use crate::threshold::Threshold;
use cases::{Case, Motion, Notice};
use clap::Parser;
use fault::{CLIENTS, Counts, FOR_GOOD_NS, Fault, SLOW_NS};
use server::{FaultyServer, Mode};
use std::io::{self, Write};

/// What measures: the engine, from a plan to a report, or why it could not.
pub type Measure<'a> = &'a (dyn Fn(Plan) -> Result<Report, String> + Sync);

/// The rules that speak of what the server did with messages and connections.
const DATA_RULES: [&str; 17] = [
    "connections_reached",
    "connections_kept",
    "unsent",
    "lost",
    "duplicate",
    "reordered",
    "corrupt",
    "unexpected",
    "silence",
    "sessions_booked",
    "churned",
    "reconnects",
    "leaves_answered",
    "stormed",
    "back",
    "served",
    "slow_accounted",
];

/// Runs all experiments one after the other, says how each went, and returns whether all passed.
///
/// # Errors
/// When `out` cannot be written.
pub fn run(measure: Measure<'_>, out: &mut dyn Write) -> io::Result<bool> {
    let (mut failed, mut all) = (0, 0);
    for case in cases::all() {
        all += 1;
        write!(out, "{:<36}", case.name)?;
        out.flush()?;
        match run_case(case, measure) {
            Ok((counts, problems)) if problems.is_empty() => writeln!(out, "ok      {}", summary(&counts))?,
            Ok((counts, problems)) => {
                failed += 1;
                writeln!(out, "FAILED  {}", summary(&counts))?;
                for problem in problems {
                    writeln!(out, "        {problem}")?;
                }
            }
            Err(why) => {
                failed += 1;
                writeln!(out, "FAILED  {why}")?;
            }
        }
    }
    if failed == 0 {
        writeln!(out, "\nin all {all} experiments the report says what the server had booked, and no more")?;
    } else {
        writeln!(out, "\n{failed} of {all} experiments failed: do not trust this loadgen on this machine")?;
    }
    Ok(failed == 0)
}

/// Runs one experiment; returns the server's books and everything in which the report differs from them.
///
/// # Errors
/// When the server cannot be started or the engine cannot run.
pub fn run_case(case: &Case, measure: Measure<'_>) -> Result<(Counts, Vec<String>), String> {
    let server = FaultyServer::start(case.mode, case.fault).map_err(|error| format!("no server: {error}"))?;
    let report = plan(case, &server.url()).and_then(measure);
    let counts = server.stop();
    let report = report?;
    if case.motion != Motion::Still {
        let mut problems = moving::problems(case, &counts, &report);
        problems.extend(verdict(case, &report));
        return Ok((counts, problems));
    }
    let mut problems = if blocks_for_good(case) {
        censoring(&counts, &report)
    } else {
        completeness(case, &counts, &report)
    };
    if blocks(case) {
        problems.extend(send_lag(&counts, &report));
    }
    problems.extend(times(&counts, &report));
    problems.extend(verdict(case, &report));
    Ok((counts, problems))
}

/// Whether the server blocks the publisher.
const fn blocks(case: &Case) -> bool {
    matches!(case.fault, Fault::Deaf { .. })
}

/// Whether it stays so until the end.
const fn blocks_for_good(case: &Case) -> bool {
    matches!(case.fault, Fault::Deaf { ns: FOR_GOOD_NS, .. })
}

/// A short run: no warm-up, since the server books every message, and a rate that any machine keeps.
fn plan(case: &Case, url: &str) -> Result<Plan, String> {
    let (scenario, rate) = match case.mode {
        Mode::Broadcast => ("broadcast", "40"),
        Mode::Echo => ("echo", "100"),
    };
    // A publisher is blocked when the kernel's buffers are full: messages of a size that fills them at once.
    let (clients, size) = if blocks(case) { ("2".to_owned(), "1mi") } else { (CLIENTS.to_string(), "128") };
    // A blocked publisher catches up with megabytes: on a slow machine, after the measured phase. Where something is
    // missing for good, the whole drain is waited for.
    let drain = if blocks(case) && !blocks_for_good(case) { "10s" } else { "1s" };
    let common =
        ["loadgen", url, "--clients", &clients, "--warmup=0s", "--ramp=1k", "--procs=1", "--threads=1"];
    let still = [
        "--scenario",
        scenario,
        "--rate",
        rate,
        "--size",
        size,
        "--duration=1500ms",
        "--drain",
        drain,
        "--arrival=constant",
    ];
    let flags = match case.motion {
        Motion::Still => &still[..],
        Motion::Churn | Motion::Storm | Motion::Slow => moving::flags(case.motion, case.fault),
    };
    let args = common.iter().chain(flags);
    let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
    Plan::new(&cli.run).map_err(|error| error.to_string())
}

/// Compares every count.
fn completeness(case: &Case, counts: &Counts, report: &Report) -> Vec<String> {
    let (connect, deliveries) = (&report.connect, &report.deliveries);
    let mut pairs = vec![
        ("connections failed", connect.failed, counts.refused),
        ("connections dropped", connect.dropped, counts.cut),
        ("duplicate", deliveries.duplicate, counts.duplicate),
        ("reordered", deliveries.reordered, counts.reordered),
        ("corrupt", deliveries.corrupt, counts.corrupt),
        ("unexpected", deliveries.unexpected, counts.foreign),
    ];
    // What was under way to a connection when it was cut may have arrived or not: only the server's half is known.
    if !matches!(case.fault, Fault::Cut { .. }) {
        pairs.extend([
            ("sent", report.messages.sent, counts.heard),
            ("expected", deliveries.expected, counts.expected),
            ("received", deliveries.received, counts.delivered),
            ("lost", deliveries.lost, counts.lost + counts.corrupt),
        ]);
    }
    let mut problems: Vec<_> = pairs
        .into_iter()
        .filter(|(_, reported, booked)| reported != booked)
        .map(|(what, reported, booked)| format!("{what}: reported {reported}, the server booked {booked}"))
        .collect();
    if counts.heard == 0 {
        problems.push("the server heard nothing at all".to_owned());
    }
    problems
}

/// A publisher that is never read again: what was planned, sent, unsent, lost and censored adds up exactly.
///
/// What lies written in the kernel's buffers when the run ends was sent, so `sent` may exceed what the server heard;
/// every sum of which it is a part is known.
fn censoring(counts: &Counts, report: &Report) -> Vec<String> {
    let (messages, deliveries, latency) = (&report.messages, &report.deliveries, &report.latency);
    let owed = messages.planned * report.connect.connected;
    let never_came = owed - counts.delivered.min(owed);
    let drain_ns = report.plan.drain_ns;
    let old = report
        .histograms
        .delivery
        .as_ref()
        .map_or(0, |histogram| histogram.count_between(drain_ns - drain_ns / 500, HISTOGRAM_HIGH_NS));
    // The schedule: one message every 25 ms, the first at once.
    let planned = (report.plan.rate_per_s * report.plan.duration_ns as f64 / 1e9).ceil() as u64;
    let mut problems: Vec<_> = [
        ("planned", messages.planned, planned),
        ("sent and unsent", messages.sent + messages.unsent, planned),
        ("received", deliveries.received, counts.delivered),
        ("expected", deliveries.expected, messages.sent * report.connect.connected),
        ("lost", deliveries.lost, deliveries.expected.saturating_sub(counts.delivered)),
        ("latencies, censored ones included", latency.delivery_ns.count, owed),
        ("censored", latency.censored, never_came),
        // Each was due before the measured phase ended, and the drain was waited for in vain.
        ("latencies of the drain's length or more", old, never_came),
        ("duplicate, reordered, corrupt or unexpected", anomalies(report), 0),
    ]
    .into_iter()
    .filter(|(_, reported, right)| reported != right)
    .map(|(what, reported, right)| format!("{what}: reported {reported}, right is {right}"))
    .collect();
    if messages.sent < counts.heard || messages.unsent == 0 {
        problems.push(format!(
            "{} sent and {} unsent, though the server heard {} and then no more",
            messages.sent, messages.unsent, counts.heard
        ));
    }
    problems
}

const fn anomalies(report: &Report) -> u64 {
    let deliveries = &report.deliveries;
    deliveries.duplicate + deliveries.reordered + deliveries.corrupt + deliveries.unexpected
}

/// A blocked publisher: what the markers said about their delay is what the report says.
fn send_lag(counts: &Counts, report: &Report) -> Vec<String> {
    let Some(histogram) = &report.histograms.send_lag else {
        return vec!["the report has no send lag histogram".to_owned()];
    };
    // A bucket on the border may hold values of both sides: it is left out here and counted in there.
    let (at_least, at_most) = (
        histogram.count_between(SLOW_NS + SLOW_NS / 500, HISTOGRAM_HIGH_NS),
        histogram.count_between(SLOW_NS - SLOW_NS / 500, HISTOGRAM_HIGH_NS),
    );
    let unheard = report.messages.sent - counts.heard.min(report.messages.sent);
    if at_least > counts.lagged + unheard || at_most < counts.lagged {
        return vec![format!(
            "{at_least} to {at_most} messages left 100 ms late or more, the server heard {} of them and missed {unheard}",
            counts.lagged
        )];
    }
    if unheard == 0 && counts.lagged == 0 {
        return vec!["no message had to wait: this kernel's send buffer holds everything".to_owned()];
    }
    Vec::new()
}

/// Compares times with what physics allows: nothing arrives before the server has written it.
fn times(counts: &Counts, report: &Report) -> Vec<String> {
    let mut problems = Vec::new();
    let block = &report.latency.delivery_ns;
    if counts.delivered == 0 || block.count == 0 {
        return problems;
    }
    // Three digits: a value stands for its neighbours within a thousandth, below a microsecond for anything.
    let floor = |ns: u64| (ns - ns / 500).saturating_sub(2_000).min(HISTOGRAM_HIGH_NS / 2);
    if block.min < floor(counts.lag_min_ns) {
        problems.push(format!(
            "delivery min {} ns: sooner than the server wrote, {} ns",
            block.min, counts.lag_min_ns
        ));
    }
    if block.max < floor(counts.lag_max_ns) {
        problems
            .push(format!("delivery max {} ns: the server wrote one at {} ns", block.max, counts.lag_max_ns));
    }
    // The open model: every message that waited behind a stall stands in the histogram, not only the first.
    if let Some(histogram) = &report.histograms.delivery {
        let slow = histogram.count_between(floor(SLOW_NS), HISTOGRAM_HIGH_NS);
        if slow < counts.slow {
            problems.push(format!(
                "{slow} deliveries stand at 100 ms or more, the server wrote {} so late",
                counts.slow
            ));
        }
    } else {
        problems.push("the report has no delivery histogram".to_owned());
    }
    problems
}

/// The verdict must have seen the fault, and no other.
fn verdict(case: &Case, report: &Report) -> Vec<String> {
    let failed: Vec<_> = report.reasons.iter().map(|reason| reason.check.as_str()).collect();
    let mut problems = Vec::new();
    match case.noticed_by {
        Notice::Rule(rule) if !failed.contains(&rule) => {
            problems.push(format!("the verdict did not notice: no `{rule}` in {failed:?}"))
        }
        Notice::Rule(_) => {}
        Notice::Threshold(text) => match Threshold::parse(text).map(|threshold| threshold.check(report)) {
            Ok(outcome) if outcome.measured.is_some() && !outcome.passed => {}
            Ok(outcome) => problems.push(format!("`{text}` did not notice: {:?}", outcome.measured)),
            Err(error) => problems.push(error.to_string()),
        },
        Notice::Nothing => {
            let wrong: Vec<_> = failed.iter().filter(|rule| DATA_RULES.contains(rule)).collect();
            if !wrong.is_empty() {
                problems.push(format!("the verdict saw what was not there: {wrong:?}"));
            }
        }
    }
    problems
}

/// The books in a line.
fn summary(counts: &Counts) -> String {
    let all = [
        ("delivered", counts.delivered),
        ("lost", counts.lost),
        ("duplicate", counts.duplicate),
        ("reordered", counts.reordered),
        ("corrupt", counts.corrupt),
        ("foreign", counts.foreign),
        ("refused", counts.refused),
        ("cut", counts.cut),
        ("withheld", counts.withheld),
        ("let in and forgotten", counts.forgotten),
        ("farewells unanswered", counts.unanswered),
        ("gaps told", counts.told),
        ("later than 100 ms", counts.slow),
        ("sent later than 100 ms", counts.lagged),
    ];
    let parts: Vec<_> = all
        .into_iter()
        .filter(|(name, count)| *count > 0 || *name == "delivered")
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::verdict::judge;

    fn loss() -> &'static Case {
        cases::all().find(|case| matches!(case.fault, Fault::Loss { .. })).expect("one of them loses")
    }

    /// A report that agrees with these books in every count.
    fn agreeing(counts: &Counts) -> Report {
        let mut report = Report::default();
        report.messages.sent = counts.heard;
        report.deliveries.expected = counts.expected;
        report.deliveries.received = counts.delivered;
        report.deliveries.lost = counts.lost + counts.corrupt;
        report.deliveries.corrupt = counts.corrupt;
        report
    }

    #[test]
    fn one_more_or_less_is_a_problem() {
        let counts =
            Counts { heard: 10, expected: 200, delivered: 197, lost: 2, corrupt: 1, ..Counts::default() };
        assert!(completeness(loss(), &counts, &agreeing(&counts)).is_empty());
        let mut report = agreeing(&counts);
        report.deliveries.lost += 1;
        let problems = completeness(loss(), &counts, &report);
        assert_eq!(problems, ["lost: reported 4, the server booked 3"]);
    }

    #[test]
    fn a_latency_below_the_servers_own_is_a_problem() {
        let counts =
            Counts { delivered: 1, lag_min_ns: 50_000_000, lag_max_ns: 50_000_000, ..Counts::default() };
        let mut histogram = crate::report::new_histogram();
        histogram.record(50_010_000).expect("within bounds");
        let mut report = Report::default();
        report.latency.delivery_ns = crate::report::Latency::of(&histogram);
        report.histograms.delivery = Some(histogram);
        assert!(times(&counts, &report).is_empty(), "{:?}", times(&counts, &report));
        report.latency.delivery_ns.min = 49_000_000;
        assert_eq!(times(&counts, &report).len(), 1);
    }

    #[test]
    fn a_fault_unnoticed_or_imagined_is_a_problem() {
        let mut report = crate::report::verdict::tests::clean();
        judge(&mut report);
        let clean = cases::all().next().expect("the first has no fault");
        assert!(verdict(clean, &report).is_empty());
        assert_eq!(verdict(loss(), &report).len(), 1);
        report.deliveries.lost = 1;
        judge(&mut report);
        assert!(verdict(loss(), &report).is_empty());
        assert_eq!(verdict(clean, &report).len(), 1);
    }
}
