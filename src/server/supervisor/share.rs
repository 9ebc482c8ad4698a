//! How many workers there are to be, and how many connections each may have.
//!
//! The kernel gives a newcomer to one of the listeners of a port by a hash of its addresses, so the shares are those of a
//! lottery: with *m* connections to a worker on average they differ by about √*m* (binomial). A worker that may have as many as
//! its descriptors allow is therefore planned for six of these less; the seventh would be met once in a thousand million.

use std::num::NonZeroU32;

use crate::net::limits::Descriptors;
use crate::server::limits::DESCRIPTORS_RESERVED;

/// Workers at most: each has a link to every other.
pub const WORKERS_MAX: u32 = 64;

/// How many workers an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// So many.
    Count(NonZeroU32),
    /// As many as `connections_max` asks for, where each may open only so many descriptors; without it, one for each core.
    Auto,
}

impl Workers {
    /// How many that are, for `connections_max` connections, on this machine.
    #[must_use]
    pub fn count(self, connections_max: Option<usize>) -> u32 {
        match self {
            Self::Count(count) => count.get(),
            Self::Auto => {
                let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
                auto(connections_max, Descriptors::raise().soft, cores)
            }
        }
    }
}

/// Connections that a process which may open `descriptors` has room for beside links to `count` workers.
pub(super) fn room_of_one(descriptors: u64, count: u32) -> usize {
    let room = descriptors.saturating_sub(DESCRIPTORS_RESERVED + 2 * u64::from(count)).max(1);
    usize::try_from(room).unwrap_or(usize::MAX)
}

fn auto(connections_max: Option<usize>, descriptors: u64, cores: u32) -> u32 {
    let Some(wanted) = connections_max else { return cores.clamp(1, WORKERS_MAX) };
    let fits = |count: &u32| needed_of_one(wanted, *count) <= room_of_one(descriptors, *count);
    (1..=WORKERS_MAX).find(fits).unwrap_or(WORKERS_MAX)
}

/// Room that each of `count` workers needs so that `wanted` connections find theirs however the kernel deals them.
fn needed_of_one(wanted: usize, count: u32) -> usize {
    if count == 1 {
        return wanted;
    }
    let mean = wanted.div_ceil(count as usize);
    mean + 6 * ((mean as f64).sqrt().ceil() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_workers_as_descriptors_ask_for() {
        let room = 20_000;
        assert_eq!(auto(Some(1_000), room, 2), 1);
        assert_eq!(auto(Some(19_900), room, 2), 1);
        assert_eq!(auto(Some(38_000), room, 2), 2, "19 000 and six times its root");
        assert_eq!(auto(Some(39_000), room, 2), 3, "two could hold them, but not as the kernel deals them");
        assert_eq!(auto(Some(50_000), room, 2), 3);
        assert_eq!(auto(Some(1_000_000), 1 << 21, 2), 1);
        assert_eq!((auto(None, room, 1), auto(None, room, 8)), (1, 8));
    }
}
