//! The header lists of a handshake, held against a reading of RFC 9110 §5.6.1 that takes no short cuts.
//!
//! Input: lines; the first byte of each says which field it is, the rest is the value. A good key and version are there
//! already unless a line says otherwise, so that most inputs get as far as the lists.

use stentor::ws::extension::{Ask, Policy, negotiate};
use stentor::ws::handshake::{Offer, PROTOCOLS_MAX, Refusal};

const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut fields: Vec<(&str, &[u8])> = Vec::new();
    for line in data.split(|&byte| byte == b'\n').take(200) {
        let Some((which, value)) = line.split_first() else { continue };
        fields.push(match which {
            b'U' => ("upgrade", value),
            b'C' => ("Connection", value),
            b'V' => ("Sec-WebSocket-Version", value),
            b'K' => ("sec-websocket-key", value),
            b'E' => ("Sec-WebSocket-Extensions", value),
            b'O' => ("Origin", value),
            _ => ("Sec-WebSocket-Protocol", value),
        });
    }
    let has = |name: &str| fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let usual = [
        ("Upgrade", &b"websocket"[..]),
        ("Connection", b"Upgrade"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let missing: Vec<_> = usual.into_iter().filter(|(name, _)| !has(name)).collect();
    fields.extend(missing);

    extensions(&fields);
    let verdict = Offer::read(fields.iter().copied());
    let expected = judge(&fields);
    match (&verdict, &expected) {
        (Ok(offer), Ok((key, protocols))) => {
            assert_eq!(offer.key().as_bytes(), *key);
            assert_eq!(offer.protocols().map(str::as_bytes).collect::<Vec<_>>(), *protocols);
        }
        (Err(refusal), Err(why)) => assert_eq!(refusal, why),
        _ => panic!("{verdict:?} where {expected:?} was right"),
    }
}

/// What is agreed on is one of our own sentences, and a client that asked for it takes it.
fn extensions(fields: &[(&str, &[u8])]) {
    let lines: Vec<&[u8]> = fields
        .iter()
        .filter(|(name, _)| *name == "Sec-WebSocket-Extensions")
        .map(|(_, value)| *value)
        .collect();
    assert_eq!(negotiate(lines.iter().copied(), Policy::Off), None);
    for policy in [Policy::Shared, Policy::Context] {
        let Some(agreed) = negotiate(lines.iter().copied(), policy) else { continue };
        assert!(
            lines
                .iter()
                .any(|line| line.to_ascii_lowercase().windows(18).any(|name| name == b"permessage-deflate"))
        );
        assert!((9..=15).contains(&agreed.server_window_bits()) && agreed.client_window_bits() == 15);
        assert!(policy == Policy::Context || agreed.server_no_context_takeover());
        // The answer alone is an offer that is granted in the same words.
        let answer = agreed.to_string();
        assert_eq!(negotiate([answer.as_bytes()].into_iter(), policy), Some(agreed), "{answer}");
        let told_bits = answer.contains("server_max_window_bits");
        let ask = Ask {
            server_no_context_takeover: agreed.server_no_context_takeover(),
            server_max_window_bits: told_bits.then_some(15),
            ..Ask::default()
        };
        assert_eq!(ask.check(answer.as_bytes()), Ok(agreed), "{answer}");
    }
    for line in lines {
        let asks_all =
            Ask { client_max_window_bits: true, server_max_window_bits: Some(12), ..Ask::default() };
        for ask in [Ask::default(), asks_all] {
            if let Ok(agreed) = ask.check(line) {
                assert!(agreed.server_window_bits() <= ask.server_max_window_bits.unwrap_or(15));
                assert!((9..=15).contains(&agreed.client_window_bits()));
            }
        }
    }
}

type Read<'h> = Result<(&'h [u8], Vec<&'h [u8]>), Refusal>;

/// The verdict, in the order of RFC 6455 §4.2.1.
fn judge<'h>(fields: &[(&str, &'h [u8])]) -> Read<'h> {
    let all = |name: &str| -> Vec<&'h [u8]> {
        let same = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| *value).collect()
    };
    let lists = |name: &str, token: &[u8]| {
        all(name).iter().flat_map(|value| elements(value)).any(|element| element.eq_ignore_ascii_case(token))
    };
    if !lists("upgrade", b"websocket") || !lists("connection", b"upgrade") {
        return Err(Refusal::NotUpgrade);
    }
    match all("sec-websocket-version")[..] {
        [version] if version.trim_ascii() == b"13" => {}
        _ => return Err(Refusal::Version),
    }
    let key = match all("sec-websocket-key")[..] {
        [key] if is_key(key.trim_ascii()) => key.trim_ascii(),
        [_] => return Err(Refusal::KeyMalformed),
        _ => return Err(Refusal::Duplicate("Sec-WebSocket-Key")),
    };
    let mut protocols: Vec<&[u8]> = Vec::new();
    for line in all("sec-websocket-protocol") {
        let names = elements(line);
        if names.is_empty() {
            return Err(Refusal::ProtocolMalformed);
        }
        for name in names {
            if !name.iter().all(|byte| is_tchar(*byte)) || protocols.len() == PROTOCOLS_MAX {
                return Err(Refusal::ProtocolMalformed);
            }
            if protocols.contains(&name) {
                return Err(Refusal::ProtocolRepeated);
            }
            protocols.push(name);
        }
    }
    Ok((key, protocols))
}

/// The elements of a list, byte by byte.
fn elements(value: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut start) = (Vec::new(), 0);
    for at in 0..=value.len() {
        if at == value.len() || value[at] == b',' {
            let element = value[start..at].trim_ascii();
            if !element.is_empty() {
                found.push(element);
            }
            start = at + 1;
        }
    }
    found
}

/// 22 characters of base64 and `==` are 16 bytes.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(is_base64) && &key[22..] == b"=="
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_graphic() && !br#"(),/:;<=>?@[\]{}""#.contains(&byte)
}
