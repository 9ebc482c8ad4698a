//! `--protocol socketio` against a stentor, and against servers that speak something else.
//!
//! Why: what is measured over Socket.IO is worth as much as a plain run only if the same completeness holds.
//!
//! Invariants: counts are asserted, speeds never; the server is the program's own, or a few lines that are wrong on purpose.

use loadgen::report::{Report, Verdict};
use loadgen::selftest::fault::Fault;
use loadgen::selftest::server::{FaultyServer, Mode};
use std::process::{Command, Output};

fn loadgen(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOADGEN_")) {
        command.env_remove(name);
    }
    command.arg("--protocol").arg("socketio").args(line.split_whitespace());
    command.output().expect("the program was built")
}

fn report(line: &str) -> Report {
    let output = loadgen(&format!("{line} --no-tui --json -"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{line}: {said}");
    serde_json::from_slice(&output.stdout).expect("stdout holds the document alone")
}

/// Everything arrived once, in order, undamaged, and nothing else.
#[cfg(feature = "embedded")]
fn assert_complete(report: &Report, expected: u64) {
    let deliveries = &report.deliveries;
    assert_eq!((deliveries.expected, deliveries.received, deliveries.lost), (expected, expected, 0));
    let wrong = [deliveries.duplicate, deliveries.reordered, deliveries.corrupt, deliveries.unexpected];
    assert_eq!((wrong, report.messages.unsent), ([0; 4], 0));
    assert!(report.messages.sent > 0);
}

/// The relay sends a message to all but its sender, in whatever namespace, room and form.
#[cfg(feature = "embedded")]
#[test]
fn a_broadcast_reaches_all_others() {
    for (flags, namespace, publishers) in [
        ("", "/", 1),
        ("--fill json --size uniform:100..4k --publishers 3", "/", 3),
        ("--namespace /broadcast --room here --event said --threads 2", "/broadcast", 1),
    ] {
        let report = report(&format!("-c 20 -r 30 --warmup 100ms -d 1s {flags}"));
        assert_eq!((report.connect.connected, report.connect.failed), (20, 0), "{flags}");
        assert_complete(&report, report.messages.sent * 19);
        let plan = &report.plan;
        assert_eq!((plan.protocol.as_str(), plan.namespace.as_deref()), ("socketio", Some(namespace)));
        assert_eq!((plan.publishers, plan.text), (publishers, true));
        assert!(report.fanout.is_some_and(|fanout| fanout.complete == report.messages.sent));
        // The packet is counted, not its argument alone.
        assert!(report.messages.bytes > report.messages.sent * 100);
    }
}

#[cfg(feature = "embedded")]
#[test]
fn echoes_come_back_from_bare_engine_io() {
    for flags in ["", "--closed --inflight 3", "--fill json --size 300"] {
        let report = report(&format!("-s echo -c 8 --warmup 0s -d 1s {flags}"));
        assert_complete(&report, report.messages.sent);
        assert_eq!((report.plan.protocol.as_str(), &report.plan.namespace), ("socketio", &None), "{flags}");
    }
}

#[cfg(feature = "embedded")]
#[test]
fn a_small_run_is_valid_with_processes_idle_and_connecting() {
    let broadcast = report("-c 12 -r 150 --warmup 0s -d 1s --procs 2");
    assert_complete(&broadcast, broadcast.messages.sent * 11);
    let idle = report("-s idle -c 10 -d 1s --warmup 0s");
    assert_eq!((idle.connect.connected, idle.verdict), (10, Verdict::Valid), "{:?}", idle.reasons);
    let connect = report("-s connect -c 40 --max-connecting 5 --room lobby");
    assert_eq!((connect.connect.connected, connect.connect.dropped), (40, 0));
    assert_eq!(connect.connect.handshake_ns.count, 40, "until the room was joined");
}

/// What it failed of stands in the report, in words that say what is missing.
fn assert_refused(line: &str, words: &str) {
    let report = report(&format!("{line} -s idle -c 3 --warmup 0s -d 200ms"));
    assert_eq!((report.connect.connected, report.connect.failed), (0, 3), "{line}");
    assert_eq!(report.verdict, Verdict::Invalid, "{line}");
    let told: Vec<&String> = report.connect.failures.keys().collect();
    assert!(told.len() == 1 && told[0].contains(words), "{line}: {told:?} and not {words}");
}

#[test]
fn a_server_that_says_nothing_is_told_what_it_did_not_say() {
    let server = FaultyServer::start(Mode::Broadcast, Fault::None).expect("a free port");
    assert_refused(&format!("{} --connect-timeout 500ms", server.url()), "no Engine.IO open packet came");
    server.stop();
}

/// A stentor in this process.
fn stentor() -> String {
    let (say, hear) = std::sync::mpsc::channel();
    // It ends with the process.
    std::thread::spawn(move || {
        let server = stentor::server::Server::builder().listen("127.0.0.1:0".parse().expect("an address"));
        let server = server.bind().expect("a free port");
        say.send(server.addresses()[0].to_string()).expect("somebody waits for it");
        server.run().expect("it runs until the process ends");
    });
    hear.recv().expect("the server is bound")
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let address = stentor();
    let room = "x".repeat(128);
    for (line, words) in [
        // A path where plain messages are spoken, and one that is not there.
        (format!("ws://{address}/broadcast"), "no Engine.IO open packet came"),
        (format!("ws://{address}/nowhere"), "404"),
        (format!("ws://{address}/socket.io/?EIO=3&transport=websocket"), "400"),
        (format!("ws://{address} --namespace /nowhere"), "Invalid namespace"),
        // A namespace without rooms to join.
        (format!("ws://{address} --namespace /tutorial --room x"), "did not acknowledge `join`"),
        // Bare Engine.IO sends CONNECT back as it is.
        (format!("ws://{address}/engine.io/"), "without a sid"),
    ] {
        assert_refused(&format!("{line} --connect-timeout 1s"), words);
    }
    let joined = report(&format!("ws://{address} --room {room} -s idle -c 2 --warmup 0s -d 200ms"));
    assert_eq!(joined.connect.connected, 2, "a room of 128 bytes is one");
}
