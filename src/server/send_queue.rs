//! What one peer is owed and has not been written: frames in order, the first perhaps half gone.
//!
//! Nearly every queue is empty nearly always, and one that is not mostly holds a single frame. So the front stands
//! in the connection itself, and a deque is allocated for the second and released with the last: measured, 9 ns per
//! peer against 43 for a deque that allocates each time.
//!
//! Publications that follow one another come as runs of blocks ([`Frame`]), and a run that goes on takes no place of its own.
//!
//! Invariants: `bytes` is the sum of what is left of all frames; a block of which a byte has been written stays
//! until it has gone whole; nothing stands behind a close frame.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::limits::FRAME_WEIGHT_BYTES;
use crate::base::mutation::{Mutation, is_made};
use crate::hub::frame::{Debt, Frame};

/// Frames that wait for one socket.
#[derive(Debug, Default)]
pub struct SendQueue {
    front: Option<Frame>,
    /// Bytes of the front's first block that have been written.
    gone: u32,
    /// Wider than a frame's length: several of the largest may wait.
    bytes: usize,
    /// Behind the front; the box keeps an idle connection small.
    #[expect(clippy::box_collection)]
    rest: Option<Box<VecDeque<Frame>>>,
}

impl SendQueue {
    /// Puts `frame` behind what waits, of which `gone` bytes have been written already if it is the first.
    pub fn push(&mut self, frame: Frame, gone: usize) {
        self.bytes += frame.len() - gone;
        let Some(front) = &mut self.front else {
            self.front = Some(frame);
            self.gone = gone as u32;
            return;
        };
        debug_assert_eq!(gone, 0, "only the first frame can be half gone");
        let last = self.rest.as_mut().and_then(|rest| rest.back_mut()).unwrap_or(front);
        if let Some(frame) = last.join(frame) {
            self.rest.get_or_insert_default().push_back(frame);
        }
    }

    /// Puts `frame` before everything of which no byte has been written: a control frame between two others
    /// (RFC 6455 §5.4).
    pub fn push_urgent(&mut self, frame: Frame) {
        let Some(front) = &mut self.front else { return self.push(frame, 0) };
        self.bytes += frame.len();
        let (urgent, later) = if self.gone == 0 {
            (None, Some(std::mem::replace(front, frame)))
        } else {
            (Some(frame), front.split())
        };
        let rest = self.rest.get_or_insert_default();
        later.into_iter().chain(urgent).for_each(|frame| rest.push_front(frame));
    }

