//! `Net` over the operating system: mio's epoll or kqueue, real sockets, the monotonic clock.
//!
//! One registration per socket for its whole life, edge-triggered for both directions: one `epoll_ctl` per
//! connection. mio rounds timeouts up to whole milliseconds; deadlines are ticks of 10 ms, so nothing is lost.
//!
//! Invariant: tokens from `TOKEN_LISTENER` up are listeners, `TOKEN_SIBLINGS` the one of other workers, `TOKEN_SIGNAL` is the
//! signal pipe, all others are the bits of a [`ConnId`].

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{ClockId, clock_gettime};

use super::identity::Identity;
use super::introduction::Introduction;
use super::netstat;
use super::proxy::Proxies;
use super::signals::SignalSource;
use super::socket::{Address, Listener, Queues, listen_tcp, listen_unix};
pub use super::stream::OsSocket;
use super::switchboard::Switchboard;
use super::tls::{Shared, TlsCounts, TlsSocket};
use super::{Net, Peer, Ready};
use crate::base::id::ConnId;
use crate::base::tick::Nanos;

/// Serial `u32::MAX` is never a connection's: a process would have to accept four thousand million first.
const TOKEN_LISTENER: u64 = ConnId { index: 0, serial: u32::MAX }.to_bits();
const TOKEN_SIBLINGS: u64 = TOKEN_SIGNAL - 1;
const TOKEN_SIGNAL: u64 = ConnId::NONE.to_bits();
/// Events taken in one wait: bounds the reading phase of a turn, whatever has piled up.
const EVENTS_MAX: usize = 1024;

/// The operating system.
pub struct OsNet {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    /// Where the other workers of this machine call, and can be called.
    exchange: Option<Switchboard>,
    signals: Option<SignalSource>,
    random: fastrand::Rng,
    /// The permissions of the files of Unix sockets.
    unix_mode: u32,
    /// Other workers listen on the same ports.
    shares_ports: bool,
    /// Of the listeners opened last.
    queues: Queues,
    /// Who must tell for whom it speaks.
    proxies: Proxies,
    /// Connections of proxies, by descriptor.
    pub(super) introductions: HashMap<RawFd, Introduction>,
    identity: Option<Identity>,
    tls: Shared,
}

/// The permissions of the file of a Unix socket if nobody says otherwise: this user's alone.
pub const UNIX_MODE: u32 = 0o600;

