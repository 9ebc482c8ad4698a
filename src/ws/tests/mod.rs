//! A peer for the decoder: writes frames, right or wrong, and listens to what comes out.
//!
//! Both test files need frames that the encoder refuses to write, and a window that is cut, moved and overwritten
//! as unkindly as the contract of [`Cursor`] allows.

mod cases;
mod compressed;
mod laws;

use super::*;

/// Limits that no test reaches by chance.
const WIDE: Limits = Limits { frame_max: 1 << 30, message_max: 1 << 30, fragments_max: 1 << 20 };

/// What came out of a decoder, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Heard {
    Message(Kind, Vec<u8>),
    Compressed(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Violation(Violation),
}

/// What becomes of the window between two reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Between {
    /// It stays; the next bytes come behind it.
    Stay,
    /// What is needed moves to its front.
    Compact,
    /// What is needed moves to another window.
    Carry,
}

/// A decoder with its window.
struct Listener {
    decoder: Decoder,
    cursor: Cursor,
    window: Vec<u8>,
    limits: Limits,
    heard: Vec<Heard>,
}

impl Listener {
    fn new(role: Role, limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(role),
            cursor: Cursor::default(),
            window: Vec::new(),
            limits,
            heard: Vec::new(),
        }
    }

    /// Receives some bytes and listens until nothing more comes.
    fn receive(&mut self, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        loop {
            let event = self.decoder.decode(&mut self.window, &mut self.cursor, &self.limits);
            let heard = match event {
                Ok(None) => break,
                Ok(Some(Event::Message { kind, payload })) => Heard::Message(kind, payload.to_vec()),
                Ok(Some(Event::Compressed { kind, payload })) => Heard::Compressed(kind, payload.to_vec()),
                Ok(Some(Event::Ping(payload))) => Heard::Ping(payload.to_vec()),
                Ok(Some(Event::Pong(payload))) => Heard::Pong(payload.to_vec()),
                Ok(Some(Event::Close(None))) => Heard::Close(None),
                Ok(Some(Event::Close(Some((code, reason))))) => {
                    Heard::Close(Some((code.get(), reason.to_string())))
                }
                Err(violation) => Heard::Violation(violation),
            };
            // From the end on the window is of no use, and the caller need not ask again to learn it.
            let is_end = matches!(heard, Heard::Close(_) | Heard::Violation(_));
            assert!(!is_end || self.cursor.is_clear(self.window.len()));
            self.heard.push(heard);
        }
    }

    /// Overwrites what the cursor says is not needed, then moves the window or gives it up.
    fn between(&mut self, between: Between) {
        let (held, next) = (self.cursor.held(), self.cursor.next());
        assert!(held.start <= held.end && held.end <= next && next <= self.window.len());
        self.window[..held.start].fill(0xEE);
        self.window[held.end..next].fill(0xEE);
        let len = self.window.len();
        match between {
            Between::Stay => {}
            Between::Compact => {
                let kept = self.cursor.compact(&mut self.window, len);
                assert_eq!(kept, held.len() + (len - next));
                self.window.truncate(kept);
            }
            Between::Carry if self.cursor.is_clear(len) => {
                (self.window, self.cursor) = (Vec::new(), Cursor::default());
            }
            Between::Carry => {
                let mut other = vec![0xDD; 3];
                self.cursor.carry(&self.window, &mut other);
                assert_eq!(other.len(), held.len() + (len - next));
                self.window = other;
            }
        }
    }
}

/// What is heard of a stream that arrives at once.
fn hear(role: Role, limits: Limits, stream: &[u8]) -> Vec<Heard> {
    let mut listener = Listener::new(role, limits);
    listener.receive(stream);
    listener.heard
}

/// What is heard of a stream that arrives in pieces of this length, the window moving each time.
fn hear_in_pieces(role: Role, limits: Limits, stream: &[u8], piece_len: usize) -> Vec<Heard> {
    let mut listener = Listener::new(role, limits);
    for piece in stream.chunks(piece_len) {
        listener.receive(piece);
        listener.between(Between::Compact);
    }
    listener.heard
}

/// A frame from a client, masked, with any first byte (FIN, reserved bits, opcode) and a correct length.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x5A, 0xC3, 0x0F, 0x99];
    let (mut header, len) = encode_header(Opcode::Binary, true, payload.len() as u64, Some(key));
    header[0] = first;
    let mut frame = header[..len].to_vec();
    frame.extend_from_slice(payload);
    mask::apply(key, &mut frame[len..]);
    frame
}

/// A frame from a server, not masked, with any first byte and a correct length.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let (mut header, len) = encode_header(Opcode::Binary, true, payload.len() as u64, None);
    header[0] = first;
    [&header[..len], payload].concat()
}

fn text(payload: &str) -> Heard {
    Heard::Message(Kind::Text, payload.into())
}

fn binary(payload: &[u8]) -> Heard {
    Heard::Message(Kind::Binary, payload.into())
}

fn ping(payload: &[u8]) -> Heard {
    Heard::Ping(payload.into())
}
