//! Every single call of a scenario made to fail, with every error that it can have.
//!
//! A scenario is run once to see which fallible calls it makes. Then it is run once for each call and each error, with
//! exactly that call failing: nothing may panic, every oracle must hold, whoever was not hit must have done and
//! suffered what it did undisturbed, and everybody must be gone in the end.
//!
//! Invariant: in each disturbed run exactly one call fails.

use std::fmt;
use std::num::NonZeroUsize;

use rustix::io::Errno;

use super::batch;
use super::outside::failing::Call;
use super::peer::Peer;
use super::scenario::{self, Scenario};
use super::tally::Fault;
use super::trace::Sink;
use super::{Fate, Outcome, World};

/// What all worlds of scripts are drawn from: there is hardly anything left to draw.
const SEED: u64 = 7;

/// How the runs of one scenario went.
#[derive(Debug)]
pub struct Report {
    /// The scenario.
    pub name: &'static str,
    /// Fallible calls in the undisturbed run, by kind, in the order of [`Call::ALL`].
    pub calls: [usize; Call::ALL.len()],
    /// Runs with one call failing.
    pub runs: usize,
    /// Each run that went wrong, with the command that shows it.
    pub failures: Vec<String>,
}

/// A run of a script.
struct Run {
    outcome: Outcome,
    calls: Vec<Call>,
    fates: Vec<Fate>,
}

/// All scenarios.
#[must_use]
pub const fn scenarios() -> &'static [Scenario] {
    scenario::all()
}

/// Runs `scenario` undisturbed, and then with each call failing in each way.
#[must_use]
pub fn exhaust(scenario: &'static Scenario, jobs: NonZeroUsize) -> Report {
    let clean = play(scenario, None, None);
    let calls = Call::ALL.map(|kind| clean.calls.iter().filter(|call| **call == kind).count());
    let mut failures: Vec<String> =
        clean.outcome.failure.iter().map(|f| format!("undisturbed: {f:?}")).collect();
    let errors = clean.calls.iter().enumerate();
    let errors: Vec<(usize, Errno)> =
        errors.flat_map(|(number, call)| call.errors().iter().map(move |errno| (number, *errno))).collect();
    let runs = errors.len();
    let work = |index: usize| {
        let (number, errno) = errors[index];
        wrong(&play(scenario, Some((number, errno)), None), &clean).map(|what| (number, errno, what))
    };
    batch::in_order(runs, jobs, work, |found| {
        if let Some((number, errno, what)) = found {
            let (name, errno) = (scenario.name, errno.raw_os_error());
            let seen = format!("sim --exhaustive --scenario {name} --call {number} --errno {errno}");
            failures
                .push(format!("call {number}, a {}: {what}; to see it: {seen}", clean.calls[number].name()));
        }
    });
    Report { name: scenario.name, calls, runs, failures }
}

/// Tells one run, event by event.
///
/// # Errors
/// What went wrong, or that there is no such scenario.
pub fn show(name: &str, call: usize, errno: i32, sink: Sink) -> Result<(), String> {
    let scenario = scenario::all().iter().find(|scenario| scenario.name == name);
    let Some(scenario) = scenario else {
        let names: Vec<&str> = scenario::all().iter().map(|scenario| scenario.name).collect();
        return Err(format!("there is no scenario `{name}`; there are: {}", names.join(" ")));
    };
    tell(scenario, call, errno, Some(sink))
}

/// One run of `scenario`, in which this call fails in this way.
///
/// # Errors
/// What went wrong.
pub fn run_once(scenario: &Scenario, call: usize, errno: i32) -> Result<(), String> {
    tell(scenario, call, errno, None)
}

fn tell(scenario: &Scenario, call: usize, errno: i32, sink: Option<Sink>) -> Result<(), String> {
    let clean = play(scenario, None, None);
    let run = play(scenario, Some((call, Errno::from_raw_os_error(errno))), sink);
    wrong(&run, &clean).map_or(Ok(()), Err)
}

fn play(scenario: &Scenario, fails: Option<(usize, Errno)>, sink: Option<Sink>) -> Run {
    let script = scenario.script();
    let (limits, parts) = (script.plan.config.ws, script.parts);
    let world = World::new(script.plan, fastrand::Rng::with_seed(SEED), sink, |number, rng, book| {
        Peer::cast(number, parts[number].clone(), limits, rng.fork(), book)
    });
    let (outside, fates) = (world.outside.clone(), world.fates.clone());
    outside.borrow_mut().calls.fails = fails;
    outside.borrow_mut().calls.made = fails.is_none().then(Vec::new);
    let outcome = world.lived(SEED);
    let calls = outside.borrow_mut().calls.made.take().unwrap_or_default();
    Run { outcome, calls, fates: fates.take() }
}

/// What is wrong with a disturbed run.
fn wrong(run: &Run, clean: &Run) -> Option<String> {
    if let Some(failure) = &run.outcome.failure {
        return Some(format!("{}: {}", failure.oracle, failure.text));
    }
    let injected = run.outcome.tally.faults[Fault::Injected as usize];
    if injected != 1 {
        return Some(format!("vacuous: {injected} calls have failed"));
    }
    let fates = run.fates.iter().zip(&clean.fates).enumerate();
    let untouched = fates.filter(|(_, (now, before))| !now.is_broken && !before.is_broken);
    let changed = untouched.filter(|(_, (now, before))| now != before);
    let told: Vec<String> = changed
        .map(|(number, (now, before))| {
            format!("peer {number} was not hit, but {now:?} instead of {before:?}")
        })
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = Call::ALL.iter().zip(self.calls).map(|(call, n)| format!("{n} {}", call.name()));
        let kinds: Vec<String> = kinds.collect();
        let (all, failed): (usize, usize) = (self.calls.iter().sum(), self.failures.len());
        write!(
            f,
            "{:<18} {all:>4} calls ({}), {} runs, {failed} failed",
            self.name,
            kinds.join(", "),
            self.runs
        )?;
        self.failures.iter().try_for_each(|failure| write!(f, "\nFAILED {failure}"))
    }
}
