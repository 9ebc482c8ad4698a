//! What the integration tests share: a running `stentor`, plain HTTP, and a WebSocket peer of a few lines.
//!
//! The tests speak to the program over real sockets and know nothing of its inside. The peer here writes and
//! reads frames with code of its own: a mistake that encoder and decoder of the library share would not be seen
//! by a test that uses both.
//!
//! Invariant: nothing here waits for luck. A wait ends when the awaited thing is there; the deadline of
//! [`PATIENCE`] is there only to turn a hang into a failure that says what was awaited.

// Each test program uses its own part of this.
#![allow(dead_code, unused_imports)]

pub(crate) mod aftermath;
pub(crate) mod deflated;
mod peer;

pub(crate) use peer::{BINARY, CLOSE, Frame, PING, PONG, Peer, TEXT, encode};

use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// After this long nothing will come any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The key of RFC 6455 §1.3, and what a server must make of it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A `stentor` of our own on a free port; it ends with the value.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts the program with `args` behind `--listen` on a free port.
    pub(crate) fn start(args: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
        command.args(["--listen", "127.0.0.1:0"]).args(args);
        Server::run(command)
    }

    /// Starts the program under a limit of open descriptors: `soft:hard`.
    pub(crate) fn start_limited(descriptors: &str, args: &[&str]) -> Server {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={descriptors}")).arg(env!("CARGO_BIN_EXE_stentor"));
        command.args(["--listen", "127.0.0.1:0"]).args(args);
        Server::run(command)
    }

    /// Starts `command` and waits for the line that says where it listens.
    pub(crate) fn run(mut command: Command) -> Server {
        let mut child = piped(&mut command).spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = follow(&mut child, &log);
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let Ok(line) = lines.recv_timeout(PATIENCE) else { break };
            let told = line.split("listening on ").skip(1);
            let mut addresses = told.filter_map(|rest| {
                rest.split(|c: char| c.is_whitespace() || matches!(c, ',' | '"')).next()?.parse().ok()
            });
            if let Some(address) = addresses.next() {
                return Server { child, address, log };
            }
        }
        let _ = child.kill();
        panic!(
            "the server does not say where it listens; it says: {}",
            log.lock().expect("no panic under it")
        );
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that the server has written to stderr.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic under it").clone()
    }

    /// A plain connection whose reads and writes end at [`PATIENCE`].
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream
    }

    /// The same, but one that takes in as little at a time as the system allows.
    pub(crate) fn narrow(&self) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.connect(&self.address.into()).expect("the server accepts");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    /// A WebSocket peer at `target`.
    pub(crate) fn open(&self, target: &str) -> Peer {
        Peer::open(self.connect(), target)
    }

    /// Sends `request` on a connection of its own and reads one response.
    pub(crate) fn ask(&self, request: &[u8]) -> Response {
        let mut stream = self.connect();
        // A server that has seen enough may answer and close while we still write.
        let _ = stream.write_all(request);
        Response::read(&mut stream, request.starts_with(b"HEAD"))
    }

    pub(crate) fn get(&self, target: &str) -> Response {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
    }

    /// `POST`s `body` to `/publish/` and what `channel` says.
    pub(crate) fn publish(&self, channel: &str, content_type: &str, body: &[u8]) -> Response {
        let head = format!(
            "POST /publish/{channel} HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.ask(&[head.as_bytes(), body].concat())
    }

    /// Sends a signal by name, as a shell would.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        assert!(kill.expect("sh runs").success(), "the server is there to get the signal");
    }

    /// Waits until the program has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the server to end", || self.child.try_wait().expect("a child can be waited for"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
        }
    }
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped())
}

/// Copies the child's stderr into `log` as it comes, and hands each line on.
fn follow(child: &mut Child, log: &Arc<Mutex<String>>) -> Receiver<String> {
    let stderr = child.stderr.take().expect("stderr is piped");
    let (sender, lines) = channel();
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            log.lock().expect("no panic under it").push_str(&format!("{line}\n"));
            // Nobody listens any more once the server has said where it is.
            let _ = sender.send(line);
        }
    });
    lines
}

/// Runs the program to its end: its status, and what it wrote to stdout and to stderr.
pub(crate) fn run_to_end(args: &[&str]) -> (ExitStatus, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    let mut child = piped(command.args(args)).stdout(Stdio::piped()).spawn().expect("the program starts");
    let (mut stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let read = |pipe: &mut dyn Read| {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("the program writes UTF-8");
        text
    };
    let errors = thread::spawn(move || read(&mut stderr));
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("`stentor {}` should end by itself", args.join(" "));
        }
        thread::sleep(Duration::from_millis(5));
    };
    (status, read(&mut stdout), errors.join().expect("the reader ends with the pipe"))
}

/// Writes what `refill` puts into the buffer, without reading, until nothing has moved for half a second. What is left of
/// the buffer then is to be written when the other side reads again.
pub(crate) fn write_until_stuck(
    stream: &mut TcpStream,
    at_most: usize,
    mut refill: impl FnMut(&mut Vec<u8>),
) -> Vec<u8> {
    stream.set_nonblocking(true).expect("it can be");
    let (mut sent, mut pending, mut progress) = (0, Vec::new(), Instant::now());
    while progress.elapsed() < Duration::from_millis(500) {
        assert!(sent < at_most, "{sent} bytes taken in, no answer read: there is no bound");
        refill(&mut pending);
        match stream.write(&pending) {
            Ok(count) => {
                pending.drain(..count);
                sent += count;
                progress = Instant::now();
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(why) => panic!("{why}"),
        }
    }
    stream.set_nonblocking(false).expect("it can be");
    pending
}

/// Asks again and again until `probe` has an answer; a deadline passed is a failure that names `what`.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(answer) = probe() {
            return answer;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("waited {PATIENCE:?} for {what}");
}

/// One HTTP response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Reads one response; `head_only` for the answer to HEAD, which announces a body and has none.
    pub(crate) fn read(stream: &mut impl Read, head_only: bool) -> Response {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                end => panic!("no whole response ({end:?}), only: {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).expect("a head is ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("split yields at least one");
        assert!(status_line.starts_with("HTTP/1.1 "), "{status_line}");
        let status = status_line[9..12].parse().expect("a status of three digits");
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_string())
        };
        let mut response = Response { status, headers: lines.map(field).collect(), body: Vec::new() };
        if !head_only && status != 101 && status != 204 {
            let length =
                response.header("content-length").expect("a body says its length").parse().expect("a number");
            response.body.resize(length, 0);
            stream.read_exact(&mut response.body).expect("the body is as long as it says");
        }
        response
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands twice in {:?}", self.headers);
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }
}

/// An upgrade request for `target` with the given header lines behind `Host`.
pub(crate) fn upgrade_with(target: &str, lines: &[&str]) -> Vec<u8> {
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n");
    lines.iter().for_each(|line| request.push_str(&format!("{line}\r\n")));
    request.push_str("\r\n");
    request.into_bytes()
}

/// The header lines of a good upgrade.
pub(crate) const GOOD: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
