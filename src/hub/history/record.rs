//! What is remembered of one channel: where it stands, and the blocks that hold its last messages.
//!
//! A block is what a delivery took round: whole frames, end to end, shared with whoever still waits for them. It is kept whole as
//! long as one of its messages can be asked for.
//!
//! Invariant: the first offset of a block is one more than the last of the block before it.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::base::tick::Nanos;
use crate::hub::compressors::frame_len;
use crate::hub::frame::Frame;
use crate::hub::framed;
use crate::hub::ledger::EntryId;

/// What a channel weighs beside its name and its messages, in bytes: its record and its places in the tables.
const RECORD_BYTES: usize = 512;
/// What a block weighs beside its bytes.
const BLOCK_BYTES: usize = 96;

/// One channel.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: Rc<str>,
    /// The channel as JSON, for those who are told which it is.
    pub(super) label: Box<str>,
    pub(super) epoch: u64,
    pub(super) newest: u64,
    /// The newest that is in a block or was.
    pub(super) taken: u64,
    pub(super) blocks: VecDeque<Block>,
    /// What the blocks hold as they were published, in bytes.
    pub(super) bytes: usize,
    pub(super) published: Nanos,
    pub(super) left: Nanos,
    /// Whether a topic of this name is there.
    pub(super) is_attended: bool,
    /// Its keys in the two tables.
    pub(super) age: Option<Nanos>,
    pub(super) seen: Option<Nanos>,
}

/// Messages that set out together.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) bytes: Rc<Vec<u8>>,
    pub(super) first: u64,
    /// The same with offsets, once somebody wanted it so.
    pub(super) framed: OnceCell<(Rc<Vec<u8>>, Vec<u32>)>,
}

impl Block {
    pub(super) fn weight(&self) -> usize {
        BLOCK_BYTES + self.bytes.capacity()
    }

    pub(super) fn framed_weight(&self) -> usize {
        self.framed.get().map_or(0, |(bytes, ends)| bytes.capacity() + 4 * ends.capacity())
    }

    /// What of it lies behind offset `since`, as one frame.
    pub(super) fn behind(&self, since: u64) -> Frame {
        let mut from = 0;
        for _ in self.first..=since {
            from += frame_len(&self.bytes[from..]);
        }
        Frame::new(&self.bytes, from as u32, self.bytes.len() as u32, 0, EntryId::NONE)
    }

    /// The same with offsets.
    pub(super) fn framed_behind(&self, since: u64, label: &str) -> Frame {
        let (bytes, ends) = self.framed.get_or_init(|| {
            let (bytes, ends) = framed::translate(label, self.first, &self.bytes);
            (Rc::new(bytes), ends)
        });
        let skipped = (since + 1).saturating_sub(self.first) as usize;
        let from = if skipped == 0 { 0 } else { ends[skipped - 1] };
        Frame::new(bytes, from, bytes.len() as u32, 0, EntryId::NONE)
    }
}

impl Record {
    pub(super) fn own_weight(&self) -> usize {
        RECORD_BYTES + self.name.len() + self.label.len()
    }
}

/// How many messages of `blocks`, the newest of which is `taken`, can be had.
pub(super) fn kept(blocks: &VecDeque<Block>, taken: u64, most: u32) -> u64 {
    blocks.front().map_or(0, |block| (taken + 1 - block.first).min(u64::from(most)))
}

/// Lets the oldest block go; returns what it held.
pub(super) fn drop_oldest(record: &mut Record) -> usize {
    let Some(block) = record.blocks.pop_front() else { return 0 };
    record.bytes -= block.weight();
    block.weight() + block.framed_weight()
}
