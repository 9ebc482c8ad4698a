//! The client's half: what it offers, and whether the answer keeps to it (RFC 7692 §5, §7.1).
//!
//! A client must fail the connection if the server agrees on something that was not offered (RFC 7692 §5.1); taking
//! the answer in good faith would mean reading garbage later. So every parameter of an answer is held against the
//! offer.

use super::grammar::{self, Malformed, Params};
use super::{Agreed, NAME, SMALL_BITS, Takeover};
use std::fmt;

/// What a client offers. The default is the bare name: the server may keep its context, and ours.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ask {
    /// The server is to begin every message with an empty window, so that one inflater serves all connections.
    pub server_no_context_takeover: bool,
    /// A promise to begin ours so, which costs the server nothing to be told.
    pub client_no_context_takeover: bool,
    /// The largest window that the server may use, 8 to 15; the server must take it or decline.
    pub server_max_window_bits: Option<u8>,
    /// Whether the server may ask for a smaller window of ours.
    pub client_max_window_bits: bool,
}

/// The value of `Sec-WebSocket-Extensions` in the request.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        if self.client_max_window_bits {
            f.write_str("; client_max_window_bits")?;
        }
        Ok(())
    }
}

impl Ask {
    /// What the server's answer, the value of its `Sec-WebSocket-Extensions`, agrees on.
    ///
    /// # Errors
    /// How the answer departs from what was offered.
    pub fn check(self, answer: &[u8]) -> Result<Agreed, Broken> {
        let mut elements = grammar::elements(answer);
        let (Some(element), None) = (elements.next(), elements.next()) else {
            return Err(Broken::NotOne);
        };
        let params =
            grammar::offer(element, NAME).ok_or(Broken::OtherExtension)?.map_err(Broken::Malformed)?;
        self.check_server(&params)?;
        self.check_client(&params)?;
        // What the client promised unasked it keeps, whether the server mentions it or not.
        let client_keeps = !(params.client_no_context_takeover || self.client_no_context_takeover);
        Ok(Agreed {
            takeover: Takeover::new(!params.server_no_context_takeover, client_keeps),
            server_bits: params.server_max_window_bits,
            client_bits: params.client_max_window_bits,
        })
    }

    /// §7.1.1.1, §7.1.2.1: what was demanded of the server it must promise.
    fn check_server(self, params: &Params) -> Result<(), Broken> {
        if self.server_no_context_takeover && !params.server_no_context_takeover {
            return Err(Broken::TakeoverKept);
        }
        match (self.server_max_window_bits, params.server_max_window_bits.get()) {
            (Some(_), None) => Err(Broken::ServerBitsMissing),
            (Some(asked), Some(told)) if told > asked => Err(Broken::ServerBitsLarger),
            (Some(_) | None, Some(_)) | (None, None) => Ok(()),
        }
    }

    /// §7.1.2.2: our window may be bound only if we said so, and to a number that we can keep to.
    fn check_client(self, params: &Params) -> Result<(), Broken> {
        if !params.client_max_window_bits_said {
            return Ok(());
        }
        if !self.client_max_window_bits {
            return Err(Broken::ClientBitsUnasked);
        }
        match params.client_max_window_bits.get() {
            None => Err(Broken::Malformed(Malformed::Bits)),
            Some(..SMALL_BITS) => Err(Broken::ClientBitsTooFew),
            Some(SMALL_BITS..) => Ok(()),
        }
    }
}

/// How an answer departs from the offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Not exactly one extension.
    NotOne,
    /// Some other extension.
    OtherExtension,
    /// An element that is none of this extension.
    Malformed(Malformed),
    /// `server_no_context_takeover` was demanded and not promised.
    TakeoverKept,
    /// `server_max_window_bits` was demanded and not promised.
    ServerBitsMissing,
    /// `server_max_window_bits` is larger than demanded.
    ServerBitsLarger,
    /// `client_max_window_bits` was not offered.
    ClientBitsUnasked,
    /// `client_max_window_bits=8`, which no compressor of zlib's kind can keep to.
    ClientBitsTooFew,
}

