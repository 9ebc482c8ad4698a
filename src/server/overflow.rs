//! What happens when a subscriber is slower than its channel: the policy, as a pure function.
//!
//! Memory for one peer is bounded by `queue_max`, whatever is published. A peer with an empty queue always gets a
//! publication, however large it is: otherwise it could never be delivered to anybody.
//!
//! Invariant: a queue holds at most `queue_max` bytes, or one publication.

use super::config::Overflow;

/// What to do with a publication for a peer that has not got what it was owed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Queue it.
    Queue,
    /// The peer misses it.
    Drop,
    /// The peer misses what waited, and gets this.
    Replace,
    /// The peer is closed.
    Close,
}

/// Judges a publication of `len` bytes for a peer with `queued` bytes waiting.
#[inline]
#[must_use]
pub const fn judge(policy: Overflow, queued: usize, len: usize, queue_max: usize) -> Verdict {
    if queued == 0 || queued + len <= queue_max {
        return Verdict::Queue;
    }
    match policy {
        Overflow::Drop => Verdict::Drop,
        Overflow::Newest => Verdict::Replace,
        Overflow::Close => Verdict::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decides_only_when_the_queue_is_full() {
        for (policy, full) in [
            (Overflow::Drop, Verdict::Drop),
            (Overflow::Newest, Verdict::Replace),
            (Overflow::Close, Verdict::Close),
        ] {
            assert_eq!(judge(policy, 0, 1000, 100), Verdict::Queue);
            assert_eq!(judge(policy, 60, 40, 100), Verdict::Queue);
            assert_eq!(judge(policy, 60, 41, 100), full);
        }
    }
}
