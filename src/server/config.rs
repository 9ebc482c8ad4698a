//! What an operator decides, as one value that is checked once.
//!
//! Defaults are those that a server on the open network should have. [`Config::check`] refuses what cannot work
//! before anything is opened.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::admission;
use super::deflate;
use super::engineio;
use super::supervisor::Workers;
use crate::base::tick::{Nanos, SECOND};
use crate::http;
use crate::hub::history::Bounds;
use crate::net::identity::TlsSettings;
use crate::net::socket::{Address, Queues};
use crate::service::builtin::DefaultService;
use crate::ws;

/// The settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen without TLS; at least one, here or in `tls`.
    pub listen: Vec<Address>,
    /// Where to listen with TLS, and who we are there.
    pub tls: Option<TlsSettings>,
    /// What the system may keep for us.
    pub queues: Queues,
    /// What `/` upgrades to.
    pub service: DefaultService,
    /// Subprotocols that every service agrees to.
    pub subprotocols: Vec<String>,
    /// Bounds of frames and messages.
    pub ws: ws::Limits,
    /// Bounds of requests.
    pub http: http::Limits,
    /// Connections at most; `None`: what the descriptor limit allows.
    pub connections_max: Option<usize>,
    /// Silence before a ping, in nanoseconds; 0 is off.
    pub ping_interval: Nanos,
    /// Silence after a ping before the peer counts as dead, in nanoseconds; 0 is off.
    pub pong_timeout: Nanos,
    /// Time from accept to a complete request head, in nanoseconds.
    pub handshake_timeout: Nanos,
    /// Time from the first byte of a message to its last, in nanoseconds, however busily bytes come; 0 is off.
    pub message_timeout: Nanos,
    /// Time for a peer to answer our close frame, in nanoseconds.
    pub close_timeout: Nanos,
    /// Time without any progress in writing, in nanoseconds, after which a peer is given up; 0 is off.
    pub stall_timeout: Nanos,
    /// Publications queued for one peer, in bytes of memory (128 a frame beside its own), before the policy decides.
    pub queue_max: usize,
    /// What happens to a peer that is too slow for its channel.
    pub overflow: Overflow,
    /// Time over which everybody is told goodbye at the end, in nanoseconds.
    pub drain: Nanos,
    /// Log lines that whoever writes the log had to drop: counted there, shown in `/metrics`.
    pub log_lines_dropped: Arc<AtomicU64>,
    /// Compression.
    pub deflate: deflate::Settings,
    /// What is remembered of channels, for those who come back.
    pub history: Bounds,
    /// Socket.IO.
    pub engine: engineio::Settings,
    /// Who may come in.
    pub admission: admission::Settings,
    /// How many processes serve; a program of one's own makes workers with [`supervise`](super::supervisor::supervise).
    pub workers: Workers,
    /// Which of several workers this process is; `None`: the only one.
    pub place: Option<Place>,
    /// How often this worker has been started again.
    pub restarts: u64,
}

/// A worker's place among those that share a port of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
    /// The private directory in which their sockets for each other lie.
    pub directory: PathBuf,
}

/// What happens to a subscriber whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// It misses publications, which are counted, and is told how many when it has caught up.
    #[default]
    Drop,
    /// Of what waits, only the newest publication is kept.
    Newest,
    /// It is closed with 1013.
    Close,
}

impl Overflow {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Newest => "newest",
            Self::Close => "close",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Address::Tcp(([127, 0, 0, 1], 9001).into())],
            tls: None,
            queues: Queues { backlog: 4096, send_buffer: None, unsent: Some(UNSENT_MAX) },
            service: DefaultService::default(),
            subprotocols: Vec::new(),
            ws: ws::Limits { frame_max: 64 << 10, message_max: 64 << 10, fragments_max: 65_537 },
            http: http::Limits::default(),
            connections_max: None,
            ping_interval: 25 * SECOND,
            pong_timeout: 20 * SECOND,
            handshake_timeout: 10 * SECOND,
            message_timeout: 60 * SECOND,
            close_timeout: 2 * SECOND,
            stall_timeout: 30 * SECOND,
            queue_max: 256 << 10,
            overflow: Overflow::default(),
            drain: 5 * SECOND,
            log_lines_dropped: Arc::default(),
            deflate: deflate::Settings::default(),
            history: Bounds::default(),
            engine: engineio::Settings::default(),
            admission: admission::Settings::default(),
            workers: Workers::Count(NonZeroU32::MIN),
            place: None,
            restarts: 0,
        }
    }
}

