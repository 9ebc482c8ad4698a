//! Histories: what was last published to a channel, for those who come back and say how far they had got.
//!
//! A history keeps no messages of its own. What a delivery has taken round the circle is kept as it is, the encoded segment that
//! was shared by all subscribers anyway; so a publication pays for it with a number and a segment with one reference. Where in a
//! segment a message begins is found when somebody asks: frames say how long they are.
//!
//! ```text
//!   oldest that can be had        newest that was taken     newest
//!        │   ┌────────┬──┬──────────────┐   │   ┌─────────┐    │
//!        └──▶│ block  │  │    block     │◀──┘   │ waiting │◀───┘     offsets ascend by one
//!            └────────┴──┴──────────────┘       └─────────┘
//!              kept here, shared                 in the topic
//! ```
//!
//! Invariants: offsets of a channel ascend by one from 1 for as long as its epoch lasts; blocks have no gap between them; `bytes` is
//! what all histories hold, and never more than the bound once a publication is done with.

mod record;

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use slab::Slab;

use super::frame::Frame;
use super::framed;
use crate::base::tick::{Nanos, SECOND};
use record::{Block, Record, drop_oldest, kept};

/// What the history of one channel may hold, in bytes.
pub const CHANNEL_BYTES_MAX: usize = 1 << 20;
/// Without a subscriber and without a publication for so long, a channel is forgotten, in nanoseconds.
pub const IDLE: Nanos = 300 * SECOND;
/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Messages of a channel; 0: none.
    pub messages: u32,
    /// Bytes of all channels together.
    pub memory: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { messages: 100, memory: 64 << 20 }
    }
}

/// What has been remembered and forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that newer ones have displaced.
    pub displaced: u64,
    /// Messages forgotten because their channel held [`CHANNEL_BYTES_MAX`].
    pub over_channel: u64,
    /// Messages forgotten because all channels held what they may.
    pub over_memory: u64,
    /// Channels forgotten because nobody was there and nothing was said.
    pub idle: u64,
    /// Messages sent again to somebody who came back.
    pub replayed: u64,
    /// Times that somebody who came back could not be given what it missed.
    pub resets: u64,
}

/// How far a channel has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which life of the channel this is.
    pub epoch: String,
    /// The offset of its newest message; 0 before the first.
    pub offset: u64,
    /// How many messages can be had again.
    pub kept: u64,
}

/// The name of a history as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HistoryId(u32);

/// The histories of a worker.
#[derive(Debug)]
pub struct Histories {
    bounds: Bounds,
    seed: u64,
    records: Slab<Record>,
    by_name: HashMap<Rc<str>, HistoryId>,
    /// Least recently published first; a key may be out of date, and is then younger than it says.
    by_age: BTreeSet<(Nanos, HistoryId)>,
    /// When somebody should look whether a channel is idle.
    to_see: BTreeSet<(Nanos, HistoryId)>,
    bytes: usize,
    kept: u64,
    clock: Nanos,
    /// What became of it all.
    pub counts: Counts,
}

impl Default for Histories {
    /// Remembers nothing.
    fn default() -> Self {
        Self::new(Bounds { messages: 0, memory: 0 }, 0)
    }
}

