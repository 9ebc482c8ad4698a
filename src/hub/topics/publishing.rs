//! What is published waits, encoded, for its delivery.
//!
//! Invariant: what is owed to nobody, overheard by nobody and remembered for nobody does not wait.

use super::{SEGMENT_BYTES_MAX, SEGMENT_ITEMS_MAX, TopicId, Topics};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::hub::publication::{Item, Segment};
use crate::ws::Kind;
use crate::ws::encoder::encode;

impl Topics {
    /// Has a message wait for delivery to all who are in `topic` now, but not to `except`. Returns to how many
    /// connections it is owed, and how many absent subscribers there are; to none, nothing waits, unless it is remembered.
    pub fn publish(
        &mut self,
        topic: TopicId,
        kind: Kind,
        payload: &[u8],
        except: ConnId,
        now: Nanos,
    ) -> (u32, u32) {
        self.publish_with(topic, payload.len(), except, now, |out| encode(out, kind.opcode(), payload))
    }

    /// The same for what `write` appends, of about `len` bytes: whole frames that are not to be parted.
    pub fn publish_with(
        &mut self,
        topic: TopicId,
        len: usize,
        except: ConnId,
        now: Nanos,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> (u32, u32) {
        let excused = u32::from(self.contains(topic, except));
        let Some(room) = self.topics.get_mut(topic.0 as usize) else { return (0, 0) };
        let audience = room.live - excused;
        let offset = room.history.map_or(0, |history| self.histories.number(history, now));
        if audience + room.absent == 0 && offset == 0 {
            return (0, 0);
        }
        let idle = room.waiting.is_empty() && !room.in_delivery;
        let fits = |segment: &&mut Segment| {
            segment.bytes.len() + len <= SEGMENT_BYTES_MAX
                && segment.items.len() < SEGMENT_ITEMS_MAX
                && (segment.first == 0) == (offset == 0)
        };
        let segment = match room.waiting.back_mut().filter(fits) {
            Some(_) => room.waiting.back_mut().expect("the segment that was just looked at"),
            None => room.waiting.push_back_mut(Segment { first: offset, ..Segment::default() }),
        };
        let before = segment.bytes.len();
        write(&mut segment.bytes);
        let (end, heard_before) = (segment.bytes.len() as u32, room.subscribers.len() as u32);
        segment.items.push(Item { end, heard_before, except, audience, published_ns: now });
        self.waiting_bytes += segment.bytes.len() - before;
        if idle {
            self.busy.push_back(topic);
        }
        (audience, room.absent)
    }
}
