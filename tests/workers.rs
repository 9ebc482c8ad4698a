//! Several workers on one port: for a peer they are one server, and the end of one is not the end of the others.
//!
//! The kernel decides which worker a peer reaches, so these tests open enough peers that every worker has some, and ask
//! the numbers which.
//!
//! Invariant: nothing here knows how workers speak to each other; only what peers, operators and `ps` see is asserted.

mod common;

use common::{Peer, Server, run_to_end, wait_for};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

const WORKERS: usize = 3;

fn start(more: &[&str]) -> Server {
    Server::start(&[&["--workers", "3"], more].concat())
}

fn stats(server: &Server) -> Value {
    serde_json::from_slice(&server.get("/stats").body).expect("JSON")
}

/// What each worker says, asked until every one has been reached.
fn stats_of_all(server: &Server) -> BTreeMap<u64, Value> {
    let mut heard = BTreeMap::new();
    wait_for("an answer of every worker", || {
        let stats = stats(server);
        heard.insert(stats["worker"]["index"].as_u64().expect("a number"), stats);
        (heard.len() == WORKERS).then_some(())
    });
    heard
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|child| child.parse().expect("a process number")).collect()
}

fn is_alive(pid: u32) -> bool {
    // A zombie that nobody has waited for yet is gone, too.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// The private directory of the workers of `supervisor`.
fn directories(supervisor: u32) -> Vec<std::path::PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from);
    let bases = runtime.into_iter().chain([std::env::temp_dir(), Path::new("/tmp").to_owned()]);
    let prefix = format!("stentor-{supervisor}-");
    let mut found: Vec<_> = bases
        .filter_map(|base| std::fs::read_dir(base).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The workers' numbers agree on how many peers there are on the machine.
fn wait_for_connections(server: &Server, peers: u64) {
    wait_for("the sum of all connections", || {
        let answer = server.get("/stats");
        // A worker that is full has no answer to give.
        let stats: Value =
            (answer.status == 200).then(|| serde_json::from_slice(&answer.body).expect("JSON"))?;
        // The connection that asks is one more.
        (stats["all"]["connections"].as_u64() == Some(peers + 1)).then_some(())
    });
}

#[test]
fn what_is_said_anywhere_is_heard_everywhere_once_and_in_order() {
    let server = start(&[]);
    let mut peers: Vec<Peer> = (0..30).map(|_| server.open("/broadcast/sea")).collect();
    wait_for("presence of all in the answer to a publication", || {
        let answer: Value =
            serde_json::from_slice(&server.publish("sea", "text/plain", b"-").body).expect("JSON");
        (answer["subscribers"] == 30).then_some(())
    });
    let on: Vec<u64> =
        stats_of_all(&server).values().map(|stats| stats["topics"].as_u64().expect("a number")).collect();
    assert_eq!(on, [1, 1, 1], "thirty peers are on all three workers");
    for n in 0..50 {
        for (who, peer) in peers.iter_mut().enumerate().step_by(5) {
            peer.send_text(&format!("{who} {n}"));
        }
    }
    for peer in &mut peers {
        let mut next: HashMap<String, u32> = HashMap::new();
        while next.values().sum::<u32>() < 6 * 50 {
            let frame = peer.message();
            let text = frame.text();
            if text == "-" {
                continue;
            }
            let (who, n) = text.split_once(' ').expect("two words");
            let expected = next.entry(who.to_owned()).or_default();
            assert_eq!(n.parse(), Ok(*expected), "the next of {who}, once");
            *expected += 1;
        }
    }
    peers.iter_mut().for_each(|peer| assert_eq!(peer.settle(), [], "nothing comes twice"));
}

#[test]
fn who_does_not_hear_itself_is_heard_by_the_others_on_all_workers() {
    let server = start(&[]);
    let mut listeners: Vec<Peer> = (0..15).map(|_| server.open("/broadcast/sea")).collect();
    let mut speaker = server.open("/broadcast/sea?self=0");
    speaker.send(common::BINARY, b"\x00\xff");
    for listener in &mut listeners {
        let frame = listener.message();
        assert_eq!((frame.opcode, &frame.payload[..]), (common::BINARY, &b"\x00\xff"[..]));
    }
    assert_eq!(speaker.settle(), []);
}

#[test]
fn a_large_message_reaches_the_others_whole() {
    let server = start(&["--message-max", "8mi", "--queue-max", "16mi"]);
    let mut listeners: Vec<Peer> = (0..9).map(|_| server.open("/broadcast/sea")).collect();
    let message: Vec<u8> = (0..5 << 20).map(|n: u32| (n % 251) as u8).collect();
    let speaker = std::thread::spawn({
        let mut speaker = server.open("/broadcast/sea?self=0");
        let message = message.clone();
        move || speaker.send(common::BINARY, &message)
    });
    for listener in &mut listeners {
        assert!(listener.message().payload == message, "five mebibytes, unchanged");
    }
    speaker.join().expect("it can be sent");
}

#[test]
fn a_room_is_one_room_over_all_workers() {
    let server = start(&[]);
    let mut names = BTreeSet::new();
    let mut peers: Vec<Peer> = Vec::new();
    for n in 0..12 {
        peers.push(server.open(&format!("/chat/sea?name=p{n}")));
        // What was said a moment before it came may still be on its way to its worker.
        peers.iter_mut().for_each(|peer| hear_until(peer, &format!("p{n} comes in")));
    }
    for _ in 0..6 {
        let mut unnamed = server.open("/chat/names");
        let (_, enter) = heard(&mut unnamed);
        assert!(names.insert(enter.clone()), "{enter}: a number is nobody else's");
    }
    peers[4].send_text("hello");
    for peer in &mut peers {
        let (kind, data) = heard(peer);
        assert!(kind == "message" && data.ends_with(":hello"), "{data}");
    }
    peers.pop().expect("twelve came").close();
    for peer in &mut peers {
        assert!(heard(peer).1.ends_with(" left"));
    }
}

/// Reads up to an announcement that must come.
fn hear_until(peer: &mut Peer, wanted: &str) {
    while heard(peer).1 != wanted {}
}

fn heard(peer: &mut Peer) -> (String, String) {
    let said: Value = serde_json::from_str(peer.message().text()).expect("JSON");
    let word = |key: &str| said[key].as_str().expect("text").to_owned();
    (word("type"), word("data"))
}

#[test]
fn a_name_that_is_taken_on_another_worker_gets_a_number() {
    let server = start(&[]);
    let mut listeners: Vec<Peer> = (0..12).map(|_| server.open("/chat/names")).collect();
    let mut names = BTreeSet::new();
    let mut anns = Vec::new();
    for _ in 0..9 {
        let mut ann = server.open("/chat/names?name=ann");
        let enter = loop {
            let (_, said) = heard(&mut ann);
            // What was said a moment before it came may still be on its way.
            if said.starts_with("ann") && !names.contains(&said) {
                break said;
            }
        };
        // Where people have heard of it, their worker has.
        listeners.iter_mut().for_each(|listener| hear_until(listener, &enter));
        assert!(names.insert(enter.clone()), "{enter} is there already");
        anns.push(ann);
    }
}

#[test]
fn the_numbers_of_all_workers_are_added_up_on_each() {
    let server = start(&[]);
    let mut peers: Vec<Peer> = (0..20).map(|_| server.open("/echo")).collect();
    for peer in &mut peers {
        peer.send_text("x");
        peer.message();
    }
    wait_for_connections(&server, 20);
    wait_for("all echoes in the sum", || {
        (stats(&server)["all"]["messages_in_total"].as_u64() == Some(20)).then_some(())
    });
    let own: u64 = stats_of_all(&server)
        .values()
        .map(|stats| stats["messages_in_total"].as_u64().expect("a number"))
        .sum();
    assert_eq!(own, 20, "each worker tells its own beside the sum");
    let metrics = server.get("/metrics").text().to_owned();
    assert!(metrics.contains("\nstentor_all_messages_in_total 20\n"), "{metrics}");
    assert!(metrics.contains("\nstentor_bus_links_up 2\n"), "{metrics}");
    assert!(metrics.contains("stentor_all_turn_seconds{quantile=\"0.99\"}"), "{metrics}");
}

#[test]
fn a_worker_that_is_killed_takes_its_own_peers_and_nobody_else_and_comes_back() {
    let server = start(&[]);
    let mut peers: Vec<Peer> = (0..24).map(|_| server.open("/chat/storm")).collect();
    peers.iter_mut().for_each(|peer| drop(peer.settle()));
    wait_for_connections(&server, 24);
    let workers = children(server.pid());
    assert_eq!(workers.len(), WORKERS);
    kill("KILL", workers[1]);
    // Whoever was there is told by its end of the stream; the others hear of each of them once.
    let mut left = Vec::new();
    let mut lost = 0;
    for mut peer in peers {
        match hears_us(&mut peer) {
            Some(news) => left.push((peer, news)),
            None => lost += 1,
        }
    }
    assert!(lost > 0 && !left.is_empty(), "{lost} of 24 were on it");
    for (peer, news) in &mut left {
        let mut told = BTreeSet::new();
        let mut news = std::mem::take(news).into_iter();
        while told.len() < lost {
            let frame = news.next().unwrap_or_else(|| peer.message());
            let said: Value = serde_json::from_str(frame.text()).expect("JSON");
            if said["type"] == "enter" {
                // Said on another worker before the last had come, and still on its way then.
                continue;
            }
            assert_eq!(said["type"], "leave", "{said}");
            assert!(told.insert(said["data"].to_string()), "{said}: told once");
        }
    }
    wait_for("the worker to be back", || {
        let stats = stats_of_all(&server);
        let are_up = |stats: &Value| {
            stats["worker"]["siblings"]
                .as_array()
                .expect("a list")
                .iter()
                .all(|sibling| sibling["up"] == true)
        };
        stats.values().all(are_up).then_some(())
    });
    assert_eq!(children(server.pid()).len(), WORKERS);
    assert!(server.log().contains("a worker fell"), "{}", server.log());
    let mut newcomers: Vec<Peer> = (0..12).map(|_| server.open("/broadcast/after")).collect();
    newcomers[0].send_text("all here");
    newcomers.iter_mut().for_each(|peer| assert_eq!(peer.message().text(), "all here"));
}

/// What has come before the answer to a ping; `None` if the peer's worker is gone.
fn hears_us(peer: &mut Peer) -> Option<Vec<common::Frame>> {
    use std::io::Write as _;
    peer.stream.write_all(&common::encode(true, common::PING, b"there?")).ok()?;
    let mut news = Vec::new();
    loop {
        match peer.try_read()? {
            frame if frame.opcode == common::PONG => return Some(news),
            frame => news.push(frame),
        }
    }
}

#[test]
fn told_to_stop_all_say_goodbye_and_nothing_is_left() {
    let mut server = start(&["--drain", "2s"]);
    let peers: Vec<Peer> = (0..12).map(|_| server.open("/echo")).collect();
    let workers = children(server.pid());
    assert_eq!(directories(server.pid()).len(), 1);
    server.signal("TERM");
    for mut peer in peers {
        assert_eq!(peer.closed(), 1001);
    }
    assert_eq!(server.wait().code(), Some(0));
    assert!(workers.iter().all(|worker| !is_alive(*worker)));
    assert_eq!(directories(server.pid()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_supervisor_that_is_killed_leaves_no_workers() {
    let server = start(&["--drain", "200ms"]);
    let workers = children(server.pid());
    kill("KILL", server.pid());
    wait_for("the workers to end", || workers.iter().all(|worker| !is_alive(*worker)).then_some(()));
    directories(server.pid()).into_iter().for_each(|left| std::fs::remove_dir_all(left).expect("it is ours"));
}

#[test]
fn sighup_reaches_every_worker() {
    let tokens = std::env::temp_dir().join(format!("stentor-workers-{}.tokens", std::process::id()));
    std::fs::write(&tokens, "before\n").expect("a file can be written");
    let server = start(&["--token-file", tokens.to_str().expect("UTF-8")]);
    let with = |token: &str| server.get(&format!("/stats?access_token={token}")).status;
    assert_eq!((with("before"), with("after")), (200, 401));
    std::fs::write(&tokens, "after\n").expect("a file can be written");
    server.signal("HUP");
    wait_for("all workers to know the new token", || {
        (0..20).all(|_| with("after") == 200 && with("before") == 401).then_some(())
    });
    std::fs::remove_file(&tokens).expect("it is ours");
}

#[test]
fn what_cannot_start_says_so_in_one_line_and_leaves_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let missing = ["--tls-listen", "127.0.0.1:0", "--tls-cert", "/no/such.pem", "--tls-key", "/no/such.key"];
    let few = ["--listen", "127.0.0.1:0", "--connections-max", "1000000000"];
    for (args, told) in [
        (&["--listen", &address][..], "something listens there already"),
        (&missing[..], "/no/such.pem"),
        (&few[..], "--workers auto"),
    ] {
        let (status, _, stderr) = run_to_end(&[&["--workers", "2"], args].concat());
        let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((status.code(), lines.len()), (Some(1), 1), "{stderr}");
        assert!(lines[0].contains(told), "{stderr}");
    }
    let (status, _, stderr) = run_to_end(&["--workers", "0"]);
    assert_eq!(status.code(), Some(2), "{stderr}");
}

#[test]
fn two_servers_never_share_a_port() {
    let server = start(&[]);
    let (status, _, stderr) = run_to_end(&["--workers", "2", "--listen", &server.address().to_string()]);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("something listens there already"), "{stderr}");
}

#[test]
fn as_many_workers_as_the_descriptors_ask_for() {
    // Each may open 300 files: 32 are kept back, and some for links, so 600 peers need three workers or more.
    let server = Server::start_limited("300:300", &["--workers", "auto", "--connections-max", "600"]);
    let workers = children(server.pid()).len();
    assert!((3..=4).contains(&workers), "{workers}: {}", server.log());
    let peers: Vec<Peer> = (0..400).map(|_| server.open("/broadcast/all")).collect();
    wait_for_connections(&server, 400);
    drop(peers);
    let one = Server::start_limited("300:300", &["--workers", "auto", "--connections-max", "200"]);
    assert_eq!(children(one.pid()).len(), 0, "one worker is no supervisor");
}

#[test]
fn a_worker_that_is_full_leaves_newcomers_to_the_others() {
    let server = start(&["--connections-max", "90"]);
    let mut peers: Vec<Peer> = Vec::new();
    wait_for("eighty peers", || {
        // Who waits at the very listener that is being closed is reset by the system and comes again, as browsers do.
        let mut stream = std::net::TcpStream::connect(server.address()).ok()?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).ok()?;
        let request = common::upgrade_with("/broadcast/full", &common::GOOD);
        std::io::Write::write_all(&mut stream, &request).ok()?;
        let mut first = [0];
        if std::io::Read::read(&mut stream, &mut first).ok()? == 0 {
            return None;
        }
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut stream, &mut byte).ok()?;
            rest.push(byte[0]);
        }
        if rest.starts_with(b"TTP/1.1 101") {
            peers.push(Peer { stream });
        } else {
            // Nobody is refused while another has room, but for the time that the news of it takes.
            assert!(rest.starts_with(b"TTP/1.1 503"), "{}", String::from_utf8_lossy(&rest));
        }
        (peers.len() == 80).then_some(())
    });
    // Nobody can be asked for numbers now without being one more newcomer; that all are there they show themselves.
    peers[0].send_text("to all");
    peers.iter_mut().for_each(|peer| assert_eq!(peer.message().text(), "to all"));
}
