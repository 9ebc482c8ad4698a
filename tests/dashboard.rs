//! What whoever looks at `/dashboard` is sent, over a real socket.
//!
//! Invariant: nothing here waits for a time to pass, but for what should be shown.

mod common;

use common::aftermath::Scene;
use common::{GOOD, Peer, Response, Server, upgrade_with, wait_for};
use serde_json::Value;
use std::io::Write;

/// The next numbers that a watcher is sent.
fn shown(watcher: &mut Peer) -> Value {
    serde_json::from_str(watcher.message().text()).expect("JSON")
}

/// The first numbers of which `holds` is true.
fn shown_until(watcher: &mut Peer, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || Some(shown(watcher)).filter(|numbers| holds(numbers)))
}

/// The answer to a handshake without anything that could be shown at a door.
fn ask_to_look(server: &Server) -> Response {
    let mut stream = server.connect();
    stream.write_all(&upgrade_with("/dashboard", &GOOD)).expect("the server reads");
    Response::read(&mut stream, false)
}

fn stats(server: &Server) -> Value {
    serde_json::from_slice(&server.get("/stats").body).expect("JSON")
}

#[test]
fn the_dashboard_shows_what_stats_says_and_is_not_part_of_it() {
    let server = Server::start(&[]);
    let mut watcher = server.open("/dashboard");
    let first = shown(&mut watcher);
    assert_eq!(first["here"]["connections"], 1);
    assert_eq!(first["here"]["turn_ns"], serde_json::json!({ "count": 0 }), "of no interval yet");

    let mut peers: Vec<Peer> = (0..3).map(|_| server.open("/broadcast")).collect();
    peers[0].send_text("hello");
    peers.iter_mut().for_each(|peer| assert_eq!(peer.message().text(), "hello"));
    let fresh =
        shown_until(&mut watcher, "the fan-out", |numbers| numbers["here"]["fanout_last_ns"]["count"] == 1);
    assert_eq!(fresh["here"]["deliveries_total"], 3, "what the watcher is sent is no delivery");
    assert!(fresh["here"]["turn_ns"]["max"].as_u64() >= fresh["here"]["turn_ns"]["p50"].as_u64());
    shown_until(&mut watcher, "an interval without one", |numbers| {
        numbers["here"]["fanout_last_ns"] == serde_json::json!({ "count": 0 })
    });

    peers.into_iter().for_each(Peer::close);
    let quiet =
        shown_until(&mut watcher, "three to have gone", |numbers| numbers["here"]["connections"] == 1);
    let stats = stats(&server);
    for key in ["publications_total", "deliveries_total", "messages_in_total", "dropped_total", "queued"] {
        assert_eq!(quiet["here"][key], stats[key], "{key}");
    }
    assert_eq!(quiet["here"]["departures"]["peer_closed"], 3);
    assert!(quiet.get("worker").is_none() && quiet.get("all").is_none(), "there is one worker");
    watcher.close();
}

#[test]
fn the_dashboard_is_only_looked_at_and_has_places_for_so_many() {
    let server = Scene::start(&[]);
    let mut speaker = server.open("/dashboard");
    speaker.send_text("?");
    assert_eq!(speaker.closed(), 1008);

    let watchers: Vec<Peer> = (0..64).map(|_| server.open("/dashboard")).collect();
    let ask = || ask_to_look(&server);
    let refusal = ask();
    assert_eq!(refusal.status, 400);
    assert!(refusal.text().starts_with("64 look at the dashboard already"), "{}", refusal.text());
    drop(watchers);
    wait_for("a place", || (ask().status == 101).then_some(()));
    drop(speaker);
    server.aftermath();
}

#[test]
fn who_may_look_is_decided_as_for_every_path() {
    let server = Server::start(&["--token", "correct-horse-battery-staple"]);
    assert_eq!(ask_to_look(&server).status, 401);
    let mut watcher = server.open("/dashboard?token=correct-horse-battery-staple");
    // Who was refused may still be on its way out when the first are shown.
    shown_until(&mut watcher, "itself alone", |numbers| numbers["here"]["connections"] == 1);
    watcher.close();
}

#[test]
fn with_several_workers_it_shows_this_one_and_all() {
    let server = Server::start(&["--workers", "3"]);
    let mut watcher = server.open("/dashboard");
    let mut peers: Vec<Peer> = (0..30).map(|_| server.open("/broadcast")).collect();
    let both =
        shown_until(&mut watcher, "everybody in the sum", |numbers| numbers["all"]["connections"] == 31);
    assert_eq!((&both["worker"]["count"], &both["worker"]["up"]), (&3.into(), &3.into()));
    assert!(both["here"]["connections"].as_u64() < Some(31), "not all are on one worker");
    peers[0].send_text("hello");
    peers.iter_mut().for_each(|peer| assert_eq!(peer.message().text(), "hello"));
    let all = shown_until(&mut watcher, "all deliveries in the sum", |numbers| {
        numbers["all"]["deliveries_total"] == 30
    });
    assert!(all["here"]["deliveries_total"].as_u64() < Some(30));
    peers.into_iter().for_each(Peer::close);
    shown_until(&mut watcher, "all departures in the sum", |numbers| {
        numbers["all"]["departures"]["peer_closed"] == 30
    });
    watcher.close();
}
