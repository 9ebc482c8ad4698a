//! Interjections: what one peer is sent in its place among what many are.
//!
//! What is for one peer leaves at once, what is for many when its delivery comes round. So a word to one would overtake what was
//! published before it, which Socket.IO's users do not expect: there, one socket hears things in the order of the calls. Such a word
//! waits here if its peer is still owed something, and is sent in the midst of the delivery, where it belongs. Batches stay whole
//! for everybody else, and whoever is owed nothing is sent its words at once.
//!
//! Invariants: what one peer is sent so keeps its order; a word waits for publications of before alone, so it leaves at the latest
//! when their deliveries have ended, also if its peer left the topics meanwhile.

use std::collections::{HashMap, VecDeque};

use super::Hub;
use super::outbox::Action;
use super::topics::TopicId;
use crate::base::id::ConnId;
use crate::ws::close::encode_body;
use crate::ws::encoder::encode;
use crate::ws::{CloseCode, Kind, Opcode};

/// What a word weighs beside its bytes.
const WEIGHT_BYTES: usize = 128;

/// All words that wait.
#[derive(Debug, Default)]
pub struct Interjections {
    of: HashMap<ConnId, VecDeque<Interjection>>,
    /// How many words wait for each topic.
    awaited: HashMap<TopicId, u32>,
    weight: usize,
    /// Words that ever waited.
    pub waited: u64,
}

/// A word, and the publications that go before it: so many of each of these topics.
#[derive(Debug)]
struct Interjection {
    word: Word,
    behind: Vec<(TopicId, u64)>,
}

/// Something to be sent to one peer.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// Data, or a close frame.
    pub action: Action,
    /// Encoded.
    pub bytes: Vec<u8>,
    /// How many publications of the topic in question go before it.
    pub behind: u64,
}

impl Interjections {
    /// Whether no word waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// What waits, in bytes.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.weight
    }

    fn push(&mut self, to: ConnId, action: Action, bytes: Vec<u8>, behind: Vec<(TopicId, u64)>) {
        debug_assert!(matches!(action, Action::Reply | Action::Close(_)), "only these are sent in order");
        for (topic, _) in &behind {
            *self.awaited.entry(*topic).or_default() += 1;
        }
        self.weight += bytes.len() + WEIGHT_BYTES;
        self.waited += 1;
        let word = Word { action, bytes, behind: 0 };
        self.of.entry(to).or_default().push_back(Interjection { word, behind });
    }

    /// The words for `id` that may leave while it is brought what it is owed of `topic`, whose first `end` publications are then done.
    pub fn take(&mut self, id: ConnId, topic: TopicId, end: u64) -> Vec<Word> {
        let Some(waiting) = self.of.get_mut(&id) else { return Vec::new() };
        let (mut cut, mut ready, mut is_open) = (0, 0, true);
        for one in waiting.iter_mut() {
            if let Some(at) = one.behind.iter().position(|(of, number)| *of == topic && *number <= end) {
                cut = cut.max(one.behind.swap_remove(at).1);
                settle(&mut self.awaited, topic);
            }
            is_open &= one.behind.is_empty();
            if is_open {
                one.word.behind = cut;
                ready += 1;
            }
        }
        let words: Vec<Word> = waiting.drain(..ready).map(|one| one.word).collect();
        if waiting.is_empty() {
            self.of.remove(&id);
        }
        self.weight -= words.iter().map(|word| word.bytes.len() + WEIGHT_BYTES).sum::<usize>();
        words
    }

    /// The words that waited for these publications of `topic` for somebody who was not met: it has left, or is owed nothing after all.
    fn release(&mut self, topic: TopicId, end: u64) -> Vec<(ConnId, Word)> {
        if !self.awaited.contains_key(&topic) {
            return Vec::new();
        }
        let ids: Vec<ConnId> = self.of.keys().copied().collect();
        ids.into_iter()
            .flat_map(|id| self.take(id, topic, end).into_iter().map(move |word| (id, word)))
            .collect()
    }
}

/// The code of an answer to this close frame.
fn answered_with(body: Option<(CloseCode, &str)>) -> CloseCode {
    body.map(|(code, _)| code).filter(|code| code.may_be_sent()).unwrap_or(CloseCode::NO_STATUS)
}

fn settle(awaited: &mut HashMap<TopicId, u32>, topic: TopicId) {
    if let Some(words) = awaited.get_mut(&topic) {
        *words -= 1;
        if *words == 0 {
            awaited.remove(&topic);
        }
    }
}

impl Hub {
    /// Sends `to` a message behind everything that was published before to topics in which it is.
    pub fn send_in_order(&mut self, to: ConnId, kind: Kind, payload: &[u8]) {
        match self.in_place(to) {
            None => self.outbox.reply(to, kind, payload),
            Some(behind) => {
                let mut bytes = Vec::with_capacity(payload.len() + 10);
                encode(&mut bytes, kind.opcode(), payload);
                // A turn is as bounded in what waits here as in what leaves at once.
                self.outbox.weigh(to, bytes.len() + WEIGHT_BYTES);
                self.interjections.push(to, Action::Reply, bytes, behind);
            }
        }
    }

    /// Answers the close frame of `to` as [`Outbox::close_with`](super::outbox::Outbox::close_with) does, or closes without a code, behind
    /// what was published before.
    pub fn close_in_order(&mut self, to: ConnId, body: Option<(CloseCode, &str)>) {
        let Some(behind) = self.in_place(to) else { return self.outbox.close_with(to, body) };
        let (code, mut payload) = (answered_with(body), Vec::new());
        if let Some((code, reason)) = body.filter(|(code, _)| code.may_be_sent()) {
            encode_body(&mut payload, code, reason);
        }
        let mut bytes = Vec::new();
        encode(&mut bytes, Opcode::Close, &payload);
        self.interjections.push(to, Action::Close(code), bytes, behind);
    }

    /// What goes before a word to `to`; `None` if that can leave at once.
    fn in_place(&self, to: ConnId) -> Option<Vec<(TopicId, u64)>> {
        let behind = self.topics.owed(to);
        (!behind.is_empty() || self.interjections.of.contains_key(&to)).then_some(behind)
    }

    /// Has the words leave that waited for a delivery of `topic` which has just ended, in vain.
    pub(super) fn release(&mut self, topic: TopicId, end: u64) {
        for (id, word) in self.interjections.release(topic, end) {
            match word.action {
                Action::Close(code) => self.outbox.close_encoded(id, code, &word.bytes),
                Action::Reply | Action::Pong | Action::Upgrade(_) | Action::Shared | Action::Finish => {
                    self.outbox.raw(id, &word.bytes);
                }
            }
        }
    }
}
