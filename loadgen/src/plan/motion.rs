//! What clients do beside hearing: come and go, drop at once, read slowly; and how they come back.
//!
//! Why apart: these words belong to three scenarios only, and all of them bend the same question, who was there for the
//! whole life of a message.
//!
//! Invariants: `parse(x.to_string()) == Ok(x)`; publishers never move, so there is always something to hear.

use crate::report;
use crate::units::{self, NS_PER_S};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Into so many equal phases a slow run is cut: calm, slow, calm, slow …
pub const SLOW_PHASES: u64 = 8;
/// With `--backoff none` the first attempt comes at once; one that failed is repeated after this.
const RETRY_NS: u64 = 100_000_000;

/// What the clients that do not publish do beside hearing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Motion {
    /// Nothing.
    Still,
    /// They come and go.
    Churn {
        /// How long they stay.
        session: Lengths,
        /// How they go.
        leave: Leave,
    },
    /// Some drop at once and come back.
    Storm {
        /// How many.
        clients: u32,
        /// When, in nanoseconds from the beginning of the measured phase.
        at_ns: u64,
    },
    /// Some read slowly, in every other phase.
    Slow {
        /// How many.
        clients: u32,
        /// Bytes that each of them reads in a second; 0: none.
        rate_per_s: u64,
    },
}

/// How long sessions last, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lengths {
    /// Exponential with this mean: whoever is here is as likely to go as anybody else.
    Exp(u64),
    /// Uniform between the two.
    Uniform(u64, u64),
    /// Always the same.
    Const(u64),
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leave {
    /// A close frame; the server ends the connection.
    Close,
    /// The sending half is shut, without a word.
    Fin,
    /// The connection is reset.
    Reset,
    /// One after the other.
    Mixed,
}

/// How long who is gone waits before each attempt to come back, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backoff {
    /// Not at all.
    None,
    /// Always about so long.
    Const(u64),
    /// About so long, then twice, and so on up to a bound.
    Exp(u64, u64),
}

impl Default for Backoff {
    fn default() -> Self {
        Self::Exp(100_000_000, 10 * NS_PER_S)
    }
}

fn ns(text: &str) -> Result<u64, String> {
    units::parse_duration_ns(text).map_err(|error| error.to_string())
}

/// A time in the largest unit in which it is a whole number, so that it reads back as the same.
fn exact(ns: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(60 * NS_PER_S, "m"), (NS_PER_S, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| ns.is_multiple_of(*unit)).unwrap_or((1, "ns"));
    format!("{}{name}", ns / unit)
}

/// Parses `A..B`, in order.
fn range(text: &str, example: &str) -> Result<(u64, u64), String> {
    let (low, high) =
        text.split_once("..").ok_or_else(|| format!("`{text}`: write for example {example}"))?;
    match (ns(low)?, ns(high)?) {
        (low, high) if low <= high => Ok((low, high)),
        (_, _) => Err(format!("`{text}` runs backwards")),
    }
}

