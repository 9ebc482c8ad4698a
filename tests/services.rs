//! What each path of the server does, over a real socket: the services, and HTTP on the same port.
//!
//! These are the promises of the README, one test each. Order between peers is never assumed: a test that needs
//! to know that the server has handled something asks with a ping and waits for the pong.
//!
//! Invariant: where a text is promised, the whole text is compared.

mod common;

use common::{BINARY, Frame, GOOD, PONG, Peer, Response, Server, TEXT, encode, upgrade_with, wait_for};
use std::io::Write;

#[test]
fn echo_sends_back_what_it_hears() {
    let server = Server::start(&[]);
    let mut peer = server.open("/echo");
    for size in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[0]).collect();
        peer.send(BINARY, &payload);
        assert_eq!(peer.message(), Frame { opcode: BINARY, payload });
    }
    peer.send_text("Grüße, 世界 🌍");
    assert_eq!(peer.message().text(), "Grüße, 世界 🌍");
    peer.send_text("");
    assert_eq!(peer.message().text(), "");
    peer.close();
}

#[test]
fn long_and_short_messages_come_back_in_their_order_also_to_a_peer_that_reads_late() {
    let server = Server::start(&["--message-max", "1mi"]);
    let mut peer = server.open("/echo");
    let mut writer = peer.stream.try_clone().expect("a socket can be cloned");
    // More than the buffers of the system hold on both ways, so that the server is made to wait.
    let sizes = || [10, 16_384, 1 << 20, 3, 70_000, 16_383, 1 << 20, 0].into_iter().cycle().take(96);
    let message = |n: usize, size: usize| vec![n as u8; size];
    let sending = std::thread::spawn(move || {
        for (n, size) in sizes().enumerate() {
            let parts = [encode(true, BINARY, &message(n, size)), encode(true, common::PING, &[n as u8])];
            writer.write_all(&parts.concat()).expect("the server reads");
        }
    });
    let mut newest = None;
    for (n, size) in sizes().enumerate() {
        let frame = loop {
            let frame = peer.read();
            if frame.opcode != PONG {
                break frame;
            }
            // Pongs may be left out (only the newest is owed), but they do not go backwards.
            assert!(newest.replace(frame.payload[0]) < Some(frame.payload[0]));
        };
        assert!(
            frame.payload == message(n, size),
            "message {n}: {} bytes instead of {size}",
            frame.payload.len()
        );
    }
    sending.join().expect("everything was sent");
    peer.close();
}

#[test]
fn echo_joins_fragments_and_answers_pings_between_them() {
    let server = Server::start(&[]);
    let mut peer = server.open("/echo");
    let parts = [encode(false, TEXT, b"one "), encode(true, common::PING, b"?"), encode(true, 0, b"message")];
    peer.stream.write_all(&parts.concat()).expect("the server reads");
    assert_eq!(peer.read(), Frame { opcode: PONG, payload: b"?".to_vec() });
    assert_eq!(peer.read().text(), "one message");
}

#[test]
fn echo_with_a_prefix_answers_text() {
    let server = Server::start(&[]);
    let mut peer = server.open("/echo?prefix=ECHO:");
    peer.send_text("hello");
    assert_eq!(peer.message().text(), "ECHO:hello");
    // As the tutorial's server does, which makes a string of whatever comes.
    peer.send(BINARY, b"hi \xff");
    assert_eq!(peer.message().text(), "ECHO:hi \u{fffd}");
    let mut escaped = server.open("/echo?prefix=a%20%C3%A4%3A");
    escaped.send_text("x");
    assert_eq!(escaped.message().text(), "a ä:x");
}

#[test]
fn a_message_over_the_limit_is_1009() {
    let server = Server::start(&["--message-max", "1ki"]);
    let mut peer = server.open("/echo");
    peer.send(BINARY, &[7; 1024]);
    assert_eq!(peer.message().payload, [7; 1024]);
    // The header alone tells; the payload is not waited for.
    peer.stream.write_all(&encode(true, BINARY, &[7; 1025])[..8]).expect("the server reads");
    assert_eq!(peer.closed(), 1009);
    let mut peer = server.open("/echo");
    for fin in [false, false, true] {
        let opcode = if fin { 0 } else { BINARY };
        let _ = peer.stream.write_all(&encode(fin, opcode, &[7; 600]));
        if fin {
            break;
        }
    }
    assert!(matches!(peer.closed(), 1009 | 1002));
}

