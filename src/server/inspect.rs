//! What an observer may see of a worker: counts and sums, read-only.
//!
//! The simulator holds the server to its invariants with these; they are recounted from what is there, and not read
//! from the counters they are compared with.

use super::bus::Counts;
use super::worker::Worker;
use crate::net::Net;
use crate::service::Service;

impl<N: Net, S: Service> Worker<N, S> {
    /// Connections that are here.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.roster.len()
    }

    /// Entries of the wheel, stale ones included.
    #[must_use]
    pub const fn wheel_entries(&self) -> usize {
        self.wheel.len()
    }

    /// Buffers that are lent to connections.
    #[must_use]
    pub const fn buffers_lent(&self) -> usize {
        self.pool.lent()
    }

    /// What is promised to peers whose messages are remembered, in bytes.
    #[must_use]
    pub const fn memory_reserved(&self) -> usize {
        self.deflation.reserved
    }

    /// Bytes that wait for the peer for which most wait.
    #[must_use]
    pub fn queued_bytes_peak(&self) -> usize {
        self.roster.iter().map(|(_, connection)| connection.queue.bytes()).max().unwrap_or(0)
    }

    /// What the bus has counted, if there is one: publications for siblings, what became of them, and how many wait.
    #[must_use]
    pub fn bus_figures(&self) -> Option<(u64, Counts, u64)> {
        self.bus.as_ref().map(|bus| (self.hub.abroad.published, bus.counts, bus.queued()))
    }

    /// Whether every other worker can be told things.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.bus.as_ref().is_none_or(|bus| bus.is_whole())
    }

    /// How many are in the topic called `name`, on all workers.
    #[must_use]
    pub fn present(&self, name: &str) -> u32 {
        let here = self.hub.topics.find(name).map_or(0, |topic| self.hub.topics.subscribers(topic));
        here + self.hub.abroad.subscribers(name)
    }

    /// Deliveries that are neither written nor given up, counted one by one.
    #[must_use]
    pub fn owed_by_hand(&self) -> u64 {
        let queued: u64 = self.roster.iter().map(|(_, connection)| connection.queue.publications()).sum();
        queued + self.hub.undelivered()
    }
}
