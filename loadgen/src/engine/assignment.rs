//! Which clients belong to which loop: client g belongs to loop g mod loops.
//!
//! Why: dealing them out in turn spreads publishers (the clients with the lowest numbers) evenly too.
//!
//! Invariants: every client belongs to exactly one loop; local numbers are dense.

use serde::{Deserialize, Serialize};

/// One loop's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which loop, over all processes.
    pub index: u32,
    /// Of how many.
    pub loops: u32,
    /// When the run began: seconds are counted from here on all loops alike.
    pub origin_ns: u64,
}

impl Assignment {
    /// How many of `total` clients (or of the first `total`) are this loop's.
    pub const fn clients(&self, total: u32) -> u32 {
        (total + self.loops - 1 - self.index) / self.loops
    }

    /// The number over all loops of this loop's client `local`.
    pub const fn global(&self, local: u32) -> u32 {
        local * self.loops + self.index
    }

    /// The local number of a client, if it is this loop's.
    pub const fn local(&self, global: u32) -> Option<u32> {
        if global % self.loops == self.index { Some(global / self.loops) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_client_has_one_loop(total in 0u32..2_000, loops in 1u32..17) {
            let shares: Vec<_> = (0..loops).map(|index| Assignment { index, loops, origin_ns: 0 }).collect();
            prop_assert_eq!(shares.iter().map(|share| share.clients(total)).sum::<u32>(), total);
            for share in &shares {
                for local in 0..share.clients(total) {
                    prop_assert!(share.global(local) < total);
                    prop_assert_eq!(share.local(share.global(local)), Some(local));
                }
            }
            for global in 0..total {
                prop_assert_eq!(shares.iter().filter(|share| share.local(global).is_some()).count(), 1);
            }
        }
    }
}
