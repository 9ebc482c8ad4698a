//! Letters: what the workers of one machine write to each other.
//!
//! Each pair of workers shares one Unix stream. A letter is one unmasked binary WebSocket frame, so that the codec of the
//! house reads and writes it; its payload begins with a byte that says what it is:
//!
//! ```text
//!   1 hello      version u8 · worker u32 · incarnation u64           first in each direction
//!   2 publish    kind u8 (1 text, 2 binary, 3 frames) · name u16 n · n bytes of UTF-8 · payload
//!   3 presence   subscribers u32 · name u16 n · n bytes of UTF-8     how many the writer has in the topic now
//!   4 news       whatever a service tells its like in the other workers
//!   5 figures    the writer's numbers, as JSON
//!   6 goodbye    the writer is ending: that its link will be down is no news
//!   7 selected   a publication to hearers whom the service chooses, in its own words
//! ```
//!
//! Numbers are little-endian. Invariants: a letter that does not begin as the table says is [`Garbled`], which costs the
//! link its life; nothing is believed about lengths beyond what has arrived.

use std::fmt;

use crate::ws::{Header, Kind, Opcode, Role, encode_header};

/// The language's version; workers of one supervisor are one program, so there is no other.
pub const VERSION: u8 = 1;

/// What a letter may take beside a message's payload, in bytes: the longest name and what stands before it.
pub const ENVELOPE_BYTES_MAX: usize = u16::MAX as usize + 16;

/// One letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letter<'a> {
    /// Who writes here.
    Hello {
        /// The writer's [`VERSION`].
        version: u8,
        /// Its number among the workers.
        worker: u32,
        /// Drawn when it started: another one means another life.
        incarnation: u64,
    },
    /// A message for everybody in a topic.
    Publish {
        /// Text or binary.
        kind: Kind,
        /// The topic's name.
        topic: &'a str,
        /// The message.
        payload: &'a [u8],
    },
    /// A message of several frames for everybody in a topic: text and what is attached to it.
    Frames {
        /// The topic's name.
        topic: &'a str,
        /// Unmasked frames, end to end.
        frames: &'a [u8],
    },
    /// How many the writer has in a topic.
    Presence {
        /// The topic's name.
        topic: &'a str,
        /// How many, now.
        subscribers: u32,
    },
    /// What a service tells its like.
    News(&'a [u8]),
    /// The writer's numbers.
    Figures(&'a [u8]),
    /// The writer is ending.
    Goodbye,
    /// A message for hearers whom the service of each worker chooses.
    Selected(&'a [u8]),
}

/// Why a letter cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled(&'static str);

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Letter<'_> {
    /// Appends it to `out`, as a frame. A name longer than 65 535 bytes, which no service of ours allows, is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Hello { version, worker, incarnation } => {
                frame(out, &[&[1, version], &worker.to_le_bytes(), &incarnation.to_le_bytes()]);
            }
            Self::Publish { kind, topic, payload } => {
                let kind = match kind {
                    Kind::Text => 1,
                    Kind::Binary => 2,
                };
                let (len, name) = name_of(topic);
                frame(out, &[&[2, kind], &len, name, payload]);
            }
            Self::Frames { topic, frames } => {
                let (len, name) = name_of(topic);
                frame(out, &[&[2, 3], &len, name, frames]);
            }
            Self::Presence { topic, subscribers } => {
                let (len, name) = name_of(topic);
                frame(out, &[&[3], &subscribers.to_le_bytes(), &len, name]);
            }
            Self::News(news) => frame(out, &[&[4], news]),
            Self::Figures(figures) => frame(out, &[&[5], figures]),
            Self::Goodbye => frame(out, &[&[6]]),
            Self::Selected(told) => frame(out, &[&[7], told]),
        }
    }
}

