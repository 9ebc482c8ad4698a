//! The part of the document `loadgen/1` that was given before the run: what was asked for, and where it ran.
//!
//! Why: a number without its circumstances cannot be compared with another; these are the circumstances.
//!
//! Invariants: as in the rest of the document, the unit is the last word of a key and nothing is left out.

use serde::{Deserialize, Serialize};

/// What was asked for, after defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `broadcast`, `echo`, `idle`, `connect`, …
    pub scenario: String,
    /// The targets.
    pub urls: Vec<String>,
    /// The server was started by loadgen itself.
    pub embedded: bool,
    /// Connections over all processes.
    pub clients: u64,
    /// Messages per second over all publishers (the open model).
    pub rate_per_s: f64,
    /// `constant`, `poisson` or `burst:K`.
    pub arrival: String,
    /// The closed model.
    pub closed: bool,
    /// Messages in flight per client in the closed model.
    pub inflight: u64,
    /// Pause before the next message in the closed model.
    pub think_ns: u64,
    /// How many clients publish.
    pub publishers: u64,
    /// `--size` as typed: a number of bytes or `uniform:A..B`.
    pub size: String,
    /// `random`, `text`, `json` or `zero`.
    pub fill: String,
    /// Text frames instead of binary.
    pub text: bool,
    /// Phases.
    pub warmup_ns: u64,
    /// The measured phase.
    pub duration_ns: u64,
    /// How long to wait for what is still under way.
    pub drain_ns: u64,
    /// New connections per second.
    pub ramp_per_s: f64,
    /// Handshakes under way at once, at most.
    pub max_connecting: u64,
    /// How long one connection may take to open.
    pub connect_timeout_ns: u64,
    /// Source addresses; empty: the kernel chooses.
    pub sources: Vec<String>,
    /// Processes.
    pub procs: u64,
    /// Loops per process.
    pub threads: u64,
    /// Spin instead of waiting on a timer.
    pub spin: bool,
    /// Extra headers of the handshake, `Name: value`.
    pub headers: Vec<String>,
    /// Subprotocols offered.
    pub subprotocols: Vec<String>,
    /// The `Origin` header.
    pub origin: Option<String>,
    /// `raw` or `socketio`.
    pub protocol: String,
    /// Socket.IO: the namespace entered; absent where it is not spoken, as the next two.
    pub namespace: Option<String>,
    /// Socket.IO: the room joined.
    pub room: Option<String>,
    /// Socket.IO: the event that messages are.
    pub event: Option<String>,
    /// `permessage-deflate` offered, without context takeover in either direction.
    pub deflate: bool,
    /// Over `wss`, any certificate was trusted.
    pub tls_insecure: bool,
    /// Over `wss`, the file whose certificates were trusted instead of the system's.
    pub cacert: Option<String>,
    /// Churn: how long a session lasts, as typed.
    pub session: Option<String>,
    /// Churn: how sessions end.
    pub leave: Option<String>,
    /// Storm: how many clients are reset at once.
    pub storm: Option<u64>,
    /// Storm: when, from the beginning of the measured phase.
    pub storm_at_ns: Option<u64>,
    /// How who is gone comes back.
    pub backoff: Option<String>,
    /// Slow: how many clients read slowly.
    pub slow: Option<u64>,
    /// Slow: how many bytes each of them reads in a second.
    pub slow_rate_bytes_per_s: Option<u64>,
    /// Verdict `INVALID` ends with exit code 4.
    pub strict: bool,
    /// Thresholds as typed.
    pub thresholds: Vec<String>,
}

/// Where it ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Env {
    /// Operating system and architecture, `linux x86_64`.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor model.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: u64,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Kernel clock source, `tsc` is the good one.
    pub clock_source: String,
    /// TCP congestion control.
    pub congestion_control: String,
    /// File descriptors one process may open (soft limit, after raising).
    pub nofile: u64,
    /// First and last ephemeral port.
    pub port_range: [u16; 2],
    /// Load average over one minute when the run started: others on this machine.
    pub load_average: f64,
}