    /// Whether what was written last is a whole frame.
    #[inline]
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        self.gone == 0
    }

    /// Whether nothing waits.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.front.is_none()
    }

    /// Bytes that wait.
    #[inline]
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What waits, in bytes of memory: those of the frames, and what each weighs beside them, so that a queue of the
    /// smallest frames is as bounded as one of large ones. 0 exactly when nothing waits.
    #[inline]
    #[must_use]
    pub fn weight(&self) -> usize {
        self.bytes() + self.len() * FRAME_WEIGHT_BYTES
    }

    /// Blocks that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames().map(Frame::blocks).sum()
    }

    /// The bytes to be written next, as many slices as fit into `slices`; returns how many were filled.
    pub fn slices<'q>(&'q self, slices: &mut [IoSlice<'q>]) -> usize {
        let mut gone = self.gone as usize;
        let blocks = self.frames().flat_map(|frame| (0..frame.blocks()).map(|index| frame.block(index)));
        let mut filled = 0;
        for (slot, bytes) in slices.iter_mut().zip(blocks) {
            *slot = IoSlice::new(&bytes[std::mem::take(&mut gone)..]);
            filled += 1;
        }
        filled
    }

    /// Counts `n` bytes as written and tells `done` of every block that is complete.
    pub fn advance(&mut self, n: usize, mut done: impl FnMut(Debt)) {
        debug_assert!(n <= self.bytes());
        self.bytes -= n;
        let mut left = n;
        while let Some(front) = &mut self.front {
            let missing = front.block(0).len() - self.gone as usize;
            if left < missing {
                self.gone += left as u32 + u32::from(is_made(Mutation::OffByOne) && left + 1 < missing);
                return;
            }
            left -= missing;
            self.gone = 0;
            done(front.debt(0));
            self.front = front.split().or_else(|| self.next());
        }
    }

    /// Removes every publication of which no byte has been written, and tells `dropped` of each block.
    pub fn drop_publications(&mut self, mut dropped: impl FnMut(Debt)) {
        let gone = std::mem::take(&mut self.gone) as usize;
        let begun = if gone > 0 { self.front.take() } else { None };
        let rest = self.rest.take().into_iter().flat_map(|rest| *rest);
        let waiting: Vec<Frame> = self.front.take().into_iter().chain(rest).collect();
        self.bytes = 0;
        let mut later = None;
        if let Some(mut frame) = begun {
            later = frame.split();
            self.push(frame, gone);
        }
        for frame in later.into_iter().chain(waiting) {
            if frame.is_reply() {
                self.push(frame, 0);
            } else {
                debts(&frame).for_each(&mut dropped);
            }
        }
    }

    /// Empties the queue and tells `lost` of every block.
    pub fn clear(&mut self, mut lost: impl FnMut(Debt)) {
        while let Some(frame) = self.front.take() {
            self.front = self.next();
            debts(&frame).for_each(&mut lost);
        }
        *self = Self::default();
    }

    /// Whether replies and control frames that wait weigh more than `most`: who owes us the reading of those is not read
    /// from, while one that is only behind with publications has a policy for that and goes on being heard.
    #[must_use]
    pub fn holds_replies(&self, most: usize) -> bool {
        self.weight() > most && self.replies() > most
    }

    /// What the replies and control frames that wait weigh.
    #[must_use]
    pub fn replies(&self) -> usize {
        self.frames().filter(|frame| frame.is_reply()).map(|frame| frame.len() + FRAME_WEIGHT_BYTES).sum()
    }

    /// What the publications that wait weigh, without replies and control frames.
    #[must_use]
    pub fn owed(&self) -> usize {
        let owed = self.frames().filter(|frame| !frame.is_reply());
        let whole: usize = owed.map(|frame| frame.len() + frame.blocks() * FRAME_WEIGHT_BYTES).sum();
        let is_begun = self.front.as_ref().is_some_and(|front| !front.is_reply());
        whole - if is_begun { self.gone as usize } else { 0 }
    }

    /// Publications that wait, those of a half-written block included.
    #[must_use]
    pub fn publications(&self) -> u64 {
        self.frames().flat_map(debts).map(|debt| u64::from(debt.publications)).sum()
    }

    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.front.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    /// The next one behind the front; the deque goes with its last frame.
    fn next(&mut self) -> Option<Frame> {
        let rest = self.rest.as_mut()?;
        let next = rest.pop_front();
        if rest.is_empty() {
            self.rest = None;
        }
        next
    }
}

