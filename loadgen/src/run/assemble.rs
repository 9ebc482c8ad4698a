//! The results of all loops, put together into the report.
//!
//! Why here and not in the loops: what is expected, what is lost and when the last subscriber had a message are facts
//! about the whole run.
//!
//! Invariants: `expected = received + lost`; what never arrived and what was never sent stand in the delivery
//! histogram with the age they had at the end (censored: at least so late), so a stall cannot improve a percentile.

use super::moved::{self, Owed};
use super::watch::Watch;
use crate::engine::clock::now_ns;
use crate::engine::fanout::{self, Merged, rank_of};
use crate::engine::results::{Counts, LoopResult, Moved, Times};
use crate::plan::{Model, Plan};
use crate::report::{
    Connect, Cost, Deliveries, Env, Fanout, Generator, Histograms, Latencies, Latency, Messages, Report, Run,
    SCHEMA, SeriesRow, Server, Spread, Thread,
};
use crate::units::NS_PER_S;
use std::collections::BTreeMap;

/// What is known beside the loops' results.
pub(super) struct Facts<'a> {
    /// When the run began, monotonic.
    pub(super) origin_ns: u64,
    /// When the schedule began; `None` if it never did.
    pub(super) start_ns: Option<u64>,
    /// When the measured phase was to end; `None` if it never began.
    pub(super) end_ns: Option<u64>,
    /// Cut short.
    pub(super) interrupted: bool,
    /// Loops that brought nothing home.
    pub(super) failed: &'a [String],
    /// The server.
    pub(super) watch: &'a Watch,
    /// The seconds.
    pub(super) series: Vec<SeriesRow>,
}

/// The loops' results, merged.
#[derive(Default)]
struct Whole {
    counts: Counts,
    delivery: Times,
    service: Times,
    send_lag: Times,
    handshake: Times,
    unsent: Times,
    loop_lag: Times,
    receive_lag: Times,
    messages: Vec<Merged>,
    moved: Moved,
    measured_ns: u64,
    ended_ns: u64,
    cpu_ns: u64,
}

impl Whole {
    /// A count per second of the measured phase.
    fn per_s(&self, count: u64) -> f64 {
        if self.measured_ns == 0 { 0.0 } else { count as f64 * NS_PER_S as f64 / self.measured_ns as f64 }
    }
}

/// Fills the report; the verdict is not yet in it.
pub(super) fn assemble(plan: &Plan, results: &[LoopResult], facts: Facts<'_>) -> Report {
    let mut whole = merge(results);
    // A server that sends nobody's message back to its sender owes one delivery less of each.
    let counts = &whole.counts;
    let leaves_senders_out = plan.is_broadcast() && counts.received > 0 && counts.received_self == 0;
    let owed = if plan.motion.is_still() {
        let subscribers = whole.counts.connected.saturating_sub(u64::from(leaves_senders_out));
        Owed::Alike(if plan.is_broadcast() { subscribers } else { 1 })
    } else {
        Owed::each(&whole.moved, leaves_senders_out)
    };
    let censored = censor(plan, &mut whole, &owed, &facts);
    let counts = &whole.counts;
    let (fanout, histogram) = fan_out(plan, &whole.messages, &owed);
    let deliveries = deliveries(&whole, &owed);
    let clock = moved::Clock { start_ns: facts.start_ns, origin_ns: facts.origin_ns };
    let moves = moved::report(plan, &whole.moved, &deliveries, &facts.series, clock);
    Report {
        schema: SCHEMA.to_owned(),
        run: run(plan, &whole, &facts),
        plan: plan.to_report(),
        env: Env::observe(),
        connect: connect(plan, &whole, facts.failed),
        messages: messages(&whole),
        deliveries,
        latency: Latencies {
            model: model_name(plan).to_owned(),
            delivery_ns: Latency::of(&whole.delivery.0),
            service_ns: Latency::of(&whole.service.0),
            send_lag_ns: Latency::of(&whole.send_lag.0),
            censored,
        },
        cost: cost(&whole, &facts, fanout.as_ref()),
        fanout: fanout.map(|(fanout, _)| fanout),
        generator: generator(plan, results, &whole),
        server: server(&facts, counts),
        series: facts.series,
        histograms: Histograms {
            delivery: some(whole.delivery),
            service: some(whole.service),
            send_lag: some(whole.send_lag),
            handshake: some(whole.handshake),
            fanout_last: some(histogram),
        },
        ..moves
    }
}

