//! Thresholds: `'delivery.p99<50ms'`, `'lost==0'`, `'abort:busiest_thread<90%'` turn a report into pass or fail.
//!
//! Why: a load test in CI needs one bit, and the bit needs a reason; so every threshold keeps what it was compared
//! with, and a mistyped key is an error before the run, which lists the keys there are.
//!
//! Invariants: a threshold on something this run did not measure fails, it never passes by absence; one that is to
//! end the run early is refused unless its key is known early; times are compared in nanoseconds, ratios as ratios,
//! as the JSON has them.

mod key;
mod moving;

pub use key::{abort_key_names, key_names};

use crate::report::{Report, ThresholdOutcome};
use crate::units;
use key::{Key, Known, Unit};
use std::fmt;

/// One parsed `--threshold`.
#[derive(Debug, Clone)]
pub struct Threshold {
    expression: String,
    aborts: bool,
    key: Key,
    /// When the key is known.
    known: Known,
    operator: Operator,
    /// In the unit of the key; with `of_whole` a ratio.
    limit: f64,
    /// The limit of a count was written as a percentage: compared with the share of its whole.
    of_whole: bool,
}

impl PartialEq for Threshold {
    /// The expression determines all else.
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
    }
}

/// Why a threshold is none; the text says what would be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdError(String);

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ThresholdError {}

impl Threshold {
    /// Parses `[abort:]KEY OPERATOR VALUE`.
    ///
    /// # Errors
    /// When the operator is missing, the key is unknown (the error lists all), known too late for `abort:` (the error
    /// lists those that are not) or the value does not fit the key.
    pub fn parse(text: &str) -> Result<Self, ThresholdError> {
        let expression = text.trim();
        let (aborts, rest) = match expression.strip_prefix("abort:") {
            Some(rest) => (true, rest),
            None => (false, expression),
        };
        let (name, operator, value) = Operator::split(rest).ok_or_else(|| {
            ThresholdError(format!(
                "`{text}` compares nothing: write KEY, one of < <= > >= == !=, and a value, like 'delivery.p99<50ms'"
            ))
        })?;
        let key = Key::find(name).ok_or_else(|| {
            ThresholdError(format!(
                "`{name}` is no key of a threshold\n  keys    {}",
                key_names().replace('\n', "\n          ")
            ))
        })?;
        let known = Known::of(name);
        if aborts && known == Known::AtEnd {
            return Err(ThresholdError(format!(
                "`{name}` is known only when the run is over, `abort:` cannot wait for it\n  keys    {}",
                abort_key_names()
            )));
        }
        let (limit, of_whole) = key
            .parse_limit(value)
            .map_err(|why| ThresholdError(format!("`{text}`: {name} is compared with {why}")))?;
        Ok(Self { expression: expression.to_owned(), aborts, key, known, operator, limit, of_whole })
    }

    /// Whether the run should end as soon as it does not hold (`abort:`).
    pub const fn aborts(&self) -> bool {
        self.aborts
    }

    /// Whether the run should end now: it is an `abort:`, its key is known by now, and it does not hold.
    ///
    /// `so_far` is the report as far as it is known; `measuring` says that the measured phase is under way.
    pub fn aborts_now(&self, so_far: &Report, measuring: bool) -> Option<ThresholdOutcome> {
        let is_known = match self.known {
            Known::Always => true,
            Known::Measuring => measuring,
            Known::AtEnd => false,
        };
        // What has not happened yet (no delivery, no sample of the server) is no reason to stop.
        (self.aborts && is_known)
            .then(|| self.check(so_far))
            .filter(|outcome| outcome.measured.is_some() && !outcome.passed)
    }

    /// As typed.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Formats a value in the unit of the key, for people.
    pub fn format(&self, value: f64) -> String {
        match self.key.unit() {
            Unit::Count if self.of_whole => units::format_percent(value),
            Unit::Ratio => units::format_percent(value),
            Unit::Ns => units::format_ns(value.round() as u64),
            Unit::Us => format!("{value:.3} us"),
            Unit::Count => format!("{value}"),
            Unit::Bytes => format!("{} bytes", units::format_bytes(value.round() as u64)),
            Unit::PerS => units::format_rate(value),
        }
    }

