//! Our compression against zlib's own, in C: each reads what the other writes, and both call the same bytes invalid.
//!
//! The way is the server's: frames through the decoder, what it has put together through the inflater. A message is cut
//! anywhere, twice: into fragments with control frames between them, and into reads. Where zlib reads us, it has a window of just
//! the agreed size, and room for a few bytes at a time, since what lies in its output it could refer to beyond the window.
//!
//! Where the two differ we mean it: a message without a byte is an empty one to us (some send it) and no DEFLATE to zlib; and we
//! take no more than 16 ends of streams within a message, where zlib would begin anew for ever.

use super::*;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use proptest::sample::Index;
use stentor::ws::deflate::{Deflater, Inflater};

const RSV1: u8 = 0x40;

/// What a sender leaves out (RFC 7692 §7.2.1).
const TAIL: &[u8] = b"\x00\x00\xff\xff";

/// A last block that only an inflater between two blocks reads as it is meant.
const LAST: &[u8] = b"\x01\x05\x00\xfa\xffwhole";

/// How many streams may end within a message.
const ENDS_MAX: usize = 16;

const WIDE: Limits = Limits { frame_max: 1 << 20, message_max: 1 << 20, fragments_max: 1000 };

/// What is said, and how it comes: at which places its payload is divided, and what is pinged behind each fragment but the last.
#[derive(Clone, Debug)]
struct Said {
    kind: Kind,
    payload: Vec<u8>,
    is_compressed: bool,
    fragments: Vec<Index>,
    ping: Option<Vec<u8>>,
    /// Where the compressor is told to flush, and how: each begins a block (RFC 7692 §7.2.3.5).
    flushes: Vec<(Index, FlushCompress)>,
    /// Whether it ends with BFINAL (RFC 7692 §7.2.3.4).
    is_final: bool,
}

fn payload() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    prop_oneof![
        "\\PC{0,60}".prop_map(|text| (Kind::Text, text.into_bytes())),
        ("[a-f ]{1,40}", 1usize..80).prop_map(|(text, times)| (Kind::Text, text.repeat(times).into_bytes())),
        vec(any::<u8>(), 0..700).prop_map(|bytes| (Kind::Binary, bytes)),
        (any::<u8>(), 0usize..5000).prop_map(|(byte, len)| (Kind::Binary, vec![byte; len])),
        // Comes again at distances on both sides of the smaller windows.
        (vec(any::<u8>(), 150..1200), 2usize..4)
            .prop_map(|(bytes, times)| (Kind::Binary, bytes.repeat(times))),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let flush = prop_oneof![
        Just(FlushCompress::None),
        Just(FlushCompress::Partial),
        Just(FlushCompress::Sync),
        Just(FlushCompress::Full),
    ];
    let ping = prop::option::of(vec(any::<u8>(), 0..=125));
    let flushes = vec((any::<Index>(), flush), 0..3);
    let is_final = prop::bool::weighted(0.1);
    (payload(), prop::bool::weighted(0.8), vec(any::<Index>(), 0..6), ping, flushes, is_final).prop_map(
        |((kind, payload), is_compressed, fragments, ping, flushes, is_final)| Said {
            kind,
            payload,
            is_compressed,
            fragments,
            ping,
            flushes,
            is_final,
        },
    )
}

fn reads() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1usize..4, 1usize..60, 1usize..2000], 1..20)
}

