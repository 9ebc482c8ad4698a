//! Where decoding stands in a window of received bytes, and which of them must be kept.
//!
//! The decoder owns no buffer, so that an idle connection has none; what ties it to the caller's is this. Moving a window
//! is moving what its cursor says, and nothing else.
//!
//! Invariant: `held.start <= held.end <= next <= window.len()`.

use std::ops::Range;

/// Where decoding stands in a window.
///
/// `bytes[held]` is the payload of the unfinished message so far (unmasked, checked, contiguous); `bytes[next..]` is
/// not yet looked at. Everything else may be overwritten. A cursor belongs to one window: move both together, through
/// [`compact`](Self::compact) or [`carry`](Self::carry).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cursor {
    // Not a `Range`, which is no `Copy`.
    pub(super) held_start: usize,
    pub(super) held_end: usize,
    pub(super) next: usize,
}

impl Cursor {
    /// The payload of the unfinished message so far.
    pub const fn held(&self) -> Range<usize> {
        self.held_start..self.held_end
    }

    /// Where the bytes begin that have not been looked at.
    pub const fn next(&self) -> usize {
        self.next
    }

    /// Whether nothing of a window of `len` bytes needs to be kept. The window may then be given up, and decoding
    /// goes on in another with a new cursor.
    pub const fn is_clear(&self, len: usize) -> bool {
        self.held_start == self.held_end && self.next == len
    }

    /// Moves what must be kept of `bytes[..len]` to the front of `bytes`, fixes itself and returns how many bytes
    /// are kept: new ones go behind them. Costs nothing if everything is already in place.
    pub fn compact(&mut self, bytes: &mut [u8], len: usize) -> usize {
        let held_len = self.held().len();
        if self.held_start > 0 {
            bytes.copy_within(self.held(), 0);
        }
        if self.next > held_len {
            bytes.copy_within(self.next..len, held_len);
        }
        let kept = held_len + (len - self.next);
        *self = Self::kept(held_len);
        kept
    }

    /// Copies what must be kept of `from`, the whole window, into `to`, which is emptied first; from then on `to` is
    /// the window.
    pub fn carry(&mut self, from: &[u8], to: &mut Vec<u8>) {
        to.clear();
        self.leave(from).iter().for_each(|part| to.extend_from_slice(part));
    }

    /// The two parts of `from`, the whole window, that must be kept. From then on the window is wherever they are
    /// laid end to end.
    pub fn leave<'b>(&mut self, from: &'b [u8]) -> [&'b [u8]; 2] {
        let parts = [&from[self.held()], &from[self.next..]];
        *self = Self::kept(self.held().len());
        parts
    }

    /// The cursor of a window of which nothing is held and the first `next` bytes were something else, such as the
    /// handshake.
    pub const fn behind(next: usize) -> Self {
        Self { held_start: next, held_end: next, next }
    }

    /// The cursor of a window that begins with what is held, followed at once by what is not looked at.
    const fn kept(held_len: usize) -> Self {
        Self { held_start: 0, held_end: held_len, next: held_len }
    }

    /// Holds nothing any more; returns what was held.
    pub(super) fn release(&mut self) -> Range<usize> {
        let held = self.held();
        (self.held_start, self.held_end) = (self.next, self.next);
        held
    }

    /// Holds nothing and has looked at everything.
    pub(super) fn discard(&mut self, len: usize) {
        *self = Self { held_start: len, held_end: len, next: len };
    }
}
