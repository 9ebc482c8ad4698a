//! The plan: what a run will do, complete and consistent, decided once before anything is opened.
//!
//! Why: options that contradict each other must fail in the first millisecond with a sentence that helps, not half a
//! minute later with a strange number. After [`Plan::new`] nobody asks a flag again; shards get the plan as JSON.
//!
//! Invariants: a `Plan` is valid: every size holds its marker, every rate is positive and finite, publishers do not
//! outnumber clients, and only what is built is in it.

use crate::cli::{Auto, RunArgs, Sources, UnbuiltFlags};
use crate::{report, units};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use stentor::base::marker::{MARKER_BYTES, MARKER_TEXT_BYTES};

mod target;
mod words;

pub use target::Target;
pub use words::{Arrival, Fill, Protocol, Publishers, Scenario, Size};

/// Most clients of one run: their numbers must fit comfortably into the marker's publisher field.
pub const CLIENTS_MAX: u64 = 1 << 24;
/// Most (client, publisher) pairs tracked for completeness over all processes: 16 bytes each, 2 GiB.
pub const PAIRS_MAX: u64 = 1 << 27;
/// Largest payload; what servers commonly allow is far below.
pub const SIZE_MAX: u64 = 1 << 28;
/// What surrounds marker and filling in JSON: `{"m":"` + marker + `","fill":"` + … + `"}`.
pub const JSON_FRAME_BYTES: usize = 6 + 10 + 2;

/// Options that cannot be, in one sentence; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Who decides when the next message is due.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Model {
    /// Nothing is sent.
    Silent,
    /// The schedule decides, whatever the server does.
    Open {
        /// Messages per second over all publishers.
        rate_per_s: f64,
        /// How they are spread.
        arrival: Arrival,
    },
    /// The arrival of the last message decides.
    Closed {
        /// Messages under way per publisher.
        inflight: u32,
        /// Pause before the next, in nanoseconds.
        think_ns: u64,
    },
}

/// A valid experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What to do.
    pub scenario: Scenario,
    /// Whom to measure; empty until the server of our own listens.
    pub targets: Vec<Target>,
    /// Loadgen brings the server.
    pub embedded: bool,
    /// Connections over all processes.
    pub clients: u32,
    /// Who decides when a message is due.
    pub model: Model,
    /// How many clients publish: those with the numbers `0..publishers`.
    pub publishers: u32,
    /// Payload bytes.
    pub size: Size,
    /// What fills them.
    pub fill: Fill,
    /// Text frames.
    pub text: bool,
    /// Warm-up, in nanoseconds.
    pub warmup_ns: u64,
    /// Measured phase, in nanoseconds.
    pub duration_ns: u64,
    /// Drain at most, in nanoseconds.
    pub drain_ns: u64,
    /// New connections per second over all processes.
    pub ramp_per_s: f64,
    /// Handshakes under way at once, over all processes.
    pub max_connecting: u32,
    /// Time for one connection to open, in nanoseconds.
    pub connect_timeout_ns: u64,
    /// Source addresses in turn; empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// `--source auto`: may be filled from the loopback net when the ports of one address do not suffice.
    pub sources_auto: bool,
    /// Processes.
    pub procs: u32,
    /// `--procs auto`: may be raised to fit the descriptor limit.
    pub procs_auto: bool,
    /// Loops per process.
    pub threads: u32,
    /// Spin until the next message is due.
    pub spin: bool,
    /// More headers of the handshake.
    pub headers: Vec<(String, String)>,
    /// Subprotocols offered.
    pub subprotocols: Vec<String>,
    /// The `Origin` header.
    pub origin: Option<String>,
    /// The run's number in its markers.
    pub run_id: u32,
    /// What schedule, sizes and payloads are drawn from.
    pub seed: u64,
    /// Exit code 4 on `INVALID`.
    pub strict: bool,
    /// Thresholds as typed; they parse.
    pub thresholds: Vec<String>,
    /// The name of the run.
    pub label: Option<String>,
    /// Process to sample.
    pub server_pid: Option<u32>,
    /// Metrics to read.
    pub server_metrics: Option<String>,
}

