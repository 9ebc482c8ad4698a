//! Live progress: a line that says what is happening now, and below it one for each process, if there are several.
//!
//! Why: fifty thousand connections take half a minute, and silence looks like a hang. It goes to stderr. A terminal gets lines
//! that change every second; a log gets one line for each process when they have been started, and no more.
//!
//! Invariants: nothing is drawn with `-q`, and nothing that changes with `--no-tui` or without a terminal; no colour is used, so
//! `NO_COLOR` holds; at most `LINES_MAX` processes are drawn.

mod crew;

pub use crew::Crew;

use crate::report::{SeriesRow, outputs};
use crate::units::{format_bytes, format_count, format_ns};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Processes that are drawn; how many more there are stands in the last line.
const LINES_MAX: usize = 20;

/// What is wanted on stderr while a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// Once, who does what: fit for a log.
    Words,
    /// Lines that change: a terminal.
    Lines,
}

/// The lines.
#[derive(Debug)]
pub struct Live {
    wanted: Wanted,
    clients: u64,
    lines: MultiProgress,
    whole: ProgressBar,
    each: Vec<ProgressBar>,
}

impl Live {
    /// Of a run of `clients`.
    pub fn new(wanted: Wanted, clients: u64) -> Self {
        let target = match wanted {
            Wanted::Nothing | Wanted::Words => ProgressDrawTarget::hidden(),
            Wanted::Lines => ProgressDrawTarget::stderr(),
        };
        let lines = MultiProgress::with_draw_target(target);
        let whole = lines.add(bar("{elapsed:>4} {wide_msg}"));
        Self { wanted, clients, lines, whole, each: Vec::new() }
    }

    /// Says something in words.
    pub fn say(&self, text: &str) {
        self.whole.set_message(text.to_owned());
        self.whole.tick();
    }

    /// Says who does what, if there are several.
    pub fn introduce(&mut self, crew: &Crew) {
        if !crew.is_several() {
            return;
        }
        match self.wanted {
            Wanted::Nothing => {}
            Wanted::Words => {
                let lines = crew.introduction().into_iter().map(|line| line + "\n");
                outputs::to_stderr(&lines.collect::<String>());
            }
            Wanted::Lines => self.draw(&crew.lines()),
        }
    }

    /// Shows a second.
    pub fn show(&mut self, row: &SeriesRow, crew: &mut Crew) {
        self.say(&line(row, self.clients));
        if self.wanted == Wanted::Lines && crew.is_several() {
            crew.look();
            self.draw(&crew.lines());
        }
    }

    /// Draws the lines of the processes.
    fn draw(&mut self, lines: &[String]) {
        let lines = shortened(lines);
        while self.each.len() < lines.len() {
            self.each.push(self.lines.add(bar("{wide_msg}")));
        }
        for (bar, line) in self.each.iter().zip(lines) {
            bar.set_message(line);
            bar.tick();
        }
    }

    /// Removes the lines.
    pub fn end(&self) {
        self.each.iter().for_each(ProgressBar::finish_and_clear);
        self.whole.finish_and_clear();
    }
}

/// A line that is drawn as the template says.
fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    // Where it is drawn is decided when it is added to the others.
    ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style)
}

/// As many lines as are drawn.
fn shortened(lines: &[String]) -> Vec<String> {
    if lines.len() <= LINES_MAX {
        return lines.to_vec();
    }
    let shown = LINES_MAX - 1;
    let more = format!("  … and {} more processes", lines.len() - shown);
    lines[..shown].iter().cloned().chain([more]).collect()
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
    fn what_does_not_fit_is_counted() {
        let lines = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(shortened(&lines(LINES_MAX)), lines(LINES_MAX));
        let many = shortened(&lines(64));
        assert_eq!((many.len(), &*many[LINES_MAX - 1]), (LINES_MAX, "  … and 45 more processes"));
    }

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
