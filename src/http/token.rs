//! Where a request carries its bearer token (RFC 6750 §2), and what a token may look like.
//!
//! Programs set `Authorization`; browsers cannot, for a WebSocket, so a page has two other ways: a parameter of the
//! query, or an element of the list of subprotocols, which is the only list that a page can write into.
//!
//! Invariants: a request that carries more than one token is refused, not searched for a good one; what is found here
//! is a secret that the peer claims to know, and goes nowhere but into a comparison.

use std::borrow::Cow;

use super::{Barred, Request, list, query};

/// What a subprotocol begins with if the rest of it is a token: `token.SECRET`.
pub const PROTOCOL_PREFIX: &str = "token.";

/// The parameters of a query that may carry a token: the name of RFC 6750 §2.3, and a short one.
const PARAMETERS: [&str; 2] = ["access_token", "token"];

/// The token that a request carries, if any.
///
/// # Errors
/// It carries more than one (RFC 6750 §2: one method, once).
pub fn presented<'b>(request: &Request<'_, 'b>) -> Result<Option<Cow<'b, [u8]>>, Barred> {
    let fields = |name: &'static str| {
        let named = request.headers().filter(move |(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value)
    };
    let headers = fields("authorization").filter_map(bearer).map(Cow::Borrowed);
    let protocols = fields("sec-websocket-protocol")
        .flat_map(list)
        .filter_map(|name| name.strip_prefix(PROTOCOL_PREFIX.as_bytes()))
        .map(Cow::Borrowed);
    let parameters = query::pairs(request.query)
        .filter(|(name, _)| PARAMETERS.contains(&&**name))
        .map(|(_, value)| bytes(value));
    let mut tokens = headers.chain(protocols).chain(parameters);
    let token = tokens.next();
    if tokens.next().is_some() { Err(Barred::TokenRepeated) } else { Ok(token) }
}

/// Whether `text` can be a token: `b64token` of RFC 6750 §2.1.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// What stands behind `Bearer` in an `Authorization`; the scheme in any letter case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_none_or(|byte| *byte == b' ');
    is_bearer.then(|| rest.trim_ascii())
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Storage;

    fn of(target: &str, fields: &str) -> Result<Option<String>, Barred> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut storage = Storage::new();
        let request = Request::parse(head.as_bytes(), &mut storage).unwrap();
        presented(&request).map(|token| token.map(|token| String::from_utf8(token.into_owned()).unwrap()))
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        for (target, fields, token) in [
            ("/", "Authorization: Bearer abc\r\n", Some("abc")),
            ("/", "AUTHORIZATION: bEARER   abc== \r\n", Some("abc==")),
            ("/", "Authorization: Bearer\r\n", Some("")),
            ("/", "Authorization: Bearerabc\r\n", None),
            ("/", "Authorization: Basic abc\r\n", None),
            ("/", "Authorization: x\r\n", None),
            ("/?a=1&access_token=abc", "", Some("abc")),
            ("/?token=a%2Fb", "", Some("a/b")),
            ("/?token", "", Some("")),
            ("/?tokens=abc&TOKEN=abc", "", None),
            ("/", "Sec-WebSocket-Protocol: stentor, token.abc\r\n", Some("abc")),
            ("/", "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: token.abc,b\r\n", Some("abc")),
            ("/", "Sec-WebSocket-Protocol: tokens, token, Token.abc\r\n", None),
            ("/?token=abc", "Authorization: Basic abc\r\n", Some("abc")),
            ("/", "", None),
        ] {
            assert_eq!(of(target, fields), Ok(token.map(str::to_owned)), "{target} {fields}");
        }
    }

    #[test]
    fn more_than_one_token_is_none() {
        for (target, fields) in [
            ("/?token=a", "Authorization: Bearer a\r\n"),
            ("/?token=a&access_token=a", ""),
            ("/?token=a&token=b", ""),
            ("/", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
            ("/", "Sec-WebSocket-Protocol: token.a, token.b\r\n"),
            ("/?token=a", "Sec-WebSocket-Protocol: token.a\r\n"),
        ] {
            assert_eq!(of(target, fields), Err(Barred::TokenRepeated), "{target} {fields}");
        }
    }

    #[test]
    fn tokens_are_of_the_alphabet_of_rfc_6750() {
        for good in ["a", "abc.DEF-_~+/012", "YWJj==", "a="] {
            assert!(is_well_formed(good), "{good}");
        }
        for bad in ["", "=", "a b", "a,b", "ä", "a=b", "a\n", "\"a\""] {
            assert!(!is_well_formed(bad), "{bad:?}");
        }
    }
}
