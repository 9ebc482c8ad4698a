//! RFC 6455 as pure state machines, both roles: bytes in, events out, no socket and no clock.
//!
//! # The RFC on a page
//!
//! A connection begins as an HTTP request and is *upgraded* (§4). From then on both sides send *frames* (§5):
//!
//! ```text
//!   FIN  1 bit    the last frame of its message
//!   RSV  3 bits   0, unless an extension was agreed on (RFC 7692 uses the first for "compressed")
//!   op   4 bits   0 continuation · 1 text · 2 binary · 8 close · 9 ping · A pong · the rest reserved
//!   MASK 1 bit    1 from a client, 0 from a server
//!   len  7 bits   or 126 and 16 bits, or 127 and 64 bits; always the shortest form
//!   key  4 bytes  if MASK
//!   payload       XORed with the key if MASK
//! ```
//!
//! A *message* is one frame, or a text or binary frame without FIN followed by continuations up to one with FIN
//! (§5.4). Control frames (close, ping, pong) are never fragmented, hold at most 125 bytes, and may come between
//! the fragments of a message. Text is UTF-8 over the whole message; a character may be divided between frames
//! (§8.1). To close, a side sends a close frame with a code and waits for the other's (§5.5.1, §7). Whoever meets
//! a violation fails the connection with a code that says why (§7.1.7): 1002 protocol, 1007 not what it promises to
//! be, 1009 too big.
//!
//! # Reading order
//!
//! [`opcode`] and [`header`] are the table above; [`mask`] and [`utf8`] touch the payload; [`decoder`] puts them
//! together and is the heart of the room; [`encoder`] is the way back. [`close`] and [`violation`] are how things
//! end, [`handshake`] how they begin. `tests/cases.rs` goes through the rules one by one, `tests/laws.rs` holds
//! what must be true of every stream.
//!
//! Compression (RFC 7692) is one more step behind the decoder: a message whose first frame has RSV1 comes out as
//! [`Event::Compressed`] once it is whole, and goes through a [`deflate::Inflater`]. [`extension`] is how two peers agree on
//! it; where they have not, the decoder refuses the bit.

pub mod close;
pub mod cursor;
pub mod decoder;
pub mod deflate;
pub mod encoder;
pub mod extension;
pub mod handshake;
pub mod header;
pub mod mask;
pub mod opcode;
pub mod utf8;
pub mod violation;

pub use close::CloseCode;
pub use cursor::Cursor;
pub use decoder::{Decoder, Event, Limits};
pub use encoder::{encode, encode_masked, frame_len};
pub use header::{Header, Role, encode_header};
pub use opcode::{Kind, Opcode};
pub use violation::Violation;

#[cfg(test)]
mod tests;
