//! The frame header: 2 to 14 bytes, decoded and encoded (RFC 6455 §5.2).
//!
//! Everything that a header alone can get wrong is judged here, byte by byte in the order of the wire, so that a
//! header cut anywhere is refused for the same reason as a whole one. What depends on the frames before it
//! (continuations, limits, reserved bits that an extension may own) is the decoder's to judge.
//!
//! ```text
//!   byte 0             byte 1        0, 2 or 8 bytes        0 or 4 bytes
//!  +-+---+----------+ +-+---------+ +--------------------+ +-----------+
//!  |F|RSV|  opcode  | |M|  len 7  | | length, big-endian | |  masking  |
//!  |I|123| (4 bits) | |A| 126: 16 | | if len 7 is 126    | |  key, if  |
//!  |N|   |          | |S| 127: 64 | | or 127             | |  MASK     |
//!  +-+---+----------+ +-+---------+ +--------------------+ +-----------+
//! ```

use super::opcode::Opcode;
use super::violation::Violation;

/// The longest header: 2 bytes, a 64-bit length, a masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The first reserved bit in its place on the wire: a compressed message, where that was agreed on (RFC 7692 §6).
pub const RSV1: u8 = 0x40;

/// Which side of the connection we are: it decides who masks (RFC 6455 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// We accepted the connection: the peer masks, we do not.
    Server,
    /// We opened the connection: we mask, the peer does not.
    Client,
}

/// A decoded header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the frame is for.
    pub opcode: Opcode,
    /// Whether it is the last frame of its message.
    pub fin: bool,
    /// The reserved bits in their place on the wire: RSV1 is 0x40, RSV2 0x20, RSV3 0x10.
    pub reserved: u8,
    /// The payload's length in bytes; the top bit is 0.
    pub payload_len: u64,
    /// The masking key; zeros if the frame is not masked, which unmasks to the same bytes.
    pub key: [u8; 4],
    /// How many bytes the header itself takes: 2 to [`HEADER_BYTES_MAX`].
    pub header_len: usize,
}

impl Header {
    /// Decodes the header at the front of `bytes`, sent to us in `role`. `None`: it needs more bytes.
    ///
    /// # Errors
    /// A reserved opcode, a fragmented or too long control frame, a mask that is missing or must not be there, a
    /// length that is not minimal or has its top bit set.
    #[inline]
    pub fn decode(bytes: &[u8], role: Role) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let fin = first & 0x80 != 0;
        let Some(opcode) = Opcode::from_bits(first & 0x0F) else {
            return Err(Violation::ReservedOpcode(first & 0x0F));
        };
        if opcode.is_control() && !fin {
            return Err(Violation::ControlFragmented);
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        match role {
            Role::Server if !masked => return Err(Violation::Unmasked),
            Role::Client if masked => return Err(Violation::Masked),
            Role::Server | Role::Client => {}
        }
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(Violation::ControlTooLong);
        }

        let Some((payload_len, length_end)) = decode_length(bytes, short)? else { return Ok(None) };
        let (key, header_len) = if masked {
            let Some(key) = bytes.get(length_end..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            (*key, length_end + 4)
        } else {
            ([0; 4], length_end)
        };
        Ok(Some(Self { opcode, fin, reserved: first & 0x70, payload_len, key, header_len }))
    }
}

/// The payload's length and where its bytes end, given the 7 bits of byte 1.
#[inline]
fn decode_length(bytes: &[u8], short: u8) -> Result<Option<(u64, usize)>, Violation> {
    match short {
        126 => {
            let Some(length) = bytes[2..].first_chunk() else { return Ok(None) };
            let length = u64::from(u16::from_be_bytes(*length));
            if length < 126 {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((length, 4)))
        }
        127 => {
            let Some(length) = bytes[2..].first_chunk() else { return Ok(None) };
            let length = u64::from_be_bytes(*length);
            if length >> 63 != 0 {
                return Err(Violation::LengthTopBit);
            }
            if length <= u64::from(u16::MAX) {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((length, 10)))
        }
        _ => Ok(Some((u64::from(short), 2))),
    }
}

/// Encodes a header; the first `.1` bytes of `.0` are it. With `fin` false it begins or continues a fragmented
/// message. The reserved bits are 0; an extension sets its own in byte 0, such as [`RSV1`].
pub const fn encode_header(
    opcode: Opcode,
    fin: bool,
    payload_len: u64,
    key: Option<[u8; 4]>,
) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = opcode.bits() | (fin as u8) << 7;
    let mut len = match payload_len {
        0..=125 => {
            header[1] = payload_len as u8;
            2
        }
        126..=0xFFFF => {
            header[1] = 126;
            [header[2], header[3]] = (payload_len as u16).to_be_bytes();
            4
        }
        _ => {
            header[1] = 127;
            [header[2], header[3], header[4], header[5], header[6], header[7], header[8], header[9]] =
                payload_len.to_be_bytes();
            10
        }
    };
    if let Some(key) = key {
        header[1] |= 0x80;
        [header[len], header[len + 1], header[len + 2], header[len + 3]] = key;
        len += 4;
    }
    (header, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];
    const OPCODES: [Opcode; 6] =
        [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong];

    /// Every boundary of the three length forms, both roles, and every cut of each.
    #[test]
    fn what_is_encoded_is_decoded_and_a_prefix_asks_for_more() {
        for len in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, u64::MAX >> 1] {
            for opcode in OPCODES.into_iter().filter(|opcode| !opcode.is_control() || len <= 125) {
                for (role, key) in [(Role::Server, Some(KEY)), (Role::Client, None)] {
                    let (bytes, header_len) = encode_header(opcode, true, len, key);
                    for cut in 0..header_len {
                        assert_eq!(Header::decode(&bytes[..cut], role), Ok(None), "{opcode:?} {len} {cut}");
                    }
                    let key = key.unwrap_or_default();
                    let header = Header { opcode, fin: true, reserved: 0, payload_len: len, key, header_len };
                    assert_eq!(Header::decode(&bytes, role), Ok(Some(header)));
                }
            }
        }
    }

    #[test]
    fn what_a_header_alone_can_get_wrong() {
        use Violation::*;
        for (bytes, wrong) in [
            (&[0x83][..], ReservedOpcode(3)),
            (&[0x87], ReservedOpcode(7)),
            (&[0x8B], ReservedOpcode(11)),
            (&[0x8F, 0x80], ReservedOpcode(15)),
            (&[0x08], ControlFragmented),
            (&[0x09], ControlFragmented),
            (&[0x0A, 0x80], ControlFragmented),
            (&[0x81, 0x00], Unmasked),
            (&[0x89, 0xFE], ControlTooLong),
            (&[0x88, 0xFF], ControlTooLong),
            (&[0x82, 0xFE, 0, 125], LengthNotMinimal),
            (&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], LengthNotMinimal),
            (&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1], LengthTopBit),
        ] {
            assert_eq!(Header::decode(bytes, Role::Server), Err(wrong), "{bytes:x?}");
        }
        assert_eq!(Header::decode(&[0x81, 0x80], Role::Client), Err(Masked));
    }

    #[test]
    fn reserved_bits_are_handed_on_for_the_decoder_to_judge() {
        let header = Header::decode(&[0xF1, 0x00], Role::Client).unwrap().unwrap();
        assert_eq!(header.reserved, 0x70);
    }
}
