//! The table of wrongs, row *HTTP*: bodies, pipelines, paths and everything by which two readers of one stream could
//! come to see two different requests.
//!
//! The server speaks just enough HTTP to be looked at and published to, and it may stand behind a proxy that shares one
//! connection among strangers. So what is ambiguous is refused, and after a refusal nothing more is read. Each test here
//! is a line of `docs/security.md`.
//!
//! Invariant: every request gets exactly one answer, in the order of the requests.

#[path = "wrongs_http/bodies.rs"]
mod bodies;
mod common;
#[path = "wrongs_http/pipelines.rs"]
mod pipelines;

use common::aftermath::{Footprint, MEMORY_SLACK, Scene, all_that_comes, ends, opens, refusal};
use common::{BINARY, GOOD, Peer, Response, Server, upgrade_with, write_until_stuck};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A `POST` to a channel with these header lines, and a body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /publish/news HTTP/1.1\r\nHost: test\r\n{lines}\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// A request whose answer tells which one it answers.
fn numbered(number: usize) -> String {
    format!("POST /publish/{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
}

fn is_answer_to(number: usize, response: &Response) -> bool {
    response.status == 200
        && response.text().trim_end() == format!(r#"{{"channel":"{number}","subscribers":0}}"#)
}

/// Each of `requests` is refused alike, and nothing is left of them.
fn all_refused(status: u16, says: &str, requests: impl IntoIterator<Item = Vec<u8>>) {
    let scene = Scene::start(&["--message-max", "1ki"]);
    for request in requests {
        scene.refuses(&request, status, says);
    }
    scene.aftermath();
}

/// The rest of a stream whose other end may reset it, because it left bytes of ours unread.
fn rest_of(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    if let Err(why) = stream.read_to_end(&mut rest) {
        assert_eq!(why.kind(), ErrorKind::ConnectionReset, "{why}");
    }
    String::from_utf8(rest).expect("answers are ASCII")
}

/// Waits until the server has given up reading from somebody who does not read.
fn wait_for_a_pause(server: &Server) -> bool {
    common::wait_for("the server to wait for a reader", || {
        let metrics = server.get("/metrics");
        let mut lines = metrics.text().lines();
        lines
            .any(|line| line.starts_with("stentor_readers_paused_total ") && !line.ends_with(" 0"))
            .then_some(true)
    })
}

// Methods, targets, headers.

#[test]
fn a_refusal_of_head_has_no_body() {
    let scene = Scene::start(&[]);
    for (request, status) in [
        ("HEAD /nowhere HTTP/1.1\r\nHost: test\r\n\r\n", 404),
        ("HEAD /broadcast HTTP/1.1\r\nHost: test\r\n\r\n", 426),
        ("HEAD /publish/news HTTP/1.1\r\nHost: test\r\n\r\n", 405),
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
        ("HEAD / HTTP/1.1\r\nHost: test\r\nX : y\r\n\r\n", 400),
        ("HEAD / HTTP/1.0\r\nHost: test\r\n\r\n", 505),
    ] {
        let mut stream = scene.connect();
        stream.write_all(request.as_bytes()).expect("it is read");
        assert_eq!(refusal(&mut stream, true, request).status, status);
    }
    // And the refusal behind the answer to a HEAD has one.
    let mut stream = scene.connect();
    let both = "HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    stream.write_all(both.as_bytes()).expect("it is read");
    assert_eq!(Response::read(&mut stream, true).status, 200);
    assert!(refusal(&mut stream, false, both).text().contains("missing Host"));
    drop(stream);
    scene.aftermath();
}

#[test]
fn other_methods_are_405_with_allow() {
    let scene = Scene::start(&[]);
    let get = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"];
    let post = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "post"];
    let pages = get.map(|method| (method, "/stats", "GET, HEAD"));
    let publish = post.map(|method| (method, "/publish/news", "POST"));
    let others =
        [("OPTIONS", "*", "GET, HEAD"), ("CONNECT", "test:443", "GET, HEAD"), ("POST", "/echo", "GET, HEAD")];
    for (method, target, allow) in pages.into_iter().chain(publish).chain(others) {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = scene.refuses(request.as_bytes(), 405, &format!("allowed: {allow}"));
        assert_eq!(response.header("allow"), Some(allow), "{request}");
    }
    scene.aftermath();
}

#[test]
fn paths_cannot_escape() {
    let scene = Scene::start(&[]);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes();
    for target in [
        "/../etc/passwd",
        "/../../../../etc/passwd",
        "/assets/../Cargo.toml",
        "/assets/../../etc/passwd",
        "/assets/./style.css",
        "/%2e%2e/etc/passwd",
        "/%2e%2e%2fetc%2fpasswd",
        "/..%2f..%2fetc/passwd",
        "/assets/%2e%2e/style.css",
        "/..\\..\\etc\\passwd",
        "/assets\\style.css",
        "/..%5c..%5cetc%5cpasswd",
        "//",
        "//etc/passwd",
        "///healthz",
        "//healthz",
        "/healthz//",
        "/HEALTHZ",
        "/stats.json",
        "/chat/../stats/x",
        "/file:///etc/passwd",
        "/etc/passwd",
        "/proc/self/environ",
        "http://test//etc/passwd",
        "http://test/../etc/passwd",
        "/assets/style.css/",
        "/assets/",
        "/assets",
        "/.git/config",
        "/publisher",
    ] {
        scene.refuses(&get(target), 404, "nothing is served at this path");
    }
    for target in
        ["/%00", "/etc/passwd%00.css", "/%c0%ae%c0%ae/etc/passwd", "/%zz", "/%", "/a%0d%0ab", "/%u002e"]
    {
        scene.refuses(&get(target), 400, "malformed path");
    }
    for target in [
        "..",
        "../etc/passwd",
        "file:///etc/passwd",
        "\\etc\\passwd",
        "http://",
        "http:///etc/passwd",
        "/#",
        "http://u@test/",
    ] {
        scene.refuses(&get(target), 400, "malformed request target");
    }
    scene.refuses(&get("/\0"), 400, "NUL byte");
    scene.refuses(&get("/\u{e4}"), 400, "malformed request target");
    scene.refuses(b"GET /\xff HTTP/1.1\r\nHost: test\r\n\r\n", 400, "malformed request line");
    scene.refuses(b"GET /\x7f HTTP/1.1\r\nHost: test\r\n\r\n", 400, "malformed request line");
    scene.aftermath();
}

#[test]
fn an_absolute_target_is_a_path_on_another_host() {
    // RFC 9112 §3.2.2: the target's host counts, and Host must be there all the same.
    let scene = Scene::start(&[]);
    let mut stream = scene.connect();
    stream
        .write_all(b"GET http://other.example:8080/healthz?x HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("it is read");
    assert_eq!(Response::read(&mut stream, false).text(), "ok\n");
    scene.refuses(b"GET http://other.example/healthz HTTP/1.1\r\n\r\n", 400, "missing Host");
    drop(stream);
    scene.aftermath();
}

#[test]
fn a_header_cannot_be_injected() {
    // Whatever a peer writes where the server might repeat it, no answer ever has a line that is not the server's.
    let scene = Scene::start(&["--subprotocol", "ours"]);
    let breaks = [
        "%0d%0aX-Injected:%201",
        "%0aX-Injected:%201",
        "%0dX-Injected:%201",
        "%E5%98%8D%E5%98%8AX-Injected:%201",
    ];
    for line in breaks {
        let lean = format!("GET /healthz?x={line} HTTP/1.1\r\nHost: test\r\n\r\n");
        let asks = [
            lean,
            format!("GET /{line} HTTP/1.1\r\nHost: test\r\n\r\n"),
            format!("GET /chat/{line} HTTP/1.1\r\nHost: test\r\n\r\n"),
            format!("GET /tick/{line} HTTP/1.1\r\nHost: test\r\n\r\n"),
            format!("POST /publish/{line} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"),
            format!("GET /broadcast?role={line} HTTP/1.1\r\nHost: test\r\n\r\n"),
            format!("GET /chat?name={line} HTTP/1.1\r\nHost: test\r\n\r\n"),
        ];
        for ask in asks {
            let mut stream = scene.connect();
            stream.write_all(ask.as_bytes()).expect("it is read");
            let answer = String::from_utf8(all_that_comes(stream)).expect("UTF-8");
            let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(!head.to_ascii_lowercase().contains("injected"), "{ask:?}: {head}");
            assert!(!answer.contains("\nX-Injected"), "{ask:?}: {answer}");
        }
        // A handshake's answer repeats nothing but the digest of the key.
        for target in [
            format!("/broadcast/x?role={line}"),
            format!("/echo?prefix={line}"),
            format!("/chat?name={line}"),
        ] {
            let answer = scene.ask(&upgrade_with(&target, &GOOD));
            assert!(answer.headers.iter().all(|(name, _)| !name.contains("injected")), "{answer:?}");
        }
    }
    let lines = [GOOD[0], GOOD[1], GOOD[2], GOOD[3], "Sec-WebSocket-Protocol: theirs, X-Injected, ours"];
    let (peer, response) = Peer::open_with(scene.connect(), &upgrade_with("/echo", &lines));
    assert_eq!(
        response.header("sec-websocket-protocol"),
        Some("ours"),
        "from our list, never a peer's bytes"
    );
    assert_eq!(response.headers.len(), 4);
    peer.close();
    scene.aftermath();
}

#[test]
fn a_channel_may_have_any_name_and_is_no_path() {
    // Names are keys of a table: dots, slashes and quotes mean nothing in them.
    let scene = Scene::start(&[]);
    let long = "x".repeat(300);
    for (segment, name) in
        [("%2e%2e", ".."), ("..", ".."), ("a%2Fb", "a/b"), ("%22%5C", "\"\\"), ("%F0%9F%92%A9", "\u{1f4a9}")]
    {
        let answer = scene.publish(segment, "text/plain", b"to nobody");
        assert_eq!(answer.status, 200);
        let said: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((&said["channel"], &said["subscribers"]), (&name.into(), &0.into()));
    }
    for segment in ["", long.as_str(), "%00", "%0a", "%ff", "%"] {
        let request = format!("POST /publish/{segment} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        let answer = scene.ask(request.as_bytes());
        assert!(matches!(answer.status, 400 | 404), "{segment}: {answer:?}");
    }
    // Nobody listens, so nothing was made: no topic is left of a channel that was only published to.
    let stats: serde_json::Value = serde_json::from_slice(&scene.get("/stats").body).expect("JSON");
    assert_eq!(stats["topics"], 0);
    scene.aftermath();
}

#[test]
fn an_oddly_escaped_query_is_only_text() {
    let scene = Scene::start(&[]);
    let many = "a&".repeat(3900);
    for query in ["%", "%zz=%4", "=", "&&&&", "%00=%00", "role", "a=b=c", "+%2B+", "%ff%fe", many.as_str()] {
        let answer = scene.get(&format!("/healthz?{query}"));
        assert_eq!(answer.text(), "ok\n", "{query}");
        opens(&scene, &upgrade_with(&format!("/echo?{query}"), &GOOD));
    }
    scene.aftermath();
}

#[test]
fn a_response_that_nobody_reads_is_given_up() {
    // 32 MB of pages asked for by connections that take nothing in: each is let go after the stall timeout.
    let scene = Scene::of(Server::start(&["--stall-timeout", "1s"]));
    let page = b"GET /assets/chat.js HTTP/1.1\r\nHost: test\r\n\r\n".repeat(2000);
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..20 {
        let mut stream = scene.connect();
        stream.set_nonblocking(true).expect("it can be");
        let _ = stream.write(&page);
        idle.push(stream);
    }
    common::wait_for("those that take nothing to be given up", || {
        let stats: serde_json::Value = serde_json::from_slice(&scene.get("/stats").body).expect("JSON");
        // The one that asks is there, too.
        (stats["connections"].as_u64() <= Some(1)).then_some(())
    });
    drop(idle);
    scene.aftermath();
}

#[test]
fn a_flood_of_requests_delays_nobody_for_long() {
    let scene = Scene::start(&[]);
    let requests = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(200);
    let floods: Vec<TcpStream> = (0..4).map(|_| scene.connect()).collect();
    std::thread::scope(|scope| {
        for flood in &floods {
            let (mut writer, mut reader) = (flood, flood);
            let requests = &requests;
            scope.spawn(move || while writer.write_all(requests).is_ok() {});
            scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        }
        let mut good = scene.open("/echo");
        for number in 0..20 {
            let began = Instant::now();
            good.send(BINARY, &[number]);
            assert_eq!(good.message().payload, [number]);
            assert!(began.elapsed() < common::aftermath::SERVED_WITHIN, "{:?}", began.elapsed());
        }
        opens(&scene, &upgrade_with("/echo", &GOOD));
        good.close();
        for flood in &floods {
            let _ = flood.shutdown(std::net::Shutdown::Both);
        }
    });
    drop(floods);
    scene.aftermath();
}
