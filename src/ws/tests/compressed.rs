//! Compressed messages through decoder, inflater and deflater: RFC 7692 §6 and §7.2.3 byte by byte, and laws.
//!
//! The decoder only gathers a compressed message; what it unfolds to is the inflater's to say. What must hold of both
//! together stands at the end; that zlib reads us, and we it, in `tests/differential/compression.rs`.

use super::*;
use crate::ws::deflate::{Deflater, Inflater, RATIO_FREE_BYTES, RATIO_MAX, compressed_max};
use proptest::collection::vec;
use proptest::prelude::*;

const RSV1: u8 = 0x40;
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
const TAIL: &[u8] = b"\x00\x00\xff\xff";

/// What a message unfolds to, alone.
fn inflated(kind: Kind, compressed: &[u8]) -> Result<Vec<u8>, Violation> {
    let mut out = Vec::new();
    Inflater::new().inflate(kind, compressed, &mut out, &WIDE, false).map(|()| out)
}

/// The payload of the only frame in `frame`, and whether it has RSV1.
fn payload(frame: &[u8]) -> (bool, Vec<u8>) {
    let header = Header::decode(frame, Role::Client).unwrap().unwrap();
    assert_eq!(header.header_len as u64 + header.payload_len, frame.len() as u64);
    (header.reserved == RSV1, frame[header.header_len..].to_vec())
}

/// What our deflater makes of a message.
fn deflated(deflater: &mut Deflater, kind: Kind, message: &[u8], keep_context: bool) -> (bool, Vec<u8>) {
    let mut frame = Vec::new();
    let is_compressed = deflater.encode_deflated(&mut frame, kind, message, keep_context);
    let (has_rsv1, payload) = payload(&frame);
    assert_eq!(has_rsv1, is_compressed);
    (is_compressed, payload)
}

fn listener(role: Role, limits: Limits) -> Listener {
    Listener { decoder: Decoder::with_deflate(role), ..Listener::new(role, limits) }
}

/// What is heard where compression was agreed on, at once and in pieces.
#[track_caller]
fn expect_within(limits: Limits, frames: &[(u8, &[u8])], expected: &[Heard]) {
    for (role, frame) in [(Role::Server, masked as fn(u8, &[u8]) -> Vec<u8>), (Role::Client, plain)] {
        let stream: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
        for piece_len in [1, 2, 7, stream.len()] {
            let mut listener = listener(role, limits);
            for piece in stream.chunks(piece_len) {
                listener.receive(piece);
                listener.between(Between::Compact);
            }
            assert_eq!(listener.heard, expected, "{role:?}, in pieces of {piece_len}");
        }
    }
}

fn squeezed(kind: Kind, payload: &[u8]) -> Heard {
    Heard::Compressed(kind, payload.to_vec())
}

