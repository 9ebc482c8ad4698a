//! A stentor of our own: this program, executed again as the server.
//!
//! Why a process of its own: the server's CPU and memory must be told apart from ours, and its descriptors are its
//! own. Why this program: `cargo run -p loadgen` builds no other. This is the only file of loadgen that names the
//! server.
//!
//! Invariants: the server ends when we end, however that happens; when `start` returns, it accepts connections.

use crate::fleet::isolate;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use stentor::server::admission::Origins;
use stentor::server::deflate::Mode;
use stentor::server::supervisor::{Ended, Orders, Workers, same_again, supervise};
use stentor::server::{Address, Config, Failure, KEEP_FREE, Server};

/// How long a server may take until it accepts.
const START_MAX: Duration = Duration::from_secs(10);
/// How long it may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(2);
/// How long it says goodbye to whoever is left, in nanoseconds; nobody should be.
const DRAIN_NS: u64 = 500_000_000;
/// Lines of its log kept for the error message.
const LOG_LINES_MAX: usize = 20;

/// A running server.
#[derive(Debug)]
pub struct OwnServer {
    child: Child,
}

/// An address of 127.0.0.1 on which nobody listens.
///
/// # Errors
/// No port is free.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

impl OwnServer {
    /// Starts it, with room for messages of `message_max` bytes, with compression if asked for, in `workers` processes, and
    /// waits until all of them are up.
    ///
    /// # Errors
    /// It does not start, with its own last words.
    pub fn start(address: SocketAddr, message_max: u64, deflate: bool, workers: u32) -> Result<Self, String> {
        let program =
            std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let mut command = Command::new(program);
        command.arg("__server").arg(address.to_string()).arg(message_max.to_string());
        command.args(deflate.then_some("--deflate")).arg("--workers").arg(workers.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env(KEEP_FREE.0, KEEP_FREE.1);
        isolate(&mut command);
        let mut child = command.spawn().map_err(|error| format!("cannot start the server: {error}"))?;
        let log = keep_log(&mut child);
        let mut server = Self { child };
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            if let Ok(Some(status)) = server.child.try_wait() {
                // Give the log's reader the moment it needs to see the end.
                thread::sleep(Duration::from_millis(20));
                let words = log.lock().map(|lines| lines.join("\n  ")).unwrap_or_default();
                return Err(format!("the server ended at once ({status})\n  {words}"));
            }
            let is_up = |lines: &Vec<String>| lines.iter().any(|line| line.contains("listening on"));
            if log.lock().is_ok_and(|lines| is_up(&lines)) {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("the server does not say that it listens on {address} after {} s", START_MAX.as_secs()))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the server's log, so that it never blocks on it, and keeps the end of it.
fn keep_log(child: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    if let Some(stderr) = child.stderr.take() {
        let lines = Arc::clone(&kept);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let Ok(mut lines) = lines.lock() else { return };
                if lines.len() == LOG_LINES_MAX {
                    lines.remove(0);
                }
                lines.push(line);
            }
        });
    }
    kept
}

/// How many processes are needed so that each may open enough descriptors for its share of `clients`.
pub fn workers_for(clients: u32) -> u32 {
    Workers::Auto.count(Some(clients as usize))
}

/// The whole life of the server process: messages of up to `message_max` bytes are accepted. With `deflate` messages are
/// compressed as they come, small ones too: what is measured is what was asked for. With several `workers` it supervises
/// these, which are this program once more.
pub fn serve(listen: SocketAddr, message_max: u64, deflate: bool, workers: u32) -> ExitCode {
    match run(listen, message_max, deflate, workers) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Told) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(listen: SocketAddr, message_max: u64, deflate: bool, workers: u32) -> Result<Ended, Failure> {
    let mut config = config(listen, message_max, deflate);
    if let Some(orders) = Orders::received()? {
        orders.apply(&mut config)?;
        return Server::with_config(config).run().map(|()| Ended::Well);
    }
    die_with_parent();
    if workers > 1 {
        return supervise(&config, workers, same_again);
    }
    let server = Server::with_config(config).bind()?;
    eprintln!("{}", server.summary());
    server.run().map(|()| Ended::Well)
}

fn config(listen: SocketAddr, message_max: u64, deflate: bool) -> Config {
    let mut config = Config { listen: vec![Address::Tcp(listen)], ..Config::default() };
    config.ws.message_max = config.ws.message_max.max(message_max);
    config.ws.frame_max = config.ws.message_max;
    config.drain = DRAIN_NS;
    // Whoever gives --origin to a run wants to send it, not to be refused.
    config.admission.origins = Origins::Any;
    if deflate {
        (config.deflate.mode, config.deflate.min) = (Mode::Shared, 0);
    }
    config
}

/// Should loadgen be killed, nobody else would stop the server.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
}
