//! Why a peer may not come in although it asked well: its origin, its token, its address, its haste.
//!
//! Each reason is answered with what the peer can do about it: which credentials are wanted (RFC 6750 §3), or when to
//! come again (RFC 9110 §10.2.3).
//!
//! Invariant: nothing of the request stands in the answer.

use super::response::Status;

/// Why a peer may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Barred {
    /// The page that asks is of an origin that is not let in (RFC 6455 §4.2.2, item 4).
    OriginForbidden,
    /// Origin is neither `null` nor `scheme://host[:port]`.
    OriginMalformed,
    /// Origin more than once.
    OriginDuplicate,
    /// A token is wanted and none was given.
    TokenMissing,
    /// The token given is none of ours.
    TokenWrong,
    /// More than one token, or one in two places (RFC 6750 §2).
    TokenRepeated,
    /// Publishing wants a token of its own, and the server has been given none.
    PublishingClosed,
    /// The peer's address has all the connections that one address may have.
    AddressFull,
    /// More handshakes than the server takes in a second.
    TooManyHandshakes,
}

/// When to try again, in seconds, where places are taken: they become free as peers leave.
pub(super) const RETRY_LATER: (&str, &str) = ("Retry-After", "10");
/// When to try again, in seconds, where only the pace was too high: by then a second's handshakes are free again.
pub(super) const RETRY_SOON: (&str, &str) = ("Retry-After", "1");

impl Barred {
    pub(super) const fn status(self) -> Status {
        match self {
            Self::OriginForbidden => Status::FORBIDDEN,
            Self::OriginMalformed | Self::OriginDuplicate | Self::TokenRepeated => Status::BAD_REQUEST,
            Self::TokenMissing | Self::TokenWrong | Self::PublishingClosed => Status::UNAUTHORIZED,
            Self::AddressFull | Self::TooManyHandshakes => Status::SERVICE_UNAVAILABLE,
        }
    }

    /// The field that the answer must bear.
    pub(super) const fn field(self) -> Option<(&'static str, &'static str)> {
        match self {
            // RFC 6750 §3.1: who brought no token at all is told no error code.
            Self::TokenMissing | Self::PublishingClosed => {
                Some(("WWW-Authenticate", "Bearer realm=\"stentor\""))
            }
            Self::TokenWrong => {
                Some(("WWW-Authenticate", "Bearer realm=\"stentor\", error=\"invalid_token\""))
            }
            Self::AddressFull => Some(RETRY_LATER),
            Self::TooManyHandshakes => Some(RETRY_SOON),
            Self::OriginForbidden | Self::OriginMalformed | Self::OriginDuplicate | Self::TokenRepeated => {
                None
            }
        }
    }

    /// Metric label and text.
    pub(super) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::OriginForbidden => ("origin_forbidden", "pages of this origin may not connect here"),
            Self::OriginMalformed => {
                ("origin_malformed", "malformed Origin header: expected scheme://host[:port] or null")
            }
            Self::OriginDuplicate => ("origin_duplicate", "more than one Origin header"),
            Self::TokenMissing => (
                "token_missing",
                "a token is wanted: \"Authorization: Bearer TOKEN\", ?access_token=TOKEN or subprotocol token.TOKEN",
            ),
            Self::TokenWrong => ("token_wrong", "the token is not valid here"),
            Self::PublishingClosed => (
                "publishing_closed",
                "publishing over the network wants a token: start the server with --publish-token TOKEN and send \
                 \"Authorization: Bearer TOKEN\", or have it listen on loopback addresses only",
            ),
            Self::TokenRepeated => ("token_repeated", "more than one token: give it once, in one place"),
            Self::AddressFull => ("address_full", "too many connections from this address"),
            Self::TooManyHandshakes => {
                ("too_many_handshakes", "too many handshakes at the moment: try again in a second")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Refusal;

    #[test]
    fn refusals_say_what_the_peer_can_do_about_them() {
        for (refusal, status, field) in [
            (Refusal::Unavailable, "503", "Retry-After: 10"),
            (Refusal::Barred(Barred::AddressFull), "503", "Retry-After: 10"),
            (Refusal::Barred(Barred::TooManyHandshakes), "503", "Retry-After: 1"),
            (Refusal::Barred(Barred::TokenMissing), "401", "WWW-Authenticate: Bearer realm=\"stentor\""),
            (
                Refusal::Barred(Barred::TokenWrong),
                "401",
                "WWW-Authenticate: Bearer realm=\"stentor\", error=\"invalid_token\"",
            ),
            (Refusal::Barred(Barred::PublishingClosed), "401", "WWW-Authenticate: Bearer realm=\"stentor\""),
            (Refusal::Congested, "429", "Retry-After: 1"),
            (Refusal::Barred(Barred::OriginForbidden), "403", "Connection: close"),
        ] {
            let mut out = Vec::new();
            refusal.encode(&mut out, false, false);
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert!(text.contains(&format!("\r\n{field}\r\n")), "{text}");
        }
    }
}
