//! TLS as a peer meets it: handshakes, bytes both ways, ends in order; in `tls/wrongs.rs` as a bad one does, in `tls/program.rs` as an operator.
//!
//! The client is rustls over plain sockets, so that a test can hold back, cut or spoil what the socket carries.
//!
//! Invariant: as everywhere, nothing waits for luck; a deadline only turns a hang into a failure.

#[path = "tls/client.rs"]
mod client;
mod common;
#[path = "tls/program.rs"]
mod program;
#[path = "tls/wrongs.rs"]
mod wrongs;

use client::{Client, Secure, TlsStream};
use common::{BINARY, CLOSE, PATIENCE, PING, PONG, Peer, TEXT, encode, wait_for};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, HandshakeKind, ProtocolVersion};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

#[test]
fn both_versions_carry_a_websocket_and_a_page() {
    let secure = Secure::start(&[]);
    for (version, wanted) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let client = Client::of(&secure).version(version);
        let mut peer = client.open("/echo");
        assert_eq!(peer.stream.conn.protocol_version(), Some(wanted));
        peer.send_text("hello");
        assert_eq!(peer.message().text(), "hello");
        peer.close();
        assert_eq!(client.get("/healthz").text(), "ok\n");
    }
}

#[test]
fn a_large_message_goes_both_ways_through_a_narrow_straw() {
    let secure = Secure::start(&["--message-max", "2mi"]);
    let payload: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for version in [&TLS12, &TLS13] {
        // Reads and writes of a few hundred bytes: records arrive in many pieces and leave in many pieces.
        let mut peer = Client::of(&secure).version(version).straw(509).open("/echo");
        peer.send(BINARY, &payload);
        assert!(peer.message().payload == payload, "a mebibyte comes back as it went");
        peer.send_text("and a small one");
        assert_eq!(peer.message().text(), "and a small one");
        peer.close();
    }
}

#[test]
fn many_small_messages_in_few_records_are_all_answered() {
    let secure = Secure::start(&[]);
    let mut peer = Client::of(&secure).open("/echo");
    let texts: Vec<String> = (0..20_000).map(|n| format!("message {n}")).collect();
    let frames: Vec<u8> = texts.iter().flat_map(|text| encode(true, TEXT, text.as_bytes())).collect();
    // Answers fill the sockets while we still write: only a peer that does both gets through.
    let mut written = 0;
    let mut heard = texts.iter();
    while written < frames.len() {
        let until = frames.len().min(written + 10_000);
        peer.stream.write_all(&frames[written..until]).expect("the server reads");
        written = until;
        for expected in heard.by_ref().take(100) {
            assert_eq!(peer.message().text(), expected);
        }
    }
    for expected in heard {
        assert_eq!(peer.message().text(), expected);
    }
    peer.close();
}

