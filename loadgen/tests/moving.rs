//! Churn, storm and slow against loadgen's own stentor: who came, who went, and that nobody who stayed lost anything.
//!
//! Why: these scenarios promise exact completeness while clients come and go; only a real server, real resets and several
//! processes show that it is kept. Counts are asserted, speeds never.
//!
//! Invariants: every run has a fixed length and is waited for; nothing here depends on how fast the machine is.

#![cfg(feature = "embedded")]

use loadgen::report::Report;
use std::process::Command;

/// Runs loadgen without a URL and reads its JSON.
fn report(line: &str) -> Report {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOADGEN_")) {
        command.env_remove(name);
    }
    let output = command.args(line.split_whitespace()).args(["--json", "-"]).output().expect("it was built");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("stdout holds the document alone")
}

/// Nothing that was owed is missing, and nothing came that was not sent.
fn assert_whole(report: &Report) {
    let d = &report.deliveries;
    assert!(d.expected > 0);
    assert_eq!((d.received, d.lost), (d.expected, 0));
    assert_eq!([d.duplicate, d.reordered, d.corrupt, d.unexpected], [0; 4]);
    assert_eq!((report.connect.dropped, report.messages.unsent), (0, 0));
    assert_eq!(report.latency.delivery_ns.count, d.expected, "what was owed is timed, and nothing else");
}

#[test]
fn stayers_of_a_churn_miss_nothing_in_any_way_of_leaving_and_over_processes() {
    let line = "-s churn -c 200 -r 40 --session uniform:500ms..4s --warmup 500ms -d 3s --drain 1s";
    for flags in ["--leave mixed", "--procs 2 --leave mixed", "--leave close"] {
        let report = report(&format!("{line} {flags}"));
        assert_whole(&report);
        let churn = report.churn.as_ref().expect("the scenario's block");
        assert!(churn.leaves > 50 && churn.joins > 50, "{churn:?}");
        assert_eq!(churn.leaves, churn.left_by_close + churn.left_by_fin + churn.left_by_reset);
        assert_eq!((churn.failed_reconnects, churn.handshake_ns.count), (0, churn.joins));
        // Whatever was delivered beside, it was no stayer's: all of it together is what the subscribers could get.
        let in_all = churn.received + churn.newcomer_deliveries + churn.leaver_deliveries;
        assert!(churn.leaver_deliveries > 0 && in_all <= report.messages.sent * (200 + churn.joins));
    }
}

#[test]
fn a_storm_comes_back_and_is_served_whatever_the_backoff() {
    for flags in ["--storm 100% --backoff none", "--storm 300 --backoff const:200ms --procs 2"] {
        let line = "-s storm -c 400 -r 20 --storm-at 1s --warmup 500ms -d 4s --drain 1s";
        let report = report(&format!("{line} {flags}"));
        assert_whole(&report);
        let storm = report.storm.as_ref().expect("the scenario's block");
        let dropped = if flags.contains("100%") { 399 } else { 300 };
        assert_eq!((storm.dropped, storm.back, storm.served), (dropped, dropped, dropped), "{storm:?}");
        assert!(storm.back_p50_ns <= storm.back_p95_ns && storm.back_p95_ns <= storm.back_all_ns);
        assert!(storm.back_all_ns <= storm.served_all_ns, "nobody is served before it is back");
        let stayed = 400 - dropped;
        let timed = storm.before_ns.count + storm.during_ns.count + storm.after_ns.count;
        assert_eq!(timed, report.messages.sent * stayed, "who stayed is timed in one of the three");
    }
}

#[test]
fn the_slow_are_accounted_for_and_the_others_miss_nothing() {
    for flags in ["--slow-rate 0", "--slow-rate 2ki --procs 2"] {
        let line = "-s slow -c 200 -r 40 --size 4k --slow 25% --warmup 500ms -d 8s --drain 5s";
        let report = report(&format!("{line} {flags}"));
        assert_whole(&report);
        let slow = report.slow.as_ref().expect("the scenario's block");
        assert_eq!((slow.clients, slow.expected), (50, report.messages.sent * 50));
        assert_eq!((slow.received + slow.missed, slow.unaccounted, slow.duplicate), (slow.expected, 0, 0));
        assert_eq!(slow.closed, 0, "{:?}", slow.closes);
        assert!(slow.calm_ns.count > 0 && slow.slow_ns.count > 0 && slow.server_rss_slow_bytes > Some(0));
    }
}
