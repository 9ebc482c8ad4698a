//! The numbers of a worker for people and programs: `/healthz`, `/stats` (JSON), `/metrics` (Prometheus text).
//!
//! Rendered when asked for, from plain integers. Times are in seconds for Prometheus, whose convention that is, and
//! in nanoseconds in JSON, with the unit in the key.
//!
//! Invariant: labels are our own words, never a peer's.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::bus::Bus;
use super::bus::sum::{Figures, Sum};
use super::connection::Connection;
use super::limits::SLOWEST_MAX;
use super::page::Page;
use super::routes::Numbers;
use super::worker::Worker;
use crate::base::tick::{MILLI, SECOND, TICK, Tick};
use crate::net::Net;
use crate::service::{Departure, Service};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl<N: Net, S: Service> Worker<N, S> {
    /// Renders `numbers`: content type and body.
    pub(super) fn expose(&self, numbers: Numbers) -> (&'static str, String) {
        match numbers {
            Numbers::Health => (TEXT, if self.farewell.is_some() { "stopping\n" } else { "ok\n" }.to_owned()),
            Numbers::Stats => (JSON, self.stats().to_string()),
            Numbers::Metrics => {
                let page = self.page(self.bus.as_deref());
                let mut text = page.render();
                text.push_str(&self.backlog());
                if let Some(bus) = self.bus.as_deref() {
                    page.render_sum(&bus.sum(page.figures()), &mut text);
                }
                (PROMETHEUS, text)
            }
        }
    }

    /// What the listeners of the whole machine could not take: no worker's own, so it is not added up.
    fn backlog(&self) -> String {
        let Some((overflows, drops)) = self.net.listen_overflows() else { return String::new() };
        let mut page = Page::default();
        let help = "Connections that found the queue of a listener full, all listeners of this machine.";
        page.counter("listen_overflows_total", help, overflows);
        let help = "Connections that were dropped before they were accepted, for whatever reason, likewise.";
        page.counter("listen_drops_total", help, drops);
        page.render()
    }

    fn stats(&self) -> Value {
        let (metrics, ledger) = (&self.metrics, &self.hub.ledger);
        let departures: Map<String, Value> = Departure::ALL
            .iter()
            .map(|why| (why.label().to_owned(), json!(metrics.departures[*why as usize])))
            .collect();
        let mut stats = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": (self.now - self.started) / SECOND,
            "connections": self.roster.len(),
            "connections_max": self.connections_max,
            "accepted_total": metrics.accepted,
            "upgraded_total": metrics.upgraded,
            "requests_total": metrics.requests,
            "messages_in_total": metrics.messages_in,
            "publications_total": ledger.published,
            "owed_total": ledger.owed,
            "deliveries_total": ledger.written,
            "queued": ledger.queued,
            "dropped_total": ledger.dropped,
            "departed_total": ledger.departed,
            "bytes_in_total": metrics.bytes_in,
            "bytes_out_total": metrics.bytes_out,
            "topics": self.hub.topics.len(),
            "fanout_first_ns": quantiles(&ledger.fanout.first),
            "fanout_half_ns": quantiles(&ledger.fanout.half),
            "fanout_p99_ns": quantiles(&ledger.fanout.p99),
            "fanout_last_ns": quantiles(&ledger.fanout.last),
            "turns_total": metrics.turns,
            "turns_long_total": metrics.turns_long,
            "turn_ns": quantiles(&metrics.turn_ns),
            "departures": departures,
            "peers_behind": self.behind.len(),
            "slowest_peers": self.slowest(),
        });
        if let Some(bus) = self.bus.as_deref() {
            stats["worker"] = bus.describe(self.now);
            stats["all"] = in_json(&bus.sum(self.figures(Some(bus))));
        }
        stats
    }

    /// The peers for whom most waits, with the number by which the log calls them, how many bytes that are, since when some
    /// have waited without a break, how long nothing has moved, and what the peer has missed.
    pub(super) fn slowest(&self) -> Vec<Value> {
        let now = Tick::of(self.now);
        let waiting = self.behind.iter().filter_map(|(id, since)| {
            let connection = self.roster.find(*id)?;
            (connection.is_served() && !connection.queue.is_empty()).then_some((
                connection.queue.bytes(),
                *since,
                connection,
            ))
        });
        let mut waiting: Vec<_> = waiting.collect();
        if waiting.len() > SLOWEST_MAX {
            waiting.select_nth_unstable_by_key(SLOWEST_MAX, |(bytes, _, _)| Reverse(*bytes));
            waiting.truncate(SLOWEST_MAX);
        }
        waiting.sort_unstable_by_key(|(bytes, _, connection)| (Reverse(*bytes), connection.serial));
        let in_ms = |since: Tick| u64::from(now.since(since)) * (TICK / MILLI);
        let tell = |(bytes, since, connection): (usize, Tick, &Connection<N::Socket>)| {
            json!({
                "connection": connection.serial,
                "owed_bytes": bytes,
                "behind_ms": in_ms(since),
                "stalled_ms": in_ms(connection.progress),
                "missed": connection.missed,
            })
        };
        waiting.into_iter().map(tell).collect()
    }

    /// This worker's numbers as the others are told them.
    pub(super) fn figures(&self, bus: Option<&Bus<N::Socket>>) -> Figures {
        self.page(bus).figures()
    }

    fn page(&self, bus: Option<&Bus<N::Socket>>) -> Page<'_> {
        let (metrics, ledger, topics) = (&self.metrics, &self.hub.ledger, &self.hub.topics);
        let mut page = Page::default();
        page.gauge("connections", "Connections that are open.", self.roster.len() as u64);
        page.gauge("connections_max", "Connections that may be open.", self.connections_max as u64);
        page.gauge("topics", "Topics that have subscribers.", topics.len() as u64);
        page.gauge("publications_queued", "Deliveries that are owed.", ledger.queued);
        page.gauge(
            "waiting_bytes",
            "Bytes of publications no delivery has taken.",
            topics.waiting_bytes() as u64,
        );
        page.gauge("batches_open", "Batches that some subscriber waits for.", ledger.open_batches() as u64);
        page.gauge("buffers_lent", "Buffers that hold something incomplete.", self.pool.lent() as u64);
        page.gauge("buffers_lent_bytes", "Bytes of those buffers.", self.pool.lent_bytes() as u64);
        page.gauge("buffers_lent_peak", "The most buffers ever lent at once.", self.pool.lent_peak() as u64);
        page.gauge("buffers_kept_bytes", "Bytes of buffers on the shelf.", self.pool.kept_bytes() as u64);
        page.gauge("timers", "Entries in the timing wheel, stale ones included.", self.wheel.len() as u64);
        self.counters(&mut page);
        self.transport(&mut page);
        self.compression(&mut page);
        self.remembering(&mut page);
        for figure in self.service.figures() {
            match figure.is_total {
                true => page.counter(figure.name, figure.help, figure.value),
                false => page.gauge(figure.name, figure.help, figure.value),
            }
        }
        self.labelled(&mut page);
        let help = "Numbers that watchers of the dashboard were not sent because they were behind.";
        page.counter("dashboard_skips_total", help, metrics.dashboard_skips);
        let help = "Messages to one peer that waited for their place among publications.";
        page.counter("interjections_total", help, self.hub.interjections.waited);
        page.summary("turn_seconds", "Length of a turn.", &metrics.turn_ns);
        page.summary("fanout_first_seconds", "Publishing to first subscriber.", &ledger.fanout.first);
        page.summary("fanout_half_seconds", "Publishing to half of them.", &ledger.fanout.half);
        page.summary("fanout_p99_seconds", "Publishing to 99 % of them.", &ledger.fanout.p99);
        page.summary("fanout_last_seconds", "Publishing to the last subscriber.", &ledger.fanout.last);
        if let Some(bus) = bus {
            bus.expose(&mut page, self.hub.abroad.published);
        }
        page
    }

    fn counters(&self, page: &mut Page<'_>) {
        let (metrics, ledger) = (&self.metrics, &self.hub.ledger);
        page.counter("accepted_total", "Connections accepted.", metrics.accepted);
        page.counter("upgraded_total", "Handshakes answered with 101.", metrics.upgraded);
        page.counter("requests_total", "HTTP requests answered.", metrics.requests);
        page.counter("messages_in_total", "Messages received.", metrics.messages_in);
        page.counter("bytes_in_total", "Bytes received.", metrics.bytes_in);
        page.counter("bytes_out_total", "Bytes written.", metrics.bytes_out);
        page.counter("writes_total", "System calls that wrote.", metrics.writes);
        page.counter("pings_total", "Pings sent.", metrics.pings);
        page.counter("published_total", "Messages published.", ledger.published);
        page.counter("owed_total", "Deliveries ever owed: publications times subscribers.", ledger.owed);
        page.counter("written_total", "Deliveries written.", ledger.written);
        page.counter("dropped_total", "Deliveries dropped because the peer was too slow.", ledger.dropped);
        page.counter("departed_total", "Deliveries that ended with their peer.", ledger.departed);
        self.turns(page);
        let log_lines_dropped = self.config.log_lines_dropped.load(Ordering::Relaxed);
        page.counter("log_lines_dropped_total", "Log lines that stderr did not take.", log_lines_dropped);
        page.counter("worker_restarts_total", "Times this worker was started again.", self.config.restarts);
        page.counter("stalls_total", "Times this process was not running.", metrics.stalls);
    }

    /// What turns did, and what they had to leave.
    fn turns(&self, page: &mut Page<'_>) {
        let metrics = &self.metrics;
        page.counter("turns_total", "Turns of the loop.", metrics.turns);
        page.counter("turns_long_total", "Turns longer than 5 ms.", metrics.turns_long);
        page.counter("turns_cut_total", "Turns that left decoding for the next.", metrics.turns_cut);
        page.counter("reads_full_total", "Reads that filled their room.", metrics.reads_full);
        page.counter("accepts_cut_total", "Turns that left accepting for the next.", metrics.accepts_cut);
        page.counter(
            "accepts_exhausted_total",
            "Accepts without a descriptor left.",
            metrics.accepts_exhausted,
        );
        page.counter(
            "accepts_over_total",
            "Requests answered 503: too many connections.",
            metrics.accepts_over,
        );
        page.counter(
            "listener_rests_total",
            "Times newcomers were left to the other workers.",
            metrics.listener_rests,
        );
        page.counter("expiries_cut_total", "Turns that left timers for the next.", metrics.expiries_cut);
        page.counter(
            "pipelines_cut_total",
            "Peers that sent too much behind a request that waited.",
            metrics.pipelines_cut,
        );
        page.counter(
            "flushes_cut_total",
            "Turns that left writing what waited for the next.",
            metrics.flushes_cut,
        );
        page.counter(
            "reaps_cut_total",
            "Turns that let some of those who had ended go in the next.",
            metrics.reaps_cut,
        );
        page.counter(
            "publishers_paused_total",
            "Publishers not read: too much waits.",
            metrics.publishers_paused,
        );
        page.counter(
            "readers_paused_total",
            "Peers not read: they do not read replies.",
            metrics.readers_paused,
        );
    }

    /// What became of those who speak TLS.
    fn transport(&self, page: &mut Page<'_>) {
        let Some(counts) = self.net.tls_counts() else { return };
        let made = [("full", counts.full), ("resumed", counts.resumed)];
        let made = made.map(|(kind, count)| (format!("kind=\"{kind}\""), count)).into();
        page.labelled("tls_handshakes_total", "TLS handshakes made.", made);
        let failed = counts.failed().map(|(reason, count)| (format!("reason=\"{reason}\""), count)).collect();
        page.labelled("tls_handshakes_failed_total", "TLS handshakes that failed, by reason.", failed);
        let help = "Sends that left some to be encrypted in the next turn.";
        page.counter("tls_sends_cut_total", help, counts.sends_cut);
    }

    fn compression(&self, page: &mut Page<'_>) {
        let (deflation, compressors) = (&self.deflation, &self.hub.compressors);
        page.gauge(
            "deflate_contexts",
            "Peers whose compressed messages are remembered.",
            deflation.remembered as u64,
        );
        page.gauge("deflate_memory_bytes", "Bytes reserved for that.", deflation.reserved as u64);
        for (name, help, value) in [
            ("agreed", "Handshakes that agreed on compression.", deflation.agreed),
            ("declined", "Handshakes whose extensions were all declined.", deflation.declined),
            ("forgotten", "Handshakes without context: --deflate-memory was used up.", deflation.forgotten),
            ("messages", "Messages compressed, once for all who are sent the same.", compressors.messages),
            ("unshrunk", "Messages sent as they are: compression did not help.", compressors.unshrunk),
            ("oversized", "Messages sent as they are: too large for a turn.", compressors.oversized),
            ("plain_bytes", "Bytes that were compressed.", compressors.bytes_in),
            ("sent_bytes", "What they had become.", compressors.bytes_out),
            ("received_bytes", "Bytes that were inflated.", deflation.bytes_compressed),
            ("inflated_bytes", "What they had become.", deflation.bytes_inflated),
        ] {
            page.counter(format!("deflate_{name}_total"), help, value);
        }
    }

    fn remembering(&self, page: &mut Page<'_>) {
        let (histories, ids) = (&self.hub.topics.histories, &self.ids);
        page.gauge("history_channels", "Channels with a history.", histories.len() as u64);
        page.gauge("history_messages", "Messages that can be had again.", histories.kept());
        page.gauge("history_bytes", "What histories hold.", histories.bytes() as u64);
        let counts = histories.counts;
        for (name, help, value) in [
            ("history_displaced", "Messages forgotten for newer ones: --history.", counts.displaced),
            ("history_over_channel", "Messages forgotten: their channel held 1 MiB.", counts.over_channel),
            ("history_over_memory", "Messages forgotten: --history-memory.", counts.over_memory),
            ("history_idle", "Channels forgotten: nobody there, nothing said.", counts.idle),
            ("history_replayed", "Messages sent again to those who came back.", counts.replayed),
            ("history_resets", "Times that what was missed could not be had.", counts.resets),
            ("publish_duplicates", "Messages not published: their id was known.", ids.duplicates),
            ("publish_ids_forgotten", "Ids forgotten before their time.", ids.forgotten),
        ] {
            page.counter(format!("{name}_total"), help, value);
        }
    }

    fn labelled(&self, page: &mut Page<'_>) {
        let metrics = &self.metrics;
        let departures = Departure::ALL
            .iter()
            .map(|why| (format!("reason=\"{}\"", why.label()), metrics.departures[*why as usize]));
        page.labelled("departures_total", "Connections that ended, by reason.", departures.collect());
        let refusals = metrics.refusals.iter();
        let refusals =
            refusals.map(|(kind, label, n)| (format!("kind=\"{kind}\",reason=\"{label}\""), n)).collect();
        page.labelled("refusals_total", "What peers did wrong, by kind and reason.", refusals);
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "count": histogram.len(),
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "p99_9": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
    })
}

