//! For whom a proxy speaks.
//!
//! Invariant: only listed proxies are believed, and of these everybody says for whom it speaks.

use super::*;

#[test]
fn a_listed_proxy_says_for_whom_it_speaks() {
    let flags = ["--proxy-protocol", "--proxy-from", "127.0.0.1", "--connections-per-ip", "1"];
    let server = Server::start(&[&flags[..], &["--log", "debug"]].concat());
    let server = Scene::with(server, comes_by_proxy, comes_by_proxy);
    let (client, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let open = |header: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(&[header, &upgrade("/echo", &[])].concat()).expect("the server reads");
        let status = Response::read(&mut stream, false).status;
        (status, Peer { stream })
    };
    let (status, mut one) = open(&proxied(client, b""));
    assert_eq!(status, 101);
    echoes(&mut one);
    // The limit is the client's, not the proxy's.
    assert_eq!(open(&proxied(client, b"")).0, 503);
    let (status, mut two) = open(&proxied(other, &[b'x'; 900]));
    assert_eq!(status, 101);
    echoes(&mut two);
    wait_for("the client's name in the log", || server.log().contains("192.0.2.1:4660").then_some(()));
    // Byte by byte, and frames in the same segment as its end.
    let mut stream = server.connect();
    for byte in proxied([192, 0, 2, 3], b"") {
        stream.write_all(&[byte]).expect("the server waits for the rest");
    }
    let (mut three, _) =
        Peer::open_with(stream, &[upgrade("/echo", &[]), encode(true, TEXT, b"early")].concat());
    assert_eq!(three.message().text(), "early");
    // A health check of the proxy itself.
    let mut stream = server.connect();
    stream
        .write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    assert_eq!(Response::read(&mut stream, false).status, 200);
    // One that goes away in between, or says nothing, is let go.
    drop(server.connect());
    let mut torn = server.connect();
    torn.write_all(&proxied(client, b"")[..20]).expect("the server waits for the rest");
    torn.shutdown(std::net::Shutdown::Write).expect("it is open");
    ends_silently(torn);
    // When the client leaves, its place is free.
    one.close();
    wait_for("the place of the client", || (open(&proxied(client, b"")).0 == 101).then_some(()));
    drop((two, three, stream));
    server.aftermath();
}

#[test]
fn a_listed_proxy_that_says_nothing_or_nonsense_is_let_go() {
    let flags = ["--proxy-protocol", "--proxy-from", "127.0.0.1/32", "--handshake-timeout", "1s"];
    let server = Scene::with(Server::start(&flags), comes_by_proxy, comes_by_proxy);
    let good = proxied([192, 0, 2, 1], b"");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let sent = |bytes: &[u8]| {
        let mut stream = server.connect();
        let _ = stream.write_all(bytes);
        stream
    };
    // An ordinary request, TLS, version 1, another version, command, family, a length too long, too short.
    let http = upgrade("/echo", &[]);
    let wrongs: [(&[u8], &str); 8] = [
        (&http, "signature"),
        (b"\x16\x03\x01\x02\0\x01", "signature"),
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 9001\r\n", "signature"),
        (&with(12, 0x31), "version"),
        (&with(12, 0x2f), "command"),
        (&with(13, 0x12), "family"),
        (&with(14, 0xff), "length"),
        (&with(15, 4), "length"),
    ];
    for (bytes, _) in wrongs {
        ends_silently(sent(bytes));
    }
    // A header that does not become whole has the time of a handshake.
    ends_silently(sent(&good[..good.len() - 1]));
    ends_silently(sent(b""));
    let mut stream = sent(&[&good[..], b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n"].concat());
    let page = Response::read(&mut stream, false);
    for (reason, count) in [("signature", 3), ("version", 1), ("command", 1), ("family", 1), ("length", 2)] {
        let line = format!("stentor_refusals_total{{kind=\"proxy\",reason=\"{reason}\"}} {count}\n");
        assert!(page.text().contains(&line), "{line}{}", page.text());
    }
    drop(stream);
    server.aftermath();
}

#[test]
fn who_is_no_listed_proxy_is_not_believed() {
    let server = Scene::start(&["--proxy-protocol", "--proxy-from", "127.0.0.9,::1,unix"]);
    let mut liar = server.connect();
    liar.write_all(&[proxied([192, 0, 2, 1], b""), upgrade("/echo", &[])].concat()).expect("it reads");
    assert_eq!(Response::read(&mut liar, false).status, 400);
    echoes(&mut server.open("/echo"));
    let mut proxy = connect_from([127, 0, 0, 9], server.address());
    proxy.write_all(&proxied([192, 0, 2, 1], b"")).expect("it reads");
    echoes(&mut Peer::open(proxy, "/echo"));
    drop(liar);
    server.aftermath();

    for (flags, named) in [
        (&["--proxy-protocol"][..], "--proxy-from"),
        (&["--proxy-from", "::1"], "--proxy-protocol"),
        (&["--proxy-protocol", "--proxy-from", "10.0.0.1/8"], "10.0.0.0/8"),
        (&["--connections-per-ip", "0"], "at least 1"),
        (&["--handshakes-per-second", "0"], "from 1"),
        (&["--unix-mode", "rw"], "0660"),
    ] {
        let (status, _, stderr) = run_to_end(flags);
        assert_eq!(status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
}
