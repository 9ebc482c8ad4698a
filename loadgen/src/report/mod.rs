//! The report: what a run measured, judged, and written for people and for programs.
//!
//! Why: a number without its circumstances is worth nothing, so one document holds all of them and every output is
//! a rendering of that document; none computes anything of its own.
//!
//! Invariants: the verdict stands first in every output; an output is a pure function of the [`Report`].

pub mod csv;
mod given;
pub mod hlog;
pub mod html;
mod moving;
mod moving_text;
pub mod outputs;
mod schema;
mod svg;
pub mod text;
pub mod verdict;

pub use given::{Env, Plan};
pub use moving::{Churn, Population, Slow, Storm};
pub use schema::*;

use hdrhistogram::Histogram;

/// The histograms of a run: nanoseconds, from 1 µs to 60 s, three digits; larger values are clamped to 60 s.
///
/// They are `None` until something was recorded, so that an empty report costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Histograms {
    /// From the intended time to receipt.
    pub delivery: Option<Histogram<u64>>,
    /// From the actual write to receipt.
    pub service: Option<Histogram<u64>>,
    /// From the intended time to the actual write.
    pub send_lag: Option<Histogram<u64>>,
    /// From `connect` to the `101` answer.
    pub handshake: Option<Histogram<u64>>,
    /// From a broadcast's intended time to its last subscriber.
    pub fanout_last: Option<Histogram<u64>>,
}

/// Smallest value the histograms tell apart, in nanoseconds.
pub const HISTOGRAM_LOW_NS: u64 = 1_000;
/// Largest value the histograms hold, in nanoseconds.
pub const HISTOGRAM_HIGH_NS: u64 = 60_000_000_000;

/// Makes an empty histogram as all of loadgen uses them: 1 µs to 60 s, three digits, 144 KiB.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(HISTOGRAM_LOW_NS, HISTOGRAM_HIGH_NS, 3)
        .expect("1 µs to 60 s with three digits are valid bounds")
}

impl Latency {
    /// Reads the block's numbers off a histogram in nanoseconds; an empty one gives zeros with count 0.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let max = histogram.max();
        // A quantile is the upper edge of its bucket: never say more than was seen.
        let at = |quantile: f64| histogram.value_at_quantile(quantile).min(max);
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean().round() as u64,
            p50: at(0.50),
            p90: at(0.90),
            p99: at(0.99),
            p99_9: at(0.999),
            max,
        }
    }
}

impl Spread {
    /// Reads the block's numbers off a histogram in nanoseconds; an empty one gives zeros.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let Latency { p50, p99, max, .. } = Latency::of(histogram);
        Self { p50, p99, max }
    }
}

impl Verdict {
    /// The word that stands first in every output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Suspect => "SUSPECT",
            Self::Overloaded => "OVERLOADED",
            Self::Invalid => "INVALID",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_block_never_exceeds_what_was_recorded() {
        let mut histogram = new_histogram();
        for us in 1..=1_000_u64 {
            histogram.record(us * 1_000).expect("within bounds");
        }
        let block = Latency::of(&histogram);
        assert_eq!(block.count, 1_000);
        assert!(block.p50.abs_diff(500_000) < 2_000, "{block:?}");
        assert!(block.p99 <= block.p99_9 && block.p99_9 <= block.max);
        assert_eq!(Latency::of(&new_histogram()), Latency::default());
    }

    #[test]
    fn verdicts_are_ordered_from_best_to_worst() {
        assert!(Verdict::Valid < Verdict::Suspect && Verdict::Suspect < Verdict::Overloaded);
        assert!(Verdict::Overloaded < Verdict::Invalid);
        assert_eq!(serde_json::to_string(&Verdict::Overloaded).ok().as_deref(), Some("\"OVERLOADED\""));
    }
}
