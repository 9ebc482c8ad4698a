//! The ledger: of every publication, what became of it for every subscriber, and when.
//!
//! A broadcast server is bought for one thing: that the *last* subscriber gets the message, soon. So each
//! publication is owed to so many subscribers, and every debt ends in exactly one of three ways:
//!
//! ```text
//!   owed  →  queued  →  written        the system took the last byte
//!                    →  dropped        the peer was too slow and its channel's policy let it miss this
//!                    →  departed       the peer left before its turn came
//! ```
//!
//! Invariants: `owed = queued + written + dropped + departed` at every instant (the simulator recounts `queued`
//! by hand); an entry is freed when its last debt ends, and its times to the first, half, 99 % and last
//! subscriber go into histograms.

use hdrhistogram::Histogram;
use slab::Slab;

use crate::base::counting::COUNTING;
use crate::base::tick::{Nanos, SECOND};

/// Counts of all publications, and the times of those that are finished.
#[derive(Debug)]
pub struct Ledger {
    /// Messages that were published, with or without subscribers.
    pub published: u64,
    /// Debts ever made: publications × subscribers.
    pub owed: u64,
    /// Debts that are open.
    pub queued: u64,
    /// Debts paid.
    pub written: u64,
    /// Debts cancelled because the peer was too slow.
    pub dropped: u64,
    /// Debts that ended with the peer.
    pub departed: u64,
    /// Time from publishing to each milestone, in nanoseconds.
    pub fanout: Fanout,
    entries: Slab<Entry>,
}

/// Histograms of the time from publishing to a milestone, in nanoseconds, three digits, up to a minute.
#[derive(Debug)]
pub struct Fanout {
    /// Until the first subscriber was written.
    pub first: Histogram<u64>,
    /// Until half of them were.
    pub half: Histogram<u64>,
    /// Until 99 % of them were.
    pub p99: Histogram<u64>,
    /// Until the last one was.
    pub last: Histogram<u64>,
}

/// The name of a batch in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId(u32);

impl EntryId {
    /// Not counted by the clock: replies, and all but the last range of a batch that was cut for its publisher.
    pub const NONE: Self = Self(u32::MAX);
}

/// One batch under way.
#[derive(Debug)]
struct Entry {
    published_ns: Nanos,
    publications: u32,
    /// Subscribers it is owed to, less those that were excused.
    expected: u32,
    written: u32,
    milestones: u8,
}

/// How a debt ended without being paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpaid {
    /// The peer was too slow.
    Dropped,
    /// The peer left.
    Departed,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            published: 0,
            owed: 0,
            queued: 0,
            written: 0,
            dropped: 0,
            departed: 0,
            fanout: Fanout { first: histogram(), half: histogram(), p99: histogram(), last: histogram() },
            entries: Slab::new(),
        }
    }
}

impl Ledger {
    /// A message was published to `audience` subscribers.
    pub fn publish(&mut self, audience: u32) {
        if !COUNTING {
            return;
        }
        self.published += 1;
        self.owed += u64::from(audience);
        self.queued += u64::from(audience);
    }

    /// A batch of `publications` sets out to `expected` subscribers; the first of them was published at
    /// `published_ns`.
    pub fn open(&mut self, published_ns: Nanos, publications: u32, expected: u32) -> EntryId {
        if !COUNTING {
            return EntryId::NONE;
        }
        let entry = Entry { published_ns, publications, expected, written: 0, milestones: 0 };
        EntryId(self.entries.insert(entry) as u32)
    }

    /// `subscribers` of `entry` have been written by `now`, with `deliveries` publications among them.
    #[inline]
    pub fn paid(&mut self, entry: EntryId, subscribers: u32, deliveries: u64, now: Nanos) {
        if !COUNTING {
            return;
        }
        self.queued -= deliveries;
        self.written += deliveries;
        if let Some(open) = self.entries.get_mut(entry.0 as usize) {
            open.written += subscribers;
            self.settle(entry, now);
        }
    }