/// What was wrong, to stand behind "the server's answer to permessage-deflate:".
impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOne => f.write_str("one extension was offered, not this number is to be agreed on"),
            Self::OtherExtension => f.write_str("it names an extension that was not offered"),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::TakeoverKept => f.write_str("server_no_context_takeover was demanded and is missing"),
            Self::ServerBitsMissing => f.write_str("server_max_window_bits was demanded and is missing"),
            Self::ServerBitsLarger => f.write_str("server_max_window_bits is larger than demanded"),
            Self::ClientBitsUnasked => f.write_str("client_max_window_bits was not offered"),
            Self::ClientBitsTooFew => {
                f.write_str("client_max_window_bits must be at least 9 for this client")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, negotiate};
    use super::*;

    const PLAIN: Ask = Ask {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: false,
    };

    /// All that a client may offer.
    fn asks() -> impl Iterator<Item = Ask> {
        (0..8u8).flat_map(|flags| {
            [None, Some(8), Some(9), Some(12), Some(15)].into_iter().map(move |server_max_window_bits| Ask {
                server_no_context_takeover: flags & 1 != 0,
                client_no_context_takeover: flags & 2 != 0,
                server_max_window_bits,
                client_max_window_bits: flags & 4 != 0,
            })
        })
    }

    #[test]
    fn the_two_halves_agree() {
        for ask in asks() {
            for policy in [Policy::Shared, Policy::Context] {
                let Some(agreed) = negotiate([ask.to_string().as_bytes()].into_iter(), policy) else {
                    assert_eq!(ask.server_max_window_bits, Some(8));
                    continue;
                };
                let heard = ask.check(agreed.to_string().as_bytes()).unwrap();
                assert_eq!(heard, agreed, "{ask} and {agreed}");
                assert!(heard.server_window_bits() <= ask.server_max_window_bits.unwrap_or(15));
                assert!(heard.server_no_context_takeover() || !ask.server_no_context_takeover);
                assert!(heard.client_no_context_takeover() || !ask.client_no_context_takeover);
            }
        }
    }

    #[test]
    fn an_answer_that_departs_from_the_offer_is_refused() {
        let demanding = Ask { server_no_context_takeover: true, server_max_window_bits: Some(10), ..PLAIN };
        let yielding = Ask { client_max_window_bits: true, ..PLAIN };
        let malformed = |malformed| Err(Broken::Malformed(malformed));
        for (ask, answer, expected) in [
            (PLAIN, "", Err(Broken::NotOne)),
            (PLAIN, "permessage-deflate, permessage-deflate", Err(Broken::NotOne)),
            (PLAIN, "x-webkit-deflate-frame", Err(Broken::OtherExtension)),
            (PLAIN, "permessage-deflate; mystery", malformed(Malformed::Unknown)),
            (PLAIN, "permessage-deflate; server_max_window_bits", malformed(Malformed::Bits)),
            (PLAIN, "permessage-deflate; server_max_window_bits=16", malformed(Malformed::Bits)),
            (PLAIN, "permessage-deflate; server_no_context_takeover=1", malformed(Malformed::Value)),
            (PLAIN, "permessage-deflate; client_max_window_bits=12", Err(Broken::ClientBitsUnasked)),
            (PLAIN, "permessage-deflate; client_max_window_bits", Err(Broken::ClientBitsUnasked)),
            (yielding, "permessage-deflate; client_max_window_bits", malformed(Malformed::Bits)),
            (yielding, "permessage-deflate; client_max_window_bits=8", Err(Broken::ClientBitsTooFew)),
            (demanding, "permessage-deflate; server_max_window_bits=10", Err(Broken::TakeoverKept)),
            (demanding, "permessage-deflate; server_no_context_takeover", Err(Broken::ServerBitsMissing)),
            (
                demanding,
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
                Err(Broken::ServerBitsLarger),
            ),
        ] {
            assert_eq!(ask.check(answer.as_bytes()), expected, "{ask} and {answer}");
        }
        assert_eq!(
            PLAIN.check(b"permessage-deflate; =").map_err(|broken| broken.to_string().lines().count()),
            Err(1)
        );
    }

    /// §7.1.1.2, §7.1.2.1: a server may bind both more than was asked.
    #[test]
    fn what_a_server_may_say_unasked() {
        let answer = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                       server_max_window_bits=\"8\"";
        let agreed = PLAIN.check(answer).unwrap();
        assert!(agreed.server_no_context_takeover() && agreed.client_no_context_takeover());
        assert_eq!((agreed.server_window_bits(), agreed.client_window_bits()), (8, 15));
        let yielding = Ask { client_max_window_bits: true, ..PLAIN };
        let agreed = yielding.check(b"permessage-deflate; client_max_window_bits=9").unwrap();
        assert_eq!((agreed.server_window_bits(), agreed.client_window_bits()), (15, 9));
        // A promise is kept though the server does not repeat it.
        let promising = Ask { client_no_context_takeover: true, ..PLAIN };
        assert!(promising.check(b"permessage-deflate").unwrap().client_no_context_takeover());
    }
}
