//! What the server is for: echo, chat, broadcast channels, ticks, a dashboard — and whatever you plug in.
//!
//! A [`Service`] is told what peers do and answers through a [`Ctx`]. It cannot see a connection, a socket, a
//! protocol or a clock; it leaves commands in the hub, and they are carried out when it has returned. So a
//! publication made while handling a publication is one more command: there is no recursion and no re-entrancy.
//!
//! Invariants: for every peer `opened` is called once, then `message` any number of times, then `closed` once,
//! whatever became of the peer; nothing is called for a peer after `closed`.

pub mod broadcast;
pub mod builtin;
pub mod chat;
pub mod dashboard;
pub mod echo;
pub mod tick;

use std::borrow::Cow;
use std::fmt;

use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::hub::Hub;
use crate::hub::letter::Letter;
pub use crate::hub::topics::TopicId;
pub use crate::hub::{CloseCode, Kind};

/// What a server does with its peers. Implement it to build a server of your own.
///
/// ```
/// use stentor::service::{Admission, Ctx, Kind, Request, Service};
///
/// /// Tells everybody in the room how long each message was.
/// struct Lengths;
///
/// impl Service for Lengths {
///     fn admit(&self, request: &Request<'_>) -> Admission<'_> {
///         if request.path == ["lengths"] { Admission::accept(0) } else { Admission::NotFound }
///     }
///     fn opened(&mut self, ctx: &mut Ctx<'_>, _: &Request<'_>) {
///         ctx.join("lengths");
///     }
///     fn message(&mut self, ctx: &mut Ctx<'_>, _: Kind, payload: &[u8]) {
///         if let Some(room) = ctx.topic() {
///             ctx.publish(room, Kind::Text, payload.len().to_string().as_bytes());
///         }
///     }
/// }
/// ```
pub trait Service {
    /// Whether a peer that asks for this is let in, and with which subprotocol.
    fn admit(&self, request: &Request<'_>) -> Admission<'_>;

    /// A peer has been let in.
    fn opened(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>);

    /// A peer said something. Text is valid UTF-8.
    fn message(&mut self, ctx: &mut Ctx<'_>, kind: Kind, payload: &[u8]);

    /// A peer is gone, however it went. What is sent to it now is not sent; its topics are left after this.
    fn closed(&mut self, ctx: &mut Ctx<'_>, why: Departure) {
        let _ = (ctx, why);
    }

    /// When [`due`](Self::due) wants to be called, in monotonic nanoseconds; `None` for never.
    fn next_due(&self) -> Option<Nanos> {
        None
    }

    /// The moment of [`next_due`](Self::next_due) has come; [`Ctx::id`] is nobody.
    fn due(&mut self, ctx: &mut Ctx<'_>) {
        let _ = ctx;
    }

    /// Peers that are sent the server's own numbers, at most four times a second, as JSON texts (`docs/protocols/http.md`).
    /// Nothing is computed, and nobody is woken, while there are none. A peer that is behind is left out until it is not.
    #[inline]
    fn watchers(&self) -> &[ConnId] {
        &[]
    }

    /// Another worker can be told things from now on, for the first time or again; [`Ctx::id`] is nobody. Whatever is told in
    /// answer reaches all of them.
    fn sibling_came(&mut self, ctx: &mut Ctx<'_>, sibling: u32) {
        let _ = (ctx, sibling);
    }

    /// The same service of another worker told something ([`Ctx::tell_siblings`]); [`Ctx::id`] is nobody.
    fn heard(&mut self, ctx: &mut Ctx<'_>, sibling: u32, news: &[u8]) {
        let _ = (ctx, sibling, news);
    }

    /// Another worker is gone, with all its peers; [`Ctx::id`] is nobody.
    fn sibling_gone(&mut self, ctx: &mut Ctx<'_>, sibling: u32) {
        let _ = (ctx, sibling);
    }

    /// The topic that `POST /publish/CHANNEL` speaks to; `None` if there is no such channel.
    fn channel_topic(&self, channel: &str) -> Option<String> {
        Some(channel.to_owned())
    }
}

/// What a peer asks for, decoded.
#[derive(Debug)]
pub struct Request<'a> {
    /// The segments of the path: `/chat/sea%20side` is `["chat", "sea side"]`, `/` is none.
    pub path: &'a [Cow<'a, str>],
    /// The parameters of the query, in order.
    pub params: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// The subprotocols it offers, its favourite first.
    pub protocols: &'a [&'a str],
}

