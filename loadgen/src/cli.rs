//! The command line: every flag with its default, its unit and its environment variable.
//!
//! Why apart from the plan: here stands what people may *type*; whether the whole makes sense is decided once, in
//! [`plan`](crate::plan), so that no later code meets a combination that cannot be.
//!
//! Invariants: every flag is known here, what is not built yet too, so that it is refused by name instead of
//! ignored; every default stands in `--help`.

use crate::plan::{Arrival, Backoff, Fill, Leave, Lengths, Part, Protocol, Scenario, Size};
use crate::units;
use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// Measures any WebSocket server and says whether its own numbers can be trusted.
///
/// Without a URL it starts a stentor of its own on a free port, measures it and stops it.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, args_conflicts_with_subcommands = true, max_term_width = 110)]
#[command(after_help = AFTER_HELP)]
pub struct Cli {
    /// A tool instead of a run.
    #[command(subcommand)]
    pub tool: Option<Tool>,
    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

const AFTER_HELP: &str = "\
Counts take k m g (50k), bytes take k ki m mi g gi (64ki), times take ns us ms s m h (10ms).
Flags that show `env` can be given as environment variables: LOADGEN_CLIENTS=50k, LOADGEN_RATE=10 …

Exit codes:
    0  ok
    1  could not run
    2  usage
    3  preflight: descriptors, ports or memory are missing
    4  INVALID under --strict
   99  a threshold failed
  130  interrupted; what was measured is still written";

/// What loadgen can do beside a run.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Looks at this machine: limits, ports, backlog, clock, cores; a verdict and what to type for each.
    Doctor,
    /// Measures a built-in server with known faults and checks that each is reported exactly.
    Selftest,
    /// Not built yet: runs over a range of one parameter.
    Sweep(Unbuilt),
    /// Not built yet: searches the highest rate that keeps a threshold.
    Search(Unbuilt),
    /// Not built yet: two servers, interleaved.
    Ab(Unbuilt),
    /// Not built yet: two reports side by side.
    Compare(Unbuilt),
    /// Not built yet: several machines' reports in one.
    Merge(Unbuilt),
    /// Not built yet: renders a report again.
    Report(Unbuilt),
    /// One shard of a run: the plan comes on stdin, the results leave on stdout.
    #[command(name = "__shard", hide = true)]
    Shard,
    /// The server of a run without a URL.
    #[command(name = "__server", hide = true)]
    Server {
        /// Where it listens.
        listen: std::net::SocketAddr,
        /// The largest message it accepts, in bytes.
        message_max: u64,
        /// Agrees on compression.
        #[arg(long)]
        deflate: bool,
        /// Processes that share the port.
        #[arg(long, default_value_t = 1)]
        workers: u32,
    },
}

