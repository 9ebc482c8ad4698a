//! Slow reading: in every other phase the slow clients leave their sockets alone but for a few bytes a second.
//!
//! Why phases: what slow peers cost the others shows only against the same server without them, minutes apart is another
//! machine; so calm and slow take turns within one run, and in the calm ones the slow read like everybody.
//!
//! Why a small receive buffer: the kernel would read on for us, some megabytes per client; with [`BUFFER_BYTES`] it is the
//! server that has to keep what is not read.
//!
//! Invariants: a socket whose readiness was left alone is read when the phase ends, since its edge will not be told
//! again; nothing is read in a slow phase but what the rate allows, except to learn that a connection is broken.

use super::clock::now_ns;
use super::{Loop, NS_PER_S};
use crate::client::State;
use crate::plan::Motion;

/// Receive buffer that a slow client asks for, in bytes; the kernel doubles it, or takes its own least.
pub(super) const BUFFER_BYTES: usize = 4 << 10;
/// How often slow clients read a little.
const TICK_NS: u64 = 100_000_000;

/// The slow reading of one loop.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    /// When something is to be done next; 0: not begun, `u64::MAX`: never again.
    pub(super) next_ns: u64,
    was_slow: bool,
}

impl Loop<'_> {
    /// Reads the little that is due, and all when a slow phase is over.
    pub(super) fn read_slowly(&mut self) {
        let Motion::Slow { rate_per_s, .. } = self.plan.motion else { return };
        if !self.is_moving() || !self.is_running() {
            return;
        }
        let now_ns = now_ns();
        if now_ns < self.slowness.next_ns {
            return;
        }
        let (is_slow, was_slow) = (self.measure.population.is_slow_now(now_ns), self.slowness.was_slow);
        self.slowness.was_slow = is_slow;
        // Of a rate below ten bytes a second, one byte less often.
        let tick_ns = NS_PER_S.checked_div(rate_per_s).map_or(u64::MAX, |ns| ns.max(TICK_NS));
        match (is_slow, was_slow) {
            (true, false) => {} // the phase begins: a tick later the first bytes are due
            (true, true) => {
                let bytes = (u128::from(rate_per_s) * u128::from(tick_ns) / u128::from(NS_PER_S)).max(1);
                self.lent.limit = usize::try_from(bytes).ok();
                self.read_the_slow();
                self.lent.limit = None;
            }
            (false, true) => self.read_the_slow(),
            (false, false) => {}
        }
        let phase_ns = self.measure.population.next_phase_ns(now_ns);
        let tick_ns = if is_slow { now_ns.saturating_add(tick_ns) } else { u64::MAX };
        self.slowness.next_ns = match phase_ns {
            Some(phase_ns) => phase_ns.min(tick_ns),
            None => u64::MAX,
        };
    }

    fn read_the_slow(&mut self) {
        for local in 0..self.clients.len() {
            if self.measure.population.is_slow(local) && self.clients[local].state() == State::Open {
                self.read(local, true);
            }
        }
    }

    /// Whether a client's socket is to be left alone now.
    pub(super) fn is_held(&self, local: usize) -> bool {
        self.slowness.was_slow
            && self.measure.population.is_slow(local)
            && self.clients[local].state() == State::Open
    }
}
