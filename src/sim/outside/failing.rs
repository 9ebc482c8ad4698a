//! Failing at will: the n-th call that can fail is made to fail, with whatever error it can have.
//!
//! Drawn faults strike where chance has it; the rare call at which nobody thought of an error may never be hit. So a
//! script is run once to see which calls it makes, and then once for each call and each error.
//!
//! Invariant: without an injection nothing here changes anything.

use rustix::io::Errno;

use super::super::tally::Fault;
use super::Outside;

/// A call of the server that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Waiting for readiness.
    Wait,
    /// Accepting a connection.
    Accept,
    /// Reading.
    Recv,
    /// Writing.
    Send,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Wait, Self::Accept, Self::Recv, Self::Send];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Accept => "accept",
            Self::Recv => "recv",
            Self::Send => "send",
        }
    }

    /// Every error that it can have and that the server has to live with.
    #[must_use]
    pub const fn errors(self) -> &'static [Errno] {
        match self {
            Self::Wait => &[Errno::INTR],
            Self::Accept => &[
                Errno::MFILE,
                Errno::NFILE,
                Errno::NOBUFS,
                Errno::NOMEM,
                Errno::CONNABORTED,
                Errno::PROTO,
                Errno::INTR,
                Errno::AGAIN,
            ],
            Self::Recv | Self::Send => &[
                Errno::CONNRESET,
                Errno::PIPE,
                Errno::TIMEDOUT,
                Errno::NOBUFS,
                Errno::NOMEM,
                Errno::INTR,
                Errno::AGAIN,
            ],
        }
    }
}

/// Which call is to fail, and what the calls were.
#[derive(Debug, Default)]
pub struct Calls {
    /// Every call so far, if they are to be kept.
    pub made: Option<Vec<Call>>,
    /// The number of the call that is to fail, and its error.
    pub fails: Option<(usize, Errno)>,
    /// Calls so far.
    pub count: usize,
}

impl Outside {
    /// Counts a call; returns the error with which it is to fail, if this is the one.
    pub(super) fn injected(&mut self, call: Call) -> Option<Errno> {
        let number = self.calls.count;
        self.calls.count += 1;
        if let Some(made) = &mut self.calls.made {
            made.push(call);
        }
        let errno = self.calls.fails.filter(|(at, _)| *at == number)?.1;
        self.count(Fault::Injected);
        Some(errno)
    }

    /// The connection is broken for both sides; neither is to blame.
    pub(super) fn break_off(&mut self, number: usize) {
        let link = &mut self.links[number];
        link.reset = true;
        link.arrived.clear();
        link.backlog.clear();
        self.peers[number].cut_off(&mut self.book.borrow_mut());
    }
}
