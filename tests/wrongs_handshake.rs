//! The table of wrongs, row *Handshake*: each wrong that an opening handshake can have, its exact answer, and what is
//! left of it.
//!
//! A handshake is where strangers meet: browsers, proxies, scanners, half-written clients, and those who mean harm.
//! Each test here is a line of `docs/security.md`; the many ways to do one wrong are cases of one test, and after each
//! table of them a good client is served and nothing is left.
//!
//! Invariant: every refusal says in one line what was wrong, closes, and nothing comes behind it
//! ([`Scene::refuses`]).

mod common;
#[path = "wrongs_handshake/malformed.rs"]
mod malformed;

use common::aftermath::{SERVED_WITHIN, Scene, all_that_comes, ends, opens, refusal, text_frame};
use common::{GOOD, KEY, Peer, run_to_end, upgrade_with};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A good upgrade of `/echo` as text.
fn good() -> String {
    String::from_utf8(upgrade_with("/echo", &GOOD)).expect("ASCII")
}

/// A good upgrade of `/echo` with one part of it replaced, which must be there.
fn with(old: &str, new: &str) -> Vec<u8> {
    let good = good();
    assert!(good.contains(old), "{old:?} is part of a good upgrade");
    good.replacen(old, new, 1).into_bytes()
}

/// A good upgrade of `/echo` with one more line.
fn plus(line: &str) -> Vec<u8> {
    with("Host: test\r\n", &format!("Host: test\r\n{line}\r\n"))
}

/// Each of `requests` is refused alike, and nothing is left of them.
fn all_refused(status: u16, says: &str, requests: impl IntoIterator<Item = Vec<u8>>) {
    let scene = Scene::start(&[]);
    for request in requests {
        scene.refuses(&request, status, says);
    }
    scene.aftermath();
}

/// Each of `requests` opens a WebSocket that echoes, and nothing is left of them.
fn all_open(requests: impl IntoIterator<Item = Vec<u8>>) {
    let scene = Scene::start(&[]);
    for request in requests {
        opens(&scene, &request);
    }
    scene.aftermath();
}

// Too large, and not in time.

#[test]
fn a_request_line_over_8_kib_is_414() {
    let line = |length: usize| {
        let target = "x".repeat(length - "GET /echo? HTTP/1.1".len());
        with("GET /echo HTTP/1.1", &format!("GET /echo?{target} HTTP/1.1"))
    };
    let scene = Scene::start(&[]);
    opens(&scene, &line(8 * 1024));
    scene.refuses(&line(8 * 1024 + 1), 414, "request line is too long");
    // One that never ends is refused before its end.
    scene.refuses(format!("GET /{}", "x".repeat(9 * 1024)).as_bytes(), 414, "request line is too long");
    scene.aftermath();
}

#[test]
fn headers_over_16_kib_are_431() {
    // The bound holds for the whole head: request line, fields and the empty line.
    let big = |length: usize| {
        let rest = plus("X-Big: ").len();
        plus(&format!("X-Big: {}", "x".repeat(length - rest)))
    };
    let scene = Scene::start(&[]);
    opens(&scene, &big(16 * 1024));
    scene.refuses(&big(16 * 1024 + 1), 431, "head is too large");
    let endless = with("\r\n\r\n", &format!("\r\nX-Endless: {}", "x".repeat(17 * 1024)));
    scene.refuses(&endless, 431, "head is too large");
    scene.refuses("\r\n".repeat(9 * 1024).as_bytes(), 431, "head is too large");
    scene.aftermath();
}

#[test]
fn more_than_100_fields_are_431() {
    // `Host` and the four of the upgrade count too.
    let many = |count: usize| {
        let mut lines = GOOD.to_vec();
        lines.resize(count - 1, "X-Many: 1");
        upgrade_with("/echo", &lines)
    };
    let scene = Scene::start(&[]);
    opens(&scene, &many(100));
    scene.refuses(&many(101), 431, "too many header fields");
    scene.aftermath();
}

