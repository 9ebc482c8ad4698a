//! What a seed decides before a world begins: the server's settings, what goes wrong, and who comes.
//!
//! Each fault is in some worlds and not in others, and its strength differs from world to world ("swarm testing",
//! Groce et al. 2012): a world in which everything goes wrong at once hides what one fault alone would show.
//!
//! Invariant: a plan follows from its generator alone.

use fastrand::Rng;

use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::server::deflate::{Mode, Settings};
use crate::server::limits::{INFLATER_BYTES, OWN_COMPRESSOR_BYTES};
use crate::server::{Config, Overflow};

/// What a call of the system takes on a machine that has time for us.
pub const CALL: Nanos = 1_000;

/// Fragments of a message: few, so that a peer that sends too many is soon found out.
pub const FRAGMENTS_MAX: u32 = 48;

/// What is to happen in a world.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server's settings.
    pub config: Config,
    /// What goes wrong while the world is young.
    pub faults: Faults,
    /// How many peers come in all, but for one that comes when all is well again.
    pub peers: usize,
    /// Whether nearly all of them are in one channel.
    pub is_crowd: bool,
    /// How long peers come and things go wrong, in nanoseconds.
    pub chaos: Nanos,
    /// When the server is told to stop, if that happens while everything still goes on.
    pub stop: Option<Nanos>,
    /// Whether the world ends by a signal, and not by everybody leaving.
    pub ends_by_signal: bool,
    /// Whether peers publish by HTTP; what they publish is not in the model, so some checks are weaker.
    pub has_posters: bool,
    /// Whether most peers ask for compression, granted or not.
    pub is_compressed: bool,
    /// Whether there are tick sources, which the model does not count either.
    pub has_ticks: bool,
}

/// What goes wrong, and how often. Chances are in thousandths.
#[derive(Debug, Clone)]
pub struct Faults {
    /// A message on the wire is cut at any byte.
    pub tear: u32,
    /// A send is taken only in part, or not at all, although there is room.
    pub stingy: u32,
    /// A read gets a part of what has arrived; the rest follows.
    pub sip: u32,
    /// A piece is held up on the wire.
    pub lag: u32,
    /// A connection is cut by the network, in whatever call finds it out.
    pub cut: u32,
    /// A call is interrupted by a signal.
    pub interrupt: u32,
    /// An event is reported that is none.
    pub spurious: u32,
    /// New bytes are reported although the old ones have not been read.
    pub repeat: u32,
    /// Events come in any order.
    pub shuffle: bool,
    /// Events reported in one wait, at most.
    pub events_max: usize,
    /// Our process is not running for a while.
    pub stall: u32,
    /// A wait ends later than asked for.
    pub late: u32,
    /// Connections that the system has descriptors for.
    pub descriptors_max: usize,
    /// An accept finds that the system has nothing left.
    pub exhausted: u32,
    /// Bytes in flight that a socket holds for a peer, at least and at most.
    pub socket_bytes: (usize, usize),
    /// Time on the wire, at least and at most.
    pub latency: (Nanos, Nanos),
    /// Listeners.
    pub doors: usize,
    /// What a call of the system takes.
    pub call: Nanos,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        // What was thought of later is drawn apart, so that old seeds are still the worlds that they were.
        let mut later = Rng::with_seed(!rng.clone().u64(..));
        let is_crowd = rng.u32(..12) == 0;
        let peers = if is_crowd { rng.usize(100..220) } else { rng.usize(2..28) };
        let mut config = draw_config(rng);
        config.message_timeout = SECOND * later.u64(4..20);
        config.deflate = draw_deflate(&mut later);
        let is_compressed = config.deflate.mode != Mode::Off || later.u32(..8) == 0;
        let chaos = SECOND * rng.u64(5..90);
        let stop = (rng.u32(..6) == 0).then(|| rng.u64(..chaos));
        let ends_by_signal = config.ping_interval == 0 || config.stall_timeout == 0 || rng.bool();
        let mut faults = Faults::draw(rng, peers);
        // A machine on which eight peers are a stint's work, or more than that.
        if later.u32(..5) == 0 {
            faults.call = CALL * later.u64(20..200);
        }
        Self {
            faults,
            config,
            peers,
            is_crowd,
            is_compressed,
            chaos,
            stop,
            ends_by_signal,
            has_posters: rng.u32(..3) == 0,
            has_ticks: rng.u32(..3) == 0,
        }
    }

    /// How long the server may take to notice that a peer is dead or deaf, stalls of our own not counted.
    #[must_use]
    pub fn reaped_within(&self) -> Nanos {
        let config = &self.config;
        config.ping_interval
            + config.pong_timeout
            + config.stall_timeout
            + config.close_timeout
            + config.handshake_timeout
            + config.message_timeout
            + crate::server::limits::KEEP_ALIVE
            + crate::server::limits::LINGER
            + 5 * SECOND
    }
}

