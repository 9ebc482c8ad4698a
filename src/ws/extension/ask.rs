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
