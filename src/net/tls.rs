//! A TLS connection as the server sees it: a socket that takes and gives plain bytes.
//!
//! rustls turns records into bytes and bytes into records; here it is joined to an edge-triggered socket so that
//! everything that [`Net`](super::Net) promises of a socket holds for this one too, and no phase of the turn needs to
//! know which kind it has.
//!
//! - *Reading* goes on until the room is full or the socket is empty; handshake records are dealt with on the way.
//! - *Writing* encrypts one record at a time, and the next only when the one before has left: at most one record of
//!   ciphertext waits for a peer, whatever is sent to it. A long message is encrypted over several turns. **The last byte is the receipt**: of a record that the socket
//!   did not take whole, all bytes but the last count as written. So the frame in it counts as begun (nothing is put
//!   before it, it is not dropped), and nobody takes for sent what is still here.
//! - *Ending*: `close_notify` goes behind everything that waits, and then the FIN. A peer that ends its stream without
//!   `close_notify` has ended it: a truncated stream ends inside a frame, or without a close frame, and is seen there.
//!
//! Invariants: a record is never cut one byte behind the beginning of a slice (the receipt would leave a frame as not
//! begun); what the socket gave and nobody took yet is at most `AHEAD_BYTES` and one record.

mod counts;
mod refused;
mod shared;

