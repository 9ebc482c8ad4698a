//! Topics: who hears what, in an order that memory likes.
//!
//! The subscribers of a topic stand in a dense array in the order they came, which is nearly the order in which
//! their connections were accepted: walking it walks the roster, and the kernel's sockets, from front to back.
//! In random order a delivery costs a fifth more at ten thousand peers. So who leaves becomes a tombstone, and the
//! array is closed up, in order, between two deliveries.
//!
//! Publications wait, encoded, in *segments* of the topic; [`Delivery`](super::delivery::Delivery) takes one at a
//! time. What is published while a delivery is under way waits for the next one, and then leaves with it in one
//! write per subscriber: under load, batches form by themselves.
//!
//! Invariants: a name stands at most once in a topic, at the position its membership says; a topic without
//! subscribers and without publications is gone; positions move only while no delivery is under way.

mod owing;
mod publishing;
mod remembering;
mod sharing;

use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use slab::Slab;

use super::changes::Changes;
use super::dialect::{Dialect, Dialects};
use super::frame::Strip;
use super::history::{Histories, HistoryId};
use super::memberships::{Membership, Memberships};
use super::publication::{Item, Segment};
use super::walk::{Marks, Walk};
use crate::base::id::ConnId;

/// Bytes of publications that leave in one write. Large enough for a hundred messages of a kilobyte, small
/// enough that a peer with room for nothing else has room for one.
pub const SEGMENT_BYTES_MAX: usize = 128 * 1024;
/// Publications that leave in one write: those of a frame are counted in sixteen bits.
const SEGMENT_ITEMS_MAX: usize = u16::MAX as usize;
/// Tombstones that are not worth closing up.
const TOMBSTONES_MIN: usize = 64;

/// The name of a topic while it has subscribers; it may be given to another afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub(super) u32);

impl TopicId {
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// All topics of a worker, and who is in which.
#[derive(Debug, Default)]
pub struct Topics {
    pub(super) topics: Slab<Topic>,
    by_name: HashMap<Box<str>, TopicId>,
    /// By the index of the connection.
    memberships: Vec<Memberships>,
    /// By the index of the connection; as long as the last one that is not sent plain frames.
    dialects: Vec<Dialect>,
    /// Topics with publications that wait or are under way, in the order they got them.
    busy: VecDeque<TopicId>,
    waiting_bytes: usize,
    pub(super) changes: Changes,
    /// What was last published, for those who come back.
    pub histories: Histories,
}

/// One topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Box<str>,
    /// In the order they came; [`ConnId::NONE`] where one has left.
    subscribers: Vec<ConnId>,
    dialects: Dialects,
    live: u32,
    /// Subscribers that have no connection at the moment: a service tells them.
    pub(super) absent: u32,
    /// Publications whose delivery has begun.
    pub(super) begun: u64,
    pub(super) waiting: VecDeque<Segment>,
    in_delivery: bool,
    /// How far the delivery under way had come at the end of its last slice.
    progress: Walk,
    /// Who is behind, as far as is known.
    behind: Marks,
    /// Where what is published here is remembered, if it is.
    history: Option<HistoryId>,
    /// In each dialect, the blocks that those who are behind are owed. As long as there are such peers.
    pub(super) strips: [Weak<Strip>; Dialect::COUNT],
    /// Where the next delivery begins: each starts one further round the circle, so that nobody is always last.
    start: u32,
}

/// A segment that sets out, and the topic as it is at that moment.
pub(super) struct Departing<'t> {
    pub(super) bytes: Rc<Vec<u8>>,
    pub(super) items: Vec<Item>,
    /// The offset of its first message, and the channel as JSON; 0 and nothing if nobody will ask for it again.
    pub(super) first: u64,
    pub(super) label: &'t str,
    pub(super) start: u32,
    pub(super) live: u32,
    /// If anybody is absent: how many publications had begun before.
    pub(super) overheard: Option<u64>,
    pub(super) dialects: &'t Dialects,
    pub(super) behind: &'t Marks,
}

impl Topics {
    /// The topic called `name`, if anybody is in it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// The name of a topic.
    #[must_use]
    pub fn name(&self, topic: TopicId) -> &str {
        self.topics.get(topic.0 as usize).map_or("", |topic| &topic.name)
    }

    /// The topics that somebody has joined or left since the last call, with how many are in each now.
    pub fn changed(&mut self) -> Vec<(Box<str>, u32)> {
        let mut changed = Vec::new();
        for name in self.changes.take() {
            let count = self.find(&name).map_or(0, |topic| self.subscribers(topic));
            changed.push((name, count));
        }
        changed
    }

