//! A server as a process: started, pinned, watched through /proc, ended.
//!
//! What is compared is the server's *own* processor time, since wall time belongs to driver and neighbours as
//! well. It is read in nanoseconds from the scheduler's statistics of every thread, when the server has come to
//! rest: the kernel brings a running thread's figure up to date only now and then.
//!
//! Invariants: a server never outlives its `Running`; server and driver never share a core if there are two.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::driver::Trust;

/// A server that can be started: its name in the tables and the command that runs it.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// In tables and JSON.
    pub name: String,
    /// Program and arguments. It must listen on a free port of 127.0.0.1 and say `listening on ADDRESS:PORT`
    /// on stderr, serve `/echo`, and broadcast on `/broadcast` to everybody there, the sender included.
    pub command: Vec<String>,
    /// The floor's contents are not worth comparing; everybody else's are.
    pub trust: Trust,
}

/// The cores that server and driver are pinned to; `None` where there is only one.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    server: usize,
    driver: usize,
}

impl Cores {
    /// The first two cores this process may use.
    pub fn find() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        Some(Self { server: cores.next()?, driver: cores.next()? })
    }

    fn pin_to(core: usize) {
        let mut only = CpuSet::new();
        only.set(core);
        // A refusal makes the numbers noisier, not wrong.
        let _ = sched_setaffinity(None, &only);
    }
}

/// A server that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: SocketAddrV4,
}

impl Running {
    /// Starts a contestant and waits until it says where it listens.
    ///
    /// # Errors
    /// When it cannot be started, or ends or stays silent for ten seconds; its last words are in the error.
    pub fn start(contestant: &Contestant, cores: Option<Cores>) -> io::Result<Self> {
        let (program, arguments) = contestant.command.split_first().expect("a contestant has a command");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A child is born on its parent's core, and its threads on its own: so we go there and come back.
        if let Some(cores) = cores {
            Cores::pin_to(cores.server);
        }
        let spawned = command.spawn();
        if let Some(cores) = cores {
            Cores::pin_to(cores.driver);
        }
        let mut child =
            spawned.map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        match await_address(&mut child) {
            Ok(address) => Ok(Self { child, address }),
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Processor time of all its threads in nanoseconds, read when it has come to rest.
    pub fn cpu_ns(&self) -> u64 {
        const STEP: Duration = Duration::from_millis(2);
        const REST: u32 = 3;
        let began = Instant::now();
        let (mut last, mut still) = (self.cpu_now_ns(), 0);
        while still < REST && began.elapsed() < Duration::from_secs(2) {
            thread::sleep(STEP);
            let now = self.cpu_now_ns();
            still = if now == last { still + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// Whether it does next to nothing for a while.
    pub fn is_idle(&self) -> bool {
        const WHILE: Duration = Duration::from_millis(500);
        let before = self.cpu_now_ns();
        thread::sleep(WHILE);
        self.cpu_now_ns() - before < 20_000_000
    }

    /// Memory that is its own and not a file's, in bytes.
    pub fn anonymous_bytes(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// What stentor says of itself at `/stats`.
    ///
    /// # Errors
    /// When it does not answer, or not with JSON.
    pub fn stats(&self) -> io::Result<serde_json::Value> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /stats HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok(serde_json::from_str(body)?)
    }

    fn cpu_now_ns(&self) -> u64 {
        let threads = fs::read_dir(self.proc("task")).into_iter().flatten().flatten();
        let sum = threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum();
        if sum > 0 { sum } else { self.ticks_ns() }
    }

    /// The same in steps of 10 ms, where the kernel keeps no scheduler statistics.
    fn ticks_ns(&self) -> u64 {
        let stat = fs::read_to_string(self.proc("stat")).unwrap_or_default();
        // The command in brackets may hold anything; user and system ticks are fields 12 and 13 behind it.
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: u64 =
            fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second())
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill and wait returns at once.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads its stderr up to the line that tells, and in a thread of its own to the end, so that it never blocks.
fn await_address(child: &mut Child) -> io::Result<SocketAddrV4> {
    const LAST_WORDS_MAX: usize = 8;
    let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut tell = Some(tell);
        let mut last_words = VecDeque::new();
        for line in stderr.lines().map_while(Result::ok) {
            if tell.is_none() {
                continue;
            }
            if let Some(address) = address_in(&line) {
                // Nobody listens any more only if the start has been given up.
                drop(tell.take().map(|tell| tell.send(Ok(address))));
            } else {
                last_words.push_back(line);
                last_words.drain(..last_words.len().saturating_sub(LAST_WORDS_MAX));
            }
        }
        if let Some(tell) = tell {
            let words = Vec::from(last_words).join(" | ");
            drop(tell.send(Err(io::Error::other(format!("ended without listening: {words}")))));
        }
    });
    told.recv_timeout(Duration::from_secs(10))
        .unwrap_or_else(|_| Err(io::Error::other("did not say within 10 s where it listens")))
}

fn address_in(line: &str) -> Option<SocketAddrV4> {
    let (_, rest) = line.split_once("listening on ")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_wherever_the_line_has_it() {
        let expected = Some("127.0.0.1:4711".parse().unwrap());
        for line in [
            "floor: listening on 127.0.0.1:4711",
            "2026-01-01T00:00:00Z INFO stentor 0.1.0 listening on 127.0.0.1:4711, 20000 descriptors",
            "listening on 127.0.0.1:4711.",
        ] {
            assert_eq!(address_in(line), expected, "{line}");
        }
        assert_eq!(address_in("listening on nothing"), None);
    }

    #[test]
    fn a_program_that_ends_is_an_error_with_its_last_words() {
        let command = ["sh", "-c", "echo no such luck >&2"].map(String::from).to_vec();
        let contestant = Contestant { name: "sh".into(), command, trust: Trust::Nothing };
        let error = Running::start(&contestant, None).unwrap_err().to_string();
        assert!(error.contains("no such luck"), "{error}");
    }
}
