//! The floor: one epoll loop that moves as many bytes as a WebSocket server would, and knows no protocol.
//!
//! It shows what one thread and the kernel take for the same sends and receives, so that everything above it
//! is the price of the server's own work. Nothing is parsed beyond the length of the very first frame, nothing
//! is unmasked, nothing is checked: which bytes must go out is a function of how many came in.
//!
//! Invariants: a connection costs twelve bytes; subscribers are walked in accept order; what a full socket
//! buffer refuses is only counted (`owed`), since the bytes themselves do not matter.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::driver::frames;

/// How a publication leaves for its subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departures {
    /// One `send` per subscriber and message: what a server without coalescing cannot go below.
    Send,
    /// One `send` per subscriber and burst: what a server with coalescing cannot go below.
    Batch,
}

/// Big enough for a 16 KiB message at once; a megabyte takes a few reads. Half of it doubles the cost of those.
const RECEIVE_BYTES: usize = 512 * 1024;
/// The most connections waiting to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
const EVENTS_MAX: usize = 1024;
const LISTENER: u64 = u64::MAX;

/// What a new connection is watched for. Writability is added by the first send that is refused: most never
/// are, and a socket that is writable from the start would wake us for nothing.
const HEARING: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// Serves on 127.0.0.1 until killed; says on stderr where. Port 0 takes a free one. With a `ping_interval` everybody on
/// `/broadcast` is sent a ping in each, and is heard no further.
///
/// # Errors
/// What the system refused: the address, a descriptor, memory.
pub fn serve(departures: Departures, port: u16, ping_interval: Option<Duration>) -> io::Result<Infallible> {
    let mut floor = Floor::bind(departures, port)?;
    let mut pings = ping_interval.map(Pings::new);
    floor.is_pinging = pings.is_some();
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        let patience = pings.as_ref().map(|pings| pings.due.saturating_duration_since(Instant::now()));
        let patience = patience.map(|left| Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() });
        match epoll::wait(&floor.epoll, spare_capacity(&mut events), patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            floor.handle(event)?;
        }
        if let Some(pings) = &mut pings {
            pings.send(&mut floor);
        }
    }
}

/// Whose turn it is to be pinged: all in accept order, in as many steps as are in an interval.
struct Pings {
    steps: usize,
    due: Instant,
    next: usize,
    /// How many were there a step ago: who has come since may still be reading the answer to its handshake.
    known: usize,
}

impl Pings {
    /// As often as the server that is judged, which sends the pings of a slot together.
    const STEP: Duration = Duration::from_millis(50);

    fn new(interval: Duration) -> Self {
        let steps = interval.as_nanos().div_ceil(Self::STEP.as_nanos()).max(1);
        Self {
            steps: usize::try_from(steps).unwrap_or(usize::MAX),
            due: Instant::now() + Self::STEP,
            next: 0,
            known: 0,
        }
    }

    fn send(&mut self, floor: &mut Floor) {
        if Instant::now() < self.due {
            return;
        }
        self.due += Self::STEP;
        let all = std::mem::replace(&mut self.known, floor.conns.len());
        for _ in 0..all.div_ceil(self.steps) {
            let index = self.next % all;
            self.next = index + 1;
            let conn = &mut floor.conns[index];
            if conn.stage == Stage::Broadcast
                && let Some(socket) = &conn.socket
                && rustix::net::send(socket, &frames::PING, SendFlags::NOSIGNAL).is_err()
            {
                floor.close(index);
            }
        }
    }
}

/// What a connection is there for, told by the first letters of the path it asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    Echo,
    Broadcast,
}

struct Conn {
    socket: Option<OwnedFd>,
    /// Bytes received of the frame that is under way; while asking: of the request.
    received: u32,
    /// Bytes that a full socket buffer refused.
    owed: u32,
    stage: Stage,
}

struct Floor {
    departures: Departures,
    epoll: OwnedFd,
    listener: OwnedFd,
    conns: Vec<Conn>,
    free: Vec<u32>,
    buffer: Vec<u8>,
    /// Length of a client's frame: all frames of one experiment are alike, so the first one tells.
    frame_bytes: u32,
    is_pinging: bool,
}

