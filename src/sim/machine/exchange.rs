//! What lies between the workers of a simulated machine: pipes that are slow, torn and break, and peers that hear everything.
//!
//! A pipe carries bytes both ways. They arrive when the world moves them, as many as it likes; each side takes only so many before
//! it is full, and both edges are told once, as [`Net`](crate::net::Net) promises. A pipe that breaks ends as a Unix stream does whose other side is closed:
//! what was written can still be read, then comes the end.
//!
//! Invariant: bytes are neither lost nor made up, but by an end.

use std::collections::VecDeque;

use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::net::Ready;

/// Bytes that one direction of a pipe holds.
const PIPE_BYTES: usize = 700;

/// One side of a pipe: who reads there, and what is on its way to them.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) worker: usize,
    pub(super) id: ConnId,
    /// On its way.
    flying: VecDeque<u8>,
    /// Arrived, and not read.
    arrived: VecDeque<u8>,
    /// The other side has ended: the end is heard behind what has arrived.
    is_ended: bool,
    /// This side was told that there is no room, and waits for an edge.
    is_waiting: bool,
    is_closed: bool,
}

/// One stream between two workers.
#[derive(Debug)]
pub(super) struct Pipe(pub(super) [Side; 2]);

/// A peer: what it will say, and what it has heard.
#[derive(Debug, Default)]
pub(super) struct Ear {
    pub(super) worker: usize,
    pub(super) id: Option<ConnId>,
    pub(super) to_say: VecDeque<u8>,
    pub(super) heard: Vec<u8>,
    pub(super) is_gone: bool,
}

/// Everything between the workers of a machine.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) now: Nanos,
    pub(super) random: fastrand::Rng,
    pub(super) pipes: Vec<Pipe>,
    pub(super) ears: Vec<Ear>,
    /// By worker: peers that knock, pipes that ask to be answered, and what has become ready.
    pub(super) knocks: Vec<VecDeque<usize>>,
    pub(super) calls: Vec<VecDeque<usize>>,
    pub(super) ready: Vec<Vec<Ready>>,
    /// Who cannot be called now.
    pub(super) is_deaf: Vec<bool>,
}

impl Exchange {
    pub(super) fn new(workers: usize, seed: u64) -> Self {
        Self {
            now: 1_000_000_000,
            random: fastrand::Rng::with_seed(seed),
            knocks: vec![VecDeque::new(); workers],
            calls: vec![VecDeque::new(); workers],
            ready: vec![Vec::new(); workers],
            is_deaf: vec![false; workers],
            ..Self::default()
        }
    }

    /// Tells a peer's worker, if it has been accepted, that there is something to read.
    pub(super) fn nudge(&mut self, peer: usize) {
        let ear = &self.ears[peer];
        if let Some(id) = ear.id {
            let event = Ready::Connection { id, readable: true, writable: false, closed: ear.is_gone };
            self.ready[ear.worker].push(event);
        }
    }

    /// Opens a pipe from a worker to another.
    pub(super) fn dial(&mut self, from: usize, to: usize, id: ConnId) -> usize {
        let side = |worker, id| Side {
            worker,
            id,
            flying: VecDeque::new(),
            arrived: VecDeque::new(),
            is_ended: false,
            is_waiting: false,
            is_closed: false,
        };
        self.pipes.push(Pipe([side(from, id), side(to, ConnId::NONE)]));
        let pipe = self.pipes.len() - 1;
        self.calls[to].push_back(pipe);
        self.ready[to].push(Ready::Sibling);
        pipe
    }

    /// Writes on `side` of a pipe, as much as there is room for; `None` if the other side has ended.
    pub(super) fn write(&mut self, pipe: usize, side: usize, bytes: &[u8]) -> Option<usize> {
        let sides = &mut self.pipes[pipe].0;
        if sides[side].is_ended {
            return None;
        }
        let other = &mut sides[1 - side];
        let room = PIPE_BYTES.saturating_sub(other.flying.len() + other.arrived.len());
        let n = bytes.len().min(room);
        other.flying.extend(&bytes[..n]);
        sides[side].is_waiting = n < bytes.len();
        Some(n)
    }

    /// Reads on `side` of a pipe: `None` if nothing is there, 0 at the end.
    pub(super) fn read(&mut self, pipe: usize, side: usize, into: &mut [u8]) -> Option<usize> {
        let sides = &mut self.pipes[pipe].0;
        let own = &mut sides[side];
        let n = into.len().min(own.arrived.len());
        for (slot, byte) in into.iter_mut().zip(own.arrived.drain(..n)) {
            *slot = byte;
        }
        if n > 0 {
            let other = &mut sides[1 - side];
            if std::mem::take(&mut other.is_waiting) {
                let event = edge(other, false, true);
                let worker = other.worker;
                self.ready[worker].push(event);
            }
            return Some(n);
        }
        (own.is_ended && own.flying.is_empty()).then_some(0)
    }

    /// Moves up to `n` bytes of a direction to where they can be read, and tells the reader.
    pub(super) fn carry(&mut self, pipe: usize, side: usize, n: usize) -> bool {
        let own = &mut self.pipes[pipe].0[side];
        let n = n.min(own.flying.len());
        let is_end = own.is_ended && n == own.flying.len();
        let bytes: Vec<u8> = own.flying.drain(..n).collect();
        own.arrived.extend(bytes);
        if own.is_closed || own.id.is_none() || (n == 0 && !is_end) {
            return n > 0;
        }
        let (event, worker) = (edge(own, true, false), own.worker);
        self.ready[worker].push(event);
        n > 0
    }

    /// Ends a pipe for both sides; who wrote finds that out when it writes again.
    pub(super) fn break_pipe(&mut self, pipe: usize) {
        for side in 0..2 {
            self.pipes[pipe].0[side].is_ended = true;
            self.carry(pipe, side, 0);
            let own = &self.pipes[pipe].0[side];
            if !own.is_closed && !own.id.is_none() {
                let (event, worker) = (edge(own, true, true), own.worker);
                self.ready[worker].push(event);
            }
        }
    }

    /// One side is closed by its worker.
    pub(super) fn close(&mut self, pipe: usize, side: usize) {
        let sides = &mut self.pipes[pipe].0;
        sides[side].is_closed = true;
        sides[side].is_ended = true;
        sides[1 - side].is_ended = true;
        self.carry(pipe, 1 - side, 0);
    }

    /// Whether bytes are on their way, or wait to be read by somebody who is there.
    pub(super) fn is_moving(&self) -> bool {
        self.pipes
            .iter()
            .flat_map(|pipe| &pipe.0)
            .any(|side| !side.is_closed && (!side.flying.is_empty() || !side.arrived.is_empty()))
    }
}

fn edge(side: &Side, readable: bool, writable: bool) -> Ready {
    Ready::Connection { id: side.id, readable, writable, closed: readable && side.is_ended }
}
