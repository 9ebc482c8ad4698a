//! What is asked of the servers, in which order, how often: the plan of a run and its execution.
//!
//! Servers are measured in turn, A B C A B C, and never one after the other's rounds: what the neighbours of a
//! shared machine do over minutes then meets all of them alike, and ratios are taken within a round.
//!
//! Invariants: every session is a fresh server process; a session is warmed up first; a failure
//! spoils the cells of its own session and is reported where the number would stand.

use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::bars::{JUDGED, SOCKET_IO};
use crate::crowd;
use crate::driver::{self, Failure, Fleet, Sample, Trust};
pub use crate::question::{Cell, Kind, Question};
use crate::server::{Contestant, Cores, Running};

/// Cells that share one server process and its connections.
#[derive(Clone, Debug)]
pub struct Session {
    /// What is asked.
    pub question: Question,
    /// Connections.
    pub clients: usize,
    /// Measured one after the other.
    pub cells: Vec<Cell>,
}

/// A whole run, with nothing left to decide.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who takes part, in the order of the tables.
    pub contestants: Vec<Contestant>,
    /// What is measured.
    pub sessions: Vec<Session>,
    /// How often everybody has their turn.
    pub rounds: usize,
    /// How long one measurement lasts.
    pub duration: Duration,
    /// Where server and driver run.
    pub cores: Option<Cores>,
}

/// One number found, or why not.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// For what.
    pub cell: Cell,
    /// The contestant's name.
    pub server: String,
    /// Counted from 0.
    pub round: usize,
    /// In the unit of the question: the server's own processor time in µs, or bytes.
    pub value: Option<f64>,
    /// Wall time in µs per operation; absent for memory.
    pub wall_us: Option<f64>,
    /// What went wrong.
    pub failure: Option<String>,
}

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// What the project's documents quote.
    Full,
    /// Few connections: shows that everything runs.
    Quick,
    /// So many connections, wherever their number matters.
    Clients(usize),
}

