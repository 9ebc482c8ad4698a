//! Measures any WebSocket server and says whether its own numbers can be trusted.

pub mod doctor;
pub mod preflight;
pub mod report;
pub mod sample;
pub mod threshold;
pub mod units;
