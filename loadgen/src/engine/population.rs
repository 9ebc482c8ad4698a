//! Who was there: the sessions of one loop's clients, and to whom of them a message was owed.
//!
//! Why: while clients come and go, "sent × connected" is nobody's due. A message is owed to whoever was connected for its
//! whole life: from its write until `--drain` later, which is also how long a run waits for what is under way. Everybody
//! else may have it or not, and is counted apart: who came after the write (a newcomer), who was to go before the
//! life's end (a leaver).
//!
//! How it is exact: a session knows at its beginning when it will end, so each arrival is judged at once and for good;
//! each session goes home as the interval of writes that it was owed, and what is expected is counted from intervals and
//! writes when all are home, over all loops. Both sides use the same millisecond numbers: a session's begin is rounded
//! up, its end down, so that what is judged owed was owed.
//!
//! ```text
//!     opened                           until                 leave
//!  ─────┼────────────── owed ────────────┼──── --drain ────────┼────▶ time of the write
//!   new                                         leaves
//! ```
//!
//! Invariants: an arrival is of exactly one kind; who does not move has one interval, without end; a connection that the
//! *server* ends was owed everything written until then.

use super::assignment::Assignment;
use super::results::{Moved, Times};
use crate::plan::{Motion, Plan, SLOW_PHASES};
use crate::units::NS_PER_S;
use stentor::base::marker::Marker;

pub(super) const NS_PER_MS: u64 = 1_000_000;
/// A time that does not come.
pub(super) const NEVER_MS: u32 = u32::MAX;
/// Sessions booked by one loop: 16 bytes each, 128 MiB. What is beyond is counted, and makes the run INVALID.
const SESSIONS_MAX: usize = 8 << 20;
/// Slices of a second after a storm; the last holds all that comes later.
const SLICES_MAX: u64 = 128;

/// One client's session. Times are milliseconds since the run's origin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    opened_ms: u32,
    /// When it is to end; [`NEVER_MS`]: not.
    leave_ms: u32,
    /// Attempts to come back that failed since the last success.
    pub(super) failed: u8,
    /// One of those who move.
    pub(super) moves: bool,
    /// A session is under way.
    is_open: bool,
    /// It has come back and heard nothing yet.
    is_unserved: bool,
}

/// What a client's session takes, in bytes.
pub(super) const SESSION_BYTES: usize = size_of::<Session>();

/// What an arrival is to the client it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Owed: the client was there for the message's whole life.
    Owed,
    /// The client came after the message had been written.
    New,
    /// The client was to go before the message's life was over.
    Leaves,
    /// The client is one of those who read slowly: what they are owed is accounted for apart.
    Slow,
}

impl Session {
    /// The first and the last write that it is owed, if the server does not end it, in nanoseconds since the origin.
    const fn owed_ns(&self, life_ms: u32) -> (u64, u64) {
        let from_ns = self.opened_ms as u64 * NS_PER_MS;
        match (self.leave_ms, self.leave_ms.checked_sub(life_ms)) {
            (NEVER_MS, _) => (from_ns, u64::MAX),
            (_, Some(until_ms)) => (from_ns, until_ms as u64 * NS_PER_MS),
            (_, None) => (u64::MAX, 0), // its whole life is shorter than a message's
        }
    }
}

/// The sessions of one loop; empty where nobody moves.
#[derive(Debug)]
pub(super) struct Population {
    motion: Motion,
    origin_ns: u64,
    /// How long a message lives.
    life_ms: u32,
    /// When the storm comes, or the first phase of a slow run begins; 0: not known yet.
    edge_ns: u64,
    phase_ns: u64,
    sessions: Vec<Session>,
    /// What goes home.
    pub(super) moved: Moved,
}

impl Population {
    /// Of nobody yet.
    pub(super) fn new(plan: &Plan, assignment: &Assignment) -> Self {
        Self {
            motion: plan.motion,
            origin_ns: assignment.origin_ns,
            life_ms: u32::try_from(plan.drain_ns.div_ceil(NS_PER_MS)).unwrap_or(NEVER_MS),
            edge_ns: 0,
            phase_ns: plan.duration_ns / SLOW_PHASES,
            sessions: Vec::new(),
            moved: Moved::default(),
        }
    }

