//! The program `stentor`: flags in, exit code out.
//!
//! Every flag has an environment variable, is checked before anything is opened, and is printed with its effective
//! value by `--check`. Logs go to stderr, numbers to HTTP.
//!
//! Invariant: the exit code is 0 after a good end, 1 when the server could not run or was told twice to stop, 2 for
//! flags that make no sense.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use stentor::base::tick::{MILLI, Nanos, SECOND};
use stentor::server::{Address, Config, DefaultService, Overflow, Server};

/// A WebSocket broadcast server for high connection counts: one thread, one loop, a very loud voice.
///
/// Serves /echo, /broadcast[/CHANNEL], /chat[/ROOM] and /tick/RATE, pages to look at on the same paths, and /stats,
/// /metrics, /healthz and POST /publish/CHANNEL. Sizes take k, m, ki and mi; times take ms, s, m and h.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
struct Options {
    /// Where to listen: IP:PORT, [IPv6]:PORT, NAME:PORT or unix:PATH; repeat for more.
    #[arg(
        long,
        env = "STENTOR_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9001",
        value_delimiter = ','
    )]
    listen: Vec<Address>,
    /// Connections that may wait to be accepted (net.core.somaxconn caps it).
    #[arg(long, env = "STENTOR_BACKLOG", default_value_t = 4096)]
    backlog: i32,
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
    connections_max: Option<usize>,
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
    #[arg(long, env = "STENTOR_CLOSE_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = time)]
    close_timeout: Nanos,
    /// Time without progress in writing after which a peer is given up; 0 is off.
    #[arg(long, env = "STENTOR_STALL_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = time)]
    stall_timeout: Nanos,
    /// Bytes of publications queued for one peer before --overflow decides.
    #[arg(long, env = "STENTOR_QUEUE_MAX", value_name = "BYTES", default_value = "256ki", value_parser = bytes)]
    queue_max: u64,
    /// What happens to a subscriber that is too slow.
    #[arg(long, env = "STENTOR_OVERFLOW", value_enum, default_value_t = OverflowName::Drop)]
    overflow: OverflowName,
    /// Time over which everybody is told goodbye after SIGTERM or SIGINT.
    #[arg(long, env = "STENTOR_DRAIN", value_name = "TIME", default_value = "5s", value_parser = time)]
    drain: Nanos,
    /// What is logged: off, error, warn, info, debug or trace.
    #[arg(long, env = "STENTOR_LOG", value_name = "LEVEL", default_value = "info")]
    log: tracing::level_filters::LevelFilter,
    /// How it is logged.
    #[arg(long, env = "STENTOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Checks the settings, prints their effective values and exits.
    #[arg(long)]
    check: bool,
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
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let options = Options::parse();
    log_to_stderr(&options);
    let is_check = options.check;
    let config = options.into_config();
    if let Err(wrong) = config.check() {
        complain(&wrong);
        return ExitCode::from(2);
    }
    if is_check {
        let printed = std::io::stdout().write_all(effective(&config).as_bytes());
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> Result<(), stentor::server::Failure> {
    let server = Server::with_config(config).bind()?;
    // The one line that scripts wait for stands whatever is logged; a closed stderr harms nobody.
    let _ = writeln!(std::io::stderr(), "{}", server.summary());
    server.run()
}

fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "error: {what}");
}

fn log_to_stderr(options: &Options) {
    let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs = tracing_subscriber::fmt()
        .with_max_level(options.log)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().init(),
    }
}

impl Options {
    fn into_config(self) -> Config {
        let mut config = Config {
            listen: self.listen,
            backlog: self.backlog,
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
        config
    }
}

/// The settings as flags that would bring them about.
fn effective(config: &Config) -> String {
    let time = |ns: Nanos| {
        if ns.is_multiple_of(SECOND) { format!("{}s", ns / SECOND) } else { format!("{}ms", ns / MILLI) }
    };
    let mut lines: Vec<String> = config.listen.iter().map(|address| format!("listen {address}")).collect();
    lines.extend(config.subprotocols.iter().map(|name| format!("subprotocol {name}")));
    lines.extend(config.connections_max.map(|max| format!("connections-max {max}")));
    lines.extend([
        format!("backlog {}", config.backlog),
        format!("service {}", config.service.name()),
        format!("message-max {}", config.ws.message_max),
        format!("fragments-max {}", config.ws.fragments_max),
        format!("ping-interval {}", time(config.ping_interval)),
        format!("pong-timeout {}", time(config.pong_timeout)),
        format!("handshake-timeout {}", time(config.handshake_timeout)),
        format!("close-timeout {}", time(config.close_timeout)),
        format!("stall-timeout {}", time(config.stall_timeout)),
        format!("queue-max {}", config.queue_max),
        format!("overflow {}", config.overflow.name()),
        format!("drain {}", time(config.drain)),
    ]);
    lines.iter().map(|line| format!("--{line}\n")).collect()
}

/// A number and its unit, split where the letters begin.
fn split(text: &str) -> Option<(f64, &str)> {
    let letters = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..letters].trim().parse().ok()?;
    (number >= 0.0 && number.is_finite()).then_some((number, &text[letters..]))
}

fn scaled(text: &str, units: &[(&str, f64)], wanted: &str) -> Result<f64, String> {
    let found = split(text).and_then(|(number, unit)| {
        let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        Some(number * factor)
    });
    found.filter(|value| *value < 1e18).ok_or_else(|| format!("wants {wanted}"))
}

fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("", 1.0),
        ("b", 1.0),
        ("k", 1e3),
        ("m", 1e6),
        ("g", 1e9),
        ("ki", 1024.0),
        ("mi", 1048576.0),
        ("gi", 1073741824.0),
    ];
    scaled(text, &units, "a number of bytes, as in 65536, 64ki or 1m").map(|value| value as u64)
}

fn count(text: &str) -> Result<usize, String> {
    scaled(text, &[("", 1.0), ("k", 1e3), ("m", 1e6)], "a number, as in 50000 or 50k")
        .map(|value| value as usize)
}

fn time(text: &str) -> Result<Nanos, String> {
    let units = [("ms", 1e6), ("s", 1e9), ("", 1e9), ("m", 60e9), ("h", 3600e9)];
    scaled(text, &units, "a time, as in 500ms, 25s or 2m; 0 is off").map(|value| value as Nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood_and_nonsense_is_told_what_would_be_right() {
        assert_eq!((bytes("64ki"), bytes("1m"), bytes("7")), (Ok(65_536), Ok(1_000_000), Ok(7)));
        assert_eq!(
            (time("500ms"), time("25s"), time("2m")),
            (Ok(500 * MILLI), Ok(25 * SECOND), Ok(120 * SECOND))
        );
        assert_eq!(count("50k"), Ok(50_000));
        for wrong in ["", "x", "-1", "5 parsecs", "1e400"] {
            assert!(bytes(wrong).is_err() && time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }
}
