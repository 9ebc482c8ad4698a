//! The table of wrongs, frames: what a peer may send that it must not, what it is told, and that nothing of it is left.
//!
//! RFC 6455 §5 and §7 say what is wrong; `docs/security.md` names the test of each row. Frames are made by hand here,
//! byte by byte: an encoder that can do no wrong is of no use.
//!
//! Invariant: every test ends with a good client being served, and with memory, descriptors and processor as before.

mod common;
#[path = "wrongs_frames/pressure.rs"]
mod pressure;

use common::aftermath::{Footprint, Scene, ends};
use common::{BINARY, CLOSE, Frame, PATIENCE, PING, PONG, Peer, TEXT, encode, wait_for};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the table promises for the end of TCP behind our close frame, and what a busy machine may add.
const ENDED_WITHIN: Duration = Duration::from_millis(2000 + 1500);

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of which nothing is checked: first byte, the length in as many bytes as wished, masked.
fn raw(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key);
    let mut frame = vec![first, length[0] | 0x80];
    frame.extend_from_slice(&length[1..]);
    frame.extend_from_slice(&MASK);
    frame.extend(masked);
    frame
}

/// The length of a frame in two bytes, or in eight.
fn long(length: u16) -> Vec<u8> {
    [&[126], length.to_be_bytes().as_slice()].concat()
}

fn very_long(length: u64) -> Vec<u8> {
    [&[127], length.to_be_bytes().as_slice()].concat()
}

fn close_frame(body: &[u8]) -> Vec<u8> {
    encode(true, CLOSE, body)
}

/// A good message, then `wrong` in the same segment: the first is answered, the second told by `code`, and the stream
/// ends.
fn is_told(scene: &Scene, what: &str, wrong: &[u8], code: u16) {
    let mut peer = scene.open("/echo");
    peer.stream
        .write_all(&[encode(true, TEXT, b"good").as_slice(), wrong].concat())
        .expect("the server reads");
    assert_eq!(peer.message().text(), "good", "{what}");
    let close =
        std::iter::from_fn(|| Some(peer.read())).find(|frame| frame.opcode != PONG).expect("it comes");
    assert_eq!(close.close_code(), code, "{what}");
    assert!(close.payload.len() > 2, "{what}: it is told why");
    ends(&mut peer.stream, what);
}

fn metric(scene: &Scene, name: &str) -> u64 {
    let metrics = scene.get("/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.map_or(0, |value| value.parse().expect("a number"))
}

/// How many `name` counted, by one label.
fn departures(scene: &Scene, reason: &str) -> u64 {
    metric(scene, &format!("stentor_departures_total{{reason=\"{reason}\"}}"))
}

#[test]
fn whatever_breaks_the_protocol_is_1002() {
    let scene = Scene::start(&[]);
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("unmasked".into(), b"\x81\x01x".to_vec()),
        ("unmasked and empty".into(), b"\x81\x00".to_vec()),
        ("an unmasked ping".into(), b"\x89\x00".to_vec()),
        ("an unmasked close".into(), b"\x88\x02\x03\xe8".to_vec()),
        ("a ping of 126 bytes".into(), raw(0x89, &long(126), &[b'x'; 126])),
        ("a pong of 126 bytes".into(), raw(0x8a, &long(126), &[b'x'; 126])),
        ("a close of 126 bytes".into(), raw(0x88, &long(126), &[3; 126])),
        ("a ping with a length of eight bytes".into(), raw(0x89, &very_long(5), b"hello")),
        ("a fragmented ping".into(), encode(false, PING, b"x")),
        ("a fragmented pong".into(), encode(false, PONG, b"")),
        ("a fragmented close".into(), encode(false, CLOSE, &1000_u16.to_be_bytes())),
        ("a continuation of nothing".into(), encode(true, 0, b"x")),
        ("an unfinished continuation of nothing".into(), encode(false, 0, b"")),
        ("a text in a text".into(), [encode(false, TEXT, b"a"), encode(true, TEXT, b"b")].concat()),
        ("a binary in a text".into(), [encode(false, TEXT, b""), encode(false, BINARY, b"")].concat()),
        ("125 bytes with a length of two".into(), raw(0x82, &long(125), &[7; 125])),
        ("no byte with a length of two".into(), raw(0x82, &long(0), b"")),
        ("65535 bytes with a length of eight".into(), raw(0x82, &very_long(65_535), b"")),
        ("1 byte with a length of eight".into(), raw(0x82, &very_long(1), b"x")),
        ("a length with the top bit".into(), raw(0x82, &very_long(1 << 63), b"")),
        ("a length of all bits".into(), raw(0x82, &very_long(u64::MAX), b"")),
        ("a close body of one byte".into(), close_frame(b"\x03")),
    ];
    for bit in [0x40_u8, 0x20, 0x10] {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            cases.push((
                format!("reserved bit {bit:#x} on opcode {opcode}"),
                raw(0x80 | bit | opcode, &[0], b""),
            ));
        }
        let later = [encode(false, TEXT, b"a"), raw(0x80 | bit, &[1], b"b")].concat();
        cases.push((format!("reserved bit {bit:#x} on a continuation"), later));
    }
    for opcode in (3..8).chain(11..16) {
        cases.push((format!("opcode {opcode}"), raw(0x80 | opcode, &[0], b"")));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        cases.push((format!("close code {code}"), close_frame(&code.to_be_bytes())));
    }
    for (what, wrong) in &cases {
        is_told(&scene, what, wrong, 1002);
    }
    let all = cases.len() as u64;
    wait_for("each to be counted", || (departures(&scene, "violation") == all).then_some(()));
    scene.aftermath();
}

