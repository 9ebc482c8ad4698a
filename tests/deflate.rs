//! Compression over real sockets: whoever is compressed how, all hear the same, and nobody pays for it but with time.
//!
//! The other side is zlib itself. What is hostile stands in `deflate/wrongs.rs`.
//!
//! Invariant: what a peer hears is what was said, in every mode and window.

mod common;
#[path = "deflate/silence.rs"]
mod silence;
#[path = "deflate/wrongs.rs"]
mod wrongs;

use common::aftermath::Scene;
use common::deflated::{Deflated, Heard, offer_to};
use common::{BINARY, CLOSE, PATIENCE, PING, PONG, Peer, Response, Server, TEXT, encode, wait_for};
use flate2::{Compress, Compression, FlushCompress};
use std::io::Write;
use stentor::server::Config;
use stentor::server::deflate::Mode;
use stentor::service::{Admission, Ctx, Kind, Request, Service, TopicId};
use stentor::ws::deflate::{DEFLATER_BYTES_MAX, INFLATER_BYTES_MAX};

const OFFER: &str = "permessage-deflate; client_max_window_bits";

fn start(mode: &str, args: &[&str]) -> Scene {
    Scene::start(&[&["--deflate", mode, "--ping-interval", "0"], args].concat())
}

/// JSON of some length that shrinks to a third or so.
fn json(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut text = Vec::new();
    while text.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (id, price) = (state >> 20, state >> 12 & 0xff);
        text.extend_from_slice(
            format!("{{\"id\":{id},\"symbol\":\"KITTI\",\"price\":{price}.25}},").as_bytes(),
        );
    }
    text.truncate(len);
    text
}

