//! Bytes on their way to many: a shared block and the part of it that one peer is owed, or a run of whole blocks.
//!
//! Servers do not mask (RFC 6455 §5.1), so one encoding of a publication serves every subscriber. What differs
//! from peer to peer is only how far it has got, and that is four bytes.
//!
//! Many who have fallen behind are owed the same blocks, one after the other. They share the list of these too: a
//! [`Strip`] is a piece of what was published to a topic, and a frame names a run of its blocks in 24 bytes, however many.
//! Ten thousand peers behind a thousand small publications are then ten thousand times a few frames, not ten million.
//!
//! Invariants: `from <= to <= bytes.len()`; a run has at least one block; bytes and blocks never change once shared.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use super::ledger::EntryId;

/// Blocks in a strip: whoever is owed one of them keeps all in memory.
pub const STRIP_BLOCKS: usize = 64;

/// The largest block that is put on a strip, in bytes. A frame for itself is little beside a larger one.
pub const STRIP_BLOCK_BYTES_MAX: usize = 2048;

/// Something that is owed to one peer, 24 bytes.
#[derive(Debug, Clone)]
pub struct Frame(Inner);

#[derive(Debug, Clone)]
enum Inner {
    /// Bytes `from..to` of a block.
    Part { bytes: Rc<Vec<u8>>, from: u32, to: u32, publications: u16, entry: EntryId },
    /// So many blocks of a strip, from the first.
    Run { strip: Rc<Strip>, first: u8, blocks: u8 },
}

const _: () = assert!(size_of::<Option<Frame>>() == 24);

/// What the ledger is to be told when a block has been written, or never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debt {
    /// How many publications lie in it; 0 for replies and control frames.
    pub publications: u32,
    /// Where the ledger counts it.
    pub entry: EntryId,
}

/// Blocks that were published to one topic in one dialect, one after the other, while somebody was behind.
pub struct Strip([OnceCell<Block>; STRIP_BLOCKS]);

/// Encoded frames that left the topic together.
#[derive(Debug)]
struct Block {
    bytes: Rc<Vec<u8>>,
    publications: u16,
    entry: EntryId,
}

impl Frame {
    /// The range `from..to` of `bytes`, with `publications` of which `entry` keeps count.
    #[must_use]
    pub fn new(bytes: &Rc<Vec<u8>>, from: u32, to: u32, publications: u16, entry: EntryId) -> Self {
        debug_assert!(from <= to && to as usize <= bytes.len());
        Self(Inner::Part { bytes: Rc::clone(bytes), from, to, publications, entry })
    }

    /// A block of its own that no ledger counts: what is left of a reply.
    #[must_use]
    pub fn reply(bytes: &[u8]) -> Self {
        Self::new(&Rc::new(bytes.to_vec()), 0, bytes.len() as u32, 0, EntryId::NONE)
    }

    /// What is left of a reply in two parts when `gone` bytes of it have been written.
    #[must_use]
    pub fn rest([header, payload]: [&[u8]; 2], gone: usize) -> Self {
        let (header_gone, payload_gone) = (gone.min(header.len()), gone.saturating_sub(header.len()));
        let left = [&header[header_gone..], &payload[payload_gone..]].concat();
        let len = left.len() as u32;
        Self::new(&Rc::new(left), 0, len, 0, EntryId::NONE)
    }

    /// The block at `place` of `strip`, which has one there.
    #[must_use]
    pub fn on(strip: &Rc<Strip>, place: u8) -> Self {
        debug_assert!(strip.0[place as usize].get().is_some());
        Self(Inner::Run { strip: Rc::clone(strip), first: place, blocks: 1 })
    }

    /// How many blocks it names.
    #[inline]
    #[must_use]
    pub const fn blocks(&self) -> usize {
        match &self.0 {
            Inner::Part { .. } => 1,
            Inner::Run { blocks, .. } => *blocks as usize,
        }
    }

    /// The bytes of the block of this index.
    ///
    /// # Panics
    /// If it has not so many blocks.
    #[inline]
    #[must_use]
    pub fn block(&self, index: usize) -> &[u8] {
        match &self.0 {
            Inner::Part { bytes, from, to, .. } => &bytes[*from as usize..*to as usize],
            Inner::Run { strip, first, .. } => &strip.at(*first as usize + index).bytes,
        }
    }

