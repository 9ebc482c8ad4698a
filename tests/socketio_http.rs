//! Socket.IO over HTTP, as bytes on a socket: handshakes, polling, who may ask, and what is left afterwards.
//!
//! Clients of npm are in `tests/socketio/`; here is what no well-behaved client does, and what none can see.
//!
//! Invariant: where an answer is promised, all of it is compared that is not drawn by lot.

mod common;
#[path = "socketio_http/workers.rs"]
mod workers;

use common::aftermath::Scene;
use common::{GOOD, Peer, Response, Server, encode, upgrade_with, wait_for};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

const OPEN: &str = "EIO=4&transport=polling";

/// A request for `/socket.io/` with a body, perhaps empty, and header lines of the test's own.
fn request(method: &str, query: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} /socket.io/?{query} HTTP/1.1\r\nHost: test\r\n");
    if method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    lines.iter().for_each(|line| head.push_str(&format!("{line}\r\n")));
    [head.as_bytes(), b"\r\n", body].concat()
}

fn get(query: &str) -> Vec<u8> {
    request("GET", query, &[], b"")
}

fn post(query: &str, body: &str) -> Vec<u8> {
    request("POST", query, &["Content-Type: text/plain;charset=UTF-8"], body.as_bytes())
}

/// Sends a request where others may follow.
fn send(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).expect("the server reads");
}

fn read(stream: &mut TcpStream) -> Response {
    Response::read(stream, false)
}

/// Opens a session by polling: its id, and the query by which it goes on.
fn open(server: &Server) -> String {
    let response = server.ask(&get(OPEN));
    assert_eq!(response.status, 200, "{}", response.text());
    let value: serde_json::Value = serde_json::from_str(&response.text()[1..]).expect("JSON behind the 0");
    format!("{OPEN}&sid={}", value["sid"].as_str().expect("a text"))
}

/// Opens a session and has a GET of it wait.
fn open_and_wait(server: &Server) -> (String, TcpStream) {
    let query = open(server);
    let mut stream = server.connect();
    send(&mut stream, &get(&query));
    wait_for("the GET to wait", || {
        // Whatever the server answers later was asked after it has read the GET, or it would have no connection for it.
        (gauge(server, "connections") >= 2).then_some(())
    });
    (query, stream)
}

fn gauge(server: &Server, name: &str) -> u64 {
    let page = server.get("/metrics");
    let line = page.text().lines().find_map(|line| line.strip_prefix(&format!("stentor_{name} ")));
    line.unwrap_or_else(|| panic!("/metrics has {name}")).parse().expect("a number")
}

fn wait_for_sessions(server: &Server, wanted: u64) {
    wait_for(&format!("{wanted} sessions"), || (gauge(server, "socketio_sessions") == wanted).then_some(()));
}

fn error(code: u8, message: &str) -> String {
    format!("{{\"code\":{code},\"message\":\"{message}\"}}")
}

/// That `response` is this error.
fn is_error(response: &Response, code: u8, message: &str) {
    assert_eq!((response.status, response.text()), (400, error(code, message).as_str()));
    assert_eq!(response.header("content-type"), Some("application/json"));
}

/// The session goes on: what is said in it is heard.
fn goes_on(server: &Server, query: &str) {
    assert_eq!(server.ask(&post(query, "40")).text(), "ok");
    let answer = server.ask(&get(query));
    assert!(answer.text().contains("40{\"sid\":\""), "{}", answer.text());
}

fn is_over(server: &Server, query: &str) {
    is_error(&server.ask(&get(query)), 1, "Session ID unknown");
}

#[test]
fn a_handshake_has_five_members_in_order_and_says_what_the_flags_say() {
    let server = Server::start(&[]);
    let response = server.ask(&get(OPEN));
    let sid = response.text().get(9..29).expect("a name of 20 characters").to_owned();
    let rest =
        "\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}";
    assert_eq!(response.text(), format!("0{{\"sid\":\"{sid}\",{rest}"));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("access-control-allow-origin"), None);

    let flags =
        ["--engine-ping-interval", "1500ms", "--engine-ping-timeout", "2s", "--engine-max-payload", "5k"];
    let server = Server::start(&flags);
    let text = server.ask(&get(OPEN)).text().to_owned();
    assert!(text.ends_with("\"pingInterval\":1500,\"pingTimeout\":2000,\"maxPayload\":5000}"), "{text}");
}

