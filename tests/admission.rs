//! Who may come in, over real sockets: origins, tokens, addresses, the pace, proxies, socket files.
//!
//! Each test says what a stranger notices and what a friend does: the exact status and field for the one, a working
//! echo for the other.
//!
//! Invariant: whoever was refused cost nobody else anything: after each refusal a good client is served.

mod common;
#[path = "admission/limits.rs"]
mod limits;
#[path = "admission/proxies.rs"]
mod proxies;

use common::aftermath::{Scene, echoed};
use common::{GOOD, Peer, Response, Server, TEXT, encode, run_to_end, upgrade_with, wait_for};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// A good upgrade of `target` with more lines.
fn upgrade(target: &str, lines: &[&str]) -> Vec<u8> {
    upgrade_with(target, &[&GOOD[..], lines].concat())
}

/// The status of an upgrade with more lines.
fn status(server: &Server, target: &str, lines: &[&str]) -> u16 {
    server.ask(&upgrade(target, lines)).status
}

/// How often the server has counted this.
fn counted(server: &Server, series: &str, authorization: &str) -> u64 {
    let head = format!("GET /metrics HTTP/1.1\r\nHost: test\r\n{authorization}Connection: close\r\n\r\n");
    let page = server.ask(head.as_bytes());
    let line = page.text().lines().find_map(|line| line.strip_prefix(&format!("stentor_{series} ")));
    line.map_or(0, |count| count.parse().expect("a count"))
}

fn refusals(server: &Server, kind: &str, reason: &str) -> u64 {
    counted(server, &format!("refusals_total{{kind=\"{kind}\",reason=\"{reason}\"}}"), "")
}

/// A connection from this address of the loopback network.
fn connect_from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((ip, 0)).into()).expect("all of 127.0.0.0/8 is ours");
    socket.connect(&to.into()).expect("the server accepts");
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    stream
}

/// A good client that comes again when it is told to, or finds no place: `before` goes before its request.
fn comes_again_with(server: &Server, before: &[u8]) {
    echoed(wait_for("a place or its turn", || {
        let mut stream = server.connect();
        stream.write_all(&[before, &upgrade("/echo", &[])].concat()).ok()?;
        let mut status = [0; 12];
        let is_in = stream.peek(&mut status).is_ok() && &status == b"HTTP/1.1 101";
        is_in.then(|| {
            Response::read(&mut stream, false);
            Peer { stream }
        })
    }));
}

fn comes_again(server: &Server) {
    comes_again_with(server, b"");
}

/// The same, and a listed proxy speaks for it.
fn comes_by_proxy(server: &Server) {
    comes_again_with(server, &proxied([192, 0, 2, 200], b""));
}

/// A good client with the token.
fn comes_with_the_token(server: &Server) {
    let authorization = format!("Authorization: Bearer {SECRET}");
    echoed(Peer::open_with(server.connect(), &upgrade("/echo", &[&authorization])).0);
}

/// Asks whether it is there: no handshake is used up by that.
fn is_healthy(server: &Server) {
    assert_eq!(server.get("/healthz").status, 200);
}

fn echoes(peer: &mut Peer) {
    peer.send_text("still there?");
    assert_eq!(peer.message().text(), "still there?");
}

