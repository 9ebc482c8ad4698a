//! A page of numbers: rendered in Prometheus' text format, or taken along as [`Figures`].
//!
//! Invariant: every family stands on it once; names and labels are our own words.

use std::borrow::Cow;
use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::bus::sum::{Figures, Sum};
use crate::base::tick::SECOND;

/// All numbers of a worker.
#[derive(Default)]
pub(super) struct Page<'a>(Vec<Family<'a>>);

/// Numbers of one name.
struct Family<'a> {
    name: Cow<'static, str>,
    help: &'static str,
    values: Values<'a>,
}

enum Values<'a> {
    Counter(u64),
    Gauge(u64),
    /// Counters by their labels, as Prometheus writes them between braces.
    Labelled(Vec<(String, u64)>),
    /// Nanoseconds.
    Summary(&'a Histogram<u64>),
}

impl<'a> Page<'a> {
    pub(super) fn counter(&mut self, name: impl Into<Cow<'static, str>>, help: &'static str, value: u64) {
        self.0.push(Family { name: name.into(), help, values: Values::Counter(value) });
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.0.push(Family { name: name.into(), help, values: Values::Gauge(value) });
    }

    pub(super) fn labelled(&mut self, name: &'static str, help: &'static str, values: Vec<(String, u64)>) {
        self.0.push(Family { name: name.into(), help, values: Values::Labelled(values) });
    }

    pub(super) fn summary(&mut self, name: &'static str, help: &'static str, histogram: &'a Histogram<u64>) {
        self.0.push(Family { name: name.into(), help, values: Values::Summary(histogram) });
    }

    /// As Prometheus reads it, `stentor_` before every name.
    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        for family in &self.0 {
            let Family { name, help, values } = family;
            head(&mut out, &format!("stentor_{name}"), help, values.kind());
            match values {
                Values::Counter(value) | Values::Gauge(value) => line(&mut out, "stentor_", name, *value),
                Values::Labelled(all) => {
                    all.iter().for_each(|(labels, value)| {
                        line(&mut out, "stentor_", &format!("{name}{{{labels}}}"), *value);
                    });
                }
                Values::Summary(histogram) => quantiles(&mut out, &format!("stentor_{name}"), histogram),
            }
        }
        out
    }

    /// The same families of all workers together, `stentor_all_` before every name.
    pub(super) fn render_sum(&self, sum: &Sum, out: &mut String) {
        for Family { name, help, values } in &self.0 {
            head(out, &format!("stentor_all_{name}"), &format!("All workers: {help}"), values.kind());
            match values {
                Values::Counter(_) | Values::Gauge(_) => {
                    line(out, "stentor_all_", name, sum.samples.get(&**name).copied().unwrap_or(0));
                }
                Values::Labelled(_) => {
                    let prefix = format!("{name}{{");
                    let all = sum.samples.iter().filter(|(labelled, _)| labelled.starts_with(&prefix));
                    all.for_each(|(labelled, value)| line(out, "stentor_all_", labelled, *value));
                }
                Values::Summary(_) => {
                    if let Some(histogram) = sum.histograms.get(&**name) {
                        quantiles(out, &format!("stentor_all_{name}"), histogram);
                    }
                }
            }
        }
    }

    /// As other workers are told it.
    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for Family { name, values, .. } in &self.0 {
            match values {
                Values::Counter(value) | Values::Gauge(value) => figures.sample(name.to_string(), *value),
                Values::Labelled(all) => {
                    all.iter().for_each(|(labels, n)| figures.sample(format!("{name}{{{labels}}}"), *n));
                }
                Values::Summary(histogram) => figures.histogram(name.to_string(), histogram),
            }
        }
        figures
    }
}

impl Values<'_> {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) | Self::Labelled(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Summary(_) => "summary",
        }
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes everything");
}

fn line(out: &mut String, prefix: &str, name: &str, value: u64) {
    writeln!(out, "{prefix}{name} {value}").expect("a string takes everything");
}

fn quantiles(out: &mut String, name: &str, histogram: &Histogram<u64>) {
    for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
        let seconds = histogram.value_at_quantile(quantile) as f64 / SECOND as f64;
        writeln!(out, "{name}{{quantile=\"{quantile}\"}} {seconds}").expect("a string takes everything");
    }
    let (sum, count) = (histogram.mean() * histogram.len() as f64 / SECOND as f64, histogram.len());
    writeln!(out, "{name}_sum {sum}\n{name}_count {count}").expect("a string takes everything");
}