/// RFC 7692 §7.2.3.1 to §7.2.3.6.
#[test]
fn the_rfc_s_own_examples() {
    // §7.2.3.1: one block.
    assert_eq!(inflated(Kind::Text, HELLO), Ok(b"Hello".to_vec()));
    // The same in two fragments.
    expect_within(
        WIDE,
        &[(0x41, &HELLO[..3]), (0x80, &HELLO[3..]), (0xC1, HELLO), (0x81, b"Hello")],
        &[squeezed(Kind::Text, HELLO), squeezed(Kind::Text, HELLO), text("Hello")],
    );
    // §7.2.3.3: a stored block.
    assert_eq!(inflated(Kind::Text, b"\x00\x05\x00\xfa\xffHello\x00"), Ok(b"Hello".to_vec()));
    // §7.2.3.4: BFINAL.
    assert_eq!(inflated(Kind::Text, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), Ok(b"Hello".to_vec()));
    // §7.2.3.5: two blocks.
    let two = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    assert_eq!(inflated(Kind::Text, two), Ok(b"Hello".to_vec()));
    // §7.2.3.6: an empty message.
    assert_eq!(inflated(Kind::Text, b"\x00"), Ok(vec![]));
    // §7.2.3.2: the second message refers to the first.
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    assert_eq!(inflater.inflate(Kind::Text, HELLO, &mut out, &WIDE, true), Ok(()));
    assert_eq!(inflater.inflate(Kind::Text, b"\xf2\x00\x11\x00\x00", &mut out, &WIDE, true), Ok(()));
    assert_eq!(out, b"Hello");
    // And what we send is just that.
    let mut deflater = Deflater::new(15);
    let mut frame = Vec::new();
    assert!(deflater.encode_deflated(&mut frame, Kind::Text, b"Hello", true));
    assert_eq!(frame, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
    frame.clear();
    assert!(deflater.encode_deflated(&mut frame, Kind::Text, b"Hello", true));
    assert_eq!(frame, b"\xc1\x05\xf2\x00\x11\x00\x00");
    frame.clear();
    assert!(deflater.encode_deflated(&mut frame, Kind::Text, b"", true));
    assert_eq!(frame, b"\xc1\x01\x00");
}

/// §6: RSV1 is the first frame's of a data message; RSV2 and RSV3 are nobody's.
#[test]
fn where_rsv1_may_stand() {
    let wrong = Heard::Violation(Violation::ReservedBits);
    for (first, heard) in [(0xC1, Kind::Text), (0xC2, Kind::Binary)] {
        expect_within(WIDE, &[(first, HELLO)], &[squeezed(heard, HELLO)]);
    }
    for bits in [0x10, 0x20, 0x30, 0x50, 0x60, 0x70] {
        expect_within(WIDE, &[(0x81 | bits, HELLO)], std::slice::from_ref(&wrong));
    }
    for control in [0xC8, 0xC9, 0xCA] {
        expect_within(WIDE, &[(0x41, HELLO), (control, b"")], std::slice::from_ref(&wrong));
    }
    // A continuation has none, of a compressed message neither.
    for (first, next) in [(0x41, 0xC0), (0x02, 0xC0), (0x41, 0x40), (0x02, 0xC1)] {
        expect_within(WIDE, &[(first, HELLO), (next, b"")], std::slice::from_ref(&wrong));
    }
    expect_within(WIDE, &[(0xC0, b"")], std::slice::from_ref(&wrong));
    // Nobody agreed on it.
    assert_eq!(hear(Role::Client, WIDE, &plain(0xC1, HELLO)), [wrong]);
}

/// Fragments, controls between them, plain and compressed messages by turns; what is compressed is not text yet.
#[test]
fn compressed_and_plain_messages_by_turns() {
    expect_within(
        WIDE,
        &[
            (0x41, b"\xff"),
            (0x89, b"ping"),
            (0x00, b""),
            (0x80, b"\xfe"),
            (0x01, b"pl"),
            (0x80, b"ain"),
            (0xC2, b""),
            (0x81, b"\xff"),
        ],
        &[
            ping(b"ping"),
            squeezed(Kind::Text, b"\xff\xfe"),
            text("plain"),
            squeezed(Kind::Binary, b""),
            Heard::Violation(Violation::TextNotUtf8),
        ],
    );
}

/// What deflate may add to incompressible data is allowed for, and not a byte more.
#[test]
fn a_compressed_message_is_bounded_from_its_header() {
    let narrow = Limits { frame_max: 1000, message_max: 1000, fragments_max: 4 };
    let longest = vec![7; compressed_max(1000) as usize];
    expect_within(narrow, &[(0xC2, &longest)], &[squeezed(Kind::Binary, &longest)]);
    expect_within(narrow, &[(0x82, &longest)], &[Heard::Violation(Violation::FrameTooBig)]);
    let longer = [&longest[..], &[7]].concat();
    expect_within(narrow, &[(0xC2, &longer)], &[Heard::Violation(Violation::FrameTooBig)]);
    expect_within(narrow, &[(0x42, &longest), (0x80, b"x")], &[Heard::Violation(Violation::MessageTooBig)]);
    assert_eq!(compressed_max(u64::MAX), u64::MAX);
    // Random bytes at the limit, compressed although they grow, come through.
    let noise: Vec<u8> = noise(1000).collect();
    for bits in 9..=15 {
        let (_, compressed) = deflated(&mut Deflater::new(bits), Kind::Binary, &noise, true);
        assert!(compressed.len() as u64 <= compressed_max(1000));
        let mut out = Vec::new();
        assert_eq!(Inflater::new().inflate(Kind::Binary, &compressed, &mut out, &narrow, true), Ok(()));
        assert_eq!(out, noise);
    }
}

/// Bytes that do not compress.
fn noise(len: usize) -> impl Iterator<Item = u8> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(len)
}

