//! UTF-8 checked while it arrives, in one byte of state (RFC 6455 §8.1, RFC 3629 §4).
//!
//! A text message comes in pieces that may end inside a character, and must be refused at its first bad byte, not
//! at its end. The bulk of a piece goes through `simdutf8` in one call; only the few bytes of a character that a
//! cut divides go through the small automaton below, which is the table of RFC 3629 §4 written out:
//!
//! ```text
//!   lead      next byte      then               refused so
//!   C2–DF     80–BF                             C0, C1 (overlong)
//!   E0        A0–BF          80–BF              E0 80–9F (overlong)
//!   E1–EC,EE,EF 80–BF        80–BF
//!   ED        80–9F          80–BF              ED A0–BF (surrogates)
//!   F0        90–BF          80–BF ×2           F0 80–8F (overlong)
//!   F1–F3     80–BF          80–BF ×2
//!   F4        80–8F          80–BF ×2           F4 90–, F5–FF (above U+10FFFF)
//! ```

/// A byte that cannot stand where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotUtf8;

/// Where a stream of UTF-8 stands: between characters, or inside one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Utf8(State);

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(u8)]
enum State {
    /// A character begins.
    #[default]
    Boundary,
    /// One continuation byte is missing.
    Last,
    /// Two are missing, the next is any.
    Two,
    /// Three are missing, the next is any.
    Three,
    /// Behind E0: A0–BF, then one more.
    AfterE0,
    /// Behind ED: 80–9F, then one more.
    AfterEd,
    /// Behind F0: 90–BF, then two more.
    AfterF0,
    /// Behind F4: 80–8F, then two more.
    AfterF4,
}

impl Utf8 {
    /// A stream that has not begun.
    pub const fn new() -> Self {
        Self(State::Boundary)
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// If the stream so far is not the beginning of any UTF-8 text. The state is then without meaning.
    #[inline]
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.0 != State::Boundary {
            let Some((byte, rest)) = piece.split_first() else { return Ok(()) };
            self.0 = self.0.next(*byte).ok_or(NotUtf8)?;
            piece = rest;
        }
        let (whole, begun) = piece.split_at(piece.len() - unfinished_len(piece));
        simdutf8::basic::from_utf8(whole).map_err(|_| NotUtf8)?;
        for byte in begun {
            self.0 = self.0.next(*byte).ok_or(NotUtf8)?;
        }
        Ok(())
    }

    /// Whether the stream may end here.
    #[inline]
    pub fn is_boundary(self) -> bool {
        self.0 == State::Boundary
    }
}

impl State {
    /// The automaton: `None` if `byte` cannot come here.
    #[inline]
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Boundary, 0x00..=0x7F) | (Self::Last, 0x80..=0xBF) => Some(Self::Boundary),
            (Self::Boundary, 0xC2..=0xDF)
            | (Self::Two, 0x80..=0xBF)
            | (Self::AfterE0, 0xA0..=0xBF)
            | (Self::AfterEd, 0x80..=0x9F) => Some(Self::Last),
            (Self::Boundary, 0xE0) => Some(Self::AfterE0),
            (Self::Boundary, 0xED) => Some(Self::AfterEd),
            (Self::Boundary, 0xE1..=0xEF)
            | (Self::Three, 0x80..=0xBF)
            | (Self::AfterF0, 0x90..=0xBF)
            | (Self::AfterF4, 0x80..=0x8F) => Some(Self::Two),
            (Self::Boundary, 0xF0) => Some(Self::AfterF0),
            (Self::Boundary, 0xF1..=0xF3) => Some(Self::Three),
            (Self::Boundary, 0xF4) => Some(Self::AfterF4),
            (
                Self::Boundary
                | Self::Last
                | Self::Two
                | Self::Three
                | Self::AfterE0
                | Self::AfterEd
                | Self::AfterF0
                | Self::AfterF4,
                _,
            ) => None,
        }
    }
}

/// How many bytes at the end belong to a character whose end is not here: 0 to 3. Bytes that belong to no
/// character count as 0, for the bulk check to refuse.
#[inline]
fn unfinished_len(piece: &[u8]) -> usize {
    for (back, byte) in piece.iter().rev().take(3).enumerate() {
        let wanted = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x00..=0x7F | 0xC0..=0xC1 | 0xF5..=0xFF => 1,
        };
        let have = back + 1;
        return if have < wanted { have } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many leading bytes are the beginning of some UTF-8 text, by the standard library's word.
    fn good_prefix(bytes: &[u8]) -> usize {
        (0..=bytes.len())
            .rev()
            .find(|len| match std::str::from_utf8(&bytes[..*len]) {
                Ok(_) => true,
                Err(error) => error.error_len().is_none(),
            })
            .expect("nothing is the beginning of a text")
    }

    /// Feeds in pieces; says whether it went through and ended between characters.
    fn accepts(bytes: &[u8], piece_len: usize) -> bool {
        let mut utf8 = Utf8::new();
        bytes.chunks(piece_len).all(|piece| utf8.feed(piece).is_ok()) && utf8.is_boundary()
    }

    #[test]
    fn one_byte_of_state() {
        assert_eq!(size_of::<Utf8>(), 1);
    }

    /// All sequences of two bytes, and of four from the bytes at which a range begins or ends.
    #[test]
    fn agrees_with_the_standard_library_on_every_short_sequence() {
        const EDGES: [u8; 22] = [
            0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC,
            0xED, 0xEF, 0xF0, 0xF3, 0xF4, 0xF5,
        ];
        for a in 0..=255 {
            for b in 0..=255 {
                let two = [a, b];
                assert_eq!(accepts(&two, 1), std::str::from_utf8(&two).is_ok(), "{two:x?}");
            }
        }
        for a in EDGES {
            for b in EDGES {
                for c in EDGES {
                    for d in EDGES {
                        let four = [a, b, c, d];
                        let good = std::str::from_utf8(&four).is_ok();
                        assert!(accepts(&four, 1) == good && accepts(&four, 3) == good, "{four:x?}");
                    }
                }
            }
        }
    }

    /// Text with bad bytes here and there, so that both outcomes and long good runs are common.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => "\\PC{0,40}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 1..4),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn fails_with_the_piece_that_holds_the_first_bad_byte(bytes in nearly_text(), piece_len in 1usize..80) {
            let good = good_prefix(&bytes);
            let mut utf8 = Utf8::new();
            let mut fed = 0;
            for piece in bytes.chunks(piece_len) {
                fed += piece.len();
                prop_assert_eq!(utf8.feed(piece).is_ok(), fed <= good);
                if fed > good {
                    break;
                }
            }
            prop_assert_eq!(accepts(&bytes, piece_len), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
