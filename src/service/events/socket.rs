//! What a handler sees: a socket, and what it can do.
//!
//! The names are those of npm's `socket.io`, so that its users find their way.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::core::Io;
use super::everybody::{Broadcast, Everybody};
use super::{OnAny, OnEvent, nanos};
use crate::service::Ctx;
use crate::socketio::client::AckTo;
use crate::socketio::packet::{Body, Packet};
use crate::socketio::{Args, Event, Sid};

/// A client in a namespace, at one moment.
pub struct Socket<'a, 'c> {
    io: &'a mut Io,
    ctx: &'a mut Ctx<'c>,
    index: usize,
}

/// Answers an event, once.
#[derive(Debug)]
pub struct Ack {
    pub(super) to: AckTo,
    pub(super) peer: usize,
}

/// A client did not answer in time, or could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("operation has timed out")
    }
}

impl std::error::Error for TimedOut {}

/// What is called with the answer to an event.
pub(super) type Answered = Box<dyn FnOnce(&mut Socket<'_, '_>, Result<&Args, TimedOut>)>;

impl<'a, 'c> Socket<'a, 'c> {
    pub(super) const fn new(io: &'a mut Io, ctx: &'a mut Ctx<'c>, index: usize) -> Self {
        Self { io, ctx, index }
    }

    /// Its name, which is also the name of a room that only it is in.
    ///
    /// # Panics
    /// Never while a handler of this socket runs.
    #[must_use]
    pub fn id(&self) -> Sid {
        self.io.sockets[self.index].sid
    }

    /// What its client said to be let in: the `auth` of npm's client, empty if it said nothing.
    ///
    /// # Panics
    /// Never while a handler of this socket runs.
    #[must_use]
    pub fn auth(&self) -> &Map<String, Value> {
        &self.io.sockets[self.index].auth
    }

    /// Has `handler` called for each event called `name`.
    pub fn on(&mut self, name: &str, handler: impl Fn(&mut Socket<'_, '_>, &Args, Option<Ack>) + 'static) {
        let handler: OnEvent = Rc::new(handler);
        if let Some(state) = self.io.sockets.get_mut(self.index) {
            state.on.push((name.into(), handler));
        }
    }

    /// Has `handler` called for every event that no other handler is called for.
    pub fn on_any(&mut self, handler: impl Fn(&mut Socket<'_, '_>, &Event, Option<Ack>) + 'static) {
        let handler: OnAny = Rc::new(handler);
        if let Some(state) = self.io.sockets.get_mut(self.index) {
            state.on_any = Some(handler);
        }
    }

    /// Has `handler` called when it leaves the namespace, with the reason: `client namespace disconnect`, `transport close`,
    /// `ping timeout` …
    pub fn on_disconnect(&mut self, handler: impl Fn(&mut Socket<'_, '_>, &str) + 'static) {
        if let Some(state) = self.io.sockets.get_mut(self.index) {
            state.on_disconnect.push(Rc::new(handler));
        }
    }

    /// Sends it an event. One with a [reserved](crate::socketio::packet::RESERVED) name is not sent.
    pub fn emit(&mut self, name: &str, args: impl Into<Args>) {
        let Ok(event) = Event::new(name, args.into()) else { return };
        let Some(state) = self.io.sockets.get(self.index) else { return };
        let (key, namespace) = (state.peer, Rc::clone(&self.io.namespaces[state.namespace].name));
        let frames = Packet::new(namespace, Body::Event(event)).frames();
        self.io.send(self.ctx, key, &frames);
    }

    /// Sends it an event that wants an answer, and has `then` called with that, or with [`TimedOut`].
    pub fn emit_with_ack(
        &mut self,
        name: &str,
        args: impl Into<Args>,
        time: Duration,
        then: impl FnOnce(&mut Socket<'_, '_>, Result<&Args, TimedOut>) + 'static,
    ) {
        if let Ok(event) = Event::new(name, args.into()) {
            self.io.ask(self.ctx, self.index, event, nanos(time), Box::new(then));
        }
    }

