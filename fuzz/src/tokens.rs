//! Tokens: the one that a request carries, wherever it stands, and that nobody comes in with any other.
//!
//! Input: lines; the first byte of each says where the rest of it goes: `A` an Authorization, `P` a list of subprotocols, `Q` more of the
//! query, anything else is a field called `Cookie`, which carries no token. What is found is compared with a search that
//! takes everything apart; then the whole server judges the same request. One token is right: `s3cr3t~==`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use super::memory_net::{MemoryNet, Wire};
use stentor::http::token::{is_well_formed, presented};
use stentor::http::{Barred, Request, Storage};
use stentor::server::{Config, Worker};
use stentor::service::builtin::Builtin;

/// What opens the door.
const RIGHT: &str = "s3cr3t~==";
/// Turns in which a request is answered.
const TURNS: u32 = 20;

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut fields = Vec::new();
    let mut query = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(50) {
        let Some((first, rest)) = line.split_first() else { continue };
        match first {
            b'Q' => query.extend_from_slice(rest),
            b'A' => fields.extend([&b"authorization: "[..], rest, b"\r\n"]),
            b'P' => fields.extend([&b"Sec-WebSocket-Protocol: "[..], rest, b"\r\n"]),
            _ => fields.extend([&b"Cookie: "[..], line, b"\r\n"]),
        }
        well_formed(rest);
    }
    let usual = b" HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head = [b"GET /echo?", &query[..], usual, &fields.concat(), b"\r\n"].concat();
    let mut storage = Storage::new();
    let Ok(request) = Request::parse(&head, &mut storage) else { return };
    let found = search(&request);
    let expected = match &found[..] {
        [] => Ok(None),
        [one] => Ok(Some(Cow::Borrowed(&one[..]))),
        _ => Err(Barred::TokenRepeated),
    };
    assert_eq!(presented(&request), expected);

    let status = answer(&head);
    let is_right = found == [RIGHT.as_bytes()];
    assert!(is_right || status != 101, "nobody comes in without the token");
    assert!(!is_right || status != 401, "who brings it is not asked for another");
    assert!(found.len() != 1 || is_right || matches!(status, 400 | 401), "{status}");
}

/// All tokens of a request.
fn search(request: &Request<'_, '_>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (name, value) in request.headers() {
        let name = name.to_ascii_lowercase();
        if name == "authorization" {
            let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
            if value[..end].eq_ignore_ascii_case(b"bearer") {
                found.push(value[end..].trim_ascii().to_vec());
            }
        } else if name == "sec-websocket-protocol" {
            for element in value.split(|byte| *byte == b',') {
                found.extend(element.trim_ascii().strip_prefix(b"token.").map(<[u8]>::to_vec));
            }
        }
    }
    for (name, value) in form_urlencoded::parse(request.query.as_bytes()) {
        if name == "token" || name == "access_token" {
            found.push(value.as_bytes().to_vec());
        }
    }
    found
}

/// `b64token` as the grammar has it: one of those characters at least, then any number of `=`.
fn well_formed(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut rest = text;
    while let Some(behind) =
        rest.strip_prefix(|one: char| one.is_ascii_alphanumeric() || "-._~+/".contains(one))
    {
        rest = behind;
    }
    let has_body = rest.len() < text.len();
    assert_eq!(is_well_formed(text), has_body && rest.chars().all(|one| one == '='), "{text:?}");
}

/// The status of what the server answers. The token stands nowhere in it.
fn answer(head: &[u8]) -> u16 {
    let mut config = Config::default();
    config.admission.tokens = vec![RIGHT.into()];
    let wire = Rc::new(RefCell::new(Wire::default()));
    let mut worker = Worker::new(MemoryNet(Rc::clone(&wire)), Builtin::default(), config, 10);
    let number = wire.borrow_mut().connect(1 << 20);
    wire.borrow_mut().write(number, head);
    for _ in 0..TURNS {
        worker.turn().expect("a wait in memory never fails");
    }
    let said = &wire.borrow().lines[number].said;
    assert!(!said.windows(RIGHT.len()).any(|window| window == RIGHT.as_bytes()), "the token comes back");
    let digits = said.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).expect("an answer has a status")
}