/// The stream ends without a byte.
fn ends_silently(mut stream: impl Read) {
    let mut rest = Vec::new();
    // A reset is as much an end as a FIN.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

fn path_of_our_own(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("stentor-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// A PROXY header, version 2: a client at `ip`, and `more` behind the addresses.
fn proxied(ip: [u8; 4], more: &[u8]) -> Vec<u8> {
    let addresses =
        [&ip[..], &[127, 0, 0, 1], &4660_u16.to_be_bytes(), &9001_u16.to_be_bytes(), more].concat();
    let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &addresses].concat()
}

#[test]
fn by_default_only_our_own_pages_may_connect_and_publish() {
    let server = Scene::start(&[]);
    for origin in ["http://test", "https://test", "http://TEST:80", "https://test:443"] {
        assert_eq!(status(&server, "/echo", &[&format!("Origin: {origin}")]), 101, "{origin}");
    }
    let foreign = ["http://evil", "http://test:81", "http://test.evil", "null", "file://test"];
    for (n, origin) in foreign.iter().enumerate() {
        let response = server.ask(&upgrade("/echo", &[&format!("Origin: {origin}")]));
        assert_eq!(response.status, 403, "{origin}");
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(refusals(&server, "request", "origin_forbidden"), n as u64 + 1);
    }
    assert_eq!(status(&server, "/echo", &["Origin: http://test/page"]), 400);
    assert_eq!(status(&server, "/echo", &["Origin: http://test", "Origin: http://test"]), 400);
    // Programs send none.
    echoes(&mut server.open("/echo"));

    // A foreign page can post text without asking first; a body of ours is not published.
    let mut listener = server.open("/broadcast/news");
    let post = |origin: &str| {
        let head = format!("POST /publish/news HTTP/1.1\r\nHost: test\r\n{origin}Content-Type: text/plain");
        server.ask(format!("{head}\r\nContent-Length: 2\r\n\r\nhi").as_bytes())
    };
    assert_eq!(post("Origin: http://evil\r\n").status, 403);
    assert_eq!(post("Origin: http://test\r\n").status, 200);
    assert_eq!(post("").status, 200);
    assert_eq!(
        (listener.message().text().to_owned(), listener.message().text().to_owned()),
        ("hi".into(), "hi".into())
    );
    assert!(listener.settle().is_empty(), "the foreign page was not heard");
    // The same with the path escaped.
    let escaped =
        b"POST /%70ublish/news HTTP/1.1\r\nHost: test\r\nOrigin: http://evil\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(server.ask(escaped).status, 403);
    assert!(listener.settle().is_empty());

    // What anybody may read, browsers keep from foreign pages by themselves.
    for path in ["/", "/stats", "/metrics", "/healthz"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\nOrigin: http://evil\r\n\r\n");
        let response = server.ask(head.as_bytes());
        assert_eq!(response.status, 200);
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
    drop(listener);
    server.aftermath();
}

#[test]
fn origins_can_be_listed_or_left_open() {
    let server = Server::start(&["--origin", "https://example.com,https://*.example.org,null"]);
    for origin in ["https://example.com", "https://a.b.example.org", "null"] {
        assert_eq!(status(&server, "/echo", &[&format!("Origin: {origin}")]), 101, "{origin}");
    }
    for origin in ["http://example.com", "https://example.org", "http://test"] {
        assert_eq!(status(&server, "/echo", &[&format!("Origin: {origin}")]), 403, "{origin}");
    }
    echoes(&mut server.open("/echo"));

    let server = Server::start(&["--origin", "any"]);
    for origin in ["http://evil", "null", "nonsense"] {
        assert_eq!(status(&server, "/echo", &[&format!("Origin: {origin}")]), 101, "{origin}");
    }

    for wrong in ["example.com", "https://example.com/", "same,any"] {
        let (status, _, stderr) = run_to_end(&["--origin", wrong]);
        assert_eq!(status.code(), Some(2));
        assert!(stderr.contains("--origin") && stderr.contains("https://example.com"), "{stderr}");
    }
}

const SECRET: &str = "correct-horse-battery-staple";

#[test]
fn a_token_opens_the_door_in_each_of_its_forms() {
    let server = Server::start(&["--token", "another-token-of-ours", "--token", SECRET, "--log", "trace"]);
    let server = Scene::with(server, comes_with_the_token, comes_with_the_token);
    let bearer = format!("Authorization: Bearer {SECRET}");
    assert_eq!(status(&server, "/echo", &[&bearer]), 101);
    assert_eq!(status(&server, "/echo", &["authorization: bearer another-token-of-ours"]), 101);
    assert_eq!(status(&server, &format!("/echo?access_token={SECRET}"), &[]), 101);
    assert_eq!(status(&server, &format!("/echo?prefix=a&token={SECRET}"), &[]), 101);

    // As a subprotocol: what is answered is our own word, never the token.
    let chosen = |offer: &str| {
        let response = server.ask(&upgrade("/echo", &[&format!("Sec-WebSocket-Protocol: {offer}")]));
        assert_eq!(response.status, 101, "{offer}");
        response.header("sec-websocket-protocol").map(str::to_owned)
    };
    assert_eq!(chosen(&format!("token.{SECRET}, stentor")).as_deref(), Some("stentor"));
    assert_eq!(chosen(&format!("stentor, token.{SECRET}, echo")).as_deref(), Some("echo"));
    assert_eq!(chosen(&format!("token.{SECRET}")), None);

    // None, or a wrong one.
    let none = server.ask(&upgrade("/echo", &[]));
    assert_eq!(none.status, 401);
    assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"stentor\""));
    for wrong in [format!("{SECRET}x"), SECRET[1..].to_owned(), SECRET.to_uppercase(), String::new()] {
        let response = server.ask(&upgrade("/echo", &[&format!("Authorization: Bearer {wrong}")]));
        assert_eq!(response.status, 401, "{wrong}");
        let challenge = response.header("www-authenticate").expect("RFC 6750 §3");
        assert!(
            challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""),
            "{challenge}"
        );
    }
    assert_eq!(status(&server, "/echo", &["Authorization: Basic Y29ycmVjdA=="]), 401);
    assert_eq!(status(&server, &format!("/echo?token={SECRET}"), &[&bearer]), 400, "one token, in one place");
    // Who may not come in does not learn what there is.
    assert_eq!(status(&server, "/no-such-path", &[]), 401);
    let authorization = format!("{bearer}\r\n");
    assert_eq!(
        counted(&server, "refusals_total{kind=\"request\",reason=\"token_missing\"}", &authorization),
        3
    );

    // HTTP: numbers and publishing want it, pages and health do not.
    let get = |path: &str| server.get(path).status;
    assert_eq!([get("/"), get("/chat"), get("/healthz"), get("/assets/index.js")], [200; 4]);
    assert_eq!([get("/stats"), get("/metrics")], [401; 2]);
    assert_eq!(get(&format!("/stats?token={SECRET}")), 200);
    assert_eq!(server.publish("news", "text/plain", b"hi").status, 401);
    let head =
        format!("POST /publish/news HTTP/1.1\r\nHost: test\r\n{bearer}\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(server.ask(head.as_bytes()).status, 200);
    // A body is not asked for before the token is seen.
    let head =
        b"POST /publish/news HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(server.ask(head).status, 401);
    server.aftermath();

    // The log is as talkative as it can be, up to its last words.
    server.signal("TERM");
    wait_for("its last words", || server.log().contains("everybody has gone").then_some(()));
    assert!(server.log().contains("upgraded"), "{}", server.log());
    assert!(!server.log().contains(SECRET), "and names no token: {}", server.log());
}

#[test]
fn a_token_shows_itself_nowhere() {
    let (status, stdout, stderr) = run_to_end(&["--check", "--token", SECRET, "--listen", "0.0.0.0:9001"]);
    assert!(status.success(), "{stderr}");
    assert!(stdout.contains("--token (hidden)\n") && !stdout.contains(SECRET), "{stdout}");

    let (status, _, stderr) = run_to_end(&["--token", "not a token"]);
    assert_eq!(status.code(), Some(2));
    assert!(stderr.contains("--token number 1") && !stderr.contains("not a token\n"), "{stderr}");

    let mut help = Command::new(env!("CARGO_BIN_EXE_stentor"));
    let help = help.env("STENTOR_TOKEN", SECRET).arg("--help").output().expect("the program starts");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    assert!(help.contains("STENTOR_TOKEN") && !help.contains(SECRET), "{help}");

    // From the environment, on the open network: it holds, and there is a warning.
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.env("STENTOR_TOKEN", SECRET).args(["--listen", "0.0.0.0:0"]);
    let server = Scene::with(Server::run(command), comes_with_the_token, comes_with_the_token);
    let reach = SocketAddr::from(([127, 0, 0, 1], server.address().port()));
    let mut stream = TcpStream::connect(reach).expect("the server accepts");
    stream.write_all(&upgrade("/echo", &[])).expect("the server reads");
    assert_eq!(Response::read(&mut stream, false).status, 401);
    wait_for("the warning", || server.log().contains("in the clear to 0.0.0.0:0").then_some(()));
    assert!(!server.log().contains(SECRET));
    drop(stream);
    server.aftermath();
}

#[test]
fn a_file_of_tokens_is_read_again_when_told() {
    let path = path_of_our_own("tokens");
    std::fs::write(&path, "# ours\nfirst-token-of-the-file\n").expect("a path of our own");
    let server = Server::start(&["--token-file", &path.display().to_string()]);
    let may = |token: &str| status(&server, &format!("/echo?token={token}"), &[]) == 101;
    assert!(may("first-token-of-the-file") && !may("second-token-of-the-file"));
    let (mut inside, _) =
        Peer::open_with(server.connect(), &upgrade("/echo?token=first-token-of-the-file", &[]));

    std::fs::write(&path, "second-token-of-the-file\n").expect("a path of our own");
    server.signal("HUP");
    wait_for("the new token", || may("second-token-of-the-file").then_some(()));
    assert!(!may("first-token-of-the-file"));
    echoes(&mut inside);

    // A file that is broken changes nothing.
    std::fs::write(&path, "a b\n").expect("a path of our own");
    server.signal("HUP");
    wait_for("the complaint", || server.log().contains("line 1 is not a token").then_some(()));
    assert!(may("second-token-of-the-file"));
    std::fs::remove_file(&path).expect("it is ours");

    let (status, _, stderr) = run_to_end(&["--token-file", &path.display().to_string()]);
    assert_eq!(status.code(), Some(1));
    assert!(stderr.starts_with("error: --token-file ") && stderr.trim_end().lines().count() == 1, "{stderr}");
}

#[test]
fn a_socket_file_has_the_mode_it_was_given_whatever_the_umask() {
    for (umask, flags, wanted) in [
        ("000", &[][..], 0o600),
        ("077", &["--unix-mode", "0660"][..], 0o660),
        ("022", &["--unix-mode", "666"], 0o666),
    ] {
        let path = path_of_our_own(&format!("mode-{umask}.sock"));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask} && exec \"$@\""), "sh"]);
        command.arg(env!("CARGO_BIN_EXE_stentor")).args(["--listen", "127.0.0.1:0", "--listen"]);
        command.arg(format!("unix:{}", path.display())).args(flags);
        let server = Server::run(command);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o7777, wanted, "{mode:o}");
        let mut stream = UnixStream::connect(&path).expect("it listens there");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
        assert_eq!(Response::read(&mut stream, false).status, 200);
        drop(server);
        let _ = std::fs::remove_file(&path);
    }
}

