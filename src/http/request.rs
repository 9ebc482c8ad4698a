//! A request's head as a value that cannot be wrong: parsed once, borrowed from the bytes it came in.
//!
//! `httparse` does the tokenising. This file adds what it leaves to its caller: which lines are refused and
//! with which words, the rules on Host (RFC 9112 §3.2) and on body length (RFC 9112 §6), and what the
//! connection options mean.
//!
//! Invariants: a [`Request`] has exactly one valid Host, at most one statement of where its body ends, and is
//! HTTP/1.1.

use super::{BodyLength, Refusal, host, is_token_byte, list};

/// What the request wants done. Other methods are only ever answered with 405.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// OPTIONS
    Options,
    /// Any other token; methods are case-sensitive (RFC 9110 §9.1).
    Other,
}

/// Slots for header fields, lent to [`Request::parse`]; about 3 KiB, so it lives on the stack of who parses.
#[derive(Debug)]
pub struct Storage<'b>([httparse::Header<'b>; Storage::HEADERS_MAX]);

impl Storage<'_> {
    /// How many fields a head can have at most, whatever the limits say.
    pub const HEADERS_MAX: usize = 100;

    /// Empty slots.
    #[must_use]
    pub const fn new() -> Self {
        Self([httparse::EMPTY_HEADER; Self::HEADERS_MAX])
    }
}

impl<'b> Storage<'b> {
    pub(super) const fn slots(&mut self) -> &mut [httparse::Header<'b>] {
        &mut self.0
    }
}

impl Default for Storage<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// A parsed head, borrowed from its bytes (`'b`) and from the header slots (`'h`).
#[derive(Clone, Copy, Debug)]
pub struct Request<'h, 'b> {
    /// The method.
    pub method: Method,
    /// The target's path as it was sent, percent escapes and all; begins with `/` (or is `*`, for OPTIONS).
    pub path: &'b str,
    /// The target's query without its `?`; empty if there is none.
    pub query: &'b str,
    /// Host and port the peer asks for: from an absolute target if there is one, else from Host (RFC 9112
    /// §3.3).
    pub host: &'b str,
    /// Whether the peer wants the connection to stay open (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Where the body ends.
    pub body: BodyLength,
    headers: &'h [httparse::Header<'b>],
}

impl<'h, 'b> Request<'h, 'b> {
    /// Parses a head that is whole, as [`HeadScan`](super::HeadScan) cut it out: `head` ends with the empty
    /// line.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(head: &'b [u8], storage: &'h mut Storage<'b>) -> Result<Self, Refusal> {
        let mut parsed = httparse::Request::new(storage.slots());
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::RequestLineMalformed),
            Err(error) => return Err(diagnose(head, error)),
        }
        // httparse knows 1.0 and 1.1 only, and tells them apart by the minor digit.
        if parsed.version != Some(1) {
            return Err(Refusal::VersionUnsupported);
        }
        let method = method(parsed.method.unwrap_or_default());
        let target = Target::split(parsed.path.unwrap_or_default(), method)?;
        let mut request = Request {
            method,
            path: target.path,
            query: target.query,
            host: "",
            keep_alive: true,
            body: BodyLength::None,
            headers: parsed.headers,
        };
        let host = request.only_host()?;
        request.host = target.authority.unwrap_or(host);
        request.body = body_length(request.headers)?;
        request.keep_alive = !request.lists("connection", "close");
        if request.body != BodyLength::None && request.wants_upgrade() {
            return Err(Refusal::UpgradeWithBody);
        }
        Ok(request)
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

    /// Whether the peer asks to leave HTTP for WebSocket. Other protocols it may offer (`h2c` comes from
    /// programs that do so by default) are ignored, as RFC 9110 §7.8 allows. The rest of the handshake is
    /// judged elsewhere.
    #[must_use]
    pub fn wants_upgrade(&self) -> bool {
        self.lists("upgrade", "websocket")
    }

    /// Whether the peer waits for `100 Continue` before it sends its body (RFC 9110 §10.1.1).
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.body != BodyLength::None && self.lists("expect", "100-continue")
    }

    /// Whether a field of this name has `element` in its list; a field sent twice is one list (RFC 9110
    /// §5.3).
    fn lists(&self, name: &str, element: &str) -> bool {
        self.headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .flat_map(|field| list(field.value))
            .any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
    }

    fn only_host(&self) -> Result<&'b str, Refusal> {
        let mut hosts = self.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
        let value = hosts.next().ok_or(Refusal::HostMissing)?.value;
        if hosts.next().is_some() {
            return Err(Refusal::HostDuplicate);
        }
        let host = std::str::from_utf8(value).map_err(|_| Refusal::HostInvalid)?;
        if host::is_valid(value) { Ok(host) } else { Err(Refusal::HostInvalid) }
    }
}