#[test]
fn a_head_not_complete_in_10_s_is_408() {
    let (status, settings, _) = run_to_end(&["--check"]);
    assert!(status.success() && settings.contains("--handshake-timeout 10s\n"), "{settings}");
    let scene = Scene::start(&["--handshake-timeout", "1s"]);
    let (mut silent, mut torn) = (scene.connect(), scene.connect());
    torn.write_all(b"GET /echo HTTP/1.1\r\nHost: te").expect("the server reads");
    let response = refusal(&mut torn, false, "a torn head");
    assert_eq!(response.status, 408);
    assert!(response.text().contains("not complete in time"), "{}", response.text());
    // Who has asked nothing is answered nothing.
    ends(&mut silent, "silence");
    drop((silent, torn));
    scene.aftermath();
}

#[test]
fn a_dribbled_head_buys_no_time() {
    let scene = Scene::start(&["--handshake-timeout", "1s"]);
    // Fields for ever, and empty lines for ever (RFC 9112 §2.2 has a server ignore some).
    for (begin, drop) in [("GET /echo HTTP/1.1\r\n", "X-Drip: 1\r\n"), ("\r\n", "\r\n")] {
        let mut stream = scene.connect();
        stream.write_all(begin.as_bytes()).expect("the server reads");
        let mut drops = drop.bytes().cycle();
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
        common::wait_for("the answer to a dribbled head", || {
            let _ = stream.write_all(&[drops.next().expect("a cycle has no end")]);
            let answer = stream.peek(&mut [0]);
            assert!(!matches!(answer, Ok(0)), "an answer comes before the end");
            answer.ok()
        });
        stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout can be set");
        assert_eq!(refusal(&mut stream, false, "a dribbled head").status, 408);
    }
    scene.aftermath();
}

