//! Close codes and the body of a close frame (RFC 6455 §5.5.1, §7.4).
//!
//! Which codes may be on the wire is a table of the RFC with a hole in the middle (1004–1006) and later entries
//! in IANA's registry (1012–1014); it stands here once, for both directions. A body is built so that it always
//! fits a control frame.
//!
//! ```text
//!   empty                  no code was given (reported as 1005, which is never on the wire)
//!   | code, big-endian 16 | reason, UTF-8, 0–123 bytes |
//! ```

use super::violation::Violation;
use std::fmt;

/// How long a reason may be, in bytes: what 125 bytes of control frame leave behind the code (RFC 6455 §5.5).
pub const REASON_BYTES_MAX: usize = 123;

/// Why a connection closes (RFC 6455 §7.4). Any number is representable; whether it may be on the wire is asked
/// with [`may_be_sent`](Self::may_be_sent) and [`may_be_received`](Self::may_be_received).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data that this endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Stands for a close frame without a code; never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// Stands for an end without a close frame; never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// Data that is not what its kind promises, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer broke a policy that no other code names.
    pub const POLICY: Self = Self(1008);
    /// A message too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// A client misses an extension that it needs.
    pub const EXTENSION_MISSING: Self = Self(1010);
    /// An unexpected condition in the server.
    pub const INTERNAL: Self = Self(1011);
    /// The service restarts (IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded: come back later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got a bad answer from behind it (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The code of this number.
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether an endpoint may put this code into a close frame: the codes of RFC 6455 §7.4.1 that are not
    /// marked "MUST NOT be set", the three that IANA has added, and the ranges 3000–3999 (registered by
    /// libraries) and 4000–4999 (private) of §7.4.2.
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether a close frame with this code is a legal one. The same codes in both directions: what nobody may
    /// send, nobody can legally receive.
    pub const fn may_be_received(self) -> bool {
        self.may_be_sent()
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Appends the body of a close frame: the code and as much of `reason` as fits in [`REASON_BYTES_MAX`], cut
/// between characters.
///
/// # Panics
/// If the code must not be sent: that is a mistake of ours, never of a peer.
pub fn encode_body(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    assert!(code.may_be_sent(), "close code {code} must not be on the wire");
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)]);
}

/// Reads the body of a close frame: `None` if it is empty.
///
/// # Errors
/// A body of one byte, a code that must not be on the wire, a reason that is not UTF-8 (RFC 6455 §5.5.1, §7.4).
pub fn decode_body(body: &[u8]) -> Result<Option<(CloseCode, &str)>, Violation> {
    match body {
        [] => Ok(None),
        [_] => Err(Violation::CloseBodyShort),
        [high, low, reason @ ..] => {
            let code = CloseCode(u16::from_be_bytes([*high, *low]));
            if !code.may_be_received() {
                return Err(Violation::CloseCodeForbidden(code));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
            Ok(Some((code, reason)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(code: u16, reason: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes(), reason].concat()
    }

    /// Autobahn 7.7.* and 7.9.*, and every number beside them.
    #[test]
    fn exactly_the_registered_codes_may_be_on_the_wire() {
        for code in 0..=u16::MAX {
            let legal = matches!(
                code,
                1000 | 1001 | 1002 | 1003 | 1007 | 1008 | 1009 | 1010 | 1011 | 1012 | 1013 | 1014
            ) || (3000..5000).contains(&code);
            assert_eq!(CloseCode::new(code).may_be_sent(), legal, "{code}");
            assert_eq!(decode_body(&body(code, b"")).is_ok(), legal, "{code}");
        }
    }

    #[test]
    fn a_code_is_its_number() {
        assert_eq!(CloseCode::from(4000).to_string(), "4000");
        assert_eq!(u16::from(CloseCode::GOING_AWAY), 1001);
        assert_eq!(CloseCode::from(1001), CloseCode::GOING_AWAY);
    }

    /// Autobahn 7.3.*: empty, one byte, a code, a code with a reason, the longest reason.
    #[test]
    fn bodies_of_every_shape() {
        assert_eq!(decode_body(b""), Ok(None));
        assert_eq!(decode_body(b"\x03"), Err(Violation::CloseBodyShort));
        assert_eq!(decode_body(&body(1000, b"")), Ok(Some((CloseCode::NORMAL, ""))));
        assert_eq!(decode_body(&body(1000, b"bye")), Ok(Some((CloseCode::NORMAL, "bye"))));
        let long = "*".repeat(REASON_BYTES_MAX);
        assert_eq!(decode_body(&body(4999, long.as_bytes())), Ok(Some((CloseCode::new(4999), &*long))));
    }

    /// Autobahn 7.5.1, and what looks like UTF-8 but is not.
    #[test]
    fn a_reason_must_be_utf8() {
        for bad in [
            &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..],
            b"\xff",
            b"half \xe2\x82",
        ] {
            assert_eq!(decode_body(&body(1000, bad)), Err(Violation::CloseReasonNotUtf8), "{bad:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        for (reason, kept) in [
            ("short".to_string(), 5),
            ("x".repeat(500), 123),
            ("é".repeat(100), 122),
            (format!("x{}", "é".repeat(100)), 123),
            ("😀".repeat(40), 120),
        ] {
            let mut out = Vec::new();
            encode_body(&mut out, CloseCode::GOING_AWAY, &reason);
            assert_eq!(out.len(), 2 + kept);
            assert_eq!(decode_body(&out), Ok(Some((CloseCode::GOING_AWAY, &reason[..kept]))));
        }
    }

    #[test]
    #[should_panic(expected = "1005 must not be on the wire")]
    fn we_cannot_send_a_code_that_must_not_be_sent() {
        encode_body(&mut Vec::new(), CloseCode::NO_STATUS, "");
    }
}
