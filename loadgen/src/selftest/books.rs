//! The books of the self-test's server: what it did, right and wrong, in numbers.
//!
//! Why apart from the faults: here stands what a report can be held against, one number for each claim.
//!
//! Invariants: only measured messages are counted; numbers only grow, but for the least time.

/// The server's own books: what loadgen must report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages heard from publishers.
    pub heard: u64,
    /// Messages × subscribers there were when each was passed on.
    pub expected: u64,
    /// Deliveries made intact, each counted once.
    pub delivered: u64,
    /// Deliveries left out.
    pub lost: u64,
    /// Deliveries made again.
    pub duplicate: u64,
    /// Deliveries made behind a later one.
    pub reordered: u64,
    /// Deliveries damaged.
    pub corrupt: u64,
    /// Messages of our own mixed in.
    pub foreign: u64,
    /// Connections refused.
    pub refused: u64,
    /// Connections cut.
    pub cut: u64,
    /// Connections let in.
    pub admitted: u64,
    /// Of these, never told anything.
    pub forgotten: u64,
    /// Deliveries not made to those.
    pub withheld: u64,
    /// Close frames and FINs on which a connection was not ended.
    pub unanswered: u64,
    /// Notices that something was left out.
    pub told: u64,
    /// The least time from a message's intended time to its write here: nothing can arrive sooner.
    pub lag_min_ns: u64,
    /// The largest such time: something arrives at least so late.
    pub lag_max_ns: u64,
    /// Deliveries whose write here came [`SLOW_NS`](super::fault::SLOW_NS) or more behind the intended time.
    pub slow: u64,
    /// Messages heard whose marker says that they left [`SLOW_NS`](super::fault::SLOW_NS) or more behind the intended time.
    pub lagged: u64,
}
