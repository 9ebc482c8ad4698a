//! The flags of compression (permessage-deflate, RFC 7692).
//!
//! Off unless asked for: it costs processor time, and a secret compressed together with what an attacker chooses can
//! be guessed from lengths (RFC 7692 §8).
//!
//! Invariant: as in all groups, what `effective` prints brings about the same settings.

use clap::{Args, ValueEnum};
use stentor::server::Config;
use stentor::server::deflate::{Mode, Settings, mode_name};

use super::units::bytes;

#[derive(Args, Debug)]
#[command(next_help_heading = "Compression")]
pub(crate) struct DeflateOptions {
    /// Whether permessage-deflate is agreed to.
    #[arg(long, env = "STENTOR_DEFLATE", value_name = "MODE", value_enum, default_value_t = ModeName::Off)]
    deflate: ModeName,
    /// Messages smaller than this are sent uncompressed.
    #[arg(long, env = "STENTOR_DEFLATE_MIN", value_name = "BYTES", default_value = "1ki", value_parser = bytes)]
    deflate_min: u64,
    /// The most memory for what `--deflate context` remembers of all peers; who comes later is not remembered.
    #[arg(long, env = "STENTOR_DEFLATE_MEMORY", value_name = "BYTES", default_value = "64mi", value_parser = bytes)]
    deflate_memory: u64,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum ModeName {
    /// No.
    Off,
    /// Yes, each message by itself: nothing is kept for a peer.
    Shared,
    /// Yes, with a memory of earlier messages for each peer: smaller, and up to 324 KiB a peer.
    Context,
}

impl DeflateOptions {
    pub(crate) fn apply(self, config: &mut Config) {
        config.deflate = Settings {
            mode: match self.deflate {
                ModeName::Off => Mode::Off,
                ModeName::Shared => Mode::Shared,
                ModeName::Context => Mode::Context,
            },
            min: usize::try_from(self.deflate_min).unwrap_or(usize::MAX),
            memory: usize::try_from(self.deflate_memory).unwrap_or(usize::MAX),
        };
    }
}

pub(crate) fn effective(config: &Config) -> Vec<String> {
    let Settings { mode, min, memory } = config.deflate;
    vec![
        format!("deflate {}", mode_name(mode)),
        format!("deflate-min {min}"),
        format!("deflate-memory {memory}"),
    ]
}
