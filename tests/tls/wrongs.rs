//! TLS gone wrong: no TLS at all, half of it, too much of it, spoiled, slow, or without an end.
//!
//! What is wrong below the WebSocket must not be heard above it, and what a handshake has taken must come back when it fails.
//!
//! Invariant: each test ends with the aftermath, over TLS and without.

use super::*;

#[test]
fn the_bytes_of_an_unfinished_record_are_a_sign_of_life() {
    let secure = Secure::start(&["--ping-interval", "500ms", "--pong-timeout", "500ms"]);
    let mut peer = Client::of(&secure).open("/echo");
    let mut record = Vec::new();
    peer.stream.conn.writer().write_all(&encode(true, TEXT, b"slow")).expect("it is encrypted");
    peer.stream.conn.write_tls(&mut record).expect("it fits");
    // Longer than a ping may stay without an answer, and none is given: the peer is busy saying this.
    for byte in record.chunks(1) {
        peer.stream.sock.tcp.write_all(byte).expect("the server has not let go");
        std::thread::sleep(std::time::Duration::from_millis(80));
    }
    let heard = loop {
        let frame = peer.read();
        if frame.opcode != PING {
            break frame;
        }
    };
    assert_eq!(heard.text(), "slow");
    drop(peer);
    secure.aftermath();
}