impl OsNet {
    /// A poller without listeners.
    ///
    /// # Errors
    /// When the system refuses an epoll instance.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            listeners: Vec::new(),
            exchange: None,
            signals: None,
            random: fastrand::Rng::new(),
            unix_mode: UNIX_MODE,
            shares_ports: false,
            queues: Queues { backlog: 0, send_buffer: None, unsent: None },
            proxies: Proxies::default(),
            introductions: HashMap::new(),
            identity: None,
            tls: Shared::default(),
        })
    }

    /// Gives the files of Unix sockets that are listened on from now on these permissions.
    #[must_use]
    pub fn with_unix_mode(self, unix_mode: u32) -> Self {
        Self { unix_mode, ..self }
    }

    /// Listens, from now on, on ports on which other workers listen, too.
    #[must_use]
    pub fn sharing_ports(self, shares_ports: bool) -> Self {
        Self { shares_ports, ..self }
    }

    /// Has connections of these proxies begin with a [`ProxyHeader`](super::proxy::ProxyHeader).
    #[must_use]
    pub fn with_proxies(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// Listens on `address` and returns the address that was bound (its port, if 0 was asked for).
    ///
    /// # Errors
    /// As `bind` and `listen`; the text names the address.
    pub fn listen(&mut self, address: &Address, queues: Queues) -> io::Result<Address> {
        self.queues = queues;
        let token = Token((TOKEN_LISTENER + self.listeners.len() as u64) as usize);
        let registry = self.poll.registry();
        let (listener, bound) = match address {
            Address::Tcp(wanted) => {
                let mut listener = listen_tcp(*wanted, queues, self.shares_ports)?;
                registry.register(&mut listener, token, Interest::READABLE)?;
                let bound: SocketAddr = listener.local_addr()?;
                (Listener::Tcp(listener), Address::Tcp(bound))
            }
            Address::Unix(path) => {
                let mut listener = listen_unix(path, self.unix_mode, queues.backlog)?;
                registry.register(&mut listener, token, Interest::READABLE)?;
                (Listener::Unix(listener, path.clone()), address.clone())
            }
        };
        self.listeners.push(listener);
        Ok(bound)
    }

    /// Listens on `address` for those who speak TLS, as [`listen`](Self::listen) does for those who do not. They are
    /// shown the certificate of `identity`, which all such listeners share.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn listen_tls(&mut self, address: &Address, queues: Queues) -> io::Result<Address> {
        let bound = self.listen(address, queues)?;
        match self.listeners.pop() {
            Some(Listener::Tcp(listener)) => self.listeners.push(Listener::Tls(listener)),
            Some(other) => self.listeners.push(other),
            None => {}
        }
        Ok(bound)
    }

    /// Can be called by the other workers from now on, as worker `index` of those who meet in `directory`.
    ///
    /// # Errors
    /// As `bind` and `listen`.
    pub fn meet(&mut self, directory: &Path, index: u32) -> io::Result<()> {
        let mut exchange = Switchboard::open(directory, index)?;
        let token = Token(TOKEN_SIBLINGS as usize);
        self.poll.registry().register(exchange.listener(), token, Interest::READABLE)?;
        self.exchange = Some(exchange);
        Ok(())
    }

    fn linked(&self, mut stream: UnixStream, id: ConnId) -> io::Result<OsSocket> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(id.to_bits() as usize), both)?;
        Ok(OsSocket::Unix(stream))
    }

    /// Who we are to those who speak TLS, from now on.
    pub fn identify(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.tls.open();
    }

    /// Has SIGTERM, SIGINT and SIGHUP arrive as [`Ready::Signal`].
    ///
    /// # Errors
    /// When the pipe cannot be opened.
    pub fn watch_signals(&mut self) -> io::Result<()> {
        self.signals = Some(SignalSource::new(self.poll.registry(), Token(TOKEN_SIGNAL as usize))?);
        Ok(())
    }
}

