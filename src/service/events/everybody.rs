//! Who else can be told: everybody in a namespace, or those in some of its rooms.
//!
//! The names are those of npm's `socket.io`. An event for one room, or for all, is a publication of the hub; one for several rooms,
//! or for all but some, looks at every socket (`selected.rs`).

use std::rc::Rc;

use super::core::Io;
use super::selected::Selection;
use crate::base::id::ConnId;
use crate::service::{Ctx, Kind};
use crate::socketio::packet::{Body, Packet};
use crate::socketio::{Args, Event, Sid, bridge};

/// A namespace with everybody in it, at one moment: the `io` of npm's server.
///
/// Handlers of a socket get it by [`Socket::io`](super::Socket::io), those of the server's own clock
/// ([`Io::every`], [`Io::after`]) are given it.
pub struct Everybody<'s, 'c> {
    io: &'s mut Io,
    ctx: &'s mut Ctx<'c>,
    /// `None`: one that is not served, in which nobody is.
    namespace: Option<usize>,
}

/// Whom an event goes to: everybody in the namespace, until [`to`](Self::to) names rooms.
pub struct Broadcast<'s, 'c> {
    everybody: Everybody<'s, 'c>,
    /// A socket that does not hear it.
    skipped: Option<usize>,
    rooms: Vec<Rc<str>>,
    except: Vec<Rc<str>>,
}

impl<'s, 'c> Everybody<'s, 'c> {
    pub(super) const fn new(io: &'s mut Io, ctx: &'s mut Ctx<'c>, namespace: Option<usize>) -> Self {
        Self { io, ctx, namespace }
    }

    /// Sends everybody an event. One with a [reserved](crate::socketio::packet::RESERVED) name is not sent.
    pub fn emit(&mut self, name: &str, args: impl Into<Args>) {
        self.but(None).emit(name, args);
    }

    /// Only those in this room.
    #[must_use]
    pub fn to(&mut self, room: &str) -> Broadcast<'_, 'c> {
        self.but(None).to(room)
    }

    /// Only those who are not in this room.
    #[must_use]
    pub fn except(&mut self, room: &str) -> Broadcast<'_, 'c> {
        self.but(None).except(room)
    }

    /// Everybody in another namespace: nobody, if it is not served.
    #[must_use]
    pub fn of(&mut self, name: &str) -> Everybody<'_, 'c> {
        let namespace = self.io.namespaces.iter().position(|one| &*one.name == name);
        Everybody { io: self.io, ctx: self.ctx, namespace }
    }

    /// How many there are, on all workers.
    #[must_use]
    pub fn present(&self) -> u32 {
        let Some(namespace) = self.namespace else { return 0 };
        self.ctx.present(&self.io.topic_name(namespace, "").0)
    }

    fn but(&mut self, skipped: Option<usize>) -> Broadcast<'_, 'c> {
        let everybody = Everybody { io: self.io, ctx: self.ctx, namespace: self.namespace };
        everybody.into_broadcast(skipped)
    }

    pub(super) const fn into_broadcast(self, skipped: Option<usize>) -> Broadcast<'s, 'c> {
        Broadcast { everybody: self, skipped, rooms: Vec::new(), except: Vec::new() }
    }
}

impl Broadcast<'_, '_> {
    /// Only to those in this room, or in others that are named so.
    #[must_use]
    pub fn to(mut self, room: &str) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// Not to those in this room.
    #[must_use]
    pub fn except(mut self, room: &str) -> Self {
        self.except.push(room.into());
        self
    }

    /// Sends them an event. One with a [reserved](crate::socketio::packet::RESERVED) name is not sent.
    pub fn emit(self, name: &str, args: impl Into<Args>) {
        let Ok(event) = Event::new(name, args.into()) else { return };
        let Self { everybody: Everybody { io, ctx, namespace }, skipped, rooms, except } = self;
        let Some(namespace) = namespace else { return };
        let is_one_room = rooms.len() <= 1 && except.is_empty();
        let room = rooms.first().map_or("", |room| room);
        let own = skipped.map_or(ConnId::NONE, |index| io.own(index, room));
        if is_one_room && io.namespaces[namespace].is_bridge && !room.is_empty() {
            let (name, _) = io.topic_name(namespace, room);
            return match bridge::message(&event) {
                Ok(text) => ctx.publish_together(&name, &[(Kind::Text, text.as_bytes())], own),
                Err(bytes) => ctx.publish_together(&name, &[(Kind::Binary, &bytes)], own),
            };
        }
        let packet = Packet::new(Rc::clone(&io.namespaces[namespace].name), Body::Event(event));
        let frames = packet.frames();
        // A room that is called like a socket has only that in it.
        if is_one_room && Sid::read(room).is_none() {
            let (name, _) = io.topic_name(namespace, room);
            return Io::publish(ctx, &name, &frames, own);
        }
        io.publish_selected(ctx, &Selection { namespace, rooms, except }, skipped, &frames);
    }
}
