//! One Engine.IO session: polling, its upgrade, its heartbeat and its end.
//!
//! A session is a channel that outlives connections: GETs and POSTs come and go, a WebSocket takes over. The server
//! tells it what happened to which connection and when; it appends to a list what is to be done ([`Action`]). Whether a
//! deadline has passed is looked at with every request, and in [`tick`](Session::tick), so that a timer that is late lets
//! nobody live longer.
//!
//! ```text
//!             GET waits │ POST comes │ WebSocket probes          one WebSocket
//!   Polling ─────────────────────────────────────────── "5" ──▶ WebSocket ──▶ Ended
//!      └────────────────── 2nd GET, 2nd POST, GET gone, parse error, close, ping timeout ──▶ Ended
//! ```
//!
//! Invariants: while a GET waits, nothing is queued; a message goes out exactly once and in order, by whatever
//! transport, or the session ends; after [`Action::End`] nothing comes but refusals. Source: "Engine.IO protocol",
//! revision 4; where it is silent, npm's `engine.io` 6.

use super::action::{Action, Answer, Reason};
use super::engine::{Config, Frame, PacketType, Sid};
use super::queue::Queue;
use super::request::{Refusal, Transport};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use std::fmt;
use std::mem;
use std::rc::Rc;

mod incoming;

pub use super::queue::ENTRY_BYTES;
pub use incoming::{Incoming, Post};

/// The state of one session.
#[derive(Debug)]
pub struct Session {
    sid: Sid,
    config: Rc<Config>,
    link: Link,
    heartbeat: Heartbeat,
    queue: Queue,
    /// Until when a closing session waits for the GET that it can say so to.
    closing: Option<Nanos>,
}

/// How the client is reached.
#[derive(Debug)]
enum Link {
    Polling(Polling),
    WebSocket(ConnId),
    Ended,
}

/// The connections of a session that polls.
#[derive(Debug, Default)]
struct Polling {
    /// The GET that waits.
    parked: Option<ConnId>,
    /// The POST whose body is coming or being read.
    posting: Option<ConnId>,
    /// The WebSocket that would take over.
    probe: Option<Probe>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    conn: ConnId,
    /// Until when it must be done.
    until: Nanos,
    /// Whether it has sent `2probe`: from then on GETs do not wait.
    heard: bool,
}

#[derive(Clone, Copy, Debug)]
enum Heartbeat {
    /// The next ping is sent at this time.
    Quiet(Nanos),
    /// A ping was sent; the pong must be here by this time.
    Asked(Nanos),
}

/// Why something was not sent. Nothing of it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsent {
    /// The session has ended or is about to.
    Closed,
    /// More would wait for the next GET than [`Config::queue_max`].
    Full,
    /// A text with U+001E in it, which separates packets while a client polls.
    Separator,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the session has ended",
            Self::Full => "too much waits for the client's next GET",
            Self::Separator => "text for a polling client must not hold U+001E",
        })
    }
}

impl std::error::Error for Unsent {}

impl Session {
    /// Opens a session by the GET of `from`, which is answered at once. `first_ping` is when the first ping is due, in
    /// nanoseconds from `now`: at most the interval; earlier ones spread the pings of a crowd.
    pub fn open_polling(
        (sid, config): (Sid, Rc<Config>),
        from: ConnId,
        now: Nanos,
        first_ping: Nanos,
        out: &mut Vec<Action>,
    ) -> Self {
        let mut payload = String::new();
        Frame::open(&sid, &["websocket"], &config).append_to(&mut payload);
        out.push(Action::Answer { to: from, answer: Answer::Packets(payload) });
        Self::new(sid, config, Link::Polling(Polling::default()), now, first_ping)
    }

    /// Opens a session on the WebSocket `from`. See [`open_polling`](Self::open_polling).
    pub fn open_websocket(
        (sid, config): (Sid, Rc<Config>),
        from: ConnId,
        now: Nanos,
        first_ping: Nanos,
        out: &mut Vec<Action>,
    ) -> Self {
        out.push(Action::Send { to: from, frame: Frame::open(&sid, &[], &config) });
        Self::new(sid, config, Link::WebSocket(from), now, first_ping)
    }

    fn new(sid: Sid, config: Rc<Config>, link: Link, now: Nanos, first_ping: Nanos) -> Self {
        let heartbeat = Heartbeat::Quiet(now + first_ping.min(config.ping_interval));
        Self { sid, config, link, heartbeat, queue: Queue::default(), closing: None }
    }

    /// Its name.
    #[must_use]
    pub const fn sid(&self) -> &Sid {
        &self.sid
    }

    /// By which transport it goes; `None` when it has ended.
    #[must_use]
    pub const fn transport(&self) -> Option<Transport> {
        match self.link {
            Link::Polling(_) => Some(Transport::Polling),
            Link::WebSocket(_) => Some(Transport::WebSocket),
            Link::Ended => None,
        }
    }

    /// The WebSocket on which messages may be sent past the session, since none waits before them.
    #[must_use]
    pub const fn direct(&self) -> Option<ConnId> {
        match self.link {
            Link::WebSocket(conn) => Some(conn),
            Link::Polling(_) | Link::Ended => None,
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self.link, Link::Ended)
    }

