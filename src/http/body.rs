//! A request's body, taken piece by piece into a bounded buffer, by length or in chunks (RFC 9112 §6–7).
//!
//! Bodies come with `POST /publish` only and become one message, so they are gathered whole. Extensions and
//! trailers of chunks mean nothing here: they are read, counted and dropped.
//!
//! ```text
//! 1a;name=value CRLF  26 bytes CRLF  ...  0 CRLF  trailer: value CRLF  CRLF
//! size  extension     data                last    trailers             end
//! ```
//!
//! Invariants: what is gathered never exceeds the bound, and a body that announces more is refused before a
//! byte of it is read; memory follows bytes received, never bytes announced; results do not depend on how the
//! stream was cut.

use std::io::Write;

use super::Refusal;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none, or it is empty.
    None,
    /// After so many bytes, at least one.
    Length(u64),
    /// Where its last chunk says so.
    Chunked,
}

/// Most bytes of chunk extensions and trailers in one body, together. Nothing uses them, and without a bound
/// one byte of data could drag any number of them along.
const EXTRAS_MAX: u32 = 8 * 1024;

/// Most digits of a chunk's size: enough for 64 bits, and leading zeros are no way to send for ever.
const DIGITS_MAX: u8 = 16;

/// The state of taking one body.
#[derive(Clone, Debug)]
pub struct BodyReader {
    part: Part,
    /// How many more bytes of data may come.
    room: u64,
    /// How many more bytes of extensions and trailers may come.
    extras: u32,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The body by length: bytes still to come.
    Counted(u64),
    /// The digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// White space behind the size: more of it, an extension or the line's end may follow.
    Blank { size: u64 },
    /// Extensions behind the size.
    Extension { size: u64 },
    /// The LF behind the size.
    SizeEnd { size: u64 },
    /// A chunk's data: bytes still to come.
    Data(u64),
    /// The CR behind the data.
    DataCr,
    /// The LF behind the data.
    DataEnd,
    /// A trailer's name; `empty` as long as nothing stood in the line.
    Trailer { empty: bool },
    /// A trailer's value.
    TrailerValue,
    /// The LF behind a trailer, or behind the empty line that ends it all.
    TrailerEnd { last: bool },
    /// All there.
    Done,
}

impl BodyReader {
    /// A reader for a body that ends as `length` says and may have `max` bytes of data.
    ///
    /// # Errors
    /// The announced length exceeds `max` ([`Refusal::BodyTooLarge`]).
    pub const fn new(length: BodyLength, max: u64) -> Result<Self, Refusal> {
        let part = match length {
            BodyLength::None | BodyLength::Length(0) => Part::Done,
            BodyLength::Length(len) if len > max => return Err(Refusal::BodyTooLarge),
            BodyLength::Length(len) => Part::Counted(len),
            BodyLength::Chunked => Part::Size { size: 0, digits: 0 },
        };
        Ok(Self { part, room: max, extras: EXTRAS_MAX })
    }

