//! `stentor.v1`: messages framed as JSON, with the channel and the offset that each has in it.
//!
//! Who speaks it knows what it has, and can say so when it comes back (`?since=`). It is one more [dialect](super::dialect) of a
//! publication: made once, whoever listens. docs/protocols/history.md describes it for those who write clients.
//!
//! Invariant: what is made here is one line of JSON in a text frame, whatever a peer has put into it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::compressors::{frame_len, header};
use super::history::Position;
use crate::ws::{Opcode, encode};

/// The subprotocol by which a peer asks for it.
pub const PROTOCOL: &str = "stentor.v1";

/// `text` as JSON.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The first that a peer hears: where it is, and how far the channel has come.
#[must_use]
pub fn welcome(channel: &str, at: &Position) -> String {
    let label = quoted(channel);
    format!(r#"{{"type":"welcome","channel":{label},"epoch":"{}","offset":{}}}"#, at.epoch, at.offset)
}

/// So many others have come (`join`) or gone (`leave`) since the last notice, and so many are there now.
#[must_use]
pub fn notice(what: &'static str, channel: &str, count: u32, subscribers: u32) -> String {
    let channel = quoted(channel);
    format!(r#"{{"type":"{what}","channel":{channel},"count":{count},"subscribers":{subscribers}}}"#)
}

/// What a peer missed cannot be had: from here it can go on.
#[must_use]
pub fn reset(at: &Position) -> String {
    format!(r#"{{"type":"reset","epoch":"{}","offset":{}}}"#, at.epoch, at.offset)
}

/// The plain frames `bytes`, laid end to end, as they are framed, the first with the offset `first`; and where each ends.
pub(super) fn translate(label: &str, first: u64, bytes: &[u8]) -> (Vec<u8>, Vec<u32>) {
    let (mut out, mut ends, mut rest, mut offset) = (Vec::new(), Vec::new(), bytes, first);
    let mut text = String::new();
    while !rest.is_empty() {
        let (frame, behind) = rest.split_at(frame_len(rest));
        rest = behind;
        write(&mut text, label, offset, frame);
        encode(&mut out, Opcode::Text, text.as_bytes());
        ends.push(out.len() as u32);
        offset += 1;
    }
    out.shrink_to_fit();
    (out, ends)
}

/// Writes what the single plain `frame` becomes.
fn write(text: &mut String, label: &str, offset: u64, frame: &[u8]) {
    let (is_text, payload) = header(frame)
        .map_or((false, frame), |header| (header.opcode == Opcode::Text, &frame[header.header_len..]));
    text.clear();
    text.push_str(&format!(r#"{{"type":"message","channel":{label},"offset":{offset},"#));
    match std::str::from_utf8(payload) {
        Ok(data) if is_text => {
            text.push_str(r#""data":"#);
            text.push_str(&quoted(data));
        }
        Ok(_) | Err(_) => {
            text.push_str(r#""base64":""#);
            STANDARD.encode_string(payload, text);
            text.push('"');
        }
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_becomes_a_line_of_json_with_its_offset() {
        let mut plain = Vec::new();
        encode(&mut plain, Opcode::Text, "a \"b\"\n\u{1f4a9}".as_bytes());
        encode(&mut plain, Opcode::Binary, b"\x00\xff");
        encode(&mut plain, Opcode::Text, b"");
        let (framed, ends) = translate(&quoted("a\"b"), 41, &plain);
        let mut from = 0;
        let texts = ends.iter().map(|end| {
            let frame = &framed[std::mem::replace(&mut from, *end as usize)..*end as usize];
            let header = header(frame).unwrap();
            assert_eq!(header.opcode, Opcode::Text);
            String::from_utf8(frame[header.header_len..].to_vec()).unwrap()
        });
        assert_eq!(
            texts.collect::<Vec<_>>(),
            [
                "{\"type\":\"message\",\"channel\":\"a\\\"b\",\"offset\":41,\"data\":\"a \\\"b\\\"\\n\u{1f4a9}\"}",
                r#"{"type":"message","channel":"a\"b","offset":42,"base64":"AP8="}"#,
                r#"{"type":"message","channel":"a\"b","offset":43,"data":""}"#,
            ]
        );
        assert_eq!(from, framed.len());
    }
}
