//! What topics have to do with [histories](crate::hub::history): who is remembered, and what somebody who comes back has missed.
//!
//! A message has its offset from the moment it is published, and is in the history when its delivery begins. What waits in
//! between is found in the topic.
//!
//! Invariant: a topic's history is chosen while nothing that belongs to it waits.

use std::rc::Rc;

use super::{TopicId, Topics};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::hub::dialect::Dialect;
use crate::hub::frame::Frame;
use crate::hub::framed;
use crate::hub::history::Position;
use crate::hub::ledger::EntryId;
use crate::ws::Kind;
use crate::ws::encoder::encode;

impl Topics {
    /// From now on what is published to `topic`, which peers know as `channel`, has offsets and is remembered.
    pub fn remember(&mut self, topic: TopicId, channel: &str) {
        if let Some(room) = self.topics.get_mut(topic.0 as usize)
            && room.history.is_none()
        {
            room.history = Some(self.histories.attach(&room.name, channel));
        }
    }

    /// Has a message remembered that was published to the topic called `name`, in which nobody is.
    pub(in crate::hub) fn record(
        &mut self,
        name: &str,
        channel: &str,
        kind: Kind,
        payload: &[u8],
        now: Nanos,
    ) {
        if self.histories.is_on() {
            let mut frame = Vec::with_capacity(payload.len() + 10);
            encode(&mut frame, kind.opcode(), payload);
            self.histories.record(name, channel, frame, now);
        }
    }

    /// What `id` is sent.
    #[must_use]
    pub fn dialect(&self, id: ConnId) -> Dialect {
        self.dialects.get(id.index as usize).copied().unwrap_or_default()
    }

    /// How far `topic` has come, if it is remembered.
    #[must_use]
    pub fn position(&self, topic: TopicId) -> Option<Position> {
        let history = self.topics.get(topic.0 as usize)?.history?;
        Some(self.histories.position(history))
    }

    /// What was published to `topic` behind offset `since` of `epoch`; `None` if not all of it can be had.
    pub(in crate::hub) fn replay(
        &mut self,
        topic: TopicId,
        epoch: &str,
        since: u64,
        is_framed: bool,
    ) -> Option<Vec<Frame>> {
        let room = self.topics.get(topic.0 as usize)?;
        let history = room.history?;
        if !self.histories.reaches(history, epoch, since) {
            self.histories.counts.resets += 1;
            return None;
        }
        let (newest, mut frames) = (self.histories.position(history).offset, Vec::new());
        self.histories.replay(history, since, is_framed, &mut frames);
        for segment in room.waiting.iter().filter(|segment| segment.first > 0) {
            let skipped = (since + 1).saturating_sub(segment.first) as usize;
            if skipped >= segment.items.len() {
                continue;
            }
            let from = if skipped == 0 { 0 } else { segment.items[skipped - 1].end as usize };
            let missed = &segment.bytes[from..];
            let bytes = match is_framed {
                true => {
                    framed::translate(self.histories.label(history), segment.first + skipped as u64, missed).0
                }
                false => missed.to_vec(),
            };
            let len = bytes.len() as u32;
            frames.push(Frame::new(&Rc::new(bytes), 0, len, 0, EntryId::NONE));
        }
        self.histories.counts.replayed += newest - since;
        Some(frames)
    }
}
