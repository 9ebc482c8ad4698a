//! Watching the server from outside: samples at the moments that matter, and once a second.
//!
//! Why: latency without the server's cost is half a result. CPU is a difference over the measured phase, memory per
//! connection a difference over the connect phase, so it is sampled at the edges of both.
//!
//! Invariants: a server that cannot be sampled leaves the block absent, never zero; differences use the times at which
//! the samples were really taken.

use crate::engine::clock::now_ns;
use crate::report::Server;
use crate::sample::{self, Metrics, ProcessSample};

/// A sample and when it was taken.
#[derive(Clone, Debug, Default)]
struct Sample {
    at_ns: u64,
    process: Option<ProcessSample>,
}

/// The server as the run goes on.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pid: Option<u32>,
    metrics_url: Option<String>,
    before: Sample,
    connected: Sample,
    begin: Sample,
    end: Sample,
    last: Sample,
    rss_max_bytes: u64,
    metrics_begin: Option<Metrics>,
    metrics_end: Option<Metrics>,
}

impl Watch {
    /// Begins, before the first connection.
    pub(super) fn new(pid: Option<u32>, metrics_url: Option<String>) -> Self {
        let mut watch = Self { pid, metrics_url, ..Self::default() };
        watch.before = watch.sample();
        watch.last = watch.before.clone();
        watch
    }

    /// All clients are connected.
    pub(super) fn connected(&mut self) {
        self.connected = self.sample();
    }

    /// The measured phase begins.
    pub(super) fn begin(&mut self) {
        self.begin = self.sample();
        self.metrics_begin = self.scrape();
    }

    /// The measured phase ends.
    pub(super) fn end(&mut self) {
        if self.end.process.is_none() {
            self.end = self.sample();
            self.metrics_end = self.scrape();
        }
    }

    /// A second is over: the server's CPU ratio in it, and its memory.
    pub(super) fn second(&mut self) -> Option<(f64, u64)> {
        let now = self.sample();
        let before = std::mem::replace(&mut self.last, now);
        let (now, before_process) = (self.last.process.as_ref()?, before.process.as_ref()?);
        let ratio = now.cpu_ratio_since(before_process, self.last.at_ns.saturating_sub(before.at_ns));
        Some((ratio, now.rss_bytes))
    }

    fn sample(&mut self) -> Sample {
        let process = self.pid.and_then(|pid| sample::family(pid).ok());
        self.rss_max_bytes = self.rss_max_bytes.max(process.as_ref().map_or(0, |process| process.rss_bytes));
        Sample { at_ns: now_ns(), process }
    }

    fn scrape(&self) -> Option<Metrics> {
        self.metrics_url.as_deref().and_then(|url| sample::metrics(url).ok())
    }

    /// The block of the report.
    pub(super) fn to_report(&self, connected: u64, received: u64) -> Option<Server> {
        let metrics = match (&self.metrics_begin, &self.metrics_end) {
            (Some(begin), Some(end)) => sample::metrics_since(end, begin),
            (_, _) => Default::default(),
        };
        let Some(before) = self.before.process.as_ref() else {
            return (!metrics.is_empty()).then(|| Server { metrics, ..Server::default() });
        };
        let mut server = Server {
            pid: self.pid,
            rss_before_bytes: before.rss_bytes,
            rss_max_bytes: self.rss_max_bytes,
            fds: before.fds,
            metrics,
            ..Server::default()
        };
        if let Some(full) = &self.connected.process {
            let grown = full.rss_bytes.saturating_sub(before.rss_bytes);
            server.rss_per_conn_bytes = grown.checked_div(connected).unwrap_or(0);
            server.rss_bytes = full.rss_bytes;
            server.fds = full.fds;
        }
        if let (Some(begin), Some(end)) = (&self.begin.process, &self.end.process) {
            let wall_ns = self.end.at_ns.saturating_sub(self.begin.at_ns);
            server.cpu_ratio = end.cpu_ratio_since(begin, wall_ns);
            server.busiest_thread_ratio = end.busiest_since(begin, wall_ns);
            server.rss_bytes = end.rss_bytes;
            let cpu_s = end.cpu_ns.saturating_sub(begin.cpu_ns) as f64 / 1e9;
            server.deliveries_per_cpu_s = if cpu_s > 0.0 { received as f64 / cpu_s } else { 0.0 };
        }
        Some(server)
    }

    /// CPU time of the server in the measured phase, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> Option<u64> {
        Some(self.end.process.as_ref()?.cpu_ns.saturating_sub(self.begin.process.as_ref()?.cpu_ns))
    }
}
