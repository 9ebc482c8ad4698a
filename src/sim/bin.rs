//! The program `sim`: runs simulated worlds, and shows one of them.
//!
//! A failure is printed with its seed, the turn, the oracle that saw it and the command that shows it again.
//!
//! Invariant: the exit code is 0 if all worlds went well, 1 if one did not, 2 for flags that make no sense.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use stentor::sim::{Outcome, run};

/// Runs the server in made-up worlds where a seed decides what goes wrong.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
struct Options {
    /// Runs the world of this seed alone, and tells what happens in it.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "fresh"])]
    seed: Option<u64>,
    /// Runs so many worlds, of seeds that follow one another.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first of these seeds.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Draws so many seeds that nobody has seen, prints each and runs its world.
    #[arg(long, value_name = "N")]
    fresh: Option<u64>,
    /// With --seed: says only how it went.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.seed {
        return show(seed, options.quiet);
    }
    let fixed = options.seeds.unwrap_or(if options.fresh.is_some() { 0 } else { 100 });
    let mut total = Total::default();
    for seed in options.from..options.from.saturating_add(fixed) {
        total.add(&run(seed, None));
    }
    let mut random = fastrand::Rng::new();
    for _ in 0..options.fresh.unwrap_or(0) {
        let seed = u64::from(random.u32(..));
        say(&format!("fresh seed {seed}"));
        total.add(&run(seed, None));
    }
    total.tell()
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

/// What all worlds come to.
struct Total {
    began: Instant,
    worlds: u64,
    failed: u64,
    hours: f64,
    turns: u64,
    connections: u64,
    owed: u64,
}

impl Default for Total {
    fn default() -> Self {
        Self { began: Instant::now(), worlds: 0, failed: 0, hours: 0.0, turns: 0, connections: 0, owed: 0 }
    }
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.worlds += 1;
        self.failed += u64::from(tell_failure(outcome));
        self.hours += outcome.lasted_ns as f64 / 3.6e12;
        self.turns += outcome.turns;
        self.connections += outcome.accepted;
        self.owed += outcome.owed;
    }

    fn tell(&self) -> ExitCode {
        say(&format!(
            "{} worlds, {} failed: {:.1} h of {} connections, {} turns, {} deliveries in {:.1} s",
            self.worlds,
            self.failed,
            self.hours,
            self.connections,
            self.turns,
            self.owed,
            self.began.elapsed().as_secs_f64()
        ));
        if self.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
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
