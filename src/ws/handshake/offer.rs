//! The server's half of the handshake: is this a request to open a WebSocket, and for what (RFC 6455 §4.2.1).
//!
//! Parsing is the check: an [`Offer`] exists only if the request asked for this protocol in this version with a
//! well-formed key, so nothing behind it has to ask again. What it may not be yet (method, HTTP version, Host,
//! path, origin) is HTTP's side of the handshake and is judged there.

use super::super::extension::OFFERS_MAX;
use super::{Seen, is_token, list, list_has};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use std::fmt;

/// How many subprotocols a client may offer. Each is compared with those before it, so there must be an end; nobody
/// in earnest offers more than a handful.
pub const PROTOCOLS_MAX: usize = 64;

/// What a client asks for: a valid key, version 13, and perhaps subprotocols and extensions.
#[derive(Clone, Debug)]
pub struct Offer<'h> {
    key: &'h str,
    protocols: Vec<&'h str>,
    extensions: Vec<&'h [u8]>,
}

/// The fields of a request that the handshake reads, before they are judged.
struct Fields<'h> {
    upgrades: bool,
    connects: bool,
    version: Seen<'h>,
    key: Seen<'h>,
    /// `None`: no such field. `Some(Err)`: one that is malformed.
    protocols: Option<Result<Vec<&'h str>, Refusal>>,
    /// Lines with a comma-separated list each; what is not understood there is passed over, so nothing can be wrong.
    extensions: Vec<&'h [u8]>,
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
        // Item 6. Anything but exactly one `13` is a version that we do not speak, and §4.4 has us name the one we do.
        if fields.version != Seen::Once(b"13") {
            return Err(Refusal::Version);
        }
        // Item 5.
        let key = match fields.key {
            Seen::Never => return Err(Refusal::KeyMissing),
            Seen::Once(key) => valid_key(key).ok_or(Refusal::KeyMalformed)?,
            Seen::Twice => return Err(Refusal::Duplicate("Sec-WebSocket-Key")),
        };
        // Item 8.
        let protocols = fields.protocols.unwrap_or(Ok(Vec::new()))?;
        Ok(Self { key, protocols, extensions: fields.extensions })
    }

    /// The subprotocols asked for, the client's favourite first, no two alike. They are tokens, but the peer's
    /// bytes: answer with your own copy of the name.
    pub fn protocols(&self) -> impl Iterator<Item = &'h str> + '_ {
        self.protocols.iter().copied()
    }

    /// The `Sec-WebSocket-Extensions` lines, for [`negotiate`](crate::ws::extension::negotiate).
    pub fn extensions(&self) -> impl Iterator<Item = &'h [u8]> + Clone + '_ {
        self.extensions.iter().copied()
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
            extensions: Vec::new(),
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
            } else if name.eq_ignore_ascii_case("Sec-WebSocket-Extensions")
                && fields.extensions.len() < OFFERS_MAX
            {
                fields.extensions.push(value);
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
            Self::Version => f.write_str("Sec-WebSocket-Version must be 13, once"),
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const GOOD: [(&str, &str); 4] = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];

    fn read<'h>(headers: &[(&'h str, &'h str)]) -> Result<Offer<'h>, Refusal> {
        Offer::read(headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    /// The good request with every field of this name replaced by these values.
    fn with<'h>(name: &'h str, values: &[&'h str]) -> Result<Offer<'h>, Refusal> {
        let mut headers: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
        headers.extend(values.iter().map(|value| (name, *value)));
        read(&headers)
    }

    #[track_caller]
    fn refused(name: &str, values: &[&str], refusal: Refusal) {
        assert_eq!(with(name, values).map(|offer| offer.key), Err(refusal), "{name}: {values:?}");
    }

    #[test]
    fn a_good_request_among_other_fields() {
        let headers =
            [&[("Host", "here"), ("Cookie", "a=b")], &GOOD[..], &[("Origin", "http://there")]].concat();
        let offer = read(&headers).unwrap();
        assert_eq!((offer.key(), offer.protocols().count()), (KEY, 0));
    }

    #[test]
    fn names_and_tokens_in_any_case() {
        let loud: Vec<_> = GOOD.iter().map(|(name, value)| (name.to_uppercase(), *value)).collect();
        let loud: Vec<_> = loud.iter().map(|(name, value)| (&**name, *value)).collect();
        assert!(read(&loud).is_ok());
        assert!(with("Upgrade", &["WebSocket"]).is_ok());
        assert!(with("Connection", &["uPGRADE"]).is_ok());
    }

    #[test]
    fn lists_over_commas_lines_and_tabs() {
        for values in [
            &["keep-alive, Upgrade"][..],
            &["keep-alive", "Upgrade"],
            &["Upgrade", "keep-alive"],
            &["\tkeep-alive\t,\tupgrade\t"],
            &[", ,Upgrade,"],
        ] {
            assert!(with("Connection", values).is_ok(), "{values:?}");
        }
        for values in [&["foo, websocket"][..], &["foo", "websocket"], &["h2c,\twebsocket"]] {
            assert!(with("Upgrade", values).is_ok(), "{values:?}");
        }
    }

    #[test]
    fn what_is_no_upgrade() {
        for values in [&[][..], &[""], &["h2c"], &["websockets"], &["web socket"], &["websocket/13"]] {
            refused("Upgrade", values, Refusal::NotUpgrade);
        }
        for values in [&[][..], &["close"], &["keep-alive"], &["Upgrades"], &["websocket"]] {
            refused("Connection", values, Refusal::NotUpgrade);
        }
        // A plain GET is told that, whatever else it lacks.
        assert_eq!(read(&[("Host", "here")]).map(|offer| offer.key), Err(Refusal::NotUpgrade));
    }

    #[test]
    fn the_version_is_exactly_13_and_there_once() {
        for values in
            [&[][..], &[""], &["8"], &["12"], &["14"], &["013"], &["13.0"], &["+13"], &["13, 8"], &["1 3"]]
        {
            refused("Sec-WebSocket-Version", values, Refusal::Version);
        }
        for values in [["13", "13"], ["13", "8"]] {
            refused("Sec-WebSocket-Version", &values, Refusal::Version);
        }
        assert!(with("Sec-WebSocket-Version", &[" 13\t"]).is_ok());
    }

    #[test]
    fn the_key_is_base64_of_16_bytes_and_there_once() {
        refused("Sec-WebSocket-Key", &[], Refusal::KeyMissing);
        refused("Sec-WebSocket-Key", &[KEY, KEY], Refusal::Duplicate("Sec-WebSocket-Key"));
        for key in [
            "",
            "short",
            "dGhlIHNhbXBsZSBub25jZQ",       // no padding
            "dGhlIHNhbXBsZSBub25jZQ=",      // half of it
            "dGhlIHNhbXBsZSBub25j",         // 15 bytes
            "dGhlIHNhbXBsZSBub25jZQEC",     // 18 bytes in 24 characters
            "dGhlIHNhbXBsZSBub25jZQE=",     // 17 bytes in 24 characters
            "dGhlIHNhbXBsZSBub25jZQ==AAAA", // more behind it
            "dGhlIHNhbXBsZSBub25jZ-==",     // of the other alphabet
            "dGhl IHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jé==",
        ] {
            refused("Sec-WebSocket-Key", &[key], Refusal::KeyMalformed);
        }
        assert!(
            with("Sec-WebSocket-Key", &["dGhlIHNhbXBsZSBub25jZR=="]).is_ok(),
            "unused bits are nobody's business"
        );
        let not_text = [("Sec-WebSocket-Key", &[0xFF; 24][..])];
        let headers = GOOD[..3].iter().map(|(name, value)| (*name, value.as_bytes())).chain(not_text);
        assert_eq!(Offer::read(headers).map(|offer| offer.key), Err(Refusal::KeyMalformed));
    }

    #[test]
    fn protocols_keep_the_clients_order_over_lines() {
        let offer = with("Sec-WebSocket-Protocol", &["chat.v2,\tchat", "Chat , ,x"]).unwrap();
        assert_eq!(offer.protocols().collect::<Vec<_>>(), ["chat.v2", "chat", "Chat", "x"]);
    }

    #[test]
    fn protocols_are_tokens_no_two_alike_and_not_too_many() {
        let name = "Sec-WebSocket-Protocol";
        for values in
            [&[""][..], &[","], &["a b"], &["a", ""], &["a;b"], &["\"a\""], &["caf\u{e9}"], &["a\0"]]
        {
            refused(name, values, Refusal::ProtocolMalformed);
        }
        refused(name, &["a, b, a"], Refusal::ProtocolRepeated);
        refused(name, &["a", "a"], Refusal::ProtocolRepeated);
        let many: Vec<String> = (0..=PROTOCOLS_MAX).map(|i| format!("p{i}")).collect();
        assert!(with(name, &[&many[1..].join(",")]).is_ok());
        refused(name, &[&many.join(",")], Refusal::ProtocolMalformed);
    }

    #[test]
    fn what_to_answer() {
        assert_eq!(Refusal::NotUpgrade.status(), 426);
        assert_eq!(Refusal::NotUpgrade.headers(), [("Upgrade", "websocket")]);
        assert_eq!(Refusal::Version.status(), 426);
        assert!(Refusal::Version.headers().contains(&("Sec-WebSocket-Version", "13")));
        for refusal in [
            Refusal::KeyMissing,
            Refusal::KeyMalformed,
            Refusal::Duplicate("Sec-WebSocket-Key"),
            Refusal::ProtocolMalformed,
            Refusal::ProtocolRepeated,
        ] {
            assert_eq!((refusal.status(), refusal.headers().len()), (400, 0), "{}", refusal.label());
            assert!(refusal.to_string().starts_with("Sec-WebSocket-") && !refusal.to_string().contains('\n'));
        }
    }
}
