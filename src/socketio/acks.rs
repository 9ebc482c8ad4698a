//! Answers that a client owes us, each with its time.
//!
//! An event that wants an answer gets an id, and somebody waits. A client that never answers must not keep them waiting
//! for ever, nor have us keep a list without end.
//!
//! Invariants: an id is given once in a client's life; an answer is taken once, from the namespace that was asked, and not
//! after its time was found to be over.

use crate::base::tick::Nanos;
use std::rc::Rc;

/// The answers that are outstanding. There are few, so that a walk over them is cheap.
#[derive(Debug, Default)]
pub(super) struct Acks {
    outstanding: Vec<Outstanding>,
    next: u64,
}

#[derive(Debug)]
struct Outstanding {
    id: u64,
    namespace: Rc<str>,
    until: Nanos,
}

impl Acks {
    /// Expects one more; `None` when `max` are outstanding.
    pub(super) fn expect(&mut self, namespace: &Rc<str>, until: Nanos, max: usize) -> Option<u64> {
        if self.outstanding.len() >= max {
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.outstanding.push(Outstanding { id, namespace: Rc::clone(namespace), until });
        Some(id)
    }

    /// An answer came. Whether it was expected.
    pub(super) fn take(&mut self, namespace: &str, id: u64) -> bool {
        let is_it = |expected: &Outstanding| expected.id == id && &*expected.namespace == namespace;
        self.take_where(is_it).is_some()
    }

    /// One whose time is over.
    pub(super) fn expire(&mut self, now: Nanos) -> Option<(Rc<str>, u64)> {
        let expired = self.take_where(|expected| expected.until <= now)?;
        Some((expired.namespace, expired.id))
    }

    fn take_where(&mut self, is_it: impl Fn(&Outstanding) -> bool) -> Option<Outstanding> {
        let at = self.outstanding.iter().position(is_it)?;
        Some(self.outstanding.remove(at))
    }

    /// Nobody waits for answers from this namespace any more.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.outstanding.retain(|expected| &*expected.namespace != namespace);
    }

    /// When the next time is over.
    pub(super) fn deadline(&self) -> Option<Nanos> {
        self.outstanding.iter().map(|expected| expected.until).min()
    }
}
