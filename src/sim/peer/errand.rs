//! What peers come for, how they read, and how they go.
//!
//! Drawn anew for every peer, so that in a few hundred worlds every kind of peer has met every kind of fault.
//!
//! Invariant: what is drawn follows from the generator and the habits of the world.

use fastrand::Rng;

use super::wrong::{HEADS, Wrong};
use crate::base::tick::Nanos;
use crate::ws;

/// What a peer comes for.
#[derive(Debug, Clone)]
pub enum Errand {
    /// A WebSocket at this target, and so many messages.
    Talk(String, u32),
    /// Pages and numbers, so many.
    Browse(u32),
    /// Publications by HTTP, so many.
    Post(u32),
    /// Nonsense.
    Noise(Noise),
}

/// Kinds of nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Random bytes instead of a request.
    Bytes,
    /// A part of a request, then silence.
    HalfHead,
    /// A request, a byte at a time, so slowly that it never ends.
    Dribble,
    /// Not a word.
    Silence,
    /// A head that must be refused: its number in the table.
    Head(usize),
    /// A good handshake at this target, which must be answered with this status.
    Barred(&'static str, u16),
    /// A good handshake, then a frame that breaks the protocol.
    Frame(Wrong),
    /// A good handshake, then a message that never ends, with pings in it.
    Unfinished,
    /// A good handshake, then random bytes.
    BadStream,
}

/// How a peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// At once.
    Prompt,
    /// So many bytes every so many nanoseconds.
    Slow(usize, Nanos),
    /// Not at all until nothing goes wrong any more.
    Later,
    /// Never.
    Never,
}

/// How a peer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It stays until it is asked to go.
    Stay,
    /// A close frame, then it waits for the server's and for the end.
    Polite,
    /// A close frame and the end of its side at once; it reads on.
    Hasty,
    /// The end of its side without a close frame.
    End,
    /// A reset.
    Reset,
    /// Nothing: its host is gone.
    Vanish,
}

/// What a world wants of its peers.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Peers come within this time.
    pub within: Nanos,
    /// What the server takes at most.
    pub limits: ws::Limits,
    /// Nearly all are in one channel.
    pub is_crowd: bool,
    /// Some publish by HTTP.
    pub has_posters: bool,
    /// Some listen to ticks.
    pub has_ticks: bool,
    /// Most ask for compression.
    pub is_compressed: bool,
}

/// Draws what the peer of this number comes for.
pub(super) fn draw_errand(number: usize, rng: &mut Rng, habits: Habits) -> Errand {
    let messages = if rng.u32(..4) == 0 { rng.u32(..60) } else { rng.u32(..12) };
    if habits.is_crowd && rng.u32(..10) > 0 {
        return Errand::Talk("/broadcast/crowd?self=0".to_owned(), messages.min(3));
    }
    match rng.u32(..20) {
        0 => Errand::Noise(match rng.u32(..12) {
            0 => Noise::Bytes,
            1 => Noise::HalfHead,
            2 => Noise::Dribble,
            3 => Noise::Silence,
            4 if rng.bool() => Noise::Unfinished,
            4 => Noise::BadStream,
            5 | 6 => Noise::Head(rng.usize(..HEADS.len())),
            _ => Noise::Frame(Wrong::ALL[rng.usize(..Wrong::ALL.len())]),
        }),
        1 => Errand::Browse(messages),
        2 | 3 if habits.has_posters => Errand::Post(messages),
        4 | 5 if habits.has_ticks => {
            let (rate, size) = ([1, 10, 50][rng.usize(..3)], [32, 100, 3000][rng.usize(..3)]);
            Errand::Talk(format!("/tick/{rate}?size={size}"), 0)
        }
        6..9 => Errand::Talk("/echo".to_owned(), messages),
        9 => Errand::Talk("/echo?prefix=ECHO:".to_owned(), messages),
        10 => Errand::Talk(format!("/chat?name=anna{number}"), messages),
        11 | 12 => Errand::Talk("/chat".to_owned(), messages),
        13 => Errand::Talk("/chat/sea".to_owned(), messages),
        14 => Errand::Talk("/broadcast?self=0".to_owned(), messages),
        15 => Errand::Talk("/broadcast?role=listen".to_owned(), messages / 12),
        16 => Errand::Talk("/broadcast/sea".to_owned(), messages),
        _ => Errand::Talk("/broadcast".to_owned(), messages),
    }
}
