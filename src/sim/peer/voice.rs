//! What a peer says: requests, messages whole and in fragments, pings, nonsense.
//!
//! All of it through the real client half of the codec, except what is meant to be wrong.
//!
//! Invariant: every message is entered in the book before it leaves.

use super::super::book::Book;
use super::super::history::POST;
use super::{Deed, Errand, Peer};
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::ws::close::{CloseCode, encode_body};
use crate::ws::handshake::ClientRequest;
use crate::ws::header::RSV1;
use crate::ws::{self, Kind, Opcode, encode_header, encode_masked};

/// What long messages are made of, so that making them does not take longer than serving them: characters of one to four
/// bytes, and such as JSON has to escape.
const PIECES: [&str; 4] =
    ["sixteen letters.", "é\"\n😀x\\<é>\t", "\u{1}\u{7f}\u{2028}äöüß", "😀😀\"\"😀x\r\n"];

/// Where peers publish by HTTP.
const CHANNELS: [&str; 2] = ["default", "sea"];

impl Peer {
    pub(super) fn pause(&mut self) -> Nanos {
        if let Some(pace) = self.pace {
            return pace;
        }
        if self.rng.u32(..3) == 0 { self.rng.u64(..20 * MILLI) } else { self.rng.u64(..4 * SECOND) }
    }

    pub(super) fn random(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.usize(1..most)];
        self.rng.fill(&mut bytes);
        bytes
    }

    pub(super) fn request(&self, target: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.handshake.encode_request(&mut out, &self.asked(target));
        out
    }

    pub(super) fn asked<'t>(&self, target: &'t str) -> ClientRequest<'t> {
        ClientRequest { host: "sim:9001", target, deflate: self.compression.ask, ..ClientRequest::default() }
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
        let is_plain = self.compression.agreed.is_none() || self.rng.u32(..4) == 0;
        let compressed = if is_plain { None } else { self.compression.deflate(kind, &payload) };
        let payload = compressed.as_deref().unwrap_or(&payload);
        if self.rng.u32(..4) == 0 {
            self.fragments(kind, payload, &mut out, compressed.is_some());
        } else {
            let from = out.len();
            encode_masked(&mut out, kind.opcode(), payload, self.rng.u32(..).to_be_bytes());
            out[from] |= if compressed.is_some() { RSV1 } else { 0 };
        }
        deeds.push(Deed::Send(out));
    }

    pub(super) fn message(&mut self) -> (Kind, Vec<u8>) {
        let mut text = format!("p{}:{} ", self.number, self.said);
        let largest = self.limits.message_max as usize;
        let most = if self.rng.u32(..10) == 0 { largest } else { largest.min(200) };
        let size = self.size.unwrap_or_else(|| self.rng.usize(text.len().min(most - 1)..most));
        while text.len() + 32 < size {
            text.push_str(PIECES[self.rng.usize(..PIECES.len())]);
        }
        while text.len() + 4 < size {
            text.push(['x', 'é', '"', '😀', '\n'][self.rng.usize(..5)]);
        }
        let is_chat = matches!(&self.errand, Errand::Talk(target, _) if target.starts_with("/chat"));
        let kind = if self.rng.u32(..if is_chat { 60 } else { 3 }) == 0 { Kind::Binary } else { Kind::Text };
        (kind, text.into_bytes())
    }

    /// A message in fragments, some of them empty, with pings between them; of a compressed one the first says so.
    pub(super) fn fragments(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>, is_compressed: bool) {
        let first = out.len();
        let mark = if is_compressed { RSV1 } else { 0 };
        let (mut opcode, mut left, mut count) = (kind.opcode(), payload, 1);
        loop {
            let cut = self.rng.usize(..=left.len());
            let is_last = count == self.limits.fragments_max || self.rng.u32(..3) == 0;
            let (now, later) = if is_last { (left, &[][..]) } else { left.split_at(cut) };
            count += 1;
            let key = self.rng.u32(..).to_be_bytes();
            let (header, len) = encode_header(opcode, later.is_empty(), now.len() as u64, Some(key));
            let from = out.len() + len;
            out.extend_from_slice(&header[..len]);
            out.extend_from_slice(now);
            ws::mask::apply(key, &mut out[from..]);
            if later.is_empty() {
                out[first] |= mark;
                return;
            }
            if self.rng.u32(..4) == 0 {
                self.ping(out);
            }
            (opcode, left) = (Opcode::Continuation, later);
        }
    }

    /// A message that is begun and not ended.
    pub(super) fn beginning(&mut self) -> Vec<u8> {
        let (header, len) = encode_header(Opcode::Text, false, 0, Some([0; 4]));
        header[..len].to_vec()
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

    pub(super) fn post(&mut self, book: &mut Book, deeds: &mut Vec<Deed>) {
        self.said += 1;
        let which = self.rng.usize(..CHANNELS.len());
        let (channel, number) = (CHANNELS[which], &mut self.posted[which]);
        *number += 1;
        let mut body = POST.to_vec();
        body.extend_from_slice(format!("{}:{number} ", self.number).as_bytes());
        body.resize(body.len() + self.rng.usize(..200), b'.');
        book.posted(self.number, channel, *number, &body);
        self.requests.push_back(false);
        let len = body.len();
        let framing = if self.rng.bool() {
            format!("Content-Length: {len}\r\n\r\n")
        } else {
            body.extend_from_slice(b"\r\n0\r\n\r\n");
            format!("Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{len:x}\r\n")
        };
        let head = format!("POST /publish/{channel} HTTP/1.1\r\nHost: sim\r\n{framing}");
        deeds.push(Deed::Send([head.as_bytes(), &body].concat()));
    }
}
