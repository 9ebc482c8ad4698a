//! Whole connections: any bytes into the real server, and what it says must be HTTP and then WebSocket.
//!
//! Input: one byte of form. *Echo*: two bytes of cuts, then one connection's stream; a server that only echoes must say
//! the same however it is cut. *Raw*: the same with all that the program serves, where what a broadcast brings may
//! come before or after a farewell, so nothing is compared. *Script*: settings, then deeds of up to four peers
//! (connect, frames, bytes, not reading, waiting, ending) as [`Scene::deed`] reads them. Afterwards nobody and nothing
//! may be left.

use std::cell::RefCell;
use std::rc::Rc;

use super::frames::built;
use super::given::{Cuts, Given};
use super::memory_net::{MemoryNet, Wire};
use super::response::{Answer, read_answer};
use stentor::base::tick::{MILLI, Nanos, SECOND};
use stentor::http::{BodyReader, HeadScan, Limits, Method, Request, Storage};
use stentor::server::deflate::Mode;
use stentor::server::limits::REPLY_BYTES_HARD_MAX;
use stentor::server::{Config, DefaultService, Overflow, Worker};
use stentor::service::builtin::Builtin;
use stentor::service::{self, Admission, Ctx, Kind, Service};
use stentor::ws::deflate::Inflater;
use stentor::ws::{self, Header, Opcode, Role};

/// Turns that a server may take until it has done what it was asked; one that takes more spins.
const TURNS_MAX: u32 = 50_000;
/// Deeds of one script.
const DEEDS_MAX: u32 = 300;
/// More room than anything here needs.
const WIDE: usize = 1 << 30;

/// Where peers connect to.
const PATHS: [&str; 10] = [
    "/echo",
    "/broadcast/a",
    "/chat/a?name=ann",
    "/tick?every=100ms",
    "/",
    "/echo?prefix=x",
    "/broadcast/a?role=publisher",
    "/broadcast/a?self=0",
    "/chat/a?name=bob",
    "/tick",
];

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    match given.byte() % 3 {
        0 => echo(given),
        1 => script(given),
        _ => raw(given),
    }
}

/// Says what it hears.
struct Echo;