#[test]
fn two_thousand_dribblers_leave_good_clients_unharmed() {
    let scene = Scene::start(&["--handshake-timeout", "3s"]);
    let mut dribblers: Vec<TcpStream> = (0..2000).map(|_| scene.connect()).collect();
    dribblers.iter().for_each(|stream| stream.set_nonblocking(true).expect("it can be"));
    let mut drops = b"GET /echo HTTP/1.1\r\n".iter().chain(b"X-Drip: 1\r\n".iter().cycle());
    let began = Instant::now();
    let mut served = 0;
    while began.elapsed() < Duration::from_secs(4) {
        let drop = [*drops.next().expect("a cycle has no end")];
        // Who has been answered already is not listened to any more; that is its own affair.
        dribblers.iter_mut().for_each(|stream| drop_into(stream, drop));
        let good = Instant::now();
        opens(&scene, good_bytes());
        assert!(good.elapsed() < SERVED_WITHIN, "a good client waited {:?}", good.elapsed());
        served += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(served > 3, "good clients came all the while");
    for stream in &mut dribblers {
        stream.set_nonblocking(false).expect("it can be");
        let mut answer = Vec::new();
        if let Err(why) = stream.read_to_end(&mut answer) {
            assert_eq!(why.kind(), ErrorKind::ConnectionReset, "{why}");
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    }
    drop(dribblers);
    scene.aftermath();
}

fn good_bytes() -> &'static [u8] {
    b"GET /echo HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

fn drop_into(stream: &mut TcpStream, drop: [u8; 1]) {
    match stream.write(&drop) {
        Ok(_) => {}
        Err(why) if matches!(why.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn large_heads_that_never_end_are_forgotten() {
    // 2 000 heads of 16 KiB less a byte: 32 MB held at once, and all of it given back.
    let scene = Scene::start(&["--handshake-timeout", "2s"]);
    let head = with("\r\n\r\n", &format!("\r\nX-Endless: {}", "x".repeat(16 * 1024 - good().len() - 12)));
    let mut streams: Vec<TcpStream> = (0..2000)
        .map(|_| {
            let mut stream = scene.connect();
            stream.write_all(&head).expect("the server reads");
            stream
        })
        .collect();
    for stream in &mut streams {
        assert_eq!(refusal(stream, false, "a large head without an end").status, 408);
    }
    drop(streams);
    scene.aftermath();
}

// What is well-formed, and not for us.

#[test]
fn a_version_other_than_13_is_426() {
    let scene = Scene::start(&[]);
    let versions =
        ["8", "0", "14", "7", "013", "+13", "13.0", "1 3", "13, 8", "13, 13", "thirteen", "", "130"];
    let lines = versions.map(|version| format!("Sec-WebSocket-Version: {version}\r\n"));
    let twice = ["8", "13"].map(|version| format!("{}\r\nSec-WebSocket-Version: {version}\r\n", GOOD[2]));
    for lines in lines.into_iter().chain(twice).chain([String::new()]) {
        let request = with("Sec-WebSocket-Version: 13\r\n", &lines);
        let response = scene.refuses(&request, 426, "Sec-WebSocket-Version must be 13");
        assert_eq!(response.header("sec-websocket-version"), Some("13"), "RFC 6455 §4.4");
        assert_eq!(response.header("upgrade"), Some("websocket"), "RFC 9110 §15.5.22");
        assert_eq!(response.header("connection"), Some("close, Upgrade"), "RFC 9110 §7.8");
    }
    scene.aftermath();
}

#[test]
fn no_upgrade_is_426() {
    let scene = Scene::start(&[]);
    let mut requests = Vec::new();
    for target in ["/broadcast", "/broadcast/news", "/broadcast?role=listen", "/tick/5"] {
        requests.push(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }
    // `Upgrade` without its `Connection` is junk that a proxy left behind (RFC 9110 §7.8), and the reverse.
    let broadcast = String::from_utf8(upgrade_with("/broadcast", &GOOD)).expect("ASCII");
    requests.push(broadcast.replacen("Connection: Upgrade\r\n", "", 1));
    requests.push(broadcast.replacen("Connection: Upgrade", "Connection: keep-alive", 1));
    requests.push(broadcast.replacen("Upgrade: websocket\r\n", "", 1));
    requests.push(broadcast.replacen("Upgrade: websocket", "Upgrade: h2c", 1));
    requests.push(broadcast.replacen("Upgrade: websocket", "Upgrade: websockets, xwebsocket", 1));
    for request in requests {
        let response = scene.refuses(request.as_bytes(), 426, "this path speaks WebSocket");
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert_eq!(response.header("connection"), Some("close, Upgrade"));
    }
    scene.aftermath();
}

#[test]
fn another_method_is_405_with_allow() {
    let scene = Scene::start(&[]);
    for method in ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"] {
        for target in ["/echo", "/broadcast/news", "/nowhere"] {
            let upgrade = String::from_utf8(upgrade_with(target, &GOOD)).expect("ASCII");
            let request = upgrade.replacen("GET", method, 1);
            let response = scene.refuses(request.as_bytes(), 405, "allowed: GET");
            assert_eq!(response.header("allow"), Some("GET"), "RFC 9110 §15.5.6");
        }
    }
    scene.aftermath();
}

#[test]
fn another_http_version_is_505() {
    let scene = Scene::start(&[]);
    for version in ["HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3", "HTTP/2"] {
        scene.refuses(&with("HTTP/1.1", version), 505, "only HTTP/1.1 is spoken here");
    }
    // Without a Host, as HTTP/1.0 may, and the preface of HTTP/2 (RFC 9113 §3.4).
    scene.refuses(b"GET / HTTP/1.0\r\n\r\n", 505, "only HTTP/1.1 is spoken here");
    scene.refuses(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "only HTTP/1.1 is spoken here");
    scene.aftermath();
}

#[test]
fn an_unknown_path_is_404() {
    let paths = ["/nowhere", "/echo/echo", "/echo//", "//", "//echo", "/ECHO", "/broadcast/a/b", "/metrics"];
    all_refused(404, "nothing is served at this path", paths.map(|path| upgrade_with(path, &GOOD)));
}

// What looks odd and is right, 101.

#[test]
fn token_lists_open() {
    all_open([
        with("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        with("Connection: Upgrade", "Connection: ,, keep-alive ,Upgrade,"),
        with("Upgrade: websocket", "Upgrade: h2c, websocket, IRC/6.9"),
    ]);
}

#[test]
fn two_connection_lines_open() {
    all_open([
        with("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        with("Connection: Upgrade", "Connection: Upgrade\r\nConnection: keep-alive"),
        with("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
    ]);
}

#[test]
fn any_letter_case_opens() {
    let odd = ["uPGRADE: WebSocket", "CONNECTION: uPGRADE", "sec-websocket-VERSION: 13"];
    let key = format!("SEC-WEBSOCKET-KEY: {KEY}");
    all_open([
        upgrade_with("/echo", &[odd[0], odd[1], odd[2], &key]),
        with("Host", "hOsT"),
        with("Upgrade: websocket", "Upgrade: WEBSOCKET"),
    ]);
}

#[test]
fn tabs_and_no_space_at_all_open() {
    let tabbed = good().replace(": ", ":\t \t").replace("\r\nUpgrade", "\t\r\nUpgrade");
    let lean = good().replace(": ", ":");
    let listed = with("Connection: Upgrade", "Connection:\tkeep-alive\t,\tUpgrade\t");
    all_open([tabbed.into_bytes(), lean.into_bytes(), listed]);
}

#[test]
fn an_absolute_target_opens() {
    let targets =
        ["http://test/echo", "ws://test:9001/echo", "WSS://other.example/echo?x", "https://[::1]/echo"];
    all_open(targets.map(|target| upgrade_with(target, &GOOD)));
}

#[test]
fn a_leading_crlf_opens() {
    all_open([1, 2, 5].map(|count| [b"\r\n".repeat(count).as_slice(), good_bytes()].concat()));
}

#[test]
fn one_byte_per_segment_opens() {
    let scene = Scene::start(&[]);
    let mut stream = scene.connect();
    // Frames too, in the same manner: TCP_NODELAY has each byte leave alone.
    let all = [good_bytes(), &text_frame("one"), &text_frame("two")].concat();
    let (last, most) = all.split_last().expect("it is not empty");
    most.iter().for_each(|byte| stream.write_all(&[*byte]).expect("the server waits for the rest"));
    let (mut peer, _) = Peer::open_with(stream, &[*last]);
    assert_eq!(peer.message().text(), "one");
    assert_eq!(peer.message().text(), "two");
    peer.close();
    scene.aftermath();
}

#[test]
fn upgrade_foo_websocket_opens() {
    all_open(
        ["foo, websocket", "foo,websocket", "foo/1.0, WebSocket"]
            .map(|upgrade| with("Upgrade: websocket", &format!("Upgrade: {upgrade}"))),
    );
}

// Around the head.

#[test]
fn frames_in_the_segment_of_the_head_are_frames() {
    let scene = Scene::start(&[]);
    let frames = [text_frame("one"), text_frame("two")].concat();
    // Behind the head alone, behind a request, and with the last frame torn.
    let request = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
    for (before, torn) in [(&b""[..], 0), (b"", 2), (request, 0), (request, 5)] {
        let all = [before, good_bytes(), &frames].concat();
        let mut stream = scene.connect();
        stream.write_all(&all[..all.len() - torn]).expect("the server reads");
        if !before.is_empty() {
            assert_eq!(common::Response::read(&mut stream, false).status, 200);
        }
        let (mut peer, _) = Peer::open_with(stream, &all[all.len() - torn..]);
        assert_eq!(peer.message().text(), "one");
        assert_eq!(peer.message().text(), "two");
        peer.close();
    }
    scene.aftermath();
}

#[test]
fn a_request_behind_an_upgrade_is_a_broken_frame() {
    let scene = Scene::start(&[]);
    let (mut peer, _) = Peer::open_with(scene.connect(), &[good_bytes(), good_bytes()].concat());
    // `G` has reserved bits set.
    assert_eq!(peer.closed(), 1002);
    drop(peer);
    scene.aftermath();
}

#[test]
fn what_follows_a_refused_upgrade_is_never_read() {
    // It may be frames, whose bytes the sender's peer has chosen: they must never be taken for a request.
    let scene = Scene::start(&[]);
    let smuggled = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
    let request = [with(KEY, "short").as_slice(), smuggled].concat();
    scene.refuses(&request, 400, "must be base64 of 16 bytes");
    scene.aftermath();
}

#[test]
fn a_client_that_leaves_in_its_head_is_forgotten() {
    let scene = Scene::start(&[]);
    for cut in [1, 10, good_bytes().len() - 1] {
        let mut stream = scene.connect();
        stream.write_all(&good_bytes()[..cut]).expect("the server reads");
        assert_eq!(all_that_comes(stream), b"", "there is nothing to answer");
    }
    scene.aftermath();
}
