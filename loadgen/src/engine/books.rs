//! The books of a moving population: who was owed what, as it travels home and is put together.
//!
//! Why: what is expected can be counted only when all writes and all sessions of all loops are known; until then each
//! loop keeps its own, in sixteen bytes a session and as many a message.
//!
//! Invariants: merging keeps everything; an interval's begin is not behind its end; times are nanoseconds
//! since the run's origin, the same on all loops.

use super::results::{Bytes, Times};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// Sessions as the writes they were owed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// From before the first message until after the last.
    pub throughout: u64,
    /// From, until; the end is `u64::MAX` for who stayed.
    #[serde(serialize_with = "pack", deserialize_with = "unpack")]
    pub intervals: Vec<(u64, u64)>,
}

fn pack<S: Serializer>(intervals: &[(u64, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = intervals.iter().flat_map(|(from, until)| [from.to_le_bytes(), until.to_le_bytes()]);
    Bytes(bytes.flatten().collect()).serialize(serializer)
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(u64, u64)>, D::Error> {
    let Bytes(bytes) = Bytes::deserialize(deserializer)?;
    if bytes.len() % PAIR_BYTES != 0 {
        return Err(D::Error::custom("an interval is cut off"));
    }
    Ok(pairs(&bytes).collect())
}

/// Two numbers of eight bytes.
const PAIR_BYTES: usize = 16;

fn pairs(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().unwrap_or_default());
    bytes.chunks_exact(PAIR_BYTES).map(move |pair| (word(&pair[..8]), word(&pair[8..])))
}

/// Messages as (publisher and sequence, when written).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Writes(Bytes);

impl Writes {
    /// Notes a write.
    pub fn note(&mut self, publisher: u32, sequence: u32, written_ns: u64) {
        let key = u64::from(publisher) << 32 | u64::from(sequence);
        self.0.0.extend_from_slice(&key.to_le_bytes());
        self.0.0.extend_from_slice(&written_ns.to_le_bytes());
    }

    /// All of them: the key as in [`Merged`](super::fanout::Merged), and when.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        pairs(&self.0.0)
    }
}

/// How many were there at a time.
#[derive(Clone, Debug, Default)]
pub struct Attendance {
    throughout: u64,
    from_ns: Vec<u64>,
    until_ns: Vec<u64>,
}

impl Attendance {
    /// Of these sessions.
    pub fn new(sessions: &Sessions) -> Self {
        let mut new = Self {
            throughout: sessions.throughout,
            from_ns: sessions.intervals.iter().map(|(from, _)| *from).collect(),
            until_ns: sessions.intervals.iter().map(|(_, until)| *until).collect(),
        };
        new.from_ns.sort_unstable();
        new.until_ns.sort_unstable();
        new
    }

    /// To how many a message was owed that was written `written_ns` after the origin.
    pub fn at(&self, written_ns: u64) -> u64 {
        let begun = self.from_ns.partition_point(|from| *from <= written_ns);
        let over = self.until_ns.partition_point(|until| *until < written_ns);
        self.throughout + (begun - over) as u64
    }
}

/// What a loop brings home of clients that moved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moved {
    /// Sessions of everybody whose messages are in `deliveries`.
    pub sessions: Sessions,
    /// Sessions of the slow.
    pub slow_sessions: Sessions,
    /// Measured messages written by this loop's publishers.
    pub writes: Writes,
    /// Sessions for which there was no room in the books.
    pub unbooked: u64,
    /// Sessions begun after the first.
    pub joins: u64,
    /// Sessions that ended with a close frame, a FIN, a reset.
    pub left: [u64; 3],
    /// Of these, who had to be reset because the server did not end the connection.
    pub left_unanswered: u64,
    /// Attempts to come back that failed.
    pub failed: u64,
    /// Why, with how often.
    pub failures: BTreeMap<String, u64>,
    /// From `connect` to `101`, of who came back.
    pub handshake: Times,
    /// Measured messages that came to somebody who came after they were written.
    pub newcomer_deliveries: u64,
    /// Measured messages that came to somebody who was to go before their life was over.
    pub leaver_deliveries: u64,
    /// Storm: from the reset until connected again.
    pub back: Times,
    /// Storm: from the reset until the first message again.
    pub served: Times,
    /// Delivery times of who never moved, by phase: before the storm and each second after it; calm and slow.
    pub phases: Vec<Times>,
    /// Measured messages that came to the slow.
    pub slow_received: u64,
    /// Of these, again.
    pub slow_duplicate: u64,
    /// Notices to them that something was left out.
    pub slow_gaps: u64,
    /// Messages left out, by those notices.
    pub slow_missed: u64,
    /// Connections of the slow that ended, by reason.
    pub slow_closed: BTreeMap<String, u64>,
}

