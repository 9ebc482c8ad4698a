//! Every contestant that needs no installation serves the driver completely, and the driver notices who does not.
//!
//! The experiments are only as good as this: a server that loses a byte must never get a number.

use std::time::Duration;

use bench::driver::{Failure, Fleet, Relay, Sample, Squeeze, Trust, echo, fanout, handshake};
use bench::server::{Contestant, Running};

/// No time at all: the driver then does the least that is a measurement.
const ONCE: Duration = Duration::ZERO;

fn start(name: &str) -> (Running, Trust) {
    let trust = if name.starts_with("floor") { Trust::Contents } else { Trust::Nothing };
    let command = [env!("CARGO_BIN_EXE_bench"), "serve", name].map(String::from).to_vec();
    (Running::start(&Contestant { name: name.into(), command, trust }, None).expect("it starts"), trust)
}

const ALL: [&str; 4] = ["floor-send", "floor-batch", "tungstenite", "fastwebsockets"];

#[test]
fn everybody_hears_every_publication() {
    for name in ALL {
        let (server, trust) = start(name);
        let mut fleet = Fleet::connect(server.address(), "/broadcast", 20, trust).unwrap();
        for (size, burst) in [(64, 1), (64, 100), (0, 3), (1024, 7), (70_000, 2)] {
            let sample =
                fanout(&mut fleet, size, burst, ONCE).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            assert_eq!(sample.operations % (burst as u64 * 20), 0, "{name}");
        }
    }
}

#[test]
fn everybody_gets_their_own_messages_back() {
    for name in ALL {
        let (server, trust) = start(name);
        let mut fleet = Fleet::connect(server.address(), "/echo", 5, trust).unwrap();
        for (size, inflight, messages) in [(64, 1, 5), (64, 16, 80), (16 << 10, 1, 5), (1 << 20, 2, 10)] {
            let Sample { operations, .. } =
                echo(&mut fleet, size, inflight, ONCE).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            assert_eq!(operations, messages, "{name}");
        }
    }
}

#[test]
fn newcomers_come_and_go() {
    for name in ALL {
        let (server, _) = start(name);
        let sample = handshake(server.address(), "/echo", Duration::from_millis(1)).unwrap();
        assert!(sample.operations > 0, "{name}");
        assert!(server.cpu_ns() > 0, "{name}");
        assert!(server.anonymous_bytes() > 0, "{name}");
    }
}

#[test]
fn wrong_bytes_are_noticed() {
    // The floor echoes masked payloads: right in number, wrong in content.
    let (server, _) = start("floor-send");
    let mut fleet = Fleet::connect(server.address(), "/echo", 3, Trust::Nothing).unwrap();
    assert!(matches!(echo(&mut fleet, 64, 1, ONCE), Err(Failure::Wrong { .. })));
}

#[test]
fn a_server_that_goes_is_noticed() {
    let (server, trust) = start("floor-send");
    let mut fleet = Fleet::connect(server.address(), "/broadcast", 3, trust).unwrap();
    drop(server);
    let failure = fanout(&mut fleet, 64, 1, ONCE).unwrap_err();
    assert!(matches!(failure, Failure::Closed { .. } | Failure::System(_)), "{failure}");
}

/// A stentor in this process.
fn stentor() -> std::net::SocketAddrV4 {
    let (tell, told) = std::sync::mpsc::channel();
    // The thread ends with the test program.
    std::thread::spawn(move || {
        let server = stentor::server::Server::builder()
            .listen("127.0.0.1:0".parse().expect("an address"))
            .configure(|config| config.deflate.mode = stentor::server::deflate::Mode::Shared)
            .bind()
            .expect("it binds");
        tell.send(server.addresses()[0].to_string()).expect("the test waits");
        server.run()
    });
    told.recv().expect("it says where it listens").parse().expect("of IPv4")
}

#[test]
fn compressed_subscribers_are_sent_what_was_learnt() {
    let address = stentor();
    for is_compressed in [false, true] {
        let mut squeeze = Squeeze::connect(address, 20, 1024, is_compressed).unwrap();
        assert_eq!(squeeze.fanout(ONCE).unwrap().operations % 20, 0);
    }
    let refused = Squeeze::connect(address, 1, 100, true).map(|_| ());
    assert!(matches!(refused, Err(Failure::Refused(_))), "what is not compressed gets no number");
}

#[test]
fn both_kinds_of_peers_hear_the_same_bytes_but_for_the_sender() {
    let address = stentor();
    for is_socketio in [false, true] {
        for size in [64, 1024] {
            let mut relay = Relay::connect(address, 20, size, is_socketio).unwrap();
            assert_eq!(relay.fanout(ONCE).unwrap().operations % 19, 0);
        }
    }
}
