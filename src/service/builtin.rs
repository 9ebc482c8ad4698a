//! The services of the binary, chosen by the request path.
//!
//! Dispatch is a `match` on one byte that was set at the handshake, so the compiler inlines the echo and the
//! broadcast into the receiving loop; there is no `dyn` on the way of a message.
//!
//! Invariant: the upper half of a tag is the service, the lower half belongs to it.

use std::borrow::Cow;

use super::broadcast;
use super::chat::Chat;
use super::dashboard::Dashboard;
use super::echo::Echo;
use super::events::{EngineConfig, Io};
use super::presence::Presence;
use super::tick::{Ticks, Wanted};
use super::{Admission, Asked, Await, Ctx, Departure, Figure, Kind, Overheard, Request, Service};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::hub::framed;

const ECHO: u8 = 0x00;
const BROADCAST: u8 = 0x10;
const CHAT: u8 = 0x20;
const TICK: u8 = 0x30;
const IO: u8 = 0x40;
const DASHBOARD: u8 = 0x50;

/// What is served at `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultService {
    /// As `/broadcast`.
    #[default]
    Broadcast,
    /// As `/echo`.
    Echo,
    /// As `/chat`.
    Chat,
}

impl DefaultService {
    /// Its name, which is its path and its flag.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Echo => "echo",
            Self::Chat => "chat",
        }
    }
}

/// Echo, broadcast, chat, ticks, Socket.IO and the dashboard behind one interface.
#[derive(Debug)]
pub struct Builtin {
    default: DefaultService,
    /// Subprotocols that every service agrees to, beside the one of its own name.
    protocols: Vec<String>,
    echo: Echo,
    chat: Chat,
    ticks: Ticks,
    presence: Presence,
    dashboard: Dashboard,
    io: Io,
}

impl Default for Builtin {
    fn default() -> Self {
        Self::new(DefaultService::default(), Vec::new())
    }
}

impl Builtin {
    /// With this service at `/`, and `protocols` agreed to wherever a peer offers one.
    #[must_use]
    pub fn new(default: DefaultService, protocols: Vec<String>) -> Self {
        Self {
            default,
            protocols,
            echo: Echo::default(),
            chat: Chat::default(),
            ticks: Ticks::default(),
            presence: Presence::default(),
            dashboard: Dashboard::default(),
            io: Io::new().with_words(),
        }
    }

    /// As worker `index` of `count`: their chats must not call two people the same, and a Socket.IO client that polls would
    /// find another worker with its next request.
    #[must_use]
    pub fn numbered(self, index: u32, count: u32) -> Self {
        Self { chat: Chat::numbered(index, count), io: self.io.with_polling(count == 1), ..self }
    }

    /// With these times and sizes of Engine.IO.
    #[must_use]
    pub fn with_engine(self, config: EngineConfig) -> Self {
        Self { io: self.io.with_config(config), ..self }
    }

    /// With names of Socket.IO sessions made from what `draw` returns, instead of the system's random numbers.
    #[must_use]
    pub fn with_names(self, draw: impl FnMut() -> [u8; 15] + 'static) -> Self {
        Self { io: self.io.named_by(draw), ..self }
    }

    /// The service, and the part of the tag that is its own, for a request.
    fn choose(&self, request: &Request<'_>) -> Result<(u8, &'static str), Admission<'static>> {
        let root = request.path.first().map_or(self.default.name(), |name| name);
        let depth = request.path.len();
        match root {
            "echo" if depth <= 1 => {
                let has_prefix = request.param(Echo::PREFIX).is_some();
                Ok((ECHO | u8::from(has_prefix), "echo"))
            }
            "broadcast" if depth <= 2 => {
                if !broadcast::is_name(broadcast::channel(request)) {
                    return Err(Admission::Malformed(name_wanted("channel")));
                }
                broadcast::since(request)?;
                broadcast::role(request).map(|role| (BROADCAST | role as u8, "broadcast"))
            }
            "chat" if depth <= 2 => {
                if request.path.get(1).is_some_and(|room| !broadcast::is_name(room)) {
                    return Err(Admission::Malformed(name_wanted("room")));
                }
                Chat::check(request).map(|()| (CHAT, "chat"))
            }
            "dashboard" if depth <= 1 => self.dashboard.check().map(|()| (DASHBOARD, "dashboard")),
            "tick" if depth <= 2 => match Wanted::read(request)? {
                wanted if self.ticks.has_room(wanted) => Ok((TICK, "tick")),
                _ => Err(Admission::Malformed(
                    "too many different ticks at once; join one that runs".to_owned(),
                )),
            },
            _ => Err(Admission::NotFound),
        }
    }
}

fn name_wanted(what: &str) -> String {
    format!("a {what} has a name of 1 to {} bytes without control characters", broadcast::NAME_MAX)
}

