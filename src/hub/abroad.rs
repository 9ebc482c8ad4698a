//! Abroad: what the other workers of this machine are to be told, and what they have told of themselves.
//!
//! A publication is for everybody in a topic, wherever they are connected. So the hub leaves a copy of each here, and the
//! server writes what a turn has gathered to every sibling, in one piece. *Every* publication goes, whoever listens there:
//! a peer that has its 101 hears what is published afterwards anywhere on the machine, and the news of its coming would lose
//! the race against that. What came from a sibling is published [here](super::Hub::publish_here) alone, so nothing goes back.
//!
//! Invariants: without siblings nothing is gathered; letters are in the order in which they were left.

use std::collections::HashMap;

use super::letter::Letter;
use crate::ws::Kind;

/// Encoded letters, and where those of them end that are publications.
#[derive(Debug, Default)]
pub struct Post {
    /// Frames, end to end.
    pub bytes: Vec<u8>,
    /// The end of each publication's frame.
    pub ends: Vec<usize>,
}

impl Post {
    /// Publications whose last byte lies beyond `written`.
    #[must_use]
    pub fn unsent(&self, written: usize) -> u64 {
        (self.ends.len() - self.ends.partition_point(|end| *end <= written)) as u64
    }
}

/// What goes to siblings, and what is known of them.
#[derive(Debug, Default)]
pub struct Abroad {
    is_open: bool,
    post: Post,
    /// By sibling: how many it has in each topic.
    presence: HashMap<u32, HashMap<Box<str>, u32>>,
    /// Publications ever left here.
    pub published: u64,
}

impl Abroad {
    /// From now on there are siblings.
    pub const fn open(&mut self) {
        self.is_open = true;
    }

    /// Whether there are siblings.
    #[inline]
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Has the siblings publish a message.
    pub fn publish(&mut self, topic: &str, kind: Kind, payload: &[u8]) {
        self.published += 1;
        Letter::Publish { kind, topic, payload }.encode(&mut self.post.bytes);
        self.post.ends.push(self.post.bytes.len());
    }

    /// Has them publish frames that belong together.
    pub fn publish_frames(&mut self, topic: &str, frames: &[u8]) {
        self.published += 1;
        Letter::Frames { topic, frames }.encode(&mut self.post.bytes);
        self.post.ends.push(self.post.bytes.len());
    }

    /// Has their services hand a message to hearers whom they choose.
    pub fn publish_selected(&mut self, told: &[u8]) {
        self.published += 1;
        Letter::Selected(told).encode(&mut self.post.bytes);
        self.post.ends.push(self.post.bytes.len());
    }

    /// Writes the siblings a letter that is no publication.
    pub fn write(&mut self, letter: Letter<'_>) {
        if self.is_open {
            letter.encode(&mut self.post.bytes);
        }
    }

    /// What has been left and not taken, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.post.bytes.len()
    }

    /// Whether nothing has been left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.post.bytes.is_empty()
    }

    /// Takes what has been left.
    #[must_use]
    pub fn take(&mut self) -> Post {
        std::mem::take(&mut self.post)
    }

    /// A sibling has so many in a topic.
    pub fn is_present(&mut self, sibling: u32, topic: &str, subscribers: u32) {
        let known = self.presence.entry(sibling).or_default();
        if subscribers == 0 {
            known.remove(topic);
        } else if let Some(count) = known.get_mut(topic) {
            *count = subscribers;
        } else {
            known.insert(topic.into(), subscribers);
        }
    }

    /// A sibling is gone, and whoever it had.
    pub fn forget(&mut self, sibling: u32) {
        self.presence.remove(&sibling);
    }

    /// The topics in which siblings have somebody, each as often as there are such siblings.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.presence.values().flat_map(|known| known.keys().map(|name| &**name))
    }

    /// How many the siblings have in a topic, as far as they have told.
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> u32 {
        self.presence.values().filter_map(|known| known.get(topic)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_what_each_sibling_said_last() {
        let mut abroad = Abroad::default();
        abroad.is_present(1, "sea", 3);
        abroad.is_present(2, "sea", 4);
        abroad.is_present(1, "sea", 5);
        assert_eq!(abroad.subscribers("sea"), 9);
        abroad.is_present(2, "sea", 0);
        assert_eq!(abroad.subscribers("sea"), 5);
        abroad.forget(1);
        assert_eq!(abroad.subscribers("sea"), 0);
    }

    #[test]
    fn what_was_not_written_whole_is_unsent() {
        let mut abroad = Abroad::default();
        abroad.open();
        abroad.publish("sea", Kind::Text, b"one");
        let first = abroad.len();
        abroad.write(Letter::News(b"news"));
        abroad.publish("sea", Kind::Text, b"two");
        let post = abroad.take();
        assert_eq!(
            [0, first - 1, first, post.bytes.len() - 1, post.bytes.len()].map(|n| post.unsent(n)),
            [2, 2, 1, 1, 0]
        );
        assert!(abroad.is_empty());
    }
}
