//! A response: status, fields, and a body that is all there, encoded in one piece.
//!
//! Everything this server says over HTTP is small and known before the first byte leaves, so each response
//! carries its Content-Length and there is no streaming.
//!
//! Invariants: header injection is impossible, since a field whose name is no token or whose value holds CR,
//! LF or another control character is left out whole; `Connection: close` stands exactly when the connection
//! is to be closed.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use super::{is_token_byte, is_value_byte};

/// A status code (RFC 9110 §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u16);

#[allow(missing_docs, reason = "each name is the reason phrase of RFC 9110 §15")]
impl Status {
    pub const SWITCHING_PROTOCOLS: Self = Self(101);
    pub const OK: Self = Self(200);
    pub const NO_CONTENT: Self = Self(204);
    pub const BAD_REQUEST: Self = Self(400);
    pub const UNAUTHORIZED: Self = Self(401);
    pub const FORBIDDEN: Self = Self(403);
    pub const NOT_FOUND: Self = Self(404);
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    pub const REQUEST_TIMEOUT: Self = Self(408);
    pub const LENGTH_REQUIRED: Self = Self(411);
    pub const CONTENT_TOO_LARGE: Self = Self(413);
    pub const URI_TOO_LONG: Self = Self(414);
    pub const UNSUPPORTED_MEDIA_TYPE: Self = Self(415);
    pub const UPGRADE_REQUIRED: Self = Self(426);
    pub const TOO_MANY_REQUESTS: Self = Self(429);
    pub const HEADERS_TOO_LARGE: Self = Self(431);
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    pub const NOT_IMPLEMENTED: Self = Self(501);
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);
}

impl Status {
    /// The code as a number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The reason phrase; empty for a code that this server never sends.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self.0 {
            101 => "Switching Protocols",
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            411 => "Length Required",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            505 => "HTTP Version Not Supported",
            _ => "",
        }
    }

    /// Whether a response of this status never has a body (RFC 9112 §6.3): then it must not announce a
    /// length.
    #[must_use]
    pub const fn is_bodiless(self) -> bool {
        self.0 < 200 || self.0 == 204 || self.0 == 304
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.reason())
    }
}

/// The interim answer to `Expect: 100-continue` (RFC 9110 §10.1.1): the peer may send its body now.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response being put together.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    status: Status,
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    content_type: &'a str,
    body: &'a [u8],
}

impl<'a> Response<'a> {
    /// A response without fields and with an empty body.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self { status, headers: Vec::new(), content_type: "", body: b"" }
    }

    /// Adds a field. Length, type and connection are written by [`encode`](Self::encode) and need no call of
    /// this.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body and its type.
    #[must_use]
    pub const fn body(mut self, content_type: &'a str, body: &'a [u8]) -> Self {
        self.content_type = content_type;
        self.body = body;
        self
    }

    /// Appends head and body to `out`. `head_only` leaves the body out but announces its length, as HEAD
    /// wants it (RFC 9110 §9.3.2); without `keep_alive` the peer is told that the connection ends here.
    ///
    /// A field that could not stand in a head as it is, is left out whole: a value with a line break in it
    /// must not become a second field, and half a value would be a lie.
    pub fn encode(&self, out: &mut Vec<u8>, head_only: bool, keep_alive: bool) {
        let status = self.status;
        write_line(out, format_args!("HTTP/1.1 {} {}", status.code(), status.reason()));
        for (name, value) in &self.headers {
            push_field(out, name, value);
        }
        if !self.content_type.is_empty() {
            push_field(out, "Content-Type", self.content_type);
        }
        if !status.is_bodiless() {
            write_line(out, format_args!("Content-Length: {}", self.body.len()));
        }
        // Whoever sends Upgrade names it in Connection, too (RFC 9110 §7.8).
        let upgrades = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
        match (keep_alive, upgrades) {
            (true, false) => {}
            (true, true) => push_field(out, "Connection", "Upgrade"),
            (false, false) => push_field(out, "Connection", "close"),
            (false, true) => push_field(out, "Connection", "close, Upgrade"),
        }
        out.extend_from_slice(b"\r\n");
        if !head_only && !status.is_bodiless() {
            out.extend_from_slice(self.body);
        }
    }
}

