//! A delivery: one segment of a topic on its way round the circle of subscribers.
//!
//! It is walked a slice at a time, so that a publication to fifty thousand peers does not keep heartbeats,
//! accepts and pongs waiting. The walker (the server) knows sockets, the delivery knows who is owed what.
//!
//! Invariant: every subscriber that heard of the segment is visited exactly once or has left; what was owed to
//! those who left is entered as departed when the delivery ends.

use std::rc::Rc;

use super::aside::{Overheard, messages};
use super::compressors::Compressors;
use super::dialect::Dialect;
use super::frame::{Frame, STRIP_BLOCK_BYTES_MAX};
use super::framed;
use super::ledger::{EntryId, Ledger, Unpaid};
use super::publication::{Item, Range, Segment};
use super::topics::{Departing, TopicId, Topics};
use super::walk::{Place, Walk};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::socketio::bridge;
use crate::socketio::engine::Frame as EngineFrame;
use crate::ws::encoder::encode;
use crate::ws::{Kind, Opcode};

/// A segment under way.
#[derive(Debug)]
pub struct Delivery {
    topic: TopicId,
    items: Vec<Item>,
    /// What the subscriber of the last visit is sent, and the segment in it.
    spoken: Dialect,
    form: Form,
    /// If it is not the plain form for all.
    mixed: Option<Box<Mixed>>,
    /// Nobody joined in between and everybody hears itself: all are owed the whole.
    is_whole: bool,
    walk: Walk,
    entry: EntryId,
    /// Subscribers it is owed to that have not been visited, and deliveries that nobody was found for.
    unvisited: u32,
    unclaimed: u64,
    ranges: Vec<Range>,
    /// Where the subscriber of the last visit stands, and whether the last of the ranges is the last that it is owed.
    position: u32,
    is_last: bool,
}

/// Who is sent what. The form in use is changed places with, instead of looked up: that costs the plain delivery nothing.
#[derive(Debug)]
struct Mixed {
    /// By position.
    dialects: Box<[Dialect]>,
    /// The segment in the dialects that are not spoken at the moment.
    others: [Option<Form>; Dialect::COUNT],
}

/// A segment in one dialect: as many frames in the same order, and where each ends, if not where the items say.
#[derive(Debug)]
struct Form {
    bytes: Rc<Vec<u8>>,
    ends: Vec<u32>,
    /// Where the whole of it stands on a strip, once somebody was behind.
    shared: Option<Frame>,
}

impl Form {
    const fn new(bytes: Rc<Vec<u8>>, ends: Vec<u32>) -> Self {
        Self { bytes, ends, shared: None }
    }
}

/// What one step round the circle found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This subscriber is owed the ranges that [`Delivery::frames`] tells.
    Visit(ConnId),
    /// Nobody stands here, or nobody who is owed anything now.
    Skip,
    /// The circle is closed.
    Done,
}

impl Delivery {
    /// Sets out with the oldest segment of `topic`, translated once for each dialect that is spoken there; `None` if there is
    /// none, or nobody is owed anything of it.
    pub(super) fn begin(
        topics: &mut Topics,
        ledger: &mut Ledger,
        compressors: &mut Compressors,
        overheard: &mut Vec<Overheard>,
        topic: TopicId,
    ) -> Option<Self> {
        let departing = topics.begin_delivery(topic)?;
        if let Some(first) = departing.overheard {
            overheard.push(Overheard::new(topic, first, &departing.bytes, &departing.items));
        }
        if departing.items.iter().all(|item| item.audience == 0) {
            // It was published for those who are absent, or will come back.
            topics.end_delivery(topic);
            return None;
        }
        let mixed = Mixed::of(compressors, &departing);
        let Departing { bytes, items, start, live, behind, .. } = departing;
        let (oldest, newest) = (items.first()?, items.last()?);
        let circle = newest.heard_before;
        let walk = Walk::begin(start, circle, behind);
        let newcomers = topics.members(topic).iter().skip(circle as usize).filter(|id| !id.is_none()).count();
        let unvisited = live - newcomers as u32;
        let entry = ledger.open(oldest.published_ns, items.len() as u32, unvisited);
        let is_whole = oldest.heard_before == circle && items.iter().all(|item| item.except.is_none());
        let unclaimed = items.iter().map(|item| u64::from(item.audience)).sum();
        Some(Self {
            topic,
            form: Form::new(bytes, Vec::new()),
            is_whole,
            walk,
            entry,
            unvisited,
            unclaimed,
            ranges: Vec::with_capacity(1),
            position: 0,
            is_last: true,
            items,
            mixed,
            spoken: Dialect::Raw,
        })
    }

