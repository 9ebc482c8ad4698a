//! Who hears what: topics, publications, frames, the ledger, the outbox.
//!
//! Services speak to the [`Hub`] and to nothing else; the server carries out what they left there. A message to a
//! single peer waits in the [`outbox`], a message to a topic waits, encoded, in a segment of it ([`topics`]),
//! leaves as a [`delivery`] of [`frame`]s, and is accounted for in the [`ledger`].
//!
//! Invariants: the hub cannot write to a socket; what it holds is bounded by the server, which stops reading
//! from publishers while too much waits ([`Topics::waiting_bytes`](topics::Topics::waiting_bytes)).

pub mod abroad;
pub mod aside;
mod changes;
pub mod compressors;
pub mod delivery;
pub mod dialect;
pub mod frame;
pub mod framed;
pub mod history;
pub mod interjections;
pub mod ledger;
pub mod letter;
mod memberships;
pub mod outbox;
mod publication;
pub mod topics;
mod walk;

pub use crate::ws::{CloseCode, Kind};
pub use publication::Range;

use std::collections::VecDeque;

use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::ws::encoder::encode;
use abroad::Abroad;
use aside::Overheard;
use compressors::Compressors;
use delivery::Delivery;
use dialect::Dialect;
use frame::Debt;
use interjections::Interjections;
use ledger::{EntryId, Ledger, Unpaid};
use outbox::Outbox;
use topics::{TopicId, Topics};

/// Topics, outbox and ledger of a worker.
#[derive(Debug, Default)]
pub struct Hub {
    /// Who is in what.
    pub topics: Topics,
    /// What single peers are to be sent.
    pub outbox: Outbox,
    /// What single peers are to be sent in the midst of publications.
    pub interjections: Interjections,
    /// What became of every publication.
    pub ledger: Ledger,
    /// What publications are compressed with.
    pub compressors: Compressors,
    /// What the other workers are told, and have told.
    pub abroad: Abroad,
    /// What subscribers without a connection are to be told by their service.
    pub overheard: Vec<Overheard>,
    /// Answers to requests that services have been asked.
    pub answers: Vec<Answer>,
    /// Topics to be delivered, round and round: a short delivery does not wait for a long one to end, and no number
    /// of short ones keeps a long one waiting.
    circle: VecDeque<Errand>,
}

