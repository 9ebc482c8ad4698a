//! The experiments of the self-test: what the server does wrong, and what of loadgen must notice it.
//!
//! Why a table: it is the list of what this tool claims to see; what is not in it was never shown.
//!
//! Invariants: each scenario stands in it without a fault too, and nothing may be noticed then.

use super::fault::{CLIENTS, FOR_GOOD_NS, Fault};
use super::server::Mode;

/// One experiment.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What the server does wrong.
    pub name: &'static str,
    /// Who hears a message.
    pub mode: Mode,
    /// What clients do beside hearing.
    pub motion: Motion,
    /// The fault.
    pub fault: Fault,
    /// What must have noticed.
    pub noticed_by: Notice,
}

/// What clients do beside hearing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// They stay.
    Still,
    /// They come and go.
    Churn,
    /// Half of them are reset at once and come back.
    Storm,
    /// Some do not read now and then.
    Slow,
}

/// What notices a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// No rule about the server's data may.
    Nothing,
    /// This rule of the verdict.
    Rule(&'static str),
    /// No rule has an opinion, but this threshold fails.
    Threshold(&'static str),
}

/// All experiments.
pub fn all() -> impl Iterator<Item = &'static Case> {
    STILL.iter().chain(&MOVING)
}

const fn still(name: &'static str, mode: Mode, fault: Fault, noticed_by: Notice) -> Case {
    Case { name, mode, motion: Motion::Still, fault, noticed_by }
}

const fn moving(name: &'static str, motion: Motion, fault: Fault, noticed_by: Notice) -> Case {
    Case { name, mode: Mode::Broadcast, motion, fault, noticed_by }
}

/// With clients that stay. The periods are prime to the number of clients, so that every client is hit.
const STILL: [Case; 17] = [
    still("broadcast, no fault", Mode::Broadcast, Fault::None, Notice::Nothing),
    still("echo, no fault", Mode::Echo, Fault::None, Notice::Nothing),
    still("delay of 50 ms", Mode::Broadcast, Fault::Delay { ns: 50_000_000 }, Notice::Nothing),
    still("echo, delay of 50 ms", Mode::Echo, Fault::Delay { ns: 50_000_000 }, Notice::Nothing),
    still("stall of 400 ms", Mode::Broadcast, Fault::Stall { before: 10, ns: 400_000_000 }, Notice::Nothing),
    still(
        "publisher blocked for 800 ms",
        Mode::Broadcast,
        Fault::Deaf { before: 5, ns: 800_000_000 },
        Notice::Nothing,
    ),
    still(
        "publisher blocked for good",
        Mode::Broadcast,
        Fault::Deaf { before: 5, ns: FOR_GOOD_NS },
        Notice::Rule("unsent"),
    ),
    still("loss, 1 in 97", Mode::Broadcast, Fault::Loss { every: 97 }, Notice::Rule("lost")),
    still("echo, loss, 1 in 7", Mode::Echo, Fault::Loss { every: 7 }, Notice::Rule("lost")),
    still("duplicates, 1 in 53", Mode::Broadcast, Fault::Duplicate { every: 53 }, Notice::Rule("duplicate")),
    still("reordering, 1 in 31", Mode::Broadcast, Fault::Reorder { every: 31 }, Notice::Rule("reordered")),
    still("corruption, 1 in 101", Mode::Broadcast, Fault::Corrupt { every: 101 }, Notice::Rule("corrupt")),
    still("silence", Mode::Broadcast, Fault::Silence, Notice::Rule("silence")),
    still("echo, silence", Mode::Echo, Fault::Silence, Notice::Rule("silence")),
    still(
        "foreign messages, 1 in 43",
        Mode::Broadcast,
        Fault::Foreign { every: 43 },
        Notice::Rule("unexpected"),
    ),
    still(
        "refused connections, 1 in 5",
        Mode::Broadcast,
        Fault::Refuse { from: 0, every: 5 },
        Notice::Rule("connections_reached"),
    ),
    still(
        "cut connections, 1 in 5",
        Mode::Broadcast,
        Fault::Cut { every: 5, before: 20 },
        Notice::Rule("connections_kept"),
    ),
];

/// With clients that move. Connections numbered from [`CLIENTS`] on are those of who came back.
const MOVING: [Case; 15] = [
    moving("churn, no fault", Motion::Churn, Fault::None, Notice::Nothing),
    moving(
        "churn, one who stays loses 1 in 7",
        Motion::Churn,
        Fault::LossAtSender { every: 7 },
        Notice::Threshold("churn.lost==0"),
    ),
    moving(
        "churn, newcomers never told, 1 in 3",
        Motion::Churn,
        Fault::Forget { from: CLIENTS, every: 3 },
        Notice::Rule("lost"),
    ),
    moving(
        "churn, newcomers told twice",
        Motion::Churn,
        Fault::Again { from: CLIENTS, after: 20 },
        Notice::Rule("duplicate"),
    ),
    moving(
        "churn, newcomers refused, 1 in 4",
        Motion::Churn,
        Fault::Refuse { from: CLIENTS, every: 4 },
        Notice::Rule("reconnects"),
    ),
    moving("churn, farewells unanswered", Motion::Churn, Fault::Cling, Notice::Rule("leaves_answered")),
    moving("storm, no fault", Motion::Storm, Fault::None, Notice::Nothing),
    moving(
        "storm, most never let back",
        Motion::Storm,
        Fault::Full { after: CLIENTS + 4 },
        Notice::Rule("back"),
    ),
    moving(
        "storm, 1 in 3 back and never told",
        Motion::Storm,
        Fault::Forget { from: CLIENTS, every: 3 },
        Notice::Rule("served"),
    ),
    moving(
        "storm, who is back told twice",
        Motion::Storm,
        Fault::Again { from: CLIENTS, after: 20 },
        Notice::Rule("duplicate"),
    ),
    moving("slow, no fault", Motion::Slow, Fault::None, Notice::Nothing),
    moving("slow, left out with notice", Motion::Slow, Fault::Omit { tells: true }, Notice::Nothing),
    moving(
        "slow, left out without notice",
        Motion::Slow,
        Fault::Omit { tells: false },
        Notice::Rule("slow_accounted"),
    ),
    moving("slow, cut without a word", Motion::Slow, Fault::CutSlow, Notice::Threshold("slow.closed==0")),
    moving(
        "slow, all wait for the slowest",
        Motion::Slow,
        Fault::Wait,
        // The least that waiting for the end of a phase makes of it, if the calm is half as bad as that.
        Notice::Threshold("slow.healthy_p99_ratio<1.05"),
    ),
];
