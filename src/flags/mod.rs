//! The flags of the program `stentor`: what an operator may say, and the settings that it stands for.
//!
//! Every flag has an environment variable. What belongs together in the help has a file of its own, with its flags,
//! its part of [`Config`] and the lines by which `--check` prints it.
//!
//! Invariant: what `--check` prints are flags that bring about the same settings, secrets left out.

mod admission;
mod deflate;
mod engineio;
mod process;
mod tls;
mod units;

use clap::{Parser, ValueEnum};
use stentor::base::tick::Nanos;
use stentor::server::{Address, Config, DefaultService, Overflow, Queues};

use units::{bytes, count, shown as shown_time, time};

/// A WebSocket broadcast server for high connection counts: one thread, one loop, a very loud voice.
///
/// Serves /echo, /broadcast[/CHANNEL], /chat[/ROOM], /tick/RATE and Socket.IO at /socket.io/, pages to look at on the same paths, and /stats,
/// /metrics, /healthz and POST /publish/CHANNEL. Sizes take k, m, ki and mi; times take ms, s, m and h.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
pub(crate) struct Options {
    /// Where to listen: IP:PORT, [IPv6]:PORT, NAME:PORT or unix:PATH; repeat for more.
    #[arg(
        long,
        env = "STENTOR_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9001",
        // Who asks for TLS alone does not get a port without it.
        default_value_if("tls_listen", clap::builder::ArgPredicate::IsPresent, None),
        value_delimiter = ','
    )]
    listen: Vec<Address>,
    /// Connections that may wait to be accepted (net.core.somaxconn caps it).
    #[arg(long, env = "STENTOR_BACKLOG", default_value_t = 4096)]
    backlog: i32,
    /// What the system may keep for one peer that does not read, in bytes; without it, up to the last of
    /// net.ipv4.tcp_wmem, usually 4 MiB.
    #[arg(long, env = "STENTOR_SEND_BUFFER", value_name = "BYTES", value_parser = bytes)]
    send_buffer: Option<u64>,
    /// What the system may keep for one peer and not have sent, in bytes (TCP_NOTSENT_LOWAT); 0: as much as its send buffer has
    /// room for.
    #[arg(long, env = "STENTOR_UNSENT_MAX", default_value = "64ki", value_name = "BYTES", value_parser = bytes)]
    unsent_max: u64,
    /// What the path / upgrades to.
    #[arg(long, env = "STENTOR_SERVICE", value_enum, default_value_t = ServiceName::Broadcast)]
    service: ServiceName,
    /// A subprotocol that every service agrees to, beside its own name; repeat for more.
    #[arg(long, env = "STENTOR_SUBPROTOCOL", value_name = "NAME", value_delimiter = ',')]
    subprotocol: Vec<String>,
    /// The largest message taken, in bytes; larger ones are refused with 1009.
    #[arg(long, env = "STENTOR_MESSAGE_MAX", value_name = "BYTES", default_value = "64ki", value_parser = bytes)]
    message_max: u64,
    /// The most frames of one message; more are refused with 1008.
    #[arg(long, env = "STENTOR_FRAGMENTS_MAX", value_name = "N", default_value_t = 65_537)]
    fragments_max: u32,
    /// The most connections; more are answered with 503. Default: what the descriptor limit allows.
    #[arg(long, env = "STENTOR_CONNECTIONS_MAX", value_name = "N", value_parser = count)]
    pub(crate) connections_max: Option<usize>,
    /// Silence before a peer is pinged; 0 is off.
    #[arg(long, env = "STENTOR_PING_INTERVAL", value_name = "TIME", default_value = "25s", value_parser = time)]
    ping_interval: Nanos,
    /// Silence after a ping before a peer counts as dead.
    #[arg(long, env = "STENTOR_PONG_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = time)]
    pong_timeout: Nanos,
    /// Time for a request head to be complete.
    #[arg(long, env = "STENTOR_HANDSHAKE_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = time)]
    handshake_timeout: Nanos,
    /// Time for a peer to answer our close frame.
    #[arg(long, env = "STENTOR_CLOSE_TIMEOUT", value_name = "TIME", default_value = "2s", value_parser = time)]
    close_timeout: Nanos,
    /// Time without progress in writing after which a peer is given up; 0 is off.
    #[arg(long, env = "STENTOR_STALL_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = time)]
    stall_timeout: Nanos,
    /// Bytes of publications queued for one peer, 128 more for each frame, before --overflow decides.
    #[arg(long, env = "STENTOR_QUEUE_MAX", value_name = "BYTES", default_value = "256ki", value_parser = bytes)]
    queue_max: u64,
    /// What happens to a subscriber that is too slow.
    #[arg(long, env = "STENTOR_OVERFLOW", value_enum, default_value_t = OverflowName::Drop)]
    overflow: OverflowName,
    /// Time over which everybody is told goodbye after SIGTERM or SIGINT.
    #[arg(long, env = "STENTOR_DRAIN", value_name = "TIME", default_value = "5s", value_parser = time)]
    drain: Nanos,
    #[command(flatten)]
    deflate: deflate::DeflateOptions,
    /// What is logged: off, error, warn, info, debug or trace.
    #[arg(long, env = "STENTOR_LOG", value_name = "LEVEL", default_value = "info")]
    pub(crate) log: tracing::level_filters::LevelFilter,
    /// How it is logged.
    #[arg(long, env = "STENTOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    process: process::ProcessFlags,
    /// Checks the settings, prints their effective values and exits.
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    admission: admission::AdmissionFlags,
    #[command(flatten)]
    engine: engineio::EngineOptions,
    #[command(flatten)]
    tls: tls::TlsOptions,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum ServiceName {
    Broadcast,
    Echo,
    Chat,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum OverflowName {
    /// It misses publications and is told how many.
    Drop,
    /// Only the newest publication waits.
    Newest,
    /// It is closed with 1013.
    Close,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Options {
    /// The settings that the flags stand for.
    pub(crate) fn into_config(self) -> Config {
        let mut config = Config {
            listen: self.listen,
            queues: Queues {
                backlog: self.backlog,
                send_buffer: self.send_buffer.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
                unsent: (self.unsent_max > 0).then(|| u32::try_from(self.unsent_max).unwrap_or(u32::MAX)),
            },
            service: match self.service {
                ServiceName::Broadcast => DefaultService::Broadcast,
                ServiceName::Echo => DefaultService::Echo,
                ServiceName::Chat => DefaultService::Chat,
            },
            subprotocols: self.subprotocol,
            connections_max: self.connections_max,
            ping_interval: self.ping_interval,
            pong_timeout: self.pong_timeout,
            handshake_timeout: self.handshake_timeout,
            close_timeout: self.close_timeout,
            stall_timeout: self.stall_timeout,
            queue_max: usize::try_from(self.queue_max).unwrap_or(usize::MAX),
            overflow: match self.overflow {
                OverflowName::Drop => Overflow::Drop,
                OverflowName::Newest => Overflow::Newest,
                OverflowName::Close => Overflow::Close,
            },
            drain: self.drain,
            ..Config::default()
        };
        config.ws.frame_max = self.message_max;
        config.ws.message_max = self.message_max;
        config.ws.fragments_max = self.fragments_max;
        self.process.apply(&mut config);
        self.deflate.apply(&mut config);
        self.admission.apply(&mut config);
        self.engine.apply(&mut config);
        self.tls.apply(&mut config);
        config
    }
}

/// The settings as flags that would bring them about.
pub(crate) fn effective(config: &Config) -> String {
    let mut lines: Vec<String> = config.listen.iter().map(|address| format!("listen {address}")).collect();
    lines.extend(config.subprotocols.iter().map(|name| format!("subprotocol {name}")));
    lines.extend(config.connections_max.map(|max| format!("connections-max {max}")));
    lines.extend(config.queues.send_buffer.map(|bytes| format!("send-buffer {bytes}")));
    lines.extend([
        format!("backlog {}", config.queues.backlog),
        format!("unsent-max {}", config.queues.unsent.unwrap_or(0)),
        format!("service {}", config.service.name()),
        format!("message-max {}", config.ws.message_max),
        format!("fragments-max {}", config.ws.fragments_max),
        format!("ping-interval {}", shown_time(config.ping_interval)),
        format!("pong-timeout {}", shown_time(config.pong_timeout)),
        format!("handshake-timeout {}", shown_time(config.handshake_timeout)),
        format!("close-timeout {}", shown_time(config.close_timeout)),
        format!("stall-timeout {}", shown_time(config.stall_timeout)),
        format!("queue-max {}", config.queue_max),
        format!("overflow {}", config.overflow.name()),
        format!("drain {}", shown_time(config.drain)),
    ]);
    lines.extend(process::effective(config));
    lines.extend(deflate::effective(config));
    lines.extend(admission::effective(config));
    lines.extend(engineio::effective(config));
    lines.extend(tls::effective(config));
    lines.iter().map(|line| format!("--{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }
}