fn metric(server: &Server, name: &str) -> u64 {
    let page = server.get("/metrics");
    let line = page.text().lines().find(|line| line.starts_with(&format!("stentor_{name} ")));
    let line = line.unwrap_or_else(|| panic!("{name} is on the page"));
    line.split(' ').nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Memory of the server, in KiB: `VmRSS`, in use, or `VmHWM`, the most that ever was.
fn memory(server: &Server, which: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(which)).expect("proc(5)");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn assert_echoes(server: &Server) {
    let mut good = Deflated::open(server, "/echo", OFFER);
    let said = json(5000, 7);
    good.send(TEXT, &said);
    assert_eq!(good.read().payload, said);
    good.close();
}

#[test]
fn off_never_answers_the_extension() {
    let server = Server::start(&["--ping-interval", "0"]);
    let (mut peer, response) = offer_to(server.connect(), "/echo", OFFER);
    assert_eq!(response.header("sec-websocket-extensions"), None);
    peer.send(TEXT, &json(5000, 1));
    assert_eq!(peer.message().payload, json(5000, 1));
    assert_eq!((metric(&server, "deflate_agreed_total"), metric(&server, "deflate_declined_total")), (0, 1));
    peer.stream.write_all(&[0xc1, 0x80, 0, 0, 0, 0]).expect("the server reads");
    assert_eq!(peer.closed(), 1002, "RSV1 without agreement");
}

#[test]
fn what_is_agreed_on_is_what_the_mode_allows() {
    for (mode, offer, expected) in [
        (
            "shared",
            "permessage-deflate",
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
        ("context", "permessage-deflate", Some("permessage-deflate")),
        (
            "context",
            "permessage-deflate; server_no_context_takeover",
            Some("permessage-deflate; server_no_context_takeover"),
        ),
        (
            "context",
            "permessage-deflate; server_max_window_bits=11",
            Some("permessage-deflate; server_max_window_bits=9"),
        ),
        ("shared", "permessage-deflate; server_max_window_bits=7", None),
        ("shared", "permessage-deflate; nonsense", None),
        ("shared", "x-webkit-deflate-frame", None),
    ] {
        let server = start(mode, &[]);
        let (peer, response) = offer_to(server.connect(), "/echo", offer);
        assert_eq!(response.header("sec-websocket-extensions"), expected, "{mode}: {offer}");
        let counts = (metric(&server, "deflate_agreed_total"), metric(&server, "deflate_declined_total"));
        assert_eq!(counts, if expected.is_some() { (1, 0) } else { (0, 1) });
        peer.close();
    }
}

#[test]
fn an_echo_comes_back_compressed_in_every_mode_and_window() {
    for mode in ["shared", "context"] {
        let server = start(mode, &["--message-max", "1m"]);
        for offer in [
            OFFER,
            "permessage-deflate; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
        ] {
            let mut peer = Deflated::open(&server, "/echo", offer);
            for (round, len) in [1024, 1500, 0, 5, 1023, 70_000, 1024, 250_000, 2000].into_iter().enumerate()
            {
                let opcode = if round % 2 == 0 { TEXT } else { BINARY };
                let said = json(len, round as u32 / 3);
                peer.send(opcode, &said);
                let heard = peer.read();
                assert_eq!((heard.opcode, &heard.payload), (opcode, &said), "{mode}: {offer}");
                assert_eq!(heard.is_compressed, len >= 1024, "{mode}: {len} bytes");
                assert!(!heard.is_compressed || heard.wire < len / 2);
            }
            peer.close();
        }
    }
}

#[test]
fn context_makes_what_was_said_before_almost_free() {
    let server = start("context", &[]);
    let mut peer = Deflated::open(&server, "/echo", OFFER);
    let said = json(4000, 3);
    let wires: Vec<usize> = (0..3)
        .map(|_| {
            peer.send(TEXT, &said);
            let heard = peer.read();
            assert_eq!(heard.payload, said);
            heard.wire
        })
        .collect();
    assert!(wires[1] < wires[0] / 5 && wires[2] < wires[0] / 5, "{wires:?}");
    peer.close();
}

#[test]
fn many_replies_in_one_write_keep_their_order() {
    for mode in ["shared", "context"] {
        let server = start(mode, &["--deflate-min", "100"]);
        let mut peer = Deflated::open(&server, "/echo", OFFER);
        let said: Vec<Vec<u8>> = (0..200).map(|n| json(n * 7, n as u32 % 5)).collect();
        for message in &said {
            peer.send(BINARY, message);
        }
        for message in &said {
            assert_eq!(&peer.read().payload, message);
        }
        peer.close();
    }
}

#[test]
fn all_in_a_channel_hear_the_same_whatever_they_are_sent() {
    for mode in ["shared", "context"] {
        let server = start(mode, &[]);
        let mut plain: Vec<Peer> = (0..3).map(|_| server.open("/broadcast/sea")).collect();
        let offers = [
            OFFER,
            "permessage-deflate; server_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover",
        ];
        let mut squeezed: Vec<Deflated> =
            (0..9).map(|n| Deflated::open(&server, "/broadcast/sea", offers[n % 3])).collect();
        let compressed_before = metric(&server, "deflate_messages_total");
        let mut spoken = Vec::new();
        for round in 0..12_u32 {
            let said = json([900, 1024, 3000, 40_000][round as usize % 4], round);
            let opcode = if round % 3 == 0 { BINARY } else { TEXT };
            match round % 3 {
                0 => plain[0].send(opcode, &said),
                1 => squeezed[round as usize % 9].send(opcode, &said),
                _ => assert_eq!(server.publish("sea", "text/plain", &said).status, 200),
            }
            spoken.push((opcode, said));
            // In step, so that each publication is a segment of its own.
            let (opcode, said) = spoken.last().expect("just pushed");
            for peer in &mut plain {
                let frame = peer.message();
                assert_eq!((frame.opcode, &frame.payload), (*opcode, said));
            }
            for peer in &mut squeezed {
                let Heard { opcode: heard, payload, is_compressed, .. } = peer.read();
                assert_eq!((heard, &payload, is_compressed), (*opcode, said, said.len() >= 1024));
            }
        }
        let compressed = metric(&server, "deflate_messages_total") - compressed_before;
        assert_eq!(compressed, 9 * 2, "9 of 12 are large enough; once for each window, not for each peer");
        squeezed.into_iter().for_each(Deflated::close);
        plain.into_iter().for_each(Peer::close);
    }
}

#[test]
fn a_burst_of_publications_reaches_everybody_whole_and_in_order() {
    let server = start("context", &["--queue-max", "16m"]);
    let mut plain = server.open("/broadcast/sea?self=0");
    let mut wide = Deflated::open(&server, "/broadcast/sea", OFFER);
    let mut narrow =
        Deflated::open(&server, "/broadcast/sea?self=0", "permessage-deflate; server_max_window_bits=9");
    let said: Vec<Vec<u8>> = (0..300).map(|n| json(200 + n * 11, n as u32)).collect();
    let burst: Vec<u8> = said.iter().flat_map(|message| encode(true, TEXT, message)).collect();
    let mut writer = plain.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || writer.write_all(&burst).expect("the server reads"));
    for message in &said {
        assert_eq!(&wide.read().payload, message);
        assert_eq!(&narrow.read().payload, message);
    }
    writing.join().expect("all is written");
    assert!(plain.settle().is_empty(), "it does not hear itself");
}

#[test]
fn fragments_of_a_compressed_message_and_control_frames_between_them() {
    for mode in ["shared", "context"] {
        let server = start(mode, &[]);
        let mut peer = Deflated::open(&server, "/echo", OFFER);
        for seed in 0..3 {
            let said = json(10_000, seed);
            let compressed = peer.compress(&said);
            let parts: Vec<&[u8]> = compressed.chunks(compressed.len() / 4).collect();
            for (index, part) in parts.iter().enumerate() {
                let (is_first, is_last) = (index == 0, index + 1 == parts.len());
                peer.send_raw(is_last, if is_first { 0x40 | TEXT } else { 0 }, part);
                if !is_last {
                    peer.send_raw(true, PING, &[index as u8]);
                    let pong = peer.read();
                    assert_eq!((pong.opcode, pong.payload), (PONG, vec![index as u8]));
                }
            }
            assert_eq!(peer.read().payload, said);
        }
        // The bit belongs to the first frame alone (RFC 7692 §6.1).
        peer.send_raw(false, 0x40 | TEXT, b"x");
        peer.send_raw(true, 0x40, b"y");
        assert_eq!(peer.peer.closed(), 1002);
        assert_echoes(&server);
        drop(peer);
        server.aftermath();
    }
}

#[test]
fn idle_peers_hold_nothing_and_busy_ones_what_was_reserved() {
    const PEERS: usize = 60;
    // A context is larger than what glibc maps, and goes back when it is freed, since the program fixes glibc's thresholds
    // (docs/operations.md).
    let server = Scene::start(&["--deflate", "context", "--ping-interval", "0"]);
    assert_echoes(&server);
    let before = memory(&server, "VmRSS:");
    let mut peers: Vec<Deflated> = (0..PEERS).map(|_| Deflated::open(&server, "/echo", OFFER)).collect();
    let idle = memory(&server, "VmRSS:");
    assert!(
        idle.saturating_sub(before) < PEERS * 16,
        "{before} KiB before, {idle} with {PEERS} that said nothing"
    );
    for peer in &mut peers {
        for seed in 0..2 {
            peer.send(TEXT, &json(60_000, seed));
            assert_eq!(peer.read().payload.len(), 60_000);
        }
    }
    let busy = memory(&server, "VmRSS:");
    let reserved = metric(&server, "deflate_memory_bytes") as usize >> 10;
    let grown = busy - before;
    assert!(grown > PEERS * 100, "{grown} KiB: contexts are kept");
    assert!(grown < reserved + (8 << 10), "{grown} KiB are held, {reserved} reserved");
    drop(peers);
    server.aftermath();
}

/// A server of our own in this process; it ends with the test program. Returns where it listens.
fn serve(
    service: impl Service + Send + 'static,
    change: impl FnOnce(&mut Config) + Send + 'static,
) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let builder = stentor::server::Server::builder().listen("127.0.0.1:0".parse().expect("an address"));
        let server = builder.configure(change).service(service).bind().expect("it binds");
        tell.send(server.addresses()[0].to_string()).expect("the test waits");
        server.run()
    });
    told.recv().expect("it says where it listens")
}

