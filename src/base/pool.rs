//! Buffers that are lent: taken while something is incomplete, given back when it is complete.
//!
//! An idle connection owns no buffer. Those that are busy share a few size classes (powers of two), so that
//! ten thousand half-received messages do not mean ten thousand fresh allocations and page faults.
//!
//! Invariants: what waits on the shelf never exceeds `kept_max`; what has not been needed for a while is let
//! go ([`trim`](Pool::trim)), a bounded number at a time, so that memory falls back after a burst.

use super::buffer::Buffer;

/// The smallest class: most remainders are a cut header or a small message.
const CLASS_MIN: usize = 256;
/// Buffers freed in one [`trim`](Pool::trim): each is a system call, and others wait meanwhile.
const TRIMMED_MAX: usize = 1024;
/// Classes from 256 B to 128 MiB; larger ones are not kept.
const CLASSES: usize = 20;

/// Buffers on the shelf, and the count of those that are out.
#[derive(Debug)]
pub struct Pool {
    shelves: [Vec<Buffer>; CLASSES],
    kept_bytes: usize,
    kept_max: usize,
    /// The least that lay on the shelf since the last trim: so much was not needed.
    idle_bytes: usize,
    lent: usize,
    lent_bytes: usize,
    lent_peak: usize,
}

impl Pool {
    /// A pool that keeps at most `kept_max` bytes on the shelf.
    #[must_use]
    pub fn new(kept_max: usize) -> Self {
        Self {
            shelves: Default::default(),
            kept_bytes: 0,
            kept_max,
            idle_bytes: 0,
            lent: 0,
            lent_bytes: 0,
            lent_peak: 0,
        }
    }

    /// An empty buffer with room for at least `room` bytes. It counts as lent until it is given back.
    pub fn take(&mut self, room: usize) -> Buffer {
        self.lent += 1;
        self.lent_peak = self.lent_peak.max(self.lent);
        let size = size_of_class(room);
        self.lent_bytes += size;
        let found = self.shelves.get_mut(class(size)).and_then(Vec::pop);
        let Some(mut buffer) = found else { return Buffer::new(size) };
        self.kept_bytes -= buffer.capacity();
        self.idle_bytes = self.idle_bytes.min(self.kept_bytes);
        buffer.truncate(0);
        buffer
    }

    /// Takes a lent buffer back; it goes on the shelf if there is room for it.
    pub fn give(&mut self, buffer: Buffer) {
        let size = buffer.capacity();
        self.lent -= 1;
        self.lent_bytes -= size.min(self.lent_bytes);
        if size.is_power_of_two()
            && size >= CLASS_MIN
            && self.kept_bytes + size <= self.kept_max
            && let Some(shelf) = self.shelves.get_mut(class(size))
        {
            self.kept_bytes += size;
            shelf.push(buffer);
        }
    }

    /// Frees what lay idle since the last call, a thousand buffers at most: called once a second, a burst is
    /// forgotten a few seconds later.
    pub fn trim(&mut self) {
        let keep = self.kept_bytes - self.idle_bytes.min(self.kept_bytes);
        let mut left = TRIMMED_MAX;
        for shelf in self.shelves.iter_mut().rev() {
            while self.kept_bytes > keep
                && left > 0
                && let Some(buffer) = shelf.pop()
            {
                self.kept_bytes -= buffer.capacity();
                left -= 1;
            }
            if shelf.is_empty() {
                *shelf = Vec::new();
            }
        }
        self.idle_bytes = self.kept_bytes;
    }

    /// Buffers that are out.
    #[must_use]
    pub const fn lent(&self) -> usize {
        self.lent
    }

    /// Bytes of those that are out.
    #[must_use]
    pub const fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// The most that were ever out at once.
    #[must_use]
    pub const fn lent_peak(&self) -> usize {
        self.lent_peak
    }

    /// Bytes on the shelf.
    #[must_use]
    pub const fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }
}

/// Bytes of the buffer that [`Pool::take`] lends for `room` bytes.
#[must_use]
pub const fn size_of_class(room: usize) -> usize {
    if room < CLASS_MIN { CLASS_MIN } else { room.next_power_of_two() }
}

const fn class(size: usize) -> usize {
    (size / CLASS_MIN).trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_given_back_is_lent_again() {
        let mut pool = Pool::new(1 << 20);
        let mut buffer = pool.take(3000);
        assert_eq!((buffer.capacity(), pool.lent_bytes()), (4096, 4096));
        buffer.extend(b"old");
        pool.give(buffer);
        assert_eq!((pool.lent(), pool.lent_bytes(), pool.kept_bytes()), (0, 0, 4096));
        let again = pool.take(4096);
        assert!(again.is_empty());
        assert_eq!((pool.lent(), pool.kept_bytes()), (1, 0));
    }

    #[test]
    fn the_shelf_is_bounded() {
        let mut pool = Pool::new(4096);
        let (a, b) = (pool.take(4096), pool.take(4096));
        pool.give(a);
        pool.give(b);
        assert_eq!(pool.kept_bytes(), 4096);
        assert_eq!(pool.lent_peak(), 2);
        let huge = pool.take(256 << 20);
        pool.give(huge);
        assert_eq!(pool.kept_bytes(), 4096);
    }

    #[test]
    fn what_is_not_needed_is_let_go() {
        let mut pool = Pool::new(1 << 20);
        let burst: Vec<_> = (0..10).map(|_| pool.take(1024)).collect();
        burst.into_iter().for_each(|buffer| pool.give(buffer));
        pool.trim();
        // One of ten is in use all the time: nine lie idle and go.
        let one = pool.take(1024);
        pool.give(one);
        pool.trim();
        assert_eq!(pool.kept_bytes(), 1024);
        pool.trim();
        assert_eq!(pool.kept_bytes(), 0);
    }
}
