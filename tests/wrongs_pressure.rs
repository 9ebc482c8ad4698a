//! The table of wrongs, pressure: peers that read slowly, vanish, storm or flood, and a system without descriptors.
//!
//! What one peer does may cost that peer. The others are served meanwhile, nobody is let go for what was our own
//! doing, and when it is over nothing of it is left. What a slow subscriber gets under each policy stands in
//! `pressure.rs`.
//!
//! Invariant: a share of the processor is compared with what spinning would take, several times as much; how long
//! others have to wait is measured by `bench run --only flood`, not here.

mod common;

use common::aftermath::{Footprint, SERVED_WITHIN, Scene, cpu_ticks};
use common::{BINARY, CLOSE, GOOD, PATIENCE, PING, PONG, Peer, Server, TEXT, encode, upgrade_with, wait_for};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Both sockets of a connection, filled: what the system buffers at most for it, and some of ours (`tcp_wmem` and
/// `tcp_rmem` end at 4 and 6 MiB, twice for both directions).
const BUFFERED_MAX: usize = 32 << 20;

fn stats(server: &Server) -> serde_json::Value {
    serde_json::from_slice(&server.get("/stats").body).expect("JSON")
}

fn departures(server: &Server, reason: &str) -> u64 {
    stats(server)["departures"][reason].as_u64().expect("a number")
}

/// Writes `message` again and again without reading, until nothing more goes; returns how much went.
fn fill(peer: &mut Peer, message: &[u8]) -> usize {
    peer.stream.set_nonblocking(true).expect("it can be");
    let (mut sent, mut still) = (0, Instant::now());
    while still.elapsed() < Duration::from_millis(300) {
        assert!(sent < 2 * BUFFERED_MAX, "it takes in without end");
        match peer.stream.write(&message[sent % message.len()..]) {
            Ok(count) => (sent, still) = (sent + count, Instant::now()),
            Err(why) if why.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            Err(why) => panic!("{why}"),
        }
    }
    peer.stream.set_nonblocking(false).expect("it can be");
    sent
}

/// Has the connection end with a reset: whatever is on its way is thrown away.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it can be set");
    drop(stream);
}

#[test]
fn echo_stops_reading_from_a_peer_that_does_not_read_and_what_it_takes_is_bounded() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let message = encode(true, BINARY, &[7; 60_000]);
    let mut deaf: Vec<Peer> = (0..8).map(|_| scene.open("/echo")).collect();
    for peer in &mut deaf {
        let sent = fill(peer, &message);
        assert!(sent < BUFFERED_MAX, "{sent} bytes were taken from a peer that reads nothing");
    }
    let grown = Footprint::of(scene.pid()).memory.saturating_sub(scene.before().memory);
    eprintln!("8 peers that read nothing are echoed 60 000 bytes at a time: {} KiB more", grown >> 10);
    assert!(grown < 8 << 20, "{grown} bytes of ours");
    drop(deaf);
    scene.aftermath();
}

#[test]
fn a_peer_that_shuts_its_window_and_then_resets_is_forgotten() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let large = encode(true, BINARY, &[7; 60_000]);
    let mut shut: Vec<Peer> = (0..50).map(|_| Peer::open(scene.narrow(), "/broadcast/shut")).collect();
    let mut publisher = scene.open("/broadcast/shut?self=0");
    wait_for("them to be owed what they do not read", || {
        publisher.stream.write_all(&large).expect("the server reads");
        assert!(publisher.settle().is_empty());
        (stats(&scene)["queued"] != 0).then_some(())
    });
    shut.drain(..).for_each(|peer| reset(peer.stream));
    wait_for("the resets to be counted", || (departures(&scene, "reset") == 50).then_some(()));
    publisher.close();
    let stats = stats(&scene);
    assert_eq!(stats["queued"], 0, "nobody is owed anything any more: {stats}");
    scene.aftermath();
}