impl Plan {
    /// Decides everything that can be decided without touching the system.
    ///
    /// # Errors
    /// The first contradiction, as one sentence that says what would work.
    pub fn new(args: &RunArgs) -> Result<Self, UsageError> {
        refuse_unbuilt(args)?;
        let targets = args.urls.iter().map(|url| Target::parse(url)).collect::<Result<Vec<_>, _>>()?;
        let embedded = targets.is_empty();
        if embedded && args.server_pid.is_some() {
            return Err(usage(
                "--server-pid needs a URL: without one loadgen starts and samples its own server",
            ));
        }
        let clients = u32_within("--clients", args.clients, 1, CLIENTS_MAX)?;
        let publishers = publishers(args, clients)?;
        let model = model(args, publishers)?;
        check_payload(args, model)?;
        check_phases(args)?;
        let (procs, threads) = loops(args, clients, model)?;
        for expression in &args.threshold {
            crate::threshold::Threshold::parse(expression).map_err(|error| UsageError(error.to_string()))?;
        }
        let seed = args.seed.unwrap_or_else(|| fastrand::u64(..) >> 32);
        Ok(Self {
            scenario: args.scenario,
            targets,
            embedded,
            clients,
            model,
            publishers,
            size: args.size,
            fill: args.fill,
            text: args.text,
            warmup_ns: args.warmup,
            duration_ns: args.duration,
            drain_ns: args.drain,
            ramp_per_s: positive("--ramp", args.ramp)?,
            max_connecting: u32_within("--max-connecting", args.max_connecting, 1, CLIENTS_MAX)?,
            connect_timeout_ns: within(
                "--connect-timeout",
                args.connect_timeout,
                1_000_000,
                3_600 * units::NS_PER_S,
            )?,
            sources: match &args.source {
                Sources::Auto => Vec::new(),
                Sources::List(list) => list.clone(),
            },
            sources_auto: args.source == Sources::Auto,
            procs,
            procs_auto: args.procs == Auto::Auto
                && !matches!((args.scenario, model), (Scenario::Broadcast, Model::Closed { .. })),
            threads,
            spin: args.spin,
            headers: args.header.iter().map(|line| header(line)).collect::<Result<_, _>>()?,
            subprotocols: args.subprotocol.clone(),
            origin: args.origin.clone(),
            run_id: fastrand::u32(1..),
            seed,
            strict: args.strict,
            thresholds: args.threshold.clone(),
            label: args.label.clone(),
            server_pid: args.server_pid,
            server_metrics: args.server_metrics.clone(),
        })
    }

    /// Loops over all processes.
    pub fn loops(&self) -> u32 {
        self.procs * self.threads
    }

    /// Connections open at once: in the scenario connect each goes as soon as it is open.
    pub fn clients_at_once(&self) -> u32 {
        if self.scenario == Scenario::Connect { self.clients.min(self.max_connecting) } else { self.clients }
    }

    /// Whether every client hears every publisher.
    pub fn is_broadcast(&self) -> bool {
        self.scenario == Scenario::Broadcast
    }

    /// Whether messages are sent at all.
    pub fn sends(&self) -> bool {
        self.model != Model::Silent
    }

    /// Messages that the schedule wants in warm-up and measured phase, about; 0 in the closed model.
    pub fn messages_planned(&self) -> u64 {
        match self.model {
            Model::Open { rate_per_s, .. } => (rate_per_s * (self.warmup_ns + self.duration_ns) as f64
                / units::NS_PER_S as f64)
                .ceil() as u64,
            Model::Silent | Model::Closed { .. } => 0,
        }
    }

    /// The plan in the words of the report.
    pub fn to_report(&self) -> report::Plan {
        let (rate_per_s, arrival) = match self.model {
            Model::Open { rate_per_s, arrival } => (rate_per_s, arrival.to_string()),
            Model::Silent | Model::Closed { .. } => (0.0, String::new()),
        };
        let (closed, inflight, think_ns) = match self.model {
            Model::Closed { inflight, think_ns } => (true, u64::from(inflight), think_ns),
            Model::Silent | Model::Open { .. } => (false, 0, 0),
        };
        report::Plan {
            scenario: self.scenario.to_string(),
            urls: self.targets.iter().map(ToString::to_string).collect(),
            embedded: self.embedded,
            clients: u64::from(self.clients),
            rate_per_s,
            arrival,
            closed,
            inflight,
            think_ns,
            publishers: u64::from(self.publishers),
            size: self.size.to_string(),
            fill: self.fill.to_string(),
            text: self.text,
            warmup_ns: self.warmup_ns,
            duration_ns: self.duration_ns,
            drain_ns: self.drain_ns,
            ramp_per_s: self.ramp_per_s,
            max_connecting: u64::from(self.max_connecting),
            connect_timeout_ns: self.connect_timeout_ns,
            sources: self.sources.iter().map(ToString::to_string).collect(),
            procs: u64::from(self.procs),
            threads: u64::from(self.threads),
            spin: self.spin,
            headers: self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
            subprotocols: self.subprotocols.clone(),
            origin: self.origin.clone(),
            protocol: Protocol::Raw.to_string(),
            deflate: false,
            strict: self.strict,
            thresholds: self.thresholds.clone(),
        }
    }
}

