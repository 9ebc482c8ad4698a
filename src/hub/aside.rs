//! Subscribers that have no connection at the moment, and how they are told.
//!
//! Who polls has no connection most of the time. It is *absent*: a topic only counts such subscribers, and the service that
//! knows them overhears what is published ([`Overheard`]) and keeps it for them.
//!
//! Invariants: whatever is published while somebody is absent is overheard once, when its delivery begins; a topic with absent
//! subscribers is not deserted.

use std::rc::Rc;

use super::publication::Item;
use super::topics::{TopicId, Topics};
use crate::base::id::ConnId;
use crate::ws::{Header, Kind, Opcode, Role};

/// Publications to a topic with absent subscribers.
#[derive(Debug)]
pub struct Overheard {
    /// Where they were published.
    pub topic: TopicId,
    /// How many had been published there before the first.
    first: u64,
    bytes: Rc<Vec<u8>>,
    items: Vec<(u32, ConnId)>,
}

/// A publication that is overheard.
#[derive(Debug)]
pub struct News<'a> {
    /// How many had been published to the topic before it.
    pub number: u64,
    /// Whom it is not for.
    pub except: ConnId,
    frames: &'a [u8],
}

impl Overheard {
    pub(super) fn new(topic: TopicId, first: u64, bytes: &Rc<Vec<u8>>, items: &[Item]) -> Self {
        let items = items.iter().map(|item| (item.end, item.except)).collect();
        Self { topic, first, bytes: Rc::clone(bytes), items }
    }

    /// How many had been published behind the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// Each publication, in order.
    pub fn iter(&self) -> impl Iterator<Item = News<'_>> {
        let mut from = 0;
        self.items.iter().zip(self.first..).map(move |(&(end, except), number)| {
            let frames = &self.bytes[from..end as usize];
            from = end as usize;
            News { number, except, frames }
        })
    }
}

impl News<'_> {
    /// Its messages: one, unless they were [published together](super::Hub::publish_together).
    pub fn messages(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        messages(self.frames)
    }
}

/// The messages in frames of ours, which lie end to end.
pub(super) fn messages(mut frames: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    std::iter::from_fn(move || {
        let header = Header::decode(frames, Role::Client).ok()??;
        let (payload, rest) =
            frames.get(header.header_len..)?.split_at_checked(header.payload_len as usize)?;
        frames = rest;
        Some((if header.opcode == Opcode::Text { Kind::Text } else { Kind::Binary }, payload))
    })
}

impl Topics {
    /// One more absent subscriber of the topic called `name`, which begins to exist if it did not.
    pub fn come_absent(&mut self, name: &str) -> TopicId {
        let topic = self.find(name).unwrap_or_else(|| self.create(name));
        self.topics[topic.0 as usize].absent += 1;
        self.changes.note(name);
        topic
    }

    /// One absent subscriber less.
    pub fn leave_absent(&mut self, topic: TopicId) {
        let Some(room) = self.topics.get_mut(topic.0 as usize) else { return };
        room.absent = room.absent.saturating_sub(1);
        self.changes.note(&room.name);
        self.end_if_deserted(topic);
    }

    /// How many publications there have been in a topic, those that wait included.
    #[must_use]
    pub fn published(&self, topic: TopicId) -> u64 {
        self.topics.get(topic.0 as usize).map_or(0, |room| {
            room.begun + room.waiting.iter().map(|segment| segment.items.len() as u64).sum::<u64>()
        })
    }

    /// Whether something waits in a topic behind its first `from` publications; not while one of those behind has set out, which
    /// somebody will be told of anyway.
    #[must_use]
    pub fn has_more(&self, topic: TopicId, from: u64) -> bool {
        self.topics.get(topic.0 as usize).is_some_and(|room| from >= room.begun)
            && self.published(topic) > from
    }

    /// What waits in a topic behind its first `from` publications, segment by segment.
    #[must_use]
    pub fn overhear(&self, topic: TopicId, from: u64) -> Vec<Overheard> {
        let Some(room) = self.topics.get(topic.0 as usize) else { return Vec::new() };
        let (mut first, mut heard) = (room.begun, Vec::new());
        for segment in &room.waiting {
            let skipped = (from.saturating_sub(first) as usize).min(segment.items.len());
            let begin = skipped.checked_sub(1).map_or(0, |last| segment.items[last].end);
            let items: Vec<(u32, ConnId)> =
                segment.items[skipped..].iter().map(|item| (item.end - begin, item.except)).collect();
            if !items.is_empty() {
                let bytes = Rc::new(segment.bytes[begin as usize..].to_vec());
                heard.push(Overheard { topic, first: first + skipped as u64, bytes, items });
            }
            first += segment.items.len() as u64;
        }
        heard
    }

    /// Whether no publication waits that an absent subscriber has still to overhear.
    #[must_use]
    pub fn is_quiet(&self, topic: TopicId) -> bool {
        self.topics.get(topic.0 as usize).is_none_or(|room| room.waiting.is_empty())
    }
}
