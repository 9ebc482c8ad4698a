//! Scripted peers: clients of every kind and manner, speaking through the real client half of the codec.
//!
//! A peer is sans-IO as well: it is told what reached it and answers with [`Deed`]s, which the network carries out.
//! It checks what it hears as it hears it: legal HTTP, legal frames, nothing behind a close frame, pongs only for its
//! own pings, messages as the [book](super::book) has them.
//!
//! Invariant: what a peer does follows from its script and what it hears.

use fastrand::Rng;

use super::book::{Book, POST};
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::http::client::{Body, Response};
use crate::http::{BodyLength, HeadScan, Limits as HttpLimits, Storage};
use crate::ws::close::{CloseCode, encode_body};
use crate::ws::handshake::{ClientHandshake, ClientRequest};
use crate::ws::{self, Cursor, Decoder, Event, Header, Kind, Opcode, Role, encode_header, encode_masked};

/// What a peer comes for.
#[derive(Debug, Clone)]
pub enum Errand {
    /// A WebSocket at this target, and so many messages.
    Talk(String, u32),
    /// Pages and numbers, so many.
    Browse(u32),
    /// Publications by HTTP, so many.
    Post(u32),
    /// Nonsense.
    Noise(Noise),
}

/// Kinds of nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Random bytes instead of a request.
    Bytes,
    /// A part of a request, then silence.
    HalfHead,
    /// A request, a byte at a time, so slowly that it never ends.
    Dribble,
    /// Not a word.
    Silence,
    /// A good handshake, then a frame that breaks the protocol.
    BadFrame(u8),
    /// A good handshake, then random bytes.
    BadStream,
}

/// How a peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// At once.
    Prompt,
    /// So many bytes every so many nanoseconds.
    Slow(usize, Nanos),
    /// Not at all until nothing goes wrong any more.
    Later,
    /// Never.
    Never,
}

/// How a peer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It stays until it is asked to go.
    Stay,
    /// A close frame, then it waits for the server's and for the end.
    Polite,
    /// A close frame and the end of its side at once; it reads on.
    Hasty,
    /// The end of its side without a close frame.
    End,
    /// A reset.
    Reset,
    /// Nothing: its host is gone.
    Vanish,
}

/// What a peer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Ends its side.
    End,
    /// Resets the connection.
    Reset,
    /// Is gone without a word.
    Vanish,
    /// Wants to act again after this time.
    Again(Nanos),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    Talking,
    HeardClose,
    Over,
}

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// Its number in the world.
    pub number: usize,
    /// When it connects.
    pub comes: Nanos,
    /// How it reads.
    pub reading: Reading,
    errand: Errand,
    ending: Ending,
    /// It does not answer pings and close frames.
    is_mute: bool,
    /// It says nothing more unless it is asked something.
    is_hushed: bool,
    message_max: usize,
    rng: Rng,
    stage: Stage,
    handshake: ClientHandshake,
    received: Vec<u8>,
    decoder: Decoder,
    said: u32,
    pings: u32,
    pongs: u32,
    said_close: bool,
    ended: bool,
    /// Requests without an answer; whether each is a HEAD request.
    requests: std::collections::VecDeque<bool>,
    script: Vec<u8>,
}

/// What a world wants of its peers.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Peers come within this time.
    pub within: Nanos,
    /// The largest message that the server takes.
    pub message_max: u64,
    /// Nearly all are in one channel.
    pub is_crowd: bool,
    /// Some publish by HTTP.
    pub has_posters: bool,
    /// Some listen to ticks.
    pub has_ticks: bool,
}

