//! The history of publications that the service does not see: those by HTTP, and ticks.
//!
//! Nobody stands beside the server who could say when it published them. But each carries who published it and a number,
//! so that what a subscriber hears can be judged from outside: of every publisher an ordered subsequence, nothing
//! twice, and no gap of which it was not told; and what was acknowledged before the end must have come.
//!
//! Invariants: a post is entered before it leaves its publisher, and acknowledged when the answer is heard; a subscriber
//! is owed what was said after it heard that it was let in.

use super::account::{Account, Serves};
use super::book::Book;
use super::trace::hash_of;
use crate::base::marker::{Found, decode};
use crate::base::tick::{MILLI, Nanos, SECOND};

/// What a peer publishes by HTTP begins with this: such publications are not in the book.
pub const POST: &[u8] = b"post ";

/// The slowest source of ticks has one a second.
pub(super) const SILENCE: Nanos = 3 * SECOND;

/// A publication by HTTP.
#[derive(Debug, Clone, Copy)]
pub struct Post {
    number: u64,
    hash: u64,
    said: Nanos,
    is_acknowledged: bool,
}

impl Book {
    /// `peer` publishes `body` in `channel`, as the `number`-th of its own there, from 1.
    pub fn posted(&mut self, peer: usize, channel: &'static str, number: u64, body: &[u8]) {
        let post = Post { number, hash: hash_of(body), said: self.now, is_acknowledged: false };
        self.posts.entry((channel, peer)).or_default().push(post);
        self.accounts[peer].unanswered.push_back((channel, number));
    }

    /// `peer` was told that the first of what it published and has not been answered is published.
    pub fn acknowledged(&mut self, peer: usize) {
        let Some((channel, number)) = self.accounts[peer].unanswered.pop_front() else { return };
        if let Some(posts) = self.posts.get_mut(&(channel, peer)) {
            posts[number as usize - 1].is_acknowledged = true;
        }
    }

    /// Publications by HTTP ascend per publisher, and what is missing was dropped.
    pub(super) fn heard_post(&mut self, peer: usize, payload: &[u8]) {
        let Some((from, number)) = numbers(payload) else {
            return self.fail("not owed", format!("peer {peer} heard a post without a number"));
        };
        let Serves::Broadcast(channel, ..) = &self.accounts[peer].serves else {
            return self.fail("not owed", format!("peer {peer} heard a post and is in no channel"));
        };
        let posts = self.posts.iter().find(|((name, by), _)| name == channel && *by == from);
        let posts = posts.map_or(&[][..], |(_, posts)| posts);
        if posts.get(number as usize - 1).is_none_or(|post| post.hash != hash_of(payload)) {
            let text = format!("peer {peer} heard post {from}:{number}, which was not posted in its channel");
            return self.fail("not owed", text);
        }
        let before = self.accounts[peer].posts.get(&from).copied();
        if before.is_some_and(|before| before >= number) {
            return self.fail("doubled", format!("peer {peer} heard post {from}:{number} after {before:?}"));
        }
        let account = &self.accounts[peer];
        let missed = owed_to(account, from, posts).filter(|post| post.number < number).count() as u64;
        let account = &mut self.accounts[peer];
        account.missed += missed;
        account.posts.insert(from, number);
        self.missed += missed;
    }

    /// How many acknowledged posts `peer` should have heard and has not.
    #[must_use]
    pub fn posts_missing(&self, peer: usize) -> u64 {
        let account = &self.accounts[peer];
        let Serves::Broadcast(channel, ..) = &account.serves else { return 0 };
        let of_channel = self.posts.iter().filter(|((name, _), _)| name == channel);
        let missing = of_channel.map(|((_, from), posts)| {
            owed_to(account, *from, posts).filter(|post| post.is_acknowledged).count() as u64
        });
        missing.sum()
    }

    /// Ticks ascend, and what is missing was dropped.
    pub(super) fn heard_tick(&mut self, peer: usize, payload: &[u8]) {
        let Found::Marker(marker) = decode(payload) else {
            return self.fail("not owed", format!("peer {peer} heard a tick without a marker"));
        };
        let now = self.now;
        let account = &mut self.accounts[peer];
        let (source, next, _) = account.tick.unwrap_or((marker.publisher, marker.sequence, now));
        if source != marker.publisher || marker.sequence < next {
            let text = format!("peer {peer} heard tick {} of source {}", marker.sequence, marker.publisher);
            return self.fail("doubled", format!("{text} where {next} of {source} was next"));
        }
        let skipped = u64::from(marker.sequence - next);
        // The source never rests, so it must not fall silent when all is well.
        let last = account.tick.map(|(.., heard)| heard).or(account.joined).unwrap_or(now);
        let silent = self.calm_since.map_or(0, |since| now - last.max(since).min(now));
        let is_late = silent > SILENCE && account.is_well() && !account.facts.is_thin;
        account.missed += skipped;
        account.tick = Some((source, marker.sequence + 1, now));
        self.missed += skipped;
        if is_late {
            self.fail("liveness", format!("peer {peer} has heard no tick for {} ms", silent / MILLI));
        }
    }
}

/// Posts that come after the last that `account` heard of `from`, or, if it heard none, after it was let in.
fn owed_to<'p>(account: &'p Account, from: usize, posts: &'p [Post]) -> impl Iterator<Item = &'p Post> {
    let (last, joined) = (account.posts.get(&from).copied(), account.joined);
    posts.iter().filter(move |post| match (last, joined) {
        (Some(last), _) => post.number > last,
        (None, joined) => joined.is_some_and(|joined| joined < post.said),
    })
}

/// The publisher of a post and its number, from 1.
fn numbers(payload: &[u8]) -> Option<(usize, u64)> {
    let text = std::str::from_utf8(payload.strip_prefix(POST)?).ok()?;
    let (from, number) = text.split(' ').next()?.split_once(':')?;
    Some((from.parse().ok()?, number.parse().ok().filter(|number| *number > 0)?))
}
