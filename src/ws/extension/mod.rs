//! Agreeing on permessage-deflate, the one extension that this house knows (RFC 6455 §9.1, RFC 7692 §5, §7.1).
//!
//! A client offers, in the order of its liking; a server takes the first offer that it can honour in full, and says
//! what was agreed. Nothing of an offer is ever echoed: an answer is rendered from [`Agreed`], which holds two numbers
//! and four truths. The server's half is [`negotiate`], the client's is [`Ask`]; the grammar of the header stands in
//! `grammar.rs`.
//!
//! ```text
//!   server_no_context_takeover     the server begins every message with an empty window
//!   client_no_context_takeover     the client does
//!   server_max_window_bits=9       the server's window is at most 2⁹ bytes: distances up to 512
//!   client_max_window_bits[=9]     the client's is; in an offer also without a value: "you may ask me to"
//! ```
//!
//! Invariants: an offer is granted as asked or declined, never half; reading is linear, and bounded by [`OFFERS_MAX`].

mod ask;
mod grammar;

pub use ask::{Ask, Broken};
pub use grammar::{Malformed, OFFERS_MAX};

use grammar::{Bits, Params};
use std::fmt;

/// The extension's name (RFC 7692 §7).
const NAME: &str = "permessage-deflate";

/// The window of a peer that asked for nothing: 2¹⁵ bytes, the largest there is.
pub const FULL_BITS: u8 = 15;

/// The window of a peer that asked for a smaller one. RFC 7692 §7.1.2.1 lets us grant "the same or smaller", so that
/// whatever was asked for, 9 to 14, becomes this: two dialects of each publication, not seven.
pub const SMALL_BITS: u8 = 9;

/// What a server is willing to agree on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Policy {
    /// Nothing: every offer is declined.
    #[default]
    Off,
    /// No context is taken over from message to message, in either direction: a peer costs no memory, and one
    /// compressed publication serves all peers of a dialect.
    Shared,
    /// Contexts are taken over unless the client asks for the contrary: better compression, a compressor and an
    /// inflater for every peer.
    Context,
}

/// What client and server agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Agreed {
    takeover: Takeover,
    server_bits: Bits,
    client_bits: Bits,
}

const _: () =
    assert!(size_of::<Option<Agreed>>() <= 4, "every compressed connection remembers what was agreed on");

/// Who begins every message with an empty window.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
enum Takeover {
    /// Neither: both keep their windows.
    Both,
    /// The server keeps its window, the client does not.
    ServerOnly,
    /// The client keeps its window, the server does not.
    ClientOnly,
    /// Neither keeps its window.
    Neither,
}

impl Takeover {
    const fn new(server_keeps: bool, client_keeps: bool) -> Self {
        match (server_keeps, client_keeps) {
            (true, true) => Self::Both,
            (true, false) => Self::ServerOnly,
            (false, true) => Self::ClientOnly,
            (false, false) => Self::Neither,
        }
    }
}

impl Agreed {
    /// Whether the server begins every message with an empty window.
    pub const fn server_no_context_takeover(self) -> bool {
        matches!(self.takeover, Takeover::ClientOnly | Takeover::Neither)
    }

    /// Whether the client begins every message with an empty window.
    pub const fn client_no_context_takeover(self) -> bool {
        matches!(self.takeover, Takeover::ServerOnly | Takeover::Neither)
    }

    /// The server's window, as the power of two: no distance in what it sends is longer.
    pub const fn server_window_bits(self) -> u8 {
        self.server_bits.or_full()
    }

    /// The client's window, as the power of two.
    pub const fn client_window_bits(self) -> u8 {
        self.client_bits.or_full()
    }
}

/// The value of `Sec-WebSocket-Extensions` in the answer.
impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover() {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover() {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_bits.get() {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        if let Some(bits) = self.client_bits.get() {
            write!(f, "; client_max_window_bits={bits}")?;
        }
        Ok(())
    }
}

/// The first of the offers in these `Sec-WebSocket-Extensions` lines that `policy` can honour, as it is agreed on.
/// `None`: the connection opens without compression, and the answer has no such header.
///
/// Unknown extensions are passed over, malformed offers of ours are declined (RFC 7692 §5.1, §7.1), and a header with
/// more than [`OFFERS_MAX`] elements is not looked at further.
pub fn negotiate<'h>(lines: impl Iterator<Item = &'h [u8]>, policy: Policy) -> Option<Agreed> {
    if policy == Policy::Off {
        return None;
    }
    lines
        .flat_map(grammar::elements)
        .take(OFFERS_MAX)
        .filter_map(|element| grammar::offer(element, NAME))
        .filter_map(Result::ok)
        .find_map(|params| grant(&params, policy))
}

/// What we agree on with a client that offers this; `None` if it asks for what we cannot do.
///
/// `client_max_window_bits` is never answered: it would bind the client to a window smaller than it likes and save us
/// nothing, since our inflater's window is 32 KiB for any number of bits. Silence means 15 (§7.1.2.2).
fn grant(params: &Params, policy: Policy) -> Option<Agreed> {
    let server_bits = match params.server_max_window_bits.get() {
        None => Bits::UNSAID,
        // A raw deflate stream of zlib's kind has no window of 2⁸: it would use 2⁹ and break the promise.
        Some(..SMALL_BITS) => return None,
        Some(SMALL_BITS..FULL_BITS) => Bits::new(SMALL_BITS),
        Some(FULL_BITS..) => Bits::new(FULL_BITS),
    };
    let takeover = match policy {
        Policy::Off => return None,
        // Both may be said unasked (§7.1.1.1, §7.1.1.2).
        Policy::Shared => Takeover::Neither,
        Policy::Context => {
            Takeover::new(!params.server_no_context_takeover, !params.client_no_context_takeover)
        }
    };
    Some(Agreed { takeover, server_bits, client_bits: Bits::UNSAID })
}
