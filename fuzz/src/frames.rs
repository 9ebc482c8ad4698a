//! Frames in both roles: the same events however the stream is cut and the window moved, and those that
//! [`naive`] hears.
//!
//! Input: one byte of limits, form and whether compression was agreed on, two of cuts, then the stream. In the
//! *built* form the stream is a list of short recipes (first byte, length, payload) that become frames with the mask
//! bit and the length right, so that libFuzzer need not guess them; in the *raw* form it is the bytes on the wire.

use super::given::{Cuts, Given};
use super::naive::{self, Heard};
use stentor::ws::{
    self, Cursor, Decoder, Event, Limits, Opcode, Role, encode, encode_header, encode_masked, mask,
};

/// Most bytes of a stream that is built, so that a short input stays quick.
const BUILT_MAX: usize = 256 << 10;

/// The law where we are the server.
pub fn server(data: &[u8]) {
    run(Role::Server, data);
}

/// The law where we are the client.
pub fn client(data: &[u8]) {
    run(Role::Client, data);
}

fn run(role: Role, data: &[u8]) {
    let mut given = Given::new(data);
    let form = given.byte();
    let mut cuts = Cuts::new(given.word());
    let limits = match form & 6 {
        0 => Limits { frame_max: 1 << 20, message_max: 1 << 20, fragments_max: 1000 },
        2 => Limits { frame_max: 90, message_max: 120, fragments_max: 3 },
        4 => Limits { frame_max: u64::MAX, message_max: u64::MAX, fragments_max: u32::MAX },
        _ => Limits { frame_max: 0, message_max: 0, fragments_max: 1 },
    };
    let deflate = form & 8 != 0;
    let stream = if form & 1 == 0 { given.rest().to_vec() } else { built(role, given) };

    let expected = naive::hear(role, deflate, &limits, &stream);
    assert_eq!(listen(role, deflate, &limits, &[&stream]), expected, "all at once: {stream:x?}");
    assert_eq!(listen(role, deflate, &limits, &cuts.pieces(&stream)), expected, "in pieces: {stream:x?}");
    let stops = |heard: &Heard| matches!(heard, Heard::Close(_) | Heard::Violation(_));
    assert!(expected.iter().rev().skip(1).all(|heard| !stops(heard)), "nothing comes after the end");
    said_again(&expected);
}

/// What was heard is said again, and heard by the other side.
fn said_again(heard: &[Heard]) {
    let limits = Limits { frame_max: u64::MAX, message_max: u64::MAX, fragments_max: 1 };
    let is_said = |one: &&Heard| !matches!(one, Heard::Violation(_) | Heard::Compressed(..));
    let all: Vec<Heard> = heard.iter().filter(is_said).cloned().collect();
    let (mut plain, mut masked) = (Vec::new(), Vec::new());
    for (turn, one) in all.iter().enumerate() {
        let mut body = Vec::new();
        let (opcode, payload) = match one {
            Heard::Message(kind, payload) => (kind.opcode(), payload),
            Heard::Ping(payload) => (Opcode::Ping, payload),
            Heard::Pong(payload) => (Opcode::Pong, payload),
            Heard::Close(None) => (Opcode::Close, &body),
            Heard::Close(Some((code, reason))) => {
                ws::close::encode_body(&mut body, ws::CloseCode::new(*code), reason);
                (Opcode::Close, &body)
            }
            Heard::Violation(_) | Heard::Compressed(..) => continue,
        };
        let before = plain.len();
        encode(&mut plain, opcode, payload);
        assert_eq!(plain.len() - before, ws::frame_len(payload.len()));
        encode_masked(&mut masked, opcode, payload, (turn as u32).wrapping_mul(0x9E37_79B9).to_le_bytes());
    }
    assert_eq!(naive::hear(Role::Client, false, &limits, &plain), all);
    assert_eq!(naive::hear(Role::Server, false, &limits, &masked), all);
}

/// Recipes become frames: FIN, reserved bits and opcode as given, the length in its shortest form, then the payload.
pub fn built(role: Role, mut given: Given<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !given.is_empty() && stream.len() < BUILT_MAX {
        let (first, len) = (given.byte(), given.byte());
        // Lengths around the borders of the three forms come up as often as short ones.
        let len = match len {
            0..=199 => usize::from(len),
            200..=249 => usize::from(len) * 3,
            _ => 65_530 + usize::from(len - 250) * 3,
        };
        let mut payload = given.take(len).to_vec();
        if len >= 200 {
            payload.resize(len, b'x');
        }
        let key = match role {
            Role::Server => Some([first, 0x37, 0, len as u8]),
            Role::Client => None,
        };
        let (mut header, header_len) = encode_header(Opcode::Binary, true, payload.len() as u64, key);
        header[0] = first;
        mask::apply(key.unwrap_or_default(), &mut payload);
        stream.extend_from_slice(&header[..header_len]);
        stream.extend_from_slice(&payload);
    }
    stream
}

/// Listens to a stream in these pieces; between them what need not be kept is overwritten, and the window moves.
pub fn listen(role: Role, deflate: bool, limits: &Limits, pieces: &[&[u8]]) -> Vec<Heard> {
    let mut decoder = if deflate { Decoder::with_deflate(role) } else { Decoder::new(role) };
    let mut cursor = Cursor::default();
    let (mut window, mut heard) = (Vec::new(), Vec::new());
    for (turn, piece) in pieces.iter().enumerate() {
        window.extend_from_slice(piece);
        while let Some(one) = next(&mut decoder, &mut window, &mut cursor, limits) {
            heard.push(one);
        }
        let (held, next, len) = (cursor.held(), cursor.next(), window.len());
        assert!(held.start <= held.end && held.end <= next && next <= len);
        window[..held.start].fill(0xEE);
        window[held.end..next].fill(0xEE);
        // Memory follows bytes received: what is kept is never more than that, and at most a header behind it.
        assert!(decoder.missing() == 0 || next == len);
        match turn % 3 {
            0 => {}
            1 => {
                let kept = cursor.compact(&mut window, len);
                window.truncate(kept);
            }
            _ => {
                let mut other = vec![0xDD; 3];
                cursor.carry(&window, &mut other);
                window = other;
            }
        }
    }
    heard
}

fn next(decoder: &mut Decoder, window: &mut [u8], cursor: &mut Cursor, limits: &Limits) -> Option<Heard> {
    Some(match decoder.decode(window, cursor, limits) {
        Ok(None) => return None,
        Ok(Some(Event::Message { kind, payload })) => Heard::Message(kind, payload.to_vec()),
        Ok(Some(Event::Compressed { kind, payload })) => Heard::Compressed(kind, payload.to_vec()),
        Ok(Some(Event::Ping(payload))) => Heard::Ping(payload.to_vec()),
        Ok(Some(Event::Pong(payload))) => Heard::Pong(payload.to_vec()),
        Ok(Some(Event::Close(close))) => {
            Heard::Close(close.map(|(code, reason)| (code.get(), reason.to_string())))
        }
        Err(violation) => Heard::Violation(violation),
    })
}
