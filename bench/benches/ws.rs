//! What RFC 6455 costs without a socket: decoding, encoding, masking, UTF-8, the handshake.
//!
//! These are the parts that a server runs for every byte or frame; the floor runs none of them.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stentor::ws::handshake::{Offer, accept_key};
use stentor::ws::utf8::Utf8;
use stentor::ws::{Cursor, Decoder, Limits, Opcode, Role, encode, encode_masked, mask};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMITS: Limits = Limits { frame_max: 1 << 24, message_max: 1 << 24, fragments_max: 1 << 17 };

/// Decodes a whole window and counts the events in it.
fn drain(window: &mut [u8]) -> usize {
    let (mut decoder, mut cursor, mut events) = (Decoder::new(Role::Server), Cursor::default(), 0);
    while let Some(event) = decoder.decode(window, &mut cursor, &LIMITS).expect("the frames are good") {
        black_box(event);
        events += 1;
    }
    events
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/decode");
    let ascii = |size: usize| "broadcast ".repeat(size / 10 + 1).into_bytes()[..size].to_vec();
    let greek = |size: usize| "στέντωρ ".repeat(size / 15 + 1).into_bytes()[..size / 15 * 15].to_vec();
    let cases = [
        ("binary", Opcode::Binary, 64, ascii(64), 1),
        ("binary", Opcode::Binary, 64, ascii(64), 100),
        ("text", Opcode::Text, 64, ascii(64), 100),
        ("text", Opcode::Text, 16 << 10, ascii(16 << 10), 1),
        ("greek", Opcode::Text, 16 << 10, greek(16 << 10), 1),
        ("binary", Opcode::Binary, 1 << 20, ascii(1 << 20), 1),
    ];
    for (name, opcode, size, payload, frames) in cases {
        let mut stream = Vec::new();
        (0..frames).for_each(|_| encode_masked(&mut stream, opcode, &payload, KEY));
        group.throughput(Throughput::Elements(frames));
        group.bench_function(BenchmarkId::new(name, format!("{frames}x{size}")), |b| {
            // Decoding unmasks in place, so every iteration needs bytes of its own.
            b.iter_batched_ref(|| stream.clone(), |window| drain(window), BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// A message in as many frames as it has bytes: the case in which a careless decoder goes quadratic.
fn fragments(c: &mut Criterion) {
    const FRAGMENTS: u64 = 10_000;
    let mut stream = Vec::new();
    for index in 0..FRAGMENTS {
        let mut frame = Vec::new();
        let opcode = if index == 0 { Opcode::Text } else { Opcode::Continuation };
        encode_masked(&mut frame, opcode, b"x", KEY);
        if index + 1 < FRAGMENTS {
            frame[0] &= 0x7f; // not the last: no FIN
        }
        stream.append(&mut frame);
    }
    let mut group = c.benchmark_group("ws/decode");
    group.throughput(Throughput::Elements(FRAGMENTS));
    group.bench_function("fragments/10000x1", |b| {
        b.iter_batched_ref(|| stream.clone(), |window| drain(window), BatchSize::LargeInput);
    });
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/encode");
    for size in [64, 1024, 16 << 10] {
        let payload = vec![7; size];
        let mut out = Vec::with_capacity(size + 14);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("server", size), |b| {
            b.iter(|| {
                out.clear();
                encode(&mut out, Opcode::Binary, black_box(&payload));
            });
        });
        group.bench_function(BenchmarkId::new("client", size), |b| {
            b.iter(|| {
                out.clear();
                encode_masked(&mut out, Opcode::Binary, black_box(&payload), KEY);
            });
        });
    }
    group.finish();
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/mask");
    for size in [64, 16 << 10, 1 << 20] {
        let mut bytes = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| mask::apply(KEY, black_box(&mut bytes)));
        });
    }
    group.finish();
}

fn utf8(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/utf8");
    for (name, letters) in [("ascii", "stentor "), ("greek", "στέντωρ "), ("emoji", "📣🔊🏛️ ")]
    {
        let text = letters.repeat((64 << 10) / letters.len());
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| Utf8::new().feed(black_box(text.as_bytes()))));
    }
    group.finish();
}

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/handshake");
    group.bench_function("accept_key", |b| b.iter(|| accept_key(black_box("dGhlIHNhbXBsZSBub25jZQ=="))));
    let headers: [(&str, &[u8]); 6] = [
        ("Host", b"example.org"),
        ("Upgrade", b"websocket"),
        ("Connection", b"keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Protocol", b"chat, superchat"),
    ];
    group.bench_function("offer", |b| b.iter(|| Offer::read(black_box(&headers).iter().copied()).is_ok()));
    group.finish();
}

criterion_group!(benches, decoding, fragments, encoding, masking, utf8, handshake);
criterion_main!(benches);
