//! The series as CSV (RFC 4180): one row per second, and the verdict in the first column of every row.
//!
//! Why: spreadsheets and plotting tools read it as it is, and a row torn out of the file still says whether to
//! believe it.
//!
//! Invariants: one header line; the columns are those of `series` in their order behind `verdict`; what was not
//! measured is an empty field.

use super::Report;
use std::fmt::Write;

/// The header line: names as in the JSON's `series`.
const HEADER: &str = "verdict,at_ns,phase,connected,sent,received,bytes,delivery_p50_ns,delivery_p99_ns,\
delivery_max_ns,send_lag_max_ns,loop_lag_max_ns,generator_cpu_ratio,busiest_thread_ratio,server_cpu_ratio,\
server_rss_bytes";

/// Renders the series.
pub fn render(report: &Report) -> String {
    let mut out = String::with_capacity(256 + report.series.len() * 128);
    out.push_str(HEADER);
    out.push_str("\r\n");
    for row in &report.series {
        let server_cpu = row.server_cpu_ratio.map(|ratio| format!("{ratio:.4}")).unwrap_or_default();
        let server_rss = row.server_rss_bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
        // Writing to a `String` cannot fail. No field can hold a comma or a quote: all are numbers or our words.
        let _ = write!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{},{:.4},{:.4},{server_cpu},{server_rss}\r\n",
            report.verdict.word(),
            row.at_ns,
            row.phase,
            row.connected,
            row.sent,
            row.received,
            row.bytes,
            row.delivery_p50_ns,
            row.delivery_p99_ns,
            row.delivery_max_ns,
            row.send_lag_max_ns,
            row.loop_lag_max_ns,
            row.generator_cpu_ratio,
            row.busiest_thread_ratio,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::SeriesRow;

    #[test]
    fn the_columns_are_those_of_the_series() {
        let row =
            SeriesRow { phase: "measure".to_owned(), server_cpu_ratio: Some(0.5), ..SeriesRow::default() };
        let report = Report { series: vec![row.clone(), SeriesRow::default()], ..Report::default() };
        let text = render(&report);
        let names: Vec<_> = text.lines().next().unwrap_or_default().split(',').skip(1).collect();
        let json = serde_json::to_value(&row).expect("a row is plain data");
        let keys: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, keys);
        for line in text.lines() {
            assert_eq!(line.split(',').count(), names.len() + 1);
        }
        assert!(
            text.lines()
                .nth(1)
                .is_some_and(|line| line.starts_with("VALID,0,measure,") && line.contains("0.5000"))
        );
    }
}
