//! What reaches a session: GETs, POSTs, WebSockets, what they bring, and that they go.
//!
//! Every entry looks at the deadlines first, so that a request that comes too late finds the session gone. A request that
//! no client that knows the protocol makes ends the session, as npm's `engine.io` has it; one for a session that goes by
//! WebSocket is refused and changes nothing, so that nobody is thrown out by a request that was still under way.
//!
//! Invariant: whatever comes from a connection that the session does not know, or no longer, changes nothing.

use super::{Heartbeat, Link, Polling, Probe, Session};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::socketio::action::{Action, Answer, Reason};
use crate::socketio::engine::{Frame, Malformed, Message, Packet, PacketType, Payload};
use crate::socketio::request::Refusal;
use std::mem;

/// What came on a WebSocket: one message of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming<'i> {
    /// A text message.
    Text(&'i str),
    /// A binary message.
    Binary(&'i [u8]),
}

/// The body of a POST on its way through [`Session::next_message`].
#[derive(Debug)]
pub struct Post<'b> {
    from: ConnId,
    packets: Option<Payload<'b>>,
}

impl Session {
    /// A GET came. It is answered with all that waits, or kept until there is something. A second one while one is kept
    /// ends the session.
    pub fn poll(&mut self, from: ConnId, now: Nanos, out: &mut Vec<Action>) {
        self.tick(now, out);
        let refusal = match &mut self.link {
            Link::Polling(polling) if polling.parked.is_none() => {
                polling.parked = Some(from);
                return self.flush(out);
            }
            Link::Polling(_) | Link::WebSocket(_) => Refusal::BadRequest,
            Link::Ended => Refusal::SessionUnknown,
        };
        self.refuse(from, refusal, out);
    }

    /// A POST came: its head. `announced` is its Content-Length, `binary` whether its type is
    /// `application/octet-stream`, which belongs to an older protocol. Returns whether its body is to be read and handed
    /// to [`post`](Self::post); otherwise it has been answered, and its connection should close.
    pub fn post_began(
        &mut self,
        from: ConnId,
        (announced, binary): (Option<u64>, bool),
        now: Nanos,
        out: &mut Vec<Action>,
    ) -> bool {
        self.tick(now, out);
        let max = self.config.max_payload as u64;
        let refusal = match &mut self.link {
            Link::Polling(polling) if polling.posting.is_none() && !binary => {
                if announced.is_some_and(|len| len > max) {
                    out.push(Action::Answer { to: from, answer: Answer::TooLarge });
                    return false;
                }
                polling.posting = Some(from);
                return true;
            }
            Link::Polling(_) | Link::WebSocket(_) => Refusal::BadRequest,
            Link::Ended => Refusal::SessionUnknown,
        };
        self.refuse(from, refusal, out);
        false
    }

    /// Refuses a request, which ends a session that polls: its client does not know what it does.
    fn refuse(&mut self, from: ConnId, refusal: Refusal, out: &mut Vec<Action>) {
        out.push(Action::Answer { to: from, answer: Answer::Refused(refusal) });
        if let Link::Polling(_) = self.link {
            self.end(Reason::TransportError, PacketType::Close, out);
        }
    }

