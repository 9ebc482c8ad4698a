//! How a loop ends: everybody is told goodbye, and waited for as long as somebody answers.
//!
//! Why a few in each turn: a million close frames are a minute's writing. Told all at once, nobody would be read from
//! meanwhile; and what the loop knows would come home after whoever waits for it has given up.
//!
//! Invariants: every client that is open is told once; nobody is waited for who has not answered for [`CLOSE_NS`] while
//! nobody else did either; however slowly a server answers, the wait is bounded.

use super::{CLOSE_NS, Loop, Phase};
use crate::units::NS_PER_S;

/// Clients told in one turn: a millisecond or two.
const TOLD_MAX: usize = 256;
/// What a server may take for all together, and for each beside that, however steadily it answers.
const ALL_NS: u64 = 10 * NS_PER_S;
const EACH_NS: u64 = NS_PER_S / 1000;

/// Where the farewell stands.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    /// So many clients have been told, the first ones.
    told: usize,
    /// How many were connected when last somebody went.
    connected: u64,
    /// Nobody is waited for any longer, unless somebody goes before.
    patient_until_ns: u64,
    /// Nobody is waited for any longer.
    until_ns: u64,
}

impl Loop<'_> {
    /// From now on clients are let go.
    pub(super) fn begin_farewell(&mut self, now_ns: u64) {
        self.phase = Phase::Closing;
        let clients = self.clients.len() as u64;
        self.farewell = Farewell {
            connected: self.connected,
            patient_until_ns: now_ns + CLOSE_NS,
            until_ns: now_ns + ALL_NS + clients * EACH_NS,
            ..Farewell::default()
        };
    }

    /// Tells the next few.
    pub(super) fn say_goodbye(&mut self, now_ns: u64) {
        if self.phase != Phase::Closing {
            return;
        }
        let Self { farewell, clients, lent, .. } = self;
        let untold = clients.iter_mut().skip(farewell.told).take(TOLD_MAX);
        let told = untold.map(|client| client.close(lent)).count();
        farewell.told += told;
        if told > 0 || farewell.connected != self.connected {
            farewell.connected = self.connected;
            farewell.patient_until_ns = now_ns + CLOSE_NS;
        }
    }

    /// When the farewell has something to do again: at once while not all have been told.
    pub(super) fn next_goodbye_ns(&self) -> u64 {
        let Farewell { told, patient_until_ns, until_ns, .. } = self.farewell;
        if told < self.clients.len() { 0 } else { patient_until_ns.min(until_ns) }
    }

    /// Whether everybody has gone, or nobody goes any more.
    pub(super) fn is_farewell_over(&self, now_ns: u64) -> bool {
        let Farewell { told, patient_until_ns, until_ns, .. } = self.farewell;
        let is_told = told == self.clients.len();
        now_ns >= until_ns || is_told && (self.connected == 0 || now_ns >= patient_until_ns)
    }
}