fn method(token: &str) -> Method {
    match token {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    }
}

/// A request target (RFC 9112 §3.2) in its parts.
struct Target<'b> {
    authority: Option<&'b str>,
    path: &'b str,
    query: &'b str,
}

impl<'b> Target<'b> {
    fn split(target: &'b str, method: Method) -> Result<Self, Refusal> {
        // The fragment is never sent (RFC 9110 §4.2.5); bytes beyond ASCII must be escaped (RFC 3986 §2).
        if !target.is_ascii() || target.contains('#') {
            return Err(Refusal::TargetMalformed);
        }
        let (authority, rest) = match without_scheme(target) {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let authority = &rest[..end];
                if !host::is_valid(authority.as_bytes()) {
                    return Err(Refusal::TargetMalformed);
                }
                (Some(authority), &rest[end..])
            }
            None => (None, target),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = match path {
            // RFC 9110 §4.2.3: an absolute URI with an empty path means `/`.
            "" if authority.is_some() => "/",
            "*" if method == Method::Options => path,
            _ if path.starts_with('/') => path,
            // CONNECT names a host here (RFC 9112 §3.2.3); who looks at the method answers it with 405.
            _ if method == Method::Other => path,
            _ => return Err(Refusal::TargetMalformed),
        };
        Ok(Self { authority, path, query })
    }
}

/// What follows the scheme of an absolute URI. Clients of WebSocket may write the scheme they know (RFC 6455
/// §3).
fn without_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(rest)
}

/// Where the body ends (RFC 9112 §6.3). The fields of a request or a response; both must be unambiguous.
pub(super) fn body_length(headers: &[httparse::Header<'_>]) -> Result<BodyLength, Refusal> {
    let values = |name: &'static str| {
        headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    };
    let (mut lengths, mut encodings) = (values("content-length"), values("transfer-encoding"));
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(BodyLength::None),
        (Some(_), Some(_)) => Err(Refusal::LengthAndEncoding),
        (Some(_), None) if lengths.next().is_some() => Err(Refusal::LengthDuplicate),
        (Some(length), None) => match decimal(length) {
            Some(0) => Ok(BodyLength::None),
            Some(length) => Ok(BodyLength::Length(length)),
            None => Err(Refusal::LengthInvalid),
        },
        (None, Some(encoding)) if encoding.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none() => {
            Ok(BodyLength::Chunked)
        }
        (None, Some(_)) => Err(Refusal::EncodingUnsupported),
    }
}

/// Digits only: Rust's own parser would take a sign (RFC 9110 §8.6).
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Finds the words for a head that httparse does not take. It runs for refused heads only, so it may take its
/// time.
#[cold]
fn diagnose(head: &[u8], error: httparse::Error) -> Refusal {
    if error == httparse::Error::TooManyHeaders {
        return Refusal::TooManyHeaders;
    }
    if head.contains(&0) {
        return Refusal::Nul;
    }
    if head.split(|&byte| byte == b'\n').any(|line| line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r'))
    {
        return Refusal::BareCr;
    }
    let mut lines = head
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .skip_while(|line| line.is_empty());
    let request_line = lines.next().unwrap_or_default();
    if error == httparse::Error::Version && names_a_version(request_line) {
        return Refusal::VersionUnsupported;
    }
    lines.take_while(|line| !line.is_empty()).find_map(wrong_field).unwrap_or(Refusal::RequestLineMalformed)
}

/// Whether the line is `METHOD TARGET HTTP/` and digits, so that only the number is wrong.
fn names_a_version(request_line: &[u8]) -> bool {
    let mut words = request_line.split(|&byte| byte == b' ');
    let (word, more) = (words.nth(2).unwrap_or_default(), words.next());
    if more.is_some() {
        return false;
    }
    match word.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        Some([major]) => major.is_ascii_digit(),
        Some(_) | None => false,
    }
}

fn wrong_field(line: &[u8]) -> Option<Refusal> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Some(Refusal::FoldedLine);
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Some(Refusal::ColonMissing);
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.ends_with(b" ") || name.ends_with(b"\t") {
        Some(Refusal::SpaceBeforeColon)
    } else if name.is_empty() || !name.iter().copied().all(is_token_byte) {
        Some(Refusal::HeaderName)
    } else if !value.iter().copied().all(super::is_value_byte) {
        Some(Refusal::HeaderValue)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