#[test]
fn what_is_not_whole_valid_deflate_is_1007() {
    assert_eq!(Violation::DeflateInvalid.close_code(), CloseCode::INVALID_PAYLOAD);
    let bad = Err(Violation::DeflateInvalid);
    for cut in 1..HELLO.len() {
        assert_eq!(inflated(Kind::Text, &HELLO[..cut]), bad, "cut at {cut}");
    }
    for garbage in [&b"\x00"[..], b"\x01", b"\xff", b"more", b"\x00\x00\xff\xff"] {
        assert_eq!(inflated(Kind::Binary, &[HELLO, garbage].concat()), bad, "{garbage:x?}");
    }
    for compressed in [
        &b"\xf2\x00\x11\x00\x00"[..],        // refers to a message before it
        b"\x06",                             // a block of the reserved kind
        b"\x00\x05\x00\xfb\xffHello",        // a stored block whose length is wrong
        b"\x00\x05\x00\xfa\xffHel",          // a stored block that ends too early
        b"\x00\x09\x00\xf6\xffHello",        // a stored block that would swallow the tail
        b"\x78\x9c\xf2\x48\xcd\xc9\x07\x00", // with zlib's header
        b"Hello",
        b"\xff\xff\xff\xff",
    ] {
        assert_eq!(inflated(Kind::Binary, compressed), bad, "{compressed:x?}");
    }
    // Some send it for an empty message.
    assert_eq!(inflated(Kind::Text, b""), Ok(vec![]));
}

/// §7.2.3.4 and beyond: streams that end within a message, one or many, and with nothing behind.
#[test]
fn blocks_with_bfinal() {
    let last = b"\xf3\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!(inflated(Kind::Text, &[&last[..], HELLO].concat()), Ok(b"HelloHello".to_vec()));
    assert_eq!(inflated(Kind::Text, &[&last[..], last, b"\x00"].concat()), Ok(b"HelloHello".to_vec()));
    // Nothing but the tail's own stored block behind it would need its first byte.
    assert_eq!(inflated(Kind::Text, last), Err(Violation::DeflateInvalid));
    // Each costs a new beginning and gives nothing: a few are somebody's way, thousands are an attack.
    let ends = |count| [b"\x03\x00".repeat(count), b"\x00".to_vec()].concat();
    assert_eq!(inflated(Kind::Text, &ends(16)), Ok(vec![]));
    assert_eq!(inflated(Kind::Text, &ends(17)), Err(Violation::DeflateInvalid));
}

#[test]
fn text_is_checked_when_it_is_unfolded() {
    for (bad, is_good_binary) in [(&b"caf\xe9"[..], true), (b"half \xe2\x82", true), (b"\xff", true)] {
        let (_, compressed) = deflated(&mut Deflater::new(15), Kind::Text, bad, true);
        assert_eq!(inflated(Kind::Text, &compressed), Err(Violation::TextNotUtf8));
        assert_eq!(inflated(Kind::Binary, &compressed).is_ok(), is_good_binary);
    }
    // Characters over the edges of steps and blocks.
    let word = "κόσμε 😀 ".repeat(20_000);
    let (_, compressed) = deflated(&mut Deflater::new(9), Kind::Text, word.as_bytes(), false);
    assert_eq!(inflated(Kind::Text, &compressed), Ok(word.into_bytes()));
}

/// Zeros without end: `times` MiB of them in some 1 000 bytes each.
fn zeros(times: usize) -> Vec<u8> {
    let (_, mebibyte) = deflated(&mut Deflater::new(15), Kind::Binary, &vec![0; 1 << 20], false);
    let flushed = [&mebibyte[..], TAIL].concat();
    let mut all = flushed.repeat(times);
    all.truncate(all.len() - TAIL.len());
    all
}