impl Moved {
    /// Adds another loop's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in
            [(&mut self.sessions, &other.sessions), (&mut self.slow_sessions, &other.slow_sessions)]
        {
            mine.throughout += theirs.throughout;
            mine.intervals.extend_from_slice(&theirs.intervals);
        }
        self.writes.0.0.extend_from_slice(&other.writes.0.0);
        for (mine, theirs) in [
            (&mut self.unbooked, other.unbooked),
            (&mut self.joins, other.joins),
            (&mut self.left_unanswered, other.left_unanswered),
            (&mut self.failed, other.failed),
            (&mut self.newcomer_deliveries, other.newcomer_deliveries),
            (&mut self.leaver_deliveries, other.leaver_deliveries),
            (&mut self.slow_received, other.slow_received),
            (&mut self.slow_duplicate, other.slow_duplicate),
            (&mut self.slow_gaps, other.slow_gaps),
            (&mut self.slow_missed, other.slow_missed),
        ] {
            *mine += theirs;
        }
        for (mine, theirs) in self.left.iter_mut().zip(other.left) {
            *mine += theirs;
        }
        for (mine, theirs) in
            [(&mut self.failures, &other.failures), (&mut self.slow_closed, &other.slow_closed)]
        {
            for (why, count) in theirs {
                *mine.entry(why.clone()).or_default() += count;
            }
        }
        self.handshake.merge(&other.handshake);
        self.back.merge(&other.back);
        self.served.merge(&other.served);
        if self.phases.len() < other.phases.len() {
            self.phases.resize_with(other.phases.len(), Times::default);
        }
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            mine.merge(theirs);
        }
    }
}

/// Notes a reason in a table of them; texts beyond the hundredth kind count together.
pub(super) fn note_reason(reasons: &mut BTreeMap<String, u64>, why: &str) {
    let why = if reasons.len() < 100 || reasons.contains_key(why) { why } else { "other" };
    *reasons.entry(why.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn attendance_is_what_looking_at_every_session_says(
            sessions in proptest::collection::vec((0u64..50, 0u64..50, any::<bool>()), 0..40), at_ns in 0u64..110,
        ) {
            let intervals: Vec<_> = sessions
                .iter()
                .map(|(from, more, ends)| (*from, if *ends { from + more } else { u64::MAX }))
                .collect();
            let there = |(from, until): &&(u64, u64)| *from <= at_ns && at_ns <= *until;
            let expected = 7 + intervals.iter().filter(there).count() as u64;
            let sessions = Sessions { throughout: 7, intervals };
            prop_assert_eq!(Attendance::new(&sessions).at(at_ns), expected);
        }
    }

    #[test]
    fn the_books_survive_the_way_home_and_add_up() {
        let mut one = Moved { joins: 2, left: [1, 0, 3], ..Moved::default() };
        one.sessions = Sessions { throughout: 5, intervals: vec![(1, 2), (3, u64::MAX)] };
        one.writes.note(7, 9, 1 << 40);
        one.phases.resize_with(3, Times::default);
        one.phases[2].record(5_000_000);
        note_reason(&mut one.failures, "refused");
        let json = serde_json::to_string(&one).expect("plain data");
        let mut back: Moved = serde_json::from_str(&json).expect("the same type");
        back.merge(&one);
        assert_eq!((back.joins, back.left, back.failures["refused"]), (4, [2, 0, 6], 2));
        assert_eq!((back.sessions.throughout, back.sessions.intervals.len()), (10, 4));
        assert_eq!(back.writes.iter().collect::<Vec<_>>(), [(7 << 32 | 9, 1 << 40); 2]);
        assert_eq!(back.phases[2].0.len(), 2);
    }
}
