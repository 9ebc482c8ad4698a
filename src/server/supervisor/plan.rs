//! The plan: what is decided before the first worker starts, and kept until the last has gone.
//!
//! Invariants: every port is ours from here to the end, whoever of the workers listens on it; the directory of their sockets is
//! private, and is removed with the plan.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::orders::Orders;
use super::share;
use crate::net::identity::MadeUp;
use crate::net::limits::Descriptors;
use crate::net::socket::{self, Address};
use crate::net::tickets::TicketSecret;
use crate::server::config::Config;
use crate::server::start::{Failure, cannot_listen};

/// What all workers have in common, and what the supervisor keeps for them.
pub(super) struct Plan {
    orders: Orders,
    doors: Doors,
    _directory: Directory,
    /// One line: version, where it listens, how many it takes.
    pub(super) summary: String,
    pub(super) drain: Duration,
}

/// Where peers come in.
#[derive(Default)]
struct Doors {
    /// The addresses of Unix sockets, which cannot be shared: the first worker listens there.
    unix: Vec<String>,
    /// Bound and never listened on: the ports stay ours while workers come and go.
    kept: Vec<socket2::Socket>,
}

impl Doors {
    /// Keeps the ports of `addresses`, and says which they are.
    fn keep(&mut self, flag: &str, addresses: &[Address]) -> Result<Vec<String>, Failure> {
        let mut bound = Vec::new();
        for address in addresses {
            match address {
                Address::Unix(_) => self.unix.push(address.to_string()),
                Address::Tcp(wanted) => {
                    let (socket, at) = socket::keep_port(*wanted)
                        .map_err(|error| Failure::new(cannot_listen(flag, address, &error)))?;
                    self.kept.push(socket);
                    bound.push(at.to_string());
                }
            }
        }
        Ok(bound)
    }
}

impl Plan {
    /// How many workers there are to be.
    pub(super) const fn count(&self) -> u32 {
        self.orders.count
    }

    pub(super) fn make(config: &Config, count: u32) -> Result<Self, Failure> {
        // The workers read it again; that it cannot be read is better known before there are any.
        config.engine.read_client()?;
        let descriptors = Descriptors::raise();
        let room = share::room_of_one(descriptors.soft, count);
        let whole_room = room.saturating_mul(count as usize);
        let connections_max = config.connections_max.map(|max| max.div_ceil(count as usize));
        if let Some(max) = connections_max.filter(|max| *max > room) {
            return Err(Failure::new(format!(
                "{} connections are {max} for each of {count} workers, and each has room for {room} (it may open {} \
                 files): --workers auto takes as many as it needs, or lower --connections-max to {whole_room}",
                config.connections_max.unwrap_or(0),
                descriptors.soft,
            )));
        }
        let mut doors = Doors::default();
        let listen = doors.keep("--listen", &config.listen)?;
        let tls = config.tls.as_ref();
        let tls_listen = doors.keep("--tls-listen", tls.map_or(&[], |tls| &tls.listen[..]))?;
        let made_up = tls.map(MadeUp::for_all).transpose().map_err(Failure::new)?.flatten();
        let secret = tls.map(|_| TicketSecret::draw()).transpose().map_err(Failure::new)?;
        let directory = Directory::make()?;
        let self_signed =
            made_up.as_ref().map(|made_up| format!("; self-signed, SHA-256 {}", made_up.fingerprint()));
        let secure = tls_listen.iter().map(|address| format!("wss://{address}"));
        let shown: Vec<String> = listen.iter().chain(&doors.unix).cloned().chain(secure).collect();
        let summary = format!(
            "stentor {} listening on {} ({count} workers, connections {}, descriptors {} of {} each{})",
            env!("CARGO_PKG_VERSION"),
            shown.join(", "),
            config.connections_max.unwrap_or(whole_room),
            descriptors.soft,
            descriptors.hard,
            self_signed.unwrap_or_default(),
        );
        let orders = Orders {
            index: 0,
            count,
            directory: directory.0.clone(),
            supervisor: std::process::id(),
            restarts: 0,
            listen,
            tls_listen,
            connections_max: Some(connections_max.unwrap_or(room)),
            tickets: secret.as_ref().map(Orders::encode_secret),
            certificate: made_up.as_ref().map(Orders::encode_certificate),
        };
        let drain = Duration::from_nanos(config.drain);
        Ok(Self { orders, doors, _directory: directory, summary, drain })
    }

    /// What worker `index` is told when it has fallen `restarts` times.
    pub(super) fn orders(&self, index: u32, restarts: u64) -> Orders {
        let mut orders = Orders { index, restarts, ..self.orders.clone() };
        if index == 0 {
            orders.listen.extend(self.doors.unix.iter().cloned());
        }
        orders
    }
}

/// The private directory in which the workers' sockets for each other lie.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Self, Failure> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let mut last = String::new();
        for base in runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]) {
            let path = base.join(format!("stentor-{}-{:08x}", std::process::id(), fastrand::u32(..)));
            match DirBuilder::new().mode(0o700).create(&path) {
                // The address of a Unix socket has 108 bytes.
                Ok(()) if path.as_os_str().len() < 96 => return Ok(Self(path)),
                Ok(()) => {
                    let _ = std::fs::remove_dir(&path);
                    last = format!("{}: the path is too long for a Unix socket", path.display());
                }
                Err(error) => last = format!("{}: {error}", path.display()),
            }
        }
        Err(Failure::new(format!("no private directory for the workers' sockets (set TMPDIR): {last}")))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