impl Net for OsNet {
    type Socket = OsSocket;

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.tls.begin_turn(ready) { Some(Duration::ZERO) } else { timeout };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let bits = event.token().0 as u64;
            if bits == TOKEN_SIGNAL {
                if let Some(signals) = &mut self.signals {
                    ready.extend(signals.pending().map(Ready::Signal));
                }
            } else if bits == TOKEN_SIBLINGS {
                ready.push(Ready::Sibling);
            } else if bits >= TOKEN_LISTENER {
                ready.push(Ready::Listener((bits - TOKEN_LISTENER) as usize));
            } else {
                let closed = event.is_read_closed() || event.is_error();
                ready.push(Ready::Connection {
                    id: ConnId::from_bits(bits),
                    readable: event.is_readable() || closed,
                    writable: event.is_writable(),
                    closed,
                });
            }
        }
        Ok(())
    }

    fn now(&self) -> Nanos {
        let time = clock_gettime(ClockId::Monotonic);
        time.tv_sec as Nanos * 1_000_000_000 + time.tv_nsec as Nanos
    }

    fn entropy(&mut self) -> u64 {
        self.random.u64(..)
    }

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn accept(&mut self, listener: usize, id: ConnId) -> io::Result<OsSocket> {
        let Some(listener) = self.listeners.get(listener) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let token = Token(id.to_bits() as usize);
        let both = Interest::READABLE | Interest::WRITABLE;
        let (socket, is_proxy) = match listener {
            Listener::Tcp(listener) => {
                let (mut stream, from) = listener.accept()?;
                self.poll.registry().register(&mut stream, token, both)?;
                (OsSocket::Tcp(stream), self.proxies.has(from.ip()))
            }
            Listener::Tls(listener) => {
                let identity = self.identity.as_ref().ok_or(io::ErrorKind::NotConnected)?;
                let (mut stream, from) = listener.accept()?;
                self.poll.registry().register(&mut stream, token, both)?;
                let socket = TlsSocket::new(stream, identity.config(), id)?;
                (OsSocket::Tls(Box::new(socket)), self.proxies.has(from.ip()))
            }
            Listener::Resting { .. } => return Err(io::ErrorKind::WouldBlock.into()),
            Listener::Unix(listener, _) => {
                let (mut stream, _) = listener.accept()?;
                self.poll.registry().register(&mut stream, token, both)?;
                (OsSocket::Unix(stream), self.proxies.has_unix())
            }
        };
        if is_proxy {
            self.introductions.insert(socket.descriptor(), Introduction::Arriving(Box::default()));
        }
        Ok(socket)
    }

    fn dial(&mut self, sibling: u32, id: ConnId) -> io::Result<OsSocket> {
        let exchange = self.exchange.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        self.linked(exchange.dial(sibling)?, id)
    }

    fn pick_up(&mut self, id: ConnId) -> io::Result<OsSocket> {
        let exchange = self.exchange.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
        self.linked(exchange.pick_up()?, id)
    }

    fn peer(&self, socket: &OsSocket) -> Peer {
        match self.introductions.get(&socket.descriptor()) {
            Some(Introduction::Arriving(_)) => Peer::Awaited,
            Some(Introduction::Made(peer)) => *peer,
            None => socket.peer(),
        }
    }

    #[inline]
    fn recv(&mut self, socket: &mut OsSocket, into: &mut [u8]) -> io::Result<usize> {
        if !self.introductions.is_empty() && !self.is_introduced(socket)? {
            return Ok(0);
        }
        match socket {
            OsSocket::Tcp(stream) => stream.read(into),
            OsSocket::Unix(stream) => stream.read(into),
            OsSocket::Tls(tls) => self.tls.recv(tls, into),
        }
    }

    #[inline]
    fn send(&mut self, socket: &mut OsSocket, bytes: &[u8]) -> io::Result<usize> {
        match socket {
            OsSocket::Tcp(stream) => stream.write(bytes),
            OsSocket::Unix(stream) => stream.write(bytes),
            OsSocket::Tls(tls) => self.tls.send(tls, &[io::IoSlice::new(bytes)]),
        }
    }

    fn send_vectored(&mut self, socket: &mut OsSocket, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match socket {
            OsSocket::Tcp(stream) => stream.write_vectored(slices),
            OsSocket::Unix(stream) => stream.write_vectored(slices),
            OsSocket::Tls(tls) => self.tls.send(tls, slices),
        }
    }

    #[inline]
    fn has_more(&self, socket: &OsSocket) -> bool {
        match socket {
            OsSocket::Tcp(_) | OsSocket::Unix(_) => false,
            OsSocket::Tls(tls) => tls.has_more(),
        }
    }

    fn has_heard(&self, socket: &OsSocket) -> bool {
        match socket {
            OsSocket::Tcp(_) | OsSocket::Unix(_) => false,
            OsSocket::Tls(tls) => tls.has_heard(),
        }
    }

    #[cfg(target_os = "linux")]
    fn widen(&mut self, socket: &mut OsSocket) {
        if self.queues.unsent.is_some()
            && let Some(stream) = socket.tcp()
        {
            // Fails when the peer is already gone, which the next write will tell.
            let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(u32::MAX);
        }
    }

    #[inline]
    fn flush(&mut self, socket: &mut OsSocket) -> io::Result<()> {
        match socket {
            OsSocket::Tcp(_) | OsSocket::Unix(_) => Ok(()),
            OsSocket::Tls(tls) => tls.flush(),
        }
    }

    fn finish(&mut self, socket: &mut OsSocket) {
        // Fails when the peer is already gone, which the next read will tell.
        let _ = match socket {
            OsSocket::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            OsSocket::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
            OsSocket::Tls(tls) => tls.finish(),
        };
    }

    fn close(&mut self, mut socket: OsSocket) {
        if !self.introductions.is_empty() {
            self.introductions.remove(&socket.descriptor());
        }
        if let OsSocket::Tls(tls) = &mut socket {
            self.tls.close(tls);
        }
        drop(socket);
    }

    fn reload(&mut self) -> Result<Option<String>, String> {
        self.identity.as_mut().map(Identity::reload).transpose()
    }

    fn rest(&mut self, is_resting: bool) -> io::Result<usize> {
        if !self.shares_ports {
            return Ok(0);
        }
        let mut changed = 0;
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            let (queues, token) = (self.queues, Token((TOKEN_LISTENER + index as u64) as usize));
            changed += usize::from(listener.rest(is_resting, queues, token, self.poll.registry())?);
        }
        Ok(changed)
    }

    fn tls_counts(&self) -> Option<&TlsCounts> {
        self.identity.as_ref().map(|_| self.tls.counts())
    }

    fn listen_overflows(&self) -> Option<(u64, u64)> {
        netstat::listen_overflows()
    }

    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            if let Listener::Unix(_, path) = listener {
                // A file that is gone already is what we want.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(net: &mut OsNet, mut wanted: impl FnMut(&Ready) -> bool) -> Ready {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let mut ready = Vec::new();
        while std::time::Instant::now() < deadline {
            net.wait(&mut ready, Some(Duration::from_millis(100))).unwrap();
            if let Some(found) = ready.drain(..).find(|event| wanted(event)) {
                return found;
            }
        }
        panic!("no such event within five seconds");
    }

    const SIXTEEN: Queues = Queues { backlog: 16, send_buffer: None, unsent: None };

    #[test]
    fn accepts_reads_writes_and_sees_the_end() {
        let mut net = OsNet::new().unwrap();
        let Address::Tcp(address) = net.listen(&"127.0.0.1:0".parse().unwrap(), SIXTEEN).unwrap() else {
            panic!()
        };
        let mut peer = std::net::TcpStream::connect(address).unwrap();
        wait_for(&mut net, |event| *event == Ready::Listener(0));
        let id = ConnId { index: 3, serial: 9 };
        let mut socket = net.accept(0, id).unwrap();
        assert_eq!(net.accept(0, id).unwrap_err().kind(), io::ErrorKind::WouldBlock);

        peer.write_all(b"hello").unwrap();
        wait_for(
            &mut net,
            |event| matches!(event, Ready::Connection { id: of, readable: true, .. } if *of == id),
        );
        let mut bytes = [0; 16];
        assert_eq!(net.recv(&mut socket, &mut bytes).unwrap(), 5);
        assert_eq!(net.send(&mut socket, b"good day").unwrap(), 8);
        peer.read_exact(&mut bytes[..8]).unwrap();
        assert_eq!(&bytes[..8], b"good day");

        peer.shutdown(std::net::Shutdown::Write).unwrap();
        wait_for(&mut net, |event| matches!(event, Ready::Connection { closed: true, .. }));
        assert_eq!(net.recv(&mut socket, &mut bytes).unwrap(), 0);
    }

    #[test]
    fn a_unix_socket_that_was_left_behind_is_replaced_and_a_live_one_is_not() {
        let path = std::env::temp_dir().join(format!("stentor-test-{}.sock", std::process::id()));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let mut net = OsNet::new().unwrap();
        let address = Address::Unix(path.clone());
        net.listen(&address, SIXTEEN).unwrap();
        assert_eq!(
            OsNet::new().unwrap().listen(&address, SIXTEEN).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        net.stop_listening();
        assert!(!path.exists());
    }

    #[test]
    fn a_share_of_a_port_is_closed_and_opened_again_and_the_other_serves_meanwhile() {
        let share = || OsNet::new().unwrap().sharing_ports(true);
        let (mut first, mut second) = (share(), share());
        let Address::Tcp(at) = first.listen(&"127.0.0.1:0".parse().unwrap(), SIXTEEN).unwrap() else {
            panic!()
        };
        second.listen(&Address::Tcp(at), SIXTEEN).unwrap();
        assert_eq!(first.rest(true).unwrap(), 1);
        for n in 0..8 {
            let _peer = std::net::TcpStream::connect(at).unwrap();
            wait_for(&mut second, |event| *event == Ready::Listener(0));
            second.accept(0, ConnId { index: n, serial: n }).unwrap();
        }
        assert_eq!((first.rest(false).unwrap(), first.rest(false).unwrap()), (1, 0));
        drop(second);
        let _peer = std::net::TcpStream::connect(at).unwrap();
        wait_for(&mut first, |event| *event == Ready::Listener(0));
        first.accept(0, ConnId { index: 0, serial: 0 }).unwrap();
    }

    #[test]
    fn time_goes_forward() {
        let net = OsNet::new().unwrap();
        let before = net.now();
        assert!(net.now() >= before);
        assert!(before > 0);
    }
}
