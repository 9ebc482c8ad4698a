//! The program itself against a small server in this process: exit codes, outputs, completeness, processes.
//!
//! Why: what people and scripts depend on is the program, not its modules: what it prints, writes and exits with.
//! Counts are asserted, speeds never, so that a busy machine changes nothing.

use loadgen::report::{Report, Verdict};
use loadgen::selftest::fault::Fault;
use loadgen::selftest::server::{FaultyServer, Mode};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;
use stentor::ws::handshake::encode_response;

/// Runs loadgen with these words.
fn loadgen(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOADGEN_")) {
        command.env_remove(name);
    }
    command.args(line.split_whitespace()).output().expect("the program was built")
}

/// Runs loadgen and reads its JSON from stdout.
fn report(line: &str) -> Report {
    let output = loadgen(&format!("{line} --json -"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).expect("stdout holds the document alone")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Everything arrived once, in order, undamaged.
fn assert_complete(report: &Report, expected: u64) {
    let deliveries = &report.deliveries;
    assert_eq!((deliveries.expected, deliveries.received, deliveries.lost), (expected, expected, 0));
    let wrong = [deliveries.duplicate, deliveries.reordered, deliveries.corrupt, deliveries.unexpected];
    assert_eq!(wrong, [0; 4]);
    assert_eq!(report.messages.unsent, 0);
}

#[test]
fn a_broadcast_reaches_everybody() {
    let server = FaultyServer::start(Mode::Broadcast, Fault::None).expect("a free port");
    let report = report(&format!("{} -c 20 -r 50 --warmup 100ms -d 1s", server.url()));
    server.stop();
    assert_eq!(report.messages.sent, 50);
    assert_complete(&report, 1_000);
    let fanout = report.fanout.expect("a broadcast has a fan-out");
    assert_eq!((fanout.broadcasts, fanout.complete, fanout.subscribers), (50, 50, 20));
    assert!(fanout.first_ns.p50 <= fanout.half_ns.p50 && fanout.half_ns.p50 <= fanout.last_ns.p50);
    assert_eq!(report.latency.delivery_ns.count, 1_000);
}

#[test]
fn shards_and_loops_measure_the_same_experiment() {
    let server = FaultyServer::start(Mode::Broadcast, Fault::None).expect("a free port");
    let line = format!(
        "{} -c 23 -r 40 --publishers 5 --warmup 0s -d 1s --procs 2 --threads 2 --seed 7",
        server.url()
    );
    let report = report(&line);
    server.stop();
    assert_eq!((report.generator.procs, report.generator.threads.len()), (2, 4));
    assert_eq!((report.connect.connected, report.messages.sent), (23, 40));
    assert_complete(&report, 23 * 40);
    assert_eq!(report.fanout.map(|fanout| fanout.complete), Some(40));
    assert_eq!(report.latency.delivery_ns.count, 23 * 40, "histograms were merged without loss");
}

#[test]
fn echoes_come_back_to_their_senders_in_any_payload() {
    for flags in
        ["--fill zero", "--text", "--text --fill json --size uniform:100..2k", "--closed --inflight 2"]
    {
        let server = FaultyServer::start(Mode::Echo, Fault::None).expect("a free port");
        let report = report(&format!("{} -s echo -c 10 --warmup 0s -d 1s {flags}", server.url()));
        server.stop();
        assert!(report.messages.sent > 0, "{flags}");
        assert_complete(&report, report.messages.sent);
        assert_eq!(report.run.model == "CLOSED", flags.contains("closed"));
    }
}

#[test]
fn idle_and_connect_send_nothing() {
    let server = FaultyServer::start(Mode::Broadcast, Fault::None).expect("a free port");
    let idle = report(&format!("{} -s idle -c 10 -d 1s --warmup 0s", server.url()));
    let connect = report(&format!("{} -s connect -c 50 --max-connecting 5", server.url()));
    server.stop();
    assert_eq!((idle.connect.connected, idle.messages.sent, idle.verdict), (10, 0, Verdict::Valid));
    assert_eq!((connect.connect.connected, connect.connect.dropped), (50, 0));
    assert_eq!(connect.connect.handshake_ns.count, 50);
}

/// A client's close frame with a code: header, mask, two bytes.
const CLOSE_FRAME_BYTES: usize = 8;

/// Lets one in whose upgrade request comes.
fn let_in(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("loadgen connects");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole request");
        head.push(char::from(byte[0]));
    }
    let lowercase = head.to_ascii_lowercase();
    let at = lowercase.find("sec-websocket-key:").expect("a key") + "sec-websocket-key:".len();
    let mut response = Vec::new();
    encode_response(&mut response, head[at..].lines().next().expect("its value").trim(), None, None);
    stream.write_all(&response).expect("the response is read");
    stream
}

#[test]
fn a_server_that_answers_goodbyes_slowly_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    let serve = move || {
        let peers: Vec<_> = (0..30).map(|_| let_in(&listener)).collect();
        let is_there = |mut peer: TcpStream| {
            peer.read_exact(&mut [0; CLOSE_FRAME_BYTES]).expect("it says goodbye");
            // This is what the server is slow at; all of them together take longer than anybody waits for one.
            thread::sleep(Duration::from_millis(100));
            peer.set_nonblocking(true).expect("it can be");
            matches!(peer.peek(&mut [0]), Err(why) if why.kind() == ErrorKind::WouldBlock)
                && peer.write_all(&[0x88, 2, 3, 0xe8]).is_ok()
        };
        peers.into_iter().map(is_there).filter(|is_there| *is_there).count()
    };
    let server = thread::spawn(serve);
    let report = report(&format!("{url} -s idle -c 30 -d 200ms --warmup 0s"));
    assert_eq!((report.connect.connected, report.connect.dropped), (30, 0));
    assert_eq!(server.join().expect("all were served"), 30, "each was still there when its answer came");
}

