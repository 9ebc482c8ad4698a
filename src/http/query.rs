//! Percent decoding of queries and path segments.
//!
//! Queries are what forms and programs write (`a=1&b=%20`) and are read as leniently as browsers write them;
//! path segments become names of channels and rooms and are read strictly.
//!
//! Invariant: decoding never fails on a query, and what it gives is UTF-8.

use std::borrow::Cow;

/// The first value of `name` in a query such as `name=ann&self=0`, decoded. A name without `=` has an empty
/// value.
#[must_use]
pub fn get<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    pairs(query).find(|(found, _)| found == name).map(|(_, value)| value)
}

/// All pairs of a query in order, decoded as `application/x-www-form-urlencoded`: `+` is a space, escapes
/// that are none stand for themselves, and bytes that are no UTF-8 become U+FFFD (WHATWG URL §5.1).
pub fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_lenient(name), decode_lenient(value))
    })
}

/// One segment of a path, decoded. `None` if an escape is malformed, or the result is not UTF-8 or holds a
/// control character: such names would only be told apart by machines.
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
    let bytes = unescape(spaced.as_bytes(), Some).expect("every malformed escape stands for itself");
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Replaces `%XX` by its byte; `malformed` says what a `%` without two digits behind it becomes, `None` gives
/// up.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queries_are_read_leniently() {
        let query = "name=a+b%20%C3%A4&self=0&self=1&flag&&x=1=2&bad=%zz%4&raw=%ff&%6eame=late";
        assert_eq!(get(query, "name").as_deref(), Some("a b \u{e4}"));
        assert_eq!(get(query, "self").as_deref(), Some("0"), "the first of several");
        assert_eq!(get(query, "flag").as_deref(), Some(""));
        assert_eq!(get(query, "x").as_deref(), Some("1=2"));
        assert_eq!(get(query, "bad").as_deref(), Some("%zz%4"));
        assert_eq!(get(query, "raw").as_deref(), Some("\u{fffd}"));
        assert_eq!(get(query, "none"), None);
        assert_eq!(get("", ""), None);
        assert_eq!(pairs(query).count(), 8);
    }

    #[test]
    fn segments_are_read_strictly() {
        assert_eq!(decode_segment("hall"), Some(Cow::Borrowed("hall")));
        assert_eq!(decode_segment("a%20b%2Fc+d").as_deref(), Some("a b/c+d"));
        for bad in ["%", "%4", "%zz", "%ff", "%00", "a%0Ab", "%C2%80"] {
            assert_eq!(decode_segment(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(text in "[^\\p{Cc}]{0,20}") {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode_segment(&escaped).unwrap(), text.as_str());
            let query = format!("a={escaped}");
            prop_assert_eq!(get(&query, "a").unwrap(), text.as_str());
        }

        #[test]
        fn anything_can_be_asked(text in any::<String>()) {
            let _ = (decode_segment(&text), pairs(&text).count());
        }
    }
}
