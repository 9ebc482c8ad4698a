//! HTTP for publishers, over real sockets: batches, ids, the list of channels, the token, and what is wrong told in JSON.
//!
//! What a publisher is told and what subscribers hear are compared with each other, never with the inside of the server.
//!
//! Invariant: an error is asserted with its status, its fields and that its body is `{"error":"…"}`.

mod common;

use common::{Peer, Response, Server, run_to_end, wait_for};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;

const SECRET: &str = "correct-horse-battery-staple";

fn said(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/json"), "{response:?}");
    serde_json::from_slice(&response.body).unwrap_or_else(|why| panic!("{why}: {response:?}"))
}

fn request(method: &str, target: &str, lines: &str, body: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n{lines}\r\n{body}", body.len())
        .into_bytes()
}

fn batch(server: &Server, target: &str, body: &str) -> Response {
    server.ask(&request("POST", target, "Content-Type: application/x-ndjson\r\n", body))
}

fn counter(server: &Server, name: &str) -> u64 {
    let metrics = server.get("/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(&format!("stentor_{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

/// What is wrong: the status, and what the reason says.
fn refused(response: &Response, status: u16, says: &str) {
    assert_eq!(response.status, status, "{response:?}");
    let reason = said(response);
    let error = reason["error"].as_str().unwrap_or_else(|| panic!("{reason}"));
    assert!(error.contains(says), "{error:?} does not say {says:?}");
    assert_eq!(reason.as_object().expect("an object").len(), 1);
}

fn texts(peer: &mut Peer, count: usize) -> Vec<String> {
    (0..count).map(|_| peer.message().text().to_owned()).collect()
}

#[test]
fn a_batch_goes_to_the_channels_that_its_lines_name() {
    let server = Server::start(&[]);
    let (mut sea, mut sky) = (server.open("/broadcast/sea"), server.open("/broadcast/sky"));
    sea.settle();
    sky.settle();
    let body = "{\"data\":\"one\"}\n{\"channel\":\"sky\",\"data\":{\"a\": [1, true]}}\r\n\n{\"data\":null}\n";
    let answer = batch(&server, "/publish/sea", body);
    assert_eq!(answer.status, 200);
    assert_eq!(said(&answer), json!({ "published": 3, "duplicates": 0, "subscribers": 2 }));
    assert_eq!(texts(&mut sea, 2), ["one", "null"]);
    assert_eq!(texts(&mut sky, 1), ["{\"a\":[1,true]}"]);
    let answer = batch(&server, "/publish", "{\"channel\":\"sky\",\"data\":\"no channel in the path\"}");
    assert_eq!(said(&answer), json!({ "published": 1, "duplicates": 0, "subscribers": 1 }));
    assert_eq!(texts(&mut sky, 1), ["no channel in the path"]);
    assert!(sea.settle().is_empty() && sky.settle().is_empty());
}

#[test]
fn what_was_published_is_not_published_again() {
    let server = Server::start(&[]);
    let mut sea = server.open("/broadcast/sea");
    sea.settle();
    let body =
        "{\"data\":\"one\",\"id\":\"1\"}\n{\"data\":\"two\",\"id\":\"2\"}\n{\"data\":\"one\",\"id\":\"1\"}";
    assert_eq!(
        said(&batch(&server, "/publish/sea", body)),
        json!({ "published": 2, "duplicates": 1, "subscribers": 1 })
    );
    // The answer was lost, and the publisher tries again with one more.
    let again =
        "{\"data\":\"one\",\"id\":\"1\"}\n{\"data\":\"two\",\"id\":\"2\"}\n{\"data\":\"three\",\"id\":\"3\"}";
    assert_eq!(
        said(&batch(&server, "/publish/sea", again)),
        json!({ "published": 1, "duplicates": 2, "subscribers": 1 })
    );
    // The same id in another channel is another message, and without an id nothing is compared.
    let other = "{\"channel\":\"sky\",\"data\":\"one\",\"id\":\"1\"}\n{\"data\":\"one\"}\n{\"data\":\"one\"}";
    assert_eq!(said(&batch(&server, "/publish/sea", other))["published"], 3);
    assert_eq!(texts(&mut sea, 5), ["one", "two", "three", "one", "one"]);
    assert!(sea.settle().is_empty());
    assert_eq!(counter(&server, "publish_duplicates_total"), 3);
}

#[test]
fn of_a_batch_with_a_wrong_line_nothing_is_published() {
    let server = Server::start(&["--message-max", "1ki"]);
    let mut sea = server.open("/broadcast/sea");
    sea.settle();
    let good = "{\"data\":\"good\",\"id\":\"g\"}\n";
    let long = format!("{{\"data\":\"{}\"}}", "x".repeat(1025));
    for (line, status, says) in [
        ("{\"data\":\"bad\"", 400, "line 2: not JSON"),
        ("[1]", 400, "line 2: not an object"),
        ("{\"id\":\"x\"}", 400, "line 2: no `data`"),
        ("{\"channel\":7,\"data\":1}", 400, "`channel` is a string"),
        ("{\"channel\":\"\",\"data\":1}", 400, "no channel can be called so"),
        ("{\"channel\":\"a\\u0000b\",\"data\":1}", 400, "no channel can be called so"),
        ("{\"data\":1,\"extra\":2}", 400, "nothing else"),
        (&long, 413, "line 2: a message has at most 1024 bytes"),
        (&"{\"data\":1}\n".repeat(1000), 413, "at most 1000 lines"),
    ] {
        refused(&batch(&server, "/publish/sea", &format!("{good}{line}")), status, says);
    }
    refused(&batch(&server, "/publish/sea", ""), 400, "no message");
    refused(&batch(&server, "/publish", good), 400, "no `channel`");
    let oversized = request(
        "POST",
        "/publish/sea",
        "Content-Type: application/x-ndjson\r\n",
        &"\n".repeat((1 << 20) + 1),
    );
    refused(&server.ask(&oversized), 413, "body is too large");
    assert!(sea.settle().is_empty(), "nothing of all that was heard");
    // And the id of what was not published is not taken.
    assert_eq!(said(&batch(&server, "/publish/sea", good))["published"], 1);
    assert_eq!(texts(&mut sea, 1), ["good"]);
}

#[test]
fn what_is_wrong_is_told_in_json() {
    let server = Server::start(&["--message-max", "1ki"]);
    let ask = |method: &str, target: &str, lines: &str| server.ask(&request(method, target, lines, "x"));
    for (method, target, allow) in [
        ("PUT", "/publish/sea", "POST"),
        ("DELETE", "/publish", "POST"),
        ("OPTIONS", "/channels", "GET, HEAD"),
        ("PATCH", "/channels/sea", "GET, HEAD"),
        ("POST", "/channels", "GET, HEAD"),
        ("POST", "/channels/sea", "GET, HEAD"),
        ("GET", "/publish", "POST"),
    ] {
        let response = ask(method, target, "");
        refused(&response, 405, &format!("allowed: {allow}"));
        assert_eq!(response.header("allow"), Some(allow));
    }
    refused(&ask("POST", "/publish/%zz", ""), 400, "malformed path");
    refused(&ask("POST", "/publish/", ""), 400, "malformed path");
    refused(&ask("POST", "/publish/a/b", ""), 404, "nothing is served");
    refused(&ask("POST", "/publish", ""), 415, "application/x-ndjson");
    refused(&ask("POST", "/publish/sea", "Content-Encoding: gzip\r\n"), 415, "Content-Encoding");
    refused(
        &ask("POST", "/publish/sea", "Content-Type: text/plain\r\nOrigin: http://evil\r\n"),
        403,
        "origin",
    );
    refused(&server.ask(b"POST /publish/sea HTTP/1.1\r\nHost: test\r\n\r\n"), 411, "no Content-Length");
    refused(&server.publish("sea", "text/plain", &[b'x'; 1025]), 413, "too large");
    refused(&server.publish("sea", "text/plain", b"\xff"), 400, "UTF-8");
    refused(&server.get("/channels/nobody"), 404, "nobody is in this channel");
    refused(&server.get("/channels?limit=0"), 400, "limit is from 1 to 1000");
    refused(&server.get("/channels?limit=1001"), 400, "limit is from 1 to 1000");
    let chunk = b"POST /publish/sea HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    refused(&server.ask(chunk), 400, "malformed chunk");
    // What is wrong with a page is told in words for people, on the same connection too.
    let mut stream = server.connect();
    stream
        .write_all(b"GET /channels HTTP/1.1\r\nHost: test\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("it reads");
    assert_eq!(Response::read(&mut stream, false).status, 200);
    assert_eq!(Response::read(&mut stream, false).header("content-type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn channels_are_listed_by_name_and_page_by_page() {
    let server = Server::start(&[]);
    let list = |query: &str| said(&server.get(&format!("/channels{query}")));
    assert_eq!(list(""), json!({ "channels": [] }));
    let mut peers: Vec<Peer> = ["b", "a", "a", "ä \"1\""]
        .iter()
        .map(|name| server.open(&format!("/broadcast/{}", escaped(name))))
        .collect();
    let mut others = [server.open("/chat/room"), server.open("/tick/1")];
    peers.iter_mut().chain(&mut others).for_each(|peer| _ = peer.settle());
    server.publish("c", "text/plain", b"kept, and nobody is there");
    let all = json!([
        { "channel": "a", "subscribers": 2 },
        { "channel": "b", "subscribers": 1 },
        { "channel": "c", "subscribers": 0 },
        { "channel": "ä \"1\"", "subscribers": 1 },
    ]);
    assert_eq!(list(""), json!({ "channels": all }));
    let (mut paged, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = list(&query);
        let channels = page["channels"].as_array().expect("a list");
        assert_eq!(channels.len(), 1);
        paged.extend(channels.iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=1&after={}", escaped(next));
    }
    assert_eq!(Value::Array(paged), all);
    assert_eq!(list("?after=b&limit=1000"), json!({ "channels": all.as_array().expect("a list")[2..] }));
    let head = server.ask(b"HEAD /channels HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn a_channel_says_who_is_there_and_how_far_it_has_come() {
    let server = Server::start(&["--history", "2"]);
    let about = || said(&server.get("/channels/sea"));
    let mut peer = server.open("/broadcast/sea");
    peer.settle();
    let first = about();
    assert_eq!(
        first,
        json!({ "channel": "sea", "subscribers": 1, "epoch": first["epoch"], "offset": 0, "kept": 0 })
    );
    let epoch = first["epoch"].as_str().expect("a string");
    for offset in 1..=3 {
        let answer = said(&server.publish("sea", "text/plain", b"x"));
        assert_eq!(answer, json!({ "channel": "sea", "subscribers": 1, "epoch": epoch, "offset": offset }));
    }
    peer.send_text("by WebSocket");
    batch(&server, "/publish/sea", "{\"data\":1}\n{\"data\":2}");
    texts(&mut peer, 6);
    let last = json!({ "channel": "sea", "subscribers": 1, "epoch": epoch, "offset": 6, "kept": 2 });
    assert_eq!(about(), last);
    peer.close();
    let deserted = wait_for("the last subscriber to be gone", || {
        let about = about();
        (about["subscribers"] == 0).then_some(about)
    });
    assert_eq!(
        (&deserted["epoch"], &deserted["offset"], &deserted["kept"]),
        (&epoch.into(), &6.into(), &2.into())
    );
}

#[test]
fn publishers_have_a_token_of_their_own() {
    let server = Server::start(&["--publish-token", SECRET]);
    let with = |token: &str, method: &str, target: &str| {
        server.ask(&request(method, target, &format!("Authorization: Bearer {token}\r\n"), "x"))
    };
    for response in
        [server.publish("sea", "text/plain", b"x"), server.get("/channels"), server.get("/channels/sea")]
    {
        refused(&response, 401, "a token is wanted");
        assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"stentor\""));
    }
    let wrong = with("correct-horse-battery-stapl", "POST", "/publish/sea");
    refused(&wrong, 401, "not valid");
    assert_eq!(wrong.header("www-authenticate"), Some("Bearer realm=\"stentor\", error=\"invalid_token\""));
    assert_eq!(with(SECRET, "POST", "/publish/sea").status, 200);
    assert_eq!(with(SECRET, "GET", "/channels").status, 200);
    assert_eq!(with(SECRET, "GET", "/channels/sea").status, 200);
    // Subscribers need none.
    server.open("/broadcast/sea").close();
    // It takes the place of the token of subscribers, and does not open their door.
    let both = Server::start(&["--publish-token", SECRET, "--token", "another-token-of-some-length"]);
    let with = |token: &str, method: &str, target: &str| {
        both.ask(&request(method, target, &format!("Authorization: Bearer {token}\r\n"), "x")).status
    };
    assert_eq!(with(SECRET, "POST", "/publish/sea"), 200);
    assert_eq!(with("another-token-of-some-length", "POST", "/publish/sea"), 401);
    assert_eq!(with(SECRET, "GET", "/stats"), 401);
    let (status, stdout, _) = run_to_end(&["--check", "--publish-token", SECRET]);
    assert!(status.success() && stdout.contains("--publish-token (hidden)\n") && !stdout.contains(SECRET));
}

#[test]
fn the_network_publishes_only_with_a_token() {
    // Every address: the tests reach it over loopback, and others could over theirs.
    let start = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stentor"));
        command.args(["--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"]).args(more);
        Server::run(command)
    };
    let server = start(&[]);
    wait_for("it to say so at its start", || server.log().contains("--publish-token").then_some(()));
    let mut sea = server.open("/broadcast/sea");
    for response in [server.publish("sea", "text/plain", b"x"), server.get("/channels")] {
        refused(&response, 401, "--publish-token");
        assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"stentor\""));
    }
    assert!(sea.settle().is_empty());
    let server = start(&["--publish-token", SECRET]);
    let bearer = format!("Authorization: Bearer {SECRET}\r\n");
    assert_eq!(server.ask(&request("POST", "/publish/sea", &bearer, "x")).status, 200);
    assert!(!server.log().contains("publishing is refused"), "{}", server.log());
}

#[test]
fn who_publishes_while_too_much_waits_is_asked_to_come_again() {
    let server = Server::start(&["--message-max", "8mi", "--ping-interval", "0"]);
    let mut sea = server.open("/broadcast/sea?role=listen");
    sea.settle();
    let large = "x".repeat(5 << 20);
    let response = wait_for("a publication to meet one that waits", || {
        // Both arrive while the server is stopped, so it finds both in one turn: the first fills what may wait.
        let (mut first, second): (TcpStream, TcpStream) = (server.connect(), server.connect());
        let whole = request("POST", "/publish/sea", "Content-Type: text/plain\r\n", &large);
        let (most, last) = whole.split_at(whole.len() - 1);
        let before = counter(&server, "bytes_in_total");
        first.write_all(most).expect("the server reads");
        wait_for("the body to have been read", || {
            (counter(&server, "bytes_in_total") > before + (5 << 20)).then_some(())
        });
        std::thread::scope(|scope| {
            server.signal("STOP");
            first.write_all(last).expect("the system takes it");
            (&second).write_all(&request("POST", "/publish/sea", "", "small")).expect("the system takes it");
            server.signal("CONT");
            // Somebody reads what is delivered, whatever it is.
            let reader = scope.spawn(|| Response::read(&mut first, false));
            let response = Response::read(&mut &second, false);
            reader.join().expect("an answer");
            let heard = if response.status == 200 { 2 } else { 1 };
            (0..heard).for_each(|_| _ = sea.message());
            (response.status == 429).then_some(response)
        })
    });
    refused(&response, 429, "too much waits");
    assert_eq!(response.header("retry-after"), Some("1"));
}