    /// `deliveries` publications will not reach `subscribers` of `entry`.
    pub fn unpaid(&mut self, how: Unpaid, entry: EntryId, subscribers: u32, deliveries: u64, now: Nanos) {
        if !COUNTING {
            return;
        }
        self.queued -= deliveries;
        match how {
            Unpaid::Dropped => self.dropped += deliveries,
            Unpaid::Departed => self.departed += deliveries,
        }
        self.excuse(entry, subscribers, now);
    }

    /// Nothing of `entry` was owed to `subscribers` of it after all (a publisher that does not hear itself).
    pub fn excuse(&mut self, entry: EntryId, subscribers: u32, now: Nanos) {
        if let Some(open) = self.entries.get_mut(entry.0 as usize) {
            open.expected = open.expected.saturating_sub(subscribers);
            self.settle(entry, now);
        }
    }

    /// Batches that somebody still waits for.
    #[must_use]
    pub fn open_batches(&self) -> usize {
        self.entries.len()
    }

    /// Whether every debt is accounted for.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.owed == self.queued + self.written + self.dropped + self.departed
    }

    /// Records the milestones that `entry` has reached, and frees it after the last.
    fn settle(&mut self, id: EntryId, now: Nanos) {
        let Some(entry) = self.entries.get_mut(id.0 as usize) else { return };
        let Fanout { first, half, p99, last } = &mut self.fanout;
        let (written, expected) = (u64::from(entry.written), u64::from(entry.expected));
        let reached = [
            (written > 0, first),
            (written * 2 >= expected, half),
            (written * 100 >= expected * 99, p99),
            (written >= expected, last),
        ];
        for (index, (is_reached, histogram)) in reached.into_iter().enumerate() {
            if is_reached && written > 0 && entry.milestones == index as u8 {
                entry.milestones += 1;
                let elapsed = now.saturating_sub(entry.published_ns);
                histogram.saturating_record_n(elapsed, u64::from(entry.publications));
            }
        }
        if written >= expected {
            self.entries.remove(id.0 as usize);
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60 * SECOND, 3).expect("one microsecond to a minute are valid bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milestones_are_recorded_when_they_are_reached() {
        let mut ledger = Ledger::default();
        ledger.publish(200);
        let entry = ledger.open(1_000_000, 1, 200);
        ledger.paid(entry, 1, 1, 2_000_000);
        ledger.paid(entry, 99, 99, 3_000_000);
        ledger.paid(entry, 98, 98, 4_000_000);
        assert_eq!(ledger.open_batches(), 1);
        ledger.paid(entry, 2, 2, 9_000_000);
        let near = |histogram: &Histogram<u64>, ns: u64| histogram.equivalent(histogram.max(), ns);
        assert!(near(&ledger.fanout.first, 1_000_000));
        assert!(near(&ledger.fanout.half, 2_000_000));
        assert!(near(&ledger.fanout.p99, 3_000_000));
        assert!(near(&ledger.fanout.last, 8_000_000));
        assert_eq!((ledger.open_batches(), ledger.written, ledger.queued), (0, 200, 0));
        assert!(ledger.balances());
    }

    #[test]
    fn those_who_leave_or_are_dropped_are_not_waited_for() {
        let mut ledger = Ledger::default();
        ledger.publish(3);
        let entry = ledger.open(0, 1, 3);
        ledger.paid(entry, 1, 1, 5);
        ledger.unpaid(Unpaid::Dropped, entry, 1, 1, 6);
        ledger.unpaid(Unpaid::Departed, entry, 1, 1, 7);
        assert_eq!(ledger.open_batches(), 0);
        assert_eq!((ledger.written, ledger.dropped, ledger.departed), (1, 1, 1));
        assert_eq!(ledger.fanout.last.len(), 1);
        assert!(ledger.balances());
    }

    #[test]
    fn a_batch_that_reached_nobody_has_no_times() {
        let mut ledger = Ledger::default();
        ledger.publish(1);
        let entry = ledger.open(0, 1, 1);
        ledger.unpaid(Unpaid::Departed, entry, 1, 1, 7);
        assert_eq!((ledger.open_batches(), ledger.fanout.last.len()), (0, 0));
    }
}