#[test]
fn too_big_is_1009_as_soon_as_the_header_says_so() {
    let scene = Scene::start(&["--message-max", "1ki"]);
    let begun = encode(false, BINARY, &[7; 600]);
    let after = |second: Vec<u8>| [begun.clone(), second].concat();
    let ping = encode(true, PING, b"");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("one byte more, of which none is sent", raw(0x82, &long(1025), b"")),
        ("the largest length there is", raw(0x82, &very_long(u64::MAX >> 1), b"")),
        ("four gibibytes and one", raw(0x82, &very_long((1 << 32) + 1), b"")),
        ("the sum of two fragments", after(raw(0x80, &long(425), b""))),
        ("a sum that would wrap", after(raw(0x00, &very_long(u64::MAX >> 1), b""))),
        ("a sum with a ping between", after([ping, raw(0x80, &long(425), b"")].concat())),
        ("text as well", raw(0x81, &long(1025), b"")),
    ];
    for (what, wrong) in &cases {
        is_told(&scene, what, wrong, 1009);
    }
    let mut peer = scene.open("/echo");
    peer.stream.write_all(&after(encode(true, 0, &[7; 424]))).expect("the server reads");
    assert_eq!(peer.message().payload, [7; 1024], "as much as is allowed is no wrong");
    peer.close();
    scene.aftermath();
}

#[test]
fn text_that_is_no_utf8_is_1007_at_its_first_bad_byte() {
    let scene = Scene::start(&[]);
    // Announced: a thousand bytes. Sent: up to the bad one.
    let begun = |bytes: &[u8]| raw(0x81, &long(1000), bytes);
    let split = |first: &[u8], second: &[u8]| {
        [encode(false, TEXT, first), encode(true, PING, b"between"), raw(0x00, &long(1000), second)].concat()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a byte that no text has", begun(b"abc\xff")),
        ("a continuation byte without a beginning", begun(b"abc\x80")),
        ("an overlong slash", begun(b"\xc0")),
        ("an overlong form of three bytes", begun(b"\xe0\x80")),
        ("a surrogate", begun(b"\xed\xa0")),
        ("beyond U+10FFFF", begun(b"\xf4\x90")),
        ("a character that does not go on", begun(b"\xe4\xb8x")),
    ];
    for (what, wrong) in &cases {
        is_told(&scene, what, wrong, 1007);
    }
    let mut peer = scene.open("/echo");
    peer.stream.write_all(&split(b"\xe4\xb8", b"\x96\xff")).expect("the server reads");
    assert_eq!(peer.read().opcode, PONG);
    assert_eq!(peer.read().close_code(), 1007, "in the second fragment, the first character whole by then");
    ends(&mut peer.stream, "a bad second fragment");
    is_told(&scene, "a message that ends in a character", &encode(true, TEXT, b"\xe4\xb8"), 1007);
    is_told(&scene, "a close reason", &close_frame(b"\x03\xe8\xff"), 1007);
    scene.aftermath();
}