    /// Compares it with what a run measured.
    pub fn check(&self, report: &Report) -> ThresholdOutcome {
        let measured = self.key.measure(report).map(|measured| match (self.of_whole, self.key) {
            (true, Key::Scalar(scalar)) => measured / scalar.whole(report).max(1.0),
            (true, Key::Latency(..) | Key::Fanout(..)) | (false, _) => measured,
        });
        ThresholdOutcome {
            expression: self.expression.clone(),
            measured,
            limit: self.limit,
            passed: measured.is_some_and(|measured| self.operator.holds(measured, self.limit)),
        }
    }
}

/// Checks all thresholds, puts their outcomes into the report, and says whether all passed.
///
/// One that ended the run stands there already: it failed, whatever the numbers became afterwards.
pub fn check_all(thresholds: &[Threshold], report: &mut Report) -> bool {
    let ended = std::mem::take(&mut report.thresholds);
    let outcome = |threshold: &Threshold| {
        let of_this = |outcome: &&ThresholdOutcome| outcome.expression == threshold.expression;
        ended.iter().find(of_this).cloned().unwrap_or_else(|| threshold.check(report))
    };
    report.thresholds = thresholds.iter().map(outcome).collect();
    report.thresholds.iter().all(|outcome| outcome.passed)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Operator {
    /// Two-character operators first, so that `<=` is not read as `<`.
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn split(text: &str) -> Option<(&str, Self, &str)> {
        Self::ALL.into_iter().find_map(|(sign, operator)| {
            let (name, value) = text.split_once(sign)?;
            Some((name.trim(), operator, value.trim()))
        })
    }

    fn holds(self, measured: f64, limit: f64) -> bool {
        match self {
            Self::Less => measured < limit,
            Self::LessOrEqual => measured <= limit,
            Self::Greater => measured > limit,
            Self::GreaterOrEqual => measured >= limit,
            // Counts are whole and below 2^53: their equality is exact.
            Self::Equal => measured == limit,
            Self::NotEqual => measured != limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::key::{EARLY, FANOUT_POINTS, LATENCY_BLOCKS, LATENCY_STATS, SPREAD_STATS, scalars};
    use super::*;
    use crate::report::verdict::tests::clean;

    fn passes(text: &str, report: &Report) -> bool {
        Threshold::parse(text).expect("a threshold").check(report).passed
    }

    #[test]
    fn times_counts_shares_and_ratios_compare_in_their_unit() {
        let mut report = clean();
        assert!(passes("delivery.p99<50ms", &report));
        assert!(!passes("delivery.p99 <= 1.9ms", &report));
        assert!(passes("delivery.p99==2ms", &report));
        assert!(passes("lost==0", &report));
        report.deliveries.lost = 3;
        assert!(!passes("lost==0", &report));
        assert!(passes("lost<=0.1%", &report));
        assert!(!passes("lost<0.1%", &report));
        assert!(passes("busiest_thread<85%", &report));
        assert!(passes("cpu<=200%", &report));
        assert!(passes("connected>=100", &report));
        report.deliveries.per_s = 1_500.0;
        assert!(passes("received.per_s>1k", &report));
    }

    #[test]
    fn what_was_not_measured_fails() {
        let outcome = Threshold::parse("server.cpu<100%").expect("a threshold").check(&clean());
        assert_eq!((outcome.measured, outcome.passed), (None, false));
        assert!(!passes("fanout.last.p99<1h", &clean()));
        assert!(!passes("service.p99<1h", &clean()));
    }

    #[test]
    fn the_scenarios_have_keys_and_other_scenarios_fail_them() {
        let mut report = clean();
        assert!(!passes("churn.lost==0", &report) && !passes("storm.back_p95<10s", &report));
        report.churn = Some(crate::report::Churn::default());
        report.storm = Some(crate::report::Storm { back_p95_ns: Some(7), ..Default::default() });
        report.slow = Some(crate::report::Slow { healthy_p99_ratio: Some(1.04), ..Default::default() });
        assert!(passes("churn.lost==0", &report) && passes("storm.back_p95<10s", &report));
        assert!(!passes("storm.back_all<10s", &report), "it was not reached");
        assert!(passes("slow.healthy_p99_ratio<1.05", &report));
        assert!(!passes("slow.healthy_p99_ratio<103%", &report));
    }

    #[test]
    fn values_read_in_the_unit_of_their_key() {
        let format = |text: &str, value| Threshold::parse(text).expect("a threshold").format(value);
        assert_eq!(format("delivery.p99<50ms", 2_500_000.0), "2.5ms");
        assert_eq!(format("lost==0", 12.0), "12");
        assert_eq!(format("lost<1%", 0.005), "0.5%");
        assert_eq!(format("rss<64mi", 1_048_576.0), "1mi bytes");
    }

    #[test]
    fn abort_is_a_prefix() {
        let threshold = Threshold::parse("abort:unsent<1%").expect("a threshold");
        assert!(threshold.aborts());
        assert_eq!(threshold.expression(), "abort:unsent<1%");
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let text = |text: &str| Threshold::parse(text).expect_err("must fail").to_string();
        assert!(text("delivery.p98<1ms").contains("delivery,service,send_lag"));
        assert!(text("nonsense<1").contains("lost duplicate reordered"));
        assert!(text("delivery.p99<50").contains("the unit is missing"));
        assert!(text("delivery.p99").contains("like 'delivery.p99<50ms'"));
        assert!(text("lost<-1").contains("a count or a percentage"));
        assert!(text("cpu<fast").contains("`85%`"));
    }

    #[test]
    fn only_what_is_known_early_can_end_a_run() {
        for (name, _) in EARLY {
            Threshold::parse(&format!("abort:{name}<1")).expect("listed");
        }
        Threshold::parse("abort:delivery.p99<1s").expect("listed");
        for late in ["lost==0", "received>=1", "fanout.last.p99<1s", "service.p99<1s", "rss<1gi"] {
            let error = Threshold::parse(&format!("abort:{late}")).expect_err("too late").to_string();
            assert!(error.contains("only when the run is over") && error.contains("duplicate"), "{error}");
            Threshold::parse(late).expect("fine without abort:");
        }
    }

    #[test]
    fn a_run_ends_by_what_is_known_and_fails_and_by_nothing_else() {
        let now = |text: &str, measuring| {
            Threshold::parse(text).expect("a threshold").aborts_now(&clean(), measuring).is_some()
        };
        assert!(now("abort:delivery.p99<1ms", false) && !now("abort:delivery.p99<1s", true));
        assert!(!now("delivery.p99<1ms", true), "not an abort:");
        assert!(now("abort:busiest_thread<10%", true) && !now("abort:busiest_thread<10%", false));
        assert!(!now("abort:server.cpu<1%", true), "no server was sampled");
    }

    #[test]
    fn what_ended_the_run_has_failed_whatever_came_later() {
        let thresholds = [Threshold::parse("abort:busiest_thread<90%").expect("a threshold")];
        let mut busy = clean();
        busy.generator.busiest_thread_ratio = 0.95;
        let mut report = clean();
        report.thresholds.extend(thresholds[0].aborts_now(&busy, true));
        assert!(!check_all(&thresholds, &mut report));
        assert_eq!(report.thresholds[0].measured, Some(0.95));
    }

    #[test]
    fn every_listed_key_parses() {
        for scalar in scalars() {
            let value = if scalar.unit == Unit::Ns { "1ms" } else { "1" };
            Threshold::parse(&format!("{}<{value}", scalar.name)).expect("listed");
        }
        for (block, _) in LATENCY_BLOCKS {
            for (stat, _) in LATENCY_STATS {
                Threshold::parse(&format!("{block}.{stat}<1ms")).expect("listed");
            }
        }
        for (point, _) in FANOUT_POINTS {
            for (stat, _) in SPREAD_STATS {
                Threshold::parse(&format!("fanout.{point}.{stat}<1ms")).expect("listed");
            }
        }
    }
}
