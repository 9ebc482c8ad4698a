//! Compression as the server does it: what is agreed on with whom, what that may cost, and both ways of a message.
//!
//! With `shared` a compressed peer costs a byte: what it is sent goes through the compressors that serve everybody
//! ([`Compressors`](crate::hub::compressors::Compressors)), what comes is inflated into a scratch buffer of the loop.
//! With `context` a peer has a [`Memory`]. That is reserved when it is promised, because a client cannot be told
//! later that its messages are no longer remembered, and made when it is first needed. Who comes when all is reserved
//! is served as in `shared`.
//!
//! Invariants: `reserved` is the sum of all promises and never more than `--deflate-memory`; between two turns the
//! scratch buffers hold at most [`SCRATCH_KEEP_MAX`] bytes each.

use super::limits::{INFLATE_WEIGHT, INFLATER_BYTES, OWN_COMPRESSOR_BYTES, SCRATCH_KEEP_MAX};
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::hub::compressors::OwnCompressor;
use crate::hub::dialect::Dialect;
use crate::net::Net;
use crate::service::Service;
use crate::ws::deflate::Inflater;
pub use crate::ws::extension::Policy as Mode;
use crate::ws::extension::{Agreed, negotiate};
use crate::ws::{Kind, Limits, Violation};

/// What an operator decides about compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether, and with what memory.
    pub mode: Mode,
    /// Messages smaller than this are sent as they are, in bytes.
    pub min: usize,
    /// What the memories of all peers may take, in bytes.
    pub memory: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mode: Mode::Off, min: 1024, memory: 64 << 20 }
    }
}

impl Settings {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// One line that says what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let one = OWN_COMPRESSOR_BYTES + INFLATER_BYTES;
        if self.mode == Mode::Context && self.memory < one {
            return Err(format!(
                "--deflate-memory {} remembers nobody: one peer takes {one} bytes; give more, or take --deflate shared",
                self.memory
            ));
        }
        Ok(())
    }
}

/// A mode's name on the command line.
#[must_use]
pub const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off",
        Mode::Shared => "shared",
        Mode::Context => "context",
    }
}

/// What is remembered of one peer's messages: nothing before the first that is compressed.
#[derive(Debug)]
pub struct Memory {
    /// Of those it is sent, if the peer lets us.
    sent: Option<OwnCompressor>,
    /// Whether those it sends have to be remembered.
    remembers_heard: bool,
    heard: Option<Box<Inflater>>,
    /// What is reserved for all this, in bytes.
    reserved: usize,
}

impl Memory {
    /// What was promised when this was agreed on; `None` if nothing was.
    fn promised(agreed: Agreed) -> Option<Box<Self>> {
        let sent = (!agreed.server_no_context_takeover()).then(OwnCompressor::default);
        let remembers_heard = !agreed.client_no_context_takeover();
        let reserved = if sent.is_some() { OWN_COMPRESSOR_BYTES } else { 0 }
            + if remembers_heard { INFLATER_BYTES } else { 0 };
        (reserved > 0).then(|| Box::new(Self { sent, remembers_heard, heard: None, reserved }))
    }

    /// The peer is sent compressed frames that are not of its own compressor's making.
    #[inline]
    pub(super) const fn bypassed(&mut self) {
        if let Some(own) = &mut self.sent {
            own.bypassed();
        }
    }
}

/// What is agreed on with one peer.
pub(super) struct Agreement {
    pub(super) agreed: Agreed,
    pub(super) dialect: Dialect,
    pub(super) memory: Option<Box<Memory>>,
}

/// What a worker needs to agree on compression and to hear compressed peers, and what it counts.
#[derive(Debug, Default)]
pub struct Deflation {
    /// Promised to all peers together, in bytes.
    pub reserved: usize,
    /// Peers that have a memory, or were promised one.
    pub remembered: usize,
    /// Handshakes that agreed on compression.
    pub agreed: u64,
    /// Handshakes that offered extensions of which we took none.
    pub declined: u64,
    /// Handshakes that agreed on it without a memory, because all was reserved.
    pub forgotten: u64,
    /// Bytes of messages before they were inflated.
    pub bytes_compressed: u64,
    /// Bytes of messages after they were inflated, those that broke a bound included.
    pub bytes_inflated: u64,
    /// What inflating has cost, in bytes given: those taken count [`INFLATE_WEIGHT`] each.
    pub work: u64,
    /// For all whose messages are not remembered.
    inflater: Option<Box<Inflater>>,
    inflated: Vec<u8>,
    translated: Vec<u8>,
}

impl Deflation {
    /// What is agreed on with a peer whose handshake has these `Sec-WebSocket-Extensions` lines, and reserves what
    /// that takes.
    pub(super) fn agree<'h>(
        &mut self,
        lines: impl Iterator<Item = &'h [u8]> + Clone,
        settings: &Settings,
    ) -> Option<Agreement> {
        let Some(mut agreed) = negotiate(lines.clone(), settings.mode) else {
            self.declined += u64::from(lines.count() > 0);
            return None;
        };
        let mut memory = Memory::promised(agreed);
        if memory.as_ref().is_some_and(|memory| memory.reserved > settings.memory - self.reserved) {
            self.forgotten += 1;
            memory = None;
            agreed = negotiate(lines, Mode::Shared)?;
        }
        if let Some(memory) = &memory {
            self.reserved += memory.reserved;
            self.remembered += 1;
        }
        self.agreed += 1;
        Some(Agreement { agreed, dialect: Dialect::within(agreed.server_window_bits()), memory })
    }

    /// A peer has gone, and what it was promised with it.
    pub(super) fn release(&mut self, memory: Option<Box<Memory>>) {
        if let Some(memory) = memory.filter(|_| !is_made(Mutation::MemoryKept)) {
            self.reserved -= memory.reserved;
            self.remembered -= 1;
        }
    }

    /// Inflates a whole message of a peer.
    pub(super) fn inflate(
        &mut self,
        memory: Option<&mut Memory>,
        kind: Kind,
        compressed: &[u8],
        limits: &Limits,
    ) -> Result<&[u8], Violation> {
        let (inflater, keep_context) = match memory {
            Some(Memory { remembers_heard: true, heard, .. }) => (heard.get_or_insert_default(), true),
            Some(_) | None => (self.inflater.get_or_insert_default(), false),
        };
        let result = inflater.inflate(kind, compressed, &mut self.inflated, limits, keep_context);
        self.bytes_compressed += compressed.len() as u64;
        self.bytes_inflated += self.inflated.len() as u64;
        self.work += self.inflated.len() as u64 + INFLATE_WEIGHT * compressed.len() as u64;
        result.map(|()| self.inflated.as_slice())
    }

    /// Gives back what a large message has made of the scratch buffers.
    pub(super) fn tidy(&mut self) {
        for scratch in [&mut self.inflated, &mut self.translated] {
            if scratch.capacity() > SCRATCH_KEEP_MAX {
                *scratch = Vec::new();
            }
        }
    }
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Writes replies, plain frames end to end, in the dialect of the peer.
    pub(super) fn write_in_dialect(&mut self, id: ConnId, frames: &[u8]) {
        let Some(connection) = self.roster.get(id) else { return };
        let own = connection.memory.as_mut().and_then(|memory| memory.sent.as_mut());
        let mut translated = std::mem::take(&mut self.deflation.translated);
        translated.clear();
        self.hub.compressors.append_all(connection.dialect, own, frames, &mut translated);
        self.write(id, &translated);
        self.deflation.translated = translated;
    }
}
