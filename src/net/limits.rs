//! How many descriptors this process may open, and how to get all that it may.
//!
//! Every connection is a descriptor. The soft limit is often 1024 while the hard one is far higher; a server
//! that does not raise it refuses its thousandth client for no reason.

use std::os::fd::AsFd;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Room that [`Descriptors::make_room`] makes for whoever did not say how many connections there will be. The kernel
/// takes about 8 bytes for each.
pub const ROOM_UNASKED: u64 = 1 << 16;

/// The limit on open descriptors of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// What holds now.
    pub soft: u64,
    /// What the process may raise it to by itself.
    pub hard: u64,
}

impl Descriptors {
    /// What the limits are; "unlimited" counts as `u64::MAX`.
    #[must_use]
    pub fn current() -> Self {
        let limit = getrlimit(Resource::Nofile);
        Self { soft: limit.current.unwrap_or(u64::MAX), hard: limit.maximum.unwrap_or(u64::MAX) }
    }

    /// Raises the soft limit to the hard one and says what holds then. A refusal changes nothing.
    #[must_use]
    pub fn raise() -> Self {
        let before = Self::current();
        if before.soft < before.hard {
            let wanted = Rlimit { current: Some(before.hard), maximum: Some(before.hard) };
            // Refused in some sandboxes; what holds is read back below.
            let _ = setrlimit(Resource::Nofile, wanted);
        }
        Self::current()
    }

    /// Has the kernel make the process's table of descriptors long enough for `wanted` of them, at most the soft limit,
    /// by opening the highest for a moment. A refusal changes nothing.
    ///
    /// To be called while the process has one thread. The table doubles as descriptors are opened, and in a
    /// process of several threads the call that makes it grow waits until every processor has passed a quiescent
    /// state (`expand_fdtable` in Linux's `fs/file.c` calls `synchronize_rcu`): an `accept` of 10 to 20 ms at every power of two.
    pub fn make_room(self, wanted: u64) {
        let highest = wanted.min(self.soft).saturating_sub(1);
        let Ok(highest) = i32::try_from(highest) else { return };
        // Closed again as it is dropped; the table stays as long as it is.
        let _ = fcntl_dupfd_cloexec(std::io::stderr().as_fd(), highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_reaches_the_hard_limit_or_leaves_what_was() {
        let before = Descriptors::current();
        let after = Descriptors::raise();
        assert!(after.soft >= before.soft);
        assert_eq!(after.hard, before.hard);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn room_makes_the_table_longer() {
        let length = || -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap().trim().parse().unwrap()
        };
        let descriptors = Descriptors::raise();
        let wanted = descriptors.soft.min(4096);
        descriptors.make_room(wanted);
        assert!(length() >= wanted, "{} of {wanted}", length());
    }

    #[test]
    fn room_for_more_than_may_be_open_is_no_error() {
        Descriptors { soft: u64::MAX, hard: u64::MAX }.make_room(u64::MAX);
        Descriptors { soft: 0, hard: 0 }.make_room(0);
    }
}