    /// Packets that wait for the next GET; after the end, those that were lost.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// When [`tick`](Self::tick) has something to do, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        let probe = match &self.link {
            Link::Ended => return None,
            Link::Polling(polling) => polling.probe.map(|probe| probe.until),
            Link::WebSocket(_) => None,
        };
        let heartbeat = match self.heartbeat {
            Heartbeat::Quiet(at) | Heartbeat::Asked(at) => at,
        };
        let life = self.closing.unwrap_or(heartbeat);
        Some(probe.map_or(life, |until| until.min(life)))
    }

    /// Does what is due: a ping, the end of a client that did not answer one, of an upgrade, of a farewell.
    pub fn tick(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if let Link::Polling(polling) = &mut self.link
            && let Some(probe) = polling.probe.take_if(|probe| probe.until <= now)
        {
            out.push(Action::CloseWebSocket { to: probe.conn });
        }
        if let Some(until) = self.closing {
            if until <= now {
                self.end(Reason::ForcedClose, PacketType::Close, out);
            }
            return;
        }
        if let Heartbeat::Quiet(at) = self.heartbeat
            && at <= now
        {
            self.heartbeat = Heartbeat::Asked(self.ping_sent(at, now) + self.config.ping_timeout);
            self.queue.push(Frame::packet(PacketType::Ping, ""));
            self.flush(out);
        }
        if let Heartbeat::Asked(until) = self.heartbeat
            && until <= now
        {
            self.end(Reason::PingTimeout, PacketType::Close, out);
        }
    }

    /// From when on a ping that was due at `at` may be answered. One that could have left but for our being late counts
    /// from now; a client that has no GET waiting misses it by itself.
    const fn ping_sent(&self, at: Nanos, now: Nanos) -> Nanos {
        match &self.link {
            Link::Polling(Polling { parked: None, .. }) | Link::Ended => at,
            Link::Polling(Polling { parked: Some(_), .. }) | Link::WebSocket(_) => now,
        }
    }

    /// Sends these, one behind the other and nothing between; all of them or none.
    ///
    /// # Errors
    /// Why they were not sent.
    pub fn send(&mut self, frames: &[Frame], out: &mut Vec<Action>) -> Result<(), Unsent> {
        match &self.link {
            Link::Ended => return Err(Unsent::Closed),
            Link::Polling(_) | Link::WebSocket(_) if self.closing.is_some() => return Err(Unsent::Closed),
            Link::WebSocket(to) => {
                out.extend(frames.iter().map(|frame| Action::Send { to: *to, frame: frame.clone() }));
                return Ok(());
            }
            Link::Polling(_) => {}
        }
        if !frames.iter().all(Frame::fits_payload) {
            return Err(Unsent::Separator);
        }
        if !self.queue.has_room_for(frames, self.config.queue_max) {
            return Err(Unsent::Full);
        }
        frames.iter().for_each(|frame| self.queue.push(frame.clone()));
        self.flush(out);
        Ok(())
    }

    /// Ends the session when what waits has been fetched: with a WebSocket at once, else with the next GET, or after
    /// [`Config::close_timeout`]. Nothing more is heard or sent.
    pub fn close(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if self.closing.is_none() && !self.is_over() {
            self.closing = Some(now + self.config.close_timeout);
            self.flush(out);
        }
    }

    /// Sends what waits, if there is a way, and what ends a GET that must not wait.
    fn flush(&mut self, out: &mut Vec<Action>) {
        let is_closing = self.closing.is_some();
        match &mut self.link {
            Link::WebSocket(to) => {
                let to = *to;
                while let Some(frame) = self.queue.pop() {
                    out.push(Action::Send { to, frame });
                }
                if is_closing {
                    self.end(Reason::ForcedClose, PacketType::Close, out);
                }
            }
            Link::Polling(polling) => {
                let is_probed = polling.probe.is_some_and(|probe| probe.heard);
                if self.queue.is_empty() && !is_closing && !is_probed {
                    return;
                }
                let Some(to) = polling.parked.take() else { return };
                let mut payload = self.queue.take_payload(self.config.max_payload);
                let is_farewell = is_closing && self.queue.is_empty();
                if is_farewell {
                    Frame::packet(PacketType::Close, "").append_to(&mut payload);
                } else if payload.is_empty() {
                    Frame::packet(PacketType::Noop, "").append_to(&mut payload);
                }
                out.push(Action::Answer { to, answer: Answer::Packets(payload) });
                if is_farewell {
                    self.end(Reason::ForcedClose, PacketType::Close, out);
                }
            }
            Link::Ended => {}
        }
    }

    /// Ends the session now; a GET that waits is answered with `farewell`.
    fn end(&mut self, why: Reason, farewell: PacketType, out: &mut Vec<Action>) {
        match mem::replace(&mut self.link, Link::Ended) {
            Link::Ended => return,
            Link::WebSocket(to) => out.push(Action::CloseWebSocket { to }),
            Link::Polling(Polling { parked, posting, probe }) => {
                Self::let_go((parked, posting), farewell, out);
                out.extend(probe.map(|probe| Action::CloseWebSocket { to: probe.conn }));
            }
        }
        out.push(Action::End(why));
    }

    /// Answers what HTTP requests there are: the GET with this packet, the POST with a refusal.
    fn let_go(
        (parked, posting): (Option<ConnId>, Option<ConnId>),
        packet: PacketType,
        out: &mut Vec<Action>,
    ) {
        let mut payload = String::new();
        Frame::packet(packet, "").append_to(&mut payload);
        out.extend(parked.map(|to| Action::Answer { to, answer: Answer::Packets(payload) }));
        let refused = Answer::Refused(Refusal::BadRequest);
        out.extend(posting.map(|to| Action::Answer { to, answer: refused }));
    }
}
