//! What must be true after a wrong: the next peer is served, and nothing of the wrong is left.
//!
//! The answer to a wrong is only half of the matter. A server that answers rightly and then keeps a descriptor, a
//! buffer or a turn of its loop is brought down by doing the wrong often enough. So each test of the table in
//! `docs/security.md` starts a [`Scene`], does the wrong, checks the exact answer, and ends with
//! [`Scene::aftermath`].
//!
//! Invariant: nothing here is a limit of speed, but the two seconds of the table's own promise. What takes time to
//! settle is waited for.

use super::{GOOD, PATIENCE, Peer, Response, Server, encode, upgrade_with, wait_for};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::time::{Duration, Instant};

/// After a wrong, a good client is served within this time.
pub(crate) const SERVED_WITHIN: Duration = Duration::from_secs(2);

/// What a process may hold more than before without having kept anything of a peer, in bytes: the receive buffer of the
/// loop (1.25 MiB, touched for the first time by the first large read), the arena of replies (4 MiB), and what the
/// allocator does not give back at once. A test about memory must do a wrong that is several times as large.
pub(crate) const MEMORY_SLACK: u64 = 8 << 20;

/// How long the processor is watched.
const QUIET: Duration = Duration::from_millis(300);
/// Ticks of 10 ms in that time that are no spinning: housekeeping comes once a second, a heartbeat may fall into it.
const QUIET_TICKS: u64 = 2;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    /// Resident memory, in bytes.
    pub(crate) memory: u64,
    /// Open descriptors.
    pub(crate) descriptors: usize,
}

impl Footprint {
    /// What process `pid` holds now.
    pub(crate) fn of(pid: u32) -> Footprint {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5) has it");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the server runs").count();
        Footprint { memory: kibibytes << 10, descriptors }
    }
}

/// A process of which is known what it held before anything went wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    pid: u32,
    footprint: Footprint,
}

impl Before {
    /// Takes the measure of process `pid`, which has no peer, once it has served and forgotten `first`: what is set up for the
    /// first client of a kind is nothing that a wrong leaves behind.
    pub(crate) fn of(pid: u32, first: impl FnOnce()) -> Before {
        let alone = Footprint::of(pid).descriptors;
        first();
        wait_for("the first clients to be forgotten", || {
            (Footprint::of(pid).descriptors == alone).then_some(())
        });
        Before { pid, footprint: Footprint::of(pid) }
    }

    /// The measure of process `pid` that has one peer now, who asks.
    pub(crate) fn seen_by_one(pid: u32) -> Before {
        let Footprint { memory, descriptors } = Footprint::of(pid);
        Before { pid, footprint: Footprint { memory, descriptors: descriptors - 1 } }
    }

    /// Asserts that `good` is served in time, and that nothing of a wrong is left: the caller has dropped its connections, all of
    /// them.
    pub(crate) fn aftermath(&self, good: impl FnOnce()) {
        let began = Instant::now();
        good();
        assert!(began.elapsed() < SERVED_WITHIN, "a good client was served after {:?}", began.elapsed());
        self.wait_for_descriptors();
        self.wait_for_idleness();
        self.wait_for_memory();
    }

    /// Waits until as many descriptors are open as before.
    fn wait_for_descriptors(&self) {
        let (mut now, before) = (0, self.footprint.descriptors);
        wait_until(&mut now, |now| {
            *now = Footprint::of(self.pid).descriptors;
            *now == before
        })
        .unwrap_or_else(|| panic!("{now} descriptors are open, {before} were before"));
    }

    /// Waits until the memory is that of before, but for [`MEMORY_SLACK`].
    fn wait_for_memory(&self) {
        let (mut now, before) = (0, self.footprint.memory);
        wait_until(&mut now, |now| {
            *now = Footprint::of(self.pid).memory;
            *now <= before + MEMORY_SLACK
        })
        .unwrap_or_else(|| panic!("{now} bytes are resident, {before} were before"));
    }

    /// Waits until the processor rests: a loop that spins never does.
    fn wait_for_idleness(&self) {
        let mut burnt = 0;
        wait_until(&mut burnt, |burnt| {
            let before = cpu_ticks(self.pid);
            std::thread::sleep(QUIET);
            *burnt = cpu_ticks(self.pid) - before;
            *burnt <= QUIET_TICKS
        })
        .unwrap_or_else(|| panic!("{burnt} ticks of 10 ms in {QUIET:?} of quiet: it spins"));
    }
}

/// A server of which is known what it held before anything went wrong.
pub(crate) struct Scene {
    server: Server,
    before: Before,
    good: fn(&Server),
}

impl Deref for Scene {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Scene {
    /// Starts the program with `args`, has it serve one good client of each kind, and takes its measure.
    pub(crate) fn start(args: &[&str]) -> Scene {
        Scene::of(Server::start(args))
    }

    /// The same with a server that runs already and has no peer.
    pub(crate) fn of(server: Server) -> Scene {
        let first = |server: &Server| {
            echo_once(server);
            assert_eq!(server.get("/metrics").status, 200);
        };
        Scene::with(server, first, echo_once)
    }

    /// The same where not everybody may come in: `first` is served before the measure is taken, `good` in the aftermath.
    pub(crate) fn with(server: Server, first: impl FnOnce(&Server), good: fn(&Server)) -> Scene {
        let before = Before::of(server.pid(), || first(&server));
        Scene { server, before, good }
    }

    /// What the server held before.
    pub(crate) fn before(&self) -> Footprint {
        self.before.footprint
    }