#[test]
fn the_smallest_publications_are_as_bounded_for_a_slow_subscriber_as_large_ones() {
    let scene = Scene::start(&["--ping-interval", "0", "--stall-timeout", "0"]);
    let mut slow: Vec<Peer> = (0..40).map(|_| Peer::open(scene.narrow(), "/broadcast/small")).collect();
    let mut publisher = scene.open("/broadcast/small?self=0");
    let large = [7; 60_000];
    wait_for("each to be owed something", || {
        publisher.send(BINARY, &large);
        assert!(publisher.settle().is_empty());
        (stats(&scene)["queued"].as_u64() >= Some(40)).then_some(())
    });
    let before = Footprint::of(scene.pid()).memory;
    for _ in 0..20_000 {
        // One at a time: what comes together would wait as one frame.
        publisher.send(TEXT, b"");
        publisher.settle();
    }
    let grown = Footprint::of(scene.pid()).memory.saturating_sub(before);
    eprintln!("20 000 empty publications for 40 who do not read: {} KiB more", grown >> 10);
    assert!(grown < 40 * (256 << 10), "{grown} bytes for 40 queues of 256 KiB that were half full");
    slow.drain(..).for_each(|peer| reset(peer.stream));
    publisher.close();
    scene.aftermath();
}

#[test]
fn a_huge_message_read_a_byte_at_a_time_arrives_whole_and_delays_nobody() {
    let scene = Scene::start(&["--message-max", "4mi", "--queue-max", "8mi", "--ping-interval", "0"]);
    let mut slow = Peer::open(scene.narrow(), "/broadcast/huge");
    let mut healthy = scene.open("/broadcast/huge");
    healthy.settle();
    let huge: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
    healthy.send(BINARY, &huge);
    assert!(healthy.message().payload == huge);
    let mut head = Vec::new();
    for round in 0..2000 {
        let mut byte = [0];
        slow.stream.read_exact(&mut byte).expect("it goes on");
        head.push(byte[0]);
        if round % 100 == 0 {
            let mut other = scene.open("/echo");
            other.settle();
            other.close();
        }
    }
    // The header is ten bytes long, and was read with the rest.
    let mut rest = vec![0; huge.len() + 10 - head.len()];
    slow.stream.read_exact(&mut rest).expect("the rest comes");
    let all = [head, rest].concat();
    assert!(all[10..] == huge, "whole, and in order");
    slow.close();
    healthy.close();
    scene.aftermath();
}

#[test]
fn a_vanished_peer_is_gone_within_two_and_a_half_intervals_without_a_closing_handshake_and_its_room_is_told()
{
    // The relation of the defaults (25 s and 20 s), in less time.
    let interval = Duration::from_secs(4);
    let scene = Scene::start(&["--ping-interval", "4s", "--pong-timeout", "3200ms"]);
    let mut friend = scene.open("/chat/room?name=friend");
    assert!(friend.message().text().contains("friend comes in"));
    let mut gone = scene.open("/chat/room?name=gone");
    assert!(friend.message().text().contains("gone comes in"));
    let vanished = Instant::now();
    // It neither reads nor answers nor ends its side: as if its network had died. The friend answers its pings.
    assert_eq!(friend.message().text(), r#"{"type":"leave","data":"gone left"}"#);
    let took = vanished.elapsed();
    assert!(took < interval * 5 / 2 + Duration::from_secs(1), "its room was told after {took:?}");
    assert_eq!(departures(&scene, "idle"), 1);
    let heard = std::iter::from_fn(|| gone.try_read());
    let opcodes: Vec<u8> = heard.map(|frame| frame.opcode).collect();
    assert_eq!(opcodes, [TEXT, PING], "its own entry, one ping, and no close frame");
    friend.close();
    scene.aftermath();
}

/// A peer that answers pings until it is told to stop; it says how many it answered.
fn answering(mut peer: Peer, stop: &Arc<AtomicBool>) -> JoinHandle<(Peer, u32)> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut answered = 0;
        peer.stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout can be set");
        while !stop.load(Ordering::Relaxed) {
            match peer.stream.peek(&mut [0]) {
                Ok(0) => panic!("it was let go"),
                Ok(_) => {}
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(why) => panic!("it was let go: {why}"),
            }
            let ping = peer.read();
            assert_eq!(ping.opcode, PING, "nothing else is said");
            peer.send(PONG, &ping.payload);
            answered += 1;
        }
        peer.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        (peer, answered)
    })
}