impl Peer {
    /// Draws a peer and enters it in the book.
    pub fn draw(number: usize, rng: &mut Rng, habits: Habits, book: &mut Book) -> Self {
        let mut own = rng.fork();
        let errand = draw_errand(number, &mut own, habits);
        let reading = match own.u32(..12) {
            0 => Reading::Slow(own.usize(1..2000), MILLI * own.u64(1..400)),
            1 => Reading::Later,
            2 if !habits.is_crowd => Reading::Never,
            _ => Reading::Prompt,
        };
        let ending = match own.u32(..12) {
            0 | 1 => Ending::Polite,
            2 => Ending::Hasty,
            3 => Ending::End,
            4 => Ending::Reset,
            5 => Ending::Vanish,
            _ => Ending::Stay,
        };
        let is_mute = own.u32(..24) == 0;
        let account = &mut book.accounts[number];
        account.facts.is_deaf = reading != Reading::Prompt || is_mute;
        account.facts.is_noisy = matches!(errand, Errand::Noise(_));
        let mut nonce = [0; 16];
        own.fill(&mut nonce);
        Self {
            number,
            comes: own.u64(..=habits.within),
            reading,
            errand,
            ending,
            is_mute,
            is_hushed: false,
            message_max: habits.message_max as usize,
            handshake: ClientHandshake::new(nonce),
            rng: own,
            stage: Stage::Asking,
            received: Vec::new(),
            decoder: Decoder::new(Role::Client),
            said: 0,
            pings: 0,
            pongs: 0,
            said_close: false,
            ended: false,
            requests: std::collections::VecDeque::new(),
            script: Vec::new(),
        }
    }

    /// The connection stands as far as the peer knows.
    pub fn begin(&mut self, deeds: &mut Vec<Deed>) {
        match &self.errand {
            Errand::Talk(target, _) => {
                let target = target.clone();
                deeds.push(Deed::Send(self.request(&target)));
            }
            Errand::Noise(Noise::BadFrame(_) | Noise::BadStream) => {
                deeds.push(Deed::Send(self.request("/broadcast/noise")));
            }
            Errand::Noise(Noise::Bytes) => deeds.push(Deed::Send(self.random(400))),
            Errand::Noise(Noise::HalfHead) => {
                let request = self.request("/echo");
                let half = self.rng.usize(1..request.len());
                deeds.push(Deed::Send(request[..half].to_vec()));
            }
            Errand::Noise(Noise::Dribble) => self.script = self.request("/echo?slowly=1"),
            Errand::Noise(Noise::Silence) | Errand::Browse(_) | Errand::Post(_) => {}
        }
        deeds.push(Deed::Again(self.rng.u64(..2 * SECOND)));
    }

    /// A moment that the peer asked for has come.
    pub fn act(&mut self, book: &mut Book, deeds: &mut Vec<Deed>) {
        if self.ended || self.is_hushed || self.stage == Stage::Over {
            return;
        }
        match (self.errand.clone(), self.stage) {
            (Errand::Talk(_, messages), Stage::Talking) if !self.said_close => {
                if self.said < messages {
                    self.talk(book, deeds);
                    deeds.push(Deed::Again(self.pause()));
                } else if self.ending != Ending::Stay {
                    self.part(self.ending, book, deeds);
                }
            }
            // Not let in yet: it looks again later, or loses patience.
            (Errand::Talk(..), Stage::Asking) => {
                if matches!(self.ending, Ending::Reset | Ending::Vanish) && self.rng.u32(..4) == 0 {
                    return self.part(self.ending, book, deeds);
                }
                deeds.push(Deed::Again(self.pause()));
            }
            (Errand::Browse(requests), Stage::Asking) => {
                if self.said < requests {
                    self.browse(deeds);
                    deeds.push(Deed::Again(self.pause()));
                } else if self.ending != Ending::Stay {
                    self.part(self.ending, book, deeds);
                }
            }
            (Errand::Post(posts), Stage::Asking) => {
                if self.said < posts {
                    self.post(deeds);
                    deeds.push(Deed::Again(self.pause()));
                } else if self.ending != Ending::Stay {
                    self.part(self.ending, book, deeds);
                }
            }
            (Errand::Noise(Noise::Dribble), Stage::Asking) => {
                if let Some(&byte) = self.script.get(self.said as usize) {
                    self.said += 1;
                    deeds.push(Deed::Send(vec![byte]));
                    deeds.push(Deed::Again(SECOND));
                }
            }
            (Errand::Noise(noise), Stage::Talking) if self.said == 0 => {
                self.said = 1;
                let bytes = match noise {
                    Noise::BadFrame(which) => self.bad_frame(which),
                    Noise::BadStream | Noise::Bytes => self.random(2000),
                    Noise::HalfHead | Noise::Dribble | Noise::Silence => Vec::new(),
                };
                deeds.push(Deed::Send(bytes));
            }
            (Errand::Noise(Noise::BadFrame(_) | Noise::BadStream), Stage::Asking) => {
                deeds.push(Deed::Again(self.pause()));
            }
            _ => {}
        }
    }

