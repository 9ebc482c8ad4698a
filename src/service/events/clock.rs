//! What a Socket.IO server does by the clock: heartbeats and deadlines of sessions, answers that do not come, and what handlers
//! want done later.
//!
//! Invariants: a peer has one live entry in the wheel; whoever waits for an answer is called once, with it or without; nothing is
//! called for a socket that is gone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use super::OnTime;
use super::core::{Io, SocketKey};
use super::everybody::Everybody;
use super::socket::{Answered, Socket, TimedOut};
use crate::base::tick::{MILLI, Nanos, Tick};
use crate::base::wheel::Wheel;
use crate::service::Ctx;
use crate::socketio::client::Expired;
use crate::socketio::{Args, Client, Event};

/// Deadlines looked at in one turn.
const DUE_MAX: usize = 1024;
/// Handlers of the clock that may wait for one socket: a client must not fill our memory by making us remember.
const TIMERS_MAX: u32 = 1024;

/// What is due when.
pub(super) struct Clock {
    waiting: HashMap<(usize, Rc<str>, u64), Waiting>,
    timers: BinaryHeap<Reverse<Timer>>,
    wheel: Wheel,
    number: u32,
}

impl Default for Clock {
    fn default() -> Self {
        Self { waiting: HashMap::new(), timers: BinaryHeap::new(), wheel: Wheel::new(Tick::of(0)), number: 0 }
    }
}

impl Clock {
    /// The server runs, from `now` on: what was to be done some time later is to be done so long after that.
    pub(super) fn begin(&mut self, now: Nanos) {
        self.wheel = Wheel::new(Tick::of(now));
        let timers = std::mem::take(&mut self.timers).into_iter();
        self.timers = timers
            .map(|Reverse(timer)| Reverse(Timer { at: timer.at.saturating_add(now), ..timer }))
            .collect();
    }

    /// Has everybody's `then` called at a time, and then in each `period`.
    pub(super) fn add(&mut self, at: Nanos, period: Option<Nanos>, then: OnTime) {
        self.push(at, Then::Everybody { period, then });
    }

    fn push(&mut self, at: Nanos, then: Then) {
        self.number = self.number.wrapping_add(1);
        self.timers.push(Reverse(Timer { at, number: self.number, then }));
    }

    /// Whoever waits for this answer of a peer.
    pub(super) fn take(&mut self, peer: usize, namespace: Rc<str>, id: u64) -> Option<Waiting> {
        self.waiting.remove(&(peer, namespace, id))
    }

    /// A peer has left a namespace: nobody there waits for its answers any more.
    pub(super) fn forget(&mut self, peer: usize, namespace: &str) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|(of, name, _), _| *of != peer || **name != *namespace);
        }
    }
}

pub(super) struct Waiting {
    socket: SocketKey,
    then: Answered,
}

type Later = Box<dyn FnOnce(&mut Socket<'_, '_>)>;

struct Timer {
    at: Nanos,
    number: u32,
    then: Then,
}

/// What is to be done at a time.
enum Then {
    /// For a socket, if it is still there.
    Socket { socket: SocketKey, then: Later },
    /// For everybody, and again after the period.
    Everybody { period: Option<Nanos>, then: OnTime },
}

impl Io {
    /// Asks a client something, and has `then` called with the answer, or without one.
    pub(super) fn ask(&mut self, ctx: &mut Ctx<'_>, index: usize, event: Event, time: Nanos, then: Answered) {
        let (now, limits) = (self.now, self.limits);
        let Some(socket) = self.key_of(index) else { return };
        let (key, namespace) = (self.sockets[index].peer, self.sockets[index].namespace);
        let namespace = Rc::clone(&self.namespaces[namespace].name);
        let Some(client) = self.peers.get_mut(key).and_then(|peer| peer.client.as_mut()) else { return };
        match client.emit_with_ack(&namespace, event, now.saturating_add(time), &limits) {
            Ok((id, frames)) => {
                self.clock.waiting.insert((key, namespace, id), Waiting { socket, then });
                self.send(ctx, key, &frames);
            }
            Err(_) => self.answered(ctx, Waiting { socket, then }, Err(TimedOut)),
        }
    }

