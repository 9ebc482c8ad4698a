//! Bytes in, events out: the receiving half of RFC 6455 as a state machine of 24 bytes.
//!
//! One decoder lives in every connection, so it owns no buffer: the caller keeps the received bytes in a *window*,
//! and a [`Cursor`] says which of them are still needed. Payload is unmasked, checked and absorbed as it arrives, a
//! block at a time while the block is in the nearest cache; a bad byte is refused at once, even in an unfinished
//! frame, and nothing is ever scanned twice. A message in one frame is lent where it stands, with no copy; later
//! fragments are moved down onto the first, over their own headers:
//!
//! ```text
//!   window   | header | Hel | header | lo | header …          received
//!                       ^^^            ^^ absorbed: moved down by a header's length
//!            | ...... | Hello | ..... | header …
//!                       ^held^          ^next
//! ```
//!
//! Invariants: whatever way a stream is cut, and wherever the window is moved between calls, the events are the
//! same; a frame costs O(1) beside its payload, and a message no object per fragment; memory follows the bytes
//! received, never those announced; after a close frame or a violation nothing more comes out.

use super::close::{self, CloseCode};
use super::cursor::Cursor;
use super::deflate::compressed_max;
use super::header::{Header, RSV1, Role};
use super::mask;
use super::opcode::{Kind, Opcode};
use super::utf8::Utf8;
use super::violation::Violation;
use std::ops::Range;

/// How much is moved, unmasked and checked in one go, in bytes: half of a usual 32 KiB first-level cache.
const BLOCK_BYTES: usize = 16 * 1024;

/// What a peer may send at most. One for a whole server: the decoder is lent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Payload bytes of one data frame; more is refused with 1009, from the header.
    pub frame_max: u64,
    /// Payload bytes of one message, all fragments together; more is refused with 1009, from the header.
    pub message_max: u64,
    /// Frames of one message, at least 1; more is refused with 1008. Without it a peer could keep a message open
    /// for ever with empty fragments.
    pub fragments_max: u32,
}

impl Limits {
    /// The same, or with another bound for messages and so for frames.
    #[must_use]
    pub fn with_message_max(self, message_max: Option<u64>) -> Self {
        message_max.map_or(self, |max| Self { frame_max: max, message_max: max, ..self })
    }
}

