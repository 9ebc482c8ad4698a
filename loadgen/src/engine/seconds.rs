//! The loop's seconds: what each has seen, told to the coordinator when it is over.
//!
//! Why: the live line, the series and `abort:` all look at the run second by second, while it goes on.
//!
//! Invariants: seconds are counted from the run's origin, on all loops alike; what a loop slept through is told as one.

use super::Loop;
use super::clock::thread_cpu_ns;
use super::control::{Event, Second};
use crate::units::NS_PER_S;

/// What the current second has seen so far.
#[derive(Debug, Default)]
pub(super) struct Seconds {
    pub(super) number: u64,
    pub(super) sent: u64,
    pub(super) received_before: u64,
    pub(super) bytes_before: u64,
    pub(super) send_lag_max_ns: u64,
    pub(super) loop_lag_max_ns: u64,
    pub(super) cpu_ns: u64,
}

impl Loop<'_> {
    /// Reports the second that is over; if several are, as one.
    pub(super) fn end_second(&mut self, now_ns: u64) {
        let number = (now_ns - self.assignment.origin_ns) / NS_PER_S;
        let (cpu_ns, measure) = (thread_cpu_ns(), &mut self.measure);
        let (received, bytes) = (measure.received_all, measure.received_all_bytes);
        let seconds = std::mem::take(&mut self.seconds);
        (self.report)(Event::Second(Box::new(Second {
            number,
            connected: self.connected,
            counts: measure.counts.clone(),
            sent: seconds.sent,
            received: received - seconds.received_before,
            bytes: bytes - seconds.bytes_before,
            delivery: measure.take_second(),
            send_lag_max_ns: seconds.send_lag_max_ns,
            loop_lag_max_ns: seconds.loop_lag_max_ns,
            cpu_ns: cpu_ns - seconds.cpu_ns,
        })));
        self.seconds =
            Seconds { number, received_before: received, bytes_before: bytes, cpu_ns, ..Seconds::default() };
    }
}
