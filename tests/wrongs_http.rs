//! The table of wrongs, row *HTTP*: bodies, pipelines, paths and everything by which two readers of one stream could
//! come to see two different requests.
//!
//! The server speaks just enough HTTP to be looked at and published to, and it may stand behind a proxy that shares one
//! connection among strangers. So what is ambiguous is refused, and after a refusal nothing more is read. Each test here
//! is a line of `docs/security.md`.
//!
//! Invariant: every request gets exactly one answer, in the order of the requests.

mod common;

use common::aftermath::{Footprint, MEMORY_SLACK, Scene, all_that_comes, ends, opens, refusal};
use common::{BINARY, GOOD, Peer, Response, Server, upgrade_with};
use socket2::{Domain, Socket, Type};
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

// Bodies.

#[test]
fn a_body_too_large_is_413_before_it_is_read() {
    // Not one byte of the body is ever sent, and nobody is told to go on.
    let lengths = ["1025", "65537", "4294967296", "18446744073709551615"];
    let announced = lengths.map(|length| post(&format!("Content-Length: {length}\r\n"), ""));
    let expecting =
        lengths.map(|length| post(&format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"), ""));
    // Chunks announce themselves one by one; sizes are summed up before their data is there.
    let sizes = ["401\r\n", "FFFFFFFFFFFFFFFF\r\n", "0000000000000401;a=b\r\n", "8000000000000000\r\n"];
    let in_chunks = sizes.map(chunked);
    let summed = chunked(&format!("400\r\n{}\r\n1\r\n", "x".repeat(0x400)));
    let wrapped = chunked(&format!("2\r\nxx\r\nFFFFFFFFFFFFFFFF\r\n{}", "x".repeat(100)));
    let all = announced.into_iter().chain(expecting).chain(in_chunks).chain([summed, wrapped]);
    all_refused(413, "body is too large", all);
}

#[test]
fn a_body_as_large_as_allowed_is_read_once_continue_was_said() {
    let scene = Scene::start(&["--message-max", "1ki"]);
    for (announcement, body) in [
        ("Content-Length: 1024\r\n", "x".repeat(1024)),
        ("Transfer-Encoding: chunked\r\n", format!("400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024))),
    ] {
        let mut stream = scene.connect();
        stream.write_all(&post(&format!("{announcement}Expect: 100-continue\r\n"), "")).expect("it is read");
        assert_eq!(Response::read(&mut stream, true).status, 100);
        stream.write_all(body.as_bytes()).expect("it is read");
        assert_eq!(Response::read(&mut stream, false).status, 200);
    }
    scene.aftermath();
}

#[test]
fn expect_without_a_right_to_a_body_is_answered_at_once() {
    let scene = Scene::start(&[]);
    let expecting = "Host: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    for (line, status, says) in [
        ("POST /nowhere HTTP/1.1", 404, "nothing is served"),
        ("POST /healthz HTTP/1.1", 405, "allowed: GET, HEAD"),
        ("PUT /publish/news HTTP/1.1", 405, "allowed: POST"),
        ("POST /publish/%zz HTTP/1.1", 400, "malformed path"),
    ] {
        scene.refuses(format!("{line}\r\n{expecting}").as_bytes(), status, says);
    }
    scene.aftermath();
}

#[test]
fn chunk_extensions_and_trailers_are_bounded() {
    let long = "x".repeat(8 * 1024);
    let many = "1;x\r\na\r\n".repeat(1024);
    let blanks = format!("1{}\r\na\r\n", " ".repeat(8 * 1024 + 1));
    let requests = [
        format!("1;{long}\r\na\r\n0\r\n\r\n"),
        format!("0\r\nX-Long: {long}\r\n\r\n"),
        format!("0\r\n{}\r\n", "a: b\r\n".repeat(3000)),
        format!("0\r\n{long}: b\r\n\r\n"),
        blanks,
    ];
    all_refused(431, "chunk extensions and trailers", requests.iter().map(|body| chunked(body)));
    // A thousand of one byte are within the bound; they cost a message of a thousand bytes.
    let scene = Scene::start(&["--message-max", "1ki"]);
    let mut stream = scene.connect();
    stream.write_all(&chunked(&format!("{many}0\r\na: b\r\n\r\n"))).expect("it is read");
    assert_eq!(Response::read(&mut stream, false).status, 200);
    drop(stream);
    scene.aftermath();
}

#[test]
fn a_malformed_chunk_is_400() {
    let bodies = [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        "1_0\r\n",
        " 1\r\na\r\n",
        "1 0\r\na\r\n",
        "1\na\n0\n\n",
        "1\ra\r\n",
        "1\r\naa\r\n",
        "1\r\na\n0\r\n\r\n",
        "1;a\nb\r\na\r\n",
        "1;\0\r\na\r\n",
        "00000000000000001\r\n",
        "10000000000000000\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\n folded: b\r\n\r\n",
        "0\r\na: b\n\r\n",
        "0\r\nGET /healthz HTTP/1.1\r\n\r\n",
        "0\r\n\n",
    ];
    all_refused(400, "malformed chunk", bodies.map(chunked));
}

#[test]
fn a_transfer_encoding_other_than_chunked_is_501() {
    let encodings = [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\x0bchunked",
        "\"chunked\"",
        "",
    ];
    let twice = post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
    let hidden = post("Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n");
    let (broken, known): (Vec<_>, Vec<_>) =
        encodings.into_iter().partition(|encoding| encoding.contains('\x0b'));
    let lines = |encoding: &str| post(&format!("Transfer-Encoding: {encoding}\r\n"), "0\r\n\r\n");
    all_refused(501, "unsupported Transfer-Encoding", known.into_iter().map(lines).chain([twice, hidden]));
    all_refused(400, "control character in a header value", broken.into_iter().map(lines));
}

#[test]
fn a_slow_body_is_408() {
    let scene = Scene::start(&["--handshake-timeout", "1s"]);
    for (lines, begin, drip) in [
        ("Content-Length: 60000\r\n", "", "x"),
        ("Transfer-Encoding: chunked\r\n", "", "1\r\nx\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1;", "extension"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n", "a: trailer\r\n"),
    ] {
        let mut stream = scene.connect();
        stream.write_all(&post(lines, begin)).expect("it is read");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
        let mut drops = drip.bytes().cycle();
        common::wait_for("the answer to a dribbled body", || {
            let _ = stream.write_all(&[drops.next().expect("a cycle has no end")]);
            stream.peek(&mut [0]).ok()
        });
        stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout can be set");
        let response = refusal(&mut stream, false, lines);
        assert_eq!(response.status, 408);
        assert!(response.text().contains("body was not complete in time"), "{}", response.text());
    }
    scene.aftermath();
}

#[test]
fn bodies_that_never_end_are_forgotten() {
    // 1 000 bodies of 64 KiB less a byte: 65 MB held at once, and all of it given back.
    let scene = Scene::start(&["--handshake-timeout", "2s"]);
    let request = post("Content-Length: 65536\r\n", &"x".repeat(65535));
    let mut streams: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut stream = scene.connect();
            stream.write_all(&request).expect("it is read");
            stream
        })
        .collect();
    for stream in &mut streams {
        assert_eq!(refusal(stream, false, "a body without an end").status, 408);
    }
    drop(streams);
    scene.aftermath();
}

#[test]
fn a_body_that_nobody_asked_for_is_not_the_next_request() {
    let scene = Scene::start(&[]);
    let hidden = "GET /stats HTTP/1.1\r\nHost: test\r\n\r\n";
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for (line, body) in
        [(format!("Content-Length: {}", hidden.len()), hidden), ("Transfer-Encoding: chunked".into(), &chunk)]
    {
        for method in ["GET", "HEAD"] {
            let request = format!("{method} /healthz HTTP/1.1\r\nHost: test\r\n{line}\r\n\r\n{body}");
            let mut stream = scene.connect();
            stream.write_all(request.as_bytes()).expect("it is read");
            let response = Response::read(&mut stream, method == "HEAD");
            assert_eq!((response.status, response.header("connection")), (200, Some("close")));
            assert_eq!(rest_of(&mut stream), "", "the body is no request");
        }
    }
    scene.aftermath();
}

// Requests in a row.

#[test]
fn pipelined_requests_are_answered_in_order() {
    let scene = Scene::start(&["--history", "0"]);
    let mut stream = scene.connect();
    // More than one turn answers, in pieces that cut requests anywhere.
    let all: String = (0..20_000).map(numbered).collect();
    let mut writer = stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        all.as_bytes().chunks(9973).for_each(|piece| writer.write_all(piece).expect("it is read"));
    });
    let mut reader = std::io::BufReader::new(&mut stream);
    for number in 0..20_000 {
        let response = Response::read(&mut reader, false);
        assert!(is_answer_to(number, &response), "{number}: {response:?}");
    }
    writing.join().expect("all was written");
    // Bodies in between, by length and in chunks, a HEAD, and a refusal at the end.
    let mixed = [
        numbered(1).into_bytes(),
        post("Content-Length: 5\r\n", "hello"),
        b"HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
        chunked("2\r\nhi\r\n0\r\n\r\n"),
        numbered(2).into_bytes(),
        b"GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
        numbered(3).into_bytes(),
    ];
    stream.write_all(&mixed.concat()).expect("it is read");
    assert!(is_answer_to(1, &Response::read(&mut stream, false)));
    assert_eq!(Response::read(&mut stream, false).text().trim_end(), r#"{"channel":"news","subscribers":0}"#);
    assert_eq!(Response::read(&mut stream, true).status, 200);
    assert_eq!(Response::read(&mut stream, false).status, 200);
    assert!(is_answer_to(2, &Response::read(&mut stream, false)));
    assert_eq!(refusal(&mut stream, false, "the last that is answered").status, 404);
    drop(stream);
    scene.aftermath();
}

#[test]
fn pipelined_requests_are_bounded() {
    // Requests without end and no answer read: the server stops reading, and holds no more than a queue and a window.
    let scene = Scene::start(&["--history", "0"]);
    let mut stream = scene.connect();
    stream.set_nonblocking(true).expect("it can be");
    let (mut sent, mut pending, mut next) = (0_usize, Vec::new(), 0);
    let mut progress = Instant::now();
    while progress.elapsed() < Duration::from_millis(500) {
        assert!(sent < 64 << 20, "64 MiB of requests taken in, no answer read: there is no bound");
        while pending.len() < 64 * 1024 {
            pending.extend_from_slice(numbered(next).as_bytes());
            next += 1;
        }
        match stream.write(&pending) {
            Ok(count) => {
                pending.drain(..count);
                sent += count;
                progress = Instant::now();
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            Err(why) => panic!("{why}"),
        }
    }
    let memory = Footprint::of(scene.pid()).memory;
    assert!(memory <= scene.before().memory + MEMORY_SLACK, "{memory} bytes for one that does not read");
    scene.wait_for_idleness();
    opens(&scene, &upgrade_with("/echo", &GOOD));
    // Once it reads, every answer is there, in order.
    stream.set_nonblocking(false).expect("it can be");
    let mut writer = stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || writer.write_all(&pending).expect("the server reads again"));
    let mut reader = std::io::BufReader::new(&mut stream);
    for number in 0..next {
        let response = Response::read(&mut reader, false);
        assert!(is_answer_to(number, &response), "{number}: {response:?}");
    }
    writing.join().expect("all was written");
    drop(stream);
    scene.aftermath();
}

#[test]
fn a_client_that_has_said_its_last_word_hears_every_answer() {
    let scene = Scene::start(&["--history", "0"]);
    let mut stream = scene.connect();
    let count = 5000;
    let all: String = (0..count).map(numbered).collect();
    let mut writer = stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        writer.write_all(all.as_bytes()).expect("it is read");
        writer.shutdown(std::net::Shutdown::Write).expect("it can be");
    });
    let answers = rest_of(&mut stream);
    writing.join().expect("all was written");
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), count);
    assert!(answers.ends_with(&format!("{{\"channel\":\"{}\",\"subscribers\":0}}", count - 1)));
    drop(stream);
    scene.aftermath();
}

