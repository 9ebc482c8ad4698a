//! A TLS connection as the server sees it: a socket that takes and gives plain bytes.
//!
//! rustls turns records into bytes and bytes into records; here it is joined to an edge-triggered socket so that
//! everything that [`Net`](super::Net) promises of a socket holds for this one too, and no phase of the turn needs to
//! know which kind it has.
//!
//! - *Reading* goes on until the room is full or the socket is empty; handshake records are dealt with on the way.
//! - *Writing* encrypts one record at a time, and the next only when the one before has left: at most one record of
//!   ciphertext waits for a peer, whatever is sent to it. **The last byte is the receipt**: of a record that the socket
//!   did not take whole, all bytes but the last count as written. So the frame in it counts as begun (nothing is put
//!   before it, it is not dropped), and nobody takes for sent what is still here.
//! - *Ending*: `close_notify` goes behind everything that waits, and then the FIN. A peer that ends its stream without
//!   `close_notify` has ended it: a truncated stream ends inside a frame, or without a close frame, and is seen there.
//!
//! Invariants: a record is never cut one byte behind the beginning of a slice (the receipt would leave a frame as not
//! begun); what the socket gave and nobody took yet is at most [`AHEAD_BYTES`] and one record.

use std::fmt;
use std::io::{self, IoSlice, Read, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible, ServerConfig, ServerConnection};

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

/// Room for what one system call reads; one for the whole loop.
pub(super) const SCRATCH_BYTES: usize = 128 * 1024;

/// A TCP connection that speaks TLS.
#[derive(Debug)]
pub struct TlsSocket {
    stream: TcpStream,
    tls: ServerConnection,
    /// How the peer's side ended, if it has.
    end: Option<End>,
    /// What was read from the socket and did not fit: empty nearly always.
    unfed: Vec<u8>,
    /// Bytes that came before the handshake was over.
    shaken: usize,
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

/// Why there is no TLS with a peer.
#[derive(Debug, Clone)]
pub struct Refused {
    label: &'static str,
    why: String,
}

impl Refused {
    /// One of a few words for the metrics, if `error` says that a peer broke TLS.
    #[must_use]
    pub fn label_of(error: &io::Error) -> Option<&'static str> {
        error.get_ref()?.downcast_ref::<Self>().map(|refused| refused.label)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Refused {}

impl From<&Error> for Refused {
    fn from(error: &Error) -> Self {
        Self { label: label(error), why: error.to_string() }
    }
}

/// Sorts what the library can say into few words: labels of metrics are bounded.
fn label(error: &Error) -> &'static str {
    use AlertDescription as Alert;
    use PeerIncompatible as Why;
    // The library's enums grow: first match wins, and what is new to us is `malformed`.
    let known = [
        (
            "not_tls",
            matches!(
                error,
                Error::InvalidMessage(
                    InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion
                )
            ),
        ),
        (
            "version",
            matches!(
                error,
                Error::PeerIncompatible(
                    Why::Tls12NotOffered
                        | Why::Tls12NotOfferedOrEnabled
                        | Why::ServerDoesNotSupportTls12Or13
                        | Why::ServerTlsVersionIsDisabledByOurConfig
                        | Why::SupportedVersionsExtensionRequired
                )
            ),
        ),
        ("nothing_in_common", matches!(error, Error::PeerIncompatible(_))),
        ("alpn", matches!(error, Error::NoApplicationProtocol)),
        (
            "certificate_rejected",
            matches!(
                error,
                Error::AlertReceived(
                    Alert::UnknownCA
                        | Alert::BadCertificate
                        | Alert::CertificateUnknown
                        | Alert::CertificateExpired
                        | Alert::UnsupportedCertificate
                )
            ),
        ),
        ("alert", matches!(error, Error::AlertReceived(_))),
        ("record", matches!(error, Error::DecryptError | Error::PeerSentOversizedRecord)),
    ];
    known.iter().find(|(_, is_it)| *is_it).map_or("malformed", |(label, _)| label)
}

impl TlsSocket {
    /// The server's end of `stream`, which has said nothing yet.
    ///
    /// # Errors
    /// When the settings cannot work with this library, which loading them has excluded.
    pub(super) fn new(stream: TcpStream, settings: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = ServerConnection::new(settings).map_err(io::Error::other)?;
        Ok(Self {
            stream,
            tls,
            end: None,
            unfed: Vec::new(),
            shaken: 0,
            owes_receipt: false,
            parting: Parting::None,
        })
    }

    /// Reads plain bytes until `into` is full or the socket is empty. `scratch` is lent for what comes encrypted.
    pub(super) fn recv(&mut self, scratch: &mut [u8], into: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.take_plain(into);
        let mut is_drained = false;
        while filled < into.len() && !is_drained && self.end.is_none() {
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
                    is_drained = n < wanted;
                    filled += self.feed(&scratch[..n], room);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.end = Some(End::Broken(error.kind())),
            }
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

    /// Whether the stream has ended behind what the last read gave: the next read says how.
    pub(super) const fn has_ended(&self) -> bool {
        self.end.is_some()
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

    /// Encrypts and writes from `slices`, in order, as much as the socket takes.
    pub(super) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.tls.is_handshaking() || !self.push()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // What was encrypted before has left: its last byte counts now, and is not encrypted again.
        let mut taken = usize::from(std::mem::take(&mut self.owes_receipt));
        loop {
            let encrypted = self.encrypt(slices, taken)?;
            taken += encrypted;
            if encrypted == 0 {
                return Ok(taken);
            }
            if !self.push()? {
                self.owes_receipt = true;
                return if taken > 1 { Ok(taken - 1) } else { Err(io::ErrorKind::WouldBlock.into()) };
            }
        }
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