/// What a peer does once it has our close frame, without ever closing.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Waits,
    KeepsSending,
    KeepsPinging,
    Dribbles,
    HalfCloses,
}

const MANNERS: [Manner; 5] =
    [Manner::Waits, Manner::KeepsSending, Manner::KeepsPinging, Manner::Dribbles, Manner::HalfCloses];

/// Behaves like that until the stream ends, and says how long that took.
fn until_the_end(mut stream: TcpStream, manner: Manner) -> Duration {
    let began = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
    stream.set_write_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
    let much = encode(true, BINARY, &[7; 30_000]);
    if matches!(manner, Manner::HalfCloses) {
        stream.shutdown(Shutdown::Write).expect("it is open");
    }
    while began.elapsed() < PATIENCE {
        // A write that fails or stands still says nothing; the read tells the end.
        let _ = match manner {
            Manner::Waits | Manner::HalfCloses => Ok(0),
            Manner::KeepsSending => stream.write(&much),
            Manner::KeepsPinging => stream.write(&encode(true, PING, b"still there?")),
            Manner::Dribbles => stream.write(b"\x82"),
        };
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return began.elapsed(),
            Ok(_) => {}
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return began.elapsed(),
        }
    }
    panic!("{manner:?}: TCP has not ended after {PATIENCE:?}");
}

/// Has `provoke` bring the server to close, and asserts that TCP ends in time whatever the peer does then.
fn ends_in_time(scene: &Scene, what: &str, target: &str, code: u16, provoke: impl Fn(&mut Peer)) {
    let peers: Vec<_> = MANNERS
        .map(|manner| {
            let mut peer = scene.open(target);
            provoke(&mut peer);
            (manner, peer)
        })
        .into();
    // All at once: one after the other would take two seconds each.
    let ends: Vec<_> = peers
        .into_iter()
        .map(|(manner, mut peer)| {
            std::thread::spawn(move || {
                let close = std::iter::from_fn(|| Some(peer.read())).find(|frame| frame.opcode == CLOSE);
                (manner, close.expect("it comes").close_code(), until_the_end(peer.stream, manner))
            })
        })
        .collect();
    for end in ends {
        let (manner, told, took) = end.join().expect("it ends");
        assert_eq!(told, code, "{what}, {manner:?}");
        assert!(took < ENDED_WITHIN, "{what}, {manner:?}: TCP ended {took:?} after our close frame");
    }
}

#[test]
fn after_our_close_frame_tcp_ends_within_two_seconds_whatever_the_peer_does() {
    let scene = Scene::start(&["--message-timeout", "300ms", "--ping-interval", "0"]);
    let sends =
        |bytes: Vec<u8>| move |peer: &mut Peer| peer.stream.write_all(&bytes).expect("the server reads");
    ends_in_time(&scene, "a violation", "/echo", 1002, sends(b"\x81\x00".to_vec()));
    ends_in_time(&scene, "too big", "/echo", 1009, sends(raw(0x82, &very_long(1 << 40), b"")));
    ends_in_time(&scene, "its own close", "/echo", 1000, sends(close_frame(&1000_u16.to_be_bytes())));
    ends_in_time(&scene, "a service's close", "/chat", 1003, sends(encode(true, BINARY, b"?")));
    ends_in_time(&scene, "an unfinished message", "/echo", 1008, sends(encode(false, TEXT, b"a")));
    scene.aftermath();
}