/// Something that a peer said. Payloads are lent from the window, unmasked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'b> {
    /// A whole message, put together from its fragments.
    Message {
        /// Text or binary.
        kind: Kind,
        /// All of it. Of [`Kind::Text`]: valid UTF-8, checked.
        payload: &'b [u8],
    },
    /// A whole message, put together from its fragments and compressed: for an
    /// [`Inflater`](super::deflate::Inflater). Only from a decoder [`with_deflate`](Decoder::with_deflate).
    Compressed {
        /// Text or binary.
        kind: Kind,
        /// All of it as it was sent, at most [`compressed_max`] of the limits; nothing has been checked.
        payload: &'b [u8],
    },
    /// A ping; it is owed a pong with the same payload, 0–125 bytes (RFC 6455 §5.5.2).
    Ping(&'b [u8]),
    /// A pong, asked for or not, 0–125 bytes (RFC 6455 §5.5.3).
    Pong(&'b [u8]),
    /// A close frame with its code and reason, if it had any. Nothing comes after it (RFC 6455 §5.5.1).
    Close(Option<(CloseCode, &'b str)>),
}

/// The receiving state of one connection.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Payload bytes of the current data frame that have not been absorbed.
    missing: u64,
    /// The current data frame's masking key, turned to the next payload byte.
    key: [u8; 4],
    /// Frames of the current message so far.
    fragments: u32,
    role: Role,
    state: State,
    deflate: Deflate,
    /// The kind of the message that has begun and not ended.
    message: Option<Kind>,
    /// Where the current text message stands.
    utf8: Utf8,
}

const _: () = assert!(size_of::<Decoder>() <= 24, "a decoder lives in every connection");

/// What RSV1 means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Deflate {
    /// Nothing: no compression was agreed on.
    Refused,
    /// A compressed message; there is none now.
    Agreed,
    /// The message that has begun is compressed.
    Begun,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    /// A header comes next. Control frames are taken whole from here.
    Header,
    /// Inside a data frame that is not the last of its message.
    Fragment,
    /// Inside a data frame that is the last of its message.
    Last,
    /// Closed or failed: nothing more comes out.
    Stopped,
}

/// An event as ranges of the window, while the window is still borrowed for writing.
enum Found {
    Message(Kind, Range<usize>),
    Compressed(Kind, Range<usize>),
    Ping(Range<usize>),
    Pong(Range<usize>),
    Close(Range<usize>),
}

impl Decoder {
    /// A decoder for our side of a connection on which no frame has arrived yet.
    pub const fn new(role: Role) -> Self {
        Self {
            missing: 0,
            key: [0; 4],
            fragments: 0,
            role,
            state: State::Header,
            deflate: Deflate::Refused,
            message: None,
            utf8: Utf8::new(),
        }
    }

    /// The same for a connection on which permessage-deflate was agreed on (RFC 7692).
    pub const fn with_deflate(role: Role) -> Self {
        Self { deflate: Deflate::Agreed, ..Self::new(role) }
    }

    /// Whether permessage-deflate was agreed on.
    pub const fn has_deflate(&self) -> bool {
        !matches!(self.deflate, Deflate::Refused)
    }

    /// Decodes up to the next event. `bytes` is everything received and still needed; `cursor` says where decoding
    /// stands in it. `Ok(None)`: it needs more bytes; after an event call again until then.
    ///
    /// The payload of an event is the caller's until the next call; `cursor` no longer keeps it.
    ///
    /// # Errors
    /// What the peer did wrong. Every event before it has come out by then; from now on the decoder answers
    /// `Ok(None)` and discards what it is shown.
    #[inline]
    pub fn decode<'b>(
        &mut self,
        bytes: &'b mut [u8],
        cursor: &mut Cursor,
        limits: &Limits,
    ) -> Result<Option<Event<'b>>, Violation> {
        let window_len = bytes.len();
        let event = match self.advance(bytes, cursor, limits) {
            Ok(None) => return Ok(None),
            Ok(Some(Found::Message(kind, payload))) => Ok(Event::Message { kind, payload: &bytes[payload] }),
            Ok(Some(Found::Compressed(kind, payload))) => {
                Ok(Event::Compressed { kind, payload: &bytes[payload] })
            }
            Ok(Some(Found::Ping(payload))) => Ok(Event::Ping(&bytes[payload])),
            Ok(Some(Found::Pong(payload))) => Ok(Event::Pong(&bytes[payload])),
            Ok(Some(Found::Close(body))) => {
                self.stop(cursor, window_len);
                close::decode_body(&bytes[body]).map(Event::Close)
            }
            Err(violation) => {
                self.stop(cursor, window_len);
                Err(violation)
            }
        };
        event.map(Some)
    }

    /// Whether no message has begun: nothing is owed to us but the rest of a header or of a control frame (which
    /// [`Cursor::is_clear`] knows about). After a close frame or a violation nothing is.
    pub const fn is_idle(&self) -> bool {
        match self.state {
            State::Header => self.message.is_none(),
            State::Fragment | State::Last => false,
            State::Stopped => true,
        }
    }

    /// Payload bytes still missing of the data frame that is being received; 0 between frames, in a header and in
    /// a control frame (of which at most 139 bytes are ever waited for). Announced by the peer: it may be as high
    /// as the limits allow, so it says how big a buffer would help, not how big one must be.
    pub const fn missing(&self) -> u64 {
        match self.state {
            State::Fragment | State::Last => self.missing,
            State::Header | State::Stopped => 0,
        }
    }

    /// The state machine: one frame's header or payload per round, until something is found.
    #[inline]
    fn advance(
        &mut self,
        bytes: &mut [u8],
        cursor: &mut Cursor,
        limits: &Limits,
    ) -> Result<Option<Found>, Violation> {
        loop {
            match self.state {
                State::Header => {
                    let Some(header) = Header::decode(&bytes[cursor.next..], self.role)? else {
                        return Ok(None);
                    };
                    if header.reserved != 0 {
                        self.judge_reserved(&header)?;
                    }
                    let kind = match header.opcode {
                        Opcode::Close => return Ok(take_control(&header, bytes, cursor).map(Found::Close)),
                        Opcode::Ping => return Ok(take_control(&header, bytes, cursor).map(Found::Ping)),
                        Opcode::Pong => return Ok(take_control(&header, bytes, cursor).map(Found::Pong)),
                        Opcode::Continuation => self.message.ok_or(Violation::ContinuationStray)?,
                        Opcode::Text => self.first(Kind::Text)?,
                        Opcode::Binary => self.first(Kind::Binary)?,
                    };
                    self.begin_frame(kind, &header, cursor.held().len(), limits)?;
                    cursor.next += header.header_len;
                }
                State::Fragment | State::Last => {
                    self.absorb(bytes, cursor)?;
                    if self.missing > 0 {
                        return Ok(None);
                    }
                    let is_last = self.state == State::Last;
                    self.state = State::Header;
                    if is_last {
                        return self.end_message(cursor);
                    }
                }
                State::Stopped => {
                    cursor.discard(bytes.len());
                    return Ok(None);
                }
            }
        }
    }

    /// RSV1 marks the first frame of a compressed message, where compression was agreed on; the other two bits, and
    /// RSV1 on any other frame, belong to no extension of ours (RFC 6455 §5.2, RFC 7692 §6.1).
    #[cold]
    fn judge_reserved(&mut self, header: &Header) -> Result<(), Violation> {
        let is_first = matches!(header.opcode, Opcode::Text | Opcode::Binary) && self.message.is_none();
        if header.reserved != RSV1 || self.deflate != Deflate::Agreed || !is_first {
            return Err(Violation::ReservedBits);
        }
        self.deflate = Deflate::Begun;
        Ok(())
    }

    /// The kind of a message whose first frame this is; the last message must have ended (RFC 6455 §5.4).
    #[inline]
    fn first(&self, kind: Kind) -> Result<Kind, Violation> {
        if self.message.is_some() { Err(Violation::ContinuationMissing) } else { Ok(kind) }
    }

    /// Judges a data frame's header by the limits, and goes into its payload.
    #[inline]
    fn begin_frame(
        &mut self,
        kind: Kind,
        header: &Header,
        held: usize,
        limits: &Limits,
    ) -> Result<(), Violation> {
        // What is compressed may have grown by it; what it unfolds to is judged when it does.
        let (frame_max, message_max) = match self.deflate {
            Deflate::Begun => (compressed_max(limits.frame_max), compressed_max(limits.message_max)),
            Deflate::Refused | Deflate::Agreed => (limits.frame_max, limits.message_max),
        };
        if header.payload_len > frame_max {
            return Err(Violation::FrameTooBig);
        }
        // The announced length is the peer's word: the sum is checked, and must be a size this machine can hold.
        let total = (held as u64).checked_add(header.payload_len).filter(|total| *total <= message_max);
        if total.is_none_or(|total| usize::try_from(total).is_err()) {
            return Err(Violation::MessageTooBig);
        }
        if self.fragments >= limits.fragments_max {
            return Err(Violation::TooManyFragments);
        }
        self.fragments += 1;
        self.message = Some(kind);
        self.missing = header.payload_len;
        self.key = header.key;
        self.state = if header.fin { State::Last } else { State::Fragment };
        Ok(())
    }

    /// Ends it: nothing more comes out, and nothing of the window is needed any more.
    fn stop(&mut self, cursor: &mut Cursor, window_len: usize) {
        self.state = State::Stopped;
        cursor.discard(window_len);
    }

    /// Takes up what has arrived of the current payload: moved down to what is held, unmasked, checked.
    #[inline]
    fn absorb(&mut self, bytes: &mut [u8], cursor: &mut Cursor) -> Result<(), Violation> {
        if cursor.held_start == cursor.held_end {
            // Nothing held: the message stands where its first byte stands.
            (cursor.held_start, cursor.held_end) = (cursor.next, cursor.next);
        }
        let arrived = bytes.len() - cursor.next;
        // The lesser of the two fits the type of either.
        let mut left = usize::try_from(self.missing).map_or(arrived, |missing| missing.min(arrived));
        self.missing -= left as u64;
        let is_text = self.message == Some(Kind::Text) && self.deflate != Deflate::Begun;
        while left > 0 {
            let len = left.min(BLOCK_BYTES);
            let (from, to) = (cursor.next, cursor.held_end);
            if from != to {
                bytes.copy_within(from..from + len, to);
            }
            let block = &mut bytes[to..to + len];
            self.key = mask::apply(self.key, block);
            if is_text {
                self.utf8.feed(block).map_err(|_| Violation::TextNotUtf8)?;
            }
            cursor.next += len;
            cursor.held_end += len;
            left -= len;
        }
        Ok(())
    }

    /// Hands out the message that is now whole.
    #[inline]
    fn end_message(&mut self, cursor: &mut Cursor) -> Result<Option<Found>, Violation> {
        // Always at a boundary unless a text ends inside a character (RFC 6455 §8.1).
        if !self.utf8.is_boundary() {
            return Err(Violation::TextNotUtf8);
        }
        self.fragments = 0;
        let payload = cursor.release();
        // There is a message: only a data frame's header leads here, and it has set one.
        let Some(kind) = self.message.take() else { return Ok(None) };
        if self.deflate == Deflate::Begun {
            self.deflate = Deflate::Agreed;
            return Ok(Some(Found::Compressed(kind, payload)));
        }
        Ok(Some(Found::Message(kind, payload)))
    }
}

/// Takes a control frame's payload if all of it is there.
///
/// A control frame is at most 139 bytes, so that waiting for the whole of it is cheaper than remembering a part; and
/// it may stand between the fragments of a message (RFC 6455 §5.4), which is why it is lent where it stands and
/// leaves the message alone.
#[inline]
fn take_control(header: &Header, bytes: &mut [u8], cursor: &mut Cursor) -> Option<Range<usize>> {
    let start = cursor.next + header.header_len;
    // Judged by the header: at most 125.
    let end = start + header.payload_len as usize;
    mask::apply(header.key, bytes.get_mut(start..end)?);
    cursor.next = end;
    Some(start..end)
}
