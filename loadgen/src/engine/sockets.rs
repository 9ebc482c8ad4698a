//! The loop's dealings with sockets: connecting, reading, losing.
//!
//! Why apart: here it is decided what an ended connection counts as, and that must be in one place: before it was
//! open it has *failed*, afterwards it was *dropped*, and when we closed it, it is simply gone.
//!
//! Invariants: each client is counted connected or failed exactly once; `connected` is the number of open clients.

use super::clock::now_ns;
use super::{ALARM, Loop, Phase, WAKER, slowness};
use crate::client::{self, Progress, State};
use crate::plan::{Model, Scenario};
use mio::{Events, Interest, Token};
use std::cell::Cell;

/// Connections begun in one turn.
const CONNECTS_MAX: usize = 64;

impl Loop<'_> {
    /// Hands every event to its client.
    pub(super) fn dispatch(&mut self) {
        // Taken out, so that clients may be changed while events are looked at; put back with its allocation.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                ALARM | WAKER => {}
                Token(local) => {
                    let ended = event.is_read_closed() || event.is_error();
                    // A slow client's socket is read when its time comes, unless it is broken.
                    let readable =
                        if self.is_held(local) { event.is_error() } else { event.is_readable() || ended };
                    self.ready(local, readable, event.is_writable() || ended, ended);
                }
            }
        }
        self.events = events;
    }

    /// A client's socket is ready.
    fn ready(&mut self, local: usize, readable: bool, writable: bool, ended: bool) {
        let client = &mut self.clients[local];
        if writable && client.state() == State::Connecting {
            let (handshake, request) =
                (self.asking.handshake(local as u32), self.asking.request(local as u32));
            if let Err(why) = client.connected(&handshake, &request, &mut self.lent) {
                return self.lose(local, &why);
            }
        }
        if writable && self.clients[local].is_blocked() {
            match self.clients[local].flush() {
                Ok(()) => self.send_waiting(local as u32),
                Err(why) => return self.lose(local, &why),
            }
        }
        if readable {
            self.read(local, ended);
        }
    }

    /// Reads a client dry; then sends what has come due meanwhile, so that a burst does not delay the schedule.
    pub(super) fn read(&mut self, local: usize, ended: bool) {
        let global = self.assignment.global(local as u32);
        let client = &mut self.clients[local];
        let before = client.state();
        let (measure, round, publishing) = (&mut self.measure, &mut self.round, &mut self.publishing);
        let (asking, assignment, plan) = (&self.asking, &self.assignment, self.plan);
        let is_closed_model = matches!(plan.model, Model::Closed { .. });
        let read_ns = Cell::new(0);
        let clock = || {
            read_ns.set(now_ns());
            read_ns.get()
        };
        let progress = client.read(
            &mut self.lent,
            ended,
            || (asking.handshake(local as u32), asking.request(local as u32)),
            clock,
            |heard| {
                let marker = measure.deliver(local, global, heard);
                if let (true, Some(marker)) = (is_closed_model, marker) {
                    round.heard(&marker, plan, assignment, global, publishing, heard.now_ns);
                }
            },
        );
        let read_ns = read_ns.get();
        match progress {
            Progress::None => {}
            Progress::Opened => self.opened(local, read_ns),
            Progress::Gone(why) => self.lost(local, before, &why),
        }
        if read_ns > 0 && before == State::Open && self.is_running() {
            if self.is_measured() {
                self.receive_lag.record(read_ns.saturating_sub(self.woke_ns));
            }
            if read_ns >= self.publishing.next_due_ns() {
                self.publish();
            }
        }
    }

    /// A handshake is complete.
    fn opened(&mut self, local: usize, now_ns: u64) {
        if self.is_moving() {
            self.returned(local, now_ns);
            if self.phase == Phase::Closing {
                self.clients[local].close(&mut self.lent);
            }
            return;
        }
        let client = &mut self.clients[local];
        self.handshake.record(now_ns.saturating_sub(client.started_ns));
        self.connected += 1;
        self.measure.counts.connected += 1;
        if self.plan.deflate {
            self.measure.counts.note_extension(client.deflate());
        }
        self.measure.counts.last_connected_ns = now_ns;
        if self.plan.scenario == Scenario::Connect {
            client.close(&mut self.lent); // settled when it is gone, so that descriptors are free again
        } else {
            self.connecting.settle();
        }
        if self.phase == Phase::Closing {
            self.clients[local].close(&mut self.lent);
        }
    }

    /// Ends a connection from our side, because it is broken.
    pub(super) fn lose(&mut self, local: usize, why: &str) {
        let before = self.clients[local].state();
        self.clients[local].drop_connection();
        self.lost(local, before, why);
    }

    /// A connection that stood at `before` is gone.
    fn lost(&mut self, local: usize, before: State, why: &str) {
        debug_assert_eq!(self.clients[local].state(), State::Gone, "it was dropped by who noticed");
        // Whoever goes while the others are told goodbye is not missed either.
        let before =
            if before == State::Open && self.phase == Phase::Closing { State::Closing } else { before };
        if self.is_moving() {
            return self.parted(local, before, why);
        }
        match before {
            State::New | State::Connecting | State::Handshaking | State::Entering => {
                self.connecting.settle();
                if self.phase != Phase::Closing {
                    self.measure.counts.failed += 1;
                    self.measure.counts.note_failure(why);
                }
            }
            State::Open => {
                self.connected -= 1;
                self.measure.counts.dropped += 1;
                self.measure.counts.note_failure(why);
            }
            State::Closing => {
                self.connected -= 1;
                if self.plan.scenario == Scenario::Connect {
                    self.connecting.settle();
                }
            }
            State::Gone => {}
        }
    }

    /// Begins the connections that the ramp allows.
    pub(super) fn connect(&mut self) {
        if self.phase != Phase::Connecting {
            return;
        }
        let now_ns = now_ns();
        for _ in 0..CONNECTS_MAX {
            let Some(local) = self.connecting.take_next(now_ns) else { return };
            if self.measure.counts.first_attempt_ns == 0 {
                self.measure.counts.first_attempt_ns = now_ns;
            }
            if let Err(error) = self.open(local) {
                self.lose(local as usize, &client::reason(&error));
            }
        }
    }

    pub(super) fn open(&mut self, local: u32) -> std::io::Result<()> {
        let address = self.asking.target(local).address;
        let address = address.ok_or_else(|| std::io::Error::other("the target was not resolved"))?;
        let started_ns = now_ns();
        let is_slow = self.measure.population.is_slow(local as usize);
        let receive_buffer = is_slow.then_some(slowness::BUFFER_BYTES);
        let stream = client::open(address, self.asking.source(local), receive_buffer)?;
        let mut stream = self.asking.clothe(local, stream)?;
        // Registered once, edge-triggered, for its whole life.
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream.tcp(), Token(local as usize), both)?;
        self.clients[local as usize].begin(stream, started_ns);
        Ok(())
    }

    /// Gives up on handshakes that take too long.
    pub(super) fn expire(&mut self, now_ns: u64) {
        let until_gone = self.plan.scenario == Scenario::Connect;
        let is_done = |state| match state {
            State::New | State::Connecting | State::Handshaking | State::Entering => false,
            State::Open | State::Closing => !until_gone,
            State::Gone => true,
        };
        while let Some(local) = self.connecting.expired(&self.clients, now_ns, is_done) {
            let why = self.clients[local as usize].overdue();
            self.lose(local as usize, why);
        }
    }
}
