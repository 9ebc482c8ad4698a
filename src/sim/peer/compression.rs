//! Compression as a peer does it: what it asks for, what was agreed on, and both ways of a message (RFC 7692).
//!
//! What it says is compressed as was agreed, whole or in fragments, and now and then not at all; what it hears is judged
//! after it has been inflated, so that the book knows nothing of compression.
//!
//! Invariant: nothing is compressed unless it was agreed on.

use fastrand::Rng;

use crate::ws::deflate::{Deflater, Inflater};
use crate::ws::extension::{Agreed, Ask};
use crate::ws::{Kind, Limits, Violation};

/// One peer's compression.
#[derive(Debug, Default)]
pub(super) struct Compression {
    /// What it asks for, if it does.
    pub(super) ask: Option<Ask>,
    /// What the server has agreed to.
    pub(super) agreed: Option<Agreed>,
    deflater: Option<Box<Deflater>>,
    inflater: Option<Box<Inflater>>,
}

impl Compression {
    /// Draws what is asked for.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let bits = [None, None, Some(9), Some(12), Some(15)][rng.usize(..5)];
        let ask = Ask {
            server_no_context_takeover: rng.u32(..4) == 0,
            client_no_context_takeover: rng.u32(..4) == 0,
            server_max_window_bits: bits,
            client_max_window_bits: rng.bool(),
        };
        Self { ask: Some(ask), ..Self::default() }
    }

    /// The payload of `message` as it goes on the wire; `None` if that is as it is.
    pub(super) fn deflate(&mut self, kind: Kind, message: &[u8]) -> Option<Vec<u8>> {
        let agreed = self.agreed?;
        let make = || Box::new(Deflater::new(agreed.client_window_bits()));
        let deflater = self.deflater.get_or_insert_with(make);
        let mut frame = Vec::new();
        let keep_context = !agreed.client_no_context_takeover();
        if !deflater.encode_deflated(&mut frame, kind, message, keep_context) {
            return None;
        }
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        Some(frame.split_off(header))
    }

    /// What a compressed message that was heard unfolds to.
    pub(super) fn inflate(&mut self, kind: Kind, compressed: &[u8]) -> Result<Vec<u8>, Violation> {
        let Some(agreed) = self.agreed else { return Err(Violation::ReservedBits) };
        // A peer that was told too much in another way would have said so already.
        let limits = Limits { frame_max: u64::MAX, message_max: 16 << 20, fragments_max: 1 };
        let (inflater, mut message) = (self.inflater.get_or_insert_default(), Vec::new());
        let keep_context = !agreed.server_no_context_takeover();
        inflater.inflate(kind, compressed, &mut message, &limits, keep_context)?;
        Ok(message)
    }
}