/// The heads of all that comes back for `request`, up to the end or the first silence.
fn head_of_answer(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    let _ = stream.write_all(request);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    assert!(head.ends_with(b"\r\n\r\n"), "{:?}", String::from_utf8_lossy(&head));
    String::from_utf8(head).expect("a head is ASCII")
}

#[test]
fn nothing_that_a_peer_sends_comes_back_in_a_head() {
    const OURS: [&str; 17] = [
        "allow",
        "cache-control",
        "connection",
        "content-length",
        "content-security-policy",
        "content-type",
        "referrer-policy",
        "retry-after",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
        "vary",
        "www-authenticate",
        "x-content-type-options",
        "date",
    ];
    const MARK: &str = "zqxzqx";
    let values: Vec<Vec<u8>> = vec![
        MARK.into(),
        format!("{MARK}%0d%0aX-{MARK}:%201").into(),
        format!("{MARK}%0D%0A%0D%0A{MARK}").into(),
        format!("token.{MARK}").into(),
        format!("{MARK}\r\nX-{MARK}: 1").into(),
        format!("{MARK}\nX-{MARK}: 1").into(),
        format!("{MARK}\rX-{MARK}: 1").into(),
        format!("{MARK}\0").into(),
        format!("{MARK}\u{e4}\u{2028}").into(),
        [MARK.as_bytes(), b"\xff\xfe"].concat(),
        MARK.repeat(600).into(),
    ];
    let names = [
        "Host",
        "Origin",
        "Connection",
        "Upgrade",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Authorization",
        "Content-Type",
        "Content-Length",
        "Transfer-Encoding",
        "Expect",
        "Cookie",
        "X-Forwarded-For",
    ];
    let targets = ["/echo", "/chat/hall", "/broadcast/news", "/tick/5", "/", "/stats", "/nowhere"];
    let closed = Server::start(&["--token", SECRET, "--origin", "any"]);
    let servers = [
        Scene::start(&["--subprotocol", "one"]),
        Scene::with(closed, comes_with_the_token, comes_with_the_token),
    ];
    let check = |server: &Server, request: Vec<u8>| {
        let head = head_of_answer(server, &request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(400)]);
        assert!(!head.to_ascii_lowercase().contains(MARK), "{shown}\n{head}");
        for line in head.trim_end().split("\r\n").skip(1) {
            let name = line.split(':').next().expect("split yields one").to_ascii_lowercase();
            assert!(OURS.contains(&name.as_str()), "{name} is none of ours: {shown}\n{head}");
        }
    };
    for server in &servers {
        for value in &values {
            for name in names {
                for (method, target) in [("GET", "/echo"), ("GET", "/"), ("POST", "/publish/news")] {
                    let lines: Vec<&str> = GOOD.into_iter().filter(|line| !line.starts_with(name)).collect();
                    let is_upgrade = target == "/echo";
                    let lines =
                        if is_upgrade { format!("{}\r\n", lines.join("\r\n")) } else { String::new() };
                    let host = if name == "Host" { "" } else { "Host: test\r\n" };
                    let token = if name == "Authorization" {
                        ""
                    } else {
                        "Authorization: Bearer correct-horse-battery-staple\r\n"
                    };
                    let head = format!("{method} {target} HTTP/1.1\r\n{host}{token}{lines}{name}: ");
                    check(server, [head.as_bytes(), value, b"\r\n\r\n"].concat());
                }
            }
            for target in targets {
                for form in [
                    format!("{target}/"),
                    format!("{target}?name="),
                    format!("{target}?token="),
                    format!("{target}?"),
                ] {
                    let lines = format!(" HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n", GOOD.join("\r\n"));
                    check(server, [b"GET ", form.as_bytes(), value, lines.as_bytes()].concat());
                    check(
                        server,
                        [b"GET ", form.as_bytes(), value, b" HTTP/1.1\r\nHost: test\r\n\r\n"].concat(),
                    );
                }
            }
            check(
                server,
                [b"POST /publish/", &value[..], b" HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi"]
                    .concat(),
            );
            check(server, [b"GET /echo HTTP/1.1\r\nHost: test\r\n", &value[..], b": 1\r\n\r\n"].concat());
            check(server, [&value[..], b" / HTTP/1.1\r\nHost: test\r\n\r\n"].concat());
            check(server, [b"GET http://", &value[..], b"/echo HTTP/1.1\r\nHost: test\r\n\r\n"].concat());
        }
        let authorization = format!("Authorization: Bearer {SECRET}");
        let (mut peer, _) = Peer::open_with(server.connect(), &upgrade("/echo", &[&authorization]));
        echoes(&mut peer);
        drop(peer);
        server.aftermath();
    }
}
