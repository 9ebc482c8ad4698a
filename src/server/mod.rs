//! The worker: connections, the phases of the turn, HTTP routes, metrics.

pub mod pages;
