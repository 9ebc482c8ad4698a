//! The plan: what a run will do, complete and consistent, decided once before anything is opened.
//!
//! Why: options that contradict each other must fail in the first millisecond with a sentence that helps, not half a
//! minute later with a strange number. After [`Plan::new`] nobody asks a flag again; shards get the plan as JSON.
//!
//! Invariants: a `Plan` is valid: every size holds its marker, every rate is positive and finite, publishers do not
//! outnumber clients, and only what is built is in it.

use crate::cli::{Auto, RunArgs, Sources};
use crate::{report, units};
use decide::{header, positive, u32_within};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

mod decide;
mod motion;
mod moving;
mod socketio;
mod target;
mod words;

pub use motion::{Backoff, Leave, Lengths, Motion, SLOW_PHASES};
pub use socketio::SocketIo;
pub use target::Target;
pub use words::{Arrival, Fill, Part, Protocol, Scenario, Size};

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
    /// Processes of a server of our own; decided with the preflight.
    pub server_workers: u32,
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
    /// Socket.IO is spoken; `None`: messages as they are.
    pub socketio: Option<SocketIo>,
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
    /// Trust any certificate over `wss`.
    pub tls_insecure: bool,
    /// Trust these authorities over `wss`, and not the system's.
    pub cacert: Option<PathBuf>,
    /// permessage-deflate is offered.
    pub deflate: bool,
    /// What clients do beside hearing.
    pub motion: Motion,
    /// How clients come back.
    pub backoff: Backoff,
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
        decide::refuse_unbuilt(args)?;
        let mut targets = args.urls.iter().map(|url| Target::parse(url)).collect::<Result<Vec<_>, _>>()?;
        let socketio = socketio::decide(args, &mut targets)?;
        let embedded = targets.is_empty();
        decide::check_trust(args, &targets)?;
        decide::check_server(args, embedded)?;
        let clients = u32_within("--clients", args.clients, 1, CLIENTS_MAX)?;
        let publishers = decide::publishers(args, clients)?;
        let model = decide::model(args, publishers)?;
        let motion = moving::decide(args, clients, publishers)?;
        decide::check_payload(args, model)?;
        decide::check_phases(args)?;
        decide::check_outputs(args)?;
        let (procs, threads) = decide::loops(args, clients, model)?;
        for expression in &args.threshold {
            crate::threshold::Threshold::parse(expression).map_err(|error| UsageError(error.to_string()))?;
        }
        let seed = args.seed.unwrap_or_else(|| fastrand::u64(..) >> 32);
        Ok(Self {
            scenario: args.scenario,
            targets,
            embedded,
            server_workers: 1,
            clients,
            model,
            publishers,
            size: args.size,
            fill: args.fill,
            text: args.text || socketio.is_some(),
            socketio,
            warmup_ns: args.warmup,
            duration_ns: args.duration,
            drain_ns: args.drain,
            ramp_per_s: positive("--ramp", args.ramp)?,
            max_connecting: u32_within("--max-connecting", args.max_connecting, 1, CLIENTS_MAX)?,
            connect_timeout_ns: decide::connect_timeout(args)?,
            sources: sources(&args.source),
            sources_auto: args.source == Sources::Auto,
            procs,
            procs_auto: args.procs == Auto::Auto && !decide::is_one_loop(args, model),
            threads,
            spin: args.spin,
            headers: args.header.iter().map(|line| header(line)).collect::<Result<_, _>>()?,
            subprotocols: args.subprotocol.clone(),
            origin: args.origin.clone(),
            tls_insecure: args.tls_insecure,
            cacert: args.cacert.clone(),
            deflate: args.deflate,
            motion,
            backoff: args.backoff.unwrap_or_default(),
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

    /// The address from which the client `global` connects: those of one target are spread over the sources in turn. `None`: the
    /// kernel chooses.
    pub fn source(&self, global: u32) -> Option<IpAddr> {
        let nth = global as usize / self.targets.len().max(1);
        (!self.sources.is_empty()).then(|| self.sources[nth % self.sources.len()])
    }

    /// Whether every client hears every publisher.
    pub fn is_broadcast(&self) -> bool {
        self.scenario.is_broadcast()
    }

    /// Whether messages are sent at all.
    pub fn sends(&self) -> bool {
        self.model != Model::Silent
    }

    /// The target on a server of our own.
    pub fn own_target(&self, address: std::net::SocketAddr) -> Target {
        if self.socketio.is_none() {
            return Target::at(address, self.scenario.default_path());
        }
        let mut target = Target::at(address, "/");
        target.speak_engine_io(socketio::default_path(self.scenario));
        target
    }

    /// The longest message that clients send, in bytes.
    pub fn message_max(&self) -> u64 {
        let envelope = crate::client::Speech::new(self).map_or(0, |speech| speech.envelope_bytes());
        self.size.max() + envelope as u64
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
        let spoken = self.socketio.as_ref().filter(|socketio| !socketio.is_bare);
        let moves = self.motion.to_report(self.backoff);
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
            protocol: if self.socketio.is_some() { Protocol::SocketIo } else { Protocol::Raw }.to_string(),
            namespace: spoken.map(|spoken| spoken.namespace.clone()),
            room: spoken.and_then(|spoken| spoken.room.clone()),
            event: spoken.map(|spoken| spoken.event.clone()),
            deflate: self.deflate,
            tls_insecure: self.tls_insecure,
            cacert: self.cacert.as_ref().map(|path| path.display().to_string()),
            strict: self.strict,
            thresholds: self.thresholds.clone(),
            ..moves
        }
    }
}

