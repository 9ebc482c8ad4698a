//! What an Engine.IO request wants, and why it is refused.
//!
//! The query says nearly everything. Its members are judged in the order in which npm's `engine.io` judges them, so
//! that a client that makes two mistakes is told of the same one: transport, session, method, upgrade, version.
//!
//! Invariant: the version is looked at only when a session is opened, as there.

use std::borrow::Cow;
use std::fmt;

/// How a client reaches us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// HTTP requests that are answered late.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// The method of a request, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Opens a session, or waits for packets.
    Get,
    /// Brings packets.
    Post,
    /// Anything else.
    Other,
}

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'q> {
    /// A new session.
    Open(Transport),
    /// A GET of this session: [`Session::poll`](super::Session::poll).
    Poll(&'q str),
    /// A POST of this session: [`Session::post_began`](super::Session::post_began).
    Post(&'q str),
    /// A WebSocket for this session. Accept it (101), then [`Session::upgrade`](super::Session::upgrade) says whether it
    /// is wanted.
    Upgrade(&'q str),
}

/// The members of a query that mean something to Engine.IO; others (`t`, `b64` …) mean nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query<'q> {
    transport: Option<Transport>,
    version: bool,
    sid: Option<Cow<'q, str>>,
}

impl<'q> Query<'q> {
    /// Reads decoded pairs. Of a name that stands there twice the last counts; an empty `sid` is none.
    pub fn read(pairs: impl IntoIterator<Item = (Cow<'q, str>, Cow<'q, str>)>) -> Self {
        let mut query = Self { transport: None, version: false, sid: None };
        for (name, value) in pairs {
            match &*name {
                "transport" => {
                    query.transport = match &*value {
                        "polling" => Some(Transport::Polling),
                        "websocket" => Some(Transport::WebSocket),
                        _ => None,
                    }
                }
                "EIO" => query.version = value == "4",
                "sid" => query.sid = Some(value).filter(|sid| !sid.is_empty()),
                _ => {}
            }
        }
        query
    }

    /// What is wanted. `upgrade` says whether the request asks for a WebSocket, `transport_of` by which transport a
    /// session goes, if there is one of that name (see [`Session::transport`](super::Session::transport)).
    ///
    /// # Errors
    /// Why it cannot be had. No session is touched by that.
    pub fn judge(
        &self,
        method: Method,
        upgrade: bool,
        transport_of: impl FnOnce(&str) -> Option<Transport>,
    ) -> Result<Request<'_>, Refusal> {
        let transport = self.transport.ok_or(Refusal::TransportUnknown)?;
        let Some(sid) = self.sid.as_deref() else { return self.judge_opening(transport, method, upgrade) };
        let current = transport_of(sid).ok_or(Refusal::SessionUnknown)?;
        match (transport, method) {
            (Transport::WebSocket, Method::Get) if upgrade => Ok(Request::Upgrade(sid)),
            (Transport::Polling, _) if upgrade => Err(Refusal::BadRequest),
            (Transport::Polling | Transport::WebSocket, _) if current != transport => {
                Err(Refusal::BadRequest)
            }
            (Transport::Polling, Method::Get) => Ok(Request::Poll(sid)),
            (Transport::Polling, Method::Post) => Ok(Request::Post(sid)),
            (Transport::Polling, Method::Other) | (Transport::WebSocket, _) => Err(Refusal::BadRequest),
        }
    }

    fn judge_opening(
        &self,
        transport: Transport,
        method: Method,
        upgrade: bool,
    ) -> Result<Request<'_>, Refusal> {
        if method != Method::Get {
            return Err(Refusal::BadHandshakeMethod);
        }
        if (transport == Transport::WebSocket) != upgrade {
            return Err(Refusal::BadRequest);
        }
        if self.version { Ok(Request::Open(transport)) } else { Err(Refusal::VersionUnsupported) }
    }
}

/// Why a request is refused. The answer is 400 with [`body`](Self::body).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// `transport` is neither `polling` nor `websocket`.
    TransportUnknown,
    /// There is no session with this `sid`, or not any more.
    SessionUnknown,
    /// A session is opened with GET.
    BadHandshakeMethod,
    /// The request does not fit the session: another transport, a second GET or POST at a time, a malformed payload.
    BadRequest,
    /// `EIO` must be 4.
    VersionUnsupported,
}

