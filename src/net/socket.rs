//! Addresses to listen on, and listening sockets with the options a broadcast server wants.
//!
//! Options are set once on the listener: on Linux an accepted socket inherits `TCP_NODELAY`, which saves a
//! system call per connection.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Where to listen: `127.0.0.1:9001`, `[::1]:9001`, `localhost:9001` or `unix:/run/stentor.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address; port 0 has the system choose one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("unix: wants a path, as in unix:/run/stentor.sock".to_owned()),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        let wanted = "an address is IP:PORT, [IPv6]:PORT, NAME:PORT or unix:PATH, as in 127.0.0.1:9001";
        match text.to_socket_addrs() {
            Ok(mut found) => found.next().map(Self::Tcp).ok_or_else(|| format!("`{text}`: no such host")),
            Err(error) => Err(format!("`{text}`: {error}; {wanted}")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
    /// TCP, for those who speak TLS.
    Tls(TcpListener),
    /// TCP, closed for now: others listen there.
    Resting {
        address: SocketAddr,
        queues: Queues,
        is_tls: bool,
    },
}

impl Listener {
    /// Closes a listener whose port others share, or opens it again; says whether there was something to do.
    pub(super) fn rest(
        &mut self,
        is_resting: bool,
        queues: Queues,
        token: Token,
        registry: &Registry,
    ) -> io::Result<bool> {
        match self {
            Self::Tcp(open) | Self::Tls(open) if is_resting => {
                let (address, is_tls) = (open.local_addr()?, matches!(self, Self::Tls(_)));
                *self = Self::Resting { address, queues, is_tls };
                Ok(true)
            }
            Self::Resting { address, queues, is_tls } if !is_resting => {
                let mut open = listen_tcp(*address, *queues, true)?;
                registry.register(&mut open, token, Interest::READABLE)?;
                *self = if *is_tls { Self::Tls(open) } else { Self::Tcp(open) };
                Ok(true)
            }
            Self::Tcp(_) | Self::Tls(_) | Self::Unix(..) | Self::Resting { .. } => Ok(false),
        }
    }
}

/// What the system may keep for a TCP listener and its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Connections that may wait to be accepted (the system caps it at `net.core.somaxconn`).
    pub backlog: i32,
    /// What was sent to one peer and not acknowledged, in bytes (the system doubles it for its own, caps it at
    /// `net.core.wmem_max`, and has a least). `None`: as much as it finds useful, up to the last of `net.ipv4.tcp_wmem`.
    pub send_buffer: Option<usize>,
    /// What was given to the system for one peer and has not been sent, in bytes (`TCP_NOTSENT_LOWAT`, on Linux): beyond, it takes
    /// nothing more. What is on its way does not count, so a peer that is far away is not slowed down. `None`: as much as its
    /// send buffer has room for, or `net.ipv4.tcp_notsent_lowat` says.
    pub unsent: Option<u32>,
}

impl Queues {
    /// The least and the most that the bounds can be set to, in bytes.
    const BYTES: RangeInclusive<usize> = 4 << 10..=1 << 30;

    /// Refuses bounds that cannot work.
    ///
    /// # Errors
    /// One line that says what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.backlog < 1 {
            return Err("--backlog is at least 1".to_owned());
        }
        if self.send_buffer.is_some_and(|bytes| !Self::BYTES.contains(&bytes)) {
            return Err("--send-buffer is from 4ki to 1gi; leave it out and the system decides".to_owned());
        }
        if self.unsent.is_some_and(|bytes| !Self::BYTES.contains(&(bytes as usize))) {
            return Err("--unsent-max is from 4ki to 1gi; with 0 the system decides".to_owned());
        }
        Ok(())
    }
}

/// A TCP listener on `address`, whose connections inherit its queues.
///
/// `is_shared`: other processes of this user may listen there, too, and the kernel deals newcomers out (`SO_REUSEPORT`).
pub(super) fn listen_tcp(address: SocketAddr, queues: Queues, is_shared: bool) -> io::Result<TcpListener> {
    let socket = bind_tcp(address, is_shared)?;
    if let Some(bytes) = queues.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(bytes) = queues.unsent {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    socket.listen(queues.backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A socket that keeps the port of `address` for processes that share it, and never listens; with the port that it is, if 0 was
/// asked for.
///
/// # Errors
/// As `bind`; also where somebody else listens who would share.
pub fn keep_port(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let unresolved = || io::Error::other("the socket has no address");
    // Alone first: a socket that shares would be let in beside a foreign server that does.
    let alone = bind_tcp(address, false)?;
    let at = alone.local_addr()?.as_socket().ok_or_else(unresolved)?;
    drop(alone);
    Ok((bind_tcp(at, true)?, at))
}

fn bind_tcp(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // [::]:9001 and 0.0.0.0:9001 can then both be listened on.
        socket.set_only_v6(true)?;
    }
    // A restart need not wait for the TIME_WAIT of the last life.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A Unix listener at `path` with the permissions `mode`. A socket file that a dead process left behind is replaced; one
/// that answers is not.
pub(super) fn listen_unix(path: &Path, mode: u32, backlog: i32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        // Without blocking: where the queue of a live one is full, the answer is that it is, and not the queue's end.
        let caller = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        caller.set_nonblocking(true)?;
        let answer = caller.connect(&address).err().map(|error| error.kind());
        if !is_socket || answer != Some(io::ErrorKind::ConnectionRefused) {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket.bind(&address)?;
    }
    // Nobody can connect before `listen`: when the first one can, the permissions are what they shall be.
    let listening =
        std::fs::set_permissions(path, Permissions::from_mode(mode)).and_then(|()| socket.listen(backlog));
    if let Err(error) = listening {
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(UnixListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        for text in ["127.0.0.1:9001", "[::1]:80", "unix:/tmp/a b.sock"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        assert!(matches!("localhost:1".parse(), Ok(Address::Tcp(_))));
    }

    #[test]
    fn a_wrong_address_is_told_what_would_be_right() {
        for text in ["", "9001", "127.0.0.1", "127.0.0.1:99999", "unix:"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains("9001") || error.contains("stentor.sock"), "{error}");
        }
    }

    #[test]
    fn a_unix_socket_whose_queue_is_full_is_a_live_one_and_keeps_nobody_waiting() {
        let path = std::env::temp_dir().join(format!("stentor-test-full-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let (busy, at) = (socket(), SockAddr::unix(&path).unwrap());
        busy.bind(&at).unwrap();
        busy.listen(0).unwrap();
        let mut waiting = Vec::new();
        loop {
            let caller = socket();
            caller.set_nonblocking(true).unwrap();
            match caller.connect(&at) {
                Ok(()) => waiting.push(caller),
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        let (told, answer) = std::sync::mpsc::channel();
        let wanted = path.clone();
        std::thread::spawn(move || told.send(listen_unix(&wanted, 0o600, 16).unwrap_err().kind()));
        let patience = std::time::Duration::from_secs(20);
        assert_eq!(answer.recv_timeout(patience), Ok(io::ErrorKind::AddrInUse));
        std::fs::remove_file(path).unwrap();
    }
}