/// The arguments of a tool that does not exist yet: accepted, so that the refusal can name the tool.
#[derive(Debug, Args)]
pub struct Unbuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// The flags of a run, as typed.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Targets, `ws://HOST[:PORT][/PATH]`; clients are spread over them. None: a stentor of our own.
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,

    /// What to do: broadcast, echo, idle, connect, churn, storm, slow (chat is not built yet).
    #[arg(short, long, env = "LOADGEN_SCENARIO", default_value = "broadcast", value_parser = Scenario::parse)]
    pub scenario: Scenario,
    /// Connections over all processes.
    #[arg(short, long, env = "LOADGEN_CLIENTS", default_value = "1000", value_parser = units::parse_count)]
    pub clients: u64,

    /// Messages per second over all publishers [default: broadcast 1/s in all; echo 1/s for each client].
    #[arg(short, long, env = "LOADGEN_RATE", value_parser = units::parse_rate_per_s)]
    pub rate: Option<f64>,
    /// Messages per second for each publisher, instead of --rate.
    #[arg(long, env = "LOADGEN_RATE_PER_CLIENT", value_parser = units::parse_rate_per_s, conflicts_with = "rate")]
    pub rate_per_client: Option<f64>,
    /// When messages are due: constant, poisson, burst:K [default: constant; echo: poisson].
    #[arg(long, env = "LOADGEN_ARRIVAL", value_parser = Arrival::parse)]
    pub arrival: Option<Arrival>,
    /// Closed model: the next message waits for the last. For ceilings; latencies then leave out the waiting [default: off].
    #[arg(long, env = "LOADGEN_CLOSED")]
    pub closed: bool,
    /// Closed model: messages under way per publisher [default: 1].
    #[arg(long, env = "LOADGEN_INFLIGHT", value_parser = units::parse_count)]
    pub inflight: Option<u64>,
    /// Closed model: pause before the next message [default: 0s].
    #[arg(long, env = "LOADGEN_THINK", value_parser = units::parse_duration_ns)]
    pub think: Option<u64>,
    /// How many clients publish in a broadcast: a count or a share such as 10% [default: 1].
    #[arg(long, env = "LOADGEN_PUBLISHERS", value_parser = Part::parse)]
    pub publishers: Option<Part>,

    /// Payload bytes: a number or uniform:64..1k.
    #[arg(long, env = "LOADGEN_SIZE", default_value = "128", value_parser = Size::parse)]
    pub size: Size,
    /// What fills the payload behind the marker: random, text, json, zero.
    #[arg(long, env = "LOADGEN_FILL", default_value = "random", value_parser = Fill::parse)]
    pub fill: Fill,
    /// Text frames instead of binary [default: off].
    #[arg(long, env = "LOADGEN_TEXT")]
    pub text: bool,

    /// Messages of this time are counted but not measured.
    #[arg(long, env = "LOADGEN_WARMUP", default_value = "5s", value_parser = units::parse_duration_ns)]
    pub warmup: u64,
    /// The measured phase.
    #[arg(short, long, env = "LOADGEN_DURATION", default_value = "30s", value_parser = units::parse_duration_ns)]
    pub duration: u64,
    /// How long to wait at the end for what is still under way, at most.
    #[arg(long, env = "LOADGEN_DRAIN", default_value = "5s", value_parser = units::parse_duration_ns)]
    pub drain: u64,

    /// New connections per second over all processes.
    #[arg(long, env = "LOADGEN_RAMP", default_value = "2k/s", value_parser = units::parse_rate_per_s)]
    pub ramp: f64,
    /// Handshakes under way at once, at most.
    #[arg(long, env = "LOADGEN_MAX_CONNECTING", default_value = "256", value_parser = units::parse_count)]
    pub max_connecting: u64,
    /// How long one connection may take to open.
    #[arg(long, env = "LOADGEN_CONNECT_TIMEOUT", default_value = "10s", value_parser = units::parse_duration_ns)]
    pub connect_timeout: u64,
    /// Source addresses, comma-separated, or auto: 127.0.0.1, 127.0.0.2, … towards a 127/8 target.
    #[arg(long, env = "LOADGEN_SOURCE", default_value = "auto", value_parser = parse_sources)]
    pub source: Sources,
    /// Processes; auto: as many as the descriptor limit asks for.
    #[arg(long, env = "LOADGEN_PROCS", default_value = "auto", value_parser = parse_auto)]
    pub procs: Auto,
    /// Loops per process, a thread each; auto: one on up to three cores, then half of the cores, at most four.
    #[arg(short, long, env = "LOADGEN_THREADS", default_value = "auto", value_parser = parse_auto)]
    pub threads: Auto,
    /// Spin instead of sleeping until the next message is due: more exact, one core per loop [default: off].
    #[arg(long, env = "LOADGEN_SPIN")]
    pub spin: bool,

    /// One more header for the handshake, `Name: value` (repeat).
    #[arg(short = 'H', long, value_name = "HEADER")]
    pub header: Vec<String>,
    /// A subprotocol to offer (repeat).
    #[arg(long, env = "LOADGEN_SUBPROTOCOL")]
    pub subprotocol: Vec<String>,
    /// The Origin header.
    #[arg(long, env = "LOADGEN_ORIGIN")]
    pub origin: Option<String>,
    /// Offers permessage-deflate, without context takeover; messages sent are compressed where agreed [default: off].
    #[arg(long, env = "LOADGEN_DEFLATE")]
    pub deflate: bool,
    /// What is spoken inside: raw (or ws: messages as they are), socketio (Engine.IO 4 and Socket.IO 5).
    #[arg(long, env = "LOADGEN_PROTOCOL", default_value = "raw", value_parser = parse_protocol)]
    pub protocol: Protocol,
    /// Socket.IO: the namespace that clients enter [default: /].
    #[arg(long, env = "LOADGEN_NAMESPACE")]
    pub namespace: Option<String>,
    /// Socket.IO: a room that clients join by the event `join`, which the server must acknowledge [default: none].
    #[arg(long, env = "LOADGEN_ROOM")]
    pub room: Option<String>,
    /// Socket.IO: the event that messages are [default: message].
    #[arg(long, env = "LOADGEN_EVENT")]
    pub event: Option<String>,

    /// Churn: how long a session lasts, exp:MEAN, uniform:A..B or const:A [default: exp:20m, 5 % leave in a minute].
    #[arg(long, env = "LOADGEN_SESSION", value_parser = Lengths::parse)]
    pub session: Option<Lengths>,
    /// Churn: how sessions end, close (a close frame), fin, reset or mixed (in turn) [default: mixed].
    #[arg(long, env = "LOADGEN_LEAVE", value_parser = Leave::parse)]
    pub leave: Option<Leave>,
    /// Storm: how many clients are reset at once, a count or a share of those that do not publish [default: 50%].
    #[arg(long, env = "LOADGEN_STORM", value_parser = Part::parse)]
    pub storm: Option<Part>,
    /// Storm: when, from the beginning of the measured phase [default: a third of it].
    #[arg(long, env = "LOADGEN_STORM_AT", value_parser = units::parse_duration_ns)]
    pub storm_at: Option<u64>,
    /// How who is gone comes back: none, const:A, exp:A..B; waits are drawn from half to the whole [default: exp:100ms..10s].
    #[arg(long, env = "LOADGEN_BACKOFF", value_parser = Backoff::parse)]
    pub backoff: Option<Backoff>,
    /// Slow: how many clients read slowly, a count or a share of those that do not publish [default: 10%].
    #[arg(long, env = "LOADGEN_SLOW", value_parser = Part::parse)]
    pub slow: Option<Part>,
    /// Slow: bytes that each of them reads in a second; 0: none at all [default: 1ki].
    #[arg(long, env = "LOADGEN_SLOW_RATE", value_parser = units::parse_bytes)]
    pub slow_rate: Option<u64>,

    /// Process to sample once a second: CPU, memory.
    #[arg(long, env = "LOADGEN_SERVER_PID")]
    pub server_pid: Option<u32>,
    /// Prometheus metrics of the server, read before and after: http://HOST:PORT/metrics.
    #[arg(long, env = "LOADGEN_SERVER_METRICS", value_name = "URL")]
    pub server_metrics: Option<String>,

    /// A condition, `delivery.p99<50ms` or `lost==0` (repeat); exit code 99 when it fails; `abort:` in
    /// front ends the run as soon as it does not hold. A key that does not exist is answered with those that do.
    #[arg(long, value_name = "EXPRESSION")]
    pub threshold: Vec<String>,
    /// Exit code 4 when the verdict is INVALID [default: off].
    #[arg(long, env = "LOADGEN_STRICT")]
    pub strict: bool,

    /// Over wss, trusts the certificates in this PEM file [default: the system's authorities].
    #[arg(long, value_name = "FILE", env = "LOADGEN_CACERT")]
    pub cacert: Option<PathBuf>,
    /// Over wss, trusts any certificate [default: off].
    #[arg(long, env = "LOADGEN_TLS_INSECURE")]
    pub tls_insecure: bool,

    /// Writes the JSON document here; - is stdout.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes the time series as CSV here; - is stdout.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Writes the histograms as an HdrHistogram log here; - is stdout.
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Writes the report as one HTML page here; - is stdout.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Writes all of them into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// A name for this run, for the outputs.
    #[arg(long, env = "LOADGEN_LABEL")]
    pub label: Option<String>,
    /// The same seed draws the same schedule, sizes and payloads [default: random, printed].
    #[arg(long, env = "LOADGEN_SEED")]
    pub seed: Option<u64>,
    /// Prints the plan and the preflight checks, connects to nothing [default: off].
    #[arg(long)]
    pub dry_run: bool,
    /// No live progress [default: off; NO_COLOR is obeyed].
    #[arg(long, env = "LOADGEN_NO_TUI")]
    pub no_tui: bool,
    /// Only the verdict, its reasons and the outputs asked for [default: off].
    #[arg(short, long, env = "LOADGEN_QUIET")]
    pub quiet: bool,
}

