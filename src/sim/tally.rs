//! The tally: how often each thing happened in a world, so that a reader sees that nothing is vacuous.
//!
//! An oracle over situations that never come up has shown nothing. So every fault is counted where it strikes, every
//! departure and refusal where the server counts it, and what never occurred can be named.
//!
//! Invariant: counting changes nothing of what happens.

use std::collections::BTreeMap;

use crate::server::metrics::Metrics;
use crate::service::Departure;

macro_rules! faults {
    ($($name:ident = $label:literal,)+) => {
        /// Something that goes wrong, on the wire, in the system or with a peer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the label says it")]
        pub enum Fault { $($name),+ }

        impl Fault {
            /// All of them, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// What it is called in a trace and in a summary.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }
        }
    };
}

faults! {
    TornPiece = "piece cut on the wire",
    TornRead = "read that gets only a part",
    TornWrite = "write taken in part",
    NoRoom = "write that finds no room",
    Lag = "piece held up on the wire",
    WaitInterrupted = "EINTR while waiting",
    AcceptInterrupted = "EINTR at accept",
    ReadInterrupted = "EINTR at read",
    WriteInterrupted = "EINTR at write",
    AcceptMfile = "EMFILE at accept",
    AcceptNfile = "ENFILE at accept",
    AcceptNobufs = "ENOBUFS at accept",
    AcceptNomem = "ENOMEM at accept",
    AcceptAborted = "ECONNABORTED at accept",
    ReadReset = "ECONNRESET at read",
    ReadPipe = "EPIPE at read",
    ReadTimedOut = "ETIMEDOUT at read",
    WriteReset = "ECONNRESET at write",
    WritePipe = "EPIPE at write",
    WriteTimedOut = "ETIMEDOUT at write",
    Injected = "call made to fail",
    Spurious = "event that is none",
    Stale = "event for somebody who is gone",
    Repeated = "readiness told again",
    Shuffled = "events in another order",
    Few = "events held back",
    Late = "late waking",
    Stall = "process stopped",
    Weary = "system call that takes long",
    Cut = "connection cut by the network",
    PeerReset = "reset by the peer",
    HalfClose = "side ended by the peer",
    Vanished = "peer gone without a word",
    ZeroWindow = "peer that does not read",
    Slow = "peer that reads slowly",
    Mute = "peer that does not answer",
    Stop = "told to stop",
}

/// How often what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Faults, in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
    /// Departures, in the order of [`Departure::ALL`].
    pub departures: [u64; Departure::ALL.len()],
    /// Refusals and violations, by label.
    pub refusals: BTreeMap<(&'static str, &'static str), u64>,
    /// Messages that peers said and the service heard.
    pub messages: u64,
    /// Messages that peers heard.
    pub heard: u64,
    /// Publications that peers were told they missed.
    pub gaps: u64,
    /// Peers with whom compression was agreed on.
    pub compressed: u64,
    /// Messages that peers heard compressed.
    pub inflated: u64,
    /// Phases of a turn that left a rest for the next: accepting, reading, writing what waited, reaping.
    pub cut: [u64; 4],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            faults: [0; Fault::ALL.len()],
            departures: [0; Departure::ALL.len()],
            refusals: BTreeMap::new(),
            messages: 0,
            heard: 0,
            gaps: 0,
            compressed: 0,
            inflated: 0,
            cut: [0; 4],
        }
    }
}

impl Tally {
    /// Counts a fault.
    pub fn count(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// Takes over what the server has counted.
    pub fn take_over(&mut self, metrics: &Metrics) {
        self.departures = metrics.departures;
        self.messages = metrics.messages_in;
        self.cut = [metrics.accepts_cut, metrics.turns_cut, metrics.flushes_cut, metrics.reaps_cut];
        for (kind, label, count) in metrics.refusals.iter() {
            *self.refusals.entry((kind, label)).or_default() += count;
        }
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        self.faults.iter_mut().zip(other.faults).for_each(|(sum, n)| *sum += n);
        self.departures.iter_mut().zip(other.departures).for_each(|(sum, n)| *sum += n);
        for (label, count) in &other.refusals {
            *self.refusals.entry(*label).or_default() += count;
        }
        self.messages += other.messages;
        self.heard += other.heard;
        self.gaps += other.gaps;
        self.compressed += other.compressed;
        self.inflated += other.inflated;
        self.cut.iter_mut().zip(other.cut).for_each(|(sum, n)| *sum += n);
    }

    /// Everything that was counted, by group and name, what never occurred included.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let faults = Fault::ALL.iter().zip(self.faults).map(|(fault, n)| ("fault", fault.label(), n));
        let departures =
            Departure::ALL.iter().zip(self.departures).map(|(why, n)| ("departure", why.label(), n));
        let others = [
            ("message", "said", self.messages),
            ("message", "heard", self.heard),
            ("message", "missed and told so", self.gaps),
            ("message", "heard compressed", self.inflated),
            ("peer", "with compression agreed on", self.compressed),
            ("rest for the next turn", "of accepting", self.cut[0]),
            ("rest for the next turn", "of reading", self.cut[1]),
            ("rest for the next turn", "of writing what waited", self.cut[2]),
            ("rest for the next turn", "of reaping", self.cut[3]),
        ];
        let refusals = self.refusals.iter().map(|((kind, label), n)| (*kind, *label, *n));
        faults.chain(departures).chain(others).chain(refusals)
    }

    /// Faults, departures and violations that never occurred, of those that a drawn world can have.
    #[must_use]
    pub fn never(&self) -> Vec<String> {
        // No call is made to fail on purpose there, and no socket carries TLS.
        let apart = [Fault::Injected.label(), Departure::Tls.label()];
        let mut never: Vec<String> = self
            .rows()
            .filter(|(_, label, n)| *n == 0 && !apart.contains(label))
            .map(|(kind, label, _)| format!("{kind}: {label}"))
            .collect();
        let violations = super::peer::Wrong::ALL.iter().map(|wrong| wrong.label());
        let missing = violations.filter(|label| !self.refusals.contains_key(&("violation", label)));
        never.extend(missing.map(|label| format!("violation: {label}")));
        never
    }
}
