//! The JSON document `loadgen/1`: what a run measured, with the unit as the last word of every key.
//!
//! Why: people and scripts depend on these keys, so they stand in one place, as plain data without behaviour; the
//! engine fills them, the judge reads them, every output is made from them, and `merge` and `compare` read them back.
//!
//! Invariants: times are whole nanoseconds, ratios are 0..=1 of one core or of the whole, as the key says; a block
//! that was not measured is absent (`null`), never zero; `deliveries.expected = received + lost`.

use super::given::{Env, Plan};
use super::moving::{Churn, Slow, Storm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What stands in `connect.extensions` where the server agreed on none.
pub const DECLINED: &str = "declined";

/// The name of this version of the document.
pub const SCHEMA: &str = "loadgen/1";

/// Everything one run has to say.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Whether the numbers below can be trusted.
    pub verdict: Verdict,
    /// Why the verdict is not `VALID`: the worst first; empty when it is.
    pub reasons: Vec<Reason>,
    /// Which run this was.
    pub run: Run,
    /// What was asked for: every flag with its effective value.
    pub plan: Plan,
    /// Where it ran.
    pub env: Env,
    /// The connect phase.
    pub connect: Connect,
    /// What was sent.
    pub messages: Messages,
    /// What arrived.
    pub deliveries: Deliveries,
    /// How long it took, per delivery.
    pub latency: Latencies,
    /// How long each broadcast took to reach its subscribers; absent where nothing is broadcast.
    pub fanout: Option<Fanout>,
    /// Scenario churn: who came and went; absent in others.
    pub churn: Option<Churn>,
    /// Scenario storm: who dropped and came back; absent in others.
    pub storm: Option<Storm>,
    /// Scenario slow: what the slow got, and what it cost the others; absent in others.
    pub slow: Option<Slow>,
    /// What a delivery costs; absent where nothing was delivered.
    pub cost: Option<Cost>,
    /// The load generator itself.
    pub generator: Generator,
    /// The server, sampled from outside; absent without `--server-pid`, `--server-metrics` or a server of our own.
    pub server: Option<Server>,
    /// Every rule of the verdict with what it measured.
    pub checks: Vec<Check>,
    /// Every `--threshold` with its outcome.
    pub thresholds: Vec<ThresholdOutcome>,
    /// One row per second, from the first connection to the end of the drain.
    pub series: Vec<SeriesRow>,
    /// Sessions for which a loop's books had no room; in the JSON only as a check.
    #[serde(skip)]
    pub unbooked_sessions: u64,
    /// The histograms behind the numbers, for `--hlog`; not part of the JSON.
    #[serde(skip)]
    pub histograms: super::Histograms,
}

/// How far the numbers can be trusted. Ordered from best to worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The generator kept its schedule and had room to spare: the numbers are the server's.
    #[default]
    Valid,
    /// The numbers are probably the server's, but the generator was near a limit of its own.
    Suspect,
    /// The generator kept up and the server did not: a true statement about overload, not about its latency.
    Overloaded,
    /// The numbers are the generator's own or incomplete: do not use them.
    Invalid,
}

/// One reason for a verdict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The rule that failed, as in `checks`.
    pub check: String,
    /// The verdict this reason alone would give.
    pub verdict: Verdict,
    /// One sentence: what was measured, against which limit, what to do about it.
    pub text: String,
}

/// Which run this was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `--label`.
    pub label: Option<String>,
    /// The version of loadgen.
    pub version: String,
    /// The arguments as typed, without the program's name.
    pub args: Vec<String>,
    /// When it started, in nanoseconds since 1970 (wall clock).
    pub started_unix_ns: u64,
    /// How long it took from start to report.
    pub elapsed_ns: u64,
    /// How long the measured phase really was: what the rates are computed from.
    pub measured_ns: u64,
    /// The run's number in its markers.
    pub run_id: u32,
    /// The seed: with the same seed the same schedule is drawn.
    pub seed: u64,
    /// `open` (messages have intended times) or `CLOSED` (the next waits for the last).
    pub model: String,
    /// It was cut short (a signal, an `abort:` threshold): what stands here is what was measured until then.
    pub interrupted: bool,
}

