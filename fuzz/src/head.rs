//! Request heads: found where they end however they are cut, and read as anybody would read them.
//!
//! Input: one byte of limits, two of cuts, then the stream. What is accepted is held against a split into lines and
//! colons that has nothing in common with the parser: request smuggling lives on two readers disagreeing.

use super::given::{Cuts, Given};
use super::response::{Answer, read_answer};
use stentor::http::{BodyLength, HeadScan, Limits, Method, Refusal, Request, Storage};
use stentor::ws::handshake::{self, Offer, encode_response};

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let limits = match given.byte() % 3 {
        0 => Limits::default(),
        1 => Limits { request_line_max: 40, head_max: 200, headers_max: 4 },
        _ => Limits { request_line_max: 600, head_max: 500, headers_max: 1000 },
    };
    let mut cuts = Cuts::new(given.word());
    let stream = given.rest();

    let whole = HeadScan::new().scan(stream, &limits);
    assert_eq!(in_pieces(stream, &mut cuts, &limits), whole, "the cuts change nothing");
    match whole {
        Ok(None) => assert!(stream.len() < limits.head_max, "it does not wait for ever"),
        Err(refusal) => refused(refusal),
        Ok(Some(len)) => {
            let head = &stream[..len];
            assert!(len <= limits.head_max && head.ends_with(b"\r\n\r\n"), "{len}");
            assert_eq!(HeadScan::new().scan(head, &limits), whole, "what follows changes nothing");
            parsed(head, &limits);
        }
    }
}

/// Feeds growing prefixes, as a socket would, up to the first verdict.
pub fn in_pieces(stream: &[u8], cuts: &mut Cuts, limits: &Limits) -> Result<Option<usize>, Refusal> {
    let (mut scan, mut len) = (HeadScan::new(), 0);
    loop {
        if let Some(end) = scan.scan(&stream[..len], limits)? {
            return Ok(Some(end));
        }
        if len == stream.len() {
            return Ok(None);
        }
        len = (len + cuts.next_len()).min(stream.len());
    }
}

fn parsed(head: &[u8], limits: &Limits) {
    let mut storage = Storage::new();
    let request = match Request::parse(head, &mut storage) {
        Ok(request) => request,
        Err(refusal) => return refused(refusal),
    };
    let lines = lines(head);
    let fields: Vec<_> = lines[1..].iter().map(|line| field(line)).collect();
    let theirs: Vec<_> = request.headers().map(|(name, value)| (name.as_bytes(), value)).collect();
    assert_eq!(theirs, fields, "every field, in order, and nothing else");
    assert!(fields.len() <= limits.headers_max && lines[0].len() <= limits.request_line_max);
    assert!(lines[0].ends_with(b" HTTP/1.1"));

    let count = |name: &[u8]| fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count();
    assert_eq!(count(b"host"), 1);
    assert!(!request.host.is_empty() && !request.host.contains(['/', '@', ' ', '\r', '\n']));
    assert!(request.method == Method::Other || request.path.starts_with('/') || request.path == "*");
    assert!(
        request.path.is_ascii() && !request.path.contains(['#', '?', ' ']) && !request.query.contains('#')
    );
    let (lengths, codings) = (count(b"content-length"), count(b"transfer-encoding"));
    assert!(lengths + codings <= 1, "one statement of where the body ends");
    assert_eq!(request.body == BodyLength::Chunked, codings == 1);
    assert!(request.body == BodyLength::None || !request.wants_upgrade());
    assert!(!request.expects_continue() || request.body != BodyLength::None);
    offered(&request);
}

/// The handshake, and what answers it.
fn offered(request: &Request<'_, '_>) {
    let offer = match Offer::read(request.headers()) {
        Ok(offer) => offer,
        Err(refusal) => {
            assert!(matches!(refusal.status(), 400 | 426) && !refusal.label().is_empty());
            assert!(!refusal.to_string().contains(['\r', '\n']));
            return;
        }
    };
    assert!(request.wants_upgrade());
    let mut out = Vec::new();
    encode_response(&mut out, offer.key(), None, None);
    let accept = handshake::accept_key(offer.key());
    assert_eq!(read_answer(&out, false), Answer::Complete { status: 101, len: out.len(), keep_alive: true });
    assert!(out.windows(accept.len()).any(|window| window == accept));
}

fn refused(refusal: Refusal) {
    let text = refusal.to_string();
    assert!(!text.contains(['\r', '\n']) && !refusal.label().is_empty() && refusal.status().code() >= 400);
    let mut out = Vec::new();
    refusal.encode(&mut out, false, false);
    let status = refusal.status().code();
    assert_eq!(read_answer(&out, false), Answer::Complete { status, len: out.len(), keep_alive: false });
}

/// The lines of a head, without those before the first that is not empty, and without the empty one at its end.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).collect()
}

/// A line cut at its first colon, white space around the value left out.
pub fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = line.iter().position(|&byte| byte == b':').expect("an accepted field has a colon");
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = &line[colon + 1..];
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    (&line[..colon], &value[start..end])
}
