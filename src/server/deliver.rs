//! The fourth phase: outbox → sockets, and topics → subscribers, a slice at a time.
//!
//! A frame goes straight from where it was encoded into the socket; only what the socket does not take is queued.
//! Subscribers are visited in the order they came, everything a topic owes one of them at once, while its connection
//! is in the cache; those who are behind with what was sent before come last.
//!
//! Invariants: a turn visits at most [`DELIVERIES_MAX`] subscribers and sends them at most [`DELIVERY_BYTES_MAX`];
//! every visit ends in the ledger as written, queued or dropped.

use std::io;

use super::config::{Config, Overflow};
use super::connection::{Connection, Stage};
use super::limits::{
    COMPRESS_TURN_BYTES_MAX, DELIVERIES_MAX, DELIVERY_BYTES_MAX, OUTBOX_KEEP_MAX, REPLY_BYTES_HARD_MAX,
    SLICE_MAX,
};
use super::metrics::Metrics;
use super::overflow::{Verdict, judge};
use super::stint::Stint;
use super::worker::Worker;
use crate::base::counting::COUNTING;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::base::tick::{Nanos, Tick};
use crate::hub::Hub;
use crate::hub::delivery::{Delivery, Step};
use crate::hub::dialect::Dialect;
use crate::hub::frame::Frame;
use crate::hub::ledger::Unpaid;
use crate::hub::outbox::{Action, Command};
use crate::net::Net;
use crate::service::{Ctx, Departure, Service};
use crate::ws::CloseCode;

/// What a slice has done so far.
#[derive(Default)]
pub(super) struct Slice {
    pub(super) visits: usize,
    pub(super) bytes: usize,
    /// Subscribers and publications that were written at once: entered in the ledger together.
    served: u32,
    deliveries: u64,
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Carries out what handlers left behind, then goes on with publications.
    pub(super) fn deliver(&mut self) {
        self.give_answers();
        self.post();
        self.deflation.tidy();
        let mut slice = Slice::default();
        let stint = Stint::begin(&self.net);
        let compressed_max = self.hub.compressors.bytes_in + COMPRESS_TURN_BYTES_MAX;
        while slice.visits < DELIVERIES_MAX
            && slice.bytes < DELIVERY_BYTES_MAX
            && self.hub.compressors.bytes_in < compressed_max
        {
            let Some(delivery) = self.hub.next_delivery() else { break };
            self.deliver_slice(delivery, &mut slice);
            if stint.is_long(&self.net) {
                break;
            }
        }
        for news in std::mem::take(&mut self.hub.overheard) {
            self.service.overheard(&mut Ctx::new(ConnId::NONE, 0, self.now, &mut self.hub), &news);
        }
    }

    /// Carries out what is to be done for single peers.
    fn post(&mut self) {
        while !self.hub.outbox.is_empty() {
            let shared = self.hub.outbox.take_shared();
            let (arena, commands) = self.hub.outbox.take();
            for command in &commands {
                let range = command.from as usize..command.until as usize;
                match command.action {
                    Action::Shared => self.hand_over(command.to, &shared[range]),
                    Action::Reply | Action::Pong | Action::Close(_) | Action::Upgrade(_) | Action::Finish => {
                        self.carry_out(*command, &arena[range])
                    }
                }
            }
            self.hub.outbox.restore(arena, commands, OUTBOX_KEEP_MAX);
        }
    }

    pub(super) fn carry_out(&mut self, command: Command, bytes: &[u8]) {
        let Command { to: id, action, .. } = command;
        let Some(connection) = self.roster.get(id) else { return };
        match (connection.stage, action) {
            // Nothing is sent behind a close frame (RFC 6455 §5.5.1) or after the last response.
            (Stage::Finishing | Stage::Doomed, _) | (Stage::Closing, Action::Reply | Action::Pong) => {}
            // Handed over, not carried out.
            (_, Action::Shared) => {}
            (Stage::Closing, Action::Close(_) | Action::Upgrade(_)) => {}
            (Stage::Open, Action::Reply) if connection.dialect == Dialect::Raw => self.write(id, bytes),
            (Stage::Open, Action::Reply) => self.write_in_dialect(id, bytes),
            (Stage::Open, Action::Upgrade(dialect)) => {
                connection.dialect = dialect;
                self.write(id, bytes);
            }
            (Stage::Open, Action::Pong) if connection.queue.is_empty() => self.write(id, bytes),
            (Stage::Open, Action::Pong) => {
                connection.pong = Some(bytes[(command.newest - command.from) as usize..].into());
            }
            (Stage::Open, Action::Close(_)) => {
                self.write(id, bytes);
                self.closing(id);
            }
            (Stage::Open | Stage::Closing, Action::Finish) => {
                let why = connection.parting;
                self.finish(id, why);
            }
        }
    }

