//! What the server does when it is given more than it can hand on: slow readers, full queues, no descriptors left.
//!
//! A broadcast server meets overload as daily weather, and each kind has one promise: memory stays bounded, others
//! do not suffer, and what was dropped was dropped by a named policy.
//!
//! Invariant: slow peers have a small receive buffer, and much more is sent than all buffers of the system hold, so
//! that a queue runs over because it must, not because of timing.

mod common;

use common::aftermath::{Footprint, Scene, cpu_ticks};
use common::{BINARY, CLOSE, Frame, PATIENCE, Peer, Server, TEXT, encode, wait_for, write_until_stuck};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of one publication.
const SIZE: usize = 32 * 1024;
/// Publications: 16 MiB in all. A socket of this kind buffers 4 MiB at most (`net.ipv4.tcp_wmem`).
const COUNT: u32 = 512;

fn numbered(number: u32) -> Vec<u8> {
    let mut payload = vec![0; SIZE];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

fn number(frame: &Frame) -> Option<u32> {
    (frame.opcode == BINARY && frame.payload.len() == SIZE)
        .then(|| u32::from_be_bytes([frame.payload[0], frame.payload[1], frame.payload[2], frame.payload[3]]))
}

/// Publishes everything while one peer does not read and another reads all; hands out the one that did not.
fn overflow(policy: &str) -> (Scene, Peer) {
    let server = Scene::start(&["--overflow", policy, "--queue-max", "64ki", "--ping-interval", "0"]);
    let slow = Peer::open(server.narrow(), "/broadcast/flood");
    let mut healthy = server.open("/broadcast/flood");
    let mut publisher = server.open("/broadcast/flood?self=0");
    healthy.settle();
    publisher.settle();
    for expected in 0..COUNT {
        // In step with the healthy peer: its queue never holds more than one.
        publisher.send(BINARY, &numbered(expected));
        assert_eq!(number(&healthy.message()), Some(expected), "who reads hears everything under `{policy}`");
    }
    (server, slow)
}

/// How many publications the server says a peer has missed: `{"type":"gap","missed":N}`, all of them together.
fn missed(others: &[Frame]) -> u32 {
    let told = others.iter().filter(|frame| frame.opcode == TEXT).map(|frame| {
        let rest = frame.text().strip_prefix(r#"{"type":"gap","missed":"#).expect("a notice of a gap");
        rest.strip_suffix('}').and_then(|number| number.parse::<u32>().ok()).expect("a number")
    });
    told.sum()
}

/// The numbers that a peer hears up to a last publication that it will surely get, or to its end.
fn drain(server: &Server, slow: &mut Peer) -> (Vec<u32>, Vec<Frame>) {
    let (mut heard, mut others) = (Vec::new(), Vec::new());
    let mut end = None;
    slow.stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
    let began = Instant::now();
    while end != Some(true) && began.elapsed() < PATIENCE {
        // Peeking tells a pause from the end without losing the place in the stream.
        match slow.stream.peek(&mut [0]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if end.is_some() {
                    break;
                }
                // The queue is empty now: this one finds room.
                server.publish("flood", "text/plain", b"the end");
                end = Some(false);
                continue;
            }
            Err(_) => break,
        }
        match slow.try_read() {
            Some(frame) if frame.payload == b"the end" => end = Some(true),
            Some(frame) => match number(&frame) {
                Some(number) => heard.push(number),
                None => others.push(frame),
            },
            None => break,
        }
    }
    (heard, others)
}

/// Every delivery that was ever owed has an outcome.
fn assert_ledger_is_settled(server: &Server) {
    wait_for("the ledger to settle", || {
        let stats: serde_json::Value = serde_json::from_slice(&server.get("/stats").body).expect("JSON");
        let number = |name: &str| stats[name].as_u64().unwrap_or_else(|| panic!("{name} in {stats}"));
        let settled = number("deliveries_total") + number("dropped_total") + number("departed_total");
        assert_eq!(number("owed_total"), settled + number("queued"), "it holds at every instant");
        (number("queued") == 0).then_some(())
    });
}

fn assert_ordered_with_a_gap(heard: &[u32]) {
    assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "order is kept, nothing comes twice: {heard:?}");
    assert!(heard.len() < COUNT as usize, "more was sent than a queue of 64 KiB holds");
    assert_eq!(heard.first(), Some(&0), "what was queued before is sent");
}

