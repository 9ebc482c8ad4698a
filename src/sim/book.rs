//! The book: who has said what and who is owed what, kept by a second, much simpler server.
//!
//! The [`Witness`](super::witness::Witness) stands between the worker and its service and hears what the service
//! hears. From that the book works out, with plain lists, every message that every peer should get; peers strike out
//! what they hear. So a message that is lost, doubled, altered, out of order or sent to the wrong peer does not match
//! the book.
//!
//! Invariants: a peer hears what it is owed in the order it is owed; what it skips was *dropped* by the ledger and is
//! told as a gap; replies are never skipped.

use std::collections::{BTreeMap, HashMap};

use super::account::{Account, Owed, Serves};
use super::history::{POST, Post};
use super::tally::Tally;
use super::trace::{Note, Trace, hash_of};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::server::Overflow;
use crate::service::{Departure, Kind, Request};

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which oracle says so.
    pub oracle: &'static str,
    /// What it saw.
    pub text: String,
}

/// Everything that should be true of a world's peers.
#[derive(Debug, Default)]
pub struct Book {
    /// What has happened.
    pub trace: Trace,
    /// The first thing that must never be.
    pub failure: Option<Failure>,
    /// How often what happened.
    pub tally: Tally,
    /// One for every peer, by its number.
    pub accounts: Vec<Account>,
    /// Whether the server was told to stop.
    pub is_stopping: bool,
    /// Since when nothing goes wrong any more.
    pub calm_since: Option<Nanos>,
    /// Debts of publications, all peers together; what came by HTTP or from ticks is not counted.
    pub owed: u64,
    /// Publications that peers have found missing.
    pub missed: u64,
    /// The policy for slow peers.
    pub overflow: Overflow,
    /// What was published by HTTP, by channel and publisher, in order.
    pub(super) posts: BTreeMap<(&'static str, usize), Vec<Post>>,
    pub(super) now: Nanos,
    ids: HashMap<ConnId, usize>,
    rooms: BTreeMap<String, Vec<usize>>,
    came: u64,
}

impl Book {
    /// An empty book for so many peers.
    #[must_use]
    pub fn new(trace: Trace, overflow: Overflow, peers: usize) -> Self {
        let mut book = Self { trace, overflow, ..Self::default() };
        book.accounts.resize_with(peers, Account::default);
        book
    }

    /// Enters an event at `now`.
    pub fn note(&mut self, now: Nanos, note: Note) {
        self.now = now;
        self.trace.note(now, note);
    }

    /// Something must never be. Only the first counts: the rest follows from it.
    pub fn fail(&mut self, oracle: &'static str, text: String) {
        self.failure.get_or_insert(Failure { oracle, text });
    }

    /// The server let `peer` in as `id`.
    pub fn accepted(&mut self, peer: usize, id: ConnId) {
        self.ids.insert(id, peer);
    }

    /// `peer` has heard that it was let in.
    pub fn joined(&mut self, peer: usize) {
        self.accounts[peer].joined = Some(self.now);
    }

    /// `peer` said a message.
    pub fn spoke(&mut self, peer: usize, kind: Kind, payload: &[u8]) {
        let hash = hash(kind, payload);
        self.accounts[peer].spoken.push_back(hash);
    }

    /// `peer` heard a message: it must be the next that it is owed, or behind some that were dropped.
    pub fn heard(&mut self, peer: usize, kind: Kind, payload: &[u8]) {
        self.tally.heard += 1;
        let account = &mut self.accounts[peer];
        if let Some(missed) = gap(payload).filter(|_| !matches!(account.serves, Serves::Echo(_))) {
            account.told += missed;
            self.tally.gaps += missed;
            return;
        }
        if payload.starts_with(POST) {
            return self.heard_post(peer, payload);
        }
        if account.serves == Serves::Tick {
            return self.heard_tick(peer, payload);
        }
        let hash = hash(kind, payload);
        let (mut skipped, mut lost_reply) = (0, false);
        while let Some(owed) = account.owed.pop_front() {
            if owed.hash == hash {
                account.missed += skipped;
                self.missed += skipped;
                account.recent.push_back(hash);
                if account.recent.len() > 256 {
                    account.recent.pop_front();
                }
                if lost_reply {
                    self.fail("order", format!("peer {peer} was not sent a reply that came before"));
                }
                return;
            }
            skipped += u64::from(owed.is_publication);
            lost_reply |= !owed.is_publication;
        }
        let is_double = account.recent.contains(&hash);
        let text = String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
        let what = if is_double { "twice, or out of order" } else { "although it was not owed" };
        let oracle = if is_double { "doubled" } else { "not owed" };
        self.fail(oracle, format!("peer {peer} heard `{text}` ({} bytes) {what}", payload.len()));
    }

    fn owe(&mut self, to: usize, kind: Kind, payload: &[u8], is_publication: bool) {
        self.owed += u64::from(is_publication);
        self.accounts[to].owed.push_back(Owed { hash: hash(kind, payload), is_publication });
    }

    fn owe_all(&mut self, room: &str, kind: Kind, payload: &[u8], except: Option<usize>) {
        let hash = hash(kind, payload);
        for &member in self.rooms.get(room).into_iter().flatten() {
            if Some(member) != except {
                self.owed += 1;
                self.accounts[member].owed.push_back(Owed { hash, is_publication: true });
            }
        }
    }

    fn announce(&mut self, room: &str, what: &str, data: &str) {
        let data = serde_json::to_string(data).expect("a string is always JSON");
        let text = format!("{{\"type\":\"{what}\",\"data\":{data}}}");
        self.owe_all(room, Kind::Text, text.as_bytes(), None);
    }