    /// Our close frame is on its way: whether the peer's is still to come decides what follows.
    fn closing(&mut self, id: ConnId) {
        let deadline = Tick::of(self.now).after(self.config.close_timeout);
        let Some(connection) = self.roster.get(id) else { return };
        let why = connection.parting;
        let is_at_fault =
            matches!(why, Departure::Violation | Departure::MessageTimeout | Departure::SlowConsumer);
        if connection.facts.heard_close || is_at_fault {
            return self.finish(id, why);
        }
        if connection.stage == Stage::Open {
            if why == Departure::PeerClosed {
                connection.parting = Departure::Closed;
            }
            connection.stage = Stage::Closing;
            connection.facts.has_deadline = true;
            connection.deadline = deadline;
            self.arm(id, deadline);
        }
    }

    /// Writes `bytes` to `id` at once, or queues what the socket does not take.
    pub(super) fn write(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(connection) = self.roster.get(id) else { return };
        if bytes.is_empty() {
            return;
        }
        let waits = !connection.queue.is_empty();
        let gone = if waits { 0 } else { self.metrics.send(&mut self.net, connection, bytes) };
        match gone {
            n if n == bytes.len() || is_made(Mutation::DroppedRemainder) => {}
            BROKEN => self.doom(id, Departure::Reset),
            n => {
                // One reply may be long; many that wait are a peer that does not read. Publications have a bound of their own.
                let reply_max =
                    self.service.message_max(connection.tag).unwrap_or(self.config.ws.message_max);
                let queued_max = REPLY_BYTES_HARD_MAX + reply_max as usize;
                let is_much = connection.queue.weight() + bytes.len() > queued_max;
                if waits && is_much && connection.queue.replies() + bytes.len() > queued_max {
                    return self.doom(id, Departure::SlowConsumer);
                }
                connection.queue.push(Frame::reply(&bytes[n..]), 0);
                if !waits {
                    self.watch_stall(id);
                }
            }
        }
    }

    /// Writes frames that others share to `id`, or queues them as they are.
    fn hand_over(&mut self, id: ConnId, frames: &[Frame]) {
        for frame in frames {
            let Some(connection) = self.roster.get(id).filter(|one| one.stage == Stage::Open) else { return };
            let waits = !connection.queue.is_empty();
            let gone = if waits { 0 } else { self.metrics.send(&mut self.net, connection, frame.block(0)) };
            if gone == BROKEN {
                return self.doom(id, Departure::Reset);
            }
            if gone < frame.len() {
                connection.queue.push(frame.clone(), gone);
                if !waits {
                    self.watch_stall(id);
                }
            }
        }
    }

    /// Visits subscribers until the delivery or the budget ends.
    fn deliver_slice(&mut self, mut delivery: Delivery, slice: &mut Slice) {
        let mut slow = Vec::new();
        let visits_max = DELIVERIES_MAX.min(slice.visits + SLICE_MAX);
        let is_done = loop {
            let members = self.hub.topics.members(delivery.topic());
            match delivery.step(members, &mut self.hub.ledger, self.now) {
                Step::Done => break true,
                Step::Skip => {}
                Step::Visit(id) if self.hub.interjections.is_empty() => {
                    self.visit(id, &mut delivery, slice, &mut slow);
                }
                Step::Visit(id) => self.visit_with_words(id, &mut delivery, slice, &mut slow),
            }
            if slice.visits >= visits_max || slice.bytes >= DELIVERY_BYTES_MAX {
                break false;
            }
        };
        // Measured where it matters: when this slice has been written, not when the turn began.
        let written_ns = if COUNTING && slice.served > 0 { self.net.now() } else { self.now };
        let (served, deliveries) = (std::mem::take(&mut slice.served), std::mem::take(&mut slice.deliveries));
        self.hub.ledger.paid(delivery.entry(), served, deliveries, written_ns);
        if is_done {
            if self.hub.end(delivery, written_ns) {
                self.post();
            }
        } else {
            self.hub.put_back(delivery);
        }
        for id in slow {
            self.watch_stall(id);
        }
    }

    /// Brings one subscriber what it is owed.
    #[inline]
    pub(super) fn visit(
        &mut self,
        id: ConnId,
        delivery: &mut Delivery,
        slice: &mut Slice,
        slow: &mut Vec<ConnId>,
    ) {
        slice.visits += 1;
        let Self { roster, net, metrics, .. } = self;
        let Some(connection) = roster.get(id) else { return };
        // The way of nearly all: nothing waits, one range is owed, the socket takes it whole.
        let mut tried = None;
        if connection.queue.is_empty()
            && connection.stage == Stage::Open
            && let Some((bytes, range)) = delivery.single()
        {
            let gone = metrics.send(net, connection, bytes);
            if gone == bytes.len() {
                if is_made(Mutation::DoubledDelivery) {
                    metrics.send(net, connection, bytes);
                }
                slice.bytes += gone;
                slice.served += 1;
                slice.deliveries += u64::from(range.publications);
                if delivery.is_compressed()
                    && let Some(memory) = &mut connection.memory
                {
                    memory.bypassed();
                }
                return;
            }
            tried = Some(gone);
        }
        self.bring(id, delivery, tried, slice, slow);
    }

