//! The six kinds of frame and the two kinds of message (RFC 6455 §5.2, §5.6).
//!
//! Both are closed sets: every reserved opcode is refused where a header is decoded, so that nothing behind it
//! has to think of an opcode that means nothing.

/// What a message says about itself (RFC 6455 §5.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// UTF-8, checked on receipt.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of the first (or only) frame of such a message.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// What a frame is for (RFC 6455 §5.2). The values are those on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message begun earlier.
    Continuation = 0x0,
    /// The first or only frame of a text message.
    Text = 0x1,
    /// The first or only frame of a binary message.
    Binary = 0x2,
    /// The first half, or the answer, of the closing handshake.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or says "still here" unasked.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode of these four bits, or `None` for one that RFC 6455 §5.2 keeps in reserve (3–7 and 11–15).
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// The four bits on the wire.
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// Whether this is a control frame (RFC 6455 §5.5): never fragmented, at most 125 bytes, and allowed between
    /// the fragments of a message.
    pub const fn is_control(self) -> bool {
        match self {
            Self::Close | Self::Ping | Self::Pong => true,
            Self::Continuation | Self::Text | Self::Binary => false,
        }
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        kind.opcode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_round_trip_and_the_reserved_ten_mean_nothing() {
        let known: Vec<u8> = (0..16).filter(|bits| Opcode::from_bits(*bits).is_some()).collect();
        assert_eq!(known, [0x0, 0x1, 0x2, 0x8, 0x9, 0xA]);
        for bits in known {
            let opcode = Opcode::from_bits(bits).unwrap();
            assert_eq!(opcode.bits(), bits);
            assert_eq!(opcode.is_control(), bits & 0x8 != 0, "the top bit of an opcode marks control (§5.5)");
        }
    }
}
