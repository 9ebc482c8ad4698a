//! A chat room: announces who enters, speaks and leaves.
//!
//! `/chat` is a room, `/chat/NAME` another. Peers are called `user1`, `user2`, … in the order they came to the
//! server, numbers never reused, or what they ask for with `?name=`; a name that is taken in the room gets a number
//! behind it. Everybody in the room, the peer itself included, hears
//!
//! ```json
//! {"type":"enter","data":"user1 comes in"}
//! {"type":"message","data":"user1:hello"}
//! {"type":"leave","data":"user1 left"}
//! ```
//!
//! With several workers a room is one all the same. What is announced reaches everybody; beside that each worker tells the
//! others whom it has, as `["in",room,name]` and `["out",room,name]`, so that a name that is taken elsewhere gets a number, too,
//! and so that the leaves of a worker that dies are told by those who are left. Two peers that ask for one name on two workers
//! within the time that such news takes (under a millisecond) may both get it.
//!
//! Invariants: names are unique in their room, but for that; a leave is told once, however the peer went.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Admission, CloseCode, Ctx, Kind, Request, TopicId};
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};

/// Characters of a name.
const NAME_MAX: usize = 64;

/// Shortcuts to free numbers that are kept however few people there are.
const NEXT_MIN: usize = 64;

/// The chat service: who is called what.
#[derive(Debug)]
pub struct Chat {
    users: HashMap<ConnId, User>,
    taken: HashSet<(TopicId, Box<str>)>,
    /// The number of the last `userN`, and how far it is to the next: each worker has numbers of its own.
    came: u64,
    step: u64,
    /// By room and name: which other worker has it.
    abroad: HashMap<(Box<str>, Box<str>), u32>,
    /// By room: where to go on looking for a free number behind a name that is taken. Forgotten with the last of the
    /// room's, or when there are more of them than people.
    next: HashMap<TopicId, HashMap<Box<str>, u64>>,
    /// How many there are, in all rooms.
    next_len: usize,
}

/// What the chats of workers tell each other; see the head of this file.
type News<T> = (T, T, T);

/// Whom this worker has; the first time, and again when the link was down.
const BACK: &str = "back";
const IN: &str = "in";
const OUT: &str = "out";

#[derive(Debug)]
struct User {
    room: TopicId,
    name: Box<str>,
}

/// What everybody hears; the keys in this order.
#[derive(Serialize)]
struct Announcement<'a> {
    r#type: &'a str,
    data: &'a str,
}

impl Default for Chat {
    fn default() -> Self {
        Self::numbered(0, 1)
    }
}

impl Chat {
    /// The chat of worker `index` of `count`: it calls its people `user`*N* with *N* − 1 ≡ `index` modulo `count`.
    #[must_use]
    pub fn numbered(index: u32, count: u32) -> Self {
        let step = u64::from(count.max(1));
        Self {
            users: HashMap::new(),
            taken: HashSet::new(),
            came: (u64::from(index) + 1).wrapping_sub(step),
            step,
            abroad: HashMap::new(),
            next: HashMap::new(),
            next_len: 0,
        }
    }

    /// Refuses names that nobody could read.
    pub(super) fn check(request: &Request<'_>) -> Result<(), Admission<'static>> {
        let Some(name) = request.param("name").map(str::trim) else { return Ok(()) };
        if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
            let right = format!("name has at most {NAME_MAX} characters and no control characters");
            return Err(Admission::Malformed(right));
        }
        Ok(())
    }

    pub(super) fn opened(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>) {
        let room = match request.path.get(1) {
            Some(name) => ctx.join(&format!("chat/{name}")),
            None => ctx.join("chat"),
        };
        let wanted = request.param("name").map(str::trim).filter(|name| !name.is_empty());
        let name = self.name(ctx, room, wanted);
        // Before it is announced: where people have heard of it, the name is known to be taken.
        tell(ctx, IN, room, &name);
        announce(ctx, room, "enter", &format!("{name} comes in"));
        self.taken.insert((room, name.clone()));
        self.users.insert(ctx.id(), User { room, name });
    }

    pub(super) fn message(&mut self, ctx: &mut Ctx<'_>, kind: Kind, payload: &[u8]) {
        let (Some(user), Ok(text)) = (self.users.get(&ctx.id()), str::from_utf8(payload)) else {
            return ctx.close(CloseCode::UNSUPPORTED, "the chat speaks text");
        };
        match kind {
            Kind::Text => announce(ctx, user.room, "message", &format!("{}:{text}", user.name)),
            Kind::Binary => ctx.close(CloseCode::UNSUPPORTED, "the chat speaks text"),
        }
    }

