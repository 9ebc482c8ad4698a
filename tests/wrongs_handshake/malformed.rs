//! What is malformed: 400, with the words of what is wrong.
//!
//! Invariant: nothing that two readers could read in two ways is read at all.

use super::*;

#[test]
fn a_missing_host_is_400() {
    let absolute = with("GET /echo", "GET http://test/echo");
    let absolute = String::from_utf8(absolute).expect("ASCII").replacen("Host: test\r\n", "", 1);
    all_refused(400, "missing Host", [with("Host: test\r\n", ""), absolute.into_bytes()]);
}

#[test]
fn two_hosts_are_400() {
    let twice = ["Host: test\r\nHost: test\r\n", "Host: test\r\nhOST: other\r\n"];
    all_refused(400, "more than one Host", twice.map(|hosts| with("Host: test\r\n", hosts)));
}

#[test]
fn an_invalid_host_is_400() {
    let hosts = [
        "", "a b", "a/b", "user@a", "a:x", "a:1:2", ":80", "a:65536", "a:123456", "[::1", "[]", "[::1]x",
        "[1:2]", "[:::]", "x%zz", "a, b", "a\\b", "<a>", "a#b", "a?b", "\u{e4}",
    ];
    all_refused(400, "invalid Host", hosts.map(|host| with("Host: test", &format!("Host: {host}"))));
}

#[test]
fn a_missing_key_is_400() {
    let line = format!("Sec-WebSocket-Key: {KEY}\r\n");
    all_refused(400, "Sec-WebSocket-Key is missing", [with(&line, "")]);
}

#[test]
fn two_keys_are_400() {
    let second = [KEY, "AAAAAAAAAAAAAAAAAAAAAA=="];
    let twice = second.map(|key| plus(&format!("Sec-WebSocket-Key: {key}")));
    all_refused(400, "Sec-WebSocket-Key must be there only once", twice);
}

#[test]
fn a_key_that_is_not_base64_of_16_bytes_is_400() {
    let keys = [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ=!",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25jZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNh bXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25j\u{e4}Q==",
        "========================",
    ];
    all_refused(400, "must be base64 of 16 bytes", keys.map(|key| with(KEY, key)));
}

#[test]
fn a_space_before_the_colon_is_400() {
    let lines = ["X-A : b", "X-A\t: b", "Content-Length : 5", "Transfer-Encoding : chunked"];
    all_refused(400, "white space between header name and colon", lines.map(plus));
    all_refused(400, "white space between header name and colon", [with("Host: test", "Host : test")]);
}

#[test]
fn a_line_without_a_colon_is_400() {
    all_refused(400, "header line without a colon", ["X-A", "X-A b", "GET / HTTP/1.1"].map(plus));
}

#[test]
fn a_bad_field_name_is_400() {
    let lines = [": b", "X(A): b", "X A: b", "X\"A\": b", "X@A: b", "X\x7f: b", "X\u{e4}: b", "{X}: b"];
    all_refused(400, "invalid header name", lines.map(plus));
}

#[test]
fn a_control_character_in_a_value_is_400() {
    all_refused(
        400,
        "control character in a header value",
        ["X-A: \x07", "X-A: b\x7f", "X-A: \x1b[0m"].map(plus),
    );
}

#[test]
fn a_nul_is_400() {
    let lines = ["X-A: b\0c", "X-A\0: b", "\0: b"].map(plus);
    let elsewhere =
        [with("GET /echo", "GET /ec\0ho"), with("GET", "GE\0T"), with("Host: test", "Host: te\0st")];
    all_refused(400, "NUL byte", lines.into_iter().chain(elsewhere));
}

#[test]
fn a_bare_cr_is_400() {
    let lines = ["X-A: b\rc", "X-A: b\r", "X-A: b\rX-B: c", "X-A\r: b"].map(plus);
    all_refused(400, "CR without LF", lines.into_iter().chain([with(" HTTP/1.1\r\n", " HTTP/1.1\r\r\n")]));
}

#[test]
fn a_bare_lf_is_400() {
    let all = good().replace("\r\n", "\n").into_bytes();
    let one = [plus("X-A: b\nX-B: c"), with("HTTP/1.1\r\n", "HTTP/1.1\n"), with("\r\n\r\n", "\r\n\n")];
    all_refused(400, "LF without CR", one.into_iter().chain([all, b"\n".to_vec()]));
}

#[test]
fn a_folded_line_is_400() {
    let lines = ["X-A: b\r\n c", "X-A: b\r\n\tc: d", "X-A: b\r\n \r\nX-B: c"].map(plus);
    let first = with("Host: test\r\n", " Host: test\r\n");
    all_refused(400, "folded header line", lines.into_iter().chain([first]));
}

#[test]
fn a_bad_content_length_is_400() {
    let lengths =
        ["", "-1", "+1", "1,1", "1 1", "0x1", "1.0", "ten", "18446744073709551616", "\u{661}", "1\t1"];
    all_refused(
        400,
        "invalid Content-Length",
        lengths.map(|length| plus(&format!("Content-Length: {length}"))),
    );
}

#[test]
fn two_content_lengths_are_400() {
    let twice = ["0", "5"].map(|second| plus(&format!("Content-Length: 0\r\ncontent-length: {second}")));
    all_refused(400, "more than one Content-Length", twice);
}

#[test]
fn content_length_with_transfer_encoding_is_400() {
    let both = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: identity",
        "Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    ];
    all_refused(400, "both Content-Length and Transfer-Encoding", both.map(plus));
}

#[test]
fn a_body_on_an_upgrade_is_400() {
    let by_length = [plus("Content-Length: 5"), b"hello".to_vec()].concat();
    let in_chunks = [plus("Transfer-Encoding: chunked"), b"0\r\n\r\n".to_vec()].concat();
    let awaited = plus("Content-Length: 5\r\nExpect: 100-continue");
    all_refused(400, "cannot have a body", [by_length, in_chunks, awaited]);
    all_open([plus("Content-Length: 0")]);
}

#[test]
fn a_malformed_subprotocol_list_is_400() {
    let many = (0..65).map(|number| format!("p{number}")).collect::<Vec<_>>().join(", ");
    let lists =
        ["", ",", "a b", "a;b", "\"a\"", "caf\u{e9}", "a, b\r\nSec-WebSocket-Protocol: ", many.as_str()];
    all_refused(
        400,
        "must be a list of 1 to 64 tokens",
        lists.map(|list| plus(&format!("Sec-WebSocket-Protocol: {list}"))),
    );
    let twice = ["a, b, a", "a\r\nSec-WebSocket-Protocol: a"];
    all_refused(
        400,
        "names a protocol twice",
        twice.map(|list| plus(&format!("Sec-WebSocket-Protocol: {list}"))),
    );
}

#[test]
fn what_is_no_http_is_400() {
    let scene = Scene::start(&[]);
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello"[..],
        b"hello\r\n\r\n",
        b"GET /echo\r\n\r\n",
        b"GET  /echo HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET\t/echo\tHTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /echo HTTP/1.1 \r\nHost: test\r\n\r\n",
        b"GET /echo http/1.1\r\nHost: test\r\n\r\n",
        b" GET /echo HTTP/1.1\r\nHost: test\r\n\r\n",
        b"G@T /echo HTTP/1.1\r\nHost: test\r\n\r\n",
        b"\x81\x05hello",
    ] {
        scene.refuses(bytes, 400, "malformed request line");
    }
    scene.aftermath();
}
