//! The summary for a terminal: the verdict and its reasons first, then one aligned block per question.
//!
//! Why: it is what people look at, often only the first line; so the first line says whether to believe the rest.
//!
//! Invariants: the text is the same with and without colour, escape sequences aside; no line is longer than 110
//! columns unless a name in it is; CLOSED stands beside every latency of the closed model.

use super::{Latency, Plan, Report, Verdict};
use crate::threshold::Threshold;
use crate::units::{format_bytes, format_count, format_ns, format_percent, format_rate};
use std::fmt::Write;

/// Renders the summary; `colour` as [`wants_colour`] says.
pub fn render(report: &Report, colour: bool) -> String {
    let mut out = String::with_capacity(4_096);
    headline(&mut out, report, Paint { colour });
    traffic(&mut out, report);
    latencies(&mut out, report);
    super::moving_text::moving(&mut out, report);
    costs(&mut out, report);
    thresholds(&mut out, report, Paint { colour });
    let run = &report.run;
    let label = run.label.as_ref().map(|label| format!("   label {label}")).unwrap_or_default();
    line(&mut out, "run", &format!("seed {}   took {}{label}", run.seed, format_ns(run.elapsed_ns)));
    out
}

/// Whether a summary for this kind of output should be coloured: a terminal, no `NO_COLOR`, not `TERM=dumb`.
pub fn wants_colour(is_terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    is_terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// ANSI colours, or nothing.
#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn verdict(self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Valid => "1;32",
            Verdict::Suspect => "1;33",
            Verdict::Overloaded => "1;35",
            Verdict::Invalid => "1;31",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Writing to a `String` cannot fail, so its result says nothing.
pub(super) fn line(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "{name:<13}{text}");
}

fn headline(out: &mut String, report: &Report, paint: Paint) {
    let word = paint.verdict(report.verdict, report.verdict.word());
    let _ = writeln!(out, "{word}  {}", describe(&report.plan));
    for reason in &report.reasons {
        let mark = paint.verdict(reason.verdict, reason.verdict.word());
        let pad = " ".repeat(11 - reason.verdict.word().len().min(11));
        let _ = writeln!(out, "  {mark}{pad}{:<20} {}", reason.check, reason.text);
    }
    out.push('\n');
}

/// One line that says what was asked for: `broadcast, 1000 clients, 1/s from 1 publisher, 128 bytes, 30s`.
pub fn describe(plan: &Plan) -> String {
    let mut text = format!("{}, {} clients", plan.scenario, format_count(plan.clients));
    let plural = if plan.publishers == 1 { "" } else { "s" };
    if plan.closed {
        let _ = write!(text, ", CLOSED with {} in flight", plan.inflight);
    } else if plan.rate_per_s > 0.0 {
        let _ = write!(text, ", {} {}", format_rate(plan.rate_per_s), plan.arrival);
    }
    if plan.publishers > 0 && (plan.closed || plan.rate_per_s > 0.0) {
        let _ = write!(text, " from {} publisher{plural}", format_count(plan.publishers));
        let _ = write!(text, ", {} bytes {}", plan.size, if plan.text { "text" } else { "binary" });
    }
    if plan.protocol == "socketio" {
        text.push_str(if plan.namespace.is_some() { ", Socket.IO" } else { ", bare Engine.IO" });
    }
    if plan.deflate {
        text.push_str(", deflate");
    }
    let _ = write!(text, ", {}", format_ns(plan.duration_ns));
    if let Some(url) = plan.urls.first() {
        let _ = write!(text, "  {url}");
        if plan.urls.len() > 1 {
            let _ = write!(text, " and {} more", plan.urls.len() - 1);
        }
    }
    if plan.embedded {
        text.push_str(" (own server)");
    }
    text
}

