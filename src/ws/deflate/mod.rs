//! Compressed messages, one at a time: RFC 7692 §7.2 in both directions.
//!
//! A compressed message is a raw DEFLATE stream (RFC 1951) that was flushed to a byte boundary, without the last four
//! bytes of that flush, which are always the same:
//!
//! ```text
//!   deflate("Hello"), flushed    f2 48 cd c9 c9 07 00 | 00 00 ff ff
//!   on the wire                  f2 48 cd c9 c9 07 00               RSV1 on the first frame
//! ```
//!
//! With *context takeover* a message may refer back into those before it; without, each stands for itself, and one
//! [`Inflater`] and one [`Deflater`] serve all connections of a loop. Which it is, each call says.
//!
//! Invariants: nothing of one connection's message is seen by another's unless the caller keeps the context; memory is
//! bounded by the limits, whatever a stream unfolds to.

mod deflater;
mod inflater;

pub use deflater::{DEFLATER_BYTES_MAX, Deflater};
pub use inflater::{INFLATER_BYTES_MAX, Inflater, RATIO_FREE_BYTES, RATIO_MAX, compressed_max};

/// What ends every flushed stream and is left out on the wire (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
