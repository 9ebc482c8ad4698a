//! The bytes the driver sends and expects: one request, one response, one frame repeated.
//!
//! Everything is encoded once, before the clock runs. The frames are written here by hand and not by
//! stentor's own encoder, so that a mistake in it cannot hide behind the same mistake in its judge.
//!
//! Invariants: every client frame of one experiment is alike, so a position in a stream tells its byte.

/// The key of RFC 6455 §1.3, and below its answer: a fixed pair lets even the floor answer rightly.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The `Sec-WebSocket-Accept` that belongs to the driver's key (RFC 6455 §1.3).
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A whole response to the driver's request.
pub const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Not zero: unmasking must be done and not skipped.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const BINARY_FIN: u8 = 0x82;
const TEXT_FIN: u8 = 0x81;
const MASKED: u8 = 0x80;

/// A ping as a server sends it, without payload (RFC 6455 §5.5.2).
pub const PING: [u8; 2] = [0x89, 0];
/// The masked pong that answers it.
pub const PONG: [u8; 6] = [0x8a, MASKED, MASK[0], MASK[1], MASK[2], MASK[3]];
/// A masked close frame without a code.
pub const CLOSE: [u8; 6] = [0x88, MASKED, MASK[0], MASK[1], MASK[2], MASK[3]];

/// The upgrade request for a path.
pub fn request(path: &str) -> Vec<u8> {
    request_with(path, "")
}

/// The same from a client that offers compression (RFC 7692 §7), as browsers do.
pub fn request_deflated(path: &str) -> Vec<u8> {
    request_with(path, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
}

fn request_with(path: &str, more: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
    .into_bytes()
}

/// A masked binary frame of `size` payload bytes, as a client sends it (RFC 6455 §5.2, §5.3).
pub fn from_client(size: usize) -> Vec<u8> {
    masked(&payload(size))
}

/// A masked binary frame with this payload.
pub fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = header(payload.len(), MASKED);
    frame.extend(MASK);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    frame
}

/// The same message as a server sends it: not masked.
pub fn from_server(size: usize) -> Vec<u8> {
    plain(&payload(size))
}

/// A binary frame with this payload that is not masked.
pub fn plain(payload: &[u8]) -> Vec<u8> {
    let mut frame = header(payload.len(), 0);
    frame.extend(payload);
    frame
}

/// A masked text frame with this payload.
pub fn masked_text(payload: &[u8]) -> Vec<u8> {
    as_text(masked(payload))
}

/// A text frame with this payload that is not masked.
pub fn plain_text(payload: &[u8]) -> Vec<u8> {
    as_text(plain(payload))
}

fn as_text(mut frame: Vec<u8>) -> Vec<u8> {
    frame[0] = TEXT_FIN;
    frame
}

/// JSON of `size` bytes, as a market feed has it: it shrinks to about a third.
pub fn json(size: usize) -> Vec<u8> {
    let trade = |n: u32| {
        let noise = n.wrapping_mul(2_654_435_761);
        let (id, price, volume) = (noise >> 12, noise % 9_973, (noise >> 20) % 50 + 1);
        let symbol = ["GANNET", "FULMAR", "TERN", "SKUA"][(noise >> 8) as usize % 4];
        format!("{{\"id\":{id},\"symbol\":\"{symbol}\",\"price\":{price}.25,\"volume\":{volume}}},")
    };
    let mut text: Vec<u8> = (0..).flat_map(|n| trade(n).into_bytes()).take(size.saturating_sub(2)).collect();
    text.insert(0, b'[');
    text.push(b']');
    text
}

/// Length of the client frame that `bytes` begin with; `None` if the header is not whole.
pub fn client_frame_bytes(bytes: &[u8]) -> Option<u32> {
    let (header, payload) = lengths(bytes)?;
    u32::try_from(payload + header + MASK.len() as u64).ok()
}

/// Lengths of header and payload of the server's frame that `bytes` begin with; `None` if the header is not whole.
pub fn server_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, payload) = lengths(bytes)?;
    usize::try_from(header).ok().zip(usize::try_from(payload).ok())
}

/// Of the header up to the mask, and of the payload.
fn lengths(bytes: &[u8]) -> Option<(u64, u64)> {
    Some(match *bytes.get(1)? & !MASKED {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    })
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(31).wrapping_add(at >> 8) & 0xff) as u8).collect()
}

fn header(size: usize, masked: u8) -> Vec<u8> {
    let mut bytes = vec![BINARY_FIN];
    if let Ok(short @ 0..=125) = u8::try_from(size) {
        bytes.push(masked | short);
    } else if let Ok(medium) = u16::try_from(size) {
        bytes.push(masked | 126);
        bytes.extend(medium.to_be_bytes());
    } else {
        bytes.push(masked | 127);
        bytes.extend((size as u64).to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_message_differ_by_the_key_alone() {
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            let (client, server) = (from_client(size), from_server(size));
            assert_eq!(client.len(), server.len() + 4);
            assert_eq!(client_frame_bytes(&client), u32::try_from(client.len()).ok());
            let unmasked: Vec<u8> = client[client.len() - size..]
                .iter()
                .enumerate()
                .map(|(at, byte)| byte ^ MASK[at % 4])
                .collect();
            assert_eq!(unmasked, server[server.len() - size..]);
        }
    }

    #[test]
    fn a_cut_header_has_no_length_yet() {
        let frame = from_client(70_000);
        assert!((0..10).all(|cut| client_frame_bytes(&frame[..cut]).is_none()));
    }

    #[test]
    fn the_response_answers_the_key() {
        assert!(std::str::from_utf8(RESPONSE).unwrap().contains(ACCEPT));
    }
}