/// The connect phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Connect {
    /// Connections asked for.
    pub requested: u64,
    /// Handshakes completed.
    pub connected: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Connections that closed before the run ended, without having been asked to.
    pub dropped: u64,
    /// From the first attempt to the last handshake.
    pub elapsed_ns: u64,
    /// Handshakes completed per second over that time.
    pub per_s: f64,
    /// From `connect` to the `101` answer, per connection.
    pub handshake_ns: Latency,
    /// Why attempts failed and connections dropped, with how often.
    pub failures: BTreeMap<String, u64>,
    /// With `--deflate`: what the server agreed to, as in its answer, or `declined`, with how often.
    pub extensions: BTreeMap<String, u64>,
}

/// What was sent in the measured phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Messages {
    /// What the schedule wanted.
    pub planned: u64,
    /// What was written to a socket.
    pub sent: u64,
    /// What could not be written before the end: the publisher was blocked or gone.
    pub unsent: u64,
    /// Sent in the warm-up, beside the others.
    pub warmup: u64,
    /// Sent per second.
    pub per_s: f64,
    /// Payload bytes written, before compression.
    pub bytes: u64,
    /// Bytes of their frames: headers, and what compression left of the payloads.
    pub wire_bytes: u64,
}

/// What arrived of the measured phase's messages: completeness.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Sent messages × subscribers that should hear them.
    pub expected: u64,
    /// Of the expected, those that arrived: each counted once.
    pub received: u64,
    /// Of the expected, those that had not arrived when the drain ended: `expected - received`.
    pub lost: u64,
    /// Arrived again.
    pub duplicate: u64,
    /// Arrived behind a later one of the same publisher.
    pub reordered: u64,
    /// Bore a damaged marker; since nobody can say which it was, it is among the lost too.
    pub corrupt: u64,
    /// Arrived, but only in the drain, later than the measured phase's end.
    pub late: u64,
    /// Bore no marker, or one of another run.
    pub unexpected: u64,
    /// Notices of a stentor that it left something out for a slow subscriber; in the JSON only as a check.
    #[serde(skip)]
    pub gaps: u64,
    /// Messages left out, by those notices.
    #[serde(skip)]
    pub gaps_missed: u64,
    /// Received in the measured phase, per second.
    pub per_s: f64,
    /// Payload bytes received, after inflating.
    pub bytes: u64,
    /// Bytes of their frames: headers, and what compression left of the payloads.
    pub wire_bytes: u64,
}

/// One distribution, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many values.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// The mean.
    pub mean: u64,
    /// The median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
    /// The largest.
    pub max: u64,
}

/// The three views of a delivery's time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// `open` or `CLOSED`: closed-model times leave out the waiting that a stall causes.
    pub model: String,
    /// From the intended time to receipt: what a user would feel.
    pub delivery_ns: Latency,
    /// From the actual write to receipt.
    pub service_ns: Latency,
    /// From the intended time to the actual write.
    pub send_lag_ns: Latency,
    /// Entries of `delivery_ns` that stand for something which never arrived or was never sent: at least so late.
    pub censored: u64,
}

/// Fan-out completion: the time from a broadcast's intended time until so many of its subscribers had it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fanout {
    /// Broadcasts counted.
    pub broadcasts: u64,
    /// Of these, how many reached every subscriber.
    pub complete: u64,
    /// Subscribers of one broadcast.
    pub subscribers: u64,
    /// The first subscriber.
    pub first_ns: Spread,
    /// Half of them.
    pub half_ns: Spread,
    /// 95 % of them.
    pub p95_ns: Spread,
    /// The last of them.
    pub last_ns: Spread,
}

/// A small distribution over broadcasts, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median broadcast.
    pub p50: u64,
    /// 99 % of the broadcasts.
    pub p99: u64,
    /// The worst broadcast.
    pub max: u64,
}

