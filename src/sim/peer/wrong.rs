//! Everything that a peer can do wrong on the wire, and the exact answer that is due for it.
//!
//! One entry for each violation that a client can commit, and a table of request heads that must be refused. In a
//! world the answer is judged like any other: who breaks the protocol and listens hears why.
//!
//! Invariant: [`Wrong::ALL`] holds every [`Violation`] that the server can find.

use crate::ws::close::CloseCode;
use crate::ws::deflate::Deflater;
use crate::ws::header::RSV1;
use crate::ws::{self, Kind, Opcode, Violation, encode_header, encode_masked};

macro_rules! wrongs {
    ($($name:ident => $violation:expr,)+) => {
        /// A way of breaking RFC 6455, named as the violation that the server must find.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the violation says it")]
        pub enum Wrong { $($name),+ }

        impl Wrong {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// What the server must find.
            #[must_use]
            pub const fn violation(self) -> Violation {
                match self { $(Self::$name => $violation),+ }
            }
        }
    };
}

wrongs! {
    ReservedBits => Violation::ReservedBits,
    ReservedOpcode => Violation::ReservedOpcode(3),
    Unmasked => Violation::Unmasked,
    ControlFragmented => Violation::ControlFragmented,
    ControlTooLong => Violation::ControlTooLong,
    LengthNotMinimal => Violation::LengthNotMinimal,
    LengthTopBit => Violation::LengthTopBit,
    ContinuationStray => Violation::ContinuationStray,
    ContinuationMissing => Violation::ContinuationMissing,
    FrameTooBig => Violation::FrameTooBig,
    MessageTooBig => Violation::MessageTooBig,
    TooManyFragments => Violation::TooManyFragments,
    TextNotUtf8 => Violation::TextNotUtf8,
    DeflateInvalid => Violation::DeflateInvalid,
    InflatedTooBig => Violation::InflatedTooBig,
    CloseBodyShort => Violation::CloseBodyShort,
    CloseCodeForbidden => Violation::CloseCodeForbidden(CloseCode::NO_STATUS),
    CloseReasonNotUtf8 => Violation::CloseReasonNotUtf8,
}

impl Wrong {
    /// The label of the violation in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.violation().label()
    }

    /// Bytes that do it, for a server with these limits.
    pub(super) fn bytes(self, limits: &ws::Limits) -> Vec<u8> {
        const KEY: [u8; 4] = [7; 4];
        let mut out = Vec::new();
        let header = |out: &mut Vec<u8>, opcode, is_last, len| {
            let (header, used) = encode_header(opcode, is_last, len, Some(KEY));
            out.extend_from_slice(&header[..used]);
        };
        match self {
            Self::ReservedBits => out.extend_from_slice(&[0xA1, 0x80, 0, 0, 0, 0]),
            Self::ReservedOpcode => out.extend_from_slice(&[0x83, 0x80, 0, 0, 0, 0]),
            Self::Unmasked => ws::encode(&mut out, Opcode::Text, b"not masked"),
            Self::ControlFragmented => out.extend_from_slice(&[0x09, 0x80, 0, 0, 0, 0]),
            Self::ControlTooLong => out.extend_from_slice(&[0x89, 0xFE, 0, 126, 0, 0, 0, 0]),
            Self::LengthNotMinimal => out.extend_from_slice(&[0x82, 0xFE, 0, 5, 0, 0, 0, 0]),
            Self::LengthTopBit => {
                out.extend_from_slice(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
            }
            Self::ContinuationStray => header(&mut out, Opcode::Continuation, true, 0),
            Self::ContinuationMissing => {
                header(&mut out, Opcode::Text, false, 0);
                header(&mut out, Opcode::Text, true, 0);
            }
            Self::FrameTooBig => header(&mut out, Opcode::Binary, true, limits.frame_max + 1),
            Self::MessageTooBig => {
                header(&mut out, Opcode::Binary, false, 1);
                out.push(0);
                header(&mut out, Opcode::Continuation, true, limits.message_max);
            }
            Self::TooManyFragments => {
                header(&mut out, Opcode::Binary, false, 0);
                (0..limits.fragments_max).for_each(|_| header(&mut out, Opcode::Continuation, false, 0));
            }
            Self::TextNotUtf8 => encode_masked(&mut out, Opcode::Text, b"half \xe2\x82", KEY),
            Self::DeflateInvalid => encode_masked(&mut out, Opcode::Binary, &[0xFF; 9], KEY),
            Self::InflatedTooBig => {
                let (zeros, mut deflater) = (vec![0; limits.message_max as usize + 1], Deflater::new(15));
                deflater.encode_deflated_masked(&mut out, Kind::Binary, &zeros, KEY, false);
            }
            Self::CloseBodyShort => encode_masked(&mut out, Opcode::Close, b"x", KEY),
            Self::CloseCodeForbidden => {
                encode_masked(&mut out, Opcode::Close, &CloseCode::NO_STATUS.get().to_be_bytes(), KEY);
            }
            Self::CloseReasonNotUtf8 => encode_masked(&mut out, Opcode::Close, b"\x03\xe8\xff", KEY),
        }
        if self.is_compressed() {
            out[0] |= RSV1;
        }
        out
    }

    /// Whether it is one only where compression was agreed on; elsewhere saying so is the wrong.
    pub(super) const fn is_compressed(self) -> bool {
        matches!(self, Self::DeflateInvalid | Self::InflatedTooBig)
    }
}

