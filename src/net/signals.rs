//! Signals as readiness: SIGTERM, SIGINT and SIGHUP arrive in the loop like anything else.
//!
//! A handler may do next to nothing safely, so it only writes a byte to a pipe that the loop waits on
//! (`signal-hook`). SIGPIPE never kills: Rust ignores it, and every write reports `EPIPE` instead.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::Signal;

/// The signals that the server listens to.
pub struct SignalSource {
    signals: Signals,
}

impl SignalSource {
    /// Takes over SIGTERM, SIGINT and SIGHUP and registers with `registry` under `token`.
    ///
    /// # Errors
    /// When the pipe or the registration fails (descriptors exhausted).
    pub fn new(registry: &mio::Registry, token: mio::Token) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        registry.register(&mut signals, token, mio::Interest::READABLE)?;
        Ok(Self { signals })
    }

    /// What has arrived since the last call.
    pub fn pending(&mut self) -> impl Iterator<Item = Signal> + '_ {
        self.signals.pending().map(|number| if number == SIGHUP { Signal::Reload } else { Signal::Stop })
    }
}
