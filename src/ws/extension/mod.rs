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
    /// Nobody: both keep their windows.
    Both,
    /// The client; the server keeps its window.
    ServerOnly,
    /// The server; the client keeps its window.
    ClientOnly,
    /// Both of them.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to these lines.
    fn answer(lines: &[&str], policy: Policy) -> Option<String> {
        negotiate(lines.iter().map(|line| line.as_bytes()), policy).map(|agreed| agreed.to_string())
    }

    const ALONE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn nothing_is_agreed_on_unless_the_server_is_willing_and_the_client_asks() {
        assert_eq!(answer(&["permessage-deflate"], Policy::Off), None);
        for policy in [Policy::Shared, Policy::Context] {
            for lines in [&[][..], &[""], &[" , ,"], &["permessage-bzip2", "x-webkit-deflate-frame; a=b"]] {
                assert_eq!(answer(lines, policy), None, "{lines:?}");
            }
        }
    }

    /// What browsers and libraries send, and what each parameter is answered with.
    #[test]
    fn every_parameter_is_granted_truthfully() {
        for (offer, shared, context) in [
            ("permessage-deflate", "", "permessage-deflate"),
            // Chromium and Firefox.
            ("permessage-deflate; client_max_window_bits", "", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits=10", "", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits=8", "", "permessage-deflate"),
            (
                "permessage-deflate; server_no_context_takeover",
                "",
                "permessage-deflate; server_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                "",
                "permessage-deflate; client_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits",
                "",
                ALONE,
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                "; server_max_window_bits=15",
                "permessage-deflate; server_max_window_bits=15",
            ),
            (
                "permessage-deflate; server_max_window_bits=12; client_max_window_bits=15",
                "; server_max_window_bits=9",
                "permessage-deflate; server_max_window_bits=9",
            ),
            (
                "permessage-deflate; server_max_window_bits=9; server_no_context_takeover",
                "; server_max_window_bits=9",
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
            ),
        ] {
            assert_eq!(answer(&[offer], Policy::Shared), Some(format!("{ALONE}{shared}")), "{offer}");
            assert_eq!(answer(&[offer], Policy::Context).as_deref(), Some(context), "{offer}");
        }
    }

    #[test]
    fn a_window_that_zlib_cannot_keep_to_is_declined() {
        assert_eq!(answer(&["permessage-deflate; server_max_window_bits=8"], Policy::Shared), None);
        for bits in 9..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let agreed = negotiate([offer.as_bytes()].into_iter(), Policy::Context).unwrap();
            assert_eq!(agreed.server_window_bits(), if bits < 15 { 9 } else { 15 });
            assert_eq!(agreed.client_window_bits(), 15);
        }
    }

    #[test]
    fn what_is_malformed_is_declined_and_the_next_offer_tried() {
        for bad in [
            "permessage-deflate; unknown",
            "permessage-deflate; server_max_window_bit=10",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=9.0",
            "permessage-deflate; server_max_window_bits=0x9",
            "permessage-deflate; server_max_window_bits=265",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits=1\u{665}",
            "permessage-deflate;",
            "permessage-deflate; ; server_no_context_takeover",
            "permessage-deflate; =10",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; server_max_window_bits=\"10\"0",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits=\" 10\"",
            "permessage-deflate; server_max_window_bits=10 11",
            "permessage-deflate server_no_context_takeover",
        ] {
            for policy in [Policy::Shared, Policy::Context] {
                assert_eq!(answer(&[bad], policy), None, "{bad}");
                assert_eq!(
                    answer(&[bad, "permessage-deflate"], policy),
                    answer(&["permessage-deflate"], policy)
                );
            }
            if bad.matches('"').count() % 2 == 0 {
                let line = format!("{bad}, permessage-deflate; server_max_window_bits=9");
                assert_eq!(
                    answer(&[&line], Policy::Shared),
                    Some(format!("{ALONE}; server_max_window_bits=9"))
                );
            }
        }
    }

    #[test]
    fn quotes_white_space_case_and_lines() {
        let nine = Some(format!("{ALONE}; server_max_window_bits=9"));
        for lines in [
            &["permessage-deflate; server_max_window_bits=\"12\""][..],
            &["permessage-deflate;server_max_window_bits=\"1\\2\""],
            &["\tPERMESSAGE-DEFLATE ;\tServer_Max_Window_Bits = 12 "],
            &["foo; x=\"a, permessage-deflate; b\", permessage-deflate; server_max_window_bits=12"],
            &["foo; x=\"\\\"\", permessage-deflate; server_max_window_bits=12"],
            &["foo", "", "permessage-deflate; server_max_window_bits=12", "permessage-deflate"],
            &["permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=11"],
        ] {
            assert_eq!(answer(lines, Policy::Shared), nine, "{lines:?}");
        }
        assert_eq!(
            answer(&["permessage-deflate, permessage-deflate; server_max_window_bits=9"], Policy::Shared)
                .as_deref(),
            Some(ALONE),
            "the first that can be granted"
        );
    }

    #[test]
    fn more_than_a_few_offers_are_not_read() {
        let many = |before| [vec!["foo"; before], vec!["permessage-deflate"]].concat();
        for before in [OFFERS_MAX - 1, OFFERS_MAX] {
            let is_read = before < OFFERS_MAX;
            assert_eq!(answer(&[&many(before).join(",")], Policy::Shared).is_some(), is_read);
            assert_eq!(answer(&many(before), Policy::Shared).is_some(), is_read);
        }
    }

    /// No byte of a peer is ever in an answer: it is rendered from numbers.
    #[test]
    fn bytes_without_sense_are_declined_without_a_panic() {
        for seed in 0..20_000u32 {
            let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
            let alphabet = b"permessage-deflate;=\",\\ 1905_xwindowbits\xff\0";
            let line: Vec<u8> = (0..40)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    alphabet[(state >> 16) as usize % alphabet.len()]
                })
                .collect();
            let line = [b"permessage-deflate;", &line[..]].concat();
            if let Some(agreed) = negotiate([&line[..]].into_iter(), Policy::Context) {
                assert!(agreed.to_string().starts_with(NAME) && agreed.server_window_bits() >= 9);
            }
        }
    }
}
