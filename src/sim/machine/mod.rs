//! A machine: several real workers, the bus between them, and a seed that decides how slowly, torn and broken it is.
//!
//! Peers come to any worker, say numbered things and hear everything; links break and come back; a worker is turned when the
//! world likes, and bytes move when it likes. Here the peers' own connections never fail: what fails between a peer and its worker is
//! what [`World`](super::World) is for.
//!
//! What must be true, whatever happens:
//!
//! - every peer hears the numbers of each speaker in order and none twice, its own included;
//! - what a peer missed while it was there is no more than what the bus has counted as lost;
//! - `published × (workers − 1) = sent + queued + lost`, at every step;
//! - when everything is quiet, every worker knows how many peers the whole machine has.
//!
//! Invariant: a run follows from its seed.

mod exchange;
mod net;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;

use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::net::Ready;
use crate::server::config::Place;
use crate::server::{Config, Worker};
use crate::service::builtin::Builtin;
use crate::ws::{Cursor, Decoder, Event, Limits, Role, encode_masked};
use exchange::{Ear, Exchange};
use net::MachineNet;

/// Steps in which things go wrong.
const CHAOS_STEPS: usize = 1_500;
/// Steps after which everything must have become quiet.
const CALM_STEPS: usize = 60_000;
const PEERS_MAX: usize = 24;

/// How a machine fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fared {
    /// What went wrong, if anything did.
    pub failure: Option<String>,
    /// Messages said, heard by all who heard them, and counted as lost.
    pub said: u64,
    /// Deliveries to peers.
    pub heard: u64,
    /// Publications that a sibling missed.
    pub lost: u64,
    /// Links that went down.
    pub breaks: u64,
}

struct Machine {
    exchange: Rc<RefCell<Exchange>>,
    workers: Vec<Worker<MachineNet, Builtin>>,
    /// By peer: how many things it has said.
    said: Vec<u32>,
    is_breaking: bool,
}

/// Runs the machine of a seed.
#[must_use]
pub fn run(seed: u64) -> Fared {
    let mut machine = Machine::new(seed);
    let mut fared = Fared::default();
    let outcome = machine.live();
    fared.failure = outcome.err();
    fared.said = machine.said.iter().map(|n| u64::from(*n)).sum();
    for worker in &machine.workers {
        let Some((_, counts, _)) = worker.bus_figures() else { continue };
        (fared.lost, fared.breaks) = (fared.lost + counts.lost, fared.breaks + counts.downs);
    }
    fared.heard = machine.exchange.borrow().ears.iter().map(|ear| messages(ear).len() as u64).sum();
    fared
}

