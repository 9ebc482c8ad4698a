//! Bytes that wait for more bytes: a block of memory and how much of it is filled.
//!
//! A connection whose last frame or head was cut by the network keeps what came in one of these until the rest
//! arrives; the next read lands right behind it. All memory is initialised, so that a read needs no `unsafe`.
//!
//! A block of a page or more is mapped from the system and goes straight back to it. The allocator's heap can only
//! shrink from its top, and one small object that came late keeps it all: two thousand heads that never ended left
//! 64 MB behind. Pages that nothing was read into are never touched, so they cost nothing either.
//!
//! Invariant: `filled <= capacity`.

use std::io::{self, Write};
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// From this many bytes on a block is mapped.
const MAPPED_MIN: usize = 4096;

/// A block of bytes, filled from the front.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Block,
    filled: usize,
}

/// Memory, all of it initialised.
#[derive(Debug)]
enum Block {
    /// From the allocator.
    Heap(Vec<u8>),
    /// From the system, page by page.
    Mapped(MmapMut),
}

impl Block {
    /// A block of zeros.
    fn new(size: usize) -> Self {
        // A process may have 65 530 maps (vm.max_map_count); beyond, the allocator has to do.
        let mapped = (size >= MAPPED_MIN).then(|| MmapMut::map_anon(size).ok()).flatten();
        mapped.map_or_else(|| Self::Heap(vec![0; size]), Self::Mapped)
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(pages) => pages,
        }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(pages) => pages,
        }
    }
}

impl Buffer {
    /// An empty buffer with room for `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { bytes: Block::new(capacity), filled: 0 }
    }

    /// Room in all, in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that are filled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing is filled.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The filled bytes.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// The filled bytes, to be decoded in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.filled]
    }

    /// The room behind the filled bytes, for a read.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Counts `n` bytes of the spare room as filled; more than there is counts as all of it.
    pub fn fill(&mut self, n: usize) {
        self.filled = self.bytes.len().min(self.filled + n);
    }

    /// Keeps the first `len` filled bytes.
    pub fn truncate(&mut self, len: usize) {
        self.filled = self.filled.min(len);
    }

    /// Drops the first `n` filled bytes and moves the rest to the front.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.filled);
        self.bytes.copy_within(n..self.filled, 0);
        self.filled -= n;
    }

    /// Appends `more`, growing if it must.
    pub fn extend(&mut self, more: &[u8]) {
        self.reserve(more.len());
        self.bytes[self.filled..][..more.len()].copy_from_slice(more);
        self.filled += more.len();
    }

    /// Makes room for `more` bytes behind the filled ones.
    pub fn reserve(&mut self, more: usize) {
        let need = self.filled + more;
        if need > self.bytes.len() {
            let mut larger = Block::new(need.next_power_of_two());
            larger[..self.filled].copy_from_slice(self.filled());
            self.bytes = larger;
        }
    }
}

impl Write for Buffer {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.extend(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_from_the_front_and_consumes_from_the_front() {
        let mut buffer = Buffer::new(8);
        buffer.spare_mut()[..5].copy_from_slice(b"hello");
        buffer.fill(5);
        buffer.extend(b" world");
        assert_eq!(buffer.filled(), b"hello world");
        assert!(buffer.capacity() >= 11);
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        buffer.truncate(2);
        assert_eq!(buffer.filled(), b"wo");
        buffer.consume(99);
        assert!(buffer.is_empty());
    }

    #[test]
    fn large_and_small_are_alike() {
        for capacity in [0, 1, MAPPED_MIN - 1, MAPPED_MIN, MAPPED_MIN + 1, 100_000] {
            let mut buffer = Buffer::new(capacity);
            assert_eq!((buffer.capacity(), buffer.len()), (capacity, 0));
            assert!(buffer.spare_mut().iter().all(|byte| *byte == 0));
            let bytes: Vec<u8> = (0..capacity + 5000).map(|at| at as u8).collect();
            buffer.extend(&bytes[..capacity]);
            buffer.extend(&bytes[capacity..]);
            assert_eq!(buffer.filled(), bytes);
        }
    }

    #[test]
    fn filling_stops_at_the_capacity() {
        let mut buffer = Buffer::new(4);
        buffer.fill(9);
        assert_eq!(buffer.len(), 4);
        assert!(buffer.spare_mut().is_empty());
    }
}
