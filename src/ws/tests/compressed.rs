//! Compressed messages through decoder, inflater and deflater: RFC 7692 §7.2.3 byte by byte, and laws over streams.
//!
//! The decoder only gathers a compressed message; what it unfolds to is the inflater's to say. Both are heard here as one.

use super::*;
use crate::ws::deflate::{Deflater, Inflater};

/// What a message unfolds to, alone.
fn inflated(kind: Kind, compressed: &[u8]) -> Result<Vec<u8>, Violation> {
    let mut out = Vec::new();
    Inflater::new().inflate(kind, compressed, &mut out, &WIDE, false).map(|()| out)
}

/// RFC 7692 §7.2.3.1 to §7.2.3.6.
#[test]
fn the_rfc_s_own_examples() {
    // §7.2.3.1: one block; the same in two fragments.
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!(inflated(Kind::Text, hello), Ok(b"Hello".to_vec()));
    // §7.2.3.3: a stored block.
    assert_eq!(inflated(Kind::Text, b"\x00\x05\x00\xfa\xffHello\x00"), Ok(b"Hello".to_vec()));
    // §7.2.3.4: BFINAL.
    assert_eq!(inflated(Kind::Text, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), Ok(b"Hello".to_vec()));
    // §7.2.3.5: two blocks.
    assert_eq!(
        inflated(Kind::Text, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
        Ok(b"Hello".to_vec())
    );
    // §7.2.3.6: an empty message.
    assert_eq!(inflated(Kind::Text, b"\x00"), Ok(vec![]));
    // §7.2.3.2: the second message refers to the first.
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    assert_eq!(inflater.inflate(Kind::Text, hello, &mut out, &WIDE, true), Ok(()));
    assert_eq!(inflater.inflate(Kind::Text, b"\xf2\x00\x11\x00\x00", &mut out, &WIDE, true), Ok(()));
    assert_eq!(out, b"Hello");
    assert_eq!(
        inflated(Kind::Text, b"\xf2\x00\x11\x00\x00"),
        Err(Violation::DeflateInvalid),
        "there is nothing to refer to"
    );
    // And what we send is just that.
    let mut deflater = Deflater::new(15);
    let mut frame = Vec::new();
    assert!(deflater.encode_deflated(&mut frame, Kind::Text, b"Hello", true));
    assert_eq!(frame, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
    frame.clear();
    assert!(deflater.encode_deflated(&mut frame, Kind::Text, b"Hello", true));
    assert_eq!(frame, b"\xc1\x05\xf2\x00\x11\x00\x00");
}