fn usage(text: &str) -> UsageError {
    UsageError(text.to_owned())
}

fn within(flag: &str, value: u64, min: u64, max: u64) -> Result<u64, UsageError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(UsageError(format!("{flag} must be between {min} and {max}, not {value}")))
}

fn u32_within(flag: &str, value: u64, min: u64, max: u64) -> Result<u32, UsageError> {
    within(flag, value, min, max.min(u64::from(u32::MAX))).map(|value| value as u32)
}

fn positive(flag: &str, value: f64) -> Result<f64, UsageError> {
    if value > 0.0 && value.is_finite() && value <= 1e9 {
        return Ok(value);
    }
    Err(UsageError(format!("{flag} must be above 0 and at most 1g/s, not {value}/s")))
}

/// Names what the contract promises and this version does not do.
fn refuse_unbuilt(args: &RunArgs) -> Result<(), UsageError> {
    if !args.scenario.is_built() {
        return Err(UsageError(format!(
            "scenario `{}` is not built yet; built are broadcast, echo, idle and connect",
            args.scenario
        )));
    }
    if args.protocol != Protocol::Raw {
        return Err(usage("--protocol socketio is not built yet; built is raw"));
    }
    let UnbuiltFlags { deflate, tls_insecure, cacert, session, storm, backoff, slow, slow_rate } =
        &args.unbuilt;
    let given = [
        (*deflate, "--deflate"),
        (*tls_insecure, "--tls-insecure"),
        (cacert.is_some(), "--cacert"),
        (session.is_some(), "--session"),
        (storm.is_some(), "--storm"),
        (backoff.is_some(), "--backoff"),
        (slow.is_some(), "--slow"),
        (slow_rate.is_some(), "--slow-rate"),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(UsageError(format!("{flag} is not built yet"))),
        None => Ok(()),
    }
}

/// How many clients publish.
fn publishers(args: &RunArgs, clients: u32) -> Result<u32, UsageError> {
    let scenario = args.scenario;
    if scenario != Scenario::Broadcast && args.publishers.is_some() {
        return Err(UsageError(format!(
            "--publishers is for broadcast; in `{scenario}` its number is given"
        )));
    }
    let publishers = match scenario {
        Scenario::Echo => clients,
        Scenario::Broadcast => match args.publishers {
            None => 1,
            Some(Publishers::Count(count)) => u32_within("--publishers", count, 1, u64::from(clients))?,
            Some(Publishers::Share(share)) => ((f64::from(clients) * share).round() as u32).clamp(1, clients),
        },
        Scenario::Idle
        | Scenario::Connect
        | Scenario::Churn
        | Scenario::Storm
        | Scenario::Slow
        | Scenario::Chat => 0,
    };
    let pairs = u64::from(clients) * u64::from(publishers);
    if scenario == Scenario::Broadcast && pairs > PAIRS_MAX {
        return Err(UsageError(format!(
            "{publishers} publishers × {clients} clients are {pairs} sequences to follow, at most {PAIRS_MAX} are; \
             --publishers {} would work",
            PAIRS_MAX / u64::from(clients)
        )));
    }
    Ok(publishers)
}

