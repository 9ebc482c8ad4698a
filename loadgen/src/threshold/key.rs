//! The keys of thresholds: what each looks at, in which unit, and when it is known.
//!
//! Why a table: a mistyped key is answered with all there are, and the manual's list is this list.
//!
//! Invariants: every key has one unit; a key that names no number of this run measures `None`, never zero.

use super::moving::MOVING;
use crate::report::{Fanout, Latency, Report, Spread};
use crate::units;

/// All keys, in lines of at most about 90 columns: for errors, `--help` and the docs.
pub fn key_names() -> String {
    let stats = LATENCY_STATS.map(|(name, _)| name).join(",");
    let blocks = LATENCY_BLOCKS.map(|(name, _)| name).join(",");
    let points = FANOUT_POINTS.map(|(name, _)| name).join(",");
    let spread = SPREAD_STATS.map(|(name, _)| name).join(",");
    let mut out = format!("{{{blocks}}}.{{{stats}}}\nfanout.{{{points}}}.{{{spread}}}\n");
    let mut width = 0;
    for scalar in scalars() {
        if width + scalar.name.len() > 90 {
            out.push('\n');
            width = 0;
        }
        if width > 0 {
            out.push(' ');
        }
        out.push_str(scalar.name);
        width += scalar.name.len() + 1;
    }
    out
}

/// The keys that `abort:` may watch, in one line.
pub fn abort_key_names() -> String {
    let stats = LATENCY_STATS.map(|(name, _)| name).join(",");
    let scalars = EARLY.map(|(name, _)| name).join(" ");
    format!("delivery.{{{stats}}} {scalars}")
}

/// When the number behind a key is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// At any time of the run: a count so far.
    Always,
    /// While the measured phase goes on: the last second's value.
    Measuring,
    /// When all results are home.
    AtEnd,
}

/// The keys known before the end. What only grows towards its goal (`received`, `sent`) is not among them: any demand
/// on it would fail in the first second.
pub(super) const EARLY: Named<Known, 13> = [
    ("connected", Known::Always),
    ("failed", Known::Always),
    ("dropped", Known::Always),
    ("unsent", Known::Always),
    ("duplicate", Known::Always),
    ("reordered", Known::Always),
    ("corrupt", Known::Always),
    ("late", Known::Always),
    ("unexpected", Known::Always),
    ("cpu", Known::Measuring),
    ("busiest_thread", Known::Measuring),
    ("server.cpu", Known::Measuring),
    ("server.rss", Known::Measuring),
];

impl Known {
    pub(super) fn of(name: &str) -> Self {
        if name.starts_with("delivery.") { Self::Always } else { named(&EARLY, name).unwrap_or(Self::AtEnd) }
    }
}

/// What a threshold looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    Latency(fn(&Report) -> &Latency, fn(&Latency) -> u64),
    Fanout(fn(&Fanout) -> &Spread, fn(&Spread) -> u64),
    Scalar(&'static Scalar),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Ns,
    Us,
    Count,
    Bytes,
    Ratio,
    PerS,
}

/// One number of the report under its short name.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    value: fn(&Report) -> Option<f64>,
}

