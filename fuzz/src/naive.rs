//! A decoder of RFC 6455 as one would write it from the text: the whole stream at hand, everything copied.
//!
//! It shares no line with the real one but the names of what can be wrong. Whoever finds the two of them at odds has
//! found a mistake in one of them.

use stentor::ws::close::CloseCode;
use stentor::ws::deflate::compressed_max;
use stentor::ws::{Kind, Limits, Role, Violation};

/// What is heard of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A whole message.
    Message(Kind, Vec<u8>),
    /// A whole message, compressed.
    Compressed(Kind, Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame; nothing comes after it.
    Close(Option<(u16, String)>),
    /// A violation; nothing comes after it.
    Violation(Violation),
}

/// A message under way.
struct Open {
    kind: Kind,
    is_compressed: bool,
    payload: Vec<u8>,
    frames: u32,
}

/// A frame's header, and how long it is.
struct Header {
    fin: bool,
    opcode: u8,
    reserved: u8,
    key: [u8; 4],
    payload_len: u64,
    len: usize,
}

/// Everything that is heard of `stream` by an endpoint of this role, with or without permessage-deflate.
pub fn hear(role: Role, deflate: bool, limits: &Limits, stream: &[u8]) -> Vec<Heard> {
    let (mut heard, mut open, mut rest) = (Vec::new(), None, stream);
    loop {
        match frame(role, deflate, limits, rest, &mut open, &mut heard) {
            Ok(Some(len)) => rest = &rest[len..],
            Ok(None) => return heard,
            Err(violation) => {
                heard.push(Heard::Violation(violation));
                return heard;
            }
        }
        if matches!(heard.last(), Some(Heard::Close(_))) {
            return heard;
        }
    }
}

/// One frame at the front of `bytes`; how long it is, or `None` if it is not all there.
fn frame(
    role: Role,
    deflate: bool,
    limits: &Limits,
    bytes: &[u8],
    open: &mut Option<Open>,
    heard: &mut Vec<Heard>,
) -> Result<Option<usize>, Violation> {
    let Some(header) = header(role, bytes)? else { return Ok(None) };
    // RFC 7692 §6: RSV1 on the first frame of a message.
    let may_be_compressed = deflate && open.is_none() && matches!(header.opcode, 1 | 2);
    if header.reserved & if may_be_compressed { 0x30 } else { 0x70 } != 0 {
        return Err(Violation::ReservedBits);
    }
    let come = &bytes[header.len..];
    let is_whole = come.len() as u64 >= header.payload_len;
    let come = if is_whole { &come[..header.payload_len as usize] } else { come };
    let payload: Vec<u8> = come.iter().enumerate().map(|(i, byte)| byte ^ header.key[i % 4]).collect();
    if header.opcode >= 8 {
        if is_whole {
            heard.push(control(header.opcode, payload)?);
        }
    } else {
        data(&header, &payload, is_whole, limits, open, heard)?;
    }
    Ok(is_whole.then(|| header.len + come.len()))
}

fn header(role: Role, bytes: &[u8]) -> Result<Option<Header>, Violation> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
    if matches!(opcode, 3..=7 | 11..=15) {
        return Err(Violation::ReservedOpcode(opcode));
    }
    if opcode >= 8 && !fin {
        return Err(Violation::ControlFragmented);
    }
    let Some(second) = bytes.get(1) else { return Ok(None) };
    let is_masked = second & 0x80 != 0;
    if role == Role::Server && !is_masked {
        return Err(Violation::Unmasked);
    }
    if role == Role::Client && is_masked {
        return Err(Violation::Masked);
    }
    let short = u64::from(second & 0x7F);
    if opcode >= 8 && short > 125 {
        return Err(Violation::ControlTooLong);
    }
    let extra = [0, 2, 8][usize::from(short == 126) + 2 * usize::from(short == 127)];
    let Some(extended) = bytes.get(2..2 + extra) else { return Ok(None) };
    let long = extended.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let payload_len = if extra == 0 { short } else { long };
    if payload_len >= 1 << 63 {
        return Err(Violation::LengthTopBit);
    }
    if (extra == 2 && long < 126) || (extra == 8 && long < 65536) {
        return Err(Violation::LengthNotMinimal);
    }
    let mut len = 2 + extra;
    let mut key = [0; 4];
    if is_masked {
        let Some(bytes) = bytes.get(len..len + 4) else { return Ok(None) };
        key.copy_from_slice(bytes);
        len += 4;
    }
    Ok(Some(Header { fin, opcode, reserved: first & 0x70, key, payload_len, len }))
}

fn control(opcode: u8, payload: Vec<u8>) -> Result<Heard, Violation> {
    match opcode {
        9 => return Ok(Heard::Ping(payload)),
        10 => return Ok(Heard::Pong(payload)),
        _ => {}
    }
    if payload.is_empty() {
        return Ok(Heard::Close(None));
    }
    if payload.len() == 1 {
        return Err(Violation::CloseBodyShort);
    }
    let code = u16::from(payload[0]) << 8 | u16::from(payload[1]);
    // RFC 6455 §7.4 and the registry that it founded.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::CloseCodeForbidden(CloseCode::new(code)));
    }
    match String::from_utf8(payload[2..].to_vec()) {
        Ok(reason) => Ok(Heard::Close(Some((code, reason)))),
        Err(_) => Err(Violation::CloseReasonNotUtf8),
    }
}

fn data(
    header: &Header,
    payload: &[u8],
    is_whole: bool,
    limits: &Limits,
    open: &mut Option<Open>,
    heard: &mut Vec<Heard>,
) -> Result<(), Violation> {
    let mut message = match (header.opcode, open.take()) {
        (0, None) => return Err(Violation::ContinuationStray),
        (0, Some(message)) => message,
        (_, Some(_)) => return Err(Violation::ContinuationMissing),
        (opcode, None) => {
            let kind = if opcode == 1 { Kind::Text } else { Kind::Binary };
            Open { kind, is_compressed: header.reserved != 0, payload: Vec::new(), frames: 0 }
        }
    };
    let most = |max: u64| if message.is_compressed { compressed_max(max) } else { max };
    if header.payload_len > most(limits.frame_max) {
        return Err(Violation::FrameTooBig);
    }
    if message.payload.len() as u128 + u128::from(header.payload_len) > u128::from(most(limits.message_max)) {
        return Err(Violation::MessageTooBig);
    }
    message.frames += 1;
    if message.frames > limits.fragments_max {
        return Err(Violation::TooManyFragments);
    }
    message.payload.extend_from_slice(payload);
    let is_last = header.fin && is_whole;
    if message.kind == Kind::Text && !message.is_compressed {
        match std::str::from_utf8(&message.payload) {
            Ok(_) => {}
            // The end may still come.
            Err(error) if error.error_len().is_none() && !is_last => {}
            Err(_) => return Err(Violation::TextNotUtf8),
        }
    }
    if is_last && message.is_compressed {
        heard.push(Heard::Compressed(message.kind, message.payload));
    } else if is_last {
        heard.push(Heard::Message(message.kind, message.payload));
    } else {
        *open = Some(message);
    }
    Ok(())
}