/// The sessions of a question.
pub fn sessions(question: Question, scale: Scale) -> Vec<Session> {
    const SMALL: [(usize, usize); 3] = [(64, 1), (64, 16), (64, 100)];
    const LARGE: [(usize, usize); 2] = [(16 << 10, 1), (1 << 20, 1)];
    let session = |clients: usize, cells: &[(usize, usize)]| Session {
        question,
        clients,
        cells: cells
            .iter()
            .map(|&(size_bytes, width)| Cell { question, clients, size_bytes, width, kind: Kind::Plain })
            .collect(),
    };
    // One kind of subscribers after the other.
    let beside_plain = |clients: usize, size_bytes: usize, kind: Kind| {
        let mut session = session(clients, &[(size_bytes, 1), (size_bytes, 1)]);
        session.cells[1].kind = kind;
        vec![session]
    };
    let squeezed = |clients: usize| beside_plain(clients, 1024, Kind::Deflate);
    let spoken = |clients: usize| beside_plain(clients, 64, Kind::Socketio);
    match (question, scale) {
        (Question::Fanout, Scale::Full) => vec![
            session(1000, &SMALL),
            session(10_000, &[SMALL[0], SMALL[1], SMALL[2], (1024, 1), (1024, 100)]),
            session(18_000, &[SMALL[0], SMALL[2]]),
        ],
        (Question::Fanout, Scale::Quick) => vec![session(1000, &SMALL)],
        (Question::Fanout, Scale::Clients(clients)) => vec![session(clients, &SMALL)],
        (Question::Echo, Scale::Full) => {
            vec![session(100, &SMALL[..2]), session(10_000, &SMALL[..1]), session(10, &LARGE)]
        }
        (Question::Echo, Scale::Quick) => vec![session(100, &SMALL[..2]), session(10, &LARGE)],
        (Question::Echo, Scale::Clients(clients)) => vec![session(clients, &SMALL[..2])],
        (Question::Handshake, _) => vec![session(driver::HANDSHAKES_AT_ONCE, &[(0, 1)])],
        (Question::Idle, Scale::Full) => vec![session(18_000, &[(0, 1)])],
        (Question::Idle, Scale::Quick) => vec![session(2000, &[(0, 1)])],
        (Question::Idle, Scale::Clients(clients)) => vec![session(clients, &[(0, 1)])],
        (Question::Flood, _) => vec![session(2, &[(0, 1)])],
        (Question::Parting | Question::Heartbeats, Scale::Full) => vec![session(18_000, &[(0, 1)])],
        (Question::Parting | Question::Heartbeats, Scale::Quick) => vec![session(1000, &[(0, 1)])],
        (Question::Parting | Question::Heartbeats, Scale::Clients(clients)) => {
            vec![session(clients, &[(0, 1)])]
        }
        // A mebibyte of publications.
        (Question::Stalled | Question::Beside, Scale::Full) => vec![session(10_000, &[(1024, 1024)])],
        (Question::Stalled | Question::Beside, Scale::Quick) => vec![session(500, &[(1024, 1024)])],
        (Question::Stalled | Question::Beside, Scale::Clients(clients)) => {
            vec![session(clients, &[(1024, 1024)])]
        }
        // Enough to leave everybody behind, and little enough to be read through their narrow windows in the end.
        (Question::Burst, Scale::Full) => vec![session(10_000, &[(1024, 128)])],
        (Question::Burst, Scale::Quick) => vec![session(500, &[(1024, 128)])],
        (Question::Burst, Scale::Clients(clients)) => vec![session(clients, &[(1024, 128)])],
        (Question::Amid, Scale::Full) => vec![session(18_000, &SMALL[..1])],
        (Question::Amid, Scale::Quick) => vec![session(1000, &SMALL[..1])],
        (Question::Amid, Scale::Clients(clients)) => vec![session(clients, &SMALL[..1])],
        (Question::Deflate, Scale::Full) => squeezed(10_000),
        (Question::Deflate, Scale::Quick) => squeezed(1000),
        (Question::Deflate, Scale::Clients(clients)) => squeezed(clients),
        (Question::Socketio, Scale::Full) => spoken(10_000),
        (Question::Socketio, Scale::Quick) => spoken(1000),
        (Question::Socketio, Scale::Clients(clients)) => spoken(clients),
    }
}

/// Executes a plan; `report` hears of every finding as it is made.
pub fn run(plan: &Plan, mut report: impl FnMut(&Finding)) -> Vec<Finding> {
    let mut findings = Vec::new();
    for session in &plan.sessions {
        for round in 0..plan.rounds {
            for contestant in &plan.contestants {
                let session = &part_of(contestant, session);
                let found = hold(plan, session, contestant);
                for (at, &cell) in session.cells.iter().enumerate() {
                    let finding = finding(cell, contestant, round, found.get(at));
                    report(&finding);
                    findings.push(finding);
                }
            }
        }
    }
    findings
}

/// The cells that mean something for a contestant. The two floors differ only in how they publish, and a million
/// single sends in a row tell nothing that sixteen thousand do not.
fn part_of(contestant: &Contestant, session: &Session) -> Session {
    const SINGLE_SENDS_MAX: usize = 16;
    let mut part = session.clone();
    part.cells.retain(|cell| match (contestant.name.as_str(), cell.question) {
        (SOCKET_IO, question) => question == Question::Socketio && cell.kind == Kind::Socketio,
        (name, Question::Socketio) => name == JUDGED,
        // Who is compressed and who is not is compared within one server.
        (name, question) if question.is_of_one() => name == JUDGED,
        // Others ping as they like, or not at all.
        (name, Question::Heartbeats) => name == JUDGED || name == "floor-send",
        ("floor-batch", question) => question == Question::Fanout,
        ("floor-send", Question::Fanout) => cell.width <= SINGLE_SENDS_MAX,
        _ => true,
    });
    part
}

/// Value and wall time of one cell, or why there is none.
type Found = Result<(f64, Option<f64>), String>;

