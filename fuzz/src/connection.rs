//! Whole connections: any bytes into the real server, and what it says must be HTTP and then WebSocket.
//!
//! Input: one byte of form. *Echo*: two bytes of cuts, then one connection's stream; a server that only echoes must say
//! the same however it is cut. *Raw*: the same with all that the program serves, where what a broadcast brings may
//! come before or after a farewell, so nothing is compared. *Script*: settings, then deeds of up to four peers
//! (connect, frames, bytes, not reading, waiting, ending) as [`Scene::deed`] reads them. Afterwards nobody and nothing
//! may be left.

use super::frames::built;
use super::given::{Cuts, Given};
use super::scene::{Scene, WIDE, builtin, legal};
use stentor::base::tick::{MILLI, Nanos};
use stentor::server::deflate::Mode;
use stentor::server::{Config, Overflow};
use stentor::service::{self, Admission, Ctx, Kind, Service};
use stentor::ws::Role;

/// Deeds of one script.
const DEEDS_MAX: u32 = 300;

/// Where peers connect to.
const PATHS: [&str; 14] = [
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
    "/socket.io/?EIO=4&transport=websocket",
    "/engine.io/?EIO=4&transport=websocket",
    "/broadcast/a?since=0000000000000000:0",
    "/dashboard",
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

impl<S: Service> Scene<S> {
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
}
