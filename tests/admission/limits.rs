//! How many may come: from one address, in a second, in all.
//!
//! Invariant: whoever is refused is told when to come again, and takes no place of anybody.

use super::*;

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let path = path_of_our_own("per-ip.sock");
    let unix = format!("unix:{}", path.display());
    let server = Server::start(&["--listen", &unix, "--connections-per-ip", "2"]);
    let server = Scene::with(server, comes_again, comes_again);
    let (mut one, two) = (server.open("/echo"), server.open("/echo"));
    let response = server.ask(&upgrade("/echo", &[]));
    assert_eq!((response.status, response.header("retry-after")), (503, Some("10")));
    assert_eq!(server.get("/healthz").status, 503, "HTTP is no way around it");
    // Other addresses, and those without, have places of their own.
    let mut other = Peer::open(connect_from([127, 0, 0, 2], server.address()), "/echo");
    let mut local: Vec<UnixStream> =
        (0..5).map(|_| UnixStream::connect(&path).expect("it listens there")).collect();
    for stream in &mut local {
        stream.write_all(&upgrade("/echo", &[])).expect("the server reads");
        assert_eq!(Response::read(stream, false).status, 101);
    }
    echoes(&mut one);
    echoes(&mut other);
    // A place that becomes free is free.
    two.close();
    let mut three = wait_for("a place to become free", || {
        let mut stream = server.connect();
        stream.write_all(&upgrade("/echo", &[])).ok()?;
        let response = Response::read(&mut stream, false);
        (response.status == 101).then_some(Peer { stream })
    });
    echoes(&mut three);
    drop((one, other, three, local));
    server.aftermath();
}

#[test]
fn a_crowd_from_one_address_takes_nobody_else_s_place() {
    let server = Server::start(&["--connections-per-ip", "2", "--connections-max", "40"]);
    let server = Scene::with(server, comes_again, comes_again);
    let mut friend = Peer::open(connect_from([127, 0, 0, 3], server.address()), "/echo");
    // They say nothing, to stay as long as they can.
    let crowd: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let asked = || {
        let mut stream = connect_from([127, 0, 0, 4], server.address());
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").expect("the server reads");
        Response::read(&mut stream, false).text().to_owned()
    };
    let closed = "stentor_refusals_total{kind=\"accept\",reason=\"address_full\"} 182\n";
    wait_for("those without a place and without a word", || asked().contains(closed).then_some(()));
    echoes(&mut friend);
    echoes(&mut Peer::open(connect_from([127, 0, 0, 5], server.address()), "/echo"));
    drop(crowd);
    wait_for("the places of the crowd", || {
        let mut stream = server.connect();
        stream.write_all(&upgrade("/echo", &[])).ok()?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).ok()?;
        (&status == b"HTTP/1.1 101").then_some(())
    });
    drop(friend);
    server.aftermath();
}

/// Behind a proxy an address is known as soon as the proxy has told it, whether or not the client says anything.
#[test]
fn who_keeps_silent_behind_a_proxy_is_counted_all_the_same() {
    let flags = ["--proxy-protocol", "--proxy-from", "127.0.0.1", "--connections-per-ip", "2"];
    // They would go by themselves in a minute; nobody waits so long.
    let more = ["--connections-max", "40", "--handshake-timeout", "60s"];
    let server = Server::start(&[&flags[..], &more].concat());
    let server = Scene::with(server, comes_by_proxy, comes_by_proxy);
    let silent: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = server.connect();
            // Who is closed at once may be so before we have written.
            let _ = stream.write_all(&proxied([192, 0, 2, 1], b""));
            stream
        })
        .collect();
    wait_for("a place for somebody else", || {
        let mut stream = server.connect();
        stream.write_all(&[proxied([192, 0, 2, 2], b""), upgrade("/echo", &[])].concat()).ok()?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).ok()?;
        (&status == b"HTTP/1.1 101").then_some(())
    });
    drop(silent);
    server.aftermath();
}

#[test]
fn handshakes_have_a_pace() {
    let server = Scene::with(Server::start(&["--handshakes-per-second", "5"]), is_healthy, comes_again);
    let began = Instant::now();
    let mut refused = None;
    let mut inside = Vec::new();
    while refused.is_none() && inside.len() < 1000 {
        let mut stream = server.connect();
        stream.write_all(&upgrade("/echo", &[])).expect("the server reads");
        let response = Response::read(&mut stream, false);
        match response.status {
            101 => inside.push(Peer { stream }),
            _ => refused = Some(response),
        }
    }
    let in_time = (began.elapsed().as_secs_f64() + 1.0) * 5.0;
    assert!(inside.len() >= 5, "five at once: {}", inside.len());
    assert!(inside.len() as f64 <= in_time + 1.0, "{} in {:?}", inside.len(), began.elapsed());
    let refused = refused.expect("nobody can open a thousand in time");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refusals(&server, "request", "too_many_handshakes"), 1);
    // HTTP is not counted, who is in stays in, and others come in when time has passed.
    assert_eq!((0..20).map(|_| server.get("/healthz").status).collect::<Vec<_>>(), [200; 20]);
    inside.iter_mut().for_each(echoes);
    wait_for("the next one", || (status(&server, "/echo", &[]) == 101).then_some(()));
    drop(inside);
    server.aftermath();
}

#[test]
fn who_is_refused_for_another_reason_uses_up_no_handshake() {
    let server = Scene::with(Server::start(&["--handshakes-per-second", "1"]), is_healthy, comes_again);
    for _ in 0..20 {
        assert_eq!(status(&server, "/echo", &["Origin: http://evil"]), 403);
        assert_eq!(status(&server, "/nowhere", &[]), 404);
    }
    assert_eq!(status(&server, "/echo", &[]), 101);
    server.aftermath();
}

#[test]
fn all_places_taken_says_when_to_come_again() {
    let server = Scene::with(Server::start(&["--connections-max", "1"]), comes_again, comes_again);
    let one = server.open("/echo");
    let response = server.ask(&upgrade("/echo", &[]));
    assert_eq!((response.status, response.header("retry-after")), (503, Some("10")));
    drop(one);
    server.aftermath();
}