    /// The service was told of a peer.
    pub(super) fn opened(&mut self, id: ConnId, request: &Request<'_>) {
        let Some(&peer) = self.ids.get(&id) else {
            return self.fail("service", format!("{id:?} was opened and never accepted"));
        };
        self.note(self.now, Note::Opened(peer));
        if std::mem::replace(&mut self.accounts[peer].opened, true) {
            self.fail("service", format!("peer {peer} was opened twice"));
        }
        let second = request.path.get(1).map(|name| &**name);
        let serves = match request.path.first().map_or("broadcast", |root| root) {
            "echo" => Serves::Echo(request.param("prefix").map(str::to_owned)),
            "chat" => {
                self.came += 1;
                let name = request.param("name").map_or_else(|| format!("user{}", self.came), str::to_owned);
                let room = second.map_or_else(|| "chat".to_owned(), |room| format!("chat/{room}"));
                Serves::Chat(room, name)
            }
            "tick" => Serves::Tick,
            _ => Serves::Broadcast(
                second.unwrap_or("default").to_owned(),
                request.param("self") != Some("0"),
                request.param("role") != Some("listen"),
            ),
        };
        self.accounts[peer].serves = serves.clone();
        match serves {
            Serves::Chat(room, name) => {
                self.rooms.entry(room.clone()).or_default().push(peer);
                self.announce(&room, "enter", &format!("{name} comes in"));
            }
            Serves::Broadcast(channel, ..) => self.rooms.entry(channel).or_default().push(peer),
            Serves::Nothing | Serves::Echo(_) | Serves::Tick => {}
        }
    }

    /// The service was brought a message: it must be the next that its peer said.
    pub(super) fn message(&mut self, id: ConnId, kind: Kind, payload: &[u8]) {
        let Some(&peer) = self.ids.get(&id) else { return };
        let account = &mut self.accounts[peer];
        if !account.opened || account.closed.is_some() {
            self.fail("service", format!("peer {peer} was heard before it came or after it went"));
            return;
        }
        if !account.facts.is_noisy && account.spoken.pop_front() != Some(hash(kind, payload)) {
            let text = format!(
                "the service heard {} bytes from peer {peer} that it did not say next",
                payload.len()
            );
            return self.fail("heard", text);
        }
        match account.serves.clone() {
            Serves::Echo(None) => self.owe(peer, kind, payload, false),
            Serves::Echo(Some(prefix)) => {
                let text = format!("{prefix}{}", String::from_utf8_lossy(payload));
                self.owe(peer, Kind::Text, text.as_bytes(), false);
            }
            Serves::Broadcast(channel, hears_itself, true) => {
                self.owe_all(&channel, kind, payload, (!hears_itself).then_some(peer));
            }
            Serves::Chat(room, name) if kind == Kind::Text => {
                self.announce(&room, "message", &format!("{name}:{}", String::from_utf8_lossy(payload)));
            }
            Serves::Broadcast(..) | Serves::Chat(..) | Serves::Tick | Serves::Nothing => {}
        }
    }

    /// The service was told of a peer's end: once, and for a reason that the peer gave.
    pub(super) fn closed(&mut self, id: ConnId, why: Departure) {
        let Some(&peer) = self.ids.get(&id) else { return };
        self.note(self.now, Note::Departed(peer, why.label()));
        let account = &mut self.accounts[peer];
        if !account.opened || account.closed.replace(why).is_some() {
            return self.fail("service", format!("peer {peer} was closed twice, or never opened"));
        }
        let (facts, is_stopping) = (account.facts, self.is_stopping);
        let is_gone = facts.vanished.is_some();
        let is_explained = match why {
            Departure::PeerClosed => facts.said_close || facts.is_noisy,
            Departure::Closed => true,
            Departure::EndOfStream => facts.ended,
            Departure::Reset => facts.reset || facts.ended || facts.is_noisy || is_gone,
            Departure::Violation => facts.is_noisy,
            Departure::MessageTimeout => facts.is_deaf || is_gone || facts.is_noisy || facts.is_thin,
            Departure::Idle => facts.is_deaf || is_gone || facts.is_noisy,
            Departure::CloseTimeout => facts.is_deaf || is_gone || facts.is_noisy || facts.is_thin,
            Departure::SlowConsumer => facts.is_deaf || is_gone || self.overflow == Overflow::Close,
            Departure::Shutdown => is_stopping,
            // The simulated sockets carry no TLS.
            Departure::Refused | Departure::HandshakeTimeout | Departure::Tls => false,
        };
        if !is_explained {
            self.fail("departure", format!("peer {peer} departed as {why}, for which it gave no reason"));
        }
        match self.accounts[peer].serves.clone() {
            Serves::Broadcast(room, ..) => self.leave(peer, &room),
            Serves::Chat(room, name) => {
                self.leave(peer, &room);
                self.announce(&room, "leave", &format!("{name} left"));
            }
            Serves::Nothing | Serves::Echo(_) | Serves::Tick => {}
        }
    }

    fn leave(&mut self, peer: usize, room: &str) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.retain(|&member| member != peer);
        }
    }
}

/// How many publications a gap notice says were missed.
fn gap(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"{\"type\":\"gap\",\"missed\":")?.strip_suffix(b"}")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn hash(kind: Kind, payload: &[u8]) -> u64 {
    hash_of(payload) ^ u64::from(kind == Kind::Text)
}