    pub(super) fn closed(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(User { room, name }) = self.users.remove(&ctx.id()) {
            // Left before it is told: the peer is not owed the news of its own going.
            ctx.leave(room);
            if !is_made(Mutation::LeaveNotTold) {
                announce(ctx, room, "leave", &format!("{name} left"));
            }
            tell(ctx, OUT, room, &name);
            self.taken.remove(&(room, name));
            if ctx.subscribers_here(room) == 0 {
                self.next_len -= self.next.remove(&room).map_or(0, |names| names.len());
            }
        }
    }

    /// Tells the others whom we have: one of them has just come, or come back.
    pub(super) fn sibling_came(&self, ctx: &mut Ctx<'_>) {
        for User { room, name } in self.users.values() {
            tell(ctx, BACK, *room, name);
        }
    }

    pub(super) fn heard(&mut self, ctx: &mut Ctx<'_>, sibling: u32, news: &[u8]) {
        // Nobody but our own like writes these; what cannot be read is of a later version.
        let Ok((what, room, name)) = serde_json::from_slice::<News<String>>(news) else { return };
        let key = (Box::from(&*room), Box::from(&*name));
        match &*what {
            BACK | IN => {
                let is_new = self.abroad.insert(key, sibling).is_none();
                if is_new && what == BACK {
                    announce_here(ctx, &room, "enter", &format!("{name} comes in"));
                }
            }
            OUT => drop(self.abroad.remove(&key)),
            _ => {}
        }
    }

    /// Nobody else can tell that those of a worker have left when it is gone.
    pub(super) fn sibling_gone(&mut self, ctx: &mut Ctx<'_>, sibling: u32) {
        let mut gone: Vec<_> = self.abroad.extract_if(|_, of| *of == sibling).map(|(key, _)| key).collect();
        gone.sort_unstable();
        for (room, name) in gone {
            announce_here(ctx, &room, "leave", &format!("{name} left"));
        }
    }

    /// A name that is free in the room.
    fn name(&mut self, ctx: &Ctx<'_>, room: TopicId, wanted: Option<&str>) -> Box<str> {
        self.came = self.came.wrapping_add(self.step);
        let Some(base) = wanted else { return self.next_user(ctx, room) };
        if !self.is_taken(ctx, room, base) {
            return base.into();
        }
        if self.next_len > NEXT_MIN.max(2 * self.users.len()) {
            // Only a shortcut: names that came and went in pairs would fill the memory with it.
            self.next.clear();
            self.next_len = 0;
        }
        let known = self.next.get(&room).and_then(|names| names.get(base));
        let mut number = known.copied().unwrap_or(2);
        while self.is_taken(ctx, room, &format!("{base}{number}")) {
            number += 1;
        }
        let is_new = self.next.entry(room).or_default().insert(base.into(), number + 1).is_none();
        self.next_len += usize::from(is_new);
        format!("{base}{number}").into()
    }

    fn next_user(&mut self, ctx: &Ctx<'_>, room: TopicId) -> Box<str> {
        while self.is_taken(ctx, room, &format!("user{}", self.came)) {
            self.came += self.step;
        }
        format!("user{}", self.came).into()
    }

    fn is_taken(&self, ctx: &Ctx<'_>, room: TopicId, name: &str) -> bool {
        self.taken.contains(&(room, Box::from(name)))
            || !self.abroad.is_empty()
                && self.abroad.contains_key(&(Box::from(ctx.name(room)), Box::from(name)))
    }
}

fn announce(ctx: &mut Ctx<'_>, room: TopicId, r#type: &str, data: &str) {
    ctx.publish(room, Kind::Text, &announcement(r#type, data));
}

/// Announces to the people of this worker alone.
fn announce_here(ctx: &mut Ctx<'_>, room: &str, r#type: &str, data: &str) {
    if let Some(room) = ctx.find(room) {
        ctx.publish_here(room, Kind::Text, &announcement(r#type, data));
    }
}

fn announcement(r#type: &str, data: &str) -> Vec<u8> {
    serde_json::to_vec(&Announcement { r#type, data }).expect("two strings are always JSON")
}

/// Tells the other workers; without any, nothing is put together.
fn tell(ctx: &mut Ctx<'_>, what: &str, room: TopicId, name: &str) {
    if ctx.has_siblings() {
        let news: News<&str> = (what, ctx.name(room), name);
        let news = serde_json::to_vec(&news).expect("three strings are always JSON");
        ctx.tell_siblings(&news);
    }
}