impl Request<'_> {
    /// The first value of the parameter `name`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// The first of the peer's subprotocols that stands in `offered`, in our spelling.
    #[must_use]
    pub fn choose_protocol<'s>(&self, offered: &'s [impl AsRef<str>]) -> Option<&'s str> {
        let ours = |theirs: &&str| offered.iter().map(AsRef::as_ref).find(|name| name == theirs);
        self.protocols.iter().find_map(ours)
    }
}

/// Whether a peer is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission<'s> {
    /// It is.
    Accept {
        /// A byte of your own that is kept with the connection: [`Ctx::tag`].
        tag: u8,
        /// The subprotocol chosen; one of the peer's.
        protocol: Option<&'s str>,
    },
    /// Nothing is served at this path (404).
    NotFound,
    /// Something is, but not with these parameters (400); the text says what would be right, in one line.
    Malformed(String),
}

impl Admission<'_> {
    /// Lets a peer in without a subprotocol.
    #[must_use]
    pub const fn accept(tag: u8) -> Self {
        Self::Accept { tag, protocol: None }
    }
}

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

    /// Lets the peer into the topic called `name`.
    pub fn join(&mut self, name: &str) -> TopicId {
        self.hub.topics.join(self.id, name)
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

    /// Tells the same service of every other worker something: [`Service::heard`]. It arrives in order with what is
    /// published, or not at all where the link is down.
    pub fn tell_siblings(&mut self, news: &[u8]) {
        self.hub.abroad.write(Letter::News(news));
    }

    /// Closes the peer's connection with `code`; the reason is cut at 123 bytes.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.hub.outbox.close(self.id, code, reason);
    }
}

/// How a connection ended. Never an error: peers come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The peer closed in good order: close frame and answer, or the end of an HTTP exchange.
    PeerClosed,
    /// We closed it in good order, on behalf of a service.
    Closed,
    /// The peer ended the stream without a close frame.
    EndOfStream,
    /// The stream broke: reset, or another error of the socket.
    Reset,
    /// The peer broke the protocol.
    Violation,
    /// The handshake or an HTTP request was refused.
    Refused,
    /// The handshake was not complete in time.
    HandshakeTimeout,
    /// A message that it began was not complete in time.
    MessageTimeout,
    /// No answer to a ping: the peer or its network is dead.
    Idle,
    /// It did not read what it was sent: nothing was written for the stall timeout, or the policy is `close`.
    SlowConsumer,
    /// It did not answer our close frame in time.
    CloseTimeout,
    /// The server is shutting down.
    Shutdown,
    /// Its TLS handshake failed, or a record was wrong.
    Tls,
}

impl Departure {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 13] = [
        Self::PeerClosed,
        Self::Closed,
        Self::EndOfStream,
        Self::Reset,
        Self::Violation,
        Self::Refused,
        Self::HandshakeTimeout,
        Self::MessageTimeout,
        Self::Idle,
        Self::SlowConsumer,
        Self::CloseTimeout,
        Self::Shutdown,
        Self::Tls,
    ];

    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::Closed => "closed",
            Self::EndOfStream => "end_of_stream",
            Self::Reset => "reset",
            Self::Violation => "violation",
            Self::Refused => "refused",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::MessageTimeout => "message_timeout",
            Self::Idle => "idle",
            Self::SlowConsumer => "slow_consumer",
            Self::CloseTimeout => "close_timeout",
            Self::Shutdown => "shutdown",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
