//! Engine.IO 4 on the wire: packets, the payloads of long polling, and the handshake.
//!
//! What comes in is lent from the receive buffer and decoded a packet at a time, since a payload of a megabyte may hold
//! three hundred thousand of them. What goes out is a [`Frame`]: encoded once, counted, and shared by all who get it.
//!
//! Invariants: decoding never panics; what a [`Frame`] encodes, [`Packet::decode`] gives back; a payload ends at its
//! first malformed packet. Source: "Engine.IO protocol", revision 4, §Packet encoding.

use crate::base::tick::{MILLI, Nanos, SECOND};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

/// What stands between the packets of a payload: the ASCII record separator.
pub const SEPARATOR: u8 = 0x1E;

/// Takes base64 with its padding, with a part of it, or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How the server speaks Engine.IO. One for a whole server: sessions share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Time between a pong (or the opening) and the next ping, in nanoseconds; told the client in whole ms.
    pub ping_interval: Nanos,
    /// Time in which a ping must be answered, in nanoseconds; told the client in whole ms.
    pub ping_timeout: Nanos,
    /// Bytes of a POST at most, and of an answer to a GET unless its first packet alone is longer.
    pub max_payload: usize,
    /// Time that a WebSocket has to complete an upgrade, in nanoseconds.
    pub upgrade_timeout: Nanos,
    /// Time that a closing session waits for the GET that it can say so to, in nanoseconds.
    pub close_timeout: Nanos,
    /// Bytes that may wait for the next GET, each packet counted with [`ENTRY_BYTES`](super::session::ENTRY_BYTES).
    pub queue_max: usize,
}

impl Default for Config {
    /// What npm's `engine.io` has; there the queue has no bound, here it is two payloads.
    fn default() -> Self {
        Self {
            ping_interval: 25 * SECOND,
            ping_timeout: 20 * SECOND,
            max_payload: 1_000_000,
            upgrade_timeout: 10 * SECOND,
            close_timeout: 30 * SECOND,
            queue_max: 2_000_000,
        }
    }
}

/// The name of a session, or of a Socket.IO client in a namespace: 20 characters, base64 for URLs of 15 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid([u8; 20]);

impl Sid {
    /// From 15 random bytes. Who knows it speaks for the session, so they must not be guessable.
    #[must_use]
    pub fn new(random: [u8; 15]) -> Self {
        let mut text = [b'A'; 20];
        // 15 bytes are 20 characters, always: the result says only that.
        let _ = URL_SAFE_NO_PAD.encode_slice(random, &mut text);
        Self(text)
    }

    /// Reads one that a client sent; `None` if it cannot be one of ours.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let bytes: [u8; 20] = text.as_bytes().try_into().ok()?;
        let is_ours = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        bytes.iter().all(is_ours).then_some(Self(bytes))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes that it was made from: a server that hides something in them finds it here.
    #[must_use]
    pub fn bytes(&self) -> [u8; 15] {
        let mut bytes = [0; 15];
        let _ = URL_SAFE_NO_PAD.decode_slice(self.0, &mut bytes);
        bytes
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({})", self.as_str())
    }
}

/// What a packet is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketType {
    /// The handshake, from the server.
    Open,
    /// The session ends.
    Close,
    /// Are you there? From the server; from the client only as `2probe`.
    Ping,
    /// I am.
    Pong,
    /// What all this is for.
    Message,
    /// From here on by this WebSocket; from the client.
    Upgrade,
    /// Nothing: it ends a waiting GET.
    Noop,
}

impl PacketType {
    /// All of them, each at its number.
    pub const ALL: [Self; 7] =
        [Self::Open, Self::Close, Self::Ping, Self::Pong, Self::Message, Self::Upgrade, Self::Noop];

    /// The digit on the wire.
    #[must_use]
    pub const fn digit(self) -> char {
        match self {
            Self::Open => '0',
            Self::Close => '1',
            Self::Ping => '2',
            Self::Pong => '3',
            Self::Message => '4',
            Self::Upgrade => '5',
            Self::Noop => '6',
        }
    }

