//! The worker: the whole server as one function of named phases.
//!
//! Start reading here, at [`Worker::turn`]. Each phase borrows what it needs, finishes, and hands on a list. No
//! callback runs inside another borrow, and nothing is freed in the middle of a phase. Reading comes first and fills
//! the outbox; delivering after *all* reads lets what one peer is owed leave in one write; reaping comes last, so
//! that no slot is reused while an event of this turn still names it. A phase that runs out of budget leaves its
//! remainder listed, and the next wait does not sleep: a publication to fifty thousand peers is written in slices,
//! and heartbeats go on in between.
//!
//! Invariants: `now` is read once a turn; what else reads the clock only measures (a slice, the turn); whoever
//! is still doomed after a turn is served no more; and whatever is pending keeps the next wait from sleeping.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::admission::Gate;
use super::batch::Ids;
use super::bus::Bus;
use super::config::Config;
use super::connection::{Connection, Stage};
use super::dashboard::Screen;
use super::deflate::Deflation;
use super::departing::Farewell;
use super::heartbeat::Places;
use super::limits::{BEHIND_KEEP, HOUSEKEEPING, POOL_BYTES_MAX, RECEIVE_BYTES, STALL};
use super::metrics::Metrics;
use super::roster::Roster;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::base::pool::Pool;
use crate::base::tick::{Nanos, SECOND, Tick};
use crate::base::wheel::Wheel;
use crate::hub::Hub;
use crate::hub::compressors::Compressors;
use crate::hub::history::Histories;
use crate::net::{Net, Ready, Signal};
use crate::service::{Departure, Service};

/// A day, in nanoseconds.
const DAY: Nanos = 86_400 * SECOND;

/// One process's share of the server: everything it knows.
pub struct Worker<N: Net, S: Service> {
    pub(super) net: N,
    pub(super) service: S,
    pub(super) config: Config,
    pub(super) hub: Hub,
    pub(super) roster: Roster<N::Socket>,
    pub(super) wheel: Wheel,
    pub(super) pool: Pool,
    pub(super) metrics: Metrics,
    pub(super) deflation: Deflation,
    /// The moment of this turn.
    pub(super) now: Nanos,
    pub(super) started: Nanos,
    pub(super) connections_max: usize,
    pub(super) gate: Gate,
    /// What was published by HTTP lately, by the ids of those who may say it again.
    pub(super) ids: Ids,
    /// What is served as the client of Socket.IO.
    pub(super) client: Option<Rc<[u8]>>,
    /// The other workers of this machine, if there are any.
    pub(super) bus: Option<Box<Bus<N::Socket>>>,

    ready: Vec<Ready>,
    pub(super) due: Vec<(Tick, ConnId)>,
    /// The loop's receive buffer: lent to one connection at a time.
    pub(super) buffer: Vec<u8>,
    /// Who may have something to read, or bytes to decode.
    pub(super) readable: VecDeque<ConnId>,
    /// Whose socket has room again.
    pub(super) writable: VecDeque<ConnId>,
    /// For whom something waits, and since when; who has caught up may still stand here.
    pub(super) behind: HashMap<ConnId, Tick>,
    /// Who is to be reaped, in this order.
    pub(super) doomed: VecDeque<ConnId>,
    /// Listeners at which somebody may be waiting.
    pub(super) knocking: Vec<bool>,
    /// Nobody is accepted before this moment: the system has nothing left.
    pub(super) accept_again: Option<Nanos>,
    /// Our share of the listeners is closed: the other workers take who comes.
    pub(super) is_resting: bool,
    /// The log has said that the limit of connections is near.
    pub(super) is_crowded: bool,
    /// Who is pinged with whom.
    pub(super) places: Places,
    /// When our last own stall ended.
    pub(super) awake_since: Tick,
    /// Saying goodbye to everybody.
    pub(super) farewell: Option<Farewell>,
    /// What the dashboard's watchers were shown last, while there are any.
    pub(super) screen: Option<Box<Screen>>,
    housekeeping: Nanos,
}

/// What a turn found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// From waking to here, in nanoseconds.
    pub elapsed_ns: Nanos,
    /// Whether everybody has gone and nothing is left to do.
    pub is_over: bool,
    /// Whether the process was told a second time to stop.
    pub is_forced: bool,
}

