//! Every answer to an opening handshake that the server knows, over a real socket.
//!
//! A handshake is where strangers meet: browsers, proxies, scanners, half-written clients. Each gets an answer
//! that says what was wrong, in one line, with the status and the headers that RFC 6455 §4 and RFC 9110 ask for.
//!
//! Invariant: after every refusal the server still serves.

mod common;

use common::{GOOD, KEY, PATIENCE, Peer, Response, Server, TEXT, upgrade_with};
use std::io::{Read, Write};

/// Asks `server`, expects a refusal of `status` with one line of text, and that the server lives on.
fn refused_by(server: &Server, status: u16, request: &[u8]) -> Response {
    let response = server.ask(request);
    let shown = String::from_utf8_lossy(&request[..request.len().min(300)]);
    assert_eq!(response.status, status, "{shown}{:?}", String::from_utf8_lossy(&response.body));
    let text = response.text().strip_suffix('\n').unwrap_or(response.text());
    assert!(!text.is_empty() && !text.contains('\n'), "one line says what was wrong: {text:?}");
    let kind = response.header("content-type").expect("a body has a type");
    assert!(kind.starts_with("text/plain"), "{kind}");
    server.open("/echo").settle();
    response
}

fn refused(status: u16, request: &[u8]) -> Response {
    refused_by(&Server::start(&[]), status, request)
}

/// A good upgrade of `/echo`, with one line of it replaced.
fn with_line(old: &str, new: &[&str]) -> Vec<u8> {
    let lines: Vec<&str> =
        GOOD.iter().flat_map(|line| if line.starts_with(old) { new.to_vec() } else { vec![*line] }).collect();
    assert_ne!(lines, GOOD, "{old} is a line of a good upgrade");
    upgrade_with("/echo", &lines)
}

fn echoes(peer: &mut Peer) {
    peer.send_text("still there?");
    assert_eq!(peer.message().text(), "still there?");
}

#[test]
fn a_good_upgrade_is_accepted() {
    let server = Server::start(&[]);
    let (mut peer, response) = Peer::open_with(server.connect(), &upgrade_with("/echo", &GOOD));
    assert_eq!(response.header("sec-websocket-extensions"), None, "none was offered");
    assert_eq!(response.header("content-length"), None, "a 101 has no body (RFC 9110 §8.6)");
    echoes(&mut peer);
}

#[test]
fn a_subprotocol_is_chosen_in_the_order_of_the_client() {
    let server = Server::start(&["--subprotocol", "one", "--subprotocol", "two"]);
    let offers = [
        ("nobody-knows, this-one", None),
        ("nobody-knows, two, one", Some("two")),
        ("one", Some("one")),
        // A service agrees to its own name too.
        ("broadcast, echo", Some("echo")),
    ];
    for (offer, chosen) in offers {
        let line = format!("Sec-WebSocket-Protocol: {offer}");
        let request = with_line("Upgrade", &["Upgrade: websocket", &line]);
        let (mut peer, response) = Peer::open_with(server.connect(), &request);
        assert_eq!(
            response.header("sec-websocket-protocol"),
            chosen,
            "RFC 6455 §4.2.2: one that was offered, or none"
        );
        echoes(&mut peer);
    }
    // Two lines are one list (RFC 6455 §11.3.4).
    let two = ["Upgrade: websocket", "Sec-WebSocket-Protocol: zero", "Sec-WebSocket-Protocol: one"];
    let (_, response) = Peer::open_with(server.connect(), &with_line("Upgrade", &two));
    assert_eq!(response.header("sec-websocket-protocol"), Some("one"));
    refused_by(&server, 400, &with_line("Upgrade", &["Upgrade: websocket", "Sec-WebSocket-Protocol: a b"]));
}

#[test]
fn unknown_extensions_are_not_accepted() {
    let server = Server::start(&[]);
    let request =
        with_line("Upgrade", &["Upgrade: websocket", "Sec-WebSocket-Extensions: x-unheard-of; a=1"]);
    let (mut peer, response) = Peer::open_with(server.connect(), &request);
    assert_eq!(response.header("sec-websocket-extensions"), None);
    echoes(&mut peer);
}

#[test]
fn letter_case_and_lists_do_not_matter() {
    let server = Server::start(&[]);
    let odd = ["uPGRADE: h2c, WebSocket", "CONNECTION: keep-alive, Upgrade", "sec-websocket-VERSION: 13"];
    let key = format!("SEC-WEBSOCKET-KEY:{KEY}");
    let (mut peer, _) =
        Peer::open_with(server.connect(), &upgrade_with("/echo", &[odd[0], odd[1], odd[2], &key]));
    echoes(&mut peer);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let request = upgrade_with("/echo", &GOOD);
    let (last, most) = request.split_last().expect("a request is not empty");
    for byte in most {
        stream.write_all(&[*byte]).expect("the server waits for the rest");
    }
    let (mut peer, _) = Peer::open_with(stream, &[*last]);
    echoes(&mut peer);
}

