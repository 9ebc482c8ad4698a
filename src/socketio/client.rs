//! One Socket.IO client upon a session: its namespaces, its events, and the answers either side owes.
//!
//! The session carries messages; this makes packets of them, and says what the application is to hear. Which namespaces
//! there are, and who may enter, is not known here: the server answers a [`Heard::Connect`] with
//! [`accept`](Client::accept) or [`refuse`](Client::refuse), at once or later. All that is given back as frames is to be
//! sent with [`Session::send`](super::Session::send).
//!
//! Invariants: an event comes only from a namespace that the client is in; an acknowledgement is given at most once and
//! taken at most once; after a [`Fault`] nothing more is heard. Source: "Socket.IO protocol", revision 5; where it is
//! silent, npm's `socket.io` 4.

use super::acks::Acks;
use super::binary::{self, Decoder};
use super::engine::{Frame, Message, Sid};
use super::packet::{Args, Body, Event, Packet, Wrong};
use crate::base::tick::{Nanos, SECOND};
use serde_json::{Map, Value};
use std::fmt;
use std::mem;
use std::rc::Rc;

/// What clients are told of a namespace that there is not.
pub const INVALID_NAMESPACE: &str = "Invalid namespace";
/// What they are told of one more than they may be in.
pub const TOO_MANY_NAMESPACES: &str = "Too many namespaces";

/// What a client may have and send at most. One for a whole server: the client is lent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Namespaces that a client is in, or has asked for and not been answered.
    pub namespaces_max: usize,
    /// Time in which it must be in one, in nanoseconds.
    pub connect_timeout: Nanos,
    /// Acknowledgements that it owes us.
    pub acks_max: usize,
    /// Of its packets.
    pub packet: binary::Limits,
}

impl Default for Limits {
    /// 16 namespaces, 45 s as in npm's `socket.io`, 256 acknowledgements.
    fn default() -> Self {
        Self {
            namespaces_max: 16,
            connect_timeout: 45 * SECOND,
            acks_max: 256,
            packet: binary::Limits::default(),
        }
    }
}

/// The state of one client.
#[derive(Debug)]
pub struct Client {
    decoder: Decoder,
    namespaces: Vec<Joined>,
    acks: Acks,
    /// By when it must be in a namespace; `None` once it was in one.
    connect_by: Option<Nanos>,
    /// Namespaces asked for so far.
    asked: u32,
    is_over: bool,
}

/// A namespace that the client is in, or asked for.
#[derive(Debug)]
struct Joined {
    name: Rc<str>,
    /// The number of the CONNECT: who leaves and comes again is somebody else.
    serial: u32,
    is_in: bool,
}

/// To whom and for what an acknowledgement is owed. It can be used once.
#[derive(PartialEq, Eq, Debug)]
pub struct AckTo {
    namespace: Rc<str>,
    serial: u32,
    id: u64,
}

/// What a message of the client meant.
#[derive(PartialEq, Debug)]
pub enum Heard {
    /// Nothing yet (attachments are missing), or nothing at all (an acknowledgement that nobody waits for any more).
    Nothing,
    /// It wants into a namespace: answer with [`Client::accept`] or [`Client::refuse`].
    Connect {
        /// Which.
        namespace: Rc<str>,
        /// What it says to be let in.
        auth: Option<Map<String, Value>>,
    },
    /// It wants into one namespace too many, and is to be sent this.
    Refused(Frame),
    /// An event.
    Event {
        /// Where.
        namespace: Rc<str>,
        /// What.
        event: Event,
        /// It wants an answer: [`Client::acknowledge`].
        ack: Option<AckTo>,
    },
    /// The answer to an event of ours.
    Ack {
        /// Where.
        namespace: Rc<str>,
        /// To which: what [`Client::emit_with_ack`] gave.
        id: u64,
        /// What it says.
        args: Args,
    },
    /// It left a namespace: "client namespace disconnect". Nobody there need wait for its answers.
    Left {
        /// Which.
        namespace: Rc<str>,
    },
    /// It did what no client does: close the session.
    Fault(Fault),
}

/// Why a client is let go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Something that is no packet: "parse error".
    Malformed(Wrong),
    /// A packet of a namespace that it is not in.
    NotIn,
    /// CONNECT to a namespace that it is in, or has asked for.
    ConnectTwice,
    /// CONNECT_ERROR, which only a server sends.
    ServersPacket,
}