#[test]
fn a_failed_threshold_is_99_and_a_strict_invalid_is_4() {
    let server = FaultyServer::start(Mode::Broadcast, Fault::Silence).expect("a free port");
    let line = format!("{} -c 3 -r 20 --warmup 0s -d 1s --drain 300ms", server.url());
    let strict = loadgen(&format!("{line} --strict"));
    let failed = loadgen(&format!("{line} --threshold lost==0"));
    let tolerant = loadgen(&line);
    server.stop();
    assert_eq!(strict.status.code(), Some(4), "{}", stderr(&strict));
    assert_eq!(failed.status.code(), Some(99), "{}", stderr(&failed));
    assert_eq!(tolerant.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&tolerant.stdout).starts_with("INVALID"), "the verdict stands first");
}

#[test]
fn an_abort_ends_the_run_says_why_and_is_99() {
    let server = FaultyServer::start(Mode::Broadcast, Fault::Duplicate { every: 3 }).expect("a free port");
    let line =
        format!("{} -c 3 -r 20 --warmup 0s -d 10m --threshold abort:duplicate<5 --json -", server.url());
    let output = loadgen(&line);
    server.stop();
    assert_eq!(output.status.code(), Some(99), "{}", stderr(&output));
    let report: Report = serde_json::from_slice(&output.stdout).expect("what was measured is written");
    assert!(report.run.interrupted && report.run.measured_ns < 600_000_000_000);
    assert!(report.reasons.iter().any(|reason| reason.text.contains("`abort:duplicate<5` did not hold")));
    let outcome = &report.thresholds[0];
    assert!(!outcome.passed && outcome.measured.is_some_and(|count| count >= 5.0), "{outcome:?}");
}