#[test]
fn nobody_is_reaped_by_our_own_suspension() {
    let flags = [
        ["--ping-interval", "1s"],
        ["--pong-timeout", "1s"],
        ["--handshake-timeout", "4s"],
        ["--message-timeout", "4s"],
        ["--stall-timeout", "3s"],
    ];
    let scene = Scene::start(&flags.concat());
    let stop = Arc::new(AtomicBool::new(false));
    let peers: Vec<_> = (0..30).map(|_| answering(scene.open("/broadcast/quiet"), &stop)).collect();
    // In the middle of something when it happens: a message, a handshake, reading what waits.
    let mut speaking = scene.open("/echo");
    let mut asking = scene.connect();
    asking.write_all(b"GET /healthz HTTP/1.1\r\nHo").expect("the server reads");
    let mut reading = Peer::open(scene.narrow(), "/broadcast/much");
    let mut publisher = scene.open("/broadcast/much?self=0");
    for _ in 0..4 {
        publisher.send(BINARY, &[7; 60_000]);
    }
    publisher.settle();
    speaking.stream.write_all(&encode(false, TEXT, b"half, ")).expect("the server reads");
    scene.signal("STOP");
    // Six of the ping's intervals, and more than any of the deadlines.
    std::thread::sleep(Duration::from_secs(6));
    scene.signal("CONT");
    speaking.stream.write_all(&encode(true, 0, b"whole")).expect("the server reads");
    asking.write_all(b"st: a\r\n\r\n").expect("the server reads");
    assert_eq!(speaking.message().text(), "half, whole");
    assert_eq!(common::Response::read(&mut asking, false).status, 200);
    (0..4).for_each(|_| assert_eq!(reading.message().payload.len(), 60_000));
    [speaking, reading, publisher].into_iter().for_each(Peer::close);
    // Everybody has been pinged, or looked at, since.
    std::thread::sleep(Duration::from_secs(3));
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for peer in peers {
        let (peer, pings) = peer.join().expect("nobody was let go");
        answered += pings;
        peer.close();
    }
    assert!(answered >= 30, "they were pinged: {answered}");
    for reason in ["idle", "slow_consumer", "message_timeout", "handshake_timeout", "close_timeout"] {
        assert_eq!(departures(&scene, reason), 0, "{reason}");
    }
    drop(asking);
    scene.aftermath();
}

/// Peers of the storm: the client's own limit of descriptors is 20 000.
const STORM: usize = 5000;

#[test]
fn five_thousand_resets_at_once_leave_nothing_behind() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let paths = ["/chat/storm", "/broadcast/storm", "/echo", "/tick/1"];
    // In rooms of a hundred: each would hear of four thousand others otherwise, a quadratic number of announcements.
    let peers: Vec<TcpStream> = (0..STORM)
        .map(|number| {
            let path = paths[number % paths.len()];
            let path =
                if path == "/chat/storm" { format!("{path}{}", number / 400) } else { path.to_owned() };
            scene.open(&path).stream
        })
        .collect();
    let connections = stats(&scene)["connections"].as_u64().expect("a number");
    assert!(connections >= STORM as u64, "{connections}");
    peers.into_iter().for_each(reset);
    wait_for("all of them to be gone", || (stats(&scene)["connections"].as_u64() == Some(1)).then_some(()));
    let stats = stats(&scene);
    assert_eq!((&stats["topics"], &stats["queued"]), (&0.into(), &0.into()), "no room, no debt: {stats}");
    scene.aftermath();
}

#[test]
fn rooms_by_the_thousand_long_names_and_churn_leave_nothing_behind() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let long = "r".repeat(120);
    let name = "n".repeat(60);
    for round in 0..3 {
        let peers: Vec<Peer> =
            (0..1500).map(|number| scene.open(&format!("/chat/{long}{number}?name={name}{round}"))).collect();
        assert_eq!(stats(&scene)["topics"], 1500);
        peers.into_iter().for_each(|peer| reset(peer.stream));
        wait_for("the rooms to be empty", || (stats(&scene)["topics"] == 0).then_some(()));
    }
    // Names that come in pairs and go, in a room that is never empty: each second one asks for a number.
    let stays = scene.open("/chat/room?name=stays");
    let before = Footprint::of(scene.pid()).memory;
    for pair in 0..1500 {
        let twice = [0, 1].map(|_| scene.open(&format!("/chat/room?name={name}{pair}")));
        twice.into_iter().for_each(|peer| reset(peer.stream));
    }
    wait_for("all but one to be gone", || (stats(&scene)["connections"] == 2).then_some(()));
    let grown = Footprint::of(scene.pid()).memory.saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes are kept of those who left");
    stays.stream.shutdown(Shutdown::Both).expect("it is open");
    drop(stays);
    let too_long = format!("/chat/{}", "r".repeat(129));
    assert_eq!(scene.ask(&upgrade_with(&too_long, &GOOD)).status, 400, "129 bytes are no name");
    scene.aftermath();
}

