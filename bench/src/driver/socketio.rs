//! What a delivery costs to Socket.IO peers, and to plain ones of the same server.
//!
//! Both kinds are sent the same bytes: the packet of an event, which to plain peers is just a text. So what differs is
//! what the server does about it, and not the length of a frame.
//!
//! Invariants: the sender hears nothing, neither as a Socket.IO peer nor, by `?self=0`, as a plain one; every peer has been let
//! into the namespace before anything is published; a ping of the server spoils the sample, so it must be out of the way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use super::{Failure, Fleet, Sample, Trust, frames, upgrade};

/// What a packet of an event is around its text.
const AROUND: [&str; 2] = ["42[\"message\",\"", "\"]"];
const SOCKET_IO: &str = "/socket.io/?EIO=4&transport=websocket";
/// Leaves its sender out, as a Socket.IO server does.
const PLAIN: &str = "/broadcast?self=0";
/// Bytes of a handshake's answer, and of what a server may say before anything is published.
const GREETING_MAX: usize = 4096;

/// Peers of one kind, and the message as they send it and hear it.
pub struct Relay {
    fleet: Fleet,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

impl Relay {
    /// Connects `count` peers for packets of `size` bytes.
    ///
    /// # Errors
    /// As [`Fleet::connect`], and when the server does not speak Socket.IO.
    ///
    /// # Panics
    /// If a packet of an event is longer than `size`.
    pub fn connect(
        server: SocketAddrV4,
        count: usize,
        size: usize,
        is_socketio: bool,
    ) -> Result<Self, Failure> {
        let letters = size - AROUND.concat().len();
        let packet = [AROUND[0].as_bytes(), &b"x".repeat(letters), AROUND[1].as_bytes()].concat();
        let (ours, theirs) = (frames::masked_text(&packet), frames::plain_text(&packet));
        let fleet = if is_socketio {
            Fleet::connect_by(server, &frames::request(SOCKET_IO), count, enter)?
        } else {
            Fleet::connect(server, PLAIN, count, Trust::Nothing)?
        };
        Ok(Self { fleet, ours, theirs })
    }

    /// One of them says something to all others, until `duration` is over.
    ///
    /// # Errors
    /// When anything is lost, too much, or wrong.
    pub fn fanout(&mut self, duration: Duration) -> Result<Sample, Failure> {
        let Self { fleet, ours, theirs } = self;
        fleet.begin_with(ours, theirs, 1);
        let others = fleet.len() as u64 - 1;
        let began = Instant::now();
        let mut messages = 0;
        while messages == 0 || began.elapsed() < duration {
            fleet.expect(1, others);
            fleet.send(0, 1)?;
            while !fleet.is_complete() {
                fleet.pump(|_, _, _| Ok(()))?;
            }
            messages += 1;
        }
        fleet.finish(|client| if client == 0 { 0 } else { messages })?;
        Ok(Sample { operations: messages * others, wall: began.elapsed() })
    }
}

/// Upgrade, open packet, CONNECT and its answer; nothing may follow it.
fn enter(stream: &mut TcpStream) -> Result<(), Failure> {
    let mut received = upgrade::await_head(stream)?;
    let opening = take_text(stream, &mut received)?;
    if !opening.starts_with("0{\"sid\":") {
        return Err(Failure::Refused(format!("no open packet: {opening}")));
    }
    stream.write_all(&frames::masked_text(b"40"))?;
    let answer = take_text(stream, &mut received)?;
    if !answer.starts_with("40{\"sid\":") {
        return Err(Failure::Refused(format!("not let in: {answer}")));
    }
    if received.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused("something is said before anybody has said anything".to_owned()))
}

/// Takes the next text of the server out of what came, and reads what is missing of it.
fn take_text(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<String, Failure> {
    const TEXT_FIN: u8 = 0x81;
    let mut buffer = [0; GREETING_MAX];
    loop {
        if let Some((header, size)) = frames::server_frame(received) {
            if received[0] != TEXT_FIN || size > GREETING_MAX {
                return Err(Failure::Refused("no short text came first".to_owned()));
            }
            if received.len() >= header + size {
                let text = String::from_utf8_lossy(&received[header..header + size]).into_owned();
                received.drain(..header + size);
                return Ok(text);
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(Failure::Refused("closed before it was let in".to_owned())),
            count => received.extend_from_slice(&buffer[..count]),
        }
    }
}
