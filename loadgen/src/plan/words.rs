//! The words of the command line: scenarios, arrivals, fillings, sizes.
//!
//! Why: each word is parsed once into a type that cannot be wrong, and printed back in the same form for the report.
//!
//! Invariants: `parse(x.to_string()) == Ok(x)`; a size range is ordered and not empty.

use crate::units;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scenario {
    /// Few publish, everybody hears everything.
    Broadcast,
    /// Everybody sends and hears its own again.
    Echo,
    /// Everybody is connected and silent.
    Idle,
    /// Everybody connects, and goes as soon as the handshake is done.
    Connect,
    /// Sessions of random length come and go.
    Churn,
    /// Many drop at once and come back.
    Storm,
    /// Some read slowly.
    Slow,
    /// Chat rooms.
    Chat,
}

/// When messages are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrival {
    /// At equal distances.
    Constant,
    /// At random, independent of one another.
    Poisson,
    /// So many at once, at equal distances.
    Burst(u32),
}

/// What stands behind the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fill {
    /// Random bytes (letters in text frames): nothing compresses.
    Random,
    /// English-looking words.
    Text,
    /// A JSON object around a text marker.
    Json,
    /// Zeros: everything compresses.
    Zero,
}

/// What is spoken inside the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Just the payload.
    Raw,
    /// Socket.IO.
    SocketIo,
}

/// How many of the clients, as typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// So many.
    Count(u64),
    /// A ratio, 0..=1.
    Share(f64),
}

/// Payload sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    /// Always the same.
    Fixed(u64),
    /// Uniform between the two, both included.
    Uniform(u64, u64),
}

/// Parse and print an enum by its words.
macro_rules! words {
    ($type:ident, $what:literal: $($variant:ident = $word:literal),+ $(,)?) => {
        impl $type {
            /// Parses the word.
            ///
            /// # Errors
            /// It is none of the words; says which there are.
            pub fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!(concat!("`{}` is no ", $what, "; there are {}"), text, [$($word),+].join(", "))),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}

words!(Scenario, "scenario":
    Broadcast = "broadcast", Echo = "echo", Idle = "idle", Connect = "connect",
    Churn = "churn", Storm = "storm", Slow = "slow", Chat = "chat");
words!(Fill, "filling": Random = "random", Text = "text", Json = "json", Zero = "zero");
words!(Protocol, "protocol": Raw = "raw", SocketIo = "socketio");

impl Scenario {
    /// Whether this version can do it.
    pub const fn is_built(self) -> bool {
        match self {
            Self::Broadcast
            | Self::Echo
            | Self::Idle
            | Self::Connect
            | Self::Churn
            | Self::Storm
            | Self::Slow => true,
            Self::Chat => false,
        }
    }

    /// Whether every client hears every publisher.
    pub const fn is_broadcast(self) -> bool {
        match self {
            Self::Broadcast | Self::Churn | Self::Storm | Self::Slow => true,
            Self::Echo | Self::Idle | Self::Connect | Self::Chat => false,
        }
    }

    /// The path on a stentor of our own.
    pub const fn default_path(self) -> &'static str {
        match self {
            Self::Echo => "/echo",
            Self::Broadcast
            | Self::Idle
            | Self::Connect
            | Self::Churn
            | Self::Storm
            | Self::Slow
            | Self::Chat => "/broadcast",
        }
    }
}

impl Arrival {
    /// Parses `constant`, `poisson` or `burst:K`.
    ///
    /// # Errors
    /// It is none of them, or K is not 1 to 1 000 000.
    pub fn parse(text: &str) -> Result<Self, String> {
        let burst = |count: &str| match units::parse_count(count) {
            Ok(count @ 1..=1_000_000) => Ok(Self::Burst(count as u32)),
            Ok(_) => Err(format!("`{text}`: a burst has 1 to 1000000 messages")),
            Err(error) => Err(error.to_string()),
        };
        match (text, text.strip_prefix("burst:")) {
            ("constant", _) => Ok(Self::Constant),
            ("poisson", _) => Ok(Self::Poisson),
            (_, Some(count)) => burst(count),
            (_, None) => Err(format!("`{text}` is no arrival; there are constant, poisson, burst:K")),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Poisson => f.write_str("poisson"),
            Self::Burst(count) => write!(f, "burst:{count}"),
        }
    }
}

impl Part {
    /// Parses a count or a percentage.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, units::UnitError> {
        if text.trim_end().ends_with('%') {
            return units::parse_percent(text).map(Self::Share);
        }
        units::parse_count(text).map(Self::Count)
    }

    /// How many that is of so many, at least one of them where there is any; a count may be more than there are.
    pub fn of(self, total: u32) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Share(share) => {
                u64::from(((f64::from(total) * share).round() as u32).clamp(1, total.max(1)))
            }
        }
    }
}

impl Size {
    /// Parses `128` or `uniform:64..1k`.
    ///
    /// # Errors
    /// It is neither, or the range runs backwards.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = |part: &str| units::parse_bytes(part).map_err(|error| error.to_string());
        let Some(range) = text.strip_prefix("uniform:") else { return bytes(text).map(Self::Fixed) };
        let (low, high) =
            range.split_once("..").ok_or_else(|| format!("`{text}`: write for example uniform:64..1k"))?;
        match (bytes(low)?, bytes(high)?) {
            (low, high) if low <= high => Ok(Self::Uniform(low, high)),
            (low, high) => Err(format!("`{text}` runs backwards, from {low} to {high}")),
        }
    }

    /// The smallest payload, in bytes.
    pub const fn min(self) -> u64 {
        match self {
            Self::Fixed(size) | Self::Uniform(size, _) => size,
        }
    }

    /// The largest payload, in bytes.
    pub const fn max(self) -> u64 {
        match self {
            Self::Fixed(size) | Self::Uniform(_, size) => size,
        }
    }

    /// Draws one size, in bytes.
    pub fn draw(self, rng: &mut fastrand::Rng) -> usize {
        match self {
            Self::Fixed(size) => size as usize,
            Self::Uniform(low, high) => rng.u64(low..=high) as usize,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Uniform(low, high) => write!(f, "uniform:{low}..{high}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_come_back_as_typed() {
        for word in ["broadcast", "echo", "idle", "connect", "churn", "storm", "slow", "chat"] {
            assert_eq!(Scenario::parse(word).map(|scenario| scenario.to_string()), Ok(word.to_owned()));
        }
        assert!(Scenario::parse("brodcast").is_err_and(|error| error.contains("broadcast, echo")));
        assert_eq!(Arrival::parse("burst:100"), Ok(Arrival::Burst(100)));
        assert!(Arrival::parse("burst:0").is_err());
        assert_eq!(Part::parse("10%"), Ok(Part::Share(0.1)));
        assert!(Size::parse("uniform:9..3").is_err_and(|error| error.contains("backwards")));
    }

    proptest! {
        #[test]
        fn sizes_are_drawn_within_their_bounds(low in 0u64..5_000, more in 0u64..5_000, seed: u64) {
            let size = Size::parse(&format!("uniform:{low}..{}", low + more)).expect("ordered");
            prop_assert_eq!(Size::parse(&size.to_string()), Ok(size));
            let drawn = size.draw(&mut fastrand::Rng::with_seed(seed)) as u64;
            prop_assert!((size.min()..=size.max()).contains(&drawn));
        }
    }
}
