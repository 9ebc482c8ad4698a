//! Scripted scenarios: small worlds in which nothing is left to chance, one for each thing that the server does.
//!
//! They are short, so that every single call in them can be made to fail with every error it can have
//! ([`exhaustive`](super::exhaustive)); together they go through every phase of a connection's life.
//!
//! Invariant: undisturbed, every scenario goes well.

use super::fault::{FRAGMENTS_MAX, Faults, Plan};
use super::peer::{Ending, Errand, Noise, Part, Reading, Wrong};
use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::server::deflate::{Mode, Settings};
use crate::server::{Config, Overflow};

/// The token of worlds in which one is asked for.
pub const TOKEN: &str = "open.sesame";

/// A world without chance.
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// Says who comes and what for.
    write: fn(&mut Script),
}

/// Who comes, and under what conditions.
pub struct Script {
    /// The plan of the world.
    pub plan: Plan,
    /// The peers.
    pub parts: Vec<Part>,
}

impl Scenario {
    /// Its script.
    #[must_use]
    pub fn script(&self) -> Script {
        let mut config = Config {
            ping_interval: 0,
            handshake_timeout: 4 * SECOND,
            close_timeout: 3 * SECOND,
            stall_timeout: 6 * SECOND,
            drain: 2 * SECOND,
            ..Config::default()
        };
        config.ws.fragments_max = FRAGMENTS_MAX;
        let plan = Plan {
            config,
            faults: Faults::none(),
            peers: 0,
            is_crowd: false,
            chaos: 6 * SECOND,
            stop: None,
            ends_by_signal: false,
            has_posters: false,
            has_ticks: false,
            is_compressed: false,
        };
        let mut script = Script { plan, parts: Vec::new() };
        (self.write)(&mut script);
        script.plan.peers = script.parts.len();
        script
    }
}

impl Script {
    /// A peer comes a little after those before it, says what it has to say, and stays.
    fn peer(&mut self, errand: Errand) -> &mut Part {
        self.parts.push(Part {
            comes: self.parts.len() as Nanos * 20 * MILLI,
            errand,
            reading: Reading::Prompt,
            ending: Ending::Stay,
            is_mute: false,
            pace: Some(50 * MILLI),
            size: Some(40),
            is_compressed: self.plan.is_compressed,
        });
        self.parts.last_mut().expect("it was just added")
    }

    fn talk(&mut self, target: &str, messages: u32) -> &mut Part {
        self.peer(Errand::Talk(target.to_owned(), messages))
    }

    fn crowd(&mut self, target: &str, count: usize) {
        (0..count).for_each(|_| {
            self.talk(target, 0);
        });
    }

    /// Everybody asks for compression: an echo, a channel with a slow one in it.
    fn compressed(&mut self, mode: Mode) {
        (self.plan.is_compressed, self.plan.config.deflate) =
            (true, Settings { mode, min: 0, ..Settings::default() });
        self.slow(Overflow::Drop, Reading::Later);
        self.talk("/echo", 3).size = Some(2000);
    }

    /// Somebody in a channel reads nothing for a while, and others say more than fits.
    fn slow(&mut self, overflow: Overflow, reading: Reading) {
        (self.plan.config.overflow, self.plan.config.queue_max) = (overflow, 2000);
        self.plan.faults.socket_bytes = (4096, 4096);
        self.talk("/broadcast/sea", 0).reading = reading;
        self.talk("/broadcast/sea", 0);
        let speaker = self.talk("/broadcast/sea?self=0", 8);
        (speaker.size, speaker.comes) = (Some(3000), 100 * MILLI);
    }
}

/// All scenarios.
#[must_use]
pub const fn all() -> &'static [Scenario] {
    &ALL
}

