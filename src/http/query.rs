//! Percent decoding of queries and path segments.
//!
//! Queries are what forms and programs write (`a=1&b=%20`) and are read as leniently as browsers write them; path
//! segments become names of channels and rooms and are read strictly.
//!
//! Invariant: decoding never fails on a query, and what it gives is UTF-8.

use std::borrow::Cow;

/// The first value of `name` in a query such as `name=ann&self=0`, decoded. A name without `=` has an empty value.
#[must_use]
pub fn get<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    pairs(query).find(|(found, _)| found == name).map(|(_, value)| value)
}

/// All pairs of a query in order, decoded as `application/x-www-form-urlencoded`: `+` is a space, escapes that are none
/// stand for themselves, and bytes that are no UTF-8 become U+FFFD (WHATWG URL §5.1).
pub fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_lenient(name), decode_lenient(value))
    })
}

/// One segment of a path, decoded. `None` if an escape is malformed, or the result is not UTF-8 or holds a control
/// character: such names would only be told apart by machines.
#[must_use]
pub fn decode_segment(segment: &str) -> Option<Cow<'_, str>> {
    let text = if segment.contains('%') {
        let bytes = unescape(segment.as_bytes(), |_| None)?;
        Cow::Owned(String::from_utf8(bytes).ok()?)
    } else {
        Cow::Borrowed(segment)
    };
    (!text.contains(char::is_control)).then_some(text)
}

fn decode_lenient(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    let bytes =
        unescape(spaced.as_bytes(), Some).expect("every malformed escape stands for itself");
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Replaces `%XX` by its byte; `malformed` says what a `%` without two digits behind it becomes, `None` gives up.
fn unescape(mut bytes: &[u8], malformed: fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        bytes = match (first, rest) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                after
            }
            (b'%', _) => {
                out.push(malformed(b'%')?);
                rest
            }
            _ => {
                out.push(*first);
                rest
            }
        };
    }
    Some(out)
}

/// The value of a hexadecimal digit.
const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