/// Appends one field line, or nothing if name or value could not stand in one.
fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    let sound = !name.is_empty() && name.bytes().all(is_token_byte) && value.bytes().all(is_value_byte);
    if sound {
        write_line(out, format_args!("{name}: {value}"));
    }
}

fn write_line(out: &mut Vec<u8>, line: fmt::Arguments<'_>) {
    out.write_fmt(line).expect("writing to a Vec cannot fail");
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{BodyLength, Storage, client};
    use proptest::prelude::*;

    fn encoded(response: &Response<'_>, head_only: bool, keep_alive: bool) -> String {
        let mut out = Vec::new();
        response.encode(&mut out, head_only, keep_alive);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_status_that_is_sent_has_its_words() {
        let named = (100..600).map(Status).filter(|status| !status.reason().is_empty());
        let lines: Vec<String> = named.map(|status| status.to_string()).collect();
        for line in
            ["101 Switching Protocols", "200 OK", "204 No Content", "400 Bad Request", "403 Forbidden"]
        {
            assert!(lines.iter().any(|other| other == line), "{line}: {lines:?}");
        }
        assert!(!lines.iter().any(|line| line.contains(['\r', '\n'])));
        assert_eq!(Status(299).to_string(), "299 ", "a code that nobody sends has none");
    }

    #[test]
    fn an_upgrade_is_named_in_connection_whether_it_stays_open_or_not() {
        let upgrade = Response::new(Status::UPGRADE_REQUIRED).header("Upgrade", "websocket");
        assert!(encoded(&upgrade, false, true).contains("\r\nConnection: Upgrade\r\n"));
        assert!(encoded(&upgrade, false, false).contains("\r\nConnection: close, Upgrade\r\n"));
    }

    #[test]
    fn the_bytes() {
        let response = Response::new(Status::OK).header("X-A", "b").body("text/plain", b"hello");
        let head = "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n";
        assert_eq!(encoded(&response, false, true), format!("{head}\r\nhello"));
        assert_eq!(encoded(&response, true, true), format!("{head}\r\n"));
        assert_eq!(encoded(&response, false, false), format!("{head}Connection: close\r\n\r\nhello"));
        assert_eq!(
            encoded(&Response::new(Status::NOT_FOUND), false, true),
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            encoded(&Response::new(Status::NO_CONTENT), false, true),
            "HTTP/1.1 204 No Content\r\n\r\n"
        );
    }

    #[test]
    fn a_line_break_cannot_become_a_field() {
        let bare = encoded(&Response::new(Status::OK), false, true);
        for (name, value) in [
            ("A", "b\r\nC: d"),
            ("A", "b\nC"),
            ("A", "b\0"),
            ("A\r\nB", "c"),
            ("A:", "b"),
            ("", "b"),
            ("A B", "c"),
        ] {
            assert_eq!(
                encoded(&Response::new(Status::OK).header(name, value), false, true),
                bare,
                "{name:?}: {value:?}"
            );
        }
        assert_eq!(encoded(&Response::new(Status::OK).body("a\r\nb: c", b""), false, true), bare);
    }

    proptest! {
        #[test]
        fn any_field_leaves_a_head_that_our_client_reads(name in "[ -~\r\n]{0,9}", value in any::<String>()) {
            let text = encoded(&Response::new(Status::OK).header(name.as_str(), value.as_str()).body("a/b", b"x"), false, true);
            let mut storage = Storage::new();
            let end = text.find("\r\n\r\n").unwrap() + 4;
            prop_assert_eq!(&text[end..], "x");
            let head = client::Response::parse(&text.as_bytes()[..end], &mut storage).unwrap();
            prop_assert!(head.headers().count() <= 3);
            prop_assert_eq!(head.header("content-type"), Some(&b"a/b"[..]));
            prop_assert_eq!(head.body, client::Body::Framed(BodyLength::Length(1)));
        }
    }
}
