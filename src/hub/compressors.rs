//! What compresses frames on their way out: two compressors for everybody, and one's own for who was promised that.
//!
//! A compressor costs hundreds of kilobytes, so a process has one per compressed [`Dialect`], each from the first
//! message that needs it, and starts it afresh for every message: what it makes refers to nothing older and can be
//! read by every peer of the dialect (RFC 7692 §7.2.3.2). A peer with context takeover may have one of its own, whose
//! memory of what that peer was sent makes small messages smaller still.
//!
//! Invariants: a frame of a shared compressor is never longer than the plain one, one of an own by less than eight bytes; what an
//! own compressor refers to is what the peer's window holds: a compressed message of somebody else's making in between makes
//! it begin afresh.

use super::dialect::Dialect;
use crate::base::mutation::{Mutation, is_made};
use crate::ws::deflate::Deflater;
use crate::ws::{Header, Kind, Opcode, Role};

/// A larger message is sent as it is, in bytes: compressing cannot be divided between turns, and four MiB,
/// for both windows, were seen to keep everybody else waiting for 150 to 220 ms.
pub const COMPRESS_BYTES_MAX: usize = 256 * 1024;

/// A smaller message cannot become shorter, in bytes: the least that a compressor makes of anything is a match and the end of
/// its block, 25 bits. Tried in vain it would cost its peer's compressor the memory.
const COMPRESS_BYTES_MIN: usize = 5;

/// By how much a frame of a peer's own compressor may be longer than the plain one, in bytes: the header of a block that is only
/// stored, and a few. The first of many small messages seldom becomes shorter, and what was not sent may not be remembered.
const LONGER_BYTES_MAX: usize = 8;

/// The compressors of a worker, and what went through them.
#[derive(Debug)]
pub struct Compressors {
    /// A smaller message is sent as it is, in bytes.
    min: usize,
    /// By slot of the dialect.
    shared: [Option<Box<Deflater>>; Dialect::DEFLATED.len()],
    /// Messages that were compressed, each counted once for a dialect, and sent so.
    pub messages: u64,
    /// Messages that were compressed in vain: they had not become smaller.
    pub unshrunk: u64,
    /// Messages that were too large to be compressed within a turn.
    pub oversized: u64,
    /// Bytes that went in.
    pub bytes_in: u64,
    /// Bytes that came out.
    pub bytes_out: u64,
}

/// A compressor that remembers what one peer was sent; made when there is something to remember.
#[derive(Debug, Default)]
pub struct OwnCompressor {
    deflater: Option<Box<Deflater>>,
    /// The peer's window has taken in what this one has not seen.
    is_stale: bool,
}

impl OwnCompressor {
    /// The peer was sent compressed frames that this compressor has not seen.
    #[inline]
    pub const fn bypassed(&mut self) {
        self.is_stale = true;
    }

    /// Whether it has been made.
    #[must_use]
    pub const fn is_made(&self) -> bool {
        self.deflater.is_some()
    }
}

impl Default for Compressors {
    fn default() -> Self {
        Self::new(1024)
    }
}

