//! The bytes a law is given, read as decisions: how to cut, which limits, what to do next.
//!
//! Decisions come first and the stream under test last, as it is, so that a seed can be written by hand and libFuzzer
//! can splice one stream into another.
//!
//! Invariant: reading never fails; what is not there is zero.

/// What is left of the input.
#[derive(Clone, Copy, Debug)]
pub struct Given<'d>(&'d [u8]);

impl<'d> Given<'d> {
    /// All of it.
    pub fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Up to `len` bytes.
    pub fn take(&mut self, len: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub fn rest(self) -> &'d [u8] {
        self.0
    }
}

/// Pieces of one stream: what a law costs grows with their number and the length.
const PIECES_MAX: usize = 1000;

/// Lengths of pieces, drawn from a seed: a stream as a network may cut it.
#[derive(Clone, Debug)]
pub struct Cuts {
    state: u32,
    longest: u32,
}

impl Cuts {
    /// The cuts of this seed; its lowest bits say how long the pieces are.
    pub fn new(seed: u16) -> Self {
        let longest = [1, 4, 40, 700][usize::from(seed & 3)];
        Self { state: u32::from(seed) | 0x5A5A_0000, longest }
    }

    /// The length of the next piece, at least 1.
    pub fn next_len(&mut self) -> usize {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + ((self.state >> 16) % self.longest) as usize
    }

    /// `stream` in these pieces; a long one ends in a long piece.
    pub fn pieces<'s>(&mut self, mut stream: &'s [u8]) -> Vec<&'s [u8]> {
        let mut pieces = Vec::new();
        while pieces.len() < PIECES_MAX && !stream.is_empty() {
            let (piece, rest) = stream.split_at(self.next_len().min(stream.len()));
            pieces.push(piece);
            stream = rest;
        }
        pieces.push(stream);
        pieces
    }
}