#[test]
fn after_our_close_frame_tcp_ends_within_two_seconds_although_the_peer_reads_nothing() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let before = Footprint::of(scene.pid()).descriptors;
    let mut deaf: Vec<Peer> = (0..20).map(|_| scene.open("/echo")).collect();
    for peer in &mut deaf {
        // As much as goes without reading: then our close frame stands behind replies that nobody reads.
        peer.stream.set_nonblocking(true).expect("it can be");
        let message = encode(true, BINARY, &[7; 60_000]);
        let mut still = Instant::now();
        let mut at = 0;
        while still.elapsed() < Duration::from_millis(50) {
            if let Ok(count) = peer.stream.write(&message[at..]) {
                at = (at + count) % message.len();
                still = Instant::now();
            }
        }
    }
    // The chat says 1003 to what is no text, and these neither read nor close.
    let mut silent: Vec<Peer> = (0..20).map(|_| scene.open("/chat/quiet")).collect();
    for peer in &mut silent {
        peer.send(BINARY, b"?");
    }
    let began = Instant::now();
    wait_for("the silent ones to be let go", || {
        (Footprint::of(scene.pid()).descriptors == before + deaf.len()).then_some(())
    });
    assert!(began.elapsed() < ENDED_WITHIN, "it took {:?}", began.elapsed());
    drop((deaf, silent));
    scene.aftermath();
}

#[test]
fn after_a_close_frame_nothing_more_is_heard() {
    let scene = Scene::start(&[]);
    let close = close_frame(&1000_u16.to_be_bytes());
    let more = [
        encode(true, TEXT, b"after"),
        encode(true, PING, b"after"),
        b"\x81\x00".to_vec(),
        close_frame(&1001_u16.to_be_bytes()),
        vec![0xff; 5000],
    ];
    for what in more {
        let mut hearer = scene.open("/broadcast/after");
        hearer.settle();
        let mut peer = scene.open("/broadcast/after");
        peer.stream.write_all(&[close.clone(), what].concat()).expect("the server reads");
        assert_eq!(peer.read().close_code(), 1000, "the first close frame is the one that is answered");
        ends(&mut peer.stream, "frames behind a close frame");
        assert!(hearer.settle().is_empty(), "nobody hears what stands behind a close frame");
        hearer.close();
    }
    scene.aftermath();
}