/// What a delivery costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// c: (last - first) / (subscribers - 1) of the median broadcast, in microseconds; without a fan-out, absent.
    pub us_per_delivery: Option<f64>,
    /// The server's CPU time per delivery, in microseconds.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The generator's own CPU time per delivery, in microseconds.
    pub generator_cpu_us_per_delivery: f64,
}

/// The load generator itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time over wall time of the measured phase, all processes and threads together; 1 is one core.
    pub cpu_ratio: f64,
    /// The busiest thread's, 1 is a whole core: above 0.85 it measures itself.
    pub busiest_thread_ratio: f64,
    /// Resident memory, all processes.
    pub rss_bytes: u64,
    /// Growth of our anonymous memory from before there were clients until all were connected, per connected client:
    /// their state, and what of the loops' buffers was first touched meanwhile. The kernel's memory is not in it.
    pub bytes_per_client: u64,
    /// Processes that took part.
    pub procs: u64,
    /// Every loop's thread.
    pub threads: Vec<Thread>,
    /// How long one turn of a loop kept the others waiting.
    pub loop_lag_ns: Latency,
    /// From the kernel saying "readable" to our reading it: an upper bound of what we add to each latency.
    pub receive_lag_ns: Latency,
    /// Share of the planned messages that left within 1 ms (or 10 % of the interval, if larger) of their time.
    pub schedule_kept_ratio: f64,
}

/// One thread of the generator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// CPU time over wall time.
    pub cpu_ratio: f64,
}

/// The server, sampled once a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its process; absent when only metrics were read.
    pub pid: Option<u32>,
    /// CPU time over wall time of the measured phase; 1 is one core.
    pub cpu_ratio: f64,
    /// The same of its busiest thread.
    pub busiest_thread_ratio: f64,
    /// Resident memory at the end of the measured phase.
    pub rss_bytes: u64,
    /// Resident memory before the first connection.
    pub rss_before_bytes: u64,
    /// The most resident memory seen.
    pub rss_max_bytes: u64,
    /// (RSS with all connected - RSS before) / connections.
    pub rss_per_conn_bytes: u64,
    /// Deliveries per second of server CPU time.
    pub deliveries_per_cpu_s: f64,
    /// Open file descriptors, where we may look.
    pub fds: Option<u64>,
    /// Change over the measured phase of every sample of `--server-metrics` (a gauge: its last value).
    pub metrics: BTreeMap<String, f64>,
}

/// One rule of the verdict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, stable.
    pub check: String,
    /// What it says about the run.
    pub verdict: Verdict,
    /// What was measured.
    pub measured: f64,
    /// Above (or below, see `text`) which it fails.
    pub limit: f64,
    /// One sentence.
    pub text: String,
}

/// One `--threshold`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThresholdOutcome {
    /// As typed.
    pub expression: String,
    /// What was measured, in the unit of the JSON key; absent when this run did not measure it (it then fails).
    pub measured: Option<f64>,
    /// The limit, in the same unit.
    pub limit: f64,
    /// It held.
    pub passed: bool,
}

/// One second of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesRow {
    /// The end of this interval, since the start of the run.
    pub at_ns: u64,
    /// `connect`, `warmup`, `measure` or `drain`.
    pub phase: String,
    /// Connections open.
    pub connected: u64,
    /// Messages sent in this interval.
    pub sent: u64,
    /// Deliveries received in this interval.
    pub received: u64,
    /// Payload bytes received in this interval.
    pub bytes: u64,
    /// Delivery latency in this interval.
    pub delivery_p50_ns: u64,
    /// 99 %.
    pub delivery_p99_ns: u64,
    /// The largest.
    pub delivery_max_ns: u64,
    /// The largest send lag.
    pub send_lag_max_ns: u64,
    /// The largest loop lag.
    pub loop_lag_max_ns: u64,
    /// Generator CPU, 1 is one core.
    pub generator_cpu_ratio: f64,
    /// Its busiest thread.
    pub busiest_thread_ratio: f64,
    /// Server CPU, 1 is one core.
    pub server_cpu_ratio: Option<f64>,
    /// Server memory.
    pub server_rss_bytes: Option<u64>,
}
