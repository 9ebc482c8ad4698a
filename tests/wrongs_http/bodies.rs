//! Bodies: too large, cut, in chunks, never ending, unasked for.
//!
//! Invariant: a body is read whole or its connection ends.

use super::*;

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