impl Floor {
    fn bind(departures: Departures, port: u16) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        // Accepted sockets inherit it: one system call for all instead of one each.
        sockopt::set_tcp_nodelay(&listener, true)?;
        rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        rustix::net::listen(&listener, BACKLOG)?;
        let address = SocketAddrV4::try_from(rustix::net::getsockname(&listener)?)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        eprintln!("floor: listening on {address}");
        let buffer = vec![0; RECEIVE_BYTES];
        Ok(Self {
            departures,
            epoll,
            listener,
            conns: Vec::new(),
            free: Vec::new(),
            buffer,
            frame_bytes: 0,
            is_pinging: false,
        })
    }

    fn handle(&mut self, event: Event) -> io::Result<()> {
        let (flags, data) = (event.flags, event.data);
        let data = data.u64();
        if data == LISTENER {
            return self.accept();
        }
        let index = usize::try_from(data).expect("we registered an index");
        if flags.contains(EventFlags::OUT) && self.conns[index].owed > 0 {
            self.pay(index);
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            self.receive(index);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let index = self.free.pop().unwrap_or_else(|| {
                self.conns.push(Conn { socket: None, received: 0, owed: 0, stage: Stage::Asking });
                u32::try_from(self.conns.len() - 1).expect("descriptors are fewer")
            });
            epoll::add(&self.epoll, &socket, EventData::new_u64(u64::from(index)), HEARING)?;
            self.conns[index as usize] =
                Conn { socket: Some(socket), received: 0, owed: 0, stage: Stage::Asking };
        }
    }

    /// Reads until the socket is drained; a read shorter than the buffer has drained it.
    fn receive(&mut self, index: usize) {
        loop {
            let Some(socket) = &self.conns[index].socket else { return };
            match rustix::net::recv(socket, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, 0)) => return self.close(index),
                Ok((_, count)) => {
                    match self.conns[index].stage {
                        Stage::Asking => self.answer(index, count),
                        Stage::Echo => self.echo(index, count),
                        Stage::Broadcast if self.is_pinging => {}
                        Stage::Broadcast => self.broadcast(index, count),
                    }
                    if count < self.buffer.len() {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => return self.close(index),
            }
        }
    }

    /// The same 101 for everybody: the driver always sends the same key. Its request comes in one piece.
    fn answer(&mut self, index: usize, count: usize) {
        if !self.buffer[..count].ends_with(b"\r\n\r\n") {
            return self.close(index);
        }
        let echo = self.buffer[..count].starts_with(b"GET /echo");
        let conn = &mut self.conns[index];
        conn.stage = if echo { Stage::Echo } else { Stage::Broadcast };
        if let Some(socket) = &conn.socket
            && rustix::net::send(socket, frames::RESPONSE, SendFlags::NOSIGNAL).is_err()
        {
            self.close(index);
        }
    }

    fn echo(&mut self, index: usize, count: usize) {
        let Some((before, after)) = self.advance(index, count) else { return self.close(index) };
        let (bytes, shorter) = (u64::from(self.frame_bytes), u64::from(self.frame_bytes - 4));
        // How far the answer may be when so much has come: each frame is four bytes (the key) shorter.
        let answered = |position: u64| position / bytes * shorter + (position % bytes).min(shorter);
        let due = answered(after) - answered(before);
        self.conns[index].owed += u32::try_from(due).expect("a driver has few bytes in flight");
        self.pay(index);
    }

    fn broadcast(&mut self, index: usize, count: usize) {
        let Some((_, after)) = self.advance(index, count) else { return self.close(index) };
        let frames = u32::try_from(after / u64::from(self.frame_bytes)).expect("one read holds few frames");
        let (sends, bytes) = match self.departures {
            Departures::Send => (frames, self.frame_bytes - 4),
            Departures::Batch => (frames.min(1), frames * (self.frame_bytes - 4)),
        };
        for _ in 0..sends {
            for subscriber in 0..self.conns.len() {
                if self.conns[subscriber].stage == Stage::Broadcast {
                    self.conns[subscriber].owed += bytes;
                    self.pay(subscriber);
                }
            }
        }
    }

    /// Where this read began and ended, counted from the start of the frame it began in. `None` if the very
    /// first frame came with half a header.
    fn advance(&mut self, index: usize, count: usize) -> Option<(u64, u64)> {
        if self.conns[index].received == 0 {
            self.frame_bytes = frames::client_frame_bytes(&self.buffer[..count])?;
        }
        let conn = &mut self.conns[index];
        let before = u64::from(conn.received);
        let after = before + count as u64;
        conn.received = u32::try_from(after % u64::from(self.frame_bytes)).expect("less than a frame");
        Some((before, after))
    }

    /// Sends what is owed, as far as the socket takes it; its next writable edge brings us back.
    fn pay(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        let Some(socket) = &conn.socket else { return };
        while conn.owed > 0 {
            let piece = &self.buffer[..(conn.owed as usize).min(RECEIVE_BYTES)];
            match rustix::net::send(socket, piece, SendFlags::NOSIGNAL) {
                Ok(count) => conn.owed -= u32::try_from(count).expect("no more than asked"),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let data = EventData::new_u64(index as u64);
                    if epoll::modify(&self.epoll, socket, data, HEARING | EventFlags::OUT).is_err() {
                        self.close(index);
                    }
                    return;
                }
                Err(_) => return self.close(index),
            }
        }
    }

    fn close(&mut self, index: usize) {
        if self.conns[index].socket.take().is_some() {
            self.conns[index].stage = Stage::Asking;
            self.free.push(u32::try_from(index).expect("descriptors are fewer"));
        }
    }
}
