//! How many processes there are, how long a peer may take over what it has begun, and what is remembered.
//!
//! Beside the deadlines that every protocol has (handshake, close, pong), which are among the general flags.
//!
//! Invariant: what is printed by [`effective`] brings about the same settings.

use std::num::NonZeroU32;

use stentor::base::tick::Nanos;
use stentor::server::Config;
use stentor::server::supervisor::{WORKERS_MAX, Workers};

use super::units::{bytes, count, shown, time};

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessFlags {
    /// Processes that share the port: a number, or `auto` for as many as --connections-max and the descriptor limit ask for (without
    /// --connections-max: one for each core).
    #[arg(long, env = "STENTOR_WORKERS", value_name = "N|auto", default_value = "1", value_parser = workers)]
    workers: Workers,

    /// Time for a message to be complete, from its first byte to its last; then 1008. 0 is off.
    #[arg(long, env = "STENTOR_MESSAGE_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = time)]
    message_timeout: Nanos,

    /// Messages of a /broadcast channel that are kept for those who come back with ?since=; 0 is off.
    #[arg(long, env = "STENTOR_HISTORY", value_name = "N", default_value = "100", value_parser = count)]
    history: usize,

    /// Bytes of all that is kept; beyond, what was least recently published is forgotten.
    #[arg(long, env = "STENTOR_HISTORY_MEMORY", value_name = "BYTES", default_value = "64mi", value_parser = bytes)]
    history_memory: u64,
}

fn workers(text: &str) -> Result<Workers, String> {
    let wanted = || format!("wants a number from 1 to {WORKERS_MAX}, or `auto`");
    if text == "auto" {
        return Ok(Workers::Auto);
    }
    let count: NonZeroU32 = text.parse().map_err(|_| wanted())?;
    if count.get() > WORKERS_MAX { Err(wanted()) } else { Ok(Workers::Count(count)) }
}

impl ProcessFlags {
    pub(super) fn apply(self, config: &mut Config) {
        config.workers = self.workers;
        config.message_timeout = self.message_timeout;
        config.history.messages = u32::try_from(self.history).unwrap_or(u32::MAX);
        config.history.memory = usize::try_from(self.history_memory).unwrap_or(usize::MAX);
    }
}

pub(super) fn effective(config: &Config) -> Vec<String> {
    let workers = match config.workers {
        Workers::Auto => "auto".to_owned(),
        Workers::Count(count) => count.to_string(),
    };
    vec![
        format!("workers {workers}"),
        format!("message-timeout {}", shown(config.message_timeout)),
        format!("history {}", config.history.messages),
        format!("history-memory {}", config.history.memory),
    ]
}