    /// Everybody in the namespace, itself included.
    pub fn io(&mut self) -> Everybody<'_, 'c> {
        let namespace = self.io.sockets.get(self.index).map(|state| state.namespace);
        Everybody::new(self.io, self.ctx, namespace)
    }

    /// Everybody else in the namespace.
    pub fn broadcast(&mut self) -> Broadcast<'_, 'c> {
        let index = self.index;
        self.io().into_broadcast(Some(index))
    }

    /// Everybody else in a room.
    pub fn to(&mut self, room: &str) -> Broadcast<'_, 'c> {
        self.broadcast().to(room)
    }

    /// Puts it into a room. Whether it is in it now: a socket is in 256 rooms at most, whose names have at most 128 bytes.
    pub fn join(&mut self, room: &str) -> bool {
        !room.is_empty() && self.io.join_room(self.ctx, self.index, room)
    }

    /// Takes it out of a room.
    pub fn leave(&mut self, room: &str) {
        if !room.is_empty() {
            self.io.leave_room(self.ctx, self.index, room);
        }
    }

    /// The rooms that it has joined, in no order.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        let memberships = self.io.sockets.get(self.index).into_iter().flat_map(|state| &state.memberships);
        memberships.map(|membership| &*membership.room).filter(|room| !room.is_empty())
    }

    /// What is kept with this socket, of a type of yours; its default at first.
    ///
    /// # Panics
    /// Never while a handler of this socket runs.
    pub fn state<T: Default + 'static>(&mut self) -> &mut T {
        let slot = &mut self.io.sockets[self.index].state;
        if !slot.as_ref().is_some_and(|state| state.is::<T>()) {
            *slot = Some(Box::new(T::default()));
        }
        slot.as_mut().and_then(|state| state.downcast_mut()).expect("it was just put there")
    }

    /// Has `then` called after `time` (at least a millisecond), unless the socket is gone by then.
    pub fn after(&mut self, time: Duration, then: impl FnOnce(&mut Socket<'_, '_>) + 'static) {
        self.io.later(self.index, nanos(time), Box::new(then));
    }

    /// Puts it out of the namespace: `server namespace disconnect`.
    pub fn disconnect(&mut self) {
        let Some(state) = self.io.sockets.get(self.index) else { return };
        let (key, namespace) = (state.peer, Rc::clone(&self.io.namespaces[state.namespace].name));
        let client = self.io.peers.get_mut(key).and_then(|peer| peer.client.as_mut());
        if let Some(frame) = client.and_then(|client| client.disconnect(&namespace)) {
            self.io.send(self.ctx, key, &[frame]);
            self.io.part(self.ctx, self.index, "server namespace disconnect");
        }
    }

    /// Ends the whole session, with all namespaces that its client is in.
    pub fn disconnect_all(&mut self) {
        let Some(key) = self.io.sockets.get(self.index).map(|state| state.peer) else { return };
        let client = self.io.peers.get_mut(key).and_then(|peer| peer.client.as_mut());
        let frames = client.map(crate::socketio::Client::disconnect_all).unwrap_or_default();
        self.io.send(self.ctx, key, &frames);
        self.io.close(self.ctx, key);
    }

    /// Whether its namespace shares its rooms with the broadcast channels.
    pub(super) fn is_bridged(&self) -> bool {
        self.io.sockets.get(self.index).is_some_and(|state| self.io.namespaces[state.namespace].is_bridge)
    }
}

impl Ack {
    /// Sends the answer, unless the client has left the namespace meanwhile.
    pub fn send(self, socket: &mut Socket<'_, '_>, args: impl Into<Args>) {
        let client = socket.io.peers.get(self.peer).and_then(|peer| peer.client.as_ref());
        if let Some(frames) = client.and_then(|client| client.acknowledge(self.to, args.into())) {
            socket.io.send(socket.ctx, self.peer, &frames);
        }
    }
}