    /// The next subscriber round the circle, found in `members` of the topic.
    #[inline]
    pub fn step(&mut self, members: &[ConnId], ledger: &mut Ledger, now: Nanos) -> Step {
        let position = match self.walk.step() {
            Place::At(position) => position,
            Place::Others => return Step::Skip,
            Place::End => return Step::Done,
        };
        let id = members.get(position as usize).copied().unwrap_or(ConnId::NONE);
        if id.is_none() {
            return Step::Skip;
        }
        if let Some(mixed) = &mut self.mixed {
            mixed.speak_to(position, &mut self.spoken, &mut self.form);
        }
        (self.position, self.is_last) = (position, true);
        self.find_ranges(position, id);
        self.unvisited = self.unvisited.saturating_sub(1);
        if self.ranges.is_empty() {
            ledger.excuse(self.entry, 1, now);
            return Step::Skip;
        }
        self.unclaimed -= self.ranges.iter().map(|range| u64::from(range.publications)).sum::<u64>();
        Step::Visit(id)
    }

    /// What the subscriber `id` at `position` is owed, in what it is sent.
    #[inline]
    fn find_ranges(&mut self, position: u32, id: ConnId) {
        self.ranges.clear();
        if self.is_whole {
            let (to, publications) = (self.form.bytes.len() as u32, self.items.len() as u32);
            self.ranges.push(Range { from: 0, to, publications });
            return;
        }
        let Self { items, form, spoken, ranges, .. } = self;
        match spoken {
            Dialect::Raw => Segment::ranges(items, |index| items[index].end, position, id, ranges),
            Dialect::Wide | Dialect::Narrow | Dialect::Framed | Dialect::Event => {
                Segment::ranges(items, |index| form.ends[index], position, id, ranges);
            }
        }
    }

    /// Has [`frames`](Self::frames) tell of these items alone, of all that `id`, the subscriber of the last visit, is owed.
    /// Only what is said to be the last of it has the subscriber served when it has been written.
    pub fn narrow(&mut self, id: ConnId, part: std::ops::Range<usize>, is_last: bool) {
        self.is_last = is_last;
        self.find_ranges(self.position, id);
        let Self { items, form, ranges, .. } = self;
        let ends: Vec<u32> = match &form.ends[..] {
            [] => items.iter().map(|item| item.end).collect(),
            ends => ends.to_vec(),
        };
        let end = |items: usize| if items == 0 { 0 } else { ends[items - 1] };
        let items_until = |place: u32| ends.partition_point(|end| *end <= place) as u32;
        let (from, to) = (end(part.start), end(part.end));
        ranges.retain_mut(|range| {
            (range.from, range.to) = (range.from.max(from), range.to.min(to));
            range.publications = items_until(range.to).saturating_sub(items_until(range.from));
            range.from < range.to
        });
    }

    /// How many publications it holds.
    #[must_use]
    pub const fn publications(&self) -> usize {
        self.items.len()
    }

    /// How far it has come.
    pub(super) const fn walk(&self) -> &Walk {
        &self.walk
    }

    /// Whether what the subscriber of the last visit is owed holds compressed frames, which its window takes in.
    #[inline]
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.spoken.slot().is_some()
    }

    /// In how many frames the subscriber of the last [`Step::Visit`] gets what it is owed; nearly always one.
    #[inline]
    #[must_use]
    pub fn frames(&self) -> usize {
        self.ranges.len()
    }

    /// One of these. Only the last of several carries the entry: the subscriber is served when that has been written.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    #[must_use]
    pub fn frame(&self, index: usize) -> Frame {
        let range = self.ranges[index];
        let entry = if self.is_last && index + 1 == self.ranges.len() { self.entry } else { EntryId::NONE };
        Frame::new(&self.form.bytes, range.from, range.to, range.publications as u16, entry)
    }

    /// The only range of the last visit, if it is one, with its bytes: the way without a reference count.
    #[inline]
    #[must_use]
    pub fn single(&self) -> Option<(&[u8], Range)> {
        match self.ranges[..] {
            [range] => Some((&self.form.bytes[range.from as usize..range.to as usize], range)),
            _ => None,
        }
    }

    /// The `frame` of the last visit as it is kept for a peer that is behind: as a place on the topic's strip if it is all
    /// of this delivery and small, so that many such peers share even the list of what they are owed.
    pub fn kept(&mut self, frame: Frame, topics: &mut Topics) -> Frame {
        let bytes = &self.form.bytes;
        if frame.len() != bytes.len() || bytes.len() > STRIP_BLOCK_BYTES_MAX {
            return frame.lean();
        }
        let (topic, dialect, publications) = (self.topic, self.spoken, self.items.len() as u16);
        let place = || topics.share(topic, dialect, bytes, publications, self.entry);
        self.form.shared.get_or_insert_with(place).clone()
    }

    /// Where it is entered in the ledger.
    #[must_use]
    pub const fn entry(&self) -> EntryId {
        self.entry
    }

    /// Deliveries of it that no subscriber has been visited for.
    #[must_use]
    pub const fn unclaimed(&self) -> u64 {
        self.unclaimed
    }

    /// The topic it goes round.
    #[must_use]
    pub const fn topic(&self) -> TopicId {
        self.topic
    }

    /// Ends the delivery: those who were not met have left.
    pub(super) fn end(self, topics: &mut Topics, ledger: &mut Ledger, now: Nanos) {
        if self.unclaimed > 0 || self.unvisited > 0 {
            ledger.unpaid(Unpaid::Departed, self.entry, self.unvisited, self.unclaimed, now);
        }
        topics.end_delivery(self.topic);
    }
}

