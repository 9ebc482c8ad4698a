//! Rooms: which sockets hear what is sent to many.
//!
//! A room is a topic of the hub, and so is a namespace: what is sent there is encoded once and goes to all in one sweep, as a
//! broadcast does. A socket whose session polls has no connection to stand in a topic; it is *absent* there, and what it
//! overhears is put into its session: when the delivery sets out, or before, if it is to be sent something that must come behind. When the session goes over to a WebSocket, it comes to stand in each topic at a moment when
//! nothing waits there, so that it misses nothing and hears nothing twice.
//!
//! Invariants: a socket stands in a topic by its connection or is counted as absent, never both; an absent one hears what was
//! published after it came.

use std::collections::HashMap;
use std::rc::Rc;

use super::core::Io;
use crate::base::id::ConnId;
use crate::service::{Ctx, Dialect, Kind, Overheard, TopicId, broadcast};
use crate::socketio::bridge;
use crate::socketio::engine::Frame;

/// Rooms that one socket may be in.
pub(super) const ROOMS_MAX: usize = 256;

/// That a socket is in a room.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    /// Its name; empty for the namespace itself, which is no room that anybody can name.
    pub(super) room: Rc<str>,
    topic: TopicId,
    /// From which publication on it has still to overhear, without a connection.
    absent_since: Option<u64>,
}

/// The sockets that are absent, by topic.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    absent: HashMap<TopicId, Vec<usize>>,
}

impl Io {
    /// A socket has come into its namespace.
    pub(super) fn enter(&mut self, ctx: &mut Ctx<'_>, index: usize) {
        self.join_room(ctx, index, "");
    }

    /// Puts a socket into a room; the room `""` is the namespace. Whether it is in it now.
    pub(super) fn join_room(&mut self, ctx: &mut Ctx<'_>, index: usize, room: &str) -> bool {
        let Some(state) = self.sockets.get(index) else { return false };
        if state.memberships.iter().any(|membership| &*membership.room == room) {
            return true;
        }
        if state.memberships.len() > ROOMS_MAX || room.len() > broadcast::NAME_MAX {
            return false;
        }
        let (name, dialect) = self.topic_name(state.namespace, room);
        let conn = self.peers.get(state.peer).and_then(|peer| peer.stands_as);
        let (topic, absent_since) = match conn {
            Some(conn) => (ctx.of(conn).join_in(&name, dialect), None),
            None => {
                let topic = ctx.come_absent(&name);
                self.rooms.absent.entry(topic).or_default().push(index);
                (topic, Some(ctx.published(topic)))
            }
        };
        self.sockets[index].memberships.push(Membership { room: room.into(), topic, absent_since });
        true
    }

    /// Takes a socket out of a room.
    pub(super) fn leave_room(&mut self, ctx: &mut Ctx<'_>, index: usize, room: &str) {
        let Some(state) = self.sockets.get_mut(index) else { return };
        let Some(at) = state.memberships.iter().position(|membership| &*membership.room == room) else {
            return;
        };
        let membership = state.memberships.swap_remove(at);
        self.give_up(ctx, index, &membership);
    }

    pub(super) fn leave_all(&mut self, ctx: &mut Ctx<'_>, index: usize) {
        let Some(state) = self.sockets.get_mut(index) else { return };
        for membership in std::mem::take(&mut state.memberships) {
            self.give_up(ctx, index, &membership);
        }
    }

    fn give_up(&mut self, ctx: &mut Ctx<'_>, index: usize, membership: &Membership) {
        let topic = membership.topic;
        if membership.absent_since.is_some() {
            self.forget_absent(topic, index);
            ctx.leave_absent(topic);
        } else if let Some(conn) = self.conn_of(index) {
            ctx.of(conn).leave(topic);
        }
    }

    fn forget_absent(&mut self, topic: TopicId, index: usize) {
        if let Some(absent) = self.rooms.absent.get_mut(&topic) {
            absent.retain(|socket| *socket != index);
            if absent.is_empty() {
                self.rooms.absent.remove(&topic);
            }
        }
    }

    /// The connection by which a socket stands in topics.
    fn conn_of(&self, index: usize) -> Option<ConnId> {
        self.peers.get(self.sockets.get(index)?.peer)?.stands_as
    }

    /// As whom a socket must not hear what it says in a room.
    pub(super) fn own(&self, index: usize, room: &str) -> ConnId {
        let Some(state) = self.sockets.get(index) else { return ConnId::NONE };
        let Some(peer) = self.peers.get(state.peer) else { return ConnId::NONE };
        let membership = state.memberships.iter().find(|membership| &*membership.room == room);
        match membership.map(|membership| membership.absent_since) {
            Some(Some(_)) => peer.alias,
            Some(None) => peer.stands_as.unwrap_or(peer.alias),
            None => ConnId::NONE,
        }
    }

    /// A session has gone over to a WebSocket: its sockets come to stand in their topics, where nothing waits. Where something
    /// does, they come when they have overheard it.
    pub(super) fn settle(&mut self, ctx: &mut Ctx<'_>, key: usize) {
        let Some(conn) = self.peers.get(key).and_then(|peer| peer.session.direct()) else { return };
        self.peers[key].stands_as = Some(conn);
        for index in self.peers[key].sockets.clone() {
            for at in 0..self.sockets[index].memberships.len() {
                let membership = &self.sockets[index].memberships[at];
                if membership.absent_since.is_some() && ctx.is_quiet(membership.topic) {
                    self.stand(ctx, (index, at), conn);
                }
            }
        }
    }