    /// What the block of this index settles.
    ///
    /// # Panics
    /// If it has not so many blocks.
    #[inline]
    #[must_use]
    pub fn debt(&self, index: usize) -> Debt {
        match &self.0 {
            Inner::Part { publications, entry, .. } => {
                Debt { publications: u32::from(*publications), entry: *entry }
            }
            Inner::Run { strip, first, .. } => {
                let block = strip.at(*first as usize + index);
                Debt { publications: u32::from(block.publications), entry: block.entry }
            }
        }
    }

    /// Length of all blocks in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::Part { from, to, .. } => (to - from) as usize,
            Inner::Run { .. } => (0..self.blocks()).map(|index| self.block(index).len()).sum(),
        }
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a reply or a control frame, and no publication.
    #[inline]
    #[must_use]
    pub const fn is_reply(&self) -> bool {
        matches!(self.0, Inner::Part { publications: 0, .. })
    }

    /// Takes `next` in if it is the run of blocks that follows this one on its strip; else hands it back.
    pub fn join(&mut self, next: Self) -> Option<Self> {
        let (Inner::Run { strip, first, blocks }, Inner::Run { strip: other, first: from, blocks: more }) =
            (&mut self.0, &next.0)
        else {
            return Some(next);
        };
        if !Rc::ptr_eq(strip, other) || *first + *blocks != *from {
            return Some(next);
        }
        *blocks += more;
        None
    }

    /// Splits it behind its first block; what follows, if anything.
    #[must_use]
    pub fn split(&mut self) -> Option<Self> {
        let Inner::Run { strip, first, blocks: blocks @ 2.. } = &mut self.0 else { return None };
        let rest = Inner::Run { strip: Rc::clone(strip), first: *first + 1, blocks: *blocks - 1 };
        *blocks = 1;
        Some(Self(rest))
    }

    /// A copy in a block of its own if it is a small part of what it keeps alive.
    #[must_use]
    pub fn lean(self) -> Self {
        match &self.0 {
            Inner::Part { bytes, publications, entry, .. } if self.len() * 4 < bytes.len() => {
                let own = Rc::new(self.block(0).to_vec());
                Self::new(&own, 0, own.len() as u32, *publications, *entry)
            }
            Inner::Part { .. } | Inner::Run { .. } => self,
        }
    }
}

impl Default for Strip {
    fn default() -> Self {
        Self([const { OnceCell::new() }; STRIP_BLOCKS])
    }
}

impl Strip {
    /// Puts a block behind the others and returns its place, if there is one left.
    #[must_use]
    pub fn append(&self, bytes: &Rc<Vec<u8>>, publications: u16, entry: EntryId) -> Option<u8> {
        let place = self.0.iter().position(|block| block.get().is_none())?;
        self.0[place].set(Block { bytes: Rc::clone(bytes), publications, entry }).ok()?;
        Some(place as u8)
    }

    #[inline]
    fn at(&self, place: usize) -> &Block {
        self.0[place].get().expect("a run names blocks that are there")
    }
}

impl fmt::Debug for Strip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map_while(OnceCell::get)).finish()
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
        assert_eq!((first.block(0), rest.block(0)), (&b"ab"[..], &b"cdef"[..]));
        assert_eq!(Rc::strong_count(&bytes), 3);
    }

    #[test]
    fn blocks_that_follow_one_another_on_a_strip_are_one_frame() {
        let strip = Rc::new(Strip::default());
        let places: Vec<u8> =
            (1..=3).map(|n| strip.append(&Rc::new(vec![n; 2]), 1, EntryId::NONE).unwrap()).collect();
        let mut run = Frame::on(&strip, places[0]);
        assert!(run.join(Frame::on(&strip, places[2])).is_some(), "one was left out between them");
        assert!(run.join(Frame::on(&strip, places[1])).is_none());
        assert!(run.join(Frame::on(&strip, places[2])).is_none());
        assert!(run.join(Frame::reply(b"no")).is_some());
        assert_eq!((run.blocks(), run.len(), run.block(2)), (3, 6, &[3, 3][..]));
        let rest = run.split().unwrap();
        assert_eq!((run.block(0), rest.block(0), rest.blocks()), (&[1, 1][..], &[2, 2][..], 2));
        assert!(run.split().is_none());
    }

    #[test]
    fn a_strip_ends() {
        let strip = Strip::default();
        let appended =
            (0..STRIP_BLOCKS + 9).filter_map(|_| strip.append(&Rc::new(vec![0]), 1, EntryId::NONE)).count();
        assert_eq!(appended, STRIP_BLOCKS);
    }
}
