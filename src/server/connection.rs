//! A connection: a socket, how far its session has come, and what it is owed.
//!
//! Fifty thousand of these are walked for every publication, so they are small ([`CONNECTION_BYTES_MAX`]) and idle
//! ones hold no buffer: an incomplete item is in a [`Held`] that is lent while it lasts.
//!
//! ```text
//!   Open ──our close──▶ Closing ──their close──▶ doomed
//!    │                     └──close_timeout────▶ doomed
//!    └──last word said──▶ Finishing ──written, their end──▶ doomed
//! ```
//!
//! Invariants: the stage only moves to the right; who is doomed is served no more, and is reaped as soon as a
//! turn has time for it.

use super::deflate::Memory;
use super::limits::CONNECTION_BYTES_MAX;
use super::send_queue::SendQueue;
use crate::base::buffer::Buffer;
use crate::base::tick::Tick;
use crate::http::{BodyReader, HeadScan};
use crate::hub::dialect::Dialect;
use crate::service::Departure;
use crate::ws::{Cursor, Decoder};

/// One peer.
#[derive(Debug)]
pub struct Connection<K> {
    /// Its socket.
    pub socket: K,
    /// The accept count, for telling stale names.
    pub serial: u32,
    /// What it speaks.
    pub session: Session,
    /// How far its life has come.
    pub stage: Stage,
    /// How it will have departed, once the stage is not `Open`.
    pub parting: Departure,
    /// The service's byte.
    pub tag: u8,
    /// What its messages are sent in, from the handshake's answer on.
    pub dialect: Dialect,
    /// What is known of its socket, and what it waits for.
    pub facts: Facts,
    /// What came and is not complete.
    pub held: Option<Box<Held>>,
    /// What is remembered of its compressed messages, if it was promised to be.
    pub memory: Option<Box<Memory>>,
    /// What it is owed.
    pub queue: SendQueue,
    /// The newest pong, while the queue does not move.
    pub pong: Option<Box<[u8]>>,
    /// Publications it missed since it was last told.
    pub missed: u32,
    /// When a byte last came.
    pub last_heard: Tick,
    /// When it was last pinged, if `facts.pinged`.
    pub pinged: Tick,
    /// When the stage ends, if `facts.has_deadline`; for an open WebSocket peer, when what it has begun must be complete.
    pub deadline: Tick,
    /// When a byte was last written, or the queue began to wait.
    pub progress: Tick,
    /// When it last took something that had waited for it: its side is alive, and a ping may stand behind the rest.
    pub moved: Tick,
    /// For when its entry in the wheel is armed, if `facts.armed`.
    pub armed: Tick,
}

const _: () = assert!(size_of::<Connection<crate::net::os::OsSocket>>() <= CONNECTION_BYTES_MAX);

/// What is known about a connection, one bit each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// The socket may have more to read: the last read filled its room, or never happened.
    pub readable: bool,
    /// The peer has closed its side: read on to the end even after a short read.
    pub closed: bool,
    /// The socket takes nothing: wait for the writable edge.
    pub blocked: bool,
    /// The system keeps as much for it as it likes: it is sent back long messages of its own.
    pub widened: bool,
    /// It stands in the worker's list of those to be read.
    pub listed: bool,
    /// It stands in the worker's list of those whose socket has room again.
    pub roomy: bool,
    /// Bytes that came have not been decoded yet.
    pub undecoded: bool,
    /// It has published: while too much waits for delivery, it is not read from.
    pub publishes: bool,
    /// In which form its request is answered.
    pub form: Form,
    /// It has had an answer by HTTP: the time for the next request counts from its first byte.
    pub requested: bool,
    /// Its close frame came.
    pub heard_close: bool,
    /// Our FIN is out.
    pub finished: bool,
    /// A ping is out.
    pub pinged: bool,
    /// `deadline` counts.
    pub has_deadline: bool,
    /// `armed` counts.
    pub armed: bool,
    /// It came when all places were taken: it is told so, and nothing else.
    pub over: bool,
    /// The service was told of it, and has to be told of its end.
    pub opened: bool,
}

