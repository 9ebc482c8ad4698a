//! Responses: what a client takes from a server of any kind.
//!
//! Input: one byte that says what was asked for, two of cuts, then the stream. [`read_answer`] is also how the other
//! laws read what our own server says.

use super::given::{Cuts, Given};
use super::head::{field, in_pieces};
use stentor::http::client::{Body, Response};
use stentor::http::{BodyLength, BodyReader, HeadScan, Limits, Storage};
use stentor::ws::extension::Ask;
use stentor::ws::handshake::{ClientHandshake, ClientRequest};

/// Most bytes of a body that is read here.
const BODY_MAX: u64 = 16 << 20;

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let asked = given.byte();
    let mut cuts = Cuts::new(given.word());
    let stream = given.rest();
    let limits = Limits::default();
    let whole = HeadScan::new().scan(stream, &limits);
    assert_eq!(in_pieces(stream, &mut cuts, &limits), whole);
    let Ok(Some(len)) = whole else { return };
    let mut storage = Storage::new();
    let Ok(response) = Response::parse(&stream[..len], &mut storage) else { return };
    assert!((100..1000).contains(&response.status.code()), "three digits");
    assert!(!response.keep_alive || response.body != Body::UntilClose);
    for (name, value) in response.headers() {
        assert!(!name.is_empty() && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(response.header(name).is_some());
    }
    let lines =
        stream[..len].split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let fields: Vec<_> = lines.filter(|line| !line.is_empty()).skip(1).map(field).collect();
    let ours: Vec<_> = response.headers().map(|(name, value)| (name.as_bytes(), value)).collect();
    assert_eq!(ours, fields);
    checked(asked, &response);
}

/// What a client agrees to is what it asked for.
fn checked(asked: u8, response: &Response<'_, '_>) {
    let request = ClientRequest {
        host: "a",
        target: "/",
        protocols: if asked & 1 == 0 { &[] } else { &["a", "b.c"] },
        deflate: (asked & 2 != 0).then(Ask::default),
        ..ClientRequest::default()
    };
    // A key that the corpus knows: that of RFC 6455 §1.3.
    let handshake = ClientHandshake::new(*b"the sample nonce");
    match handshake.check_response(&request, response.status.code(), response.headers()) {
        Ok(accepted) => {
            assert_eq!(response.status.code(), 101);
            assert!(accepted.protocol.is_none_or(|protocol| request.protocols.contains(&protocol)));
            assert!(accepted.deflate.is_none() || request.deflate.is_some());
        }
        Err(rejection) => assert!(!rejection.to_string().is_empty() && !rejection.label().is_empty()),
    }
}

/// What stands at the front of what our own server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The beginning of an answer.
    Begun,
    /// A whole answer with its body: the status, its length in bytes, and whether another may follow.
    Complete {
        /// The status.
        status: u16,
        /// Bytes of head and body.
        len: usize,
        /// Whether the connection goes on.
        keep_alive: bool,
    },
}

/// Reads the answer at the front of `said`; to a HEAD request it has no body. Anything that is not ours to say is a
/// panic.
pub fn read_answer(said: &[u8], to_head: bool) -> Answer {
    let limits = Limits { request_line_max: 8192, head_max: 16384, headers_max: 100 };
    let Some(len) = HeadScan::new().scan(said, &limits).expect("our own head is within limits") else {
        return Answer::Begun;
    };
    let mut storage = Storage::new();
    let response = Response::parse(&said[..len], &mut storage).expect("our own head can be read");
    let (status, keep_alive) = (response.status.code(), response.keep_alive);
    let framed = match response.body {
        Body::Framed(_) if to_head => BodyLength::None,
        Body::Framed(framed) => framed,
        Body::UntilClose => panic!("our own answers say how long they are: {status}"),
    };
    let mut reader = BodyReader::new(framed, BODY_MAX).expect("our own bodies are small");
    let (taken, is_whole) = reader.feed(&said[len..], &mut Vec::new()).expect("our own body can be read");
    if is_whole { Answer::Complete { status, len: len + taken, keep_alive } } else { Answer::Begun }
}