/// A gibibyte of zeros costs no more than the limit, in output and in memory.
#[test]
fn a_bomb_ends_at_the_message_limit() {
    let bomb = zeros(1024);
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    for message_max in [0, 1, 1000, 100_000, 1 << 20] {
        let limits = Limits { frame_max: message_max, message_max, fragments_max: 1 };
        for keep_context in [false, true] {
            let result = inflater.inflate(Kind::Binary, &bomb, &mut out, &limits, keep_context);
            assert_eq!(result, Err(Violation::InflatedTooBig), "{message_max}");
            assert!(
                out.len() as u64 == message_max + 1 && out.capacity() as u64 <= message_max.max(1000) + 1
            );
        }
    }
    assert_eq!(Violation::InflatedTooBig.close_code(), CloseCode::TOO_BIG);
    // Just at the limit is no bomb, and the same inflater still serves.
    let limits = Limits { frame_max: 1 << 20, message_max: 1 << 20, fragments_max: 1 };
    assert_eq!(inflater.inflate(Kind::Text, &zeros(1), &mut out, &limits, false), Ok(()));
    assert_eq!(out.len(), 1 << 20);
    assert_eq!(inflater.inflate(Kind::Text, HELLO, &mut out, &limits, false), Ok(()));
    assert_eq!(out, b"Hello");
}

/// Where the message limit is generous, the ratio ends a bomb; up to a mebibyte none is looked at.
#[test]
fn a_bomb_ends_at_the_ratio() {
    let mut out = Vec::new();
    let two = zeros(2);
    assert!(two.len() * RATIO_MAX < RATIO_FREE_BYTES);
    let result = Inflater::new().inflate(Kind::Binary, &two, &mut out, &WIDE, false);
    assert_eq!((result, out.len()), (Err(Violation::DeflateRatio), RATIO_FREE_BYTES + 1));
    let many = zeros(64);
    let result = Inflater::new().inflate(Kind::Binary, &many, &mut out, &WIDE, false);
    assert_eq!((result, out.len()), (Err(Violation::DeflateRatio), many.len() * RATIO_MAX + 1));
    assert_eq!(Violation::DeflateRatio.close_code(), CloseCode::POLICY);
    // Repetitive, large and honest.
    let rows: String = (0..100_000).map(|row| format!("{{\"row\":{row},\"value\":null}},")).collect();
    let (_, compressed) = deflated(&mut Deflater::new(15), Kind::Text, rows.as_bytes(), false);
    assert_eq!(inflated(Kind::Text, &compressed), Ok(rows.into_bytes()));
}

/// Without context nothing of one peer's message can be referred to by another's, after an error neither.
#[test]
fn nothing_is_left_for_the_next_peer() {
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    let mut deflater = Deflater::new(15);
    let secret = b"the secret of one peer, a secret";
    let (_, first) = deflated(&mut deflater, Kind::Text, secret, true);
    let (_, second) = deflated(&mut deflater, Kind::Text, secret, true);
    assert!(second.len() < 10, "it refers to the first");
    let mut hear = |message: &[u8], keep| {
        let result = inflater.inflate(Kind::Binary, message, &mut out, &WIDE, keep);
        result.map(|()| out.clone())
    };
    assert_eq!(hear(&first, false), Ok(secret.to_vec()));
    assert_eq!(hear(&second, false), Err(Violation::DeflateInvalid));
    assert_eq!(hear(&second, true), Err(Violation::DeflateInvalid), "nor if a context begins behind it");
    for broken in [&first[..first.len() - 3], b"\x00\xff\xff\x00\x00half a stored block", b"\x05\xff\xff"] {
        assert_eq!(hear(broken, false), Err(Violation::DeflateInvalid));
        assert_eq!(hear(HELLO, false), Ok(b"Hello".to_vec()));
        assert_eq!(hear(broken, true), Err(Violation::DeflateInvalid));
        assert_eq!(hear(&second, true), Err(Violation::DeflateInvalid));
    }
    // The compressor neither: what it makes without context stands for itself, whatever went before.
    let alone = deflated(&mut Deflater::new(15), Kind::Text, secret, false);
    assert_eq!(deflated(&mut deflater, Kind::Text, secret, false), alone);
    assert_eq!(deflated(&mut deflater, Kind::Text, secret, false), alone);
}