    /// Knows this loop's clients.
    pub(super) fn follow(&mut self, plan: &Plan, assignment: &Assignment, clients: u32) {
        if self.motion.is_still() {
            return;
        }
        let session = |local| Session {
            leave_ms: NEVER_MS,
            moves: self.motion.moves(assignment.global(local), plan.clients, plan.publishers),
            ..Session::default()
        };
        self.sessions = (0..clients).map(session).collect();
    }

    /// Whether nobody moves.
    pub(super) const fn is_still(&self) -> bool {
        self.motion.is_still()
    }

    /// A client's session.
    pub(super) fn session(&mut self, local: usize) -> &mut Session {
        &mut self.sessions[local]
    }

    /// Whether a client moves.
    #[inline]
    pub(super) fn moves(&self, local: usize) -> bool {
        self.sessions.get(local).is_some_and(|session| session.moves)
    }

    /// Whether a client is one of the slow.
    #[inline]
    pub(super) fn is_slow(&self, local: usize) -> bool {
        matches!(self.motion, Motion::Slow { .. }) && self.moves(local)
    }

    /// The schedule begins: everybody who is connected has a session from before it.
    pub(super) fn begin(&mut self, plan: &Plan, start_ns: u64, open: impl Iterator<Item = usize>) {
        let measure_ns = start_ns + plan.warmup_ns;
        self.edge_ns = match self.motion {
            Motion::Still | Motion::Churn { .. } => 0,
            Motion::Storm { at_ns, .. } => measure_ns + at_ns,
            Motion::Slow { .. } => measure_ns,
        };
        if self.is_still() {
            return;
        }
        for local in open {
            self.sessions[local].is_open = true;
        }
    }

    /// When the storm comes, on the monotonic clock; `None` where there is none.
    pub(super) const fn storm_ns(&self) -> Option<u64> {
        match self.motion {
            Motion::Storm { .. } => Some(self.edge_ns),
            Motion::Still | Motion::Churn { .. } | Motion::Slow { .. } => None,
        }
    }

    /// Milliseconds since the origin, rounded down.
    pub(super) fn ms(&self, ns: u64) -> u32 {
        u32::try_from(ns.saturating_sub(self.origin_ns) / NS_PER_MS).unwrap_or(NEVER_MS)
    }

    /// A client is back, for a session that is to end at `leave_ms`.
    pub(super) fn open(&mut self, local: usize, now_ns: u64, leave_ms: u32) {
        let opened_ms = self.ms(now_ns + NS_PER_MS - 1);
        let session = &mut self.sessions[local];
        *session = Session {
            opened_ms,
            leave_ms,
            failed: 0,
            moves: session.moves,
            is_open: true,
            is_unserved: session.is_unserved,
        };
    }

    /// A client tries to come back: what comes with the answer to its handshake was written before it was in.
    pub(super) fn await_answer(&mut self, local: usize) {
        let session = &mut self.sessions[local];
        session.opened_ms = NEVER_MS;
        session.is_unserved = session.moves && matches!(self.motion, Motion::Storm { .. });
    }

    /// Says when a client's session is to end, before anything is owed to it.
    pub(super) fn expect_leave(&mut self, local: usize, leave_ms: u32) {
        self.sessions[local].leave_ms = leave_ms;
    }

    /// Whether the session that was to end at `leave_ms` is still under way.
    pub(super) fn is_due(&self, local: usize, leave_ms: u32) -> bool {
        let session = &self.sessions[local];
        session.is_open && session.leave_ms == leave_ms
    }

    /// Whether the client's last session was the one that was to end at `leave_ms`.
    pub(super) fn was_due(&self, local: usize, leave_ms: u32) -> bool {
        self.sessions[local].leave_ms == leave_ms
    }

