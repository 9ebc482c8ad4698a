//! What can be asked of a server, in which sizes, and in what the answer is counted.
//!
//! Invariant: a question and its sizes ([`Cell`]) name one number, in tables, bars and JSON alike.

use std::fmt;

use serde::Serialize;

/// The questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// Processor time per delivery of a broadcast.
    Fanout,
    /// Processor time per echoed message.
    Echo,
    /// Processor time per connection upgraded and closed.
    Handshake,
    /// Own memory per idle connection.
    Idle,
    /// How long an echo takes while a publication goes to everybody.
    Amid,
    /// Processor time per delivery of JSON, plain and compressed.
    Deflate,
    /// How much longer an echo takes beside a peer that floods.
    Flood,
    /// How many turns are long when everybody is reset at once.
    Parting,
    /// What it costs that nobody reads.
    Stalled,
    /// How much longer a publication is on its way to those who read, beside those who do not.
    Beside,
    /// What is left of a burst that left everybody behind.
    Burst,
    /// Processor time for the pings of those who say nothing.
    Heartbeats,
    /// Processor time per delivery to Socket.IO peers, and to plain ones.
    Socketio,
}

impl Question {
    /// All of them, in the order they are asked.
    pub const ALL: [Self; 13] = [
        Self::Fanout,
        Self::Echo,
        Self::Handshake,
        Self::Idle,
        Self::Amid,
        Self::Deflate,
        Self::Flood,
        Self::Parting,
        Self::Stalled,
        Self::Beside,
        Self::Burst,
        Self::Heartbeats,
        Self::Socketio,
    ];

    /// Whether it is asked of stentor alone.
    pub(crate) const fn is_of_one(self) -> bool {
        matches!(self, Self::Deflate | Self::Parting | Self::Stalled | Self::Beside | Self::Burst)
    }

    /// Whom its bars are about, where there are several kinds.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Deflate => Kind::Deflate,
            Self::Socketio => Kind::Socketio,
            Self::Fanout
            | Self::Echo
            | Self::Handshake
            | Self::Idle
            | Self::Amid
            | Self::Flood
            | Self::Parting
            | Self::Stalled
            | Self::Beside
            | Self::Burst
            | Self::Heartbeats => Kind::Plain,
        }
    }

    /// What a server is started with beside its usual flags.
    pub(crate) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Deflate => &["--deflate", "shared"],
            Self::Heartbeats => &["--ping-interval", PING_INTERVAL],
            Self::Fanout | Self::Echo | Self::Handshake | Self::Idle | Self::Amid | Self::Flood => &[],
            // What the system keeps for a peer is not what is asked for.
            Self::Stalled | Self::Burst => &["--send-buffer", "16ki"],
            Self::Parting | Self::Beside | Self::Socketio => &[],
        }
    }

    /// What a result is counted in.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Fanout | Self::Deflate | Self::Socketio => "µs per delivery",
            Self::Echo => "µs per message",
            Self::Handshake => "µs per handshake",
            Self::Idle => "bytes per connection",
            Self::Amid => "ms, 99.9 % of echoes amid publications",
            Self::Flood => "times calm, 99 % of echoes beside one that floods",
            Self::Parting => "turns of a thousand over 5 ms",
            Self::Stalled => "MiB in all",
            Self::Beside => "times calm, 99 % of deliveries to those who read",
            Self::Burst => "times the memory before",
            Self::Heartbeats => "% of a core",
        }
    }
}

/// As many pings from 18 000 peers as from 50 000 with the usual interval of 25 s.
const PING_INTERVAL: &str = "9s";

/// One number to find: a question with its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What is asked.
    pub question: Question,
    /// Connections; those under way at once for handshakes, the most for idle memory.
    pub clients: usize,
    /// Payload of a message in bytes.
    pub size_bytes: usize,
    /// Messages per burst (fan-out), messages in flight per client (echo), else 1.
    pub width: usize,
    /// Who the subscribers are.
    pub kind: Kind,
}

/// What the subscribers of a cell speak, where one server has several kinds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Messages as they are.
    Plain,
    /// permessage-deflate.
    Deflate,
    /// Socket.IO.
    Socketio,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = Rounded { number: self.clients, units: &[(1000, "k")] };
        let size = Rounded { number: self.size_bytes, units: &[(1 << 20, " Mi"), (1 << 10, " Ki")] };
        match self.question {
            Question::Fanout if self.width == 1 && self.size_bytes == 64 => write!(f, "{clients}"),
            Question::Fanout if self.size_bytes == 64 => write!(f, "{clients}, burst {}", self.width),
            Question::Fanout => write!(f, "{clients} × {size}B, burst {}", self.width),
            Question::Echo if self.size_bytes != 64 => write!(f, "{clients} × {size}B"),
            Question::Echo if self.width > 1 => write!(f, "{clients}, {} in flight", self.width),
            Question::Echo => write!(f, "{clients} clients"),
            Question::Handshake => write!(f, "{clients} at once"),
            Question::Idle => write!(f, "up to {clients}"),
            Question::Amid => write!(f, "{clients}"),
            Question::Deflate if self.kind == Kind::Deflate => write!(f, "{clients} × {size}B compressed"),
            Question::Deflate => write!(f, "{clients} × {size}B plain"),
            Question::Flood => write!(f, "one probe, one flood"),
            Question::Parting => write!(f, "{clients} reset at once"),
            Question::Stalled => write!(f, "{clients} behind {} × {size}B", self.width),
            Question::Beside => write!(f, "1k beside {clients} stalled"),
            Question::Burst => write!(f, "{clients}, {} × {size}B", self.width),
            Question::Heartbeats => write!(f, "{clients} every {PING_INTERVAL}"),
            Question::Socketio if self.kind == Kind::Socketio => write!(f, "{clients} of Socket.IO"),
            Question::Socketio => write!(f, "{clients} plain"),
        }
    }
}

/// A number in the largest of `units` that divides it.
struct Rounded {
    number: usize,
    units: &'static [(usize, &'static str)],
}

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, units } = *self;
        match units.iter().find(|(unit, _)| number >= *unit && number.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", number / unit),
            None => write!(f, "{number}"),
        }
    }
}
