//! What the server counts: plain integers and histograms, written by the one thread that reads them.
//!
//! Labels are bounded: they come from our own enums, never from a peer.
//!
//! Invariant: counters only grow.

use super::limits::TURN_LONG;
use hdrhistogram::Histogram;

use crate::base::counting::COUNTING;
use crate::base::tick::{Nanos, SECOND};
use crate::service::Departure;

/// The counters of a worker.
#[derive(Debug)]
pub struct Metrics {
    /// Connections accepted.
    pub accepted: u64,
    /// Handshakes answered with 101.
    pub upgraded: u64,
    /// HTTP requests answered, handshakes not counted.
    pub requests: u64,
    /// Messages received, whole.
    pub messages_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// System calls that wrote.
    pub writes: u64,
    /// Pings sent.
    pub pings: u64,
    /// Connections that ended, by [`Departure`].
    pub departures: [u64; Departure::ALL.len()],
    /// Refused handshakes and requests, and violations, by label.
    pub refusals: Labels,
    /// Turns of the loop.
    pub turns: u64,
    /// Turns longer than [`TURN_LONG`].
    pub turns_long: u64,
    /// From waking to the next wait, in nanoseconds.
    pub turn_ns: Histogram<u64>,
    /// Reads that filled all their room.
    pub reads_full: u64,
    /// Turns that left accepting for the next.
    pub accepts_cut: u64,
    /// Accepts that failed because the system had nothing left.
    pub accepts_exhausted: u64,
    /// Accepted and answered with 503 because of `connections_max`.
    pub accepts_over: u64,
    /// Times this worker left newcomers to the others because it was full.
    pub listener_rests: u64,
    /// Turns that left entries of the wheel for the next.
    pub expiries_cut: u64,
    /// Turns that left writing what waited for the next.
    pub flushes_cut: u64,
    /// Turns that left doomed connections for the next.
    pub reaps_cut: u64,
    /// Peers that sent too much behind a request that waited.
    pub pipelines_cut: u64,
    /// Turns that left decoding for the next, because enough had been answered.
    pub turns_cut: u64,
    /// Times a publisher was not read from because too much waited for delivery.
    pub publishers_paused: u64,
    /// Times a peer was not read from because it did not read its replies.
    pub readers_paused: u64,
    /// Numbers that watchers of the dashboard were not sent because they were behind.
    pub dashboard_skips: u64,
    /// Times that our own process was stopped or starved.
    pub stalls: u64,
}

/// Counts by label; the labels are few and static, so a list is enough.
#[derive(Debug, Default)]
pub struct Labels(Vec<(&'static str, &'static str, u64)>);

impl Labels {
    /// Counts one of `kind` (`handshake`, `request`, `violation`) with `label`.
    pub fn count(&mut self, kind: &'static str, label: &'static str) {
        match self.0.iter_mut().find(|(k, l, _)| *k == kind && *l == label) {
            Some((_, _, n)) => *n += 1,
            None => self.0.push((kind, label, 1)),
        }
    }

    /// All that were counted: kind, label, count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.0.iter().copied()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let turn_ns = Histogram::new_with_bounds(1_000, 60 * SECOND, 3);
        Self {
            accepted: 0,
            upgraded: 0,
            requests: 0,
            messages_in: 0,
            bytes_in: 0,
            bytes_out: 0,
            writes: 0,
            pings: 0,
            departures: [0; Departure::ALL.len()],
            refusals: Labels::default(),
            turns: 0,
            turns_long: 0,
            turn_ns: turn_ns.expect("one microsecond to a minute are valid bounds"),
            reads_full: 0,
            accepts_cut: 0,
            accepts_exhausted: 0,
            accepts_over: 0,
            listener_rests: 0,
            expiries_cut: 0,
            flushes_cut: 0,
            reaps_cut: 0,
            pipelines_cut: 0,
            turns_cut: 0,
            publishers_paused: 0,
            readers_paused: 0,
            dashboard_skips: 0,
            stalls: 0,
        }
    }
}

impl Metrics {
    /// Counts a system call that writes.
    #[inline]
    pub const fn wrote(&mut self) {
        self.writes += COUNTING as u64;
    }

    /// Counts what went.
    #[inline]
    pub const fn sent(&mut self, bytes: usize) {
        if COUNTING {
            self.bytes_out += bytes as u64;
        }
    }

    /// Counts a connection that ended.
    pub fn departed(&mut self, why: Departure) {
        self.departures[why as usize] += 1;
    }

    /// Counts a turn of this length.
    pub fn turned(&mut self, ns: Nanos) {
        if !COUNTING {
            return;
        }
        self.turns += 1;
        self.turns_long += u64::from(ns > TURN_LONG);
        self.turn_ns.saturating_record(ns);
    }
}
