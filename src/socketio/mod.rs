//! Engine.IO 4 and Socket.IO 5, server side, as pure state machines: no socket, no clock, no chance.
//!
//! # The two protocols on a page
//!
//! **Engine.IO** makes a channel for messages of whatever a client can reach: WebSocket, or HTTP requests that are
//! answered late (*long polling*). A *packet* is one digit and text behind it; binary messages are bare on a
//! WebSocket and `b` and base64 in HTTP:
//!
//! ```text
//!   0 open  1 close  2 ping  3 pong  4 message  5 upgrade  6 noop
//!
//!   client                                   server
//!   GET  ?EIO=4&transport=polling         →  0{"sid":…,"upgrades":["websocket"],…}
//!   GET  ?…&sid=…                         →  waits, until there is something: 4one 1E 4two 1E bAQID
//!   POST ?…&sid=…   4three 1E 4four       →  ok
//!   WebSocket ?…&sid=…   2probe           →  3probe, and the waiting GET is answered 6
//!                        5                   from here on all goes by the WebSocket
//! ```
//!
//! The server sends `2` every `pingInterval`, the client answers `3` within `pingTimeout`.
//!
//! **Socket.IO** sends events through such a channel, in namespaces, with acknowledgements. Its packets are the text of
//! Engine.IO messages: a type, a namespace unless it is `/`, an id if an answer is wanted, JSON.
//!
//! ```text
//!   0 CONNECT  1 DISCONNECT  2 EVENT  3 ACK  4 CONNECT_ERROR  5 BINARY_EVENT  6 BINARY_ACK
//!
//!   40/chat,{"token":"x"}       →   40/chat,{"sid":"…"}
//!   42/chat,7["say","hello"]    →   43/chat,7["ok"]
//!   451-["put",{"_placeholder":true,"num":0}] and a binary message behind it
//! ```
//!
//! # Reading order
//!
//! [`engine`] and [`request`] are the wire of Engine.IO, [`session`] its life, with what it hands out in [`action`].
//! [`packet`] and [`binary`] are the wire of Socket.IO, [`client`] its life upon a session. A server holds one
//! [`Session`] and one [`Client`] a peer, lends both a list for [`Action`]s, and does what stands in it:
//!
//! ```text
//!   request → Query::judge → Session::{poll, post, upgrade, frame} → Message → Client::receive → Heard
//!   Client::{accept, emit, acknowledge …} → frames → Session::send → Action → socket
//! ```
//!
//! Sources: the documents "Engine.IO protocol", revision 4, and "Socket.IO protocol", revision 5, and where they say
//! nothing the behaviour of the implementation that npm has as `socket.io` 4.

pub mod action;
pub mod binary;
pub mod bridge;
pub mod client;
pub mod engine;
pub mod packet;
pub mod request;
pub mod session;

mod acks;
mod json;
mod queue;

pub use action::{Action, Answer, Reason};
pub use binary::Decoder;
pub use client::{Client, Heard};
pub use engine::{Frame, Message, Sid};
pub use packet::{Args, Event, Packet, Wrong};
pub use request::{Query, Refusal, Transport};
pub use session::Session;

#[cfg(test)]
mod tests;
