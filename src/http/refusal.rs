//! Why a request is refused: each reason knows its status, its metric label and a line of text for a person.
//!
//! What a peer does wrong is a value, not an error to be logged: the server answers it, counts it and closes.
//!
//! Invariants: every reason has its own label; the text is one line; an answer that refuses always closes the
//! connection, since after a malformed request nobody knows where the next one would begin.

use std::fmt;

use super::barred::{Barred, RETRY_LATER, RETRY_SOON};
use super::response::{Response, Status};

/// What bodies are understood.
const MEDIA_WANTED: &str = "unsupported body: POST /publish/CHANNEL takes any type, POST /publish takes \
     application/x-ndjson with a channel in each line, and neither takes a Content-Encoding";

/// Why a request is refused. The text (`Display`) is one line without a full stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request line is longer than [`Limits::request_line_max`](super::Limits::request_line_max).
    RequestLineTooLong,
    /// The head is longer than [`Limits::head_max`](super::Limits::head_max).
    HeadTooLarge,
    /// More fields than [`Limits::headers_max`](super::Limits::headers_max).
    TooManyHeaders,
    /// Not `method SP target SP version` (RFC 9112 §3).
    RequestLineMalformed,
    /// A version other than HTTP/1.1.
    VersionUnsupported,
    /// A target that is neither a path nor an absolute URI (RFC 9112 §3.2).
    TargetMalformed,
    /// A NUL in the head (RFC 9110 §5.5).
    Nul,
    /// A CR that no LF follows (RFC 9112 §2.2).
    BareCr,
    /// A LF that no CR precedes (RFC 9112 §2.2 allows it; two readings of one stream are worse than a
    /// refusal).
    BareLf,
    /// A field continued on a second line (RFC 9112 §5.2).
    FoldedLine,
    /// White space between a field's name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// A field line without a colon.
    ColonMissing,
    /// A field name that is empty or not a token.
    HeaderName,
    /// A control character in a field value.
    HeaderValue,
    /// No Host (RFC 9112 §3.2).
    HostMissing,
    /// Host more than once.
    HostDuplicate,
    /// Host is not `host[:port]`, or is empty.
    HostInvalid,
    /// Content-Length is not a decimal number, or beyond 64 bits.
    LengthInvalid,
    /// Content-Length more than once, even if equal (RFC 9112 §6.3 leaves the choice).
    LengthDuplicate,
    /// Content-Length together with Transfer-Encoding (RFC 9112 §6.1: possibly smuggling).
    LengthAndEncoding,
    /// A Transfer-Encoding other than `chunked` alone.
    EncodingUnsupported,
    /// A chunk that is not `size [extensions] CRLF data CRLF` (RFC 9112 §7.1).
    ChunkMalformed,
    /// Chunk extensions and trailers beyond their bound.
    ChunkExtrasTooLarge,
    /// A body longer than the server takes.
    BodyTooLarge,
    /// A request to upgrade that has a body.
    UpgradeWithBody,
    /// The head was not complete in time.
    HeadTimeout,
    /// The body was not complete in time.
    BodyTimeout,
    /// Nothing is served at this path.
    PathUnknown,
    /// The path, a name or a parameter in the target makes no sense to the route.
    PathMalformed,
    /// This path does not know the method; `allow` lists those that it knows (RFC 9110 §15.5.6).
    MethodNotAllowed {
        /// The value of the `Allow` field, such as `GET, HEAD`.
        allow: &'static str,
    },
    /// A body is wanted, and nothing says how long it is (RFC 9110 §15.5.12).
    LengthRequired,
    /// A body of a type or in a coding that is not understood here (RFC 9110 §15.5.16).
    MediaUnsupported,
    /// Nobody is in the channel, and nothing of it is kept.
    ChannelUnknown,
    /// Too much waits for delivery to take more.
    Congested,
    /// The peer may not come in.
    Barred(Barred),
    /// The server is at its bound of connections or is shutting down.
    Unavailable,
}