    pub(super) fn answered(&mut self, ctx: &mut Ctx<'_>, waiting: Waiting, answer: Result<&Args, TimedOut>) {
        if self.is_there(waiting.socket) {
            (waiting.then)(&mut Socket::new(self, ctx, waiting.socket.index), answer);
        }
    }

    /// Has `then` called after `time`, a millisecond at least, if the socket is still there: who says it again and again must not
    /// keep the loop.
    pub(super) fn later(&mut self, index: usize, time: Nanos, then: Later) {
        let Some(socket) = self.key_of(index) else { return };
        let state = &mut self.sockets[index];
        if state.timers >= TIMERS_MAX {
            return;
        }
        state.timers += 1;
        self.clock.push(self.now.saturating_add(time.max(MILLI)), Then::Socket { socket, then });
    }

    /// When [`due`](Self::due) has something to do.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        // What is to be done some time after the server's beginning waits for somebody to say when that was.
        if self.now == 0 && !self.clock.timers.is_empty() {
            return Some(0);
        }
        let wheel = self.clock.wheel.next_due().map(|tick| self.now + tick.until(self.now));
        let timer = self.clock.timers.peek().map(|Reverse(timer)| timer.at);
        wheel.into_iter().chain(timer).min()
    }

    /// Does what the clock says.
    pub(super) fn due(&mut self, ctx: &mut Ctx<'_>) {
        let mut due = Vec::new();
        self.clock.wheel.advance(Tick::of(self.now), DUE_MAX, &mut due);
        for (tick, id) in due {
            let key = id.link().map_or(usize::MAX, |slot| slot as usize);
            if let Some(peer) =
                self.peers.get_mut(key).filter(|peer| peer.alias == id && peer.armed == Some(tick))
            {
                peer.armed = None;
                let mut actions = Vec::new();
                peer.session.tick(self.now, &mut actions);
                self.perform(ctx, key, actions);
                self.expire(ctx, key);
            }
        }
        while let Some(Reverse(timer)) = self.clock.timers.peek()
            && timer.at <= self.now
            && let Some(Reverse(timer)) = self.clock.timers.pop()
        {
            match timer.then {
                Then::Socket { socket, then } if self.is_there(socket) => {
                    self.sockets[socket.index].timers -= 1;
                    then(&mut Socket::new(self, ctx, socket.index));
                }
                Then::Socket { .. } => {}
                Then::Everybody { period, mut then } => {
                    then(&mut Everybody::new(self, ctx, Some(0)));
                    if let Some(period) = period {
                        let next = timer.at.saturating_add(period);
                        let next = if next > self.now { next } else { self.now.saturating_add(period) };
                        self.clock.add(next, Some(period), then);
                    }
                }
            }
        }
    }

    /// What a client has not done in time.
    fn expire(&mut self, ctx: &mut Ctx<'_>, key: usize) {
        let now = self.now;
        while let Some(expired) = self
            .peers
            .get_mut(key)
            .and_then(|peer| peer.client.as_mut())
            .and_then(|client| client.expire(now))
        {
            match expired {
                Expired::Connect => self.close(ctx, key),
                Expired::Ack { namespace, id } => {
                    if let Some(waiting) = self.clock.take(key, namespace, id) {
                        self.answered(ctx, waiting, Err(TimedOut));
                    }
                }
            }
        }
        self.arm(key);
    }

    /// Has the wheel come back to a peer when it is next due.
    pub(super) fn arm(&mut self, key: usize) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let client = peer.client.as_ref().and_then(Client::deadline);
        let Some(at) = peer.session.deadline().into_iter().chain(client).min() else { return };
        // The tick in which it is over, not the one in which it ends.
        let at = Tick::of(at).after(0);
        if peer.armed.is_none_or(|armed| at.is_before(armed)) {
            peer.armed = Some(self.clock.wheel.arm(peer.alias, at));
        }
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
