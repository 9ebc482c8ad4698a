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
//! Invariants: names are unique in their room; a leave is told once, however the peer went.

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
#[derive(Debug, Default)]
pub struct Chat {
    users: HashMap<ConnId, User>,
    taken: HashSet<(TopicId, Box<str>)>,
    came: u64,
    /// By room: where to go on looking for a free number behind a name that is taken. Forgotten with the last of the
    /// room's, or when there are more of them than people.
    next: HashMap<TopicId, HashMap<Box<str>, u64>>,
    /// How many there are, in all rooms.
    next_len: usize,
}

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

impl Chat {
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
        let name = self.name(room, wanted);
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
            self.taken.remove(&(room, name));
            if ctx.subscribers(room) == 0 {
                self.next_len -= self.next.remove(&room).map_or(0, |names| names.len());
            }
        }
    }

    /// A name that is free in the room.
    fn name(&mut self, room: TopicId, wanted: Option<&str>) -> Box<str> {
        self.came += 1;
        let Some(base) = wanted else { return self.next_user(room) };
        if !self.is_taken(room, base) {
            return base.into();
        }
        if self.next_len > NEXT_MIN.max(2 * self.users.len()) {
            // Only a shortcut: names that came and went in pairs would fill the memory with it.
            self.next.clear();
            self.next_len = 0;
        }
        let known = self.next.get(&room).and_then(|names| names.get(base));
        let mut number = known.copied().unwrap_or(2);
        while self.is_taken(room, &format!("{base}{number}")) {
            number += 1;
        }
        let is_new = self.next.entry(room).or_default().insert(base.into(), number + 1).is_none();
        self.next_len += usize::from(is_new);
        format!("{base}{number}").into()
    }

    fn next_user(&mut self, room: TopicId) -> Box<str> {
        while self.is_taken(room, &format!("user{}", self.came)) {
            self.came += 1;
        }
        format!("user{}", self.came).into()
    }

    fn is_taken(&self, room: TopicId, name: &str) -> bool {
        self.taken.contains(&(room, Box::from(name)))
    }
}

fn announce(ctx: &mut Ctx<'_>, room: TopicId, r#type: &str, data: &str) {
    let text = serde_json::to_vec(&Announcement { r#type, data }).expect("two strings are always JSON");
    ctx.publish(room, Kind::Text, &text);
}