fn finding(cell: Cell, contestant: &Contestant, round: usize, found: Option<&Found>) -> Finding {
    let (value, wall_us, failure) = match found {
        Some(Ok((value, wall_us))) => (Some(*value), *wall_us, None),
        Some(Err(failure)) => (None, None, Some(failure.clone())),
        None => (None, None, Some("not reached".to_owned())),
    };
    Finding { cell, server: contestant.name.clone(), round, value, wall_us, failure }
}

/// One server process from start to end; stops at the first failure.
fn hold(plan: &Plan, session: &Session, contestant: &Contestant) -> Vec<Found> {
    if session.cells.is_empty() {
        return Vec::new();
    }
    let mut contestant = contestant.clone();
    for flag in session.question.flags().chunks(2) {
        // In the place of the usual value, if there is one.
        if let Some(at) = contestant.command.iter().position(|known| known == flag[0]) {
            contestant.command.drain(at..at + 2);
        }
        contestant.command.extend(flag.iter().map(|&word| word.to_owned()));
    }
    let contestant = &contestant;
    let running = match Running::start(contestant, plan.cores) {
        Ok(running) => running,
        Err(error) => return vec![Err(error.to_string())],
    };
    let mut found = Vec::new();
    let outcome = match session.question {
        Question::Fanout | Question::Echo => messages(plan, session, contestant.trust, &running, &mut found),
        Question::Handshake => handshakes(plan, &running, &mut found),
        Question::Idle => idle(session, contestant.trust, &running, &mut found),
        Question::Amid => amid(plan, session, contestant.trust, &running, &mut found),
        Question::Deflate => deflate(plan, session, &running, &mut found),
        Question::Socketio => socketio(plan, session, &running, &mut found),
        Question::Flood => flood(plan, &running, &mut found),
        Question::Parting => {
            crowd::parting(&running, session.clients).map(|long| found.push(Ok((long, None))))
        }
        Question::Stalled => crowd::stalled(&running, session.clients, session.cells[0].width)
            .map(|mebibytes| found.push(Ok((mebibytes, None)))),
        Question::Beside => beside(plan, session, &running, &mut found),
        Question::Burst => crowd::burst(&running, session.clients, session.cells[0].width)
            .map(|times| found.push(Ok((times, None)))),
        Question::Heartbeats => crowd::heartbeats(&running, session.clients, Duration::from_secs(9))
            .map(|(percent, ping_us)| found.push(Ok((percent, Some(ping_us))))),
    };
    if let Err(failure) = outcome {
        found.push(Err(failure.to_string()));
    }
    found
}

fn messages(
    plan: &Plan,
    session: &Session,
    trust: Trust,
    running: &Running,
    found: &mut Vec<Found>,
) -> Result<(), Failure> {
    let path = if session.question == Question::Echo { "/echo" } else { "/broadcast" };
    let mut fleet = Fleet::connect(running.address(), path, session.clients, trust)?;
    for cell in &session.cells {
        let measure_one = if session.question == Question::Echo { driver::echo } else { driver::fanout };
        let mut measure = |duration| measure_one(&mut fleet, cell.size_bytes, cell.width, duration);
        if found.is_empty() {
            measure(plan.duration / 4)?;
        }
        found.push(Ok(per_operation(running, || measure(plan.duration))?));
    }
    Ok(())
}

fn handshakes(plan: &Plan, running: &Running, found: &mut Vec<Found>) -> Result<(), Failure> {
    let measure = |duration| driver::handshake(running.address(), "/echo", duration);
    measure(plan.duration / 4)?;
    found.push(Ok(per_operation(running, || measure(plan.duration))?));
    Ok(())
}

/// The slope between two numbers of connections, so that what a server needs for itself drops out.
fn idle(session: &Session, trust: Trust, running: &Running, found: &mut Vec<Found>) -> Result<(), Failure> {
    const REST: Duration = Duration::from_millis(500);
    let few = session.clients / 8;
    let mut fleet = Fleet::connect(running.address(), "/broadcast", few, trust)?;
    thread::sleep(REST);
    let before = running.anonymous_bytes();
    fleet.grow(running.address(), "/broadcast", session.clients - few)?;
    thread::sleep(REST);
    let grown = running.anonymous_bytes().saturating_sub(before);
    found.push(Ok((grown as f64 / (session.clients - few) as f64, None)));
    Ok(())
}

