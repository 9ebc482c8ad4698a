//! The last phase: who is doomed goes, and nothing of it is left behind.
//!
//! Parting happens here alone: the service is told, topics are left, debts are entered, buffers go home, the socket is
//! closed, the reason is counted. What the service publishes on the occasion waits for the next turn.
//!
//! To let somebody go costs a `close` and a walk through what it was owed, and when a network fails all go at once. So a
//! turn lets [`REAPS_MAX`] go, or as many as a stint has time for; the others stay doomed, who are neither read from nor written to, and go in the turns that
//! follow without waiting.
//!
//! Invariants: the service hears of the end of every peer it was told of, once, in the order in which they were doomed.

use super::limits::REAPS_MAX;
use super::stint::Stint;
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::hub::ledger::Unpaid;
use crate::net::Net;
use crate::service::{Ctx, Service};

impl<N: Net, S: Service> Worker<N, S> {
    /// Lets those go who were doomed first, as many as a turn has time for.
    pub(super) fn reap(&mut self) {
        let mut stint = Stint::begin(&self.net);
        for _ in 0..REAPS_MAX {
            if stint.is_over(&self.net) {
                break;
            }
            let Some(id) = self.doomed.pop_front() else { break };
            self.reap_one(id);
        }
        self.metrics.reaps_cut += u64::from(!self.doomed.is_empty());
        if self.doomed.is_empty() {
            self.doomed.shrink_to(REAPS_MAX);
        }
    }

    fn reap_one(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        let (tag, why, opened) = (connection.tag, connection.parting, connection.facts.opened);
        let is_asking = connection.session.is_asking();
        if opened {
            self.service.closed(&mut Ctx::new(id, tag, self.now, &mut self.hub), why);
        }
        if is_asking {
            self.service.hung_up(&mut Ctx::new(id, tag, self.now, &mut self.hub));
        }
        self.hub.topics.leave_all(id);
        let Some(mut connection) = self.roster.remove(id) else { return };
        assert!(
            connection.queue.is_empty() || !is_made(Mutation::Panics),
            "it left before it was sent everything"
        );
        if !is_made(Mutation::MissingEntry) {
            connection.queue.clear(|debt| self.hub.unpaid(Unpaid::Departed, debt, self.now));
        }
        if !is_made(Mutation::BufferNotReturned) {
            self.give_back(connection.held.take());
        }
        self.behind.remove(&id);
        self.hub.outbox.forget(id);
        self.deflation.release(connection.memory.take());
        self.gate.leave(id);
        tracing::debug!(connection = id.serial, peer = %self.net.peer(&connection.socket), %why, "departed");
        self.net.close(connection.socket);
        self.metrics.departed(why);
        if self.accept_again.is_some() {
            // A descriptor has come back: whoever waits need not wait for the pause to end.
            self.accept_again = Some(self.now);
        }
    }
}
