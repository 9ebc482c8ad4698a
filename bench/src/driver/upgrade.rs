//! The answer to an upgrade: its head, and nothing of what it leads to.
//!
//! Why apart: most servers say nothing before they are told something, and one that does is at fault; who speaks Socket.IO
//! must.
//!
//! Invariant: what follows the head is handed on or refused, and never lost.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use super::{Failure, frames};

/// Reads up to the end of the response's head, and not a byte more.
pub(super) fn await_upgrade(stream: &mut TcpStream) -> Result<(), Failure> {
    // Nothing is published before all are connected, so nothing follows the head.
    if await_head(stream)?.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused("something follows the upgrade before anybody has said anything".to_owned()))
}

/// Reads the response's head; returns what came behind it.
pub(super) fn await_head(stream: &mut TcpStream) -> Result<Vec<u8>, Failure> {
    const HEAD_MAX: usize = 4096;
    const END: &[u8] = b"\r\n\r\n";
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = [0; HEAD_MAX];
    let mut filled = 0;
    let end = loop {
        match stream.read(&mut head[filled..])? {
            0 => return Err(Failure::Refused("closed before the answer was whole".into())),
            count => filled += count,
        }
        if let Some(at) = head[..filled].windows(END.len()).position(|window| window == END) {
            break at + END.len();
        }
    };
    let text = String::from_utf8_lossy(&head[..end]);
    if text.starts_with("HTTP/1.1 101 ") && text.contains(frames::ACCEPT) {
        return Ok(head[end..filled].to_vec());
    }
    Err(Failure::Refused(text.lines().next().unwrap_or_default().to_owned()))
}
