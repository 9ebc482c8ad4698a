//! A whole server in memory with peers around it, and what must hold of it at every turn and at the end.
//!
//! Several laws drive the real server; here is what they have in common: turns that come to an end, a ledger that balances, queues
//! within bounds, and that everything it says can be read.

use std::cell::RefCell;
use std::rc::Rc;

use super::memory_net::{MemoryNet, Wire};
use super::response::{Answer, read_answer};
use stentor::base::tick::{Nanos, SECOND};
use stentor::http::{BodyReader, HeadScan, Limits, Method, Request, Storage};
use stentor::server::limits::REPLY_BYTES_HARD_MAX;
use stentor::server::{Config, DefaultService, Worker};
use stentor::service::builtin::Builtin;
use stentor::service::{Kind, Service};
use stentor::ws::deflate::Inflater;
use stentor::ws::{self, Header, Opcode, Role};

/// Turns that a server may take until it has done what it was asked; one that takes more spins.
const TURNS_MAX: u32 = 50_000;
/// More room than anything here needs.
pub const WIDE: usize = 1 << 30;

/// What the program serves. Socket.IO sessions are named `AAAA…`, `AQAA…`, `AgAA…` in the order in which names are drawn.
pub fn builtin() -> Builtin {
    let mut drawn = 0_u64;
    let names = move || {
        let mut name = [0; 15];
        name[..8].copy_from_slice(&drawn.to_le_bytes());
        drawn += 1;
        name
    };
    Builtin::new(DefaultService::Broadcast, vec!["v1".to_owned()]).with_names(names)
}

/// A server, its network and its peers.
pub struct Scene<S: Service> {
    /// The server.
    pub worker: Worker<MemoryNet, S>,
    /// All that is outside of it.
    pub wire: Rc<RefCell<Wire>>,
    /// By line: everything that its peer wrote.
    pub sent: Vec<Vec<u8>>,
    /// By peer: its line, if it has connected.
    pub peers: [Option<usize>; 4],
    /// The frame that was sent last.
    pub last: Vec<u8>,
    queued_max: usize,
    /// The server was told to stop and has said goodbye to all.
    pub is_over: bool,
}

impl<S: Service> Scene<S> {
    pub fn new(service: S, config: Config) -> Self {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let message_max = usize::try_from(config.ws.message_max).expect("a small limit");
        // A chat may make six bytes of one character; a frame more than the bound may stand in a queue.
        let queued_max = REPLY_BYTES_HARD_MAX + config.queue_max + 8 * message_max;
        let worker = Worker::new(MemoryNet(Rc::clone(&wire)), service, config, 100);
        Self {
            worker,
            wire,
            sent: Vec::new(),
            peers: [None; 4],
            last: Vec::new(),
            queued_max,
            is_over: false,
        }
    }

    pub fn write(&mut self, line: usize, bytes: &[u8]) {
        self.wire.borrow_mut().write(line, bytes);
        self.sent[line].extend_from_slice(bytes);
    }

    pub fn turn(&mut self) {
        let turn = self.worker.turn().expect("a wait in memory never fails");
        self.is_over |= turn.is_over;
        let (_, hub) = self.worker.metrics();
        let ledger = &hub.ledger;
        assert_eq!(ledger.queued, self.worker.owed_by_hand(), "every debt is in a queue");
        assert_eq!(ledger.owed, ledger.queued + ledger.written + ledger.dropped + ledger.departed);
        assert!(self.worker.buffers_lent() <= self.worker.connections(), "one buffer each at most");
        assert!(self.worker.queued_bytes_peak() <= self.queued_max, "queues are bounded");
    }

    /// Lets the server do what there is to do, while no time passes.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.wire.borrow().is_quiet || self.is_over {
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    pub fn pass(&mut self, time: Nanos) {
        let until = self.wire.borrow().now + time;
        self.wire.borrow_mut().until = until;
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.wire.borrow().now >= until || self.is_over {
                return self.settle();
            }
        }
        panic!("the server does not let time pass");
    }

    /// Everybody reads, ends and goes, and nothing is left.
    pub fn end(&mut self) {
        let lines = self.wire.borrow().lines.len();
        for line in 0..lines {
            self.wire.borrow_mut().lines[line].room = WIDE;
            self.wire.borrow_mut().read(line);
            self.wire.borrow_mut().end(line);
        }
        self.settle();
        // Whoever has ended is let go, at the latest when its deadline comes.
        self.pass(10 * SECOND);
        assert_eq!(self.worker.connections(), 0, "everybody has gone");
        assert_eq!(self.worker.buffers_lent(), 0, "and given back what was lent");
        assert_eq!(self.worker.owed_by_hand(), 0, "and is owed nothing");
        assert!(self.wire.borrow().lines.iter().all(|line| line.closed));
    }
}