    /// The peer goes, in this manner.
    pub fn part(&mut self, ending: Ending, book: &mut Book, deeds: &mut Vec<Deed>) {
        if self.ended || self.stage == Stage::Over {
            return;
        }
        let is_talking = self.stage == Stage::Talking;
        let facts = &mut book.accounts[self.number].facts;
        match ending {
            Ending::Polite | Ending::Hasty if is_talking && !self.said_close => {
                facts.said_close = true;
                self.close(CloseCode::NORMAL, deeds);
                if ending == Ending::Hasty {
                    self.end(book, deeds);
                }
            }
            Ending::Polite if is_talking => {}
            Ending::Stay | Ending::Polite | Ending::Hasty | Ending::End => self.end(book, deeds),
            Ending::Reset => {
                (facts.reset, self.ended, self.stage) = (true, true, Stage::Over);
                deeds.push(Deed::Reset);
            }
            Ending::Vanish => {
                (self.ended, self.stage) = (true, Stage::Over);
                deeds.push(Deed::Vanish);
            }
        }
    }

    /// Nothing goes wrong any more: who only waited begins to read.
    pub fn heal(&mut self) {
        if self.reading == Reading::Later || matches!(self.reading, Reading::Slow(..)) {
            self.reading = Reading::Prompt;
        }
    }

    /// It says nothing more, so that what is on its way can arrive.
    pub fn hush(&mut self) {
        self.is_hushed = true;
    }

    /// Whether it has been let in and talks.
    #[must_use]
    pub fn is_talking(&self) -> bool {
        self.stage == Stage::Talking && !self.said_close && !self.ended
    }

