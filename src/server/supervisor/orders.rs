//! Orders: what a supervisor tells each worker, as one line of JSON on its stdin.
//!
//! A worker reads the same flags and environment as its supervisor, and then its orders, which say where it stands and what the
//! flags cannot: the port that the system chose, its share of what the flags limit, and what all workers have to have in common.
//! Secrets go this way and not through arguments or environment, which other users of the machine can read.
//!
//! Invariant: a process is a worker exactly if [`VARIABLE`] is set in its environment.

use std::io::{BufRead as _, Write};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::net::identity::{Certificate, MadeUp};
use crate::net::socket::Address;
use crate::net::tickets::TicketSecret;
use crate::server::config::{Config, Place};
use crate::server::start::Failure;

/// Set in the environment of workers.
pub const VARIABLE: &str = "STENTOR_WORKER";

/// Orders are short; whoever writes more on the stdin of a worker is no supervisor.
const ORDERS_BYTES_MAX: u64 = 1 << 20;

/// What one worker is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    pub(super) index: u32,
    pub(super) count: u32,
    pub(super) directory: PathBuf,
    pub(super) supervisor: u32,
    pub(super) restarts: u64,
    pub(super) listen: Vec<String>,
    pub(super) tls_listen: Vec<String>,
    pub(super) connections_max: Option<usize>,
    pub(super) tickets: Option<String>,
    /// Certificate and key, if they were made up for all.
    pub(super) certificate: Option<(String, String)>,
}

impl Orders {
    /// The orders of this process, if it is a worker. From then on it ends with its supervisor.
    ///
    /// # Errors
    /// It is a worker, and what stands on its stdin are no orders.
    pub fn received() -> Result<Option<Self>, Failure> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let mut line = String::new();
        let read = std::io::Read::take(std::io::stdin(), ORDERS_BYTES_MAX);
        let read = std::io::BufReader::new(read).read_line(&mut line);
        let why =
            |error: String| Failure::new(format!("{VARIABLE} is set, but stdin has no orders: {error}"));
        read.map_err(|error| why(error.to_string()))?;
        let orders: Self = serde_json::from_str(&line).map_err(|error| why(error.to_string()))?;
        orders.die_with_supervisor()?;
        Ok(Some(orders))
    }

    /// Nobody else would stop a worker whose supervisor was killed.
    fn die_with_supervisor(&self) -> Result<(), Failure> {
        #[cfg(target_os = "linux")]
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        if u32::try_from(parent) == Ok(self.supervisor) {
            return Ok(());
        }
        Err(Failure::new("the supervisor was gone before its worker began".to_owned()))
    }

    /// The number of this worker.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Changes `config` to what this worker is to be.
    ///
    /// # Errors
    /// An address or a secret that no supervisor has written.
    pub fn apply(self, config: &mut Config) -> Result<(), Failure> {
        let wrong = |what: &str| Failure::new(format!("the orders have no {what} that can be read"));
        let addresses = |texts: &[String]| -> Result<Vec<Address>, Failure> {
            texts.iter().map(|text| text.parse().map_err(Failure::new)).collect()
        };
        config.listen = addresses(&self.listen)?;
        if let Some(tls) = &mut config.tls {
            tls.listen = addresses(&self.tls_listen)?;
            if let Some(tickets) = &self.tickets {
                let secret = STANDARD.decode(tickets).ok().and_then(|bytes| TicketSecret::told(&bytes));
                tls.tickets = Some(secret.ok_or_else(|| wrong("secret"))?);
            }
            if let Some((certificate, key)) = &self.certificate {
                let decode = |text| STANDARD.decode(text).map_err(|_| wrong("certificate"));
                tls.certificate =
                    Certificate::Given(MadeUp { certificate: decode(certificate)?, key: decode(key)? });
            }
        }
        config.connections_max = self.connections_max;
        let count = self.count.max(1);
        if let Some(rate) = &mut config.admission.handshakes_per_second {
            *rate = rate.div_ceil(count);
        }
        config.deflate.memory /= count as usize;
        config.history.memory /= count as usize;
        config.restarts = self.restarts;
        config.place = Some(Place { index: self.index, count: self.count, directory: self.directory });
        Ok(())
    }

    /// Writes them for a worker to read.
    pub(super) fn give(&self, mut stdin: impl Write) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        stdin.write_all(&line)?;
        stdin.flush()
    }

    pub(super) fn encode_secret(secret: &TicketSecret) -> String {
        STANDARD.encode(secret.bytes())
    }

    pub(super) fn encode_certificate(made_up: &MadeUp) -> (String, String) {
        (STANDARD.encode(&made_up.certificate), STANDARD.encode(&made_up.key))
    }
}
