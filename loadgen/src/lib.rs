//! Measures any WebSocket server and says whether its own numbers can be trusted.

pub mod doctor;
pub mod engine {
    //! tmp
    pub mod clock;
}
pub mod preflight;
pub mod report;
pub mod sample;
pub mod selftest;
pub mod threshold;
pub mod units;
