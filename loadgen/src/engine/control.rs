//! What the coordinator and the loops say to each other.
//!
//! Why: a loop is a thread, here or in another process; both speak these words, the second as lines of JSON.
//!
//! Invariants: times are `CLOCK_MONOTONIC` nanoseconds, which all processes of one machine share; every loop ends
//! with exactly one [`Event::Done`] or [`Event::Failed`].

use super::results::{Counts, LoopResult, Times};
use serde::{Deserialize, Serialize};

/// To a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The schedule begins at this time.
    Start {
        /// Its first instant.
        start_ns: u64,
    },
    /// Stop, close what is open, bring home what there is.
    Finish,
}

/// From a loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// Every client of the loop is connected or has failed.
    Ready {
        /// How many are connected.
        connected: u64,
    },
    /// A second is over.
    Second(Box<Second>),
    /// Said often while draining: has everything arrived?
    Draining(Draining),
    /// The end, with everything.
    Done(Box<LoopResult>),
    /// The end, without results.
    Failed(String),
}

/// One second of one loop.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Which: the end of the n-th second since the run's origin.
    pub number: u64,
    /// Connections open at its end.
    pub connected: u64,
    /// Everything counted so far, not only in this second.
    pub counts: Counts,
    /// Messages sent, warm-up included.
    pub sent: u64,
    /// Deliveries received, warm-up included.
    pub received: u64,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Delivery times of measured messages.
    pub delivery: Times,
    /// Largest send lag.
    pub send_lag_max_ns: u64,
    /// Longest turn.
    pub loop_lag_max_ns: u64,
    /// CPU time of the thread.
    pub cpu_ns: u64,
}

/// Where the drain stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Measured messages sent so far.
    pub sent: u64,
    /// Measured deliveries received so far.
    pub received: u64,
    /// Of these, at their sender.
    pub received_self: u64,
    /// Messages that still wait to be written.
    pub backlog: u64,
}