    fn of(digit: char) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.digit() == digit)
    }
}

/// A packet that came in, lent from where it was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet<'p> {
    /// A packet with text, which may be empty.
    Text(PacketType, &'p str),
    /// A binary message: only messages are binary.
    Binary(Cow<'p, [u8]>),
}

impl<'p> Packet<'p> {
    /// Reads a packet of a payload, or the text of a WebSocket message.
    ///
    /// # Errors
    /// What is wrong with it. The session ends: "parse error".
    pub fn decode(text: &'p str) -> Result<Self, Malformed> {
        let first = text.chars().next().ok_or(Malformed::Empty)?;
        let rest = &text[first.len_utf8()..];
        if first == 'b' {
            let bytes = LENIENT.decode(rest).map_err(|_| Malformed::Base64)?;
            return Ok(Self::Binary(Cow::Owned(bytes)));
        }
        PacketType::of(first).map(|kind| Self::Text(kind, rest)).ok_or(Malformed::Type(first))
    }
}

/// Why something is no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// There is nothing: an empty body, or nothing between two separators.
    Empty,
    /// It begins with neither a digit from 0 to 6 nor `b`.
    Type(char),
    /// It begins with `b`, and what follows is not base64.
    Base64,
    /// A body that is not UTF-8.
    NotUtf8,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                f.write_str("a packet must not be empty: it begins with its type, 0 to 6, or with b")
            }
            Self::Type(found) => {
                write!(f, "a packet begins with its type, 0 to 6, or with b, not with {found:?}")
            }
            Self::Base64 => f.write_str("a binary packet must be b and base64"),
            Self::NotUtf8 => f.write_str("a payload must be UTF-8"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The packets of a payload, one after the other; after a malformed one there are no more.
#[derive(Clone, Debug)]
pub struct Payload<'p> {
    rest: Option<&'p str>,
}

impl<'p> Payload<'p> {
    /// Of the body of a POST, or of the answer to a GET.
    #[must_use]
    pub const fn new(text: &'p str) -> Self {
        Self { rest: Some(text) }
    }
}

impl<'p> Iterator for Payload<'p> {
    type Item = Result<Packet<'p>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest?;
        let (packet, rest) = match text.split_once(char::from(SEPARATOR)) {
            Some((packet, rest)) => (packet, Some(rest)),
            None => (text, None),
        };
        let decoded = Packet::decode(packet);
        self.rest = if decoded.is_ok() { rest } else { None };
        Some(decoded)
    }
}

/// What a client said, on its way to the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<'m> {
    /// Text.
    Text(&'m str),
    /// Bytes.
    Binary(Cow<'m, [u8]>),
}

/// A packet to be sent, encoded as a WebSocket carries it. Copies share the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// For a text frame: the digit and what follows it.
    Text(Rc<str>),
    /// For a binary frame: a message, bare.
    Binary(Rc<[u8]>),
}

impl Frame {
    /// A packet of this type with this text.
    #[must_use]
    pub fn packet(kind: PacketType, text: &str) -> Self {
        let mut whole = String::with_capacity(1 + text.len());
        whole.push(kind.digit());
        whole.push_str(text);
        Self::Text(whole.into())
    }

    /// A text message.
    #[must_use]
    pub fn message(text: &str) -> Self {
        Self::packet(PacketType::Message, text)
    }

    /// The opening packet (§Handshake): exactly these five members, in this order, times in milliseconds.
    #[must_use]
    pub fn open(sid: &Sid, upgrades: &[&str], config: &Config) -> Self {
        let upgrades: Vec<String> = upgrades.iter().map(|name| format!("\"{name}\"")).collect();
        let text = format!(
            "{{\"sid\":\"{sid}\",\"upgrades\":[{}],\"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{}}}",
            upgrades.join(","),
            config.ping_interval / MILLI,
            config.ping_timeout / MILLI,
            config.max_payload
        );
        Self::packet(PacketType::Open, &text)
    }

