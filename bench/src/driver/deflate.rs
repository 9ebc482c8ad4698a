//! What a delivery of JSON costs, to subscribers that are sent it compressed and to such that are not.
//!
//! The driver does not inflate what comes: the same message compressed without context is the same bytes each time.
//! What they are is learnt from one peer of its own before anything is measured, and inflated there, with zlib.
//!
//! Invariant: both kinds of subscribers are published the same message, by a frame that is not compressed.

use std::io::{Read as _, Write as _};
use std::net::SocketAddrV4;
use std::time::Duration;

use flate2::{Decompress, FlushDecompress};

use super::{Failure, Fleet, Sample, Trust, fanout, fleet, frames, upgrade};

/// Connections of one kind, and the message as they send it and hear it.
pub struct Squeeze {
    fleet: Fleet,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

impl Squeeze {
    /// Connects `count` subscribers that offer compression, or do not, for a message of `size` bytes.
    ///
    /// # Errors
    /// As [`Fleet::connect`], and when the server does not compress, or wrongly.
    pub fn connect(
        server: SocketAddrV4,
        count: usize,
        size: usize,
        is_compressed: bool,
    ) -> Result<Self, Failure> {
        let message = frames::json(size);
        let ours = frames::masked(&message);
        let (request, theirs) = if is_compressed {
            (frames::request_deflated("/broadcast"), learn(server, &ours, &message)?)
        } else {
            (frames::request("/broadcast"), frames::plain(&message))
        };
        let fleet = Fleet::connect_with(server, &request, count, Trust::Nothing)?;
        Ok(Self { fleet, ours, theirs })
    }

    /// Publishes until `duration` is over.
    ///
    /// # Errors
    /// When anything is lost, too much, or wrong.
    pub fn fanout(&mut self, duration: Duration) -> Result<Sample, Failure> {
        fanout::publish_frame(&mut self.fleet, &self.ours, &self.theirs, duration)
    }
}

/// The frame that `ours` is heard as by a compressed peer; it must be `message` again.
fn learn(server: SocketAddrV4, ours: &[u8], message: &[u8]) -> Result<Vec<u8>, Failure> {
    const COMPRESSED: u8 = 0xc2;
    let mut stream = fleet::open(server, 0, &frames::request_deflated("/broadcast/learn"))?;
    upgrade::await_upgrade(&mut stream)?;
    stream.write_all(ours)?;
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame)?;
    if frame[0] != COMPRESSED {
        return Err(Failure::Refused("the message is not compressed".to_owned()));
    }
    let len = match frame[1] {
        126 => usize::from(u16::from_be_bytes([frame[2], frame[3]])) + 4,
        short @ ..126 => usize::from(short) + 2,
        _ => return Err(Failure::Refused("the message has not shrunk".to_owned())),
    };
    let header = if frame[1] == 126 { 4 } else { 2 };
    frame.resize(len, 0);
    stream.read_exact(&mut frame[4..])?;
    let (mut inflate, mut text) = (Decompress::new(false), Vec::with_capacity(message.len() + 1));
    let compressed = [&frame[header..], &[0, 0, 0xff, 0xff]].concat();
    let status = inflate.decompress_vec(&compressed, &mut text, FlushDecompress::Sync);
    match status {
        Ok(_) if text == message => Ok(frame),
        Ok(_) | Err(_) => Err(Failure::Refused("what is compressed is another message".to_owned())),
    }
}
