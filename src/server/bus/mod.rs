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

mod correspond;
mod link;
pub mod sum;

use std::io;
use std::rc::Rc;

use serde_json::{Value, json};
use slab::Slab;

use super::config::Place;
#[cfg(doc)]
use super::limits::LINK_STALL;
use super::limits::{FIGURES, JOIN_MAX, LINK_BYTES_MAX, LISTEN_AGAIN_PERCENT, REDIAL_MAX, REDIAL_MIN};
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos};
use crate::hub::abroad::Post;
use crate::hub::letter::{Letter, VERSION};
use link::Link;
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
    /// It has said that it ends.
    is_leaving: bool,
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

    /// Whether another worker has places left, as far as it has told.
    pub(super) fn has_room(&self) -> bool {
        let told = self.siblings.iter().filter_map(|sibling| sibling.figures.as_ref());
        let value = |figures: &Figures, name: &str| figures.get(name).unwrap_or(0);
        told.into_iter().any(|(_, figures)| {
            let max = value(figures, "connections_max");
            value(figures, "connections") * 100 < max * LISTEN_AGAIN_PERCENT as u64
        })
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

/// Whether a read or write failed for now only.
fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
