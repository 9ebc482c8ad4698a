//! The keys of thresholds that belong to churn, storm and slow.
//!
//! Why apart: they are as many as all others together, and every other scenario lacks them.
//!
//! Invariants: those of the other keys; in another scenario each of them measures `None`, so that a threshold on it
//! fails.

use super::key::{Scalar, Unit, scalar};
use crate::report::{Churn, Latency, Report, Slow, Storm};

fn churn(report: &Report, value: fn(&Churn) -> u64) -> Option<f64> {
    report.churn.as_ref().map(|churn| value(churn) as f64)
}

fn storm(report: &Report, value: fn(&Storm) -> Option<u64>) -> Option<f64> {
    report.storm.as_ref().and_then(value).map(|value| value as f64)
}

fn slow(report: &Report, value: fn(&Slow) -> Option<u64>) -> Option<f64> {
    report.slow.as_ref().and_then(value).map(|value| value as f64)
}

fn p99(block: &Latency) -> Option<u64> {
    (block.count > 0).then_some(block.p99)
}

pub(super) static MOVING: [Scalar; 31] = [
    scalar("churn.joins", Unit::Count, |r| churn(r, |c| c.joins)),
    scalar("churn.leaves", Unit::Count, |r| churn(r, |c| c.leaves)),
    scalar("churn.failed", Unit::Count, |r| churn(r, |c| c.failed_reconnects)),
    scalar("churn.unanswered", Unit::Count, |r| churn(r, |c| c.left_unanswered)),
    scalar("churn.expected", Unit::Count, |r| churn(r, |c| c.expected)),
    scalar("churn.received", Unit::Count, |r| churn(r, |c| c.received)),
    scalar("churn.lost", Unit::Count, |r| churn(r, |c| c.lost)),
    scalar("churn.handshake_p99", Unit::Ns, |r| p99(&r.churn.as_ref()?.handshake_ns).map(|ns| ns as f64)),
    scalar("churn.population_min", Unit::Count, |r| churn(r, |c| c.population.min)),
    scalar("storm.dropped", Unit::Count, |r| storm(r, |s| Some(s.dropped))),
    scalar("storm.back", Unit::Count, |r| storm(r, |s| Some(s.back))),
    scalar("storm.back_p50", Unit::Ns, |r| storm(r, |s| s.back_p50_ns)),
    scalar("storm.back_p95", Unit::Ns, |r| storm(r, |s| s.back_p95_ns)),
    scalar("storm.back_all", Unit::Ns, |r| storm(r, |s| s.back_all_ns)),
    scalar("storm.served", Unit::Count, |r| storm(r, |s| Some(s.served))),
    scalar("storm.served_p50", Unit::Ns, |r| storm(r, |s| s.served_p50_ns)),
    scalar("storm.served_p95", Unit::Ns, |r| storm(r, |s| s.served_p95_ns)),
    scalar("storm.served_all", Unit::Ns, |r| storm(r, |s| s.served_all_ns)),
    scalar("storm.failed", Unit::Count, |r| storm(r, |s| Some(s.failed_attempts))),
    scalar("storm.before_p99", Unit::Ns, |r| storm(r, |s| p99(&s.before_ns))),
    scalar("storm.during_p99", Unit::Ns, |r| storm(r, |s| p99(&s.during_ns))),
    scalar("storm.after_p99", Unit::Ns, |r| storm(r, |s| p99(&s.after_ns))),
    scalar("storm.p99_ratio", Unit::Ratio, |r| r.storm.as_ref()?.p99_ratio),
    scalar("slow.received", Unit::Count, |r| slow(r, |s| Some(s.received))),
    scalar("slow.missed", Unit::Count, |r| slow(r, |s| Some(s.missed))),
    scalar("slow.unaccounted", Unit::Count, |r| slow(r, |s| Some(s.unaccounted))),
    scalar("slow.closed", Unit::Count, |r| slow(r, |s| Some(s.closed))),
    scalar("slow.calm_p99", Unit::Ns, |r| slow(r, |s| p99(&s.calm_ns))),
    scalar("slow.slow_p99", Unit::Ns, |r| slow(r, |s| p99(&s.slow_ns))),
    scalar("slow.healthy_p99_ratio", Unit::Ratio, |r| r.slow.as_ref()?.healthy_p99_ratio),
    scalar("slow.server_rss", Unit::Bytes, |r| slow(r, |s| s.server_rss_slow_bytes)),
];