#[test]
fn bytes_behind_the_request_are_frames() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let frames = [common::encode(true, TEXT, b"one"), common::encode(true, TEXT, b"two")].concat();
    let all = [upgrade_with("/echo", &GOOD), frames].concat();
    // The last frame comes torn: its rest is read by the session, its first half came with the head.
    stream.write_all(&all[..all.len() - 2]).expect("the server reads");
    let (mut peer, _) = Peer::open_with(stream, &all[all.len() - 2..]);
    assert_eq!(peer.message().text(), "one");
    assert_eq!(peer.message().text(), "two");
}

#[test]
fn another_method_is_405_with_allow() {
    let server = Server::start(&[]);
    for method in ["POST", "DELETE", "PUT"] {
        for target in ["/echo", "/broadcast/news"] {
            let good = String::from_utf8(upgrade_with(target, &GOOD)).expect("ASCII");
            let response = refused_by(&server, 405, good.replacen("GET", method, 1).as_bytes());
            let allow = response.header("allow").expect("RFC 9110 §15.5.6");
            assert!(allow.contains("GET"), "{allow}");
        }
    }
    let response = refused_by(&server, 405, b"GET /publish/news HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(response.header("allow").expect("RFC 9110 §15.5.6").contains("POST"));
}

#[test]
fn no_host_or_two_are_400() {
    let server = Server::start(&[]);
    let good = String::from_utf8(upgrade_with("/echo", &GOOD)).expect("ASCII");
    refused_by(&server, 400, good.replacen("Host: test\r\n", "", 1).as_bytes());
    refused_by(&server, 400, good.replacen("Host: test\r\n", "Host: a\r\nHost: b\r\n", 1).as_bytes());
    refused_by(&server, 400, b"GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn a_key_that_is_missing_or_malformed_is_400() {
    let server = Server::start(&[]);
    refused_by(&server, 400, &with_line("Sec-WebSocket-Key", &[]));
    for key in [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=!",
        "dGhlIHNhbXBsZSBub25jZSBub25jZQ==",
    ] {
        let line = format!("Sec-WebSocket-Key: {key}");
        refused_by(&server, 400, &with_line("Sec-WebSocket-Key", &[&line]));
    }
}

#[test]
fn another_version_is_426_and_names_13() {
    let server = Server::start(&[]);
    for version in ["8", "0", "14", "thirteen", "013"] {
        let line = format!("Sec-WebSocket-Version: {version}");
        let response = refused_by(&server, 426, &with_line("Sec-WebSocket-Version", &[&line]));
        assert_eq!(response.header("sec-websocket-version"), Some("13"), "RFC 6455 §4.4");
    }
}

#[test]
fn no_version_is_refused() {
    let server = Server::start(&[]);
    let response = server.ask(&with_line("Sec-WebSocket-Version", &[]));
    // RFC 6455 §4.2.1 makes it malformed, §4.4 invites the answer that names the version; both are right.
    assert!(matches!(response.status, 400 | 426), "{}", response.status);
}

#[test]
fn a_plain_get_on_a_websocket_path_is_426_with_upgrade() {
    let server = Server::start(&[]);
    for target in ["/broadcast", "/broadcast/news", "/broadcast?role=listen", "/tick/5"] {
        let response =
            refused_by(&server, 426, format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        assert_eq!(response.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
        assert!(
            response.header("connection").is_some_and(|value| value.to_ascii_lowercase().contains("upgrade"))
        );
    }
}

#[test]
fn an_upgrade_needs_its_connection_header() {
    // `Upgrade` alone is hop-by-hop junk that a proxy left behind (RFC 9110 §7.8); `/broadcast` has no page.
    let lines: Vec<&str> = GOOD.iter().copied().filter(|line| !line.starts_with("Connection")).collect();
    refused(426, &upgrade_with("/broadcast", &lines));
}

#[test]
fn an_unknown_path_is_404() {
    let server = Server::start(&[]);
    refused_by(&server, 404, &upgrade_with("/nowhere", &GOOD));
    refused_by(&server, 404, &upgrade_with("/echo/echo", &GOOD));
    refused_by(&server, 404, b"GET /favicon.png HTTP/1.1\r\nHost: test\r\n\r\n");
}

#[test]
fn a_request_line_over_8_kib_is_414() {
    let server = Server::start(&[]);
    let line = |bytes: usize| {
        format!("GET /echo?{} HTTP/1.1\r\n", "x".repeat(bytes - "GET /echo? HTTP/1.1\r\n".len()))
    };
    let rest = format!("Host: test\r\n{}\r\n\r\n", GOOD.join("\r\n"));
    refused_by(&server, 414, format!("{}{rest}", line(8 * 1024 + 3)).as_bytes());
    let (mut peer, _) = Peer::open_with(server.connect(), format!("{}{rest}", line(8 * 1024 - 2)).as_bytes());
    echoes(&mut peer);
    // One that never ends is refused before its end.
    refused_by(&server, 414, format!("GET /{}", "x".repeat(9 * 1024)).as_bytes());
}

#[test]
fn headers_over_16_kib_are_431() {
    let server = Server::start(&[]);
    let big = |bytes: usize| format!("X-Big: {}", "x".repeat(bytes));
    refused_by(&server, 431, &with_line("Upgrade", &["Upgrade: websocket", &big(16 * 1024)]));
    let (mut peer, _) =
        Peer::open_with(server.connect(), &with_line("Upgrade", &["Upgrade: websocket", &big(15 * 1024)]));
    echoes(&mut peer);
}

#[test]
fn more_than_100_headers_are_431() {
    let server = Server::start(&[]);
    // `Host` and the four of the upgrade count too.
    let many = |count: usize| {
        let mut lines = GOOD.to_vec();
        lines.resize(count - 1, "X-Many: 1");
        upgrade_with("/echo", &lines)
    };
    refused_by(&server, 431, &many(101));
    let (mut peer, _) = Peer::open_with(server.connect(), &many(100));
    echoes(&mut peer);
}

#[test]
fn another_http_version_is_505() {
    let server = Server::start(&[]);
    let good = String::from_utf8(upgrade_with("/echo", &GOOD)).expect("ASCII");
    refused_by(&server, 505, good.replacen("HTTP/1.1", "HTTP/1.0", 1).as_bytes());
    refused_by(&server, 505, b"GET / HTTP/1.0\r\nHost: test\r\n\r\n");
}

#[test]
fn what_is_no_http_is_400() {
    let server = Server::start(&[]);
    refused_by(&server, 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n");
    refused_by(&server, 400, b"hello\r\n\r\n");
}

#[test]
fn duplicate_or_contradicting_websocket_headers_are_400() {
    let server = Server::start(&[]);
    let key = format!("Sec-WebSocket-Key: {KEY}");
    refused_by(&server, 400, &with_line("Sec-WebSocket-Key", &[&key, &key]));
    let other = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    refused_by(&server, 400, &with_line("Sec-WebSocket-Key", &[&key, other]));
    for second in ["Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13"] {
        refused_by(&server, 400, &with_line("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 13", second]));
    }
}

#[test]
fn a_refused_upgrade_is_followed_by_the_end() {
    // Bytes behind a refused upgrade may be frames: they must never be read as a request.
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let smuggled = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
    let request = [with_line("Sec-WebSocket-Key", &[]).as_slice(), smuggled].concat();
    stream.write_all(&request).expect("the server reads");
    assert_eq!(Response::read(&mut stream, false).status, 400);
    let mut rest = Vec::new();
    // A reset is as much an end as a FIN: there were bytes that nobody has read.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_head_that_is_not_complete_in_10_s_is_408() {
    let server = Server::start(&[]);
    let mut silent = server.connect();
    let mut torn = server.connect();
    torn.write_all(b"GET /echo HTTP/1.1\r\nHost: te").expect("the server reads");
    let response = Response::read(&mut torn, false);
    assert_eq!(response.status, 408);
    assert!(!response.text().trim().is_empty());
    let mut rest = Vec::new();
    torn.read_to_end(&mut rest).expect("then it is closed");
    assert!(rest.is_empty());
    // Who has said nothing at all is closed too, with or without a word.
    assert!(PATIENCE.as_secs() > 10);
    silent.read_to_end(&mut rest).expect("then it is closed");
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn dripping_bytes_do_not_buy_time() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("a timeout can be set");
    stream.write_all(b"GET /echo HTTP/1.1\r\n").expect("the server reads");
    let answer = common::wait_for("the answer to a dripping head", || {
        let _ = stream.write_all(b"X-Drip: 1\r\n");
        let mut byte = [0];
        stream.read(&mut byte).ok()
    });
    assert_eq!(answer, 1, "an answer comes before the end");
}
