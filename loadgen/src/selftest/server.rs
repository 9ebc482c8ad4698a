//! The self-test's server: broadcast or echo over real sockets, with one deliberate fault.
//!
//! Why: small and blocking, a thread per connection, and nothing in common with the servers loadgen usually meets
//! but the protocol; so a mistake of ours cannot cancel out on both sides.
//!
//! Invariants: one thread (the hub) decides and writes, so the order of deliveries is one order; it listens on a
//! free port of 127.0.0.1; [`FaultyServer::stop`] ends every thread it started.

use super::fault::{Counts, Fault, Saboteur};
use super::outlet::Peer;
use crate::engine::clock::now_ns;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use stentor::http::{self, HeadScan, Request, Storage};
use stentor::ws::handshake::{Offer, encode_response};
use stentor::ws::{Cursor, Decoder, Event, Kind, Limits, Opcode, Role};

/// How long a held delivery waits for another to overtake it.
const HOLD: Duration = Duration::from_millis(200);
/// What a client of the self-test may send.
const LIMITS: Limits = Limits { frame_max: 4 << 20, message_max: 4 << 20, fragments_max: 1_024 };
/// Receive buffer of the sockets, in bytes: small and fixed, so that a publisher that is not read is blocked soon.
const RECEIVE_BUFFER_BYTES: usize = 256 << 10;
/// Send buffer of the sockets where they are to be full soon, in bytes; the system takes its least if that is more.
const SEND_BUFFER_BYTES: usize = 4 << 10;
/// How often a deaf reader looks whether the experiment is over.
const DEAF_GLANCE: Duration = Duration::from_millis(5);

/// Who hears a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every connection, the sender too.
    Broadcast,
    /// The sender alone.
    Echo,
}

/// A running server.
#[derive(Debug)]
pub struct FaultyServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    jobs: Sender<Job>,
    acceptor: JoinHandle<()>,
    hub: JoinHandle<Counts>,
}

/// What the hub is told.
#[derive(Debug)]
enum Job {
    /// A socket was accepted; the handshake is still to come.
    Open { connection: u64, stream: TcpStream },
    /// Its handshake is good: answer with this.
    Join { connection: u64, response: Vec<u8> },
    /// It said something, at this time.
    Message { connection: u64, opcode: Opcode, payload: Vec<u8>, heard_ns: u64 },
    /// It is to be answered as it is.
    Answer { connection: u64, opcode: Opcode, payload: Vec<u8> },
    /// It said goodbye, and nothing comes of it.
    Ignored,
    /// It is gone.
    Leave { connection: u64 },
    /// Close everything.
    Stop,
}

impl FaultyServer {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// When no port or no thread can be had.
    pub fn start(mode: Mode, fault: Fault) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        // Accepted sockets inherit it.
        socket2::SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        if fault.wants_little_room() {
            socket2::SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER_BYTES)?;
        }
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (jobs, inbox) = channel();
        let hub =
            Hub { mode, fault, saboteur: Saboteur::new(fault), peers: BTreeMap::new(), out: Vec::new() };
        let hub = thread::Builder::new().name("selftest-hub".to_owned()).spawn(move || hub.run(&inbox))?;
        let acceptor = {
            let (jobs, stopping) = (jobs.clone(), Arc::clone(&stopping));
            let accept = move || accept(&listener, fault, &jobs, &stopping);
            thread::Builder::new().name("selftest-accept".to_owned()).spawn(accept)?
        };
        Ok(Self { address, stopping, jobs, acceptor, hub })
    }

    /// The URL to give to loadgen.
    pub fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// Ends it and returns its books.
    pub fn stop(self) -> Counts {
        self.stopping.store(true, Ordering::Release);
        // A connection of our own wakes the acceptor; if it cannot be made, the acceptor is gone already.
        drop(TcpStream::connect(self.address));
        let _ = self.acceptor.join();
        let _ = self.jobs.send(Job::Stop);
        self.hub.join().unwrap_or_default()
    }
}

fn accept(listener: &TcpListener, fault: Fault, jobs: &Sender<Job>, stopping: &Arc<AtomicBool>) {
    let mut readers = Vec::new();
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept() else { break };
        if stopping.load(Ordering::Acquire) {
            break;
        }
        let _ = stream.set_nodelay(true);
        let Ok(ours) = stream.try_clone() else { continue };
        if jobs.send(Job::Open { connection, stream: ours }).is_err() {
            break;
        }
        let jobs = jobs.clone();
        let mut ear = Ear { fault, said: 0, stopping: Arc::clone(stopping) };
        let read = move || {
            let ended = serve(connection, stream, &mut ear, &jobs);
            if ended.is_ok() && ear.fault == Fault::Cling {
                // The hub has the socket too, so it stays open.
                let _ = jobs.send(Job::Ignored);
                return;
            }
            // However a client goes, the hub learns that it went; why does not matter here.
            let _ = jobs.send(Job::Leave { connection });
        };
        readers.extend(thread::Builder::new().name(format!("selftest-{connection}")).spawn(read));
    }
    // The hub shuts the sockets down, which ends the readers: not joined here, or Stop could not be sent.
}

