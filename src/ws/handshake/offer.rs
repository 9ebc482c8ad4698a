//! The server's half of the handshake: is this a request to open a WebSocket, and for what (RFC 6455 §4.2.1).
//!
//! Parsing is the check: an [`Offer`] exists only if the request asked for this protocol in this version with a
//! well-formed key, so nothing behind it has to ask again. What it may not be yet (method, HTTP version, Host,
//! path, origin) is HTTP's side of the handshake and is judged there.

use super::{Seen, is_token, list, list_has};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use std::fmt;

/// How many subprotocols a client may offer. Each is compared with those before it, so there must be an end; nobody
/// in earnest offers more than a handful.
pub const PROTOCOLS_MAX: usize = 64;

/// What a client asks for: a valid key, version 13, and perhaps subprotocols.
#[derive(Clone, Debug)]
pub struct Offer<'h> {
    key: &'h str,
    protocols: Vec<&'h str>,
}

/// The fields of a request that the handshake reads, before they are judged.
struct Fields<'h> {
    upgrades: bool,
    connects: bool,
    version: Seen<'h>,
    key: Seen<'h>,
    /// `None`: no such field. `Some(Err)`: one that is malformed.
    protocols: Option<Result<Vec<&'h str>, Refusal>>,
}

impl<'h> Offer<'h> {
    /// Reads the header fields of a request. Names are compared in any case, lists may be spread over lines.
    ///
    /// # Errors
    /// Why this is no handshake that we can accept; see [`Refusal`] for what to answer. A request that does not ask
    /// for an upgrade is told just that, whatever else it has.
    pub fn read(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Result<Self, Refusal> {
        let fields = Fields::gather(headers);
        // RFC 6455 §4.2.1 items 3 and 4.
        if !(fields.upgrades && fields.connects) {
            return Err(Refusal::NotUpgrade);
        }
        // Item 6. A version twice is a contradiction; a version missing is a version that we do not speak (§4.4).
        match fields.version {
            Seen::Once(b"13") => {}
            Seen::Never | Seen::Once(_) => return Err(Refusal::Version),
            Seen::Twice => return Err(Refusal::Duplicate("Sec-WebSocket-Version")),
        }
        // Item 5.
        let key = match fields.key {
            Seen::Never => return Err(Refusal::KeyMissing),
            Seen::Once(key) => valid_key(key).ok_or(Refusal::KeyMalformed)?,
            Seen::Twice => return Err(Refusal::Duplicate("Sec-WebSocket-Key")),
        };
        // Item 8.
        let protocols = fields.protocols.unwrap_or(Ok(Vec::new()))?;
        Ok(Self { key, protocols })
    }

    /// The subprotocols asked for, the client's favourite first, no two alike. They are tokens, but the peer's
    /// bytes: answer with your own copy of the name.
    pub fn protocols(&self) -> impl Iterator<Item = &'h str> + '_ {
        self.protocols.iter().copied()
    }

    /// The key, for [`encode_response`](super::encode_response): 24 characters of base64.
    pub fn key(&self) -> &'h str {
        self.key
    }
}

impl<'h> Fields<'h> {
    fn gather(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut fields = Self {
            upgrades: false,
            connects: false,
            version: Seen::Never,
            key: Seen::Never,
            protocols: None,
        };
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("Upgrade") {
                fields.upgrades |= list_has(value, "websocket");
            } else if name.eq_ignore_ascii_case("Connection") {
                fields.connects |= list_has(value, "upgrade");
            } else if name.eq_ignore_ascii_case("Sec-WebSocket-Version") {
                fields.version.note(value);
            } else if name.eq_ignore_ascii_case("Sec-WebSocket-Key") {
                fields.key.note(value);
            } else if name.eq_ignore_ascii_case("Sec-WebSocket-Protocol") {
                let earlier = fields.protocols.take().unwrap_or(Ok(Vec::new()));
                fields.protocols = Some(earlier.and_then(|earlier| with_protocols(earlier, value)));
            }
        }
        fields
    }
}