/// A number, or what fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    /// Let loadgen choose.
    Auto,
    /// Exactly so many.
    Count(u64),
}

/// Where connections come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    /// Let loadgen choose.
    Auto,
    /// These, in turn.
    List(Vec<IpAddr>),
}

fn parse_auto(text: &str) -> Result<Auto, String> {
    if text == "auto" {
        return Ok(Auto::Auto);
    }
    match units::parse_count(text) {
        Ok(0) => Err("it must be at least 1, or auto".to_owned()),
        Ok(count) => Ok(Auto::Count(count)),
        Err(error) => Err(error.to_string()),
    }
}

/// `ws` is what others call `raw`.
fn parse_protocol(text: &str) -> Result<Protocol, String> {
    Protocol::parse(if text == "ws" { "raw" } else { text })
}

fn parse_sources(text: &str) -> Result<Sources, String> {
    if text == "auto" {
        return Ok(Sources::Auto);
    }
    let parse = |part: &str| {
        part.trim()
            .parse()
            .map_err(|_| format!("`{part}` is no IP address; write for example 10.0.0.5,10.0.0.6"))
    };
    text.split(',').map(parse).collect::<Result<_, _>>().map(Sources::List)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_says_its_default() {
        // What is absent by default (outputs, labels, lists) needs no word; everything else says its default.
        let silent = [
            "urls",
            "header",
            "subprotocol",
            "origin",
            "server_pid",
            "server_metrics",
            "threshold",
            "json",
            "csv",
            "hlog",
            "html",
            "out",
            "label",
            "rate_per_client",
            "help",
            "version",
        ];
        for arg in Cli::command().get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let said = !arg.get_default_values().is_empty() && arg.get_action().takes_values();
            let known = silent.contains(&arg.get_id().as_str());
            assert!(
                said || known || help.contains("[default"),
                "--{} does not say its default",
                arg.get_id()
            );
        }
    }

    #[test]
    fn lists_and_numbers_are_parsed_or_explained() {
        assert_eq!(parse_auto("auto"), Ok(Auto::Auto));
        assert_eq!(parse_auto("3"), Ok(Auto::Count(3)));
        assert!(parse_auto("0").is_err());
        assert_eq!(
            parse_sources("127.0.0.1, ::1")
                .map(|sources| matches!(sources, Sources::List(l) if l.len() == 2)),
            Ok(true)
        );
        assert!(parse_sources("localhost").is_err());
    }
}
