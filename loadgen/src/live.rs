//! Live progress on a terminal: one line that says what is happening now.
//!
//! Why: fifty thousand connections take half a minute, and silence looks like a hang. It goes to stderr and only to a
//! terminal, so that no script ever sees it.
//!
//! Invariants: nothing is drawn with `--no-tui`, `-q` or without a terminal; no colour is used, so `NO_COLOR` holds.

use crate::report::SeriesRow;
use crate::units::{format_bytes, format_count, format_ns};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// The line.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
    clients: u64,
    /// Which processes take part, in words.
    processes: String,
}

impl Live {
    /// A line for a run of `clients`; invisible unless `wanted` and stderr is a terminal.
    pub fn new(wanted: bool, clients: u64) -> Self {
        let visible = wanted && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{elapsed:>4} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Self { bar, clients, processes: String::new() }
    }

    /// From now on says how many processes play the clients, and how many the server.
    pub fn tell_processes(&mut self, generator: u32, own_server: Option<u32>) {
        self.processes = match own_server {
            Some(server) if generator > 1 || server > 1 => {
                format!(" · {generator} processes here, {server} of the server")
            }
            None if generator > 1 => format!(" · {generator} processes"),
            Some(_) | None => String::new(),
        };
    }

    /// Says something in words.
    pub fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        self.bar.tick();
    }

    /// Shows a second.
    pub fn show(&self, row: &SeriesRow) {
        self.say(&format!("{}{}", line(row, self.clients), self.processes));
    }

    /// Removes the line.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// One second in one line.
fn line(row: &SeriesRow, clients: u64) -> String {
    let mut text =
        format!("{:<8} {}/{} connected", row.phase, format_count(row.connected), format_count(clients));
    if row.sent > 0 || row.received > 0 {
        text += &format!(" · sent {}/s · received {}/s", format_count(row.sent), format_count(row.received));
    }
    if row.delivery_max_ns > 0 {
        let times = [row.delivery_p50_ns, row.delivery_p99_ns, row.delivery_max_ns].map(format_ns);
        text += &format!(" · p50 {} p99 {} max {}", times[0], times[1], times[2]);
    }
    text += &format!(" · cpu {:.0}%", row.generator_cpu_ratio * 100.0);
    if let Some(ratio) = row.server_cpu_ratio {
        text += &format!(" · server {:.0}%", ratio * 100.0);
    }
    if let Some(bytes) = row.server_rss_bytes {
        text += &format!(" {}", format_bytes(bytes));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_fits_into_a_line() {
        let row = SeriesRow {
            phase: "measure".to_owned(),
            connected: 10_000,
            sent: 10,
            received: 100_000,
            delivery_p50_ns: 12_000_000,
            delivery_p99_ns: 30_000_000,
            delivery_max_ns: 41_000_000,
            server_cpu_ratio: Some(0.5),
            ..SeriesRow::default()
        };
        let line = line(&row, 10_000);
        assert!(
            line.contains("10k/10k connected") && line.contains("p99 30ms") && line.contains("server 50%"),
            "{line}"
        );
        assert!(line.chars().count() < 140 && !line.contains('\n'));
    }
}
