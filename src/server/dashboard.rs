//! The dashboard: the worker's own numbers, sent to whoever looks.
//!
//! A service says who looks ([`Service::watchers`]) and cannot see the numbers; the worker has them and sends them, in the
//! phase in which things are done by the clock. They are replies and no publication: what the dashboard itself delivers
//! would otherwise stand among what it shows, four small fan-outs a second. Counters are sent as they are, and the page
//! takes the difference; quantiles have no difference, so what was counted is kept here while somebody looks, and
//! subtracted.
//!
//! Invariants: while nobody looks nothing is kept, computed or waited for; who has not read what it was sent is sent
//! nothing more.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::bus::sum::Sum;
use super::connection::Stage;
use super::limits::{ALL_SHOWN, SHOWN};
use super::worker::Worker;
use crate::base::tick::{MILLI, Nanos};
use crate::net::Net;
use crate::service::{Departure, Service};
use crate::ws::Kind;

/// The histograms that are shown, by their names in the sum over all workers.
const TIMES: [&str; 5] = [
    "turn_seconds",
    "fanout_first_seconds",
    "fanout_half_seconds",
    "fanout_p99_seconds",
    "fanout_last_seconds",
];

/// What has been shown last.
#[derive(Debug)]
pub(super) struct Screen {
    next: Nanos,
    next_all: Nanos,
    own: Seen,
    all: Seen,
}

/// Histograms as they were when they were shown last, in the order of [`TIMES`].
#[derive(Debug, Default)]
struct Seen([Option<Histogram<u64>>; TIMES.len()]);

impl Seen {
    /// Count and quantiles of what `times` have got since they were seen last, and remembers them; at first, of nothing.
    fn since(&mut self, times: [Option<&Histogram<u64>>; TIMES.len()], into: &mut Value) {
        for ((name, seen), now) in TIMES.iter().zip(&mut self.0).zip(times) {
            let mut fresh = now.cloned();
            if let Some(fresh) = &mut fresh {
                // A worker that was started again counts from zero: then there is nothing to compare with this time.
                let is_known = seen.as_ref().is_some_and(|seen| fresh.subtract(seen).is_ok());
                if !is_known {
                    fresh.reset();
                }
            }
            let key = format!("{}_ns", name.trim_end_matches("_seconds"));
            into[key] = fresh.as_ref().map_or(Value::Null, quantiles);
            *seen = now.cloned();
        }
    }
}

impl<N: Net, S: Service> Worker<N, S> {
    /// When watchers are to be shown something; `None` while there are none.
    #[inline]
    pub(super) fn next_shown(&self) -> Option<Nanos> {
        if self.service.watchers().is_empty() {
            return None;
        }
        Some(self.screen.as_ref().map_or(self.now, |screen| screen.next))
    }

    /// Shows the watchers the numbers, if it is time.
    #[inline]
    pub(super) fn show(&mut self) {
        match self.next_shown() {
            Some(at) if at <= self.now => self.show_now(),
            Some(_) => {}
            None => self.screen = None,
        }
    }

    fn show_now(&mut self) {
        let first = || Box::new(Screen { next: 0, next_all: 0, own: Seen::default(), all: Seen::default() });
        let mut screen = self.screen.take().unwrap_or_else(first);
        let text = self.picture(&mut screen).to_string();
        screen.next = self.now + SHOWN;
        self.screen = Some(screen);
        for id in self.service.watchers() {
            let Some(connection) = self.roster.get(*id) else { continue };
            if !connection.queue.is_empty() {
                self.metrics.dashboard_skips += 1;
            } else if connection.stage == Stage::Open {
                self.hub.outbox.reply(*id, Kind::Text, text.as_bytes());
            }
        }
    }

    /// What is shown now.
    fn picture(&self, screen: &mut Screen) -> Value {
        let Screen { own, all, next_all, .. } = screen;
        let mut picture = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_ms": (self.now - self.started) / MILLI,
            "here": self.here(own),
        });
        if let Some(bus) = self.bus.as_deref() {
            picture["worker"] = json!({ "index": bus.index(), "count": bus.workers(), "up": bus.up() + 1 });
            if *next_all <= self.now {
                *next_all = self.now + ALL_SHOWN;
                picture["all"] = everywhere(&bus.sum(self.figures(Some(bus))), all);
            }
        }
        picture
    }

    /// This worker's numbers, by their names in `/stats`.
    fn here(&self, seen: &mut Seen) -> Value {
        let (metrics, ledger) = (&self.metrics, &self.hub.ledger);
        let departures = Departure::ALL.iter().map(|why| (why.label(), metrics.departures[*why as usize]));
        let mut here = json!({
            "connections": self.roster.len(),
            "connections_max": self.connections_max,
            "accepted_total": metrics.accepted,
            "messages_in_total": metrics.messages_in,
            "publications_total": ledger.published,
            "deliveries_total": ledger.written,
            "queued": ledger.queued,
            "dropped_total": ledger.dropped,
            "departures": in_json(departures),
            "peers_behind": self.behind.len(),
            "slowest_peers": self.slowest(),
        });
        let fanout = &ledger.fanout;
        let times = [&metrics.turn_ns, &fanout.first, &fanout.half, &fanout.p99, &fanout.last];
        seen.since(times.map(Some), &mut here);
        here
    }
}

