//! What an operator decides about Socket.IO: the times and sizes of Engine.IO, and the client that pages load from here.
//!
//! Pages of the tutorials say `<script src="/socket.io/socket.io.js">`, where npm's server puts its client. Ours brings none
//! along; it serves the file that an operator names, as it was when the server started.
//!
//! Invariants: a client is told of no time and no size that is not kept; a file is read once, and never a larger one than
//! [`CLIENT_BYTES_MAX`].

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::exchange::Reaction;
use super::pages;
use super::start::Failure;
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::http::{BodyLength, Method, Refusal, Request};
use crate::net::Net;
use crate::service::events::EngineConfig;
use crate::service::{Departure, Service};

/// Where pages look for the client.
pub const CLIENT_PATH: &str = "/socket.io/socket.io.js";
/// The largest file that is taken for a client, in bytes.
pub const CLIENT_BYTES_MAX: u64 = 4 << 20;

/// The least time that can be configured: deadlines are looked at about so often.
const TIME_MIN: Nanos = 100 * MILLI;
/// The longest, as the pings of a client that is gone are all that tells so.
const TIME_MAX: Nanos = 86_400 * SECOND;
const PAYLOAD_MIN: u64 = 1_000;
const PAYLOAD_MAX: u64 = 64 << 20;

/// Engine.IO as an operator wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time between a pong and the next ping, in nanoseconds.
    pub ping_interval: Nanos,
    /// Time in which a ping must be answered, in nanoseconds.
    pub ping_timeout: Nanos,
    /// The longest body of a POST and the longest message of a WebSocket, in bytes.
    pub max_payload: u64,
    /// The file that is served at [`CLIENT_PATH`].
    pub client: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let EngineConfig { ping_interval, ping_timeout, max_payload, .. } = EngineConfig::default();
        Self { ping_interval, ping_timeout, max_payload: max_payload as u64, client: None }
    }
}

impl Settings {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), String> {
        let times =
            [("engine-ping-interval", self.ping_interval), ("engine-ping-timeout", self.ping_timeout)];
        if let Some((name, _)) = times.iter().find(|(_, time)| !(TIME_MIN..=TIME_MAX).contains(time)) {
            return Err(format!("--{name} is from 100ms to 24h: only its pings tell that a client is gone"));
        }
        if !(PAYLOAD_MIN..=PAYLOAD_MAX).contains(&self.max_payload) {
            return Err(format!("--engine-max-payload is from 1k to 64mi, not {}", self.max_payload));
        }
        Ok(())
    }

    /// As sessions take it. What may wait for a client's next request is two payloads.
    #[must_use]
    pub fn config(&self) -> EngineConfig {
        let max_payload = usize::try_from(self.max_payload).unwrap_or(usize::MAX);
        EngineConfig {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            max_payload,
            queue_max: max_payload.saturating_mul(2),
            ..EngineConfig::default()
        }
    }

    /// Reads the client, if there is to be one.
    pub(super) fn read_client(&self) -> Result<Option<Rc<[u8]>>, Failure> {
        let Some(path) = &self.client else { return Ok(None) };
        let failed = |why: String| Failure::new(format!("--socketio-client {}: {why}", path.display()));
        let bytes = read_at_most(path, CLIENT_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
        match bytes.len() as u64 {
            0 => {
                Err(failed("the file is empty; npm has one as socket.io-client/dist/socket.io.js".to_owned()))
            }
            len if len > CLIENT_BYTES_MAX => Err(failed("a client has at most 4 MiB".to_owned())),
            _ => Ok(Some(bytes.into())),
        }
    }
}

/// A file, or its beginning and one byte more than `max`.
fn read_at_most(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Answers with the client, if that is asked for and there is one.
    pub(super) fn give_client(&mut self, id: ConnId, request: &Request<'_, '_>) -> Option<Reaction> {
        let client = self.client.clone().filter(|_| request.path == CLIENT_PATH)?;
        if !matches!(request.method, Method::Get | Method::Head) {
            let refusal = Refusal::MethodNotAllowed { allow: "GET, HEAD" };
            return Some(self.refuse(id, refusal, Departure::Refused));
        }
        let page = pages::script(&client);
        let response = page.response();
        let keep_alive = request.keep_alive && self.farewell.is_none() && request.body == BodyLength::None;
        Some(self.answer(id, &response, keep_alive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_reference_and_what_cannot_work_is_refused() {
        let settings = Settings::default();
        assert_eq!((settings.check(), settings.config()), (Ok(()), EngineConfig::default()));
        let wrong: [fn(&mut Settings); 5] = [
            |settings| settings.ping_interval = 0,
            |settings| settings.ping_timeout = TIME_MIN - 1,
            |settings| settings.ping_interval = TIME_MAX + 1,
            |settings| settings.max_payload = 999,
            |settings| settings.max_payload = (64 << 20) + 1,
        ];
        for change in wrong {
            let mut settings = Settings::default();
            change(&mut settings);
            assert!(settings.check().unwrap_err().starts_with("--engine-"), "{settings:?}");
        }
    }
}