/// Divides `bytes` at these places, in order; parts may be empty.
fn divided(bytes: &[u8], places: impl Iterator<Item = Index>) -> Vec<&[u8]> {
    let mut places: Vec<usize> = places.map(|place| place.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let (mut from, mut parts) = (0, Vec::new());
    for to in places.into_iter().chain([bytes.len()]) {
        parts.push(&bytes[from..to]);
        from = to;
    }
    parts
}

/// zlib as a sender.
struct Writer {
    deflate: Compress,
    keeps_context: bool,
}

impl Writer {
    fn new(level: u32, bits: u8, keeps_context: bool) -> Writer {
        Writer {
            deflate: Compress::new_with_window_bits(Compression::new(level), false, bits),
            keeps_context,
        }
    }

    fn write(&mut self, said: &Said) -> Vec<u8> {
        if !self.keeps_context {
            self.deflate.reset();
        }
        let parts = divided(&said.payload, said.flushes.iter().map(|(place, _)| *place));
        let end = if said.is_final { FlushCompress::Finish } else { FlushCompress::Sync };
        let flushes = said.flushes.iter().map(|(_, flush)| *flush).chain([end]);
        let mut out = Vec::with_capacity(2 * said.payload.len() + 1000);
        for (part, flush) in parts.into_iter().zip(flushes) {
            let before = self.deflate.total_in();
            self.deflate.compress_vec(part, &mut out, flush).expect("zlib compresses");
            assert_eq!(self.deflate.total_in() - before, part.len() as u64, "all of it fitted");
        }
        assert!(out.len() < out.capacity(), "all of it fitted");
        if said.is_final {
            // A stream that has ended is followed by another, which is as short as one can be.
            self.deflate.reset();
            out.push(0);
        } else if out.is_empty() {
            // It leaves out a second flush in a row; this stands for it (RFC 7692 §7.2.3.6).
            out.push(0);
        } else {
            assert!(out.ends_with(TAIL), "{out:02x?}");
            out.truncate(out.len() - TAIL.len());
        }
        out
    }
}

/// zlib as a receiver.
struct Reader {
    inflate: Decompress,
    /// How much room it is given at a time.
    step: usize,
    /// Streams that have ended.
    ends: usize,
}

impl Reader {
    fn new(bits: u8, step: usize) -> Reader {
        Reader { inflate: Decompress::new_with_window_bits(false, bits), step, ends: 0 }
    }

    /// What `compressed` unfolds to, in pieces of these lengths; `None` if it is no DEFLATE.
    fn read(&mut self, compressed: &[u8], lens: &[usize]) -> Option<Vec<u8>> {
        let (mut out, mut room) = (Vec::new(), vec![0; self.step]);
        for piece in pieces(compressed, lens) {
            let mut rest = &piece[..];
            loop {
                let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
                let status = self.inflate.decompress(rest, &mut room, FlushDecompress::Sync).ok()?;
                let taken = (self.inflate.total_in() - taken) as usize;
                let given = (self.inflate.total_out() - given) as usize;
                rest = &rest[taken..];
                out.extend_from_slice(&room[..given]);
                if status == Status::StreamEnd {
                    self.ends += 1;
                    self.inflate.reset(false);
                } else if taken + given == 0 {
                    break;
                }
            }
            assert!(rest.is_empty(), "an inflater with room takes everything");
        }
        Some(out)
    }

    /// What the message `compressed` is, if it is a whole one: behind it and its tail stands the end of a block.
    fn judge(&mut self, compressed: &[u8], lens: &[usize]) -> Option<Vec<u8>> {
        let message = self.read(compressed, lens)?;
        let is_whole = self.read(TAIL, lens)?.is_empty();
        let before = self.ends;
        let end = self.read(LAST, lens)?;
        (is_whole && end == LAST[5..] && self.ends == before + 1).then_some(message)
    }
}

/// Appends one frame, masked if `role` is to read it as a server.
fn frame(stream: &mut Vec<u8>, role: Role, first: u8, payload: &[u8]) {
    let key = (role == Role::Server).then_some([9, first, 0, 77]);
    let (mut header, len) = encode_header(Opcode::Binary, true, payload.len() as u64, key);
    header[0] = first;
    stream.extend_from_slice(&header[..len]);
    let start = stream.len();
    stream.extend_from_slice(payload);
    mask::apply(key.unwrap_or_default(), &mut stream[start..]);
}

/// Appends a message of which this is the payload on the wire, in its fragments; and what is heard before it.
fn fragments(stream: &mut Vec<u8>, heard: &mut Vec<Heard>, role: Role, said: &Said, sent: &[u8]) {
    let parts = divided(sent, said.fragments.iter().copied());
    let count = parts.len();
    for (at, part) in parts.into_iter().enumerate() {
        let bit = if said.is_compressed { RSV1 } else { 0 };
        let opcode = if at == 0 { said.kind.opcode().bits() | bit } else { 0 };
        let is_last = at + 1 == count;
        frame(stream, role, opcode | u8::from(is_last) << 7, part);
        if let Some(ping) = said.ping.as_ref().filter(|_| !is_last) {
            frame(stream, role, 0x89, ping);
            heard.push(Heard::Ping(ping.clone()));
        }
    }
}

/// What we hear of a stream that comes in these reads, up to a violation.
fn we_hear(
    role: Role,
    stream: &[u8],
    lens: &[usize],
    keeps_context: bool,
) -> (Vec<Heard>, Option<Violation>) {
    let (mut decoder, mut cursor, mut inflater) =
        (Decoder::with_deflate(role), Cursor::default(), Inflater::new());
    let (mut window, mut out, mut heard) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces(stream, lens) {
        window.extend_from_slice(&piece);
        loop {
            match decoder.decode(&mut window, &mut cursor, &WIDE) {
                Ok(None) => break,
                Ok(Some(Event::Message { kind, payload })) => {
                    heard.push(Heard::Message(kind, payload.to_vec()))
                }
                Ok(Some(Event::Compressed { kind, payload })) => {
                    match inflater.inflate(kind, payload, &mut out, &WIDE, keeps_context) {
                        Ok(()) => heard.push(Heard::Message(kind, out.clone())),
                        Err(violation) => return (heard, Some(violation)),
                    }
                }
                Ok(Some(Event::Ping(payload))) => heard.push(Heard::Ping(payload.to_vec())),
                Ok(Some(event)) => panic!("nobody has sent {event:?}"),
                Err(violation) => return (heard, Some(violation)),
            }
        }
    }
    (heard, None)
}

/// What may stand where a compressed message is expected: noise, one with mistakes, one cut short, some in a row.
#[derive(Clone, Debug)]
enum Odd {
    Noise(Vec<u8>),
    Changed(Said, Vec<(Index, u8)>),
    Cut(Said, Index),
    Followed(Said, Vec<u8>),
    Ends(usize),
}

fn odd() -> impl Strategy<Value = Odd> {
    prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(Odd::Noise),
        (said(), vec((any::<Index>(), any::<u8>()), 1..4))
            .prop_map(|(said, changes)| Odd::Changed(said, changes)),
        (said(), any::<Index>()).prop_map(|(said, place)| Odd::Cut(said, place)),
        (said(), vec(any::<u8>(), 0..6)).prop_map(|(said, more)| Odd::Followed(said, more)),
        (0usize..24).prop_map(Odd::Ends),
    ]
}

