//! Finds where a head ends, without looking at a byte twice.
//!
//! A head may arrive a byte at a time, and a peer may do that on purpose: parsing a growing head again and
//! again would cost the square of its length. So the scan remembers how far it came, counts what is bounded
//! on the way, and the parser runs once, over a head that is whole.
//!
//! Invariants: every byte is examined once; what comes out does not depend on how the stream was cut; a
//! refusal for length comes as soon as the length is exceeded, not when the line ends.

use super::{Limits, Refusal, is_token_byte};

/// The state of looking for a head's end; 12 bytes, one for each connection that is still in its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// How many bytes have been examined.
    scanned: u32,
    /// Where the line being examined begins.
    line: u32,
    /// Fields seen so far.
    fields: u16,
    /// Whether the request line is complete.
    in_fields: bool,
}

impl HeadScan {
    /// A scan that has seen nothing. Each head needs a new one.
    #[must_use]
    pub const fn new() -> Self {
        Self { scanned: 0, line: 0, fields: 0, in_fields: false }
    }

    /// Continues in `bytes`, which holds everything received since the head began (what was scanned before
    /// must still stand at its front). Gives the head's length in bytes, its empty last line included, once
    /// that has arrived.
    ///
    /// A response's head ends in the same way, so clients use this too.
    ///
    /// # Errors
    /// The head exceeds a limit, a line ends with a bare LF, or the first line cannot be a request at all.
    pub fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        loop {
            let (from, line) = (self.scanned as usize, self.line as usize);
            // The LF must stand before `bound`, and only bytes before it are looked at: so the verdict is the
            // same however much arrives at once.
            let (bound, exceeded) = self.bound(line, limits);
            let window = &bytes[from..bytes.len().min(bound).max(from)];
            if from == line && !self.in_fields {
                reject_other_protocols(window)?;
            }
            let Some(offset) = window.iter().position(is_lf) else {
                self.scanned = position(from + window.len());
                return if bytes.len() >= bound { Err(exceeded) } else { Ok(None) };
            };
            let lf = from + offset;
            if lf == line || bytes[lf - 1] != b'\r' {
                return Err(Refusal::BareLf);
            }
            self.scanned = position(lf + 1);
            self.line = self.scanned;
            let is_empty = lf - line == 1;
            match (is_empty, self.in_fields) {
                // RFC 9112 §2.2: empty lines before the request line are ignored.
                (true, false) => {}
                (true, true) => return Ok(Some(lf + 1)),
                (false, false) => self.in_fields = true,
                (false, true) => {
                    self.fields = self.fields.saturating_add(1);
                    if usize::from(self.fields) > limits.headers_max.min(super::Storage::HEADERS_MAX) {
                        return Err(Refusal::TooManyHeaders);
                    }
                }
            }
        }
    }

    /// Before which position the current line's LF must stand, and what it is called if it does not.
    fn bound(self, line: usize, limits: &Limits) -> (usize, Refusal) {
        let line_bound = line + limits.request_line_max + "\r\n".len();
        if !self.in_fields && line_bound <= limits.head_max {
            (line_bound, Refusal::RequestLineTooLong)
        } else {
            (limits.head_max, Refusal::HeadTooLarge)
        }
    }
}

fn is_lf(byte: &u8) -> bool {
    #[cfg(test)]
    tests::EXAMINED.with(|count| count.set(count.get() + 1));
    *byte == b'\n'
}

/// A first byte that cannot begin a method is not worth waiting for the rest: a TLS greeting (0x16) on the
/// plain port has no line end and would else stay until its deadline.
fn reject_other_protocols(window: &[u8]) -> Result<(), Refusal> {
    match window.first() {
        Some(&byte) if !is_token_byte(byte) && byte != b'\r' && byte != b'\n' => {
            Err(Refusal::RequestLineMalformed)
        }
        Some(_) | None => Ok(()),
    }
}

