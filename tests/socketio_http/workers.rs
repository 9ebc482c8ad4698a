//! Socket.IO on several workers: WebSocket alone, and an event reaches whom it is for, wherever that is.
//!
//! Why beside the rest: here it is the links between workers that are looked at, and no session's requests.

use super::*;

#[test]
fn of_several_workers_polling_is_refused_and_web_socket_works() {
    let server = Server::start(&["--workers", "2"]);
    is_error(&server.ask(&get(OPEN)), 0, "Transport unknown");
    let join = |mut peer: Peer| {
        assert!(peer.message().text().starts_with("0{"));
        peer.send_text("40");
        assert!(peer.message().text().starts_with("40{"));
        peer
    };
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut peers: Vec<Peer> = (0..8).map(|_| join(server.open(target))).collect();
    // An event reaches all others, on whichever worker they are; one that is longer than other messages may be, too.
    let event = format!("42[\"hello\",\"{}\"]", "x".repeat(500_000));
    peers[0].send_text(&event);
    for peer in &mut peers[1..] {
        assert!(peer.message().text() == event);
    }
    drop(peers);
}

#[test]
fn of_several_workers_a_socket_is_reached_by_its_name_wherever_it_is() {
    let server = Server::start(&["--workers", "2"]);
    let mut peers: Vec<(Peer, String)> = (0..8)
        .map(|_| {
            let (peer, answer) = enter(&server, "/");
            let sid = answer.split('"').nth(3).expect("{\"sid\":\"…\"}").to_owned();
            (peer, sid)
        })
        .collect();
    let names: Vec<String> = peers.iter().map(|(_, sid)| sid.clone()).collect();
    for (number, name) in names.iter().enumerate().skip(1) {
        peers[0].0.send_text(&format!("42[\"to\",\"{name}\",\"psst\",{number}]"));
    }
    peers[0].0.send_text("42[\"all\"]");
    for (number, (peer, _)) in peers.iter_mut().enumerate().skip(1) {
        assert_eq!(peer.message().text(), format!("42[\"psst\",{number}]"));
        assert_eq!(peer.message().text(), "42[\"all\"]", "nothing that was for another");
    }
}

#[test]
fn what_grows_when_it_is_written_again_does_not_break_the_links_between_workers() {
    let server = Server::start(&["--workers", "2"]);
    let mut peers: Vec<Peer> = (0..8).map(|_| server.open("/chat/wide?name=x")).collect();
    // The names differ; all that matters is that everybody hears it, six bytes for each of these.
    peers[0].send_text(&"\u{1}".repeat(60_000));
    let tail = format!("{}\"}}", "\\u0001".repeat(60_000));
    for peer in &mut peers {
        wait_for("the message", || peer.message().text().ends_with(&tail).then_some(()));
    }
}
