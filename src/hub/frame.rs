//! Bytes on their way to many: a shared block and the part of it that one peer is owed.
//!
//! Servers do not mask (RFC 6455 §5.1), so one encoding of a publication serves every subscriber. What differs
//! from peer to peer is only how far it has got, and that is four bytes.
//!
//! Invariant: `from <= to <= bytes.len()`; the bytes never change once shared.

use std::rc::Rc;

use super::ledger::EntryId;

/// A range of a shared block of encoded frames, 24 bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Rc<Vec<u8>>,
    from: u32,
    to: u32,
    /// How many publications lie in the range; 0 for replies and control frames.
    pub publications: u32,
    /// Where the ledger is told when the range has been written.
    pub entry: EntryId,
}

impl Frame {
    /// The range `from..to` of `bytes`, with `publications` of which `entry` keeps count.
    #[must_use]
    pub fn new(bytes: &Rc<Vec<u8>>, from: u32, to: u32, publications: u32, entry: EntryId) -> Self {
        debug_assert!(from <= to && to as usize <= bytes.len());
        Self { bytes: Rc::clone(bytes), from, to, publications, entry }
    }

    /// A block of its own that no ledger counts: what is left of a reply.
    #[must_use]
    pub fn reply(bytes: &[u8]) -> Self {
        let to = bytes.len() as u32;
        Self { bytes: Rc::new(bytes.to_vec()), from: 0, to, publications: 0, entry: EntryId::NONE }
    }

    /// What is left of a reply in two parts when `gone` bytes of it have been written.
    #[must_use]
    pub fn rest([header, payload]: [&[u8]; 2], gone: usize) -> Self {
        let (header_gone, payload_gone) = (gone.min(header.len()), gone.saturating_sub(header.len()));
        Self::reply(&[&header[header_gone..], &payload[payload_gone..]].concat())
    }

    /// The bytes of the range.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.from as usize..self.to as usize]
    }

    /// Length of the range in bytes.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.to - self.from) as usize
    }

    /// A copy in a block of its own if the range is a small part of what it keeps alive.
    #[must_use]
    pub fn lean(self) -> Self {
        if self.len() * 4 >= self.bytes.len() {
            return self;
        }
        let bytes = Rc::new(self.bytes().to_vec());
        Self { to: self.to - self.from, from: 0, bytes, ..self }
    }

    /// Whether the range is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from == self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_one_block_share_it() {
        let bytes = Rc::new(b"abcdef".to_vec());
        let first = Frame::new(&bytes, 0, 2, 1, EntryId::NONE);
        let rest = Frame::new(&bytes, 2, 6, 2, EntryId::NONE);
        assert_eq!((first.bytes(), rest.bytes()), (&b"ab"[..], &b"cdef"[..]));
        assert_eq!(Rc::strong_count(&bytes), 3);
        assert_eq!(size_of::<Option<Frame>>(), 24);
    }
}
