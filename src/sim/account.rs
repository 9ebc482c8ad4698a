//! What the book knows of one peer: what it said, what it is owed, and what it has done to deserve its end.
//!
//! Invariant: a peer that has given no reason to be let go is [well](Account::is_well), and is owed everything.

use std::collections::{BTreeMap, VecDeque};

use crate::base::tick::Nanos;
use crate::service::Departure;

/// What is known of one peer.
#[derive(Debug, Default)]
pub struct Account {
    /// What it speaks to.
    pub serves: Serves,
    /// The service was told of it.
    pub opened: bool,
    /// The service was told of its end.
    pub closed: Option<Departure>,
    /// What it said and the service has not heard, as hashes.
    pub spoken: VecDeque<u64>,
    /// What it should hear.
    pub owed: VecDeque<Owed>,
    /// Publications that it found missing.
    pub missed: u64,
    /// Publications that the server said it missed.
    pub told: u64,
    /// It is in this state or has done this.
    pub facts: Facts,
    /// When it heard that it was let in: what is published from then on it is owed.
    pub joined: Option<Nanos>,
    /// What it heard last, to tell what comes twice from what was never owed.
    pub recent: VecDeque<u64>,
    /// The tick source that it hears, the number that comes next, and when it heard the last.
    pub tick: Option<(u32, u32, Nanos)>,
    /// The last that it heard of each publisher by HTTP.
    pub posts: BTreeMap<usize, u64>,
    /// What it published by HTTP and has not been answered.
    pub unanswered: VecDeque<(&'static str, u64)>,
}

/// What a peer does that explains how it departs.
#[derive(Debug, Default, Clone, Copy)]
pub struct Facts {
    /// It has said nonsense, or is about to.
    pub is_noisy: bool,
    /// It does not read all it is sent at once, or does not answer.
    pub is_deaf: bool,
    /// Its connection carries so little that deadlines may pass while bytes are still on their way.
    pub is_thin: bool,
    /// It has sent a close frame.
    pub said_close: bool,
    /// It has sent one, and it was not the answer to ours, at this moment.
    pub closed_at: Option<Nanos>,
    /// It has ended its side.
    pub ended: bool,
    /// Before that, it had said all that there was to say: a close frame, or whole requests.
    pub ended_well: bool,
    /// It has reset the connection.
    pub reset: bool,
    /// Its host is gone, since then.
    pub vanished: Option<Nanos>,
}

/// A message that a peer should hear.
#[derive(Debug, Clone, Copy)]
pub struct Owed {
    /// The hash of its kind and its bytes.
    pub hash: u64,
    /// A publication, which the policy for slow peers may drop; not a reply.
    pub is_publication: bool,
}

/// What a peer speaks to, as far as the book knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Serves {
    /// HTTP, or nothing yet.
    #[default]
    Nothing,
    /// `/echo`, perhaps with a prefix.
    Echo(Option<String>),
    /// `/broadcast`: the channel, whether it hears itself, whether it may speak.
    Broadcast(String, bool, bool),
    /// `/chat`: the room and its name.
    Chat(String, String),
    /// `/tick`.
    Tick,
}

impl Account {
    /// Whether it reads to the end, so that it must hear the server's last words even if it has said its own.
    #[must_use]
    pub const fn may_expect_all(&self) -> bool {
        let facts = &self.facts;
        let is_reading = !facts.is_noisy && !facts.is_deaf && !facts.is_thin;
        is_reading && !facts.reset && facts.vanished.is_none() && (!facts.ended || facts.ended_well)
    }

    /// Whether it reads at once and answers: it must get everything and must not be let go.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        let facts = &self.facts;
        !facts.is_noisy && !facts.is_deaf && !facts.ended && !facts.reset && facts.vanished.is_none()
    }
}
