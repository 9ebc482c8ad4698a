//! The engine: one loop over many clients, from the first connection to the last delivery.
//!
//! Why a loop of its own: the tool must know to the microsecond when it did what, and must say so of itself. A turn
//! waits for the kernel, reads what came, sends what is due (also in the midst of reading, so that a burst of
//! deliveries does not delay the schedule), and notes how long all that took.
//!
//! Invariants: one clock reading per read and per write; no allocation per delivery; a message due is sent, waits in a
//! backlog, or is counted unsent; everything that a loop knows goes home in its result.

mod asking;
pub mod assignment;
pub mod books;
pub mod clock;
mod comings;
mod connecting;
pub mod control;
pub mod fanout;
mod farewell;
mod measure;
mod population;
mod publish;
pub mod results;
mod seconds;
mod sending;
mod slowness;
mod sockets;
pub mod tracker;

use crate::client::{Client, Lent};
use crate::plan::Plan;
use crate::sample::OwnMemory;
use crate::units::NS_PER_S;
use asking::Asking;
use assignment::Assignment;
use clock::{Alarm, now_ns, thread_cpu_ns};
use comings::Comings;
use connecting::Connecting;
use control::{Command, Draining, Event};
use farewell::Farewell;
use measure::Measure;
use mio::{Events, Poll, Token};
use publish::Publishing;
use results::{Bytes, LoopResult, Times};
use seconds::Seconds;
use sending::ClosedRound;
use slowness::Slowness;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};

const ALARM: Token = Token(usize::MAX);
/// The token of the waker by which commands are announced.
pub const WAKER: Token = Token(usize::MAX - 1);
/// Events taken from the kernel at once: 12 KiB each way, a turn of a millisecond or two.
const EVENTS_MAX: usize = 1_024;
/// How often a draining loop says where it stands.
const DRAIN_REPORT_NS: u64 = 50_000_000;
/// How long a server may take to answer a close frame, or the next of many.
const CLOSE_NS: u64 = NS_PER_S;

/// Where a loop stands; it only moves downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Waiting,
    Running,
    Draining,
    Closing,
}

/// One loop.
pub struct Loop<'p> {
    plan: &'p Plan,
    asking: Asking<'p>,
    assignment: Assignment,
    poll: Poll,
    events: Events,
    alarm: Alarm,
    commands: Receiver<Command>,
    report: Box<dyn FnMut(Event) + Send>,
    phase: Phase,
    clients: Vec<Client>,
    lent: Lent,
    connecting: Connecting,
    comings: Comings,
    slowness: Slowness,
    publishing: Publishing,
    measure: Measure,
    round: ClosedRound,
    connected: u64,
    handshake: Times,
    send_lag: Times,
    /// What was due at the end and not even tried; what was tried and waits is in the backlog.
    unsent: Times,
    loop_lag: Times,
    receive_lag: Times,
    /// Set by the first read of a turn that woke up.
    woke_ns: u64,
    seconds: Seconds,
    next_drain_report_ns: u64,
    cpu: CpuWindow,
    /// When it was told to finish: what is unsent then stays so.
    finished_ns: u64,
    farewell: Farewell,
    anon_before_bytes: u64,
    memory: OwnMemory,
}

/// What one client costs us beside the kernel: itself, its completeness for one publisher, its next sequence; where it
/// comes and goes, its session and its place in the queue.
pub const CLIENT_STATE_BYTES: usize = size_of::<Client>()
    + tracker::PAIR_BYTES
    + size_of::<u32>()
    + population::SESSION_BYTES
    + comings::DUE_BYTES;
const _: () = assert!(CLIENT_STATE_BYTES <= 128, "what the tool allows itself");

/// CPU time at the ends of the measured phase.
#[derive(Debug, Default)]
struct CpuWindow {
    begin: Option<(u64, u64)>,
    end: Option<(u64, u64)>,
}

