//! The roster: all connections in one slab, found by name.
//!
//! A slab reuses the slot of who left for who comes next, so the living stay dense and near the front. A name
//! carries the accept count; one that does not match finds nobody.
//!
//! Invariant: `get(id)` is `Some` only for the connection that was accepted as `id`.

use slab::Slab;

use super::connection::Connection;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};

/// All connections of a worker.
#[derive(Debug)]
pub struct Roster<K> {
    slab: Slab<Connection<K>>,
    accepted: u32,
}

impl<K> Default for Roster<K> {
    fn default() -> Self {
        Self { slab: Slab::new(), accepted: 0 }
    }
}

impl<K> Roster<K> {
    /// The name that the next connection will have.
    #[must_use]
    pub fn next_id(&self) -> ConnId {
        ConnId { index: self.slab.vacant_key() as u32, serial: self.accepted }
    }

    /// Lets a connection in under [`next_id`](Self::next_id).
    pub fn insert(&mut self, connection: Connection<K>) -> ConnId {
        let id = self.next_id();
        debug_assert_eq!(connection.serial, id.serial);
        // The last serial marks tokens that are not connections'.
        self.accepted = if self.accepted == u32::MAX - 1 { 0 } else { self.accepted + 1 };
        self.slab.insert(connection);
        id
    }

    /// The connection called `id`, if it is still here.
    #[inline]
    pub fn get(&mut self, id: ConnId) -> Option<&mut Connection<K>> {
        self.slab
            .get_mut(id.index as usize)
            .filter(|connection| connection.serial == id.serial || is_made(Mutation::StaleName))
    }

    /// The same for looking at it.
    #[must_use]
    pub fn find(&self, id: ConnId) -> Option<&Connection<K>> {
        self.slab.get(id.index as usize).filter(|connection| connection.serial == id.serial)
    }

    /// Takes the connection called `id` out.
    pub fn remove(&mut self, id: ConnId) -> Option<Connection<K>> {
        self.get(id)?;
        Some(self.slab.remove(id.index as usize))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Everybody, by place.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection<K>)> {
        self.slab.iter().map(|(index, one)| (ConnId { index: index as u32, serial: one.serial }, one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tick::Tick;

    #[test]
    fn a_stale_name_finds_nobody() {
        let mut roster = Roster::default();
        let connection = |serial| Connection::new((), serial, Tick(0));
        let first = roster.insert(connection(0));
        assert!(roster.get(first).is_some());
        roster.remove(first);
        let second = roster.insert(connection(1));
        assert_eq!((first.index, second.index), (0, 0));
        assert!(roster.get(first).is_none() && roster.remove(first).is_none());
        assert!(roster.get(second).is_some());
        assert_eq!(roster.len(), 1);
    }
}