/// What does not shrink goes as it is, unless a context would miss it.
#[test]
fn what_does_not_shrink() {
    for len in [0, 1, 2, 3, 5, 100, 1000, 70_000] {
        let noise: Vec<u8> = noise(len).collect();
        let mut deflater = Deflater::new(15);
        assert_eq!(deflated(&mut deflater, Kind::Binary, &noise, false), (false, noise.clone()));
        let (is_compressed, compressed) = deflated(&mut deflater, Kind::Binary, &noise, true);
        assert!(is_compressed && compressed.len() <= len + len / 300 + 6, "{len}: {}", compressed.len());
        assert_eq!(inflated(Kind::Binary, &compressed), Ok(noise));
    }
    // Nor is what was sent as it is referred to later.
    let noise: Vec<u8> = noise(500).collect();
    let mut deflater = Deflater::new(15);
    assert!(!deflated(&mut deflater, Kind::Binary, &noise, false).0);
    let (_, compressed) = deflated(&mut deflater, Kind::Binary, &noise, true);
    assert_eq!(inflated(Kind::Binary, &compressed), Ok(noise));
}

/// Every length form of the header, before compression and after it, masked or not, behind what was there.
#[test]
fn frames_have_the_header_of_what_came_out() {
    let mut deflater = Deflater::new(9);
    for len in [1, 10, 125, 126, 127, 400, 65_535, 65_536, 200_000] {
        let message: Vec<u8> = b"abcdefgh ".iter().copied().cycle().take(len).collect();
        for keep_context in [false, true] {
            let mut out = b"before".to_vec();
            let is_compressed = deflater.encode_deflated(&mut out, Kind::Text, &message, keep_context);
            let (has_rsv1, sent) = payload(&out[6..]);
            assert_eq!((has_rsv1, out.len()), (is_compressed, 6 + frame_len(sent.len())));
            assert!(is_compressed || sent == message);
            let mut deflater = Deflater::new(15);
            let mut masked = b"before".to_vec();
            let key = [1, 2, 3, 4];
            let is_compressed =
                deflater.encode_deflated_masked(&mut masked, Kind::Text, &message, key, keep_context);
            let heard = {
                let mut listener = listener(Role::Server, WIDE);
                listener.receive(&masked[6..]);
                listener.heard
            };
            match &heard[..] {
                [Heard::Compressed(Kind::Text, payload)] if is_compressed => {
                    assert_eq!(inflated(Kind::Text, payload).as_ref(), Ok(&message));
                }
                [Heard::Message(Kind::Text, payload)] => assert!(!is_compressed && *payload == message),
                other => panic!("{len}: {} events", other.len()),
            }
        }
    }
}

/// Found by the Autobahn suite (12.2.3): a compressor that is reset in the midst of its output ends in a panic.
#[test]
fn a_compressor_outlives_any_number_of_messages_that_do_not_shrink() {
    for bits in [9, 15] {
        let mut deflater = Deflater::new(bits);
        for round in 0..3000 {
            let noise: Vec<u8> = noise(round * 7 % 600).map(|byte| byte ^ round as u8).collect();
            assert_eq!(deflated(&mut deflater, Kind::Binary, &noise, false), (false, noise));
            let (_, compressed) = deflated(&mut deflater, Kind::Text, b"Hello", true);
            assert_eq!(inflated(Kind::Text, &compressed), Ok(b"Hello".to_vec()));
        }
    }
}

#[test]
#[should_panic(expected = "8 bits are no window of ours")]
fn there_is_no_window_of_8_bits() {
    Deflater::new(8);
}

