//! The grammar of `Host` and of a URI's authority: `host [":" port]` (RFC 9110 §7.2, RFC 3986 §3.2).
//!
//! A Host that is no host must be refused with 400 (RFC 9112 §3.2); later the Origin check compares with it.
//!
//! Invariant: what is accepted contains neither white space, nor user information, nor a slash.

/// Whether `value` is a host that is not empty, with or without a port.
pub(super) fn is_valid(value: &[u8]) -> bool {
    let (host, rest) = match value {
        [b'[', inner @ ..] => match inner.iter().position(|&byte| byte == b']') {
            Some(end) => (is_ip_literal(&inner[..end]), &inner[end + 1..]),
            None => return false,
        },
        _ => {
            let end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
            (is_name(&value[..end]), &value[end..])
        }
    };
    host && match rest {
        [] => true,
        // RFC 3986 §3.2.3 allows an empty port.
        [b':', port @ ..] => port.is_empty() || is_port(port),
        _ => false,
    }
}

/// One to five digits that are a number of 16 bits.
fn is_port(port: &[u8]) -> bool {
    let text = std::str::from_utf8(port).unwrap_or_default();
    port.len() <= 5 && port.iter().all(u8::is_ascii_digit) && text.parse::<u16>().is_ok()
}

/// An IPv6 address. What a later version of IP may bring (`IPvFuture`, RFC 3986 §3.2.2) has not come.
fn is_ip_literal(inner: &[u8]) -> bool {
    std::str::from_utf8(inner).is_ok_and(|text| text.parse::<core::net::Ipv6Addr>().is_ok())
}

/// `reg-name`, not empty: unreserved, sub-delims and whole percent escapes.
fn is_name(mut name: &[u8]) -> bool {
    if name.is_empty() {
        return false;
    }
    while let [first, rest @ ..] = name {
        name = match first {
            b'%' => match rest {
                [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
                _ => return false,
            },
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
            | b';' | b'=' => rest,
            byte if byte.is_ascii_alphanumeric() => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn hosts() {
        for host in [
            "a",
            "a:",
            "a:1",
            "example.org:65535",
            "127.0.0.1:9001",
            "[::1]",
            "[::1]:9001",
            "[::ffff:1.2.3.4]",
            "x%20y",
            "a_b",
        ] {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "a b",
            "a/b",
            "u@h",
            "a:b",
            "a:1:2",
            "a:123456",
            "a:65536",
            "a:+80",
            "[:::]",
            "[1:2]",
            "[::1%25lo]",
            "[v1.x]",
            "[::1",
            "[]",
            "[::1]x",
            "x%2",
            "x%zz",
            "a\tb",
            "ä",
            "a#b",
            "a?b",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
    }
}
