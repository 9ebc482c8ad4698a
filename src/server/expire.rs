//! The third phase: the wheel → pings, deadlines, what services do by the clock, and the dashboard.
//!
//! Invariant: a connection has one live entry in the wheel; others that come up are stale and are dropped.

use super::connection::{Connection, Exchange, Session, Stage};
use super::heartbeat::{Verdict, Vitals, next};
use super::limits::{EXPIRIES_MAX, REPLY_BYTES_SOFT_MAX};
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::base::tick::{SECOND, TICK, Tick};
use crate::http::Refusal;
use crate::net::Net;
use crate::service::{Ctx, Departure, Service};

/// A day.
const DAY_TICKS: u32 = (86_400 * SECOND / TICK) as u32;

impl<N: Net, S: Service> Worker<N, S> {
    /// Looks at whoever came up, and lets the service do what is due.
    pub(super) fn expire(&mut self) {
        self.hub.topics.histories.tick(self.now);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(Tick::of(self.now), EXPIRIES_MAX, &mut due);
        self.metrics.expiries_cut += u64::from(due.len() == EXPIRIES_MAX);
        for (tick, id) in due.drain(..) {
            let Some(connection) = self.roster.get(id) else { continue };
            if connection.facts.armed && connection.armed == tick {
                connection.facts.armed = false;
                self.look_at(id);
            }
        }
        self.due = due;
        if !self.is_congested() && self.service.next_due().is_some_and(|at| at <= self.now) {
            self.service.due(&mut Ctx::new(ConnId::NONE, 0, self.now, &mut self.hub));
        }
        self.show();
        self.go_on_with_goodbye();
    }

    fn look_at(&mut self, id: ConnId) {
        let now = Tick::of(self.now);
        let place = self.places.of(id.index);
        let Some(connection) = self.roster.get(id) else { return };
        if connection.facts.readable || connection.facts.undecoded {
            // What it sent waits in our own buffers: whatever it is, the peer is alive.
            connection.last_heard = now;
        }
        if connection.facts.has_deadline && connection.is_unread() {
            // What is missing may be here, and it is we who do not read it: the time for it begins again.
            let time = match connection.session {
                Session::Http(_) => self.config.handshake_timeout,
                Session::Ws(_) => self.config.message_timeout,
            };
            let later = now.after(time);
            if connection.deadline.is_before(later) {
                connection.deadline = later;
            }
        }
        match next(&connection.vitals(), now, self.awake_since, place, &self.config) {
            Verdict::Rest => {}
            Verdict::Wait(_) if is_made(Mutation::TimerNotRearmed) => {}
            Verdict::Wait(at) => self.arm(id, at),
            Verdict::Ping(back) => {
                connection.pinged = now;
                connection.facts.pinged = true;
                // Ticks are compared within 248 days; what is older than a day is as old as a day.
                if now.since(connection.moved) > DAY_TICKS || now.is_before(connection.moved) {
                    connection.moved = Tick(now.0.wrapping_sub(DAY_TICKS));
                }
                self.metrics.pings += 1;
                self.hub.outbox.ping(id, b"");
                self.arm(id, back);
            }
            // Only once: who has been told and does not go is let go like everybody else.
            Verdict::Depart(Departure::HandshakeTimeout)
                if connection.stage == Stage::Open || is_made(Mutation::ToldForEver) =>
            {
                self.head_timed_out(id);
            }
            Verdict::Depart(Departure::MessageTimeout) => self.message_timed_out(id),
            Verdict::Depart(why) => self.doom(id, why),
        }
    }

    /// A request that does not end: whoever sent a part of one is told so, whoever said nothing is not.
    fn head_timed_out(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        match &connection.session {
            Session::Http(None) if connection.facts.requested => self.doom(id, Departure::Closed),
            Session::Http(None) => self.doom(id, Departure::HandshakeTimeout),
            Session::Http(Some(exchange)) => {
                let refusal = match **exchange {
                    Exchange::Head(_) => Refusal::HeadTimeout,
                    Exchange::Posting(_) | Exchange::Asking(_) => Refusal::BodyTimeout,
                    // It may take as long as it takes: the service has deadlines of its own.
                    Exchange::Waiting(_) => return,
                };
                self.refuse(id, refusal, Departure::HandshakeTimeout);
            }
            Session::Ws(_) => {}
        }
    }
}

impl<K> Connection<K> {
    /// Whether it has sent more, which waits because its answers wait: until it reads them, or is given up because it does not.
    fn is_unread(&self) -> bool {
        let waits = self.facts.readable && self.queue.holds_replies(REPLY_BYTES_SOFT_MAX / 2);
        waits && self.stage == Stage::Open
    }

    fn vitals(&self) -> Vitals {
        let end = match (self.stage, &self.session) {
            (Stage::Open, Session::Http(_)) => Departure::HandshakeTimeout,
            (Stage::Open, Session::Ws(_)) => Departure::MessageTimeout,
            (Stage::Closing, _) => Departure::CloseTimeout,
            (Stage::Finishing | Stage::Doomed, _) => self.parting,
        };
        Vitals {
            last_heard: self.last_heard,
            pinged: self.facts.pinged.then_some(self.pinged),
            is_pinged: self.stage == Stage::Open && matches!(self.session, Session::Ws(_)),
            deadline: self.facts.has_deadline.then_some((self.deadline, end)),
            moved: self.moved,
            stalled: (!self.queue.is_empty()).then_some(self.progress),
        }
    }
}
