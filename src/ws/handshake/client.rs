//! The client's half of the handshake: ask, and check the answer (RFC 6455 §4.1).
//!
//! A client must fail the connection unless the server's answer proves that it read *this* request as a WebSocket
//! handshake. What is asked for is shared by any number of connections ([`ClientRequest`]); what is each
//! connection's own is its key alone ([`ClientHandshake`], 24 bytes).

use super::super::extension::{Agreed, Ask, Broken};
use super::{STANDARD, Seen, accept_key, list_has, push_field};
use base64::Engine as _;
use std::fmt;

/// What a client asks for; one for all connections to the same place.
#[derive(Clone, Copy, Default, Debug)]
pub struct ClientRequest<'a> {
    /// The `Host` field: name and, unless it is the default one, port.
    pub host: &'a str,
    /// The request target: path and query, beginning with `/`.
    pub target: &'a str,
    /// The `Origin` field, as a browser would send it.
    pub origin: Option<&'a str>,
    /// Subprotocols, the favourite first.
    pub protocols: &'a [&'a str],
    /// Whether to offer permessage-deflate, and how.
    pub deflate: Option<Ask>,
    /// Further fields, as they are.
    pub headers: &'a [(&'a str, &'a str)],
}

/// One connection's handshake: its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientHandshake {
    /// ASCII.
    key: [u8; 24],
}

/// What a server agreed to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Accepted<'h> {
    /// The subprotocol chosen, one of those asked for.
    pub protocol: Option<&'h str>,
    /// What was agreed on, if permessage-deflate was offered and taken.
    pub deflate: Option<Agreed>,
}

impl ClientHandshake {
    /// A handshake with this nonce, which must be drawn at random for each connection (RFC 6455 §4.1, item 7).
    pub fn new(nonce: [u8; 16]) -> Self {
        let mut key = [0; 24];
        STANDARD.encode_slice(nonce, &mut key).expect("16 bytes are 24 characters of base64");
        Self { key }
    }

    /// The value of `Sec-WebSocket-Key`.
    pub fn key(&self) -> &str {
        std::str::from_utf8(&self.key).expect("base64 is ASCII")
    }

