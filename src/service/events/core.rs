//! The sessions of a Socket.IO server, their clients and sockets, and what becomes of what they hear.
//!
//! A *peer* is one Engine.IO session with the Socket.IO client upon it; a *socket* is its presence in one namespace. The state
//! machines say what is to be done as a list of [`Action`]s; `Io::perform` does it. Handlers are called while nothing is
//! borrowed but the whole, so that they may do anything.
//!
//! Invariants: a peer has one deadline in the wheel; `by_conn` names the connections that a session knows, and no others;
//! after [`Action::End`] nothing of a peer is left.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};
use slab::Slab;

use super::clock::Clock;
use super::everybody::Everybody;
use super::rooms::{Membership, Rooms};
use super::socket::{Ack, Socket};
use super::{Namespace, OnAny, OnDisconnect, OnEvent};
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos, Tick};
use crate::service::{Ctx, Kind};
use crate::socketio::client::{Fault, Limits};
use crate::socketio::engine::{Config, Message};
use crate::socketio::session::{Incoming, Unsent};
use crate::socketio::{Action, Client, Event, Frame, Heard, Session, Sid};

/// A Socket.IO server, as a service.
pub struct Io {
    pub(super) config: Rc<Config>,
    pub(super) limits: Limits,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) peers: Slab<Peer>,
    pub(super) by_conn: HashMap<ConnId, usize>,
    pub(super) by_sid: HashMap<Sid, usize>,
    pub(super) sockets: Slab<State>,
    pub(super) rooms: Rooms,
    /// Whether clients may poll: all their requests must come to one worker.
    pub(super) may_poll: bool,
    /// Sessions at most that poll: they hold no connection that would bound them.
    pub(super) polling_max: usize,
    pub(super) counts: Counts,
    draw: Box<dyn FnMut() -> [u8; 15]>,
    pub(super) clock: Clock,
    pub(super) serial: u32,
    pub(super) now: Nanos,
}

/// What happened, for `/metrics`.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Sessions that were opened.
    pub opened: u64,
    /// Sessions that were opened by polling.
    pub polled: u64,
    /// Sessions that went over to a WebSocket.
    pub upgraded: u64,
    /// Clients that broke the protocol.
    pub faults: u64,
    /// Sessions that were ended because too much waited for their next request.
    pub full: u64,
    /// Requests that were refused because too many sessions poll.
    pub crowded: u64,
}

/// A session and its client.
pub(super) struct Peer {
    pub(super) session: Session,
    /// `None`: bare Engine.IO, whose messages come back.
    pub(super) client: Option<Client>,
    /// In the order in which it entered their namespaces.
    pub(super) sockets: Vec<usize>,
    /// By which connection its sockets stand in topics; without one they are absent.
    pub(super) stands_as: Option<ConnId>,
    /// What it is called where it must not hear itself, while it has no connection.
    pub(super) alias: ConnId,
    pub(super) armed: Option<Tick>,
}

/// A name that stays the name of one socket, however often its place is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketKey {
    pub(super) index: usize,
    serial: u32,
}

/// A client in a namespace.
pub(super) struct State {
    pub(super) peer: usize,
    pub(super) namespace: usize,
    pub(super) sid: Sid,
    pub(super) auth: Map<String, Value>,
    pub(super) serial: u32,
    pub(super) timers: u32,
    pub(super) memberships: Vec<Membership>,
    pub(super) on: Vec<(Rc<str>, OnEvent)>,
    pub(super) on_any: Option<OnAny>,
    pub(super) on_disconnect: Vec<OnDisconnect>,
    pub(super) state: Option<Box<dyn Any>>,
}

impl Default for Io {
    fn default() -> Self {
        Self::new()
    }
}

