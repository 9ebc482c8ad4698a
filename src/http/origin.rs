//! Which pages may talk to us: the `Origin` of a request against what an operator allows.
//!
//! A browser lets any page open a WebSocket to any server and sends that server's cookies along; same-origin policy
//! does not apply (RFC 6455 §10.2). The `Origin` field is all that tells whose page it was, so it is judged before a
//! service hears of the peer. Programs send no `Origin` and are not held up: they could write there what they like.
//!
//! Invariants: an origin is compared part by part, with the default port of its scheme understood, never as a string;
//! what is not an origin is refused, never guessed at.

use core::fmt;
use std::borrow::Cow;
// An address as a value: `core` has no sockets.
use core::net::Ipv6Addr;
use core::str::FromStr;

use super::{Barred, host};

/// Which origins are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Whatever the field says, and if it is malformed.
    Any,
    /// Those that match one of these.
    Listed(Vec<Allowed>),
}

/// One origin that is let in, or a family of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The host and port that the request itself was sent to.
    Same,
    /// `null`: sandboxed frames, files, redirects across origins; anybody can have a page of that kind.
    Null,
    /// Exactly this.
    Exact(Origin<String>),
    /// Every name below this one (`https://*.example.com`), in any depth; not the name itself.
    Below(Origin<String>),
}

/// An origin that is not `null`: scheme, host, port (RFC 6454 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<T> {
    scheme: T,
    host: T,
    /// `None` where the scheme has no default port and none was given (`chrome-extension://…`).
    port: Option<u16>,
}

impl Default for Origins {
    fn default() -> Self {
        Self::Listed(vec![Allowed::Same])
    }
}

impl Origins {
    /// Judges a request by its fields and by the `host[:port]` that it was sent to.
    ///
    /// # Errors
    /// An origin that is not let in; one that is none, or more than one (RFC 6454 §7.3 allows one field with one).
    pub fn judge<'h>(
        &self,
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
        host: &str,
    ) -> Result<(), Barred> {
        let Self::Listed(allowed) = self else { return Ok(()) };
        let mut fields = headers.filter(|(name, _)| name.eq_ignore_ascii_case("origin"));
        let Some((_, value)) = fields.next() else { return Ok(()) };
        if fields.next().is_some() {
            return Err(Barred::OriginDuplicate);
        }
        let origin = match value {
            b"null" => None,
            _ => {
                let text = core::str::from_utf8(value).map_err(|_| Barred::OriginMalformed)?;
                Some(Origin::parse(text).ok_or(Barred::OriginMalformed)?)
            }
        };
        let is_let_in = allowed.iter().any(|one| one.lets_in(origin, host));
        if is_let_in { Ok(()) } else { Err(Barred::OriginForbidden) }
    }
}

impl Origins {
    /// The page that may read the answer to a request that [was let in](Self::judge), beside our own pages: `*`, `null`, or
    /// an origin put together from the parts that were compared, never the field as it came. `None` where there is nothing to
    /// say: the request names no origin, or our own.
    pub fn shared_with<'h>(
        &self,
        mut headers: impl Iterator<Item = (&'h str, &'h [u8])>,
        host: &str,
    ) -> Option<Cow<'static, str>> {
        let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("origin"))?;
        let Self::Listed(allowed) = self else { return Some(Cow::Borrowed("*")) };
        if value == b"null" {
            return Some(Cow::Borrowed("null"));
        }
        let origin = Origin::parse(core::str::from_utf8(value).ok()?)?;
        if origin.is_of(host) {
            return None;
        }
        let known = allowed.iter().find(|one| one.lets_in(Some(origin), host))?;
        let host = match known {
            Allowed::Exact(known) => known.host.clone(),
            Allowed::Below(_) => origin.host.to_ascii_lowercase(),
            Allowed::Same | Allowed::Null => return None,
        };
        let shared =
            Allowed::Exact(Origin { scheme: origin.scheme.to_ascii_lowercase(), host, port: origin.port });
        Some(Cow::Owned(shared.to_string()))
    }
}

impl Allowed {
    fn lets_in(&self, origin: Option<Origin<&str>>, host: &str) -> bool {
        match (self, origin) {
            (Self::Null, None) => true,
            (Self::Null, Some(_)) | (Self::Same | Self::Exact(_) | Self::Below(_), None) => false,
            (Self::Same, Some(origin)) => origin.is_of(host),
            (Self::Exact(known), Some(origin)) => {
                origin.port == known.port
                    && origin.scheme.eq_ignore_ascii_case(&known.scheme)
                    && is_same_host(origin.host, &known.host)
            }
            (Self::Below(known), Some(origin)) => {
                origin.port == known.port
                    && origin.scheme.eq_ignore_ascii_case(&known.scheme)
                    && is_below(origin.host, &known.host)
            }
        }
    }
}

