//! The oracles: what must be true after every turn, when nothing goes wrong any more, and when everybody has gone.
//!
//! Peers check what they hear themselves, and the [book](super::book) what the service hears; here stands what only
//! somebody can know who sees the server, the network and the book at once.
//!
//! Invariant: an oracle only looks.

use super::account::Serves;
use super::book::Book;
use super::fault::Plan;
use super::history::SILENCE;
use super::outside::Outside;
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::hub::Hub;
use crate::hub::topics::SEGMENT_BYTES_MAX;
use crate::net::Net;
use crate::server::Worker;
use crate::server::limits::{LINGER, OUTBOX_BYTES_MAX, REPLY_BYTES_SOFT_MAX};
use crate::service::Service;

/// Turns in a tenth of a second that may do nothing, beside one for each that does something: reading once more to
/// hear that there is nothing.
const IDLE_TURNS_MAX: u32 = 64;

/// Watches over the turns of a world.
#[derive(Debug, Default)]
pub struct Watch {
    before: Footprint,
    idle_turns: u32,
    busy_turns: u32,
    since: Nanos,
}

/// What changes whenever a turn has done something.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Footprint {
    progress: u64,
    debts: [u64; 4],
    messages: u64,
    requests: u64,
    departures: u64,
    pings: u64,
}

impl Watch {
    /// After every turn: the books balance, the bounds hold, the loop does not spin.
    pub fn step<N: Net, S: Service>(
        &mut self,
        worker: &Worker<N, S>,
        outside: &Outside,
        plan: &Plan,
        book: &mut Book,
    ) {
        balance(worker, plan, book);
        bounds(worker, outside, plan, book);
        self.spin(worker, outside, book);
    }

    /// A turn either does something or sleeps.
    fn spin<N: Net, S: Service>(&mut self, worker: &Worker<N, S>, outside: &Outside, book: &mut Book) {
        let (metrics, Hub { ledger, .. }) = worker.metrics();
        let departures = metrics.departures.iter().sum();
        let footprint = Footprint {
            progress: outside.progress,
            debts: [ledger.owed, ledger.written, ledger.dropped, ledger.departed],
            messages: metrics.messages_in,
            requests: metrics.requests,
            departures,
            pings: metrics.pings,
        };
        let is_idle = std::mem::replace(&mut self.before, footprint) == footprint;
        if outside.now > self.since + 100 * MILLI {
            (self.since, self.idle_turns, self.busy_turns) = (outside.now, 0, 0);
        }
        self.idle_turns += u32::from(is_idle);
        self.busy_turns += u32::from(!is_idle);
        if self.idle_turns > IDLE_TURNS_MAX + self.busy_turns {
            let (turns, ns) = (self.idle_turns, outside.now - self.since);
            book.fail("spinning", format!("{turns} turns in {ns} ns have done nothing"));
        }
    }
}

/// The ledger is what can be counted by hand and what the book says.
fn balance<N: Net, S: Service>(worker: &Worker<N, S>, plan: &Plan, book: &mut Book) {
    let ledger = &worker.metrics().1.ledger;
    if !ledger.balances() {
        book.fail("ledger", format!("the ledger does not balance: {ledger:?}"));
    }
    let by_hand = worker.owed_by_hand();
    if ledger.queued != by_hand {
        book.fail(
            "ledger",
            format!("{} deliveries are entered as queued, {by_hand} are found", ledger.queued),
        );
    }
    if book.missed > ledger.dropped {
        let (missed, dropped) = (book.missed, ledger.dropped);
        book.fail("lost", format!("peers miss {missed} publications, of which {dropped} were dropped"));
    }
    if !plan.has_posters && !plan.has_ticks && ledger.owed != book.owed {
        let text = format!("{} deliveries are owed by the ledger, {} by the book", ledger.owed, book.owed);
        book.fail("ledger", text);
    }
}

/// Queues are within bounds, and who came has gone or is here.
fn bounds<N: Net, S: Service>(worker: &Worker<N, S>, outside: &Outside, plan: &Plan, book: &mut Book) {
    let metrics = worker.metrics().0;
    // What does not shrink grows a little when it is compressed.
    let message = plan.config.ws.message_max as usize * 9 / 8 + 1024;
    let bytes_max = plan.config.queue_max.max(SEGMENT_BYTES_MAX + message)
        + REPLY_BYTES_SOFT_MAX
        + OUTBOX_BYTES_MAX
        + 2 * message;
    if worker.queued_bytes_peak() > bytes_max {
        let text = format!("{} bytes wait for one peer, at most {bytes_max} may", worker.queued_bytes_peak());
        book.fail("bounds", text);
    }
    let (reserved, memory_max) = (worker.memory_reserved(), plan.config.deflate.memory);
    if reserved > memory_max {
        book.fail(
            "bounds",
            format!("{reserved} bytes are promised for compression, at most {memory_max} may be"),
        );
    }
    let departures: u64 = metrics.departures.iter().sum();
    if metrics.accepted != departures + worker.connections() as u64 || outside.open != worker.connections() {
        let text = format!("{} came, {departures} went, {} are here", metrics.accepted, worker.connections());
        book.fail("roster", format!("{text}, {} sockets are open", outside.open));
    }
}

