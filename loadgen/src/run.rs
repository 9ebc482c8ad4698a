//! One experiment, from flags to exit code.
//!
//! Why one place: the order matters. What can be refused is refused before anything is opened; the server is sampled
//! before the first connection; whatever ends the run, what was measured is written.
//!
//! Invariants: exit codes are those of the contract, chosen here alone; outputs are written once, at the end.

mod assemble;
mod conduct;
mod moved;
mod watch;

use crate::cli::RunArgs;
use crate::descriptors;
use crate::live::{Live, Wanted};
use crate::plan::Plan;
use crate::preflight::{self, Facts, Request, ServerSide};
use crate::report::{Report, Verdict, outputs, text, verdict};
use crate::threshold::{Threshold, check_all};
use crate::units;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Exit: it could not run.
pub const EXIT_FAILED: u8 = 1;
/// Exit: the flags make no sense.
pub const EXIT_USAGE: u8 = 2;
/// Exit: this machine cannot do it.
pub const EXIT_PREFLIGHT: u8 = 3;
/// Exit: INVALID under `--strict`.
pub const EXIT_INVALID: u8 = 4;
/// Exit: a threshold failed.
pub const EXIT_THRESHOLD: u8 = 99;
/// Exit: interrupted.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why there is no report.
#[derive(Debug)]
pub enum Failure {
    /// Exit 1.
    CouldNotRun(String),
    /// Exit 2.
    Usage(String),
    /// Exit 3.
    Preflight(Vec<preflight::Refusal>),
}

impl Failure {
    fn exit(self) -> ExitCode {
        let (code, texts) = match self {
            Self::CouldNotRun(text) => (EXIT_FAILED, vec![text]),
            Self::Usage(text) => (EXIT_USAGE, vec![format!("{text}\n  try     loadgen --help")]),
            Self::Preflight(refusals) => (EXIT_PREFLIGHT, refusals.iter().map(ToString::to_string).collect()),
        };
        for text in texts {
            outputs::to_stderr(&format!("error: {text}\n"));
        }
        ExitCode::from(code)
    }
}

/// Runs what the flags say and writes what they ask for.
pub fn run(args: &RunArgs) -> ExitCode {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first asks for the report, a second ends us at once. Without handlers the first would.
        let _ = signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(EXIT_INTERRUPTED),
            Arc::clone(&interrupt),
        );
        let _ = signal_hook::flag::register(signal, Arc::clone(&interrupt));
    }
    match prepare(args)
        .and_then(|plan| if args.dry_run { dry_run(&plan) } else { measure(args, plan, &interrupt) })
    {
        Ok(code) => code,
        Err(failure) => failure.exit(),
    }
}

/// Measures a plan against its targets and judges it, without preflight, outputs or a server of our own.
///
/// # Errors
/// A target cannot be resolved or no loop can be started.
pub fn measure_plan(mut plan: Plan) -> Result<Report, String> {
    for target in &mut plan.targets {
        target.resolve()?;
    }
    let interrupt = AtomicBool::new(false);
    let mut quiet = Live::new(Wanted::Nothing, u64::from(plan.clients));
    let mut report =
        conduct::conduct(&plan, &[], &mut quiet, &interrupt).map_err(|error| error.to_string())?;
    verdict::judge(&mut report);
    Ok(report)
}

/// Flags → plan → addresses → preflight.
fn prepare(args: &RunArgs) -> Result<Plan, Failure> {
    let mut plan = Plan::new(args).map_err(|error| Failure::Usage(error.0))?;
    let files = [&args.json, &args.csv, &args.hlog, &args.html];
    for path in files.into_iter().flatten().filter(|path| path.as_os_str() != "-") {
        outputs::check_path(path).map_err(Failure::CouldNotRun)?;
    }
    if plan.embedded {
        plan.targets = vec![plan.own_target(own_address()?)];
    }
    let mut addresses = Vec::new();
    for target in &mut plan.targets {
        addresses.push(target.resolve().map_err(Failure::CouldNotRun)?);
    }
    crate::client::trust(&plan).map_err(Failure::CouldNotRun)?;
    grant(&mut plan, addresses)?;
    Ok(plan)
}

/// Asks the machine, and takes what it grants into the plan.
fn grant(plan: &mut Plan, targets: Vec<SocketAddr>) -> Result<(), Failure> {
    let server = match plan.server_pid {
        _ if plan.embedded => {
            plan.server_workers = own_workers(plan.clients_at_once());
            ServerSide::Own { workers: u64::from(plan.server_workers) }
        }
        Some(pid) => preflight::server_side(pid).unwrap_or(ServerSide::Remote),
        None => ServerSide::Remote,
    };
    let request = Request {
        clients: u64::from(plan.clients_at_once()),
        procs: (!plan.procs_auto).then_some(u64::from(plan.procs)),
        targets,
        sources: (!plan.sources_auto).then(|| plan.sources.clone()),
        server,
    };
    let granted = preflight::check(&request, &Facts::observe(), &mut descriptors::raise_nofile)
        .map_err(Failure::Preflight)?;
    plan.procs = u32::try_from(granted.procs).unwrap_or(u32::MAX).max(plan.procs);
    plan.sources = granted.sources;
    Ok(())
}