impl Refusal {
    /// The status that answers it.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::RequestLineTooLong => Status::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyHeaders | Self::ChunkExtrasTooLarge => {
                Status::HEADERS_TOO_LARGE
            }
            Self::VersionUnsupported => Status::VERSION_NOT_SUPPORTED,
            Self::EncodingUnsupported => Status::NOT_IMPLEMENTED,
            Self::BodyTooLarge => Status::CONTENT_TOO_LARGE,
            Self::HeadTimeout | Self::BodyTimeout => Status::REQUEST_TIMEOUT,
            Self::PathUnknown | Self::ChannelUnknown => Status::NOT_FOUND,
            Self::LengthRequired => Status::LENGTH_REQUIRED,
            Self::MediaUnsupported => Status::UNSUPPORTED_MEDIA_TYPE,
            Self::Congested => Status::TOO_MANY_REQUESTS,
            Self::MethodNotAllowed { .. } => Status::METHOD_NOT_ALLOWED,
            Self::Barred(why) => why.status(),
            Self::Unavailable => Status::SERVICE_UNAVAILABLE,
            Self::RequestLineMalformed
            | Self::TargetMalformed
            | Self::Nul
            | Self::BareCr
            | Self::BareLf
            | Self::FoldedLine
            | Self::SpaceBeforeColon
            | Self::ColonMissing
            | Self::HeaderName
            | Self::HeaderValue
            | Self::HostMissing
            | Self::HostDuplicate
            | Self::HostInvalid
            | Self::LengthInvalid
            | Self::LengthDuplicate
            | Self::LengthAndEncoding
            | Self::ChunkMalformed
            | Self::UpgradeWithBody
            | Self::PathMalformed => Status::BAD_REQUEST,
        }
    }

    /// The label under which it is counted.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.words().0
    }

    /// Appends the whole answer: status, one line of text or of JSON, `Connection: close`. `head_only` answers a HEAD
    /// request.
    pub fn encode(self, out: &mut Vec<u8>, head_only: bool, in_json: bool) {
        let (content_type, text) = reason(&self.to_string(), in_json);
        let mut response = Response::new(self.status()).body(content_type, text.as_bytes());
        if let Self::MethodNotAllowed { allow } = self {
            response = response.header("Allow", allow);
        } else if let Self::Barred(why) = self
            && let Some((name, value)) = why.field()
        {
            response = response.header(name, value);
        } else if self == Self::Unavailable {
            response = response.header(RETRY_LATER.0, RETRY_LATER.1);
        } else if self == Self::Congested {
            response = response.header(RETRY_SOON.0, RETRY_SOON.1);
        }
        response.encode(out, head_only, false);
    }

    /// Label and text, side by side so that neither is forgotten.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::RequestLineTooLong => ("request_line_too_long", "the request line is too long"),
            Self::HeadTooLarge => ("head_too_large", "the request's head is too large"),
            Self::TooManyHeaders => ("too_many_headers", "too many header fields"),
            Self::RequestLineMalformed => {
                ("request_line_malformed", "malformed request line: expected \"METHOD TARGET HTTP/1.1\"")
            }
            Self::VersionUnsupported => {
                ("version_unsupported", "unsupported version: only HTTP/1.1 is spoken here")
            }
            Self::TargetMalformed => {
                ("target_malformed", "malformed request target: expected a path or an absolute http URI")
            }
            Self::Nul => ("nul", "NUL byte in the request's head"),
            Self::BareCr => ("bare_cr", "CR without LF: header lines end with CRLF"),
            Self::BareLf => ("bare_lf", "LF without CR: header lines end with CRLF"),
            Self::FoldedLine => ("folded_line", "folded header line: line folding is obsolete"),
            Self::SpaceBeforeColon => ("space_before_colon", "white space between header name and colon"),
            Self::ColonMissing => ("colon_missing", "header line without a colon"),
            Self::HeaderName => ("header_name", "invalid header name"),
            Self::HeaderValue => ("header_value", "control character in a header value"),
            Self::HostMissing => ("host_missing", "missing Host header: HTTP/1.1 requires exactly one"),
            Self::HostDuplicate => {
                ("host_duplicate", "more than one Host header: HTTP/1.1 requires exactly one")
            }
            Self::HostInvalid => ("host_invalid", "invalid Host header: expected host or host:port"),
            Self::LengthInvalid => ("length_invalid", "invalid Content-Length: expected one decimal number"),
            Self::LengthDuplicate => ("length_duplicate", "more than one Content-Length header"),
            Self::LengthAndEncoding => (
                "length_and_encoding",
                "both Content-Length and Transfer-Encoding: only one may say where a body ends",
            ),
            Self::EncodingUnsupported => (
                "encoding_unsupported",
                "unsupported Transfer-Encoding: only a single \"chunked\" is understood",
            ),
            Self::ChunkMalformed => ("chunk_malformed", "malformed chunk in the request's body"),
            Self::ChunkExtrasTooLarge => (
                "chunk_extras_too_large",
                "chunk extensions and trailers of the request's body are too large",
            ),
            Self::BodyTooLarge => ("body_too_large", "the request's body is too large"),
            Self::UpgradeWithBody => ("upgrade_with_body", "a request to upgrade cannot have a body"),
            Self::HeadTimeout => ("head_timeout", "the request's head was not complete in time"),
            Self::BodyTimeout => ("body_timeout", "the request's body was not complete in time"),
            Self::PathUnknown => ("path_unknown", "nothing is served at this path"),
            Self::PathMalformed => ("path_malformed", "malformed path or parameter in the request target"),
            Self::MethodNotAllowed { .. } => ("method_not_allowed", "method not allowed here"),
            Self::LengthRequired => ("length_required", "no Content-Length, and the body is not in chunks"),
            Self::MediaUnsupported => ("media_unsupported", MEDIA_WANTED),
            Self::ChannelUnknown => {
                ("channel_unknown", "nobody is in this channel, and nothing of it is kept")
            }
            Self::Congested => ("congested", "too much waits for delivery: try again in a second"),
            Self::Barred(why) => why.words(),
            Self::Unavailable => ("unavailable", "the server takes no new connections at the moment"),
        }
    }
}

