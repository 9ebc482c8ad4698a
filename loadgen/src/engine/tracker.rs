//! Completeness: which messages of which publisher each client has, exactly, in 16 bytes per pair.
//!
//! Why: "nothing lost" is a claim about every single delivery, so every delivery is looked at; 10 000 clients at
//! 100 000 deliveries a second leave no room for a set per client. Sequences have no gaps, so it is enough to know the
//! next one expected and which of the last 64 are still out; the few that stay out longer go into one set for all.
//!
//! ```text
//!              older: in `missing`, or seen        window: bit n = next - 1 - n      not yet
//!   ──────────────────────────────────────────┼─────────────────────────────────┼─────────────▶ sequence
//!                                                                              next
//! ```
//!
//! Invariants: a sequence is counted `First` or `Reordered` at most once, and every further time as `Duplicate`; this
//! is exact as long as no more than [`MISSING_MAX`] old holes are open at once.

use std::collections::HashSet;

/// Old holes remembered, over all pairs of a loop; beyond, a very late first arrival counts as a duplicate.
pub const MISSING_MAX: usize = 1 << 20;

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// The first time, behind nothing newer.
    First,
    /// The first time, but behind a newer one.
    Reordered,
    /// Not the first time.
    Duplicate,
}

/// One (client, publisher) pair.
#[derive(Clone, Copy, Debug)]
struct Pair {
    /// One more than the newest sequence seen; u64, so that it never wraps.
    next: u64,
    /// Bit n: `next - 1 - n` was seen. What lies before sequence 0 counts as seen.
    seen: u64,
}

/// What one (client, publisher) pair takes, in bytes.
pub const PAIR_BYTES: usize = size_of::<Pair>();

/// All pairs of one loop.
#[derive(Debug)]
pub struct Tracker {
    pairs: Vec<Pair>,
    missing: HashSet<(u32, u32)>,
}

impl Tracker {
    /// A tracker of `pairs` pairs that have seen nothing.
    pub fn new(pairs: usize) -> Self {
        Self { pairs: vec![Pair { next: 0, seen: u64::MAX }; pairs], missing: HashSet::new() }
    }

    /// Notes that `sequence` arrived at `pair`.
    ///
    /// # Panics
    /// If there is no such pair.
    #[inline]
    pub fn arrive(&mut self, pair: usize, sequence: u32) -> Arrived {
        let state = &mut self.pairs[pair];
        let sequence_wide = u64::from(sequence);
        if sequence_wide == state.next && state.seen >> 63 == 1 {
            // The common case: the next in order, and nothing open falls out of the window.
            *state = Pair { next: state.next + 1, seen: state.seen << 1 | 1 };
            return Arrived::First;
        }
        if sequence_wide >= state.next {
            self.jump(pair, sequence_wide);
            return Arrived::First;
        }
        let age = state.next - 1 - sequence_wide;
        let new = if age < 64 {
            let bit = 1 << age;
            let new = state.seen & bit == 0;
            state.seen |= bit;
            new
        } else {
            self.missing.remove(&(pair as u32, sequence))
        };
        if new { Arrived::Reordered } else { Arrived::Duplicate }
    }

    /// The pair's client begins anew: everything before `next` is behind it.
    ///
    /// # Panics
    /// If there is no such pair.
    pub fn begin(&mut self, pair: usize, next: u64) {
        self.pairs[pair] = Pair { next, seen: u64::MAX };
    }

    /// Everything up to `sequence` is behind the pair's client, whether it arrived or not.
    ///
    /// # Panics
    /// If there is no such pair.
    pub fn skip_to(&mut self, pair: usize, sequence: u32) {
        if u64::from(sequence) >= self.pairs[pair].next {
            self.begin(pair, u64::from(sequence) + 1);
        }
    }

    /// Moves the window so that `sequence` is its newest; holes that fall out are remembered.
    fn jump(&mut self, pair: usize, sequence: u64) {
        let Pair { next, seen } = self.pairs[pair];
        let shift = sequence - next + 1;
        let fallen_bits = shift.min(64);
        // From the window's far end, oldest first: bit 63 is `next - 64`.
        for bit in (64 - fallen_bits..64).filter(|bit| seen >> bit & 1 == 0) {
            self.remember(pair, next - 1 - bit);
        }
        // And what was never inside it, when the jump is longer than the window.
        let never_inside = next..(sequence + 1).saturating_sub(64).max(next);
        for hole in never_inside.take(MISSING_MAX) {
            self.remember(pair, hole);
        }
        let seen = if shift >= 64 { 1 } else { seen << shift | 1 };
        self.pairs[pair] = Pair { next: sequence + 1, seen };
    }

    fn remember(&mut self, pair: usize, sequence: u64) {
        if self.missing.len() < MISSING_MAX {
            self.missing.insert((pair as u32, sequence as u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a set per pair, the obvious way, would say.
    fn obvious(arrivals: &[u32]) -> Vec<Arrived> {
        let mut seen = HashSet::new();
        let mut newest = None;
        let judge = |&sequence: &u32| {
            let first = seen.insert(sequence);
            let behind = newest.is_some_and(|newest| sequence < newest);
            newest = newest.max(Some(sequence));
            match (first, behind) {
                (true, false) => Arrived::First,
                (true, true) => Arrived::Reordered,
                (false, _) => Arrived::Duplicate,
            }
        };
        arrivals.iter().map(judge).collect()
    }

    fn tracked(arrivals: &[u32]) -> Vec<Arrived> {
        let mut tracker = Tracker::new(3);
        arrivals.iter().map(|&sequence| tracker.arrive(1, sequence)).collect()
    }

    #[test]
    fn the_ends_of_the_range_are_safe() {
        assert_eq!(
            tracked(&[u32::MAX, u32::MAX, 0]),
            [Arrived::First, Arrived::Duplicate, Arrived::Reordered]
        );
    }

    #[test]
    fn pairs_do_not_mix() {
        let mut tracker = Tracker::new(2);
        assert_eq!(tracker.arrive(0, 0), Arrived::First);
        assert_eq!(tracker.arrive(1, 0), Arrived::First);
        assert_eq!(tracker.arrive(0, 0), Arrived::Duplicate);
    }

    #[test]
    fn who_begins_anew_has_missed_nothing_before() {
        let mut tracker = Tracker::new(1);
        tracker.arrive(0, 3);
        tracker.begin(0, 91);
        assert_eq!(tracker.arrive(0, 92), Arrived::First);
        assert_eq!(tracker.arrive(0, 91), Arrived::Reordered, "it was behind, and owed");
        tracker.skip_to(0, 50);
        tracker.skip_to(0, 100);
        assert_eq!(tracker.arrive(0, 101), Arrived::First);
        assert_eq!((tracker.arrive(0, 101), tracker.missing.len()), (Arrived::Duplicate, 0));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_per_pair(arrivals in proptest::collection::vec(0u32..400, 0..600)) {
            prop_assert_eq!(tracked(&arrivals), obvious(&arrivals));
        }

        #[test]
        fn agrees_where_little_goes_wrong(
            faults in proptest::collection::vec((0usize..1_000, 0usize..150), 0..40), start in 0u32..10,
        ) {
            let mut arrivals: Vec<u32> = (start..1_000 + start).collect();
            for (at, by) in faults {
                let moved = arrivals[at];
                if by % 3 != 0 { arrivals.remove(at); }
                arrivals.insert((at + by).min(arrivals.len()), moved);
                arrivals.truncate(1_000);
            }
            prop_assert_eq!(tracked(&arrivals), obvious(&arrivals));
        }
    }
}
