//! The decision what clients do beside hearing, from the flags of churn, storm and slow.
//!
//! Why apart from the words: here they meet one another, and the sentences that refuse a combination.
//!
//! Invariants: a flag of another scenario is refused, not ignored; sessions are long enough that a run's can be booked one
//! by one.

use super::decide::{u32_within, usage, within};
use super::motion::{Leave, Lengths, Motion, SLOW_PHASES};
use super::{Part, Scenario, UsageError};
use crate::cli::RunArgs;
use crate::units::{NS_PER_S, format_ns};

/// Shortest mean session: shorter ones are a connect test.
const SESSION_MIN_NS: u64 = 100_000_000;
/// Sessions of one run, at most about: each is booked in sixteen bytes.
const SESSIONS_MAX: f64 = 1e8;
/// Most bytes a second that still are slow.
const SLOW_RATE_MAX: u64 = 64 << 20;
/// Shortest measured phase of a slow run: the server is sampled once a second, so every phase has a second.
const SLOW_DURATION_MIN_NS: u64 = SLOW_PHASES * NS_PER_S;

/// What the flags say about it.
pub(super) fn decide(args: &RunArgs, clients: u32, publishers: u32) -> Result<Motion, UsageError> {
    refuse_foreign(args)?;
    let others = clients - publishers;
    let some_of = |flag: &str, part: Option<Part>, share: f64| {
        let count = part.unwrap_or(Part::Share(share)).of(others);
        if others == 0 {
            return Err(usage(
                "every client publishes, and who publishes stays: fewer --publishers would work",
            ));
        }
        u32_within(flag, count, 1, u64::from(others)).map_err(|_| {
            UsageError(format!("{flag} {count} is too much: of {clients} clients {publishers} publish, so at most {others} are"))
        })
    };
    match args.scenario {
        Scenario::Churn => {
            let session = args.session.unwrap_or(Lengths::Exp(20 * 60 * NS_PER_S));
            check_sessions(args, session, others)?;
            Ok(Motion::Churn { session, leave: args.leave.unwrap_or(Leave::Mixed) })
        }
        Scenario::Storm => {
            let at_ns = args.storm_at.unwrap_or(args.duration / 3);
            if at_ns >= args.duration {
                return Err(UsageError(format!(
                    "--storm-at {} is not within the measured phase of {}",
                    format_ns(at_ns),
                    format_ns(args.duration)
                )));
            }
            Ok(Motion::Storm { clients: some_of("--storm", args.storm, 0.5)?, at_ns })
        }
        Scenario::Slow => {
            let rate_per_s = within("--slow-rate", args.slow_rate.unwrap_or(1 << 10), 0, SLOW_RATE_MAX)?;
            if args.duration < SLOW_DURATION_MIN_NS {
                return Err(UsageError(format!(
                    "--duration {} is too short for {SLOW_PHASES} phases, calm and slow in turn; {} would work",
                    format_ns(args.duration),
                    format_ns(SLOW_DURATION_MIN_NS)
                )));
            }
            Ok(Motion::Slow { clients: some_of("--slow", args.slow, 0.1)?, rate_per_s })
        }
        Scenario::Broadcast | Scenario::Echo | Scenario::Idle | Scenario::Connect | Scenario::Chat => {
            Ok(Motion::Still)
        }
    }
}

/// A flag of another scenario would be ignored; so would a closed model's rounds, which wait for who is gone.
fn refuse_foreign(args: &RunArgs) -> Result<(), UsageError> {
    let (churn, storm, slow) = (Scenario::Churn, Scenario::Storm, Scenario::Slow);
    let given: [(bool, &str, &[Scenario]); 7] = [
        (args.session.is_some(), "--session", &[churn]),
        (args.leave.is_some(), "--leave", &[churn]),
        (args.storm.is_some(), "--storm", &[storm]),
        (args.storm_at.is_some(), "--storm-at", &[storm]),
        (args.slow.is_some(), "--slow", &[slow]),
        (args.slow_rate.is_some(), "--slow-rate", &[slow]),
        (args.backoff.is_some(), "--backoff", &[churn, storm, slow]),
    ];
    for (is_given, flag, scenarios) in given {
        if is_given && !scenarios.contains(&args.scenario) {
            let names: Vec<_> = scenarios.iter().map(ToString::to_string).collect();
            return Err(UsageError(format!(
                "{flag} is for {}; the scenario is `{}`",
                names.join(", "),
                args.scenario
            )));
        }
    }
    if args.closed && [churn, storm, slow].contains(&args.scenario) {
        return Err(UsageError(format!(
            "--closed waits for every subscriber, and in `{}` some are away or slow; --rate would work",
            args.scenario
        )));
    }
    Ok(())
}

/// Sessions are booked one by one: not so many that the books are the load.
fn check_sessions(args: &RunArgs, session: Lengths, clients: u32) -> Result<(), UsageError> {
    if clients == 0 {
        return Err(usage("every client publishes, and who publishes stays: fewer --publishers would work"));
    }
    let sessions =
        f64::from(clients) * (args.warmup + args.duration) as f64 / session.mean_ns().max(1) as f64;
    if session.mean_ns() < SESSION_MIN_NS || sessions > SESSIONS_MAX {
        return Err(UsageError(format!(
            "--session {session} would end {sessions:.0} sessions; the mean must be at least {} and they may be at most {SESSIONS_MAX:.0}",
            format_ns(SESSION_MIN_NS)
        )));
    }
    Ok(())
}
