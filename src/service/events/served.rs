//! The Socket.IO server as a service: what peers and HTTP requests bring, handed to sessions.
//!
//! Paths are `/socket.io/`, and `/engine.io/` for bare Engine.IO, which sends every message back.
//!
//! Invariant: a connection is known to at most one session, from the request that named it until it is answered or gone.

use std::borrow::Cow;
use std::rc::Rc;

use super::core::{Counts, Io};
use crate::base::tick::Nanos;
use crate::service::{
    Admission, Asked, Await, Ctx, Departure, Figure, Kind, Overheard, Request, Service, Verb,
};
use crate::socketio::request::Method;
use crate::socketio::session::Incoming;
use crate::socketio::{Query, Refusal, Session, Transport, request};

/// The path of Socket.IO.
pub const SOCKET_IO: &str = "socket.io";
/// The path of bare Engine.IO.
pub const ENGINE_IO: &str = "engine.io";

/// A tag says whether the messages of a session come back.
const BARE: u8 = 1;

impl Service for Io {
    fn admit(&self, request: &Request<'_>) -> Admission<'_> {
        if !self.answers(request.path) {
            return Admission::NotFound;
        }
        match self.judge(request, Method::Get, true) {
            Ok(_) => Admission::Uncompressed { tag: u8::from(is_bare(request.path)) },
            Err(refusal) => Admission::Json(refusal.body()),
        }
    }

    fn opened(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>) {
        self.at(ctx.now());
        let (id, now) = (ctx.id(), ctx.now());
        let mut actions = Vec::new();
        let query = Query::read(pairs(request));
        let key = match query.judge(Method::Get, true, |sid| self.transport_of(sid)) {
            Ok(request::Request::Upgrade(sid)) => {
                let Some(key) = self.find(sid) else { return ctx.end(id) };
                self.peers[key].session.upgrade(id, now, &mut actions);
                key
            }
            Ok(_) | Err(_) => {
                let (sid, first) = self.draw_session();
                let config = Rc::clone(&self.config);
                let session = Session::open_websocket((sid, config), id, now, first, &mut actions);
                self.insert(session, ctx.tag() & BARE != 0, now)
            }
        };
        self.by_conn.insert(id, key);
        self.perform(ctx, key, actions);
    }

    fn message(&mut self, ctx: &mut Ctx<'_>, kind: Kind, payload: &[u8]) {
        self.at(ctx.now());
        let Some(&key) = self.by_conn.get(&ctx.id()) else { return };
        let incoming = match (kind, std::str::from_utf8(payload)) {
            (Kind::Text, Ok(text)) => Incoming::Text(text),
            (Kind::Text | Kind::Binary, _) => Incoming::Binary(payload),
        };
        self.frame(ctx, key, incoming);
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, _: Departure) {
        self.hung_up(ctx);
    }

    fn next_due(&self) -> Option<Nanos> {
        Self::next_due(self)
    }

    fn due(&mut self, ctx: &mut Ctx<'_>) {
        self.at(ctx.now());
        Self::due(self, ctx);
    }

    fn answers(&self, path: &[Cow<'_, str>]) -> bool {
        matches!(path, [name] if name == SOCKET_IO || name == ENGINE_IO)
    }

    fn asked(&mut self, ctx: &mut Ctx<'_>, asked: &Asked<'_>) -> Await {
        self.at(ctx.now());
        let (id, now) = (ctx.id(), ctx.now());
        let method = match asked.verb {
            Verb::Get => Method::Get,
            Verb::Post => Method::Post,
            Verb::Other => Method::Other,
        };
        let query = Query::read(pairs(&asked.request));
        let wanted = self.judge_polling(query.judge(method, false, |sid| self.transport_of(sid)));
        let mut actions = Vec::new();
        let (key, wanted) = match wanted {
            Err(refusal) => {
                ctx.answer(id, 400, "application/json", refusal.body().into_bytes());
                return Await::Answer;
            }
            Ok(request::Request::Open(_)) => {
                let (sid, first) = self.draw_session();
                self.counts.polled += 1;
                let config = Rc::clone(&self.config);
                let session = Session::open_polling((sid, config), id, now, first, &mut actions);
                (self.insert(session, is_bare(asked.request.path), now), Await::Answer)
            }
            Ok(request::Request::Poll(sid) | request::Request::Upgrade(sid)) => {
                let Some(key) = self.find(sid) else { return Await::Answer };
                self.by_conn.insert(id, key);
                self.peers[key].session.poll(id, now, &mut actions);
                (key, Await::Answer)
            }
            Ok(request::Request::Post(sid)) => {
                let Some(key) = self.find(sid) else { return Await::Answer };
                self.by_conn.insert(id, key);
                let about = (asked.announced, asked.is_binary);
                let is_wanted = self.peers[key].session.post_began(id, about, now, &mut actions);
                let body_max = self.config.max_payload as u64;
                (key, if is_wanted { Await::Body(body_max) } else { Await::Answer })
            }
        };
        self.perform(ctx, key, actions);
        wanted
    }

    fn body(&mut self, ctx: &mut Ctx<'_>, body: &[u8]) {
        self.at(ctx.now());
        let (id, now) = (ctx.id(), ctx.now());
        let peer = self.by_conn.get(&id).and_then(|key| Some((*key, self.peers.get_mut(*key)?)));
        let Some((key, peer)) = peer else {
            let refusal = Refusal::SessionUnknown;
            return ctx.answer(id, 400, "application/json", refusal.body().into_bytes());
        };
        let mut actions = Vec::new();
        let mut post = peer.session.post(id, body, now, &mut actions);
        self.perform(ctx, key, actions);
        loop {
            let mut actions = Vec::new();
            let Some(peer) = self.peers.get_mut(key) else { return };
            let message = peer.session.next_message(&mut post, now, &mut actions);
            self.perform(ctx, key, actions);
            match message {
                Some(message) => self.hear(ctx, key, message),
                None => return,
            }
        }
    }

    fn hung_up(&mut self, ctx: &mut Ctx<'_>) {
        self.at(ctx.now());
        let Some(key) = self.by_conn.remove(&ctx.id()) else { return };
        let Some(peer) = self.peers.get_mut(key) else { return };
        let mut actions = Vec::new();
        peer.session.gone(ctx.id(), &mut actions);
        self.perform(ctx, key, actions);
    }

    fn overheard(&mut self, ctx: &mut Ctx<'_>, news: &Overheard) {
        self.at(ctx.now());
        self.overhear(ctx, news);
    }

    fn selected(&mut self, ctx: &mut Ctx<'_>, told: &[u8]) {
        self.at(ctx.now());
        self.heard_selected(ctx, told);
    }

    fn message_max(&self, _: u8) -> Option<u64> {
        // As long on a WebSocket as in a POST: a client must not notice by which it goes.
        Some(self.config.max_payload as u64)
    }

    fn figures(&self) -> Vec<Figure> {
        let Counts { opened, polled, upgraded, faults, full, crowded } = self.counts;
        let total = |name, help, value| Figure { name, help, value, is_total: true };
        vec![
            Figure {
                name: "socketio_sessions",
                help: "Socket.IO and Engine.IO sessions that are open.",
                value: self.sessions() as u64,
                is_total: false,
            },
            total("socketio_opened_total", "Sessions that were opened.", opened),
            total("socketio_polled_total", "Sessions that were opened by polling.", polled),
            total("socketio_upgraded_total", "Sessions that went over to a WebSocket.", upgraded),
            total("socketio_faults_total", "Clients that broke the protocol.", faults),
            total("socketio_full_total", "Sessions ended: too much waited for their next request.", full),
            total("socketio_crowded_total", "Sessions refused: too many poll.", crowded),
        ]
    }

    fn channel_topic(&self, channel: &str) -> Option<String> {
        super::rooms::channel_topic(channel)
    }
}

impl Io {
    fn judge(&self, request: &Request<'_>, method: Method, upgrade: bool) -> Result<(), Refusal> {
        Query::read(pairs(request)).judge(method, upgrade, |sid| self.transport_of(sid)).map(drop)
    }

    /// Refuses what can be had elsewhere, but not here and now.
    fn judge_polling<'q>(
        &mut self,
        wanted: Result<request::Request<'q>, Refusal>,
    ) -> Result<request::Request<'q>, Refusal> {
        let is_opening = matches!(wanted, Ok(request::Request::Open(_)));
        if is_opening && !self.may_poll {
            return Err(Refusal::TransportUnknown);
        }
        if is_opening && self.peers.len() >= self.polling_max + self.by_conn.len() {
            self.counts.crowded += 1;
            return Err(Refusal::BadRequest);
        }
        wanted
    }

    /// A name for a session, and when its first ping is due: spread, so that a crowd is not pinged at once.
    fn draw_session(&mut self) -> (crate::socketio::Sid, Nanos) {
        let (sid, spread) = (self.new_sid(), self.new_sid().bytes());
        let random = u64::from(u16::from_le_bytes([spread[0], spread[1]]));
        let interval = self.config.ping_interval;
        (sid, interval - interval / 4 * random / 65_536)
    }

    fn find(&self, sid: &str) -> Option<usize> {
        self.by_sid.get(&crate::socketio::Sid::read(sid)?).copied()
    }

    fn transport_of(&self, sid: &str) -> Option<Transport> {
        self.peers.get(self.find(sid)?)?.session.transport()
    }
}

fn is_bare(path: &[Cow<'_, str>]) -> bool {
    path.first().is_some_and(|name| name == ENGINE_IO)
}

fn pairs<'a>(request: &'a Request<'_>) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    request.params.iter().map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(&**value)))
}