#[test]
fn flags_that_cannot_work_are_refused() {
    for (flag, value, wanted) in [
        ("--engine-ping-interval", "0", "from 100ms to 24h"),
        ("--engine-ping-timeout", "99ms", "from 100ms to 24h"),
        ("--engine-ping-timeout", "25h", "from 100ms to 24h"),
        ("--engine-max-payload", "999", "from 1k to 64mi"),
        ("--engine-max-payload", "65mi", "from 1k to 64mi"),
    ] {
        let (status, _, errors) = common::run_to_end(&[flag, value, "--check"]);
        assert_eq!(status.code(), Some(2), "{flag} {value}: {errors}");
        assert!(errors.contains(flag) && errors.contains(wanted), "{errors}");
    }
    let (status, settings, _) = common::run_to_end(&["--check", "--engine-max-payload", "2m"]);
    assert!(status.success());
    let wanted = "--engine-ping-interval 25s\n--engine-ping-timeout 20s\n--engine-max-payload 2000000\n";
    assert!(settings.contains(wanted), "{settings}");
}

#[test]
fn what_is_wrong_with_a_request_is_said_in_json() {
    let server = Server::start(&[]);
    let unknown = format!("{OPEN}&sid=AAAAAAAAAAAAAAAAAAAA");
    for (request, code, message) in [
        (get("transport=polling"), 5, "Unsupported protocol version"),
        (get("EIO=3&transport=polling"), 5, "Unsupported protocol version"),
        (get("EIO=4"), 0, "Transport unknown"),
        (get("EIO=4&transport=carrier-pigeon"), 0, "Transport unknown"),
        (get(&unknown), 1, "Session ID unknown"),
        (post(&unknown, "4x"), 1, "Session ID unknown"),
        (post(OPEN, "4x"), 2, "Bad handshake method"),
        (request("PUT", OPEN, &[], b""), 2, "Bad handshake method"),
        (get("EIO=4&transport=websocket"), 3, "Bad request"),
        (upgrade_with(&format!("/socket.io/?{OPEN}"), &GOOD), 3, "Bad request"),
        (upgrade_with("/socket.io/?EIO=3&transport=websocket", &GOOD), 5, "Unsupported protocol version"),
        (
            upgrade_with("/socket.io/?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA", &GOOD),
            1,
            "Session ID unknown",
        ),
    ] {
        let response = server.ask(&request);
        let shown = String::from_utf8_lossy(&request).into_owned();
        assert_eq!(response.text(), error(code, message), "{shown}");
        is_error(&response, code, message);
    }
    wait_for_sessions(&server, 0);
}

