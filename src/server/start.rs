//! Starting and running a server: limits raised, addresses bound, one line that says so, turns until the end.
//!
//! Invariant: nothing is accepted before every address is bound; a failure to bind leaves nothing behind.

use std::fmt;
use std::io::{self, Write as _};

use super::admission::Gate;
use super::config::Config;
use super::limits::DESCRIPTORS_RESERVED;
use super::supervisor::{BOUND, LINKED};
use super::worker::Worker;
use crate::net::Net as _;
use crate::net::identity::{Certificate, Identity, TlsSettings};
use crate::net::limits::{Descriptors, ROOM_UNASKED};
use crate::net::os::OsNet;
use crate::net::socket::Address;
use crate::service::Service;
use crate::service::builtin::Builtin;

/// A server over real sockets, bound and ready to run.
pub struct Server<S: Service> {
    worker: Worker<OsNet, S>,
    addresses: Vec<Address>,
    tls_addresses: Vec<Address>,
    /// Of a certificate that nobody has seen before.
    fingerprint: Option<String>,
    descriptors: Descriptors,
    connections_max: usize,
}

/// Puts a server together.
#[derive(Debug, Clone)]
pub struct Builder<S> {
    config: Config,
    service: S,
    has_own_addresses: bool,
}

/// Why a server could not start or had to stop: one line for a person.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub(super) const fn new(line: String) -> Self {
        Self(line)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl Server<Builtin> {
    /// A server with the default settings and the built-in services.
    #[must_use]
    pub fn builder() -> Builder<Builtin> {
        Self::with_config(Config::default())
    }

    /// A server with these settings and the built-in services.
    #[must_use]
    pub fn with_config(config: Config) -> Builder<Builtin> {
        let service = Builtin::new(config.service, config.subprotocols.clone());
        let service = match &config.place {
            Some(place) => service.numbered(place.index, place.count),
            None => service,
        };
        let service = service.with_engine(config.engine.config());
        Builder { config, service, has_own_addresses: false }
    }
}

impl<S: Service> Builder<S> {
    /// Listens on `address`, beside those given before.
    #[must_use]
    pub fn listen(mut self, address: Address) -> Self {
        if !std::mem::replace(&mut self.has_own_addresses, true) {
            self.config.listen.clear();
        }
        self.config.listen.push(address);
        self
    }

    /// Listens with TLS as well.
    #[must_use]
    pub fn tls(mut self, settings: TlsSettings) -> Self {
        self.config.tls = Some(settings);
        self
    }

    /// Changes the settings.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Serves `service` instead.
    #[must_use]
    pub fn service<T: Service>(self, service: T) -> Builder<T> {
        Builder { config: self.config, service, has_own_addresses: self.has_own_addresses }
    }

    /// Binds every address.
    ///
    /// # Errors
    /// Settings that cannot work, an address that cannot be bound.
    pub fn bind(self) -> Result<Server<S>, Failure> {
        let config = self.config;
        config.check().map_err(Failure)?;
        let descriptors = Descriptors::raise();
        let room = descriptors.soft.saturating_sub(DESCRIPTORS_RESERVED).max(1);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(u32::MAX as usize / 2);
        let connections_max = config.connections_max.unwrap_or(room);
        if connections_max > room {
            return Err(Failure(format!(
                "{connections_max} connections need {} file descriptors, this process may open {} (soft {}, hard {}): \
                 raise the limit (ulimit -n, LimitNOFILE=) or lower --connections-max to {room}",
                connections_max as u64 + DESCRIPTORS_RESERVED,
                descriptors.soft,
                descriptors.soft,
                descriptors.hard,
            )));
        }
        let failed = |error: io::Error| Failure(format!("cannot wait for sockets: {error}"));
        let client = config.engine.read_client()?;
        let mut gate = Gate::new(&config.admission);
        gate.read_token_file().map_err(Failure)?;
        let net = OsNet::new().map_err(failed)?.with_unix_mode(config.admission.unix_mode);
        let mut net =
            net.with_proxies(config.admission.proxies.clone()).sharing_ports(config.place.is_some());
        let identity = config.tls.clone().map(Identity::load).transpose().map_err(Failure)?;
        net.watch_signals().map_err(failed)?;
        let (addresses, tls_addresses) = match listen(&mut net, &config) {
            Ok(bound) => bound,
            Err(failure) => {
                // The file of a Unix socket that was bound before would stay behind.
                net.stop_listening();
                return Err(failure);
            }
        };
        let tls = config.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
        // Of several workers, one says it for all.
        if config.place.as_ref().is_none_or(|place| place.index == 0) {
            for warning in config.admission.warnings(&config.listen, tls) {
                tracing::warn!("{warning}");
            }
        }
        if let Some(place) = &config.place {
            net.meet(&place.directory, place.index).map_err(|error| {
                Failure(format!("cannot be called in {}: {error}", place.directory.display()))
            })?;
        }
        let is_made_up =
            matches!(&config.tls, Some(tls) if matches!(tls.certificate, Certificate::SelfSigned { .. }));
        let fingerprint =
            identity.as_ref().filter(|_| is_made_up).map(|identity| identity.fingerprint().to_owned());
        if let Some(identity) = identity {
            net.identify(identity);
        }
        let mut worker = Worker::new(net, self.service, config, connections_max);
        worker.gate = gate;
        worker.client = client;
        Ok(Server { worker, addresses, tls_addresses, fingerprint, descriptors, connections_max })
    }

