//! What a loop lends its clients: buffers, masking keys, and one compressor and inflater for all of them.
//!
//! Why: what thousands of clients need only while a message goes through them is the loop's, once. For compression that
//! is why we ask that no context be taken over in either direction: a window for each client would cost it 47 KiB.
//!
//! Invariant: nothing of one client's message stays here for another's.

use super::{LIMITS, Reason, Speech};
use crate::plan::Plan;
use stentor::ws::deflate::{Deflater, Inflater};
use stentor::ws::extension::{Ask, FULL_BITS};
use stentor::ws::{Kind, encode_masked};

/// What `--deflate` offers: every message stands for itself, so that compression costs a client nothing.
pub const ASK: Ask = Ask {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: false,
};

/// One receive buffer per loop; 64 KiB would cost twice the CPU on large messages.
const RECEIVE_BYTES: usize = 256 << 10;
/// What is set aside for a frame, at most: longer ones make room for themselves.
const ENCODE_BYTES_MAX: usize = 1 << 20;
/// What a frame may be longer than its payload.
const FRAME_BYTES: usize = 64;

/// What a loop lends its clients.
#[derive(Debug)]
pub struct Lent {
    /// One read's worth of bytes.
    pub receive: Vec<u8>,
    /// One read's worth of what comes encrypted; empty without TLS.
    pub records: Vec<u8>,
    /// One frame's worth of bytes.
    pub encode: Vec<u8>,
    /// Draws masking keys.
    pub rng: fastrand::Rng,
    /// Bytes that a client may read now, at most, in one read; `None`: everything there is.
    pub limit: Option<usize>,
    /// Where `--deflate` was asked for.
    pub compression: Option<Compression>,
    /// Where `--protocol socketio` was asked for.
    pub speech: Option<Speech>,
    /// One packet's worth of bytes.
    pub packet: Vec<u8>,
}

/// For all clients whose server agreed on compression.
#[derive(Debug)]
pub struct Compression {
    inflater: Inflater,
    inflated: Vec<u8>,
    deflater: Deflater,
}

impl Default for Compression {
    fn default() -> Self {
        Self { inflater: Inflater::new(), inflated: Vec::new(), deflater: Deflater::new(FULL_BITS) }
    }
}

impl Compression {
    /// What a message unfolds to, lent until the next.
    ///
    /// # Errors
    /// The server's message is broken.
    pub(super) fn inflate(&mut self, kind: Kind, compressed: &[u8]) -> Result<&[u8], Reason> {
        match self.inflater.inflate(kind, compressed, &mut self.inflated, &LIMITS, false) {
            Ok(()) => Ok(&self.inflated),
            Err(violation) => Err(Reason::from(format!("bad frame: {violation}"))),
        }
    }
}

impl Lent {
    /// For a loop of this plan; `salt` makes the loops of one run differ.
    pub fn new(plan: &Plan, salt: u64) -> Self {
        let encode_bytes = (plan.size.max() as usize + FRAME_BYTES).min(ENCODE_BYTES_MAX);
        Self {
            receive: vec![0; RECEIVE_BYTES],
            records: Vec::new(),
            encode: Vec::with_capacity(encode_bytes),
            rng: fastrand::Rng::with_seed(plan.seed ^ salt),
            limit: None,
            compression: plan.deflate.then(Compression::default),
            speech: Speech::new(plan),
            packet: Vec::new(),
        }
    }

    /// Puts a whole frame into `encode`, compressed if that was agreed on and makes it shorter. Returns the length of the
    /// message in it, in bytes: of the payload, or of the packet around it.
    pub fn encode_message(&mut self, has_deflate: bool, kind: Kind, payload: &[u8], key: [u8; 4]) -> usize {
        self.encode.clear();
        let payload = match &self.speech {
            Some(speech) => {
                speech.wrap(payload, &mut self.packet);
                &self.packet
            }
            None => payload,
        };
        match &mut self.compression {
            Some(Compression { deflater, .. }) if has_deflate => {
                deflater.encode_deflated_masked(&mut self.encode, kind, payload, key, false);
            }
            Some(_) | None => encode_masked(&mut self.encode, kind.opcode(), payload, key),
        }
        payload.len()
    }
}
