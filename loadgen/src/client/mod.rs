//! One WebSocket client connection: as little state as a connection can have, and what is done with its bytes.
//!
//! Why: the generator must be cheaper than the server it measures. Clients of one loop share a receive buffer and an
//! encoding buffer; a client owns memory only while something is incomplete: a head or frame half received, a frame
//! half written.
//!
//! Invariants: a client is at most [`CLIENT_BYTES_MAX`] bytes; nothing is written behind an unfinished write; a read
//! shorter than the buffer has drained the socket, so there is no second read for `EAGAIN`.

mod ending;
mod hearing;
mod lent;
mod open;
mod socketio;
mod stream;
mod system;
mod trust;

pub use lent::{ASK, Lent};
pub use open::open;
pub use socketio::Speech;
pub use stream::Stream;
pub use system::reason;
pub use trust::trust;

use socketio::Stage;
use std::io::ErrorKind;
use stentor::http::{self, HeadScan, Storage};
use stentor::ws::extension::Agreed;
use stentor::ws::handshake::{ClientHandshake, ClientRequest};
use stentor::ws::{Cursor, Decoder, Limits, Role};
use system::Unwritten;

/// Bound of a client's own state, in bytes. With 16 bytes of completeness tracking and 4 of sequence it stays below
/// the 128 that the tool allows itself.
pub const CLIENT_BYTES_MAX: usize = 96;

/// What a server may send us: everything, within reason; measuring is not refusing.
const LIMITS: Limits = Limits { frame_max: 1 << 30, message_max: 1 << 30, fragments_max: u32::MAX };

/// Bounds of an answer's head; more generous than a server should be.
const HEAD_LIMITS: http::Limits =
    http::Limits { request_line_max: 8 << 10, head_max: 32 << 10, headers_max: 100 };

/// Where a connection stands. It only moves downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    New,
    /// TCP is connecting.
    Connecting,
    /// The request is sent, the answer is not complete.
    Handshaking,
    /// Upgraded, and by `--protocol socketio` not yet where messages are heard.
    Entering,
    /// Frames flow.
    Open,
    /// Our close frame is sent; the server's end of the connection is awaited.
    Closing,
    /// Closed or failed.
    Gone,
}

/// Why a connection ended; a few fixed texts, counted in the report.
pub type Reason = std::borrow::Cow<'static, str>;

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// The socket, unless it is new or gone.
    stream: Option<Stream>,
    state: State,
    /// How far it has come with Socket.IO.
    stage: Stage,
    /// What was agreed on with `--deflate`.
    deflate: Option<Agreed>,
    decoder: Decoder,
    /// What is received and incomplete.
    partial: Option<Box<Partial>>,
    /// What is encoded and not written.
    unwritten: Option<Box<Unwritten>>,
    /// When connecting began: `CLOCK_MONOTONIC`, in nanoseconds.
    pub started_ns: u64,
}

const _: () = assert!(size_of::<Client>() <= CLIENT_BYTES_MAX, "clients are many");

/// A head or message that is not complete.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    cursor: Cursor,
    scan: HeadScan,
}

/// What happened while reading, for the caller to act on.
#[derive(Debug)]
pub enum Progress {
    /// Nothing but what the caller was told through its callback.
    None,
    /// The handshake is complete.
    Opened,
    /// The connection is over.
    Gone(Reason),
}

/// A message that has come.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'b> {
    /// What it says, inflated.
    pub payload: &'b [u8],
    /// What it took on the wire, in bytes: one frame, as servers send it.
    pub wire_bytes: usize,
    /// When it was read.
    pub now_ns: u64,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            stream: None,
            state: State::New,
            stage: Stage::default(),
            deflate: None,
            decoder: Decoder::new(Role::Client),
            partial: None,
            unwritten: None,
            started_ns: 0,
        }
    }
}

impl Client {
    /// Where the connection stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// What was agreed on with `--deflate`; `None`: no compression.
    pub const fn deflate(&self) -> Option<Agreed> {
        self.deflate
    }

    /// Whether a frame waits for the socket.
    pub fn is_blocked(&self) -> bool {
        self.unwritten.is_some() || self.stream.as_ref().is_some_and(Stream::holds)
    }

    /// Takes a socket that is connecting.
    pub fn begin(&mut self, stream: Stream, now_ns: u64) {
        self.stream = Some(stream);
        self.state = State::Connecting;
        self.started_ns = now_ns;
    }