impl Fault {
    /// The metric label: stable, lower case, a bounded set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed(wrong) => wrong.label(),
            Self::NotIn => "not_in",
            Self::ConnectTwice => "connect_twice",
            Self::ServersPacket => "servers_packet",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(wrong) => write!(f, "parse error: {wrong}"),
            Self::NotIn => {
                f.write_str("a packet of a namespace that the client is not in: CONNECT comes first")
            }
            Self::ConnectTwice => f.write_str("CONNECT to a namespace that the client has connected to"),
            Self::ServersPacket => f.write_str("CONNECT_ERROR is for the server to send"),
        }
    }
}

/// A time that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expired {
    /// It is in no namespace yet: close the session.
    Connect,
    /// It did not answer: "operation has timed out".
    Ack {
        /// Where it was asked.
        namespace: Rc<str>,
        /// What [`Client::emit_with_ack`] gave.
        id: u64,
    },
}

/// Why an event that wants an answer was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unasked {
    /// The client is not in the namespace.
    NotIn,
    /// It owes [`Limits::acks_max`] answers already.
    TooMany,
}

impl Client {
    /// A client whose session was opened at `now`.
    #[must_use]
    pub fn new(now: Nanos, limits: &Limits) -> Self {
        Self {
            decoder: Decoder::default(),
            namespaces: Vec::new(),
            acks: Acks::default(),
            connect_by: Some(now + limits.connect_timeout),
            asked: 0,
            is_over: false,
        }
    }

    /// Takes a message of the session.
    pub fn receive(&mut self, message: Message<'_>, limits: &Limits) -> Heard {
        if self.is_over {
            return Heard::Nothing;
        }
        let decoded = match message {
            Message::Text(text) => self.decoder.text(text, &limits.packet),
            Message::Binary(bytes) => self.decoder.binary(&bytes),
        };
        let heard = match decoded {
            Ok(Some(packet)) => self.packet(packet, limits),
            Ok(None) => Heard::Nothing,
            Err(wrong) => Heard::Fault(Fault::Malformed(wrong)),
        };
        self.is_over = matches!(heard, Heard::Fault(_));
        heard
    }

    fn packet(&mut self, packet: Packet, limits: &Limits) -> Heard {
        let Packet { namespace, id, body } = packet;
        let place = self.namespaces.iter().position(|joined| joined.name == namespace);
        let is_in = place.is_some_and(|at| self.namespaces[at].is_in);
        match body {
            Body::Connect(_) if place.is_some() => Heard::Fault(Fault::ConnectTwice),
            Body::Connect(auth) => self.asked(namespace, auth, limits),
            Body::ConnectError(_) => Heard::Fault(Fault::ServersPacket),
            Body::Disconnect | Body::Event(_) | Body::Ack(_) if !is_in => Heard::Fault(Fault::NotIn),
            Body::Disconnect => {
                self.leave(&namespace);
                Heard::Left { namespace }
            }
            Body::Event(event) => {
                let serial = place.map_or(0, |at| self.namespaces[at].serial);
                let ack = id.map(|id| AckTo { namespace: Rc::clone(&namespace), serial, id });
                Heard::Event { namespace, event, ack }
            }
            Body::Ack(args) => match id.filter(|id| self.acks.take(&namespace, *id)) {
                Some(id) => Heard::Ack { namespace, id, args },
                None => Heard::Nothing,
            },
        }
    }

    fn asked(&mut self, namespace: Rc<str>, auth: Option<Map<String, Value>>, limits: &Limits) -> Heard {
        if self.namespaces.len() >= limits.namespaces_max {
            return Heard::Refused(refusal(&namespace, TOO_MANY_NAMESPACES));
        }
        self.asked = self.asked.wrapping_add(1);
        self.namespaces.push(Joined { name: Rc::clone(&namespace), serial: self.asked, is_in: false });
        Heard::Connect { namespace, auth }
    }

    /// Lets the client into a namespace that it asked for, where it is `sid`. `None` if it did not ask, or was answered.
    pub fn accept(&mut self, namespace: &str, sid: &Sid) -> Option<Frame> {
        let joined = self.namespaces.iter_mut().find(|joined| &*joined.name == namespace && !joined.is_in)?;
        joined.is_in = true;
        self.connect_by = None;
        let mut object = Map::new();
        object.insert("sid".into(), sid.as_str().into());
        only(Packet::new(Rc::clone(&joined.name), Body::Connect(Some(object))))
    }

