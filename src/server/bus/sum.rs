//! Figures: a worker's numbers as its siblings are told them, and the sum over all workers.
//!
//! Counters and gauges are added up. Times are not: the 99th percentile of a machine is not the mean of its workers'. So
//! histograms travel whole, in HdrHistogram's own V2 format, and are merged.
//!
//! Invariant: what cannot be read of a sibling's histogram is left out, and never taken for zero.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};

/// All numbers of one worker at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Counters and gauges, by name and labels as Prometheus writes them, without the prefix.
    samples: Vec<(String, u64)>,
    /// Histograms by name: nanoseconds, V2, base64.
    histograms: Vec<(String, String)>,
}

/// What all workers together have.
#[derive(Debug, Default)]
pub struct Sum {
    /// Counters and gauges.
    pub samples: BTreeMap<String, u64>,
    /// Histograms, merged.
    pub histograms: BTreeMap<String, Histogram<u64>>,
}

impl Figures {
    /// Adds a counter or a gauge.
    pub fn sample(&mut self, name: String, value: u64) {
        self.samples.push((name, value));
    }

    /// The value of a counter or a gauge.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.samples.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Adds a histogram.
    pub fn histogram(&mut self, name: String, histogram: &Histogram<u64>) {
        let mut bytes = Vec::new();
        if V2Serializer::new().serialize(histogram, &mut bytes).is_ok() {
            self.histograms.push((name, STANDARD.encode(bytes)));
        }
    }
}

impl Sum {
    /// Adds the numbers of one worker.
    pub fn add(&mut self, figures: &Figures) {
        for (name, value) in &figures.samples {
            let sum = self.samples.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*value);
        }
        for (name, encoded) in &figures.histograms {
            let Ok(bytes) = STANDARD.decode(encoded) else { continue };
            let Ok(histogram) = Deserializer::new().deserialize::<u64, _>(&mut &bytes[..]) else { continue };
            match self.histograms.get_mut(name) {
                Some(sum) => {
                    // Fails only for values beyond the bounds, which are the same in all workers.
                    let _ = sum.add(&histogram);
                }
                None => drop(self.histograms.insert(name.clone(), histogram)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_histograms_is_that_of_all_their_values() {
        let mut sum = Sum::default();
        let mut whole = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 3).unwrap();
        for worker in 0..3_u64 {
            let mut own = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 3).unwrap();
            for n in 1..=1000 {
                own.record(n * 10_000 * (worker + 1)).unwrap();
                whole.record(n * 10_000 * (worker + 1)).unwrap();
            }
            let mut figures = Figures::default();
            figures.sample("connections".to_owned(), worker + 1);
            figures.histogram("turn_seconds".to_owned(), &own);
            // As they travel.
            let letter = serde_json::to_vec(&figures).unwrap();
            sum.add(&serde_json::from_slice(&letter).unwrap());
        }
        assert_eq!(sum.samples["connections"], 6);
        assert_eq!(sum.histograms["turn_seconds"], whole);
    }
}