    /// TCP says writable for the first time: it is connected, or it has failed.
    ///
    /// # Errors
    /// The connection failed, or the request could not be written.
    pub fn connected(
        &mut self,
        handshake: &ClientHandshake,
        request: &ClientRequest<'_>,
        lent: &mut Lent,
    ) -> Result<(), Reason> {
        let stream = self.stream.as_mut().expect("a connecting client has a socket").tcp();
        match stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(reason(&error)),
        }
        match stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()), // a spurious event
            Err(error) => return Err(reason(&error)),
        }
        self.state = State::Handshaking;
        lent.encode.clear();
        handshake.encode_request(&mut lent.encode, request);
        self.write(&lent.encode)
    }

    /// Reads everything there is. `message` is called for each data message.
    ///
    /// `handshake` and `request` are what was asked; they matter only until the connection is open. `to_end` says that
    /// the peer has closed, so that the end must be read too. `clock` is called once after every read.
    pub fn read<'a>(
        &mut self,
        lent: &mut Lent,
        to_end: bool,
        asked: impl Fn() -> (ClientHandshake, ClientRequest<'a>),
        clock: impl Fn() -> u64,
        mut message: impl FnMut(Heard<'_>),
    ) -> Progress {
        let mut progress = Progress::None;
        loop {
            let Some(stream) = self.stream.as_mut() else { return progress };
            let room = lent.limit.unwrap_or(lent.receive.len()).min(lent.receive.len());
            let got = match stream.read(&mut lent.records, &mut lent.receive[..room]) {
                Ok(0) => return self.gone("the server closed the connection"),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return progress,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.gone(reason(&error)),
            };
            let now_ns = clock();
            let before = self.state;
            let outcome = match before {
                State::New | State::Connecting | State::Handshaking => {
                    let (handshake, request) = asked();
                    self.take_head(lent, got, &handshake, &request).and_then(|upgraded| {
                        if upgraded {
                            // Frames may have come with the head: they are in `partial` now.
                            return self.take_frames(lent, 0, now_ns, &mut message);
                        }
                        Ok(())
                    })
                }
                State::Entering | State::Open | State::Closing => {
                    self.take_frames(lent, got, now_ns, &mut message)
                }
                State::Gone => Ok(()),
            };
            if let Err(why) = outcome {
                return self.gone(why);
            }
            if before != State::Open && self.state == State::Open {
                progress = Progress::Opened;
            }
            if lent.limit.is_some() || got < lent.receive.len() && !to_end {
                return progress;
            }
        }
    }

    /// Collects the answer's head; true when it is complete and good. What follows it stays in `partial`.
    fn take_head(
        &mut self,
        lent: &mut Lent,
        got: usize,
        handshake: &ClientHandshake,
        request: &ClientRequest<'_>,
    ) -> Result<bool, Reason> {
        let partial = self.partial.get_or_insert_default();
        partial.bytes.extend_from_slice(&lent.receive[..got]);
        let scanned = partial.scan.scan(&partial.bytes, &HEAD_LIMITS);
        let Some(head_len) = scanned.map_err(|refusal| Reason::from(format!("handshake: {refusal}")))? else {
            return Ok(false);
        };
        let mut storage = Storage::new();
        let response = http::client::Response::parse(&partial.bytes[..head_len], &mut storage)
            .map_err(|error| Reason::from(format!("handshake: {error}")))?;
        let accepted = handshake
            .check_response(request, response.status.code(), response.headers())
            .map_err(|rejection| Reason::from(format!("handshake: {rejection}")))?;
        self.deflate = accepted.deflate;
        if self.deflate.is_some() {
            self.decoder = Decoder::with_deflate(Role::Client);
        }
        partial.bytes.drain(..head_len);
        if partial.bytes.is_empty() {
            self.partial = None;
        }
        self.state = if lent.speech.is_some() { State::Entering } else { State::Open };
        Ok(true)
    }

    /// Decodes what was received, behind what was kept; keeps what is incomplete.
    fn take_frames(
        &mut self,
        lent: &mut Lent,
        got: usize,
        now_ns: u64,
        message: &mut impl FnMut(Heard<'_>),
    ) -> Result<(), Reason> {
        let mut receive = std::mem::take(&mut lent.receive);
        let outcome = match self.partial.take() {
            None => {
                let mut cursor = Cursor::default();
                let window = &mut receive[..got];
                let outcome = self.decode(window, &mut cursor, lent, now_ns, message);
                if outcome.is_ok() && !cursor.is_clear(got) {
                    let mut partial = Box::<Partial>::default();
                    cursor.carry(&receive[..got], &mut partial.bytes);
                    partial.cursor = cursor;
                    self.partial = Some(partial);
                }
                outcome
            }
            Some(mut partial) => {
                partial.bytes.extend_from_slice(&receive[..got]);
                let Partial { bytes, cursor, .. } = &mut *partial;
                let outcome = self.decode(bytes, cursor, lent, now_ns, message);
                if outcome.is_ok() && !cursor.is_clear(bytes.len()) {
                    let len = bytes.len();
                    let kept = cursor.compact(bytes, len);
                    bytes.truncate(kept);
                    self.partial = Some(partial);
                }
                outcome
            }
        };
        lent.receive = receive;
        outcome
    }

    /// Writes one frame, or as much as the socket takes; the rest waits. Frames keep their order.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        if let Some(unwritten) = self.unwritten.as_mut() {
            unwritten.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        let written = stream.write(bytes).map_err(|error| reason(&error))?;
        if written < bytes.len() {
            let bytes = bytes[written..].to_vec();
            self.unwritten = Some(Box::new(Unwritten { bytes, written: 0 }));
        }
        Ok(())
    }

    /// The socket is writable again.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self) -> Result<(), Reason> {
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        let Some(unwritten) = self.unwritten.as_mut() else {
            return stream.write(&[]).map(drop).map_err(|error| reason(&error));
        };
        unwritten.written +=
            stream.write(&unwritten.bytes[unwritten.written..]).map_err(|error| reason(&error))?;
        if unwritten.written == unwritten.bytes.len() {
            self.unwritten = None;
        }
        Ok(())
    }
}
