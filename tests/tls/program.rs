//! TLS as an operator meets it: files and flags that work or do not, what the program says of itself, files read again.
//!
//! Invariant: what cannot work is one clear line before anything listens; what is read again drops nobody.

use super::client::{self, Client, Secure};
use super::common::{Server, run_to_end, wait_for};
use rustls::Error;
use rustls::version::{TLS12, TLS13};
use std::io::Write;

#[test]
fn a_new_certificate_is_shown_after_sighup_and_nobody_is_dropped() {
    let files = client::Files::new("reload");
    let first = files.write("first.example");
    let secure = Secure::start_with(&files, &[]);
    let mut old = Client::trusting(secure.address, &first).name("first.example").open("/echo");
    old.send_text("before");
    assert_eq!(old.message().text(), "before");

    let second = files.write("second.example");
    secure.server.signal("HUP");
    wait_for("the new files to be read", || {
        secure.server.log().contains("certificate read again").then_some(())
    });
    Client::trusting(secure.address, &second).name("second.example").open("/echo").close();
    assert!(matches!(
        Client::trusting(secure.address, &first).name("first.example").refused(),
        Error::InvalidCertificate(_)
    ));

    // A key that belongs to another certificate: the one in use stays, in one line.
    let stranger = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(files.key(), stranger.serialize_pem()).expect("a file of ours");
    secure.server.signal("HUP");
    let line = wait_for("the bad files to be told", || {
        let log = secure.server.log();
        log.lines().find(|line| line.contains("stays in use")).map(str::to_owned)
    });
    assert!(line.contains("WARN") && line.contains("does not belong"), "{line}");
    Client::trusting(secure.address, &second).name("second.example").open("/echo").close();
    old.send_text("after");
    assert_eq!(old.message().text(), "after");
    old.close();
    // The files on the disk do not fit together any more: who comes over TLS has come above.
    secure.server.aftermath();
}

