//! The rules of RFC 6455 for open connections, one by one.
//!
//! The order and the numbers are those of the Autobahn suite's cases, which check the same rules over a socket.
//! Every case is heard in both roles, at once and in pieces of one, two and seven bytes.

use super::*;
use Heard::{Close, Ping, Pong, Violation as Wrong};

// First bytes: FIN and opcode, or no FIN.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
const TEXT_BEGINS: u8 = 0x01;
const BINARY_BEGINS: u8 = 0x02;
const GOES_ON: u8 = 0x00;
const ENDS: u8 = 0x80;

/// Sends frames of these first bytes and payloads, and expects just this to be heard.
#[track_caller]
fn expect_within(limits: Limits, frames: &[(u8, &[u8])], expected: &[Heard]) {
    for (role, frame) in [(Role::Server, masked as fn(u8, &[u8]) -> Vec<u8>), (Role::Client, plain)] {
        let stream: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
        assert_eq!(hear(role, limits, &stream), expected, "{role:?}, at once");
        for piece_len in [1, 2, 7] {
            let heard = hear_in_pieces(role, limits, &stream, piece_len);
            assert_eq!(heard, expected, "{role:?}, in pieces of {piece_len}");
        }
    }
}

#[track_caller]
fn expect(frames: &[(u8, &[u8])], expected: &[Heard]) {
    expect_within(WIDE, frames, expected);
}

/// 1.*: every boundary of the length forms.
#[test]
fn messages_of_every_length_form() {
    for len in [0, 1, 125, 126, 127, 128, 65535, 65536] {
        let payload = "*".repeat(len);
        expect(&[(TEXT, payload.as_bytes())], &[text(&payload)]);
        let payload = vec![0xFE; len];
        expect(&[(BINARY, &payload)], &[binary(&payload)]);
    }
}

/// 2.*: pings and pongs of every length, asked for or not; more than 125 bytes is wrong.
#[test]
fn pings_and_pongs() {
    expect(&[(PING, b"")], &[ping(b"")]);
    expect(&[(PING, b"Hello"), (PING, b"\0\xff\xfe")], &[ping(b"Hello"), ping(b"\0\xff\xfe")]);
    expect(&[(PING, &[0xFE; 125])], &[ping(&[0xFE; 125])]);
    expect(&[(PONG, b"unasked"), (PING, b"x")], &[Pong(b"unasked".into()), ping(b"x")]);
    for first in [CLOSE, PING, PONG] {
        expect(&[(first, &[0; 126])], &[Wrong(Violation::ControlTooLong)]);
        expect(&[(first, &[0; 70_000])], &[Wrong(Violation::ControlTooLong)]);
    }
    let many: Vec<_> = (0..10u8).map(|i| [i]).collect();
    let frames: Vec<(u8, &[u8])> = many.iter().map(|payload| (PING, &payload[..])).collect();
    let heard: Vec<Heard> = many.iter().map(|payload| Ping(payload.to_vec())).collect();
    expect(&frames, &heard);
}

/// 3.*: each of the reserved bits, on every opcode; good messages before come out, later ones do not.
#[test]
fn reserved_bits() {
    for bits in 1..8u8 {
        for first in [TEXT, BINARY, CLOSE, PING, PONG, TEXT_BEGINS] {
            expect(
                &[(TEXT, b"good"), (first | bits << 4, b""), (PING, b"late")],
                &[text("good"), Wrong(Violation::ReservedBits)],
            );
        }
    }
}

/// 4.*: reserved opcodes, data and control.
#[test]
fn reserved_opcodes() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for payload in [&b""[..], b"reserved opcode payload"] {
            expect(
                &[(TEXT, b"good"), (0x80 | opcode, payload), (PING, b"")],
                &[text("good"), Wrong(Violation::ReservedOpcode(opcode))],
            );
        }
    }
}

/// 5.1–5.2 and the third: control frames are never fragmented.
#[test]
fn fragmented_control() {
    for first in [CLOSE, PING, PONG] {
        expect(&[(first & 0x7F, b"frag"), (ENDS, b"ment")], &[Wrong(Violation::ControlFragmented)]);
    }
}