/// The numbers of all workers, by their names in `/metrics`.
fn in_json(sum: &Sum) -> Value {
    let samples = sum.samples.iter().map(|(name, value)| (name.clone(), json!(value)));
    let times = sum.histograms.iter().map(|(name, histogram)| {
        let name = name.strip_suffix("_seconds").unwrap_or(name);
        (format!("{name}_ns"), quantiles(histogram))
    });
    Value::Object(samples.chain(times).collect())
}

impl<K> Bus<K> {
    fn expose(&self, page: &mut Page<'_>, published: u64) {
        let counts = self.counts;
        page.gauge("bus_links_up", "Other workers that can be told things now.", self.up() as u64);
        page.gauge("bus_queued", "Publications that wait for other workers.", self.queued());
        for (name, help, value) in [
            ("published", "Publications for the other workers.", published),
            ("sent", "Publications written to other workers, one for each.", counts.sent),
            ("lost", "Publications that another worker missed, one for each.", counts.lost),
            ("heard", "Publications that came from other workers.", counts.heard),
            ("links_opened", "Links to other workers that came up.", counts.ups),
            ("links_lost", "Links to other workers that went down.", counts.downs),
            ("stalls", "Links given up because they took nothing.", counts.stalls),
            ("garbled", "Links given up because of what came.", counts.garbled),
            ("full", "Turns in which a link held as much as it may.", counts.full),
        ] {
            page.counter(format!("bus_{name}_total"), help, value);
        }
    }
}