const ALL: [Scenario; 34] = [
    Scenario { name: "connect", write: |script| script.crowd("/echo", 1) },
    Scenario { name: "echo", write: |script| script.talk("/echo", 3).ending = Ending::Polite },
    Scenario {
        name: "big-echo",
        write: |script| {
            script.plan.faults.socket_bytes = (8192, 8192);
            script.talk("/echo", 2).size = Some(60_000);
        },
    },
    Scenario {
        name: "torn-echo",
        write: |script| {
            (script.plan.faults.tear, script.plan.faults.latency) = (900, (MILLI, 5 * MILLI));
            script.talk("/echo", 6).size = Some(500);
        },
    },
    Scenario {
        name: "broadcast-5",
        write: |script| {
            script.crowd("/broadcast/sea", 4);
            script.talk("/broadcast/sea", 3);
        },
    },
    Scenario {
        name: "broadcast-not-self",
        write: |script| {
            script.crowd("/broadcast/sea?role=listen", 2);
            script.talk("/broadcast/sea?self=0", 3).ending = Ending::Polite;
        },
    },
    Scenario { name: "slow-drop", write: |script| script.slow(Overflow::Drop, Reading::Later) },
    Scenario {
        name: "slow-newest",
        write: |script| script.slow(Overflow::Newest, Reading::Slow(700, 200 * MILLI)),
    },
    Scenario { name: "slow-close", write: |script| script.slow(Overflow::Close, Reading::Later) },
    Scenario {
        name: "deaf",
        write: |script| {
            script.plan.chaos = 12 * SECOND;
            script.slow(Overflow::Drop, Reading::Never);
        },
    },
    Scenario {
        name: "chat",
        write: |script| {
            script.talk("/chat?name=anna", 1);
            script.talk("/chat?name=bert", 2).ending = Ending::Polite;
            script.talk("/chat?name=cleo", 1).ending = Ending::Reset;
        },
    },
    Scenario {
        name: "ping-answered",
        write: |script| {
            (script.plan.config.ping_interval, script.plan.config.pong_timeout) = (2 * SECOND, 3 * SECOND);
            script.talk("/echo", 0);
        },
    },
    Scenario {
        name: "ping-timeout",
        write: |script| {
            (script.plan.config.ping_interval, script.plan.config.pong_timeout) = (2 * SECOND, 3 * SECOND);
            script.talk("/echo", 0).is_mute = true;
            script.talk("/echo", 1).ending = Ending::Vanish;
        },
    },
    Scenario {
        name: "close-by-peer",
        write: |script| {
            script.talk("/echo", 1).ending = Ending::Polite;
            script.talk("/echo", 1).ending = Ending::Hasty;
        },
    },
    Scenario {
        name: "close-by-server",
        write: |script| {
            script.peer(Errand::Noise(Noise::Frame(Wrong::Unmasked)));
            script.peer(Errand::Noise(Noise::Frame(Wrong::MessageTooBig)));
            script.peer(Errand::Noise(Noise::Frame(Wrong::TextNotUtf8)));
        },
    },
    Scenario {
        name: "close-unanswered",
        write: |script| {
            script.plan.stop = Some(SECOND);
            script.talk("/echo", 1).is_mute = true;
        },
    },
    Scenario { name: "end-of-stream", write: |script| script.talk("/echo", 1).ending = Ending::End },
    Scenario {
        name: "reset-by-peer",
        write: |script| {
            script.crowd("/broadcast", 1);
            script.talk("/broadcast", 2).ending = Ending::Reset;
        },
    },
    Scenario { name: "http-get", write: |script| script.peer(Errand::Browse(1)).ending = Ending::End },
    Scenario { name: "http-pipelined", write: |script| script.peer(Errand::Browse(8)).pace = Some(0) },
    Scenario {
        name: "post",
        write: |script| {
            script.plan.has_posters = true;
            script.talk("/broadcast", 0);
            script.talk("/broadcast/sea", 0);
            let poster = script.peer(Errand::Post(4));
            (poster.comes, poster.ending) = (200 * MILLI, Ending::End);
        },
    },
    Scenario {
        name: "refused",
        write: |script| (0..4).for_each(|n| script.peer(Errand::Noise(Noise::Head(n * 3))).size = None),
    },
    Scenario {
        name: "token",
        write: |script| {
            script.plan.config.admission.tokens = vec![TOKEN.into()];
            script.talk("/echo?token=open.sesame", 2).ending = Ending::Polite;
            script.talk("/broadcast?access_token=open.sesame", 1);
            for (target, status) in [
                ("/echo", 401),
                ("/chat?token=open", 401),
                ("/echo?token=open.sesame&token=open.sesame", 400),
            ] {
                script.peer(Errand::Noise(Noise::Barred(target, status))).size = None;
            }
        },
    },
    Scenario {
        name: "half-head",
        write: |script| {
            script.peer(Errand::Noise(Noise::HalfHead));
            script.peer(Errand::Noise(Noise::Silence));
            script.talk("/echo", 1);
        },
    },
    Scenario {
        name: "stop",
        write: |script| {
            script.plan.stop = Some(SECOND);
            script.crowd("/broadcast", 2);
            script.talk("/echo", 2);
            script.peer(Errand::Browse(1));
        },
    },
    Scenario {
        name: "stop-a-deaf-one",
        write: |script| {
            script.plan.stop = Some(SECOND);
            script.slow(Overflow::Drop, Reading::Never);
        },
    },
    Scenario {
        name: "no-descriptors",
        write: |script| {
            script.plan.faults.descriptors_max = 2;
            (0..4).for_each(|_| script.talk("/echo", 2).ending = Ending::Polite);
            script.talk("/echo", 1);
        },
    },
    Scenario {
        name: "two-listeners",
        write: |script| {
            script.plan.faults.doors = 2;
            (0..4).for_each(|_| script.talk("/chat", 1).comes = 10 * MILLI);
        },
    },
    Scenario {
        name: "ticks",
        write: |script| {
            script.plan.has_ticks = true;
            script.crowd("/tick/1?size=100", 2);
        },
    },
    Scenario {
        name: "held-back-events",
        write: |script| {
            script.plan.faults.events_max = 1;
            (0..3).for_each(|_| script.talk("/echo", 2).comes = 0);
        },
    },
    Scenario { name: "compressed", write: |script| script.compressed(Mode::Shared) },
    Scenario { name: "compressed-context", write: |script| script.compressed(Mode::Context) },
    Scenario {
        name: "unfinished",
        write: |script| {
            script.plan.config.message_timeout = 2 * SECOND;
            script.peer(Errand::Noise(Noise::Unfinished));
            script.talk("/echo", 1);
        },
    },
    Scenario {
        name: "many-at-once",
        write: |script| (0..12).for_each(|_| script.talk("/broadcast", 1).comes = 0),
    },
];
