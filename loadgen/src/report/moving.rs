//! The blocks of the document `loadgen/1` that belong to one scenario: churn, storm, slow.
//!
//! Why apart: three scenarios need words of their own; what all runs share stays short.
//!
//! Invariants: as in the rest of the document, the unit is the last word of a key and what was not measured is absent;
//! `deliveries` counts what was owed to those who stayed, these blocks count all else.

use super::Latency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many were connected, over the seconds of the measured phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// The fewest.
    pub min: u64,
    /// On average.
    pub mean: f64,
    /// The most.
    pub max: u64,
}

/// Who came and went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Sessions that began after the first message.
    pub joins: u64,
    /// Sessions that ended as planned.
    pub leaves: u64,
    /// Of these, with a close frame.
    pub left_by_close: u64,
    /// Of these, by shutting the sending half (FIN).
    pub left_by_fin: u64,
    /// Of these, by a reset (RST).
    pub left_by_reset: u64,
    /// Close frames and FINs on which the server did not end the connection within a second; then it was reset.
    pub left_unanswered: u64,
    /// Attempts to come back that failed; each was repeated.
    pub failed_reconnects: u64,
    /// Why, with how often.
    pub failures: BTreeMap<String, u64>,
    /// From `connect` to the `101` answer, of the joins.
    pub handshake_ns: Latency,
    /// How many were connected.
    pub population: Population,
    /// Deliveries owed to stayers: connected from the message's write until `drain_ns` later. As in `deliveries`.
    pub expected: u64,
    /// Of these, received.
    pub received: u64,
    /// Of these, not received.
    pub lost: u64,
    /// Deliveries to those who came after the message was written: not owed.
    pub newcomer_deliveries: u64,
    /// Deliveries to those who were to go within `drain_ns` of the message's write: not owed.
    pub leaver_deliveries: u64,
}

/// Who dropped at once and came back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// Connections reset at once.
    pub dropped: u64,
    /// Of these, how many were connected again before the end.
    pub back: u64,
    /// From the reset until half were back; absent if they never were. As all of these at most 60 s: what takes longer counts so.
    pub back_p50_ns: Option<u64>,
    /// Until 95 % were back.
    pub back_p95_ns: Option<u64>,
    /// Until all were back.
    pub back_all_ns: Option<u64>,
    /// How many heard a message again before the end.
    pub served: u64,
    /// From the reset until half had heard a message again; absent if they never did.
    pub served_p50_ns: Option<u64>,
    /// Until 95 % had.
    pub served_p95_ns: Option<u64>,
    /// Until all had.
    pub served_all_ns: Option<u64>,
    /// Attempts to come back that failed; each was repeated.
    pub failed_attempts: u64,
    /// Why, with how often.
    pub failures: BTreeMap<String, u64>,
    /// From `connect` to the `101` answer, of who came back.
    pub handshake_ns: Latency,
    /// Delivery to those who were not dropped, of messages due before the reset.
    pub before_ns: Latency,
    /// The same, of messages due in the seconds until all were back.
    pub during_ns: Latency,
    /// The same, of messages due later.
    pub after_ns: Latency,
    /// p99 during over p99 before; absent if either was not measured.
    pub p99_ratio: Option<f64>,
}

/// Who read slowly, and what it cost the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// Slow clients.
    pub clients: u64,
    /// Deliveries owed to them while they were connected.
    pub expected: u64,
    /// Of these, received.
    pub received: u64,
    /// Arrived again.
    pub duplicate: u64,
    /// Notices that something was left out.
    pub gaps: u64,
    /// Messages left out, by those notices.
    pub missed: u64,
    /// Of the expected, neither received nor in a notice: unread when the connection ended, or lost.
    pub unaccounted: u64,
    /// Their connections that ended in the midst of the run.
    pub closed: u64,
    /// Why, with how often; a close frame of the server with its code.
    pub closes: BTreeMap<String, u64>,
    /// Their sessions that began again.
    pub returned: u64,
    /// Delivery to the others, of messages due in the calm phases.
    pub calm_ns: Latency,
    /// The same, of messages due in the slow phases.
    pub slow_ns: Latency,
    /// p99 in the slow phases over p99 in the calm ones; absent if either was not measured.
    pub healthy_p99_ratio: Option<f64>,
    /// The server's most resident memory in the calm phases; absent if it was not sampled.
    pub server_rss_calm_bytes: Option<u64>,
    /// The same in the slow phases.
    pub server_rss_slow_bytes: Option<u64>,
}