    /// Brings a subscriber the frames of the delivery one by one, of which so much was `tried` already.
    pub(super) fn bring(
        &mut self,
        id: ConnId,
        delivery: &mut Delivery,
        mut tried: Option<usize>,
        slice: &mut Slice,
        slow: &mut Vec<ConnId>,
    ) {
        let Self { roster, net, metrics, hub, doomed, config, now, .. } = self;
        let Some(connection) = roster.get(id) else { return };
        let waited = !connection.queue.is_empty();
        if delivery.is_compressed()
            && let Some(memory) = &mut connection.memory
        {
            memory.bypassed();
        }
        for index in 0..delivery.frames() {
            let frame = delivery.frame(index);
            let is_free = connection.queue.is_empty() && connection.stage == Stage::Open;
            let gone = match tried.take() {
                Some(gone) => gone,
                None if is_free => metrics.send(net, connection, frame.block(0)),
                None => 0,
            };
            if gone == BROKEN {
                Self::doom_one(connection, id, Departure::Reset, doomed);
            }
            if connection.stage != Stage::Open {
                hub.unpaid(Unpaid::Departed, frame.debt(0), *now);
                continue;
            }
            slice.bytes += gone;
            if gone == frame.len() {
                hub.paid(frame.debt(0), *now);
                continue;
            }
            let closes = queue(connection, delivery, frame, gone, config, hub, *now);
            if closes {
                connection.parting = Departure::SlowConsumer;
                hub.outbox.close(id, CloseCode::TRY_AGAIN_LATER, "too slow for this channel");
            }
        }
        if !waited && !connection.queue.is_empty() {
            slow.push(id);
        }
    }
}

/// What [`Metrics::send`] returns when the stream is broken: no slice is that long.
pub(super) const BROKEN: usize = usize::MAX;

impl Metrics {
    /// Writes what the socket takes of `bytes`, keeps what that tells about it, and returns how much went.
    #[inline]
    fn send<N: Net>(&mut self, net: &mut N, connection: &mut Connection<N::Socket>, bytes: &[u8]) -> usize {
        if connection.facts.blocked {
            return 0;
        }
        loop {
            self.wrote();
            match net.send(&mut connection.socket, bytes) {
                Ok(n) => {
                    connection.facts.blocked = n < bytes.len();
                    self.sent(n);
                    return n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.facts.blocked = true;
                    return 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if is_made(Mutation::InterruptForgets) {
                        return bytes.len();
                    }
                }
                Err(_) => return BROKEN,
            }
        }
    }
}

/// Queues what a socket did not take of a publication, or does what the policy says. Returns whether the peer is to be
/// closed for it.
fn queue<K>(
    connection: &mut Connection<K>,
    delivery: &mut Delivery,
    frame: Frame,
    gone: usize,
    config: &Config,
    hub: &mut Hub,
    now: Nanos,
) -> bool {
    let (weight, len) = (connection.queue.weight(), frame.len() - gone);
    let verdict = match judge(config.overflow, weight, len, config.queue_max) {
        Verdict::Queue => Verdict::Queue,
        // Replies have bounds of their own, and what somebody who came back is sent again is nobody's in particular.
        Verdict::Drop | Verdict::Replace | Verdict::Close => {
            judge(config.overflow, connection.queue.owed(), len, config.queue_max)
        }
    };
    let (missed, debt) = (&mut connection.missed, frame.debt(0));
    match verdict {
        Verdict::Queue if gone == 0 && is_made(Mutation::Overtaken) => {
            connection.queue.push_urgent(frame.lean());
        }
        Verdict::Queue if connection.queue.is_empty() => connection.queue.push(frame.lean(), gone),
        Verdict::Queue => connection.queue.push(delivery.kept(frame, &mut hub.topics), 0),
        Verdict::Drop => {
            *missed = missed.saturating_add(debt.publications);
            hub.unpaid(Unpaid::Dropped, debt, now);
        }
        Verdict::Replace => {
            connection.queue.drop_publications(|old| {
                *missed = missed.saturating_add(old.publications);
                hub.unpaid(Unpaid::Dropped, old, now);
            });
            connection.queue.push(frame.lean(), 0);
        }
        Verdict::Close => {
            hub.unpaid(Unpaid::Dropped, debt, now);
            connection.queue.drop_publications(|old| hub.unpaid(Unpaid::Dropped, old, now));
        }
    }
    verdict == Verdict::Close
}

impl Overflow {
    /// The notice that a peer gets, as a text message, when it has caught up after missing `missed` publications.
    pub(super) fn gap_notice(missed: u32) -> String {
        format!("{{\"type\":\"gap\",\"missed\":{missed}}}")
    }
}
