//! Heads that are requests, heads that are none, and by which refusal that is told.
//!
//! Each is scanned and then parsed, as the server does it.

use super::*;
use crate::http::{HeadScan, Limits};
use proptest::prelude::*;

/// What the server does with a head: scan, then parse.
fn refusal(head: impl AsRef<[u8]>) -> Option<Refusal> {
    let head = head.as_ref();
    match HeadScan::new().scan(head, &Limits::default()) {
        Ok(Some(end)) => Request::parse(&head[..end], &mut Storage::new()).err(),
        Ok(None) => panic!("not a whole head: {:?}", String::from_utf8_lossy(head)),
        Err(refusal) => Some(refusal),
    }
}

fn with_fields(fields: &str) -> Option<Refusal> {
    refusal(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

#[test]
fn a_whole_request() {
    let mut storage = Storage::new();
    let head = b"\r\nGET /chat/hall?name=ann&x HTTP/1.1\r\nHOST:\ta:1\t\r\nX-Y:  z \r\n\
        Connection: keep-alive, UPGRADE\r\nUpgrade: foo, WebSocket\r\n\r\n";
    let request = Request::parse(head, &mut storage).unwrap();
    assert_eq!(request.method, Method::Get);
    assert_eq!((request.path, request.query, request.host), ("/chat/hall", "name=ann&x", "a:1"));
    assert!(request.keep_alive && request.wants_upgrade() && !request.expects_continue());
    assert_eq!(request.body, BodyLength::None);
    assert_eq!(request.header("x-y"), Some(&b"z"[..]));
    assert_eq!(request.header("none"), None);
    assert_eq!(
        request.headers().map(|(name, _)| name).collect::<Vec<_>>(),
        ["HOST", "X-Y", "Connection", "Upgrade"]
    );
}

#[test]
fn methods_are_case_sensitive() {
    for (token, expected) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("OPTIONS", Method::Options),
        ("get", Method::Other),
        ("BREW", Method::Other),
    ] {
        let head = format!("{token} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(Request::parse(head.as_bytes(), &mut Storage::new()).unwrap().method, expected);
    }
}

#[test]
fn targets() {
    for (line, path, query, host) in [
        ("GET /", "/", "", "a"),
        ("GET /a//b/../c?d?e", "/a//b/../c", "d?e", "a"),
        ("GET http://b:8/x?y", "/x", "y", "b:8"),
        ("GET WS://b", "/", "", "b"),
        ("GET http://b?y", "/", "y", "b"),
        ("GET /x://y", "/x://y", "", "a"),
        ("OPTIONS *", "*", "", "a"),
        ("CONNECT b:443", "b:443", "", "a"),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut storage = Storage::new();
        let request = Request::parse(head.as_bytes(), &mut storage).unwrap();
        assert_eq!((request.path, request.query, request.host), (path, query, host), "{line}");
    }
    for target in ["x", "*", "ftp://b/", "http:///x", "http://u@b/", "/x#y", "/\u{e4}"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(refusal(&head), Some(Refusal::TargetMalformed), "{target}");
    }
}

#[test]
fn the_request_line() {
    for line in [
        "GET / HTTX/1.1",
        "GET  / HTTP/1.1",
        "GET /",
        "GET",
        "GET / x HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET / HTTP/1.1 ",
    ] {
        assert_eq!(
            refusal(format!("{line}\r\nHost: a\r\n\r\n")),
            Some(Refusal::RequestLineMalformed),
            "{line}"
        );
    }
    for version in ["HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3"] {
        let head = format!("GET / {version}\r\n\r\n");
        assert_eq!(
            refusal(&head),
            Some(Refusal::VersionUnsupported),
            "{version}: judged before the missing Host"
        );
    }
}

#[test]
fn exactly_one_valid_host() {
    assert_eq!(refusal("GET / HTTP/1.1\r\n\r\n"), Some(Refusal::HostMissing));
    assert_eq!(refusal("GET http://a/ HTTP/1.1\r\n\r\n"), Some(Refusal::HostMissing));
    assert_eq!(with_fields("Host: a\r\n"), Some(Refusal::HostDuplicate));
    for host in ["", "a b", "a/b", "u@b", "a:x"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refusal(&head), Some(Refusal::HostInvalid), "{host:?}");
    }
}

#[test]
fn field_lines() {
    for (line, expected) in [
        ("A : b", Refusal::SpaceBeforeColon),
        ("A\t: b", Refusal::SpaceBeforeColon),
        ("A b", Refusal::ColonMissing),
        (": b", Refusal::HeaderName),
        ("A(: b", Refusal::HeaderName),
        ("A b: c", Refusal::HeaderName),
        ("A: b\0c", Refusal::Nul),
        ("A\0: b", Refusal::Nul),
        ("A: b\rc", Refusal::BareCr),
        ("A: b\r\r", Refusal::BareCr),
        ("A: b\x07c", Refusal::HeaderValue),
        ("A: b\r\n c", Refusal::FoldedLine),
        ("A: b\r\n\tc: d", Refusal::FoldedLine),
        (" A: b", Refusal::FoldedLine),
    ] {
        assert_eq!(with_fields(&format!("{line}\r\n")), Some(expected), "{line:?}");
    }
    assert_eq!(
        with_fields("A:\r\nB:c\r\nC:\t d\t \r\nD: \u{e4}\r\n"),
        None,
        "empty, bare, padded, beyond ASCII"
    );
    assert_eq!(refusal("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), Some(Refusal::FoldedLine));
    assert_eq!(refusal("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Refusal::Nul));
}

#[test]
fn where_the_body_ends() {
    let body = |fields: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        Request::parse(head.as_bytes(), &mut Storage::new()).map(|request| request.body)
    };
    assert_eq!(body(""), Ok(BodyLength::None));
    assert_eq!(body("Content-Length: 0\r\n"), Ok(BodyLength::None));
    assert_eq!(body("content-length:007\r\n"), Ok(BodyLength::Length(7)));
    assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Ok(BodyLength::Chunked));
    for length in ["", "+1", "-1", "1 1", "1,1", "0x1", "18446744073709551616", "1.0", "\u{661}"] {
        assert_eq!(body(&format!("Content-Length: {length}\r\n")), Err(Refusal::LengthInvalid), "{length}");
    }
    let length = "Content-Length: 1\r\n";
    assert_eq!(body(&length.repeat(2)), Err(Refusal::LengthDuplicate));
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(body(&[length, chunked].concat()), Err(Refusal::LengthAndEncoding));
    assert_eq!(body(&chunked.repeat(2)), Err(Refusal::EncodingUnsupported));
    for encoding in ["gzip", "gzip, chunked", "chunked, gzip", "", "xchunked"] {
        let fields = format!("Transfer-Encoding: {encoding}\r\n");
        assert_eq!(body(&fields), Err(Refusal::EncodingUnsupported), "{encoding}");
    }
}

#[test]
fn connection_options() {
    let request = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let keeps =
        |fields: &str| Request::parse(request(fields).as_bytes(), &mut Storage::new()).unwrap().keep_alive;
    assert!(keeps("") && keeps("Connection: keep-alive\r\n"));
    assert!(!keeps("Connection: Close\r\n") && !keeps("Connection: a\r\nConnection: b, close\r\n"));

    let head = request("Content-Length: 3\r\nExpect: 100-Continue\r\n");
    assert!(Request::parse(head.as_bytes(), &mut Storage::new()).unwrap().expects_continue());

    let head = request("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n");
    assert!(!Request::parse(head.as_bytes(), &mut Storage::new()).unwrap().wants_upgrade());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(with_fields(&format!("{upgrade}Content-Length: 1\r\n")), Some(Refusal::UpgradeWithBody));
    assert_eq!(with_fields(&format!("{upgrade}Content-Length: 0\r\n")), None);
}

proptest! {
    #[test]
    fn random_heads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::parse(&bytes, &mut Storage::new());
    }

    /// Breaks one byte of a good head: whatever comes out, a request that parses keeps its promises.
    #[test]
    fn a_damaged_head_is_refused_or_sound(at in 0usize..200, byte: u8) {
        let mut head = b"POST /a?b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 12\r\nConnection: close\r\n\r\n".to_vec();
        let at = at % head.len();
        head[at] = byte;
        if let Ok(Some(end)) = HeadScan::new().scan(&head, &Limits::default()) {
            let mut storage = Storage::new();
            if let Ok(request) = Request::parse(&head[..end], &mut storage) {
                prop_assert!(host::is_valid(request.host.as_bytes()));
                let sound = |(name, value): (&str, &[u8])| {
                    name.bytes().all(is_token_byte) && value.iter().copied().all(crate::http::is_value_byte)
                };
                prop_assert!(request.headers().all(sound));
            }
        }
    }
}
