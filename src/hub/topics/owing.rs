//! What one subscriber is still owed: whether a word to it would overtake something.
//!
//! Invariant: while a delivery is under way positions do not move, so what it has passed is told from its walk.

use super::{TopicId, Topics};
use crate::base::id::ConnId;
use crate::hub::delivery::Delivery;
use crate::hub::memberships::Membership;

impl Topics {
    /// The topics in which `id` is owed something that has not been brought to it, each with how many publications there have been
    /// up to the last of that.
    #[must_use]
    pub fn owed(&self, id: ConnId) -> Vec<(TopicId, u64)> {
        let Some(memberships) = self.memberships.get(id.index as usize) else { return Vec::new() };
        let more = memberships.more.iter().flat_map(|more| more.iter());
        let all = std::iter::once(&memberships.first).chain(more);
        all.filter_map(|one| Some((one.topic, self.owed_in(*one, id)?))).collect()
    }

    fn owed_in(&self, Membership { topic, position }: Membership, id: ConnId) -> Option<u64> {
        let room = self.topics.get(topic.0 as usize)?;
        if room.waiting.is_empty() && !room.in_delivery || !self.stands(topic, position, id) {
            return None;
        }
        let mut number = self.published(topic);
        for item in room.waiting.iter().rev().flat_map(|segment| segment.items.iter().rev()) {
            if item.heard_before <= position {
                // It came later than this, and than all before.
                return None;
            }
            if item.except != id {
                return Some(number);
            }
            number -= 1;
        }
        (room.in_delivery && !room.progress.has_passed(position)).then_some(number)
    }

    /// How many publications of `topic` have set out.
    #[must_use]
    pub fn begun(&self, topic: TopicId) -> u64 {
        self.topics.get(topic.0 as usize).map_or(0, |room| room.begun)
    }

    /// A slice of this delivery is done.
    pub(in crate::hub) fn note_progress(&mut self, delivery: &Delivery) {
        if let Some(room) = self.topics.get_mut(delivery.topic().0 as usize) {
            room.progress = delivery.walk().clone();
        }
    }
}
