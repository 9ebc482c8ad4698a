//! Measures any WebSocket server and says whether its own numbers can be trusted.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`], [`plan`] | Flags as typed; the experiment they mean, decided once. |
//! | [`preflight`], [`doctor`] | Whether this machine can do it, and what to type if not. |
//! | [`schedule`], [`payload`] | When each message is due, and what is in it. |
//! | [`client`], [`engine`] | One connection; the loop over many, and everything it measures. |
//! | [`fleet`], [`run`] | Loops in threads and processes; one run from start to report. |
//! | [`sample`], [`report`], [`threshold`] | The server from outside; the document and its outputs; pass or fail. |
//! | [`selftest`] | A server with known faults, by which the tool itself is measured. |
//!
//! Start reading at [`run`]: one experiment is one function.

pub mod cli;
pub mod client;
pub mod descriptors;
pub mod doctor;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod engine;
pub mod fleet;
pub mod live;
pub mod payload;
pub mod plan;
pub mod preflight;
pub mod report;
pub mod run;
pub mod sample;
pub mod schedule;
pub mod selftest;
pub mod threshold;
pub mod units;