/// The answer to an HTTP request that a service was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose request it was.
    pub to: ConnId,
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`, one of ours.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// What is to be done for a topic. A delivery that has not begun still gathers publications.
#[derive(Debug)]
enum Errand {
    Begin(TopicId),
    GoOn(Delivery),
}

impl Hub {
    /// A hub without anybody in it that compresses with these.
    #[must_use]
    pub fn new(compressors: Compressors) -> Self {
        Self { compressors, ..Self::default() }
    }

    /// From now on there are other workers to tell.
    pub fn open_abroad(&mut self) {
        self.abroad.open();
        self.topics.changes.watch();
    }

    /// Publishes a message to all who are in `topic` now, but not to `except`, and has the other workers do the same.
    /// Returns to how many it is owed here.
    pub fn publish(&mut self, topic: TopicId, kind: Kind, payload: &[u8], except: ConnId, now: Nanos) -> u32 {
        if self.abroad.is_open() {
            self.abroad.publish(self.topics.name(topic), kind, payload);
        }
        self.publish_here(topic, kind, payload, except, now)
    }

    /// Publishes to the topic called `name`, which need have nobody in it here, but not to `except`. Returns to how many it is
    /// owed here, and how many the other workers have told of.
    pub fn publish_named_but(
        &mut self,
        name: &str,
        kind: Kind,
        payload: &[u8],
        except: ConnId,
        now: Nanos,
    ) -> (u32, u32) {
        let here = match self.topics.find(name) {
            Some(topic) => self.publish(topic, kind, payload, except, now),
            None => {
                if self.abroad.is_open() {
                    self.abroad.publish(name, kind, payload);
                }
                0
            }
        };
        (here, self.abroad.subscribers(name))
    }

    /// Publishes to the topic called `name`, which peers know as `channel` and which need have nobody in it here: what is said is
    /// remembered. Returns to how many it is owed here, and how many the other workers have told of.
    pub fn publish_named(
        &mut self,
        name: &str,
        channel: &str,
        kind: Kind,
        payload: &[u8],
        now: Nanos,
    ) -> (u32, u32) {
        let here = match self.topics.find(name) {
            Some(topic) => {
                self.topics.remember(topic, channel);
                self.publish(topic, kind, payload, ConnId::NONE, now)
            }
            None => {
                if self.abroad.is_open() {
                    self.abroad.publish(name, kind, payload);
                }
                self.topics.record(name, channel, kind, payload, now);
                0
            }
        };
        (here, self.abroad.subscribers(name))
    }

    /// Publishes what another worker has: to those who are in the topic here, or, where it is a channel, to be remembered.
    pub fn publish_heard(
        &mut self,
        name: &str,
        channel: Option<&str>,
        kind: Kind,
        payload: &[u8],
        now: Nanos,
    ) {
        match (self.topics.find(name), channel) {
            (Some(topic), _) => _ = self.publish_here(topic, kind, payload, ConnId::NONE, now),
            (None, Some(channel)) => self.topics.record(name, channel, kind, payload, now),
            (None, None) => {}
        }
    }

    /// Sends `to` what it missed of `topic` behind offset `since` of `epoch`, in what it is sent. Returns whether that
    /// could be done.
    pub fn replay(&mut self, to: ConnId, topic: TopicId, epoch: &str, since: u64) -> bool {
        let is_framed = self.topics.dialect(to) == Dialect::Framed;
        let Some(frames) = self.topics.replay(topic, epoch, since, is_framed) else { return false };
        if !frames.is_empty() {
            self.outbox.share(to, frames);
        }
        true
    }

    /// Publishes to those of this worker alone.
    pub fn publish_here(
        &mut self,
        topic: TopicId,
        kind: Kind,
        payload: &[u8],
        except: ConnId,
        now: Nanos,
    ) -> u32 {
        let (audience, absent) = self.topics.publish(topic, kind, payload, except, now);
        self.ledger.publish(audience);
        audience + absent
    }

    /// Publishes messages that belong together, one behind the other and nothing between, to all who are in the topic called
    /// `name`, here and on the other workers, but not to `except`.
    pub fn publish_together(
        &mut self,
        name: &str,
        messages: &[(Kind, &[u8])],
        except: ConnId,
        now: Nanos,
    ) -> (u32, u32) {
        let mut frames = Vec::new();
        messages.iter().for_each(|(kind, payload)| encode(&mut frames, kind.opcode(), payload));
        if self.abroad.is_open() {
            self.abroad.publish_frames(name, &frames);
        }
        (self.publish_frames_here(name, &frames, except, now), self.abroad.subscribers(name))
    }

    /// Publishes frames that belong together to those of this worker alone.
    pub fn publish_frames_here(&mut self, name: &str, frames: &[u8], except: ConnId, now: Nanos) -> u32 {
        let Some(topic) = self.topics.find(name) else { return 0 };
        let write = |out: &mut Vec<u8>| out.extend_from_slice(frames);
        let (audience, absent) = self.topics.publish_with(topic, frames.len(), except, now, write);
        self.ledger.publish(audience);
        audience + absent
    }

    /// The delivery whose slice is next, begun if need be. It is handed back with [`put_back`](Self::put_back) or
    /// [`end`](Self::end).
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        loop {
            // Also behind what was for nobody: more of its topic may wait.
            while let Some(topic) = self.topics.next_busy() {
                self.circle.push_back(Errand::Begin(topic));
            }
            match self.circle.pop_front()? {
                Errand::GoOn(delivery) => return Some(delivery),
                Errand::Begin(topic) => {
                    let Self { topics, ledger, compressors, overheard, .. } = self;
                    if let Some(delivery) = Delivery::begin(topics, ledger, compressors, overheard, topic) {
                        return Some(delivery);
                    }
                }
            }
        }
    }

    /// A slice is done, the circle is not closed.
    pub fn put_back(&mut self, delivery: Delivery) {
        self.topics.note_progress(&delivery);
        self.circle.push_back(Errand::GoOn(delivery));
    }

    /// The circle is closed. Returns whether there is more for single peers to be sent before anything else is.
    pub fn end(&mut self, delivery: Delivery, now: Nanos) -> bool {
        let (topic, end) = (delivery.topic(), self.topics.begun(delivery.topic()));
        delivery.end(&mut self.topics, &mut self.ledger, now);
        if self.interjections.is_empty() {
            return false;
        }
        self.release(topic, end);
        !self.outbox.is_empty()
    }

    /// Whether anything waits to be delivered.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.circle.is_empty()
            || self.topics.is_busy()
            || !self.outbox.is_empty()
            || !self.answers.is_empty()
            || !self.overheard.is_empty()
            || !self.abroad.is_empty()
            || self.topics.changes.are_there()
    }

    /// Deliveries that no subscriber has been visited for, counted by hand.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        let under_way = self.circle.iter().map(|errand| match errand {
            Errand::Begin(_) => 0,
            Errand::GoOn(delivery) => delivery.unclaimed(),
        });
        self.topics.undelivered() + under_way.sum::<u64>()
    }

    /// Enters what a departed or slow peer was owed and did not get.
    pub fn unpaid(&mut self, how: Unpaid, debt: Debt, now: Nanos) {
        if debt.publications > 0 {
            let subscribers = u32::from(debt.entry != EntryId::NONE);
            self.ledger.unpaid(how, debt.entry, subscribers, u64::from(debt.publications), now);
        }
    }

    /// Enters what has been written.
    pub fn paid(&mut self, debt: Debt, now: Nanos) {
        if debt.publications > 0 {
            let subscribers = u32::from(debt.entry != EntryId::NONE);
            self.ledger.paid(debt.entry, subscribers, u64::from(debt.publications), now);
        }
    }
}

#[cfg(test)]
mod tests {
    mod dialects;

    use super::delivery::Step;
    use super::*;

    fn id(index: u32) -> ConnId {
        ConnId { index, serial: index }
    }

    /// A topic with so many in it, from 0 on.
    fn sea(members: u32) -> (Hub, TopicId) {
        let mut hub = Hub::default();
        let sea = (0..members).map(|n| hub.topics.join(id(n), "sea")).last().expect("somebody");
        (hub, sea)
    }

    /// Walks everything that waits and says who got which bytes.
    fn deliver(hub: &mut Hub) -> Vec<(u32, Vec<u8>)> {
        let mut got = Vec::new();
        while let Some(mut delivery) = hub.next_delivery() {
            let members = hub.topics.members(delivery.topic()).to_vec();
            loop {
                match delivery.step(&members, &mut hub.ledger, 10) {
                    Step::Visit(id) => {
                        for frame in (0..delivery.frames()).map(|index| delivery.frame(index)) {
                            got.push((id.index, frame.block(0).to_vec()));
                            hub.paid(frame.debt(0), 20);
                        }
                    }
                    Step::Skip => {}
                    Step::Done => break,
                }
            }
            hub.end(delivery, 30);
        }
        got
    }

    #[test]
    fn a_batch_reaches_everybody_once_and_the_ledger_balances() {
        let mut hub = Hub::default();
        let sea = hub.topics.join(id(0), "sea");
        hub.topics.join(id(1), "sea");
        assert_eq!(hub.publish(sea, Kind::Text, b"a", ConnId::NONE, 0), 2);
        assert_eq!(hub.publish(sea, Kind::Text, b"b", id(1), 0), 1);
        hub.topics.join(id(2), "sea");
        assert_eq!(hub.publish(sea, Kind::Text, b"c", ConnId::NONE, 0), 3);
        let mut got = deliver(&mut hub);
        got.sort();
        let a_b_c = b"\x81\x01a\x81\x01b\x81\x01c".to_vec();
        let expected =
            [(0, a_b_c), (1, b"\x81\x01a".to_vec()), (1, b"\x81\x01c".to_vec()), (2, b"\x81\x01c".to_vec())];
        assert_eq!(got, expected);
        assert_eq!((hub.ledger.owed, hub.ledger.written, hub.ledger.open_batches()), (6, 6, 0));
        assert!(hub.ledger.balances() && !hub.is_busy());
    }

    #[test]
    fn who_leaves_before_its_turn_has_departed() {
        let (mut hub, sea) = sea(5);
        hub.publish(sea, Kind::Binary, b"x", ConnId::NONE, 0);
        hub.topics.leave_all(id(3));
        assert_eq!(deliver(&mut hub).len(), 4);
        assert_eq!((hub.ledger.written, hub.ledger.departed, hub.ledger.open_batches()), (4, 1, 0));
        (0..5).for_each(|n| hub.topics.leave_all(id(n)));
        assert!(hub.topics.is_empty());
    }

    #[test]
    fn each_delivery_begins_one_further_round_the_circle() {
        let mut hub = Hub::default();
        let sea = hub.topics.join(id(0), "sea");
        hub.topics.join(id(1), "sea");
        let mut firsts = Vec::new();
        for _ in 0..4 {
            hub.publish(sea, Kind::Text, b"x", ConnId::NONE, 0);
            firsts.push(deliver(&mut hub)[0].0);
        }
        assert_eq!(firsts, [0, 1, 0, 1]);
    }

    #[test]
    fn who_is_behind_comes_last_until_it_has_caught_up() {
        let (mut hub, sea) = sea(4);
        let order = |hub: &mut Hub| {
            hub.publish(sea, Kind::Text, b"x", ConnId::NONE, 0);
            deliver(hub).into_iter().map(|(index, _)| index).collect::<Vec<_>>()
        };
        hub.topics.lag(id(0), true);
        hub.topics.lag(id(2), true);
        assert_eq!(order(&mut hub), [1, 3, 0, 2]);
        assert_eq!(order(&mut hub), [1, 3, 2, 0]);
        hub.topics.lag(id(2), false);
        assert_eq!(order(&mut hub), [2, 3, 1, 0]);
        hub.topics.leave_all(id(0));
        hub.topics.join(id(0), "sea");
        assert_eq!(order(&mut hub), [3, 0, 1, 2], "it comes anew, at the end of the circle");
        assert!(hub.ledger.balances() && !hub.is_busy());
    }

    #[test]
    fn a_topic_left_by_all_while_a_message_waits_is_forgotten_afterwards() {
        let mut hub = Hub::default();
        let sea = hub.topics.join(id(0), "sea");
        hub.publish(sea, Kind::Text, b"x", ConnId::NONE, 0);
        hub.topics.leave_all(id(0));
        assert!(deliver(&mut hub).is_empty());
        assert!(hub.topics.is_empty());
        assert_eq!((hub.ledger.departed, hub.ledger.open_batches()), (1, 0));
    }
}
