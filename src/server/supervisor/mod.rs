//! The supervisor: several workers on one port, each a process of this program.
//!
//! A worker is a process and not a thread: descriptor limits count per process, what is shared is nothing, and a crash takes a
//! share of the peers instead of all of them. The supervisor serves nobody. It finds the port, starts the first worker, then the
//! others, says once that all are up, passes signals on, starts the fallen again, and goes when all have gone.
//!
//! ```text
//!   starting ──"bound"──▶ bound ──"linked"──▶ up ──exit──▶ fallen ──pause, 100 ms to 10 s──▶ starting
//!       └──exit before all were up for the first time──▶ the whole ends, and the worker has said why
//! ```
//!
//! Invariants: one thread, no polling; whoever was started is waited for; the directory of the links is gone at the end.

mod orders;
mod plan;
mod share;

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, Signal as Kill, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

pub use orders::{Orders, VARIABLE};
use plan::Plan;
pub use share::{WORKERS_MAX, Workers};

use super::config::Config;
use super::start::Failure;

/// What a worker says when its addresses are bound.
pub(super) const BOUND: &[u8] = b"bound\n";
/// What it says when it can tell every other worker things, or has waited long enough for that.
pub(super) const LINKED: &[u8] = b"linked\n";

const SIGNALS: Token = Token(usize::MAX);
/// Pauses before a worker that fell is started again: doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Who was up for so long begins with the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);
/// How much longer than the drain the workers may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// How several workers ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// They were told to, and did.
    Well,
    /// One could not start, and has said why.
    Told,
}

/// The command that runs this program once more, with the arguments that it was given.
///
/// # Errors
/// The system does not say which program this is.
pub fn same_again() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    Ok(command)
}

/// Runs `count` workers as `config` says until they are told to stop. `again` makes the command that runs this very program
/// as a worker, as [`same_again`] does; it must begin by asking for its [`Orders`].
///
/// # Errors
/// An address that cannot be bound, a process that cannot be started, or the process was told twice to stop.
pub fn supervise(
    config: &Config,
    count: u32,
    again: impl Fn() -> io::Result<Command>,
) -> Result<Ended, Failure> {
    config.check().map_err(Failure::new)?;
    let plan = Plan::make(config, count)?;
    let failed = |error: io::Error| Failure::new(format!("cannot supervise workers: {error}"));
    let mut supervisor = Supervisor::new(plan, again).map_err(failed)?;
    supervisor.run()
}

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Not running.
    Fallen,
    Starting,
    Bound,
    Up,
}

struct Worker {
    child: Option<Child>,
    stage: Stage,
    /// What it says.
    says: Option<Receiver>,
    heard: Vec<u8>,
    started: Instant,
    pause: Duration,
    again_at: Option<Instant>,
    restarts: u64,
}

struct Supervisor<C> {
    plan: Plan,
    again: C,
    poll: Poll,
    signals: Signals,
    workers: Vec<Worker>,
    /// All were up once: who falls now is started again.
    is_up: bool,
    /// Told to stop, or somebody could not start: nobody is started again, and after this moment nobody is waited for.
    ending: Option<Instant>,
    is_forced: bool,
    /// What could not be started.
    broken: Option<io::Error>,
    fell_first: bool,
}