fn traffic(out: &mut String, report: &Report) {
    let connect = &report.connect;
    let mut text = format!(
        "{} of {} in {} ({})",
        connect.connected,
        connect.requested,
        format_ns(connect.elapsed_ns),
        format_rate(connect.per_s)
    );
    if connect.failed > 0 || connect.dropped > 0 {
        let _ = write!(text, "   {} failed   {} dropped", connect.failed, connect.dropped);
    }
    line(out, "connect", &text);
    for (why, count) in &connect.failures {
        line(out, "", &format!("{count} × {why}"));
    }
    for (answer, count) in &connect.extensions {
        line(out, "deflate", &format!("{count} × {answer}"));
    }
    let messages = &report.messages;
    if messages.planned == 0 && messages.sent == 0 {
        return;
    }
    line(
        out,
        "messages",
        &format!(
            "{} planned   {} sent   {} unsent   {}   {} bytes, {} on the wire",
            messages.planned,
            messages.sent,
            messages.unsent,
            format_rate(messages.per_s),
            format_bytes(messages.bytes),
            format_bytes(messages.wire_bytes)
        ),
    );
    let d = &report.deliveries;
    line(
        out,
        "deliveries",
        &format!(
            "{} expected   {} received   {}   {} bytes, {} on the wire",
            d.expected,
            d.received,
            format_rate(d.per_s),
            format_bytes(d.bytes),
            format_bytes(d.wire_bytes)
        ),
    );
    line(
        out,
        "",
        &format!(
            "{} lost   {} duplicate   {} reordered   {} corrupt   {} late   {} unexpected",
            d.lost, d.duplicate, d.reordered, d.corrupt, d.late, d.unexpected
        ),
    );
}

fn latencies(out: &mut String, report: &Report) {
    let mut rows: Vec<(&str, &Latency)> = vec![("handshake", &report.connect.handshake_ns)];
    if report.messages.planned > 0 || report.messages.sent > 0 {
        rows.push(("delivery", &report.latency.delivery_ns));
        rows.push(("service", &report.latency.service_ns));
        rows.push(("send lag", &report.latency.send_lag_ns));
    }
    rows.retain(|(_, block)| block.count > 0);
    if !rows.is_empty() {
        let model = if report.plan.closed { "   CLOSED" } else { "" };
        let _ = writeln!(
            out,
            "\n{:<13}{:>11}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{model}",
            "latency", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "max"
        );
    }
    for (name, block) in rows {
        let _ = write!(out, "  {name:<11}{:>11}", block.count);
        for value in [block.min, block.mean, block.p50, block.p90, block.p99, block.p99_9, block.max] {
            let _ = write!(out, "{:>9}", format_ns(value));
        }
        out.push('\n');
    }
    if report.latency.censored > 0 {
        let text =
            format!("{} of the deliveries never came: counted as at least so late", report.latency.censored);
        line(out, "", &text);
    }
    if let Some(fanout) = &report.fanout {
        let _ = writeln!(
            out,
            "\n{:<13}{:>11}{:>9}{:>9}   {} of {} broadcasts reached all {} subscribers",
            "fan-out to", "p50", "p99", "max", fanout.complete, fanout.broadcasts, fanout.subscribers
        );
        let rows = [
            ("first", fanout.first_ns),
            ("half", fanout.half_ns),
            ("95%", fanout.p95_ns),
            ("last", fanout.last_ns),
        ];
        for (name, spread) in rows {
            let [p50, p99, max] = [spread.p50, spread.p99, spread.max].map(format_ns);
            let _ = writeln!(out, "  {name:<11}{p50:>11}{p99:>9}{max:>9}");
        }
    }
    out.push('\n');
}