    /// Appends the request.
    ///
    /// # Panics
    /// If the target or a field holds a line break, or the target a space: they come from our own side.
    pub fn encode_request(&self, out: &mut Vec<u8>, request: &ClientRequest<'_>) {
        let is_target = |byte: u8| byte > b' ' && byte != 0x7F;
        assert!(request.target.bytes().all(is_target), "a request target is one word");
        for part in ["GET ", request.target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        push_field(out, "Host", request.host);
        push_field(out, "Upgrade", "websocket");
        push_field(out, "Connection", "Upgrade");
        push_field(out, "Sec-WebSocket-Version", "13");
        push_field(out, "Sec-WebSocket-Key", self.key());
        if let Some(origin) = request.origin {
            push_field(out, "Origin", origin);
        }
        if !request.protocols.is_empty() {
            push_field(out, "Sec-WebSocket-Protocol", &request.protocols.join(", "));
        }
        if let Some(ask) = request.deflate {
            push_field(out, "Sec-WebSocket-Extensions", &ask.to_string());
        }
        for (name, value) in request.headers {
            push_field(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Checks the answer to [`encode_request`](Self::encode_request): status and header fields.
    ///
    /// # Errors
    /// Why the connection must be failed (RFC 6455 §4.1, the list behind "Once the client's opening handshake has
    /// been sent").
    pub fn check_response<'h>(
        &self,
        request: &ClientRequest<'_>,
        status: u16,
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Accepted<'h>, Rejection> {
        if status != 101 {
            return Err(Rejection::Status(status));
        }
        let (mut upgrade, mut connects) = (Seen::Never, false);
        let (mut accept, mut protocol, mut extensions) = (Seen::Never, Seen::Never, Seen::Never);
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("Upgrade") {
                upgrade.note(value);
            } else if name.eq_ignore_ascii_case("Connection") {
                connects |= list_has(value, "upgrade");
            } else if name.eq_ignore_ascii_case("Sec-WebSocket-Accept") {
                accept.note(value);
            } else if name.eq_ignore_ascii_case("Sec-WebSocket-Protocol") {
                protocol.note(value);
            } else if name.eq_ignore_ascii_case("Sec-WebSocket-Extensions") {
                extensions.note(value);
            }
        }
        // A server switches to one protocol, so this is a value here, not a list (item 2).
        if !matches!(upgrade, Seen::Once(value) if value.eq_ignore_ascii_case(b"websocket")) || !connects {
            return Err(Rejection::NotUpgraded);
        }
        match accept {
            Seen::Never => return Err(Rejection::AcceptMissing),
            Seen::Once(value) if value == accept_key(self.key()) => {}
            Seen::Once(_) => return Err(Rejection::AcceptWrong),
            Seen::Twice => return Err(Rejection::Duplicate("Sec-WebSocket-Accept")),
        }
        Ok(Accepted {
            deflate: checked_extensions(extensions, request)?,
            protocol: checked_protocol(protocol, request)?,
        })
    }
}

/// Item 5: no extension that was not asked for, and this one only as it was asked for (RFC 7692 §5.1).
fn checked_extensions(seen: Seen<'_>, request: &ClientRequest<'_>) -> Result<Option<Agreed>, Rejection> {
    match (seen, request.deflate) {
        (Seen::Never, _) => Ok(None),
        (Seen::Once(_), None) => Err(Rejection::ExtensionUnasked),
        (Seen::Once(value), Some(ask)) => match ask.check(value) {
            Ok(agreed) => Ok(Some(agreed)),
            Err(Broken::OtherExtension) => Err(Rejection::ExtensionUnasked),
            Err(broken) => Err(Rejection::ExtensionBroken(broken)),
        },
        (Seen::Twice, _) => Err(Rejection::Duplicate("Sec-WebSocket-Extensions")),
    }
}

/// Item 6: no subprotocol that was not asked for. To choose none is allowed.
fn checked_protocol<'h>(seen: Seen<'h>, request: &ClientRequest<'_>) -> Result<Option<&'h str>, Rejection> {
    match seen {
        Seen::Never => Ok(None),
        Seen::Once(value) => match std::str::from_utf8(value) {
            Ok(value) if request.protocols.contains(&value) => Ok(Some(value)),
            Ok(_) | Err(_) => Err(Rejection::ProtocolUnasked),
        },
        Seen::Twice => Err(Rejection::Duplicate("Sec-WebSocket-Protocol")),
    }
}

/// Why an answer does not open a WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// A status other than 101.
    Status(u16),
    /// `Upgrade: websocket` or `Connection: Upgrade` is missing.
    NotUpgraded,
    /// No `Sec-WebSocket-Accept`.
    AcceptMissing,
    /// An accept value for some other key.
    AcceptWrong,
    /// This field stands there twice.
    Duplicate(&'static str),
    /// A subprotocol that was not asked for.
    ProtocolUnasked,
    /// An extension that was not asked for.
    ExtensionUnasked,
    /// permessage-deflate, but not as it was asked for.
    ExtensionBroken(Broken),
}

impl Rejection {
    /// The label in reports: stable, lower case, a bounded set.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::NotUpgraded => "not_upgraded",
            Self::AcceptMissing => "accept_missing",
            Self::AcceptWrong => "accept_wrong",
            Self::Duplicate(_) => "duplicate_header",
            Self::ProtocolUnasked => "protocol_unasked",
            Self::ExtensionUnasked => "extension_unasked",
            Self::ExtensionBroken(_) => "extension_broken",
        }
    }
}