#[test]
fn what_the_schedule_wanted_is_planned_even_if_the_generator_could_not_try_it() {
    let server = FaultyServer::start(Mode::Broadcast, Fault::None).expect("a free port");
    // More than any loop can send: what is still due at the end must be counted, as unsent.
    let report = report(&format!("{} -c 1 -r 20m --warmup 0s -d 100ms --drain 0s", server.url()));
    server.stop();
    assert_eq!(report.messages.planned, 2_000_000);
    assert_eq!(report.messages.sent + report.messages.unsent, 2_000_000);
    assert!(report.messages.unsent > 0);
    assert_eq!(report.latency.delivery_ns.count, 2_000_000, "what never left is as old as it became");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for line in ["ws://127.0.0.1:1/ --dry-run", "doctor"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        let status = command.args(line.split_whitespace()).stdout(writer).status().expect("it runs");
        // The doctor may find this machine wanting (3); a panic would be 101.
        assert!(matches!(status.code(), Some(0 | 3)), "{line}: {status}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_known_before_the_run() {
    let output = loadgen("ws://127.0.0.1:1/ -c 1 --json /nowhere/at/all.json");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no directory /nowhere/at"), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_is_2_and_what_is_not_built_is_named() {
    for (line, part) in [
        ("--closed -r 5", "--closed has no rate"),
        ("-s chat", "chat"),
        ("sweep --anything", "sweep"),
        ("--protocol socketio -s churn", "socketio"),
        ("wss://a..b/", "certificate"),
        ("--nonsense", "--nonsense"),
        ("--threshold abort:lost==0", "known only when the run is over"),
    ] {
        let output = loadgen(line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{line}: {}", stderr(&output));
    }
}

#[test]
fn too_many_clients_for_one_server_is_3_and_says_what_works() {
    // No machine has so many descriptors per process: the kernel's own bound (fs.nr_open) is about 10^9.
    let output = loadgen("-c 16m --dry-run");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("works"), "{}", stderr(&output));
}

#[test]
fn a_dry_run_connects_to_nothing() {
    let output = loadgen("ws://127.0.0.1:1/ -c 10 --dry-run");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("10 connections"));
}

#[test]
fn out_writes_every_output() {
    let dir = std::env::temp_dir().join(format!("loadgen-out-{}", std::process::id()));
    let server = FaultyServer::start(Mode::Broadcast, Fault::None).expect("a free port");
    let output =
        loadgen(&format!("{} -c 3 -r 20 --warmup 0s -d 1s -q --out {}", server.url(), dir.display()));
    server.stop();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let files: Vec<PathBuf> =
        std::fs::read_dir(&dir).expect("it was made").filter_map(|entry| Some(entry.ok()?.path())).collect();
    assert_eq!(files.len(), 5, "{files:?}");
    std::fs::remove_dir_all(&dir).expect("it is ours");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_still_reports() {
    // A listener that never answers: its first connection says that loadgen is under way.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("it is bound"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([&url, "-c", "3", "--connect-timeout", "10m", "--json", "-"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program was built");
    let connection = listener.accept().expect("loadgen connects");
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process has an id");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is ours");
    let mut json = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().expect("piped"), &mut json).expect("readable");
    let status = child.wait().expect("it ends");
    drop(connection);
    assert_eq!(status.code(), Some(130));
    let report: Report = serde_json::from_str(&json).expect("what was measured is written");
    assert!(report.run.interrupted);
    assert_eq!((report.connect.requested, report.connect.connected), (3, 0));
}

#[cfg(feature = "embedded")]
#[test]
fn without_a_url_it_brings_its_own_server() {
    let report = report("-c 50 -r 20 --warmup 0s -d 1s");
    assert!(report.plan.embedded);
    assert_complete(&report, 50 * 20);
    assert!(report.server.is_some_and(|server| server.rss_bytes > 0), "it is sampled");
}

/// Its own server agrees; what was asked for arrives, in fewer bytes.
#[cfg(feature = "embedded")]
#[test]
fn deflate_is_offered_agreed_on_and_spoken_both_ways() {
    for (scenario, heard_by) in [("broadcast", 5), ("echo", 1)] {
        let report = report(&format!(
            "-s {scenario} -r 20 -c 5 --deflate --text --fill text --size 2k --warmup 0s -d 1s"
        ));
        assert!(report.plan.deflate && report.messages.sent > 0);
        let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(report.connect.extensions, [(agreed.to_owned(), 5)].into());
        assert_complete(&report, report.messages.sent * heard_by);
        let (messages, deliveries) = (&report.messages, &report.deliveries);
        assert_eq!((messages.bytes, deliveries.bytes), (messages.sent * 2000, deliveries.received * 2000));
        assert!(messages.wire_bytes * 4 < messages.bytes, "{}", messages.wire_bytes);
        assert!(deliveries.wire_bytes * 4 < deliveries.bytes, "{}", deliveries.wire_bytes);
    }
}

/// A server that declines is measured all the same, and the report says so.
#[test]
fn a_server_that_declines_deflate_is_named() {
    let server = FaultyServer::start(Mode::Echo, Fault::None).expect("a free port");
    let line = format!("{} -s echo -c 3 --warmup 0s -d 1s", server.url());
    let (asked, unasked) = (report(&format!("{line} --deflate")), report(&line));
    server.stop();
    assert_eq!(asked.connect.extensions, [("declined".to_owned(), 3)].into());
    assert!(asked.reasons.iter().any(|reason| reason.check == "deflate" && reason.text.contains("3 of 3")));
    assert_complete(&asked, asked.messages.sent);
    assert_eq!((unasked.connect.extensions.len(), unasked.plan.deflate), (0, false));
    // 2 bytes of header and 2 of length, 4 more of mask on the way out.
    assert_eq!(asked.messages.wire_bytes, asked.messages.bytes + 8 * asked.messages.sent);
    assert_eq!(asked.deliveries.wire_bytes, asked.deliveries.bytes + 4 * asked.deliveries.received);
}