impl Faults {
    /// A world in which nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            tear: 0,
            sip: 0,
            lag: 0,
            cut: 0,
            stingy: 0,
            interrupt: 0,
            spurious: 0,
            repeat: 0,
            shuffle: false,
            events_max: 1024,
            stall: 0,
            late: 0,
            descriptors_max: usize::MAX,
            exhausted: 0,
            socket_bytes: (64 << 10, 64 << 10),
            latency: (MILLI, MILLI),
            doors: 1,
            call: CALL,
        }
    }

    fn draw(rng: &mut Rng, peers: usize) -> Self {
        let mut chance = |most: u32| if rng.u32(..5) < 2 { rng.u32(1..=most) } else { 0 };
        let (tear, stingy, interrupt) = (chance(800), chance(500), chance(50));
        let (sip, lag, cut) = (chance(400), chance(60), chance(6));
        let (spurious, repeat, stall, late, exhausted) =
            (chance(200), chance(500), chance(6), chance(100), chance(300));
        let is_small = rng.bool();
        // A crowd over the smallest of sockets takes a hundred times as long and shows nothing else.
        let smallest = if peers < 100 { 16 } else { 256 };
        let least = if is_small { rng.usize(smallest..512) } else { rng.usize(512..16_384) };
        // Little room and a long way make a connection that carries next to nothing, which hides everything else.
        let fastest = rng.u64(1_000..if least < 512 { 50_000 } else { 5 * MILLI });
        Self {
            tear,
            sip,
            lag,
            cut,
            stingy,
            interrupt,
            spurious,
            repeat,
            shuffle: rng.bool(),
            events_max: if rng.u32(..3) == 0 { rng.usize(1..8) } else { 1024 },
            stall,
            late,
            descriptors_max: if rng.u32(..4) == 0 { rng.usize(1..=peers) } else { usize::MAX },
            exhausted,
            socket_bytes: (least, least * rng.usize(1..32)),
            latency: (fastest, fastest * rng.u64(1..30)),
            doors: rng.usize(1..3),
            call: CALL,
        }
    }

    /// What is left when nothing goes wrong any more.
    pub fn heal(&mut self) {
        let Self { socket_bytes, latency, doors, call, .. } = *self;
        *self = Self { socket_bytes, latency, doors, call, ..Self::none() };
    }
}

fn draw_deflate(rng: &mut Rng) -> Settings {
    let mode = [Mode::Off, Mode::Off, Mode::Off, Mode::Off, Mode::Shared, Mode::Context][rng.usize(..6)];
    // Of a small memory not everybody who asks gets a part.
    let peers = if rng.bool() { rng.usize(1..6) } else { 1000 };
    let memory = peers * (OWN_COMPRESSOR_BYTES + INFLATER_BYTES);
    Settings { mode, min: [0, 32, 1024][rng.usize(..3)], memory }
}

fn draw_config(rng: &mut Rng) -> Config {
    let seconds = |rng: &mut Rng, range: std::ops::Range<u64>| SECOND * rng.u64(range);
    let is_pinging = rng.u32(..6) > 0;
    let message_max = 1 << rng.u32(9..17);
    let mut config = Config {
        ping_interval: if is_pinging { seconds(rng, 2..40) } else { 0 },
        pong_timeout: seconds(rng, 3..30),
        handshake_timeout: seconds(rng, 4..15),
        close_timeout: seconds(rng, 3..8),
        stall_timeout: if rng.u32(..8) > 0 { seconds(rng, 5..40) } else { 0 },
        queue_max: 1 << rng.u32(7..19),
        overflow: match rng.u32(..3) {
            0 => Overflow::Drop,
            1 => Overflow::Newest,
            _ => Overflow::Close,
        },
        drain: seconds(rng, 1..8),
        connections_max: None,
        ..Config::default()
    };
    config.ws.fragments_max = FRAGMENTS_MAX;
    (config.ws.message_max, config.ws.frame_max) = (message_max, message_max);
    config
}