/// When nothing has gone wrong for a while: everybody who is well has everything, and nothing waits.
pub fn calm(outside: &Outside, plan: &Plan, book: &mut Book) {
    for door in &outside.doors {
        if let Some(&number) = door.knocking.front() {
            book.fail("liveness", format!("peer {number} still knocks, {} with it", door.knocking.len()));
        }
    }
    for peer in &outside.peers {
        let account = &book.accounts[peer.number];
        if !account.is_well() || account.closed.is_some() {
            continue;
        }
        let number = peer.number;
        let failure = if peer.is_waiting() {
            Some(("liveness", "still waits to be let in".to_owned()))
        } else if peer.unanswered() > 0 {
            Some(("liveness", format!("still waits for {} answers", peer.unanswered())))
        } else if !peer.is_talking() {
            None
        } else if !account.spoken.is_empty() {
            Some(("liveness", format!("said {} messages that nobody heard", account.spoken.len())))
        } else if account.owed.iter().any(|owed| !owed.is_publication) {
            Some(("liveness", "is owed replies".to_owned()))
        } else {
            complete(outside, plan, book, number)
        };
        if let Some((oracle, text)) = failure {
            book.fail(oracle, format!("peer {number} {text}"));
        }
    }
    reaped(outside, plan, book);
}

/// Whether somebody who talks and listens has heard every publication, or was told what it missed.
fn complete(outside: &Outside, plan: &Plan, book: &Book, number: usize) -> Option<(&'static str, String)> {
    let account = &book.accounts[number];
    if account.serves == Serves::Tick {
        // Something is always under way, so it cannot be said what is missing at the end.
        let last = account.tick.map(|(.., heard)| heard).or(account.joined)?;
        let silent = outside.now - last;
        return (silent > SILENCE && !account.facts.is_thin)
            .then(|| ("liveness", format!("has heard no tick for {} ms", silent / MILLI)));
    }
    let left = account.owed.len() as u64 + book.posts_missing(number);
    let (missed, told) = (account.missed, account.told);
    // What was posted between being let in and hearing so is not counted by the book, and may have been dropped.
    let is_told = if plan.has_posters { told >= missed + left } else { told == missed + left };
    (!is_told).then(|| {
        ("lost", format!("missed {missed} publications and {left} at the end, and was told of {told}"))
    })
}

/// Whether the good client that came when all was well again was served at once.
pub fn served(outside: &Outside, book: &mut Book) {
    let Some(probe) = outside.peers.last() else { return };
    let account = &book.accounts[probe.number];
    let is_cut = account.facts.reset || book.is_stopping;
    if !is_cut && (probe.said() == 0 || !account.spoken.is_empty() || !account.owed.is_empty()) {
        let text = "when all was well again, a good client was not served within two seconds";
        book.fail("served", text.to_owned());
    }
}

/// Whoever should have been reaped is gone: who never said what it wants, and who has been dead for long enough. How
/// long a stall of our own prolongs all that is not reckoned here: such worlds are left to the end.
fn reaped(outside: &Outside, plan: &Plan, book: &mut Book) {
    let config = &plan.config;
    if outside.stalled > 0 {
        return;
    }
    for (peer, link) in outside.peers.iter().zip(&outside.links) {
        if link.id.is_none() {
            continue;
        }
        let account = &book.accounts[peer.number];
        let (since, within) = if peer.is_never_let_in() {
            (link.accepted, config.handshake_timeout + LINGER)
        } else if let (Some(since), true) = (account.facts.vanished, account.opened) {
            if config.ping_interval == 0 || config.stall_timeout == 0 {
                continue;
            }
            (since.max(link.accepted), config.ping_interval + config.pong_timeout + config.stall_timeout)
        } else {
            continue;
        };
        if since + within + SECOND < outside.now {
            let (number, ms, within) = (peer.number, (outside.now - since) / MILLI, within / MILLI);
            let text = format!("peer {number} should be gone after {within} ms and is here after {ms}");
            return book.fail("reaping", text);
        }
    }
}

/// When everybody has gone: nothing is left.
pub fn empty<N: Net, S: Service>(worker: &Worker<N, S>, outside: &Outside, is_over: bool, book: &mut Book) {
    let (_, hub) = worker.metrics();
    // A server that has ended does not wait for its wheel.
    let armed = if is_over { 0 } else { worker.wheel_entries() };
    let left = [
        ("connections", worker.connections()),
        ("open sockets", outside.open),
        ("topics", hub.topics.len()),
        ("deliveries", usize::from(hub.is_busy())),
        ("debts", hub.ledger.queued as usize),
        ("batches in the ledger", hub.ledger.open_batches()),
        ("bytes that wait for delivery", hub.topics.waiting_bytes()),
        ("words that wait for their place", hub.interjections.weight()),
        ("lent buffers", worker.buffers_lent()),
        ("bytes promised for compression", worker.memory_reserved()),
        ("entries in the wheel", armed),
    ];
    for (what, count) in left {
        if count > 0 {
            book.fail("leak", format!("everybody has gone, and {count} {what} are left"));
        }
    }
    for (number, account) in book.accounts.iter().enumerate() {
        if account.opened && account.closed.is_none() {
            return book.fail("service", format!("the service was never told of the end of peer {number}"));
        }
    }
}