#[test]
fn what_is_torn_behind_requests_costs_no_answer() {
    // 6 MB of answers, which no socket buffers, to one who begins to read when all has been said; and then an empty line
    // or half a request, which is nothing to be answered.
    let scene = Scene::start(&[]);
    let page = scene.get("/assets/chat.js").body.len();
    let count = 6_000_000 / page;
    let requests = b"GET /assets/chat.js HTTP/1.1\r\nHost: test\r\n\r\n".repeat(count);
    for torn in
        ["", "\r\n", "GET /assets/ch", "POST /publish/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"]
    {
        let mut stream = narrow(&scene);
        let mut writer = stream.try_clone().expect("a second handle");
        let all = [requests.as_slice(), torn.as_bytes()].concat();
        let writing = std::thread::spawn(move || {
            writer.write_all(&all).expect("it is read");
            writer.shutdown(std::net::Shutdown::Write).expect("it can be");
        });
        let paused = wait_for_a_pause(&scene);
        assert!(paused, "the answers are more than the sockets hold");
        let answers = rest_of(&mut stream);
        writing.join().expect("all was written");
        assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), count, "{torn:?}");
    }
    scene.aftermath();
}

/// A connection that takes in as little at a time as the system allows.
fn narrow(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&server.address().into()).expect("the server accepts");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout can be set");
    stream
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

