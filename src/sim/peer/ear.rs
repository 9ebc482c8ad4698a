//! What a peer hears, and what must be true of it.
//!
//! Legal HTTP with an answer for every request; then legal frames, nothing behind a close frame, pongs only for its own
//! pings and never an old one, messages as the book has them; an end only where one is due.
//!
//! Invariant: whatever is cut by the network is put together before it is judged.

use super::super::account::Account;
use super::super::book::Book;
use super::super::tally::Fault;
use super::wrong::HEADS;
use super::{Deed, Errand, Noise, Peer, Stage};
use crate::base::tick::Nanos;
use crate::http::client::{Body, Response};
use crate::http::{BodyLength, HeadScan, Limits as HttpLimits, Storage};
use crate::server::limits::LINGER;
use crate::service::Departure;
use crate::ws::close::CloseCode;
use crate::ws::{self, Cursor, Decoder, Event, Header, Opcode, Role, encode_masked};

impl Peer {
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
        let was_slow = is_too_slow(account, book.now);
        let is_honest = account.may_expect_all() && !was_slow && !book.is_stopping;
        let facts = account.facts;
        let is_listening = !facts.is_deaf && !facts.is_thin && !facts.reset && facts.vanished.is_none();
        let was = std::mem::replace(&mut self.stage, Stage::Over);
        if was == Stage::Talking && is_honest {
            book.fail("close", format!("peer {} heard the end without a close frame", self.number));
        }
        if was == Stage::Talking && self.due().is_some() && is_listening && !book.is_stopping {
            book.fail("violation", format!("peer {} was not told what it did wrong", self.number));
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

    /// The code that it is to be told for what it has done wrong, if it has.
    fn due(&self) -> Option<CloseCode> {
        match self.errand {
            _ if self.said == 0 => None,
            Errand::Noise(Noise::Unfinished) => Some(CloseCode::POLICY),
            Errand::Noise(Noise::Frame(wrong))
                if wrong.is_compressed() && self.compression.agreed.is_none() =>
            {
                Some(CloseCode::PROTOCOL_ERROR)
            }
            Errand::Noise(Noise::Frame(wrong)) => Some(wrong.violation().close_code()),
            Errand::Noise(_) | Errand::Talk(..) | Errand::Browse(_) | Errand::Post(_) => None,
        }
    }

    /// The connection was reset by the server.
    pub fn hear_reset(&mut self, book: &mut Book) {
        let was = std::mem::replace(&mut self.stage, Stage::Over);
        let account = &book.accounts[self.number];
        let (was_slow, why) = (is_too_slow(account, book.now), account.closed);
        if was == Stage::Talking && account.is_well() && !was_slow && !book.is_stopping {
            book.fail("close", format!("peer {} was reset without a close frame ({why:?})", self.number));
        }
        self.ended = true;
        book.accounts[self.number].facts.ended = true;
    }

    /// Takes one HTTP answer; returns how many bytes it was, if it is whole.
    pub(super) fn take_answer(
        &mut self,
        from: usize,
        book: &mut Book,
        deeds: &mut Vec<Deed>,
    ) -> Option<usize> {
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
            self.let_in(book);
            let target = if let Errand::Talk(target, _) = &self.errand { target.as_str() } else { "/" };
            let agreed = self.handshake.check_response(&self.asked(target), status, response.headers());
            match agreed.map(|accepted| accepted.deflate) {
                Ok(agreed) => self.compression.agreed = agreed,
                Err(rejection) => book.fail("handshake", format!("peer {}: {rejection}", self.number)),
            }
            if self.compression.agreed.is_some() {
                book.tally.compressed += 1;
                self.decoder = Decoder::with_deflate(Role::Client);
            }
            self.stage = Stage::Talking;
            book.joined(self.number);
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
        self.judge(status, book);
        Some(head_len + body_len)
    }

    /// The server's close frame came: it says why, and is answered.
    fn hear_close(&mut self, code: CloseCode, book: &mut Book, deeds: &mut Vec<Deed>) {
        self.stage = Stage::HeardClose;
        if let Some(due) = self.due().filter(|due| *due != code && !book.is_stopping) {
            let text = format!("peer {} heard {code} where {due} was due", self.number);
            book.fail("violation", text);
        }
        if !self.said_close && !self.is_mute && !self.ended {
            book.accounts[self.number].facts.said_close = true;
            self.close(code, deeds);
        }
    }

    /// Who must not come in has not.
    fn let_in(&self, book: &mut Book) {
        if matches!(self.errand, Errand::Noise(Noise::Barred(..))) {
            book.fail("http", format!("peer {} was let in, and should not be", self.number));
        }
    }

    /// Whether this is the answer that was due.
    fn judge(&self, status: u16, book: &mut Book) {
        let is_due = match self.errand {
            Errand::Noise(Noise::Head(which)) => status == HEADS[which].1,
            Errand::Noise(Noise::Barred(_, due)) => status == due,
            Errand::Noise(_) => true,
            Errand::Talk(..) | Errand::Browse(_) | Errand::Post(_) => status == 200,
        };
        if status == 200 && matches!(self.errand, Errand::Post(_)) {
            book.acknowledged(self.number);
        }
        if !is_due && !book.is_stopping {
            book.fail("http", format!("peer {} ({:?}) was answered {status}", self.number, self.errand));
        }
    }

    /// Takes one frame; returns how many bytes it was, if it is whole.
    pub(super) fn take_frame(
        &mut self,
        from: usize,
        book: &mut Book,
        deeds: &mut Vec<Deed>,
    ) -> Option<usize> {
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
                if self.is_mute {
                    book.tally.count(Fault::Mute);
                } else if !self.said_close && !self.ended {
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
                self.hear_close(code, book, deeds);
            }
            Ok(Some(Event::Compressed { kind, payload })) => match self.compression.inflate(kind, payload) {
                Ok(message) => {
                    book.tally.inflated += 1;
                    book.heard(self.number, kind, &message);
                }
                Err(violation) => book.fail("frames", format!("peer {}: {violation}", self.number)),
            },
            Ok(None) => book.fail("frames", format!("peer {}: a message in fragments", self.number)),
            Err(violation) => book.fail("frames", format!("peer {}: {violation}", self.number)),
        }
        Some(len)
    }
}

/// Whether it was let go before it had read as far as the close frame because it reads so slowly, or its network carries so
/// little: two seconds are all it has for that after either side has said its last word, whatever waits before it. The book has
/// judged whether there was a reason to close it.
fn is_too_slow(account: &Account, now: Nanos) -> bool {
    let had_too_little_time = account.facts.is_thin && account.closed == Some(Departure::CloseTimeout);
    let is_over = account.facts.closed_at.is_some_and(|at| now >= at + LINGER);
    let had_its_time = is_over && account.closed == Some(Departure::PeerClosed);
    had_too_little_time || had_its_time || account.closed == Some(Departure::SlowConsumer)
}