impl<N: Net, S: Service> Worker<N, S> {
    /// A worker over `net`, which listens already, with room for `connections_max` peers.
    pub fn new(mut net: N, service: S, config: Config, connections_max: usize) -> Self {
        let now = net.now();
        let chance = net.entropy();
        let bus = config.place.as_ref().map(|place| Box::new(Bus::new(place, chance, now)));
        let knocking = vec![true; net.listeners()];
        let mut hub = Hub::new(Compressors::new(config.deflate.min));
        hub.topics.histories = Histories::new(config.history, chance);
        if bus.is_some() {
            hub.open_abroad();
        }
        Self {
            net,
            service,
            gate: Gate::new(&config.admission),
            ids: Ids::default(),
            client: None,
            bus,
            config,
            hub,
            roster: Roster::default(),
            wheel: Wheel::new(Tick::of(now)),
            places: Places::new(chance),
            pool: Pool::new(POOL_BYTES_MAX),
            metrics: Metrics::default(),
            deflation: Deflation::default(),
            now,
            started: now,
            connections_max,
            ready: Vec::new(),
            due: Vec::new(),
            buffer: vec![0; RECEIVE_BYTES],
            readable: VecDeque::new(),
            writable: VecDeque::new(),
            behind: HashMap::new(),
            doomed: VecDeque::new(),
            knocking,
            accept_again: None,
            is_resting: false,
            is_crowded: false,
            awake_since: Tick::of(now),
            farewell: None,
            screen: None,
            housekeeping: now + HOUSEKEEPING,
        }
    }

    /// One turn of the loop: wait, then let every phase do a bounded amount of work.
    ///
    /// # Errors
    /// Only when waiting itself fails, which ends the server.
    pub fn turn(&mut self) -> io::Result<Turn> {
        let timeout = self.timeout();
        self.net.wait(&mut self.ready, timeout)?;
        self.wake(timeout);

        let is_forced = self.sort();
        self.accept(); // listeners → connections
        self.receive(); // sockets   → events → services → outbox
        self.expire(); // wheel     → pings, closes → outbox
        self.correspond(); // links     ↔ letters of other workers
        self.deliver(); // outbox    → sockets; topics → subscribers, a slice at a time
        self.flush(); // sockets that became writable again
        self.reap(); // doomed    → nothing left behind

        let elapsed_ns = self.net.now().saturating_sub(self.now);
        self.metrics.turned(elapsed_ns);
        Ok(Turn { elapsed_ns, is_over: self.farewell.is_some() && self.roster.is_empty(), is_forced })
    }

    /// Everything that is known from outside: counters and the ledger.
    #[must_use]
    pub const fn metrics(&self) -> (&Metrics, &Hub) {
        (&self.metrics, &self.hub)
    }