#[test]
fn who_comes_back_is_known_by_its_ticket_or_its_session() {
    let secure = Secure::start(&[]);
    for client in [
        Client::of(&secure).version(&TLS13),
        Client::of(&secure).version(&TLS12),
        Client::of(&secure).version(&TLS12).without_tickets(),
    ] {
        let first = client.open("/echo");
        assert_eq!(first.stream.conn.handshake_kind(), Some(HandshakeKind::Full));
        first.close();
        let mut second = client.open("/echo");
        assert_eq!(second.stream.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        second.send_text("again");
        assert_eq!(second.message().text(), "again");
    }
}

#[test]
fn handshakes_are_counted_by_what_became_of_them() {
    let secure = Secure::start(&["--handshake-timeout", "1s"]);
    let client = Client::of(&secure);
    client.open("/echo").close();
    client.open("/echo").close();
    secure.counts("stentor_tls_handshakes_total{kind=\"full\"} 1");
    secure.counts("stentor_tls_handshakes_total{kind=\"resumed\"} 1");
    let _ = secure.connect().write_all(b"GET / HTTP/1.1\r\n\r\n");
    secure.counts("stentor_tls_handshakes_failed_total{reason=\"not_tls\"} 1");
    let half = secure.connect();
    (&half).write_all(b"\x16\x03\x01").expect("it is taken");
    drop(half);
    secure.counts("stentor_tls_handshakes_failed_total{reason=\"left\"} 1");
    let _silent = secure.connect();
    secure.counts("stentor_tls_handshakes_failed_total{reason=\"unfinished\"} 1");
    secure.counts("stentor_tls_sends_cut_total 0");
}

#[test]
fn a_client_that_does_not_trust_us_is_counted() {
    let secure = Secure::start(&[]);
    let stranger = client::Files::new("stranger").write("stranger.example");
    let client = Client::trusting(secure.address, &stranger);
    assert!(matches!(client.refused(), Error::InvalidCertificate(_)));
    secure.counts("stentor_refusals_total{kind=\"tls\",reason=\"certificate_rejected\"} 1");
}

#[test]
fn a_byte_in_each_record_is_read_like_any_other() {
    let secure = Secure::start(&[]);
    let mut peer = Client::of(&secure).open("/echo");
    let frame = encode(true, TEXT, &[b'z'; 40_000]);
    // Forty thousand records in one piece: a megabyte of them for forty kilobytes.
    let mut records = Vec::new();
    for byte in &frame {
        peer.stream.conn.writer().write_all(&[*byte]).expect("it is buffered");
        peer.stream.conn.write_tls(&mut records).expect("memory takes it");
    }
    let mut writer = peer.stream.sock.tcp.try_clone().expect("descriptors are there");
    let writing = std::thread::spawn(move || writer.write_all(&records));
    assert_eq!(peer.message().payload, vec![b'z'; 40_000]);
    writing.join().expect("it ends").expect("the server reads");
    peer.close();
}

#[test]
fn the_end_comes_in_order_close_frame_notice_fin() {
    let secure = Secure::start(&[]);
    for version in [&TLS12, &TLS13] {
        let mut peer = Client::of(&secure).version(version).open("/echo");
        peer.send_text("last words");
        peer.send_close(1000, "");
        assert_eq!(peer.message().text(), "last words");
        assert_eq!(peer.message().close_code(), 1000);
        // Zero only behind a close_notify: without one, rustls calls it an unexpected end.
        assert_eq!(peer.stream.read(&mut [0; 16]).expect("an end in order"), 0);
        assert_eq!(peer.stream.sock.tcp.read(&mut [0; 16]).expect("a FIN, not a reset"), 0);
    }
}

#[test]
fn a_refused_request_is_answered_and_ended_in_order() {
    let secure = Secure::start(&[]);
    let mut stream = Client::of(&secure).connect();
    stream.write_all(b"BREW /pot HTTP/1.1\r\nHost: test\r\n\r\n").expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an end in order");
    assert!(answer.starts_with(b"HTTP/1.1 405"), "{}", String::from_utf8_lossy(&answer));
    // Our side is open still: the server's is not.
    assert_eq!(stream.sock.tcp.read(&mut [0; 16]).expect("a FIN"), 0);
}

#[test]
fn words_and_a_close_notice_in_one_segment_are_both_heard() {
    let secure = Secure::start(&[]);
    let mut peer = Client::of(&secure).open("/echo");
    // No close frame and no FIN follow: only the notice says that this is the end.
    peer.stream.conn.writer().write_all(&encode(true, TEXT, b"goodbye")).expect("it is buffered");
    peer.stream.conn.send_close_notify();
    let mut bytes = Vec::new();
    while peer.stream.conn.wants_write() {
        peer.stream.conn.write_tls(&mut bytes).expect("memory takes it");
    }
    peer.stream.sock.tcp.write_all(&bytes).expect("the server reads");
    wait_for("the connection to be over", || {
        secure.metrics().contains("departures_total{reason=\"end_of_stream\"} 1").then_some(())
    });
    let mut rest = Vec::new();
    peer.stream.sock.tcp.read_to_end(&mut rest).expect("the server has ended its side");
}

#[test]
fn who_does_not_read_its_echoes_is_not_read_from_and_loses_nothing() {
    let secure = Secure::start(&["--stall-timeout", "60s"]);
    let mut peer = Client::of(&secure).open("/echo");
    let mut reader = peer.stream.sock.tcp.try_clone().expect("descriptors are there");
    let before = secure.rss_kib();
    // Written until it does not fit any more: the server has stopped reading.
    peer.stream
        .sock
        .tcp
        .set_write_timeout(Some(std::time::Duration::from_millis(700)))
        .expect("it can be set");
    let mut sent = 0_u32;
    let mut rest = Vec::new();
    while rest.is_empty() {
        let frame = encode(true, BINARY, &[&sent.to_be_bytes()[..], &vec![sent as u8; 20_000]].concat());
        peer.stream.conn.writer().write_all(&frame).expect("one frame is buffered");
        sent += 1;
        let mut bytes = Vec::new();
        while peer.stream.conn.wants_write() {
            peer.stream.conn.write_tls(&mut bytes).expect("memory takes it");
        }
        rest = write_some(&mut peer.stream.sock.tcp, bytes);
        assert!(sent < 10_000, "a server that is not read from has stopped reading");
    }
    let grown = secure.rss_kib().saturating_sub(before);
    println!("echoes nobody reads: {grown} KiB after {sent} messages of 20 kB");
    assert!(grown < 8 << 10, "{grown} KiB for one peer");
    peer.stream.sock.tcp.set_write_timeout(Some(PATIENCE)).expect("it can be set");
    let writer = std::thread::spawn(move || reader.write_all(&rest));
    for n in 0..sent {
        let frame = peer.message();
        assert_eq!(frame.payload[..4], n.to_be_bytes(), "in order and without a gap");
        assert!(frame.payload[4..].iter().all(|byte| *byte == n as u8) && frame.payload.len() == 20_004);
    }
    writer.join().expect("it ends").expect("the server reads again");
    peer.close();
}

/// Writes until nothing more is taken, and returns what is left.
fn write_some(stream: &mut TcpStream, mut bytes: Vec<u8>) -> Vec<u8> {
    while !bytes.is_empty() {
        match stream.write(&bytes) {
            Ok(n) => drop(bytes.drain(..n)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    bytes
}

#[test]
fn a_broadcast_reaches_plain_and_tls_alike() {
    let secure = Secure::start(&[]);
    let client = Client::of(&secure);
    let mut plain: Vec<Peer> = (0..5).map(|_| secure.server.open("/broadcast/all")).collect();
    let mut tls: Vec<Peer<TlsStream>> = (0..5).map(|_| client.open("/broadcast/all")).collect();
    for n in 0..50 {
        let text = format!("{n} {}", "y".repeat(n * 100));
        if n % 2 == 0 {
            plain[0].send_text(&text)
        } else {
            tls[0].send_text(&text)
        }
        for peer in &mut plain {
            assert_eq!(peer.message().text(), text);
        }
        for peer in &mut tls {
            assert_eq!(peer.message().text(), text);
        }
    }
}

#[test]
fn idle_peers_cost_little() {
    let secure = Secure::start(&[]);
    let client = Client::of(&secure);
    let open = |count: usize| -> Vec<Peer<TlsStream>> {
        (0..count)
            .map(|_| {
                let mut peer = client.open("/echo");
                // A message of several records each way: what its buffers grew to must not stay.
                peer.send(BINARY, &[7; 40_000]);
                assert_eq!(peer.message().payload.len(), 40_000);
                peer.send_text("small");
                assert_eq!(peer.message().text(), "small");
                peer
            })
            .collect()
    };
    // The slope, not the sum: the first hundred pay for what all share.
    let first = open(100);
    let before = secure.rss_kib();
    let peers = open(600);
    let each = (secure.rss_kib() - before) as f64 / 600.0;
    println!("an idle TLS peer: {each:.2} KiB of ours");
    assert!(each <= 12.0, "{each:.2} KiB for an idle peer");
    drop((first, peers));
}

#[test]
fn a_closed_frame_is_not_needed_to_free_everything() {
    let secure = Secure::start(&[]);
    let client = Client::of(&secure);
    let peers: Vec<_> = (0..50).map(|_| client.open("/broadcast/x")).collect();
    let resets = peers.into_iter().map(|peer| {
        let tcp = socket2::Socket::from(peer.stream.sock.tcp);
        tcp.set_linger(Some(std::time::Duration::ZERO)).expect("it can be set");
    });
    resets.for_each(drop);
    wait_for("all to be gone", || (secure.connections() <= 1).then_some(()));
    let mut peer = client.open("/echo");
    peer.send(CLOSE, &[]);
    assert_eq!(peer.closed(), 1005);
}