impl Odd {
    fn write(&self, writer: &mut Writer) -> Vec<u8> {
        match self {
            Odd::Noise(bytes) => bytes.clone(),
            Odd::Changed(said, changes) => {
                let mut bytes = writer.write(said);
                for (place, byte) in changes {
                    let at = place.index(bytes.len());
                    bytes[at] = *byte;
                }
                bytes
            }
            Odd::Cut(said, place) => {
                let bytes = writer.write(said);
                bytes[..place.index(bytes.len())].to_vec()
            }
            Odd::Followed(said, more) => [writer.write(said), more.clone()].concat(),
            Odd::Ends(count) => [b"\x03\x00".repeat(*count), vec![0]].concat(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn we_read_what_zlib_writes_wherever_it_is_cut(
        role in role(),
        (level, bits, keeps_context) in (0u32..=9, 9u8..=15, any::<bool>()),
        all in vec(said(), 1..7),
        lens in reads(),
    ) {
        let mut writer = Writer::new(level, bits, keeps_context);
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for said in &all {
            let sent = if said.is_compressed { writer.write(said) } else { said.payload.clone() };
            fragments(&mut stream, &mut expected, role, said, &sent);
            expected.push(Heard::Message(said.kind, said.payload.clone()));
        }
        prop_assert_eq!(we_hear(role, &stream, &lens, keeps_context), (expected, None));
    }

    #[test]
    fn zlib_reads_what_we_write_wherever_it_is_cut_through_a_window_of_just_that_size(
        (bits, keeps_context, is_masked) in (9u8..=15, any::<bool>(), any::<bool>()),
        all in vec(payload(), 1..7),
        (lens, step) in (reads(), 1usize..40),
    ) {
        let (mut deflater, mut reader) = (Deflater::new(bits), Reader::new(bits, step));
        for (kind, payload) in all {
            let mut frame = Vec::new();
            let is_compressed = if is_masked {
                deflater.encode_deflated_masked(&mut frame, kind, &payload, [1, 2, 3, 4], keeps_context)
            } else {
                deflater.encode_deflated(&mut frame, kind, &payload, keeps_context)
            };
            // Up to the payload, frames are held against tungstenite.
            let role = if is_masked { Role::Server } else { Role::Client };
            let header = Header::decode(&frame, role).expect("a good header").expect("a whole one");
            let mut sent = frame.split_off(header.header_len);
            if is_masked {
                mask::apply([1, 2, 3, 4], &mut sent);
            }
            prop_assert!(keeps_context || sent.len() <= payload.len());
            if !is_compressed {
                prop_assert_eq!(sent, payload);
                continue;
            }
            if !keeps_context {
                reader.inflate.reset(false);
            }
            let whole = [&sent[..], TAIL].concat();
            prop_assert_eq!(reader.read(&whole, &lens), Some(payload));
        }
        prop_assert_eq!(reader.ends, 0, "no stream of ours ends");
    }

    #[test]
    fn zlib_and_we_call_the_same_bytes_a_message(
        role in role(),
        (bits, keeps_context) in (9u8..=15, any::<bool>()),
        good in vec(said(), 0..3),
        (odd, how) in (odd(), said()),
        lens in reads(),
    ) {
        // We read with the largest window whatever was agreed on, and so does zlib here.
        let (mut writer, mut reader) = (Writer::new(6, bits, keeps_context), Reader::new(15, 64));
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for said in &good {
            let said = &Said { is_compressed: true, ..said.clone() };
            let sent = writer.write(said);
            fragments(&mut stream, &mut expected, role, said, &sent);
            expected.push(Heard::Message(said.kind, said.payload.clone()));
            let read = reader.read(&[&sent[..], TAIL].concat(), &lens);
            prop_assert_eq!(read.as_ref(), Some(&said.payload));
            if !keeps_context {
                reader.inflate.reset(false);
            }
        }
        reader.ends = 0;
        let sent = odd.write(&mut writer);
        let how = Said { kind: Kind::Binary, is_compressed: true, ..how };
        fragments(&mut stream, &mut expected, role, &how, &sent);
        let judged = if sent.is_empty() { Some(Vec::new()) } else { reader.judge(&sent, &lens) };
        // The last end is the judge's own.
        let has_too_many_ends = reader.ends > ENDS_MAX + usize::from(judged.is_some());
        let verdict = match judged {
            Some(message) if !has_too_many_ends => {
                expected.push(Heard::Message(Kind::Binary, message));
                None
            }
            _ => Some(Violation::DeflateInvalid),
        };
        prop_assert_eq!(we_hear(role, &stream, &lens, keeps_context), (expected, verdict));
    }
}

/// The reader of these tests would notice a window that is too large, and bytes that are none.
#[test]
fn zlib_refuses_what_its_window_does_not_reach_and_what_is_cut_short() {
    let far: Vec<u8> =
        (0..600u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().repeat(2);
    let mut frame = Vec::new();
    assert!(Deflater::new(15).encode_deflated(&mut frame, Kind::Binary, &far, false));
    let sent = frame.split_off(Header::decode(&frame, Role::Client).unwrap().unwrap().header_len);
    assert_eq!(Reader::new(15, 1).judge(&sent, &[7]), Some(far));
    assert_eq!(Reader::new(9, 1).judge(&sent, &[7]), None);
    assert_eq!(Reader::new(15, 1).judge(&sent[..sent.len() - 1], &[7]), None);
}