#[test]
fn the_protocol_is_http_1_1_or_none_at_all() {
    let secure = Secure::start(&[]);
    for (offered, agreed) in
        [(&[][..], None), (&["http/1.1"], Some("http/1.1")), (&["h2", "http/1.1"], Some("http/1.1"))]
    {
        let peer = Client::of(&secure).alpn(offered).open("/echo");
        assert_eq!(peer.stream.conn.alpn_protocol(), agreed.map(str::as_bytes), "offered {offered:?}");
    }
    let refused = Client::of(&secure).alpn(&["h2"]).refused();
    assert_eq!(refused, Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    secure.counts("stentor_refusals_total{kind=\"tls\",reason=\"alpn\"} 1");
    secure.counts("stentor_departures_total{reason=\"tls\"} 1");
    secure.aftermath();
}

#[test]
fn an_old_version_is_refused_where_it_is_too_old() {
    let secure = Secure::start(&["--tls-min-version", "1.3"]);
    Client::of(&secure).version(&TLS13).open("/echo").close();
    let refused = Client::of(&secure).version(&TLS12).refused();
    assert_eq!(refused, Error::AlertReceived(AlertDescription::ProtocolVersion));
    secure.counts("stentor_refusals_total{kind=\"tls\",reason=\"version\"} 1");
    secure.aftermath();
}

#[test]
fn whoever_speaks_no_tls_gets_an_alert_and_harms_nobody() {
    let secure = Secure::start(&[]);
    let good = Client::of(&secure);
    let noise: Vec<u8> = (0..30_000_u32).map(|n| (n.wrapping_mul(2_246_822_519) >> 13) as u8).collect();
    for (said, label) in [
        (&b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"[..], "not_tls"),
        (&noise, "not_tls"),
        // A handshake record that holds no handshake.
        (b"\x16\x03\x01\x00\x04\x63\x00\x00\x00", "malformed"),
        // A client says server words.
        (b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00", "malformed"),
        // Encrypted bytes before any key.
        (b"\x17\x03\x03\x00\x05hello", "malformed"),
    ] {
        let before = secure.count("tls", label);
        let mut stream = secure.connect();
        let _ = stream.write_all(said);
        let mut heard = Vec::new();
        let ended = stream.read_to_end(&mut heard);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        assert_eq!(heard.first(), Some(&21), "an alert is the last word, not {heard:02x?}");
        wait_for("the refusal to be counted", || (secure.count("tls", label) > before).then_some(()));
        let mut peer = good.open("/echo");
        peer.send_text("still here?");
        assert_eq!(peer.message().text(), "still here?");
    }
    secure.aftermath();
}

#[test]
fn a_spoiled_record_ends_the_connection_with_an_alert() {
    let secure = Secure::start(&[]);
    let mut peer = Client::of(&secure).open("/echo");
    // Long enough to be a record, encrypted with a key that nobody has.
    peer.stream.sock.tcp.write_all(&[&b"\x17\x03\x03\x00\x40"[..], &[7; 64]].concat()).expect("it is read");
    let mut rest = Vec::new();
    let error = peer.stream.read_to_end(&mut rest).expect_err("no clean end");
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    secure.counts("stentor_refusals_total{kind=\"tls\",reason=\"record\"} 1");
    drop(peer);
    secure.aftermath();
}

#[test]
fn half_a_handshake_costs_little_and_ends() {
    let mut secure = Secure::start(&["--handshake-timeout", "3s", "--ping-interval", "0s"]);
    let client = Client::of(&secure);
    client.open("/echo").close();
    let hello = client.hello();
    // The half of an ordinary hello, and of one that announces as much as is taken.
    let mut vast = b"\x16\x03\x01\x3f\x00\x01\x00\x3e\xfc\x03\x03".to_vec();
    vast.resize(12_000, 0);
    // The last one again: what rustls allocates for half a hello are small blocks, so that their memory may stay; but it is used again.
    for (round, part) in [&hello[..hello.len() / 2], &vast[..], &vast[..]].into_iter().enumerate() {
        if round == 2 {
            secure.server.allow_the_memory_of_now();
        }
        let before = secure.rss_kib();
        let peers: Vec<TcpStream> = (0..500)
            .map(|_| {
                let mut stream = secure.connect();
                stream.write_all(part).expect("the server reads");
                stream
            })
            .collect();
        // Everything was read when the last one's bytes are: they come in order of arrival.
        wait_for("all to be there", || (secure.connections() >= 500).then_some(()));
        client.open("/echo").close();
        let each_kib = secure.rss_kib().saturating_sub(before) / 500;
        println!("half a handshake of {} bytes: {each_kib} KiB of ours", part.len());
        assert!(each_kib <= 40, "{each_kib} KiB for half a handshake");
        for mut peer in peers {
            let mut rest = Vec::new();
            let _ = peer.read_to_end(&mut rest);
            assert!(rest.is_empty() || rest[0] == 21, "nothing but an alert: {rest:02x?}");
        }
        wait_for("all to be gone", || (secure.connections() <= 1).then_some(()));
    }
    secure.counts("stentor_departures_total{reason=\"handshake_timeout\"} 1500");
    secure.aftermath();
}

#[test]
fn the_time_for_the_head_counts_from_accept_and_not_from_the_handshake() {
    let secure = Secure::start(&["--handshake-timeout", "2s"]);
    let mut stream = Client::of(&secure).connect();
    stream.conn.complete_io(&mut stream.sock).expect("the handshake is made");
    let began = Instant::now();
    // Half a head, and then nothing.
    stream.write_all(b"GET /echo HTTP/1.1\r\nHost: t").expect("the server reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert!(began.elapsed() < PATIENCE);
    drop(stream);
    secure.aftermath();
}

#[test]
fn a_storm_of_handshakes_is_served_to_the_last() {
    let secure = Secure::start(&[]);
    let client = Client::of(&secure);
    // All hellos are there before any answer is read.
    let mut streams: Vec<_> = (0..300).map(|_| client.connect()).collect();
    for stream in &mut streams {
        stream.conn.write_tls(&mut stream.sock).expect("the server reads");
    }
    for stream in streams {
        let mut peer = Peer::open(stream, "/echo");
        peer.send_text("in the end");
        assert_eq!(peer.message().text(), "in the end");
    }
    secure.aftermath();
}

#[test]
fn a_hello_that_does_not_end_is_not_listened_to_for_ever() {
    let secure = Secure::start(&[]);
    let mut stream = secure.connect();
    // One handshake message of 60 000 bytes, in records that are full.
    let mut hello = vec![1, 0, 0xea, 0x60];
    hello.resize(60_004, 0);
    for piece in hello.chunks(16_000) {
        let header = [0x16, 3, 1, (piece.len() >> 8) as u8, piece.len() as u8];
        let _ = stream.write_all(&[&header[..], piece].concat());
    }
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    secure.counts("stentor_refusals_total{kind=\"tls\",reason=\"hello_too_large\"} 1");
    drop(stream);
    secure.aftermath();
}

/// Half a record and the end of the stream come in one event, and nothing will tell of the end again.
#[test]
fn half_a_record_does_not_hide_the_end_behind_it() {
    let secure = Secure::start(&["--ping-interval", "0"]);
    let mut peers: Vec<_> = (0..8).map(|_| Client::of(&secure).open("/echo")).collect();
    for peer in &mut peers {
        peer.send_text("here");
        assert_eq!(peer.message().text(), "here");
    }
    // While it is stopped, both arrive.
    secure.server.signal("STOP");
    for peer in &mut peers {
        let tcp = &mut peer.stream.sock.tcp;
        tcp.write_all(b"\x17\x03\x03\x01\x00half ").expect("the system buffers");
        tcp.shutdown(std::net::Shutdown::Write).expect("it is open");
    }
    secure.server.signal("CONT");
    secure.counts("stentor_departures_total{reason=\"end_of_stream\"} 8");
    drop(peers);
    secure.aftermath();
}

#[test]
fn a_peer_that_vanishes_without_a_notice_has_ended() {
    let secure = Secure::start(&[]);
    let peer = Client::of(&secure).open("/echo");
    drop(peer);
    secure.counts("stentor_departures_total{reason=\"end_of_stream\"} 1");
    secure.aftermath();
}

#[test]
fn a_slow_reader_gets_whole_frames_in_order_and_is_told_of_the_gap() {
    let secure = Secure::start(&["--queue-max", "64ki", "--message-max", "64ki"]);
    let mut slow = Client::of(&secure).open("/broadcast/news");
    let mut good = Client::of(&secure).open("/broadcast/news");
    let before = secure.rss_kib();
    let filling = "x".repeat(9_000);
    let mut published = 0_u64;
    // Until the kernel's buffers and the queue are full, and then as much again. It pings meanwhile, and never reads.
    while secure.stat("dropped_total") < 300 {
        for _ in 0..20 {
            secure.server.publish("news", "text/plain", format!("{published} {filling}").as_bytes());
            assert!(good.message().text().starts_with(&format!("{published} ")));
            published += 1;
        }
        slow.send(PING, b"there?");
        assert!(published < 20_000, "the queue of a peer that does not read has no end");
    }
    let grown = secure.rss_kib().saturating_sub(before);
    println!("a slow reader: {grown} KiB after {published} publications of 9 kB");
    assert!(grown < 8 << 10, "{grown} KiB for one slow reader");

    let (mut heard, mut missed, mut next) = (0, 0, 0);
    secure.server.publish("news", "text/plain", b"the end");
    while heard + missed < published + 1 {
        let frame = slow.read();
        if frame.opcode == PONG {
            continue;
        }
        let text = frame.text();
        if let Some(gap) = text.strip_prefix("{\"type\":\"gap\",\"missed\":") {
            let gap: u64 = gap.trim_end_matches('}').parse().expect("a number");
            (missed, next) = (missed + gap, next + gap);
            continue;
        }
        heard += 1;
        if text != "the end" {
            assert!(text.starts_with(&format!("{next} ")) && text.ends_with("xx"), "{}", &text[..20]);
            next += 1;
        }
    }
    assert!(missed >= 300 && heard > 0, "{heard} heard, {missed} missed");
    slow.send_close(1000, "");
    assert_eq!(slow.closed(), 1000);
    drop((slow, good));
    secure.aftermath();
}
