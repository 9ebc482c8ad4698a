//! How many descriptors this process may open, and how to get all that it may.
//!
//! Every connection is a descriptor. The soft limit is often 1024 while the hard one is far higher; a server
//! that does not raise it refuses its thousandth client for no reason.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
}
