//! Conducting: from the first connection to the last result, phase by phase.
//!
//! Why: publishing may begin only when every client of every loop is in, and the drain may end as soon as everything
//! has arrived everywhere; only here are all loops seen at once.
//!
//! Invariants: every loop is waited for, but not for ever; an interrupt or an `abort:` threshold ends the run early
//! and the results still come home.

use super::assemble::{self, Facts};
use super::watch::Watch;
use crate::engine::clock::now_ns;
use crate::engine::control::{Command, Draining, Event, Second};
use crate::engine::results::{Counts, LoopResult, Times};
use crate::fleet::Fleet;
use crate::live::{Crew, Live};
use crate::plan::{Plan, Scenario};
use crate::report::{Latency, Report, SeriesRow, Server, ThresholdOutcome};
use crate::threshold::Threshold;
use crate::units::NS_PER_S;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often interrupts are looked for.
const GLANCE_NS: u64 = 100_000_000;
/// From "everybody is in" to the first instant of the schedule: time for the word to reach every loop.
const LEAD_NS: u64 = 50_000_000;
/// The drain lasts at least so long, so that duplicates are seen.
const DRAIN_MIN_NS: u64 = 250_000_000;
/// How long all loops may say nothing after they were told to come home. Each says something every second while it lets its
/// clients go, for which it has a time limit of its own.
const SILENCE_MAX_NS: u64 = 30 * NS_PER_S;

/// The run as it goes on.
struct Conductor<'a> {
    plan: &'a Plan,
    thresholds: &'a [Threshold],
    live: &'a mut Live,
    fleet: Fleet,
    crew: Crew,
    watch: Watch,
    origin_ns: u64,
    /// When the schedule began; `None` while connecting.
    start_ns: Option<u64>,
    measuring: bool,
    ready: u32,
    connected: u64,
    draining: BTreeMap<u32, Draining>,
    seconds: BTreeMap<u64, Row>,
    shown: u64,
    delivery: Times,
    /// The newest counts of each loop.
    counts: BTreeMap<u32, Counts>,
    results: BTreeMap<u32, LoopResult>,
    failed: Vec<String>,
    /// The `abort:` threshold that ended the run.
    aborted: Option<ThresholdOutcome>,
}

/// A second, as far as loops have reported it.
#[derive(Default)]
struct Row {
    loops: u32,
    row: SeriesRow,
    delivery: Times,
}

/// Runs the plan and reports what was measured, not yet judged.
///
/// # Errors
/// No loop could be started.
pub(super) fn conduct(
    plan: &Plan,
    thresholds: &[Threshold],
    live: &mut Live,
    interrupt: &AtomicBool,
) -> io::Result<Report> {
    let watch = Watch::new(plan.server_pid, plan.server_metrics.clone());
    let origin_ns = now_ns();
    let fleet = Fleet::start(plan, origin_ns)?;
    let crew = Crew::new(plan, &fleet.pids());
    live.introduce(&crew);
    let mut conductor = Conductor {
        plan,
        thresholds,
        live,
        fleet,
        crew,
        watch,
        origin_ns,
        start_ns: None,
        measuring: false,
        ready: 0,
        connected: 0,
        draining: BTreeMap::new(),
        seconds: BTreeMap::new(),
        shown: 0,
        delivery: Times::default(),
        counts: BTreeMap::new(),
        results: BTreeMap::new(),
        failed: Vec::new(),
        aborted: None,
    };
    let interrupted = conductor.until_over(interrupt);
    conductor.come_home();
    Ok(conductor.into_report(interrupted))
}

