//! The fleet: the loops of a run, in threads of this process or in shards, which are processes of their own.
//!
//! Why processes: the descriptor limit counts per process. A shard is this program again, with the plan on its stdin
//! and its events on its stdout, a line of JSON each; so a run looks the same from here however it is spread.
//!
//! Invariants: every loop's last word is [`Event::Done`] or [`Event::Failed`], also when its process is killed; shards
//! end when this process does, because their stdin ends.

use crate::descriptors;
use crate::engine::assignment::Assignment;
use crate::engine::control::{Command, Event};
use crate::engine::{Loop, WAKER};
use crate::plan::Plan;

use mio::{Poll, Waker};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// What a shard is told first.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    plan: Plan,
    /// Number of its first loop.
    first: u32,
    origin_ns: u64,
}

/// A loop in a thread of this process.
struct LocalLoop {
    commands: Sender<Command>,
    waker: Waker,
}

impl LocalLoop {
    fn command(&self, command: Command) {
        // A loop that is gone has said its last word; its events tell.
        if self.commands.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// All loops of a run.
pub struct Fleet {
    local: Vec<LocalLoop>,
    shards: Vec<(Child, ChildStdin)>,
    events: Receiver<(u32, Event)>,
}

impl Fleet {
    /// Starts every loop of the plan; they connect at once. Seconds are counted from `origin_ns`.
    ///
    /// # Errors
    /// No thread, poll or process can be had.
    pub fn start(plan: &Plan, origin_ns: u64) -> io::Result<Self> {
        let (sender, events) = channel();
        if plan.procs == 1 {
            let local = start_loops(plan, 0, origin_ns, &sender)?;
            return Ok(Self { local, shards: Vec::new(), events });
        }
        let mut shards = Vec::new();
        for shard in 0..plan.procs {
            let orders = Orders { plan: plan.clone(), first: shard * plan.threads, origin_ns };
            shards.push(start_shard(&orders, sender.clone())?);
        }
        Ok(Self { local: Vec::new(), shards, events })
    }

    /// The processes in which the loops are, in the loops' order: the shards, or this one alone.
    pub fn pids(&self) -> Vec<u32> {
        if self.shards.is_empty() {
            return vec![std::process::id()];
        }
        self.shards.iter().map(|(child, _)| child.id()).collect()
    }

    /// Tells every loop.
    pub fn command(&mut self, command: Command) {
        self.local.iter().for_each(|local| local.command(command));
        for (_, stdin) in &mut self.shards {
            // A shard that does not listen is dying; its events tell.
            let _ = write_line(stdin, &command);
        }
    }

    /// The next event of any loop; `None` when there is none in `timeout`.
    pub fn next(&self, timeout: Duration) -> Option<(u32, Event)> {
        match self.events.recv_timeout(timeout) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(timeout); // everybody is gone; the caller sees that nobody is left to wait for
                None
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (mut child, stdin) in self.shards.drain(..) {
            drop(stdin);
            let _ = child.wait();
        }
    }
}

/// Starts the loops of one process, `first` the first of them.
fn start_loops(
    plan: &Plan,
    first: u32,
    origin_ns: u64,
    events: &Sender<(u32, Event)>,
) -> io::Result<Vec<LocalLoop>> {
    // In one go, before anything is measured: later each growth would hold up the loop that needs it.
    descriptors::make_room(u64::from(plan.clients_at_once()));
    (first..first + plan.threads)
        .map(|index| {
            let assignment = Assignment { index, loops: plan.loops(), origin_ns };
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            let (commands, inbox) = channel();
            let (plan, events) = (plan.clone(), events.clone());
            let work = move || {
                let said = events.clone();
                let report = Box::new(move |event| drop(said.send((index, event))));
                let done = Loop::new(&plan, assignment, poll, inbox, report).and_then(Loop::run);
                let last_word = match done {
                    Ok(result) => Event::Done(Box::new(result)),
                    Err(error) => Event::Failed(format!("loop {index}: {error}")),
                };
                drop(events.send((index, last_word)));
            };
            thread::Builder::new().name(format!("loop {index}")).spawn(work)?;
            Ok(LocalLoop { commands, waker })
        })
        .collect()
}

/// Starts a shard and a thread that passes on what it says.
fn start_shard(orders: &Orders, events: Sender<(u32, Event)>) -> io::Result<(Child, ChildStdin)> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("__shard").stdin(Stdio::piped()).stdout(Stdio::piped());
    isolate(&mut command);
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut pending: HashSet<u32> = (orders.first..orders.first + orders.plan.threads).collect();
    let pid = child.id();
    let listen = move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            let Ok((index, event)) = serde_json::from_str::<(u32, Event)>(&line) else { break };
            if matches!(event, Event::Done(_) | Event::Failed(_)) {
                pending.remove(&index);
            }
            drop(events.send((index, event)));
        }
        for index in pending {
            drop(events.send((index, Event::Failed(format!("loop {index}: its process {pid} died")))));
        }
    };
    write_line(&mut stdin, orders)?;
    thread::Builder::new().name("shard".to_owned()).spawn(listen)?;
    Ok((child, stdin))
}

/// Keeps a terminal's Ctrl-C from our children: we tell them when to stop.
pub(crate) fn isolate(command: &mut std::process::Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line).and_then(|()| out.flush())
}

/// The whole life of a shard: orders and commands in, events out.
pub fn shard() -> ExitCode {
    match run_shard() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: shard: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_shard() -> io::Result<()> {
    let mut lines = BufReader::new(io::stdin()).lines();
    let first = lines.next().ok_or_else(|| io::Error::other("no orders came"))??;
    let orders: Orders = serde_json::from_str(&first)?;
    let (sender, events) = channel();
    let loops = start_loops(&orders.plan, orders.first, orders.origin_ns, &sender)?;
    drop(sender);
    let obey = move || {
        for line in lines.map_while(Result::ok) {
            let Ok(command) = serde_json::from_str(&line) else { break };
            loops.iter().for_each(|local| local.command(command));
        }
        // Our coordinator is gone: so is the reason to go on.
        loops.iter().for_each(|local| local.command(Command::Finish));
    };
    thread::Builder::new().name("orders".to_owned()).spawn(obey)?;
    let mut out = io::stdout().lock();
    for event in events {
        write_line(&mut out, &event)?;
    }
    Ok(())
}