#[test]
fn fragments_have_a_limit_too() {
    let server = Server::start(&["--fragments-max", "4"]);
    let mut peer = server.open("/echo");
    let message = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|at| encode(at + 1 == count, if at == 0 { TEXT } else { 0 }, b"x")).collect()
    };
    peer.stream.write_all(&message(4)).expect("the server reads");
    assert_eq!(peer.message().text(), "xxxx");
    peer.stream.write_all(&message(5)).expect("the server reads");
    assert_eq!(peer.closed(), 1008, "many small fragments are not big: what they break is a policy");
}

#[test]
fn a_wrong_frame_is_told_by_its_close_code() {
    let server = Server::start(&[]);
    let cases: [(&str, Vec<u8>, u16); 5] = [
        ("not masked (RFC 6455 §5.1)", vec![0x81, 0x01, b'x'], 1002),
        ("a reserved bit", vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("an opcode that does not exist", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("text that is no UTF-8", encode(true, TEXT, b"\xff"), 1007),
        ("a close code that may not be sent", encode(true, common::CLOSE, &1005_u16.to_be_bytes()), 1002),
    ];
    for (what, frame, code) in cases {
        let mut peer = server.open("/echo");
        // The good message before the bad frame of the same read is answered first.
        peer.stream.write_all(&[encode(true, TEXT, b"good"), frame].concat()).expect("the server reads");
        assert_eq!(peer.message().text(), "good", "{what}");
        assert_eq!(peer.closed(), code, "{what}");
    }
}

#[test]
fn a_close_is_answered_with_its_code_and_its_reason() {
    let server = Server::start(&[]);
    let long = "ö".repeat(61);
    for (code, reason) in [(1000, "bye"), (1001, ""), (3000, "grüße"), (4999, &*long)] {
        let mut peer = server.open("/echo");
        peer.send_close(code, reason);
        let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
        assert_eq!(peer.read(), Frame { opcode: common::CLOSE, payload });
        assert_eq!(peer.try_read(), None);
    }
    let mut peer = server.open("/echo");
    peer.send(common::CLOSE, b"");
    assert_eq!(
        peer.read(),
        Frame { opcode: common::CLOSE, payload: Vec::new() },
        "no code is answered with none"
    );
    assert_eq!(peer.try_read(), None);
}

#[test]
fn broadcast_reaches_every_peer_of_the_channel() {
    let server = Server::start(&[]);
    let mut peers: Vec<Peer> = (0..5).map(|_| server.open("/broadcast/news")).collect();
    let mut stranger = server.open("/broadcast/sports");
    let mut unnamed = server.open("/broadcast");
    peers.iter_mut().for_each(|peer| assert!(peer.settle().is_empty()));
    peers[0].send_text("hello");
    peers[3].send(BINARY, b"\x00\xff");
    for peer in &mut peers {
        let mut heard = [peer.message(), peer.message()];
        // Two publishers: either may come first.
        heard.sort_by_key(|frame| frame.opcode);
        assert_eq!(heard[0].text(), "hello");
        assert_eq!(heard[1], Frame { opcode: BINARY, payload: b"\x00\xff".to_vec() });
    }
    assert!(stranger.settle().is_empty(), "another channel");
    assert!(unnamed.settle().is_empty(), "the channel without a name is one of its own");
}

#[test]
fn broadcast_keeps_the_order_of_a_publisher() {
    let server = Server::start(&[]);
    let (mut publisher, mut hearer) = (server.open("/broadcast"), server.open("/broadcast"));
    hearer.settle();
    let all: Vec<u8> =
        (0..500).flat_map(|number| encode(true, TEXT, format!("{number}").as_bytes())).collect();
    publisher.stream.write_all(&all).expect("the server reads");
    for peer in [&mut publisher, &mut hearer] {
        for number in 0..500 {
            assert_eq!(peer.message().text(), format!("{number}"));
        }
    }
}

#[test]
fn self_0_leaves_the_sender_out() {
    let server = Server::start(&[]);
    let (mut quiet, mut other) = (server.open("/broadcast/a?self=0"), server.open("/broadcast/a"));
    other.settle();
    quiet.send_text("from quiet");
    assert_eq!(other.message().text(), "from quiet");
    other.send_text("from other");
    assert_eq!(quiet.message().text(), "from other", "it hears others, and nothing of its own before");
    assert!(quiet.settle().is_empty());
}

#[test]
fn role_listen_may_only_hear() {
    let server = Server::start(&[]);
    let (mut listener, mut other) = (server.open("/broadcast/a?role=listen"), server.open("/broadcast/a"));
    listener.settle();
    other.send_text("heard");
    assert_eq!(listener.message().text(), "heard");
    assert_eq!(other.message().text(), "heard");
    let mut pushy = server.open("/broadcast/a?role=listen");
    pushy.send_text("not heard");
    // Told off with 1008 (policy) or not, it must not be heard.
    let _ = pushy.stream.write_all(&encode(true, common::CLOSE, &1000_u16.to_be_bytes()));
    assert!(matches!(pushy.closed(), 1000 | 1008));
    assert!(other.settle().is_empty() && listener.settle().is_empty());
}

#[test]
fn the_root_is_the_default_service() {
    let server = Server::start(&[]);
    let (mut one, mut two) = (server.open("/"), server.open("/broadcast"));
    two.settle();
    one.send_text("same channel");
    assert_eq!(one.message().text(), "same channel");
    assert_eq!(two.message().text(), "same channel", "`/` is `/broadcast` unless told otherwise");
    let server = Server::start(&["--service", "echo"]);
    let (mut one, mut two) = (server.open("/"), server.open("/"));
    one.send_text("only me");
    assert_eq!(one.message().text(), "only me");
    assert!(two.settle().is_empty());
}

#[test]
fn tick_broadcasts_by_itself_with_markers() {
    let server = Server::start(&[]);
    let mut peer = server.open("/tick/50?size=100");
    let sequence = |frame: &Frame| {
        assert_eq!((frame.opcode, frame.payload.len()), (BINARY, 100));
        assert_eq!(frame.payload[..3], *b"LG\x01", "loadgen's marker, version 1");
        u32::from_le_bytes(frame.payload[12..16].try_into().expect("four bytes"))
    };
    let first = sequence(&peer.message());
    for next in 1..20 {
        assert_eq!(sequence(&peer.message()), first + next, "no gap");
    }
    for target in ["/tick/0", "/tick/x", "/tick/-1", "/tick/5?size=x"] {
        let response = server.ask(&upgrade_with(target, &GOOD));
        assert!(matches!(response.status, 400 | 404), "{target}: {}", response.status);
        assert!(!response.body.is_empty());
    }
}

#[test]
fn publish_reaches_the_channel_and_counts_it() {
    let server = Server::start(&[]);
    let response = server.publish("news", "text/plain", b"nobody there");
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json"));
    let heard_by = |response: &Response| -> serde_json::Value {
        let answer: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(answer["channel"], "news");
        answer["subscribers"].clone()
    };
    assert_eq!(heard_by(&response), 0);
    let mut peers = [server.open("/broadcast/news"), server.open("/broadcast/news?role=listen")];
    let mut stranger = server.open("/broadcast/other");
    peers.iter_mut().for_each(|peer| assert!(peer.settle().is_empty()));
    let response = server.publish("news", "text/plain; charset=utf-8", "grüße".as_bytes());
    assert_eq!(heard_by(&response), 2);
    server.publish("news", "application/octet-stream", b"\x00\x01");
    server.publish("news", "application/json", b"{}");
    for peer in &mut peers {
        assert_eq!(peer.message().text(), "grüße");
        assert_eq!(peer.message(), Frame { opcode: BINARY, payload: b"\x00\x01".to_vec() });
        assert_eq!(peer.message(), Frame { opcode: BINARY, payload: b"{}".to_vec() });
    }
    assert!(stranger.settle().is_empty());
}

#[test]
fn publish_takes_chunks_and_refuses_what_it_cannot_send() {
    let server = Server::start(&["--message-max", "1ki"]);
    let mut peer = server.open("/broadcast/news");
    peer.settle();
    let chunked = b"POST /publish/news HTTP/1.1\r\nHost: test\r\nContent-Type: text/plain\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n5;x=y\r\n, two\r\n0\r\n\r\n";
    assert_eq!(server.ask(chunked).status, 200);
    assert_eq!(peer.message().text(), "one, two");
    let not_text = server.publish("news", "text/plain", b"\xff\xfe");
    assert_eq!(not_text.status, 400, "a text frame must be UTF-8");
    assert_eq!(server.publish("news", "text/plain", &[b'x'; 1025]).status, 413);
    assert!(peer.settle().is_empty());
    let slow =
        b"POST /publish/news HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(slow).expect("the server reads");
    stream.write_all(b"ok").expect("the server reads");
    let mut response = Response::read(&mut stream, true);
    if response.status == 100 {
        response = Response::read(&mut stream, false);
    }
    assert!(matches!(response.status, 200 | 417));
}

#[test]
fn http_keeps_the_connection() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("the server reads");
        assert_eq!(Response::read(&mut stream, false).status, 200);
    }
    // Two at once, then an upgrade, all on the connection that has served before.
    let two = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\nHEAD / HTTP/1.1\r\nHost: test\r\n\r\n";
    stream.write_all(two).expect("the server reads");
    assert_eq!(Response::read(&mut stream, false).status, 200);
    assert_eq!(Response::read(&mut stream, true).status, 200);
    let (mut peer, _) = Peer::open_with(stream, &upgrade_with("/echo", &GOOD));
    peer.send_text("hello");
    assert_eq!(peer.message().text(), "hello");
}