impl Histories {
    /// Within `bounds`, with epochs that follow from `seed`, which is to be random.
    #[must_use]
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            bounds,
            seed,
            records: Slab::new(),
            by_name: HashMap::new(),
            by_age: BTreeSet::new(),
            to_see: BTreeSet::new(),
            bytes: 0,
            kept: 0,
            clock: 0,
            counts: Counts::default(),
        }
    }

    /// Whether messages are kept at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.bounds.messages > 0
    }

    /// What all histories hold, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Channels that have a history.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no channel has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Messages that can be had again, as of those that deliveries have taken.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.kept
    }

    /// The names of those topics of which something is kept.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let kept = |(_, record): &(usize, &Record)| self.kept_of(record) > 0;
        self.records.iter().filter(kept).map(|(_, record)| &*record.name)
    }

    /// How far the topic called `name` has come, if it has a history.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Position> {
        self.by_name.get(name).map(|id| self.position(*id))
    }

    /// When [`tick`](Self::tick) should be called at the latest.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.to_see.first().map(|(at, _)| at + IDLE)
    }

    /// It is `now`: what has been idle too long is forgotten.
    pub fn tick(&mut self, now: Nanos) {
        self.clock = now;
        while let Some(&(at, id)) = self.to_see.first()
            && at + IDLE <= now
        {
            self.to_see.pop_first();
            let record = &mut self.records[id.0 as usize];
            record.seen = None;
            let idle_since = record.published.max(record.left);
            if record.is_attended {
                continue;
            }
            if idle_since + IDLE > now {
                self.look_again(id, idle_since);
            } else {
                self.counts.idle += 1;
                self.forget(id);
            }
        }
    }

    pub(super) fn position(&self, id: HistoryId) -> Position {
        let record = &self.records[id.0 as usize];
        let kept = self.kept_of(record);
        Position { epoch: format!("{:016x}", record.epoch), offset: record.newest, kept }
    }

    /// The channel of a history, as JSON.
    pub(super) fn label(&self, id: HistoryId) -> &str {
        &self.records[id.0 as usize].label
    }

    /// The history of the topic called `name`, which peers know as `channel`; from here to [`detach`](Self::detach) it stays.
    pub(super) fn attach(&mut self, name: &str, channel: &str) -> HistoryId {
        let id = self.open(name, channel);
        self.records[id.0 as usize].is_attended = true;
        id
    }

    /// The topic is gone.
    pub(super) fn detach(&mut self, id: HistoryId) {
        if !self.is_on() {
            return self.forget(id);
        }
        let record = &mut self.records[id.0 as usize];
        (record.is_attended, record.left) = (false, self.clock);
        self.look_again(id, self.clock);
        self.count_age(id);
        self.make_room();
    }

    /// The offset of a message that is published now.
    #[inline]
    pub(super) fn number(&mut self, id: HistoryId, now: Nanos) -> u64 {
        let record = &mut self.records[id.0 as usize];
        record.newest += 1;
        record.published = now;
        record.newest
    }

    /// Takes in what sets out for the topic: `count` messages, the first of which has the offset `first`.
    pub(super) fn adopt(&mut self, id: HistoryId, bytes: &Rc<Vec<u8>>, first: u64, count: usize) {
        let record = &mut self.records[id.0 as usize];
        debug_assert_eq!(first, record.taken + 1, "what is taken follows what was taken before");
        let before = kept(&record.blocks, record.taken, self.bounds.messages);
        record.taken = first + count as u64 - 1;
        if self.bounds.messages == 0 {
            return;
        }
        let block = Block { bytes: Rc::clone(bytes), first, framed: OnceCell::new() };
        let most = u64::from(self.bounds.messages);
        let oldest = (record.taken + 1).saturating_sub(most);
        let mut freed = 0;
        record.bytes += block.weight();
        self.bytes += block.weight();
        record.blocks.push_back(block);
        let after = kept(&record.blocks, record.taken, self.bounds.messages);
        self.counts.displaced += before + count as u64 - after;
        // Blocks of which nothing can be had any more: the next begins at or before the oldest that can.
        while record.blocks.get(1).is_some_and(|next| next.first <= oldest) {
            freed += drop_oldest(record);
        }
        let mut kept_now = after;
        while record.bytes > CHANNEL_BYTES_MAX && !record.blocks.is_empty() {
            freed += drop_oldest(record);
            let left = kept(&record.blocks, record.taken, self.bounds.messages);
            self.counts.over_channel += kept_now - left;
            kept_now = left;
        }
        self.kept = self.kept + kept_now - before;
        self.bytes -= freed;
        self.count_age(id);
        self.make_room();
    }

    /// Keeps a message for the topic called `name`, which nobody is in.
    pub(super) fn record(&mut self, name: &str, channel: &str, frame: Vec<u8>, now: Nanos) {
        if !self.is_on() {
            return;
        }
        let id = self.open(name, channel);
        let first = self.number(id, now);
        self.look_again(id, now);
        self.adopt(id, &Rc::new(frame), first, 1);
    }

    /// Whether everything behind offset `since` of `epoch` can be had.
    pub(super) fn reaches(&self, id: HistoryId, epoch: &str, since: u64) -> bool {
        let record = &self.records[id.0 as usize];
        let is_same = u64::from_str_radix(epoch, 16) == Ok(record.epoch) && epoch.len() == 16;
        is_same && since <= record.newest && record.newest - since <= self.kept_of(record)
    }

    /// What has been taken behind offset `since`, into `frames`, each block as it is shared.
    pub(super) fn replay(&mut self, id: HistoryId, since: u64, is_framed: bool, frames: &mut Vec<Frame>) {
        let record = &self.records[id.0 as usize];
        let from = record.blocks.partition_point(|block| block.first <= since + 1).saturating_sub(1);
        let before: usize = record.blocks.iter().map(Block::framed_weight).sum();
        if since < record.taken {
            let blocks = record.blocks.iter().skip(from);
            frames.extend(blocks.map(|block| match is_framed {
                true => block.framed_behind(since, &record.label),
                false => block.behind(since),
            }));
        }
        let after: usize = record.blocks.iter().map(Block::framed_weight).sum();
        self.bytes += after - before;
        self.make_room();
    }

    fn open(&mut self, name: &str, channel: &str) -> HistoryId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        // Drawn from the seed by a counter (SplitMix64): unlike any other of this worker, and not to be foreseen.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut epoch = self.seed;
        epoch = (epoch ^ (epoch >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        epoch = (epoch ^ (epoch >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let name: Rc<str> = name.into();
        let record = Record {
            name: Rc::clone(&name),
            label: framed::quoted(channel).into(),
            epoch: epoch ^ (epoch >> 31),
            newest: 0,
            taken: 0,
            blocks: VecDeque::new(),
            bytes: 0,
            published: self.clock,
            left: self.clock,
            is_attended: false,
            age: None,
            seen: None,
        };
        self.bytes += record.own_weight();
        let id = HistoryId(self.records.insert(record) as u32);
        self.by_name.insert(name, id);
        id
    }

    fn kept_of(&self, record: &Record) -> u64 {
        let oldest = record.blocks.front().map_or(record.taken + 1, |block| block.first);
        (record.newest + 1 - oldest).min(u64::from(self.bounds.messages))
    }

    fn look_again(&mut self, id: HistoryId, at: Nanos) {
        let seen = &mut self.records[id.0 as usize].seen;
        if seen.is_none() {
            *seen = Some(at);
            self.to_see.insert((at, id));
        }
    }

    fn count_age(&mut self, id: HistoryId) {
        let record = &mut self.records[id.0 as usize];
        if record.age.is_none() {
            record.age = Some(record.published);
            self.by_age.insert((record.published, id));
        }
    }

    /// Forgets what was least recently published until all fits. Of a channel with people in it, epoch and offset stay.
    fn make_room(&mut self) {
        while self.bytes > self.bounds.memory
            && let Some((age, id)) = self.by_age.pop_first()
        {
            let record = &mut self.records[id.0 as usize];
            record.age = None;
            if record.published > age {
                self.count_age(id);
                continue;
            }
            let lost = kept(&record.blocks, record.taken, self.bounds.messages);
            self.counts.over_memory += lost;
            if record.is_attended {
                self.kept -= lost;
                while !record.blocks.is_empty() {
                    self.bytes -= drop_oldest(record);
                }
            } else {
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: HistoryId) {
        let mut record = self.records.remove(id.0 as usize);
        self.by_name.remove(&record.name);
        self.kept -= kept(&record.blocks, record.taken, self.bounds.messages);
        self.bytes -= record.own_weight();
        while !record.blocks.is_empty() {
            self.bytes -= drop_oldest(&mut record);
        }
        if let Some(age) = record.age {
            self.by_age.remove(&(age, id));
        }
        if let Some(seen) = record.seen {
            self.to_see.remove(&(seen, id));
        }
    }
}

#[cfg(test)]
mod tests;
