//! The decisions behind a plan, one by one: each takes the flags and gives a value or a sentence.
//!
//! Why: every contradiction has its own sentence, and the sentence names the flag to change.
//!
//! Invariants: nothing here touches the system; a decision that fails has no effect.

use super::{
    Arrival, Fill, JSON_FRAME_BYTES, Model, PAIRS_MAX, Protocol, SIZE_MAX, Scenario, Target, UsageError,
};
use crate::cli::{Auto, RunArgs};
use crate::units;
use stentor::base::marker::{MARKER_BYTES, MARKER_TEXT_BYTES};

pub(super) fn usage(text: &str) -> UsageError {
    UsageError(text.to_owned())
}

pub(super) fn within(flag: &str, value: u64, min: u64, max: u64) -> Result<u64, UsageError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(UsageError(format!("{flag} must be between {min} and {max}, not {value}")))
}

pub(super) fn u32_within(flag: &str, value: u64, min: u64, max: u64) -> Result<u32, UsageError> {
    within(flag, value, min, max.min(u64::from(u32::MAX))).map(|value| value as u32)
}

pub(super) fn positive(flag: &str, value: f64) -> Result<f64, UsageError> {
    if value > 0.0 && value.is_finite() && value <= 1e9 {
        return Ok(value);
    }
    Err(UsageError(format!("{flag} must be above 0 and at most 1g/s, not {value}/s")))
}

/// Names what the contract promises and this version does not do.
pub(super) fn refuse_unbuilt(args: &RunArgs) -> Result<(), UsageError> {
    if !args.scenario.is_built() {
        return Err(UsageError(format!(
            "scenario `{}` is not built yet; built are broadcast, echo, idle, connect, churn, storm and slow",
            args.scenario
        )));
    }
    Ok(())
}

/// Only somebody else's server has a process to be named.
pub(super) fn check_server(args: &RunArgs, embedded: bool) -> Result<(), UsageError> {
    if embedded && args.server_pid.is_some() {
        return Err(usage("--server-pid needs a URL: without one loadgen starts and samples its own server"));
    }
    Ok(())
}

/// Whom to trust is asked only over TLS, and only once.
pub(super) fn check_trust(args: &RunArgs, targets: &[Target]) -> Result<(), UsageError> {
    let given = match (&args.cacert, args.tls_insecure) {
        (Some(_), true) => {
            return Err(usage(
                "--cacert says whom to trust, --tls-insecure trusts anybody: give one of them",
            ));
        }
        (Some(_), false) => "--cacert",
        (None, true) => "--tls-insecure",
        (None, false) => return Ok(()),
    };
    if targets.iter().any(|target| target.tls) {
        return Ok(());
    }
    Err(UsageError(format!("{given} is for wss:// targets, and none is given")))
}

/// How many clients publish.
pub(super) fn publishers(args: &RunArgs, clients: u32) -> Result<u32, UsageError> {
    let scenario = args.scenario;
    if !scenario.is_broadcast() && args.publishers.is_some() {
        return Err(UsageError(format!(
            "--publishers is for broadcasts; in `{scenario}` its number is given"
        )));
    }
    let publishers = match scenario {
        Scenario::Echo => clients,
        Scenario::Broadcast | Scenario::Churn | Scenario::Storm | Scenario::Slow => {
            let count = args.publishers.map_or(1, |part| part.of(clients));
            u32_within("--publishers", count, 1, u64::from(clients))?
        }
        Scenario::Idle | Scenario::Connect | Scenario::Chat => 0,
    };
    let pairs = u64::from(clients) * u64::from(publishers);
    if scenario.is_broadcast() && pairs > PAIRS_MAX {
        return Err(UsageError(format!(
            "{publishers} publishers × {clients} clients are {pairs} sequences to follow, at most {PAIRS_MAX} are; \
             --publishers {} would work",
            PAIRS_MAX / u64::from(clients)
        )));
    }
    Ok(publishers)
}

/// Who decides when a message is due.
pub(super) fn model(args: &RunArgs, publishers: u32) -> Result<Model, UsageError> {
    let scenario = args.scenario;
    let rated = args.rate.is_some() || args.rate_per_client.is_some() || args.arrival.is_some();
    if publishers == 0 {
        if rated || args.closed {
            return Err(UsageError(format!(
                "scenario `{scenario}` sends nothing: no rate, --arrival or --closed"
            )));
        }
        return Ok(Model::Silent);
    }
    if args.closed {
        if rated {
            return Err(usage("--closed has no rate and no --arrival: the next message waits for the last"));
        }
        let inflight = u32_within("--inflight", args.inflight.unwrap_or(1), 1, 65_536)?;
        return Ok(Model::Closed { inflight, think_ns: args.think.unwrap_or(0) });
    }
    if args.inflight.is_some() || args.think.is_some() {
        return Err(usage("--inflight and --think belong to --closed; the open model has --rate"));
    }
    let (default_rate, default_arrival) = match scenario {
        Scenario::Echo => (f64::from(publishers), Arrival::Poisson),
        Scenario::Broadcast
        | Scenario::Idle
        | Scenario::Connect
        | Scenario::Churn
        | Scenario::Storm
        | Scenario::Slow
        | Scenario::Chat => (1.0, Arrival::Constant),
    };
    let rate_per_s = match (args.rate, args.rate_per_client) {
        (Some(rate), _) => positive("--rate", rate)?,
        (None, Some(each)) => positive("--rate-per-client", each)? * f64::from(publishers),
        (None, None) => default_rate,
    };
    Ok(Model::Open { rate_per_s, arrival: args.arrival.unwrap_or(default_arrival) })
}

