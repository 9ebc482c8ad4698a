//! TLS between real sockets, a handshake or a record at a time, with no worker.
//!
//! What a peer notices of it is in `tests/tls.rs`.

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
    assert_eq!(server.send(&[IoSlice::new(b"o")], &mut Budget::TURN.clone()).unwrap_err().kind(), WouldBlock);
    unstuff(&mut client, &mut far, stuffed);
    let sent =
        soon(|| server.send(&[IoSlice::new(b"o"), IoSlice::new(b", world")], &mut Budget::TURN.clone()).ok());
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