    /// A session is over: at its time, or because the server ended it at `cut_ns`.
    pub(super) fn end(&mut self, local: usize, cut_ns: Option<u64>) {
        let cut_ns = cut_ns.map_or(u64::MAX, |cut_ns| cut_ns.saturating_sub(self.origin_ns));
        let session = &mut self.sessions[local];
        if !session.is_open {
            return;
        }
        session.is_open = false;
        let (from_ns, until_ns) = session.owed_ns(self.life_ms);
        let until_ns = until_ns.min(cut_ns);
        if until_ns < from_ns {
            return; // too short a session to be owed anything
        }
        let is_slow = matches!(self.motion, Motion::Slow { .. }) && session.moves;
        let moved = &mut self.moved;
        let books = if is_slow { &mut moved.slow_sessions } else { &mut moved.sessions };
        match (from_ns, until_ns) {
            (0, u64::MAX) => books.throughout += 1,
            _ if books.intervals.len() >= SESSIONS_MAX => moved.unbooked += 1,
            _ => books.intervals.push((from_ns, until_ns)),
        }
    }

    /// Books what is still under way, and hands out everything.
    pub(super) fn into_moved(mut self) -> Moved {
        for local in 0..self.sessions.len() {
            self.end(local, None);
        }
        self.moved
    }

    /// A measured message was written by one of this loop's publishers.
    pub(super) fn note_write(&mut self, marker: &Marker) {
        if !self.is_still() {
            let written_ns = written_ns(marker).saturating_sub(self.origin_ns);
            self.moved.writes.note(marker.publisher, marker.sequence, written_ns);
        }
    }

    /// What the arrival of this message is to the client `local`.
    #[inline]
    pub(super) fn standing(&mut self, local: usize, marker: &Marker, now_ns: u64) -> Standing {
        let Some(session) = self.sessions.get_mut(local) else { return Standing::Owed };
        if session.is_unserved {
            session.is_unserved = false;
            self.moved.served.record(now_ns.saturating_sub(self.edge_ns));
        }
        let written_ns = written_ns(marker).saturating_sub(self.origin_ns);
        let (from_ns, until_ns) = session.owed_ns(self.life_ms);
        if written_ns < from_ns {
            return Standing::New;
        }
        if written_ns > until_ns {
            return Standing::Leaves;
        }
        if session.moves && matches!(self.motion, Motion::Slow { .. }) {
            Standing::Slow
        } else {
            Standing::Owed
        }
    }

    /// Times a measured delivery to somebody who never moves, in the phase to which its message belongs.
    #[inline]
    pub(super) fn time(&mut self, local: usize, intended_ns: u64, delivery_ns: u64) {
        let phase = match self.motion {
            Motion::Still | Motion::Churn { .. } => return,
            Motion::Storm { .. } => match intended_ns.checked_sub(self.edge_ns) {
                None => 0,
                Some(since_ns) => 1 + (since_ns / NS_PER_S).min(SLICES_MAX - 1) as usize,
            },
            Motion::Slow { .. } => match self.slow_phase(intended_ns) {
                // What a phase leaves behind is not the next one's: its first quarter is left out.
                Some((_, into_ns)) if into_ns < self.phase_ns / 4 => return,
                Some((nth, _)) => (nth % 2) as usize,
                None => return,
            },
        };
        if self.sessions[local].moves {
            return;
        }
        if self.moved.phases.len() <= phase {
            self.moved.phases.resize_with(phase + 1, Times::default);
        }
        self.moved.phases[phase].record(delivery_ns);
    }

    /// In which phase of a slow run a time is, and how far into it; `None` outside of all.
    pub(super) fn slow_phase(&self, at_ns: u64) -> Option<(u64, u64)> {
        let since_ns = at_ns.checked_sub(self.edge_ns).filter(|_| self.edge_ns > 0)?;
        let nth = since_ns / self.phase_ns.max(1);
        (nth < SLOW_PHASES).then_some((nth, since_ns % self.phase_ns.max(1)))
    }

    /// Whether slow clients read slowly at this time.
    pub(super) fn is_slow_now(&self, at_ns: u64) -> bool {
        self.slow_phase(at_ns).is_some_and(|(nth, _)| nth % 2 == 1)
    }

    /// When the next phase of a slow run begins; `None` behind the last.
    pub(super) fn next_phase_ns(&self, at_ns: u64) -> Option<u64> {
        if at_ns < self.edge_ns {
            return Some(self.edge_ns);
        }
        let (nth, _) = self.slow_phase(at_ns)?;
        Some(self.edge_ns + (nth + 1) * self.phase_ns)
    }
}

/// When a message was written, as its marker says.
fn written_ns(marker: &Marker) -> u64 {
    marker.intended_ns + u64::from(marker.send_lag_ns)
}
