//! How sockets come and go: into a namespace, out of it, and with their session.
//!
//! Invariants: who has come in is told of by `on_connection` once, and who leaves by `on_disconnect` once; a socket that is gone
//! is in no room.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::core::{Io, State};
use super::socket::Socket;
use crate::service::Ctx;
use crate::socketio::client::INVALID_NAMESPACE;

impl Io {
    /// A client wants into a namespace.
    pub(super) fn connect(&mut self, ctx: &mut Ctx<'_>, key: usize, name: &str, auth: Map<String, Value>) {
        let sid = self.new_sid();
        let at = self.namespaces.iter().position(|namespace| &*namespace.name == name);
        let Some(client) = self.peers.get_mut(key).and_then(|peer| peer.client.as_mut()) else { return };
        let answer = match at {
            Some(_) => client.accept(name, &sid),
            None => client.refuse(name, INVALID_NAMESPACE),
        };
        let Some(answer) = answer else { return };
        self.send(ctx, key, &[answer]);
        let (Some(namespace), Some(peer)) = (at, self.peers.get_mut(key)) else { return };
        self.serial = self.serial.wrapping_add(1);
        let index = self.sockets.insert(State {
            peer: key,
            namespace,
            sid,
            auth,
            serial: self.serial,
            timers: 0,
            memberships: Vec::new(),
            on: Vec::new(),
            on_any: None,
            on_disconnect: Vec::new(),
            state: None,
        });
        peer.sockets.push(index);
        self.enter(ctx, index);
        let handlers = self.namespaces[namespace].on_connection.clone();
        for handler in handlers {
            handler(&mut Socket::new(self, ctx, index));
        }
    }

    /// A session is over, and with it all its sockets.
    pub(super) fn end(&mut self, ctx: &mut Ctx<'_>, key: usize, reason: &str) {
        let Some(peer) = self.peers.get(key) else { return };
        let sid = *peer.session.sid();
        while let Some(&socket) = self.peers.get(key).and_then(|peer| peer.sockets.last()) {
            self.part(ctx, socket, reason);
        }
        self.by_sid.remove(&sid);
        self.peers.try_remove(key);
    }

    /// A socket leaves its namespace.
    pub(super) fn part(&mut self, ctx: &mut Ctx<'_>, index: usize, reason: &str) {
        let Some(state) = self.sockets.get_mut(index) else { return };
        let (peer, handlers) = (state.peer, std::mem::take(&mut state.on_disconnect));
        let namespace = Rc::clone(&self.namespaces[state.namespace].name);
        self.leave_all(ctx, index);
        for handler in handlers {
            handler(&mut Socket::new(self, ctx, index), reason);
        }
        // What a handler may have joined meanwhile.
        self.leave_all(ctx, index);
        self.sockets.try_remove(index);
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.sockets.retain(|socket| *socket != index);
        }
        self.clock.forget(peer, &namespace);
    }
}