/// The addresses given; none when loadgen chooses.
fn sources(sources: &Sources) -> Vec<std::net::IpAddr> {
    match sources {
        Sources::Auto => Vec::new(),
        Sources::List(list) => list.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;
    use proptest::prelude::*;
    use stentor::base::marker::MARKER_BYTES;

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
            ("-s echo --publishers 3", "--publishers is for broadcasts"),
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
            ("--tls-insecure ws://x/", "is for wss://"),
            ("--cacert x.pem", "is for wss://"),
            ("--cacert x.pem --tls-insecure wss://x/", "give one of them"),
            ("wss://a..b/", "no name that a certificate can hold"),
            ("http://localhost/", "ws://"),
            ("--session exp:9s", "--session is for churn"),
            ("-s storm --slow 10%", "--slow is for slow"),
            ("-s churn --closed", "--closed"),
            ("-s churn --session exp:1ms", "at least"),
            ("-s churn --session uniform:9s..3s", "backwards"),
            ("-s storm -c 10 --storm 10", "at most 9"),
            ("-s storm --storm-at 31s", "--storm-at"),
            ("-s slow --slow-rate 1gi", "--slow-rate"),
            ("-s slow -d 7s", "8s would work"),
            ("--backoff exp:1s", "exp:100ms..10s"),
            ("--room x", "belongs to --protocol socketio"),
            ("--protocol ws --event x", "belongs to --protocol socketio"),
            ("--protocol socketio -s churn", "not for `churn`"),
            ("--protocol socketio --size 40", "47"),
            ("--protocol socketio --fill zero", "NUL"),
            ("--protocol socketio --namespace x", "must begin with /"),
            ("--protocol socketio --event disconnect", "keeps for itself"),
            ("--protocol socketio -s echo --room x", "bare Engine.IO"),
            ("--protocol socketio -s echo ws://h/engine.io/ ws://h/socket.io/", "measure them apart"),
            ("--threshold nonsense", "nonsense"),
            ("--threshold abort:lost==0", "only when the run is over"),
            ("--json - --csv -", "one output"),
        ];
        for (line, part) in cases {
            let error = plan(line).expect_err(line);
            assert!(error.contains(part), "`{line}` gave `{error}`, which does not say `{part}`");
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let error = plan("-s chat").expect_err("there are no chat rooms");
        assert!(error.contains("chat") && error.contains("not built yet"), "{error}");
    }

    #[test]
    fn socket_io_has_its_paths_and_its_names() {
        for (line, path, is_bare) in [
            ("ws://h", "/socket.io/?EIO=4&transport=websocket", false),
            ("ws://h/", "/socket.io/?EIO=4&transport=websocket", false),
            ("ws://h?token=x", "/socket.io/?token=x&EIO=4&transport=websocket", false),
            ("ws://h/own/?token=x", "/own/?token=x&EIO=4&transport=websocket", false),
            ("ws://h/socket.io/?EIO=4&transport=websocket", "/socket.io/?EIO=4&transport=websocket", false),
            ("-s echo ws://h", "/engine.io/?EIO=4&transport=websocket", true),
            ("-s echo ws://h/socket.io/", "/socket.io/?EIO=4&transport=websocket", false),
        ] {
            let plan = plan(&format!("--protocol socketio {line}")).expect(line);
            assert_eq!((plan.targets[0].path.as_str(), plan.text), (path, true), "{line}");
            let spoken = plan.socketio.expect("asked for");
            assert_eq!((spoken.namespace.as_str(), spoken.event.as_str()), ("/", "message"));
            assert_eq!(spoken.is_bare, is_bare, "{line}");
        }
        let plan = plan("--protocol socketio").expect("a complete experiment");
        let target = plan.own_target("127.0.0.1:9".parse().expect("an address"));
        assert_eq!(target.path, "/socket.io/?EIO=4&transport=websocket");
        assert_eq!(plan.message_max(), 128 + r#"42["message",""]"#.len() as u64);
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