#[test]
fn http_closes_when_asked() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .expect("the server reads");
    let response = Response::read(&mut stream, false);
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut rest).expect("the server closes");
    assert!(rest.is_empty());
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(&[]);
    for target in ["/", "/chat", "/echo", "/healthz"] {
        let get = server.get(target);
        let head = server.ask(format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        assert_eq!((get.status, head.status), (200, 200), "{target}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert!(head.header("content-length").is_some());
    }
}

#[test]
fn pages_bring_everything_themselves() {
    let server = Server::start(&[]);
    for target in ["/", "/chat", "/echo"] {
        let page = server.get(target);
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").expect("a page has a type").starts_with("text/html"));
        let policy = page.header("content-security-policy").expect("a page has a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-"), "{target}: {policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"), "{target}");
        for outside in ["src=\"http", "href=\"http", "src=\"//", "href=\"//", "@import", "url(http"] {
            assert!(!page.text().contains(outside), "{target} loads from elsewhere: {outside}");
        }
    }
}

#[test]
fn stats_and_metrics_count() {
    let server = Server::start(&[]);
    let mut peers = [server.open("/broadcast"), server.open("/broadcast")];
    peers.iter_mut().for_each(|peer| assert!(peer.settle().is_empty()));
    let stats = server.get("/stats");
    assert_eq!((stats.status, stats.header("content-type")), (200, Some("application/json")));
    let json: serde_json::Value = serde_json::from_slice(&stats.body).expect("JSON");
    assert!(json.is_object());
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200);
    let kind = metrics.header("content-type").expect("it has a type");
    assert!(kind.starts_with("text/plain") && kind.contains("version=0.0.4"), "{kind}");
    for line in metrics.text().lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(name.starts_with("stentor_") || name.starts_with("process_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    // Each family is described once, before its samples.
    for (at, line) in metrics.text().lines().enumerate().filter(|(_, line)| line.starts_with("# TYPE ")) {
        let same = metrics.text().lines().skip(at + 1).any(|later| later == line);
        assert!(!same, "{line}");
    }
    // The program sees them go.
    let open = |server: &Server| server.get("/stats").text().to_string();
    let before = open(&server);
    peers.into_iter().for_each(Peer::close);
    wait_for("the numbers to move", || (open(&server) != before).then_some(()));
}

/// Bytes behind a HEAD that are no request are refused with a text: nobody asked to be spared it.
#[test]
fn what_is_refused_behind_a_head_has_its_body() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n").expect("the server reads");
    assert_eq!(Response::read(&mut stream, true).status, 200);
    let refusal = Response::read(&mut stream, false);
    assert_eq!(
        (refusal.status, refusal.text()),
        (400, "missing Host header: HTTP/1.1 requires exactly one\n")
    );
}

#[test]
fn whom_the_chat_has_closed_nobody_hears_any_more() {
    let server = Server::start(&[]);
    let mut ann = server.open("/chat?name=ann");
    let mut bob = server.open("/chat?name=bob");
    let both = [encode(true, BINARY, b"?"), encode(true, TEXT, b"after")].concat();
    bob.stream.write_all(&both).expect("the server reads");
    assert_eq!(bob.closed(), 1003);
    let heard = |peer: &mut Peer| peer.message().text().to_owned();
    assert_eq!(heard(&mut ann), r#"{"type":"enter","data":"ann comes in"}"#);
    assert_eq!(heard(&mut ann), r#"{"type":"enter","data":"bob comes in"}"#);
    drop(bob);
    assert_eq!(heard(&mut ann), r#"{"type":"leave","data":"bob left"}"#);
}

#[test]
fn many_ticks_at_once_are_refused_beyond_a_bound() {
    let server = Server::start(&[]);
    let _listeners: Vec<Peer> = (0..64).map(|n| server.open(&format!("/tick/1?size={}", 64 + n))).collect();
    assert_eq!(server.ask(&upgrade_with("/tick/2?size=500", &GOOD)).status, 400);
    server.open("/tick/1?size=64").close();
}