    /// The server itself, for what needs it mutable.
    pub(crate) fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Takes the memory of now for that of before. For wrongs that take small blocks by the thousand: they lie in the heap, which goes
    /// back to the system from its top only, so that as much as was in use at once may stay with the process. The same
    /// wrong again must find its memory there, and have the process take no more.
    pub(crate) fn allow_the_memory_of_now(&mut self) {
        self.before.footprint.memory = Footprint::of(self.pid()).memory;
    }

    /// Asserts that nothing of the wrong is left: the caller has dropped its connections, all of them.
    pub(crate) fn aftermath(&self) {
        self.before.aftermath(|| (self.good)(&self.server));
    }

    /// Waits until as many descriptors are open as before.
    pub(crate) fn wait_for_descriptors(&self) {
        self.before.wait_for_descriptors();
    }

    /// Waits until the memory is that of before, but for [`MEMORY_SLACK`].
    pub(crate) fn wait_for_memory(&self) {
        self.before.wait_for_memory();
    }

    /// Waits until the processor rests: a loop that spins never does.
    pub(crate) fn wait_for_idleness(&self) {
        self.before.wait_for_idleness();
    }

    /// Does one wrong by HTTP and checks the whole answer: `status` exactly, one line of text that has `says` in it,
    /// `Connection: close`, no byte behind it, and the end of the stream.
    pub(crate) fn refuses(&self, request: &[u8], status: u16, says: &str) -> Response {
        let mut stream = self.connect();
        // A server that has seen enough answers while we still write; it reads on, or resets.
        let _ = stream.write_all(request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let response = refusal(&mut stream, request.starts_with(b"HEAD "), &shown);
        assert_eq!(response.status, status, "{shown:?}: {}", String::from_utf8_lossy(&response.body));
        if !request.starts_with(b"HEAD ") {
            assert!(response.text().contains(says), "{shown:?}: {:?} does not say {says:?}", response.text());
        }
        response
    }
}

/// Probes until it is so; `None` if it never is. What was seen last stays in `seen`, for the failure to tell.
fn wait_until<T>(seen: &mut T, mut probe: impl FnMut(&mut T) -> bool) -> Option<()> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if probe(seen) {
            return Some(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// A good client comes, is echoed, and leaves.
fn echo_once(server: &Server) {
    echoed(server.open("/echo"));
}

/// A good client that is in is echoed, and leaves.
pub(crate) fn echoed<S: Read + Write>(mut good: Peer<S>) {
    good.send_text("a good client");
    assert_eq!(good.message().text(), "a good client");
    good.close();
}

/// Reads a refusal to the end of the stream and checks its form (see [`Scene::refuses`]).
pub(crate) fn refusal(stream: &mut TcpStream, head_only: bool, shown: &str) -> Response {
    let response = Response::read(stream, head_only);
    let connection = response.header("connection").unwrap_or_else(|| panic!("{shown:?}: {response:?}"));
    let closes = connection.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
    assert!(closes, "{shown:?}: an error closes, and says so: {response:?}");
    for (name, _) in &response.headers {
        let ours = [
            "connection",
            "content-type",
            "content-length",
            "allow",
            "upgrade",
            "sec-websocket-version",
            "retry-after",
            "www-authenticate",
        ];
        assert!(ours.contains(&name.as_str()), "{shown:?}: a header that we never send: {name}");
    }
    // Programs publish, and are told in JSON what was wrong.
    let is_json = response.header("content-type") == Some("application/json");
    assert!(
        is_json || response.header("content-type") == Some("text/plain; charset=utf-8"),
        "{shown:?}: {response:?}"
    );
    if !head_only {
        let line = response.text().strip_suffix('\n').unwrap_or_else(|| panic!("{shown:?}: {response:?}"));
        assert!(!line.is_empty() && !line.contains('\n'), "{shown:?}: one line, not {line:?}");
        if is_json {
            let said: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(said["error"].is_string(), "{shown:?}: {line:?}");
        }
    }
    ends(stream, shown);
    response
}

/// Asserts that not one byte more comes, and that the stream ends.
pub(crate) fn ends(stream: &mut TcpStream, shown: &str) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        // There were bytes of ours that nobody had read.
        Err(why) if matches!(why.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(why) => panic!("{shown:?}: the stream does not end: {why}"),
    }
    assert!(rest.is_empty(), "{shown:?}: behind the answer came {:?}", String::from_utf8_lossy(&rest));
}

/// Everything that comes up to the end of the stream, our side ended first.
pub(crate) fn all_that_comes(mut stream: TcpStream) -> Vec<u8> {
    let _ = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => all,
        Err(why) if why.kind() == ErrorKind::ConnectionReset => all,
        Err(why) => panic!("the stream does not end: {why}"),
    }
}

/// Upgrades with `request` and shows that what has opened is a WebSocket that echoes.
pub(crate) fn opens(server: &Server, request: &[u8]) {
    let (mut peer, _) = Peer::open_with(server.connect(), request);
    peer.send_text("it is open");
    assert_eq!(peer.message().text(), "it is open", "{:?}", String::from_utf8_lossy(request));
    peer.close();
}

/// A good upgrade of `/echo` and a frame behind it, in one piece.
pub(crate) fn upgrade_and(frame: &[u8]) -> Vec<u8> {
    [upgrade_with("/echo", &GOOD).as_slice(), frame].concat()
}

/// A whole masked text frame.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    encode(true, super::TEXT, text.as_bytes())
}

/// Processor time that a process has used, in ticks of 10 ms (`USER_HZ` is 100 on Linux).
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server runs");
    // Behind the name in parentheses; utime and stime are fields 14 and 15 (proc(5)).
    let fields = stat.rsplit(") ").next().expect("rsplit yields at least one");
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}
