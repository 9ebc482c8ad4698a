//! What an opening handshake agrees on, over a real socket.
//!
//! Version and key are demanded; subprotocols and extensions are offered, and a server may choose one or none. What is
//! wrong with a handshake, and what only looks so, is in `wrongs_handshake.rs`.
//!
//! Invariant: what is agreed on was offered (RFC 6455 §4.2.2).

mod common;

use common::{GOOD, Peer, Server, upgrade_with};

/// A good upgrade of `/echo`, with one line of it replaced.
fn with_line(old: &str, new: &[&str]) -> Vec<u8> {
    let lines: Vec<&str> =
        GOOD.iter().flat_map(|line| if line.starts_with(old) { new.to_vec() } else { vec![*line] }).collect();
    assert_ne!(lines, GOOD, "{old} is a line of a good upgrade");
    upgrade_with("/echo", &lines)
}

fn echoes(peer: &mut Peer) {
    peer.send_text("still there?");
    assert_eq!(peer.message().text(), "still there?");
}

#[test]
fn a_good_upgrade_is_accepted() {
    let server = Server::start(&[]);
    let (mut peer, response) = Peer::open_with(server.connect(), &upgrade_with("/echo", &GOOD));
    assert_eq!(response.header("sec-websocket-extensions"), None, "none was offered");
    assert_eq!(response.header("content-length"), None, "a 101 has no body (RFC 9110 §8.6)");
    echoes(&mut peer);
}

#[test]
fn a_subprotocol_is_chosen_in_the_order_of_the_client() {
    let server = Server::start(&["--subprotocol", "one", "--subprotocol", "two"]);
    let offers = [
        ("nobody-knows, this-one", None),
        ("nobody-knows, two, one", Some("two")),
        ("one", Some("one")),
        // A service agrees to its own name too.
        ("broadcast, echo", Some("echo")),
    ];
    for (offer, chosen) in offers {
        let line = format!("Sec-WebSocket-Protocol: {offer}");
        let request = with_line("Upgrade", &["Upgrade: websocket", &line]);
        let (mut peer, response) = Peer::open_with(server.connect(), &request);
        assert_eq!(
            response.header("sec-websocket-protocol"),
            chosen,
            "RFC 6455 §4.2.2: one that was offered, or none"
        );
        echoes(&mut peer);
    }
    // Two lines are one list (RFC 6455 §11.3.4).
    let two = ["Upgrade: websocket", "Sec-WebSocket-Protocol: zero", "Sec-WebSocket-Protocol: one"];
    let (_, response) = Peer::open_with(server.connect(), &with_line("Upgrade", &two));
    assert_eq!(response.header("sec-websocket-protocol"), Some("one"));
}

#[test]
fn unknown_extensions_are_not_accepted() {
    let server = Server::start(&[]);
    let request =
        with_line("Upgrade", &["Upgrade: websocket", "Sec-WebSocket-Extensions: x-unheard-of; a=1"]);
    let (mut peer, response) = Peer::open_with(server.connect(), &request);
    assert_eq!(response.header("sec-websocket-extensions"), None);
    echoes(&mut peer);
}