    /// Its length in a payload, in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => 1 + bytes.len().div_ceil(3) * 4,
        }
    }

    /// Appends it to a payload, with a separator before it unless it is the first.
    pub fn append_to(&self, payload: &mut String) {
        if !payload.is_empty() {
            payload.push(char::from(SEPARATOR));
        }
        match self {
            Self::Text(text) => payload.push_str(text),
            Self::Binary(bytes) => {
                payload.push('b');
                STANDARD.encode_string(bytes, payload);
            }
        }
    }

    /// Whether it can be part of a payload: text with a separator in it would come apart there.
    #[must_use]
    pub fn fits_payload(&self) -> bool {
        match self {
            Self::Text(text) => !text.as_bytes().contains(&SEPARATOR),
            Self::Binary(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_digit() {
        for (at, kind) in PacketType::ALL.into_iter().enumerate() {
            assert_eq!(kind.digit().to_digit(10), u32::try_from(at).ok());
            assert_eq!(Packet::decode(&format!("{at}x")), Ok(Packet::Text(kind, "x")));
        }
        assert_eq!(Packet::decode("2probe"), Ok(Packet::Text(PacketType::Ping, "probe")));
        assert_eq!(Packet::decode("4"), Ok(Packet::Text(PacketType::Message, "")));
    }

    #[test]
    fn what_is_no_packet_says_why() {
        assert_eq!(Packet::decode(""), Err(Malformed::Empty));
        assert_eq!(Packet::decode("abc"), Err(Malformed::Type('a')));
        assert_eq!(Packet::decode("7"), Err(Malformed::Type('7')));
        assert_eq!(Packet::decode("é4"), Err(Malformed::Type('é')));
        for wrong in ["b!", "bA", "bAQIDBA=x", "bAQ ID"] {
            assert_eq!(Packet::decode(wrong), Err(Malformed::Base64), "{wrong}");
        }
        assert!(Malformed::Type('a').to_string().contains("not with 'a'"));
    }

    #[test]
    fn binary_is_base64_with_padding_or_without() {
        for text in ["bAQIDBA==", "bAQIDBA"] {
            assert_eq!(Packet::decode(text), Ok(Packet::Binary(vec![1, 2, 3, 4].into())), "{text}");
        }
        assert_eq!(Packet::decode("b"), Ok(Packet::Binary(Vec::new().into())));
    }

    #[test]
    fn a_payload_ends_at_its_first_malformed_packet() {
        let all: Vec<_> = Payload::new("4one\u{1e}x\u{1e}4two").collect();
        assert_eq!(all, [Ok(Packet::Text(PacketType::Message, "one")), Err(Malformed::Type('x'))]);
        assert_eq!(Payload::new("").collect::<Vec<_>>(), [Err(Malformed::Empty)]);
        assert_eq!(Payload::new("4\u{1e}").last(), Some(Err(Malformed::Empty)));
    }

    #[test]
    fn the_handshake_has_five_members_in_order() {
        let sid = Sid::new([0xFF; 15]);
        let frame = Frame::open(&sid, &["websocket"], &Config::default());
        let text = "0{\"sid\":\"____________________\",\"upgrades\":[\"websocket\"],\
                    \"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}";
        assert_eq!(frame, Frame::Text(text.into()));
        let direct = Frame::open(&sid, &[], &Config::default());
        assert!(matches!(direct, Frame::Text(text) if text.contains("\"upgrades\":[],")));
    }

    #[test]
    fn a_sid_can_be_read_back() {
        let sid = Sid::new(*b"fifteen bytes..");
        assert_eq!(Sid::read(sid.as_str()), Some(sid));
        assert_eq!(sid.bytes(), *b"fifteen bytes..");
        for wrong in ["", "short", "____________________x", "....................", "ééééééééééé"]
        {
            assert_eq!(Sid::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn text_with_a_separator_does_not_fit_a_payload() {
        assert!(!Frame::message("a\u{1e}b").fits_payload());
        assert!(Frame::message("ab").fits_payload() && Frame::Binary(Rc::from([SEPARATOR])).fits_payload());
    }
}
