//! Many upgraded connections behind one epoll, and the judging of what they receive.
//!
//! Connecting is blocking and in lots: on the loopback a connect is done when it returns, and a lot's answers
//! are ready when they are asked for. From then on everything is edge-triggered, as in the servers.
//!
//! Invariants: what a client has received and still has to send are two numbers, since all frames of a sample
//! are alike; `missing` is the sum over all clients and zero exactly when everything due has come.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};

use super::{Failure, PATIENCE, frames, upgrade};

/// Connections that are begun before the first of them is waited for; well below every backlog.
const LOT: usize = 128;
/// Connections from one source address: the default port range has 28 232.
const PER_SOURCE: usize = 20_000;
/// A receive buffer so small that the system takes the least it has.
const NARROW_BYTES: usize = 4096;
const RECEIVE_BYTES: usize = 256 * 1024;
/// Few, so that nobody's answer waits long for others to be read.
const EVENTS_MAX: usize = 64;

/// How closely the received bytes are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Every byte is compared with what is due.
    Nothing,
    /// Only the lengths count: the floor sends any bytes.
    Contents,
}

/// Upgraded connections to one server.
pub struct Fleet {
    epoll: OwnedFd,
    clients: Vec<Client>,
    is_narrow: bool,
    events: Vec<Event>,
    buffer: Vec<u8>,
    trust: Trust,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    /// Of a frame that is sent, and of one that is due.
    outgoing_bytes: usize,
    frame_bytes: usize,
    missing: u64,
}

/// Waits until a client is one of them.
type Enter = fn(&mut TcpStream) -> Result<(), Failure>;

struct Client {
    socket: OwnedFd,
    /// Bytes received in this sample.
    received: u64,
    /// Bytes of this client's frames that its socket buffer has not taken yet.
    unsent: u64,
}

impl Fleet {
    /// Connects and upgrades `count` clients.
    ///
    /// # Errors
    /// When the system refuses a socket or the server an upgrade.
    pub fn connect(server: SocketAddrV4, path: &str, count: usize, trust: Trust) -> Result<Self, Failure> {
        Self::connect_with(server, &frames::request(path), count, trust)
    }

    /// The same with a request of the caller's.
    ///
    /// # Errors
    /// As [`Fleet::connect`].
    pub fn connect_with(
        server: SocketAddrV4,
        request: &[u8],
        count: usize,
        trust: Trust,
    ) -> Result<Self, Failure> {
        let mut fleet = Self::empty(trust)?;
        fleet.grow_with(server, request, count, upgrade::await_upgrade)?;
        Ok(fleet)
    }

    /// The same with more to be said by each before it is one of them: `enter` reads the upgrade, too.
    ///
    /// # Errors
    /// As [`Fleet::connect`], and those of `enter`.
    pub(super) fn connect_by(
        server: SocketAddrV4,
        request: &[u8],
        count: usize,
        enter: Enter,
    ) -> Result<Self, Failure> {
        let mut fleet = Self::empty(Trust::Nothing)?;
        fleet.grow_with(server, request, count, enter)?;
        Ok(fleet)
    }

    /// Clients that take in as little unread as the system allows.
    ///
    /// # Errors
    /// As [`Fleet::connect`].
    pub fn connect_narrow(server: SocketAddrV4, path: &str, count: usize) -> Result<Self, Failure> {
        let mut fleet = Self::empty(Trust::Contents)?;
        fleet.is_narrow = true;
        fleet.grow(server, path, count)?;
        Ok(fleet)
    }

