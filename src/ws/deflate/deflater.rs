//! Messages out, compressed: a whole frame with RSV1, appended to a buffer (RFC 7692 §7.2.1).
//!
//! Invariants: what is written stands for itself unless the context is kept; without context a frame is never longer
//! than the same message uncompressed.

use super::TAIL;
use crate::ws::extension::{FULL_BITS, SMALL_BITS};
use crate::ws::header::{HEADER_BYTES_MAX, RSV1, encode_header};
use crate::ws::mask;
use crate::ws::opcode::Kind;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

/// How hard the compressor tries, 1 to 9. Rows of JSON, 1 KiB: level 1 makes 313 bytes of them, 2 makes 245, 6 makes
/// 233, for 260 thousand instructions instead of 162 or 237 (half of them clear its hash table); beyond 6 nothing is gained.
/// The table of zlib-rs 0.6.8 has 65 536 entries at every memory level, and whatever makes a compressor forget (`reset`, a full flush,
/// another level, a dictionary) clears all 128 KiB of it; a new compressor clears them, too, and allocates. There is no cheaper way.
const LEVEL: i32 = 6;

/// How much memory the compressor has for symbols and output, 1 to 9. zlib's own 8 takes 98 KiB more of each peer with a
/// context, and on the same rows, up to 256 KiB of them, saves nobody one per cent.
const MEMORY_LEVEL: i32 = 5;

/// What a compressor with the largest window takes, in bytes, at most. Counted: `tests/deflate_memory.rs`.
pub const DEFLATER_BYTES_MAX: usize = 276 * 1024;

/// A compressor with a window of some size. Without context one serves all connections whose window is at least as
/// large; with context each has its own.
pub struct Deflater {
    deflate: Deflate,
    memory: Memory,
}

/// What the compressor remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Memory {
    /// Nothing.
    Fresh,
    /// What was sent: later messages may refer to it.
    Sent,
    /// Something that was not sent so: nothing may refer to it.
    Stale,
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Deflater {
    /// A compressor whose window is 2^`window_bits` bytes, 9 to 15.
    ///
    /// # Panics
    /// If it is not: [`negotiate`](crate::ws::extension::negotiate) agrees on nothing else.
    pub fn new(window_bits: u8) -> Self {
        assert!((SMALL_BITS..=FULL_BITS).contains(&window_bits), "{window_bits} bits are no window of ours");
        let config = DeflateConfig {
            level: LEVEL,
            window_bits: -i32::from(window_bits),
            mem_level: MEMORY_LEVEL,
            ..DeflateConfig::default()
        };
        Self { deflate: Deflate::new_with_config(config), memory: Memory::Fresh }
    }

    /// Has the next message refer to nothing that was sent before.
    pub fn forget(&mut self) {
        if self.memory == Memory::Sent {
            self.memory = Memory::Stale;
        }
    }

    /// Appends a whole message as one frame, not masked: what a server sends. With `keep_context` it may refer to those
    /// before it; without, whoever can inflate with this window can read it. Returns whether the frame is compressed:
    /// without context what would not shrink is sent as it is.
    pub fn encode_deflated(
        &mut self,
        out: &mut Vec<u8>,
        kind: Kind,
        payload: &[u8],
        keep_context: bool,
    ) -> bool {
        self.append(out, kind, payload, None, keep_context)
    }

    /// The same, masked with `key`: what a client sends.
    pub fn encode_deflated_masked(
        &mut self,
        out: &mut Vec<u8>,
        kind: Kind,
        payload: &[u8],
        key: [u8; 4],
        keep_context: bool,
    ) -> bool {
        self.append(out, kind, payload, Some(key), keep_context)
    }

    fn append(
        &mut self,
        out: &mut Vec<u8>,
        kind: Kind,
        payload: &[u8],
        key: Option<[u8; 4]>,
        keep_context: bool,
    ) -> bool {
        let start = out.len();
        // The header's length follows from the payload's, which is not known yet: room for the longest.
        let body = start + HEADER_BYTES_MAX;
        out.resize(body, 0);
        let is_compressed = self.compress(out, payload, keep_context);
        if !is_compressed {
            out.truncate(body);
            out.extend_from_slice(payload);
        }
        let len = out.len() - body;
        let (mut header, header_len) = encode_header(kind.opcode(), true, len as u64, key);
        if is_compressed {
            header[0] |= RSV1;
        }
        out.copy_within(body.., start + header_len);
        out.truncate(start + header_len + len);
        out[start..start + header_len].copy_from_slice(&header[..header_len]);
        if let Some(key) = key {
            mask::apply(key, &mut out[start + header_len..]);
        }
        is_compressed
    }

    /// Appends what the compressor makes of `payload`; says whether that is to be sent: with context always.
    fn compress(&mut self, out: &mut Vec<u8>, payload: &[u8], keep_context: bool) -> bool {
        let goes_on = keep_context && self.memory == Memory::Sent;
        if !goes_on && self.memory != Memory::Fresh {
            self.deflate.reset();
            self.memory = Memory::Fresh;
        }
        // An empty message is the flush alone, less its tail (§7.2.3.6); the compressor would leave out a second flush
        // in a row.
        if payload.is_empty() {
            if keep_context {
                out.push(0);
            }
            return keep_context;
        }
        let start = out.len();
        self.flush_all(out, payload);
        debug_assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        let is_sent = keep_context || out.len() - start < payload.len();
        self.memory = if is_sent { Memory::Sent } else { Memory::Stale };
        is_sent
    }

    /// Appends all that the compressor makes of `payload`, to the end of the flush.
    ///
    /// Always to the end, also when it turns out longer than the payload: a reset of zlib-rs 0.6.8 forgets what waits
    /// in its buffer, but not how far that was written, so that each reset before the end would leave the buffer a little
    /// shorter, until nothing fits and it panics.
    fn flush_all(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        let mut input = payload;
        loop {
            let (start, room) = (out.len(), grown_max(input.len()));
            out.resize(start + room, 0);
            let (total_in, total_out) = (self.deflate.total_in(), self.deflate.total_out());
            let status = self.deflate.compress(input, &mut out[start..], DeflateFlush::SyncFlush);
            assert!(status.is_ok(), "a compressor with room and input goes on");
            input = &input[(self.deflate.total_in() - total_in) as usize..];
            let produced = (self.deflate.total_out() - total_out) as usize;
            out.truncate(start + produced);
            if produced < room {
                debug_assert!(input.is_empty(), "only want of room leaves input");
                return;
            }
        }
    }
}

/// What a compressor makes of incompressible data, at most: 5 bytes for a stored block of at least 127, and the flush.
const fn grown_max(len: usize) -> usize {
    len + len / 16 + 64
}
