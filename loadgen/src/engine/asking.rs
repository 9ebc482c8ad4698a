//! What each client asks for: its target, its source address, its handshake.
//!
//! Why: all of it follows from the plan and the client's number, so no client has to remember it; only the nonce is
//! its own, drawn again from the seed and the number when the answer is checked.
//!
//! Invariants: the same client always gets the same nonce within a run, different clients get different ones.

use super::assignment::Assignment;
use crate::client::{self, ASK, Stream};
use crate::plan::{Plan, Target};
use mio::net::TcpStream;
use rustls::ClientConfig;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use stentor::ws::handshake::{ClientHandshake, ClientRequest};

/// The asking side of one loop.
#[derive(Debug)]
pub(super) struct Asking<'p> {
    plan: &'p Plan,
    assignment: Assignment,
    protocols: Vec<&'p str>,
    headers: Vec<(&'p str, &'p str)>,
    /// Settings of TLS, if any target asks for it.
    tls: Option<Arc<ClientConfig>>,
}

impl<'p> Asking<'p> {
    /// Borrows what is the same for all clients.
    ///
    /// # Errors
    /// Whom to trust over TLS cannot be read any more; the plan was checked before.
    pub(super) fn new(plan: &'p Plan, assignment: Assignment) -> io::Result<Self> {
        Ok(Self {
            plan,
            assignment,
            protocols: plan.subprotocols.iter().map(String::as_str).collect(),
            headers: plan.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            tls: client::trust(plan).map_err(io::Error::other)?,
        })
    }

    /// Puts TLS on a client's socket, if its target asks for it.
    pub(super) fn clothe(&self, local: u32, tcp: TcpStream) -> io::Result<Stream> {
        let target = self.target(local);
        match &self.tls {
            Some(config) if target.tls => {
                let name = target.server_name().map_err(io::Error::other)?;
                Stream::tls(tcp, Arc::clone(config), name)
            }
            Some(_) | None => Ok(Stream::Plain(tcp)),
        }
    }

    /// Clients are spread over the targets in turn.
    pub(super) fn target(&self, local: u32) -> &'p Target {
        let global = self.assignment.global(local) as usize;
        &self.plan.targets[global % self.plan.targets.len()]
    }

    /// The address from which a client connects; `None`: the kernel chooses.
    pub(super) fn source(&self, local: u32) -> Option<IpAddr> {
        self.plan.source(self.assignment.global(local))
    }

    /// The nonce of a client's handshake (RFC 6455 §4.1, item 7).
    pub(super) fn handshake(&self, local: u32) -> ClientHandshake {
        let number = u64::from(self.assignment.global(local)) << 32 | u64::from(self.plan.run_id);
        let mut rng = fastrand::Rng::with_seed(self.plan.seed.rotate_left(17) ^ number);
        ClientHandshake::new(rng.u128(..).to_le_bytes())
    }

    /// The request of a client's handshake.
    pub(super) fn request(&self, local: u32) -> ClientRequest<'_> {
        let target = self.target(local);
        ClientRequest {
            host: &target.authority,
            target: &target.path,
            origin: self.plan.origin.as_deref(),
            protocols: &self.protocols,
            deflate: self.plan.deflate.then_some(ASK),
            headers: &self.headers,
        }
    }
}