impl Lengths {
    /// Parses `exp:60s`, `uniform:10s..60s` or `const:30s`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("exp", mean)) => ns(mean).map(Self::Exp),
            Some(("uniform", lengths)) => {
                range(lengths, "uniform:10s..60s").map(|(low, high)| Self::Uniform(low, high))
            }
            Some(("const", length)) => ns(length).map(Self::Const),
            Some(_) | None => Err(format!(
                "`{text}` is no length of sessions; there are exp:60s, uniform:10s..60s, const:30s"
            )),
        }
    }

    /// The mean, in nanoseconds.
    pub const fn mean_ns(self) -> u64 {
        match self {
            Self::Exp(mean) | Self::Const(mean) => mean,
            Self::Uniform(low, high) => low.midpoint(high),
        }
    }

    /// Draws the length of a session that begins now, in nanoseconds.
    pub fn draw(self, rng: &mut fastrand::Rng) -> u64 {
        match self {
            // Inverse transform; 1 - u is in (0, 1], so the logarithm is finite.
            Self::Exp(mean) => (-(1.0 - rng.f64()).ln() * mean as f64) as u64,
            Self::Uniform(low, high) => rng.u64(low..=high),
            Self::Const(length) => length,
        }
    }

    /// Draws what is left of a session that somebody meets who comes by at any time: the population is steady from
    /// the first instant on. Long sessions are met more often; of the one met, any part may be over.
    pub fn draw_rest(self, rng: &mut fastrand::Rng) -> u64 {
        let met_ns = match self {
            Self::Exp(_) => return self.draw(rng), // it has no memory
            Self::Const(length) => length as f64,
            Self::Uniform(low, high) => {
                let (low, high) = (low as f64, high as f64);
                (low * low + rng.f64() * (high * high - low * low)).sqrt()
            }
        };
        (met_ns * rng.f64()) as u64
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exp(mean) => write!(f, "exp:{}", exact(*mean)),
            Self::Uniform(low, high) => write!(f, "uniform:{}..{}", exact(*low), exact(*high)),
            Self::Const(length) => write!(f, "const:{}", exact(*length)),
        }
    }
}

impl Leave {
    /// Parses the word.
    ///
    /// # Errors
    /// It is none; says which there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "close" => Ok(Self::Close),
            "fin" => Ok(Self::Fin),
            "reset" => Ok(Self::Reset),
            "mixed" => Ok(Self::Mixed),
            _ => Err(format!("`{text}` is no way to leave; there are close, fin, reset, mixed")),
        }
    }

    /// How the `nth` session ends.
    pub const fn nth(self, nth: u64) -> Self {
        match self {
            Self::Close | Self::Fin | Self::Reset => self,
            Self::Mixed => match nth % 3 {
                0 => Self::Close,
                1 => Self::Fin,
                _ => Self::Reset,
            },
        }
    }
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Close => "close",
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Mixed => "mixed",
        })
    }
}

impl Backoff {
    /// Parses `none`, `const:1s` or `exp:100ms..10s`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        match (text, text.split_once(':')) {
            ("none", _) => Ok(Self::None),
            (_, Some(("const", wait))) => ns(wait).map(Self::Const),
            (_, Some(("exp", waits))) => {
                range(waits, "exp:100ms..10s").map(|(first, most)| Self::Exp(first, most))
            }
            (_, _) => Err(format!("`{text}` is no backoff; there are none, const:1s, exp:100ms..10s")),
        }
    }

    /// Draws how long to wait before an attempt, of which `failed` came before; from half of the wait to the whole,
    /// so that those who went together do not come together.
    pub fn draw_ns(self, failed: u8, rng: &mut fastrand::Rng) -> u64 {
        let whole_ns = match self {
            Self::None if failed == 0 => return 0,
            Self::None => RETRY_NS,
            Self::Const(wait_ns) => wait_ns,
            Self::Exp(first_ns, most_ns) => {
                first_ns.saturating_mul(1_u64 << failed.min(62)).min(most_ns).max(1)
            }
        };
        rng.u64(whole_ns / 2..=whole_ns)
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Const(wait) => write!(f, "const:{}", exact(*wait)),
            Self::Exp(first, most) => write!(f, "exp:{}..{}", exact(*first), exact(*most)),
        }
    }
}

impl Motion {
    /// Whether anybody moves.
    pub const fn is_still(self) -> bool {
        matches!(self, Self::Still)
    }

    /// Whether some read slowly.
    pub const fn is_slow(self) -> bool {
        matches!(self, Self::Slow { .. })
    }

    /// Whether the client `global` moves. Publishers do not; of the others those who do are spread evenly.
    pub const fn moves(self, global: u32, clients: u32, publishers: u32) -> bool {
        let moving = match self {
            Self::Still => return false,
            Self::Churn { .. } => clients - publishers,
            Self::Storm { clients, .. } | Self::Slow { clients, .. } => clients,
        };
        let Some(nth) = global.checked_sub(publishers) else { return false };
        let (nth, moving, of) = (nth as u64, moving as u64, (clients - publishers) as u64);
        (nth + 1) * moving / of > nth * moving / of
    }

