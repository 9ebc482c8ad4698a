//! The first phase: listeners → connections.
//!
//! Readiness of a listener is an edge as well: "somebody knocks" is a fact that we keep until an accept says that
//! nobody does. When the system has no descriptor left, accepting rests and the fact is kept: whoever waits is
//! served when descriptors return, without needing another to arrive, and meanwhile the loop does not spin.
//!
//! Invariant: at most [`ACCEPTS_MAX`] are accepted in a turn, all listeners together, and for no longer than a stint.

use std::io;

use super::admission::addresses::Verdict;
use super::connection::Connection;
use super::limits::{ACCEPT_PAUSE, ACCEPTS_MAX, LISTEN_AGAIN_PERCENT, OVER_MAX};
use super::stint::Stint;
use super::worker::Worker;
use crate::base::mutation::{Mutation, is_made};
use crate::base::tick::Tick;
use crate::net::{Net, is_exhausted};
use crate::service::Service;

/// Accepts that may fail in a turn, for reasons that seem to be the peers'.
const FAILURES_MAX: u32 = 64;

impl<N: Net, S: Service> Worker<N, S> {
    /// Accepts whoever knocks, up to the budget.
    pub(super) fn accept(&mut self) {
        if self.accept_again.is_some_and(|at| self.now < at) || !self.knocking.contains(&true) {
            return;
        }
        if self.is_joining() {
            return;
        }
        self.accept_again = None;
        if self.is_resting() {
            return;
        }
        let (mut budget, mut failures_left) = (ACCEPTS_MAX, FAILURES_MAX);
        let mut stint = Stint::begin(&self.net);
        for listener in 0..self.knocking.len() {
            while self.knocking[listener] {
                if budget == 0 || stint.is_over(&self.net) {
                    self.metrics.accepts_cut += 1;
                    return;
                }
                if self.roster.len() >= self.connections_max.saturating_add(OVER_MAX) {
                    self.accept_again = Some(self.now + ACCEPT_PAUSE);
                    return;
                }
                budget -= 1;
                let id = self.roster.next_id();
                match self.net.accept(listener, id) {
                    Ok(socket) => self.welcome(socket),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.knocking[listener] = false
                    }
                    Err(error) if is_exhausted(&error) => {
                        self.metrics.accepts_exhausted += 1;
                        if self.metrics.accepts_exhausted.is_power_of_two() {
                            let (connections, max) = (self.roster.len(), self.connections_max);
                            tracing::warn!(connections, max, %error, "nobody can be accepted for now");
                        }
                        self.knocking[listener] = !is_made(Mutation::KnockForgotten);
                        let pause =
                            if is_made(Mutation::LongRest) { 100 * ACCEPT_PAUSE } else { ACCEPT_PAUSE };
                        self.accept_again = (!is_made(Mutation::AcceptSpins)).then_some(self.now + pause);
                        return;
                    }
                    // The peer went away while it waited; that is its own affair.
                    Err(error) => {
                        tracing::debug!(%error, "a peer left before it was accepted");
                        failures_left -= 1;
                        self.knocking[listener] = !is_made(Mutation::AbortEndsAccepting);
                        if failures_left == 0 {
                            // Or it is not its own affair after all: trying again at once would spin.
                            self.accept_again = Some(self.now + ACCEPT_PAUSE);
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Whether newcomers are left to the other workers: this one is full, and one of them is not. Its share of the listeners is
    /// closed meanwhile, so that the kernel deals out no connection that could only be refused. Who waits in its queue at that
    /// moment is reset, unless `net.ipv4.tcp_migrate_req` is set.
    fn is_resting(&mut self) -> bool {
        let Some(bus) = &self.bus else { return false };
        let (taken, places) = (self.roster.len(), self.connections_max);
        let wants_rest = if self.is_resting {
            taken * 100 >= places * LISTEN_AGAIN_PERCENT && bus.has_room()
        } else {
            taken >= places && bus.has_room()
        };
        if wants_rest != self.is_resting {
            match self.net.rest(wants_rest) {
                Ok(_) => {
                    self.is_resting = wants_rest;
                    self.metrics.listener_rests += u64::from(wants_rest);
                    self.knocking.fill(true);
                    if wants_rest {
                        tracing::info!(
                            connections = taken,
                            max = places,
                            "full: newcomers are left to the others"
                        );
                    } else {
                        tracing::info!(connections = taken, max = places, "newcomers are accepted again");
                    }
                }
                Err(error) => tracing::warn!(%error, "the share of a listener cannot be opened now"),
            }
        }
        if self.is_resting {
            // Looked at again even if nobody leaves: the others may be full by then.
            self.accept_again = Some(self.now + ACCEPT_PAUSE);
        }
        self.is_resting
    }

    fn welcome(&mut self, socket: N::Socket) {
        let verdict = self.gate.place(self.roster.next_id(), || self.net.peer(&socket));
        if verdict == Verdict::Full {
            return self.turn_away(socket);
        }
        let now = Tick::of(self.now);
        let mut connection = Connection::new(socket, self.roster.next_id().serial, now);
        connection.facts.has_deadline = true;
        // Who has a place keeps it, whoever comes after.
        connection.facts.over = verdict == Verdict::Over || self.roster.len() >= self.connections_max;
        connection.deadline = now.after(self.config.handshake_timeout);
        let deadline = connection.deadline;
        let id = self.roster.insert(connection);
        self.metrics.accepted += 1;
        if self.bus.is_some() && self.roster.len() == self.connections_max {
            // Looked at before somebody knocks whom another worker could take.
            self.knocking.fill(true);
        }
        self.warn_if_crowded();
        // The request has often arrived with the connection; the first edge may have been before we registered.
        self.list_readable(id);
        self.arm(id, deadline);
    }

    /// Says once that the limit is near, and again only after a tenth has left.
    fn warn_if_crowded(&mut self) {
        let (connections, max) = (self.roster.len(), self.connections_max);
        if connections * 10 >= max * 9 && !self.is_crowded {
            tracing::warn!(connections, max, "nine tenths of all connections are taken");
            self.is_crowded = true;
        } else if connections * 10 < max * 8 {
            self.is_crowded = false;
        }
    }
}