fn some(times: Times) -> Option<hdrhistogram::Histogram<u64>> {
    (!times.0.is_empty()).then_some(times.0)
}

fn merge(results: &[LoopResult]) -> Whole {
    let mut whole = Whole::default();
    for result in results {
        whole.counts.merge(&result.counts);
        for (mine, theirs) in [
            (&mut whole.delivery, &result.delivery),
            (&mut whole.service, &result.service),
            (&mut whole.send_lag, &result.send_lag),
            (&mut whole.handshake, &result.handshake),
            (&mut whole.unsent, &result.unsent),
            (&mut whole.loop_lag, &result.loop_lag),
            (&mut whole.receive_lag, &result.receive_lag),
        ] {
            mine.merge(theirs);
        }
        whole.moved.merge(&result.moved);
        whole.measured_ns = whole.measured_ns.max(result.measured_ns);
        whole.ended_ns = whole.ended_ns.max(result.ended_ns);
        whole.cpu_ns += result.cpu_ns;
    }
    // Records are made by this program; one that is cut means a shard that died, which is reported as such.
    whole.messages = fanout::merge(results.iter().map(|result| &result.fanout.0[..])).unwrap_or_default();
    whole
}

/// Puts what never arrived and what was never sent into the delivery histogram; returns how many entries that is.
fn censor(plan: &Plan, whole: &mut Whole, owed: &Owed, facts: &Facts<'_>) -> u64 {
    let before = whole.delivery.0.len();
    for value in whole.unsent.0.clone().iter_recorded() {
        whole.delivery.record_n(value.value_iterated_to(), value.count_at_value() * owed.typical().max(1));
    }
    if plan.is_broadcast() {
        for message in &whole.messages {
            let missing = owed.to(message.key).saturating_sub(u64::from(message.count));
            whole.delivery.record_n(whole.ended_ns.saturating_sub(message.intended_ns), missing);
        }
    } else {
        // Which echoes are missing is known, when they were due is not: at the latest when the phase ended.
        let at_least_ns = facts.end_ns.map_or(0, |end_ns| whole.ended_ns.saturating_sub(end_ns));
        whole.delivery.record_n(at_least_ns, whole.counts.sent.saturating_sub(whole.counts.received));
    }
    whole.delivery.0.len() - before
}

fn run(plan: &Plan, whole: &Whole, facts: &Facts<'_>) -> Run {
    Run {
        label: plan.label.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        elapsed_ns: now_ns().saturating_sub(facts.origin_ns),
        measured_ns: whole.measured_ns,
        run_id: plan.run_id,
        seed: plan.seed,
        model: model_name(plan).to_owned(),
        interrupted: facts.interrupted,
        ..Run::default()
    }
}

/// The closed model is named wherever its numbers stand.
const fn model_name(plan: &Plan) -> &'static str {
    match plan.model {
        Model::Closed { .. } => "CLOSED",
        Model::Open { .. } | Model::Silent => "open",
    }
}

fn messages(whole: &Whole) -> Messages {
    let counts = &whole.counts;
    Messages {
        planned: counts.planned,
        sent: counts.sent,
        unsent: whole.unsent.0.len(),
        warmup: counts.warmup,
        per_s: whole.per_s(counts.sent),
        bytes: counts.sent_bytes,
        wire_bytes: counts.sent_wire_bytes,
    }
}

