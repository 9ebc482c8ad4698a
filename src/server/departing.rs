//! Ending well: no newcomers, everybody told 1001, paced, and gone within the drain time.
//!
//! Fifty thousand close frames at once would come back as fifty thousand reconnects at once, somewhere else. So the
//! goodbyes are spread over the first half of the drain; the second half is for the answers.
//!
//! Invariant: when the drain time is over, nobody is left.

use super::connection::{Session, Stage};
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos};
use crate::hub::letter::Letter;
use crate::net::Net;
use crate::service::{Departure, Service};
use crate::ws::CloseCode;

/// How often the next few are told.
const PACE: Nanos = 10 * MILLI;
/// Told at least, each time: a small server says goodbye at once.
const TOLD_MIN: usize = 100;

/// How far the goodbye has come.
#[derive(Debug)]
pub struct Farewell {
    /// Who has not been told.
    left: Vec<ConnId>,
    all: usize,
    began: Nanos,
    next: Nanos,
    over: Nanos,
}

impl Farewell {
    /// When the next few are to be told, or everything ends.
    #[must_use]
    pub fn next_ns(&self) -> Nanos {
        if self.left.is_empty() { self.over } else { self.next.min(self.over) }
    }
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Stops accepting and begins to say goodbye.
    pub(super) fn say_goodbye(&mut self) {
        let mut left: Vec<ConnId> = self.roster.iter().map(|(id, _)| id).collect();
        tracing::info!(connections = left.len(), "stopping: nobody is accepted any more, everybody is told");
        left.reverse();
        self.hub.abroad.write(Letter::Goodbye);
        self.net.stop_listening();
        self.knocking.clear();
        self.accept_again = None;
        let over = self.now + self.config.drain;
        self.farewell = Some(Farewell { all: left.len(), left, began: self.now, next: self.now, over });
    }

    /// Tells the next few, and lets go of all when time is over.
    pub(super) fn go_on_with_goodbye(&mut self) {
        let Some(farewell) = &mut self.farewell else { return };
        if self.now >= farewell.over {
            let rest: Vec<ConnId> = self.roster.iter().map(|(id, _)| id).collect();
            return rest.into_iter().for_each(|id| self.doom(id, Departure::Shutdown));
        }
        if farewell.left.is_empty() || self.now < farewell.next {
            return;
        }
        farewell.next = self.now + PACE;
        let half = (self.config.drain / 2).max(1);
        let due = (farewell.all as u128 * u128::from(self.now - farewell.began) / u128::from(half)) as usize;
        let told = farewell.all - farewell.left.len();
        let count = due.saturating_sub(told).max(TOLD_MIN).min(farewell.left.len());
        let batch = farewell.left.split_off(farewell.left.len() - count);
        for id in batch.into_iter().rev() {
            self.tell_goodbye(id);
        }
    }

    fn tell_goodbye(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        match (&connection.session, connection.stage) {
            (Session::Ws(_), Stage::Open) => {
                self.fail(id, CloseCode::GOING_AWAY, "the server is shutting down", Departure::Shutdown);
            }
            (Session::Http(None), Stage::Open) => self.finish(id, Departure::Shutdown),
            // A request that is arriving is answered, if it arrives in time.
            (Session::Http(Some(_)), Stage::Open)
            | (_, Stage::Closing | Stage::Finishing | Stage::Doomed) => {}
        }
    }
}
