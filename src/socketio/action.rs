//! What a session wants done: the values that it hands to the server.
//!
//! A session touches no socket. It appends to a list that the server lends it, and the server does what stands there, in
//! order; connections are named by the ids under which the server told of them.
//!
//! Invariants: a GET or POST is answered exactly once, unless its connection went first; [`Action::End`] comes at most
//! once and is the last.

use super::engine::{Frame, Malformed};
use super::request::Refusal;
use crate::base::id::ConnId;
use std::borrow::Cow;
use std::fmt;

/// One thing to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Answer the GET or POST of this connection.
    Answer {
        /// Whose request it was.
        to: ConnId,
        /// With what.
        answer: Answer,
    },
    /// Send this on the WebSocket.
    Send {
        /// The WebSocket.
        to: ConnId,
        /// What to send.
        frame: Frame,
    },
    /// Close the WebSocket, with a close frame that has no code; what was sent before may still leave.
    CloseWebSocket {
        /// The WebSocket.
        to: ConnId,
    },
    /// The session is over: forget it.
    End(Reason),
}

/// An answer to a GET or POST of a session. All are to be sent with `Cache-Control: no-store`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// 200 with packets, for a GET.
    Packets(String),
    /// 200 `ok`, for a POST.
    Taken,
    /// 400 with the reason.
    Refused(Refusal),
    /// 413: the body is over `maxPayload`. It need not be read; the session goes on.
    TooLarge,
}

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Packets(_) | Self::Taken => 200,
            Self::Refused(_) => 400,
            Self::TooLarge => 413,
        }
    }

    /// The `Content-Type`.
    #[must_use]
    pub const fn content_type(&self) -> &'static str {
        match self {
            Self::Packets(_) => "text/plain; charset=UTF-8",
            // Not text/plain: there are browsers that would offer it as a download.
            Self::Taken => "text/html",
            Self::Refused(_) | Self::TooLarge => "application/json",
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Cow<'_, str> {
        match self {
            Self::Packets(payload) => Cow::Borrowed(payload),
            Self::Taken => Cow::Borrowed("ok"),
            Self::Refused(refusal) => Cow::Owned(refusal.body()),
            Self::TooLarge => Cow::Borrowed(r#"{"code":3,"message":"The body is over maxPayload"}"#),
        }
    }
}

/// Why a session ended, in the words of npm's `engine.io`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The client said so, or its WebSocket closed.
    TransportClose,
    /// A waiting GET or a POST went away, there were two at a time, or the client sent what only we may send.
    TransportError,
    /// A ping was not answered in time.
    PingTimeout,
    /// Something that is no packet.
    ParseError(Malformed),
    /// We said so.
    ForcedClose,
}

impl Reason {
    /// The metric label: stable, lower case, a bounded set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TransportClose => "transport_close",
            Self::TransportError => "transport_error",
            Self::PingTimeout => "ping_timeout",
            Self::ParseError(_) => "parse_error",
            Self::ForcedClose => "forced_close",
        }
    }
}

/// As the handler of `disconnect` gets it.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError(_) => "parse error",
            Self::ForcedClose => "forced close",
        })
    }
}
