//! Delivering to a subscriber that is also sent words of its own, each in its place between the publications.
//!
//! Few subscribers are, so this is kept apart from the way of nearly all, and may compute things twice.
//!
//! Invariant: of the parts in which such a subscriber is brought what it is owed, the last that is not empty has it served.

use super::deliver::Slice;
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::hub::delivery::Delivery;
use crate::hub::outbox::Command;
use crate::net::Net;
use crate::service::Service;

impl<N: Net, S: Service> Worker<N, S> {
    /// Brings one subscriber what it is owed, and the words that have waited for their place in it.
    pub(super) fn visit_with_words(
        &mut self,
        id: ConnId,
        delivery: &mut Delivery,
        slice: &mut Slice,
        slow: &mut Vec<ConnId>,
    ) {
        let topic = delivery.topic();
        let end = self.hub.topics.begun(topic);
        let words = self.hub.interjections.take(id, topic, end);
        if words.is_empty() {
            return self.visit(id, delivery, slice, slow);
        }
        slice.visits += 1;
        let publications = delivery.publications();
        let first = end - publications as u64;
        let places = words.iter().map(|word| (word.behind.saturating_sub(first) as usize).min(publications));
        let mut parts = Vec::with_capacity(words.len() + 1);
        let mut from = 0;
        for place in places.chain([publications]) {
            parts.push(from..place.max(from));
            from = place.max(from);
        }
        let last = parts.iter().rposition(|part| {
            delivery.narrow(id, part.clone(), false);
            delivery.frames() > 0
        });
        let mut words = words.into_iter();
        for (index, part) in parts.into_iter().enumerate() {
            delivery.narrow(id, part, last == Some(index));
            self.bring(id, delivery, None, slice, slow);
            if let Some(word) = words.next() {
                slice.bytes += word.bytes.len();
                let until = word.bytes.len() as u32;
                let command = Command { to: id, action: word.action, from: 0, until, newest: 0 };
                self.carry_out(command, &word.bytes);
            }
        }
    }
}
