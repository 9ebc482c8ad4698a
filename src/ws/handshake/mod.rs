//! The opening handshake: what turns an HTTP request into a WebSocket connection (RFC 6455 §1.3, §4).
//!
//! Both roles, and neither knows HTTP: headers come in as an iterator of names and values, answers go out as
//! bytes. The server's half is [`Offer`] and [`encode_response`], the client's [`ClientHandshake`]; what they
//! share — the accept key and the grammar of lists — stands here.
//!
//! ```text
//!   client                                                server
//!   GET /chat HTTP/1.1
//!   Upgrade: websocket, Connection: Upgrade
//!   Sec-WebSocket-Version: 13
//!   Sec-WebSocket-Key: base64(16 random bytes)   ──────▶  Offer::read
//!   Sec-WebSocket-Protocol: a, b
//!                                                         101 Switching Protocols
//!                                                         Upgrade: websocket, Connection: Upgrade
//!   ClientHandshake::check_response              ◀──────  Sec-WebSocket-Accept: base64(sha1(key + GUID))
//!                                                         Sec-WebSocket-Protocol: a
//! ```

mod client;
mod offer;

pub use client::{Accepted, ClientHandshake, ClientRequest, Rejection};
pub use offer::{Offer, PROTOCOLS_MAX, Refusal};

use super::extension::Agreed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// What a server appends to the key before hashing, to prove that it speaks WebSocket (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept` for a key, as ASCII: `base64(sha1(key + GUID))` (RFC 6455 §4.2.2).
pub fn accept_key(key: &str) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    STANDARD.encode_slice(digest, &mut accept).expect("20 bytes are 28 characters of base64");
    accept
}

/// Appends the answer that accepts an offer (RFC 6455 §4.2.2): `101` and what goes with it. `protocol` is the one
/// chosen of those offered, `deflate` what was agreed on with [`negotiate`](super::extension::negotiate).
///
/// # Panics
/// If `protocol` is not a token: it comes from our own list.
pub fn encode_response(out: &mut Vec<u8>, key: &str, protocol: Option<&str>, deflate: Option<Agreed>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_key(key));
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        assert!(is_token(protocol.as_bytes()), "a subprotocol is a token");
        push_field(out, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(agreed) = deflate {
        push_field(out, "Sec-WebSocket-Extensions", &agreed.to_string());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one header field. A line break in it would let a value become a header of its own.
fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    let is_one_line = |text: &str| !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    assert!(is_one_line(name) && is_one_line(value), "a header field is one line");
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A field that may be there at most once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen<'h> {
    Never,
    Once(&'h [u8]),
    Twice,
}

impl<'h> Seen<'h> {
    fn note(&mut self, value: &'h [u8]) {
        *self = match self {
            Self::Never => Self::Once(value.trim_ascii()),
            Self::Once(_) | Self::Twice => Self::Twice,
        };
    }
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1), white space stripped, empty elements left out.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether a list holds this token, in any case of letters.
fn list_has(value: &[u8], token: &str) -> bool {
    list(value).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether this is a token (RFC 9110 §5.6.2): one or more printable characters that delimit nothing.
pub(super) fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::super::extension::{Policy, negotiate};
    use super::*;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn the_rfc_s_own_accept_key() {
        assert_eq!(&accept_key("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_response_is_byte_for_byte_this() {
        let mut out = Vec::new();
        let offers = [&b"permessage-deflate; server_max_window_bits=12"[..]];
        let agreed = negotiate(offers.into_iter(), Policy::Shared);
        encode_response(&mut out, "dGhlIHNhbXBsZSBub25jZQ==", Some("chat"), agreed);
        let expected = "HTTP/1.1 101 Switching Protocols\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
            Sec-WebSocket-Protocol: chat\r\n\
            Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
            client_no_context_takeover; server_max_window_bits=9\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    #[should_panic(expected = "a subprotocol is a token")]
    fn a_response_cannot_be_made_to_hold_a_header_of_somebody_else() {
        encode_response(&mut Vec::new(), "dGhlIHNhbXBsZSBub25jZQ==", Some("a\r\nSet-Cookie: b"), None);
    }

    #[test]
    fn lists_tokens_and_white_space() {
        let elements: Vec<&[u8]> = list(b"\t a ,,b\t, c d ,").collect();
        assert_eq!(elements, [&b"a"[..], b"b", b"c d"]);
        assert!(list_has(b"keep-alive,\tUPGRADE", "upgrade"));
        assert!(!list_has(b"upgraded", "upgrade"));
        assert!(is_token(b"v1.chat~x"));
        for bad in [&b""[..], b"a b", b"a/b", b"\"a\"", b"a=b", b"caf\xc3\xa9", b"a\x7f"] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}
