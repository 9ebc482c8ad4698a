//! UTF-8: whatever way it is cut, the verdict of the standard library, at the very byte that is wrong.
//!
//! Input: two bytes of cuts, then the text.

use super::given::{Cuts, Given};
use stentor::ws::utf8::Utf8;

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let mut cuts = Cuts::new(given.word());
    let text = given.rest();
    let bad = first_bad(text);

    let (mut state, mut fed) = (Utf8::new(), 0);
    for piece in cuts.pieces(text) {
        let verdict = state.feed(piece);
        fed += piece.len();
        // A piece is refused exactly if the first bad byte is in it or before it.
        assert_eq!(verdict.is_err(), bad.is_some_and(|bad| bad < fed), "after {fed} bytes of {text:x?}");
        if verdict.is_err() {
            return;
        }
        assert_eq!(state.is_boundary(), std::str::from_utf8(&text[..fed]).is_ok());
    }
    let mut whole = Utf8::new();
    assert_eq!(whole.feed(text).is_ok(), bad.is_none());
    assert!(bad.is_some() || whole == state, "the state does not depend on the cuts");
}

/// The first byte that makes the text the beginning of no UTF-8 text.
fn first_bad(text: &[u8]) -> Option<usize> {
    let error = std::str::from_utf8(text).err()?;
    error.error_len()?;
    // The character that begins there is bad at one of its bytes: the first prefix that cannot be completed ends in it.
    let start = error.valid_up_to();
    let is_bad =
        |end: &usize| std::str::from_utf8(&text[start..=*end]).is_err_and(|e| e.error_len().is_some());
    (start..text.len()).find(is_bad)
}
