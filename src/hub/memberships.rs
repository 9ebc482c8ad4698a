//! What one connection is in, and where it stands there: the way back from a peer to its topics.
//!
//! Invariant: a connection stands in a topic at most once; without any the first is [`Memberships::NONE`]'s.

use super::topics::TopicId;

/// What one connection is in: nearly always one topic, so that one is stored in place.
#[derive(Debug, Clone)]
pub(super) struct Memberships {
    pub(super) first: Membership,
    /// Boxed: a `Vec` in place would double what every connection costs here.
    #[expect(clippy::box_collection)]
    pub(super) more: Option<Box<Vec<Membership>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) topic: TopicId,
    pub(super) position: u32,
}

impl Memberships {
    pub(super) const NONE: Self =
        Self { first: Membership { topic: TopicId::NONE, position: 0 }, more: None };

    pub(super) fn find(&self, topic: TopicId) -> Option<u32> {
        if self.first.topic == topic {
            return Some(self.first.position);
        }
        self.more.as_ref()?.iter().find(|one| one.topic == topic).map(|one| one.position)
    }

    pub(super) fn insert(&mut self, membership: Membership) {
        if self.first.topic == TopicId::NONE {
            self.first = membership;
        } else {
            self.more.get_or_insert_default().push(membership);
        }
    }

    pub(super) fn remove(&mut self, topic: TopicId) -> Option<Membership> {
        if self.first.topic == topic {
            let next = self.more.as_mut().and_then(|more| more.pop()).unwrap_or(Self::NONE.first);
            return Some(std::mem::replace(&mut self.first, next));
        }
        let more = self.more.as_mut()?;
        let at = more.iter().position(|one| one.topic == topic)?;
        Some(more.swap_remove(at))
    }

    pub(super) fn move_to(&mut self, topic: TopicId, position: u32) {
        if self.first.topic == topic {
            self.first.position = position;
        } else if let Some(more) = &mut self.more
            && let Some(one) = more.iter_mut().find(|one| one.topic == topic)
        {
            one.position = position;
        }
    }
}
