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
mod ctx;
pub mod dashboard;
pub mod echo;
pub mod events;
mod presence;
pub mod tick;

use std::borrow::Cow;
use std::fmt;

pub use self::ctx::Ctx;
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
pub use crate::hub::aside::Overheard;
pub use crate::hub::dialect::Dialect;
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

    /// The same service of another worker published something to hearers whom the service chooses
    /// ([`Ctx::publish_selected`]); [`Ctx::id`] is nobody.
    fn selected(&mut self, ctx: &mut Ctx<'_>, told: &[u8]) {
        let _ = (ctx, told);
    }

    /// Another worker is gone, with all its peers; [`Ctx::id`] is nobody.
    fn sibling_gone(&mut self, ctx: &mut Ctx<'_>, sibling: u32) {
        let _ = (ctx, sibling);
    }

    /// Whether HTTP requests for this path are the service's to answer, beside the WebSockets that it admits there.
    fn answers(&self, path: &[Cow<'_, str>]) -> bool {
        let _ = path;
        false
    }

    /// An HTTP request that is no WebSocket, for a path that the service [answers](Self::answers); [`Ctx::id`] is its
    /// connection, which waits for [`Ctx::answer`], now or later. Only if it asks for the body is that read, at most so
    /// many bytes of it; a larger one is refused by the server (413), and the service hears [`hung_up`](Self::hung_up).
    fn asked(&mut self, ctx: &mut Ctx<'_>, request: &Asked<'_>) -> Await {
        let _ = (ctx, request);
        Await::Answer
    }

    /// The body of a request is here, whole.
    fn body(&mut self, ctx: &mut Ctx<'_>, body: &[u8]) {
        let _ = (ctx, body);
    }

    /// A connection that waited for an answer, or whose body was awaited, is gone.
    fn hung_up(&mut self, ctx: &mut Ctx<'_>) {
        let _ = ctx;
    }

    /// Something was published where subscribers of the service are [absent](Ctx::come_absent); [`Ctx::id`] is nobody.
    fn overheard(&mut self, ctx: &mut Ctx<'_>, news: &Overheard) {
        let _ = (ctx, news);
    }

    /// Bytes of a message of peers with this tag at most, where that is not the server's bound.
    fn message_max(&self, tag: u8) -> Option<u64> {
        let _ = tag;
        None
    }

    /// What the service counts, for `/metrics`: the same names in the same order each time.
    fn figures(&self) -> Vec<Figure> {
        Vec::new()
    }

    /// The topic that `POST /publish/CHANNEL` speaks to; `None` if there is no such channel.
    fn channel_topic(&self, channel: &str) -> Option<String> {
        Some(channel.to_owned())
    }

    /// The channel that a topic is, the reverse of [`channel_topic`](Self::channel_topic); `None` if it is none, and is
    /// neither listed nor remembered when another worker publishes to it.
    fn topic_channel<'t>(&self, topic: &'t str) -> Option<&'t str> {
        Some(topic)
    }
}

/// A number of a service, for `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Its name behind `stentor_`; that of a total ends in `_total`.
    pub name: &'static str,
    /// One line about it.
    pub help: &'static str,
    /// The number.
    pub value: u64,
    /// Whether it only grows.
    pub is_total: bool,
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

/// An HTTP request that a service is asked to answer.
#[derive(Debug)]
pub struct Asked<'a> {
    /// GET, POST, or something else.
    pub verb: Verb,
    /// What for.
    pub request: Request<'a>,
    /// The `Content-Length`, if there is one.
    pub announced: Option<u64>,
    /// Whether the body is said to be `application/octet-stream`.
    pub is_binary: bool,
}

/// The method of an HTTP request, as far as services care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET.
    Get,
    /// POST.
    Post,
    /// Anything else but OPTIONS, which the server answers itself.
    Other,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Await {
    /// The answer, which may be there already.
    Answer,
    /// Its body, of at most so many bytes.
    Body(u64),
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
    /// It is, without compression whatever it offers.
    Uncompressed {
        /// As of `Accept`.
        tag: u8,
    },
    /// Nothing is served at this path (404).
    NotFound,
    /// Something is, but not with these parameters (400); the text says what would be right, in one line.
    Malformed(String),
    /// Something is, but not this (400), and its clients want to be told in JSON.
    Json(String),
}

impl Admission<'_> {
    /// Lets a peer in without a subprotocol.
    #[must_use]
    pub const fn accept(tag: u8) -> Self {
        Self::Accept { tag, protocol: None }
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
