//! What a peer says: requests, messages whole and in fragments, pings, nonsense.
//!
//! All of it through the real client half of the codec, except what is meant to be wrong.
//!
//! Invariant: every message is entered in the book before it leaves.

use super::super::book::{Book, POST};
use super::{Deed, Errand, Peer};
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::ws::close::{CloseCode, encode_body};
use crate::ws::handshake::ClientRequest;
use crate::ws::{self, Kind, Opcode, encode_header, encode_masked};

impl Peer {
    pub(super) fn pause(&mut self) -> Nanos {
        if self.rng.u32(..3) == 0 { self.rng.u64(..20 * MILLI) } else { self.rng.u64(..4 * SECOND) }
    }

    pub(super) fn random(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.usize(1..most)];
        self.rng.fill(&mut bytes);
        bytes
    }

    pub(super) fn request(&self, target: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.handshake.encode_request(&mut out, &Self::asked(target));
        out
    }

    pub(super) fn asked(target: &str) -> ClientRequest<'_> {
        ClientRequest { host: "sim:9001", target, ..ClientRequest::default() }
    }

    /// Says something: a message, whole or in fragments, or a ping.
    pub(super) fn talk(&mut self, book: &mut Book, deeds: &mut Vec<Deed>) {
        self.said += 1;
        let mut out = Vec::new();
        if self.rng.u32(..8) == 0 {
            self.ping(&mut out);
        }
        let (kind, payload) = self.message();
        book.spoke(self.number, kind, &payload);
        if self.rng.u32(..4) == 0 {
            self.fragments(kind, &payload, &mut out);
        } else {
            encode_masked(&mut out, kind.opcode(), &payload, self.rng.u32(..).to_be_bytes());
        }
        deeds.push(Deed::Send(out));
    }

    pub(super) fn message(&mut self) -> (Kind, Vec<u8>) {
        let mut text = format!("p{}:{} ", self.number, self.said);
        let most = if self.rng.u32(..10) == 0 { self.message_max } else { self.message_max.min(200) };
        let size = self.rng.usize(text.len().min(most - 1)..most);
        while text.len() + 4 < size {
            text.push(['x', 'é', '"', '😀', '\n'][self.rng.usize(..5)]);
        }
        let is_chat = matches!(&self.errand, Errand::Talk(target, _) if target.starts_with("/chat"));
        let kind = if self.rng.u32(..if is_chat { 60 } else { 3 }) == 0 { Kind::Binary } else { Kind::Text };
        (kind, text.into_bytes())
    }

    pub(super) fn fragments(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
        let (mut opcode, mut left) = (kind.opcode(), payload);
        loop {
            let cut = self.rng.usize(..=left.len());
            let (now, later) = if self.rng.u32(..3) == 0 { (left, &[][..]) } else { left.split_at(cut) };
            let key = self.rng.u32(..).to_be_bytes();
            let (header, len) = encode_header(opcode, later.is_empty(), now.len() as u64, Some(key));
            let from = out.len() + len;
            out.extend_from_slice(&header[..len]);
            out.extend_from_slice(now);
            ws::mask::apply(key, &mut out[from..]);
            if later.is_empty() {
                return;
            }
            if self.rng.u32(..4) == 0 {
                self.ping(out);
            }
            (opcode, left) = (Opcode::Continuation, later);
        }
    }

    pub(super) fn ping(&mut self, out: &mut Vec<u8>) {
        self.pings += 1;
        encode_masked(out, Opcode::Ping, &self.pings.to_be_bytes(), self.rng.u32(..).to_be_bytes());
    }

    pub(super) fn close(&mut self, code: CloseCode, deeds: &mut Vec<Deed>) {
        self.said_close = true;
        let (mut body, mut out) = (Vec::new(), Vec::new());
        encode_body(&mut body, code, "");
        encode_masked(&mut out, Opcode::Close, &body, self.rng.u32(..).to_be_bytes());
        deeds.push(Deed::Send(out));
    }

    pub(super) fn bad_frame(&mut self, which: u8) -> Vec<u8> {
        let key = [7; 4];
        let mut out = Vec::new();
        match which % 6 {
            0 => ws::encode(&mut out, Opcode::Text, b"not masked"),
            1 => out.extend_from_slice(&[0xC1, 0x80, 0, 0, 0, 0]),
            2 => out.extend_from_slice(&[0x83, 0x80, 0, 0, 0, 0]),
            3 => encode_masked(&mut out, Opcode::Text, b"half \xe2\x82", key),
            4 => encode_masked(&mut out, Opcode::Close, b"x", key),
            _ => {
                let (header, len) = encode_header(Opcode::Binary, true, u64::MAX >> 1, Some(key));
                out.extend_from_slice(&header[..len]);
            }
        }
        out
    }

    pub(super) fn browse(&mut self, deeds: &mut Vec<Deed>) {
        let mut out = Vec::new();
        let pipelined = if self.rng.u32(..4) == 0 { self.rng.usize(2..5) } else { 1 };
        for _ in 0..pipelined {
            self.said += 1;
            let path = ["/", "/healthz", "/stats", "/metrics", "/chat", "/echo"][self.rng.usize(..6)];
            let is_head = self.rng.u32(..4) == 0;
            self.requests.push_back(is_head);
            let method = if is_head { "HEAD" } else { "GET" };
            out.extend_from_slice(format!("{method} {path} HTTP/1.1\r\nHost: sim\r\n\r\n").as_bytes());
        }
        deeds.push(Deed::Send(out));
    }

    pub(super) fn post(&mut self, deeds: &mut Vec<Deed>) {
        self.said += 1;
        let (mut body, number, said) = (POST.to_vec(), self.number, self.said);
        body.extend_from_slice(format!("{number}:{said} ").as_bytes());
        body.resize(body.len() + self.rng.usize(..200), b'.');
        self.requests.push_back(false);
        let channel = ["default", "sea"][self.rng.usize(..2)];
        let head = if self.rng.bool() {
            let len = body.len();
            format!("POST /publish/{channel} HTTP/1.1\r\nHost: sim\r\nContent-Length: {len}\r\n\r\n")
        } else {
            let len = body.len();
            body.extend_from_slice(b"\r\n0\r\n\r\n");
            format!(
                "POST /publish/{channel} HTTP/1.1\r\nHost: sim\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{len:x}\r\n"
            )
        };
        deeds.push(Deed::Send([head.as_bytes(), &body].concat()));
    }
}