/// Texts and bytes that compress well, a little, and not at all.
fn message() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    prop_oneof![
        "\\PC{0,60}".prop_map(|text| (Kind::Text, text.into_bytes())),
        ("[a-f ]{1,40}", 1usize..200).prop_map(|(text, times)| (Kind::Text, text.repeat(times).into_bytes())),
        vec(any::<u8>(), 0..600).prop_map(|bytes| (Kind::Binary, bytes)),
        (any::<u8>(), 0usize..5000).prop_map(|(byte, len)| (Kind::Binary, vec![byte; len])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// All windows, contexts kept by one side, by the other, by both and by none: each direction is one such pair.
    #[test]
    fn what_is_deflated_is_inflated(bits in 9u8..=15, keep: bool, messages in vec(message(), 1..12)) {
        let (mut deflater, mut inflater) = (Deflater::new(bits), Inflater::new());
        let mut out = Vec::new();
        for (kind, message) in messages {
            let (is_compressed, payload) = deflated(&mut deflater, kind, &message, keep);
            if is_compressed {
                prop_assert_eq!(inflater.inflate(kind, &payload, &mut out, &WIDE, keep), Ok(()));
                prop_assert_eq!(&out, &message);
            } else {
                prop_assert_eq!(&payload, &message);
            }
            prop_assert!(keep || payload.len() <= message.len());
        }
    }

    /// Bytes with no sense, and sense with a byte changed: never a panic, never more than the limit, and for whoever
    /// comes next as if nothing had been. What they unfold to is held against zlib in `tests/differential/`.
    #[test]
    fn bytes_without_sense(
        (kind, message) in message(),
        mistakes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        random in prop::option::of(vec(any::<u8>(), 0..200)),
        keep: bool,
    ) {
        let (_, mut bytes) = deflated(&mut Deflater::new(15), kind, &message, true);
        for (at, byte) in mistakes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let bytes = random.unwrap_or(bytes);
        let limits = Limits { message_max: 3000, ..WIDE };
        let (mut inflater, mut out) = (Inflater::new(), Vec::new());
        let result = inflater.inflate(Kind::Binary, &bytes, &mut out, &limits, keep);
        prop_assert!(out.len() <= 3001 && out.capacity() <= 3001);
        if result.is_err() || !keep {
            prop_assert_eq!(inflater.inflate(Kind::Text, HELLO, &mut out, &limits, keep), Ok(()));
            prop_assert_eq!(&out, b"Hello");
        }
    }

    /// Chop invariance: streams of compressed and plain messages in fragments, with a ping in between and with
    /// mistakes or without, give the same events whichever way they are cut.
    #[test]
    fn compressed_streams_however_cut(
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
        messages in vec((message(), any::<bool>(), 1usize..80), 1..6),
        mistakes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cuts in vec((1usize..60, any::<bool>()), 1..60),
    ) {
        let (mut deflater, mut stream, mut expected) = (Deflater::new(15), Vec::new(), Vec::new());
        let frame = if role == Role::Server { masked } else { plain };
        for ((kind, message), squeeze, fragment_len) in &messages {
            let (rsv1, sent) = if *squeeze {
                let (_, compressed) = deflated(&mut deflater, *kind, message, true);
                expected.push(squeezed(*kind, &compressed));
                (RSV1, compressed)
            } else {
                expected.push(Heard::Message(*kind, message.clone()));
                (0, message.clone())
            };
            for (i, fragment) in sent.chunks(*fragment_len).enumerate() {
                let first = if i == 0 { kind.opcode().bits() | rsv1 } else { 0 };
                stream.extend(frame(first, fragment));
            }
            let first = if sent.is_empty() { kind.opcode().bits() | rsv1 } else { 0 };
            stream.extend(frame(first | 0x80, b""));
        }
        let is_good = mistakes.is_empty();
        for (at, byte) in mistakes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let mut whole = listener(role, WIDE);
        whole.receive(&stream);
        prop_assert!(!is_good || whole.heard == expected);
        let mut cut = listener(role, WIDE);
        let mut rest = &stream[..];
        for (len, moves) in cuts {
            let (piece, behind) = rest.split_at(len.min(rest.len()));
            cut.receive(piece);
            cut.between(if moves { Between::Carry } else { Between::Compact });
            rest = behind;
        }
        cut.receive(rest);
        prop_assert_eq!(cut.heard, whole.heard);
    }
}