#[test]
fn the_slowest_peers_are_listed_with_what_they_are_owed_and_since_when() {
    let (server, mut slow) = overflow("drop");
    let stats = || -> serde_json::Value { serde_json::from_slice(&server.get("/stats").body).expect("JSON") };
    let now = stats();
    let slowest = now["slowest_peers"].as_array().expect("a list");
    assert_eq!((slowest.len(), &now["peers_behind"]), (1, &1.into()), "{now}");
    let number = |name: &str| slowest[0][name].as_u64().unwrap_or_else(|| panic!("{name} in {now}"));
    assert!((1..=64 << 10).contains(&number("owed_bytes")), "a queue of 64 KiB: {now}");
    assert!(number("missed") > 0 && number("behind_ms") >= number("stalled_ms"), "{now}");
    drain(&server, &mut slow);
    wait_for("it to have caught up", || (stats()["slowest_peers"] == serde_json::json!([])).then_some(()));
    drop(slow);
    server.aftermath();
}

/// The bytes that wait here for a peer that does not read while a mebibyte is published.
fn owed(unsent_max: &str) -> u64 {
    let server = Scene::start(&["--unsent-max", unsent_max, "--queue-max", "2mi", "--ping-interval", "0"]);
    let mut slow = Peer::open(server.narrow(), "/broadcast/flood");
    let mut publisher = server.open("/broadcast/flood?self=0");
    (0..32).for_each(|number| publisher.send(BINARY, &numbered(number)));
    publisher.settle();
    let stats: serde_json::Value = serde_json::from_slice(&server.get("/stats").body).expect("JSON");
    (0..32).for_each(|expected| assert_eq!(number(&slow.message()), Some(expected), "all of it comes"));
    [slow, publisher].into_iter().for_each(Peer::close);
    server.aftermath();
    stats["slowest_peers"][0]["owed_bytes"].as_u64().unwrap_or(0)
}

#[test]
fn what_is_not_read_waits_here_where_all_share_it_and_not_in_the_system() {
    let (here, as_the_system_likes) = (owed("64ki"), owed("0"));
    assert!(here > 768 << 10, "{here} bytes of a mebibyte wait here");
    assert!(as_the_system_likes < here, "the system took no more: {as_the_system_likes}");
}

#[test]
fn overflow_drop_leaves_a_gap_and_goes_on() {
    let (server, mut slow) = overflow("drop");
    let (heard, others) = drain(&server, &mut slow);
    assert_ordered_with_a_gap(&heard);
    assert_eq!(
        heard.len() as u32 + missed(&others),
        COUNT,
        "each publication is heard, or told to be missed"
    );
    slow.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    server.publish("flood", "text/plain", b"and on");
    assert_eq!(slow.message().text(), "and on", "it is still a subscriber");
    assert_ledger_is_settled(&server);
    drop(slow);
    server.aftermath();
}

#[test]
fn overflow_newest_keeps_the_latest() {
    let (server, mut slow) = overflow("newest");
    let (heard, others) = drain(&server, &mut slow);
    assert_ordered_with_a_gap(&heard);
    assert_eq!(
        heard.len() as u32 + missed(&others),
        COUNT,
        "each publication is heard, or told to be missed"
    );
    assert_eq!(heard.last(), Some(&(COUNT - 1)), "the newest publication is the one that is kept");
    assert_ledger_is_settled(&server);
    drop(slow);
    server.aftermath();
}

#[test]
fn overflow_close_is_1013() {
    let (server, mut slow) = overflow("close");
    let (heard, others) = drain(&server, &mut slow);
    assert_ordered_with_a_gap(&heard);
    let close = others.iter().find(|frame| frame.opcode == CLOSE).expect("it is told why");
    assert_eq!(close.close_code(), 1013);
    drop(slow);
    assert_ledger_is_settled(&server);
    server.aftermath();
}

#[test]
fn replies_that_are_not_read_stop_the_reading() {
    let server = Scene::start(&["--message-max", "64ki", "--ping-interval", "0"]);
    let mut peer = server.open("/echo");
    // After this all buffers between us and us are full.
    let mut next = 0;
    let pending = write_until_stuck(&mut peer.stream, 128 << 20, |pending| {
        if pending.is_empty() {
            *pending = encode(true, BINARY, &numbered(next));
            next += 1;
        }
    });
    // Now read, on a second handle, while the rest of the last message is written: all comes back, in order.
    let mut writer = peer.stream.try_clone().expect("a second handle");
    let rest = std::thread::spawn(move || writer.write_all(&pending).expect("the server reads again"));
    for expected in 0..next {
        assert_eq!(number(&peer.message()), Some(expected));
    }
    rest.join().expect("the rest is written");
    peer.close();
    server.aftermath();
}

