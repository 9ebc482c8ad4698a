//! The histograms as an HdrHistogram log (format 1.3, V2 compressed): whole distributions for other tools.
//!
//! Why: percentiles of several runs cannot be averaged, histograms can be added. HistogramLogProcessor,
//! HistogramLogAnalyzer and `hdr-plot` read this file, and so does `loadgen merge`.
//!
//! Invariants: one interval per histogram with its name as the tag, values in nanoseconds, the interval is the run;
//! the maximum column is in milliseconds, as HdrHistogram's own writer has it.

use super::{Histograms, Report};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::io;
use std::time::{Duration, SystemTime};

/// Renders the log.
///
/// # Errors
/// When a histogram cannot be serialised, which bounded memory alone can cause.
pub fn render(report: &Report) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(16 * 1_024);
    let mut serializer = V2DeflateSerializer::new();
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(report.run.started_unix_ns);
    let verdict = format!("[loadgen {}: {}]", report.run.version, report.verdict.word());
    let model = format!("[model: {}, values in nanoseconds]", report.latency.model);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&verdict)
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&model)
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(&mut out, &mut serializer)?;
    let length = Duration::from_nanos(report.run.elapsed_ns);
    for (name, histogram) in named(&report.histograms) {
        let tag = Tag::new(name).expect("our names hold no comma, space or line end");
        log.write_histogram(histogram, Duration::ZERO, length, Some(tag)).map_err(|error| {
            io::Error::other(format!("the histogram {name} cannot be written: {error:?}"))
        })?;
    }
    Ok(out)
}

/// The histograms that hold something, with the tags they bear in the log.
fn named(histograms: &Histograms) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
    let Histograms { delivery, service, send_lag, handshake, fanout_last } = histograms;
    [
        ("delivery", delivery),
        ("service", service),
        ("send_lag", send_lag),
        ("handshake", handshake),
        ("fanout_last", fanout_last),
    ]
    .into_iter()
    .filter_map(|(name, histogram)| Some((name, histogram.as_ref()?)))
    .filter(|(_, histogram)| !histogram.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::new_histogram;
    use base64::Engine;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn the_log_reads_back_as_the_same_histogram() {
        let mut histogram = new_histogram();
        for us in [1_u64, 10, 100, 1_000, 1_000, 59_000_000] {
            histogram.record(us * 1_000).expect("within bounds");
        }
        let mut report = Report::default();
        report.histograms.delivery = Some(histogram.clone());
        report.run.elapsed_ns = 5_000_000_000;
        let log = render(&report).expect("renders");
        assert!(log.starts_with(b"#[loadgen"));
        let found: Vec<_> = IntervalLogIterator::new(&log)
            .map(|entry| entry.expect("a valid log"))
            .filter_map(|entry| match entry {
                LogEntry::Interval(interval) => Some(interval),
                LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
            })
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].tag().map(|tag| tag.as_str()), Some("delivery"));
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(found[0].encoded_histogram()).expect("base64");
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).expect("a V2 histogram");
        assert_eq!(back, histogram);
    }
}
