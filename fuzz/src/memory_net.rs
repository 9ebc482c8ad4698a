//! A network in memory: the driver writes, reads, ends and lets time pass; the server sees the [`Net`] trait.
//!
//! Unlike the simulator's network nothing here is drawn: what happens follows from the driver's calls alone, in the
//! order of the calls, which is what a fuzzer needs to learn from one input for the next.
//!
//! Invariants: as the trait has them: readiness is reported once when it begins; a short `recv` has drained the
//! line, a short `send` has filled it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use stentor::base::id::ConnId;
use stentor::base::tick::{Nanos, SECOND};
use stentor::net::{Net, Peer, Ready, Signal};

/// What a wait costs, so that time passes in a loop that never sleeps.
const WAIT: Nanos = 1_000;

/// One connection, named by the order of connecting.
#[derive(Debug)]
pub struct Line {
    /// Everything that the server wrote.
    pub said: Vec<u8>,
    /// Bytes that the peer has not read.
    pub unread: usize,
    /// How many of these there may be.
    pub room: usize,
    /// The server has ended its side.
    pub finished: bool,
    /// The server has closed the socket.
    pub closed: bool,
    id: Option<ConnId>,
    coming: VecDeque<u8>,
    ended: bool,
    reset: bool,
    blocked: bool,
    readable: bool,
    writable: bool,
}

/// Everything outside of the server.
#[derive(Debug)]
pub struct Wire {
    /// The only clock.
    pub now: Nanos,
    /// Time passes up to here, and no further.
    pub until: Nanos,
    /// The connections.
    pub lines: Vec<Line>,
    /// The last wait found nothing, and was not in a hurry.
    pub is_quiet: bool,
    knocking: VecDeque<usize>,
    knock_edge: bool,
    listening: bool,
    stop: bool,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            now: SECOND,
            until: SECOND,
            lines: Vec::new(),
            is_quiet: false,
            knocking: VecDeque::new(),
            knock_edge: false,
            listening: true,
            stop: false,
        }
    }
}

impl Wire {
    /// Somebody connects, with so much room for what it does not read. The line's number.
    pub fn connect(&mut self, room: usize) -> usize {
        let number = self.lines.len();
        self.lines.push(Line {
            said: Vec::new(),
            unread: 0,
            room,
            finished: false,
            closed: !self.listening,
            id: None,
            coming: VecDeque::new(),
            ended: false,
            reset: false,
            blocked: false,
            readable: false,
            writable: false,
        });
        if self.listening {
            self.knock_edge |= self.knocking.is_empty();
            self.knocking.push_back(number);
        }
        number
    }

    /// The peer of this line writes.
    pub fn write(&mut self, number: usize, bytes: &[u8]) {
        let line = &mut self.lines[number];
        if !line.ended && !line.reset && !line.closed && !bytes.is_empty() {
            line.readable |= line.coming.is_empty();
            line.coming.extend(bytes);
        }
    }

    /// The peer reads everything that it was told.
    pub fn read(&mut self, number: usize) {
        let line = &mut self.lines[number];
        line.unread = 0;
        if std::mem::take(&mut line.blocked) {
            line.writable = true;
        }
    }

    /// The peer ends its side.
    pub fn end(&mut self, number: usize) {
        let line = &mut self.lines[number];
        line.readable |= !line.ended;
        line.ended = true;
    }

    /// The peer resets the connection.
    pub fn reset(&mut self, number: usize) {
        let line = &mut self.lines[number];
        (line.reset, line.readable, line.writable) = (true, true, true);
        line.coming.clear();
    }

    /// The process is told to stop.
    pub fn stop(&mut self) {
        self.stop = true;
    }

    fn report(&mut self, ready: &mut Vec<Ready>) {
        if std::mem::take(&mut self.stop) {
            ready.push(Ready::Signal(Signal::Stop));
        }
        if std::mem::take(&mut self.knock_edge) {
            ready.push(Ready::Listener(0));
        }
        for line in &mut self.lines {
            let Some(id) = line.id else { continue };
            let (readable, writable) =
                (std::mem::take(&mut line.readable), std::mem::take(&mut line.writable));
            if readable || writable {
                let closed = line.ended || line.reset;
                ready.push(Ready::Connection { id, readable, writable, closed });
            }
        }
    }
}

/// The server's view.
#[derive(Clone, Debug)]
pub struct MemoryNet(pub Rc<RefCell<Wire>>);

impl Net for MemoryNet {
    type Socket = usize;

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()> {
        let mut wire = self.0.borrow_mut();
        wire.now += WAIT;
        wire.report(ready);
        let patience = timeout.map_or(Nanos::MAX, |timeout| timeout.as_nanos() as Nanos);
        wire.is_quiet = ready.is_empty() && patience > 0;
        if wire.is_quiet {
            let woken = wire.now.saturating_add(patience);
            wire.now = wire.now.max(woken.min(wire.until));
        }
        Ok(())
    }

    fn now(&self) -> Nanos {
        self.0.borrow().now
    }

    fn entropy(&mut self) -> u64 {
        0x9E37_79B9_7F4A_7C15
    }

    fn listeners(&self) -> usize {
        1
    }

    fn accept(&mut self, _: usize, id: ConnId) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let number = wire.knocking.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let line = &mut wire.lines[number];
        line.id = Some(id);
        line.readable = !line.coming.is_empty() || line.ended || line.reset;
        line.writable = true;
        Ok(number)
    }

    /// Peers have few addresses, so that some share one.
    fn peer(&self, socket: &usize) -> Peer {
        let host = u8::try_from(socket % 8).expect("below eight");
        Peer::Ip(([10, 0, 0, host], 1024).into())
    }

    fn recv(&mut self, socket: &mut usize, into: &mut [u8]) -> io::Result<usize> {
        let line = &mut self.0.borrow_mut().lines[*socket];
        if line.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if line.coming.is_empty() {
            return if line.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let len = into.len().min(line.coming.len());
        into.iter_mut().zip(line.coming.drain(..len)).for_each(|(to, byte)| *to = byte);
        Ok(len)
    }

    fn send(&mut self, socket: &mut usize, bytes: &[u8]) -> io::Result<usize> {
        let line = &mut self.0.borrow_mut().lines[*socket];
        assert!(!line.finished, "nothing is written behind the end");
        if line.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(line.room.saturating_sub(line.unread));
        line.said.extend_from_slice(&bytes[..len]);
        line.unread += len;
        line.blocked |= len < bytes.len();
        if len == 0 && !bytes.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }

    fn send_vectored(&mut self, socket: &mut usize, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.send(socket, &slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>())
    }

    fn finish(&mut self, socket: &mut usize) {
        self.0.borrow_mut().lines[*socket].finished = true;
    }

    fn close(&mut self, socket: usize) {
        let line = &mut self.0.borrow_mut().lines[socket];
        assert!(!line.closed, "a socket is closed once");
        line.closed = true;
        line.id = None;
    }

    fn stop_listening(&mut self) {
        let mut wire = self.0.borrow_mut();
        wire.listening = false;
        while let Some(number) = wire.knocking.pop_front() {
            wire.lines[number].closed = true;
        }
    }
}
