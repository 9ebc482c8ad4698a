//! Engine.IO sessions over the whole server: what is sent comes back once and in order, by whatever way it goes.
//!
//! Input: deeds, one byte each, of a client of the echo at `/engine.io/`: it asks and waits, posts numbered messages, goes over to a
//! WebSocket step by step, lets time pass, hangs up, or posts bytes of the input. Pings are answered. While the client keeps to the
//! protocol its session lives, and at the end it has heard every number; when it does not, what it has heard is a beginning. All
//! that the server says is legal, and at the end no session and no connection is left.

use super::given::Given;
use super::response::{Answer, read_answer};
use super::scene::{Scene, WIDE, builtin, legal};
use stentor::base::tick::{MILLI, Nanos, SECOND};
use stentor::server::Config;
use stentor::service::builtin::Builtin;
use stentor::ws::{Header, Opcode, Role, encode_header};

/// Deeds of one input.
const DEEDS_MAX: u32 = 120;
/// Requests that are made at the end to hear what is missing.
const REQUESTS_MAX: u32 = 400;

/// Time without a pong after which a client asks; its session lives for 38 seconds at least.
const UNASKED_MAX: Nanos = 25 * SECOND;

/// How far the client's WebSocket has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// There is none.
    None,
    /// It is open.
    Open,
    /// `2probe` was sent and `3probe` came.
    Probed,
    /// The session goes by it.
    Taken,
}

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let mut client = Client::open();
    for _ in 0..DEEDS_MAX {
        if given.is_empty() {
            break;
        }
        client.deed(&mut given);
    }
    client.hear_the_rest();
    client.finish();
}

/// The client and all that is around it.
struct Client {
    scene: Scene<Builtin>,
    sid: String,
    /// The request that waits for its answer.
    get: Option<usize>,
    web_socket: Option<usize>,
    step: Step,
    /// How much of what the WebSocket was told has been read.
    read: usize,
    sent: u32,
    heard: u32,
    /// Time since the last ping was answered.
    unasked: Nanos,
    /// The session is over, or the client has given reason for that.
    is_over: bool,
}

impl Client {
    fn open() -> Self {
        let mut client = Self {
            scene: Scene::new(builtin(), Config::default()),
            sid: String::new(),
            get: None,
            web_socket: None,
            step: Step::None,
            read: 0,
            sent: 0,
            heard: 0,
            unasked: 0,
            is_over: false,
        };
        let line = client.request("GET", "");
        client.scene.settle();
        let (status, body) = client.answer(line).expect("a session is opened at once");
        assert_eq!(status, 200);
        client.sid = body.split('"').nth(3).expect("it has a name").to_owned();
        client
    }

    fn deed(&mut self, given: &mut Given<'_>) {
        let byte = given.byte();
        let more = usize::from(byte >> 4);
        match byte & 15 {
            0..=2 if self.get.is_none() && self.step != Step::Taken => {
                self.get = Some(self.request("GET", ""))
            }
            3 | 4 if self.step != Step::Taken => {
                let packets: Vec<String> = (0..=more).map(|_| self.next_packet()).collect();
                self.post(&packets.join("\u{1e}"));
            }
            3..=5 if self.step == Step::Taken => (0..=more).for_each(|_| {
                let packet = self.next_packet();
                self.send(&packet);
            }),
            6 | 7 => self.step(),
            8 => self.wait(20 * MILLI * Nanos::from(given.byte())),
            9 => self.scene.turn(),
            10 if more == 0 => self.hang_up(),
            11 if self.step != Step::Taken => {
                self.is_over = true;
                let body = String::from_utf8_lossy(given.take(more * 4)).into_owned();
                self.post(&body);
            }
            _ => self.scene.settle(),
        }
        self.listen();
    }

    /// Time passes. A client that is there asks now and then, or its pings would not reach it.
    fn wait(&mut self, time: Nanos) {
        self.scene.pass(time);
        self.unasked += time;
        self.listen();
        if self.unasked > UNASKED_MAX && !self.is_over && self.step != Step::Taken && self.get.is_none() {
            self.get = Some(self.request("GET", ""));
            self.scene.settle();
        }
    }

    /// The WebSocket goes one step further.
    fn step(&mut self) {
        match (self.step, self.web_socket) {
            (Step::None, None) => {
                let line = self.scene.wire.borrow_mut().connect(WIDE);
                self.scene.sent.push(Vec::new());
                let request = format!(
                    "GET /engine.io/?EIO=4&transport=websocket&sid={} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                    self.sid
                );
                self.scene.write(line, request.as_bytes());
                (self.web_socket, self.step, self.read) = (Some(line), Step::Open, 0);
            }
            (Step::Open, Some(_)) => self.send("2probe"),
            // As npm's client: once no request of its own is under way.
            (Step::Probed, Some(_)) if self.get.is_none() => {
                self.send("5");
                self.step = Step::Taken;
            }
            _ => {}
        }
        self.scene.settle();
    }

