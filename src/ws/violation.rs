//! What a peer can do wrong on an open connection, and the close code each wrong earns.
//!
//! A violation is a value, not an error of ours: the server answers it with a close frame, counts it under its
//! label and lets the connection go. Whatever it is, the connection has failed (RFC 6455 §7.1.7) and its decoder
//! yields nothing more.

use super::close::CloseCode;
use std::fmt;

/// One way of breaking RFC 6455, or one of our limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A reserved bit is set to which no extension that was agreed on gives a meaning in this frame (§5.2).
    ReservedBits,
    /// An opcode that means nothing: 3–7 or 11–15 (§5.2).
    ReservedOpcode(u8),
    /// A client's frame without a mask (§5.1).
    Unmasked,
    /// A server's frame with a mask (§5.1).
    Masked,
    /// A control frame without FIN (§5.5).
    ControlFragmented,
    /// A control frame of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A length in more bytes than it needs (§5.2).
    LengthNotMinimal,
    /// A 64-bit length with its most significant bit set (§5.2).
    LengthTopBit,
    /// A continuation frame where no message was begun (§5.4).
    ContinuationStray,
    /// A new message begun before the last one had its end (§5.4).
    ContinuationMissing,
    /// A frame announced to be longer than [`Limits::frame_max`](super::Limits).
    FrameTooBig,
    /// A message that with the announced frame would be longer than [`Limits::message_max`](super::Limits).
    MessageTooBig,
    /// More frames in one message than [`Limits::fragments_max`](super::Limits).
    TooManyFragments,
    /// A text message that is not UTF-8 (§8.1).
    TextNotUtf8,
    /// A compressed message that is not whole, valid DEFLATE (RFC 7692 §7.2.2).
    DeflateInvalid,
    /// A compressed message that unfolds to more than [`Limits::message_max`](super::Limits).
    InflatedTooBig,
    /// A compressed message that unfolds beyond [`RATIO_MAX`](super::deflate::RATIO_MAX).
    DeflateRatio,
    /// A close frame with a body of one byte: half a code (§5.5.1).
    CloseBodyShort,
    /// A close code that must not be on the wire (§7.4).
    CloseCodeForbidden(CloseCode),
    /// A close reason that is not UTF-8 (§5.5.1).
    CloseReasonNotUtf8,
}

impl Violation {
    /// The code for our close frame (RFC 6455 §7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::Unmasked
            | Self::Masked
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::ContinuationStray
            | Self::ContinuationMissing
            | Self::CloseBodyShort
            | Self::CloseCodeForbidden(_) => CloseCode::PROTOCOL_ERROR,
            // The framing is right; "data within a message that was not consistent with the type" is 1007's (§7.4.1).
            Self::DeflateInvalid => CloseCode::INVALID_PAYLOAD,
            Self::TextNotUtf8 | Self::CloseReasonNotUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooBig | Self::MessageTooBig | Self::InflatedTooBig => CloseCode::TOO_BIG,
            // Many small fragments are not *big*, nor is a message within the limit: what they break is our policy.
            Self::TooManyFragments | Self::DeflateRatio => CloseCode::POLICY,
        }
    }

    /// The metric label: stable, lower case, a bounded set.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved_bits",
            Self::ReservedOpcode(_) => "reserved_opcode",
            Self::Unmasked => "unmasked",
            Self::Masked => "masked",
            Self::ControlFragmented => "control_fragmented",
            Self::ControlTooLong => "control_too_long",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::LengthTopBit => "length_top_bit",
            Self::ContinuationStray => "continuation_stray",
            Self::ContinuationMissing => "continuation_missing",
            Self::FrameTooBig => "frame_too_big",
            Self::MessageTooBig => "message_too_big",
            Self::TooManyFragments => "too_many_fragments",
            Self::TextNotUtf8 => "text_not_utf8",
            Self::DeflateInvalid => "deflate_invalid",
            Self::InflatedTooBig => "inflated_too_big",
            Self::DeflateRatio => "deflate_ratio",
            Self::CloseBodyShort => "close_body_short",
            Self::CloseCodeForbidden(_) => "close_code_forbidden",
            Self::CloseReasonNotUtf8 => "close_reason_not_utf8",
        }
    }
}

/// One line that says what was wrong; short enough to be the reason of a close frame.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits => f.write_str("a reserved bit is set that has no meaning in this frame"),
            Self::ReservedOpcode(bits) => write!(f, "opcode {bits:#x} is reserved"),
            Self::Unmasked => f.write_str("a frame from a client must be masked"),
            Self::Masked => f.write_str("a frame from a server must not be masked"),
            Self::ControlFragmented => f.write_str("a control frame must not be fragmented"),
            Self::ControlTooLong => f.write_str("a control frame holds at most 125 bytes"),
            Self::LengthNotMinimal => f.write_str("a frame length must use as few bytes as it can"),
            Self::LengthTopBit => f.write_str("the top bit of a frame length must be 0"),
            Self::ContinuationStray => f.write_str("a continuation frame without a message to continue"),
            Self::ContinuationMissing => f.write_str("a new message before the end of the last one"),
            Self::FrameTooBig => f.write_str("the frame is bigger than this endpoint takes"),
            Self::MessageTooBig => f.write_str("the message is bigger than this endpoint takes"),
            Self::TooManyFragments => f.write_str("the message has more fragments than this endpoint takes"),
            Self::TextNotUtf8 => f.write_str("a text message must be UTF-8"),
            Self::DeflateInvalid => f.write_str("a compressed message must be whole and valid DEFLATE"),
            Self::InflatedTooBig => f.write_str("the message unfolds to more than this endpoint takes"),
            Self::DeflateRatio => f.write_str("the message unfolds to too many times its length"),
            Self::CloseBodyShort => f.write_str("a close body of one byte is half a code"),
            Self::CloseCodeForbidden(code) => write!(f, "close code {code} must not be sent"),
            Self::CloseReasonNotUtf8 => f.write_str("a close reason must be UTF-8"),
        }
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Violation; 20] = [
        Violation::ReservedBits,
        Violation::ReservedOpcode(3),
        Violation::Unmasked,
        Violation::Masked,
        Violation::ControlFragmented,
        Violation::ControlTooLong,
        Violation::LengthNotMinimal,
        Violation::LengthTopBit,
        Violation::ContinuationStray,
        Violation::ContinuationMissing,
        Violation::FrameTooBig,
        Violation::MessageTooBig,
        Violation::TooManyFragments,
        Violation::TextNotUtf8,
        Violation::DeflateInvalid,
        Violation::InflatedTooBig,
        Violation::DeflateRatio,
        Violation::CloseBodyShort,
        Violation::CloseCodeForbidden(CloseCode::new(1005)),
        Violation::CloseReasonNotUtf8,
    ];

    #[test]
    fn every_violation_has_a_label_of_its_own_a_line_that_fits_a_close_frame_and_a_code_that_may_be_sent() {
        let mut labels: Vec<_> = ALL.iter().map(|violation| violation.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ALL.len());
        for violation in ALL {
            let line = violation.to_string();
            assert!(line.len() <= super::super::close::REASON_BYTES_MAX && !line.contains('\n'), "{line}");
            assert!(violation.close_code().may_be_sent(), "{violation:?}");
        }
    }
}
