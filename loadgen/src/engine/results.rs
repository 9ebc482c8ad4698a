//! What a loop brings home: counters, histograms, fan-out records.
//!
//! Why: a loop may be a thread here or a thread in another process; what it brings must be the same and must merge
//! without loss. Histograms travel as HdrHistogram V2-deflate in base64, which keeps every bucket.
//!
//! Invariants: merging is addition, minimum or maximum: its order does not matter.

pub use super::books::Moved;
use super::books::note_reason;
use crate::report::{DECLINED, new_histogram};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stentor::ws::extension::Agreed;

/// A histogram in nanoseconds that can travel.
#[derive(Clone, Debug)]
pub struct Times(pub Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(new_histogram())
    }
}

impl Times {
    /// Records one time; beyond the bounds it counts as the bound.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Records the same time often.
    pub fn record_n(&mut self, ns: u64, count: u64) {
        if count > 0 {
            self.0.saturating_record_n(ns, count);
        }
    }

    /// Adds another's values.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_str("");
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(S::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut times = Self::default();
        if !text.is_empty() {
            let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut &bytes[..]).map_err(D::Error::custom)?;
            times.0.add(&histogram).map_err(D::Error::custom)?;
        }
        Ok(times)
    }
}

/// Bytes that can travel.
#[derive(Clone, Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// What a loop counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Connections asked for.
    pub requested: u64,
    /// Handshakes completed.
    pub connected: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Connections lost before the end.
    pub dropped: u64,
    /// Why, with how often.
    pub failures: BTreeMap<String, u64>,
    /// With `--deflate`: what servers agreed to, or [`DECLINED`], with how often.
    pub extensions: BTreeMap<String, u64>,
    /// When the first attempt began; 0: none.
    pub first_attempt_ns: u64,
    /// When the last handshake was complete.
    pub last_connected_ns: u64,

    /// Messages that came due in the measured phase.
    pub planned: u64,
    /// Messages of the measured phase written.
    pub sent: u64,
    /// Of these, within the schedule's tolerance.
    pub on_time: u64,
    /// Messages of the warm-up written.
    pub warmup: u64,
    /// Payload bytes of `sent`.
    pub sent_bytes: u64,
    /// Bytes of its frames.
    pub sent_wire_bytes: u64,

    /// Measured messages that arrived for the first time.
    pub received: u64,
    /// Of these, at the client that had sent them.
    pub received_self: u64,
    /// Payload bytes of `received`.
    pub received_bytes: u64,
    /// Bytes of its frames.
    pub received_wire_bytes: u64,
    /// Arrived again.
    pub duplicate: u64,
    /// Arrived behind a later one.
    pub reordered: u64,
    /// Damaged markers.
    pub corrupt: u64,
    /// Arrived after the measured phase.
    pub late: u64,
    /// No marker, or not for this client.
    pub unexpected: u64,
    /// Notices of a stentor that it left something out for a slow subscriber.
    pub gaps: u64,
    /// Messages left out, by those notices.
    pub gaps_missed: u64,
}

impl Counts {
    /// Notes why a connection failed; texts beyond the hundredth kind count together.
    pub fn note_failure(&mut self, why: &str) {
        note_reason(&mut self.failures, why);
    }

    /// Notes what a server answered to the offer of compression; the texts are ours, so they are few.
    pub fn note_extension(&mut self, agreed: Option<Agreed>) {
        let answer = agreed.map_or_else(|| DECLINED.to_owned(), |agreed| agreed.to_string());
        *self.extensions.entry(answer).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.requested, other.requested),
            (&mut self.connected, other.connected),
            (&mut self.failed, other.failed),
            (&mut self.dropped, other.dropped),
            (&mut self.planned, other.planned),
            (&mut self.sent, other.sent),
            (&mut self.on_time, other.on_time),
            (&mut self.warmup, other.warmup),
            (&mut self.sent_bytes, other.sent_bytes),
            (&mut self.sent_wire_bytes, other.sent_wire_bytes),
            (&mut self.received, other.received),
            (&mut self.received_self, other.received_self),
            (&mut self.received_bytes, other.received_bytes),
            (&mut self.received_wire_bytes, other.received_wire_bytes),
            (&mut self.duplicate, other.duplicate),
            (&mut self.reordered, other.reordered),
            (&mut self.corrupt, other.corrupt),
            (&mut self.late, other.late),
            (&mut self.unexpected, other.unexpected),
            (&mut self.gaps, other.gaps),
            (&mut self.gaps_missed, other.gaps_missed),
        ] {
            *mine += theirs;
        }
        for (why, count) in &other.failures {
            *self.failures.entry(why.clone()).or_default() += count;
        }
        for (answer, count) in &other.extensions {
            *self.extensions.entry(answer.clone()).or_default() += count;
        }
        if other.first_attempt_ns > 0
            && (self.first_attempt_ns == 0 || other.first_attempt_ns < self.first_attempt_ns)
        {
            self.first_attempt_ns = other.first_attempt_ns;
        }
        self.last_connected_ns = self.last_connected_ns.max(other.last_connected_ns);
    }
}

/// Everything one loop brings home.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoopResult {
    /// The thread's name.
    pub name: String,
    /// What it counted.
    pub counts: Counts,
    /// From due to received.
    pub delivery: Times,
    /// From written to received.
    pub service: Times,
    /// From due to written.
    pub send_lag: Times,
    /// From `connect` to `101`.
    pub handshake: Times,
    /// How old each unsent message was when the loop gave up.
    pub unsent: Times,
    /// How long a turn of the loop took.
    pub loop_lag: Times,
    /// From readable to read.
    pub receive_lag: Times,
    /// Records of [`fanout`](super::fanout).
    pub fanout: Bytes,
    /// What is known of clients that moved.
    pub moved: Moved,
    /// CPU time of the thread in the measured phase, in nanoseconds.
    pub cpu_ns: u64,
    /// How long that phase was, in nanoseconds.
    pub measured_ns: u64,
    /// When the loop ended, on the monotonic clock.
    pub ended_ns: u64,
    /// Resident memory of its process when all were connected, in bytes.
    pub rss_bytes: u64,
    /// Of this the anonymous part, in bytes: without the program's own pages.
    pub anon_bytes: u64,
    /// The same before there were clients.
    pub anon_before_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_survives_the_way_home_bucket_by_bucket() {
        let mut result =
            LoopResult { name: "loop 0".into(), fanout: Bytes(vec![1, 2, 255]), ..LoopResult::default() };
        for ns in [1, 5_000, 7_777_777, 90_000_000_000] {
            result.delivery.record(ns);
        }
        result.counts.note_failure("refused");
        let json = serde_json::to_string(&result).expect("plain data");
        let back: LoopResult = serde_json::from_str(&json).expect("the same type");
        assert_eq!(back.delivery.0, result.delivery.0);
        assert_eq!((back.fanout.0, back.service.0.len()), (vec![1, 2, 255], 0));
        assert_eq!(back.counts.failures["refused"], 1);
    }

    #[test]
    fn merging_adds() {
        let mut all = Counts { first_attempt_ns: 0, ..Counts::default() };
        let one = Counts { received: 3, first_attempt_ns: 9, last_connected_ns: 11, ..Counts::default() };
        let two = Counts { received: 4, first_attempt_ns: 7, last_connected_ns: 10, ..Counts::default() };
        all.merge(&one);
        all.merge(&two);
        assert_eq!((all.received, all.first_attempt_ns, all.last_connected_ns), (7, 7, 11));
        let mut times = Times::default();
        times.record_n(5_000, 2);
        times.merge(&times.clone());
        assert_eq!(times.0.len(), 4);
    }
}