impl<'a> Letter<'a> {
    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// It is none of the letters above, or ends too soon.
    pub fn decode(body: &'a [u8]) -> Result<Self, Garbled> {
        let (&what, rest) = body.split_first().ok_or(Garbled("a letter without a word"))?;
        match what {
            1 => {
                let short = Garbled("a hello that ends too soon");
                let (&version, rest) = rest.split_first().ok_or(short)?;
                let (worker, rest) = rest.split_first_chunk().ok_or(short)?;
                let (incarnation, _) = rest.split_first_chunk().ok_or(short)?;
                Ok(Self::Hello {
                    version,
                    worker: u32::from_le_bytes(*worker),
                    incarnation: u64::from_le_bytes(*incarnation),
                })
            }
            2 => {
                let (&kind, rest) = rest.split_first().ok_or(Garbled("a publication without a kind"))?;
                let (topic, payload) = take_name(rest)?;
                let kind = match kind {
                    1 => Kind::Text,
                    2 => Kind::Binary,
                    3 if are_frames(payload) => return Ok(Self::Frames { topic, frames: payload }),
                    _ => return Err(Garbled("a publication that is neither text, nor binary, nor frames")),
                };
                if kind == Kind::Text && simdutf8::basic::from_utf8(payload).is_err() {
                    return Err(Garbled("a text that is not UTF-8"));
                }
                Ok(Self::Publish { kind, topic, payload })
            }
            3 => {
                let (subscribers, rest) =
                    rest.split_first_chunk().ok_or(Garbled("a presence without a number"))?;
                let (topic, _) = take_name(rest)?;
                Ok(Self::Presence { topic, subscribers: u32::from_le_bytes(*subscribers) })
            }
            4 => Ok(Self::News(rest)),
            5 => Ok(Self::Figures(rest)),
            6 => Ok(Self::Goodbye),
            7 => Ok(Self::Selected(rest)),
            _ => Err(Garbled("a letter of a kind that there is not")),
        }
    }
}

/// Whether these are whole messages as a server sends them, one after the other.
fn are_frames(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Ok(Some(header)) = Header::decode(bytes, Role::Client) else { return false };
        let end = usize::try_from(header.payload_len).ok().and_then(|len| len.checked_add(header.header_len));
        let is_message = header.fin && matches!(header.opcode, Opcode::Text | Opcode::Binary);
        match end.and_then(|end| bytes.split_at_checked(end)) {
            Some((_, rest)) if is_message => bytes = rest,
            Some(_) | None => return false,
        }
    }
    true
}

/// Appends one frame whose payload is put together from `parts`.
fn frame(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len() as u64).sum();
    let (header, header_len) = encode_header(Opcode::Binary, true, len, None);
    out.extend_from_slice(&header[..header_len]);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// A name as it is written: how long it is, and its bytes.
fn name_of(topic: &str) -> ([u8; 2], &[u8]) {
    let name = &topic.as_bytes()[..topic.floor_char_boundary(u16::MAX as usize)];
    ((name.len() as u16).to_le_bytes(), name)
}

fn take_name(rest: &[u8]) -> Result<(&str, &[u8]), Garbled> {
    let short = Garbled("a name that ends too soon");
    let (len, rest) = rest.split_first_chunk().ok_or(short)?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len))).ok_or(short)?;
    let name = std::str::from_utf8(name).map_err(|_| Garbled("a name that is not UTF-8"))?;
    Ok((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::{Cursor, Decoder, Event, Limits};
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { frame_max: 1 << 20, message_max: 1 << 20, fragments_max: 1 };

    /// What a sibling reads of `letter`, as text, since what is lent does not outlive the window.
    fn read_back(letter: Letter<'_>) -> String {
        let mut window = Vec::new();
        letter.encode(&mut window);
        let (mut decoder, mut cursor) = (Decoder::new(Role::Client), Cursor::default());
        match decoder.decode(&mut window, &mut cursor, &LIMITS).unwrap() {
            Some(Event::Message { kind: Kind::Binary, payload }) => {
                format!("{:?}", Letter::decode(payload).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_letter_is_read_as_it_was_written() {
        for letter in [
            Letter::Hello { version: VERSION, worker: 3, incarnation: u64::MAX },
            Letter::Publish { kind: Kind::Text, topic: "broadcast/sea", payload: "ä".as_bytes() },
            Letter::Publish { kind: Kind::Binary, topic: "", payload: b"\xff\x00" },
            Letter::Frames { topic: "io//", frames: b"\x81\x02ab\x82\x01c" },
            Letter::Presence { topic: "chat", subscribers: 50_000 },
            Letter::News(b"news"),
            Letter::Figures(b"{}"),
            Letter::Goodbye,
            Letter::Selected(b"to some"),
        ] {
            assert_eq!(read_back(letter), format!("{letter:?}"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_more_than_garbled(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(letter) = Letter::decode(&bytes) {
                let _ = read_back(letter);
            }
        }
    }
}
