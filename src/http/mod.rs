//! Just enough HTTP/1.1: heads, responses, small bodies, both roles.
//!
//! A WebSocket begins as an HTTP request, and the same port serves a few pages, `/metrics` and
//! `POST /publish`. That is all the HTTP there is here: no pipelining queue, no content coding, no routing.
//! Everything is sans-IO: bytes and limits come in as arguments, values and bytes go out.
//!
//! How a request walks through the room: [`HeadScan`] finds where the head ends without looking at a byte
//! twice, [`Request::parse`] turns the head into a value that cannot be wrong, [`BodyReader`] takes a bounded
//! body, and a [`Response`] or a [`Refusal`] is encoded into the send buffer.
//!
//! Invariants:
//! - What is ambiguous is refused, never guessed: two lengths, two hosts, folded lines, bare CR or LF.
//!   Request smuggling lives on two readers disagreeing (RFC 9112 §11.2).
//! - Every state here is bounded, and results do not depend on how the stream was cut.
//! - No byte of a peer can end a header line that we send.

pub mod barred;
pub mod body;
pub mod client;
mod host;
pub mod origin;
pub mod query;
pub mod refusal;
pub mod request;
pub mod response;
pub mod scan;
pub mod token;

pub use barred::Barred;
pub use body::{BodyLength, BodyReader};
pub use origin::Origins;
pub use refusal::Refusal;
pub use request::{Method, Request, Storage};
pub use response::{Response, Status};
pub use scan::HeadScan;

/// Bounds of a head; one value serves all connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request line in bytes, its CRLF not counted (414 beyond; RFC 9112 §3 recommends at least
    /// 8000).
    pub request_line_max: usize,
    /// Longest head in bytes: request line, fields and the empty line together (431 beyond).
    pub head_max: usize,
    /// Most header fields (431 beyond). More than [`Storage::HEADERS_MAX`] cannot be had.
    pub headers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_line_max: 8 * 1024, head_max: 16 * 1024, headers_max: Storage::HEADERS_MAX }
    }
}

/// Whether `byte` may stand in a method or a field name (`tchar`, RFC 9110 §5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `byte` may stand in a field value (RFC 9110 §5.5): visible, space, tab or beyond ASCII.
const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The elements of a comma-separated list, trimmed, empty ones left out (RFC 9110 §5.6.1.2).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}
