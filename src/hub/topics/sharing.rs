//! Sharing what those who are behind in a topic are owed.
//!
//! Ten thousand peers that do not read are owed the same blocks: they share the list of them ([`Strip`]), too.

use std::rc::Rc;

use super::{TopicId, Topics};
use crate::hub::dialect::Dialect;
use crate::hub::frame::{Frame, Strip};
use crate::hub::ledger::EntryId;

impl Topics {
    /// Puts a block that was published to `topic` where peers that are behind can share it.
    pub(in crate::hub) fn share(
        &mut self,
        topic: TopicId,
        dialect: Dialect,
        bytes: &Rc<Vec<u8>>,
        publications: u16,
        entry: EntryId,
    ) -> Frame {
        let mut strip = self.topics.get_mut(topic.0 as usize).map(|room| &mut room.strips[dialect as usize]);
        if let Some(old) = strip.as_ref().and_then(|strip| strip.upgrade())
            && let Some(place) = old.append(bytes, publications, entry)
        {
            return Frame::on(&old, place);
        }
        let fresh = Rc::new(Strip::default());
        if let Some(strip) = &mut strip {
            **strip = Rc::downgrade(&fresh);
        }
        let place = fresh.append(bytes, publications, entry).expect("a fresh strip has room");
        Frame::on(&fresh, place)
    }
}
