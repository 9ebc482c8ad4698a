//! A WebSocket client that speaks permessage-deflate, with zlib itself as its codec.
//!
//! It is as literal as [`Peer`]: it does what a test says, and holds what it hears against what was agreed on. Its
//! inflater has no larger window than the server was to use, and forgets between messages if the server was to.
//!
//! Invariant: nothing of the library is used here, so that no mistake is made on both sides.

use super::{ACCEPT, GOOD, Peer, Response, Server, TEXT, upgrade_with};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::io::{Read, Write};

/// The first reserved bit (RFC 7692 §6).
const RSV1: u8 = 0x40;

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) is_compressed: bool,
    /// Bytes of its payload on the wire.
    pub(crate) wire: usize,
}

/// An open connection on which compression was agreed on.
pub(crate) struct Deflated {
    pub(crate) peer: Peer,
    pub(crate) agreed: String,
    deflate: Compress,
    inflate: Decompress,
}

impl Deflated {
    /// Upgrades at `target` with this offer, which must be taken.
    pub(crate) fn open(server: &Server, target: &str, offer: &str) -> Deflated {
        let (peer, response) = offer_to(server.connect(), target, offer);
        let agreed =
            response.header("sec-websocket-extensions").expect("it agrees on compression").to_owned();
        Deflated::with(peer, agreed)
    }

    pub(crate) fn with(peer: Peer, agreed: String) -> Deflated {
        let bits = agreed.split("server_max_window_bits=").nth(1).map_or(15, |rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().expect("split yields one");
            digits.parse().expect("a number of bits")
        });
        let deflate = Compress::new(Compression::default(), false);
        Deflated { peer, agreed, deflate, inflate: Decompress::new_with_window_bits(false, bits) }
    }

    /// What `payload` is compressed, and remembered unless that was ruled out.
    pub(crate) fn compress(&mut self, payload: &[u8]) -> Vec<u8> {
        if self.agreed.contains("client_no_context_takeover") {
            self.deflate.reset();
        }
        if payload.is_empty() {
            // zlib leaves out a second flush in a row; this stands for it (RFC 7692 §7.2.3.6).
            return vec![0];
        }
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 8 + 64);
        self.deflate.compress_vec(payload, &mut out, FlushCompress::Sync).expect("zlib compresses");
        assert!(out.len() < out.capacity(), "all of it fitted");
        out.truncate(out.len() - 4);
        out
    }

    /// Sends a compressed message in one frame.
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        let compressed = self.compress(payload);
        self.send_raw(true, opcode | RSV1, &compressed);
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    /// Sends one frame as it is; `first` is the opcode with whatever reserved bits.
    pub(crate) fn send_raw(&mut self, fin: bool, first: u8, payload: &[u8]) {
        let mut frame = super::encode(fin, first & 0x0f, payload);
        frame[0] |= first & 0x70;
        self.peer.stream.write_all(&frame).expect("the server reads");
    }

    /// The next frame, inflated if it is compressed.
    pub(crate) fn read(&mut self) -> Heard {
        let mut head = [0; 2];
        self.peer.stream.read_exact(&mut head).expect("a frame");
        assert_eq!((head[0] & 0xb0, head[1] & 0x80), (0x80, 0), "whole and unmasked: {head:02x?}");
        let wire = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.array())),
            127 => u64::from_be_bytes(self.array()),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(wire).expect("64-bit machines")];
        self.peer.stream.read_exact(&mut payload).expect("a frame that was begun is ended");
        let (opcode, is_compressed, wire) = (head[0] & 0x0f, head[0] & RSV1 != 0, payload.len());
        assert!(!is_compressed || opcode < 8, "control frames are never compressed (RFC 7692 §6.1)");
        let payload = if is_compressed { self.inflate(&payload) } else { payload };
        Heard { opcode, payload, is_compressed, wire }
    }

    /// Closes as a good peer does.
    pub(crate) fn close(self) {
        self.peer.close();
    }

    fn inflate(&mut self, compressed: &[u8]) -> Vec<u8> {
        if self.agreed.contains("server_no_context_takeover") {
            // Keeps the size of the window.
            self.inflate.reset(false);
        }
        let whole = [compressed, &[0, 0, 0xff, 0xff]].concat();
        let (before, mut taken, mut message) = (self.inflate.total_in(), 0, Vec::new());
        loop {
            message.reserve(64 << 10);
            let made = self.inflate.decompress_vec(&whole[taken..], &mut message, FlushDecompress::Sync);
            made.unwrap_or_else(|why| panic!("not readable as `{}`: {why}", self.agreed));
            taken = (self.inflate.total_in() - before) as usize;
            if taken == whole.len() && message.len() < message.capacity() {
                return message;
            }
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.peer.stream.read_exact(&mut bytes).expect("a header that was begun is ended");
        bytes
    }
}

/// Upgrades `stream` at `target` with this offer, whatever comes of it.
pub(crate) fn offer_to(stream: std::net::TcpStream, target: &str, offer: &str) -> (Peer, Response) {
    let line = format!("Sec-WebSocket-Extensions: {offer}");
    let lines: Vec<&str> = GOOD.iter().copied().chain([line.as_str()]).collect();
    let (peer, response) = Peer::open_with(stream, &upgrade_with(target, &lines));
    assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
    (peer, response)
}