impl Refusal {
    /// The number that clients know it by.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::TransportUnknown => 0,
            Self::SessionUnknown => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest => 3,
            Self::VersionUnsupported => 5,
        }
    }

    /// The words that clients know it by.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::TransportUnknown => "Transport unknown",
            Self::SessionUnknown => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::VersionUnsupported => "Unsupported protocol version",
        }
    }

    /// The metric label: stable, lower case, a bounded set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TransportUnknown => "transport_unknown",
            Self::SessionUnknown => "session_unknown",
            Self::BadHandshakeMethod => "bad_handshake_method",
            Self::BadRequest => "bad_request",
            Self::VersionUnsupported => "version_unsupported",
        }
    }

    /// The answer's body, `application/json`.
    #[must_use]
    pub fn body(self) -> String {
        format!("{{\"code\":{},\"message\":\"{}\"}}", self.code(), self.message())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use Refusal::{BadHandshakeMethod, BadRequest, SessionUnknown, TransportUnknown, VersionUnsupported};

    /// Judges a query among two sessions, `p` by polling and `w` by WebSocket; says what came of it.
    fn judge(query: &str, method: Method, upgrade: bool) -> Result<String, Refusal> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = Query::read(pairs.map(|(name, value)| (name.into(), value.into())));
        let of = |sid: &str| match sid {
            "p" => Some(Transport::Polling),
            "w" => Some(Transport::WebSocket),
            _ => None,
        };
        query.judge(method, upgrade, of).map(|request| format!("{request:?}"))
    }

    fn get(query: &str) -> Result<String, Refusal> {
        judge(query, Method::Get, false)
    }

    fn web_socket(query: &str) -> Result<String, Refusal> {
        judge(query, Method::Get, true)
    }

    #[track_caller]
    fn granted(judged: Result<String, Refusal>, what: &str) {
        assert_eq!(judged.as_deref(), Ok(what));
    }

    #[test]
    fn good_requests() {
        granted(get("EIO=4&transport=polling"), "Open(Polling)");
        granted(get("EIO=4&transport=polling&t=abc&b64=1&sid="), "Open(Polling)");
        granted(web_socket("EIO=4&transport=websocket"), "Open(WebSocket)");
        granted(get("EIO=4&transport=polling&sid=p"), "Poll(\"p\")");
        granted(judge("EIO=4&transport=polling&sid=p", Method::Post, false), "Post(\"p\")");
        granted(web_socket("EIO=4&transport=websocket&sid=p"), "Upgrade(\"p\")");
        granted(get("transport=x&transport=polling&EIO=3&EIO=4"), "Open(Polling)");
        granted(get("transport=polling&sid=p"), "Poll(\"p\")");
    }

    #[test]
    fn a_web_socket_for_a_session_that_has_one_is_left_to_the_session() {
        granted(web_socket("EIO=4&transport=websocket&sid=w"), "Upgrade(\"w\")");
    }

    #[test]
    fn wrong_transports() {
        for query in
            ["EIO=4", "EIO=4&transport=abc", "EIO=4&transport=Polling", "EIO=4&transport=webtransport"]
        {
            assert_eq!(get(query), Err(TransportUnknown), "{query}");
        }
        assert_eq!(get("transport=polling&transport=x&EIO=4"), Err(TransportUnknown), "the last counts");
    }

    #[test]
    fn wrong_sessions() {
        assert_eq!(get("EIO=4&transport=polling&sid=x"), Err(SessionUnknown));
        assert_eq!(get("EIO=4&transport=polling&sid=__proto__"), Err(SessionUnknown));
        assert_eq!(web_socket("EIO=4&transport=websocket&sid=x"), Err(SessionUnknown));
        assert_eq!(get("EIO=4&transport=polling&sid=w"), Err(BadRequest), "it has upgraded");
        assert_eq!(get("EIO=4&transport=websocket&sid=p"), Err(BadRequest), "it has not");
    }

    #[test]
    fn wrong_methods() {
        for method in [Method::Post, Method::Other] {
            assert_eq!(judge("EIO=4&transport=polling", method, false), Err(BadHandshakeMethod));
        }
        assert_eq!(judge("EIO=4&transport=polling&sid=p", Method::Other, false), Err(BadRequest));
    }

    #[test]
    fn wrong_upgrades() {
        assert_eq!(get("EIO=4&transport=websocket"), Err(BadRequest));
        assert_eq!(web_socket("EIO=4&transport=polling"), Err(BadRequest));
        assert_eq!(web_socket("EIO=4&transport=polling&sid=p"), Err(BadRequest));
    }

    #[test]
    fn wrong_versions() {
        for query in [
            "transport=polling",
            "EIO=abc&transport=polling",
            "EIO=3&transport=polling",
            "EIO=04&transport=polling",
        ] {
            assert_eq!(get(query), Err(VersionUnsupported), "{query}");
        }
        assert_eq!(web_socket("transport=websocket"), Err(VersionUnsupported));
    }

    #[test]
    fn the_first_mistake_in_the_order_is_told() {
        assert_eq!(judge("transport=x&sid=x", Method::Post, false), Err(TransportUnknown));
        assert_eq!(judge("transport=polling&sid=x", Method::Other, true), Err(SessionUnknown));
        assert_eq!(judge("transport=websocket", Method::Post, false), Err(BadHandshakeMethod));
        assert_eq!(get("transport=websocket"), Err(BadRequest));
    }

    #[test]
    fn the_body_is_what_clients_know() {
        assert_eq!(TransportUnknown.body(), r#"{"code":0,"message":"Transport unknown"}"#);
        assert_eq!(SessionUnknown.body(), r#"{"code":1,"message":"Session ID unknown"}"#);
        assert_eq!(BadHandshakeMethod.body(), r#"{"code":2,"message":"Bad handshake method"}"#);
        assert_eq!(BadRequest.body(), r#"{"code":3,"message":"Bad request"}"#);
        assert_eq!(VersionUnsupported.body(), r#"{"code":5,"message":"Unsupported protocol version"}"#);
    }
}
