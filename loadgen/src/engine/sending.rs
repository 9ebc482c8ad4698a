//! The loop's sending: what is due, what waited, and the closed model's rounds.
//!
//! Why: between "due" and "written" stands only this; the clock is read right before the frame is made, so the send
//! lag in the marker is the whole truth about our own delay.
//!
//! Invariants: a publisher that is blocked or has waiting messages never overtakes itself.

use super::Loop;
use super::assignment::Assignment;
use super::clock::now_ns;
use super::publish::{Message, Publishing};
use crate::client::State;
use crate::plan::{Model, Plan};
use std::collections::HashMap;
use stentor::base::marker::Marker;
use stentor::ws::Kind;

/// Messages sent in one go before reading goes on.
const SENDS_MAX: usize = 256;
/// Closed broadcasts: when everybody but the sender has had a message for so long, servers leave senders out.
const SELF_GRACE_NS: u64 = 100_000_000;

impl Loop<'_> {
    /// Sends what is due.
    pub(super) fn publish(&mut self) {
        for _ in 0..SENDS_MAX {
            let due_ns = self.publishing.next_due_ns();
            if due_ns == u64::MAX {
                return;
            }
            let now_ns = now_ns();
            let Some(message) = self.publishing.take_due(now_ns) else { return };
            if self.publishing.is_measured(message.intended_ns) {
                self.measure.counts.planned += 1;
            }
            let client = &self.clients[message.local as usize];
            if client.state() != State::Open
                || client.is_blocked()
                || self.publishing.is_waiting(message.local)
            {
                self.publishing.postpone(message);
            } else {
                self.send(message, now_ns);
            }
        }
    }

    /// The run is over: what is due and was not even tried counts as planned and unsent, not as never asked for.
    pub(super) fn give_up_sending(&mut self, now_ns: u64) {
        if matches!(self.plan.model, Model::Closed { .. }) {
            return; // there, nothing is due until something has come round
        }
        while let Some(message) = self.publishing.take_due(now_ns) {
            if self.publishing.is_measured(message.intended_ns) {
                self.measure.counts.planned += 1;
                self.unsent.record(now_ns - message.intended_ns);
            }
        }
    }

    /// A publisher may write again: what waited goes first.
    pub(super) fn send_waiting(&mut self, local: u32) {
        while self.publishing.is_waiting(local)
            && self.clients[local as usize].state() == State::Open
            && !self.clients[local as usize].is_blocked()
        {
            let Some(message) = self.publishing.take_waiting(local) else { return };
            self.send(message, now_ns());
        }
    }

    /// Writes one message.
    fn send(&mut self, message: Message, now_ns: u64) {
        let (marker, payload, key) = self.publishing.encode(message, now_ns);
        let kind = if self.plan.text { Kind::Text } else { Kind::Binary };
        let client = &mut self.clients[message.local as usize];
        let payload_bytes = self.lent.encode_message(client.deflate().is_some(), kind, payload, key) as u64;
        let wire_bytes = self.lent.encode.len() as u64;
        let outcome = client.write(&self.lent.encode);
        self.sent(&marker, payload_bytes, wire_bytes, now_ns);
        if let Err(why) = outcome {
            self.lose(message.local as usize, &why);
        }
    }

    /// Counts a message as sent.
    fn sent(&mut self, marker: &Marker, payload_bytes: u64, wire_bytes: u64, now_ns: u64) {
        let lag_ns = now_ns.saturating_sub(marker.intended_ns);
        self.seconds.sent += 1;
        self.seconds.send_lag_max_ns = self.seconds.send_lag_max_ns.max(lag_ns);
        let counts = &mut self.measure.counts;
        if marker.flags & Marker::WARM_UP != 0 {
            counts.warmup += 1;
            return;
        }
        counts.sent += 1;
        counts.sent_bytes += payload_bytes;
        counts.sent_wire_bytes += wire_bytes;
        counts.on_time += u64::from(self.publishing.is_on_time(lag_ns));
        self.send_lag.record(lag_ns);
        if let Some(fanout) = self.measure.fanout.as_mut() {
            fanout.sent(marker.publisher, marker.sequence, marker.intended_ns);
        }
        self.measure.population.note_write(marker);
    }

    /// Closed broadcasts to a server that leaves senders out: lets the first round end.
    pub(super) fn release_round(&mut self, now_ns: u64) {
        for (local, heard_ns) in self.round.release(&self.assignment, now_ns) {
            self.publishing.come_round(local, heard_ns);
        }
    }
}

/// Closed model, broadcast: who has heard what is under way, and whether senders hear themselves.
#[derive(Debug, Default)]
pub(super) struct ClosedRound {
    /// By publisher and sequence.
    under_way: HashMap<(u32, u32), Hearing>,
    /// Subscribers in all.
    pub(super) subscribers: u32,
    hears_self: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hearing {
    count: u32,
    by_sender: bool,
    last_ns: u64,
}

impl ClosedRound {
    /// A message arrived at the client `global` for the first time; when it has come round, the next becomes due.
    pub(super) fn heard(
        &mut self,
        marker: &Marker,
        plan: &Plan,
        assignment: &Assignment,
        global: u32,
        publishing: &mut Publishing,
        now_ns: u64,
    ) {
        let sender = assignment.local(marker.publisher);
        if !plan.is_broadcast() {
            sender.into_iter().for_each(|local| publishing.come_round(local, now_ns));
            return;
        }
        let key = (marker.publisher, marker.sequence);
        let hearing = self.under_way.entry(key).or_default();
        hearing.count += 1;
        hearing.by_sender |= marker.publisher == global;
        hearing.last_ns = now_ns;
        if hearing.by_sender {
            self.hears_self = Some(true);
        }
        let wanted = self.subscribers - u32::from(self.hears_self == Some(false));
        if hearing.count >= wanted {
            self.under_way.remove(&key);
            sender.into_iter().for_each(|local| publishing.come_round(local, now_ns));
        }
    }

    /// Rounds that lack only their sender for longer than a grace: then senders are left out, here and from now on.
    fn release(&mut self, assignment: &Assignment, now_ns: u64) -> Vec<(u32, u64)> {
        if self.under_way.is_empty() || self.hears_self.is_some() {
            return Vec::new();
        }
        let all_but_one = self.subscribers.saturating_sub(1);
        let is_over = |hearing: &Hearing| {
            hearing.count == all_but_one && !hearing.by_sender && now_ns >= hearing.last_ns + SELF_GRACE_NS
        };
        if !self.under_way.values().any(is_over) {
            return Vec::new();
        }
        self.hears_self = Some(false);
        let over: Vec<_> = self
            .under_way
            .iter()
            .filter(|(_, hearing)| hearing.count >= all_but_one)
            .map(|(key, _)| *key)
            .collect();
        let release = |key: (u32, u32)| {
            self.under_way.remove(&key);
            assignment.local(key.0).map(|local| (local, now_ns))
        };
        over.into_iter().filter_map(release).collect()
    }

    /// When [`ClosedRound::release`] should be asked.
    pub(super) fn grace_ns(&self) -> u64 {
        if self.hears_self.is_some() {
            return u64::MAX;
        }
        self.under_way.values().map(|hearing| hearing.last_ns + SELF_GRACE_NS).min().unwrap_or(u64::MAX)
    }
}