/// Who decides when a message is due.
fn model(args: &RunArgs, publishers: u32) -> Result<Model, UsageError> {
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
fn check_payload(args: &RunArgs, model: Model) -> Result<(), UsageError> {
    if model == Model::Silent {
        return Ok(());
    }
    let (min, what) = match (args.fill, args.text) {
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
    if args.text && args.fill == Fill::Zero {
        return Err(usage(
            "--text with --fill zero would send NUL characters; --fill text or random would work",
        ));
    }
    Ok(())
}

/// Phases long enough to measure and short enough to end.
fn check_phases(args: &RunArgs) -> Result<(), UsageError> {
    let day_ns = 24 * 3_600 * units::NS_PER_S;
    within("--warmup (ns)", args.warmup, 0, day_ns)?;
    within("--drain (ns)", args.drain, 0, 3_600 * units::NS_PER_S)?;
    if args.scenario != Scenario::Connect {
        within("--duration (ns)", args.duration, 1_000_000, 30 * day_ns)?;
    }
    Ok(())
}

/// Processes and loops per process, as far as flags decide them.
fn loops(args: &RunArgs, clients: u32, model: Model) -> Result<(u32, u32), UsageError> {
    let one_loop = args.scenario == Scenario::Broadcast && matches!(model, Model::Closed { .. });
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

/// One loop carries 100 000 deliveries a second; the server beside us needs cores too.
fn default_threads() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).clamp(1, 4) as u32
}

/// Splits `Name: value`; what the handshake itself writes may not be overridden.
fn header(line: &str) -> Result<(String, String), UsageError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;
    use proptest::prelude::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("loadgen").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        Plan::new(&cli.run).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_typed_is_a_complete_experiment() {
        let plan = plan("").expect("the defaults are valid");
        assert!(plan.embedded && plan.is_broadcast());
        assert_eq!((plan.clients, plan.publishers), (1_000, 1));
        assert_eq!(plan.model, Model::Open { rate_per_s: 1.0, arrival: Arrival::Constant });
    }

    #[test]
    fn echo_has_its_own_defaults() {
        let plan = plan("-s echo -c 500 --rate-per-client 10").expect("valid");
        assert_eq!(plan.publishers, 500);
        assert_eq!(plan.model, Model::Open { rate_per_s: 5_000.0, arrival: Arrival::Poisson });
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let cases = [
            ("-c 0", "--clients"),
            ("--size 16", "marker takes 32"),
            ("--size 40 --text", "47"),
            ("--fill json --size 60", "JSON"),
            ("--text --fill zero", "NUL"),
            ("--closed -r 5", "--closed has no rate"),
            ("--inflight 4", "belong to --closed"),
            ("-s idle -r 5", "sends nothing"),
            ("-s echo --publishers 3", "--publishers is for broadcast"),
            ("-c 5 --publishers 6", "--publishers must be"),
            ("-c 50k --publishers 50k", "would work"),
            ("-c 2 --procs 3", "more than 2 clients"),
            ("--closed --threads 2", "one loop"),
            ("-r 0", "--rate must be above 0"),
            ("--ramp 0", "--ramp"),
            ("-d 0s", "--duration"),
            ("-H Nonsense", "Name: value"),
            ("-H Host:x", "itself"),
            ("--server-pid 7", "needs a URL"),
            ("http://localhost/", "ws://"),
            ("--threshold nonsense", "nonsense"),
        ];
        for (line, part) in cases {
            let error = plan(line).expect_err(line);
            assert!(error.contains(part), "`{line}` gave `{error}`, which does not say `{part}`");
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let cases = [
            ("-s churn", "churn"),
            ("-s storm", "storm"),
            ("-s slow", "slow"),
            ("-s chat", "chat"),
            ("--protocol socketio", "socketio"),
            ("--deflate", "--deflate"),
            ("--tls-insecure wss://x/", "--tls-insecure"),
            ("--cacert x.pem", "--cacert"),
            ("--slow-rate 5", "--slow-rate"),
            ("wss://localhost/", "wss"),
        ];
        for (line, name) in cases {
            let error = plan(line).expect_err(line);
            assert!(error.contains(name) && error.contains("not built yet"), "`{line}` gave `{error}`");
        }
    }

    #[test]
    fn a_share_of_publishers_is_at_least_one() {
        assert_eq!(plan("-c 50 --publishers 1%").map(|plan| plan.publishers), Ok(1));
        assert_eq!(plan("-c 50 --publishers 10%").map(|plan| plan.publishers), Ok(5));
    }

    #[test]
    fn a_plan_survives_the_way_to_a_shard() {
        let plan = plan("ws://127.0.0.1:9001/x -c 10 -s echo --size uniform:64..1k").expect("valid");
        let json = serde_json::to_string(&plan).expect("plain data");
        let back: Plan = serde_json::from_str(&json).expect("the same type");
        assert_eq!(serde_json::to_string(&back).expect("plain data"), json);
    }

    proptest! {
        #[test]
        fn any_flags_give_a_valid_plan_or_a_sentence(
            clients in 0u64..100_000, size in 0u64..2_000, rate in -1.0f64..1e6, publishers in 0u64..200_000,
            closed: bool, text: bool, scenario in 0usize..8,
        ) {
            let name = ["broadcast", "echo", "idle", "connect", "churn", "storm", "slow", "chat"][scenario];
            let mut line = format!("-s {name} -c {clients} --size {size}");
            if rate > 0.5 { line += &format!(" -r {rate:.3}"); }
            if publishers % 3 == 0 { line += &format!(" --publishers {publishers}"); }
            if closed { line += " --closed"; }
            if text { line += " --text"; }
            match plan(&line) {
                Ok(plan) => {
                    prop_assert!(plan.publishers <= plan.clients && plan.clients > 0);
                    prop_assert!(!plan.sends() || plan.size.min() >= MARKER_BYTES as u64);
                    prop_assert!(plan.scenario.is_built());
                }
                Err(error) => prop_assert!(!error.is_empty()),
            }
        }
    }
}
