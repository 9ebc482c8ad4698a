//! The lines of the summary that belong to one scenario: churn, storm, slow.
//!
//! Why apart: as in the document, what all runs share stays short.
//!
//! Invariants: those of the summary; a time that was not reached is a word, not a zero.

use super::text::line;
use super::{Churn, Latency, Report, Slow, Storm};
use crate::units::{format_bytes, format_count, format_ns};
use std::collections::BTreeMap;

/// Appends the scenario's lines.
pub(super) fn moving(out: &mut String, report: &Report) {
    if let Some(block) = &report.churn {
        churn(out, block);
    }
    if let Some(block) = &report.storm {
        storm(out, block);
    }
    if let Some(block) = &report.slow {
        slow(out, block);
    }
}

fn churn(out: &mut String, churn: &Churn) {
    let population = churn.population;
    line(
        out,
        "churn",
        &format!(
            "{} left ({} close, {} FIN, {} RST)   {} joined   {} failed   population {} to {}, mean {:.0}",
            format_count(churn.leaves),
            churn.left_by_close,
            churn.left_by_fin,
            churn.left_by_reset,
            format_count(churn.joins),
            churn.failed_reconnects,
            population.min,
            population.max,
            population.mean
        ),
    );
    line(
        out,
        "",
        &format!(
            "stayers: {} expected   {} received   {} lost   beside them: {} to newcomers   {} to leavers",
            churn.expected, churn.received, churn.lost, churn.newcomer_deliveries, churn.leaver_deliveries
        ),
    );
    handshakes(out, &churn.handshake_ns);
    reasons(out, &churn.failures);
}

fn storm(out: &mut String, storm: &Storm) {
    let reached = |times: [Option<u64>; 3]| {
        let [half, most, all] = times.map(|time| time.map_or_else(|| "never".to_owned(), format_ns));
        format!("50% {half}   95% {most}   all {all}")
    };
    let back = reached([storm.back_p50_ns, storm.back_p95_ns, storm.back_all_ns]);
    let text = format!("{} reset   {} back: {back}", format_count(storm.dropped), format_count(storm.back));
    line(out, "storm", &format!("{text}   {} attempts failed", storm.failed_attempts));
    let served = reached([storm.served_p50_ns, storm.served_p95_ns, storm.served_all_ns]);
    line(out, "", &format!("{} served again: {served}", format_count(storm.served)));
    let ratio = storm.p99_ratio.map(|ratio| format!("   ratio {ratio:.2}")).unwrap_or_default();
    let [before, during, after] = [&storm.before_ns, &storm.during_ns, &storm.after_ns].map(p99);
    line(out, "", &format!("p99 of who stayed: before {before}   during {during}   after {after}{ratio}"));
    handshakes(out, &storm.handshake_ns);
    reasons(out, &storm.failures);
}

fn slow(out: &mut String, slow: &Slow) {
    let text = format!("{} slow clients: {} expected", format_count(slow.clients), slow.expected);
    line(
        out,
        "slow",
        &format!(
            "{text}   {} received   {} left out in {} notices   {} unaccounted   {} closed",
            slow.received, slow.missed, slow.gaps, slow.unaccounted, slow.closed
        ),
    );
    let ratio = slow.healthy_p99_ratio.map(|ratio| format!("   ratio {ratio:.3}")).unwrap_or_default();
    let [calm, slow_p99] = [&slow.calm_ns, &slow.slow_ns].map(p99);
    line(out, "", &format!("p99 of the others: calm {calm}   slow {slow_p99}{ratio}"));
    if let (Some(calm), Some(in_slow)) = (slow.server_rss_calm_bytes, slow.server_rss_slow_bytes) {
        let [calm, in_slow] = [calm, in_slow].map(format_bytes);
        line(out, "", &format!("server rss at most: calm {calm}   slow {in_slow}"));
    }
    reasons(out, &slow.closes);
}

fn p99(block: &Latency) -> String {
    if block.count == 0 { "not measured".to_owned() } else { format_ns(block.p99) }
}

fn handshakes(out: &mut String, block: &Latency) {
    if block.count > 0 {
        let [p50, p99, max] = [block.p50, block.p99, block.max].map(format_ns);
        line(out, "", &format!("handshakes of who came back: p50 {p50}   p99 {p99}   max {max}"));
    }
}

fn reasons(out: &mut String, reasons: &BTreeMap<String, u64>) {
    for (why, count) in reasons {
        line(out, "", &format!("{count} × {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_was_not_reached_is_a_word() {
        let mut out = String::new();
        let block = Storm { dropped: 10, back: 9, back_p50_ns: Some(1_000_000), ..Storm::default() };
        moving(&mut out, &Report { storm: Some(block), ..Report::default() });
        assert!(
            out.contains("50% 1ms") && out.contains("all never") && out.contains("not measured"),
            "{out}"
        );
        assert!(out.lines().all(|line| line.chars().count() <= 110), "{out}");
    }
}