/// Seen from outside: the wall time that only one of a thousand echoes exceeded.
fn amid(
    plan: &Plan,
    session: &Session,
    trust: Trust,
    running: &Running,
    found: &mut Vec<Found>,
) -> Result<(), Failure> {
    let mut fleet = Fleet::connect(running.address(), "/broadcast", session.clients, trust)?;
    let mut probe = driver::Probe::connect(running.address())?;
    driver::amid(&mut fleet, &mut probe, plan.duration / 4)?;
    let mut waits = driver::amid(&mut fleet, &mut probe, plan.duration)?;
    let value = quantile(&mut waits, 999).map(|wait| (wait.as_secs_f64() * 1e3, None));
    found.push(value.ok_or_else(|| "the probe was never answered".to_owned()));
    Ok(())
}

/// One kind of subscribers after the other, in the same process.
fn deflate(plan: &Plan, session: &Session, running: &Running, found: &mut Vec<Found>) -> Result<(), Failure> {
    for cell in &session.cells {
        let mut squeeze = driver::Squeeze::connect(
            running.address(),
            session.clients,
            cell.size_bytes,
            cell.kind == Kind::Deflate,
        )?;
        squeeze.fanout(plan.duration / 4)?;
        found.push(Ok(per_operation(running, || squeeze.fanout(plan.duration))?));
    }
    Ok(())
}

/// The same with plain peers and such that speak Socket.IO.
fn socketio(
    plan: &Plan,
    session: &Session,
    running: &Running,
    found: &mut Vec<Found>,
) -> Result<(), Failure> {
    for cell in &session.cells {
        let is_socketio = cell.kind == Kind::Socketio;
        let mut relay =
            driver::Relay::connect(running.address(), session.clients, cell.size_bytes, is_socketio)?;
        relay.fanout(plan.duration / 4)?;
        found.push(Ok(per_operation(running, || relay.fanout(plan.duration))?));
    }
    Ok(())
}

/// Seen from outside, too: the wall time that one of a hundred echoes exceeded, with the flood over without it.
fn flood(plan: &Plan, running: &Running, found: &mut Vec<Found>) -> Result<(), Failure> {
    let mut probe = driver::Probe::connect(running.address())?;
    let mut flooder = driver::Flooder::connect(running.address())?;
    driver::flood(&mut probe, &mut flooder, plan.duration / 4)?;
    let [calm, flooded] = driver::flood(&mut probe, &mut flooder, plan.duration)?
        .map(|mut waits| quantile(&mut waits, 990).map(|wait| wait.as_secs_f64() * 1e6));
    let value = calm.zip(flooded).map(|(calm, flooded)| (flooded / calm, Some(flooded)));
    found.push(value.ok_or_else(|| "the probe was never answered".to_owned()));
    Ok(())
}

fn beside(plan: &Plan, session: &Session, running: &Running, found: &mut Vec<Found>) -> Result<(), Failure> {
    let [calm, beside] = crowd::beside(running, session.clients, plan.duration)?
        .map(|mut times| quantile(&mut times, 990).map(|time| time.as_secs_f64() * 1e6));
    let value = calm.zip(beside).map(|(calm, beside)| (beside / calm, Some(beside)));
    found.push(value.ok_or_else(|| "nothing was delivered".to_owned()));
    Ok(())
}

/// What all but so many thousandths of `waits` stayed within.
fn quantile(waits: &mut [Duration], thousandths: usize) -> Option<Duration> {
    waits.sort_unstable();
    waits.get((waits.len() * thousandths).div_ceil(1000).saturating_sub(1)).copied()
}

fn per_operation(
    running: &Running,
    measure: impl FnOnce() -> Result<Sample, Failure>,
) -> Result<(f64, Option<f64>), Failure> {
    let before = running.cpu_ns();
    let sample = measure()?;
    let spent = running.cpu_ns().saturating_sub(before);
    let operations = sample.operations as f64;
    Ok((spent as f64 / 1e3 / operations, Some(sample.wall.as_secs_f64() * 1e6 / operations)))
}
