//! What a WebSocket peer says, and what follows from it.
//!
//! Events are lent from the window, handled, and forgotten; answers go to the outbox. Decoding pauses when enough
//! has been answered for this turn, so that a peer that sends a hundred thousand pings in one write delays nobody.
//!
//! Invariant: the good messages before a bad frame are handled before the connection fails.

use super::connection::{Facts, Session, Stage};
use super::limits::{
    INFLATE_PEER_BYTES_MAX, LINGER, OUTBOX_BYTES_MAX, REPLY_BYTES_SOFT_MAX, WAITING_BYTES_MAX,
};
use super::repeat::Line;
use super::worker::Worker;
use crate::base::counting::COUNTING;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::base::tick::Tick;
use crate::hub::dialect::Dialect;
use crate::net::Net;
use crate::service::{Ctx, Departure, Service};
use crate::ws::{CloseCode, Cursor, Event, Limits, Violation};

/// Why decoding stopped.
pub(super) enum Halt {
    /// Everything has been decoded.
    Hungry,
    /// Enough for this turn.
    Sated,
    /// The peer's close frame came, with this code and reason.
    Closed(Option<(CloseCode, Box<str>)>),
    /// Its own message does not fit back into its socket.
    Stalled,
    /// Its stream is broken.
    Reset,
    /// It broke the protocol.
    Broken(Violation),
}

impl Halt {
    fn closed(body: Option<(CloseCode, &str)>) -> Self {
        Self::Closed(body.map(|(code, reason)| (code, reason.into())))
    }
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Decodes `bytes` and serves what is in them.
    pub(super) fn converse(&mut self, id: ConnId, bytes: &mut [u8], cursor: &mut Cursor) {
        let limits = self.limits_of(id);
        match self.decode(id, bytes, cursor, &limits) {
            Halt::Hungry => {
                let is_clear = cursor.is_clear(bytes.len());
                self.watch_unfinished(id, is_clear);
            }
            Halt::Sated => {
                if let Some(connection) = self.roster.get(id) {
                    connection.facts.undecoded = true;
                }
            }
            Halt::Stalled => {
                if let Some(connection) = self.roster.get(id) {
                    connection.facts.undecoded = true;
                }
                self.watch_stall(id);
            }
            Halt::Reset => self.doom(id, Departure::Reset),
            Halt::Closed(body) => {
                self.heard_close(id, body.as_ref().map(|(code, reason)| (*code, &**reason)));
            }
            Halt::Broken(violation) => {
                // Also where the decoder has not found it: nothing of the window is needed any more.
                *cursor = Cursor::behind(bytes.len());
                self.metrics.refusals.count("violation", violation.label());
                tracing::debug!(connection = id.serial, %violation, "a peer broke the protocol");
                let code = violation.close_code();
                let code = if is_made(Mutation::WrongCode) { CloseCode::PROTOCOL_ERROR } else { code };
                self.fail(id, code, &violation.to_string(), Departure::Violation);
            }
        }
    }

    /// What `id` may send at most: its service may have a bound of its own.
    fn limits_of(&mut self, id: ConnId) -> Limits {
        let tag = self.roster.get(id).map_or(0, |connection| connection.tag);
        self.config.ws.with_message_max(self.service.message_max(tag))
    }

    fn decode(&mut self, id: ConnId, bytes: &mut [u8], cursor: &mut Cursor, limits: &Limits) -> Halt {
        let Self { net, roster, service, hub, metrics, deflation, now, .. } = self;
        let Some(connection) = roster.get(id) else { return Halt::Hungry };
        let Session::Ws(decoder) = &mut connection.session else { return Halt::Hungry };
        let mut is_open = connection.stage == Stage::Open;
        // Bounds what one window can make us answer: the rest is decoded in the next turn.
        let outbox_max = (hub.outbox.len() + REPLY_BYTES_SOFT_MAX).max(OUTBOX_BYTES_MAX);
        let inflated_max = deflation.work + INFLATE_PEER_BYTES_MAX;
        loop {
            if hub.outbox.len() > outbox_max || deflation.work > inflated_max {
                metrics.turns_cut += 1;
                return Halt::Sated;
            }
            let (kind, payload) = match decoder.decode(bytes, cursor, limits) {
                Ok(None) => return Halt::Hungry,
                Ok(Some(Event::Close(body))) => return Halt::closed(body),
                Ok(Some(_)) if !is_open => continue,
                Ok(Some(Event::Message { kind, payload })) => (kind, payload),
                Ok(Some(Event::Compressed { kind, payload })) => {
                    match deflation.inflate(connection.memory.as_deref_mut(), kind, payload, limits) {
                        Ok(inflated) => (kind, inflated),
                        Err(violation) => return Halt::Broken(violation),
                    }
                }
                // Any byte is a sign of life; a pong says nothing more.
                Ok(Some(event @ (Event::Ping(_) | Event::Pong(_)))) => {
                    if let Event::Ping(payload) = event {
                        hub.outbox.pong(id, payload);
                    }
                    connection.facts.has_deadline &= !decoder.is_idle();
                    continue;
                }
                Err(violation) => return Halt::Broken(violation),
            };
            metrics.messages_in += u64::from(COUNTING);
            connection.facts.has_deadline = false;
            let waiting = hub.topics.waiting_bytes();
            let mut line = Line {
                socket: &mut connection.socket,
                facts: &mut connection.facts,
                queue: &mut connection.queue,
                is_raw: connection.dialect == Dialect::Raw,
            };
            let is_lent = line.lend(&mut hub.outbox, id, payload);
            service.message(&mut Ctx::new(id, connection.tag, *now, hub), kind, payload);
            // Whom the service has just closed it need not hear any more.
            is_open = !hub.outbox.is_closing(id);
            let publishes = hub.topics.waiting_bytes() > waiting;
            line.facts.publishes |= publishes;
            if is_lent
                && let Some(kind) = hub.outbox.repeated()
                && let Err(halt) = line.repeat(net, metrics, kind, payload)
            {
                return halt;
            }
            if publishes && hub.topics.waiting_bytes() >= WAITING_BYTES_MAX {
                return Halt::Sated;
            }
        }
    }

