//! Compressed messages in: inflated in steps, and no further than the limits (RFC 7692 §7.2.2).
//!
//! A message is inflated when the whole of it has come, so that an unfinished one costs its compressed bytes and no
//! inflater is kept for it. Deflate unfolds up to 1032 to 1; the output grows step by step, text is checked as it comes,
//! and the first byte beyond a bound ends it.
//!
//! Whether a message was *whole* DEFLATE is asked of the inflater: behind the tail it must stand between two blocks, which
//! it shows by not touching one byte more:
//!
//! ```text
//!   | message …………… 00 | 00 00 ff ff | 00 |      the byte that must be left
//! ```
//!
//! Invariant: without context nothing is left of a message in the next, after an error neither.

use super::TAIL;
use crate::ws::decoder::Limits;
use crate::ws::opcode::Kind;
use crate::ws::utf8::Utf8;
use crate::ws::violation::Violation;
use zlib_rs::{Inflate, InflateFlush, Status};

/// How many bytes a message may unfold to for each of its own, beyond [`RATIO_FREE_BYTES`]. Text and JSON reach 5 to 50,
/// long repetitions 200; only what was made to unfold goes on to 1032, the most that DEFLATE can.
pub const RATIO_MAX: usize = 256;

/// How much a message may unfold to whatever its ratio: a block of zeros or an empty picture is nobody's attack, and
/// up to here it costs less than a turn.
pub const RATIO_FREE_BYTES: usize = 1024 * 1024;

/// What an inflater takes, in bytes, at most. Counted: `tests/deflate_memory.rs`.
pub const INFLATER_BYTES_MAX: usize = 48 * 1024;

/// How many streams may end within a message. Honest compressors end none or one (RFC 7692 §7.2.3.5), and each costs a
/// new beginning, though it is written in two bytes and gives nothing.
const ENDS_MAX: u32 = 16;

/// The most that is made room for in one step, in bytes.
const STEP_BYTES_MAX: usize = 64 * 1024;

/// The least, for messages that unfold to little.
const STEP_BYTES_MIN: usize = 512;

/// How long a compressed message may be that unfolds to `message_max` bytes. Incompressible data grows, by 5 bytes a
/// stored block; a compressor with the smallest memory makes blocks of some 127 bytes, hence an eighth.
pub const fn compressed_max(message_max: u64) -> u64 {
    message_max.saturating_add(message_max >> 3).saturating_add(64)
}

/// An inflater for windows of any size. Without context one serves all connections; with context each has its own.
pub struct Inflater {
    inflate: Inflate,
    /// Whether nothing has gone through since the last reset.
    is_fresh: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("is_fresh", &self.is_fresh).finish_non_exhaustive()
    }
}

impl Inflater {
    /// An inflater that has seen nothing.
    pub fn new() -> Self {
        Self { inflate: Inflate::new(false, super::super::extension::FULL_BITS), is_fresh: true }
    }

    /// Inflates one whole message into `out`, which is emptied first, and checks that text is UTF-8. With
    /// `keep_context` it may refer to the messages before it that were inflated so, and later ones to it.
    ///
    /// # Errors
    /// What is wrong with the message; `out` then holds what came before that, and the connection has failed.
    pub fn inflate(
        &mut self,
        kind: Kind,
        compressed: &[u8],
        out: &mut Vec<u8>,
        limits: &Limits,
        keep_context: bool,
    ) -> Result<(), Violation> {
        out.clear();
        if !keep_context {
            self.reset();
        }
        let result = self.unfold(kind, compressed, out, limits);
        if result.is_err() || !keep_context {
            self.reset();
        }
        result
    }

    fn reset(&mut self) {
        if !std::mem::replace(&mut self.is_fresh, true) {
            self.inflate.reset(false);
        }
    }