impl Compressors {
    /// For messages of at least `min` bytes, and never fewer than could become shorter.
    #[must_use]
    pub fn new(min: usize) -> Self {
        let shared = Dialect::DEFLATED.map(|_| None);
        Self {
            min: min.max(COMPRESS_BYTES_MIN),
            shared,
            messages: 0,
            unshrunk: 0,
            oversized: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Appends the single plain `frame` to `out` in `dialect`; returns whether that is any different.
    pub fn append(&mut self, dialect: Dialect, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((slot, message)) = dialect.slot().zip(self.worthwhile(frame)) else {
            out.extend_from_slice(frame);
            return false;
        };
        let make = || Box::new(Deflater::new(dialect.window_bits()));
        let mut deflater = self.shared[slot].take().unwrap_or_else(make);
        let keep_context = is_made(Mutation::ContextShared);
        let how = How { keep_context, longer_max: 0 };
        let is_compressed = self.compress(&mut deflater, &message, how, out);
        self.shared[slot] = Some(deflater);
        is_compressed
    }

    /// Appends plain frames, laid end to end, to `out` in `dialect`, with the peer's own compressor if it has one.
    pub fn append_all(
        &mut self,
        dialect: Dialect,
        mut own: Option<&mut OwnCompressor>,
        frames: &[u8],
        out: &mut Vec<u8>,
    ) {
        let mut rest = frames;
        while !rest.is_empty() {
            let (frame, others) = rest.split_at(frame_len(rest));
            rest = others;
            match &mut own {
                None => _ = self.append(dialect, frame, out),
                Some(own) => self.append_own(dialect, own, frame, out),
            }
        }
    }

    fn append_own(&mut self, dialect: Dialect, own: &mut OwnCompressor, frame: &[u8], out: &mut Vec<u8>) {
        let Some(message) = self.worthwhile(frame) else { return out.extend_from_slice(frame) };
        let make = || Box::new(Deflater::new(dialect.window_bits()));
        let deflater = own.deflater.get_or_insert_with(make);
        if own.is_stale {
            deflater.forget();
        }
        let how = How { keep_context: true, longer_max: LONGER_BYTES_MAX };
        // What was compressed and is not sent so is in its memory, but not in the peer's window.
        own.is_stale = !self.compress(deflater, &message, how, out);
    }

    /// What is in `frame`, if it is to be tried: a whole message that is neither too small nor too large.
    fn worthwhile<'f>(&mut self, frame: &'f [u8]) -> Option<Message<'f>> {
        let header = header(frame).filter(|header| header.fin && header.reserved == 0)?;
        let kind = match header.opcode {
            Opcode::Text => Kind::Text,
            Opcode::Binary => Kind::Binary,
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => return None,
        };
        let payload = &frame[header.header_len..];
        self.oversized += u64::from(payload.len() > COMPRESS_BYTES_MAX);
        let is_worth_it = (self.min..=COMPRESS_BYTES_MAX).contains(&payload.len());
        is_worth_it.then_some(Message { kind, payload, frame })
    }

    /// Appends a message compressed if that does not make its frame longer than it may be, else as it is; returns which.
    fn compress(
        &mut self,
        deflater: &mut Deflater,
        message: &Message<'_>,
        how: How,
        out: &mut Vec<u8>,
    ) -> bool {
        let Message { kind, payload, frame } = *message;
        let before = out.len();
        let is_sent = deflater.encode_deflated(out, kind, payload, how.keep_context)
            && out.len() - before < frame.len() + how.longer_max;
        if is_sent {
            self.messages += 1;
        } else {
            self.unshrunk += 1;
            out.truncate(before);
            out.extend_from_slice(frame);
        }
        self.bytes_in += payload.len() as u64;
        self.bytes_out += (out.len() - before) as u64;
        is_sent
    }
}

/// How a message is compressed.
#[derive(Clone, Copy)]
struct How {
    /// It may refer to those before it, and those behind it to it.
    keep_context: bool,
    /// So many bytes longer it may become, less one.
    longer_max: usize,
}

/// A message in a frame of ours.
#[derive(Clone, Copy)]
struct Message<'f> {
    kind: Kind,
    payload: &'f [u8],
    frame: &'f [u8],
}

/// The header of a frame of ours.
pub(super) fn header(frame: &[u8]) -> Option<Header> {
    Header::decode(frame, Role::Client).ok().flatten()
}

/// How long the first of the frames in `frames` is.
pub(super) fn frame_len(frames: &[u8]) -> usize {
    let len = header(frames).map_or(frames.len(), |header| header.header_len + header.payload_len as usize);
    debug_assert!(len <= frames.len(), "frames are whole");
    len.min(frames.len())
}