fn costs(out: &mut String, report: &Report) {
    if let Some(cost) = &report.cost {
        let mut text = String::new();
        if let Some(us) = cost.us_per_delivery {
            let _ = write!(text, "{us:.3} us per delivery   ");
        }
        if let Some(us) = cost.server_cpu_us_per_delivery {
            let _ = write!(text, "server CPU {us:.3} us   ");
        }
        let _ = write!(text, "generator CPU {:.3} us", cost.generator_cpu_us_per_delivery);
        line(out, "cost", &text);
    }
    let generator = &report.generator;
    // Without a schedule there is nothing to be on time for.
    let on_time = if report.messages.planned > 0 && !report.plan.closed {
        format!("   on time {}", format_percent(generator.schedule_kept_ratio))
    } else {
        String::new()
    };
    line(
        out,
        "generator",
        &format!(
            "{} of a core, busiest thread {}   loop lag p99 {}{on_time}   rss {} ({} bytes per client)",
            format_percent(generator.cpu_ratio),
            format_percent(generator.busiest_thread_ratio),
            format_ns(generator.loop_lag_ns.p99),
            format_bytes(generator.rss_bytes),
            generator.bytes_per_client
        ),
    );
    if generator.procs > 1 {
        let loops = generator.threads.len().div_ceil(generator.procs as usize).max(1);
        let each = generator.threads.chunks(loops).map(|own| own.iter().map(|thread| thread.cpu_ratio).sum());
        let each: Vec<String> = each.map(|ratio: f64| format_percent(ratio)).collect();
        line(
            out,
            "processes",
            &format!("{} of the generator, {} of a core", generator.procs, each.join(", ")),
        );
    }
    if let Some(server) = &report.server {
        let pid = server.pid.map(|pid| format!("pid {pid}   ")).unwrap_or_default();
        let mut text = format!("{pid}{} of a core", format_percent(server.cpu_ratio));
        let _ = write!(
            text,
            "   rss {} ({} bytes per connection)",
            format_bytes(server.rss_bytes),
            server.rss_per_conn_bytes
        );
        if server.deliveries_per_cpu_s > 0.0 {
            let per_s = format_count(server.deliveries_per_cpu_s.round() as u64);
            let _ = write!(text, "   {per_s} deliveries per CPU second");
        }
        line(out, "server", &text);
    }
}

fn thresholds(out: &mut String, report: &Report, paint: Paint) {
    for outcome in &report.thresholds {
        let (word, verdict) =
            if outcome.passed { ("ok", Verdict::Valid) } else { ("FAILED", Verdict::Invalid) };
        let measured = match outcome.measured {
            None => "not measured in this run".to_owned(),
            Some(value) => match Threshold::parse(&outcome.expression) {
                Ok(threshold) => format!("measured {}", threshold.format(value)),
                Err(_) => format!("measured {value}"),
            },
        };
        let pad = " ".repeat(8 - word.len());
        let text = format!("{}{pad}{}   {measured}", paint.verdict(verdict, word), outcome.expression);
        line(out, "threshold", &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::verdict::{judge, tests::clean};

    #[test]
    fn the_verdict_stands_first_and_its_reasons_follow() {
        let mut report = clean();
        report.deliveries.lost = 12;
        judge(&mut report);
        let text = render(&report, false);
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("OVERLOADED  broadcast, ")));
        let reason = lines.next().unwrap_or_default();
        assert!(reason.contains("lost") && reason.contains("12 of 3000 deliveries were lost"), "{reason}");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let mut report = clean();
        report.deliveries.duplicate = 1;
        judge(&mut report);
        let (plain, painted) = (render(&report, false), render(&report, true));
        assert!(painted.starts_with("\x1b[1;33mSUSPECT\x1b[0m"));
        let mut stripped = painted;
        for code in ["\x1b[1;33m", "\x1b[1;32m", "\x1b[1;35m", "\x1b[1;31m", "\x1b[0m"] {
            stripped = stripped.replace(code, "");
        }
        assert_eq!(plain, stripped);
    }

    #[test]
    fn closed_numbers_say_closed() {
        let mut report = clean();
        report.plan.closed = true;
        judge(&mut report);
        let text = render(&report, false);
        assert!(text.lines().filter(|line| line.contains("CLOSED")).count() >= 2, "{text}");
    }
}