    /// What has begun and is not complete has a deadline, which no further byte moves: neither dribbled ones nor pings
    /// between fragments. It costs nothing more than that: the deadline of a stage is free while the stage is `Open`,
    /// and the wheel mostly comes up sooner anyway.
    fn watch_unfinished(&mut self, id: ConnId, is_clear: bool) {
        let Some(connection) = self.roster.get(id) else { return };
        let Session::Ws(decoder) = &connection.session else { return };
        if connection.stage != Stage::Open || self.config.message_timeout == 0 {
            return;
        }
        let is_unfinished = !is_clear || !decoder.is_idle();
        let is_new = is_unfinished && !connection.facts.has_deadline;
        connection.facts.has_deadline = is_unfinished;
        if is_new {
            let deadline = Tick::of(self.now).after(self.config.message_timeout);
            connection.deadline = deadline;
            self.arm(id, deadline);
        }
    }

    /// What it has begun was not complete in time; unless it was us who did not read.
    pub(super) fn message_timed_out(&mut self, id: ConnId) {
        let is_congested = self.is_congested();
        let Some(connection) = self.roster.get(id) else { return };
        let Facts { readable, undecoded, publishes, .. } = connection.facts;
        // What waits to be read or decoded may be all that is missing.
        if readable || undecoded || (is_congested && publishes) {
            let later = Tick::of(self.now).after(self.config.message_timeout);
            connection.deadline = later;
            return self.arm(id, later);
        }
        self.metrics.refusals.count("violation", "message_timeout");
        let reason = "a message was not complete in time";
        self.fail(id, CloseCode::POLICY, reason, Departure::MessageTimeout);
    }

    /// The peer's close frame came: answered with its own body, unless it answers ours.
    fn heard_close(&mut self, id: ConnId, body: Option<(CloseCode, &str)>) {
        let Some(connection) = self.roster.get(id) else { return };
        connection.facts.heard_close = true;
        match connection.stage {
            Stage::Open => {
                connection.parting = Departure::PeerClosed;
                // What was published before it said goodbye, its own words perhaps, it is still owed.
                self.hub.close_in_order(id, body);
            }
            Stage::Closing => {
                let parting = connection.parting;
                self.finish(id, parting);
            }
            Stage::Finishing | Stage::Doomed => {}
        }
    }

    /// Fails the connection (RFC 6455 §7.1.7): a close frame that says why, and nothing is listened to any more.
    pub(super) fn fail(&mut self, id: ConnId, code: CloseCode, reason: &str, why: Departure) {
        if let Some(connection) = self.roster.get(id)
            && connection.stage == Stage::Open
        {
            connection.parting = why;
            self.hub.outbox.close(id, code, reason);
        } else {
            // Our close frame is out already, and with it the reason why.
            self.doom(id, why);
        }
    }

    /// Everything has been said: what waits is written, then our side ends, and what still comes is thrown away
    /// until the peer ends its side. Closing at once could destroy our last words (RFC 6455 §7.1.1).
    pub(super) fn finish(&mut self, id: ConnId, why: Departure) {
        let deadline = Tick::of(self.now).after(LINGER);
        let Some(connection) = self.roster.get(id) else { return };
        if matches!(connection.stage, Stage::Finishing | Stage::Doomed) {
            return;
        }
        // Who was told goodbye before has no more time for having answered.
        let is_told = connection.stage == Stage::Closing && connection.facts.has_deadline;
        let deadline = if is_told { connection.deadline.min(deadline) } else { deadline };
        connection.stage = Stage::Finishing;
        connection.parting = why;
        connection.facts.has_deadline = true;
        connection.deadline = deadline;
        self.arm(id, deadline);
        self.finish_if_written(id);
    }

    /// Ends our side once nothing waits, and lets the connection go once the peer's has ended too.
    pub(super) fn finish_if_written(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        if connection.stage != Stage::Finishing || !connection.queue.is_empty() || connection.facts.finished {
            return;
        }
        connection.facts.finished = true;
        let (heard_all, why) = (connection.facts.heard_close || connection.facts.closed, connection.parting);
        if heard_all && !connection.facts.readable {
            // Both have said their last word and nothing is unread: closing sends a FIN, not a reset.
            self.doom(id, why);
        } else {
            self.net.finish(&mut connection.socket);
            self.list_readable(id);
        }
    }
}