impl Io {
    /// A server with nothing but the namespace `/`, in which nothing happens yet.
    ///
    /// # Panics
    /// If the system has no random numbers.
    #[must_use]
    pub fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        Self::with_names(move || {
            let mut bytes = [0; 15];
            ring::rand::SecureRandom::fill(&random, &mut bytes).expect("the system has random numbers");
            bytes
        })
    }

    /// The same with names made from what `draw` returns, which nobody must be able to guess.
    #[must_use]
    pub fn with_names(draw: impl FnMut() -> [u8; 15] + 'static) -> Self {
        let mut io = Self {
            config: Rc::new(Config::default()),
            limits: Limits::default(),
            namespaces: Vec::new(),
            peers: Slab::new(),
            by_conn: HashMap::new(),
            by_sid: HashMap::new(),
            sockets: Slab::new(),
            rooms: Rooms::default(),
            may_poll: true,
            polling_max: 10_000,
            counts: Counts::default(),
            draw: Box::new(draw),
            clock: Clock::default(),
            serial: 0,
            now: 0,
        };
        io.of("/");
        io
    }

    /// The same with other names, made from what `draw` returns.
    #[must_use]
    pub fn named_by(self, draw: impl FnMut() -> [u8; 15] + 'static) -> Self {
        Self { draw: Box::new(draw), ..self }
    }

    /// With these times and sizes.
    #[must_use]
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = Rc::new(config);
        self
    }

    /// Clients must be in a namespace after this time (45 s unless it is said).
    #[must_use]
    pub fn with_connect_timeout(mut self, time: Duration) -> Self {
        self.limits.connect_timeout = super::nanos(time);
        self
    }

    /// Whether clients may poll. They must not where another worker may get their next request.
    #[must_use]
    pub fn with_polling(self, may_poll: bool) -> Self {
        Self { may_poll, ..self }
    }

    /// The namespace `name`, which begins to exist if it did not.
    pub fn of(&mut self, name: &str) -> &mut Namespace {
        let at = self.namespaces.iter().position(|namespace| &*namespace.name == name);
        let at = at.unwrap_or_else(|| {
            self.namespaces.push(Namespace {
                name: name.into(),
                on_connection: Vec::new(),
                is_bridge: false,
            });
            self.namespaces.len() - 1
        });
        &mut self.namespaces[at]
    }

    /// Has `handler` called for every socket that comes into the namespace `/`.
    pub fn on_connection(&mut self, handler: impl Fn(&mut Socket<'_, '_>) + 'static) {
        self.of("/").on_connection(handler);
    }

    /// Has `then` called `period` (at least a millisecond) after the server began, and then each `period`, in step; what was missed in
    /// a stall is not made up for. Each worker calls it: what is emitted there reaches everybody once for each worker.
    pub fn every(&mut self, period: Duration, then: impl FnMut(&mut Everybody<'_, '_>) + 'static) {
        let period = super::nanos(period).max(MILLI);
        self.clock.add(self.now.saturating_add(period), Some(period), Box::new(then));
    }

    /// Has `then` called once, `time` after the server began; on each worker.
    pub fn after(&mut self, time: Duration, then: impl FnMut(&mut Everybody<'_, '_>) + 'static) {
        self.clock.add(self.now.saturating_add(super::nanos(time)), None, Box::new(then));
    }

    /// Sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn new_sid(&mut self) -> Sid {
        Sid::new((self.draw)())
    }

    /// Takes the time.
    pub(super) fn at(&mut self, now: Nanos) {
        if self.now == 0 {
            self.clock.begin(now);
        }
        self.now = self.now.max(now);
    }

    /// Keeps a session that has just been opened.
    pub(super) fn insert(&mut self, session: Session, is_bare: bool, now: Nanos) -> usize {
        self.serial = self.serial.wrapping_add(1);
        self.counts.opened += 1;
        let client = (!is_bare).then(|| Client::new(now, &self.limits));
        let sid = *session.sid();
        let entry = self.peers.vacant_entry();
        let key = entry.key();
        let alias = ConnId::of_link(key as u32, self.serial);
        let stands_as = session.direct();
        entry.insert(Peer { session, client, sockets: Vec::new(), stands_as, alias, armed: None });
        self.by_sid.insert(sid, key);
        key
    }

    /// Does what a session wants done, and looks when it is next due.
    pub(super) fn perform(&mut self, ctx: &mut Ctx<'_>, key: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Answer { to, answer } => {
                    self.by_conn.remove(&to);
                    let body = answer.body().into_owned().into_bytes();
                    ctx.answer(to, answer.status(), answer.content_type(), body);
                }
                Action::Send { to, frame: Frame::Text(text) } => {
                    ctx.send_in_order(to, Kind::Text, text.as_bytes());
                }
                Action::Send { to, frame: Frame::Binary(bytes) } => {
                    ctx.send_in_order(to, Kind::Binary, &bytes)
                }
                Action::CloseWebSocket { to } => {
                    self.by_conn.remove(&to);
                    ctx.end(to);
                }
                Action::End(reason) => self.end(ctx, key, &reason.to_string()),
            }
        }
        self.arm(key);
    }

    /// Sends frames to one peer, behind everything that it is to hear with others.
    pub(super) fn send(&mut self, ctx: &mut Ctx<'_>, key: usize, frames: &[Frame]) {
        self.catch_up(ctx, key);
        self.put(ctx, key, frames);
    }

    /// Puts frames into the session of a peer.
    pub(super) fn put(&mut self, ctx: &mut Ctx<'_>, key: usize, frames: &[Frame]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let mut actions = Vec::new();
        match peer.session.send(frames, &mut actions) {
            Ok(()) | Err(Unsent::Closed) => {}
            // What a client has not fetched is lost with it, rather than in the middle.
            Err(Unsent::Full | Unsent::Separator) => {
                self.counts.full += 1;
                peer.session.close(self.now, &mut actions);
            }
        }
        self.perform(ctx, key, actions);
    }

    /// A message came on a WebSocket.
    pub(super) fn frame(&mut self, ctx: &mut Ctx<'_>, key: usize, incoming: Incoming<'_>) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(key) else { return };
        let mut actions = Vec::new();
        let was_direct = peer.session.direct().is_some();
        let message = peer.session.frame(ctx.id(), incoming, now, &mut actions);
        let is_direct = peer.session.direct().is_some();
        self.perform(ctx, key, actions);
        if is_direct && !was_direct {
            self.counts.upgraded += 1;
            self.settle(ctx, key);
        }
        if let Some(message) = message {
            self.hear(ctx, key, message);
        }
    }

    /// What a client said.
    pub(super) fn hear(&mut self, ctx: &mut Ctx<'_>, key: usize, message: Message<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(client) = &mut peer.client else {
            let frame = match message {
                Message::Text(text) => Frame::message(text),
                Message::Binary(bytes) => Frame::Binary(bytes.as_ref().into()),
            };
            return self.send(ctx, key, &[frame]);
        };
        match client.receive(message, &self.limits) {
            Heard::Nothing => {}
            Heard::Connect { namespace, auth } => {
                self.connect(ctx, key, &namespace, auth.unwrap_or_default())
            }
            Heard::Refused(frame) => self.send(ctx, key, &[frame]),
            Heard::Event { namespace, event, ack } => {
                let Some(socket) = self.socket_in(key, &namespace) else { return };
                let ack = ack.map(|to| Ack { to, peer: key });
                self.call(ctx, socket, &event, ack);
            }
            Heard::Ack { namespace, id, args } => {
                if let Some(waiting) = self.clock.take(key, namespace, id) {
                    self.answered(ctx, waiting, Ok(&args));
                }
            }
            Heard::Left { namespace } => {
                if let Some(socket) = self.socket_in(key, &namespace) {
                    self.part(ctx, socket, "client namespace disconnect");
                }
            }
            Heard::Fault(fault) => self.fault(ctx, key, fault),
        }
        self.arm(key);
    }

    fn fault(&mut self, ctx: &mut Ctx<'_>, key: usize, fault: Fault) {
        self.counts.faults += 1;
        tracing::debug!(%fault, "a Socket.IO client broke the protocol");
        self.close(ctx, key);
    }

    /// Ends a session when what waits has been fetched.
    pub(super) fn close(&mut self, ctx: &mut Ctx<'_>, key: usize) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let mut actions = Vec::new();
        peer.session.close(self.now, &mut actions);
        self.perform(ctx, key, actions);
    }

    /// Calls whoever listens to an event of a socket.
    fn call(&mut self, ctx: &mut Ctx<'_>, index: usize, event: &Event, ack: Option<Ack>) {
        let Some(state) = self.sockets.get(index) else { return };
        let listening = state.on.iter().filter(|(name, _)| **name == *event.name());
        let handlers: Vec<OnEvent> = listening.map(|(_, handler)| Rc::clone(handler)).collect();
        let mut ack = ack;
        if handlers.is_empty()
            && let Some(handler) = state.on_any.clone()
        {
            return handler(&mut Socket::new(self, ctx, index), event, ack);
        }
        for handler in handlers {
            handler(&mut Socket::new(self, ctx, index), event.args(), ack.take());
        }
    }

    pub(super) fn socket_in(&self, key: usize, namespace: &str) -> Option<usize> {
        let mut sockets = self.peers.get(key)?.sockets.iter().copied();
        sockets.find(|socket| &*self.namespaces[self.sockets[*socket].namespace].name == namespace)
    }

    pub(super) fn key_of(&self, index: usize) -> Option<SocketKey> {
        self.sockets.get(index).map(|state| SocketKey { index, serial: state.serial })
    }

    pub(super) fn is_there(&self, key: SocketKey) -> bool {
        self.sockets.get(key.index).is_some_and(|state| state.serial == key.serial)
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("sessions", &self.peers.len())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