fn open(address: &str, offer: &str) -> Deflated {
    let stream = std::net::TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let (peer, response) = offer_to(stream, "/", offer);
    Deflated::with(peer, response.header("sec-websocket-extensions").expect("agreed").to_owned())
}

/// Everybody in a topic of its own; who speaks is heard in all of them.
struct Rooms(Vec<TopicId>);

impl Service for Rooms {
    fn admit(&self, request: &Request<'_>) -> Admission<'_> {
        if request.path.is_empty() { Admission::accept(0) } else { Admission::NotFound }
    }

    fn opened(&mut self, ctx: &mut Ctx<'_>, _: &Request<'_>) {
        self.0.push(ctx.join(&format!("room {}", self.0.len())));
    }

    fn message(&mut self, ctx: &mut Ctx<'_>, kind: Kind, payload: &[u8]) {
        for room in &self.0 {
            ctx.publish(*room, kind, payload);
        }
    }
}

#[test]
fn many_publications_at_once_are_compressed_over_several_turns() {
    const ROOMS: usize = 60;
    let address = serve(Rooms(Vec::new()), |config| config.deflate.mode = Mode::Shared);
    let mut peers: Vec<Deflated> = (0..ROOMS).map(|_| open(&address, OFFER)).collect();
    let turns = || {
        let mut stream = std::net::TcpStream::connect(&address).expect("it accepts");
        stream.write_all(b"GET /stats HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
        let stats = Response::read(&mut stream, false);
        let stats: serde_json::Value = serde_json::from_slice(&stats.body).expect("JSON");
        stats["turns_total"].as_u64().expect("a number")
    };
    let before = turns();
    let said = json(60_000, 1);
    peers[0].send(TEXT, &said);
    for peer in &mut peers {
        let heard = peer.read();
        assert!(heard.is_compressed && heard.payload == said);
    }
    let spent = turns() - before;
    assert!(spent > ROOMS as u64 * 60_000 / (256 << 10), "3.6 MB were compressed in {spent} turns");
}

/// Answers, publishes, or does both.
struct Mixed;

impl Service for Mixed {
    fn admit(&self, _: &Request<'_>) -> Admission<'_> {
        Admission::accept(0)
    }

    fn opened(&mut self, ctx: &mut Ctx<'_>, _: &Request<'_>) {
        ctx.join("room");
    }

    fn message(&mut self, ctx: &mut Ctx<'_>, kind: Kind, payload: &[u8]) {
        let room = ctx.topic().expect("everybody is in the room");
        match payload.first() {
            Some(b'r') => ctx.reply(kind, payload),
            Some(b'p') => _ = ctx.publish(room, kind, payload),
            _ => {
                ctx.publish(room, kind, payload);
                ctx.reply(kind, payload);
            }
        }
    }
}

#[test]
fn replies_and_publications_may_take_turns_in_one_window() {
    let address = serve(Mixed, |config| {
        config.deflate.mode = Mode::Context;
        config.deflate.min = 64;
    });
    let mut wide = open(&address, OFFER);
    let mut narrow = open(&address, "permessage-deflate; server_max_window_bits=9");
    let letters = b"rrppbrbprbbrpprrrbpbrrpb";
    for (round, letter) in letters.iter().cycle().take(200).enumerate() {
        let mut said = vec![*letter];
        said.extend(json([30, 300, 3000][round % 3], round as u32 % 4));
        let (speaker, hearer) =
            if round % 2 == 0 { (&mut wide, &mut narrow) } else { (&mut narrow, &mut wide) };
        speaker.send(TEXT, &said);
        let (own, others) = match letter {
            b'r' => (1, 0),
            b'p' => (1, 1),
            _ => (2, 1),
        };
        for (peer, times) in [(speaker, own), (hearer, others)] {
            for _ in 0..times {
                let heard = peer.read();
                assert_ne!(heard.opcode, CLOSE);
                assert_eq!(heard.payload, said, "round {round}");
            }
        }
    }
    wide.close();
    narrow.close();
}