impl<'o> Origin<&'o str> {
    /// Reads `scheme://host[:port]`, as browsers write it (RFC 6454 §6.2): no path, no user, nothing behind.
    fn parse(text: &'o str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme || !host::is_valid(authority.as_bytes()) {
            return None;
        }
        let (host, port) = split_port(authority)?;
        Some(Self { scheme, host, port: port.or(default_port(scheme)) })
    }

    /// Whether this is the origin of a page that was served under `host[:port]`. A Host without a port leaves open which
    /// scheme it was: behind a proxy that ends TLS nobody here knows. So it means the default port of the origin's scheme.
    fn is_of(self, host: &str) -> bool {
        let (Some((host, port)), Some(default)) = (split_port(host), default_port(self.scheme)) else {
            return false;
        };
        self.port == Some(port.unwrap_or(default)) && is_same_host(self.host, host)
    }
}

/// The port that a scheme means when none is given; `None` for schemes that are not of the web.
fn default_port(scheme: &str) -> Option<u16> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    match () {
        () if is("http") || is("ws") => Some(80),
        () if is("https") || is("wss") => Some(443),
        () => None,
    }
}

/// Splits `host[:port]`, which is [valid](host::is_valid). `None` if the port is beyond 65535.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // The last colon of an IPv6 literal without a port stands inside its brackets.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port {
            "" => Some((host, None)),
            _ => port.parse().ok().map(|port| (host, Some(port))),
        },
        Some(_) | None => Some((authority, None)),
    }
}

/// Whether two hosts are one: names in any letter case, IPv6 addresses in any spelling.
fn is_same_host(a: &str, b: &str) -> bool {
    match (ipv6(a), ipv6(b)) {
        (Some(a), Some(b)) => a == b,
        (Some(_), None) | (None, Some(_)) => false,
        (None, None) => a.eq_ignore_ascii_case(b),
    }
}

fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether `host` is a name below `parent`. An address is below nothing.
fn is_below(host: &str, parent: &str) -> bool {
    let (host, parent) = (host.as_bytes(), parent.as_bytes());
    let Some(split) = host.len().checked_sub(parent.len()) else { return false };
    split > 1 && host[split - 1] == b'.' && host[split..].eq_ignore_ascii_case(parent)
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("any") {
            return Ok(Self::Any);
        }
        let allowed: Result<Vec<_>, _> = text.split(',').map(|one| one.trim().parse()).collect();
        Ok(Self::Listed(allowed?))
    }
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            Err(format!(
                "`{text}`: {why}; an origin is SCHEME://HOST[:PORT], as in https://example.com, \
                 http://localhost:3000 or https://*.example.com; or it is same or null"
            ))
        };
        match text {
            "" => return wrong("one origin of the list is empty"),
            "same" => return Ok(Self::Same),
            "null" => return Ok(Self::Null),
            "any" | "*" => return wrong("any stands alone, as in --origin any"),
            _ => {}
        }
        let Some((scheme, authority)) = text.split_once("://") else { return wrong("no scheme") };
        if authority.contains(['/', '?', '#']) {
            return wrong("an origin has no path, not even a slash at the end");
        }
        if !authority.is_ascii() {
            return wrong("a browser sends the ASCII form of the name (xn--…)");
        }
        let (name, is_family) = match authority.strip_prefix("*.") {
            Some(parent) => (parent, true),
            None => (authority, false),
        };
        if name.contains('*') {
            return wrong("a star stands for the first part of a name only");
        }
        let plain = format!("{scheme}://{name}");
        let Some(origin) = Origin::parse(&plain) else { return wrong("host or port is malformed") };
        if is_family && (!origin.host.contains('.') || origin.host.starts_with('[') || is_ipv4(origin.host)) {
            return wrong("a star wants a name with a dot behind it");
        }
        let owned = Origin {
            scheme: origin.scheme.to_ascii_lowercase(),
            host: origin.host.to_ascii_lowercase(),
            port: origin.port,
        };
        Ok(if is_family { Self::Below(owned) } else { Self::Exact(owned) })
    }
}