/// Payloads hold at least their marker.
pub(super) fn check_payload(args: &RunArgs, model: Model) -> Result<(), UsageError> {
    if model == Model::Silent {
        return Ok(());
    }
    let is_text = args.text || args.protocol == Protocol::SocketIo;
    let (min, what) = match (args.fill, is_text) {
        (Fill::Json, _) => (MARKER_TEXT_BYTES + JSON_FRAME_BYTES, "a marker in JSON"),
        (_, true) => (MARKER_TEXT_BYTES, "a marker in text"),
        (_, false) => (MARKER_BYTES, "a marker"),
    };
    if args.size.min() < min as u64 {
        return Err(UsageError(format!("--size {} is too small: {what} takes {min} bytes", args.size)));
    }
    if args.size.max() > SIZE_MAX {
        return Err(UsageError(format!("--size {} is too large: at most {SIZE_MAX} bytes", args.size)));
    }
    if is_text && args.fill == Fill::Zero {
        return Err(usage(
            "text frames with --fill zero would send NUL characters; --fill text or random would work",
        ));
    }
    Ok(())
}

/// Phases long enough to measure and short enough to end.
pub(super) fn check_phases(args: &RunArgs) -> Result<(), UsageError> {
    let day_ns = 24 * 3_600 * units::NS_PER_S;
    within("--warmup (ns)", args.warmup, 0, day_ns)?;
    within("--drain (ns)", args.drain, 0, 3_600 * units::NS_PER_S)?;
    if args.scenario != Scenario::Connect {
        within("--duration (ns)", args.duration, 1_000_000, 30 * day_ns)?;
    }
    Ok(())
}

/// How long one connection may take, in nanoseconds.
pub(super) fn connect_timeout(args: &RunArgs) -> Result<u64, UsageError> {
    within("--connect-timeout", args.connect_timeout, 1_000_000, 3_600 * units::NS_PER_S)
}

/// One document at most goes to stdout: two in one stream are none.
pub(super) fn check_outputs(args: &RunArgs) -> Result<(), UsageError> {
    let wanted =
        [("--json", &args.json), ("--csv", &args.csv), ("--hlog", &args.hlog), ("--html", &args.html)];
    let is_stdout =
        |path: &Option<std::path::PathBuf>| path.as_ref().is_some_and(|path| path.as_os_str() == "-");
    let to_stdout: Vec<_> =
        wanted.into_iter().filter(|(_, path)| is_stdout(path)).map(|(flag, _)| flag).collect();
    if to_stdout.len() > 1 {
        return Err(UsageError(format!(
            "{} would share stdout, which holds one output; write the others to files, or all with --out DIR",
            to_stdout.join(" and ")
        )));
    }
    Ok(())
}

/// Processes and loops per process, as far as flags decide them.
pub(super) fn loops(args: &RunArgs, clients: u32, model: Model) -> Result<(u32, u32), UsageError> {
    let one_loop = is_one_loop(args, model);
    let procs = match args.procs {
        Auto::Auto => 1,
        Auto::Count(count) => u32_within("--procs", count, 1, 1_024)?,
    };
    let threads = match args.threads {
        Auto::Auto if one_loop => 1,
        Auto::Auto => default_threads().min(clients),
        Auto::Count(count) => u32_within("--threads", count, 1, 256)?,
    };
    if one_loop && procs * threads > 1 {
        return Err(usage(
            "a closed broadcast runs in one loop, since the next message waits for every subscriber; \
             --procs 1 --threads 1 would work",
        ));
    }
    if procs * threads > clients {
        return Err(UsageError(format!(
            "{procs} processes × {threads} loops are more than {clients} clients"
        )));
    }
    Ok((procs, threads))
}

/// A closed broadcast: the next message waits for every subscriber, so one loop must see them all.
pub(super) fn is_one_loop(args: &RunArgs, model: Model) -> bool {
    args.scenario == Scenario::Broadcast && matches!(model, Model::Closed { .. })
}

/// One loop carries 100 000 deliveries a second; the server beside us needs cores too.
fn default_threads() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).clamp(1, 4) as u32
}

/// Splits `Name: value`; what the handshake itself writes may not be overridden.
pub(super) fn header(line: &str) -> Result<(String, String), UsageError> {
    let wrong = |why: &str| UsageError(format!("--header `{}`: {why}", line.escape_debug()));
    let (name, value) = line.split_once(':').ok_or_else(|| wrong("write `Name: value`"))?;
    let value = value.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(wrong("the name may hold letters, digits and -"));
    }
    if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
        return Err(wrong("the value holds a control character"));
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("sec-websocket-")
        || ["host", "upgrade", "connection", "origin"].contains(&lower.as_str())
    {
        return Err(wrong(
            "the handshake writes this header itself (see --origin, --subprotocol and the URL)",
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}
