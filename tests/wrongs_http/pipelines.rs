//! Requests in a row on one connection: in order, bounded, and none behind a refusal.
//!
//! Invariant: an answer belongs to the oldest request that has none.

use super::*;

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
    let mut next = 0;
    let pending = write_until_stuck(&mut stream, 64 << 20, |pending| {
        while pending.len() < 64 * 1024 {
            pending.extend_from_slice(numbered(next).as_bytes());
            next += 1;
        }
    });
    let memory = Footprint::of(scene.pid()).memory;
    assert!(memory <= scene.before().memory + MEMORY_SLACK, "{memory} bytes for one that does not read");
    scene.wait_for_idleness();
    opens(&scene, &upgrade_with("/echo", &GOOD));
    // Once it reads, every answer is there, in order.
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
        let mut stream = scene.narrow();
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
fn a_head_that_waits_because_answers_do_is_not_late() {
    // It has sent all of its next request, and reads its answers after the time for a head: it is we who did not read on.
    let scene = Scene::start(&["--handshake-timeout", "1s", "--send-buffer", "16ki"]);
    let (begin, end) = ("GET /assets/chat.js HT", "TP/1.1\r\nHost: test\r\n\r\n");
    let mut stream = scene.narrow();
    stream.write_all(begin.as_bytes()).expect("it is read");
    let mut count = 1;
    let is_paused = || {
        let metrics = scene.get("/metrics");
        metrics
            .text()
            .lines()
            .any(|line| line.starts_with("stentor_readers_paused_total ") && !line.ends_with(" 0"))
    };
    while !is_paused() {
        stream.write_all(format!("{end}{begin}").as_bytes()).expect("it is read, or waits");
        count += 1;
    }
    let mut late = scene.connect();
    late.write_all(begin.as_bytes()).expect("it is read");
    assert_eq!(refusal(&mut late, false, "a head that began later and is late by now").status, 408);
    stream.write_all(end.as_bytes()).expect("it waits");
    for number in 0..count {
        assert_eq!(Response::read(&mut stream, false).status, 200, "answer {number} of {count}");
    }
    drop((stream, late));
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