    /// Refuses it with a message, such as [`INVALID_NAMESPACE`]. `None` if it did not ask, or was answered.
    pub fn refuse(&mut self, namespace: &str, message: &str) -> Option<Frame> {
        let at = self.namespaces.iter().position(|joined| &*joined.name == namespace && !joined.is_in)?;
        self.namespaces.remove(at);
        Some(refusal(namespace, message))
    }

    /// The frames of an event for this client alone; `None` if it is not in the namespace. What goes to many is encoded
    /// once, by [`Packet::frames`].
    #[must_use]
    pub fn emit(&self, namespace: &str, event: Event) -> Option<Vec<Frame>> {
        let name = &self.joined(namespace)?.name;
        Some(Packet::new(Rc::clone(name), Body::Event(event)).frames())
    }

    /// The same for an event that wants an answer until a time: its id and its frames. If these cannot be sent, the time
    /// runs out.
    ///
    /// # Errors
    /// Why not.
    pub fn emit_with_ack(
        &mut self,
        namespace: &str,
        event: Event,
        until: Nanos,
        limits: &Limits,
    ) -> Result<(u64, Vec<Frame>), Unasked> {
        let name = Rc::clone(&self.joined(namespace).ok_or(Unasked::NotIn)?.name);
        let id = self.acks.expect(&name, until, limits.acks_max).ok_or(Unasked::TooMany)?;
        Ok((id, Packet::new(name, Body::Event(event)).with_id(id).frames()))
    }

    /// The frames that answer an event; `None` if the client has left the namespace since.
    #[must_use]
    pub fn acknowledge(&self, ack: AckTo, args: Args) -> Option<Vec<Frame>> {
        self.joined(&ack.namespace).filter(|joined| joined.serial == ack.serial)?;
        Some(Packet::new(ack.namespace, Body::Ack(args)).with_id(ack.id).frames())
    }

    /// Puts the client out of a namespace: "server namespace disconnect". `None` if it is not in it.
    pub fn disconnect(&mut self, namespace: &str) -> Option<Frame> {
        self.joined(namespace)?;
        self.leave(namespace);
        only(Packet::new(namespace, Body::Disconnect))
    }

    /// Puts it out of all of them; close the session when this is sent. Tell those that
    /// [`namespaces`](Self::namespaces) names first.
    pub fn disconnect_all(&mut self) -> Vec<Frame> {
        self.is_over = true;
        self.acks = Acks::default();
        let all = mem::take(&mut self.namespaces).into_iter().filter(|joined| joined.is_in);
        all.filter_map(|joined| only(Packet::new(joined.name, Body::Disconnect))).collect()
    }

    /// The namespaces that it is in.
    pub fn namespaces(&self) -> impl Iterator<Item = &Rc<str>> {
        self.namespaces.iter().filter(|joined| joined.is_in).map(|joined| &joined.name)
    }

    /// A time that is over, one at a call.
    pub fn expire(&mut self, now: Nanos) -> Option<Expired> {
        if let Some(until) = self.connect_by
            && until <= now
        {
            self.connect_by = None;
            return Some(Expired::Connect);
        }
        self.acks.expire(now).map(|(namespace, id)| Expired::Ack { namespace, id })
    }

    /// When [`expire`](Self::expire) has something, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        self.connect_by.into_iter().chain(self.acks.deadline()).min()
    }

    fn joined(&self, namespace: &str) -> Option<&Joined> {
        self.namespaces.iter().find(|joined| joined.is_in && &*joined.name == namespace)
    }

    fn leave(&mut self, namespace: &str) {
        self.namespaces.retain(|joined| &*joined.name != namespace);
        self.acks.forget(namespace);
    }
}

/// CONNECT_ERROR with a message.
fn refusal(namespace: &str, message: &str) -> Frame {
    let mut text = String::from("4");
    let mut object = Map::new();
    object.insert("message".into(), message.into());
    Packet::new(namespace, Body::ConnectError(Value::Object(object))).encode(&mut text);
    Frame::Text(text.into())
}

/// The frame of a packet that has no attachments.
fn only(packet: Packet) -> Option<Frame> {
    packet.frames().into_iter().next()
}