/// What keeps a reader from reading.
#[derive(Debug)]
struct Ear {
    fault: Fault,
    /// Messages that the connection has said.
    said: u64,
    stopping: Arc<AtomicBool>,
}

impl Ear {
    /// Called before each message is passed on: waits where the fault wants it.
    ///
    /// # Errors
    /// The experiment ended meanwhile: nothing more is heard.
    fn listen(&mut self) -> io::Result<()> {
        let number = self.said;
        self.said += 1;
        let Fault::Deaf { before, ns } = self.fault else { return Ok(()) };
        if number != before {
            return Ok(());
        }
        let until_ns = now_ns().saturating_add(ns);
        while now_ns() < until_ns {
            if self.stopping.load(Ordering::Acquire) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            thread::sleep(DEAF_GLANCE);
        }
        Ok(())
    }
}

/// Reads one connection until it ends.
fn serve(connection: u64, mut stream: TcpStream, ear: &mut Ear, jobs: &Sender<Job>) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1_024];
    let (mut filled, response) = read_head(&mut stream, &mut bytes)?;
    tell(jobs, Job::Join { connection, response })?;
    let (mut decoder, mut cursor) = (Decoder::new(Role::Server), Cursor::default());
    loop {
        let heard_ns = now_ns();
        while let Some(event) = decoder
            .decode(&mut bytes[..filled], &mut cursor, &LIMITS)
            .map_err(|violation| other(&violation))?
        {
            let (opcode, payload) = match event {
                Event::Message { kind, payload } => {
                    ear.listen()?;
                    let opcode = if kind == Kind::Text { Opcode::Text } else { Opcode::Binary };
                    tell(jobs, Job::Message { connection, opcode, payload: payload.to_vec(), heard_ns })?;
                    continue;
                }
                Event::Ping(payload) => (Opcode::Pong, payload.to_vec()),
                // This server agrees on no compression, and its decoder refuses the bit.
                Event::Pong(_) | Event::Compressed { .. } => continue,
                Event::Close(_) if ear.fault == Fault::Cling => {
                    tell(jobs, Job::Ignored)?;
                    continue;
                }
                Event::Close(_) => {
                    // RFC 6455 §5.5.1: answered with a close of our own; then the server closes first (§7.1.1).
                    return tell(
                        jobs,
                        Job::Answer { connection, opcode: Opcode::Close, payload: Vec::new() },
                    );
                }
            };
            tell(jobs, Job::Answer { connection, opcode, payload })?;
        }
        filled = cursor.compact(&mut bytes, filled);
        if filled == bytes.len() {
            bytes.resize(filled * 2, 0);
        }
        match stream.read(&mut bytes[filled..])? {
            0 => return Ok(()),
            read => filled += read,
        }
    }
}

