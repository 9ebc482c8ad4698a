//! Fan-out completion: for each broadcast, when the first, half, 95 % and the last of its subscribers had it.
//!
//! Why: a broadcast server is bought for the moment when the *last* subscriber has the message; a histogram over all
//! deliveries hides it. Each loop notes, for each message, the times at which its count passed certain ranks; put
//! together by time, the curves of all loops give the times for the whole.
//!
//! How exact: with one loop every rank asked for is noted itself. With several, each loop notes every rank up to
//! [`POINTS_MAX`] subscribers, and evenly spread ranks beyond; the merged time is then that of a subscriber at most
//! n/256 of one loop's ranks later: first and last are always exact.
//!
//! Invariants: a loop's times for one message are in order, since its clock and its reads are; counting a message
//! never allocates, only its first arrival does, by doubling.

use std::collections::HashMap;

/// Ranks noted per message and loop, at most.
pub const POINTS_MAX: u32 = 256;

/// Which ranks a loop notes, the same for each of its messages.
#[derive(Clone, Debug)]
pub struct Ranks(Vec<u32>);

impl Ranks {
    /// For a loop with `subscribers` of its own; `alone` says that it is the only loop. `budget` bounds the points.
    pub fn new(subscribers: u32, alone: bool, budget: u32) -> Self {
        let mut ranks = vec![1];
        // The sender may be left out by the server: note the ranks of n and of n - 1.
        for total in [subscribers, subscribers.saturating_sub(1)] {
            ranks.extend([rank_of(0.5, total), rank_of(0.95, total), total]);
        }
        if !alone {
            let points = budget.clamp(8, POINTS_MAX);
            let step = subscribers.div_ceil(points).max(1);
            ranks.extend((1..=subscribers).step_by(step as usize));
        }
        ranks.retain(|rank| *rank > 0);
        ranks.sort_unstable();
        ranks.dedup();
        Self(ranks)
    }
}

/// The smallest count that is at least this share of `total`.
pub fn rank_of(share: f64, total: u32) -> u32 {
    (share * f64::from(total)).ceil() as u32
}

/// One message as one loop saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    intended_ns: u64,
    last_ns: u64,
    count: u32,
    /// How many ranks were passed; what the next rank is, is known from it.
    passed: u32,
}

/// All measured messages as one loop saw them.
#[derive(Debug)]
pub struct Fanout {
    ranks: Ranks,
    /// Row numbers by publisher and sequence, less the publisher's first measured sequence.
    index: Vec<Lane>,
    rows: Vec<Row>,
    keys: Vec<(u32, u32)>,
    /// `ranks` times per row.
    times_ns: Vec<u64>,
}

/// A publisher's rows.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// Sequence of the first row; later ones may come first when messages are lost, hence `rows` may be rebuilt.
    base: u32,
    rows: Vec<u32>,
}

const NO_ROW: u32 = u32::MAX;

impl Fanout {
    /// For `publishers` publishers.
    pub fn new(ranks: Ranks, publishers: u32) -> Self {
        Self {
            ranks,
            index: vec![Lane::default(); publishers as usize],
            rows: Vec::new(),
            keys: Vec::new(),
            times_ns: Vec::new(),
        }
    }

    /// Notes one arrival; returns how many subscribers of this loop have the message now.
    #[inline]
    pub fn arrive(&mut self, publisher: u32, sequence: u32, intended_ns: u64, now_ns: u64) -> u32 {
        let number = self.row(publisher, sequence, intended_ns);
        let row = &mut self.rows[number];
        row.count += 1;
        row.last_ns = now_ns;
        let passed = row.passed as usize;
        if self.ranks.0.get(passed) == Some(&row.count) {
            self.times_ns[number * self.ranks.0.len() + passed] = now_ns;
            row.passed += 1;
        }
        row.count
    }

    /// Notes that a message was sent, so that it is known even if nobody hears it.
    pub fn sent(&mut self, publisher: u32, sequence: u32, intended_ns: u64) {
        let _ = self.row(publisher, sequence, intended_ns);
    }

    /// How many subscribers of this loop have a message.
    pub fn count(&self, publisher: u32, sequence: u32) -> u32 {
        let lane = &self.index[publisher as usize];
        let number = sequence.checked_sub(lane.base).and_then(|at| lane.rows.get(at as usize)).copied();
        number.filter(|number| *number != NO_ROW).map_or(0, |number| self.rows[number as usize].count)
    }

    /// The row of a message, made if it is new.
    fn row(&mut self, publisher: u32, sequence: u32, intended_ns: u64) -> usize {
        let lane = &mut self.index[publisher as usize];
        if lane.rows.is_empty() {
            lane.base = sequence;
        }
        if sequence < lane.base {
            let before = (lane.base - sequence) as usize;
            lane.rows.splice(0..0, std::iter::repeat_n(NO_ROW, before));
            lane.base = sequence;
        }
        let at = (sequence - lane.base) as usize;
        if at >= lane.rows.len() {
            lane.rows.resize(at + 1, NO_ROW);
        }
        if lane.rows[at] == NO_ROW {
            lane.rows[at] = self.rows.len() as u32;
            self.rows.push(Row { intended_ns, ..Row::default() });
            self.keys.push((publisher, sequence));
            self.times_ns.resize(self.rows.len() * self.ranks.0.len(), 0);
        }
        lane.rows[at] as usize
    }