/// Holds that what was said is answers to what was sent, then frames, and nothing behind a close frame. Whether it ends
/// where an answer or a frame ends.
pub fn legal(sent: &[u8], said: &[u8]) -> bool {
    let mut heads = heads(sent).into_iter();
    let mut rest = said;
    while !rest.is_empty() {
        // An interim answer belongs to the same request as the answer behind it.
        let is_interim = rest.starts_with(b"HTTP/1.1 100 ");
        let to_head = !is_interim && heads.next().unwrap_or(false);
        match read_answer(rest, to_head) {
            Answer::Begun => return false,
            Answer::Complete { status: 101, len, .. } => return frames(&rest[..len], &rest[len..]),
            Answer::Complete { status, len, keep_alive } => {
                rest = &rest[len..];
                assert!(
                    keep_alive || is_interim || rest.is_empty(),
                    "nothing behind a last answer ({status})"
                );
            }
        }
    }
    true
}

/// Of each request that was sent: whether it was a HEAD. What is no request is the last, and is one if it begins as one: its
/// peer expects no body (RFC 9110 §9.3.2), whatever is wrong with the rest.
fn heads(mut sent: &[u8]) -> Vec<bool> {
    let (limits, mut heads) = (Limits::default(), Vec::new());
    loop {
        let mut first = sent;
        while let Some(rest) = first.strip_prefix(b"\r\n") {
            first = rest;
        }
        let begins = first.starts_with(b"HEAD ");
        let Ok(Some(len)) = HeadScan::new().scan(sent, &limits) else {
            heads.push(begins);
            return heads;
        };
        let mut storage = Storage::new();
        let Ok(request) = Request::parse(&sent[..len], &mut storage) else {
            heads.push(begins);
            return heads;
        };
        heads.push(request.method == Method::Head);
        let Ok(mut reader) = BodyReader::new(request.body, u64::MAX) else { return heads };
        let Ok((taken, true)) = reader.feed(&sent[len..], &mut Vec::new()) else { return heads };
        sent = &sent[len + taken..];
    }
}

/// A server's frames: whole ones, in order, a close frame last, compressed only where that was agreed on in the answer's
/// `head`. Whether the last one is all there.
fn frames(head: &[u8], mut said: &[u8]) -> bool {
    let tells = |words: &[u8]| head.windows(words.len()).any(|window| window == words);
    let (may_compress, keeps_context) = (tells(b"permessage-deflate"), !tells(b"server_no_context_takeover"));
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    let limits = ws::Limits { frame_max: 64 << 20, message_max: 64 << 20, fragments_max: 1 };
    while !said.is_empty() {
        let Some(header) = Header::decode(said, Role::Client).expect("our own header is legal") else {
            return false;
        };
        assert!(header.fin, "we send whole messages");
        let end = header.header_len + usize::try_from(header.payload_len).expect("our own frames are small");
        let Some(mut payload) = said.get(header.header_len..end) else { return false };
        let kind = if header.opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
        if header.reserved != 0 {
            assert!(header.reserved == 0x40 && may_compress && !header.opcode.is_control());
            let verdict = inflater.inflate(kind, payload, &mut out, &limits, keeps_context);
            assert_eq!(verdict, Ok(()), "what we compress can be read");
            payload = &out;
        }
        match header.opcode {
            Opcode::Text => assert!(std::str::from_utf8(payload).is_ok(), "our own text is UTF-8"),
            Opcode::Close => {
                stentor::ws::close::decode_body(payload).expect("our own close is legal");
                assert_eq!(said.len(), end, "nothing behind a close frame");
            }
            Opcode::Binary | Opcode::Ping | Opcode::Pong => {}
            Opcode::Continuation => panic!("we do not fragment"),
        }
        said = &said[end..];
    }
    true
}