    /// A socket comes to stand in one of its topics, where it was absent.
    fn stand(&mut self, ctx: &mut Ctx<'_>, (index, at): (usize, usize), conn: ConnId) {
        let Membership { room, topic, .. } = self.sockets[index].memberships[at].clone();
        let (name, dialect) = self.topic_name(self.sockets[index].namespace, &room);
        // First in, then out: a topic without anybody would be forgotten in between.
        ctx.of(conn).join_in(&name, dialect);
        self.forget_absent(topic, index);
        ctx.leave_absent(topic);
        self.sockets[index].memberships[at].absent_since = None;
    }

    /// Tells the absent what was published.
    pub(super) fn overhear(&mut self, ctx: &mut Ctx<'_>, news: &Overheard) {
        let Some(absent) = self.rooms.absent.get(&news.topic).cloned() else { return };
        let is_bridge = absent.first().is_some_and(|index| self.is_bridged(*index, news.topic));
        for one in news.iter() {
            let frames: Vec<Frame> =
                one.messages().flat_map(|message| as_frames(message, is_bridge)).collect();
            for index in &absent {
                let Some(state) = self.sockets.get(*index) else { continue };
                let key = state.peer;
                let membership = state.memberships.iter().find(|one| one.topic == news.topic);
                let since = membership.and_then(|membership| membership.absent_since);
                let is_own = self.peers.get(key).is_some_and(|peer| peer.alias == one.except);
                if since.is_some_and(|since| since <= one.number) && !is_own {
                    self.put(ctx, key, &frames);
                }
            }
        }
        absent.iter().for_each(|index| self.has_overheard(*index, news.topic, news.end()));
        // More that was published here, or in another room, may still have to be overheard in this turn.
        if ctx.published(news.topic) == news.end() {
            absent.into_iter().for_each(|index| self.settle_in(ctx, index, news.topic));
        }
    }

    fn has_overheard(&mut self, index: usize, topic: TopicId, end: u64) {
        let memberships = self.sockets.get_mut(index).into_iter().flat_map(|state| &mut state.memberships);
        for since in memberships.filter(|one| one.topic == topic).filter_map(|one| one.absent_since.as_mut())
        {
            *since = end.max(*since);
        }
    }

    /// A peer is about to be sent something: what was published before where it is absent it overhears now.
    pub(super) fn catch_up(&mut self, ctx: &mut Ctx<'_>, key: usize) {
        let Some(peer) = self.peers.get(key) else { return };
        let mut all = Vec::new();
        for index in &peer.sockets {
            let memberships = self.sockets.get(*index).into_iter().flat_map(|state| &state.memberships);
            let absent = memberships.filter_map(|one| Some((*index, one.topic, one.absent_since?)));
            all.extend(absent.filter(|(_, topic, since)| ctx.has_more(*topic, *since)));
        }
        for (index, topic, since) in all {
            let is_bridge = self.is_bridged(index, topic);
            self.has_overheard(index, topic, ctx.published(topic));
            for news in ctx.overhear(topic, since) {
                for one in news.iter() {
                    if self.peers.get(key).is_some_and(|peer| peer.alias != one.except) {
                        let frames: Vec<Frame> =
                            one.messages().flat_map(|message| as_frames(message, is_bridge)).collect();
                        self.put(ctx, key, &frames);
                    }
                }
            }
        }
    }

    /// A socket has overheard all that there was in a topic: if its session has a WebSocket by now, it comes to stand there.
    fn settle_in(&mut self, ctx: &mut Ctx<'_>, index: usize, topic: TopicId) {
        let Some(state) = self.sockets.get(index) else { return };
        let is_absent = |one: &Membership| one.topic == topic && one.absent_since.is_some();
        let at = state.memberships.iter().position(is_absent);
        let conn = self.peers.get(state.peer).and_then(|peer| peer.session.direct());
        if let (Some(at), Some(conn)) = (at, conn) {
            self.stand(ctx, (index, at), conn);
        }
    }

    fn is_bridged(&self, index: usize, topic: TopicId) -> bool {
        self.sockets.get(index).is_some_and(|state| {
            let is_room = |one: &Membership| one.topic == topic && !one.room.is_empty();
            self.namespaces[state.namespace].is_bridge && state.memberships.iter().any(is_room)
        })
    }

    /// The topic of a room, and what those in it are sent.
    pub(super) fn topic_name(&self, namespace: usize, room: &str) -> (String, Dialect) {
        let namespace = &self.namespaces[namespace];
        if namespace.is_bridge && !room.is_empty() {
            (broadcast::topic(room), Dialect::Event)
        } else {
            (format!("io{}\n{room}", namespace.name), Dialect::Raw)
        }
    }

    /// Sends frames to all in a topic, wherever they are, but not to `except`.
    pub(super) fn publish(ctx: &mut Ctx<'_>, name: &str, frames: &[Frame], except: ConnId) {
        let messages: Vec<(Kind, &[u8])> = frames
            .iter()
            .map(|frame| match frame {
                Frame::Text(text) => (Kind::Text, text.as_bytes()),
                Frame::Binary(bytes) => (Kind::Binary, &**bytes),
            })
            .collect();
        ctx.publish_together(name, &messages, except);
    }
}

/// A message that was overheard, as a session sends it.
fn as_frames((kind, payload): (Kind, &[u8]), is_bridge: bool) -> Vec<Frame> {
    let text = match kind {
        Kind::Text => std::str::from_utf8(payload).map_err(|_| payload),
        Kind::Binary => Err(payload),
    };
    match text {
        _ if is_bridge => bridge::frames(text),
        Ok(text) => vec![Frame::Text(text.into())],
        Err(bytes) => vec![Frame::Binary(bytes.into())],
    }
}

/// The topic that `POST /publish/CHANNEL` speaks to.
pub(super) fn channel_topic(channel: &str) -> Option<String> {
    broadcast::is_name(channel).then(|| broadcast::topic(channel))
}