impl<'p> Loop<'p> {
    /// A loop for its share of the plan. `report` is told what happens.
    ///
    /// # Errors
    /// The system gives no poll or timer: no descriptors left.
    pub fn new(
        plan: &'p Plan,
        assignment: Assignment,
        poll: Poll,
        commands: Receiver<Command>,
        report: Box<dyn FnMut(Event) + Send>,
    ) -> io::Result<Self> {
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let mut new = Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            alarm,
            commands,
            report,
            phase: Phase::Connecting,
            clients: Vec::new(),
            lent: Lent::new(plan, u64::from(assignment.index)),
            connecting: Connecting::new(plan, &assignment, now_ns()),
            comings: Comings::new(plan, &assignment),
            slowness: Slowness::default(),
            publishing: Publishing::new(plan, &assignment),
            measure: Measure::new(plan, &assignment),
            round: ClosedRound::default(),
            connected: 0,
            handshake: Times::default(),
            send_lag: Times::default(),
            unsent: Times::default(),
            loop_lag: Times::default(),
            receive_lag: Times::default(),
            woke_ns: 0,
            seconds: Seconds::default(),
            next_drain_report_ns: 0,
            cpu: CpuWindow::default(),
            finished_ns: 0,
            farewell: Farewell::default(),
            anon_before_bytes: 0,
            memory: OwnMemory::default(),
            plan,
            asking: Asking::new(plan, assignment)?,
            assignment,
        };
        // What is the same for one client and for a million is not the clients' cost; what follows is.
        new.anon_before_bytes = OwnMemory::now().anon_bytes;
        new.clients.resize_with(assignment.clients(plan.clients) as usize, Client::default);
        new.measure.follow(plan, &assignment, new.clients.len());
        Ok(new)
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The system's poll fails: it has no reason to.
    pub fn run(mut self) -> io::Result<LoopResult> {
        self.seconds.number = now_ns().saturating_sub(self.assignment.origin_ns) / NS_PER_S;
        self.measure.counts.requested = self.clients.len() as u64;
        while !self.is_over(now_ns()) {
            self.turn()?;
        }
        Ok(self.into_result())
    }