/// The protocols so far and those of one more line, which must hold at least one (RFC 6455 §4.1, item 10, and §11.3.4).
fn with_protocols<'h>(mut protocols: Vec<&'h str>, line: &'h [u8]) -> Result<Vec<&'h str>, Refusal> {
    let before = protocols.len();
    for element in list(line) {
        let name = std::str::from_utf8(element).map_err(|_| Refusal::ProtocolMalformed)?;
        if !is_token(element) || protocols.len() == PROTOCOLS_MAX {
            return Err(Refusal::ProtocolMalformed);
        }
        // The elements "MUST all be unique strings"; protocol names are case-sensitive.
        if protocols.contains(&name) {
            return Err(Refusal::ProtocolRepeated);
        }
        protocols.push(name);
    }
    if protocols.len() == before { Err(Refusal::ProtocolMalformed) } else { Ok(protocols) }
}

/// The key as text, if it is base64 of 16 bytes (RFC 6455 §4.2.1, item 5).
fn valid_key(key: &[u8]) -> Option<&str> {
    /// Takes a last character whose unused bits are not zero: it still decodes to 16 bytes, and there are clients
    /// that draw 22 random characters and append `==`.
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    let mut nonce = [0; 18];
    let is_valid = key.len() == 24 && LENIENT.decode_slice(key, &mut nonce) == Ok(16);
    if is_valid { std::str::from_utf8(key).ok() } else { None }
}

/// Why a request does not open a WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It does not ask for an upgrade to `websocket`.
    NotUpgrade,
    /// It asks for a version other than 13, or for none.
    Version,
    /// No `Sec-WebSocket-Key`.
    KeyMissing,
    /// A key that is not base64 of 16 bytes.
    KeyMalformed,
    /// This field stands there twice; whether they agree or not, only one may be there.
    Duplicate(&'static str),
    /// `Sec-WebSocket-Protocol` is empty, holds something that is not a token, or more than [`PROTOCOLS_MAX`].
    ProtocolMalformed,
    /// `Sec-WebSocket-Protocol` names a protocol twice.
    ProtocolRepeated,
}

impl Refusal {
    /// The HTTP status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotUpgrade | Self::Version => 426,
            Self::KeyMissing
            | Self::KeyMalformed
            | Self::Duplicate(_)
            | Self::ProtocolMalformed
            | Self::ProtocolRepeated => 400,
        }
    }

    /// The header fields that the answer must bear: a 426 says what to upgrade to (RFC 9110 §15.5.22), and one for a
    /// version says which version would do (RFC 6455 §4.4).
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::NotUpgrade => &[("Upgrade", "websocket")],
            Self::Version => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            Self::KeyMissing
            | Self::KeyMalformed
            | Self::Duplicate(_)
            | Self::ProtocolMalformed
            | Self::ProtocolRepeated => &[],
        }
    }

    /// The metric label: stable, lower case, a bounded set.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotUpgrade => "not_upgrade",
            Self::Version => "version",
            Self::KeyMissing => "key_missing",
            Self::KeyMalformed => "key_malformed",
            Self::Duplicate(_) => "duplicate_header",
            Self::ProtocolMalformed => "protocol_malformed",
            Self::ProtocolRepeated => "protocol_repeated",
        }
    }
}

/// One line that says what was wrong, for the body of the answer.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUpgrade => {
                f.write_str("this path speaks WebSocket: send Connection: Upgrade and Upgrade: websocket")
            }
            Self::Version => f.write_str("Sec-WebSocket-Version must be 13"),
            Self::KeyMissing => f.write_str("Sec-WebSocket-Key is missing"),
            Self::KeyMalformed => f.write_str("Sec-WebSocket-Key must be base64 of 16 bytes"),
            Self::Duplicate(name) => write!(f, "{name} must be there only once"),
            Self::ProtocolMalformed => {
                write!(f, "Sec-WebSocket-Protocol must be a list of 1 to {PROTOCOLS_MAX} tokens")
            }
            Self::ProtocolRepeated => f.write_str("Sec-WebSocket-Protocol names a protocol twice"),
        }
    }
}

impl std::error::Error for Refusal {}