/// 5.3–5.8, 5.19–5.20: fragments with control frames between them, which come out first.
#[test]
fn fragments_and_what_comes_between() {
    expect(&[(TEXT_BEGINS, b"frag"), (ENDS, b"ment")], &[text("fragment")]);
    expect(&[(BINARY_BEGINS, b"\xff"), (GOES_ON, b"\xfe"), (ENDS, b"\xfd")], &[binary(b"\xff\xfe\xfd")]);
    expect(
        &[(TEXT_BEGINS, b"frag"), (PING, b"between"), (ENDS, b"ment"), (TEXT, b"next")],
        &[ping(b"between"), text("fragment"), text("next")],
    );
    expect(
        &[
            (TEXT_BEGINS, b"f1 "),
            (GOES_ON, b"f2 "),
            (PING, b"ping 1"),
            (GOES_ON, b"f3 "),
            (GOES_ON, b"f4 "),
            (PING, b"ping 2"),
            (PONG, b""),
            (ENDS, b"f5"),
        ],
        &[ping(b"ping 1"), ping(b"ping 2"), Pong(vec![]), text("f1 f2 f3 f4 f5")],
    );
    // A message may be left unfinished by a close (§5.5.1).
    expect(&[(TEXT_BEGINS, b"never en"), (CLOSE, b"")], &[Close(None)]);
}

/// 6.1: fragments without any byte, first, last, all of them.
#[test]
fn empty_fragments() {
    expect(&[(TEXT_BEGINS, b""), (ENDS, b"")], &[text("")]);
    expect(&[(TEXT_BEGINS, b""), (GOES_ON, b"middle"), (ENDS, b"")], &[text("middle")]);
    expect(
        &[(BINARY_BEGINS, b"first"), (GOES_ON, b""), (PING, b""), (ENDS, b"")],
        &[ping(b""), binary(b"first")],
    );
}

/// 5.9–5.14: a continuation with nothing to continue, also behind a message that has ended.
#[test]
fn stray_continuations() {
    for first in [GOES_ON, ENDS] {
        expect(&[(first, b"stray"), (TEXT, b"late")], &[Wrong(Violation::ContinuationStray)]);
        expect(&[(TEXT, b"one"), (first, b"stray")], &[text("one"), Wrong(Violation::ContinuationStray)]);
        expect(
            &[(TEXT_BEGINS, b"f"), (ENDS, b"g"), (first, b"stray")],
            &[text("fg"), Wrong(Violation::ContinuationStray)],
        );
    }
}

/// 5.15–5.18: a new message within a message.
#[test]
fn missing_continuations() {
    for first in [TEXT, BINARY, TEXT_BEGINS, BINARY_BEGINS] {
        expect(&[(TEXT_BEGINS, b"f1"), (first, b"f2")], &[Wrong(Violation::ContinuationMissing)]);
        expect(
            &[(BINARY_BEGINS, b""), (PING, b"p"), (first, b"f2")],
            &[ping(b"p"), Wrong(Violation::ContinuationMissing)],
        );
    }
}

/// 6.2–6.3: a character may be divided between frames; the message as a whole counts.
#[test]
fn utf8_over_fragments() {
    let word = "Hello-µ@ßöäüàá-UTF-8!! κόσμε 😀";
    for cut in 0..=word.len() {
        let (left, right) = word.as_bytes().split_at(cut);
        expect(&[(TEXT_BEGINS, left), (PING, b"\xff"), (ENDS, right)], &[ping(b"\xff"), text(word)]);
    }
    let bytewise: Vec<(u8, &[u8])> = word.as_bytes().chunks(1).map(|byte| (GOES_ON, byte)).collect();
    let frames = [&[(TEXT_BEGINS, &b""[..])], &bytewise[..], &[(ENDS, &b""[..])]].concat();
    expect(&frames, &[text(word)]);
    // Ends inside a character.
    expect(&[(TEXT, b"half \xe2\x82")], &[Wrong(Violation::TextNotUtf8)]);
    expect(&[(TEXT_BEGINS, b"half \xf0\x9f\x98"), (ENDS, b"")], &[Wrong(Violation::TextNotUtf8)]);
    // Not of one message into the next.
    expect(
        &[(TEXT_BEGINS, b"\xce"), (ENDS, b"\xba"), (TEXT, b"\xba")],
        &[text("κ"), Wrong(Violation::TextNotUtf8)],
    );
    // Binary is never checked.
    expect(
        &[(BINARY, b"\xff\xc0"), (BINARY_BEGINS, b"\xed"), (ENDS, b"\xa0")],
        &[binary(b"\xff\xc0"), binary(b"\xed\xa0")],
    );
}

