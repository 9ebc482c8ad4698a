//! The client's side: a response's head, parsed.
//!
//! loadgen and the tests meet servers of every kind; this is the mirror of `request`, with the same
//! strictness. Where the head ends is found by [`HeadScan`](super::HeadScan), as for requests.
//!
//! Invariants: a [`Response`] is HTTP/1.x with a status of three digits and says at most once where its body
//! ends.

use std::fmt;

use super::request::body_length;
use super::{BodyLength, Status, Storage, list};

/// A response's head, borrowed from its bytes (`'b`) and from the header slots (`'h`).
#[derive(Clone, Copy, Debug)]
pub struct Response<'h, 'b> {
    /// The status.
    pub status: Status,
    /// The reason phrase, for people; may be empty.
    pub reason: &'b str,
    /// Whether the server keeps the connection open.
    pub keep_alive: bool,
    /// Where the body ends; with [`Body::UntilClose`], at the end of the connection.
    pub body: Body,
    headers: &'h [httparse::Header<'b>],
}

/// Where the body of a response ends (RFC 9112 §6.3). The answer to a HEAD request has none, whatever this
/// says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// As for requests.
    Framed(BodyLength),
    /// Where the server closes the connection.
    UntilClose,
}

/// What was received is not the head of an HTTP/1.x response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl<'h, 'b> Response<'h, 'b> {
    /// Parses a head that is whole: `head` ends with the empty line.
    ///
    /// # Errors
    /// It is no head of an HTTP/1.x response, or it is ambiguous where its body ends.
    pub fn parse(head: &'b [u8], storage: &'h mut Storage<'b>) -> Result<Self, Malformed> {
        let mut parsed = httparse::Response::new(storage.slots());
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Malformed("it is not complete")),
            Err(error) => return Err(Malformed(words(error))),
        }
        let status = Status(parsed.code.unwrap_or_default());
        // RFC 9110 §15: the first digit is the class, and there is no class 0.
        if status.code() < 100 {
            return Err(Malformed("its status is below 100"));
        }
        let headers: &'h [httparse::Header<'b>] = parsed.headers;
        let body = body(status, headers)?;
        let lists = |element: &[u8]| {
            headers
                .iter()
                .filter(|field| field.name.eq_ignore_ascii_case("connection"))
                .flat_map(|field| list(field.value))
                .any(|found| found.eq_ignore_ascii_case(element))
        };
        // RFC 9112 §9.3: 1.1 stays open unless told otherwise, 1.0 closes unless told otherwise.
        let by_default = parsed.version == Some(1);
        let keep_alive = !lists(b"close") && (by_default || lists(b"keep-alive")) && body != Body::UntilClose;
        Ok(Self { status, reason: parsed.reason.unwrap_or_default(), keep_alive, body, headers })
    }

    /// The first field of this name (any letter case), without white space around it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// All fields in the order they came in.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + use<'h, 'b> {
        self.headers.iter().map(|field| (field.name, field.value))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed response head: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

fn body(status: Status, headers: &[httparse::Header<'_>]) -> Result<Body, Malformed> {
    if status.is_bodiless() {
        return Ok(Body::Framed(BodyLength::None));
    }
    let framed = body_length(headers).map_err(|_| Malformed("it is ambiguous where its body ends"))?;
    let names_length = headers.iter().any(|field| field.name.eq_ignore_ascii_case("content-length"));
    if framed == BodyLength::None && !names_length { Ok(Body::UntilClose) } else { Ok(Body::Framed(framed)) }
}

const fn words(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "invalid header name",
        httparse::Error::HeaderValue => "invalid header value",
        httparse::Error::NewLine => "invalid line end",
        httparse::Error::Status => "invalid status",
        httparse::Error::Token => "invalid status line",
        httparse::Error::TooManyHeaders => "too many header fields",
        httparse::Error::Version => "it is not HTTP/1.x",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(head: &str, expected: (u16, Body, bool)) {
        let mut storage = Storage::new();
        let response = Response::parse(head.as_bytes(), &mut storage).unwrap();
        assert_eq!((response.status.code(), response.body, response.keep_alive), expected, "{head}");
    }

    #[test]
    fn heads() {
        let none = Body::Framed(BodyLength::None);
        check("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", (101, none, true));
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            (200, Body::Framed(BodyLength::Length(3)), true),
        );
        check("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (200, none, true));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            (200, Body::Framed(BodyLength::Chunked), false),
        );
        check("HTTP/1.0 200 OK\r\n\r\n", (200, Body::UntilClose, false));
        check(
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n",
            (200, Body::Framed(BodyLength::Length(1)), true),
        );
    }

    #[test]
    fn malformed_heads_say_what_is_wrong() {
        for (head, words) in [
            ("HTTP/1.1 2x0 OK\r\n\r\n", "status"),
            ("HTTP/1.1 050 OK\r\n\r\n", "status"),
            ("SSH-2.0-OpenSSH\r\n\r\n", "HTTP"),
            ("HTTP/1.1 200 OK\r\nA b\r\n\r\n", "name"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "ambiguous"),
            ("HTTP/1.1 200 OK\r\n", "complete"),
        ] {
            let error = Response::parse(head.as_bytes(), &mut Storage::new()).unwrap_err();
            assert!(error.to_string().contains(words), "{head:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn random_heads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Response::parse(&bytes, &mut Storage::new());
            let _ = Response::parse(&[b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat(), &mut Storage::new());
        }
    }
}