    /// What goes home: one record per message.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let width = self.ranks.0.len();
        self.rows.iter().zip(&self.keys).enumerate().map(move |(number, (row, key))| Record {
            publisher: key.0,
            sequence: key.1,
            intended_ns: row.intended_ns,
            count: row.count,
            last_ns: row.last_ns,
            ranks: &self.ranks.0[..row.passed as usize],
            times_ns: &self.times_ns[number * width..][..row.passed as usize],
        })
    }
}

/// One message as one loop saw it, on its way home.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    publisher: u32,
    sequence: u32,
    intended_ns: u64,
    count: u32,
    last_ns: u64,
    ranks: &'a [u32],
    times_ns: &'a [u64],
}

impl Record<'_> {
    /// Appends the record to a shard's results: little-endian words of eight bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let head = [
            u64::from(self.publisher) << 32 | u64::from(self.sequence),
            self.intended_ns,
            self.last_ns,
            u64::from(self.count) << 32 | self.ranks.len() as u64,
        ];
        let points =
            self.ranks.iter().zip(self.times_ns).flat_map(|(&rank, &time_ns)| [u64::from(rank), time_ns]);
        for word in head.into_iter().chain(points) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

/// One message as everybody saw it.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// Its publisher and sequence, 32 bits each.
    pub key: u64,
    /// When it was due.
    pub intended_ns: u64,
    /// How many subscribers had it.
    pub count: u32,
    /// When the last of them had it.
    pub last_ns: u64,
    /// (time, how many more had it then), unordered.
    steps: Vec<(u64, u32)>,
}

impl Merged {
    /// When that many subscribers had it, for each of `ranks`; `None` where they never did.
    pub fn times_ns<const N: usize>(&self, ranks: [u32; N]) -> [Option<u64>; N] {
        let mut steps = self.steps.clone();
        steps.sort_unstable();
        ranks.map(|rank| {
            let mut count = 0;
            steps.iter().find_map(|&(time_ns, more)| {
                count += more;
                (count >= rank).then_some(time_ns)
            })
        })
    }
}

/// Puts the records of all loops together.
///
/// # Errors
/// The bytes end within a record.
pub fn merge<'a>(shards: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Merged>, &'static str> {
    let mut messages: HashMap<u64, Merged> = HashMap::new();
    for bytes in shards {
        let mut words =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        while let Some(key) = words.next() {
            let mut word = || words.next().ok_or("a fan-out record is cut off");
            let (intended_ns, last_ns, counts) = (word()?, word()?, word()?);
            let (count, points) = ((counts >> 32) as u32, counts as u32);
            let message = messages.entry(key).or_default();
            (message.key, message.intended_ns) = (key, intended_ns);
            message.last_ns = message.last_ns.max(last_ns);
            message.count += count;
            let mut before = 0;
            for _ in 0..points {
                let (rank, time_ns) = (word()? as u32, word()?);
                message.steps.push((time_ns, rank.saturating_sub(before)));
                before = rank;
            }
            if count > before {
                message.steps.push((last_ns, count - before));
            }
        }
    }
    let mut messages: Vec<_> = messages.into_values().collect();
    messages.sort_unstable_by_key(|message| message.intended_ns);
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn home(fanout: &Fanout) -> Vec<u8> {
        let mut bytes = Vec::new();
        fanout.records().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    #[test]
    fn one_loop_is_exact() {
        let mut fanout = Fanout::new(Ranks::new(1_000, true, POINTS_MAX), 1);
        for nth in 1..=1_000 {
            assert_eq!(fanout.arrive(0, 5, 100, 1_000 + nth), nth as u32);
        }
        let bytes = home(&fanout);
        let merged = merge(std::iter::once(&bytes[..])).expect("whole");
        assert_eq!(
            merged[0].times_ns([1, 500, 950, 1_000]),
            [Some(1_001), Some(1_500), Some(1_950), Some(2_000)]
        );
        assert_eq!((merged.len(), merged[0].count, merged[0].intended_ns), (1, 1_000, 100));
    }

    #[test]
    fn a_message_nobody_heard_is_known_and_a_cut_record_is_refused() {
        let mut fanout = Fanout::new(Ranks::new(10, true, POINTS_MAX), 2);
        fanout.sent(1, 9, 77);
        fanout.arrive(1, 7, 55, 60);
        assert_eq!(
            (fanout.count(1, 7), fanout.count(1, 8), fanout.count(1, 9), fanout.count(0, 3)),
            (1, 0, 0, 0)
        );
        let bytes = home(&fanout);
        let merged = merge(std::iter::once(&bytes[..])).expect("whole");
        assert_eq!(merged.iter().map(|message| message.count).collect::<Vec<_>>(), [1, 0]);
        assert!(merge(std::iter::once(&bytes[..bytes.len() - 8])).is_err());
    }

    proptest! {
        #[test]
        fn several_loops_agree_with_one_list(
            times in proptest::collection::vec((0usize..3, 0u64..10_000), 3..200), share in 0.0f64..1.0,
        ) {
            let mut times = times;
            times.sort_by_key(|(_, time)| *time);
            let mut loops: Vec<_> = (0..3).map(|_| Fanout::new(Ranks::new(200, false, POINTS_MAX), 1)).collect();
            for (number, time) in &times {
                loops[*number].arrive(0, 0, 0, *time);
            }
            let homes: Vec<_> = loops.iter().map(home).collect();
            let merged = merge(homes.iter().map(Vec::as_slice)).expect("whole");
            let rank = rank_of(share, times.len() as u32).max(1);
            let expected = [Some(times[rank as usize - 1].1), None];
            prop_assert_eq!(merged[0].times_ns([rank, times.len() as u32 + 1]), expected);
        }
    }
}