/// The body of an answer that refuses: its type, and one line that says why.
#[must_use]
pub fn reason(text: &str, in_json: bool) -> (&'static str, String) {
    if in_json {
        ("application/json", format!("{}\n", serde_json::json!({ "error": text })))
    } else {
        ("text/plain; charset=utf-8", format!("{text}\n"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)?;
        if let Self::MethodNotAllowed { allow } = self {
            write!(f, "; allowed: {allow}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_wrong_and_closes() {
        let mut out = Vec::new();
        Refusal::HostMissing.encode(&mut out, false, false);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 51\r\n\
             Connection: close\r\n\r\nmissing Host header: HTTP/1.1 requires exactly one\n"
        );
    }

    const ALL: [Refusal; 35] = [
        Refusal::RequestLineTooLong,
        Refusal::HeadTooLarge,
        Refusal::TooManyHeaders,
        Refusal::RequestLineMalformed,
        Refusal::VersionUnsupported,
        Refusal::TargetMalformed,
        Refusal::Nul,
        Refusal::BareCr,
        Refusal::BareLf,
        Refusal::FoldedLine,
        Refusal::SpaceBeforeColon,
        Refusal::ColonMissing,
        Refusal::HeaderName,
        Refusal::HeaderValue,
        Refusal::HostMissing,
        Refusal::HostDuplicate,
        Refusal::HostInvalid,
        Refusal::LengthInvalid,
        Refusal::LengthDuplicate,
        Refusal::LengthAndEncoding,
        Refusal::EncodingUnsupported,
        Refusal::ChunkMalformed,
        Refusal::ChunkExtrasTooLarge,
        Refusal::BodyTooLarge,
        Refusal::UpgradeWithBody,
        Refusal::HeadTimeout,
        Refusal::BodyTimeout,
        Refusal::PathUnknown,
        Refusal::PathMalformed,
        Refusal::MethodNotAllowed { allow: "GET" },
        Refusal::LengthRequired,
        Refusal::MediaUnsupported,
        Refusal::ChannelUnknown,
        Refusal::Congested,
        Refusal::Unavailable,
    ];

    /// The invariants at the head of this file, reason by reason.
    #[test]
    fn every_reason_has_a_label_of_its_own_and_an_answer_that_names_its_status_and_closes() {
        let mut labels: Vec<_> = ALL.iter().map(|refusal| refusal.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ALL.len());
        for refusal in ALL {
            let status = refusal.status();
            assert!((400..600).contains(&status.code()) && !status.reason().is_empty(), "{status}");
            let (mut whole, mut head) = (Vec::new(), Vec::new());
            refusal.encode(&mut whole, false, false);
            refusal.encode(&mut head, true, false);
            let whole = String::from_utf8(whole).unwrap();
            assert!(whole.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{whole}");
            assert!(whole.contains("\r\nConnection: close\r\n"), "{whole}");
            assert!(whole.ends_with(&format!("\r\n\r\n{refusal}\n")) && !refusal.to_string().contains('\n'));
            assert!(whole.as_bytes().starts_with(&head) && head.ends_with(b"\r\n\r\n"));
            let mut json = Vec::new();
            refusal.encode(&mut json, false, true);
            let json = String::from_utf8(json).unwrap();
            let (_, body) = json.split_once("\r\n\r\n").unwrap();
            let said: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(said, serde_json::json!({ "error": refusal.to_string() }));
        }
    }

    #[test]
    fn a_wrong_method_learns_which_are_right() {
        let mut out = Vec::new();
        Refusal::MethodNotAllowed { allow: "GET, HEAD" }.encode(&mut out, true, false);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "HEAD has no body: {text}");
    }
}