/// Says what would be done.
fn dry_run(plan: &Plan) -> Result<ExitCode, Failure> {
    let mut described = plan.to_report();
    if plan.embedded {
        described.urls.clear();
    }
    let said = format!(
        "{}\nwould open {} connections from {} process(es) × {} loop(s){}, ramp {}, seed {}; preflight passed\n",
        text::describe(&described),
        plan.clients,
        plan.procs,
        plan.threads,
        if plan.embedded {
            format!(" to {} worker(s) of a server", plan.server_workers)
        } else {
            String::new()
        },
        units::format_rate(plan.ramp_per_s),
        plan.seed
    );
    outputs::to_stdout(said.as_bytes()).map_err(|error| Failure::CouldNotRun(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// Measures, judges, writes.
fn measure(args: &RunArgs, mut plan: Plan, interrupt: &AtomicBool) -> Result<ExitCode, Failure> {
    let thresholds: Vec<Threshold> =
        plan.thresholds.iter().filter_map(|text| Threshold::parse(text).ok()).collect();
    let mut live = Live::new(wanted(args), u64::from(plan.clients));
    let started_unix_ns =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let outcome = {
        let _server = start_server(&mut plan, &live)?; // stopped at the end of this block
        conduct::conduct(&plan, &thresholds, &mut live, interrupt)
    };
    live.end();
    let mut report = outcome.map_err(|error| Failure::CouldNotRun(error.to_string()))?;
    report.run.started_unix_ns = started_unix_ns;
    report.run.args = std::env::args().skip(1).collect();
    verdict::judge(&mut report);
    let passed = check_all(&thresholds, &mut report);
    let written = write(args, &report);
    let interrupted = interrupt.load(Ordering::Relaxed);
    let code = match written {
        Err(error) => {
            outputs::to_stderr(&format!("error: {error}\n"));
            EXIT_FAILED
        }
        Ok(()) if interrupted => EXIT_INTERRUPTED,
        Ok(()) if !passed => EXIT_THRESHOLD,
        Ok(()) if plan.strict && report.verdict == Verdict::Invalid => EXIT_INVALID,
        Ok(()) => 0,
    };
    Ok(ExitCode::from(code))
}

/// What is to be seen while the run goes on.
fn wanted(args: &RunArgs) -> Wanted {
    match (args.quiet, args.no_tui || !std::io::stderr().is_terminal()) {
        (true, _) => Wanted::Nothing,
        (false, true) => Wanted::Words,
        (false, false) => Wanted::Lines,
    }
}

/// Every output that was asked for; the summary goes to stdout unless another output does.
fn write(args: &RunArgs, report: &Report) -> std::io::Result<()> {
    use outputs::Format;
    let wanted = [
        (&args.json, Format::Json),
        (&args.csv, Format::Csv),
        (&args.hlog, Format::Hlog),
        (&args.html, Format::Html),
    ];
    let mut stdout_taken = false;
    for (path, format) in wanted {
        if let Some(path) = path {
            stdout_taken |= path.as_os_str() == "-";
            outputs::write(report, format, path)?;
        }
    }
    if let Some(dir) = &args.out {
        outputs::write_all(report, dir)?;
    }
    let is_terminal =
        if stdout_taken { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let mut summary = text::render(report, text::wants_colour(is_terminal));
    if args.quiet {
        summary = summary.lines().take(1 + report.reasons.len()).map(|line| format!("{line}\n")).collect();
    }
    if stdout_taken {
        outputs::to_stderr(&summary);
        return Ok(());
    }
    outputs::to_stdout(summary.as_bytes())
}

/// How many processes a server of our own needs for so many clients: descriptors count for each.
#[cfg(feature = "embedded")]
fn own_workers(clients: u32) -> u32 {
    // Root may go beyond the hard limit; whoever may not gets what there is.
    let _ = descriptors::raise_nofile(u64::from(clients) + 64);
    crate::embedded::workers_for(clients)
}

#[cfg(not(feature = "embedded"))]
const fn own_workers(_clients: u32) -> u32 {
    1
}

#[cfg(feature = "embedded")]
fn own_address() -> Result<SocketAddr, Failure> {
    crate::embedded::free_address()
        .map_err(|error| Failure::CouldNotRun(format!("no free port on 127.0.0.1: {error}")))
}

#[cfg(not(feature = "embedded"))]
fn own_address() -> Result<SocketAddr, Failure> {
    Err(Failure::Usage(
        "this loadgen was built without a server of its own (feature `embedded`): give it a URL".to_owned(),
    ))
}

#[cfg(feature = "embedded")]
fn start_server(plan: &mut Plan, live: &Live) -> Result<Option<crate::embedded::OwnServer>, Failure> {
    if !plan.embedded {
        return Ok(None);
    }
    live.say("starting a stentor");
    let address = plan.targets[0].address.expect("prepare resolved it");
    let server =
        crate::embedded::OwnServer::start(address, plan.message_max(), plan.deflate, plan.server_workers)
            .map_err(Failure::CouldNotRun)?;
    plan.server_pid = Some(server.pid());
    Ok(Some(server))
}

#[cfg(not(feature = "embedded"))]
fn start_server(_plan: &mut Plan, _live: &Live) -> Result<Option<()>, Failure> {
    Ok(None)
}
