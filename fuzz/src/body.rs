//! HTTP bodies: the same data however they are cut, never more than allowed, and the chunks that `httparse` sees.
//!
//! Input: one byte that says how the body ends, two of the most data it may have, two of cuts, then the body.

use super::given::{Cuts, Given};
use stentor::http::{BodyLength, BodyReader, Refusal};

/// Data, bytes taken, whether it is complete; or the refusal with the data before it.
type Read = (Vec<u8>, Result<(usize, bool), Refusal>);

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let mode = given.byte();
    let max = u64::from(given.word());
    let mut cuts = Cuts::new(given.word());
    let stream = given.rest();
    let length = match mode % 4 {
        0 => BodyLength::None,
        1 => BodyLength::Length(u64::from(mode) * 3),
        _ => BodyLength::Chunked,
    };

    let whole = read(length, max, [stream]);
    assert_eq!(read(length, max, cuts.pieces(stream)), whole, "the cuts change nothing");
    let (body, verdict) = &whole;
    assert!(body.len() as u64 <= max, "never more than allowed");
    assert!(body.len() <= stream.len(), "never more than came");
    let Ok((taken, is_done)) = verdict else { return };
    assert!(*taken <= stream.len() && (*is_done || *taken == stream.len()));
    match length {
        BodyLength::None => assert_eq!((*taken, *is_done), (0, true)),
        BodyLength::Length(len) => {
            assert_eq!(body, &stream[..*taken]);
            assert_eq!(*is_done, *taken as u64 == len);
        }
        BodyLength::Chunked if *is_done => assert_eq!(body, &chunks(&stream[..*taken])),
        BodyLength::Chunked => {}
    }
}

fn read<'s>(length: BodyLength, max: u64, pieces: impl IntoIterator<Item = &'s [u8]>) -> Read {
    let mut body = Vec::new();
    let mut reader = match BodyReader::new(length, max) {
        Ok(reader) => reader,
        Err(refusal) => return (body, Err(refusal)),
    };
    let mut taken = 0;
    for piece in pieces {
        match reader.feed(piece, &mut body) {
            Ok((len, _)) => taken += len,
            Err(refusal) => return (body, Err(refusal)),
        }
    }
    (body, Ok((taken, reader.is_done())))
}

/// The data of a complete chunked body, by the sizes that `httparse` reads.
fn chunks(mut stream: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(stream) else {
            panic!("httparse sees no chunk in {stream:x?}");
        };
        if size == 0 {
            return data;
        }
        let size = usize::try_from(size).expect("a chunk that has come fits in memory");
        data.extend_from_slice(&stream[line..line + size]);
        assert_eq!(&stream[line + size..line + size + 2], b"\r\n");
        stream = &stream[line + size + 2..];
    }
}
