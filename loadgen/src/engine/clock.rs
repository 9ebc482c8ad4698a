//! Time: the monotonic clock, and a timer that wakes the loop exactly when a message is due.
//!
//! Why: `epoll_wait` counts in milliseconds and mio rounds up, so a schedule kept by poll timeouts is late by half a
//! millisecond on average; a `timerfd` is exact to microseconds. `CLOCK_MONOTONIC` is the same for all processes of a
//! machine, which is what lets shards share one schedule and compare times.
//!
//! Invariants: time never runs backwards; an armed timer fires at or after its time, never silently not at all.

use mio::{Registry, Token};
use rustix::time::{ClockId, clock_gettime};
use std::io;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline]
pub fn now_ns() -> u64 {
    in_ns(clock_gettime(ClockId::Monotonic))
}

/// CPU time of the calling thread, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    in_ns(clock_gettime(ClockId::ThreadCPUTime))
}

fn in_ns(time: rustix::time::Timespec) -> u64 {
    // Both parts of these clocks are never negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Wakes a poll at an absolute time.
#[derive(Debug)]
pub struct Alarm {
    #[cfg(target_os = "linux")]
    timer: rustix::fd::OwnedFd,
    /// What it is armed for; 0: not armed.
    armed_ns: u64,
}

#[cfg(target_os = "linux")]
impl Alarm {
    /// Creates the timer and registers it under `token`.
    ///
    /// # Errors
    /// The system refuses, for want of descriptors.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use std::os::fd::AsRawFd;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut mio::unix::SourceFd(&timer.as_raw_fd()), token, mio::Interest::READABLE)?;
        Ok(Self { timer, armed_ns: 0 })
    }

    /// Arms it for `due_ns`; what it was armed for before is forgotten. Re-arming also rearms the edge.
    ///
    /// # Errors
    /// The system refuses: it has no reason to.
    pub fn arm(&mut self, due_ns: u64) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        if self.armed_ns == due_ns {
            return Ok(());
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let due_ns = due_ns.max(1); // zero would disarm
        let at =
            Timespec { tv_sec: (due_ns / 1_000_000_000) as i64, tv_nsec: (due_ns % 1_000_000_000) as i64 };
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::ABSTIME,
            &Itimerspec { it_interval: zero, it_value: at },
        )?;
        self.armed_ns = due_ns;
        Ok(())
    }

    /// How long a poll may sleep: for ever, the timer wakes it.
    pub const fn timeout_ns(&self, _now_ns: u64) -> Option<u64> {
        None
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// No timer here: the poll timeout stands in for it.
    ///
    /// # Errors
    /// None.
    pub fn new(_registry: &Registry, _token: Token) -> io::Result<Self> {
        Ok(Self { armed_ns: 0 })
    }

    /// Arms it for `due_ns`.
    ///
    /// # Errors
    /// None.
    pub fn arm(&mut self, due_ns: u64) -> io::Result<()> {
        self.armed_ns = due_ns;
        Ok(())
    }

    /// How long a poll may sleep.
    pub const fn timeout_ns(&self, now_ns: u64) -> Option<u64> {
        Some(self.armed_ns.saturating_sub(now_ns))
    }
}