/// In which form a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// With a body; what is wrong is told in words.
    #[default]
    Words,
    /// Without a body: it is a HEAD.
    Head,
    /// What is wrong is told in JSON: it is a program's.
    Json,
    /// The same without a body.
    JsonHead,
}

impl Form {
    /// The form of the answer to a request of this kind.
    #[must_use]
    pub const fn of(is_head: bool, is_program: bool) -> Self {
        match (is_head, is_program) {
            (false, false) => Self::Words,
            (true, false) => Self::Head,
            (false, true) => Self::Json,
            (true, true) => Self::JsonHead,
        }
    }

    /// Whether the answer must not have a body (RFC 9110 §9.3.2).
    #[must_use]
    pub const fn is_head(self) -> bool {
        matches!(self, Self::Head | Self::JsonHead)
    }

    /// Whether what is wrong is told in JSON.
    #[must_use]
    pub const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JsonHead)
    }
}

/// How far a connection's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is served.
    Open,
    /// Our close frame is out or waits; the peer's is awaited, all else is ignored.
    Closing,
    /// What waits is written, then our side ends; whatever comes is thrown away.
    Finishing,
    /// To be reaped, at the end of this turn or of one of the next.
    Doomed,
}

/// What a connection speaks.
#[derive(Debug)]
pub enum Session {
    /// HTTP/1.1, one request after another; nothing is kept between them.
    Http(Option<Box<Exchange>>),
    /// WebSocket.
    Ws(Decoder),
}

impl Session {
    /// Whether a service knows of the request that is being dealt with.
    pub fn is_asking(&self) -> bool {
        let Self::Http(Some(exchange)) = self else { return false };
        matches!(**exchange, Exchange::Asking(_) | Exchange::Waiting(_))
    }
}

/// An HTTP request that is not complete.
#[derive(Debug)]
pub enum Exchange {
    /// The head is arriving.
    Head(HeadScan),
    /// The body is.
    Posting(Posting),
    /// The body is, for a service.
    Asking(Asking),
    /// All is here; a service will answer.
    Waiting(Terms),
}

/// A request to a service whose body is arriving.
#[derive(Debug)]
pub struct Asking {
    /// Finds the end of the body.
    pub reader: BodyReader,
    /// What has come of it.
    pub body: Buffer,
    /// How it is to be answered.
    pub terms: Terms,
}

/// How a request is to be answered once a service knows what.
#[derive(Debug)]
pub struct Terms {
    /// Whether another request may follow.
    pub keep_alive: bool,
    /// The page that may read the answer beside our own, as an operator has listed it.
    pub origin: Option<Box<str>>,
}

/// A publication by HTTP whose body is arriving.
#[derive(Debug)]
pub struct Posting {
    /// Finds the end of the body.
    pub reader: BodyReader,
    /// What has come of it.
    pub body: Buffer,
    /// Where it is to be published; a batch may say so line by line.
    pub channel: Option<String>,
    /// What becomes of it.
    pub format: Format,
    /// Whether another request may follow.
    pub keep_alive: bool,
}

/// What becomes of a body that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One text message.
    Text,
    /// One binary message.
    Binary,
    /// A text message for each line of JSON.
    Lines,
}

/// Bytes of an incomplete item and where decoding stands in them.
#[derive(Debug)]
pub struct Held {
    /// The bytes, lent from the pool.
    pub buffer: Buffer,
    /// Where decoding stands.
    pub cursor: Cursor,
}

impl<K> Connection<K> {
    /// A connection that was just accepted.
    pub fn new(socket: K, serial: u32, now: Tick) -> Self {
        Self {
            socket,
            serial,
            session: Session::Http(None),
            stage: Stage::Open,
            parting: Departure::PeerClosed,
            tag: 0,
            dialect: Dialect::Raw,
            memory: None,
            facts: Facts { readable: true, ..Facts::default() },
            held: None,
            queue: SendQueue::default(),
            pong: None,
            missed: 0,
            last_heard: now,
            pinged: now,
            deadline: now,
            progress: now,
            moved: now,
            armed: now,
        }
    }

    /// Whether anything is written to it and read from it.
    #[inline]
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.stage != Stage::Doomed
    }
}