impl Service for Echo {
    fn admit(&self, _: &service::Request<'_>) -> Admission<'_> {
        Admission::accept(0)
    }

    fn opened(&mut self, _: &mut Ctx<'_>, _: &service::Request<'_>) {}

    fn message(&mut self, ctx: &mut Ctx<'_>, kind: Kind, payload: &[u8]) {
        ctx.reply(kind, payload);
    }
}

/// What the program serves.
fn builtin() -> Builtin {
    Builtin::new(DefaultService::Broadcast, vec!["v1".to_owned()])
}

/// One connection, any bytes, cut in two ways.
fn echo(mut given: Given<'_>) {
    let mut cuts = Cuts::new(given.word());
    let stream = given.rest();
    let whole = talk(Echo, Mode::Shared, &[stream]);
    let pieces = talk(Echo, Mode::Shared, &cuts.pieces(stream));
    // What tells of turns and times tells something else each time.
    if ![&b"metrics"[..], b"stats", b"healthz"]
        .iter()
        .any(|word| stream.windows(word.len()).any(|w| w == *word))
    {
        assert_eq!(whole, pieces, "the cuts change nothing");
    }
}

/// One connection, any bytes, all services.
fn raw(mut given: Given<'_>) {
    let mut cuts = Cuts::new(given.word());
    talk(builtin(), Mode::Context, &cuts.pieces(given.rest()));
}

/// What the server says to these pieces, and whether it hung up.
fn talk<S: Service>(service: S, mode: Mode, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut config = Config::default();
    (config.deflate.mode, config.deflate.min) = (mode, 20);
    let mut scene = Scene::new(service, config);
    let number = scene.wire.borrow_mut().connect(WIDE);
    scene.sent.push(Vec::new());
    scene.settle();
    for piece in pieces {
        scene.write(number, piece);
        scene.settle();
    }
    let hung_up = scene.wire.borrow().lines[number].finished;
    let said = scene.wire.borrow().lines[number].said.clone();
    scene.end();
    let is_whole = legal(&scene.sent[number], &scene.wire.borrow().lines[number].said);
    assert!(is_whole, "a peer that reads hears everything to its end");
    (said, hung_up)
}

/// Several peers, and what they do.
fn script(mut given: Given<'_>) {
    let settings = given.byte();
    let mut config = Config {
        queue_max: [256 << 10, 600][usize::from(settings & 1)],
        overflow: [Overflow::Drop, Overflow::Newest, Overflow::Close, Overflow::Drop]
            [usize::from(settings >> 1 & 3)],
        ..Config::default()
    };
    config.deflate.mode =
        [Mode::Off, Mode::Shared, Mode::Context, Mode::Shared][usize::from(settings >> 4 & 3)];
    config.deflate.min = 20;
    if settings & 8 != 0 {
        (config.ws.frame_max, config.ws.message_max, config.ws.fragments_max) = (300, 300, 4);
    }
    let mut scene = Scene::new(builtin(), config);
    let mut deeds = 0;
    while !given.is_empty() && deeds < DEEDS_MAX {
        scene.deed(&mut given);
        deeds += 1;
    }
    scene.end();
    for (number, line) in scene.wire.borrow().lines.iter().enumerate() {
        legal(&scene.sent[number], &line.said);
    }
}

/// A server, its network and its peers.
struct Scene<S: Service> {
    worker: Worker<MemoryNet, S>,
    wire: Rc<RefCell<Wire>>,
    /// By line: everything that its peer wrote.
    sent: Vec<Vec<u8>>,
    /// By peer: its line, if it has connected.
    peers: [Option<usize>; 4],
    /// The frame that was sent last.
    last: Vec<u8>,
    queued_max: usize,
    /// The server was told to stop and has said goodbye to all.
    is_over: bool,
}

impl<S: Service> Scene<S> {
    fn new(service: S, config: Config) -> Self {
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

    /// The next deed of the script: its peer in the upper bits, what it does in the lower ones.
    fn deed(&mut self, given: &mut Given<'_>) {
        let (deed, peer) = {
            let byte = given.byte();
            (byte & 15, usize::from(byte >> 4 & 3))
        };
        match (deed, self.peers[peer]) {
            (14, _) => self.settle(),
            (13, _) => self.turn(),
            (7, _) => self.pass(100 * MILLI * Nanos::from(given.byte())),
            (15, _) => self.wire.borrow_mut().stop(),
            (_, None) => self.connect(peer, deed, given.byte()),
            (0 | 1, Some(line)) => {
                self.wire.borrow_mut().reset(line);
                self.peers[peer] = None;
            }
            (2..=5, Some(line)) => {
                let (first, len) = (given.byte(), given.byte());
                let recipe = [&[first, len], given.take(usize::from(len).min(200))].concat();
                self.last = built(Role::Server, Given::new(&recipe));
                self.write(line, &self.last.clone());
            }
            (12, Some(line)) => {
                let times = usize::from(given.byte()).min(1 + (64 << 10) / self.last.len().max(1));
                self.write(line, &self.last.repeat(times));
            }
            (8, Some(line)) => self.wire.borrow_mut().lines[line].room = usize::from(given.byte()) * 16,
            (9, Some(line)) => self.wire.borrow_mut().read(line),
            (10, Some(line)) => {
                self.wire.borrow_mut().end(line);
                self.peers[peer] = None;
            }
            (_, Some(line)) => {
                let len = usize::from(given.byte());
                self.write(line, given.take(len));
            }
        }
    }

    /// A peer comes; an even deed brings a handshake, the upper half of the paths with an offer to compress.
    fn connect(&mut self, peer: usize, deed: u8, path: u8) {
        let line = self.wire.borrow_mut().connect(WIDE);
        self.sent.push(Vec::new());
        self.peers[peer] = Some(line);
        if deed.is_multiple_of(2) {
            let offer = match path {
                0..128 => "",
                128..192 => "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n",
                192.. => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            };
            let path = PATHS[usize::from(path) % PATHS.len()];
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\n{offer}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            self.write(line, request.as_bytes());
        }
    }

    fn write(&mut self, line: usize, bytes: &[u8]) {
        self.wire.borrow_mut().write(line, bytes);
        self.sent[line].extend_from_slice(bytes);
    }

    fn turn(&mut self) {
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
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.wire.borrow().is_quiet || self.is_over {
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    fn pass(&mut self, time: Nanos) {
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
    fn end(&mut self) {
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
fn legal(sent: &[u8], said: &[u8]) -> bool {
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
