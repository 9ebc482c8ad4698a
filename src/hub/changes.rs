//! Changes: in which topics somebody has joined or left, for telling the other workers.
//!
//! Invariant: nothing is noted until somebody wants to know; a topic is noted once, however many come and go.

use std::collections::HashSet;

/// The names of topics that have changed since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Changes(Option<HashSet<Box<str>>>);

impl Changes {
    /// From now on somebody wants to know.
    pub(super) fn watch(&mut self) {
        self.0 = Some(HashSet::new());
    }

    /// Somebody has joined or left.
    #[inline]
    pub(super) fn note(&mut self, topic: &str) {
        if let Some(names) = &mut self.0
            && !names.contains(topic)
        {
            names.insert(topic.into());
        }
    }

    /// Whether there are any.
    pub(super) fn are_there(&self) -> bool {
        self.0.as_ref().is_some_and(|names| !names.is_empty())
    }

    /// Takes them.
    pub(super) fn take(&mut self) -> HashSet<Box<str>> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