/// Keeps doing `flood` in a thread of its own while `others` are echoed twenty times each; then ends it.
fn others_are_served_during(scene: &Scene, what: &str, mut flood: impl FnMut() + Send + 'static) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flooding = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            flood();
        }
    });
    let mut others: Vec<Peer> = (0..5).map(|_| scene.open("/echo")).collect();
    for round in 0..20 {
        for other in &mut others {
            let began = Instant::now();
            other.send_text("meanwhile");
            assert_eq!(other.message().text(), "meanwhile", "{what}");
            assert!(began.elapsed() < SERVED_WITHIN, "{what}: round {round} took {:?}", began.elapsed());
        }
    }
    stop.store(true, Ordering::Relaxed);
    flooding.join().expect("no panic");
    others.into_iter().for_each(Peer::close);
}

#[test]
fn others_are_served_while_one_peer_floods() {
    let scene = Scene::start(&["--ping-interval", "0", "--message-max", "1mi"]);
    let floods: [(&str, &str, Vec<u8>); 5] = [
        ("pongs", "/echo", encode(true, PONG, b"").repeat(20_000)),
        ("empty messages that are echoed", "/echo", encode(true, TEXT, b"").repeat(20_000)),
        ("large messages", "/echo", encode(true, BINARY, &[7; 1_000_000])),
        ("publications", "/broadcast/flood?self=0", encode(true, TEXT, b"flood").repeat(5000)),
        ("messages to nobody", "/broadcast/alone?self=0", encode(true, BINARY, &[7; 100_000])),
    ];
    for (what, target, bytes) in floods {
        let mut peer = scene.open(target);
        let mut listeners: Vec<Peer> = (0..5).map(|_| scene.open("/broadcast/flood?role=listen")).collect();
        let mut reader = peer.stream.try_clone().expect("a second handle");
        let reading = std::thread::spawn(move || {
            let mut bytes = vec![0; 1 << 20];
            while reader.read(&mut bytes).is_ok_and(|count| count > 0) {}
        });
        let ending = peer.stream.try_clone().expect("a third handle");
        others_are_served_during(&scene, what, move || {
            peer.stream.write_all(&bytes).expect("the server reads");
        });
        // Ends the reader as well, which has the same socket.
        ending.shutdown(Shutdown::Both).expect("it is open");
        listeners.drain(..).for_each(|listener| reset(listener.stream));
        reading.join().expect("no panic");
    }
    scene.aftermath();
}

#[test]
fn others_are_served_while_every_tick_there_may_be_runs_at_its_fastest() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let mut listeners: Vec<TcpStream> =
        (0..64).map(|n| scene.open(&format!("/tick/100000?size={}", 1_000_000 + n)).stream).collect();
    let one = listeners.pop().expect("there are many");
    one.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
    others_are_served_during(&scene, "64 ticks of a megabyte, 100 000 a second each", move || {
        let _ = (&one).read(&mut [0; 65_536]);
    });
    let grown = Footprint::of(scene.pid()).memory.saturating_sub(scene.before().memory);
    eprintln!("64 ticks at their fastest: {} KiB more", grown >> 10);
    // Each source holds its payload, each listener one publication that it does not read.
    assert!(grown < 256 << 20, "{grown} bytes");
    listeners.into_iter().for_each(reset);
    wait_for("the sources to end", || (stats(&scene)["topics"] == 0).then_some(()));
    // Publications of a megabyte are on the heap, which keeps their memory for the next ones: bounded, but not given back.
    scene.wait_for_descriptors();
    scene.wait_for_idleness();
}

