//! What came out, as Markdown for people and JSON for programs.
//!
//! Invariants: every number is a median over rounds, with its spread beside it; a ratio is the median of the
//! ratios within each round, so that what disturbed a round disturbed both of its sides.

use std::fmt::Write;
use std::fs;

use serde::Serialize;

use crate::bars::{self, Outcome, Verdict};
use crate::experiment::{Cell, Finding, Question};

/// The values of one server in one cell, one per round where it succeeded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(Vec<(usize, f64)>);

impl Values {
    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> Option<f64> {
        median(self.0.iter().map(|&(_, value)| value).collect())
    }

    /// Half of what lies between the extremes, in percent of the median.
    pub fn spread_percent(&self) -> Option<f64> {
        let values = || self.0.iter().map(|&(_, value)| value);
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
        self.median().filter(|&middle| middle > 0.0).map(|middle| (high - low) / 2.0 / middle * 100.0)
    }

    /// The median over rounds of this server's value by the other's.
    pub fn ratio_to(&self, other: &Self) -> Option<f64> {
        let of_round = |round| other.0.iter().find(|&&(at, _)| at == round).map(|&(_, value)| value);
        let ratios = self.0.iter().filter_map(|&(round, value)| Some(value / of_round(round)?));
        median(ratios.filter(|ratio| ratio.is_finite()).collect())
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The values of `server` in `cell`.
pub fn values(findings: &[Finding], cell: &Cell, server: &str) -> Values {
    let ours = findings.iter().filter(|finding| finding.cell == *cell && finding.server == server);
    Values(ours.filter_map(|finding| Some((finding.round, finding.value?))).collect())
}

/// One table per question, then the bars, then what failed.
pub fn markdown(findings: &[Finding], environment: &Environment) -> String {
    let mut text = environment.markdown();
    for question in Question::ALL {
        let cells = distinct(findings.iter().map(|f| f.cell).filter(|cell| cell.question == question));
        if !cells.is_empty() {
            question_table(&mut text, findings, question, &cells);
        }
    }
    bars_table(&mut text, &bars::judge(findings));
    let failures = distinct(findings.iter().filter_map(|finding| {
        let failure = finding.failure.as_ref()?;
        Some(format!("- {} · {:?} {}: {failure}\n", finding.server, finding.cell.question, finding.cell))
    }));
    if !failures.is_empty() {
        text.push_str("\n### Failed\n\n");
        text.extend(failures);
    }
    text
}

fn question_table(text: &mut String, findings: &[Finding], question: Question, cells: &[Cell]) {
    let mut line = |cells: String| text.push_str(&(cells + "\n"));
    let ratios = if comparable(question) { "; in brackets: times the floor" } else { "" };
    line(format!("\n### {question:?}, {} (± spread{ratios})\n", question.unit()));
    line(cells.iter().fold("| |".to_owned(), |row, cell| row + &format!(" {cell} |")));
    line("|---|".to_owned() + &"--:|".repeat(cells.len()));
    let ours = |f: &&Finding| f.cell.question == question;
    for server in distinct(findings.iter().filter(ours).map(|f| f.server.clone())) {
        let row = cells.iter().fold(format!("| {server} |"), |row, cell| {
            row + &format!(" {} |", entry(findings, cell, &server))
        });
        line(row);
    }
}

fn entry(findings: &[Finding], cell: &Cell, server: &str) -> String {
    let found = values(findings, cell, server);
    let Some(middle) = found.median() else {
        let tried = findings.iter().any(|finding| finding.cell == *cell && finding.server == server);
        return if tried { "failed" } else { "–" }.to_owned();
    };
    let floor = bars::floor_of(cell);
    let ratio = found.ratio_to(&values(findings, cell, floor)).filter(|_| server != floor);
    let mut entry = significant(middle);
    // Nothing spreads around nothing.
    if let Some(spread) = found.spread_percent() {
        write!(entry, " ±{spread:.0} %").expect("a string takes all");
    }
    if let (Some(ratio), true) = (ratio, comparable(cell.question)) {
        write!(entry, " ({ratio:.2})").expect("a string takes all");
    }
    entry
}

/// A floor that keeps nothing and does one thing at a time is no measure of memory or of patience.
fn comparable(question: Question) -> bool {
    matches!(question, Question::Fanout | Question::Echo | Question::Handshake)
}

fn bars_table(text: &mut String, verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    text.push_str("\n### Bars\n\n| | bar | at most | stentor | |\n|---|---|--:|--:|---|\n");
    let number = |value: Option<f64>| value.map_or("–".to_owned(), significant);
    for verdict in verdicts {
        let outcome = match verdict.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "**fail**",
            Outcome::NotMeasured => "not measured",
        };
        let Verdict { cell, bar, most, measured, .. } = verdict;
        let question = format!("{:?}", cell.question);
        writeln!(
            text,
            "| {question} {cell} | {bar} | {} | {} | {outcome} |",
            number(*most),
            number(*measured)
        )
        .expect("a string takes all");
    }
}

/// Three significant digits: more would be noise.
fn significant(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut kept, item| {
        if !kept.contains(&item) {
            kept.push(item);
        }
        kept
    })
}

