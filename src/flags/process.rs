//! How long a peer may take over what it has begun.
//!
//! Beside the deadlines that every protocol has (handshake, close, pong), which are among the general flags.
//!
//! Invariant: what is printed by [`effective`] brings about the same settings.

use stentor::base::tick::Nanos;
use stentor::server::Config;

use super::units::{shown, time};

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Patience")]
pub(crate) struct ProcessFlags {
    /// Time for a message to be complete, from its first byte to its last; then 1008. 0 is off.
    #[arg(long, env = "STENTOR_MESSAGE_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = time)]
    message_timeout: Nanos,
}

impl ProcessFlags {
    pub(super) fn apply(self, config: &mut Config) {
        config.message_timeout = self.message_timeout;
    }
}

pub(super) fn effective(config: &Config) -> Vec<String> {
    vec![format!("message-timeout {}", shown(config.message_timeout))]
}
