//! Packets that wait for the next GET, in order and bounded.
//!
//! A client that polls is absent between two GETs, and what is sent to it meanwhile must wait somewhere. A packet costs
//! more than its bytes, so each is counted with what it takes to keep it: a million empty messages are not free.
//!
//! Invariant: `bytes` is the sum over the packets of their length in a payload and [`ENTRY_BYTES`].

use super::engine::Frame;
use std::collections::VecDeque;

/// What keeping one packet costs beside its bytes.
pub const ENTRY_BYTES: usize = 32;

/// The packets that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Queue {
    fn cost(frame: &Frame) -> usize {
        frame.payload_len() + ENTRY_BYTES
    }

    /// Whether all of these may be added under `max` bytes.
    pub(super) fn has_room_for(&self, frames: &[Frame], max: usize) -> bool {
        self.bytes + frames.iter().map(Self::cost).sum::<usize>() <= max
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += Self::cost(&frame);
        self.frames.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= Self::cost(&frame);
        if self.frames.is_empty() {
            // Idle costs nothing.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many packets wait.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Takes from the front what fits a payload of `max` bytes; at least one packet, if there is one.
    pub(super) fn take_payload(&mut self, max: usize) -> String {
        let mut payload = String::new();
        while let Some(next) = self.frames.front() {
            let with_it = payload.len() + usize::from(!payload.is_empty()) + next.payload_len();
            if !payload.is_empty() && with_it > max {
                break;
            }
            if let Some(frame) = self.pop() {
                frame.append_to(&mut payload);
            }
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_bounded_and_never_empty_handed() {
        let mut queue = Queue::default();
        for text in ["aaa", "bbb", "a long one", "c"] {
            queue.push(Frame::message(text));
        }
        assert_eq!(queue.take_payload(9), "4aaa\u{1e}4bbb", "exactly 9 bytes");
        assert_eq!(queue.take_payload(5), "4a long one", "alone, though it is over");
        assert_eq!((queue.take_payload(5).as_str(), queue.bytes), ("4c", 0));
    }

    #[test]
    fn binary_counts_as_base64_does() {
        let mut queue = Queue::default();
        queue.push(Frame::Binary([1, 2, 3, 4].into()));
        assert_eq!(queue.bytes, "bAQIDBA==".len() + ENTRY_BYTES);
        assert_eq!(queue.take_payload(100), "bAQIDBA==");
    }

    #[test]
    fn empty_messages_take_room_too() {
        let empty: Vec<Frame> = vec![Frame::message(""); 100];
        let queue = Queue::default();
        assert!(queue.has_room_for(&empty, 100 * (1 + ENTRY_BYTES)));
        assert!(!queue.has_room_for(&empty, 100 * (1 + ENTRY_BYTES) - 1));
    }
}