#[test]
fn files_that_cannot_work_are_one_clear_line() {
    let files = client::Files::new("bad");
    files.write("good.example");
    let (chain, key) = (files.chain().display().to_string(), files.key().display().to_string());
    let made = |name: &str, text: &[u8]| {
        let path = files.path(name);
        std::fs::write(&path, text).expect("a file of ours");
        path.display().to_string()
    };
    let stranger =
        made("stranger.pem", rcgen::KeyPair::generate().expect("a key").serialize_pem().as_bytes());
    let empty = made("empty.pem", b"");
    let der = made("cert.der", b"\x30\x82\x01\x00");
    let torn = made("torn.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n");
    let sealed = made(
        "sealed.pem",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let none = files.path("none.pem").display().to_string();
    let directory = files.path("").display().to_string();
    for (chain, key, words) in [
        (&none, &key, "No such file"),
        (&chain, &none, "No such file"),
        (&directory, &key, "is not a file"),
        (&empty, &key, "no certificate in it"),
        (&key, &key, "no certificate in it"),
        (&der, &key, "looks like DER"),
        (&torn, &key, "not good PEM"),
        (&chain, &empty, "no private key in it"),
        (&chain, &chain, "no private key in it"),
        (&chain, &sealed, "encrypted"),
        (&chain, &stranger, "does not belong"),
    ] {
        let args = ["--tls-listen", "127.0.0.1:0", "--tls-cert", chain, "--tls-key", key];
        let (status, stdout, stderr) = run_to_end(&args);
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert_eq!((stdout.as_str(), stderr.lines().count()), ("", 1), "{stderr}");
        assert!(
            stderr.starts_with("error: --tls-") && stderr.contains(words),
            "`{words}` is not in {stderr}"
        );
    }
}

#[test]
fn keys_come_in_three_forms_and_chains_in_order() {
    // Made by `openssl` for this test: PKCS#1 and PKCS#8 of one RSA key, SEC1 of an EC key; each certificate lasts
    // until 2126, and nobody trusts it anywhere.
    for (chain, key) in
        [("rsa.pem", "rsa-pkcs1.key"), ("rsa.pem", "rsa-pkcs8.key"), ("ec.pem", "ec-sec1.key")]
    {
        let path = |name: &str| format!("{}/tests/tls/keys/{name}", env!("CARGO_MANIFEST_DIR"));
        let files = client::Files { chain: path(chain).into(), key: path(key).into(), is_made: false };
        let secure = Secure::start_with(&files, &[]);
        let trusted = client::read_certificate(&files.chain);
        for version in [&TLS12, &TLS13] {
            Client::trusting(secure.address, &trusted).version(version).open("/echo").close();
        }
    }
}

#[test]
fn flags_that_make_no_sense_are_usage() {
    for (args, word) in [
        (&["--tls-listen", "127.0.0.1:0"][..], "--tls-self-signed"),
        (&["--tls-listen", "127.0.0.1:0", "--tls-cert", "x"], "--tls-key"),
        (&["--tls-listen", "127.0.0.1:0", "--tls-key", "x"], "--tls-cert"),
        (&["--tls-cert", "x", "--tls-key", "x"], "--tls-listen"),
        (&["--tls-self-signed"], "--tls-listen"),
        (&["--tls-listen", "127.0.0.1:0", "--tls-self-signed", "--tls-min-version", "1.1"], "1.2"),
        (&["--tls-listen", "unix:/tmp/x", "--tls-self-signed"], "--tls-listen"),
        (&["--tls-listen", "nonsense", "--tls-self-signed"], "--tls-listen"),
    ] {
        let (status, _, stderr) = run_to_end(args);
        assert_eq!(status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(word), "{args:?}: {stderr}");
    }
}

#[test]
fn tls_alone_opens_no_plain_port_and_check_tells_flags_that_mean_the_same() {
    for (args, is_plain) in [
        (&["--tls-listen", "127.0.0.1:7", "--tls-self-signed=ca.pem"][..], false),
        (&["--tls-listen", "localhost:7,127.0.0.2:8", "--tls-self-signed", "--listen", "127.0.0.1:9"], true),
        (
            &["--tls-listen", "[::1]:7", "--tls-cert", "c", "--tls-key", "k", "--tls-min-version", "1.3"],
            false,
        ),
        (&[], true),
    ] {
        let (status, told, stderr) = run_to_end(&[&["--check"], args].concat());
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert_eq!(told.lines().any(|line| line.starts_with("--listen ")), is_plain, "{told}");
        let again: Vec<&str> = told.lines().flat_map(|line| line.split(' ')).collect();
        let (_, told_again, stderr) = run_to_end(&[&["--check"], &again[..]].concat());
        assert_eq!(told, told_again, "{stderr}");
    }
}

#[test]
fn the_line_at_the_start_says_where_tls_is_and_whom_to_expect() {
    let secure = Secure::start(&[]);
    let line = secure.server.log().lines().next().expect("there is one").to_owned();
    assert!(line.contains(&format!("wss://{}", secure.address)), "{line}");
    let (_, print) = line.split_once("SHA-256 ").expect("a fingerprint");
    let print: Vec<&str> = print.trim_end_matches(')').split(':').collect();
    assert_eq!(print.len(), 32, "{line}");
    // Only the certificate is written: whoever reads the file can trust us, not be us.
    let written = std::fs::read_to_string(&secure.written).expect("it was asked for");
    assert!(written.contains("BEGIN CERTIFICATE") && !written.contains("PRIVATE"));
}

#[test]
fn a_signal_ends_tls_peers_as_it_ends_others() {
    let mut secure = Secure::start(&[]);
    let client = Client::of(&secure);
    let peers: Vec<_> = (0..20).map(|_| client.open("/echo")).collect();
    // One whose handshake is half made, and one that has not begun.
    let mut half = secure.connect();
    half.write_all(&client.hello()[..40]).expect("the server reads");
    let silent = secure.connect();
    secure.server.signal("TERM");
    for mut peer in peers {
        assert_eq!(peer.closed(), 1001);
    }
    assert_eq!(secure.server.server().wait().code(), Some(0));
    drop((half, silent));
}

#[test]
fn a_program_of_ones_own_speaks_tls_too() {
    use stentor::server::{Certificate, Server, TlsSettings, TlsVersion};
    let settings = TlsSettings {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        certificate: Certificate::SelfSigned { names: vec!["own.example".into()], written: None },
        min_version: TlsVersion::V13,
        tickets: None,
    };
    let server = Server::builder().configure(|config| config.listen.clear()).tls(settings.clone()).bind();
    let server = server.expect("it can be bound");
    assert_eq!((server.addresses().len(), server.tls_addresses().len()), (0, 1));
    assert!(server.summary().contains("wss://127.0.0.1:"), "{}", server.summary());
    let nowhere = TlsSettings { listen: Vec::new(), ..settings };
    assert!(Server::builder().tls(nowhere).bind().is_err());
}

#[test]
fn a_plain_server_says_that_there_is_nothing_to_reload() {
    let server = Server::start(&[]);
    server.signal("HUP");
    wait_for("the line", || server.log().contains("nothing to reload").then_some(()));
    server.open("/echo").close();
}
