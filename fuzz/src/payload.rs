//! Engine.IO: payloads and packets, the names of sessions, and what a query asks for.
//!
//! Input: one byte. Of 3: a payload, which is compared with a reading that splits it and looks at each part alone, and is written
//! and read again; a query, which is judged as a table says; or a name.

use std::fmt::Write as _;

use super::given::Given;
use stentor::socketio::engine::{Malformed, Packet, PacketType, Payload, SEPARATOR};
use stentor::socketio::request::{Method, Query, Refusal, Request, Transport};
use stentor::socketio::{Frame, Sid};

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let form = given.byte();
    let Ok(text) = std::str::from_utf8(given.rest()) else { return };
    match form % 3 {
        0 => payload(text),
        1 => query(form / 3, text),
        _ => name(text),
    }
}

fn payload(text: &str) {
    let read: Vec<_> = Payload::new(text).collect();
    let mut expected = Vec::new();
    for part in text.split(char::from(SEPARATOR)) {
        let packet = judge(part);
        let is_bad = packet.is_err();
        expected.push(packet);
        if is_bad {
            break;
        }
    }
    assert_eq!(read, expected, "{text:?}");
    for packet in read.iter().flatten() {
        let len = match packet {
            Packet::Text(_, text) => text.len(),
            Packet::Binary(bytes) => bytes.len(),
        };
        assert!(len < text.len(), "decoding never grows");
    }

    let frames: Vec<Frame> = read.into_iter().flatten().map(frame).collect();
    assert!(frames.iter().all(Frame::fits_payload));
    let mut written = String::new();
    frames.iter().for_each(|frame| frame.append_to(&mut written));
    let separators = frames.len().saturating_sub(1);
    assert_eq!(written.len(), frames.iter().map(Frame::payload_len).sum::<usize>() + separators);
    let again = Payload::new(&written).take(frames.len());
    let again: Vec<Frame> = again.map(|packet| frame(packet.expect("we wrote it"))).collect();
    assert_eq!(again, frames);
}

fn frame(packet: Packet<'_>) -> Frame {
    match packet {
        Packet::Text(kind, text) => Frame::packet(kind, text),
        Packet::Binary(bytes) => Frame::Binary((*bytes).into()),
    }
}

/// One packet, by the first character.
fn judge(part: &str) -> Result<Packet<'_>, Malformed> {
    let kinds = "0123456".chars().zip(PacketType::ALL);
    match part.chars().next() {
        None => Err(Malformed::Empty),
        Some('b') => base64(&part[1..]).map(|bytes| Packet::Binary(bytes.into())).ok_or(Malformed::Base64),
        Some(first) => {
            let kind = kinds.into_iter().find(|(digit, _)| *digit == first);
            kind.map(|(_, kind)| Packet::Text(kind, &part[1..])).ok_or(Malformed::Type(first))
        }
    }
}

/// Base64 bit by bit (RFC 4648 §4), with its padding or a part of it or none, and no bits behind the last byte.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    if body.len() % 4 == 1 || padding > (4 - body.len() % 4) % 4 {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in body.bytes() {
        let value = ALPHABET.iter().position(|known| *known == byte)?;
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

/// Judged among two sessions, `p` by polling and `w` by WebSocket.
fn query(form: u8, text: &str) {
    let method = [Method::Get, Method::Post, Method::Other][usize::from(form % 3)];
    let upgrade = form / 3 % 2 == 1;
    let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
    let last = |name: &str| pairs.iter().rev().find(|(other, _)| other == name).map(|(_, value)| &**value);
    let of = |sid: &str| match sid {
        "p" => Some(Transport::Polling),
        "w" => Some(Transport::WebSocket),
        _ => None,
    };
    let query = Query::read(pairs.clone());
    let transport = last("transport").filter(|name| matches!(*name, "polling" | "websocket"));
    let sid = last("sid").filter(|sid| !sid.is_empty());
    let is_get = method == Method::Get;
    let expected = match (transport, sid) {
        (None, _) => Err(Refusal::TransportUnknown),
        (Some(_), None) if !is_get => Err(Refusal::BadHandshakeMethod),
        (Some(name), None) if (name == "websocket") != upgrade => Err(Refusal::BadRequest),
        (Some(_), None) if last("EIO") != Some("4") => Err(Refusal::VersionUnsupported),
        (Some("polling"), None) => Ok(Request::Open(Transport::Polling)),
        (Some(_), None) => Ok(Request::Open(Transport::WebSocket)),
        (Some(_), Some(sid)) if of(sid).is_none() => Err(Refusal::SessionUnknown),
        (Some("websocket"), Some(sid)) if upgrade && is_get => Ok(Request::Upgrade(sid)),
        (Some("polling"), Some(sid @ "p")) if !upgrade && is_get => Ok(Request::Poll(sid)),
        (Some("polling"), Some(sid @ "p")) if !upgrade && method == Method::Post => Ok(Request::Post(sid)),
        (Some(_), Some(_)) => Err(Refusal::BadRequest),
    };
    assert_eq!(query.judge(method, upgrade, of), expected, "{text:?}");
}

/// A name that may be one is the text of its bytes.
fn name(text: &str) {
    let is_one = text.len() == 20
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let sid = Sid::read(text);
    assert_eq!(sid.is_some(), is_one, "{text:?}");
    if let Some(sid) = sid {
        assert_eq!((sid.as_str(), Sid::new(sid.bytes())), (text, sid));
    }
    let mut bytes = [0; 15];
    bytes.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
    let mut written = String::new();
    write!(written, "{}", Sid::new(bytes)).expect("a string takes everything");
    assert_eq!(Sid::read(&written).map(|sid| sid.bytes()), Some(bytes));
}
