//! A bucket of tokens that fills by the clock: so many handshakes a second, and a second's worth at once.
//!
//! Kept as one moment instead of a level: when the bucket would be full again (the generic cell rate algorithm). There
//! is nothing to fill, no fraction to lose, and an idle bucket costs nothing.
//!
//! Invariant: in any span of time `t` at most `rate × (t + 1 s)` are taken.

use crate::base::tick::{Nanos, SECOND};

/// How many may pass, as a pace.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Between two, in nanoseconds.
    interval: Nanos,
    /// When everything that was taken will have come back.
    full_at: Nanos,
}

impl Pace {
    /// At most `rate` a second, and `rate` at once.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self { interval: SECOND / Nanos::from(rate.max(1)), full_at: 0 }
    }

    /// Takes one, if there is one at `now`.
    pub fn take(&mut self, now: Nanos) -> bool {
        let full_at = self.full_at.max(now) + self.interval;
        let is_there = full_at - now <= SECOND;
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tick::MILLI;

    fn taken(pace: &mut Pace, now: Nanos) -> usize {
        (0..100_000).take_while(|_| pace.take(now)).count()
    }

    #[test]
    fn a_second_s_worth_at_once_then_by_the_clock() {
        let mut pace = Pace::new(10);
        let start = 5 * SECOND;
        assert_eq!(taken(&mut pace, start), 10);
        assert_eq!(taken(&mut pace, start + 99 * MILLI), 0);
        assert_eq!(taken(&mut pace, start + 100 * MILLI), 1);
        assert_eq!(taken(&mut pace, start + 600 * MILLI), 5);
        // An hour of silence saves no more than a second's worth.
        assert_eq!(taken(&mut pace, start + 3600 * SECOND), 10);
    }

    #[test]
    fn one_a_second_and_a_million() {
        let mut slow = Pace::new(1);
        assert_eq!(taken(&mut slow, 0), 1);
        assert_eq!(taken(&mut slow, SECOND - 1), 0);
        assert_eq!(taken(&mut slow, SECOND), 1);
        assert_eq!(taken(&mut Pace::new(50_000), 7), 50_000);
    }
}