/// Request heads that must be refused, and the status that is due.
pub(super) const HEADS: &[(&str, u16)] = &[
    ("GET /echo HTTP/1.1\r\n\r\n", 400),
    ("GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET /echo HTTP/1.1\r\nHost : sim\r\n\r\n", 400),
    ("GET /echo HTTP/1.1\r\nHost: sim\r\nno colon\r\n\r\n", 400),
    ("GET /echo HTTP/1.1\r\nHost: sim\r\nA: b\r\n folded\r\n\r\n", 400),
    ("GET /echo HTTP/1.1\r\nHost: sim\r\nA: \x01\r\n\r\n", 400),
    ("GET /echo HTTP/1.1\r\nHost: sim\r\nContent-Length: 1x\r\n\r\n", 400),
    (
        "POST /publish/sea HTTP/1.1\r\nHost: sim\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    ("GET /nowhere HTTP/1.1\r\nHost: sim\r\n\r\n", 404),
    ("PUT /echo HTTP/1.1\r\nHost: sim\r\n\r\n", 405),
    ("GET /broadcast/sea HTTP/1.1\r\nHost: sim\r\n\r\n", 426),
    ("GET /echo HTTP/2.0\r\nHost: sim\r\n\r\n", 505),
    (
        "GET /echo HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        426,
    ),
    (
        "GET /echo HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
        400,
    ),
    (
        "GET /echo HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: short\r\n\r\n",
        400,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::deflate::Inflater;
    use crate::ws::{Cursor, Decoder, Event, Role};

    #[test]
    fn each_wrong_is_the_violation_that_it_is_called() {
        let limits = ws::Limits { frame_max: 1000, message_max: 1000, fragments_max: 5 };
        for wrong in Wrong::ALL {
            let (mut bytes, mut decoder) = (wrong.bytes(&limits), Decoder::with_deflate(Role::Server));
            let mut cursor = Cursor::default();
            let found = loop {
                match decoder.decode(&mut bytes, &mut cursor, &limits) {
                    Ok(None) => break None,
                    Ok(Some(Event::Compressed { kind, payload })) => {
                        let made = Inflater::new().inflate(kind, payload, &mut Vec::new(), &limits, false);
                        break made.err();
                    }
                    Ok(Some(_)) => {}
                    Err(violation) => break Some(violation),
                }
            };
            assert_eq!(found, Some(wrong.violation()), "{wrong:?}");
        }
    }
}