/// What was owed: every sent message to everybody who hears it.
fn deliveries(whole: &Whole, owed: &Owed) -> Deliveries {
    let counts = &whole.counts;
    let expected = owed.in_all(counts.sent).max(counts.received);
    Deliveries {
        expected,
        received: counts.received,
        lost: expected - counts.received,
        duplicate: counts.duplicate,
        reordered: counts.reordered,
        corrupt: counts.corrupt,
        late: counts.late,
        unexpected: counts.unexpected,
        gaps: counts.gaps,
        gaps_missed: counts.gaps_missed,
        per_s: whole.per_s(counts.received - counts.late),
        bytes: counts.received_bytes,
        wire_bytes: counts.received_wire_bytes,
    }
}

fn connect(plan: &Plan, whole: &Whole, failed_loops: &[String]) -> Connect {
    let counts = &whole.counts;
    let elapsed_ns = counts.last_connected_ns.saturating_sub(counts.first_attempt_ns);
    let mut failures: BTreeMap<String, u64> = counts.failures.clone();
    for why in failed_loops {
        *failures.entry(why.clone()).or_default() += 1;
    }
    Connect {
        requested: u64::from(plan.clients),
        connected: counts.connected,
        failed: counts.failed,
        dropped: counts.dropped,
        elapsed_ns,
        per_s: counts.connected as f64 * NS_PER_S as f64 / elapsed_ns.max(1) as f64,
        handshake_ns: Latency::of(&whole.handshake.0),
        failures,
        extensions: counts.extensions.clone(),
    }
}

/// Fan-out completion, with the median of (last - first) over complete broadcasts, and the histogram of the last.
fn fan_out(plan: &Plan, messages: &[Merged], owed: &Owed) -> (Option<(Fanout, u64)>, Times) {
    let subscribers = owed.typical();
    if !plan.is_broadcast() || messages.is_empty() || subscribers == 0 {
        return (None, Times::default());
    }
    let (mut first, mut half, mut p95, mut last, mut spread) =
        (Times::default(), Times::default(), Times::default(), Times::default(), Times::default());
    let mut complete = 0;
    for message in messages {
        let total = u32::try_from(owed.to(message.key)).unwrap_or(u32::MAX);
        let times = message.times_ns([1, rank_of(0.5, total), rank_of(0.95, total), total]);
        for (histogram, time_ns) in [&mut first, &mut half, &mut p95, &mut last].into_iter().zip(times) {
            if let Some(time_ns) = time_ns {
                histogram.record(time_ns.saturating_sub(message.intended_ns));
            }
        }
        if let [Some(first_ns), _, _, Some(last_ns)] = times {
            complete += 1;
            spread.record(last_ns - first_ns);
        }
    }
    let fanout = Fanout {
        broadcasts: messages.len() as u64,
        complete,
        subscribers,
        first_ns: Spread::of(&first.0),
        half_ns: Spread::of(&half.0),
        p95_ns: Spread::of(&p95.0),
        last_ns: Spread::of(&last.0),
    };
    (Some((fanout, spread.0.value_at_quantile(0.5))), last)
}

fn cost(whole: &Whole, facts: &Facts<'_>, fanout: Option<&(Fanout, u64)>) -> Option<Cost> {
    // CPU is that of the measured phase: what came later was paid for later.
    let received = whole.counts.received - whole.counts.late;
    if received == 0 {
        return None;
    }
    let us_each = |cpu_ns: u64| cpu_ns as f64 / 1_000.0 / received as f64;
    let us_per_delivery = fanout
        .filter(|(fanout, _)| fanout.complete > 0 && fanout.subscribers > 1)
        .map(|(fanout, spread_ns)| *spread_ns as f64 / 1_000.0 / (fanout.subscribers - 1) as f64);
    Some(Cost {
        us_per_delivery,
        server_cpu_us_per_delivery: facts.watch.cpu_ns().map(us_each),
        generator_cpu_us_per_delivery: us_each(whole.cpu_ns),
    })
}

