//! A connection's bytes, as they are or through TLS.
//!
//! Why: `wss` is measured with the same clients, the same schedule and the same histograms; only what stands between a
//! frame and the socket differs. The handshake of TLS is part of connecting, as it is for a user.
//!
//! Invariants: a read shorter than its room has drained the socket; what the socket did not take leaves at the next
//! writable edge, and [`Stream::holds`] says so meanwhile; at most 16 KiB of it is encrypted ahead.

use mio::net::TcpStream;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error};
use rustls_pki_types::ServerName;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// Encrypted at once, in bytes: one record.
const RECORD_BYTES: usize = 16 << 10;

/// A connected socket, or one that is connecting.
#[derive(Debug)]
pub enum Stream {
    /// `ws`.
    Plain(TcpStream),
    /// `wss`.
    Tls(Box<Tls>),
}

/// A socket that speaks TLS.
#[derive(Debug)]
pub struct Tls {
    tcp: TcpStream,
    tls: ClientConnection,
    /// What was read and did not fit.
    unfed: Vec<u8>,
    /// Nothing more will come.
    has_ended: bool,
    /// TLS failed, for this reason.
    failed: Option<Error>,
}

impl Stream {
    /// Puts TLS on `tcp`; the server must be `name`.
    ///
    /// # Errors
    /// The settings cannot work, which making them has excluded.
    pub fn tls(tcp: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(Tls { tcp, tls, unfed: Vec::new(), has_ended: false, failed: None })))
    }

    /// The socket beneath.
    pub fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => &mut stream.tcp,
        }
    }

    /// Reads; `records` is lent for what comes encrypted.
    ///
    /// # Errors
    /// As the socket, and when TLS fails.
    pub fn read(&mut self, records: &mut Vec<u8>, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Tls(stream) => {
                records.resize(into.len(), 0); // once in the life of a loop
                stream.read(records, into)
            }
        }
    }

    /// Writes until the socket takes no more; returns how many bytes it took.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => write_some(tcp, bytes),
            Self::Tls(stream) => {
                let mut written = 0;
                // Before the handshake is over the library keeps what it is given: one request, not more.
                while written < bytes.len() && stream.push()? {
                    let until = bytes.len().min(written + RECORD_BYTES);
                    let taken = stream.tls.writer().write(&bytes[written..until])?;
                    if taken == 0 {
                        break;
                    }
                    written += taken;
                }
                stream.push()?;
                Ok(written)
            }
        }
    }

    /// Whether something that was taken has not reached the socket.
    pub fn holds(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.tls.wants_write(),
        }
    }
}

impl Tls {
    fn read(&mut self, records: &mut [u8], into: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.tls.reader().read(into).unwrap_or(0);
        let mut is_drained = false;
        while filled < into.len() && !is_drained && !self.has_ended {
            let unfed = std::mem::take(&mut self.unfed);
            if !unfed.is_empty() {
                filled += self.feed(&unfed, &mut into[filled..]);
                continue;
            }
            let room = (into.len() - filled).min(records.len());
            match self.tcp.read(&mut records[..room]) {
                Ok(0) => self.has_ended = true,
                Ok(got) => {
                    filled += self.feed(&records[..got], &mut into[filled..]);
                    // Behind half a record the end of the stream may stand, of which no event will tell again.
                    is_drained = got < room && filled > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => is_drained = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.push()?;
        match &self.failed {
            _ if filled > 0 => Ok(filled),
            Some(error) => Err(io::Error::other(explain(error))),
            None if self.has_ended && self.tls.is_handshaking() => {
                Err(io::Error::other("tls: the server ended the connection during the handshake"))
            }
            None if self.has_ended => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Decrypts what came, until `into` is full; what is left is kept.
    fn feed(&mut self, mut records: &[u8], into: &mut [u8]) -> usize {
        let mut filled = 0;
        while !records.is_empty() && filled < into.len() && !self.has_ended {
            let outcome = match self.tls.read_tls(&mut records) {
                Ok(0) => return filled, // behind a close_notify nothing counts
                Ok(_) => self.tls.process_new_packets(),
                Err(error) => Err(Error::General(error.to_string())),
            };
            filled += self.tls.reader().read(&mut into[filled..]).unwrap_or(0);
            match outcome {
                Ok(state) => self.has_ended = state.peer_has_closed(),
                Err(error) => (self.has_ended, self.failed) = (true, Some(error)),
            }
        }
        self.unfed.extend_from_slice(records);
        filled
    }

    /// Writes what is encrypted; whether all of it has left.
    fn push(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.tcp) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Not connected yet: the handshake begins with the first writable edge.
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// What went wrong and what to do about it. Without times and numbers, so that equal failures count together.
fn explain(error: &Error) -> String {
    use CertificateError as Why;
    let Error::InvalidCertificate(why) = error else { return format!("tls: {error}") };
    if matches!(why, Why::Expired | Why::ExpiredContext { .. }) {
        return "tls: the server's certificate has expired (--tls-insecure measures it anyway)".to_owned();
    }
    if matches!(why, Why::NotValidYet | Why::NotValidYetContext { .. }) {
        return "tls: the server's certificate is not valid yet (--tls-insecure measures it anyway)"
            .to_owned();
    }
    if matches!(why, Why::UnknownIssuer) {
        return "tls: the server's certificate is signed by nobody we trust (see --cacert and --tls-insecure)"
            .to_owned();
    }
    format!("tls: {error}")
}

/// Writes until the socket takes no more; returns how many bytes it took.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
