//! Who comes and goes in a channel, for those who speak `stentor.v1`: told as counts, a few times a second at most.
//!
//! Ten thousand peers that come within a second are not ten thousand notices to each of ten thousand. What has happened in a
//! channel since the last notice is told in one, which goes round as one publication in a topic of its own; a newcomer joins that
//! topic behind the notice that tells the others of it.
//!
//! Invariants: a channel without speakers of `stentor.v1` on this worker costs nothing but a look into an empty table; nobody hears
//! of its own coming.

use std::collections::{BTreeSet, HashMap};

use super::{Ctx, Kind};
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos};
use crate::hub::framed;

/// Between two notices of a channel.
const PACE: Nanos = 250 * MILLI;

/// The channels in which somebody wants to know.
#[derive(Debug, Default)]
pub(super) struct Presence {
    rooms: HashMap<Box<str>, Room>,
    due: BTreeSet<(Nanos, Box<str>)>,
}

#[derive(Debug, Default)]
struct Room {
    /// How many want to know.
    speakers: u32,
    /// Those of them who have come since the last notice.
    newcomers: Vec<ConnId>,
    joined: u32,
    left: u32,
    told: Option<Nanos>,
    due: Option<Nanos>,
}

impl Presence {
    /// The peer has joined `channel`, and wants to hear of others or not.
    pub(super) fn opened(&mut self, ctx: &Ctx<'_>, channel: &str, is_speaker: bool) {
        if is_speaker {
            let room = self.rooms.entry(channel.into()).or_default();
            room.speakers += 1;
            room.newcomers.push(ctx.id());
        }
        if let Some(room) = self.rooms.get_mut(channel) {
            room.joined += 1;
            room.schedule(&mut self.due, channel, ctx.now());
        }
    }

    /// The peer is about to leave `channel`.
    pub(super) fn closed(&mut self, ctx: &Ctx<'_>, channel: &str, is_speaker: bool) {
        let Some(room) = self.rooms.get_mut(channel) else { return };
        room.left += 1;
        if is_speaker {
            room.speakers -= 1;
            room.newcomers.retain(|id| *id != ctx.id());
        }
        if room.speakers > 0 {
            return room.schedule(&mut self.due, channel, ctx.now());
        }
        let due = room.due;
        if let Some((channel, _)) = self.rooms.remove_entry(channel)
            && let Some(at) = due
        {
            self.due.remove(&(at, channel));
        }
    }

    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Tells what is due. `topic` is that of a channel.
    pub(super) fn due(&mut self, ctx: &mut Ctx<'_>, topic: impl Fn(&str) -> String) {
        while self.next_due().is_some_and(|at| at <= ctx.now())
            && let Some((_, channel)) = self.due.pop_first()
        {
            let Some(room) = self.rooms.get_mut(&channel) else { continue };
            let subscribers = ctx.find(&topic(&channel)).map_or(0, |topic| ctx.subscribers(topic));
            room.tell(ctx, &channel, subscribers);
        }
    }
}

impl Room {
    fn schedule(&mut self, due: &mut BTreeSet<(Nanos, Box<str>)>, channel: &str, now: Nanos) {
        if self.due.is_none() {
            let at = self.told.map_or(now, |told| now.max(told + PACE));
            self.due = Some(at);
            due.insert((at, channel.into()));
        }
    }

    fn tell(&mut self, ctx: &mut Ctx<'_>, channel: &str, subscribers: u32) {
        (self.due, self.told) = (None, Some(ctx.now()));
        let name = format!("presence/{channel}");
        let counts = [("join", std::mem::take(&mut self.joined)), ("leave", std::mem::take(&mut self.left))];
        if let Some(topic) = ctx.find(&name) {
            for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                let notice = framed::notice(what, channel, count, subscribers);
                ctx.publish_here(topic, Kind::Text, notice.as_bytes());
            }
        }
        for id in std::mem::take(&mut self.newcomers) {
            ctx.join_plain(id, &name);
        }
    }
}