/// The numbers of all workers, by their names in `/stats` of one.
fn everywhere(sum: &Sum, seen: &mut Seen) -> Value {
    let sample = |name: &str| sum.samples.get(name).copied().unwrap_or(0);
    let departures = Departure::ALL.iter().map(|why| {
        let label = why.label();
        (label, sample(&format!("departures_total{{reason=\"{label}\"}}")))
    });
    let mut all = json!({
        "connections": sample("connections"),
        "connections_max": sample("connections_max"),
        "accepted_total": sample("accepted_total"),
        "messages_in_total": sample("messages_in_total"),
        "publications_total": sample("published_total"),
        "deliveries_total": sample("written_total"),
        "queued": sample("publications_queued"),
        "dropped_total": sample("dropped_total"),
        "departures": in_json(departures),
    });
    seen.since(TIMES.map(|name| sum.histograms.get(name)), &mut all);
    all
}

fn in_json(counts: impl Iterator<Item = (&'static str, u64)>) -> Map<String, Value> {
    counts.map(|(label, count)| (label.to_owned(), json!(count))).collect()
}

/// Of an interval in which nothing happened, only that.
fn quantiles(fresh: &Histogram<u64>) -> Value {
    if fresh.is_empty() {
        return json!({ "count": 0 });
    }
    json!({
        "count": fresh.len(),
        "p50": fresh.value_at_quantile(0.5),
        "p99": fresh.value_at_quantile(0.99),
        "max": fresh.max(),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::base::id::ConnId;
    use crate::base::tick::SECOND;
    use crate::net::{Peer, Ready};
    use crate::server::Config;
    use crate::service::builtin::Builtin;

    /// A system with one peer, in which only time passes: a wait takes as long as it may.
    #[derive(Default)]
    struct Alone {
        now: Nanos,
        /// Where the next wait ends at the latest.
        until: Nanos,
        waits: usize,
        id: Option<ConnId>,
        knocks: bool,
        says: Vec<u8>,
        hears: Vec<u8>,
        is_full: bool,
    }

    #[derive(Clone, Default)]
    struct Stub(Rc<RefCell<Alone>>);

    impl Net for Stub {
        type Socket = ();

        fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()> {
            let mut alone = self.0.borrow_mut();
            alone.waits += 1;
            if let Some(id) = alone.id.filter(|_| !alone.says.is_empty()) {
                ready.push(Ready::Connection { id, readable: true, writable: !alone.is_full, closed: false });
                return Ok(());
            }
            let asked = timeout.map_or(Nanos::MAX, |timeout| timeout.as_nanos() as Nanos);
            alone.now = alone.now.saturating_add(asked).min(alone.until);
            Ok(())
        }
        fn now(&self) -> Nanos {
            self.0.borrow().now
        }
        fn entropy(&mut self) -> u64 {
            0
        }
        fn listeners(&self) -> usize {
            1
        }
        fn accept(&mut self, _: usize, id: ConnId) -> io::Result<()> {
            let mut alone = self.0.borrow_mut();
            if !std::mem::take(&mut alone.knocks) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            alone.id = Some(id);
            Ok(())
        }
        fn peer(&self, (): &()) -> Peer {
            Peer::Local
        }
        fn recv(&mut self, (): &mut (), into: &mut [u8]) -> io::Result<usize> {
            let mut alone = self.0.borrow_mut();
            if alone.says.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let said = std::mem::take(&mut alone.says);
            into[..said.len()].copy_from_slice(&said);
            Ok(said.len())
        }
        fn send(&mut self, (): &mut (), bytes: &[u8]) -> io::Result<usize> {
            let mut alone = self.0.borrow_mut();
            if alone.is_full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            alone.hears.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn send_vectored(&mut self, socket: &mut (), slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.send(socket, &bytes)
        }
        fn finish(&mut self, (): &mut ()) {}
        fn close(&mut self, (): ()) {}
        fn stop_listening(&mut self) {}
    }

    /// A worker with one peer at `path`, and the world around it.
    fn with_peer_at(path: &str) -> (Worker<Stub, Builtin>, Stub) {
        let stub = Stub::default();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        *stub.0.borrow_mut() = Alone {
            now: SECOND,
            until: SECOND,
            knocks: true,
            says: request.into_bytes(),
            ..Alone::default()
        };
        let config = Config { ping_interval: 0, ..Config::default() };
        let mut worker = Worker::new(stub.clone(), Builtin::default(), config, 10);
        let upgraded = |stub: &Stub| stub.0.borrow().hears.starts_with(b"HTTP/1.1 101 ");
        while !upgraded(&stub) {
            worker.turn().expect("waiting never fails here");
            assert!(stub.0.borrow().waits < 100, "never let in");
        }
        // The handshake's own deadline stands in the wheel until it has passed.
        spend(&mut worker, &stub, 60 * SECOND);
        (worker, stub)
    }

    /// Lets time pass, and says how many turns were taken and how many bytes were sent in it.
    fn spend(worker: &mut Worker<Stub, Builtin>, stub: &Stub, time: Nanos) -> (usize, usize) {
        let (turns, bytes) = {
            let mut alone = stub.0.borrow_mut();
            alone.until += time;
            (alone.waits, alone.hears.len())
        };
        while stub.0.borrow().now < stub.0.borrow().until {
            worker.turn().expect("waiting never fails here");
        }
        (stub.0.borrow().waits - turns, stub.0.borrow().hears.len() - bytes)
    }

    #[test]
    fn while_nobody_looks_nothing_is_sent_published_or_waited_for() {
        let (mut worker, stub) = with_peer_at("/broadcast");
        assert_eq!(spend(&mut worker, &stub, 10 * SECOND), (1, 0), "it sleeps through");
        assert!(worker.screen.is_none() && worker.timeout().is_none());
        assert_eq!(worker.hub.ledger.published, 0);
    }

    #[test]
    fn a_watcher_is_shown_the_numbers_four_times_a_second_and_nothing_is_left_behind_by_it() {
        let (mut worker, stub) = with_peer_at("/dashboard");
        let (turns, bytes) = spend(&mut worker, &stub, 10 * SECOND);
        assert!((40..=81).contains(&turns), "{turns} turns in ten seconds");
        let heard = stub.0.borrow().hears.clone();
        let heard = String::from_utf8_lossy(&heard[heard.len() - bytes..]).into_owned();
        let shown = heard.matches("\"here\":").count();
        assert_eq!(shown, 40);
        assert_eq!(
            (worker.hub.ledger.published, worker.hub.topics.len()),
            (0, 0),
            "these are no publications"
        );

        stub.0.borrow_mut().says = b"\x88\x80\0\0\0\0".to_vec();
        spend(&mut worker, &stub, SECOND);
        spend(&mut worker, &stub, 60 * SECOND);
        assert_eq!(spend(&mut worker, &stub, 10 * SECOND), (1, 0), "it sleeps through again");
        assert!(worker.screen.is_none() && worker.timeout().is_none());
    }

    #[test]
    fn a_watcher_that_does_not_read_is_sent_nothing_more() {
        let (mut worker, stub) = with_peer_at("/dashboard");
        stub.0.borrow_mut().is_full = true;
        spend(&mut worker, &stub, 10 * SECOND);
        assert_eq!(worker.metrics.dashboard_skips, 39, "the first of forty waits, the others were not made");
    }

    #[test]
    fn of_an_interval_only_what_happened_in_it_is_counted() {
        let mut turns = Histogram::<u64>::new_with_bounds(1_000, 60 * SECOND, 3).unwrap();
        turns.record(5 * SECOND).unwrap();
        let mut seen = Seen::default();
        let mut shown = |turns: &Histogram<u64>| {
            let mut into = json!({});
            seen.since([Some(turns), None, None, None, None], &mut into);
            assert_eq!(into["fanout_last_ns"], Value::Null);
            into["turn_ns"].clone()
        };
        assert_eq!(shown(&turns), json!({ "count": 0 }), "before the first time nothing is known");
        (0..3).for_each(|_| turns.record(1_000_000).unwrap());
        let fresh = shown(&turns);
        assert_eq!(fresh["count"], 3);
        assert!(fresh["max"].as_u64().unwrap() < 1_100_000, "{fresh}: what was before does not count");
        assert_eq!(shown(&turns), json!({ "count": 0 }));
        turns.reset();
        turns.record(1_000).unwrap();
        assert_eq!(shown(&turns), json!({ "count": 0 }), "it was started again");
    }
}