#[test]
fn others_are_served_while_publications_by_http_pour_in() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let mut hearers: Vec<Peer> = (0..5).map(|_| scene.open("/broadcast/http?role=listen")).collect();
    let body = vec![b'x'; 60_000];
    let head = format!("POST /publish/http HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), &body].concat().repeat(10);
    let address = scene.address();
    others_are_served_during(&scene, "ten pipelined publications at a time", move || {
        let mut stream = TcpStream::connect(address).expect("the server accepts");
        stream.write_all(&request).expect("the server reads");
        let mut answers = [0; 4096];
        let mut count = 0;
        while count < 10 {
            let read = stream.read(&mut answers).expect("it answers");
            count += answers[..read].windows(12).filter(|bytes| bytes == b"HTTP/1.1 200").count();
            assert_ne!(read, 0, "it ends after {count} answers");
        }
    });
    hearers.drain(..).for_each(|hearer| reset(hearer.stream));
    scene.aftermath();
}

#[test]
fn without_descriptors_it_waits_below_five_percent_and_serves_who_waits_once_they_return() {
    let scene = Scene::start(&["--ping-interval", "0", "--handshake-timeout", "1m"]);
    let mut first = scene.open("/echo");
    // It has reckoned with more than it gets: lowered behind its back, as when the whole system runs out.
    let limit = |soft: u32| {
        let limits = format!("--nofile={soft}:20000");
        let status = Command::new("prlimit").args([&limits, "--pid", &scene.pid().to_string()]).status();
        assert!(status.expect("prlimit runs").success());
    };
    limit(48);
    // All of them ask at once; those over the limit wait in the backlog, and nobody comes after them.
    let request = [upgrade_with("/echo", &GOOD), encode(true, TEXT, b"I waited")].concat();
    let mut crowd: Vec<TcpStream> = (0..80)
        .map(|_| {
            let mut stream = scene.connect();
            stream.write_all(&request).expect("the system takes it");
            stream
        })
        .collect();
    let is_served = |stream: &mut TcpStream| {
        let mut answer = [0; 4096];
        stream.set_nonblocking(true).expect("it can be");
        let count = stream.peek(&mut answer).unwrap_or(0);
        stream.set_nonblocking(false).expect("it can be");
        answer[..count].ends_with(b"\x81\x08I waited")
    };
    wait_for("as many as there are descriptors for", || {
        (crowd.iter_mut().filter_map(|stream| is_served(stream).then_some(())).count() >= 30).then_some(())
    });
    first.send_text("who is connected is served");
    assert_eq!(first.message().text(), "who is connected is served");
    let (before, began) = (cpu_ticks(scene.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(4));
    let (burnt, took) = (cpu_ticks(scene.pid()) - before, began.elapsed());
    eprintln!("{burnt} ticks of 10 ms in {took:?} without a descriptor left");
    assert!(u128::from(burnt) * 10 * 100 < 5 * took.as_millis(), "{burnt} ticks in {took:?}: it spins");
    let waiting = crowd.iter_mut().filter_map(|stream| (!is_served(stream)).then_some(())).count();
    assert!(waiting > 20, "they wait: {waiting}");
    // First some who have a place leave, then the limit itself is lifted: nobody new arrives.
    let (gone, rest): (Vec<_>, Vec<_>) = crowd.into_iter().enumerate().partition(|(number, _)| *number < 10);
    drop(gone);
    let mut rest: Vec<TcpStream> = rest.into_iter().map(|(_, stream)| stream).collect();
    let served = |rest: &mut Vec<TcpStream>| {
        rest.iter_mut().filter_map(|stream| is_served(stream).then_some(())).count()
    };
    let so_far = 80 - waiting - 10;
    wait_for("ten who waited to be served", || (served(&mut rest) >= so_far + 10).then_some(()));
    limit(20_000);
    wait_for("all who waited to be served", || (served(&mut rest) == 70).then_some(()));
    drop((rest, first));
    let page = scene.get("/metrics");
    let line = page.text().lines().find(|line| line.starts_with("stentor_accepts_exhausted_total "));
    assert_ne!(line, Some("stentor_accepts_exhausted_total 0"), "there was none left");
    scene.aftermath();
}

#[test]
fn a_peer_that_answers_our_close_and_goes_on_for_ever_is_let_go() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let mut peer = scene.open("/chat/close");
    peer.message();
    peer.send(BINARY, b"?");
    assert_eq!(peer.read().opcode, CLOSE);
    peer.send_close(1003, "");
    // Both have said their last word: the server ends TCP at once, whatever is still sent.
    let began = Instant::now();
    while peer.stream.write_all(&encode(true, TEXT, b"and on")).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it still listens");
    }
    drop(peer);
    scene.aftermath();
}
