//! How the program begins, keeps watch and ends: flags, signals, heartbeats, as a system administrator sees them.
//!
//! A server is judged by its worst minutes: the port that is taken, the peer that vanished without a word, the
//! restart in the middle of the day. Each has one right outcome, and these tests are about nothing else.
//!
//! Invariant: short intervals are chosen by flags; no test measures how long something took.

mod common;

use common::{Frame, PING, PONG, Response, Server, run_to_end, wait_for};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// Short enough for a test, long enough for a busy machine to answer in.
const WATCHFUL: [&str; 4] = ["--ping-interval", "200ms", "--pong-timeout", "2s"];

#[test]
fn a_quiet_peer_is_pinged_and_stays_while_it_answers() {
    let server = Server::start(&WATCHFUL);
    let mut peer = server.open("/echo");
    for _ in 0..5 {
        let ping = peer.read();
        assert_eq!(ping.opcode, PING);
        peer.send(PONG, &ping.payload);
    }
    peer.send_text("still here");
    assert_eq!(peer.message().text(), "still here");
}

#[test]
fn a_silent_peer_is_reaped_and_counted() {
    let server = Server::start(&["--ping-interval", "200ms", "--pong-timeout", "300ms"]);
    let idle = |server: &Server| -> u64 {
        let stats: serde_json::Value = serde_json::from_slice(&server.get("/stats").body).expect("JSON");
        stats["departures"]["idle"].as_u64().expect("a number")
    };
    assert_eq!(idle(&server), 0);
    let mut silent = server.open("/echo");
    assert_eq!(silent.read().opcode, PING);
    // No pong: what may still come is another ping or a close frame, then the end.
    while silent.try_read().is_some() {}
    wait_for("its departure to be counted", || (idle(&server) == 1).then_some(()));
}

#[test]
fn ping_interval_0_is_off() {
    let server = Server::start(&["--ping-interval", "0", "--pong-timeout", "100ms"]);
    let mut quiet = server.open("/echo");
    quiet.stream.set_read_timeout(Some(std::time::Duration::from_secs(1))).expect("a timeout can be set");
    let nothing = quiet.stream.read(&mut [0]).expect_err("no ping, no end");
    assert!(matches!(nothing.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{nothing}");
    quiet.send_text("still here");
    assert_eq!(quiet.message().text(), "still here");
}

#[test]
fn an_unanswered_close_does_not_hold_a_connection() {
    // We are told off, and never answer: the close deadline (5 s) ends it.
    let server = Server::start(&[]);
    let mut stubborn = server.open("/echo");
    stubborn.stream.write_all(b"\x83\x00").expect("the server reads");
    assert_eq!(stubborn.read().close_code(), 1002);
    assert_eq!(stubborn.try_read(), None);
}

#[test]
fn sigterm_and_sigint_close_everybody_with_1001() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&["--drain", "500ms"]);
        let mut peers: Vec<_> =
            ["/echo", "/broadcast", "/chat", "/tick/2"].map(|path| server.open(path)).into();
        peers.extend((0..20).map(|_| server.open("/broadcast/many")));
        let mut asking = server.connect();
        asking.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("the server reads");
        server.signal(signal);
        for mut peer in peers {
            assert_eq!(peer.closed(), 1001, "{signal}");
        }
        assert_eq!(server.wait().code(), Some(0), "{signal}");
        TcpStream::connect(server.address()).expect_err("nobody listens any more");
    }
}

