//! The program `sim`: runs simulated worlds, and shows one of them.
//!
//! A failure is printed with its seed, the turn, the oracle that saw it and the command that shows it again. The
//! summary says how often each thing happened, so that a reader sees that nothing is vacuous.
//!
//! Invariants: the exit code is 0 if all worlds went well, 1 if one did not, 2 for flags that make no sense; what
//! stands on stdout does not depend on the number of jobs, but for the time that it took.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use stentor::sim::tally::Tally;
use stentor::sim::{Outcome, batch, exhaustive, run};

/// Runs the server in made-up worlds where a seed decides what goes wrong.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
struct Options {
    /// Runs the world of this seed alone, and tells what happens in it.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "fresh", "exhaustive"])]
    seed: Option<u64>,
    /// Runs so many worlds, of seeds that follow one another.
    #[arg(long, value_name = "N")]
    seeds: Option<usize>,
    /// The first of these seeds.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Draws so many seeds that nobody has seen, prints each and runs its world.
    #[arg(long, value_name = "N")]
    fresh: Option<usize>,
    /// Runs scripted scenarios, and each again and again with one call of it failing.
    #[arg(long, conflicts_with_all = ["seeds", "fresh"])]
    exhaustive: bool,
    /// With --exhaustive: only the scenario of this name; with --call and --errno tells that one run.
    #[arg(long, value_name = "NAME", requires = "exhaustive")]
    scenario: Option<String>,
    /// Number of the call that fails, from 0.
    #[arg(long, value_name = "N", requires_all = ["scenario", "errno"])]
    call: Option<usize>,
    /// The error, by its number.
    #[arg(long, value_name = "N", requires = "call")]
    errno: Option<i32>,
    /// Worlds that run at the same time [default: one to a core].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Fails if a fault, a departure or a violation has never occurred.
    #[arg(long)]
    complete: bool,
    /// With --seed: says only how it went.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let jobs = options.jobs.unwrap_or_else(batch::cores);
    if options.exhaustive {
        return exhaust(&options, jobs);
    }
    if let Some(seed) = options.seed {
        return show(seed, options.quiet);
    }
    let fixed = options.seeds.unwrap_or(if options.fresh.is_some() { 0 } else { 100 });
    let mut random = fastrand::Rng::new();
    let fresh: Vec<u64> = (0..options.fresh.unwrap_or(0)).map(|_| u64::from(random.u32(..))).collect();
    let seed = |number: usize| match number.checked_sub(fixed) {
        Some(number) => fresh[number],
        None => options.from.wrapping_add(number as u64),
    };
    let mut total = Total::new(fixed + fresh.len());
    batch::in_order(
        fixed + fresh.len(),
        jobs,
        |number| run(seed(number), None),
        |outcome| total.add(&outcome, fixed),
    );
    total.tell(options.complete)
}

/// Runs one world and narrates it.
fn show(seed: u64, is_quiet: bool) -> ExitCode {
    let sink: stentor::sim::trace::Sink = Box::new(say);
    let outcome = run(seed, (!is_quiet).then_some(sink));
    say(&format!(
        "seed {seed}: {} s, {} turns, {} events, {} connections, trace {:016x}",
        outcome.lasted_ns / 1_000_000_000,
        outcome.turns,
        outcome.events,
        outcome.accepted,
        outcome.hash
    ));
    if tell_failure(&outcome) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs all scenarios, or one, or one run of one.
fn exhaust(options: &Options, jobs: NonZeroUsize) -> ExitCode {
    let began = Instant::now();
    if let (Some(name), Some(call), Some(errno)) = (&options.scenario, options.call, options.errno) {
        return match exhaustive::show(name, call, errno, Box::new(say)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(text) => {
                say(&text);
                ExitCode::FAILURE
            }
        };
    }
    let (mut runs, mut failed, mut scenarios) = (0, 0, 0);
    for scenario in exhaustive::scenarios() {
        if options.scenario.as_ref().is_some_and(|wanted| wanted != scenario.name) {
            continue;
        }
        let report = exhaustive::exhaust(scenario, jobs);
        say(&report.to_string());
        (scenarios, runs, failed) = (scenarios + 1, runs + report.runs, failed + report.failures.len());
    }
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("{scenarios} scenarios, {runs} runs, {failed} failed, in {seconds:.1} s"));
    if failed > 0 || scenarios == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What all worlds come to.
struct Total {
    began: Instant,
    all: usize,
    worlds: usize,
    failed: u64,
    hours: f64,
    turns: u64,
    connections: u64,
    owed: u64,
    tally: Tally,
    progress: Option<Instant>,
}

impl Total {
    fn new(all: usize) -> Self {
        let began = Instant::now();
        Self {
            began,
            all,
            worlds: 0,
            failed: 0,
            hours: 0.0,
            turns: 0,
            connections: 0,
            owed: 0,
            tally: Tally::default(),
            progress: std::io::stderr().is_terminal().then_some(began),
        }
    }

    /// Adds a world; those behind the first `fixed` have seeds that nobody has seen.
    fn add(&mut self, outcome: &Outcome, fixed: usize) {
        self.worlds += 1;
        if self.worlds > fixed {
            say(&format!("fresh seed {}", outcome.seed));
        }
        self.failed += u64::from(tell_failure(outcome));
        self.hours += outcome.lasted_ns as f64 / 3.6e12;
        self.turns += outcome.turns;
        self.connections += outcome.accepted;
        self.owed += outcome.owed;
        self.tally.add(&outcome.tally);
        if self.progress.is_some_and(|last| last.elapsed() > Duration::from_millis(200)) {
            self.progress = Some(Instant::now());
            let (seconds, all) = (self.began.elapsed().as_secs_f64(), self.all);
            let left = seconds / self.worlds as f64 * (all - self.worlds) as f64;
            let line = format!("{} of {all} worlds, {} failed, {left:.0} s left", self.worlds, self.failed);
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{line}");
        }
    }

    fn tell(&self, must_be_complete: bool) -> ExitCode {
        if self.progress.is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
        for (kind, label, count) in self.tally.rows() {
            say(&format!("{kind:>10}  {label:<33} {count:>12}"));
        }
        let never = self.tally.never();
        if !never.is_empty() {
            say(&format!("never occurred: {}", never.join(", ")));
        }
        say(&format!(
            "{} worlds, {} failed: {:.1} h of {} connections, {} messages said and {} heard, {} turns, {} deliveries in \
             {:.1} s",
            self.worlds,
            self.failed,
            self.hours,
            self.connections,
            self.tally.messages,
            self.tally.heard,
            self.turns,
            self.owed,
            self.began.elapsed().as_secs_f64()
        ));
        let is_lacking = must_be_complete && !never.is_empty();
        if self.failed > 0 || is_lacking { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Says what went wrong, if anything did.
fn tell_failure(outcome: &Outcome) -> bool {
    let Some(failure) = &outcome.failure else { return false };
    let (seed, turn) = (outcome.seed, outcome.turns);
    say(&format!("FAILED seed {seed} in turn {turn}: {}: {}", failure.oracle, failure.text));
    say(&format!("       to see it: cargo run --release --bin sim -- --seed {seed}"));
    true
}

fn say(line: &str) {
    // A reader that has seen enough (`| head`) is no reason to fail.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