#[test]
fn a_hundred_thousand_requests_on_one_connection_leave_nothing() {
    let scene = Scene::start(&[]);
    let mut stream = scene.connect();
    let hundred = b"HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100);
    let mut answer = None;
    for _ in 0..1000 {
        stream.write_all(&hundred).expect("it is read");
        let one = *answer.get_or_insert_with(|| {
            let mut head = vec![0; 64 * 1024];
            let count = stream.peek(&mut head).expect("an answer");
            assert!(count > 0);
            head[..count].windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4
        });
        let mut answers = vec![0; one * 100];
        stream.read_exact(&mut answers).expect("a hundred answers");
        assert!(answers.chunks(one).all(|answer| answer.starts_with(b"HTTP/1.1 200 OK\r\n")));
    }
    let memory = Footprint::of(scene.pid()).memory;
    assert!(memory <= scene.before().memory + MEMORY_SLACK, "{memory} bytes after 100 000 requests");
    drop(stream);
    scene.aftermath();
}

#[test]
fn a_connection_without_a_next_request_is_let_go_of() {
    // The next request has the handshake's time from its first byte, as the first had from accept.
    let scene = Scene::start(&["--handshake-timeout", "1s"]);
    let mut stream = scene.connect();
    stream.write_all(b"HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("it is read");
    assert_eq!(Response::read(&mut stream, true).status, 200);
    stream.write_all(b"\r\nGET /healthz HTTP/1.1\r\nHost: te").expect("it is read");
    // The answer has its body, although the request before was a HEAD.
    let response = refusal(&mut stream, false, "a torn second request");
    assert_eq!(response.status, 408);
    assert!(response.text().contains("head was not complete in time"));
    drop(stream);
    scene.aftermath();
}

#[test]
fn nothing_is_read_behind_a_refusal() {
    let scene = Scene::start(&[]);
    for wrong in [
        "GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "POST /publish/news HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /publish/news HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "GET /healthz HTTP/1.0\r\nHost: test\r\n\r\n",
    ] {
        let mut stream = scene.connect();
        stream.write_all(format!("{wrong}{}", numbered(7)).as_bytes()).expect("it is read");
        refusal(&mut stream, false, wrong);
    }
    scene.aftermath();
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

#[test]
fn a_stream_that_ends_in_a_body_is_no_publication() {
    let scene = Scene::start(&[]);
    let mut subscriber = scene.open("/broadcast/news");
    subscriber.settle();
    for request in [
        post("Content-Length: 10\r\n", "half"),
        chunked("5\r\nhello\r\n"),
        chunked("5\r\nhello\r\n0\r\n"),
        chunked("5\r\nhello\r\n0\r\na: b\r\n"),
    ] {
        let mut stream = scene.connect();
        stream.write_all(&request).expect("it is read");
        assert_eq!(all_that_comes(stream), b"", "half a request has no answer");
    }
    assert!(subscriber.settle().is_empty(), "and half a message is none");
    subscriber.close();
    let mut quiet = scene.connect();
    quiet.shutdown(std::net::Shutdown::Write).expect("it can be");
    ends(&mut quiet, "a connection that only ends");
    drop(quiet);
    scene.aftermath();
}