#[test]
fn an_idle_server_ends_at_once() {
    let mut server = Server::start(&["--drain", "1h"]);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_signal_exits_at_once() {
    // A drain of an hour, and a peer that never answers: without the second signal this would take far too long.
    let mut server = Server::start(&["--drain", "1h"]);
    let peers: Vec<_> = (0..50).map(|_| server.open("/echo")).collect();
    server.signal("TERM");
    wait_for("the server to stop listening", || TcpStream::connect(server.address()).err());
    assert!(server.is_running(), "it is draining");
    server.signal("TERM");
    server.wait();
    drop(peers);
}

#[test]
fn sigpipe_does_not_kill() {
    let server = Server::start(&[]);
    server.signal("PIPE");
    // Peers that vanish while they are written to are the usual source of it.
    let rude: Vec<_> = (0..10).map(|_| server.open("/broadcast")).collect();
    let mut speaker = server.open("/broadcast?self=0");
    drop(rude);
    for _ in 0..10 {
        speaker.send_text("anybody?");
        assert!(speaker.settle().is_empty());
    }
}

#[test]
fn the_log_is_plain_where_no_terminal_shows_it() {
    let mut server = Server::start(&["--log", "info"]);
    server.signal("TERM");
    server.wait();
    let log = server.log();
    assert!(log.lines().count() > 1, "it tells that it ends: {log:?}");
    assert!(!log.contains('\u{1b}'), "colours belong on a terminal: {log:?}");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (status, stdout, stderr) = run_to_end(&["--listen", &address]);
    assert_eq!(status.code(), Some(1));
    assert_eq!(stdout, "");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&address) && stderr.contains("in use"), "{stderr}");
}

#[test]
fn an_address_that_is_not_ours_is_one_clear_line() {
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let (status, _, stderr) = run_to_end(&["--listen", "192.0.2.1:9001"]);
    assert_eq!(status.code(), Some(1));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("192.0.2.1:9001"), "{stderr}");
}

#[test]
fn a_wrong_flag_is_usage() {
    for args in
        [["--listen", "nonsense"], ["--message-max", "lots"], ["--overflow", "maybe"], ["--no-such", "flag"]]
    {
        let (status, _, stderr) = run_to_end(&args);
        assert_eq!(status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(args[0]), "{stderr}");
    }
}

#[test]
fn check_prints_the_settings_and_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    // It validates and tells, and does not listen: a taken port does not matter.
    let (status, stdout, stderr) = run_to_end(&["--check", "--listen", &address, "--message-max", "3mi"]);
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stdout.contains(&address), "{stdout}");
    assert!(stdout.contains("message-max") || stdout.contains("message_max"), "{stdout}");
    let (status, _, _) = run_to_end(&["--check", "--message-max", "lots"]);
    assert_eq!(status.code(), Some(2));
}

