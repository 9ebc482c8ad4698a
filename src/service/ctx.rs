//! How a service acts: for one peer, at one moment, by leaving commands.
//!
//! Invariant: nothing is carried out before the service has returned.

use super::{CloseCode, Dialect, Kind, Overheard, TopicId};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::hub::history::Position;
use crate::hub::letter::Letter;
use crate::hub::{Answer, Hub};

/// How a service acts: for one peer, at one moment.
pub struct Ctx<'a> {
    id: ConnId,
    tag: u8,
    now: Nanos,
    hub: &'a mut Hub,
}

impl<'a> Ctx<'a> {
    /// For the peer `id` with its `tag`, at `now`. Servers make these; a test of a service may, too.
    pub fn new(id: ConnId, tag: u8, now: Nanos, hub: &'a mut Hub) -> Self {
        Self { id, tag, now, hub }
    }

    /// The peer in question.
    #[must_use]
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// The byte that was kept with the connection when it was admitted.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        self.tag
    }

    /// The moment of this turn, in monotonic nanoseconds.
    #[must_use]
    pub const fn now(&self) -> Nanos {
        self.now
    }

    /// Sends the peer a message.
    #[inline]
    pub fn reply(&mut self, kind: Kind, payload: &[u8]) {
        self.hub.outbox.reply(self.id, kind, payload);
    }

    /// Sends the peer one message that is put together from `parts`.
    pub fn reply_parts(&mut self, kind: Kind, parts: &[&[u8]]) {
        self.hub.outbox.reply_parts(self.id, kind, parts);
    }

    /// Sends another peer a message; nothing happens if it is gone.
    pub fn send(&mut self, to: ConnId, kind: Kind, payload: &[u8]) {
        self.hub.outbox.reply(to, kind, payload);
    }

    /// Sends another peer a message behind everything that was published before in topics in which it is: as [`send`](Self::send), but
    /// nothing is overtaken.
    pub fn send_in_order(&mut self, to: ConnId, kind: Kind, payload: &[u8]) {
        self.hub.send_in_order(to, kind, payload);
    }

    /// Lets the peer into the topic called `name`.
    pub fn join(&mut self, name: &str) -> TopicId {
        self.hub.topics.join(self.id, name)
    }

    /// From now on what is published to `topic`, which peers know as `channel`, has offsets and is kept for those who come
    /// back ([`replay`](Self::replay)). To be called when a peer joins it.
    pub fn remember(&mut self, topic: TopicId, channel: &str) {
        self.hub.topics.remember(topic, channel);
    }

    /// Sends the peer what was published to `topic` behind offset `since` of `epoch`, all of it and nothing twice, before
    /// anything newer; to be called when it has just joined. Returns whether that could be done.
    pub fn replay(&mut self, topic: TopicId, epoch: &str, since: u64) -> bool {
        self.hub.replay(self.id, topic, epoch, since)
    }

    /// From now on the peer joins topics as one that is sent messages as `stentor.v1` frames them.
    pub(crate) fn speak_framed(&mut self) {
        self.hub.topics.speak(self.id, Dialect::Framed);
    }

    /// Lets another peer, which is here, into a topic in which it is sent what is published as it is.
    pub(crate) fn join_plain(&mut self, id: ConnId, name: &str) {
        self.hub.topics.join_in(id, name, Dialect::Raw);
    }

    /// How far `topic` has come, if it is remembered.
    #[must_use]
    pub fn position(&self, topic: TopicId) -> Option<Position> {
        self.hub.topics.position(topic)
    }

    /// Takes the peer out of `topic`.
    pub fn leave(&mut self, topic: TopicId) {
        self.hub.topics.leave(self.id, topic);
    }

    /// The topic that the peer joined first.
    #[inline]
    #[must_use]
    pub fn topic(&self) -> Option<TopicId> {
        self.hub.topics.first_of(self.id)
    }

    /// Publishes to all who are in `topic` at this moment, the peer included if it is one of them, and to those who are in it
    /// on the other workers of this machine. Returns to how many the message is owed on this one.
    #[inline]
    pub fn publish(&mut self, topic: TopicId, kind: Kind, payload: &[u8]) -> u32 {
        self.hub.publish(topic, kind, payload, ConnId::NONE, self.now)
    }

    /// Publishes to all who are in `topic` on this worker, and tells the others nothing.
    pub fn publish_here(&mut self, topic: TopicId, kind: Kind, payload: &[u8]) -> u32 {
        self.hub.publish_here(topic, kind, payload, ConnId::NONE, self.now)
    }

    /// Publishes to all who are in `topic` at this moment, but not to the peer.
    pub fn publish_to_others(&mut self, topic: TopicId, kind: Kind, payload: &[u8]) -> u32 {
        self.hub.publish(topic, kind, payload, self.id, self.now)
    }

    /// How many are in `topic` on all workers of this machine, as far as the others have told.
    #[must_use]
    pub fn subscribers(&self, topic: TopicId) -> u32 {
        self.subscribers_here(topic) + self.hub.abroad.subscribers(self.hub.topics.name(topic))
    }

    /// How many are in `topic` on this worker.
    #[must_use]
    pub fn subscribers_here(&self, topic: TopicId) -> u32 {
        self.hub.topics.subscribers(topic)
    }

    /// The topic called `name`, if anybody is in it on this worker.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.hub.topics.find(name)
    }

    /// The name of `topic`.
    #[must_use]
    pub fn name(&self, topic: TopicId) -> &str {
        self.hub.topics.name(topic)
    }

    /// Whether there are other workers on this machine.
    #[must_use]
    pub const fn has_siblings(&self) -> bool {
        self.hub.abroad.is_open()
    }

    /// Tells the same service of every other worker something: [`heard`](crate::service::Service::heard). It arrives in order with what is
    /// published, or not at all where the link is down.
    pub fn tell_siblings(&mut self, news: &[u8]) {
        self.hub.abroad.write(Letter::News(news));
    }

    /// Lets the peer into the topic called `name`, where it is sent `dialect`.
    pub fn join_in(&mut self, name: &str, dialect: Dialect) -> TopicId {
        self.hub.topics.join_in(self.id, name, dialect)
    }

    /// Publishes to all who are in the topic called `name`, on all workers, but not to `except`: one message, or several that
    /// belong together.
    pub fn publish_together(&mut self, name: &str, messages: &[(Kind, &[u8])], except: ConnId) {
        match messages {
            [(kind, payload)] => _ = self.hub.publish_named_but(name, *kind, payload, except, self.now),
            _ => _ = self.hub.publish_together(name, messages, except, self.now),
        }
    }

    /// How many are in the topic called `name`, on all workers.
    #[must_use]
    pub fn present(&self, name: &str) -> u32 {
        let here = self.hub.topics.find(name).map_or(0, |topic| self.hub.topics.subscribers(topic));
        here + self.hub.abroad.subscribers(name)
    }

    /// Has the other workers' [`selected`](crate::service::Service::selected) called: a publication to hearers whom the service chooses. It
    /// arrives in order with what else is published, and is counted like that.
    pub fn publish_selected(&mut self, told: &[u8]) {
        if self.hub.abroad.is_open() {
            self.hub.abroad.publish_selected(told);
        }
    }

    /// Whether something waits in `topic` behind its first `from` publications, and nothing behind them has set out.
    #[must_use]
    pub fn has_more(&self, topic: TopicId, from: u64) -> bool {
        self.hub.topics.has_more(topic, from)
    }

    /// What waits in `topic` behind its first `from` publications: what absent subscribers would overhear when it sets out.
    #[must_use]
    pub fn overhear(&self, topic: TopicId, from: u64) -> Vec<Overheard> {
        self.hub.topics.overhear(topic, from)
    }

    /// How many publications there have been in `topic`.
    #[must_use]
    pub fn published(&self, topic: TopicId) -> u64 {
        self.hub.topics.published(topic)
    }

    /// Whether no publication waits in `topic` that absent subscribers have still to be told of.
    #[must_use]
    pub fn is_quiet(&self, topic: TopicId) -> bool {
        self.hub.topics.is_quiet(topic)
    }

    /// Closes the WebSocket of `to`, without a code, behind what it has been [sent in order](Self::send_in_order).
    pub fn end(&mut self, to: ConnId) {
        self.hub.close_in_order(to, None);
    }

    /// Counts a subscriber without a connection into the topic called `name`: what is published there is
    /// [overheard](crate::service::Service::overheard).
    pub fn come_absent(&mut self, name: &str) -> TopicId {
        self.hub.topics.come_absent(name)
    }

    /// Counts it out.
    pub fn leave_absent(&mut self, topic: TopicId) {
        self.hub.topics.leave_absent(topic);
    }

    /// Answers the HTTP request of `to`, which waits for it; nothing happens if it is gone.
    pub fn answer(&mut self, to: ConnId, status: u16, content_type: &'static str, body: Vec<u8>) {
        self.hub.answers.push(Answer { to, status, content_type, body });
    }

    /// The same moment for another peer, or for nobody.
    pub fn of(&mut self, id: ConnId) -> Ctx<'_> {
        Ctx { id, tag: self.tag, now: self.now, hub: self.hub }
    }

    /// Closes the peer's connection with `code`; the reason is cut at 123 bytes.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.hub.outbox.close(self.id, code, reason);
    }
}