impl Service for Builtin {
    fn admit(&self, request: &Request<'_>) -> Admission<'_> {
        if self.io.answers(request.path) {
            let mut admission = self.io.admit(request);
            if let Admission::Uncompressed { tag } = &mut admission {
                *tag |= IO;
            }
            return admission;
        }
        match self.choose(request) {
            Ok((tag, own)) => {
                let is_broadcast = tag & 0xf0 == BROADCAST;
                let chosen = request.protocols.iter().find_map(|theirs| {
                    let ours = self.protocols.iter().find(|ours| ours == theirs).map(String::as_str);
                    let framed = (is_broadcast && *theirs == framed::PROTOCOL).then_some(framed::PROTOCOL);
                    ours.or((*theirs == own).then_some(own)).or(framed)
                });
                let is_framed = is_broadcast && chosen == Some(framed::PROTOCOL);
                let tag = if is_framed { tag | broadcast::FRAMED } else { tag };
                Admission::Accept { tag, protocol: chosen }
            }
            Err(refused) => refused,
        }
    }

    fn opened(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>) {
        match ctx.tag() & 0xf0 {
            ECHO => self.echo.opened(ctx, request),
            BROADCAST => {
                broadcast::opened(ctx, request);
                let is_framed = broadcast::is_framed(ctx.tag());
                self.presence.opened(ctx, broadcast::channel(request), is_framed);
            }
            CHAT => self.chat.opened(ctx, request),
            IO => self.io.opened(ctx, request),
            DASHBOARD => self.dashboard.opened(ctx),
            _ => {
                if let Ok(wanted) = Wanted::read(request) {
                    self.ticks.opened(ctx, wanted);
                }
            }
        }
    }

    #[inline]
    fn message(&mut self, ctx: &mut Ctx<'_>, kind: Kind, payload: &[u8]) {
        let own = ctx.tag() & 0x0f;
        match ctx.tag() & 0xf0 {
            ECHO => self.echo.message(ctx, own != 0, kind, payload),
            BROADCAST => broadcast::message(ctx, own, kind, payload),
            CHAT => self.chat.message(ctx, kind, payload),
            IO => self.io.message(ctx, kind, payload),
            DASHBOARD => Dashboard::message(ctx),
            _ => Ticks::message(ctx),
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, why: Departure) {
        match ctx.tag() & 0xf0 {
            ECHO => self.echo.closed(ctx),
            BROADCAST => {
                let topic = ctx.topic().map(|topic| ctx.name(topic));
                if let Some(channel) = topic.and_then(broadcast::channel_of) {
                    self.presence.closed(ctx, channel, broadcast::is_framed(ctx.tag()));
                }
            }
            CHAT => self.chat.closed(ctx),
            IO => self.io.closed(ctx, why),
            DASHBOARD => self.dashboard.closed(ctx),
            _ => self.ticks.closed(ctx),
        }
    }

    fn next_due(&self) -> Option<Nanos> {
        let own = [self.ticks.next_due(), self.presence.next_due(), Service::next_due(&self.io)];
        own.into_iter().flatten().min()
    }

    fn answers(&self, path: &[Cow<'_, str>]) -> bool {
        self.io.answers(path)
    }

    fn asked(&mut self, ctx: &mut Ctx<'_>, asked: &Asked<'_>) -> Await {
        self.io.asked(ctx, asked)
    }

    fn body(&mut self, ctx: &mut Ctx<'_>, body: &[u8]) {
        self.io.body(ctx, body);
    }

    fn hung_up(&mut self, ctx: &mut Ctx<'_>) {
        self.io.hung_up(ctx);
    }

    fn overheard(&mut self, ctx: &mut Ctx<'_>, news: &Overheard) {
        self.io.overheard(ctx, news);
    }

    fn due(&mut self, ctx: &mut Ctx<'_>) {
        Service::due(&mut self.io, ctx);
        self.presence.due(ctx, broadcast::topic);
        if self.ticks.next_due().is_some_and(|at| at <= ctx.now()) {
            self.ticks.due(ctx);
        }
    }

    #[inline]
    fn watchers(&self) -> &[ConnId] {
        self.dashboard.watchers()
    }

    fn sibling_came(&mut self, ctx: &mut Ctx<'_>, _: u32) {
        self.chat.sibling_came(ctx);
    }

    fn heard(&mut self, ctx: &mut Ctx<'_>, sibling: u32, news: &[u8]) {
        self.chat.heard(ctx, sibling, news);
    }

    fn selected(&mut self, ctx: &mut Ctx<'_>, told: &[u8]) {
        self.io.selected(ctx, told);
    }

    fn sibling_gone(&mut self, ctx: &mut Ctx<'_>, sibling: u32) {
        self.chat.sibling_gone(ctx, sibling);
    }

    #[inline]
    fn message_max(&self, tag: u8) -> Option<u64> {
        if tag & 0xf0 == IO { self.io.message_max(tag) } else { None }
    }

    fn figures(&self) -> Vec<Figure> {
        self.io.figures()
    }

    fn channel_topic(&self, channel: &str) -> Option<String> {
        broadcast::is_name(channel).then(|| broadcast::topic(channel))
    }

    fn topic_channel<'t>(&self, topic: &'t str) -> Option<&'t str> {
        broadcast::channel_of(topic)
    }
}