    /// The body of a POST is here, whole. Its messages come out of [`next_message`](Self::next_message), which is to be
    /// called until it has no more: then the POST is answered.
    pub fn post<'b>(&mut self, from: ConnId, body: &'b [u8], now: Nanos, out: &mut Vec<Action>) -> Post<'b> {
        self.tick(now, out);
        let mut post = Post { from, packets: None };
        let Link::Polling(polling) = &mut self.link else { return post };
        if polling.posting != Some(from) {
            return post;
        }
        if body.len() > self.config.max_payload {
            polling.posting = None;
            out.push(Action::Answer { to: from, answer: Answer::TooLarge });
        } else if let Ok(text) = std::str::from_utf8(body) {
            post.packets = Some(Payload::new(text));
        } else {
            self.end(Reason::ParseError(Malformed::NotUtf8), PacketType::Close, out);
        }
        post
    }

    /// The next message of a POST.
    pub fn next_message<'b>(
        &mut self,
        post: &mut Post<'b>,
        now: Nanos,
        out: &mut Vec<Action>,
    ) -> Option<Message<'b>> {
        let packets = post.packets.as_mut()?;
        for packet in packets {
            match packet {
                Ok(packet) => {
                    if let Some(message) = self.hear(packet, now, out) {
                        return Some(message);
                    }
                }
                Err(wrong) => self.end(Reason::ParseError(wrong), PacketType::Close, out),
            }
            if self.is_over() {
                break;
            }
        }
        post.packets = None;
        self.post_taken(Some(post.from), out);
        None
    }

    /// Answers the POST that is being read, if it is this one (or whichever it is).
    fn post_taken(&mut self, from: Option<ConnId>, out: &mut Vec<Action>) {
        if let Link::Polling(polling) = &mut self.link
            && let Some(to) = polling.posting.take_if(|conn| from.is_none_or(|from| from == *conn))
        {
            out.push(Action::Answer { to, answer: Answer::Taken });
        }
    }

    /// A WebSocket was opened for this session. It begins an upgrade; one too many is closed and changes nothing.
    pub fn upgrade(&mut self, from: ConnId, now: Nanos, out: &mut Vec<Action>) {
        self.tick(now, out);
        match &mut self.link {
            Link::Polling(polling) if polling.probe.is_none() => {
                let until = now + self.config.upgrade_timeout;
                polling.probe = Some(Probe { conn: from, until, heard: false });
            }
            Link::Polling(_) | Link::WebSocket(_) | Link::Ended => {
                out.push(Action::CloseWebSocket { to: from });
            }
        }
    }

    /// A WebSocket brought a message. What comes on one that was told to close is passed over.
    pub fn frame<'i>(
        &mut self,
        from: ConnId,
        incoming: Incoming<'i>,
        now: Nanos,
        out: &mut Vec<Action>,
    ) -> Option<Message<'i>> {
        self.tick(now, out);
        let packet = match incoming {
            Incoming::Text(text) => Packet::decode(text),
            Incoming::Binary(bytes) => Ok(Packet::Binary(bytes.into())),
        };
        match &mut self.link {
            Link::WebSocket(conn) if *conn == from => match packet {
                Ok(packet) => return self.hear(packet, now, out),
                Err(wrong) => self.end(Reason::ParseError(wrong), PacketType::Close, out),
            },
            Link::Polling(polling) if polling.probe.is_some_and(|probe| probe.conn == from) => {
                self.probe(from, packet, out);
            }
            Link::Polling(_) | Link::WebSocket(_) | Link::Ended => {}
        }
        None
    }

    /// The WebSocket that would take over said something: it is tried, it takes over, or it is dropped.
    fn probe(&mut self, from: ConnId, packet: Result<Packet<'_>, Malformed>, out: &mut Vec<Action>) {
        let Link::Polling(polling) = &mut self.link else { return };
        match packet {
            Ok(Packet::Text(PacketType::Ping, "probe")) => {
                out.push(Action::Send { to: from, frame: Frame::packet(PacketType::Pong, "probe") });
                polling.probe = polling.probe.map(|probe| Probe { heard: true, ..probe });
                self.flush(out);
            }
            Ok(Packet::Text(PacketType::Upgrade, _)) => {
                let Polling { parked, posting, .. } = mem::take(polling);
                self.link = Link::WebSocket(from);
                Self::let_go((parked, posting), PacketType::Noop, out);
                self.flush(out);
            }
            Ok(_) | Err(_) => {
                polling.probe = None;
                out.push(Action::CloseWebSocket { to: from });
            }
        }
    }

    /// A connection is gone, or will bring nothing more. For a WebSocket, a GET that waits, or a POST in whose midst that
    /// happens, it is the end of the session; for a WebSocket that has not taken over, of the upgrade.
    pub fn gone(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        match &mut self.link {
            Link::WebSocket(main) if *main == conn => {
                self.link = Link::Ended;
                out.push(Action::End(Reason::TransportClose));
            }
            Link::Polling(polling) => {
                polling.probe.take_if(|probe| probe.conn == conn);
                let get = polling.parked.take_if(|parked| *parked == conn);
                if get.or(polling.posting.take_if(|posting| *posting == conn)).is_some() {
                    self.end(Reason::TransportError, PacketType::Close, out);
                }
            }
            Link::WebSocket(_) | Link::Ended => {}
        }
    }

    /// Takes in a packet of the client; gives back a message.
    fn hear<'p>(&mut self, packet: Packet<'p>, now: Nanos, out: &mut Vec<Action>) -> Option<Message<'p>> {
        match packet {
            Packet::Text(PacketType::Close, _) if !self.is_over() => {
                self.post_taken(None, out);
                self.end(Reason::TransportClose, PacketType::Noop, out);
                None
            }
            Packet::Binary(_) | Packet::Text(..) if self.is_over() || self.closing.is_some() => None,
            Packet::Binary(bytes) => Some(Message::Binary(bytes)),
            Packet::Text(PacketType::Message, text) => Some(Message::Text(text)),
            Packet::Text(PacketType::Pong, _) => {
                self.heartbeat = Heartbeat::Quiet(now + self.config.ping_interval);
                None
            }
            Packet::Text(PacketType::Ping, _) => {
                self.end(Reason::TransportError, PacketType::Close, out);
                None
            }
            Packet::Text(
                PacketType::Open | PacketType::Close | PacketType::Upgrade | PacketType::Noop,
                _,
            ) => None,
        }
    }
}