#[test]
fn it_listens_wherever_it_is_told_to() {
    let path = std::env::temp_dir().join(format!("stentor-test-{}.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    let server = Server::start(&["--listen", "[::1]:0", "--listen", &unix]);
    server.open("/echo").close();
    let log = wait_for("all three to be told", || {
        Some(server.log()).filter(|log| log.contains("[::1]:") && log.contains(&unix))
    });
    let rest = log.split("[::1]:").nth(1).expect("it is there");
    let port: u16 =
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|port| port.parse().ok()).expect("a port");
    let mut six = TcpStream::connect(("::1", port)).expect("the server accepts");
    let mut local = std::os::unix::net::UnixStream::connect(&path).expect("the server accepts");
    for stream in [&mut six as &mut dyn ReadWrite, &mut local] {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("the server reads");
        let mut status = [0; 15];
        stream.read_exact(&mut status).expect("the server answers");
        assert_eq!(&status, b"HTTP/1.1 200 OK");
    }
    drop(server);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn who_has_a_place_keeps_it_when_a_crowd_comes() {
    let server = Server::start(&["--connections-max", "4"]);
    let (mut peer, mut browser) = (server.open("/echo"), server.connect());
    let mut ask = || {
        browser.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("the server reads");
        Response::read(&mut browser, false).status
    };
    assert_eq!(ask(), 200);
    // Six who say nothing yet: four places are taken, and four more knock.
    let crowd: Vec<_> = (0..6).map(|_| server.connect()).collect();
    let mut last = crowd.last().expect("there are six");
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("the server reads");
    assert_eq!(Response::read(&mut last, false).status, 503, "there is no place for the last");
    assert_eq!(ask(), 200, "who was here before the crowd is served as before");
    peer.send_text("hello");
    assert_eq!(peer.message().text(), "hello");
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn a_socket_file_left_behind_is_no_hindrance() {
    let path = std::env::temp_dir().join(format!("stentor-stale-{}.sock", std::process::id()));
    // A listener that died without removing its file: nobody answers behind it.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a path of our own"));
    let server = Server::start(&["--listen", &format!("unix:{}", path.display())]);
    wait_for("the path to be served", || std::os::unix::net::UnixStream::connect(&path).ok());
    drop(server);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn the_descriptor_limit_is_raised_and_told() {
    let server = Server::start_limited("64:256", &[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("Linux tells it");
    let soft = line.split_whitespace().nth(3);
    assert_eq!(soft, Some("256"), "{line}");
    assert!(server.log().contains("256"), "{}", server.log());
}

#[test]
fn the_environment_sets_what_flags_would() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.env("STENTOR_LISTEN", "127.0.0.1:0").env("STENTOR_SERVICE", "echo");
    let server = Server::run(command);
    let mut peer = server.open("/");
    peer.send_text("hello");
    assert_eq!(peer.message(), Frame { opcode: common::TEXT, payload: b"hello".to_vec() });
}

/// The program starts itself once more for it, in the same process; each of these servers answers.
#[cfg(all(target_env = "gnu", target_arch = "x86_64"))]
#[test]
fn what_the_allocator_keeps_is_bounded_unless_somebody_has_said_how() {
    let program = || Command::new(env!("CARGO_BIN_EXE_stentor"));
    let is_bounded = |mut command: Command, told: &[(&str, &str)]| {
        command.args(["--listen", "127.0.0.1:0"]).envs(told.iter().copied());
        let server = Server::run(command);
        assert_eq!(server.get("/healthz").status, 200);
        let environment = std::fs::read(format!("/proc/{}/environ", server.pid())).expect("it runs");
        environment.split(|byte| *byte == 0).any(|one| one == b"MALLOC_TRIM_THRESHOLD_=131072")
    };
    assert!(is_bounded(program(), &[]));
    assert!(is_bounded(program(), &[("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.rtld.nns=4")]));
    assert!(!is_bounded(program(), &[("GLIBC_TUNABLES", "")]));
    assert!(!is_bounded(program(), &[("MALLOC_MMAP_THRESHOLD_", "1048576")]));
    assert!(!is_bounded(program(), &[("STENTOR_STARTED_AGAIN", "1")]), "once, whatever became of it");
    let mut loader = Command::new("/lib64/ld-linux-x86-64.so.2");
    loader.arg(env!("CARGO_BIN_EXE_stentor"));
    assert!(!is_bounded(loader, &[]), "what runs is the loader, and is left alone");
}

#[test]
fn a_connection_over_the_maximum_is_told_so() {
    let server = Server::start(&["--connections-max", "2"]);
    let (mut one, two) = (server.open("/echo"), server.open("/echo"));
    let mut third = server.connect();
    let _ = third.write_all(&common::upgrade_with("/echo", &common::GOOD));
    let mut answer = Vec::new();
    // A 503, or an end without a word: there may be no place even for an answer.
    let _ = third.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer));
    one.send_text("I have my place");
    assert_eq!(one.message().text(), "I have my place");
    two.close();
    wait_for("a place to become free", || {
        let mut stream = server.connect();
        stream.write_all(&common::upgrade_with("/echo", &common::GOOD)).ok()?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).ok()?;
        (&status == b"HTTP/1.1 101").then_some(())
    });
}

#[test]
fn a_file_that_is_no_socket_is_not_taken_for_one() {
    let path = std::env::temp_dir().join(format!("stentor-file-{}", std::process::id()));
    std::fs::write(&path, "precious").expect("a path of our own");
    let (status, _, stderr) = run_to_end(&["--listen", &format!("unix:{}", path.display())]);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), "precious");
    std::fs::remove_file(&path).expect("it is ours");
}