fn generator(plan: &Plan, results: &[LoopResult], whole: &Whole) -> Generator {
    let ratio = |cpu_ns: u64, wall_ns: u64| cpu_ns as f64 / wall_ns.max(1) as f64;
    let threads: Vec<_> = results
        .iter()
        .map(|result| Thread {
            name: result.name.clone(),
            cpu_ratio: ratio(result.cpu_ns, result.measured_ns),
        })
        .collect();
    // Loops of one process see the same memory: one of them speaks for it.
    let per_process = || results.chunks(plan.threads as usize);
    let sum = |field: fn(&LoopResult) -> u64| -> u64 { per_process().map(|loops| max(loops, field)).sum() };
    let before: u64 = per_process()
        .map(|loops| loops.iter().map(|result| result.anon_before_bytes).min().unwrap_or(0))
        .sum();
    let grown = sum(|result| result.anon_bytes).saturating_sub(before);
    let counts = &whole.counts;
    Generator {
        cpu_ratio: ratio(whole.cpu_ns, whole.measured_ns),
        busiest_thread_ratio: threads.iter().map(|thread| thread.cpu_ratio).fold(0.0, f64::max),
        rss_bytes: sum(|result| result.rss_bytes),
        bytes_per_client: grown.checked_div(counts.connected).unwrap_or(0),
        procs: u64::from(plan.procs),
        threads,
        loop_lag_ns: Latency::of(&whole.loop_lag.0),
        receive_lag_ns: Latency::of(&whole.receive_lag.0),
        schedule_kept_ratio: if counts.planned == 0 {
            1.0
        } else {
            counts.on_time as f64 / counts.planned as f64
        },
    }
}

fn max(loops: &[LoopResult], field: fn(&LoopResult) -> u64) -> u64 {
    loops.iter().map(field).max().unwrap_or(0)
}

fn server(facts: &Facts<'_>, counts: &Counts) -> Option<Server> {
    facts.watch.to_report(counts.connected, counts.received - counts.late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn plan(line: &str) -> Plan {
        let cli = Cli::try_parse_from(std::iter::once("loadgen").chain(line.split_whitespace()))
            .expect("known flags");
        Plan::new(&cli.run).expect("valid")
    }

    fn report(plan: &Plan, results: &[LoopResult]) -> Report {
        let facts = Facts {
            origin_ns: 0,
            start_ns: Some(0),
            end_ns: Some(9_000_000_000),
            interrupted: false,
            failed: &[],
            watch: &Watch::default(),
            series: Vec::new(),
        };
        assemble(plan, results, facts)
    }

    fn result(connected: u64, sent: u64, received: u64, received_self: u64) -> LoopResult {
        let counts = Counts { connected, sent, planned: sent, received, received_self, ..Counts::default() };
        let mut delivery = Times::default();
        delivery.record_n(1_000_000, received);
        LoopResult {
            counts,
            delivery,
            measured_ns: NS_PER_S,
            ended_ns: 10_000_000_000,
            ..LoopResult::default()
        }
    }

    #[test]
    fn a_broadcast_is_owed_to_every_subscriber() {
        let report = report(&plan("ws://h -c 10"), &[result(10, 3, 29, 3)]);
        assert_eq!((report.deliveries.expected, report.deliveries.lost), (30, 1));
    }

    #[test]
    fn a_server_that_leaves_senders_out_owes_one_less() {
        let report = report(&plan("ws://h -c 10"), &[result(10, 3, 27, 0)]);
        assert_eq!((report.deliveries.expected, report.deliveries.lost), (27, 0));
    }

    #[test]
    fn silence_is_loss_of_everything() {
        let report = report(&plan("ws://h -c 10"), &[result(10, 3, 0, 0)]);
        assert_eq!((report.deliveries.expected, report.deliveries.lost), (30, 30));
    }

    #[test]
    fn lost_echoes_are_in_the_histogram_with_their_age() {
        let report = report(&plan("ws://h -s echo -c 10"), &[result(10, 5, 3, 3), result(10, 5, 5, 5)]);
        assert_eq!((report.deliveries.expected, report.deliveries.lost), (10, 2));
        assert_eq!((report.latency.delivery_ns.count, report.latency.censored), (10, 2));
        assert!(report.latency.delivery_ns.max >= 999_000_000, "they were at least a second old");
    }
}