/// The machine and the settings a run's numbers belong to.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// The command that made them.
    pub command: String,
    /// The processor's name.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Congestion control of new sockets: large messages depend on it even on the loopback.
    pub congestion_control: String,
    /// Load of the last minute when the run began: above 1, somebody else was there.
    pub load_before: String,
    /// Rounds per cell.
    pub rounds: usize,
    /// Seconds per measurement.
    pub seconds: f64,
}

impl Environment {
    /// Asks the machine.
    pub fn find(rounds: usize, seconds: f64) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1).map(str::to_owned));
        let program =
            std::env::args().take(1).map(|path| path.rsplit('/').next().unwrap_or("bench").to_owned());
        Self {
            command: program.chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" "),
            processor: processor.unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            load_before: read("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned(),
            rounds,
            seconds,
        }
    }

    fn markdown(&self) -> String {
        let Self { command, processor, cores, kernel, congestion_control, load_before, rounds, seconds } =
            self;
        format!(
            "`{command}`\n\n{processor}, {cores} cores, kernel {kernel}, {congestion_control}, load before \
             {load_before}; {rounds} rounds of {seconds} s each, servers in turn; medians.\n"
        )
    }
}

/// Everything a program may want to know of a run, schema `bench/1`.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    environment: &'a Environment,
    results: Vec<Row>,
    bars: Vec<Verdict>,
    findings: &'a [Finding],
}

#[derive(Debug, Serialize)]
struct Row {
    cell: Cell,
    unit: &'static str,
    server: String,
    median: Option<f64>,
    spread_percent: Option<f64>,
    of_floor: Option<f64>,
}

impl<'a> Document<'a> {
    /// Condenses the findings of a run.
    pub fn new(findings: &'a [Finding], environment: &'a Environment) -> Self {
        let pairs = distinct(findings.iter().map(|finding| (finding.cell, finding.server.clone())));
        let results = pairs.into_iter().map(|(cell, server)| {
            let found = values(findings, &cell, &server);
            let of_floor = found.ratio_to(&values(findings, &cell, bars::floor_of(&cell)));
            let (median, spread_percent) = (found.median(), found.spread_percent());
            Row { cell, unit: cell.question.unit(), server, median, spread_percent, of_floor }
        });
        let results = results.collect();
        Self { schema: "bench/1", environment, results, bars: bars::judge(findings), findings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_of_rounds() {
        let ours = Values(vec![(0, 2.0), (1, 30.0), (2, 3.0)]);
        let floor = Values(vec![(0, 1.0), (1, 10.0), (2, 1.0)]);
        assert_eq!(ours.median(), Some(3.0));
        assert_eq!(ours.ratio_to(&floor), Some(3.0));
        assert_eq!(Values::default().median(), None);
        assert_eq!(Values(vec![(0, 1.0), (1, 2.0)]).median(), Some(1.5));
    }

    #[test]
    fn rounds_that_failed_on_one_side_give_no_ratio() {
        let (ours, floor) = (Values(vec![(0, 2.0)]), Values(vec![(1, 1.0)]));
        assert_eq!(ours.ratio_to(&floor), None);
    }
}
