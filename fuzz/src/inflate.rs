//! Compressed messages: what any bytes unfold to, within the limits, and that what we compress comes back.
//!
//! Input: one byte of form, one of limits. *Unfold*: the rest is one compressed message, held against `miniz_oxide`,
//! which has no line in common with our inflater. *Return*: lines, each a message for the compressor.

use super::given::Given;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use stentor::ws::deflate::{Deflater, Inflater};
use stentor::ws::{Cursor, Decoder, Event, Kind, Limits, Role, Violation};

/// More than DEFLATE can unfold to, for each byte.
const UNFOLDED_MAX: usize = 1100;

/// What ends a message, left out by the sender (RFC 7692 §7.2.1), then a block that ends the stream.
const TAIL_AND_END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let form = given.byte();
    let message_max = [1 << 20, 300, 1 << 30, 0][usize::from(given.byte() & 3)];
    let limits = Limits { frame_max: message_max, message_max, fragments_max: 1 };
    let kind = if form & 2 == 0 { Kind::Binary } else { Kind::Text };
    if form & 1 == 0 { unfold(kind, given.rest(), &limits) } else { come_back(form, given) }
}

fn unfold(kind: Kind, compressed: &[u8], limits: &Limits) {
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    let verdict = inflater.inflate(kind, compressed, &mut out, limits, false);
    // One byte may show that there is more.
    assert!(out.len() as u64 <= limits.message_max + 1, "{} bytes", out.len());
    assert!(out.len() <= compressed.len() * UNFOLDED_MAX, "DEFLATE unfolds 1032 to 1");
    let mut again = Vec::new();
    assert_eq!(
        inflater.inflate(kind, compressed, &mut again, limits, false),
        verdict,
        "nothing is left of a message"
    );
    assert_eq!(again, out);
    let mut with_context = Vec::new();
    let first = Inflater::new().inflate(kind, compressed, &mut with_context, limits, true);
    assert_eq!((&first, &with_context), (&verdict, &out), "the first message has no context yet");
    if verdict.is_ok() {
        assert!(out.len() as u64 <= limits.message_max);
        assert!(kind == Kind::Binary || std::str::from_utf8(&out).is_ok(), "text is UTF-8");
    }
    held_against(kind, compressed, &out, verdict, limits);
}

/// The other inflater must agree, as far as the first end of a stream within the message.
fn held_against(kind: Kind, compressed: &[u8], ours: &[u8], verdict: Result<(), Violation>, limits: &Limits) {
    let whole = [compressed, &TAIL_AND_END].concat();
    let mut theirs = vec![0; whole.len() * UNFOLDED_MAX];
    let mut inflater = Box::<DecompressorOxide>::default();
    let (status, taken, given) =
        decompress(&mut inflater, &whole, &mut theirs, 0, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF);
    theirs.truncate(given);
    let is_good = status == TINFLStatus::Done;
    // Nothing behind the end of our own: the message was whole, and ended where the tail belongs.
    if is_good && taken == whole.len() && !compressed.is_empty() {
        let is_allowed = theirs.len() as u64 <= limits.message_max;
        let is_text = kind == Kind::Binary || std::str::from_utf8(&theirs).is_ok();
        match verdict {
            Ok(()) => assert_eq!(ours, theirs),
            Err(Violation::InflatedTooBig) => assert!(!is_allowed),
            Err(Violation::TextNotUtf8) => assert!(!is_text),
            Err(Violation::DeflateRatio) => assert!(theirs.len() > 1 << 20),
            Err(why) => panic!("{why:?}, where {} bytes were right", theirs.len()),
        }
    }
    // A tail that fell into a block may end another way for them; what came before it is the same.
    let common = if verdict.is_ok() { ours.len().min(theirs.len()) } else { 0 };
    assert_eq!(&ours[..common], &theirs[..common]);
}

/// Messages through compressor, decoder and inflater.
fn come_back(form: u8, given: Given<'_>) {
    let keep_context = form & 4 != 0;
    let bits = 9 + form / 32 % 7;
    let (mut deflater, mut inflater) = (Deflater::new(bits), Inflater::new());
    let limits = Limits { frame_max: 1 << 20, message_max: 1 << 20, fragments_max: 1 };
    for line in given.rest().split(|&byte| byte == b'\n') {
        let kind = if std::str::from_utf8(line).is_ok() { Kind::Text } else { Kind::Binary };
        let message = line.repeat(1 + usize::from(form >> 3 & 3) * 40);
        let mut frame = Vec::new();
        let is_compressed = deflater.encode_deflated(&mut frame, kind, &message, keep_context);
        assert!(keep_context || frame.len() <= message.len() + 10, "it does not grow");
        assert_eq!(frame[0] & 0x40 != 0, is_compressed);
        let (mut decoder, mut cursor, mut out) =
            (Decoder::with_deflate(Role::Client), Cursor::default(), Vec::new());
        match decoder.decode(&mut frame, &mut cursor, &limits) {
            Ok(Some(Event::Message { kind: heard, payload })) if !is_compressed => {
                assert_eq!((heard, payload), (kind, &message[..]));
            }
            Ok(Some(Event::Compressed { kind: heard, payload })) if is_compressed => {
                assert_eq!(heard, kind);
                assert_eq!(inflater.inflate(kind, payload, &mut out, &limits, keep_context), Ok(()));
                assert_eq!(out, message);
            }
            other => panic!("{other:?}"),
        }
    }
}