    /// How long the next wait may sleep: not at all while work is pending, else until the next deadline.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let is_knocked = self.accept_again.is_none() && self.knocking.contains(&true) && !self.is_joining();
        let is_listed = !self.readable.is_empty() || !self.writable.is_empty();
        if is_knocked || is_listed || !self.doomed.is_empty() || self.hub.is_busy() {
            return Some(Duration::ZERO);
        }
        if self.bus.as_ref().is_some_and(|bus| bus.is_busy()) {
            return Some(Duration::ZERO);
        }
        let tidy = (self.pool.kept_bytes() > 0 || self.is_roomy()).then_some(self.housekeeping);
        let expiry = self.wheel.next_due().map(|tick| self.now + tick.until(self.now));
        let farewell = self.farewell.as_ref().map(|farewell| farewell.next_ns());
        let service = self.service.next_due().filter(|_| !is_made(Mutation::TickOverslept));
        let bus = self.bus.as_ref().map(|bus| bus.next_ns(self.now));
        let history = self.hub.topics.histories.next_due();
        let moments = [tidy, expiry, farewell, self.accept_again, service, bus, history, self.next_shown()];
        let soonest = moments.into_iter().flatten().min()?;
        Some(Duration::from_nanos(soonest.saturating_sub(self.now)))
    }

    /// Takes the time, and notices when we were not running although we should have been.
    fn wake(&mut self, timeout: Option<Duration>) {
        let before = self.now;
        self.now = self.net.now();
        let slept_max = timeout.map_or(Nanos::MAX, |slept| slept.as_nanos() as Nanos);
        let away = self.now.saturating_sub(before);
        // What became ready would have woken us before the time was over, had we been asleep and not stopped.
        let is_overslept = away >= slept_max && slept_max >= STALL && !self.ready.is_empty();
        if is_overslept || away > slept_max.saturating_add(STALL) {
            self.metrics.stalls += 1;
            self.awake_since = Tick::of(if is_made(Mutation::OwnStallBlamed) { 0 } else { self.now });
        }
        // Ticks are compared within 248 days; a day is as long ago as anybody asks.
        let day_ago = Tick::of(self.now.saturating_sub(DAY));
        if self.awake_since.is_before(day_ago) {
            self.awake_since = day_ago;
        }
        if self.now >= self.housekeeping {
            self.housekeeping = self.now + HOUSEKEEPING;
            self.pool.trim();
            if self.is_roomy() {
                self.behind.shrink_to(2 * self.behind.len().max(BEHIND_KEEP));
            }
        }
    }

    /// Whether the list of those who are behind has far more room than they need: many were, once.
    fn is_roomy(&self) -> bool {
        self.behind.capacity() > 4 * self.behind.len().max(BEHIND_KEEP)
    }

    /// Sorts what became ready into the lists of the phases. Returns whether we were told twice to stop.
    fn sort(&mut self) -> bool {
        let mut is_forced = false;
        let mut ready = std::mem::take(&mut self.ready);
        for event in ready.drain(..) {
            match event {
                Ready::Listener(listener) => {
                    if let Some(knocking) = self.knocking.get_mut(listener) {
                        *knocking = true;
                    }
                }
                Ready::Sibling => {
                    if let Some(bus) = &mut self.bus {
                        bus.called();
                    }
                }
                Ready::Connection { id, readable, writable, .. } if id.link().is_some() => {
                    if let Some(bus) = &mut self.bus {
                        bus.ready(id, readable, writable);
                    }
                }
                Ready::Connection { id, readable, writable, closed } => {
                    let Some(connection) = self.roster.get(id) else { continue };
                    connection.facts.closed |= closed;
                    if readable {
                        connection.facts.readable = true;
                        self.list_readable(id);
                    }
                    if writable && !is_made(Mutation::LostEdge) {
                        self.list_writable(id);
                    }
                }
                Ready::Signal(Signal::Stop) if self.farewell.is_some() => is_forced = true,
                Ready::Signal(Signal::Stop) => self.say_goodbye(),
                Ready::Signal(Signal::Reload) => self.reload(),
            }
        }
        self.ready = ready;
        is_forced
    }

    /// Reads again what files have told at the start: certificate and tokens. Who is in stays in.
    fn reload(&mut self) {
        let certificate = self.net.reload();
        match &certificate {
            Ok(Some(done)) => tracing::info!("{done}"),
            Ok(None) => {}
            Err(why) => tracing::warn!("{why}"),
        }
        if !self.reload_tokens() && matches!(certificate, Ok(None)) {
            tracing::info!("nothing to reload");
        }
    }

    /// Puts `id` on the list of those to be read from, once.
    pub(super) fn list_readable(&mut self, id: ConnId) {
        if let Some(connection) = self.roster.get(id)
            && !connection.facts.listed
        {
            connection.facts.listed = true;
            self.readable.push_back(id);
        }
    }

    /// Has `id` reaped, at the end of this turn if there is time. From anywhere, any number of times; the first reason counts.
    pub(super) fn doom(&mut self, id: ConnId, why: Departure) {
        if let Some(connection) = self.roster.get(id) {
            Self::doom_one(connection, id, why, &mut self.doomed);
        }
    }

    /// The same where the worker is borrowed by field.
    pub(super) fn doom_one(
        connection: &mut Connection<N::Socket>,
        id: ConnId,
        why: Departure,
        doomed: &mut VecDeque<ConnId>,
    ) {
        if connection.stage != Stage::Doomed {
            connection.stage = Stage::Doomed;
            connection.parting = why;
            doomed.push_back(id);
        }
    }

    /// Has the wheel come back to `id` at `at`, unless it does so sooner anyway.
    pub(super) fn arm(&mut self, id: ConnId, at: Tick) {
        let Some(connection) = self.roster.get(id) else { return };
        if !connection.facts.armed || at.is_before(connection.armed) {
            connection.facts.armed = true;
            connection.armed = self.wheel.arm(id, at);
        }
    }
}
