//! Histories over real sockets: who comes back gets exactly what it missed, or is told that this cannot be done.
//!
//! A peer knows its place as an epoch and an offset: from a welcome (`stentor.v1`), from `GET /channels/NAME` or from the answer to a
//! publication. All three must agree.
//!
//! Invariant: the whole of what a peer hears is compared, in order; what must not come is looked for with a ping.

mod common;

use common::{BINARY, GOOD, Peer, Server, TEXT, encode, upgrade_with, wait_for};
use serde_json::{Value, json};
use std::io::Write;

const V1: &str = "Sec-WebSocket-Protocol: stentor.v1";

fn about(server: &Server, channel: &str) -> Value {
    serde_json::from_slice(&server.get(&format!("/channels/{channel}")).body).expect("JSON")
}

fn publish(server: &Server, channel: &str, text: &str) -> Value {
    let answer = server.publish(channel, "text/plain", text.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Opens `target` as one that speaks `stentor.v1`, and hands out its welcome.
fn open_v1(server: &Server, target: &str) -> (Peer, Value) {
    let lines = [GOOD[0], GOOD[1], GOOD[2], GOOD[3], V1];
    let (mut peer, response) = Peer::open_with(server.connect(), &upgrade_with(target, &lines));
    assert_eq!(response.header("sec-websocket-protocol"), Some("stentor.v1"));
    let welcome = next(&mut peer);
    assert_eq!(welcome["type"], "welcome");
    (peer, welcome)
}

fn next(peer: &mut Peer) -> Value {
    serde_json::from_str(peer.message().text()).expect("JSON")
}

/// The next that is no notice of others coming and going.
fn next_message(peer: &mut Peer) -> Value {
    loop {
        let said = next(peer);
        if said["type"] != "join" && said["type"] != "leave" {
            return said;
        }
    }
}

fn texts(peer: &mut Peer, count: usize) -> Vec<String> {
    (0..count).map(|_| peer.message().text().to_owned()).collect()
}

/// What a v1 peer hears up to its pong, notices left out.
fn settled(peer: &mut Peer) -> Vec<Value> {
    let heard =
        peer.settle().into_iter().map(|frame| serde_json::from_str::<Value>(frame.text()).expect("JSON"));
    heard.filter(|said| said["type"] != "join" && said["type"] != "leave").collect()
}

#[test]
fn who_comes_back_gets_what_it_missed_as_plain_messages() {
    let server = Server::start(&[]);
    let mut first = server.open("/broadcast/sea");
    first.settle();
    (1..=3).for_each(|n| _ = publish(&server, "sea", &format!("{n}")));
    assert_eq!(texts(&mut first, 3), ["1", "2", "3"]);
    let at = about(&server, "sea");
    let since = format!("{}:{}", at["epoch"].as_str().expect("a string"), at["offset"]);
    first.close();
    // Nobody is there, and it is remembered all the same.
    server.publish("sea", "application/octet-stream", b"\x00\xff");
    (5..=6).for_each(|n| assert_eq!(publish(&server, "sea", &format!("{n}"))["offset"], n));
    let mut back = server.open(&format!("/broadcast/sea?since={since}"));
    publish(&server, "sea", "7");
    assert_eq!(back.message().payload, b"\x00\xff");
    assert_eq!(texts(&mut back, 3), ["5", "6", "7"]);
    assert!(back.settle().is_empty());
    // Another that missed nothing hears nothing.
    let at = about(&server, "sea");
    let mut current = server.open(&format!(
        "/broadcast/sea?since={}:{}",
        at["epoch"].as_str().expect("a string"),
        at["offset"]
    ));
    assert!(current.settle().is_empty());
    // And who does not ask hears nothing old.
    assert!(server.open("/broadcast/sea").settle().is_empty());
}

#[test]
fn who_cannot_be_given_what_it_missed_is_told_so() {
    let server = Server::start(&["--history", "3"]);
    (1..=5).for_each(|n| _ = publish(&server, "sea", &format!("{n}")));
    let at = about(&server, "sea");
    assert_eq!((&at["offset"], &at["kept"]), (&5.into(), &3.into()));
    let epoch = at["epoch"].as_str().expect("a string");
    let reset = json!({ "type": "reset", "epoch": epoch, "offset": 5 });
    let zeros = "0".repeat(16);
    for since in [
        format!("{epoch}:1"),
        format!("{epoch}:0"),
        format!("{epoch}:6"),
        format!("{zeros}:5"),
        "x:5".to_owned(),
    ] {
        let mut plain = server.open(&format!("/broadcast/sea?since={since}"));
        assert_eq!(next(&mut plain), reset, "{since}");
        assert!(plain.settle().is_empty());
        let (mut framed, welcome) = open_v1(&server, &format!("/broadcast/sea?since={since}"));
        assert_eq!(welcome["offset"], 5);
        assert_eq!(next_message(&mut framed), reset, "{since}");
        // It goes on from there.
        let said = publish(&server, "other", "elsewhere");
        assert_eq!(said["subscribers"], 0);
        assert!(settled(&mut framed).is_empty());
    }
    let mut oldest = server.open(&format!("/broadcast/sea?since={epoch}:2"));
    assert_eq!(texts(&mut oldest, 3), ["3", "4", "5"]);
    for wrong in ["", "5", ":5", "x:", "x:-1", "x:+1", "x:99999999999999999999", "x%20y:1"] {
        let response = server.ask(&upgrade_with(&format!("/broadcast/sea?since={wrong}"), &GOOD));
        assert_eq!(response.status, 400, "{wrong}");
        assert!(response.text().contains("EPOCH:OFFSET"), "{}", response.text());
    }
    // A server that has begun anew, and one that keeps nothing.
    let again = Server::start(&["--history", "0"]);
    let mut back = again.open(&format!("/broadcast/sea?since={epoch}:5"));
    assert_eq!(next(&mut back)["type"], "reset");
    assert_eq!(again.get("/channels/none").status, 404);
    publish(&again, "none", "x");
    assert_eq!(again.get("/channels/none").status, 404, "nothing is kept");
}

#[test]
fn stentor_v1_frames_messages_with_their_offsets() {
    let server = Server::start(&[]);
    let (mut framed, welcome) = open_v1(&server, "/broadcast/a%20%22b%22");
    let epoch = welcome["epoch"].as_str().expect("a string");
    assert_eq!(welcome, json!({ "type": "welcome", "channel": "a \"b\"", "epoch": epoch, "offset": 0 }));
    let mut plain = server.open("/broadcast/a%20%22b%22");
    assert_eq!(
        next(&mut framed),
        json!({ "type": "join", "channel": "a \"b\"", "count": 1, "subscribers": 2 })
    );
    plain.send_text("say \"hi\"\n\u{1f4a9}");
    plain.send(BINARY, b"\x00\xff");
    framed.send_text("what it says is published as it is");
    let answer = publish(&server, "a%20%22b%22", "posted");
    // Two publishers: whose messages come first is not promised, that offsets ascend is.
    let heard: Vec<Value> = (0..4).map(|_| next(&mut framed)).collect();
    let offsets: Vec<u64> = heard.iter().map(|said| said["offset"].as_u64().expect("a number")).collect();
    assert_eq!(offsets, [1, 2, 3, 4]);
    assert!(heard.iter().all(|said| said["type"] == "message" && said["channel"] == "a \"b\""));
    let data: Vec<&Value> =
        heard.iter().filter(|said| said.get("base64").is_none()).map(|said| &said["data"]).collect();
    assert!(
        data.contains(&&json!("say \"hi\"\n\u{1f4a9}"))
            && data.contains(&&json!("what it says is published as it is"))
    );
    assert_eq!(heard.iter().filter(|said| said["base64"] == "AP8=").count(), 1);
    let posted = heard.iter().find(|said| said["data"] == "posted").expect("it was heard");
    assert_eq!((&answer["offset"], &answer["epoch"]), (&posted["offset"], &welcome["epoch"]));
    assert_eq!(about(&server, "a%20%22b%22")["offset"], 4);
    // The plain peer hears the same, as it was said.
    let mut said: Vec<Vec<u8>> = (0..4).map(|_| plain.message().payload).collect();
    said.sort();
    let mut expected: Vec<Vec<u8>> = vec![
        b"\x00\xff".to_vec(),
        b"posted".to_vec(),
        "say \"hi\"\n\u{1f4a9}".as_bytes().to_vec(),
        b"what it says is published as it is".to_vec(),
    ];
    expected.sort();
    assert_eq!(said, expected);
    plain.close();
    assert_eq!(
        next(&mut framed),
        json!({ "type": "leave", "channel": "a \"b\"", "count": 1, "subscribers": 1 })
    );
    // Nowhere else is it spoken, and with compression it is not compressed.
    let lines = [GOOD[0], GOOD[1], GOOD[2], GOOD[3], V1];
    let (_, response) = Peer::open_with(server.connect(), &upgrade_with("/echo", &lines));
    assert_eq!(response.header("sec-websocket-protocol"), None);
}

#[test]
fn who_speaks_stentor_v1_gets_what_it_missed_right_behind_the_welcome() {
    let server = Server::start(&["--deflate", "shared", "--deflate-min", "1"]);
    let (mut peer, welcome) = open_v1(&server, "/broadcast/sea");
    (1..=4).for_each(|n| _ = publish(&server, "sea", &format!("{n}")));
    let mut last = 0;
    for _ in 0..2 {
        last = next_message(&mut peer)["offset"].as_u64().expect("a number");
    }
    // Its network is gone: it has read two of four.
    drop(peer);
    (5..=60).for_each(|n| _ = publish(&server, "sea", &format!("{n}")));
    let epoch = welcome["epoch"].as_str().expect("a string");
    for _ in 0..3 {
        let (mut back, welcome) = open_v1(&server, &format!("/broadcast/sea?since={epoch}:{last}"));
        assert_eq!((&welcome["epoch"], &welcome["offset"]), (&epoch.into(), &60.into()));
        for offset in last + 1..=60 {
            let message =
                json!({ "type": "message", "channel": "sea", "offset": offset, "data": format!("{offset}") });
            assert_eq!(next_message(&mut back), message);
        }
        assert!(settled(&mut back).is_empty());
    }
}

#[test]
fn while_others_publish_nothing_is_missed_and_nothing_comes_twice() {
    const EACH: u64 = 400;
    let server = Server::start(&["--history", "100000", "--ping-interval", "0"]);
    let epoch = {
        let (peer, welcome) = open_v1(&server, "/broadcast/sea");
        peer.close();
        welcome["epoch"].as_str().expect("a string").to_owned()
    };
    std::thread::scope(|scope| {
        for who in 0..2 {
            let server = &server;
            scope.spawn(move || {
                let mut peer = server.open("/broadcast/sea?self=0");
                let mut reader = Peer { stream: peer.stream.try_clone().expect("it can be") };
                let reading = std::thread::spawn(move || while reader.try_read().is_some() {});
                for n in 0..EACH {
                    peer.stream
                        .write_all(&encode(true, TEXT, format!("{who} {n}").as_bytes()))
                        .expect("it reads");
                    if n % 7 == 0 {
                        std::thread::yield_now();
                    }
                }
                peer.send_close(1000, "");
                reading.join().expect("it ends");
            });
        }
        // One that comes and goes all the while, each time from where it was.
        let mut offset = 0;
        let mut turn = 0_u64;
        while offset < 2 * EACH {
            turn += 1;
            let (mut peer, welcome) = open_v1(&server, &format!("/broadcast/sea?since={epoch}:{offset}"));
            assert_eq!(welcome["epoch"], epoch.as_str());
            let until = (offset + 1 + turn % 23).min(2 * EACH);
            while offset < until {
                let said = next_message(&mut peer);
                assert_eq!((&said["type"], &said["offset"]), (&"message".into(), &(offset + 1).into()));
                offset += 1;
            }
        }
    });
    assert_eq!(about(&server, "sea")["offset"], 2 * EACH);
    // And one that has missed it all: every message of each, in order.
    let (mut late, _) = open_v1(&server, &format!("/broadcast/sea?since={epoch}:0"));
    let mut next_of = [0, 0];
    for offset in 1..=2 * EACH {
        let said = next_message(&mut late);
        assert_eq!(said["offset"], offset);
        let (who, n) = said["data"].as_str().expect("text").split_once(' ').expect("two words");
        let who: usize = who.parse().expect("a number");
        assert_eq!(n.parse(), Ok(next_of[who]));
        next_of[who] += 1;
    }
}

#[test]
fn many_who_come_are_told_in_few_notices() {
    let server = Server::start(&[]);
    let (mut watcher, _) = open_v1(&server, "/broadcast/sea");
    let crowd: Vec<Peer> = (0..100).map(|_| server.open("/broadcast/sea")).collect();
    let (mut joined, mut notices) = (0, 0);
    while joined < 100 {
        let said = next(&mut watcher);
        assert_eq!(said["type"], "join");
        joined += said["count"].as_u64().expect("a number");
        notices += 1;
        if joined == 100 {
            assert_eq!(said["subscribers"], 101);
        }
    }
    assert!(notices <= 60, "a hundred who come at once are not a hundred notices: {notices}");
    drop(crowd);
    let mut left = 0;
    while left < 100 {
        let said = next(&mut watcher);
        assert_eq!(said["type"], "leave");
        left += said["count"].as_u64().expect("a number");
    }
    assert_eq!(left, 100);
}

#[test]
fn what_histories_hold_is_bounded() {
    let counter = |server: &Server, name: &str| -> u64 {
        let metrics = server.get("/metrics");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(&format!("stentor_{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
    };
    let server = Server::start(&["--history", "1000", "--history-memory", "2mi", "--message-max", "4mi"]);
    let large = "x".repeat(60_000);
    // A channel holds a megabyte: of thirty messages of 60 kB about seventeen.
    let mut peer = server.open("/broadcast/first");
    for n in 1..=30 {
        assert_eq!(publish(&server, "first", &large)["offset"], n);
        peer.message();
    }
    let first = about(&server, "first");
    let kept = first["kept"].as_u64().expect("a number");
    assert!((8..=17).contains(&kept), "{first}");
    assert_eq!(counter(&server, "history_over_channel_total"), 30 - kept);
    // All together hold two: the least recently published gives way, and its people keep their place.
    for channel in ["second", "third", "fourth"] {
        (0..15).for_each(|_| _ = publish(&server, channel, &large));
    }
    assert!(counter(&server, "history_bytes") <= 2 << 20);
    assert!(counter(&server, "history_over_memory_total") >= kept);
    let now = about(&server, "first");
    assert_eq!((&now["epoch"], &now["offset"], &now["kept"]), (&first["epoch"], &30.into(), &0.into()));
    assert_eq!(server.get("/channels/second").status, 404, "nobody is there, and it is forgotten whole");
    assert!(about(&server, "fourth")["kept"].as_u64() > Some(8));
    // One that does not fit is delivered and not kept.
    let huge = "x".repeat(3 << 20);
    assert_eq!(publish(&server, "first", &huge)["offset"], 31);
    assert_eq!(peer.message().payload.len(), huge.len());
    wait_for("it to be let go of", || (about(&server, "first")["kept"] == 0).then_some(()));
    // Channels themselves weigh something, too.
    (0..200).for_each(|n| _ = publish(&server, &format!("{}{n}", "long".repeat(30)), "x"));
    assert!(counter(&server, "history_bytes") <= 2 << 20);
}

#[test]
fn a_reader_that_is_slow_to_take_what_it_missed_gets_all_of_it_and_what_follows() {
    let server = Server::start(&["--history", "1000", "--queue-max", "64ki", "--ping-interval", "0"]);
    let large = "x".repeat(50_000);
    let mut first = server.open("/broadcast/sea");
    for _ in 0..16 {
        publish(&server, "sea", &large);
        first.message();
    }
    let at = about(&server, "sea");
    let target = format!("/broadcast/sea?since={}:0", at["epoch"].as_str().expect("a string"));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("it can be small");
    socket.connect(&server.address().into()).expect("the server accepts");
    let stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout can be set");
    let mut slow = Peer::open(stream, &target);
    // Much more waits for it than a queue of publications may hold, and what is published now comes behind it.
    (0..3).for_each(|n| _ = publish(&server, "sea", &format!("new {n}")));
    for _ in 0..16 {
        assert_eq!(slow.message().payload.len(), large.len());
    }
    assert_eq!(texts(&mut slow, 3), ["new 0", "new 1", "new 2"]);
}

#[test]
fn each_worker_has_epochs_of_its_own() {
    let server = Server::start(&["--workers", "2"]);
    let mut epochs = std::collections::BTreeMap::new();
    let mut peers = Vec::new();
    wait_for("a peer on each worker", || {
        let (peer, welcome) = open_v1(&server, "/broadcast/sea");
        peers.push(peer);
        *epochs.entry(welcome["epoch"].as_str().expect("a string").to_owned()).or_insert(0) += 1;
        (epochs.len() == 2).then_some(())
    });
    let heard = publish(&server, "sea", "to all");
    assert!(heard["subscribers"].as_u64() >= Some(1));
    for peer in &mut peers {
        let said = next_message(peer);
        assert_eq!((&said["data"], &said["offset"]), (&"to all".into(), &1.into()));
    }
    // Who comes back is served from where it was, or told to begin anew: by lot, whichever worker it reaches.
    let epoch = epochs.keys().next().expect("two").clone();
    let mut seen = std::collections::BTreeSet::new();
    wait_for("both answers", || {
        let (mut back, _) = open_v1(&server, &format!("/broadcast/sea?since={epoch}:0"));
        let said = next_message(&mut back);
        seen.insert(said["type"].as_str().expect("a string").to_owned());
        (seen.len() == 2).then_some(())
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["message", "reset"]);
}

#[test]
fn who_speaks_stentor_v1_and_reads_too_slowly_is_told_what_it_missed_and_can_have_it() {
    let count = 1000;
    let flags = ["--history", "2000", "--queue-max", "64ki", "--send-buffer", "16ki", "--ping-interval", "0"];
    let server = Server::start(&flags);
    let lines = [GOOD[0], GOOD[1], GOOD[2], GOOD[3], V1];
    let (mut slow, _) = Peer::open_with(server.narrow(), &upgrade_with("/broadcast/sea", &lines));
    let welcome = next(&mut slow);
    // Together far more than the system and a queue hold for somebody who does not read, and less than a history.
    let batch: String = (1..=count).map(|n| format!("{{\"data\":\"{n:0>700}\"}}\n")).collect();
    let answer = server.publish("sea", "application/x-ndjson", batch.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    wait_for("all to be sent or left out", || {
        let stats: Value = serde_json::from_slice(&server.get("/stats").body).expect("JSON");
        (stats["dropped_total"].as_u64() > Some(0) && stats["owed_total"].as_u64() == Some(count))
            .then_some(())
    });
    let (mut heard, mut missed) = (Vec::new(), 0);
    while heard.len() as u64 + missed < count {
        let said = next_message(&mut slow);
        match said["type"].as_str() {
            Some("gap") => missed += said["missed"].as_u64().expect("a number"),
            Some("message") => heard.push(said["offset"].as_u64().expect("a number")),
            _ => panic!("{said}"),
        }
    }
    assert!(missed > 0 && heard.is_sorted_by(|a, b| a < b), "{missed} {heard:?}");
    // Offsets tell where: what is missing between them is what the notices have counted.
    publish(&server, "sea", "and on");
    let onwards = next_message(&mut slow);
    assert_eq!((&onwards["offset"], &onwards["data"]), (&(count + 1).into(), &"and on".into()));
    heard.push(count + 1);
    let hole = heard.windows(2).find(|pair| pair[0] + 1 < pair[1]).expect("something was left out");
    assert_eq!(heard.windows(2).map(|pair| pair[1] - pair[0] - 1).sum::<u64>(), missed, "{heard:?}");
    let epoch = welcome["epoch"].as_str().expect("a string");
    let (mut back, _) = open_v1(&server, &format!("/broadcast/sea?since={epoch}:{}", hole[0]));
    for offset in hole[0] + 1..=count + 1 {
        assert_eq!(next_message(&mut back)["offset"], offset);
    }
}
