//! A lazy timing wheel: says who *may* be due, and leaves it to the due to know whether they are.
//!
//! After Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987), reduced to what a server with
//! heartbeats needs. Deadlines move with every byte a peer sends; moving a timer each time would cost more
//! than reading the byte. So activity writes a field of the connection and the wheel is not touched; an entry
//! that comes up is asked for its true deadline and is armed again or acted upon.
//!
//! ```text
//!   arm(id, at):   slot[at mod 4096].push(id)          a deadline past the horizon comes up early, and is re-armed
//!   advance(now):  for every slot from the last one to now: hand out its ids, at most `budget`
//! ```
//!
//! Invariants: an entry comes up at the tick that `arm` returned or later, never earlier; exactly once.
//! Cancelling is forgetting: the owner remembers the tick it was armed for, and an entry that comes up for
//! another tick is stale.

use super::id::ConnId;
use super::tick::Tick;

/// Slots, hence the horizon: 4096 ticks of 10 ms are 40.96 s, more than the default ping interval, so that an
/// idle peer is looked at once an interval.
const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
/// A slot that grew beyond this gives its memory back when it has been emptied.
const SLOT_KEEP_MAX: usize = 64;

/// Who may be due when. One per worker.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<ConnId>>,
    /// One bit a slot: the next occupied one is found without looking at 4096 lists.
    occupied: [u64; WORDS],
    /// The first tick that has not been handed out completely.
    next: Tick,
    len: usize,
}

impl Wheel {
    /// An empty wheel that begins at `now`.
    #[must_use]
    pub fn new(now: Tick) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], occupied: [0; WORDS], next: now, len: 0 }
    }

    /// Has `id` come up at `at`, or at the horizon if that is sooner, or at the next advance if `at` has
    /// passed. Returns the tick it will come up for: the owner keeps it to tell a stale entry from a live one.
    pub fn arm(&mut self, id: ConnId, at: Tick) -> Tick {
        let horizon = Tick(self.next.0.wrapping_add(SLOTS as u32 - 1));
        let at = if at.is_before(self.next) { self.next } else { at.min(horizon) };
        let slot = at.0 as usize % SLOTS;
        self.slots[slot].push(id);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
        at
    }

    /// Hands out up to `budget` entries whose tick is `now` or earlier, oldest first, into `due`. What is left
    /// over comes with the next call.
    pub fn advance(&mut self, now: Tick, budget: usize, due: &mut Vec<(Tick, ConnId)>) {
        let mut left = budget;
        while let Some(tick) = self.next_due() {
            if now.is_before(tick) {
                break;
            }
            self.next = tick;
            let slot = tick.0 as usize % SLOTS;
            let entries = &mut self.slots[slot];
            let taken = entries.len().min(left);
            due.extend(entries.drain(..taken).map(|id| (tick, id)));
            self.len -= taken;
            left -= taken;
            if !entries.is_empty() {
                return;
            }
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            if entries.capacity() > SLOT_KEEP_MAX {
                *entries = Vec::new();
            }
        }
        if self.next.is_before(now) {
            self.next = now;
        }
    }

    /// The tick of the earliest entry.
    #[must_use]
    pub fn next_due(&self) -> Option<Tick> {
        if self.len == 0 {
            return None;
        }
        let start = self.next.0 as usize % SLOTS;
        // The word of the first slot is looked at twice: its upper bits first, its lower bits a round later.
        let mut word = start / 64;
        let mut bits = self.occupied[word] & (u64::MAX << (start % 64));
        for _ in 0..=WORDS {
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(Tick(self.next.0.wrapping_add(ahead as u32)));
            }
            word = (word + 1) % WORDS;
            bits = self.occupied[word];
        }
        None
    }

    /// Entries that have not come up, stale ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing will ever come up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(index: u32) -> ConnId {
        ConnId { index, serial: index }
    }

    #[test]
    fn hands_out_in_order_and_only_what_is_due() {
        let mut wheel = Wheel::new(Tick(100));
        wheel.arm(id(1), Tick(130));
        wheel.arm(id(2), Tick(110));
        wheel.arm(id(3), Tick(131));
        assert_eq!(wheel.next_due(), Some(Tick(110)));
        let mut due = Vec::new();
        wheel.advance(Tick(130), 100, &mut due);
        assert_eq!(due, [(Tick(110), id(2)), (Tick(130), id(1))]);
        assert_eq!(wheel.next_due(), Some(Tick(131)));
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn a_deadline_in_the_past_comes_up_at_once() {
        let mut wheel = Wheel::new(Tick(100));
        assert_eq!(wheel.arm(id(1), Tick(5)), Tick(100));
        let mut due = Vec::new();
        wheel.advance(Tick(100), 1, &mut due);
        assert_eq!(due, [(Tick(100), id(1))]);
    }

    #[test]
    fn a_deadline_past_the_horizon_comes_up_early() {
        let mut wheel = Wheel::new(Tick(0));
        let armed = wheel.arm(id(1), Tick(1_000_000));
        assert_eq!(armed, Tick(SLOTS as u32 - 1));
    }

    #[test]
    fn the_budget_leaves_the_rest_for_the_next_turn() {
        let mut wheel = Wheel::new(Tick(0));
        for index in 0..10 {
            wheel.arm(id(index), Tick(3));
        }
        let mut due = Vec::new();
        wheel.advance(Tick(50), 4, &mut due);
        assert_eq!(due.len(), 4);
        assert_eq!(wheel.next_due(), Some(Tick(3)));
        wheel.advance(Tick(50), 100, &mut due);
        assert_eq!(due.len(), 10);
        assert!(wheel.is_empty());
    }

    proptest! {
        /// Whatever is armed and whenever time is advanced: everything comes up exactly once, and never early.
        #[test]
        fn everything_comes_up_once_and_never_early(
            start in any::<u32>(),
            steps in prop::collection::vec((0u32..6000, 0u32..500, 1usize..50), 1..200),
        ) {
            let mut wheel = Wheel::new(Tick(start));
            let (mut now, mut armed, mut due) = (Tick(start), Vec::new(), Vec::new());
            for (index, (ahead, step, budget)) in steps.into_iter().enumerate() {
                let at = wheel.arm(id(index as u32), Tick(now.0.wrapping_add(ahead)));
                armed.push(at);
                now = Tick(now.0.wrapping_add(step));
                let from = due.len();
                wheel.advance(now, budget, &mut due);
                for &(tick, ConnId { index, .. }) in &due[from..] {
                    prop_assert_eq!(tick, armed[index as usize]);
                    prop_assert!(!now.is_before(tick));
                }
            }
            wheel.advance(Tick(now.0.wrapping_add(SLOTS as u32)), usize::MAX, &mut due);
            prop_assert!(wheel.is_empty());
            let mut seen: Vec<u32> = due.iter().map(|(_, id)| id.index).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..armed.len() as u32).collect::<Vec<_>>());
        }
    }
}