fn position(index: usize) -> u32 {
    u32::try_from(index).expect("a position is at most head_max, which is far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        /// How often a byte was looked at, in this test.
        pub(super) static EXAMINED: Cell<usize> = const { Cell::new(0) };
    }

    const SMALL: Limits = Limits { request_line_max: 24, head_max: 80, headers_max: 3 };

    fn whole(bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        HeadScan::new().scan(bytes, limits)
    }

    /// Feeds growing prefixes, as a socket would, and stops at the first verdict.
    fn in_pieces(bytes: &[u8], cuts: &[usize], limits: &Limits) -> Result<Option<usize>, Refusal> {
        let mut scan = HeadScan::new();
        let mut len = 0;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            len = (len + cut.min(bytes.len())).min(bytes.len());
            if let Some(end) = scan.scan(&bytes[..len], limits)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    #[test]
    fn finds_the_end_and_leaves_what_follows() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(whole(head, &SMALL), Ok(Some(head.len())));
        assert_eq!(whole(&[&head[..], b"\x81\x00frames\n"].concat(), &SMALL), Ok(Some(head.len())));
        assert_eq!(whole(&head[..head.len() - 1], &SMALL), Ok(None));
        assert_eq!(whole(b"", &SMALL), Ok(None));
        assert_eq!(whole(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", &SMALL), Ok(Some(22)), "leading CRLF");
    }

    #[test]
    fn every_byte_of_a_head_is_examined_once() {
        // As large as a head may be, in one piece and a byte at a time.
        let field = "X-Dribbled: a byte at a time\r\n";
        let mut head = format!("GET / HTTP/1.1\r\n{}", field.repeat(99));
        head.push_str(&format!("X-Last: {}\r\n\r\n", "x".repeat(16 * 1024 - head.len() - 12)));
        assert_eq!(head.len(), 16 * 1024);
        for step in [1, 7, 16 * 1024] {
            EXAMINED.set(0);
            let verdict = in_pieces(head.as_bytes(), &vec![step; head.len() / step], &Limits::default());
            assert_eq!(verdict, Ok(Some(head.len())));
            assert_eq!(EXAMINED.get(), head.len(), "{step} at a time");
        }
    }

    #[test]
    fn the_request_line_is_refused_before_it_is_complete() {
        let exact = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(24 - 14));
        assert_eq!(whole(exact.as_bytes(), &SMALL), Ok(Some(28)));
        let longer = format!("GET /{}", "x".repeat(24 - 5 + 2));
        assert_eq!(whole(longer.as_bytes(), &SMALL), Err(Refusal::RequestLineTooLong));
        assert_eq!(whole(&longer.as_bytes()[..25], &SMALL), Ok(None));
    }

    #[test]
    fn the_head_is_refused_before_it_is_complete() {
        let head = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(80 - 16 - 3 - 4));
        assert_eq!(head.len(), 80);
        assert_eq!(whole(head.as_bytes(), &SMALL), Ok(Some(80)));
        let endless = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(200));
        assert_eq!(whole(endless.as_bytes(), &SMALL), Err(Refusal::HeadTooLarge));
        assert_eq!(whole("\r\n".repeat(100).as_bytes(), &SMALL), Err(Refusal::HeadTooLarge));
    }

    #[test]
    fn fields_are_counted() {
        let head = |n| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert!(matches!(whole(head(3).as_bytes(), &SMALL), Ok(Some(_))));
        assert_eq!(whole(head(4).as_bytes(), &SMALL), Err(Refusal::TooManyHeaders));
        let limits = Limits::default();
        assert!(matches!(whole(head(100).as_bytes(), &limits), Ok(Some(_))));
        assert_eq!(whole(head(101).as_bytes(), &limits), Err(Refusal::TooManyHeaders));
    }

    #[test]
    fn a_bare_lf_and_a_tls_greeting_are_refused_at_once() {
        assert_eq!(whole(b"GET / HTTP/1.1\nHost: a\n\n", &SMALL), Err(Refusal::BareLf));
        assert_eq!(whole(b"\n", &SMALL), Err(Refusal::BareLf));
        assert_eq!(whole(b"\x16\x03\x01", &SMALL), Err(Refusal::RequestLineMalformed));
    }

    proptest! {
        #[test]
        fn chop_invariance(
            text in "(\r\n)?GET /[a-z]{0,14} HTTP/1.1(\r\n|\n)\
                ([A-Za-z]{1,8}: [a-z ]{0,20}(\r\n|\r\n|\r\n|\n)){0,4}(\r\n)?[a-z\n\r]{0,20}",
            cuts in proptest::collection::vec(0usize..9, 0..40),
        ) {
            prop_assert_eq!(in_pieces(text.as_bytes(), &cuts, &SMALL), whole(text.as_bytes(), &SMALL));
        }

        #[test]
        fn random_bytes_never_panic_nor_depend_on_cuts(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0usize..9, 0..40),
        ) {
            prop_assert_eq!(in_pieces(&bytes, &cuts, &SMALL), whole(&bytes, &SMALL));
        }
    }
}