impl<C: Fn() -> io::Result<Command>> Supervisor<C> {
    fn new(plan: Plan, again: C) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let worker = |_| Worker {
            child: None,
            stage: Stage::Fallen,
            says: None,
            heard: Vec::new(),
            started: Instant::now(),
            pause: Duration::ZERO,
            again_at: None,
            restarts: 0,
        };
        let workers = (0..plan.count()).map(worker).collect();
        let (is_up, is_forced, fell_first) = (false, false, false);
        Ok(Self {
            plan,
            again,
            poll,
            signals,
            workers,
            is_up,
            ending: None,
            is_forced,
            broken: None,
            fell_first,
        })
    }

    fn run(&mut self) -> Result<Ended, Failure> {
        let mut events = Events::with_capacity(128);
        self.start_or_end(0);
        while !self.is_over() {
            let waited = self.poll.poll(&mut events, self.timeout());
            if let Err(error) = waited
                && error.kind() != io::ErrorKind::Interrupted
            {
                self.broken = Some(error);
                self.end(Kill::TERM);
            }
            self.obey();
            for event in &events {
                if event.token() != SIGNALS {
                    self.listen_to(event.token().0);
                }
            }
            self.wait_for_the_fallen();
            self.start_again();
            if self.ending.is_some_and(|until| until <= Instant::now()) {
                tracing::warn!("workers that do not end in time are killed");
                self.kill(Kill::KILL);
            }
        }
        if let Some(error) = self.broken.take() {
            return Err(Failure::new(format!("cannot run workers: {error}")));
        }
        if self.is_forced {
            return Err(Failure::new("told twice to stop: ending at once".to_owned()));
        }
        Ok(if self.fell_first { Ended::Told } else { Ended::Well })
    }

    fn is_over(&self) -> bool {
        self.ending.is_some() && self.workers.iter().all(|worker| worker.child.is_none())
    }

    fn timeout(&self) -> Option<Duration> {
        let again = self.workers.iter().filter_map(|worker| worker.again_at);
        // A millisecond on top: mio rounds down to what the system can wait, and must not wake too early again and again.
        again.chain(self.ending).min().map(|at| {
            at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
                + Duration::from_millis(1)
        })
    }

    /// Does what signals ask for.
    fn obey(&mut self) {
        let told: Vec<i32> = self.signals.pending().collect();
        for signal in told {
            match signal {
                SIGHUP => self.kill(Kill::HUP),
                SIGTERM | SIGINT if self.ending.is_some() => {
                    self.is_forced = true;
                    self.kill(Kill::TERM);
                }
                SIGTERM | SIGINT => self.end(Kill::TERM),
                // SIGCHLD only has to wake us.
                _ => {}
            }
        }
    }

    fn end(&mut self, signal: Kill) {
        self.ending = Some(Instant::now() + self.plan.drain + GRACE);
        self.workers.iter_mut().for_each(|worker| worker.again_at = None);
        self.kill(signal);
    }

    fn kill(&self, signal: Kill) {
        for worker in &self.workers {
            let pid = worker.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32));
            // Fails for who is gone already, which is waited for below.
            let _ = pid.map(|pid| kill_process(pid, signal));
        }
    }

    /// Starts worker `index`, or ends everything if that cannot be.
    fn start_or_end(&mut self, index: usize) {
        if let Err(error) = self.start(index) {
            self.broken = Some(error);
            self.end(Kill::TERM);
        }
    }

    fn start(&mut self, index: usize) -> io::Result<()> {
        let orders = self.plan.orders(index as u32, self.workers[index].restarts);
        let mut command = (self.again)()?;
        command.env(VARIABLE, index.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A terminal's Ctrl-C reaches the supervisor alone, which passes it on once.
        command.process_group(0);
        let mut child = command.spawn()?;
        if let Some(stdin) = child.stdin.take() {
            // Who cannot read its orders ends, and is seen to.
            let _ = orders.give(stdin);
        }
        let says = child.stdout.take().map(|stdout| {
            let mut says = Receiver::from(stdout);
            says.set_nonblocking(true)?;
            self.poll.registry().register(&mut says, Token(index), Interest::READABLE)?;
            Ok::<_, io::Error>(says)
        });
        let worker = &mut self.workers[index];
        worker.child = Some(child);
        worker.says = says.transpose()?;
        (worker.stage, worker.started, worker.again_at) = (Stage::Starting, Instant::now(), None);
        worker.heard.clear();
        Ok(())
    }

    /// Reads what worker `index` says.
    fn listen_to(&mut self, index: usize) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        let Some(says) = &mut worker.says else { return };
        let mut bytes = [0; 256];
        while let Ok(n) = says.read(&mut bytes) {
            if n == 0 {
                worker.says = None;
                break;
            }
            // It says a dozen bytes in its life; what goes beyond is not listened to.
            let room = 64 - worker.heard.len().min(64);
            worker.heard.extend_from_slice(&bytes[..n.min(room)]);
        }
        let hears = |word: &[u8]| worker.heard.windows(word.len()).any(|said| said == word);
        let stage = if hears(LINKED) {
            Stage::Up
        } else if hears(BOUND) {
            Stage::Bound
        } else {
            worker.stage
        };
        if stage > worker.stage {
            worker.stage = stage;
            self.moved_on(index);
        }
    }

    /// A worker has come further.
    fn moved_on(&mut self, index: usize) {
        let worker = &self.workers[index];
        let pid = worker.child.as_ref().map(Child::id);
        if worker.stage == Stage::Bound && index == 0 && !self.is_up && self.ending.is_none() {
            // What is wrong with all is told by one: the others start when the first has come so far.
            (1..self.workers.len()).for_each(|other| self.start_or_end(other));
        }
        if self.is_up && self.workers[index].stage == Stage::Up {
            tracing::info!(worker = index, pid, restarts = self.workers[index].restarts, "a worker is back");
        }
        if !self.is_up && self.workers.iter().all(|worker| worker.stage == Stage::Up) {
            self.is_up = true;
            for (index, worker) in self.workers.iter().enumerate() {
                tracing::info!(worker = index, pid = worker.child.as_ref().map(Child::id), "up");
            }
            // The one line that scripts wait for stands whatever is logged.
            let _ = io::Write::write_all(&mut io::stderr(), format!("{}\n", self.plan.summary).as_bytes());
        }
    }

    /// Sees who has ended.
    fn wait_for_the_fallen(&mut self) {
        let mut fallen: HashMap<usize, ExitStatus> = HashMap::new();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            if let Some(child) = &mut worker.child
                && let Ok(Some(status)) = child.try_wait()
            {
                fallen.insert(index, status);
                (worker.child, worker.says) = (None, None);
            }
        }
        for (index, status) in fallen {
            self.fell(index, status);
        }
    }

    fn fell(&mut self, index: usize, status: ExitStatus) {
        let worker = &mut self.workers[index];
        worker.stage = Stage::Fallen;
        if self.ending.is_some() {
            return;
        }
        if !self.is_up {
            self.fell_first = true;
            return self.end(Kill::TERM);
        }
        let is_steady = worker.started.elapsed() >= STEADY;
        worker.pause = if is_steady { PAUSE_MIN } else { (worker.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX) };
        worker.restarts += 1;
        worker.again_at = Some(Instant::now() + worker.pause);
        let pause_ms = worker.pause.as_millis() as u64;
        tracing::error!(worker = index, %status, pause_ms, "a worker fell: its peers have been reset, it is started again");
    }

    fn start_again(&mut self) {
        let now = Instant::now();
        let due =
            self.workers.iter().enumerate().filter(|(_, worker)| worker.again_at.is_some_and(|at| at <= now));
        let due: Vec<usize> = due.map(|(index, _)| index).collect();
        for index in due {
            if let Err(error) = self.start(index) {
                let worker = &mut self.workers[index];
                worker.pause = (worker.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                worker.again_at = Some(now + worker.pause);
                tracing::error!(worker = index, %error, "a worker cannot be started now");
            }
        }
    }
}

impl<C> Drop for Supervisor<C> {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            if let Some(child) = &mut worker.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
