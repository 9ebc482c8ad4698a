//! How long one phase of a turn may take.
//!
//! Bounds in numbers say what a phase may do; how long that takes is the machine's affair, and what peers do. A closing
//! handshake costs 18 µs where an echo costs 3, a queue that drains may hold a message or a quarter of a mebibyte. So a
//! phase that takes one peer after the other also looks at the clock, and leaves the rest listed for the next turn.
//!
//! Invariant: something is done in every stint, so that no phase starves behind the others.

use super::limits::{STINT, STINT_LOOK};
use crate::base::tick::Nanos;
use crate::net::Net;

/// The time of one phase in one turn.
#[derive(Debug)]
pub(super) struct Stint {
    since: Nanos,
    served: u32,
}

impl Stint {
    /// Begins now.
    pub(super) fn begin<N: Net>(net: &N) -> Self {
        Self { since: net.now(), served: 0 }
    }

    /// Whether the time is over. To be asked before each peer: the clock is looked at for one in [`STINT_LOOK`].
    #[inline]
    pub(super) fn is_over<N: Net>(&mut self, net: &N) -> bool {
        let served = self.served;
        self.served += 1;
        served > 0 && served.is_multiple_of(STINT_LOOK) && self.is_long(net)
    }

    /// The same, by the clock each time: where one step may be long.
    pub(super) fn is_long<N: Net>(&self, net: &N) -> bool {
        net.now().saturating_sub(self.since) >= STINT
    }
}