    /// One turn: wait, read and write what is ready, then what is due.
    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        self.woke_ns = now_ns();
        self.obey();
        self.dispatch();
        self.connect();
        self.publish();
        self.move_clients();
        self.read_slowly();
        let now_ns = now_ns();
        self.say_goodbye(now_ns);
        self.watch(now_ns);
        let lag_ns = now_ns - self.woke_ns;
        self.seconds.loop_lag_max_ns = self.seconds.loop_lag_max_ns.max(lag_ns);
        if self.is_measured() {
            self.loop_lag.record(lag_ns);
        }
        Ok(())
    }

    const fn is_running(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Draining => true,
            Phase::Connecting | Phase::Waiting | Phase::Closing => false,
        }
    }

    /// Whether what the loop does now counts: the warm-up is over and the end has not come.
    const fn is_measured(&self) -> bool {
        self.is_running() && self.cpu.begin.is_some()
    }

    /// Sleeps until something is ready or due; with `--spin`, while something is due soon, not at all.
    fn wait(&mut self) -> io::Result<()> {
        let (wakeup_ns, now_ns) = (self.next_wakeup_ns(), now_ns());
        let spins = self.plan.spin && self.phase == Phase::Running;
        // What is due already must not wait for an alarm that may have rung for it before.
        let timeout = if spins || wakeup_ns <= now_ns {
            Some(std::time::Duration::ZERO)
        } else {
            self.alarm.arm(wakeup_ns)?;
            self.alarm.timeout_ns(now_ns).map(std::time::Duration::from_nanos)
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            done => done,
        }
    }

    /// The earliest thing that is due.
    fn next_wakeup_ns(&self) -> u64 {
        let second_ns = self.assignment.origin_ns + (self.seconds.number + 1) * NS_PER_S;
        let phase_ns = match self.phase {
            Phase::Connecting => {
                let ramp_ns = self.connecting.next_ns().unwrap_or(u64::MAX);
                ramp_ns.min(self.connecting.deadline_ns(&self.clients).unwrap_or(u64::MAX))
            }
            Phase::Waiting => u64::MAX,
            Phase::Running => {
                let until_ns = self.measure.end_ns.min(self.measure.start_ns + self.plan.warmup_ns);
                let edge_ns = if self.cpu.begin.is_none() { until_ns } else { self.measure.end_ns };
                let grace_ns = self.round.grace_ns().max(self.woke_ns + NS_PER_S / 100);
                self.publishing.next_due_ns().min(edge_ns).min(grace_ns).min(self.next_move_ns())
            }
            // A loop that is behind its schedule still has messages that are due.
            Phase::Draining => {
                self.publishing.next_due_ns().min(self.next_drain_report_ns).min(self.next_move_ns())
            }
            Phase::Closing => self.next_goodbye_ns(),
        };
        second_ns.min(phase_ns)
    }

    /// Does what the coordinator says.
    fn obey(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Start { start_ns }) => self.start(start_ns),
                // A coordinator that is gone wants nothing any more.
                Ok(Command::Finish) | Err(TryRecvError::Disconnected) => return self.finish(),
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn start(&mut self, start_ns: u64) {
        self.phase = Phase::Running;
        self.round.subscribers = self.connected as u32;
        self.measure.begin(self.plan, self.connected as u32, start_ns);
        self.publishing.begin(self.plan, start_ns);
        self.begin_moving();
    }

    fn finish(&mut self) {
        if self.phase == Phase::Closing {
            return;
        }
        let now_ns = now_ns();
        self.mark_cpu_end(now_ns);
        self.connecting.stop();
        self.give_up_sending(now_ns);
        self.finished_ns = now_ns;
        self.begin_farewell(now_ns);
    }

    fn is_over(&self, now_ns: u64) -> bool {
        self.phase == Phase::Closing && self.is_farewell_over(now_ns)
    }

    /// Moves through the phases, ends seconds, says where the drain stands.
    fn watch(&mut self, now_ns: u64) {
        match self.phase {
            Phase::Connecting => {
                self.expire(now_ns);
                if self.connecting.is_done() {
                    self.phase = Phase::Waiting;
                    self.memory = OwnMemory::now();
                    (self.report)(Event::Ready { connected: self.connected });
                }
            }
            Phase::Running => {
                if self.cpu.begin.is_none() && now_ns >= self.measure.start_ns + self.plan.warmup_ns {
                    self.cpu.begin = Some((now_ns, thread_cpu_ns()));
                }
                self.release_round(now_ns);
                if now_ns >= self.measure.end_ns {
                    self.mark_cpu_end(now_ns);
                    self.phase = Phase::Draining;
                    self.next_drain_report_ns = now_ns;
                }
            }
            Phase::Draining if now_ns >= self.next_drain_report_ns => {
                self.next_drain_report_ns = now_ns + DRAIN_REPORT_NS;
                let counts = &self.measure.counts;
                (self.report)(Event::Draining(Draining {
                    sent: counts.sent,
                    received: counts.received,
                    received_self: counts.received_self,
                    backlog: self.publishing.backlog() + u64::from(self.publishing.next_due_ns() <= now_ns),
                }));
            }
            Phase::Waiting | Phase::Draining | Phase::Closing => {}
        }
        if now_ns >= self.assignment.origin_ns + (self.seconds.number + 1) * NS_PER_S {
            self.end_second(now_ns);
        }
    }

    fn mark_cpu_end(&mut self, now_ns: u64) {
        if self.cpu.end.is_none() {
            self.cpu.end = Some((now_ns, thread_cpu_ns()));
        }
    }

    /// Packs up.
    fn into_result(mut self) -> LoopResult {
        let ended_ns = now_ns();
        let _ = self.measure.take_second();
        let mut unsent = self.unsent;
        let gave_up_ns = if self.finished_ns == 0 { ended_ns } else { self.finished_ns };
        self.publishing
            .unsent()
            .for_each(|intended_ns| unsent.record(gave_up_ns.saturating_sub(intended_ns)));
        let mut fanout = Vec::new();
        if let Some(rows) = &self.measure.fanout {
            rows.records().for_each(|record| record.encode(&mut fanout));
        }
        let (cpu_ns, measured_ns) = match (self.cpu.begin, self.cpu.end) {
            // The phase is what the schedule says; CPU was read in the first turn after each of its edges.
            (Some((_, cpu_from_ns)), Some((to_ns, cpu_to_ns))) => {
                let begin_ns = self.measure.start_ns + self.plan.warmup_ns;
                (cpu_to_ns - cpu_from_ns, to_ns.min(self.measure.end_ns).saturating_sub(begin_ns))
            }
            (None, _) | (_, None) => (0, 0),
        };
        LoopResult {
            name: format!("loop {}", self.assignment.index),
            counts: self.measure.counts,
            delivery: self.measure.delivery,
            service: self.measure.service,
            send_lag: self.send_lag,
            handshake: self.handshake,
            unsent,
            loop_lag: self.loop_lag,
            receive_lag: self.receive_lag,
            fanout: Bytes(fanout),
            moved: self.measure.population.into_moved(),
            cpu_ns,
            measured_ns,
            ended_ns,
            rss_bytes: self.memory.rss_bytes,
            anon_before_bytes: self.anon_before_bytes,
            anon_bytes: self.memory.anon_bytes,
        }
    }
}