    fn empty(trust: Trust) -> Result<Self, Failure> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            clients: Vec::new(),
            is_narrow: false,
            events: Vec::with_capacity(EVENTS_MAX),
            buffer: vec![0; RECEIVE_BYTES],
            trust,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            outgoing_bytes: 0,
            frame_bytes: 0,
            missing: 0,
        })
    }

    /// Adds `count` clients to those that are there.
    ///
    /// # Errors
    /// As [`Fleet::connect`].
    pub fn grow(&mut self, server: SocketAddrV4, path: &str, count: usize) -> Result<(), Failure> {
        self.grow_with(server, &frames::request(path), count, upgrade::await_upgrade)
    }

    fn grow_with(
        &mut self,
        server: SocketAddrV4,
        request: &[u8],
        count: usize,
        enter: Enter,
    ) -> Result<(), Failure> {
        let end = self.clients.len() + count;
        while self.clients.len() < end {
            let begun = self.clients.len();
            let lot: Vec<TcpStream> = (begun..end.min(begun + LOT))
                .map(|index| connect(server, index / PER_SOURCE, request, self.is_narrow))
                .collect::<io::Result<_>>()?;
            for mut stream in lot {
                enter(&mut stream)?;
                stream.set_nonblocking(true)?;
                let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                let index = EventData::new_u64(self.clients.len() as u64);
                epoll::add(&self.epoll, &stream, index, interest)?;
                self.clients.push(Client { socket: stream.into(), received: 0, unsent: 0 });
            }
        }
        Ok(())
    }

    /// Resets every connection, as fast as that goes.
    ///
    /// # Errors
    /// When the system refuses the option that makes a close a reset.
    pub fn reset(self) -> io::Result<()> {
        for client in &self.clients {
            SockRef::from(&client.socket).set_linger(Some(Duration::ZERO))?;
        }
        drop(self);
        Ok(())
    }

    /// Reads and throws away what has come, from everybody.
    ///
    /// # Errors
    /// When the server has ended a connection.
    pub fn drain(&mut self) -> Result<(), Failure> {
        for (index, client) in self.clients.iter().enumerate() {
            loop {
                match rustix::net::recv(&client.socket, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                    Ok((_, 0)) => return Err(Failure::Closed { client: index }),
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Connections in this fleet.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Starts a sample: from here on messages have `size` bytes, and a client may be given `frames_max` of
    /// them to send at once.
    pub(super) fn begin(&mut self, size: usize, frames_max: usize) {
        self.begin_with(&frames::from_client(size), &frames::from_server(size), frames_max);
    }

    /// The same for messages that are sent and due as these frames.
    pub(super) fn begin_with(&mut self, ours: &[u8], theirs: &[u8], frames_max: usize) {
        self.outgoing_bytes = ours.len();
        self.frame_bytes = theirs.len();
        self.incoming = theirs.repeat(RECEIVE_BYTES / theirs.len() + 2);
        self.outgoing = ours.repeat(frames_max);
        self.missing = 0;
        for client in &mut self.clients {
            (client.received, client.unsent) = (0, 0);
        }
    }

    /// From now on `messages` more are due at each of `clients` connections.
    pub(super) fn expect(&mut self, messages: u64, clients: u64) {
        self.missing += messages * clients * self.frame_bytes as u64;
    }

    /// Whether everything due has come.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Gives a client `messages` more to send, in one write as far as its socket takes them.
    pub(super) fn send(&mut self, client: usize, messages: usize) -> Result<(), Failure> {
        let bytes = messages * self.outgoing_bytes;
        self.clients[client].unsent += bytes as u64;
        self.flush(client)
    }

    /// Waits for events and reads what has come; `heard(self, client, messages)` is told of every read that
    /// completed messages.
    pub(super) fn pump(
        &mut self,
        mut heard: impl FnMut(&mut Self, usize, usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let patience = Timespec::try_from(PATIENCE).expect("seconds fit");
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience)) {
            Ok(0) => return Err(Failure::Lost { bytes: self.missing }),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let (flags, data) = (event.flags, event.data);
            let client = usize::try_from(data.u64()).expect("we registered an index");
            if flags.contains(EventFlags::OUT) {
                self.flush(client)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
                self.receive(client, &mut heard)?;
            }
        }
        self.events = events;
        Ok(())
    }

    /// Ends a sample: every client must have received exactly `messages`.
    pub(super) fn finish(&self, messages: impl Fn(usize) -> u64) -> Result<(), Failure> {
        for (index, client) in self.clients.iter().enumerate() {
            if client.received != messages(index) * self.frame_bytes as u64 {
                return Err(Failure::Wrong { client: index, at_bytes: client.received });
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        client: usize,
        heard: &mut impl FnMut(&mut Self, usize, usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            let socket = &self.clients[client].socket;
            let count = match rustix::net::recv(socket, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Err(Failure::Closed { client }),
                Ok((_, count)) => count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let messages = self.judge(client, count)?;
            if messages > 0 {
                heard(self, client, messages)?;
            }
            if count < RECEIVE_BYTES {
                return Ok(());
            }
        }
    }

    /// Compares what came with what is due, and says how many messages it completed.
    fn judge(&mut self, client: usize, count: usize) -> Result<usize, Failure> {
        let before = self.clients[client].received;
        let wrong = Failure::Wrong { client, at_bytes: before };
        if self.frame_bytes == 0 || count as u64 > self.missing {
            return Err(wrong);
        }
        let frame = self.frame_bytes as u64;
        let offset = usize::try_from(before % frame).expect("less than a frame");
        let due = &self.incoming[offset..offset + count];
        if self.trust == Trust::Nothing && self.buffer[..count] != *due {
            return Err(wrong);
        }
        self.missing -= count as u64;
        self.clients[client].received += count as u64;
        Ok((offset + count) / self.frame_bytes)
    }

    fn flush(&mut self, client: usize) -> Result<(), Failure> {
        let frame = self.outgoing_bytes as u64;
        let client = &mut self.clients[client];
        while client.unsent > 0 {
            // The stream of a client is one frame repeated: what is unsent tells where in it we stand.
            let begun = usize::try_from((frame - client.unsent % frame) % frame).expect("less than a frame");
            let piece =
                (self.outgoing.len() - begun).min(usize::try_from(client.unsent).unwrap_or(usize::MAX));
            let bytes = &self.outgoing[begun..begun + piece];
            match rustix::net::send(&client.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => client.unsent -= count as u64,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Raises this process's soft descriptor limit to the hard one; children inherit it. Returns the limit.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Raising to the hard limit is always allowed; if not, what we have is what we have.
    let reached = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    reached.unwrap_or(u64::MAX)
}

/// Connects from 127.0.0.(2 + source) and sends the request. The port is chosen only at connect, where the
/// kernel can take any that is free *towards this server*, also one that still waits out its last use.
pub(super) fn open(server: SocketAddrV4, source: usize, request: &[u8]) -> io::Result<TcpStream> {
    connect(server, source, request, false)
}

fn connect(server: SocketAddrV4, source: usize, request: &[u8], is_narrow: bool) -> io::Result<TcpStream> {
    let last = u8::try_from(2 + source % 200).expect("at most 201");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    nix::sys::socket::setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
    socket.set_tcp_nodelay(true)?;
    if is_narrow {
        socket.set_recv_buffer_size(NARROW_BYTES)?;
    }
    socket.connect(&SocketAddr::V4(server).into())?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(request)?;
    Ok(stream)
}
