//! A WebSocket client as small as one can be: it sends and reads single frames.
//!
//! It does nothing by itself (no pong, no close), so that a test says each step it means; [`Peer::message`] is the
//! one exception and answers pings on the way.
//!
//! Invariant: frames of the server are checked against RFC 6455 §5.1 and §5.5 as they are read: unmasked, no
//! reserved bits, control frames whole and short.

use super::{ACCEPT, GOOD, Response, upgrade_with};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// One frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.opcode, TEXT, "a text frame is expected, not {self:?}");
        std::str::from_utf8(&self.payload).expect("text frames hold UTF-8")
    }

    /// The code of a close frame, 1005 for one without.
    pub(crate) fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "a close frame is expected, not {self:?}");
        self.payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))
    }
}

/// An open WebSocket connection.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
}

impl<S: Read + Write> Peer<S> {
    /// Upgrades `stream` at `target` and checks the answer.
    pub(crate) fn open(stream: S, target: &str) -> Self {
        let (peer, response) = Peer::open_with(stream, &upgrade_with(target, &GOOD));
        assert_eq!(response.header("sec-websocket-protocol"), None, "nothing was offered");
        peer
    }

    /// Upgrades with a request of the test's own; also hands out the response.
    pub(crate) fn open_with(mut stream: S, request: &[u8]) -> (Self, Response) {
        stream.write_all(request).expect("the server reads the request");
        let response = Response::read(&mut stream, false);
        assert_eq!(response.status, 101, "{}", String::from_utf8_lossy(&response.body));
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        assert!(response.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
        assert!(response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
        (Peer { stream }, response)
    }

    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.stream.write_all(&encode(true, opcode, payload)).expect("the server reads");
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    pub(crate) fn send_close(&mut self, code: u16, reason: &str) {
        self.send(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat());
    }

    /// The next frame; `None` at the end of the stream (closed or reset).
    pub(crate) fn try_read(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(why) if matches!(why.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(why) => panic!("waited for a frame: {why}"),
        }
        let (opcode, short) = (head[0] & 0x0f, usize::from(head[1]));
        assert_eq!(head[0] & 0xf0, 0x80, "whole frames without reserved bits, not {head:02x?}");
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing (RFC 6455 §5.1)");
        assert!(opcode < 8 || short < 126, "control frames are short (RFC 6455 §5.5)");
        let length = match short {
            126 => usize::from(u16::from_be_bytes(self.array())),
            127 => usize::try_from(u64::from_be_bytes(self.array())).expect("64-bit machines"),
            short => short,
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).expect("a frame that was begun is ended");
        Some(Frame { opcode, payload })
    }

    /// The next frame, which must come.
    pub(crate) fn read(&mut self) -> Frame {
        self.try_read().expect("a frame, not the end of the stream")
    }

    /// The next frame that is no ping; pings are answered.
    pub(crate) fn message(&mut self) -> Frame {
        loop {
            let frame = self.read();
            if frame.opcode != PING {
                return frame;
            }
            self.send(PONG, &frame.payload);
        }
    }

    /// Reads up to the server's close frame, answers it as a good peer does, and waits for the end of the stream.
    pub(crate) fn closed(&mut self) -> u16 {
        let frame = loop {
            let frame = self.message();
            if frame.opcode == CLOSE {
                break frame;
            }
        };
        // The server may be gone already: it has failed the connection and need not wait for us.
        let _ = self.stream.write_all(&encode(true, CLOSE, frame.payload.get(..2).unwrap_or(&[])));
        assert_eq!(self.try_read(), None, "after its close frame a server sends nothing");
        frame.close_code()
    }

    /// Leaves as a good peer does; when this returns the server knows.
    pub(crate) fn close(mut self) {
        self.send_close(1000, "");
        assert_eq!(self.closed(), 1000);
    }

    /// Everything sent before was handled and its outcome heard by us: a ping is answered after it.
    pub(crate) fn settle(&mut self) -> Vec<Frame> {
        self.send(PING, b"settled?");
        let mut heard = Vec::new();
        loop {
            let frame = self.message();
            if frame == (Frame { opcode: PONG, payload: b"settled?".to_vec() }) {
                return heard;
            }
            heard.push(frame);
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("a header that was begun is ended");
        bytes
    }
}

/// A masked frame, as clients send them (RFC 6455 §5.2).
pub(crate) fn encode(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | u8::try_from(short).expect("below 126")),
        middle @ ..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(middle).expect("below 64 Ki").to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
