//! The trace: everything that happens in a world, as one hash and, if asked for, as lines to read.
//!
//! Two runs of a seed must be the same run, or a failure could not be looked at twice. So every event goes through
//! here and into a hash; equal hashes are equal histories.
//!
//! Invariant: a note holds only what follows from the seed: no address, no real time, no order of a hash table.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::base::tick::{MILLI, Nanos, SECOND};

/// Receives the lines of a narrated run.
pub type Sink = Box<dyn FnMut(&str)>;

/// The history of a world.
#[derive(Default)]
pub struct Trace {
    hasher: Fnv,
    notes: u64,
    sink: Option<Sink>,
}

/// One event. Peers are named by their number in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Note {
    /// The world goes on to this part of its life.
    Phase(&'static str),
    /// The server slept for so long and found so many events.
    Woke(Nanos, usize),
    /// Our own process was not running for so long.
    Stalled(Nanos),
    /// A peer knocks.
    Knocked(usize),
    /// The server let it in, with this serial.
    Accepted(usize, u32),
    /// Accepting failed.
    NotAccepted(&'static str),
    /// The peer put so many bytes on the wire.
    Spoke(usize, usize),
    /// So many bytes of it reached the server's socket.
    Arrived(usize, usize),
    /// The server read so many.
    Read(usize, usize),
    /// The server wrote the first number of bytes of the second.
    Wrote(usize, usize, usize),
    /// So many bytes reached the peer, with this hash.
    Heard(usize, usize, u64),
    /// The peer ended its side.
    Ended(usize),
    /// The peer reset the connection.
    Reset(usize),
    /// The peer's host is gone without a word.
    Vanished(usize),
    /// The server ended its side.
    Finished(usize),
    /// A call on its socket failed.
    Failed(usize, &'static str),
    /// The server closed the socket; with unread bytes, hence a reset.
    Closed(usize, bool),
    /// The service was told of a peer.
    Opened(usize),
    /// The service was told of its end.
    Departed(usize, &'static str),
    /// The server was told to stop.
    Stop,
}

impl Trace {
    /// A trace that hands every line to `sink`.
    #[must_use]
    pub fn narrated(sink: Sink) -> Self {
        Self { sink: Some(sink), ..Self::default() }
    }

    /// Enters an event.
    pub fn note(&mut self, now: Nanos, note: Note) {
        now.hash(&mut self.hasher);
        note.hash(&mut self.hasher);
        self.notes += 1;
        if let Some(sink) = &mut self.sink {
            sink(&format!("{:>4}.{:06} {note}", now / SECOND, now % SECOND / 1000));
        }
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Events so far.
    #[must_use]
    pub const fn notes(&self) -> u64 {
        self.notes
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("hash", &self.hash()).field("notes", &self.notes).finish()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Phase(name) => write!(f, "---- {name}"),
            Self::Woke(slept, events) => {
                let slept_ms = slept as f64 / MILLI as f64;
                write!(f, "     server  slept {slept_ms:.3} ms, {events} events")
            }
            Self::Stalled(ns) => write!(f, "     server  is not running for {} ms", ns / MILLI),
            Self::Knocked(peer) => write!(f, "{peer:>4} peer    knocks"),
            Self::Accepted(peer, serial) => write!(f, "{peer:>4} server  accepts it as {serial}"),
            Self::NotAccepted(why) => write!(f, "     server  cannot accept: {why}"),
            Self::Spoke(peer, bytes) => write!(f, "{peer:>4} peer    sends {bytes}"),
            Self::Arrived(peer, bytes) => write!(f, "{peer:>4} network brings {bytes} to the server"),
            Self::Read(peer, bytes) => write!(f, "{peer:>4} server  reads {bytes}"),
            Self::Wrote(peer, taken, of) => write!(f, "{peer:>4} server  writes {taken} of {of}"),
            Self::Heard(peer, bytes, hash) => write!(f, "{peer:>4} peer    reads {bytes} ({hash:016x})"),
            Self::Ended(peer) => write!(f, "{peer:>4} peer    ends its side"),
            Self::Reset(peer) => write!(f, "{peer:>4} peer    resets"),
            Self::Vanished(peer) => write!(f, "{peer:>4} peer    vanishes"),
            Self::Finished(peer) => write!(f, "{peer:>4} server  ends its side"),
            Self::Failed(peer, why) => write!(f, "{peer:>4} server  gets {why}"),
            Self::Closed(peer, false) => write!(f, "{peer:>4} server  closes"),
            Self::Closed(peer, true) => write!(f, "{peer:>4} server  closes on unread bytes: a reset"),
            Self::Opened(peer) => write!(f, "{peer:>4} service hears of it"),
            Self::Departed(peer, why) => write!(f, "{peer:>4} service hears of its end: {why}"),
            Self::Stop => write!(f, "     server  is told to stop"),
        }
    }
}

/// FNV-1a, 64 bits: not strong, but the same everywhere and for ever.
#[derive(Debug, Clone, Copy)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn mix(&mut self, word: [u8; 8]) {
        self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(*word));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(word);
        }
    }
}

/// The hash of some bytes, in four lanes: a world hashes every byte that anybody hears, several times.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [Fnv::default(); 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            lane.mix(*word);
        }
    }
    let [mut hasher, others @ ..] = lanes;
    others.into_iter().for_each(|lane| hasher.mix(lane.0.to_le_bytes()));
    hasher.write(rest);
    hasher.write_usize(bytes.len());
    hasher.finish()
}
