//! The chat rooms, over a real socket: who enters, who speaks, who leaves, and how.
//!
//! A chat is where a departure matters to others: the room must be told however a peer went, by a close, a FIN,
//! a reset or silence. The texts are a promise to clients that parse them, so they are compared whole.
//!
//! Invariant: each test has a server of its own, so that numbers begin at 1.

mod common;

use common::{CLOSE, GOOD, Peer, Server, upgrade_with};
use socket2::SockRef;
use std::net::Shutdown;
use std::time::Duration;

fn enter(name: &str) -> String {
    format!(r#"{{"type":"enter","data":"{name} comes in"}}"#)
}

fn message(name: &str, text: &str) -> String {
    format!(r#"{{"type":"message","data":"{name}:{text}"}}"#)
}

fn leave(name: &str) -> String {
    format!(r#"{{"type":"leave","data":"{name} left"}}"#)
}

/// Enters a room and expects to be announced as `name`.
fn come_in(server: &Server, target: &str, name: &str) -> Peer {
    let mut peer = server.open(target);
    assert_eq!(peer.message().text(), enter(name), "the newcomer hears it too");
    peer
}

#[test]
fn a_room_hears_who_enters_speaks_and_leaves() {
    let server = Server::start(&[]);
    let mut one = come_in(&server, "/chat", "user1");
    let mut two = come_in(&server, "/chat", "user2");
    assert_eq!(one.message().text(), enter("user2"));
    one.send_text("hello");
    assert_eq!(one.message().text(), message("user1", "hello"), "the speaker too");
    assert_eq!(two.message().text(), message("user1", "hello"));
    two.close();
    assert_eq!(one.message().text(), leave("user2"));
    let mut three = come_in(&server, "/chat", "user3");
    assert_eq!(one.message().text(), enter("user3"), "a number is never used again");
    assert!(three.settle().is_empty() && one.settle().is_empty());
}

#[test]
fn rooms_are_apart() {
    let server = Server::start(&[]);
    let mut hall = server.open("/chat");
    let mut attic = server.open("/chat/attic");
    assert_eq!((hall.settle().len(), attic.settle().len()), (1, 1), "each hears only itself come in");
    attic.send_text("anyone?");
    assert!(attic.message().text().ends_with(r#":anyone?"}"#));
    assert!(hall.settle().is_empty());
}

#[test]
fn what_is_said_is_escaped() {
    let server = Server::start(&[]);
    let mut peer = come_in(&server, "/chat", "user1");
    let said = "\"quotes\" \\ back\nline\ttab \u{1} \u{7f} </script> ünï 🌍 \u{2028}";
    peer.send_text(said);
    let heard: serde_json::Value = serde_json::from_str(peer.message().text()).expect("JSON");
    assert_eq!(heard["data"], format!("user1:{said}"));
    assert_eq!(heard["type"], "message");
}

#[test]
fn a_name_may_be_chosen_and_is_unique() {
    let server = Server::start(&[]);
    let mut bob = come_in(&server, "/chat?name=bob", "bob");
    come_in(&server, "/chat/other?name=bob", "bob").close();
    let mut odd = server.open("/chat/odd?name=a%22b%5C%20%C3%A4");
    let heard: serde_json::Value = serde_json::from_str(odd.message().text()).expect("JSON");
    assert_eq!(heard["data"], "a\"b\\ ä comes in");
    // A name that is taken gets a number behind it; two of one name there never are.
    come_in(&server, "/chat?name=bob", "bob2").close();
    assert_eq!(bob.message().text(), enter("bob2"));
    assert_eq!(bob.message().text(), leave("bob2"));
    let long = "x".repeat(1000);
    for name in [long.as_str(), "a%0Ab"] {
        let response = server.ask(&upgrade_with(&format!("/chat?name={name}"), &GOOD));
        assert_eq!(response.status, 400, "a name that nobody could read");
    }
    assert!(bob.settle().is_empty());
    // Once it is free it may be taken again.
    let mut guard = server.open("/chat?name=guard");
    guard.settle();
    bob.close();
    while guard.message().text() != leave("bob") {}
    come_in(&server, "/chat?name=bob", "bob");
}

#[test]
fn the_room_is_told_however_a_peer_went() {
    let server = Server::start(&["--ping-interval", "200ms", "--pong-timeout", "1s"]);
    let mut stays = come_in(&server, "/chat", "user1");
    type Way = (&'static str, fn(Peer));
    let ways: [Way; 4] = [
        ("by a close frame", Peer::close),
        ("by FIN", |peer| peer.stream.shutdown(Shutdown::Both).expect("it was open")),
        ("by a reset", |peer| {
            SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).expect("linger can be set")
        }),
        // It stays open and reads nothing, says nothing: a cable cut. Only the missing pong tells.
        ("in silence", |peer| std::mem::forget(peer)),
    ];
    for (number, (way, go)) in (2..).zip(ways) {
        let name = format!("user{number}");
        let peer = come_in(&server, "/chat", &name);
        assert_eq!(stays.message().text(), enter(&name));
        go(peer);
        assert_eq!(stays.message().text(), leave(&name), "{way}");
    }
}

#[test]
fn a_half_closed_peer_is_gone() {
    let server = Server::start(&[]);
    let mut stays = come_in(&server, "/chat", "user1");
    let mut goes = come_in(&server, "/chat", "user2");
    assert_eq!(stays.message().text(), enter("user2"));
    goes.stream.shutdown(Shutdown::Write).expect("it was open");
    assert_eq!(stays.message().text(), leave("user2"));
    // What still comes is at most a farewell.
    while let Some(frame) = goes.try_read() {
        assert!(frame.opcode == CLOSE, "{frame:?}");
    }
}

#[test]
fn who_says_something_and_goodbye_at_once_hears_it_before_the_goodbye_is_answered() {
    let server = Server::start(&[]);
    let mut ann = server.open("/chat/brief?name=ann");
    assert!(ann.message().text().contains("ann comes in"));
    let said = common::encode(true, common::TEXT, b"good evening");
    let goodbye = common::encode(true, common::CLOSE, b"\x03\xe8bye");
    std::io::Write::write_all(&mut ann.stream, &[said, goodbye].concat()).expect("the server reads");
    assert!(ann.message().text().contains("ann:good evening"));
    assert_eq!(ann.closed(), 1000);
}

#[test]
fn when_many_go_at_once_the_room_is_told_of_each_once_and_in_one_order() {
    let server = Server::start(&[]);
    let mut stayers = [come_in(&server, "/chat?name=one", "one"), server.open("/chat?name=two")];
    let names: Vec<String> = (0..300).map(|n| format!("guest{n}")).collect();
    let guests: Vec<Peer> = names.iter().map(|name| server.open(&format!("/chat?name={name}"))).collect();
    for stayer in &mut stayers {
        while stayer.message().text() != enter("guest299") {}
    }
    let streams: Vec<_> = guests.into_iter().map(|guest| guest.stream).collect();
    for stream in &streams {
        SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("it can be set");
    }
    drop(streams);
    let heard = stayers
        .each_mut()
        .map(|stayer| -> Vec<String> { names.iter().map(|_| stayer.message().text().to_owned()).collect() });
    assert_eq!(heard[0], heard[1], "both hear the same story");
    let mut told = heard[0].clone();
    told.sort();
    let mut expected: Vec<String> = names.iter().map(|name| leave(name)).collect();
    expected.sort();
    assert_eq!(told, expected);
    assert!(stayers.iter_mut().all(|stayer| stayer.settle().is_empty()), "and nothing else");
}
