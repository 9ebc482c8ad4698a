//! The table of wrongs, the process: its end, its log, and an operator who gets something wrong.
//!
//! What stands around a server goes wrong as well: a log that nobody reads, a disk that is full, a port that is taken,
//! a flag at its extreme. None of it may stop the loop, and each is told in one line.
//!
//! Invariant: nothing here depends on what a log line says, but for the one line that tells a failure.

mod common;

use common::aftermath::{Before, Scene};
use common::{
    BINARY, CLOSE, GOOD, PATIENCE, Peer, Response, Server, TEXT, encode, run_to_end, upgrade_with, wait_for,
};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What the table promises for the end of the process.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn sigterm_ends_with_0_within_ten_seconds_whatever_the_peers_do() {
    let mut server = Server::start(&[]);
    let idle: Vec<Peer> = (0..20).map(|_| server.open("/broadcast/idle")).collect();
    // Half open: nothing said, half a request, half a message, one side ended, a close frame that is not answered.
    let silent = server.connect();
    let mut asking = server.connect();
    asking.write_all(b"GET /echo HTTP/1.1\r\nHo").expect("the server reads");
    let mut posting = server.connect();
    posting
        .write_all(b"POST /publish/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        .expect("it reads");
    let mut speaking = server.open("/echo");
    speaking.stream.write_all(&encode(false, TEXT, b"half")).expect("the server reads");
    let mut told = server.open("/chat/told");
    told.send(BINARY, b"?");
    let half = server.open("/echo");
    half.stream.shutdown(Shutdown::Write).expect("it is open");
    // Stalled: more is owed than it will ever read.
    let stalled = stalled(&server);
    // Busy: it sends and reads until the end.
    let mut busy = server.open("/echo");
    let (says, heard) = std::sync::mpsc::channel();
    let talking = std::thread::spawn(move || {
        while busy.stream.write_all(&encode(true, TEXT, b"busy")).is_ok() {
            match busy.try_read() {
                Some(frame) if frame.opcode != CLOSE => drop(says.send(())),
                Some(_) | None => return,
            }
        }
    });
    heard.recv_timeout(PATIENCE).expect("it is busy");
    let began = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(began.elapsed() < ENDED_WITHIN, "it took {:?}", began.elapsed());
    talking.join().expect("no panic");
    drop((idle, silent, asking, posting, speaking, told, half, stalled));
}

/// A peer to whom the server writes in vain.
fn stalled(server: &Server) -> Peer {
    let mut peer = server.open("/echo");
    peer.stream.set_nonblocking(true).expect("it can be");
    let message = encode(true, BINARY, &[7; 60_000]);
    let (mut at, mut still) = (0, Instant::now());
    while still.elapsed() < Duration::from_millis(200) {
        if let Ok(count) = peer.stream.write(&message[at..]) {
            at = (at + count) % message.len();
            still = Instant::now();
        }
    }
    peer
}

/// A server whose stderr is what a test makes of it; it listens on TCP, and on a path by which it is found if its first
/// line cannot be read.
struct Mute {
    child: Child,
    path: PathBuf,
    before: Option<Before>,
}

impl Mute {
    fn start(name: &str, stdout: Stdio, stderr: Stdio) -> Mute {
        let path = std::env::temp_dir().join(format!("stentor-{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
        command.args(["--listen", &format!("unix:{}", path.display()), "--log", "trace"]);
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("it starts");
        Mute::of(child, path)
    }

    /// A process that listens there, or will.
    fn of(child: Child, path: PathBuf) -> Mute {
        let mut mute = Mute { child, path, before: None };
        wait_for("the path to be served", || UnixStream::connect(&mute.path).ok());
        mute.echoes();
        mute.before = Some(wait_for("those to be forgotten", || {
            let mut stream = mute.connect();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
            let page = Response::read(&mut stream, false);
            let is_alone = page.text().contains("stentor_connections 1\n");
            is_alone.then(|| Before::seen_by_one(mute.child.id()))
        }));
        mute
    }

    fn aftermath(&self) {
        self.before.expect("it was looked at when it started").aftermath(|| self.echoes());
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    /// A good client, over the path.
    fn echoes(&self) {
        let mut stream = self.connect();
        let frame = encode(true, TEXT, b"hello");
        stream.write_all(&[upgrade_with("/echo", &GOOD), frame].concat()).expect("the server reads");
        let mut heard = Vec::new();
        while !heard.ends_with(b"\x81\x05hello") {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).expect("the server answers");
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&bytes[..count]);
        }
    }

    /// Has it log a few lines: peers that break the protocol.
    fn is_wronged(&self) {
        for _ in 0..100 {
            let mut stream = self.connect();
            let wrong = [upgrade_with("/echo", &GOOD), b"\x81\x00".to_vec()].concat();
            stream.write_all(&wrong).expect("the server reads");
        }
    }

    fn lines_dropped(&self) -> u64 {
        let mut stream = self.connect();
        let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("the server reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("the server answers");
        let line = page.lines().find_map(|line| line.strip_prefix("stentor_log_lines_dropped_total "));
        line.expect("it is there").parse().expect("a number")
    }

    /// Ends it by SIGTERM.
    fn ends(&mut self) -> ExitStatus {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        assert!(kill.expect("sh runs").success());
        self.ends_by_itself()
    }

    fn ends_by_itself(&mut self) -> ExitStatus {
        let began = Instant::now();
        let status = wait_for("the server to end", || self.child.try_wait().expect("it is ours"));
        assert!(began.elapsed() < ENDED_WITHIN, "it took {:?}", began.elapsed());
        status
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_loop_and_what_is_lost_is_counted() {
    let mut server = Mute::start("unread", Stdio::null(), Stdio::piped());
    // Held open, never read.
    let stderr = server.child.stderr.take().expect("it is piped");
    let mut rounds = 0;
    wait_for("the pipe and the queue to be full", || {
        server.is_wronged();
        server.echoes();
        rounds += 1;
        (server.lines_dropped() > 0).then_some(())
    });
    assert!(rounds > 1, "a pipe holds 64 KiB, the queue a MiB");
    server.is_wronged();
    server.echoes();
    server.aftermath();
    // Told twice: the failure is said where nobody listens, and holds nothing up.
    let _peer = server.connect();
    let kill = format!("kill -TERM {0}; kill -TERM {0}", server.child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    server.ends_by_itself();
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("listening on")), "what had been taken stands there");
}

#[test]
fn a_closed_stderr_a_full_disk_and_a_closed_stdout_are_harmless() {
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    let cases: [(&str, Stdio, Stdio); 3] = [
        ("nobody at the other end of either pipe", closed(), closed()),
        ("a full disk for both", full(), full()),
        ("a full disk for the log", Stdio::null(), full()),
    ];
    for (what, stdout, stderr) in cases {
        let mut server = Mute::start("gone", stdout, stderr);
        server.is_wronged();
        server.echoes();
        wait_for("the lines that could not be written to be counted", || {
            (server.lines_dropped() > 100).then_some(())
        });
        server.aftermath();
        assert_eq!(server.ends().code(), Some(0), "{what}");
    }
}

#[test]
fn without_stdin_stdout_and_stderr_at_all_it_serves() {
    let path = std::env::temp_dir().join(format!("stentor-nofd-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let script = format!(
        "exec '{}' --log trace --listen 'unix:{}' <&- >&- 2>&-",
        env!("CARGO_BIN_EXE_stentor"),
        path.display()
    );
    let child = Command::new("sh").args(["-c", &script]).spawn().expect("sh runs");
    let mut server = Mute::of(child, path);
    server.is_wronged();
    server.echoes();
    server.aftermath();
    assert_eq!(server.ends().code(), Some(0));
}

#[test]
fn settings_that_cannot_be_printed_are_one_clear_line_and_1() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    let child = command.arg("--check").stdout(full()).stderr(Stdio::piped()).spawn().expect("it starts");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("cannot print the settings"), "{text}");
}

fn is_one_line(args: &[&str], code: i32, says: &str) {
    let (status, stdout, stderr) = run_to_end(args);
    assert_eq!(status.code(), Some(code), "{args:?}: {stderr}");
    assert_eq!((stderr.lines().count(), stdout.as_str()), (1, ""), "{args:?}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(says), "{args:?}: {stderr}");
}

#[test]
fn what_cannot_be_listened_on_is_one_clear_line_and_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    is_one_line(&["--listen", &address], 1, "in use");
    // The second of two: the first is given back.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    is_one_line(&["--listen", &free.to_string(), "--listen", &address], 1, &address);
    TcpListener::bind(free).expect("it is free again");
    let path = std::env::temp_dir().join(format!("stentor-own-{}.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    is_one_line(&["--listen", &unix, "--listen", &address], 1, &address);
    assert!(!path.exists(), "nothing is left behind");
    is_one_line(&["--listen", "unix:/nonexistent/directory/sock"], 1, "/nonexistent/directory/sock");
    is_one_line(&["--listen", &format!("unix:/tmp/{}", "x".repeat(200))], 1, "unix:/tmp/xxx");
    is_one_line(&["--listen", "192.0.2.1:9001"], 1, "192.0.2.1:9001");
}

#[test]
fn a_setting_that_cannot_work_is_one_clear_line_and_2() {
    let cases: [(&[&str], &str); 12] = [
        (&["--message-max", "0"], "--message-max is from 1 byte to 512mi"),
        (&["--message-max", "1gi"], "--message-max is from 1 byte to 512mi"),
        (&["--fragments-max", "0"], "--fragments-max is at least 1"),
        (&["--connections-max", "0"], "--connections-max is at least 1"),
        (&["--pong-timeout", "0"], "--pong-timeout 0 would wait for ever"),
        (&["--handshake-timeout", "0"], "cannot be 0"),
        (&["--close-timeout", "0ms"], "cannot be 0"),
        (&["--drain", "721h"], "--drain is at most 720h"),
        (&["--message-timeout", "9999h"], "--message-timeout is at most 720h"),
        (&["--ping-interval", "44000m"], "--ping-interval is at most 720h"),
        (&["--backlog", "0"], "--backlog is at least 1"),
        (&["--subprotocol", "a b"], "`a b` is not a token"),
    ];
    for (args, says) in cases {
        is_one_line(args, 2, says);
        is_one_line(&[&["--check"], args].concat(), 2, says);
    }
    is_one_line(&["--connections-max", "3000000"], 1, "raise the limit");
    for args in
        [["--message-max", "1e99"], ["--drain", "soon"], ["--backlog", "1e9"], ["--ping-interval", "nan"]]
    {
        let (status, _, stderr) = run_to_end(&args);
        assert_eq!(status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(args[0]), "{stderr}");
    }
}

#[test]
fn settings_at_their_extremes_serve() {
    let ends: [&[&str]; 9] = [
        &["--message-max", "5", "--fragments-max", "1", "--queue-max", "0"],
        &["--message-max", "512mi", "--fragments-max", "4294967295", "--queue-max", "900000g"],
        &["--backlog", "1", "--connections-max", "1"],
        &["--backlog", "2147483647"],
        &["--ping-interval", "1ms", "--pong-timeout", "720h"],
        &["--ping-interval", "720h", "--pong-timeout", "720h", "--handshake-timeout", "720h"],
        &["--close-timeout", "720h", "--stall-timeout", "720h", "--message-timeout", "720h"],
        &["--stall-timeout", "0", "--message-timeout", "0", "--ping-interval", "0"],
        &["--close-timeout", "1ms", "--stall-timeout", "1ms", "--message-timeout", "10ms", "--drain", "0"],
    ];
    for args in ends {
        let mut server = Server::start(args);
        let mut peer = server.open("/echo");
        peer.send_text("hello");
        assert_eq!(peer.message().text(), "hello", "{args:?}");
        peer.close();
        server.signal("TERM");
        let began = Instant::now();
        assert_eq!(server.wait().code(), Some(0), "{args:?}");
        assert!(began.elapsed() < ENDED_WITHIN, "{args:?}");
    }
}

#[test]
fn a_message_timeout_of_a_tick_leaves_whole_messages_alone() {
    let scene = Scene::start(&["--message-timeout", "10ms", "--ping-interval", "0"]);
    let mut peer = scene.open("/echo");
    for _ in 0..200 {
        peer.send_text("whole");
        assert_eq!(peer.message().text(), "whole");
    }
    peer.close();
    scene.aftermath();
}

#[test]
fn peers_who_come_while_it_says_goodbye_are_refused_by_the_system() {
    let mut server = Server::start(&[]);
    let mut stubborn = server.open("/echo");
    server.signal("TERM");
    assert_eq!(stubborn.read().close_code(), 1001);
    let address: SocketAddr = server.address();
    let refused = wait_for("the listener to be gone", || TcpStream::connect(address).err());
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(server.wait().code(), Some(0), "although the peer never answers");
}
