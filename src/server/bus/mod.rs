//! The bus: links to the other workers of this machine, and what is written and heard on them.
//!
//! Every pair of workers shares one Unix stream, which the one with the higher number opens. A turn's publications leave in
//! one write for each link; what comes in is published to this worker's peers alone, so nothing ever goes back. A peer may
//! listen on any worker: all of them together are one server.
//!
//! ```text
//!   calling ──stream, our hello out──▶ hello awaited ──its hello──▶ up ──end, error, stall, nonsense──▶ calling
//!   called  ──stream──▶ hello awaited ──its hello, ours out──▶ up ──the same──▶ gone
//! ```
//!
//! Backpressure goes all the way: who cannot deliver does not read its links; a link that takes nothing fills, and then
//! publishers are not read from. A link on which nothing moves for [`LINK_STALL`] is given up. What a sibling missed, while
//! its link was down or because it broke, is counted for each publication.
//!
//! Invariants: `published × (workers − 1) = sent + queued + lost` between turns; letters of one worker arrive in the order in
//! which they were written; until all links are up, or [`JOIN_MAX`] has passed, nobody is accepted.

mod link;
pub mod sum;

use std::io;
use std::rc::Rc;

use serde_json::{Value, json};
use slab::Slab;

use super::config::Place;
#[cfg(doc)]
use super::limits::LINK_STALL;
use super::limits::{FIGURES, JOIN_MAX, LINK_BYTES_MAX, REDIAL_MAX, REDIAL_MIN};
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos};
use crate::hub::abroad::Post;
use crate::hub::letter::{Letter, VERSION};
use crate::net::Net;
use crate::service::{Ctx, Service};
use link::{Link, Loss};
use sum::{Figures, Sum};

/// All links of a worker.
#[derive(Debug)]
pub struct Bus<K> {
    index: u32,
    incarnation: u64,
    links: Slab<Link<K>>,
    /// By number; our own is never used.
    siblings: Vec<Sibling>,
    /// Somebody may be calling.
    is_called: bool,
    /// Links ever opened, which makes their names unique.
    opened: u32,
    started: Nanos,
    next_figures: Nanos,
    /// What has been counted.
    pub counts: Counts,
}

/// What is known of another worker.
#[derive(Debug, Default)]
struct Sibling {
    /// The slot of its link, once it is known to be its.
    link: Option<u32>,
    /// When it is called (again), if it is we who call.
    call_at: Option<Nanos>,
    pause: Nanos,
    /// Its numbers, and when they came.
    figures: Option<(Nanos, Figures)>,
}

/// What the bus counts.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Publications written to siblings, one for each sibling.
    pub sent: u64,
    /// Publications that a sibling missed, one for each sibling.
    pub lost: u64,
    /// Publications that siblings have sent.
    pub heard: u64,
    /// Links that came up.
    pub ups: u64,
    /// Links that went down.
    pub downs: u64,
    /// Links that were given up because they took nothing.
    pub stalls: u64,
    /// Links that were given up because of what came.
    pub garbled: u64,
    /// Turns in which a link was full.
    pub full: u64,
}

impl<K> Bus<K> {
    /// The bus of the worker at `place`, not linked to anybody yet.
    pub(super) fn new(place: &Place, incarnation: u64, now: Nanos) -> Self {
        let sibling =
            |number| Sibling { call_at: (number < place.index).then_some(now), ..Sibling::default() };
        Self {
            index: place.index,
            incarnation,
            links: Slab::new(),
            siblings: (0..place.count).map(sibling).collect(),
            is_called: true,
            opened: 0,
            started: now,
            next_figures: now,
            counts: Counts::default(),
        }
    }