fn is_ipv4(host: &str) -> bool {
    host.parse::<core::net::Ipv4Addr>().is_ok()
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Listed(allowed) => {
                for (n, one) in allowed.iter().enumerate() {
                    write!(f, "{}{one}", if n == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (origin, star) = match self {
            Self::Same => return f.write_str("same"),
            Self::Null => return f.write_str("null"),
            Self::Exact(origin) => (origin, ""),
            Self::Below(origin) => (origin, "*."),
        };
        write!(f, "{}://{star}{}", origin.scheme, origin.host)?;
        match origin.port.filter(|port| Some(*port) != default_port(&origin.scheme)) {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(policy: &str, origins: &[&[u8]], host: &str) -> Result<(), Barred> {
        let fields = origins.iter().map(|value| ("oRiGiN", *value)).chain([("Host", host.as_bytes())]);
        policy.parse::<Origins>().unwrap().judge(fields, host)
    }

    #[test]
    fn same_is_the_host_and_port_of_the_request() {
        for (origin, host) in [
            ("http://h", "h"),
            ("http://h", "h:80"),
            ("http://h", "h:"),
            ("http://h:80", "h"),
            ("https://h", "h"),
            ("https://h", "h:443"),
            ("https://h:443", "h"),
            ("HTTP://Example.COM:9001", "eXample.com:9001"),
            ("http://[::1]:9001", "[0:0::0:1]:9001"),
            ("https://[2001:DB8::1]", "[2001:db8::1]"),
            ("http://127.0.0.1:9001", "127.0.0.1:9001"),
            ("ws://h:9", "h:9"),
        ] {
            assert_eq!(judge("same", &[origin.as_bytes()], host), Ok(()), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://h", "h:443"),
            ("https://h", "h:80"),
            ("http://h:8080", "h"),
            ("http://h", "h:8080"),
            ("http://evil", "h"),
            ("http://h.evil", "h"),
            ("http://evilh", "h"),
            ("http://h", "h."),
            ("http://localhost:1", "127.0.0.1:1"),
            ("http://[::1]", "[::2]"),
            ("http://[::1]:9001", "::1:9001"),
            ("file://h", "h"),
            ("chrome-extension://h", "h"),
            ("null", "h"),
            ("null", "null"),
            ("http://h", "h:99999"),
        ] {
            let verdict = judge("same", &[origin.as_bytes()], host);
            assert_eq!(verdict, Err(Barred::OriginForbidden), "{origin} at {host}");
        }
    }

    #[test]
    fn who_sends_no_origin_passes_and_who_sends_two_does_not() {
        assert_eq!(judge("same", &[], "h"), Ok(()));
        assert_eq!(judge("https://a.b", &[], "h"), Ok(()));
        assert_eq!(judge("same", &[b"http://h", b"http://h"], "h"), Err(Barred::OriginDuplicate));
        assert_eq!(judge("any", &[b"http://h", b"\xff"], "h"), Ok(()));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for origin in [
            &b""[..],
            b"h",
            b"http:h",
            b"http://",
            b"http://h/",
            b"http://h/path",
            b"http://u@h",
            b"http://h?x",
            b"http://h#x",
            b"http://h:x",
            b"http://h:70000",
            b"http://h http://g",
            b"http://h, http://g",
            b"://h",
            b"9p://h",
            b"NULL",
            b"http://[::1",
            b"http://\xc3\xa4",
            b"http://\xff",
        ] {
            let verdict = judge("same,https://a.b", &[origin], "h");
            assert_eq!(verdict, Err(Barred::OriginMalformed), "{:?}", String::from_utf8_lossy(origin));
        }
    }

    #[test]
    fn a_list_is_matched_part_by_part() {
        let list = "https://example.com, http://LOCALHOST:3000,https://*.apps.example.com:8443,null,chrome-extension://abc";
        for origin in [
            "https://example.com",
            "https://example.com:443",
            "https://EXAMPLE.com",
            "http://localhost:3000",
            "https://a.apps.example.com:8443",
            "https://a.b.apps.example.com:8443",
            "null",
            "chrome-extension://abc",
        ] {
            assert_eq!(judge(list, &[origin.as_bytes()], "h"), Ok(()), "{origin}");
        }
        for origin in [
            "http://example.com",
            "https://example.com:8443",
            "https://www.example.com",
            "https://example.com.evil",
            "http://localhost",
            "https://apps.example.com:8443",
            "https://evilapps.example.com:8443",
            "https://a.apps.example.com",
            "chrome-extension://abd",
            "http://h",
        ] {
            assert_eq!(judge(list, &[origin.as_bytes()], "h"), Err(Barred::OriginForbidden), "{origin}");
        }
        assert_eq!(judge("same,https://a.b", &[b"http://h"], "h"), Ok(()));
    }

    #[test]
    fn a_list_is_read_once_and_written_as_it_was_meant() {
        let list: Origins =
            "same,null,https://Example.com:443,http://*.a.b:81,http://[::1]:3".parse().unwrap();
        assert_eq!(list.to_string(), "same,null,https://example.com,http://*.a.b:81,http://[::1]:3");
        assert_eq!(list.to_string().parse(), Ok(list));
        assert_eq!("any".parse::<Origins>().unwrap().to_string(), "any");
        for wrong in [
            "",
            "example.com",
            "https://a.b/",
            "https://a.b/x",
            "https://a.b,",
            "same,any",
            "*",
            "https://*",
            "https://*.com",
            "https://a.*.b",
            "https://*.1.2.3.4",
            "https://ä.de",
            "https://a:b",
            "https://u@a.b",
            "https://*.[::1]",
        ] {
            let error = wrong.parse::<Origins>().unwrap_err();
            assert!(error.contains("https://example.com") && !error.contains('\n'), "{wrong}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(origin in any::<Vec<u8>>(), host in "[ -~]{0,20}") {
            let _ = judge("same,null,https://*.a.b,http://[::1]", &[&origin], &host);
        }

        #[test]
        fn an_origin_is_the_same_as_its_own_host(name in "[a-z0-9.-]{1,20}", port in 1u16..) {
            let (origin, host) = (format!("https://{name}:{port}"), format!("{}:{port}", name.to_uppercase()));
            prop_assert_eq!(judge("same", &[origin.as_bytes()], &host), Ok(()));
        }
    }
}