#[test]
fn a_get_waits_until_there_is_something_and_its_connection_goes_on() {
    let server = Server::start(&[]);
    let (query, mut stream) = open_and_wait(&server);
    assert_eq!(server.ask(&post(&query, "40")).text(), "ok");
    let response = read(&mut stream);
    assert!(response.text().starts_with("40{\"sid\":\""), "{}", response.text());
    // On the same connection: a POST, then the next GET.
    send(&mut stream, &post(&query, "420[\"join\",\"room\"]"));
    assert_eq!(read(&mut stream).text(), "ok");
    send(&mut stream, &get(&query));
    assert_eq!(read(&mut stream).text(), "430[{\"ok\":true}]");
    // And what is not the service's at all.
    send(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(read(&mut stream).text(), "ok\n");
}

#[test]
fn what_pipelines_behind_a_waiting_get_is_answered_after_it_in_order() {
    let server = Scene::start(&[]);
    let query = open(&server);
    let mut stream = server.connect();
    let all = [get(&query), b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(), post(&query, "41")];
    send(&mut stream, &all.concat());
    wait_for("the GET to wait", || (gauge(&server, "connections") >= 2).then_some(()));
    assert_eq!(server.ask(&post(&query, "40")).text(), "ok");
    assert!(read(&mut stream).text().starts_with("40{"));
    assert_eq!(read(&mut stream).text(), "ok\n");
    assert_eq!(read(&mut stream).text(), "ok");
    drop(stream);

    // Behind one that waits, a mouthful is kept; who sends on and on is let go, and with him the session.
    let (query, mut stream) = open_and_wait(&server);
    let chunk = [b'x'; 4096];
    let cut = (0..4096).any(|_| stream.write_all(&chunk).is_err());
    assert!(cut || matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "16 MiB behind a request that waits");
    wait_for("it to be counted", || (gauge(&server, "pipelines_cut_total") == 1).then_some(()));
    is_over(&server, &query);
    drop(stream);
    server.aftermath();
}

#[test]
fn a_second_get_ends_the_session_and_both_are_answered() {
    let scene = Scene::start(&[]);
    let (query, mut first) = open_and_wait(&scene);
    let mut second = scene.connect();
    send(&mut second, &get(&query));
    is_error(&read(&mut second), 3, "Bad request");
    assert_eq!(read(&mut first).text(), "1");
    is_over(&scene, &query);
    wait_for_sessions(&scene, 0);
    // Both connections are whole, and free for the next request.
    for mut stream in [first, second] {
        send(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(read(&mut stream).status, 200);
    }
    scene.aftermath();
}

#[test]
fn an_overlapping_or_binary_post_is_refused_and_its_socket_freed() {
    let scene = Scene::start(&[]);
    let query = open(&scene);
    let mut slow = scene.connect();
    let whole = post(&query, "4hello");
    send(&mut slow, &whole[..whole.len() - 3]);
    wait_for("the first half", || (gauge(&scene, "connections") >= 2).then_some(()));
    let mut second = scene.connect();
    send(&mut second, &post(&query, "4again"));
    is_error(&read(&mut second), 3, "Bad request");
    is_error(&read(&mut slow), 3, "Bad request");
    for stream in [&mut slow, &mut second] {
        assert!(
            matches!(stream.read(&mut [0]), Ok(0) | Err(_)),
            "what is left of a body would be read as a request"
        );
    }
    is_over(&scene, &query);

    let query = open(&scene);
    let mut stream = scene.connect();
    send(&mut stream, &request("POST", &query, &["Content-Type: application/octet-stream"], b"4hello"));
    is_error(&read(&mut stream), 3, "Bad request");
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "its body was not read: the connection ends");
    is_over(&scene, &query);
    drop((slow, second, stream));
    wait_for_sessions(&scene, 0);
    scene.aftermath();
}

#[test]
fn a_post_over_the_payload_is_413_before_its_body_is_read_and_the_session_goes_on() {
    let scene = Scene::start(&["--engine-max-payload", "1k"]);
    let query = open(&scene);
    let mut stream = scene.connect();
    // The head alone: nobody waits for a body that will not be read.
    let head = format!("POST /socket.io/?{query} HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n");
    send(&mut stream, head.as_bytes());
    assert_eq!(read(&mut stream).status, 413);
    // The same without saying how long it is.
    let mut chunked = scene.connect();
    let head = format!(
        "POST /socket.io/?{query} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n4"
    );
    send(&mut chunked, head.as_bytes());
    assert_eq!(read(&mut chunked).status, 413);
    drop((stream, chunked));

    let query = open(&scene);
    let longest = format!("420[\"join\",\"{}\"]", "x".repeat(1000 - 14));
    assert_eq!(longest.len(), 1000);
    assert_eq!(scene.ask(&post(&query, "40")).text(), "ok");
    assert_eq!(scene.ask(&post(&query, &longest)).text(), "ok");
    // A WebSocket has the same bound, and says so with its code.
    let mut peer = scene.open("/socket.io/?EIO=4&transport=websocket");
    assert!(peer.message().text().starts_with('0'));
    peer.send_text("40");
    assert!(peer.message().text().starts_with("40"));
    peer.send_text(&longest);
    assert!(peer.message().text().starts_with("430[{\"ok\":false"));
    peer.send_text(&format!("{longest} "));
    assert_eq!(peer.closed(), 1009);
    drop(peer);
    scene.aftermath();
}

#[test]
fn a_waiting_get_that_goes_away_ends_the_session_at_once() {
    let scene = Scene::start(&[]);
    let (query, stream) = open_and_wait(&scene);
    wait_for_sessions(&scene, 1);
    stream.shutdown(Shutdown::Both).expect("a socket can be shut down");
    drop(stream);
    // Its ping would only be due in some 25 s.
    wait_for_sessions(&scene, 0);
    is_over(&scene, &query);
    scene.aftermath();
}

#[test]
fn a_post_that_goes_away_in_its_midst_ends_the_session_at_once() {
    let scene = Scene::start(&[]);
    let query = open(&scene);
    let mut stream = scene.connect();
    let whole = post(&query, "4hello");
    send(&mut stream, &whole[..whole.len() - 3]);
    wait_for("the first half", || (gauge(&scene, "connections") >= 2).then_some(()));
    drop(stream);
    wait_for_sessions(&scene, 0);
    scene.aftermath();
}

#[test]
fn a_web_socket_for_a_session_that_has_upgraded_is_closed_and_the_first_goes_on() {
    let server = Scene::start(&[]);
    let query = open(&server);
    let target = format!("/socket.io/?{}", query.replace("polling", "websocket"));
    let mut first = server.open(&target);
    first.send_text("2probe");
    assert_eq!(first.message().text(), "3probe");
    first.send_text("5");
    first.settle();
    let mut second = server.open(&target);
    assert!(matches!(second.closed(), 1000 | 1005));
    is_error(&server.ask(&get(&query)), 3, "Bad request");
    first.send_text("40");
    assert!(first.message().text().starts_with("40{\"sid\""));
    assert_eq!(gauge(&server, "socketio_upgraded_total"), 1);
    first.close();
    wait_for_sessions(&server, 0);
    drop(second);
    server.aftermath();
}

#[test]
fn an_upgrade_that_goes_away_leaves_the_session_as_it_was() {
    let server = Server::start(&[]);
    let query = open(&server);
    let mut probe = server.open(&format!("/socket.io/?{}", query.replace("polling", "websocket")));
    probe.send_text("2probe");
    assert_eq!(probe.message().text(), "3probe");
    assert_eq!(server.ask(&get(&query)).text(), "6", "while it is tried no GET waits");
    probe.close();
    goes_on(&server, &query);
}

#[test]
fn only_pages_of_ours_may_ask_and_others_if_they_are_listed() {
    let foreign = ["Origin: https://a.example"];
    let preflight = ["Origin: https://a.example", "Access-Control-Request-Method: POST"];
    let closed = Scene::start(&[]);
    assert_eq!(closed.ask(&request("GET", OPEN, &foreign, b"")).status, 403);
    assert_eq!(closed.ask(&request("OPTIONS", OPEN, &preflight, b"")).status, 403);
    let own = closed.ask(&request("GET", OPEN, &["Origin: http://test"], b""));
    assert_eq!((own.status, own.header("access-control-allow-origin")), (200, None));
    wait_for_sessions(&closed, 1);
    closed.aftermath();

    let listed = Server::start(&["--origin", "https://a.example"]);
    let answer = listed.ask(&request("OPTIONS", OPEN, &preflight, b""));
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    // Whatever it writes, it reads what an operator wrote.
    for origin in ["Origin: https://a.example", "Origin: HTTPS://A.EXAMPLE"] {
        let answer = listed.ask(&request("GET", OPEN, &[origin], b""));
        assert_eq!(answer.status, 200, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    }
    // Errors can be read, too; who is not listed can read nothing.
    let wrong = listed.ask(&request("GET", "EIO=3&transport=polling", &foreign, b""));
    assert_eq!((wrong.status, wrong.header("access-control-allow-origin")), (400, Some("https://a.example")));
    assert_eq!(listed.ask(&request("GET", OPEN, &["Origin: https://b.example"], b"")).status, 403);

    let any = Server::start(&["--origin", "any"]);
    let answer = any.ask(&request("GET", OPEN, &foreign, b""));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

/// Comes into a namespace by WebSocket; what it was answered.
fn enter(server: &Server, namespace: &str) -> (Peer, String) {
    let mut peer = server.open("/socket.io/?EIO=4&transport=websocket");
    assert!(peer.message().text().starts_with("0{"));
    let connect = if namespace == "/" { "40".to_owned() } else { format!("40{namespace},") };
    peer.send_text(&connect);
    let answer = peer.message().text().to_owned();
    assert!(answer.starts_with(&connect), "{answer}");
    (peer, answer)
}

#[test]
fn what_one_is_sent_keeps_its_place_among_what_all_are_sent() {
    let server = Server::start(&[]);
    // More than are visited in one turn, so that deliveries are under way while others are asked for.
    let mut peers: Vec<Peer> = (0..300).map(|_| enter(&server, "/tutorial").0).collect();
    let event = |peer: usize, n: usize| format!("42/tutorial,{n}[\"client message\",\"{peer}-{n}\"]");
    for (number, peer) in peers.iter_mut().enumerate() {
        let both: Vec<u8> =
            (1..=3).flat_map(|n| encode(true, common::TEXT, event(number, n).as_bytes())).collect();
        peer.stream.write_all(&both).expect("the server reads");
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        let mut own = Vec::new();
        while own.len() < 6 {
            let text = peer.message().text().to_owned();
            if text.contains(&format!("\"{number}-")) || text.starts_with("43") {
                own.push(text);
            }
        }
        let wanted: Vec<String> = (1..=3)
            .flat_map(|n| {
                let said = format!("42/tutorial,[\"server message\",{{\"msg\":\"{number}-{n}\"}}]");
                [said, format!("43/tutorial,{n}[{{\"ok\":true}}]")]
            })
            .collect();
        assert_eq!(own, wanted, "to all, then the acknowledgement, as it was called");
    }
    drop(peers);

    let query = open(&server);
    assert_eq!(server.ask(&post(&query, "40/tutorial,")).text(), "ok");
    assert!(server.ask(&get(&query)).text().starts_with("40/tutorial,"));
    // What the others were told of its coming may be left over from its own.
    let body = format!("{}\u{1e}{}", event(0, 1), event(0, 2));
    assert_eq!(server.ask(&post(&query, &body)).text(), "ok");
    let mut heard = Vec::new();
    while heard.len() < 4 {
        let answer = server.ask(&get(&query)).text().to_owned();
        let own = answer.split('\u{1e}').filter(|one| one.contains("\"0-") || one.starts_with("43"));
        heard.extend(own.map(|one| one.split_once(',').expect("a namespace").1.to_owned()));
    }
    let said = |n: usize| format!("[\"server message\",{{\"msg\":\"0-{n}\"}}]");
    assert_eq!(heard, [said(1), "1[{\"ok\":true}]".to_owned(), said(2), "2[{\"ok\":true}]".to_owned()]);
}

#[test]
fn a_token_is_wanted_of_who_polls_too() {
    let server = Server::start(&["--token", "secret"]);
    assert_eq!(server.ask(&get(OPEN)).status, 401);
    assert_eq!(server.ask(&request("GET", OPEN, &["Authorization: Bearer secret"], b"")).status, 200);
    assert_eq!(server.ask(&get(&format!("{OPEN}&access_token=secret"))).status, 200);
}

#[test]
fn when_all_have_gone_everything_is_back() {
    let flags = ["--engine-ping-interval", "200ms", "--engine-ping-timeout", "200ms"];
    let scene = Scene::start(&flags);
    // Some poll and vanish, some wait, some are WebSockets that say nothing, some break the protocol.
    let queries: Vec<String> = (0..20).map(|_| open(&scene)).collect();
    for query in &queries[..10] {
        assert_eq!(scene.ask(&post(query, "40\u{1e}420[\"join\",\"room\"]")).text(), "ok");
    }
    let waiting: Vec<TcpStream> = queries[10..]
        .iter()
        .map(|query| {
            let mut stream = scene.connect();
            send(&mut stream, &get(query));
            stream
        })
        .collect();
    let mut peers: Vec<Peer> = (0..10).map(|_| scene.open("/socket.io/?EIO=4&transport=websocket")).collect();
    for peer in &mut peers[..5] {
        assert!(peer.message().text().starts_with('0'));
        peer.send_text("40");
    }
    for peer in &mut peers[5..] {
        let _ = peer.stream.write_all(&encode(true, common::TEXT, b"4nonsense"));
    }
    wait_for_sessions(&scene, 0);
    assert_eq!(gauge(&scene, "socketio_opened_total"), 30);
    assert_eq!(gauge(&scene, "socketio_polled_total"), 20);
    assert_eq!(gauge(&scene, "socketio_faults_total"), 5);
    drop((waiting, peers));
    wait_for("no topic", || (gauge(&scene, "topics") == 0).then_some(()));
    scene.aftermath();
}