impl Mixed {
    /// The dialects of a segment, made once for each that is spoken; `None` if all are sent it as it is.
    fn of(compressors: &mut Compressors, departing: &Departing<'_>) -> Option<Box<Self>> {
        let Departing { bytes, items, dialects, first, label, .. } = departing;
        let mut others = [const { None }; Dialect::COUNT];
        if dialects.is_spoken(Dialect::Framed) {
            let (framed, ends) = framed::translate(label, *first, bytes);
            others[Dialect::Framed as usize] = Some(Form::new(Rc::new(framed), ends));
        }
        if dialects.is_spoken(Dialect::Event) {
            others[Dialect::Event as usize] = Some(as_events(bytes, items));
        }
        for dialect in Dialect::DEFLATED.into_iter().filter(|dialect| dialects.is_spoken(*dialect)) {
            others[dialect as usize] = translate(compressors, dialect, bytes, items);
        }
        if others.iter().all(Option::is_none) {
            return None;
        }
        let mut dialects = dialects.snapshot();
        // What was not worth translating is sent as it is.
        for dialect in dialects.iter_mut().filter(|dialect| others[**dialect as usize].is_none()) {
            *dialect = Dialect::Raw;
        }
        Some(Box::new(Self { dialects, others }))
    }

    /// Goes over to the dialect of whoever stands at `position`.
    #[inline]
    fn speak_to(&mut self, position: u32, spoken: &mut Dialect, form: &mut Form) {
        let dialect = self.dialects.get(position as usize).copied().unwrap_or_default();
        if dialect != *spoken
            && let Some(next) = self.others[dialect as usize].take()
        {
            self.others[*spoken as usize] = Some(std::mem::replace(form, next));
            *spoken = dialect;
        }
        debug_assert_eq!(dialect, *spoken, "every dialect of the segment has a form");
    }
}

/// The frames of a segment as events of Socket.IO.
fn as_events(bytes: &[u8], items: &[Item]) -> Form {
    let (mut translated, mut ends, mut from) = (Vec::new(), Vec::with_capacity(items.len()), 0);
    for item in items {
        for (kind, payload) in messages(&bytes[from..item.end as usize]) {
            let text = match kind {
                Kind::Text => std::str::from_utf8(payload).map_err(|_| payload),
                Kind::Binary => Err(payload),
            };
            for frame in bridge::frames(text) {
                match frame {
                    EngineFrame::Text(text) => encode(&mut translated, Opcode::Text, text.as_bytes()),
                    EngineFrame::Binary(bytes) => encode(&mut translated, Opcode::Binary, &bytes),
                }
            }
        }
        ends.push(translated.len() as u32);
        from = item.end as usize;
    }
    Form::new(Rc::new(translated), ends)
}

/// The frames of a segment in a compressed dialect; `None` if none of them is worth compressing.
fn translate(compressors: &mut Compressors, dialect: Dialect, bytes: &[u8], items: &[Item]) -> Option<Form> {
    let (mut translated, mut ends, mut from) = (Vec::new(), Vec::with_capacity(items.len()), 0);
    let mut is_compressed = false;
    for item in items {
        is_compressed |= compressors.append(dialect, &bytes[from..item.end as usize], &mut translated);
        ends.push(translated.len() as u32);
        from = item.end as usize;
    }
    translated.shrink_to_fit();
    is_compressed.then(|| Form::new(Rc::new(translated), ends))
}