#[test]
fn a_message_that_is_not_complete_in_time_is_1008_however_busily_bytes_come() {
    let scene = Scene::start(&["--message-timeout", "700ms", "--ping-interval", "0"]);
    let begun: [(&str, Vec<u8>); 6] = [
        ("one byte of a header", b"\x82".to_vec()),
        ("a header", raw(0x82, &long(1000), b"")),
        ("half a payload", raw(0x82, &long(1000), &[7; 500])),
        ("a fragment", encode(false, TEXT, b"half")),
        ("an empty fragment, of which nothing is held", encode(false, BINARY, b"")),
        ("half a ping", raw(0x89, &[4], b"ab")),
    ];
    for (what, bytes) in &begun {
        let mut peer = scene.open("/echo");
        peer.stream.write_all(&[encode(true, TEXT, b"good").as_slice(), bytes].concat()).expect("it reads");
        assert_eq!(peer.message().text(), "good", "{what}");
        let close = peer.read();
        assert_eq!(close.close_code(), 1008, "{what}");
        assert_eq!(&close.payload[2..], b"a message was not complete in time");
        ends(&mut peer.stream, what);
    }
    // Each of these is never silent for long, and gets no further.
    let busy: [(&str, Vec<u8>, Vec<u8>); 3] = [
        ("a byte at a time", raw(0x82, &long(60_000), b""), b"x".to_vec()),
        ("empty fragments", encode(false, TEXT, b""), encode(false, 0, b"")),
        ("pings between fragments", encode(false, TEXT, b"a"), encode(true, PING, b"")),
    ];
    for (what, first, again) in &busy {
        let mut peer = scene.open("/echo");
        peer.stream.write_all(first).expect("the server reads");
        peer.stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout can be set");
        let began = Instant::now();
        let mut heard = Vec::new();
        let mut bytes = [0; 4096];
        while began.elapsed() < PATIENCE {
            let _ = peer.stream.write_all(again);
            match peer.stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => heard.extend_from_slice(&bytes[..count]),
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        let policy =
            [&[0x88, 36], 1008_u16.to_be_bytes().as_slice(), b"a message was not complete in time"].concat();
        assert!(heard.windows(policy.len()).any(|found| found == policy), "{what}: {heard:?}");
    }
    let all = (begun.len() + busy.len()) as u64;
    wait_for("all of them to be counted", || (departures(&scene, "message_timeout") == all).then_some(()));
    scene.aftermath();
}

#[test]
fn who_completes_each_message_in_time_may_take_its_time_for_ever() {
    let scene = Scene::start(&["--message-timeout", "1s", "--ping-interval", "0"]);
    let (mut slow, mut idle) = (scene.open("/echo"), scene.open("/echo"));
    let message = encode(true, TEXT, b"slowly");
    let (mut sent, began) = (0, Instant::now());
    // Always in the middle of a message, never for a second in the middle of the same.
    slow.stream.write_all(&message[..3]).expect("the server reads");
    while began.elapsed() < Duration::from_millis(2500) {
        let next = [&message[3..], &message[..3]].concat();
        slow.stream.write_all(&next).expect("the server reads");
        assert_eq!(slow.read().text(), "slowly");
        sent += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(sent > 2);
    slow.stream.write_all(&message[3..]).expect("the server reads");
    assert_eq!(slow.read().text(), "slowly");
    idle.send_text("nothing begun, nothing missed");
    assert_eq!(idle.message().text(), "nothing begun, nothing missed");
    slow.close();
    idle.close();
    scene.aftermath();
}

#[test]
fn a_ping_inside_a_message_is_answered_before_it_wherever_the_segments_are_cut() {
    let scene = Scene::start(&[]);
    let stream = [
        encode(false, TEXT, "gr\u{fc}".as_bytes()),
        encode(true, PING, b"one"),
        encode(false, 0, b""),
        encode(true, PING, b"two"),
        encode(true, 0, b"n"),
    ]
    .concat();
    for cut in 1..stream.len() {
        let mut peer = scene.open("/echo");
        peer.stream.write_all(&stream[..cut]).expect("the server reads");
        // A second peer's answer: the first part has been read by then.
        let mut other = scene.open("/echo");
        other.settle();
        peer.stream.write_all(&stream[cut..]).expect("the server reads");
        assert_eq!(peer.read(), Frame { opcode: PONG, payload: b"one".to_vec() }, "cut at {cut}");
        let next = peer.read();
        if next.opcode == PONG {
            assert_eq!(next.payload, b"two", "cut at {cut}");
            assert_eq!(peer.read().text(), "gr\u{fc}n", "cut at {cut}");
        } else {
            panic!("the second ping came before the end of the message: {next:?}");
        }
        peer.close();
        other.close();
    }
    scene.aftermath();
}

#[test]
fn who_half_closes_at_any_moment_leaves_nothing_behind() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let stream = [
        common::upgrade_with("/chat/half", &common::GOOD),
        encode(false, TEXT, b"a"),
        encode(true, PING, b"p"),
        encode(true, 0, b"b"),
        close_frame(&1000_u16.to_be_bytes()),
    ]
    .concat();
    let crowd: Vec<TcpStream> = (0..=stream.len())
        .map(|until| {
            let mut peer = scene.connect();
            peer.write_all(&stream[..until]).expect("the server reads");
            peer.shutdown(Shutdown::Write).expect("it is open");
            peer
        })
        .collect();
    let began = Instant::now();
    for (until, mut peer) in crowd.into_iter().enumerate() {
        let mut heard = Vec::new();
        match peer.read_to_end(&mut heard) {
            Ok(_) => {}
            Err(why) => assert_eq!(why.kind(), ErrorKind::ConnectionReset, "after {until} bytes: {why}"),
        }
    }
    assert!(began.elapsed() < ENDED_WITHIN, "all ended in {:?}", began.elapsed());
    scene.aftermath();
}

#[test]
fn urgent_data_is_no_trouble() {
    let scene = Scene::start(&[]);
    let mut peer = scene.open("/echo");
    // The urgent byte is not in the stream; the system keeps one and signals it.
    socket2::SockRef::from(&peer.stream).send_out_of_band(b"!").expect("TCP has urgent data");
    peer.send_text("in band");
    assert_eq!(peer.message().text(), "in band");
    // A second one makes an ordinary byte of the first: `!` is half a header, and what follows is not masked.
    for _ in 0..100 {
        let _ = socket2::SockRef::from(&peer.stream).send_out_of_band(b"!");
    }
    assert_eq!(peer.closed(), 1002);
    scene.aftermath();
}