pub(super) type Named<T, const N: usize> = [(&'static str, T); N];

pub(super) const LATENCY_BLOCKS: Named<fn(&Report) -> &Latency, 6> = [
    ("delivery", |r| &r.latency.delivery_ns),
    ("service", |r| &r.latency.service_ns),
    ("send_lag", |r| &r.latency.send_lag_ns),
    ("handshake", |r| &r.connect.handshake_ns),
    ("loop_lag", |r| &r.generator.loop_lag_ns),
    ("receive_lag", |r| &r.generator.receive_lag_ns),
];

pub(super) const LATENCY_STATS: Named<fn(&Latency) -> u64, 7> = [
    ("min", |l| l.min),
    ("mean", |l| l.mean),
    ("p50", |l| l.p50),
    ("p90", |l| l.p90),
    ("p99", |l| l.p99),
    ("p99.9", |l| l.p99_9),
    ("max", |l| l.max),
];

pub(super) const FANOUT_POINTS: Named<fn(&Fanout) -> &Spread, 4> =
    [("first", |f| &f.first_ns), ("half", |f| &f.half_ns), ("p95", |f| &f.p95_ns), ("last", |f| &f.last_ns)];

pub(super) const SPREAD_STATS: Named<fn(&Spread) -> u64, 3> =
    [("p50", |s| s.p50), ("p99", |s| s.p99), ("max", |s| s.max)];

pub(super) const fn scalar(name: &'static str, unit: Unit, value: fn(&Report) -> Option<f64>) -> Scalar {
    Scalar { name, unit, value }
}

static SCALARS: [Scalar; 27] = [
    scalar("connected", Unit::Count, |r| Some(r.connect.connected as f64)),
    scalar("failed", Unit::Count, |r| Some(r.connect.failed as f64)),
    scalar("dropped", Unit::Count, |r| Some(r.connect.dropped as f64)),
    scalar("connect.per_s", Unit::PerS, |r| Some(r.connect.per_s)),
    scalar("planned", Unit::Count, |r| Some(r.messages.planned as f64)),
    scalar("sent", Unit::Count, |r| Some(r.messages.sent as f64)),
    scalar("unsent", Unit::Count, |r| Some(r.messages.unsent as f64)),
    scalar("sent.per_s", Unit::PerS, |r| Some(r.messages.per_s)),
    scalar("expected", Unit::Count, |r| Some(r.deliveries.expected as f64)),
    scalar("received", Unit::Count, |r| Some(r.deliveries.received as f64)),
    scalar("lost", Unit::Count, |r| Some(r.deliveries.lost as f64)),
    scalar("duplicate", Unit::Count, |r| Some(r.deliveries.duplicate as f64)),
    scalar("reordered", Unit::Count, |r| Some(r.deliveries.reordered as f64)),
    scalar("corrupt", Unit::Count, |r| Some(r.deliveries.corrupt as f64)),
    scalar("late", Unit::Count, |r| Some(r.deliveries.late as f64)),
    scalar("unexpected", Unit::Count, |r| Some(r.deliveries.unexpected as f64)),
    scalar("received.per_s", Unit::PerS, |r| Some(r.deliveries.per_s)),
    scalar("us_per_delivery", Unit::Us, |r| r.cost.as_ref()?.us_per_delivery),
    scalar("server_cpu_us_per_delivery", Unit::Us, |r| r.cost.as_ref()?.server_cpu_us_per_delivery),
    scalar("cpu", Unit::Ratio, |r| Some(r.generator.cpu_ratio)),
    scalar("busiest_thread", Unit::Ratio, |r| Some(r.generator.busiest_thread_ratio)),
    scalar("schedule_kept", Unit::Ratio, |r| Some(r.generator.schedule_kept_ratio)),
    scalar("rss", Unit::Bytes, |r| Some(r.generator.rss_bytes as f64)),
    scalar("server.cpu", Unit::Ratio, |r| Some(r.server.as_ref()?.cpu_ratio)),
    scalar("server.rss", Unit::Bytes, |r| Some(r.server.as_ref()?.rss_bytes as f64)),
    scalar("server.rss_per_conn", Unit::Bytes, |r| Some(r.server.as_ref()?.rss_per_conn_bytes as f64)),
    scalar("server.deliveries_per_cpu_s", Unit::PerS, |r| Some(r.server.as_ref()?.deliveries_per_cpu_s)),
];

/// Every number under a name of its own.
pub(super) fn scalars() -> impl Iterator<Item = &'static Scalar> {
    SCALARS.iter().chain(&MOVING)
}

impl Scalar {
    /// What 100 % of this count is.
    pub(super) fn whole(&self, report: &Report) -> f64 {
        let whole = match self.name {
            "connected" | "failed" | "dropped" => report.connect.requested,
            "planned" | "sent" | "unsent" => report.messages.planned,
            _ => report.deliveries.expected,
        };
        whole as f64
    }
}

impl Key {
    pub(super) fn find(name: &str) -> Option<Self> {
        if let Some(scalar) = scalars().find(|scalar| scalar.name == name) {
            return Some(Self::Scalar(scalar));
        }
        let (block, stat) = name.split_once('.')?;
        if block == "fanout" {
            let (point, stat) = stat.split_once('.')?;
            return Some(Self::Fanout(named(&FANOUT_POINTS, point)?, named(&SPREAD_STATS, stat)?));
        }
        Some(Self::Latency(named(&LATENCY_BLOCKS, block)?, named(&LATENCY_STATS, stat)?))
    }

    pub(super) fn unit(self) -> Unit {
        match self {
            Self::Latency(..) | Self::Fanout(..) => Unit::Ns,
            Self::Scalar(scalar) => scalar.unit,
        }
    }

    /// The limit in the key's unit, and whether it is a share of the whole.
    pub(super) fn parse_limit(self, text: &str) -> Result<(f64, bool), String> {
        let explain = |error: units::UnitError| error.to_string();
        match self.unit() {
            Unit::Ns => units::parse_duration_ns(text)
                .map(|ns| (ns as f64, false))
                .map_err(|e| format!("a time: {e}")),
            Unit::Us => match text.parse::<f64>() {
                // The key has its unit in its name, so a bare number is microseconds.
                Ok(us) if us.is_finite() => Ok((us, false)),
                Ok(_) | Err(_) => units::parse_duration_ns(text)
                    .map(|ns| (ns as f64 / 1e3, false))
                    .map_err(|error| format!("microseconds: {error}")),
            },
            Unit::Count if text.ends_with('%') => {
                units::parse_percent(text).map(|ratio| (ratio, true)).map_err(explain)
            }
            Unit::Count => units::parse_count(text)
                .map(|count| (count as f64, false))
                .map_err(|error| format!("a count or a percentage: {error}")),
            Unit::Bytes => {
                units::parse_bytes(text).map(|bytes| (bytes as f64, false)).map_err(|e| format!("bytes: {e}"))
            }
            // CPU of several cores may be above 100 %: read as a number, not as a share.
            Unit::Ratio => match text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>() {
                Ok(value) if value.is_finite() && value >= 0.0 => {
                    Ok((if text.ends_with('%') { value / 100.0 } else { value }, false))
                }
                Ok(_) | Err(_) => Err(format!("a ratio like `0.85` or `85%`, not with `{text}`")),
            },
            Unit::PerS => units::parse_rate_per_s(text)
                .map(|per_s| (per_s, false))
                .map_err(|error| format!("events per second: {error}")),
        }
    }

    /// `None` when this run did not measure it.
    pub(super) fn measure(self, report: &Report) -> Option<f64> {
        match self {
            Self::Latency(block, stat) => {
                Some(block(report)).filter(|block| block.count > 0).map(|block| stat(block) as f64)
            }
            Self::Fanout(point, stat) => {
                let fanout = report.fanout.as_ref().filter(|fanout| fanout.broadcasts > 0)?;
                Some(stat(point(fanout)) as f64)
            }
            Self::Scalar(scalar) => (scalar.value)(report),
        }
    }
}

fn named<T: Copy>(table: &[(&'static str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}