use std::io::{self, IoSlice, Read, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{Error, ServerConfig, ServerConnection};

use crate::base::id::ConnId;
pub use counts::TlsCounts;
use counts::{BROKEN, LEFT, Outcome, UNFINISHED};
pub use refused::Refused;
pub(super) use shared::Shared;
use shared::{Budget, SCRATCH_BYTES};

/// Plaintext of one record at most, in bytes (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// Slices in one record at most; what a peer is owed has seldom more.
const PARTS_MAX: usize = 64;

/// What is read ahead of a smaller room, in bytes: below this a system call costs more than what it brings.
const AHEAD_BYTES: usize = 4 * 1024;

/// What a peer may send before the handshake is over, in bytes. A `ClientHello` with a post-quantum key share and a
/// session ticket has about 2 KiB; the library would hold 64 KiB for a stranger. (`stentor_refusals_total`, `tls`,
/// `hello_too_large`)
const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;

/// Records taken in one `recv`, in bytes: a peer that puts a single byte into each would keep the loop for long.
const TAKEN_BYTES_MAX: usize = 2 * SCRATCH_BYTES;

/// Encrypted for one peer in one turn, in bytes: a megabyte takes a millisecond, and a reply may be of 512.
/// (`stentor_tls_sends_cut_total`)
const SENT_BYTES_MAX: usize = 256 * 1024;

/// A TCP connection that speaks TLS.
#[derive(Debug)]
pub struct TlsSocket {
    stream: TcpStream,
    tls: ServerConnection,
    /// Under which name it is registered.
    id: ConnId,
    /// What became of the handshake, until it has been asked for.
    outcome: Option<Outcome>,
    /// Nothing has become of it yet.
    is_undecided: bool,
    /// The last `recv` took something from the socket.
    has_heard: bool,
    /// How the peer's side ended, if it has.
    end: Option<End>,
    /// What was read from the socket and did not fit: empty nearly always.
    unfed: Vec<u8>,
    /// Bytes that came before the handshake was over.
    shaken: usize,
    /// The last `recv` stopped before the socket was empty.
    is_cut: bool,
    /// The last `send` stopped before the socket was full.
    is_send_cut: bool,
    /// The last byte of what was encrypted has not been counted as written.
    owes_receipt: bool,
    /// How far our own end has come.
    parting: Parting,
}

#[derive(Debug)]
enum End {
    /// `close_notify`, or a FIN without one.
    Closed,
    /// The socket broke.
    Broken(io::ErrorKind),
    /// The peer broke TLS; it has been sent the alert.
    Refused(Refused),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// Not yet.
    None,
    /// `close_notify` is on its way; the FIN follows.
    Notified,
    /// The FIN is out.
    Finished,
}

impl TlsSocket {
    /// The server's end of `stream`, which has said nothing yet.
    ///
    /// # Errors
    /// When the settings cannot work with this library, which loading them has excluded.
    pub(super) fn new(stream: TcpStream, settings: Arc<ServerConfig>, id: ConnId) -> io::Result<Self> {
        let tls = ServerConnection::new(settings).map_err(io::Error::other)?;
        Ok(Self {
            stream,
            tls,
            id,
            outcome: None,
            is_undecided: true,
            has_heard: false,
            end: None,
            unfed: Vec::new(),
            shaken: 0,
            is_cut: false,
            is_send_cut: false,
            owes_receipt: false,
            parting: Parting::None,
        })
    }

    /// The stream below, for what stands before TLS.
    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Under which name it was accepted.
    const fn id(&self) -> ConnId {
        self.id
    }

    /// What became of the handshake; told once.
    const fn outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// The same at the end of the connection: a handshake of which nothing has become has failed.
    fn last_outcome(&mut self) -> Option<Outcome> {
        self.decide(Outcome::Failed(UNFINISHED));
        self.outcome()
    }

    fn decide(&mut self, outcome: Outcome) {
        if std::mem::take(&mut self.is_undecided) {
            self.outcome = Some(outcome);
        }
    }

    /// Whether the last [`recv`](Self::recv) took anything from the socket.
    pub(super) const fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Reads plain bytes until `into` is full, the socket is empty, or enough has been taken. `scratch` is lent for what
    /// comes encrypted; `budget` is what may still be done in this turn.
    fn recv(&mut self, scratch: &mut [u8], budget: &mut Budget, into: &mut [u8]) -> io::Result<usize> {
        self.has_heard = false;
        let is_spent = budget.bytes == 0 || (budget.handshakes == 0 && self.tls.is_handshaking());
        if is_spent && self.end.is_none() {
            self.is_cut = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (mut filled, mut taken) = (self.take_plain(into), 0);
        let mut is_drained = false;
        while filled < into.len()
            && !is_drained
            && self.end.is_none()
            && taken < TAKEN_BYTES_MAX
            && budget.bytes > 0
        {
            let room = &mut into[filled..];
            let unfed = std::mem::take(&mut self.unfed);
            if !unfed.is_empty() {
                filled += self.feed(&unfed, room);
                continue;
            }
            let wanted = room.len().max(AHEAD_BYTES).min(scratch.len());
            match self.stream.read(&mut scratch[..wanted]) {
                Ok(0) => self.end = Some(End::Closed),
                Ok(n) => {
                    taken += n;
                    budget.bytes = budget.bytes.saturating_sub(n);
                    budget.handshakes =
                        budget.handshakes.saturating_sub(u32::from(self.tls.is_handshaking()));
                    filled += self.feed(&scratch[..n], room);
                    // Whoever gets nothing takes the socket for empty, so it must have said so itself: behind half a record
                    // the end of the stream may stand, of which no event will tell again.
                    is_drained = n < wanted && filled > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.end = Some(End::Broken(error.kind())),
            }
        }
        self.is_cut = !is_drained && filled < into.len();
        self.has_heard = taken > 0;
        if self.is_undecided {
            self.look_at_handshake();
        }
        if self.tls.wants_write() {
            // A broken socket tells the next read or write; one that is full has an edge to come.
            let _ = self.flush();
        }
        if filled > 0 {
            self.shrink();
            return Ok(filled);
        }
        match &self.end {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(End::Closed) => Ok(0),
            Some(End::Broken(kind)) => Err((*kind).into()),
            Some(End::Refused(refused)) => Err(io::Error::new(io::ErrorKind::InvalidData, refused.clone())),
        }
    }

    /// Notes what has become of the handshake, if that is known now.
    fn look_at_handshake(&mut self) {
        let made = self.tls.handshake_kind().filter(|_| !self.tls.is_handshaking());
        let failed = match &self.end {
            None => None,
            Some(End::Closed) => Some(LEFT),
            Some(End::Broken(_)) => Some(BROKEN),
            Some(End::Refused(refused)) => Some(refused.label),
        };
        if let Some(outcome) = made.map(Outcome::from).or(failed.map(Outcome::Failed)) {
            self.decide(outcome);
        }
    }

    /// Whether the next read has something to tell without an event: the rest, or how the stream ended.
    pub(super) const fn has_more(&self) -> bool {
        self.is_cut || self.end.is_some()
    }

    /// Decrypts `records` into `into` until one of them is used up; keeps what is left. Returns how much was filled.
    fn feed(&mut self, mut records: &[u8], into: &mut [u8]) -> usize {
        let mut filled = 0;
        while !records.is_empty() && filled < into.len() && self.end.is_none() {
            let before = records.len();
            let was_handshaking = self.tls.is_handshaking();
            let outcome = match self.tls.read_tls(&mut records) {
                // Behind a close_notify nothing counts (RFC 8446 §6.1).
                Ok(0) => return filled,
                Ok(_) => self.tls.process_new_packets(),
                Err(error) => Err(Error::General(error.to_string())),
            };
            filled += self.take_plain(&mut into[filled..]);
            if was_handshaking {
                self.shaken += before - records.len();
            }
            match outcome {
                Ok(state) if state.peer_has_closed() => self.end = Some(End::Closed),
                Ok(_) if self.tls.is_handshaking() && self.shaken > HANDSHAKE_BYTES_MAX => {
                    self.tls.send_close_notify();
                    let why = format!("more than {HANDSHAKE_BYTES_MAX} bytes before the handshake was over");
                    self.end = Some(End::Refused(Refused { label: "hello_too_large", why }));
                }
                Ok(_) => {}
                Err(error) => self.end = Some(End::Refused(Refused::from(&error))),
            }
        }
        if self.end.is_none() {
            self.unfed.extend_from_slice(records);
        }
        filled
    }

    /// Plain bytes that wait inside the library.
    fn take_plain(&mut self, into: &mut [u8]) -> usize {
        // Its errors say that nothing is there; the end of the stream is known from elsewhere.
        self.tls.reader().read(into).unwrap_or(0)
    }

    /// Has the library give back the buffer of a large record; it does so only when it is about to read.
    fn shrink(&mut self) {
        struct Nothing;
        impl Read for Nothing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let _ = self.tls.read_tls(&mut Nothing);
    }

    /// Encrypts and writes from `slices`, in order, as much as the socket takes or this turn has left in `budget`.
    fn send(&mut self, slices: &[IoSlice<'_>], budget: &mut Budget) -> io::Result<usize> {
        self.is_send_cut = false;
        if self.tls.is_handshaking() || !self.push()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // What was encrypted before has left: its last byte counts now, and is not encrypted again.
        let mut taken = usize::from(std::mem::take(&mut self.owes_receipt));
        let most = SENT_BYTES_MAX.min(budget.sent);
        loop {
            if taken >= most {
                let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
                self.is_send_cut = taken < wanted;
                let nothing = self.is_send_cut && taken == 0;
                return if nothing { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) };
            }
            let encrypted = self.encrypt(slices, taken)?;
            taken += encrypted;
            budget.sent = budget.sent.saturating_sub(encrypted);
            if encrypted == 0 {
                return Ok(taken);
            }
            if !self.push()? {
                self.owes_receipt = true;
                return if taken > 1 { Ok(taken - 1) } else { Err(io::ErrorKind::WouldBlock.into()) };
            }
        }
    }

    /// Whether the last [`send`](Self::send) ended although the socket takes more: no edge will tell.
    const fn is_send_cut(&self) -> bool {
        self.is_send_cut
    }

    /// Makes one record of what follows the first `skip` bytes of `slices`; returns how many bytes are in it.
    fn encrypt(&mut self, slices: &[IoSlice<'_>], mut skip: usize) -> io::Result<usize> {
        if let [one] = slices {
            let rest = one.get(skip..).unwrap_or_default();
            return self.tls.writer().write(&rest[..rest.len().min(RECORD_BYTES)]);
        }
        let mut parts = [IoSlice::new(&[]); PARTS_MAX];
        let (mut filled, mut room) = (0, RECORD_BYTES);
        for slice in slices {
            let rest = slice.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(slice.len());
            let len = rest.len().min(room);
            // One byte of a frame alone would leave with the next record: the receipt must be behind its beginning.
            if filled == PARTS_MAX || room == 0 || (len == 1 && rest.len() > 1) {
                break;
            }
            if len > 0 {
                parts[filled] = IoSlice::new(&rest[..len]);
                (filled, room) = (filled + 1, room - len);
            }
        }
        self.tls.writer().write_vectored(&parts[..filled])
    }

    /// Writes what is encrypted. Returns whether all of it has left; if not, a writable edge will follow.
    fn push(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes what has waited without anybody asking: handshake, tickets, alerts, and the end.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.push()? && self.parting == Parting::Notified {
            self.parting = Parting::Finished;
            return self.stream.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Says that nothing more will be written: `close_notify` behind what waits, then FIN.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.parting == Parting::None {
            self.tls.send_close_notify();
            self.parting = Parting::Notified;
        }
        self.flush()
    }
}

#[cfg(test)]
mod tests;