    /// Whether it waits to be let in, and should be.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::Asking && !self.ended && matches!(self.errand, Errand::Talk(..))
    }

    /// How many requests have had no answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        if self.ended { 0 } else { self.requests.len() }
    }

    /// Bytes reached the peer.
    pub fn hear(&mut self, bytes: &[u8], book: &mut Book, deeds: &mut Vec<Deed>) {
        if self.stage == Stage::Over {
            return;
        }
        self.received.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(n) = match self.stage {
            Stage::Asking => self.take_answer(taken, book, deeds),
            Stage::Talking => self.take_frame(taken, book, deeds),
            Stage::HeardClose => {
                if taken < self.received.len() {
                    book.fail("close", format!("peer {} heard bytes behind a close frame", self.number));
                }
                None
            }
            Stage::Over => None,
        } {
            taken += n;
        }
        self.received.drain(..taken);
    }

    /// The server has ended its side.
    pub fn hear_end(&mut self, book: &mut Book, deeds: &mut Vec<Deed>) {
        let account = &book.accounts[self.number];
        let is_honest = account.may_expect_all() && !book.is_stopping;
        let was = std::mem::replace(&mut self.stage, Stage::Over);
        if was == Stage::Talking && is_honest {
            book.fail("close", format!("peer {} heard the end without a close frame", self.number));
        }
        if was == Stage::Asking && is_honest && matches!(self.errand, Errand::Talk(..)) {
            book.fail("handshake", format!("peer {} was let go before it was let in", self.number));
        }
        if !self.received.is_empty() && is_honest && was != Stage::HeardClose {
            let left = self.received.len();
            book.fail(
                "frames",
                format!("peer {} heard the end after {left} bytes of something", self.number),
            );
        }
        if was == Stage::Asking && !self.requests.is_empty() && !book.is_stopping && is_honest {
            book.fail(
                "http",
                format!("peer {} was not answered {} requests", self.number, self.requests.len()),
            );
        }
        if !self.ended {
            self.end(book, deeds);
        }
    }

    /// The connection was reset by the server.
    pub fn hear_reset(&mut self, book: &mut Book) {
        let was = std::mem::replace(&mut self.stage, Stage::Over);
        if was == Stage::Talking && book.accounts[self.number].is_well() && !book.is_stopping {
            book.fail("close", format!("peer {} was reset without a close frame", self.number));
        }
        self.ended = true;
        book.accounts[self.number].facts.ended = true;
    }

    fn end(&mut self, book: &mut Book, deeds: &mut Vec<Deed>) {
        self.ended = true;
        let facts = &mut book.accounts[self.number].facts;
        facts.ended = true;
        facts.ended_well = self.said_close || matches!(self.errand, Errand::Browse(_) | Errand::Post(_));
        deeds.push(Deed::End);
    }

    fn pause(&mut self) -> Nanos {
        if self.rng.u32(..3) == 0 { self.rng.u64(..20 * MILLI) } else { self.rng.u64(..4 * SECOND) }
    }

    fn random(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.usize(1..most)];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn request(&self, target: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.handshake.encode_request(&mut out, &Self::asked(target));
        out
    }

    fn asked(target: &str) -> ClientRequest<'_> {
        ClientRequest { host: "sim:9001", target, ..ClientRequest::default() }
    }

    /// Says something: a message, whole or in fragments, or a ping.
    fn talk(&mut self, book: &mut Book, deeds: &mut Vec<Deed>) {
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

    fn message(&mut self) -> (Kind, Vec<u8>) {
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

    fn fragments(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
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

    fn ping(&mut self, out: &mut Vec<u8>) {
        self.pings += 1;
        encode_masked(out, Opcode::Ping, &self.pings.to_be_bytes(), self.rng.u32(..).to_be_bytes());
    }

    fn close(&mut self, code: CloseCode, deeds: &mut Vec<Deed>) {
        self.said_close = true;
        let (mut body, mut out) = (Vec::new(), Vec::new());
        encode_body(&mut body, code, "");
        encode_masked(&mut out, Opcode::Close, &body, self.rng.u32(..).to_be_bytes());
        deeds.push(Deed::Send(out));
    }

    fn bad_frame(&mut self, which: u8) -> Vec<u8> {
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

    fn browse(&mut self, deeds: &mut Vec<Deed>) {
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

    fn post(&mut self, deeds: &mut Vec<Deed>) {
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

    /// Takes one HTTP answer; returns how many bytes it was, if it is whole.
    fn take_answer(&mut self, from: usize, book: &mut Book, deeds: &mut Vec<Deed>) -> Option<usize> {
        let bytes = &self.received[from..];
        if bytes.is_empty() {
            return None;
        }
        let head_len = match HeadScan::new().scan(bytes, &HttpLimits::default()) {
            Ok(found) => found?,
            Err(refusal) => {
                book.fail("http", format!("peer {}: {refusal}", self.number));
                return None;
            }
        };
        let mut storage = Storage::new();
        let response = match Response::parse(&bytes[..head_len], &mut storage) {
            Ok(response) => response,
            Err(malformed) => {
                book.fail("http", format!("peer {}: {malformed}", self.number));
                return None;
            }
        };
        let status = response.status.code();
        if status == 101 {
            let target = if let Errand::Talk(target, _) = &self.errand { target.as_str() } else { "/" };
            if let Err(rejection) =
                self.handshake.check_response(&Self::asked(target), status, response.headers())
            {
                book.fail("handshake", format!("peer {}: {rejection}", self.number));
            }
            self.stage = Stage::Talking;
            deeds.push(Deed::Again(0));
            return Some(head_len);
        }
        let is_head = self.requests.pop_front().unwrap_or(false);
        let body_len = match response.body {
            _ if is_head => 0,
            Body::Framed(BodyLength::None) => 0,
            Body::Framed(BodyLength::Length(len)) => len as usize,
            Body::Framed(BodyLength::Chunked) | Body::UntilClose => {
                book.fail("http", format!("peer {} heard an answer without a length", self.number));
                return None;
            }
        };
        if bytes.len() < head_len + body_len {
            self.requests.push_front(is_head);
            return None;
        }
        let is_asked = matches!(self.errand, Errand::Noise(_)) || status == 200;
        if !is_asked && !book.is_stopping {
            book.fail("http", format!("peer {} was answered {status}", self.number));
        }
        Some(head_len + body_len)
    }

    /// Takes one frame; returns how many bytes it was, if it is whole.
    fn take_frame(&mut self, from: usize, book: &mut Book, deeds: &mut Vec<Deed>) -> Option<usize> {
        let header = match Header::decode(&self.received[from..], Role::Client) {
            Ok(header) => header?,
            Err(violation) => {
                book.fail("frames", format!("peer {}: {violation}", self.number));
                return None;
            }
        };
        let len = header.header_len + header.payload_len as usize;
        if len > self.received.len() - from {
            if header.payload_len > 4 << 20 {
                book.fail("frames", format!("peer {}: a frame of {} bytes", self.number, header.payload_len));
            }
            return None;
        }
        let limits = ws::Limits { frame_max: u64::MAX, message_max: u64::MAX, fragments_max: 1 };
        let frame = &mut self.received[from..from + len];
        match self.decoder.decode(frame, &mut Cursor::default(), &limits) {
            Ok(Some(Event::Message { kind, payload })) => book.heard(self.number, kind, payload),
            Ok(Some(Event::Ping(payload))) => {
                if !self.is_mute && !self.said_close && !self.ended {
                    let mut out = Vec::new();
                    encode_masked(&mut out, Opcode::Pong, payload, [1, 2, 3, 4]);
                    deeds.push(Deed::Send(out));
                }
            }
            Ok(Some(Event::Pong(payload))) => {
                let number = payload.try_into().map_or(u32::MAX, u32::from_be_bytes);
                let is_noisy = matches!(self.errand, Errand::Noise(_));
                if !is_noisy && (number <= self.pongs || number > self.pings) {
                    let text = format!("peer {} heard pong {number} after {}", self.number, self.pongs);
                    book.fail("pong", text);
                }
                self.pongs = number;
            }
            Ok(Some(Event::Close(body))) => {
                let code = body.map_or(CloseCode::NORMAL, |(code, _)| code);
                self.stage = Stage::HeardClose;
                if !self.said_close && !self.is_mute && !self.ended {
                    book.accounts[self.number].facts.said_close = true;
                    self.close(code, deeds);
                }
            }
            Ok(None) => book.fail("frames", format!("peer {}: a message in fragments", self.number)),
            Err(violation) => book.fail("frames", format!("peer {}: {violation}", self.number)),
        }
        Some(len)
    }
}

fn draw_errand(number: usize, rng: &mut Rng, habits: Habits) -> Errand {
    let messages = if rng.u32(..4) == 0 { rng.u32(..60) } else { rng.u32(..12) };
    if habits.is_crowd && rng.u32(..10) > 0 {
        return Errand::Talk("/broadcast/crowd?self=0".to_owned(), messages.min(3));
    }
    match rng.u32(..20) {
        0 => Errand::Noise(match rng.u32(..7) {
            0 => Noise::Bytes,
            1 => Noise::HalfHead,
            2 => Noise::Dribble,
            3 => Noise::Silence,
            4 => Noise::BadStream,
            _ => Noise::BadFrame(rng.u8(..)),
        }),
        1 => Errand::Browse(messages),
        2 | 3 if habits.has_posters => Errand::Post(messages),
        4 | 5 if habits.has_ticks => {
            let (rate, size) = ([1, 10, 50][rng.usize(..3)], [32, 100, 3000][rng.usize(..3)]);
            Errand::Talk(format!("/tick/{rate}?size={size}"), 0)
        }
        6..9 => Errand::Talk("/echo".to_owned(), messages),
        9 => Errand::Talk("/echo?prefix=ECHO:".to_owned(), messages),
        10 => Errand::Talk(format!("/chat?name=anna{number}"), messages),
        11 | 12 => Errand::Talk("/chat".to_owned(), messages),
        13 => Errand::Talk("/chat/sea".to_owned(), messages),
        14 => Errand::Talk("/broadcast?self=0".to_owned(), messages),
        15 => Errand::Talk("/broadcast?role=listen".to_owned(), messages / 12),
        16 => Errand::Talk("/broadcast/sea".to_owned(), messages),
        _ => Errand::Talk("/broadcast".to_owned(), messages),
    }
}