impl Machine {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(2..=4);
        let exchange = Rc::new(RefCell::new(Exchange::new(count, random.u64(..))));
        let worker = |index: usize| {
            let place = Place { index: index as u32, count: count as u32, directory: PathBuf::new() };
            let service = Builtin::default().numbered(place.index, place.count);
            let config = Config { place: Some(place), ping_interval: 0, ..Config::default() };
            Worker::new(MachineNet::new(index, Rc::clone(&exchange)), service, config, PEERS_MAX)
        };
        let workers = (0..count).map(worker).collect();
        Self { exchange, workers, said: Vec::new(), is_breaking: random.bool() }
    }

    fn live(&mut self) -> Result<(), String> {
        for _ in 0..CHAOS_STEPS {
            self.step()?;
        }
        self.exchange.borrow_mut().is_deaf.fill(false);
        for _ in 0..CALM_STEPS {
            self.pass(MILLI);
            self.carry_all();
            for worker in 0..self.workers.len() {
                self.turn(worker)?;
            }
            if self.is_quiet() {
                return self.judge();
            }
        }
        let known: Vec<u32> = self.workers.iter().map(|worker| worker.present("broadcast/sea")).collect();
        let here = self.exchange.borrow().ears.iter().filter(|ear| !ear.is_gone).count();
        let unsaid = self.exchange.borrow().ears.iter().filter(|ear| !ear.to_say.is_empty()).count();
        let linked: Vec<bool> = self.workers.iter().map(Worker::is_linked).collect();
        Err(format!(
            "it did not become quiet: {here} peers, known {known:?}, linked {linked:?}, {unsaid} not heard out"
        ))
    }

    /// One thing happens.
    fn step(&mut self) -> Result<(), String> {
        let (what, which) = {
            let random = &mut self.exchange.borrow_mut().random;
            (random.u32(0..100), random.usize(..))
        };
        let worker = which % self.workers.len();
        match what {
            0..3 => self.come(worker),
            3 => self.go(which),
            4..20 => self.say(which),
            20..50 => self.carry_some(which),
            50..52 if self.is_breaking => self.break_one(which),
            52 if self.is_breaking => {
                let deaf = &mut self.exchange.borrow_mut().is_deaf[worker];
                *deaf = !*deaf;
            }
            50..70 => self.pass(MILLI * (which as Nanos % 40)),
            _ => self.turn(worker)?,
        }
        Ok(())
    }

    fn come(&mut self, worker: usize) {
        let mut exchange = self.exchange.borrow_mut();
        if exchange.ears.len() == PEERS_MAX {
            return;
        }
        let request =
            b"GET /broadcast/sea HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let ear = Ear { worker, to_say: request.iter().copied().collect(), ..Ear::default() };
        exchange.ears.push(ear);
        self.said.push(0);
        let number = exchange.ears.len() - 1;
        exchange.knocks[worker].push_back(number);
        exchange.ready[worker].push(Ready::Listener(0));
    }

    /// A peer ends its side; what it has said before is still heard.
    fn go(&mut self, which: usize) {
        let mut exchange = self.exchange.borrow_mut();
        let count = exchange.ears.len();
        let Some(ear) = exchange.ears.get_mut(which % count.max(1)) else { return };
        ear.is_gone = true;
        exchange.nudge(which % count);
    }

    fn say(&mut self, which: usize) {
        if self.said.is_empty() {
            return;
        }
        let peer = which % self.said.len();
        let mut exchange = self.exchange.borrow_mut();
        if exchange.ears[peer].is_gone {
            return;
        }
        let text = format!("{peer} {}", self.said[peer]);
        self.said[peer] += 1;
        let mut frame = Vec::new();
        encode_masked(&mut frame, crate::ws::Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
        exchange.ears[peer].to_say.extend(frame);
        exchange.nudge(peer);
    }

    fn carry_some(&mut self, which: usize) {
        let mut exchange = self.exchange.borrow_mut();
        if exchange.pipes.is_empty() {
            return;
        }
        let (pipe, side) = (which / 2 % exchange.pipes.len(), which % 2);
        let n = exchange.random.usize(1..=400);
        exchange.carry(pipe, side, n);
    }

    fn carry_all(&self) {
        let mut exchange = self.exchange.borrow_mut();
        for pipe in 0..exchange.pipes.len() {
            for side in 0..2 {
                exchange.carry(pipe, side, usize::MAX);
            }
        }
    }

    fn break_one(&mut self, which: usize) {
        let mut exchange = self.exchange.borrow_mut();
        if !exchange.pipes.is_empty() {
            let pipe = which % exchange.pipes.len();
            exchange.break_pipe(pipe);
        }
    }

    fn pass(&self, time: Nanos) {
        self.exchange.borrow_mut().now += time;
    }

    fn turn(&mut self, worker: usize) -> Result<(), String> {
        self.pass(1_000);
        self.workers[worker].turn().map_err(|error| error.to_string())?;
        let siblings = self.workers.len() as u64 - 1;
        let Some((published, counts, queued)) = self.workers[worker].bus_figures() else { return Ok(()) };
        let (owed, known) = (published * siblings, counts.sent + queued + counts.lost);
        if owed != known {
            return Err(format!("worker {worker}: {owed} publications for siblings, {known} accounted for"));
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let exchange = self.exchange.borrow();
        let is_linked = self.workers.iter().all(|worker| worker.is_linked());
        let is_still =
            self.workers.iter().all(|worker| worker.bus_figures().is_none_or(|(_, _, queued)| queued == 0));
        let is_said = exchange.ears.iter().all(|ear| ear.to_say.is_empty() && ear.id.is_some());
        let past = exchange.now > 40 * SECOND;
        // Figures are told every second for ever: what still moves may be those alone, so time has to pass as well.
        is_linked && is_still && is_said && (past || !exchange.is_moving()) && self.knows_all()
    }

    /// Whether every worker knows of every peer.
    fn knows_all(&self) -> bool {
        let peers = self.exchange.borrow().ears.iter().filter(|ear| !ear.is_gone).count() as u32;
        self.workers.iter().all(|worker| worker.present("broadcast/sea") == peers)
    }

    fn judge(&self) -> Result<(), String> {
        let exchange = self.exchange.borrow();
        let mut missed_by_worker: BTreeMap<usize, u64> = BTreeMap::new();
        let mut total = 0;
        for (number, ear) in exchange.ears.iter().enumerate() {
            let mut last: HashMap<u32, u32> = HashMap::new();
            let (mut own, mut missed) = (0, 0);
            for (who, n) in messages(ear) {
                let before = last.insert(who, n);
                match before {
                    Some(before) if n <= before => {
                        return Err(format!("peer {number} heard {who} {n} behind {who} {before}"));
                    }
                    // What was said before it came is none of its business.
                    None => {}
                    Some(before) => missed += u64::from(n - before - 1),
                }
                own += u32::from(who as usize == number);
            }
            if ear.is_gone {
                continue;
            }
            // The last things that were said may be missing as well.
            missed += last.iter().map(|(who, n)| u64::from(self.said[*who as usize] - 1 - n)).sum::<u64>();
            if own != self.said[number] {
                return Err(format!(
                    "peer {number} said {} things and heard {own} of them",
                    self.said[number]
                ));
            }
            let most = missed_by_worker.entry(ear.worker).or_default();
            *most = missed.max(*most);
        }
        for worker in &self.workers {
            total += worker.bus_figures().map_or(0, |(_, counts, _)| counts.lost);
        }
        let missed: u64 = missed_by_worker.values().sum();
        if missed > total {
            return Err(format!("{missed} publications were missed by workers, {total} counted as lost"));
        }
        Ok(())
    }
}

/// What a peer has heard: who said which of their numbers.
fn messages(ear: &Ear) -> Vec<(u32, u32)> {
    let Some(end) = ear.heard.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Vec::new() };
    let mut window = ear.heard[end + 4..].to_vec();
    let (mut decoder, mut cursor) = (Decoder::new(Role::Client), Cursor::default());
    let limits = Limits { frame_max: 1 << 16, message_max: 1 << 16, fragments_max: 1 };
    let mut heard = Vec::new();
    while let Ok(Some(event)) = decoder.decode(&mut window, &mut cursor, &limits) {
        if let Event::Message { payload, .. } = event
            && let Ok(text) = std::str::from_utf8(payload)
            && let Some((who, n)) = text.split_once(' ')
            && let (Ok(who), Ok(n)) = (who.parse(), n.parse())
        {
            heard.push((who, n));
        }
    }
    heard
}
