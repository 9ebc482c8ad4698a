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
mod tests {
    use super::super::identity::{Certificate, Identity, TlsSettings, TlsVersion};
    use super::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use std::io::ErrorKind::WouldBlock;
    use std::time::Duration;

    /// Both ends of a connection whose handshake is made; the client's socket is blocking.
    fn pair() -> (TlsSocket, ClientConnection, std::net::TcpStream) {
        let written = std::env::temp_dir().join(format!("stentor-tls-unit-{}.pem", fastrand::u64(..)));
        let identity = Identity::load(TlsSettings {
            listen: Vec::new(),
            certificate: Certificate::SelfSigned { names: Vec::new(), written: Some(written.clone()) },
            min_version: TlsVersion::V12,
            tickets: None,
        });
        let identity = identity.unwrap();
        use rustls_pki_types::pem::PemObject as _;
        let mut roots = RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_file(&written).unwrap()).unwrap();
        std::fs::remove_file(written).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let near = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        let mut server = TlsSocket::new(TcpStream::from_std(near), identity.config(), ConnId::NONE).unwrap();
        while client.is_handshaking() || server.tls.is_handshaking() {
            while client.wants_write() {
                client.write_tls(&mut far).unwrap();
            }
            assert_eq!(
                server.recv(&mut [0; 4096], &mut Budget::TURN.clone(), &mut [0; 64]).unwrap_err().kind(),
                WouldBlock
            );
            if client.is_handshaking() {
                client.read_tls(&mut far).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        (server, client, far)
    }

    /// Fills the socket beneath the records, so that it takes nothing more; returns how much that was.
    fn stuff(server: &mut TlsSocket) -> usize {
        let mut stuffed = 0;
        loop {
            match std::io::Write::write(&mut server.stream, &[0; 4096]) {
                Ok(n) => stuffed += n,
                Err(error) if error.kind() == WouldBlock => return stuffed,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Reads away what `stuff` wrote, and tickets that came before it.
    fn unstuff(client: &mut ClientConnection, far: &mut std::net::TcpStream, stuffed: usize) {
        let mut left = stuffed;
        let mut first = [0; 1];
        // Tickets are records of their own: they begin with 23, the stuffing with 0.
        while far.peek(&mut first).unwrap() == 1 && first[0] != 0 {
            let mut head = [0; 5];
            far.read_exact(&mut head).unwrap();
            let mut record = head.to_vec();
            record.resize(5 + usize::from(u16::from_be_bytes([head[3], head[4]])), 0);
            far.read_exact(&mut record[5..]).unwrap();
            client.read_tls(&mut &record[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        let mut sink = [0; 65_536];
        while left > 0 {
            let want = left.min(sink.len());
            far.read_exact(&mut sink[..want]).unwrap();
            left -= want;
        }
    }

    /// Tries again until the kernel has noticed that there is room.
    fn soon<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
        for _ in 0..4_000 {
            if let Some(done) = attempt() {
                return done;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no room within twenty seconds");
    }

    fn plain(client: &mut ClientConnection, far: &mut std::net::TcpStream, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut have = 0;
        while have < len {
            match client.reader().read(&mut bytes[have..]) {
                Ok(n) => have += n,
                Err(error) if error.kind() == WouldBlock => {
                    assert!(client.read_tls(far).unwrap() > 0, "the stream goes on");
                    client.process_new_packets().unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        bytes
    }

    #[test]
    fn the_last_byte_is_the_receipt() {
        let (mut server, mut client, mut far) = pair();
        let stuffed = stuff(&mut server);
        // Encrypted and kept: begun, but not written.
        assert_eq!(server.send(&[IoSlice::new(b"hello")], &mut Budget::TURN.clone()).unwrap(), 4);
        assert_eq!(
            server.send(&[IoSlice::new(b"o")], &mut Budget::TURN.clone()).unwrap_err().kind(),
            WouldBlock
        );
        unstuff(&mut client, &mut far, stuffed);
        let sent = soon(|| {
            server.send(&[IoSlice::new(b"o"), IoSlice::new(b", world")], &mut Budget::TURN.clone()).ok()
        });
        assert_eq!(sent, 8);
        assert_eq!(plain(&mut client, &mut far, 12), b"hello, world");
        server.finish().unwrap();
        assert_eq!(client.read_tls(&mut far).unwrap(), 24, "a record with the notice");
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_record_does_not_end_one_byte_into_a_frame() {
        let (mut server, mut client, mut far) = pair();
        let (first, second) = (vec![1; RECORD_BYTES - 1], vec![2; 1000]);
        let stuffed = stuff(&mut server);
        // All of the first but its last byte; of the second nothing, so that it may still be dropped.
        let slices = [IoSlice::new(&first), IoSlice::new(&second)];
        assert_eq!(server.send(&slices, &mut Budget::TURN.clone()).unwrap(), RECORD_BYTES - 2);
        unstuff(&mut client, &mut far, stuffed);
        let left = [IoSlice::new(&first[RECORD_BYTES - 2..]), IoSlice::new(&[3; 10])];
        assert_eq!(soon(|| server.send(&left, &mut Budget::TURN.clone()).ok()), 11);
        let heard = plain(&mut client, &mut far, RECORD_BYTES + 9);
        assert_eq!(heard, [&first[..], &[3; 10]].concat());
    }

    #[test]
    fn a_long_message_is_encrypted_over_several_turns() {
        let (mut server, mut client, mut far) = pair();
        let long: Vec<u8> = (0..3 << 20).map(|n: u32| (n % 251) as u8).collect();
        let wanted = long.len();
        // There is room for more than is encrypted at once.
        socket2::SockRef::from(&server.stream).set_send_buffer_size(1 << 20).unwrap();
        // Somebody reads as fast as it can be written.
        let reader = std::thread::spawn(move || plain(&mut client, &mut far, wanted));
        let (mut sent, mut cuts) = (0, 0);
        while sent < long.len() {
            let before = sent;
            match server.send(&[IoSlice::new(&long[sent..])], &mut Budget::TURN.clone()) {
                Ok(n) => sent += n,
                Err(error) => assert_eq!(error.kind(), WouldBlock),
            }
            assert!(sent - before <= SENT_BYTES_MAX + 1, "so much at once, and the receipt");
            cuts += u32::from(server.is_send_cut());
        }
        assert!(reader.join().unwrap() == long);
        assert!(cuts > 0, "the socket was not always full");
        let mut spent = Budget { sent: 0, ..Budget::TURN };
        let refused = server.send(&[IoSlice::new(b"more")], &mut spent).unwrap_err();
        assert!(refused.kind() == WouldBlock && server.is_send_cut(), "others have had all of this turn");
    }

    #[test]
    fn the_notice_and_the_fin_wait_for_room_and_then_leave() {
        let (mut server, mut client, mut far) = pair();
        let stuffed = stuff(&mut server);
        server.finish().unwrap();
        assert_eq!(server.parting, Parting::Notified, "no FIN before the notice");
        unstuff(&mut client, &mut far, stuffed);
        soon(|| {
            server.flush().unwrap();
            (server.parting == Parting::Finished).then_some(())
        });
        assert!(client.read_tls(&mut far).unwrap() > 0);
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
    }
}