    fn unfold(
        &mut self,
        kind: Kind,
        compressed: &[u8],
        out: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<(), Violation> {
        // Some send an empty message so; there is nothing in it that could be wrong.
        if compressed.is_empty() {
            return Ok(());
        }
        self.is_fresh = false;
        let mut room = Room::new(kind, compressed.len(), limits);
        let (mut input, mut is_full) = (compressed, false);
        // A step that filled its room may have more to give than it has still to take.
        while !input.is_empty() || is_full {
            (input, is_full) = self.step(input, InflateFlush::SyncFlush, out, &mut room)?;
        }
        let [a, b, c, d] = TAIL;
        let (mut input, whole) = (&[a, b, c, d, 0][..], out.len());
        while input.len() > 1 {
            (input, _) = self.step(input, InflateFlush::Block, out, &mut room)?;
        }
        // Nor is the tail part of what was said.
        if input.is_empty() || out.len() != whole {
            return Err(Violation::DeflateInvalid);
        }
        if room.utf8.is_boundary() { Ok(()) } else { Err(Violation::TextNotUtf8) }
    }

    /// Has one step of output made of `input`; returns what is left of it, and whether the step's room was filled.
    fn step<'c>(
        &mut self,
        input: &'c [u8],
        flush: InflateFlush,
        out: &mut Vec<u8>,
        room: &mut Room,
    ) -> Result<(&'c [u8], bool), Violation> {
        let start = out.len();
        let step = room.next(start, input.len());
        if out.capacity() - start < step {
            // Doubled, but not past the bound: what is allowed is also all that is ever held.
            out.reserve_exact(room.bound().saturating_sub(start).min(start.max(step)));
        }
        out.resize(start + step, 0);
        let (total_in, total_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, &mut out[start..], flush);
        let consumed = (self.inflate.total_in() - total_in) as usize;
        let produced = (self.inflate.total_out() - total_out) as usize;
        out.truncate(start + produced);
        let status = status.map_err(|_| Violation::DeflateInvalid)?;
        room.check(&out[start..], out.len())?;
        match status {
            // A block with BFINAL ends a stream; what follows begins one (RFC 7692 §7.2.3.5).
            Status::StreamEnd => {
                room.count_end()?;
                self.inflate.reset(false);
            }
            // A step that has bytes and neither takes nor gives can never go on.
            Status::Ok | Status::BufError if consumed + produced == 0 && !input.is_empty() => {
                return Err(Violation::DeflateInvalid);
            }
            Status::Ok | Status::BufError => {}
        }
        Ok((&input[consumed..], produced == step))
    }
}

/// How far a message may still unfold.
struct Room {
    message_max: usize,
    ratio_max: usize,
    /// Where the text stands; binary stays at its beginning.
    utf8: Utf8,
    kind: Kind,
    /// How many streams have ended in this message.
    ends: u32,
}

impl Room {
    fn new(kind: Kind, compressed_len: usize, limits: &Limits) -> Self {
        Self {
            message_max: usize::try_from(limits.message_max).unwrap_or(usize::MAX),
            ratio_max: compressed_len.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES),
            utf8: Utf8::new(),
            kind,
            ends: 0,
        }
    }

    /// One more stream has ended within the message.
    fn count_end(&mut self) -> Result<(), Violation> {
        self.ends += 1;
        if self.ends > ENDS_MAX { Err(Violation::DeflateInvalid) } else { Ok(()) }
    }

    /// Room for the next step, given what there is and what is left to inflate: one byte more than allowed at most, so
    /// that going beyond shows.
    fn next(&self, len: usize, left: usize) -> usize {
        let step = left.saturating_mul(4).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
        step.min(self.bound() - len)
    }

    /// The most that is ever unfolded, in bytes: one more than is allowed.
    fn bound(&self) -> usize {
        self.message_max.min(self.ratio_max).saturating_add(1)
    }

    /// Judges what a step has given.
    fn check(&mut self, given: &[u8], len: usize) -> Result<(), Violation> {
        if len > self.message_max {
            return Err(Violation::InflatedTooBig);
        }
        if len > self.ratio_max {
            return Err(Violation::DeflateRatio);
        }
        match self.kind {
            Kind::Text => self.utf8.feed(given).map_err(|_| Violation::TextNotUtf8),
            Kind::Binary => Ok(()),
        }
    }
}
