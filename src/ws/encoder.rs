//! Frames out: header and payload in one piece, appended to a buffer (RFC 6455 §5.2, §5.3).
//!
//! A server does not mask (§5.1), so one encoding serves every peer of a broadcast: that is why frames are built
//! once and shared. A client masks, with a key of the caller's choosing, since nothing here may draw a random
//! number.

use super::header::{HEADER_BYTES_MAX, encode_header};
use super::mask;
use super::opcode::Opcode;

/// Appends a whole frame (FIN set, not masked): what a server sends.
pub fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (header, len) = encode_header(opcode, true, payload.len() as u64, None);
    out.reserve(len + payload.len());
    out.extend_from_slice(&header[..len]);
    out.extend_from_slice(payload);
}

/// Appends a whole frame (FIN set, masked): what a client sends. The key must be unpredictable to whoever chose
/// the payload (RFC 6455 §10.3).
pub fn encode_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    let (header, len) = encode_header(opcode, true, payload.len() as u64, Some(key));
    out.reserve(len + payload.len());
    out.extend_from_slice(&header[..len]);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(key, &mut out[start..]);
}

/// How long an unmasked frame with such a payload is, in bytes. A masked one is 4 longer.
pub const fn frame_len(payload_len: usize) -> usize {
    let header_len = match payload_len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => HEADER_BYTES_MAX - 4,
    };
    header_len + payload_len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6455 §5.7.
    #[test]
    fn the_rfc_s_own_examples() {
        let mut out = Vec::new();
        encode(&mut out, Opcode::Text, b"Hello");
        assert_eq!(out, b"\x81\x05Hello");

        out.clear();
        encode_masked(&mut out, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");

        let (header, len) = encode_header(Opcode::Text, false, 3, None);
        assert_eq!(header[..len], *b"\x01\x03");
        let (header, len) = encode_header(Opcode::Continuation, true, 2, None);
        assert_eq!(header[..len], *b"\x80\x02");

        for (payload_len, start) in
            [(256, &b"\x82\x7e\x01\x00"[..]), (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00")]
        {
            out.clear();
            encode(&mut out, Opcode::Binary, &vec![0; payload_len]);
            assert!(out.starts_with(start));
        }
    }

    #[test]
    fn frame_len_is_the_length_of_the_frame() {
        for payload_len in [0, 1, 125, 126, 65535, 65536, 100_000] {
            let payload = vec![7; payload_len];
            let (mut plain, mut masked) = (vec![1], vec![1]);
            encode(&mut plain, Opcode::Binary, &payload);
            encode_masked(&mut masked, Opcode::Binary, &payload, [9; 4]);
            assert_eq!(plain.len() - 1, frame_len(payload_len), "appended behind what was there");
            assert_eq!(masked.len() - 1, frame_len(payload_len) + 4);
        }
    }
}