/// The largest message that can be configured, in bytes: offsets in queues are 32 bits wide, and a chat makes six
/// bytes of one control character.
pub const MESSAGE_MAX: u64 = 512 << 20;

/// What the system may keep unsent for one peer, in bytes, unless it is said.
const UNSENT_MAX: u32 = 64 << 10;
/// The most messages of a channel that can be remembered.
pub const HISTORY_MAX: u32 = 100_000;

/// The longest time that can be configured, in nanoseconds: deadlines are compared within 248 days.
pub const TIME_MAX: Nanos = 30 * 86_400 * SECOND;

impl Config {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// One line that says what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.listen.is_empty() && self.tls.is_none() {
            return Err("nowhere to listen: give at least one --listen ADDRESS".to_owned());
        }
        if let Some(tls) = &self.tls {
            tls.check()?;
        }
        if !(1..=MESSAGE_MAX).contains(&self.ws.message_max) {
            return Err(format!("--message-max is from 1 byte to 512mi, not {}", self.ws.message_max));
        }
        if self.ws.fragments_max == 0 {
            return Err("--fragments-max is at least 1: a whole message is one fragment".to_owned());
        }
        if self.connections_max == Some(0) {
            return Err("--connections-max is at least 1".to_owned());
        }
        if self.ping_interval > 0 && self.pong_timeout == 0 {
            return Err(
                "--pong-timeout 0 would wait for ever: turn pings off with --ping-interval 0".to_owned()
            );
        }
        if self.handshake_timeout == 0 || self.close_timeout == 0 {
            return Err(
                "--handshake-timeout and --close-timeout cannot be 0: peers would never be let go".to_owned()
            );
        }
        let times = [
            ("ping-interval", self.ping_interval),
            ("pong-timeout", self.pong_timeout),
            ("handshake-timeout", self.handshake_timeout),
            ("message-timeout", self.message_timeout),
            ("close-timeout", self.close_timeout),
            ("stall-timeout", self.stall_timeout),
            ("drain", self.drain),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| *time > TIME_MAX) {
            return Err(format!("--{name} is at most 720h (30 days)"));
        }
        if self.history.messages > HISTORY_MAX {
            return Err(format!("--history is at most {HISTORY_MAX} messages of a channel; 0 is off"));
        }
        self.queues.check()?;
        self.deflate.check()?;
        self.engine.check()?;
        self.admission.check()?;
        let is_token = |name: &String| !name.is_empty() && name.bytes().all(is_token_byte);
        match self.subprotocols.iter().find(|name| !is_token(name)) {
            Some(name) => {
                Err(format!("--subprotocol `{name}` is not a token (letters, digits and !#$%&'*+-.^_`|~)"))
            }
            None => Ok(()),
        }
    }
}

impl Config {
    /// The longest publication, in bytes: a chat makes six bytes of one control character, and the JSON of an event that is
    /// written again grows less than that.
    pub(super) fn publication_max(&self) -> u64 {
        self.ws.message_max.max(self.engine.max_payload).saturating_mul(6)
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_what_cannot_work_is_refused() {
        assert_eq!(Config::default().check(), Ok(()));
        let wrong: [fn(&mut Config); 11] = [
            |config| config.queues.backlog = 0,
            |config| config.queues.send_buffer = Some(1),
            |config| config.queues.unsent = Some(1),
            |config| config.history.messages = HISTORY_MAX + 1,
            |config| config.listen.clear(),
            |config| config.ws.message_max = 0,
            |config| config.ws.message_max = MESSAGE_MAX + 1,
            |config| config.ws.fragments_max = 0,
            |config| config.connections_max = Some(0),
            |config| config.pong_timeout = 0,
            |config| config.subprotocols.push("a b".to_owned()),
        ];
        for change in wrong {
            let mut config = Config::default();
            change(&mut config);
            assert!(config.check().unwrap_err().starts_with("--") || config.listen.is_empty());
        }
    }
}