    /// The motion in the words of the report; all else is empty there.
    pub(super) fn to_report(self, backoff: Backoff) -> report::Plan {
        let plan = report::Plan::default();
        let backoff = Some(backoff.to_string());
        match self {
            Self::Still => plan,
            Self::Churn { session, leave } => report::Plan {
                session: Some(session.to_string()),
                leave: Some(leave.to_string()),
                backoff,
                ..plan
            },
            Self::Storm { clients, at_ns } => {
                report::Plan { storm: Some(u64::from(clients)), storm_at_ns: Some(at_ns), backoff, ..plan }
            }
            Self::Slow { clients, rate_per_s } => report::Plan {
                slow: Some(u64::from(clients)),
                slow_rate_bytes_per_s: Some(rate_per_s),
                backoff,
                ..plan
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_typed() {
        for text in ["exp:60s", "uniform:10s..60s", "const:30s"] {
            let lengths = Lengths::parse(text).expect("a length");
            assert_eq!(Lengths::parse(&lengths.to_string()), Ok(lengths));
        }
        for text in ["none", "const:1s", "exp:100ms..10s"] {
            let backoff = Backoff::parse(text).expect("a backoff");
            assert_eq!(Backoff::parse(&backoff.to_string()), Ok(backoff));
        }
        for text in ["close", "fin", "reset", "mixed"] {
            assert_eq!(Leave::parse(text).map(|leave| leave.to_string()), Ok(text.to_owned()));
        }
        assert!(Lengths::parse("60s").is_err_and(|error| error.contains("exp:60s")));
        assert!(Backoff::parse("exp:9s..1s").is_err_and(|error| error.contains("backwards")));
    }

    #[test]
    fn sessions_have_the_mean_asked_for_and_their_rests_that_of_a_steady_population() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut mean = |draw: &mut dyn FnMut(&mut fastrand::Rng) -> u64| {
            (0..20_000).map(|_| draw(&mut rng) as f64 / 20_000.0).sum::<f64>()
        };
        // The rest met has the mean E[x²] / 2E[x].
        let cases = [
            (Lengths::Exp(1_000_000), 1e6, 1e6),
            (Lengths::Const(1_000_000), 1e6, 0.5e6),
            (Lengths::Uniform(0, 2_000_000), 1e6, 2.0 / 3.0 * 1e6),
        ];
        for (lengths, whole, rest) in cases {
            // Within 5 %: the worst standard error is 1 / √20000 = 0.7 %.
            assert!((mean(&mut |rng| lengths.draw(rng)) / whole - 1.0).abs() < 0.05, "{lengths}");
            assert!((mean(&mut |rng| lengths.draw_rest(rng)) / rest - 1.0).abs() < 0.05, "{lengths}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_bound_and_never_waits_less_than_half() {
        let mut rng = fastrand::Rng::with_seed(1);
        let backoff = Backoff::parse("exp:100ms..10s").expect("a backoff");
        for (failed, whole_ms) in [(0, 100), (1, 200), (6, 6_400), (7, 10_000), (255, 10_000)] {
            let drawn_ms = backoff.draw_ns(failed, &mut rng) / 1_000_000;
            assert!((whole_ms / 2..=whole_ms).contains(&drawn_ms), "{failed}: {drawn_ms}");
        }
        assert_eq!(Backoff::None.draw_ns(0, &mut rng), 0);
        assert!(Backoff::None.draw_ns(1, &mut rng) > 0);
    }

    #[test]
    fn who_moves_is_spread_evenly_and_never_publishes() {
        let motion = Motion::Slow { clients: 30, rate_per_s: 0 };
        let moving: Vec<_> = (0..103).filter(|global| motion.moves(*global, 103, 3)).collect();
        assert_eq!(moving.len(), 30);
        assert!(moving.windows(2).all(|pair| (3..=4).contains(&(pair[1] - pair[0]))) && moving[0] >= 3);
    }
}
