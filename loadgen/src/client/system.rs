//! What the system says to a write, and its errors in words that count together.
//!
//! Invariant: a socket that takes no more is no error; what it took is told.

use super::Reason;
use mio::net::TcpStream;
use std::io::{self, ErrorKind, Write};

/// Frames that the socket did not take.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) bytes: Vec<u8>,
    /// How many of them are written.
    pub(super) written: usize,
}

/// Writes until the socket takes no more; returns how many bytes it took.
pub(super) fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// The system's words without the number, so that equal failures count together.
pub fn reason(error: &io::Error) -> Reason {
    let text = error.to_string();
    Reason::from(text.split(" (os error").next().unwrap_or_default().to_lowercase())
}