    /// How many workers there are, this one included.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.siblings.len()
    }

    /// This worker's number.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// How many siblings can be told things now.
    #[must_use]
    pub fn up(&self) -> usize {
        self.siblings.iter().filter(|sibling| sibling.link.is_some()).count()
    }

    /// Whether every sibling can be told things.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.up() + 1 == self.workers()
    }

    /// Whether newcomers had better wait: what they say now would not reach everybody.
    pub(super) fn is_joining(&self, now: Nanos) -> bool {
        now < self.started + JOIN_MAX && !self.is_whole()
    }

    /// Whether some link holds as much as it may: publishers have to wait.
    pub(super) fn is_full(&self) -> bool {
        self.links.iter().any(|(_, link)| link.queued_bytes() >= LINK_BYTES_MAX)
    }

    /// Publications that wait on links, one for each sibling.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.links.iter().map(|(_, link)| link.queued()).sum()
    }

    /// The numbers of all workers: `own`, and what the others have told last.
    #[must_use]
    pub(super) fn sum(&self, own: Figures) -> Sum {
        let mut sum = Sum::default();
        sum.add(&own);
        self.siblings.iter().filter_map(|sibling| sibling.figures.as_ref()).for_each(|(_, f)| sum.add(f));
        sum
    }

    /// Which worker this is, and how it stands with the others.
    #[must_use]
    pub(super) fn describe(&self, now: Nanos) -> Value {
        let others = self.siblings.iter().enumerate().filter(|(number, _)| *number != self.index as usize);
        let siblings = others.map(|(number, sibling)| {
            let age_ms = sibling.figures.as_ref().map(|(at, _)| now.saturating_sub(*at) / MILLI);
            json!({ "index": number, "up": sibling.link.is_some(), "figures_age_ms": age_ms })
        });
        json!({ "index": self.index, "count": self.workers(), "siblings": siblings.collect::<Vec<_>>() })
    }

    /// When something is to be done although nothing becomes ready.
    pub(super) fn next_ns(&self, now: Nanos) -> Nanos {
        let calls = self.siblings.iter().filter_map(|sibling| sibling.call_at);
        let stalls = self.links.iter().filter_map(|(_, link)| link.stalled_at());
        let joining = self.is_joining(now).then_some(self.started + JOIN_MAX);
        calls.chain(stalls).chain(joining).min().unwrap_or(Nanos::MAX).min(self.next_figures)
    }

    /// Whether there is something to do at once.
    pub(super) fn is_busy(&self) -> bool {
        self.is_called || self.links.iter().any(|(_, link)| link.is_readable)
    }

    /// A sibling may be calling.
    pub(super) const fn called(&mut self) {
        self.is_called = true;
    }

    /// A link has become ready.
    pub(super) fn ready(&mut self, id: ConnId, readable: bool, writable: bool) {
        let Some(link) = id.link().and_then(|slot| self.links.get_mut(slot as usize)) else { return };
        if link.serial == id.serial {
            link.is_readable |= readable;
            link.is_blocked &= !writable;
        }
    }

    fn next_id(&mut self) -> ConnId {
        self.opened = self.opened.wrapping_add(1) & (u32::MAX >> 1);
        ConnId::of_link(self.links.vacant_key() as u32, self.opened)
    }

    fn hello(&self) -> Letter<'static> {
        Letter::Hello { version: VERSION, worker: self.index, incarnation: self.incarnation }
    }

    /// Queues `post` for every sibling; who cannot be told has missed it.
    fn send(&mut self, post: Post, now: Nanos) {
        let publications = post.ends.len() as u64;
        let post = Rc::new(post);
        for (number, sibling) in self.siblings.iter().enumerate() {
            if number == self.index as usize {
                continue;
            }
            match sibling.link.and_then(|slot| self.links.get_mut(slot as usize)) {
                Some(link) => link.push(Rc::clone(&post), now),
                None => self.counts.lost += publications,
            }
        }
    }
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Whether the links to other workers are still being made.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.bus.as_ref().is_some_and(|bus| bus.is_joining(self.now))
    }

    /// Hears what the other workers have to say, and tells them what this turn has brought.
    pub(super) fn correspond(&mut self) {
        let Some(mut bus) = self.bus.take() else { return };
        self.pick_up(&mut bus);
        self.dial(&mut bus);
        let slots: Vec<usize> = bus.links.iter().map(|(slot, _)| slot).collect();
        for &slot in &slots {
            if let Err(loss) = self.hear(&mut bus, slot) {
                self.cut(&mut bus, slot, loss);
            }
        }
        self.gather(&mut bus);
        for slot in slots {
            let Some(link) = bus.links.get_mut(slot) else { continue };
            match link.write(&mut self.net, self.now) {
                Ok(sent) => bus.counts.sent += sent,
                Err(loss) => self.cut(&mut bus, slot, loss),
            }
        }
        bus.counts.full += u64::from(bus.is_full());
        self.bus = Some(bus);
    }

    /// Lets siblings in that call.
    fn pick_up(&mut self, bus: &mut Bus<N::Socket>) {
        while bus.is_called {
            let id = bus.next_id();
            match self.net.pick_up(id) {
                Ok(socket) => {
                    bus.links.insert(Link::new(socket, id.serial, None, self.now));
                }
                // Without a descriptor nothing can be done now; the caller will try again.
                Err(_) => bus.is_called = false,
            }
        }
    }

    /// Calls the siblings whose turn it is to be called.
    fn dial(&mut self, bus: &mut Bus<N::Socket>) {
        for number in 0..bus.index {
            if bus.siblings[number as usize].call_at.is_none_or(|at| at > self.now) {
                continue;
            }
            let id = bus.next_id();
            let called = self.net.dial(number, id);
            let hello = bus.hello();
            let sibling = &mut bus.siblings[number as usize];
            match called {
                Ok(socket) => {
                    let mut link = Link::new(socket, id.serial, Some(number), self.now);
                    link.say(hello, self.now);
                    bus.links.insert(link);
                    sibling.call_at = None;
                }
                Err(error) => {
                    tracing::debug!(sibling = number, %error, "a worker cannot be called now");
                    sibling.pause = (sibling.pause * 2).clamp(REDIAL_MIN, REDIAL_MAX);
                    sibling.call_at = Some(self.now + sibling.pause);
                }
            }
        }
    }

    /// Reads a link and does what the letters say.
    fn hear(&mut self, bus: &mut Bus<N::Socket>, slot: usize) -> Result<(), Loss> {
        let Some(link) = bus.links.get_mut(slot) else { return Ok(()) };
        // Who cannot deliver what there is does not ask for more.
        if !link.is_readable || self.is_congested() {
            return Ok(());
        }
        let end = link.read(&mut self.net, self.config.ws.message_max)?;
        let (mut window, mut inbox) = link.take_inbox();
        let mut heard = Ok(());
        while heard.is_ok() {
            heard = match inbox.next(&mut window) {
                Ok(Some(letter)) => self.take_letter(bus, slot, letter),
                Ok(None) => break,
                Err(loss) => Err(loss),
            };
        }
        if let Some(link) = bus.links.get_mut(slot) {
            link.put_back(window, inbox);
        }
        heard.and(end)
    }

    fn take_letter(&mut self, bus: &mut Bus<N::Socket>, slot: usize, letter: Letter<'_>) -> Result<(), Loss> {
        let Some(link) = bus.links.get(slot) else { return Ok(()) };
        let (is_up, sibling) = (link.is_up, link.sibling);
        match (letter, sibling) {
            (Letter::Hello { version, worker, .. }, _) => {
                let is_expected = version == VERSION
                    && (worker as usize) < bus.siblings.len()
                    && worker != bus.index
                    && !is_up
                    && sibling.is_none_or(|expected| expected == worker);
                if !is_expected {
                    return Err(Loss::Garbled("a hello from somebody else"));
                }
                self.came(bus, slot, worker);
            }
            (_, Some(sibling)) if is_up => self.take_news(bus, sibling, letter),
            (_, _) => return Err(Loss::Garbled("a letter before the hello")),
        }
        Ok(())
    }

    fn take_news(&mut self, bus: &mut Bus<N::Socket>, sibling: u32, letter: Letter<'_>) {
        let nobody = ConnId::NONE;
        match letter {
            Letter::Publish { kind, topic, payload } => {
                bus.counts.heard += 1;
                if let Some(topic) = self.hub.topics.find(topic) {
                    self.hub.publish_here(topic, kind, payload, nobody, self.now);
                }
            }
            Letter::Presence { topic, subscribers } => {
                self.hub.abroad.is_present(sibling, topic, subscribers)
            }
            Letter::News(news) => {
                self.service.heard(&mut Ctx::new(nobody, 0, self.now, &mut self.hub), sibling, news);
            }
            Letter::Figures(figures) => {
                if let Ok(figures) = serde_json::from_slice(figures) {
                    bus.siblings[sibling as usize].figures = Some((self.now, figures));
                }
            }
            Letter::Hello { .. } => {}
        }
    }

    /// A link is up: it is told who we are, if it does not know, and whom we have.
    fn came(&mut self, bus: &mut Bus<N::Socket>, slot: usize, worker: u32) {
        if let Some(old) = bus.siblings[worker as usize].link {
            // It has begun another life before we noticed the end of the last one.
            self.cut(bus, old as usize, Loss::End);
        }
        let hello = bus.hello();
        let Some(link) = bus.links.get_mut(slot) else { return };
        if link.sibling.is_none() {
            link.say(hello, self.now);
        }
        (link.sibling, link.is_up) = (Some(worker), true);
        for (topic, subscribers) in self.hub.topics.iter() {
            link.say(Letter::Presence { topic, subscribers }, self.now);
        }
        let sibling = &mut bus.siblings[worker as usize];
        (sibling.link, sibling.pause, sibling.call_at) = (Some(slot as u32), 0, None);
        bus.counts.ups += 1;
        tracing::debug!(sibling = worker, "linked");
        self.service.sibling_came(&mut Ctx::new(ConnId::NONE, 0, self.now, &mut self.hub), worker);
    }

    /// Ends a link. What it held is lost; if it was up, the sibling and all whom it had are gone.
    fn cut(&mut self, bus: &mut Bus<N::Socket>, slot: usize, why: Loss) {
        let Some(link) = bus.links.try_remove(slot) else { return };
        match why {
            Loss::End => {}
            Loss::Stalled => bus.counts.stalls += 1,
            Loss::Garbled(_) => bus.counts.garbled += 1,
        }
        bus.counts.lost += link.queued();
        if let Some(number) = link.sibling {
            let sibling = &mut bus.siblings[number as usize];
            if number < bus.index {
                sibling.pause = (sibling.pause * 2).clamp(REDIAL_MIN, REDIAL_MAX);
                sibling.call_at = Some(self.now + sibling.pause);
            }
            if link.is_up {
                (sibling.link, sibling.figures) = (None, None);
                bus.counts.downs += 1;
                tracing::warn!(sibling = number, %why, lost = link.queued(), "a link to another worker is down");
                self.hub.abroad.forget(number);
                self.service.sibling_gone(&mut Ctx::new(ConnId::NONE, 0, self.now, &mut self.hub), number);
            }
        }
        self.net.close(link.socket);
    }

    /// Takes what the turn has left for the siblings, and what they are told beside it.
    fn gather(&mut self, bus: &mut Bus<N::Socket>) {
        for (topic, subscribers) in self.hub.topics.changed() {
            self.hub.abroad.write(Letter::Presence { topic: &topic, subscribers });
        }
        if self.now >= bus.next_figures {
            bus.next_figures = self.now + FIGURES;
            let figures = serde_json::to_vec(&self.figures(Some(&*bus))).expect("numbers are always JSON");
            self.hub.abroad.write(Letter::Figures(&figures));
        }
        if !self.hub.abroad.is_empty() {
            bus.send(self.hub.abroad.take(), self.now);
        }
    }
}

/// Whether a read or write failed for now only.
fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
