//! The flags of Socket.IO: the times and sizes of Engine.IO, and the client that pages load from here.
//!
//! Invariant: as in all groups, what `effective` prints brings about the same settings.

use std::path::PathBuf;

use clap::Args;
use stentor::base::tick::Nanos;
use stentor::server::Config;
use stentor::server::engineio::Settings;

use super::units::{bytes, shown, time};

#[derive(Args, Debug)]
#[command(next_help_heading = "Socket.IO")]
pub(crate) struct EngineOptions {
    /// Time between a client's answer and the next Engine.IO ping, from 100ms to 24h.
    #[arg(long, env = "STENTOR_ENGINE_PING_INTERVAL", value_name = "TIME", default_value = "25s", value_parser = time)]
    engine_ping_interval: Nanos,
    /// Time in which an Engine.IO ping must be answered, from 100ms to 24h.
    #[arg(long, env = "STENTOR_ENGINE_PING_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = time)]
    engine_ping_timeout: Nanos,
    /// The longest body of a POST of Socket.IO, and its longest WebSocket message, from 1k to 64mi.
    #[arg(long, env = "STENTOR_ENGINE_MAX_PAYLOAD", value_name = "BYTES", default_value = "1m", value_parser = bytes)]
    engine_max_payload: u64,
    /// A file of at most 4 MiB to serve at /socket.io/socket.io.js, as npm has it in socket.io-client/dist.
    #[arg(long, env = "STENTOR_SOCKETIO_CLIENT", value_name = "FILE")]
    socketio_client: Option<PathBuf>,
}

impl EngineOptions {
    pub(super) fn apply(self, config: &mut Config) {
        config.engine = Settings {
            ping_interval: self.engine_ping_interval,
            ping_timeout: self.engine_ping_timeout,
            max_payload: self.engine_max_payload,
            client: self.socketio_client,
        };
    }
}

pub(super) fn effective(config: &Config) -> Vec<String> {
    let Settings { ping_interval, ping_timeout, max_payload, client } = &config.engine;
    let mut lines = vec![
        format!("engine-ping-interval {}", shown(*ping_interval)),
        format!("engine-ping-timeout {}", shown(*ping_timeout)),
        format!("engine-max-payload {max_payload}"),
    ];
    lines.extend(client.iter().map(|file| format!("socketio-client {}", file.display())));
    lines
}