/// Reads the upgrade request; returns how many bytes stand behind it (moved to the front) and the answer.
fn read_head(stream: &mut TcpStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<u8>)> {
    let (mut scan, limits, mut filled) = (HeadScan::new(), http::Limits::default(), 0);
    let end = loop {
        match stream.read(&mut bytes[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        if let Some(end) = scan.scan(&bytes[..filled], &limits).map_err(|refusal| other(&refusal))? {
            break end;
        }
    };
    let mut response = Vec::new();
    {
        let mut storage = Storage::new();
        let request = Request::parse(&bytes[..end], &mut storage).map_err(|refusal| other(&refusal))?;
        let offer = Offer::read(request.headers()).map_err(|refusal| other(&refusal))?;
        encode_response(&mut response, offer.key(), offer.protocols().next(), None);
    }
    bytes.copy_within(end..filled, 0);
    Ok((filled - end, response))
}

fn tell(jobs: &Sender<Job>, job: Job) -> io::Result<()> {
    jobs.send(job).map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn other(error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

struct Hub {
    mode: Mode,
    fault: Fault,
    saboteur: Saboteur,
    peers: BTreeMap<u64, Peer>,
    /// Scratch: the payloads that go to one subscriber.
    out: Vec<Vec<u8>>,
}

impl Hub {
    fn run(mut self, inbox: &Receiver<Job>) -> Counts {
        loop {
            match inbox.recv_timeout(HOLD) {
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(job) => self.handle(job),
                Err(RecvTimeoutError::Timeout) => self.flush(),
            }
        }
        for peer in self.peers.values() {
            let _ = peer.stream.shutdown(Shutdown::Both);
        }
        *self.saboteur.counts()
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Open { connection, stream } => {
                self.peers.insert(connection, Peer::new(stream));
            }
            Job::Join { connection, response } => self.join(connection, &response),
            Job::Message { connection, opcode, payload, heard_ns } => {
                self.message(connection, opcode, &payload, heard_ns);
            }
            Job::Answer { connection, opcode, payload } => {
                let Some(peer) = self.peers.get_mut(&connection) else { return };
                peer.send(opcode, &payload);
                if opcode == Opcode::Close {
                    let _ = peer.stream.shutdown(Shutdown::Both);
                }
            }
            Job::Ignored => self.saboteur.cling(),
            Job::Leave { connection } => {
                self.peers.remove(&connection);
            }
            Job::Stop => {}
        }
    }

    fn join(&mut self, connection: u64, response: &[u8]) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        if let Some(line) = self.saboteur.admit(connection) {
            peer.line = line;
            peer.joined = peer.stream.write_all(response).is_ok();
        } else {
            let _ = peer.stream.write_all(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
            let _ = peer.stream.shutdown(Shutdown::Both);
        }
    }

    fn message(&mut self, from: u64, opcode: Opcode, payload: &[u8], heard_ns: u64) {
        let mut wait_ns = self.saboteur.hear(payload);
        if let Fault::Delay { ns } = self.fault {
            // From when it was heard, so that messages wait beside one another, not behind.
            wait_ns = (heard_ns + ns).saturating_sub(now_ns());
        }
        thread::sleep(Duration::from_nanos(wait_ns));
        for (connection, peer) in &mut self.peers {
            if !peer.joined || (self.mode == Mode::Echo && *connection != from) {
                continue;
            }
            if self.saboteur.cuts(*connection) {
                peer.shut_out();
                continue;
            }
            if !peer.has_room() {
                if self.saboteur.meet_full(&mut peer.line, payload) {
                    peer.shut_out();
                }
                continue;
            }
            if let Some(notice) = self.saboteur.notice(&mut peer.line) {
                peer.offer(Opcode::Text, notice.as_bytes());
            }
            peer.opcode = opcode;
            let is_sender = *connection == from;
            self.saboteur.deliver(&mut peer.line, payload, is_sender, now_ns(), &mut self.out);
            for payload in self.out.drain(..) {
                if self.fault.waits() {
                    peer.send(opcode, &payload);
                } else {
                    peer.offer(opcode, &payload);
                }
            }
        }
    }

    fn flush(&mut self) {
        for peer in self.peers.values_mut().filter(|peer| peer.joined) {
            if peer.has_room()
                && let Some(notice) = self.saboteur.notice(&mut peer.line)
            {
                peer.offer(Opcode::Text, notice.as_bytes());
            }
            if let Some(held) = self.saboteur.flush(&mut peer.line) {
                peer.send(peer.opcode, &held);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stentor::base::marker::Marker;
    use stentor::ws::encode_masked;

    /// Opens a connection with bare hands; the stream stands behind the answer's head.
    fn open(server: &FaultyServer) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(server.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        (stream, String::from_utf8(head).expect("ASCII"))
    }

    fn publish(stream: &mut TcpStream, sequence: u32) {
        let mut payload = [0; 40];
        Marker { sequence, intended_ns: now_ns(), ..Marker::default() }.encode(&mut payload);
        let mut frame = Vec::new();
        encode_masked(&mut frame, Opcode::Binary, &payload, [1, 2, 3, 4]);
        stream.write_all(&frame).expect("sent");
    }

    /// Reads one unmasked frame of 40 bytes.
    fn hear(stream: &mut TcpStream) -> u32 {
        let mut frame = [0; 42];
        stream.read_exact(&mut frame).expect("a frame");
        assert_eq!(frame[..2], [0x82, 40]);
        super::super::fault::measured(&frame[2..]).expect("a marker").sequence
    }

    #[test]
    fn a_broadcast_reaches_everybody_and_is_booked() {
        let server = FaultyServer::start(Mode::Broadcast, Fault::Duplicate { every: 4 }).expect("starts");
        let ((mut a, head), (mut b, _)) = (open(&server), open(&server));
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        publish(&mut a, 0);
        assert_eq!((hear(&mut a), hear(&mut b)), (0, 0));
        publish(&mut b, 1);
        assert_eq!((hear(&mut a), hear(&mut b), hear(&mut b)), (1, 1, 1));
        let counts = server.stop();
        assert_eq!((counts.heard, counts.expected, counts.delivered, counts.duplicate), (2, 4, 4, 1));
    }

    #[test]
    fn an_echo_reaches_its_sender_alone() {
        let server = FaultyServer::start(Mode::Echo, Fault::None).expect("starts");
        let ((mut a, _), (_b, _)) = (open(&server), open(&server));
        publish(&mut a, 7);
        assert_eq!(hear(&mut a), 7);
        assert_eq!(server.stop().expected, 1);
    }

    #[test]
    fn refused_and_cut_connections_are_booked() {
        let server =
            FaultyServer::start(Mode::Broadcast, Fault::Refuse { from: 0, every: 2 }).expect("starts");
        let ((_a, good), (_b, bad)) = (open(&server), open(&server));
        assert!(good.contains(" 101 ") && bad.contains(" 503 "));
        assert_eq!(server.stop().refused, 1);
    }
}