#[test]
fn a_flood_of_pings_is_answered_by_the_newest_pong_at_least() {
    let server = Scene::start(&["--ping-interval", "0"]);
    let mut peer = server.open("/echo");
    for number in 0..2000_u32 {
        peer.stream.write_all(&encode(true, common::PING, &number.to_be_bytes())).expect("the server reads");
    }
    let mut last = None;
    while last != Some(1999) {
        let pong = peer.read();
        assert_eq!(pong.opcode, common::PONG);
        let number = u32::from_be_bytes(pong.payload.try_into().expect("what we sent"));
        assert!(
            last.is_none_or(|last| last < number),
            "pongs may be left out (RFC 6455 §5.5.3), never mixed up"
        );
        last = Some(number);
    }
    peer.close();
    server.aftermath();
}

#[test]
fn without_descriptors_it_keeps_serving_and_recovers() {
    let server = Scene::start(&["--ping-interval", "0"]);
    let mut first = server.open("/echo");
    // It has reckoned with more than it gets: lowered behind its back, as when the whole system runs out.
    let lowered =
        Command::new("prlimit").args(["--nofile=48:48", "--pid", &server.pid().to_string()]).status();
    assert!(lowered.expect("prlimit runs").success());
    // More than it may open; those over the limit wait in the backlog.
    let crowd: Vec<TcpStream> = (0..80).map(|_| server.connect()).collect();
    for round in 0..20 {
        first.send_text(&format!("round {round}"));
        assert_eq!(first.message().text(), format!("round {round}"), "who is connected is served");
    }
    let (cpu, began) = (cpu_ticks(server.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    // A loop that spins on a failing accept burns a tick per tick (100 a second); one that waits burns next to none.
    let burnt = cpu_ticks(server.pid()) - cpu;
    assert!(
        u128::from(burnt) < began.elapsed().as_millis() / 10 / 4,
        "{burnt} ticks while waiting: it spins"
    );
    drop(crowd);
    let mut late = wait_for("a new connection to be served", || {
        let mut stream = server.connect();
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(&common::upgrade_with("/echo", &common::GOOD)).ok()?;
        let mut status = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut status).ok()?;
        (&status == b"HTTP/1.1 101").then_some(stream)
    });
    // The rest of the head, then a frame: served like anybody.
    late.write_all(&encode(true, TEXT, b"late")).expect("the server reads");
    let mut answer = Vec::new();
    wait_for("the echo", || {
        let mut bytes = [0; 512];
        let count = std::io::Read::read(&mut late, &mut bytes).expect("the server answers");
        answer.extend_from_slice(&bytes[..count]);
        answer.ends_with(b"\x81\x04late").then_some(())
    });
    first.send_text("still me");
    assert_eq!(first.message().text(), "still me");
    let metrics = server.get("/metrics");
    let line = metrics
        .text()
        .lines()
        .find(|line| line.starts_with("stentor_accepts_exhausted_total "))
        .expect("it is told");
    assert_ne!(
        line, "stentor_accepts_exhausted_total 0",
        "this test is about a system without a descriptor left"
    );
    drop((first, late));
    server.aftermath();
}

/// The program fixes glibc's thresholds, unless it is told something about them; other libraries give large blocks back by themselves.
#[cfg(target_env = "gnu")]
#[test]
fn the_memory_of_large_publications_goes_back() {
    const LARGE: usize = 1 << 20;
    let large_ones = |is_fixed: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
        command.args(["--listen", "127.0.0.1:0", "--message-max", "2mi", "--queue-max", "8mi"]);
        if !is_fixed {
            command.env("GLIBC_TUNABLES", "");
        }
        let scene = Scene::of(Server::run(command));
        let mut rooms: Vec<[Peer; 3]> = Vec::new();
        for room in ["/broadcast/a", "/broadcast/b", "/broadcast/c"] {
            let publisher = scene.open(&format!("{room}?self=0"));
            rooms.push([Peer::open(scene.narrow(), room), scene.open(room), publisher]);
        }
        for number in 0..20 {
            for [_, healthy, publisher] in &mut rooms {
                publisher.send(BINARY, &vec![number; LARGE - 1000 * usize::from(number)]);
                assert_eq!(healthy.message().payload[0], number);
            }
        }
        drop(rooms);
        scene.wait_for_descriptors();
        scene
    };
    let (fixed, floating) = (large_ones(true), large_ones(false));
    fixed.aftermath();
    let grown = |scene: &Scene| Footprint::of(scene.pid()).memory.saturating_sub(scene.before().memory) >> 10;
    println!("grown by {} KiB with fixed thresholds, by {} KiB without", grown(&fixed), grown(&floating));
}
