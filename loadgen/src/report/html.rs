//! The report as one self-contained HTML file: verdict, summary, three plots, every check, the whole JSON.
//!
//! Why: something to send to a colleague, that opens anywhere and still holds all the data.
//!
//! Invariants: no external asset and no script, so a strict Content-Security-Policy stands in the file itself;
//! every text that came from outside (labels, URLs, errors) is escaped.

use super::svg::{Axis, Curve, plot};
use super::{Report, text};
use crate::units::{NS_PER_S, format_count, format_ns};
use hdrhistogram::Histogram;
use std::fmt::Write;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=\"viewport\" content=\"width=device-width\">\n";

const STYLE: &str = "<style>
:root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--dim:#8a929c;--grid:#e4e8ec}
@media(prefers-color-scheme:dark){:root{--fg:#e6e8ea;--bg:#14171a;--dim:#8a929c;--grid:#2a2f35}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h1 b{padding:.1em .5em;border-radius:.3em;color:#fff;margin-right:.5em}
.VALID{background:#1a7f37}.SUSPECT{background:#9a6700}.OVERLOADED{background:#8250df}.INVALID{background:#cf222e}
pre{font:13px/1.45 ui-monospace,monospace;overflow:auto}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;border-bottom:1px solid var(--grid)}
td b{padding:0 .4em;border-radius:.3em;color:#fff;font-size:.8rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr));gap:1rem}
svg{width:100%;font:11px system-ui,sans-serif}svg text{fill:var(--fg)}svg .t{font-weight:600}
svg .x{text-anchor:middle;fill:var(--dim)}svg .y{text-anchor:end;fill:var(--dim)}
svg path,svg polyline{fill:none;stroke-width:1.6}svg .g{stroke:var(--grid);stroke-width:1}
.c0{stroke:#0969da}.c1{stroke:#cf222e}.c2{stroke:#1a7f37}.c3{stroke:#9a6700}
</style>\n";

/// Renders the page.
pub fn render(report: &Report) -> String {
    let mut out = String::with_capacity(64 * 1_024);
    let (verdict, title) = (report.verdict.word(), escape(&text::describe(&report.plan)));
    out.push_str(HEAD);
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "<title>{verdict} {title}</title>");
    out.push_str(STYLE);
    let _ = writeln!(out, "<h1><b class=\"{verdict}\">{verdict}</b>{title}</h1>");
    if !report.reasons.is_empty() {
        out.push_str("<ul>\n");
        for reason in &report.reasons {
            let _ = writeln!(out, "<li><code>{}</code> {}</li>", escape(&reason.check), escape(&reason.text));
        }
        out.push_str("</ul>\n");
    }
    let _ = writeln!(
        out,
        "<div class=\"plots\">{}{}{}{}</div>",
        percentiles(report),
        latency(report),
        traffic(report),
        population(report)
    );
    let _ = writeln!(out, "<pre>{}</pre>", escape(&text::render(report, false)));
    checks(&mut out, report);
    let json = serde_json::to_string_pretty(report).unwrap_or_else(|error| error.to_string());
    let _ = writeln!(out, "<details><summary>JSON</summary><pre>{}</pre></details>\n</html>", escape(&json));
    out
}

fn checks(out: &mut String, report: &Report) {
    out.push_str("<details open><summary>Checks</summary><table>\n");
    for check in &report.checks {
        let word = check.verdict.word();
        let _ = writeln!(
            out,
            "<tr><td><b class=\"{word}\">{word}</b></td><td><code>{}</code></td><td>{}</td></tr>",
            escape(&check.check),
            escape(&check.text)
        );
    }
    out.push_str("</table></details>\n");
}

/// Latency by percentile: x is "nines" (-log10(1 - quantile)), as HdrHistogram plots are drawn.
fn percentiles(report: &Report) -> String {
    let histograms = &report.histograms;
    let sources = [
        ("delivery", &histograms.delivery),
        ("service", &histograms.service),
        ("send lag", &histograms.send_lag),
        ("handshake", &histograms.handshake),
    ];
    let present: Vec<_> = sources
        .iter()
        .filter_map(|(name, histogram)| Some((*name, histogram.as_ref().filter(|h| !h.is_empty())?)))
        .collect();
    let most = present.iter().map(|(_, h)| h.len()).max().unwrap_or(10);
    let nines_max = (most as f64).log10().clamp(1.0, 6.0);
    let names = ["0%", "90%", "99%", "99.9%", "99.99%", "99.999%", "99.9999%"];
    let ticks = names.iter().enumerate().map(|(nines, name)| (nines as f64, (*name).to_owned()));
    let x = Axis::fixed((0.0, nines_max), ticks.filter(|(nines, _)| *nines <= nines_max).collect());
    let curve = |histogram: &Histogram<u64>| {
        let points = (0..=120).map(|step| nines_max * f64::from(step) / 120.0);
        points.map(|nines| (nines, histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64)).collect()
    };
    let curves: Vec<_> = present.iter().map(|(name, h)| Curve { name, points: curve(h) }).collect();
    let all = || curves.iter().flat_map(|curve| curve.points.iter().map(|(_, y)| *y));
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let low = if low.is_finite() { low } else { 1e5 };
    plot("latency by percentile", &x, &Axis::decades(low, high, |v| format_ns(v as u64)), &curves)
}

/// Latency over the seconds of the run.
fn latency(report: &Report) -> String {
    let curve = |name, value: fn(&super::SeriesRow) -> u64| Curve {
        name,
        // A second without measured deliveries has no latency: leave the point out instead of drawing a zero.
        points: report
            .series
            .iter()
            .filter(|row| row.delivery_p50_ns > 0)
            .map(|row| (seconds(row), value(row) as f64))
            .collect(),
    };
    let curves = [
        curve("p50", |row| row.delivery_p50_ns),
        curve("p99", |row| row.delivery_p99_ns),
        curve("max", |row| row.delivery_max_ns),
    ];
    let high = report.series.iter().map(|row| row.delivery_max_ns).max().unwrap_or(0) as f64;
    let low = report.series.iter().map(|row| row.delivery_p50_ns).filter(|ns| *ns > 0).min().unwrap_or(1_000)
        as f64;
    plot(
        "delivery latency over time",
        &time(report),
        &Axis::decades(low, high, |v| format_ns(v as u64)),
        &curves,
    )
}

/// Deliveries over the seconds of the run.
fn traffic(report: &Report) -> String {
    let high = report.series.iter().map(|row| row.received.max(row.sent)).max().unwrap_or(0) as f64;
    let received = report.series.iter().map(|row| (seconds(row), row.received as f64)).collect();
    let sent = report.series.iter().map(|row| (seconds(row), row.sent as f64)).collect();
    let curves = [Curve { name: "received", points: received }, Curve { name: "sent", points: sent }];
    plot("messages per second", &time(report), &Axis::linear(high, |v| format_count(v as u64)), &curves)
}

/// Connections over the seconds of the run; where they do not come and go, a plot of one line says nothing.
fn population(report: &Report) -> String {
    if report.churn.is_none() && report.storm.is_none() && report.slow.is_none() {
        return String::new();
    }
    let high = report.series.iter().map(|row| row.connected).max().unwrap_or(0) as f64;
    let points = report.series.iter().map(|row| (seconds(row), row.connected as f64)).collect();
    let curves = [Curve { name: "connected", points }];
    plot("connections", &time(report), &Axis::linear(high, |v| format_count(v as u64)), &curves)
}

fn seconds(row: &super::SeriesRow) -> f64 {
    row.at_ns as f64 / NS_PER_S as f64
}

fn time(report: &Report) -> Axis {
    Axis::linear(report.series.last().map_or(1.0, seconds), |v| format!("{v}s"))
}

/// Escapes text for HTML content and attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::verdict::{judge, tests::clean};
    use crate::report::{SeriesRow, new_histogram};

    #[test]
    fn the_page_is_self_contained_and_escaped() {
        let mut report = clean();
        report.run.label = Some("<script>alert(1)</script>".to_owned());
        report.plan.urls = vec!["ws://h/?a=1&b=\"2\"".to_owned()];
        let mut histogram = new_histogram();
        for us in 1..=10_000_u64 {
            histogram.record(us * 1_000).expect("within bounds");
        }
        report.histograms.delivery = Some(histogram);
        report.series = (1..=30)
            .map(|s| SeriesRow {
                at_ns: s * NS_PER_S,
                received: 100,
                delivery_p50_ns: s * 10_000,
                ..SeriesRow::default()
            })
            .collect();
        judge(&mut report);
        let page = render(&report);
        assert!(page.contains("<b class=\"VALID\">VALID</b>"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn an_empty_report_still_makes_a_page() {
        assert!(render(&Report::default()).contains("nothing recorded"));
    }
}