    /// Binds every address and runs until told to stop.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and when the system refuses to wait for sockets.
    pub fn run(self) -> Result<(), Failure> {
        self.bind()?.run()
    }
}

impl<S: Service> Server<S> {
    /// Where it listens, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where it listens for TLS, likewise.
    #[must_use]
    pub fn tls_addresses(&self) -> &[Address] {
        &self.tls_addresses
    }

    /// One line: version, where it listens, how many it takes.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut addresses: Vec<String> = self.addresses.iter().map(Address::to_string).collect();
        addresses.extend(self.tls_addresses.iter().map(|address| format!("wss://{address}")));
        let self_signed = self.fingerprint.iter().map(|print| format!("; self-signed, SHA-256 {print}"));
        format!(
            "stentor {} listening on {} (connections {}, descriptors {} of {}{})",
            env!("CARGO_PKG_VERSION"),
            addresses.join(", "),
            self.connections_max,
            self.descriptors.soft,
            self.descriptors.hard,
            self_signed.collect::<String>(),
        )
    }

    /// Runs until told to stop and everybody has gone. A second signal ends it at once, with a failure.
    ///
    /// # Errors
    /// When the system refuses to wait for sockets, or the process was told twice to stop.
    pub fn run(mut self) -> Result<(), Failure> {
        let mut is_joining = self.worker.bus.is_some();
        if is_joining {
            tell_supervisor(BOUND);
        }
        loop {
            let turn =
                self.worker.turn().map_err(|error| Failure(format!("cannot wait for sockets: {error}")))?;
            if is_joining && !self.worker.is_joining() {
                is_joining = false;
                tell_supervisor(LINKED);
            }
            if turn.is_forced {
                return Err(Failure("told twice to stop: ending at once".to_owned()));
            }
            if turn.is_over {
                tracing::info!("everybody has gone");
                return Ok(());
            }
        }
    }
}

/// For the environment of a process that serves: how many bytes glibc lets lie free at the end of its heap, its own default. That it is
/// said at all keeps it from growing with what a burst takes (mallopt(3), `M_MMAP_THRESHOLD`).
pub const KEEP_FREE: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "131072");

/// Raises the limit of descriptors as far as the process may, and has the system make room for as many as so many connections
/// need, so that it need not while they come ([`Descriptors::make_room`]). A program calls it before it has a second thread.
pub fn make_room(connections_max: Option<usize>) {
    let wanted = connections_max.map_or(ROOM_UNASKED, |max| max as u64 + DESCRIPTORS_RESERVED);
    Descriptors::raise().make_room(wanted);
}

/// Tells the supervisor how far this worker has come. One that does not listen has gone, and takes us along.
fn tell_supervisor(word: &[u8]) {
    let mut stdout = io::stdout();
    let _ = stdout.write_all(word).and_then(|()| stdout.flush());
}

/// Binds every address: those without TLS, and those with.
fn listen(net: &mut OsNet, config: &Config) -> Result<(Vec<Address>, Vec<Address>), Failure> {
    let (mut plain, mut secure) = (Vec::new(), Vec::new());
    for address in &config.listen {
        let bound = net.listen(address, config.queues);
        plain.push(bound.map_err(|error| Failure(cannot_listen("--listen", address, &error)))?);
    }
    for address in config.tls.iter().flat_map(|tls| &tls.listen) {
        let bound = net.listen_tls(address, config.queues);
        secure.push(bound.map_err(|error| Failure(cannot_listen("--tls-listen", address, &error)))?);
    }
    Ok((plain, secure))
}

pub(super) fn cannot_listen(flag: &str, address: &Address, error: &io::Error) -> String {
    let elsewhere = format!("choose another with {flag}");
    let taken = format!("something listens there already; {elsewhere}");
    let hints = [
        (io::ErrorKind::AddrInUse, taken.as_str()),
        (io::ErrorKind::AddrNotAvailable, "this machine has no such address"),
        (io::ErrorKind::PermissionDenied, "ports below 1024 and foreign paths need a privilege"),
    ];
    let known = hints.iter().find(|(kind, _)| *kind == error.kind());
    let hint = known.map_or(elsewhere.as_str(), |(_, hint)| hint);
    format!("cannot listen on {address}: {error} ({hint})")
}