    /// How many are in `topic`.
    #[must_use]
    pub fn subscribers(&self, topic: TopicId) -> u32 {
        self.topics.get(topic.0 as usize).map_or(0, |topic| topic.live + topic.absent)
    }

    /// The topic that `id` joined first, if it is in any: most connections are in one.
    #[inline]
    #[must_use]
    pub fn first_of(&self, id: ConnId) -> Option<TopicId> {
        let first = self.memberships.get(id.index as usize)?.first;
        (first.topic != TopicId::NONE).then_some(first.topic)
    }

    /// Whether `id` is in `topic`.
    #[must_use]
    pub fn contains(&self, topic: TopicId, id: ConnId) -> bool {
        let memberships = self.memberships.get(id.index as usize);
        memberships.and_then(|all| all.find(topic)).is_some_and(|at| self.stands(topic, at, id))
    }

    /// Every topic with its number of subscribers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.topics.iter().map(|(_, topic)| (&*topic.name, topic.live + topic.absent))
    }

    /// How many topics there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is no topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Encoded bytes of publications that no delivery has taken yet.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Deliveries that wait in segments that have not set out, counted by hand.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        let segments = self.topics.iter().flat_map(|(_, topic)| &topic.waiting);
        segments.flat_map(|segment| &segment.items).map(|item| u64::from(item.audience)).sum()
    }

    /// From now on `id` joins topics as one that is sent `dialect`, until it has left everything. Whoever is not
    /// spoken of is sent plain frames.
    pub fn speak(&mut self, id: ConnId, dialect: Dialect) {
        let index = id.index as usize;
        if self.dialects.len() <= index && dialect != Dialect::Raw {
            self.dialects.resize(index + 1, Dialect::Raw);
        }
        if let Some(known) = self.dialects.get_mut(index) {
            *known = dialect;
        }
    }

    /// Lets `id` into the topic called `name`, which begins to exist if it did not. Joining twice is joining once.
    ///
    /// # Panics
    /// If `id` is [`ConnId::NONE`]: nobody cannot hear anything.
    pub fn join(&mut self, id: ConnId, name: &str) -> TopicId {
        let dialect = self.dialects.get(id.index as usize).copied().unwrap_or_default();
        self.join_in(id, name, dialect)
    }

    /// The same for one who is sent `dialect` in this topic.
    ///
    /// # Panics
    /// As [`join`](Self::join).
    pub fn join_in(&mut self, id: ConnId, name: &str, dialect: Dialect) -> TopicId {
        assert!(!id.is_none(), "nobody cannot join a topic; a service joins peers when they open or speak");
        let topic = self.find(name).unwrap_or_else(|| self.create(name));
        if self.contains(topic, id) {
            return topic;
        }
        // Also here, or a topic where peers come and go and nobody speaks would grow for ever.
        self.close_up(topic);
        let room = &mut self.topics[topic.0 as usize];
        let membership = Membership { topic, position: room.subscribers.len() as u32 };
        let index = id.index as usize;
        room.dialects.join(room.subscribers.len(), dialect);
        room.subscribers.push(id);
        room.live += 1;
        if self.memberships.len() <= index {
            self.memberships.resize(index + 1, Memberships::NONE);
        }
        self.memberships[index].insert(membership);
        self.changes.note(name);
        topic
    }

    /// Takes `id` out of `topic`; nothing happens if it is not in it.
    pub fn leave(&mut self, id: ConnId, topic: TopicId) {
        let Some(memberships) = self.memberships.get_mut(id.index as usize) else { return };
        if let Some(membership) = memberships.remove(topic) {
            self.bury(membership, id);
        }
    }

    /// Takes `id` out of everything.
    pub fn leave_all(&mut self, id: ConnId) {
        while let Some(topic) = self.first_of(id) {
            self.leave(id, topic);
        }
        if let Some(memberships) = self.memberships.get_mut(id.index as usize) {
            memberships.more = None;
        }
        self.speak(id, Dialect::Raw);
    }

    /// From now on `id` comes last in the topics in which it is now, since it has not taken what it was sent before; or no longer.
    pub fn lag(&mut self, id: ConnId, is_behind: bool) {
        let Some(memberships) = self.memberships.get(id.index as usize) else { return };
        let more = memberships.more.iter().flat_map(|more| more.iter());
        for Membership { topic, position } in std::iter::once(&memberships.first).chain(more) {
            if let Some(room) = self.topics.get_mut(topic.0 as usize)
                && room.subscribers.get(*position as usize) == Some(&id)
            {
                room.behind.set(*position, is_behind);
            }
        }
    }

    /// The topic whose turn it is to be delivered.
    pub(super) fn next_busy(&mut self) -> Option<TopicId> {
        self.busy.pop_front()
    }

    /// Whether any publication waits.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Takes the oldest segment of `topic` for a delivery, closing the array up first if that is worth it.
    pub(super) fn begin_delivery(&mut self, topic: TopicId) -> Option<Departing<'_>> {
        self.close_up(topic);
        let room = self.topics.get_mut(topic.0 as usize)?;
        let Segment { bytes, items, first } = room.waiting.pop_front()?;
        self.waiting_bytes -= bytes.len();
        room.in_delivery = true;
        room.progress = Walk::NONE;
        let bytes = Rc::new(bytes);
        let mut label = "";
        if let Some(history) = room.history.filter(|_| first > 0) {
            self.histories.adopt(history, &bytes, first, items.len());
            label = self.histories.label(history);
        }
        let start = if room.subscribers.is_empty() { 0 } else { room.start % room.subscribers.len() as u32 };
        room.start = start + 1;
        let overheard = (room.absent > 0).then_some(room.begun);
        room.begun += items.len() as u64;
        let (live, dialects, behind) = (room.live, &room.dialects, &room.behind);
        Some(Departing { bytes, items, first, label, start, live, overheard, dialects, behind })
    }

    /// A delivery of `topic` is over: it queues up again if more waits, and ends if nobody is left.
    pub(super) fn end_delivery(&mut self, topic: TopicId) {
        let Some(room) = self.topics.get_mut(topic.0 as usize) else { return };
        room.in_delivery = false;
        if !room.waiting.is_empty() {
            self.busy.push_back(topic);
        }
        self.end_if_deserted(topic);
    }

    /// Everybody in `topic` in the order they came; [`ConnId::NONE`] where one has left.
    #[inline]
    #[must_use]
    pub fn members(&self, topic: TopicId) -> &[ConnId] {
        self.topics.get(topic.0 as usize).map_or(&[], |room| &room.subscribers)
    }

    /// Who stands at `position` of `topic`; [`ConnId::NONE`] where one has left.
    fn at(&self, topic: TopicId, position: u32) -> ConnId {
        self.members(topic).get(position as usize).copied().unwrap_or(ConnId::NONE)
    }

    pub(super) fn create(&mut self, name: &str) -> TopicId {
        let topic = TopicId(self.topics.insert(Topic {
            name: name.into(),
            subscribers: Vec::new(),
            dialects: Dialects::default(),
            live: 0,
            absent: 0,
            begun: 0,
            waiting: VecDeque::new(),
            in_delivery: false,
            progress: Walk::NONE,
            behind: Marks::default(),
            history: None,
            strips: Default::default(),
            start: 0,
        }) as u32);
        self.by_name.insert(name.into(), topic);
        topic
    }

    fn stands(&self, topic: TopicId, position: u32, id: ConnId) -> bool {
        self.at(topic, position) == id
    }

    fn bury(&mut self, membership: Membership, id: ConnId) {
        let Membership { topic, position } = membership;
        if !self.stands(topic, position, id) {
            return;
        }
        let room = &mut self.topics[topic.0 as usize];
        room.subscribers[position as usize] = ConnId::NONE;
        room.dialects.leave(position as usize);
        room.behind.set(position, false);
        room.live -= 1;
        self.changes.note(&room.name);
        self.end_if_deserted(topic);
    }

    pub(super) fn end_if_deserted(&mut self, topic: TopicId) {
        let Some(room) = self.topics.get(topic.0 as usize) else { return };
        if room.live + room.absent == 0 && room.waiting.is_empty() && !room.in_delivery {
            let room = self.topics.remove(topic.0 as usize);
            self.by_name.remove(&room.name);
            if let Some(history) = room.history {
                self.histories.detach(history);
            }
        }
    }

    /// Closes the ranks of `topic` if a quarter of them are tombstones and nobody walks along them. Positions in waiting items move along.
    fn close_up(&mut self, topic: TopicId) {
        let Some(room) = self.topics.get_mut(topic.0 as usize) else { return };
        let tombstones = room.subscribers.len() - room.live as usize;
        if room.in_delivery || tombstones < TOMBSTONES_MIN || tombstones * 4 < room.subscribers.len() {
            return;
        }
        let mut items = room.waiting.iter_mut().flat_map(|segment| segment.items.iter_mut()).peekable();
        let mut kept = 0;
        for position in 0..room.subscribers.len() {
            while let Some(item) = items.next_if(|item| item.heard_before as usize <= position) {
                item.heard_before = kept;
            }
            let id = room.subscribers[position];
            if !id.is_none() {
                room.subscribers[kept as usize] = id;
                room.dialects.move_to(position, kept as usize);
                room.behind.move_to(position as u32, kept);
                self.memberships[id.index as usize].move_to(topic, kept);
                kept += 1;
            }
        }
        items.for_each(|item| item.heard_before = kept);
        room.subscribers.truncate(kept as usize);
        room.subscribers.shrink_to(kept as usize * 2);
        room.dialects.truncate(kept as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::Kind;

    fn id(index: u32) -> ConnId {
        ConnId { index, serial: index + 1000 }
    }

    #[test]
    fn a_topic_lives_as_long_as_somebody_is_in_it() {
        let mut topics = Topics::default();
        let sea = topics.join(id(1), "sea");
        assert_eq!(topics.join(id(1), "sea"), sea);
        topics.join(id(2), "sea");
        assert_eq!((topics.subscribers(sea), topics.name(sea)), (2, "sea"));
        topics.leave(id(1), sea);
        topics.leave(id(1), sea);
        assert_eq!(topics.subscribers(sea), 1);
        topics.leave_all(id(2));
        assert_eq!(topics.find("sea"), None);
        assert!(topics.is_empty());
    }

    #[test]
    fn a_connection_may_be_in_many_topics() {
        let mut topics = Topics::default();
        let all: Vec<_> = (0..5).map(|n| topics.join(id(7), &n.to_string())).collect();
        assert_eq!(topics.first_of(id(7)), Some(all[0]));
        topics.leave(id(7), all[2]);
        assert!(!topics.contains(all[2], id(7)));
        assert!([0, 1, 3, 4].iter().all(|&n| topics.contains(all[n], id(7))));
        topics.leave_all(id(7));
        assert!(topics.is_empty());
        assert_eq!(topics.first_of(id(7)), None);
    }

    #[test]
    fn a_reused_slot_is_not_mistaken_for_the_one_before() {
        let mut topics = Topics::default();
        let sea = topics.join(id(1), "sea");
        assert!(!topics.contains(sea, ConnId { index: 1, serial: 5 }));
    }

    #[test]
    fn ranks_close_in_order_and_memberships_follow() {
        let mut topics = Topics::default();
        let sea = topics.join(id(0), "sea");
        (1..1000).for_each(|n| {
            topics.join(id(n), "sea");
        });
        (0..1000).filter(|n| n % 3 != 0).for_each(|n| topics.leave(id(n), sea));
        topics.publish(sea, Kind::Text, b"x", ConnId::NONE, 0);
        topics.join(id(5000), "sea");
        topics.publish(sea, Kind::Text, b"y", ConnId::NONE, 0);
        let departing = topics.begin_delivery(sea).unwrap();
        let heard: Vec<u32> = departing.items.iter().map(|item| item.heard_before).collect();
        assert_eq!(heard, [334, 335]);
        let order: Vec<u32> = topics.topics[sea.0 as usize].subscribers.iter().map(|id| id.index).collect();
        assert_eq!(order, (0..1000).filter(|n| n % 3 == 0).chain([5000]).collect::<Vec<_>>());
        for index in order {
            assert!(topics.contains(sea, id(index)));
        }
    }

    #[test]
    fn a_topic_where_peers_come_and_go_in_silence_does_not_grow() {
        let mut topics = Topics::default();
        let sea = topics.join(id(0), "sea");
        for n in 1..10_000 {
            topics.join(id(n), "sea");
            topics.leave(id(n), sea);
        }
        assert!(topics.members(sea).len() < 200);
        assert!(topics.contains(sea, id(0)));
    }

    #[test]
    fn publishing_to_nobody_leaves_nothing() {
        let mut topics = Topics::default();
        let sea = topics.join(id(1), "sea");
        assert_eq!(topics.publish(sea, Kind::Text, b"x", id(1), 0), (0, 0));
        assert!(!topics.is_busy());
        assert_eq!(topics.publish(sea, Kind::Text, b"x", ConnId::NONE, 0), (1, 0));
        assert_eq!(topics.waiting_bytes(), 3);
    }
}
