//! Events for several rooms, for all but some, or for one socket by its name: for hearers that no topic is.
//!
//! They are found one by one, on this worker and, told by a letter, on each of the others; so such an event costs a look at every
//! socket, where one for a room or for the namespace costs none. In its letter stand the namespace, the rooms and the excepted ones
//! as JSON, and then the frames, which are made once:
//!
//! ```text
//!   len u32 · ["/chat",["a","b"],["c"]] · { kind u8 (1 text, 2 binary) · len u32 · bytes } …
//! ```
//!
//! Invariants: a socket that is in several of the rooms hears it once; what cannot be read is heard by nobody.

use std::rc::Rc;

use super::core::{Io, State};
use crate::service::Ctx;
use crate::socketio::engine::Frame;

const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// Whom an event is for.
pub(super) struct Selection<N> {
    /// The namespace.
    pub(super) namespace: N,
    /// In one of these; anybody in the namespace, if none is named.
    pub(super) rooms: Vec<Rc<str>>,
    /// In none of these.
    pub(super) except: Vec<Rc<str>>,
}

impl Io {
    /// Sends frames to all who are meant, on all workers, but not to the socket `skipped`.
    pub(super) fn publish_selected(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: &Selection<usize>,
        skipped: Option<usize>,
        frames: &[Frame],
    ) {
        if ctx.has_siblings() {
            ctx.publish_selected(&encode(&self.namespaces[to.namespace].name, to, frames));
        }
        self.send_selected(ctx, to, skipped, frames);
    }

    /// What another worker [published so](Self::publish_selected), for those who are here.
    pub(super) fn heard_selected(&mut self, ctx: &mut Ctx<'_>, told: &[u8]) {
        let Some((to, frames)) = decode(told) else { return };
        if let Some(namespace) = self.namespaces.iter().position(|one| *one.name == *to.namespace) {
            let to = Selection { namespace, rooms: to.rooms, except: to.except };
            self.send_selected(ctx, &to, None, &frames);
        }
    }

    fn send_selected(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: &Selection<usize>,
        skipped: Option<usize>,
        frames: &[Frame],
    ) {
        let is_meant = |(index, state): &(usize, &State)| {
            state.namespace == to.namespace
                && Some(*index) != skipped
                && (to.rooms.is_empty() || state.is_in(&to.rooms))
                && !state.is_in(&to.except)
        };
        let peers: Vec<usize> = self.sockets.iter().filter(is_meant).map(|(_, state)| state.peer).collect();
        for peer in peers {
            self.send(ctx, peer, frames);
        }
    }
}

impl State {
    /// Whether it is in one of these rooms, or called like one.
    fn is_in(&self, rooms: &[Rc<str>]) -> bool {
        rooms
            .iter()
            .any(|room| **room == *self.sid.as_str() || self.memberships.iter().any(|one| one.room == *room))
    }
}

fn encode(namespace: &str, to: &Selection<usize>, frames: &[Frame]) -> Vec<u8> {
    let names = |rooms: &[Rc<str>]| rooms.iter().map(|room| room.to_string()).collect::<Vec<_>>();
    let head = serde_json::to_vec(&(namespace, names(&to.rooms), names(&to.except)));
    let head = head.expect("names are always JSON");
    let mut told = (head.len() as u32).to_le_bytes().to_vec();
    told.extend_from_slice(&head);
    for frame in frames {
        let (kind, bytes) = match frame {
            Frame::Text(text) => (TEXT, text.as_bytes()),
            Frame::Binary(bytes) => (BINARY, &**bytes),
        };
        told.push(kind);
        told.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        told.extend_from_slice(bytes);
    }
    told
}

fn decode(told: &[u8]) -> Option<(Selection<String>, Vec<Frame>)> {
    let (head, mut rest) = take(told)?;
    let (namespace, rooms, except): (String, Vec<String>, Vec<String>) = serde_json::from_slice(head).ok()?;
    let shared = |names: Vec<String>| names.into_iter().map(Rc::from).collect();
    let mut frames = Vec::new();
    while let Some((kind, behind)) = rest.split_first() {
        let (bytes, behind) = take(behind)?;
        frames.push(match *kind {
            TEXT => Frame::Text(std::str::from_utf8(bytes).ok()?.into()),
            BINARY => Frame::Binary(bytes.into()),
            _ => return None,
        });
        rest = behind;
    }
    Some((Selection { namespace, rooms: shared(rooms), except: shared(except) }, frames))
}

/// What a length of four bytes says, and what comes behind it.
fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_workers_are_told_is_read_as_it_was_written_and_nothing_else_is_read() {
        let to =
            Selection { namespace: 0, rooms: vec!["a\n".into(), "ä\"".into()], except: vec!["c".into()] };
        let frames = [Frame::Text("52-[\"x\"]".into()), Frame::Binary([0, 255, 10][..].into())];
        let told = encode("/chat", &to, &frames);
        let (read, heard) = decode(&told).unwrap();
        assert_eq!((read.namespace.as_str(), &read.rooms, &read.except), ("/chat", &to.rooms, &to.except));
        assert_eq!(heard, frames);
        for cut in 0..told.len() {
            // What ends between two frames has fewer of them; anything else is nothing.
            assert!(decode(&told[..cut]).is_none_or(|(_, heard)| heard.len() < frames.len()), "{cut}");
        }
    }
}
