//! Time in two grains: nanoseconds to measure with, ticks of 10 ms to set deadlines by.
//!
//! A deadline in a connection costs four bytes as a [`Tick`] where an `Instant` costs sixteen, and at fifty
//! thousand connections that is the difference between a cache line and two. Nobody needs a heartbeat more
//! exact than 10 ms.
//!
//! Invariant: ticks wrap after 497 days; comparisons hold while two ticks are less than 248 days apart.

/// Monotonic time in nanoseconds since an arbitrary origin.
pub type Nanos = u64;

/// Nanoseconds in a millisecond.
pub const MILLI: Nanos = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: Nanos = 1_000_000_000;
/// Length of a tick in nanoseconds.
pub const TICK: Nanos = 10 * MILLI;

/// A moment, counted in 10 ms from the origin of the clock, modulo 2³².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick in which `now` falls.
    #[inline]
    #[must_use]
    pub const fn of(now: Nanos) -> Self {
        Self((now / TICK) as u32)
    }

    /// The first tick that is at least `ns` nanoseconds after this one; never this one itself, so that a
    /// deadline that was just armed cannot be due in the same turn.
    #[inline]
    #[must_use]
    pub const fn after(self, ns: Nanos) -> Self {
        let ticks = ns.div_ceil(TICK);
        Self(self.0.wrapping_add(if ticks == 0 { 1 } else { ticks as u32 }))
    }

    /// Whether this moment lies before `other`.
    #[inline]
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Ticks from `earlier` to this moment; 0 when `earlier` is in fact later.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        let distance = self.0.wrapping_sub(earlier.0) as i32;
        if distance < 0 { 0 } else { distance as u32 }
    }

    /// Nanoseconds from `now` until this tick begins; 0 when it has begun.
    #[must_use]
    pub const fn until(self, now: Nanos) -> Nanos {
        let ahead = self.since(Self::of(now));
        if ahead == 0 { 0 } else { ahead as Nanos * TICK - now % TICK }
    }

    /// The earlier of two moments.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if self.is_before(other) { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let late = Tick(u32::MAX);
        let wrapped = late.after(20 * MILLI);
        assert_eq!(wrapped, Tick(1));
        assert!(late.is_before(wrapped));
        assert!(!wrapped.is_before(late));
        assert_eq!(wrapped.since(late), 2);
        assert_eq!(late.since(wrapped), 0);
        assert_eq!(late.min(wrapped), late);
    }

    #[test]
    fn a_deadline_is_never_early_and_never_now() {
        let now = 123_456_789;
        let tick = Tick::of(now);
        assert_eq!(tick.after(0).since(tick), 1);
        assert_eq!(tick.after(10 * MILLI + 1).since(tick), 2);
        assert_eq!(tick.after(SECOND).since(tick), 100);
    }

    #[test]
    fn until_counts_down_to_the_beginning_of_the_tick() {
        let now = 5 * TICK + 3;
        assert_eq!(Tick(7).until(now), 2 * TICK - 3);
        assert_eq!(Tick(5).until(now), 0);
        assert_eq!(Tick(4).until(now), 0);
    }
}
