//! Stentor is a WebSocket broadcast server: one process, one thread, one loop.
//!
//! The rooms of the house, floor by floor; a room imports rooms on lower floors only, and the test
//! `tests/house.rs` holds that:
//!
//! | floor | room | what it is |
//! |--:|---|---|
//! | 0 | [`base`] | Data structures that know nothing of networks. |
//! | 1 | [`ws`] | RFC 6455 as pure state machines, both roles. |
//! | 1 | [`http`] | Just enough HTTP/1.1: heads, responses, small bodies, both roles. |
//! | 1 | [`socketio`] | Engine.IO 4 and Socket.IO 5 as pure state machines, server side. |
//! | 2 | [`net`] | The seam to the system: the `Net` trait, its mio implementation, sockets. |
//! | 3 | [`hub`] | Who hears what: topics, publications, frames, the ledger, the outbox. |
//! | 4 | [`service`] | What the server is for: echo, chat, broadcast channels, ticks. |
//! | 5 | [`server`] | The worker: connections, the phases of the turn, HTTP routes, metrics. |
//! | 6 | [`sim`] | The simulated network, clock, peers, faults and oracles. |
//!
//! Start reading at `server/worker.rs`: the whole server is one function of seven named phases.

pub mod base;
pub mod http;
pub mod hub;
pub mod net;
pub mod server;
pub mod service;
pub mod sim;
pub mod socketio;
pub mod ws;