/// One line that says what was wrong.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the server answered with status {status} instead of 101"),
            Self::NotUpgraded => f.write_str("the server's 101 does not upgrade to websocket"),
            Self::AcceptMissing => f.write_str("the server's Sec-WebSocket-Accept is missing"),
            Self::AcceptWrong => f.write_str("the server's Sec-WebSocket-Accept is for another key"),
            Self::Duplicate(name) => write!(f, "the server sent {name} more than once"),
            Self::ProtocolUnasked => f.write_str("the server chose a subprotocol that was not asked for"),
            Self::ExtensionUnasked => f.write_str("the server chose an extension that was not asked for"),
            Self::ExtensionBroken(broken) => write!(f, "the server's answer to permessage-deflate: {broken}"),
        }
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::super::{Offer, encode_response};
    use super::*;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const GOOD: [(&str, &str); 3] =
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)];

    /// The nonce of RFC 6455 §1.3.
    fn handshake() -> ClientHandshake {
        ClientHandshake::new(*b"the sample nonce")
    }

    fn request() -> ClientRequest<'static> {
        ClientRequest {
            host: "there:9001",
            target: "/chat?name=x",
            protocols: &["chat", "superchat"],
            ..Default::default()
        }
    }

    /// Checks the good answer with every field of this name replaced by these values.
    fn with<'h>(
        request: &ClientRequest<'_>,
        name: &'h str,
        values: &[&'h str],
    ) -> Result<Accepted<'h>, Rejection> {
        let mut headers: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
        headers.extend(values.iter().map(|value| (name, *value)));
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        handshake().check_response(request, 101, headers)
    }

    #[test]
    fn a_request_is_byte_for_byte_this() {
        let mut out = Vec::new();
        let request = ClientRequest {
            origin: Some("http://here"),
            deflate: Some(Ask::default()),
            headers: &[("Authorization", "Bearer x")],
            ..request()
        };
        handshake().encode_request(&mut out, &request);
        let expected = "GET /chat?name=x HTTP/1.1\r\n\
            Host: there:9001\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Origin: http://here\r\n\
            Sec-WebSocket-Protocol: chat, superchat\r\n\
            Sec-WebSocket-Extensions: permessage-deflate\r\n\
            Authorization: Bearer x\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// Header fields of a head, as an HTTP parser would give them.
    fn fields(head: &[u8]) -> Vec<(&str, &[u8])> {
        let head = std::str::from_utf8(head).unwrap();
        let lines = head.trim_end().lines().skip(1);
        lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name, value.as_bytes()))
            .collect()
    }

    #[test]
    fn the_two_halves_agree() {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        handshake().encode_request(&mut asked, &request());
        let offer = Offer::read(fields(&asked).into_iter()).unwrap();
        encode_response(&mut answered, offer.key(), offer.protocols().nth(1), None);
        let accepted = handshake().check_response(&request(), 101, fields(&answered).into_iter());
        assert_eq!(accepted, Ok(Accepted { protocol: Some("superchat"), deflate: None }));
    }

    #[test]
    fn any_other_status_is_no_upgrade() {
        for status in [100, 200, 301, 400, 426, 503] {
            let headers = GOOD.iter().map(|(name, value)| (*name, value.as_bytes()));
            let answer = handshake().check_response(&request(), status, headers);
            assert_eq!(answer, Err(Rejection::Status(status)));
        }
    }

    #[test]
    fn the_answer_must_upgrade_to_websocket_and_nothing_else() {
        assert!(with(&request(), "Upgrade", &["WebSocket"]).is_ok());
        assert!(with(&request(), "Connection", &["keep-alive", "upgrade"]).is_ok());
        for values in [&[][..], &["h2c"], &["websocket, h2c"], &["websocket", "websocket"]] {
            assert_eq!(with(&request(), "Upgrade", values), Err(Rejection::NotUpgraded), "{values:?}");
        }
        for values in [&[][..], &["close"]] {
            assert_eq!(with(&request(), "Connection", values), Err(Rejection::NotUpgraded), "{values:?}");
        }
    }

    #[test]
    fn the_accept_value_must_be_there_once_and_be_ours() {
        let name = "Sec-WebSocket-Accept";
        assert!(with(&request(), name, &[" s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\t"]).is_ok());
        assert_eq!(with(&request(), name, &[]), Err(Rejection::AcceptMissing));
        assert_eq!(with(&request(), name, &[ACCEPT, ACCEPT]), Err(Rejection::Duplicate(name)));
        for wrong in ["", "S3PPLMBITXAQ9KYGZZHZRBK+XOO=", "dGhlIHNhbXBsZSBub25jZQ=="] {
            assert_eq!(with(&request(), name, &[wrong]), Err(Rejection::AcceptWrong), "{wrong}");
        }
    }

    #[test]
    fn a_protocol_must_be_one_of_those_asked_for() {
        let name = "Sec-WebSocket-Protocol";
        let chosen = with(&request(), name, &["superchat"]).map(|accepted| accepted.protocol);
        assert_eq!(chosen, Ok(Some("superchat")));
        assert_eq!(with(&request(), name, &[]), Ok(Accepted::default()), "to choose none is allowed");
        for wrong in ["Chat", "chat, superchat", "", "other"] {
            assert_eq!(with(&request(), name, &[wrong]), Err(Rejection::ProtocolUnasked), "{wrong}");
        }
        assert_eq!(with(&request(), name, &["chat", "chat"]), Err(Rejection::Duplicate(name)));
        let nothing = ClientRequest { protocols: &[], ..request() };
        assert_eq!(with(&nothing, name, &["chat"]), Err(Rejection::ProtocolUnasked));
    }

    #[test]
    fn an_extension_must_have_been_asked_for() {
        let name = "Sec-WebSocket-Extensions";
        assert_eq!(with(&request(), name, &["permessage-deflate"]), Err(Rejection::ExtensionUnasked));
        let asking = ClientRequest { deflate: Some(Ask::default()), ..request() };
        let chosen = with(&asking, name, &["permessage-deflate"]).map(|accepted| accepted.deflate);
        assert_eq!(
            chosen,
            Ask::default().check(b"permessage-deflate").map(Some).map_err(Rejection::ExtensionBroken)
        );
        assert_eq!(with(&asking, name, &["x-webkit-deflate-frame"]), Err(Rejection::ExtensionUnasked));
        assert_eq!(
            with(&asking, name, &["permessage-deflate; client_max_window_bits=10"]),
            Err(Rejection::ExtensionBroken(Broken::ClientBitsUnasked))
        );
        assert_eq!(with(&asking, name, &["a", "b"]), Err(Rejection::Duplicate(name)));
    }

    #[test]
    fn every_rejection_has_a_line_and_a_label_of_its_own() {
        let all = [
            Rejection::Status(503),
            Rejection::NotUpgraded,
            Rejection::AcceptMissing,
            Rejection::AcceptWrong,
            Rejection::Duplicate("Sec-WebSocket-Accept"),
            Rejection::ProtocolUnasked,
            Rejection::ExtensionUnasked,
            Rejection::ExtensionBroken(Broken::ServerBitsMissing),
        ];
        let labels: std::collections::BTreeSet<_> = all.iter().map(|rejection| rejection.label()).collect();
        assert_eq!(labels.len(), all.len());
        assert!(all.iter().all(|rejection| rejection.to_string().starts_with("the server")));
    }

    #[test]
    #[should_panic(expected = "one word")]
    fn a_target_cannot_become_a_second_line() {
        let request = ClientRequest { target: "/ HTTP/1.1\r\nX: y", ..request() };
        handshake().encode_request(&mut Vec::new(), &request);
    }

    #[test]
    #[should_panic(expected = "one line")]
    fn a_field_cannot_become_a_second_one() {
        let request = ClientRequest { headers: &[("X", "y\r\nZ: z")], ..request() };
        handshake().encode_request(&mut Vec::new(), &request);
    }
}