/// 6.4.*: refused with the very byte that is wrong: in its fragment, and within an unfinished frame.
#[test]
fn text_fails_at_its_first_bad_byte() {
    // Overlongs, surrogates, above U+10FFFF, impossible bytes, lone continuations: 6.6–6.22 in their essence.
    for (good, bad) in [
        (&b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4"[..], 0x90),
        (b"", 0x80),
        (b"abc", 0xBF),
        (b"", 0xC0),
        (b"", 0xC1),
        (b"\xe0", 0x80),
        (b"\xe0", 0x9F),
        (b"\xed", 0xA0),
        (b"\xed", 0xBF),
        (b"\xf0", 0x80),
        (b"\xf0", 0x8F),
        (b"", 0xF5),
        (b"", 0xFE),
        (b"", 0xFF),
        (b"\xc3", b'('),
        (b"\xe2\x82", b'('),
        (b"\xf0\x9f\x98", 0xF0),
    ] {
        let payload = [good, &[bad], b"edited and much more of it"].concat();
        for (role, frame) in
            [(Role::Server, masked(TEXT, &payload)), (Role::Client, plain(TEXT_BEGINS, &payload))]
        {
            let bad_at = frame.len() - payload.len() + good.len();
            let mut listener = Listener::new(role, WIDE);
            for (at, byte) in frame.iter().enumerate() {
                assert_eq!(listener.heard, [], "{payload:x?} at {at}");
                listener.receive(&[*byte]);
                if at == bad_at {
                    break;
                }
            }
            assert_eq!(listener.heard, [Wrong(Violation::TextNotUtf8)], "{payload:x?}");
        }
        expect(&[(TEXT_BEGINS, good), (GOES_ON, &[bad]), (ENDS, b"late")], &[Wrong(Violation::TextNotUtf8)]);
    }
}

/// 6.5–6.23: what looks odd but is UTF-8.
#[test]
fn odd_but_good_utf8() {
    for odd in [
        "\0",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{10000}",
        "\u{1fffe}",
        "\u{10fffe}",
        "\u{10ffff}",
    ] {
        expect(&[(TEXT, odd.as_bytes())], &[text(odd)]);
    }
}

/// 7.1: after a close nothing is heard; pings before it are.
#[test]
fn nothing_comes_after_a_close() {
    expect(
        &[(TEXT, b"one"), (CLOSE, b"\x03\xe8"), (TEXT, b"late"), (PING, b"late"), (CLOSE, b"")],
        &[text("one"), Close(Some((1000, String::new())))],
    );
}

/// 7.3, 7.5: bodies of every shape.
#[test]
fn close_bodies() {
    expect(&[(CLOSE, b"")], &[Close(None)]);
    expect(&[(CLOSE, b"a")], &[Wrong(Violation::CloseBodyShort)]);
    expect(&[(CLOSE, b"\x03\xe8Hello World!")], &[Close(Some((1000, "Hello World!".into())))]);
    let longest = [b"\x03\xe9", &[b'*'; 123][..]].concat();
    expect(&[(CLOSE, &longest)], &[Close(Some((1001, "*".repeat(123))))]);
    expect(&[(CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")], &[Wrong(Violation::CloseReasonNotUtf8)]);
}

/// 7.7, 7.9, 7.13: codes that may and that must not be on the wire.
#[test]
fn close_codes() {
    for code in
        [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        expect(&[(CLOSE, &code.to_be_bytes())], &[Close(Some((code, String::new())))]);
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let forbidden = Violation::CloseCodeForbidden(CloseCode::new(code));
        expect(&[(CLOSE, &code.to_be_bytes())], &[Wrong(forbidden)]);
    }
}

/// 9.*, 10.1: a big message, in one frame and in many, in reads of several sizes.
#[test]
fn big_messages() {
    let payload = "κόσμε ".repeat(400_000).into_bytes();
    let whole = masked(TEXT, &payload);
    let mut fragments = masked(TEXT_BEGINS, b"");
    for fragment in payload.chunks(1300) {
        fragments.extend(masked(GOES_ON, fragment));
    }
    fragments.extend(masked(ENDS, b""));
    for stream in [whole, fragments] {
        for piece_len in [4096, 256 * 1024, stream.len()] {
            let mut listener = Listener::new(Role::Server, WIDE);
            for piece in stream.chunks(piece_len) {
                listener.receive(piece);
            }
            assert!(listener.heard == [Heard::Message(Kind::Text, payload.clone())]);
            assert!(listener.decoder.is_idle() && listener.cursor.is_clear(listener.window.len()));
        }
    }
}

/// 9.3, 9.5 in the extreme: fragments of one byte, and of none, cost no object each.
#[test]
fn a_message_of_very_many_fragments() {
    let mut stream = masked(BINARY_BEGINS, b"*");
    for _ in 0..65_535 {
        stream.extend(masked(GOES_ON, b"*"));
        stream.extend(masked(GOES_ON, b""));
    }
    stream.extend(masked(ENDS, b"*"));
    let mut listener = Listener::new(Role::Server, WIDE);
    for piece in stream.chunks(64 * 1024) {
        listener.receive(piece);
        listener.between(Between::Compact);
    }
    assert!(listener.heard == [binary(&[b'*'; 65_537])]);
}

/// §5.1: who masks and who does not.
#[test]
fn masks() {
    assert_eq!(hear(Role::Server, WIDE, &plain(TEXT, b"Hello")), [Wrong(Violation::Unmasked)]);
    assert_eq!(hear(Role::Client, WIDE, &masked(TEXT, b"Hello")), [Wrong(Violation::Masked)]);
}

const NARROW: Limits = Limits { frame_max: 10, message_max: 15, fragments_max: 4 };

#[test]
fn limits_are_reached_but_not_passed() {
    expect_within(NARROW, &[(TEXT, b"0123456789")], &[text("0123456789")]);
    expect_within(NARROW, &[(TEXT, b"0123456789a")], &[Wrong(Violation::FrameTooBig)]);
    expect_within(NARROW, &[(TEXT_BEGINS, b"0123456789"), (ENDS, b"abcde")], &[text("0123456789abcde")]);
    expect_within(
        NARROW,
        &[(TEXT_BEGINS, b"0123456789"), (ENDS, b"abcdef")],
        &[Wrong(Violation::MessageTooBig)],
    );
    let four: [(u8, &[u8]); 4] = [(TEXT_BEGINS, b""), (GOES_ON, b""), (GOES_ON, b""), (ENDS, b"d")];
    // The count is of one message, and control frames are none of it.
    let ping_between = [&four[..1], &[(PING, b"0123456789a")], &four[1..], &four[..]].concat();
    expect_within(NARROW, &ping_between, &[ping(b"0123456789a"), text("d"), text("d")]);
    let five = [&four[..3], &[(GOES_ON, &b""[..]), (ENDS, b"e")]].concat();
    expect_within(NARROW, &five, &[Wrong(Violation::TooManyFragments)]);
}

/// The header is enough: no byte of the payload has to be sent, let alone stored.
#[test]
fn limits_are_judged_from_the_header() {
    let huge = u64::MAX >> 1;
    for (limits, len, wrong) in [
        (NARROW, 11, Violation::FrameTooBig),
        (NARROW, huge, Violation::FrameTooBig),
        (Limits { frame_max: u64::MAX, ..NARROW }, 16, Violation::MessageTooBig),
        (Limits { frame_max: u64::MAX, ..NARROW }, huge, Violation::MessageTooBig),
    ] {
        let (header, header_len) = encode_header(Opcode::Binary, true, len, Some([1; 4]));
        assert_eq!(hear(Role::Server, limits, &header[..header_len]), [Wrong(wrong)], "{len}");
    }
    // Nor can an announced length run a sum over.
    let endless = Limits { frame_max: u64::MAX, message_max: u64::MAX, fragments_max: u32::MAX };
    let mut stream = plain(BINARY_BEGINS, b"some");
    let (header, header_len) = encode_header(Opcode::Continuation, true, huge, None);
    stream.extend_from_slice(&header[..header_len]);
    let mut listener = Listener::new(Role::Client, endless);
    listener.receive(&stream);
    assert_eq!((&listener.heard[..], listener.decoder.missing()), (&[][..], huge));
}

/// What the caller is told about the state of things.
#[test]
fn idle_missing_and_clear() {
    let mut listener = Listener::new(Role::Server, WIDE);
    let mut tell = |bytes: &[u8]| {
        listener.receive(bytes);
        let is_clear = listener.cursor.is_clear(listener.window.len());
        (listener.decoder.is_idle(), listener.decoder.missing(), is_clear)
    };
    assert_eq!(tell(b""), (true, 0, true));
    assert_eq!(tell(&[0x01]), (true, 0, false), "part of a header must be kept");
    assert_eq!(tell(&[0x84, 0, 0, 0, 0]), (false, 4, true), "a header that has been read need not");
    assert_eq!(tell(b"ab"), (false, 2, false));
    assert_eq!(tell(b"cd"), (false, 0, false));
    assert_eq!(tell(&[0x89, 0x83, 0, 0, 0, 0, b'p']), (false, 0, false));
    assert_eq!(tell(b"in"), (false, 0, false), "the ping has come, not the message's end");
    assert_eq!(tell(&[0x88, 0x81, 0, 0, 0, 0]), (false, 0, false));
    assert_eq!(tell(b"x"), (true, 0, true), "failed: nothing is owed or needed");
    assert_eq!(tell(b"whatever"), (true, 0, true));
    assert_eq!(listener.heard, [ping(b"pin"), Wrong(Violation::CloseBodyShort)]);
}

/// A message in one frame is lent where it stands, right behind its header.
#[test]
fn a_whole_message_is_not_moved() {
    let mut window = [masked(TEXT, b"one"), masked(BINARY, b"two")].concat();
    let (mut decoder, mut cursor) = (Decoder::new(Role::Server), Cursor::default());
    let start = window.as_ptr().addr();
    for at in [6, 15] {
        match decoder.decode(&mut window, &mut cursor, &WIDE) {
            Ok(Some(Event::Message { payload, .. })) => assert_eq!(payload.as_ptr().addr() - start, at),
            other => panic!("{other:?}"),
        }
    }
}