    /// Whether the body is complete.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.part, Part::Done)
    }

    /// Takes what belongs to the body from the front of `bytes` and appends its data to `out`, which is memory. Gives how many
    /// bytes were taken and whether the body is complete; bytes behind it are left for the next request.
    ///
    /// # Errors
    /// The chunks are malformed or exceed a bound. The reader is of no use afterwards.
    ///
    /// # Panics
    /// If `out` fails, which memory does not.
    pub fn feed(&mut self, bytes: &[u8], out: &mut impl Write) -> Result<(usize, bool), Refusal> {
        let mut rest = bytes;
        while let ([first, after @ ..], false) = (rest, self.is_done()) {
            rest = match self.part {
                Part::Counted(missing) => self.take(rest, missing, Part::Counted, Part::Done, out),
                Part::Data(missing) => self.take(rest, missing, Part::Data, Part::DataCr, out),
                Part::Size { .. }
                | Part::Blank { .. }
                | Part::Extension { .. }
                | Part::SizeEnd { .. }
                | Part::DataCr
                | Part::DataEnd
                | Part::Trailer { .. }
                | Part::TrailerValue
                | Part::TrailerEnd { .. }
                | Part::Done => {
                    self.step(*first)?;
                    after
                }
            };
        }
        Ok((bytes.len() - rest.len(), self.is_done()))
    }

    /// Moves up to `missing` bytes of data to `out`; what is left of `missing` decides the next part.
    fn take<'b>(
        &mut self,
        bytes: &'b [u8],
        missing: u64,
        more: fn(u64) -> Part,
        end: Part,
        out: &mut impl Write,
    ) -> &'b [u8] {
        let count = usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len());
        let (data, rest) = bytes.split_at(count);
        out.write_all(data).expect("writing to memory cannot fail");
        let missing = missing - count as u64;
        self.part = if missing == 0 { end } else { more(missing) };
        rest
    }

    /// One byte of what stands around the data.
    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.part = match (self.part, byte) {
            (Part::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == DIGITS_MAX {
                    return Err(Refusal::ChunkMalformed);
                }
                let digit = (byte as char).to_digit(16).expect("it is a hexadecimal digit");
                Part::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Part::Size { digits: 0, .. }, _) => return Err(Refusal::ChunkMalformed),
            (Part::Size { size, .. } | Part::Blank { size } | Part::Extension { size }, b'\r') => {
                if size > self.room {
                    return Err(Refusal::BodyTooLarge);
                }
                Part::SizeEnd { size }
            }
            // RFC 9112 §7.1.1: extensions begin with a semicolon, white space before it is to be tolerated.
            (Part::Size { size, .. } | Part::Blank { size }, b' ' | b'\t') => {
                self.extra(Part::Blank { size })?
            }
            (Part::Size { size, .. } | Part::Blank { size }, b';') => self.extra(Part::Extension { size })?,
            (Part::Extension { size }, _) if super::is_value_byte(byte) => {
                self.extra(Part::Extension { size })?
            }
            (Part::SizeEnd { size: 0 }, b'\n') => Part::Trailer { empty: true },
            (Part::SizeEnd { size }, b'\n') => {
                self.room -= size;
                Part::Data(size)
            }
            (Part::DataCr, b'\r') => Part::DataEnd,
            (Part::DataEnd, b'\n') => Part::Size { size: 0, digits: 0 },
            // RFC 9112 §7.1.2: a trailer is a field like those of the head.
            (Part::Trailer { empty: true }, b'\r') => Part::TrailerEnd { last: true },
            (Part::Trailer { .. }, _) if super::is_token_byte(byte) => {
                self.extra(Part::Trailer { empty: false })?
            }
            (Part::Trailer { empty: false }, b':') => self.extra(Part::TrailerValue)?,
            (Part::TrailerValue, b'\r') => Part::TrailerEnd { last: false },
            (Part::TrailerValue, _) if super::is_value_byte(byte) => self.extra(Part::TrailerValue)?,
            (Part::TrailerEnd { last: true }, b'\n') => Part::Done,
            (Part::TrailerEnd { last: false }, b'\n') => Part::Trailer { empty: true },
            (
                Part::Counted(_)
                | Part::Size { .. }
                | Part::Blank { .. }
                | Part::Extension { .. }
                | Part::SizeEnd { .. }
                | Part::Data(_)
                | Part::DataCr
                | Part::DataEnd
                | Part::Trailer { .. }
                | Part::TrailerValue
                | Part::TrailerEnd { .. }
                | Part::Done,
                _,
            ) => return Err(Refusal::ChunkMalformed),
        };
        Ok(())
    }

    /// Counts a byte that is dropped.
    const fn extra(&mut self, next: Part) -> Result<Part, Refusal> {
        match self.extras.checked_sub(1) {
            Some(left) => {
                self.extras = left;
                Ok(next)
            }
            None => Err(Refusal::ChunkExtrasTooLarge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds the pieces in turn; gives the data, how many bytes were taken and whether the body is complete.
    fn read(
        length: BodyLength,
        max: u64,
        pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> (Vec<u8>, Result<(usize, bool), Refusal>) {
        let mut out = Vec::new();
        let mut reader = match BodyReader::new(length, max) {
            Ok(reader) => reader,
            Err(refusal) => return (out, Err(refusal)),
        };
        let mut taken = 0;
        for piece in pieces {
            match reader.feed(piece.as_ref(), &mut out) {
                Ok((count, _)) => taken += count,
                Err(refusal) => return (out, Err(refusal)),
            }
        }
        let done = reader.is_done();
        (out, Ok((taken, done)))
    }

    fn chunked(text: &str, max: u64) -> (Vec<u8>, Result<(usize, bool), Refusal>) {
        read(BodyLength::Chunked, max, [text])
    }

    #[test]
    fn by_length() {
        assert_eq!(read(BodyLength::Length(5), 5, ["he", "llo", "next"]), (b"hello".to_vec(), Ok((5, true))));
        assert_eq!(read(BodyLength::Length(5), 9, ["hell"]), (b"hell".to_vec(), Ok((4, false))));
        assert_eq!(read(BodyLength::None, 0, ["next"]), (vec![], Ok((0, true))));
    }

    #[test]
    fn an_announced_length_is_refused_before_reading() {
        assert_eq!(BodyReader::new(BodyLength::Length(6), 5).err(), Some(Refusal::BodyTooLarge));
        assert_eq!(BodyReader::new(BodyLength::Length(u64::MAX), 5).err(), Some(Refusal::BodyTooLarge));
        assert_eq!(chunked("6\r\n", 5), (vec![], Err(Refusal::BodyTooLarge)));
        assert_eq!(chunked("FFFFFFFFFFFFFFFF\r\n", 5), (vec![], Err(Refusal::BodyTooLarge)));
        assert_eq!(chunked("5\r\nhello\r\n1\r\n", 5), (b"hello".to_vec(), Err(Refusal::BodyTooLarge)));
    }

    #[test]
    fn by_chunks() {
        let text = "5;a=\"b\"\r\nhello\r\n0001 ;c\r\n!\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n";
        let (data, verdict) = chunked(&format!("{text}GET /"), 9);
        assert_eq!((data.as_slice(), verdict), (&b"hello!"[..], Ok((text.len(), true))));
        assert_eq!(chunked("0\r\n\r\n", 0), (vec![], Ok((5, true))));
        assert_eq!(chunked("5 \t\r\nhello\r\n0\r\n\r\n", 9).1, Ok((17, true)), "some send a space there");
        assert_eq!(chunked("a\r\n0123456789\r\n0\r\n", 10).1, Ok((18, false)));
    }

    #[test]
    fn malformed_chunks() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            ";a\r\n",
            " 5\r\n",
            "0x5\r\n",
            "5\n",
            "5\rx",
            "5;\n",
            "5;\0\r\n",
            "5 a\r\n",
            "5 6\r\n",
            "5\t \"\r\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rb",
            "00000000000000005\r\n",
            "0\r\n\n",
            "0\r\na\n",
            "0\r\n\rx",
            "5 0\r\n",
            "5\t5;a\r\n",
            "0\r\nGET / HTTP/1.1\r\n",
            "0\r\nno colon\r\n",
            "0\r\nname\r\n",
            "0\r\n: b\r\n",
            "0\r\n a: b\r\n",
            "0\r\na: b\r\n c\r\n",
            "0\r\na : b\r\n",
            "0\r\na: \0\r\n",
        ] {
            assert_eq!(chunked(text, 99).1, Err(Refusal::ChunkMalformed), "{text:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let size = EXTRAS_MAX as usize;
        assert!(chunked(&format!("1;{}\r\na\r\n", "x".repeat(size - 1)), 9).1.is_ok());
        assert_eq!(
            chunked(&format!("1;{}\r\na\r\n", "x".repeat(size)), 9).1,
            Err(Refusal::ChunkExtrasTooLarge)
        );
        let trailers = "a: b\r\n".repeat(size);
        assert_eq!(chunked(&format!("0\r\n{trailers}\r\n"), 9).1, Err(Refusal::ChunkExtrasTooLarge));
        let chunks = "1;x\r\na\r\n".repeat(size);
        assert_eq!(
            chunked(&chunks, u64::MAX).1,
            Err(Refusal::ChunkExtrasTooLarge),
            "over all chunks together"
        );
    }

    fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces.push(rest.to_vec());
        pieces
    }

    proptest! {
        #[test]
        fn whatever_is_sent_in_chunks_arrives(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            extension in "(;[a-z=\" ]{0,12})?",
            trailer in "(x: [a-z]{0,9}\r\n){0,2}",
            cuts in proptest::collection::vec(0usize..12, 0..40),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            let all = text.len();
            text.extend_from_slice(b"behind");
            let (data, verdict) = read(BodyLength::Chunked, 1000, pieces(&text, &cuts));
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(verdict, Ok((all, true)));
        }

        #[test]
        fn chop_invariance_of_anything(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'0'), Just(b';'), any::<u8>()], 0..120),
            cuts in proptest::collection::vec(0usize..9, 0..40),
            max in 0u64..40,
        ) {
            for length in [BodyLength::Chunked, BodyLength::Length(17)] {
                let whole = read(length, max, [&bytes]);
                prop_assert!(whole.0.len() as u64 <= max);
                prop_assert_eq!(read(length, max, pieces(&bytes, &cuts)), whole);
            }
        }
    }
}
