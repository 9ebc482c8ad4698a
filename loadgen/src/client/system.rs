//! What a socket has not taken yet, and the system's errors in words that count together.
//!
//! Why: a failure is counted by its reason, so equal failures must read alike.
//!
//! Invariant: `written <= bytes.len()`.

use super::Reason;
use std::io;

/// Frames that the socket did not take.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) bytes: Vec<u8>,
    /// How many of them are written.
    pub(super) written: usize,
}

/// The system's words without the number, so that equal failures count together.
pub fn reason(error: &io::Error) -> Reason {
    let text = error.to_string();
    Reason::from(text.split(" (os error").next().unwrap_or_default().to_lowercase())
}