impl Conductor<'_> {
    /// Follows the run until nothing more is to be measured; true if it was cut short.
    fn until_over(&mut self, interrupt: &AtomicBool) -> bool {
        loop {
            let wait_ns = self.next_edge_ns().saturating_sub(now_ns()).min(GLANCE_NS);
            if let Some((index, event)) = self.fleet.next(Duration::from_nanos(wait_ns)) {
                self.note(index, event);
            }
            if interrupt.load(Ordering::Relaxed) || self.aborted.is_some() {
                return true;
            }
            if !self.failed.is_empty() || self.results.len() == self.plan.loops() as usize {
                return false;
            }
            if self.start_ns.is_none() && self.ready == self.plan.loops() {
                self.watch.connected();
                if self.plan.scenario == Scenario::Connect || self.connected == 0 {
                    return false;
                }
                self.start();
            }
            if self.start_ns.is_some() && self.pass_edges(now_ns()) {
                return false;
            }
        }
    }

    fn start(&mut self) {
        let start_ns = now_ns() + LEAD_NS;
        self.start_ns = Some(start_ns);
        self.fleet.command(Command::Start { start_ns });
    }

    fn measure_ns(&self) -> u64 {
        self.start_ns.map_or(u64::MAX, |start_ns| start_ns + self.plan.warmup_ns)
    }

    fn end_ns(&self) -> u64 {
        self.measure_ns().saturating_add(self.plan.duration_ns)
    }

    fn next_edge_ns(&self) -> u64 {
        let now_ns = now_ns();
        [self.measure_ns(), self.end_ns()].into_iter().find(|edge_ns| *edge_ns > now_ns).unwrap_or(u64::MAX)
    }

    /// Samples the server at the edges of the measured phase; true when the drain is over.
    fn pass_edges(&mut self, now_ns: u64) -> bool {
        if !self.measuring && now_ns >= self.measure_ns() {
            self.measuring = true;
            self.watch.begin();
        }
        let end_ns = self.end_ns();
        if now_ns < end_ns {
            return false;
        }
        self.watch.end();
        let drain_ns = if self.plan.sends() { self.plan.drain_ns } else { 0 };
        now_ns >= end_ns + drain_ns || now_ns >= end_ns + DRAIN_MIN_NS && self.is_drained()
    }

    /// Whether everything that was sent has arrived everywhere.
    fn is_drained(&self) -> bool {
        // Where clients move, what is owed is known only when all is home: the whole drain is waited for.
        if self.draining.len() < self.plan.loops() as usize || !self.plan.motion.is_still() {
            return false;
        }
        let sum = |field: fn(&Draining) -> u64| self.draining.values().map(field).sum::<u64>();
        let (sent, received) = (sum(|loop_| loop_.sent), sum(|loop_| loop_.received));
        let backlog = sum(|loop_| loop_.backlog);
        let expected = if self.plan.is_broadcast() { sent * self.connected } else { sent };
        // A server that leaves senders out owes one less of each.
        let without_self = expected.saturating_sub(if self.plan.is_broadcast() { sent } else { 0 });
        let complete =
            received == expected || received == without_self && sum(|loop_| loop_.received_self) == 0;
        backlog == 0 && complete
    }

    fn note(&mut self, index: u32, event: Event) {
        match event {
            Event::Ready { connected } => {
                self.ready += 1;
                self.connected += connected;
            }
            Event::Second(second) => self.note_second(index, *second),
            Event::Draining(draining) => drop(self.draining.insert(index, draining)),
            Event::Done(result) => drop(self.results.insert(index, *result)),
            Event::Failed(why) => self.failed.push(why),
        }
    }

    fn note_second(&mut self, index: u32, second: Second) {
        let number = second.number;
        self.crew.note(index, &second);
        self.counts.insert(index, second.counts);
        let at_ns = number * NS_PER_S;
        let phase = self.phase_name(self.origin_ns + at_ns);
        let row = self.seconds.entry(number).or_default();
        row.loops += 1;
        row.delivery.merge(&second.delivery);
        self.delivery.merge(&second.delivery);
        let (sum, cpu_ratio) = (&mut row.row, second.cpu_ns as f64 / NS_PER_S as f64);
        sum.at_ns = at_ns;
        phase.clone_into(&mut sum.phase);
        sum.connected += second.connected;
        sum.sent += second.sent;
        sum.received += second.received;
        sum.bytes += second.bytes;
        sum.send_lag_max_ns = sum.send_lag_max_ns.max(second.send_lag_max_ns);
        sum.loop_lag_max_ns = sum.loop_lag_max_ns.max(second.loop_lag_max_ns);
        sum.generator_cpu_ratio += cpu_ratio;
        sum.busiest_thread_ratio = sum.busiest_thread_ratio.max(cpu_ratio);
        let Latency { p50, p99, max, .. } = Latency::of(&row.delivery.0);
        (sum.delivery_p50_ns, sum.delivery_p99_ns, sum.delivery_max_ns) = (p50, p99, max);
        let whole = row.loops == self.plan.loops();
        if number > self.shown && (whole || number > self.shown + 1) {
            self.shown = number;
            let server = self.watch.second();
            if let Some(row) = self.seconds.get_mut(&number) {
                row.row.server_cpu_ratio = server.map(|(ratio, _)| ratio);
                row.row.server_rss_bytes = server.map(|(_, bytes)| bytes);
                self.live.show(&row.row, &mut self.crew);
                let row = row.row.clone();
                self.check_aborts(&row);
            }
        }
    }

    fn phase_name(&self, at_ns: u64) -> &'static str {
        match self.start_ns {
            None => "connect",
            Some(start_ns) if at_ns <= start_ns => "connect",
            Some(_) if at_ns <= self.measure_ns() => "warmup",
            Some(_) if at_ns <= self.end_ns() => "measure",
            Some(_) => "drain",
        }
    }

    /// Ends the run if an `abort:` threshold does not hold; `row` is the second that is over.
    fn check_aborts(&mut self, row: &SeriesRow) {
        if self.aborted.is_some() || !self.thresholds.iter().any(Threshold::aborts) {
            return;
        }
        let so_far = self.so_far(row);
        let measuring = row.phase == "measure";
        self.aborted = self.thresholds.iter().find_map(|threshold| threshold.aborts_now(&so_far, measuring));
    }

    /// The report as far as it is known after the second `row`: every key that `abort:` may watch, no other.
    fn so_far(&self, row: &SeriesRow) -> Report {
        let mut counts = Counts::default();
        self.counts.values().for_each(|of_loop| counts.merge(of_loop));
        let mut known = Report::default();
        known.latency.delivery_ns = Latency::of(&self.delivery.0);
        known.connect.requested = u64::from(self.plan.clients);
        known.connect.failed = counts.failed;
        known.connect.dropped = counts.dropped;
        // While connecting, everybody who has not failed may still come in.
        known.connect.connected = match self.start_ns {
            None => known.connect.requested.saturating_sub(counts.failed),
            Some(_) => counts.connected,
        };
        known.messages.planned = counts.planned;
        known.messages.unsent = counts.planned.saturating_sub(counts.sent);
        let heard_by = if self.plan.is_broadcast() { counts.connected } else { 1 };
        let deliveries = &mut known.deliveries;
        deliveries.expected = counts.sent * heard_by;
        deliveries.duplicate = counts.duplicate;
        deliveries.reordered = counts.reordered;
        deliveries.corrupt = counts.corrupt;
        deliveries.late = counts.late;
        deliveries.unexpected = counts.unexpected;
        known.generator.cpu_ratio = row.generator_cpu_ratio;
        known.generator.busiest_thread_ratio = row.busiest_thread_ratio;
        known.server = row.server_cpu_ratio.zip(row.server_rss_bytes).map(|(cpu_ratio, rss_bytes)| Server {
            cpu_ratio,
            rss_bytes,
            ..Server::default()
        });
        known
    }

    /// Tells every loop to stop and waits for what it brings.
    fn come_home(&mut self) {
        self.watch.end();
        self.fleet.command(Command::Finish);
        let mut until_ns = now_ns() + SILENCE_MAX_NS;
        while self.results.len() + self.failed.len() < self.plan.loops() as usize && now_ns() < until_ns {
            if let Some((index, event)) = self.fleet.next(Duration::from_nanos(GLANCE_NS)) {
                until_ns = now_ns() + SILENCE_MAX_NS;
                self.note(index, event);
            }
        }
    }

    fn into_report(self, interrupted: bool) -> Report {
        let results: Vec<_> = self.results.into_values().collect();
        let facts = Facts {
            origin_ns: self.origin_ns,
            start_ns: self.start_ns,
            end_ns: self.start_ns.map(|start_ns| start_ns + self.plan.warmup_ns + self.plan.duration_ns),
            interrupted: interrupted || !self.failed.is_empty(),
            failed: &self.failed,
            watch: &self.watch,
            series: self.seconds.into_values().map(|row| row.row).collect(),
        };
        let mut report = assemble::assemble(self.plan, &results, facts);
        report.thresholds.extend(self.aborted);
        report
    }
}
