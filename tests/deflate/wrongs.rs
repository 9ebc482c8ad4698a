//! Hostile compression, sent by hand: invalid streams, bombs, bits that nobody agreed on, more contexts than there may be.
//!
//! What is small on the wire may be large behind it, so that each wrong is looked at twice: in its answer, and in what is left of it.
//!
//! Invariant: after each wrong the server serves the next peer as if nothing had been.

use super::*;

#[test]
fn wrong_bits_and_wrong_streams_are_told_apart() {
    let server = start("shared", &[]);
    let not_utf8 = {
        let mut deflate = Compress::new(Compression::default(), false);
        let mut out = Vec::with_capacity(1024);
        deflate.compress_vec(b"caf\xc3", &mut out, FlushCompress::Sync).expect("zlib compresses");
        out.truncate(out.len() - 4);
        out
    };
    for (first, payload, code) in [
        (0x20 | TEXT, &b"x"[..], 1002),
        (0x40 | PING, b"x", 1002),
        (0x40 | TEXT, b"this is no deflate stream", 1007),
        (0x40 | TEXT, &not_utf8, 1007),
        (TEXT, b"caf\xc3", 1007),
    ] {
        let mut peer = Deflated::open(&server, "/echo", OFFER);
        peer.send_raw(true, first, payload);
        assert_eq!(peer.peer.closed(), code, "{first:#x} {payload:?}");
        assert_echoes(&server);
    }
    server.aftermath();
}

/// What zeros of such a length become.
fn bomb(zeros: usize) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::best(), false);
    let block = vec![0; 1 << 20];
    let mut out = Vec::with_capacity(zeros / 900);
    for _ in 0..zeros / block.len() {
        deflate.compress_vec(&block, &mut out, FlushCompress::None).expect("zlib compresses");
    }
    deflate.compress_vec(&[], &mut out, FlushCompress::Sync).expect("zlib compresses");
    assert!(out.len() < out.capacity());
    out.truncate(out.len() - 4);
    out
}

#[test]
fn twenty_bombs_of_a_gigabyte_cost_the_limit_and_no_more() {
    const LIMIT_KIB: usize = 2 << 10;
    let server = start("shared", &["--message-max", "2mi"]);
    assert_echoes(&server);
    let bomb = bomb(1 << 30);
    assert!(bomb.len() < LIMIT_KIB << 10, "{} bytes: nothing is wrong with them as they are", bomb.len());
    let before = memory(&server, "VmRSS:");
    let mut peers: Vec<Deflated> = (0..20).map(|_| Deflated::open(&server, "/echo", OFFER)).collect();
    // All but the last byte of each, and then that of all at once.
    let frames: Vec<u8> = {
        let mut frame = encode(true, BINARY, &bomb);
        frame[0] |= 0x40;
        frame
    };
    let (most, last) = frames.split_at(frames.len() - 1);
    for peer in &mut peers {
        peer.peer.stream.write_all(most).expect("the server reads");
    }
    for peer in &mut peers {
        peer.peer.stream.write_all(last).expect("the server reads");
    }
    for peer in &mut peers {
        assert_eq!(peer.peer.closed(), 1009);
    }
    let peak = memory(&server, "VmHWM:");
    let slack = 8 << 10;
    assert!(peak < before + 20 * LIMIT_KIB + slack, "{before} KiB before, {peak} at the peak");
    drop(peers);
    assert_echoes(&server);
    assert!(metric(&server, "deflate_inflated_bytes_total") < 21 * ((LIMIT_KIB as u64 + 128) << 10));
    server.aftermath();
}

#[test]
fn a_small_bomb_is_1009_and_the_next_peer_is_served() {
    for mode in ["shared", "context"] {
        let server = start(mode, &[]);
        let mut peer = Deflated::open(&server, "/echo", OFFER);
        peer.send(BINARY, &vec![0; (64 << 10) + 1]);
        assert_eq!(peer.peer.closed(), 1009);
        let mut peer = Deflated::open(&server, "/echo", OFFER);
        peer.send(BINARY, &vec![0; 64 << 10]);
        assert_eq!(peer.read().payload.len(), 64 << 10, "the limit itself is allowed");
        peer.close();
        assert_echoes(&server);
        let page = server.get("/metrics");
        assert!(
            page.text().contains("stentor_refusals_total{kind=\"violation\",reason=\"inflated_too_big\"} 1")
        );
        server.aftermath();
    }
}

#[test]
fn what_unfolds_to_more_than_256_times_its_length_is_1008() {
    let server = start("shared", &["--message-max", "4mi"]);
    let mut peer = Deflated::open(&server, "/echo", OFFER);
    peer.send_raw(true, BINARY | 0x40, &bomb(3 << 20));
    assert_eq!(peer.peer.closed(), 1008);
    assert_echoes(&server);
    drop(peer);
    server.aftermath();
}

#[test]
fn a_flood_that_unfolds_is_taken_in_portions() {
    let server = start("shared", &[]);
    let mut flood = Deflated::open(&server, "/broadcast/void?self=0", OFFER);
    let compressed = flood.compress(&vec![0; 64 << 10]);
    let mut frame = encode(true, BINARY, &compressed);
    frame[0] |= 0x40;
    // 32 MiB of messages in some 50 KiB.
    flood.peer.stream.write_all(&frame.repeat(512)).expect("the server reads");
    assert!(flood.peer.settle().is_empty());
    assert_eq!(metric(&server, "deflate_inflated_bytes_total"), 512 * (64 << 10));
    assert!(
        metric(&server, "turns_cut_total") > 512 * (64 << 10) / (1 << 20),
        "a megabyte in one go is too much"
    );
    flood.close();
    assert_echoes(&server);
    server.aftermath();
}

#[test]
fn memory_is_promised_up_to_the_bound_and_back_afterwards() {
    let one = (DEFLATER_BYTES_MAX + INFLATER_BYTES_MAX) as u64;
    let server = start("context", &["--deflate-memory", &(3 * one + 1000).to_string()]);
    let mut peers: Vec<Deflated> = (0..3).map(|_| Deflated::open(&server, "/echo", OFFER)).collect();
    assert!(peers.iter().all(|peer| peer.agreed == "permessage-deflate"));
    assert_eq!((metric(&server, "deflate_contexts"), metric(&server, "deflate_memory_bytes")), (3, 3 * one));
    let mut late = Deflated::open(&server, "/echo", OFFER);
    assert_eq!(late.agreed, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    assert_eq!(metric(&server, "deflate_forgotten_total"), 1);
    for peer in peers.iter_mut().chain([&mut late]) {
        for seed in 0..3 {
            peer.send(TEXT, &json(3000, seed));
            assert_eq!(peer.read().payload, json(3000, seed));
        }
    }
    peers.pop().expect("three").close();
    wait_for("its memory to be given back", || (metric(&server, "deflate_contexts") == 2).then_some(()));
    peers.push(Deflated::open(&server, "/echo", OFFER));
    assert_eq!(peers[2].agreed, "permessage-deflate", "there is room again");
    drop((peers, late));
    wait_for("all memory to be given back", || (metric(&server, "deflate_memory_bytes") == 0).then_some(()));
    assert_eq!(metric(&server, "deflate_contexts"), 0);
    assert_echoes(&server);
    server.aftermath();
}