    /// The request that waits, or the WebSocket, ends.
    fn hang_up(&mut self) {
        if let Some(line) = self.get.take() {
            self.is_over = true;
            self.scene.wire.borrow_mut().reset(line);
        } else if let Some(line) = self.web_socket {
            self.is_over |= self.step == Step::Taken;
            self.scene.wire.borrow_mut().end(line);
        }
        self.scene.settle();
    }

    fn next_packet(&mut self) -> String {
        self.sent += 1;
        format!("4{}", self.sent)
    }

    fn request(&mut self, method: &str, body: &str) -> usize {
        let line = self.scene.wire.borrow_mut().connect(WIDE);
        self.scene.sent.push(Vec::new());
        let sid = if self.sid.is_empty() { String::new() } else { format!("&sid={}", self.sid) };
        let about =
            if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!(
            "{method} /engine.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: a\r\n{about}\r\n{body}"
        );
        self.scene.write(line, request.as_bytes());
        line
    }

    fn post(&mut self, body: &str) {
        let line = self.request("POST", body);
        self.scene.settle();
        let (status, _) = self.answer(line).expect("a POST is answered at once");
        assert!(self.is_over || status == 200, "{status} to {body:?}");
        self.scene.wire.borrow_mut().end(line);
    }

    fn send(&mut self, packet: &str) {
        let Some(line) = self.web_socket else { return };
        let (header, len) = encode_header(Opcode::Text, true, packet.len() as u64, Some([0; 4]));
        self.scene.write(line, &[&header[..len], packet.as_bytes()].concat());
    }

    /// The answer on a line, once it is whole.
    fn answer(&self, line: usize) -> Option<(u16, String)> {
        let said = &self.scene.wire.borrow().lines[line].said;
        let Answer::Complete { status, len, .. } = read_answer(said, false) else { return None };
        let body = said.windows(4).position(|end| end == b"\r\n\r\n").expect("a head ends") + 4;
        Some((status, String::from_utf8(said[body..len].to_vec()).expect("a payload is text")))
    }

    /// Takes in what has come by the request that waits and by the WebSocket.
    fn listen(&mut self) {
        if let Some(line) = self.get
            && let Some((status, body)) = self.answer(line)
        {
            self.get = None;
            self.scene.wire.borrow_mut().end(line);
            match status {
                200 => body.split('\u{1e}').for_each(|packet| self.hear(packet)),
                _ => assert!(self.is_over, "{status} {body}"),
            }
        }
        let Some(line) = self.web_socket else { return };
        let said = self.scene.wire.borrow().lines[line].said.clone();
        if self.read == 0
            && let Answer::Complete { status, len, .. } = read_answer(&said, false)
        {
            assert!(status == 101 || self.is_over, "{status}");
            self.read = if status == 101 { len } else { said.len() };
        }
        while let Ok(Some(header)) = Header::decode(&said[self.read..], Role::Client)
            && let Some(payload) = said[self.read + header.header_len..].get(..header.payload_len as usize)
        {
            self.read += header.header_len + payload.len();
            match (header.opcode, std::str::from_utf8(payload)) {
                (Opcode::Text, Ok("3probe")) if self.step == Step::Open => self.step = Step::Probed,
                (Opcode::Text, Ok(packet)) => self.hear(packet),
                (Opcode::Close, _) => {
                    self.is_over |= self.step == Step::Taken;
                    self.scene.wire.borrow_mut().end(line);
                }
                _ => {}
            }
        }
        let line = &self.scene.wire.borrow().lines[line];
        if line.closed || line.finished {
            self.is_over |= self.step == Step::Taken;
            (self.web_socket, self.step) = (None, Step::None);
        }
    }

    fn hear(&mut self, packet: &str) {
        self.unasked = if packet == "2" { 0 } else { self.unasked };
        match packet {
            "2" if self.step == Step::Taken => self.send("3"),
            "2" => self.post("3"),
            "1" => self.is_over = true,
            _ => {}
        }
        if let Some(number) = packet.strip_prefix('4')
            && !self.is_over
        {
            self.heard += 1;
            assert_eq!(number, self.heard.to_string(), "once and in order");
        }
    }

    /// A session that lives brings all that was sent.
    fn hear_the_rest(&mut self) {
        for _ in 0..REQUESTS_MAX {
            self.scene.settle();
            self.listen();
            if self.is_over || self.heard == self.sent {
                return;
            }
            if self.step != Step::Taken && self.get.is_none() {
                self.get = Some(self.request("GET", ""));
            }
        }
        panic!("{} of {} were heard", self.heard, self.sent);
    }

    /// Everybody goes, and nothing is left.
    fn finish(mut self) {
        self.scene.end();
        self.scene.pass(100 * SECOND);
        let line = self.scene.wire.borrow_mut().connect(WIDE);
        self.scene.sent.push(Vec::new());
        self.scene.write(line, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        self.scene.settle();
        let (_, metrics) = self.answer(line).expect("it is answered at once");
        assert!(metrics.contains("\nstentor_socketio_sessions 0\n"), "no session is left");
        for (line, sent) in self.scene.wire.borrow().lines.iter().zip(&self.scene.sent) {
            legal(sent, &line.said);
        }
    }
}