fn debts(frame: &Frame) -> impl Iterator<Item = Debt> {
    (0..frame.blocks()).map(|index| frame.debt(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::frame::Strip;
    use crate::hub::ledger::EntryId;
    use proptest::prelude::*;
    use std::rc::Rc;

    fn publication(bytes: &[u8]) -> Frame {
        Frame::new(&Rc::new(bytes.to_vec()), 0, bytes.len() as u32, 1, EntryId::NONE)
    }

    fn waiting(queue: &SendQueue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = queue.slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn an_urgent_frame_goes_between_two_frames_and_never_into_one() {
        let mut queue = SendQueue::default();
        queue.push(publication(b"aaaa"), 0);
        queue.push(publication(b"bb"), 0);
        queue.push_urgent(Frame::reply(b"P"));
        assert_eq!(waiting(&queue), b"Paaaabb");
        queue.advance(3, drop);
        queue.push_urgent(Frame::reply(b"Q"));
        assert_eq!(waiting(&queue), b"aaQbb");
        assert_eq!((queue.bytes(), queue.len()), (5, 3));
        assert_eq!(queue.weight(), 5 + 3 * FRAME_WEIGHT_BYTES);
    }

    #[test]
    fn dropping_spares_replies_and_what_has_begun() {
        let mut queue = SendQueue::default();
        queue.push(publication(b"abcd"), 1);
        queue.push(publication(b"x"), 0);
        queue.push(Frame::reply(b"R"), 0);
        queue.push(publication(b"y"), 0);
        let mut dropped = 0;
        queue.drop_publications(|debt| dropped += debt.publications);
        assert_eq!((dropped, waiting(&queue), queue.bytes()), (2, b"bcdR".to_vec(), 4));
        assert_eq!(queue.owed(), 3 + FRAME_WEIGHT_BYTES, "the rest of what has begun");
    }

    /// A queue behind a strip of so many blocks, all of two bytes, numbered.
    fn run(blocks: u8) -> (SendQueue, Rc<Strip>) {
        let (strip, mut queue) = (Rc::new(Strip::default()), SendQueue::default());
        for n in 0..blocks {
            let place = strip.append(&Rc::new(vec![n; 2]), 1, EntryId::NONE).unwrap();
            queue.push(Frame::on(&strip, place), 0);
        }
        (queue, strip)
    }

    #[test]
    fn blocks_of_a_strip_take_one_place_and_leave_one_by_one() {
        let (mut queue, strip) = run(5);
        assert!(queue.rest.is_none(), "one frame is the front");
        assert_eq!((queue.len(), queue.publications(), queue.bytes()), (5, 5, 10));
        queue.advance(3, drop);
        queue.push_urgent(Frame::reply(b"P"));
        assert_eq!(waiting(&queue), [1, b'P', 2, 2, 3, 3, 4, 4]);
        let mut dropped = 0;
        queue.drop_publications(|debt| dropped += debt.publications);
        assert_eq!((dropped, waiting(&queue)), (3, vec![1, b'P']));
        queue.clear(drop);
        assert_eq!(Rc::strong_count(&strip), 1);
    }

    #[test]
    fn an_empty_queue_owns_nothing() {
        let mut queue = SendQueue::default();
        (0..5).for_each(|_| queue.push(publication(b"xy"), 0));
        assert!(queue.rest.is_some());
        queue.advance(10, drop);
        assert!(queue.is_empty() && queue.rest.is_none());
        assert_eq!(size_of::<SendQueue>(), 48);
    }

    proptest! {
        /// However the socket cuts the writes, and whatever of it lies on a strip: the bytes leave in order, and every block
        /// is reported once.
        #[test]
        fn bytes_leave_in_order(
            frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..20), any::<bool>()), 1..20),
            cuts in prop::collection::vec(1usize..30, 1..400),
        ) {
            let (mut queue, strip) = (SendQueue::default(), Rc::new(Strip::default()));
            for (number, (bytes, is_shared)) in (1..).zip(&frames) {
                let bytes = Rc::new(bytes.clone());
                let place = is_shared.then(|| strip.append(&bytes, number, EntryId::NONE).unwrap());
                let alone = || Frame::new(&bytes, 0, bytes.len() as u32, number, EntryId::NONE);
                queue.push(place.map_or_else(alone, |place| Frame::on(&strip, place)), 0);
            }
            let (mut out, mut done, mut cuts) = (Vec::new(), Vec::new(), cuts.into_iter().cycle());
            while !queue.is_empty() {
                let n = cuts.next().unwrap().min(queue.bytes());
                out.extend_from_slice(&waiting(&queue)[..n]);
                queue.advance(n, |debt| done.push(debt.publications));
                prop_assert_eq!(queue.bytes(), waiting(&queue).len());
            }
            prop_assert_eq!(out, frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect::<Vec<u8>>());
            prop_assert_eq!(done, (1..=frames.len() as u32).collect::<Vec<_>>());
        }
    }
}
