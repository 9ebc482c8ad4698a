//! `wss://` targets: whom loadgen trusts, what it says when it does not, and that everything arrives all the same.
//!
//! Why: the numbers of a run over TLS are worth as much as those of a plain one only if the same completeness holds.
//!
//! Invariants: the server is a `stentor` in this process, with a certificate that it made up for 127.0.0.1.

use loadgen::report::{Report, Verdict};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;
use stentor::server::{Address, Certificate, Server, TlsSettings, TlsVersion};

struct Secure {
    port: u16,
    cacert: PathBuf,
}

/// One server for all tests; it ends with the process.
fn server() -> &'static Secure {
    static SERVER: OnceLock<Secure> = OnceLock::new();
    SERVER.get_or_init(|| {
        let cacert = std::env::temp_dir().join(format!("loadgen-wss-{}.pem", std::process::id()));
        let written = Some(cacert.clone());
        let (say, hear) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let settings = TlsSettings {
                // On every address, but certified for 127.0.0.1 alone.
                listen: vec!["0.0.0.0:0".parse().expect("an address")],
                certificate: Certificate::SelfSigned { names: Vec::new(), written },
                min_version: TlsVersion::V12,
                tickets: None,
            };
            let server = Server::builder().tls(settings).configure(|config| {
                config.listen.clear();
                (config.ws.message_max, config.ws.frame_max) = (1 << 20, 1 << 20);
            });
            let server = server.bind().expect("a free port");
            say.send(server.tls_addresses()[0].clone()).expect("somebody waits for it");
            server.run().expect("it runs until the process ends");
        });
        match hear.recv().expect("the server is bound") {
            Address::Tcp(address) => Secure { port: address.port(), cacert },
            Address::Unix(path) => panic!("TLS on {}", path.display()),
        }
    })
}

fn loadgen(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOADGEN_")) {
        command.env_remove(name);
    }
    command.args(line.split_whitespace()).output().expect("the program was built")
}

fn report(line: &str) -> Report {
    let output = loadgen(&format!("{line} --no-tui --json -"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).expect("stdout holds the document alone")
}

fn assert_complete(report: &Report, expected: u64) {
    let deliveries = &report.deliveries;
    assert_eq!((deliveries.expected, deliveries.received, deliveries.lost), (expected, expected, 0));
    let wrong = [deliveries.duplicate, deliveries.reordered, deliveries.corrupt, deliveries.unexpected];
    assert_eq!(wrong, [0; 4]);
}

#[test]
fn everything_arrives_over_tls_too() {
    let Secure { port, cacert } = server();
    let trust = format!("--cacert {}", cacert.display());
    let broadcast =
        report(&format!("wss://127.0.0.1:{port}/broadcast/a {trust} -c 20 -r 50 --warmup 100ms -d 1s"));
    assert_eq!((broadcast.connect.connected, broadcast.connect.failed), (20, 0));
    assert_eq!(broadcast.connect.handshake_ns.count, 20);
    assert_complete(&broadcast, 1_000);
    assert_eq!(broadcast.plan.cacert.as_deref(), cacert.to_str());
    assert!(broadcast.plan.urls[0].starts_with("wss://"));

    // Payloads of many records, in both directions, from several loops.
    let echo = report(&format!(
        "wss://localhost:{port}/echo {trust} -s echo -c 6 --rate-per-client 4 --size 200k --threads 2 --warmup 0s -d 1s"
    ));
    assert!(echo.messages.sent > 0);
    assert_complete(&echo, echo.messages.sent);

    let closed = report(&format!(
        "wss://127.0.0.1:{port}/echo {trust} -s echo -c 4 --closed --inflight 8 --warmup 0s -d 1s"
    ));
    assert_complete(&closed, closed.messages.sent);
}

#[test]
fn anybody_is_trusted_where_it_is_asked_for() {
    let port = server().port;
    let idle = report(&format!("wss://127.0.0.1:{port}/echo --tls-insecure -s idle -c 30 --warmup 0s -d 1s"));
    assert_eq!((idle.connect.connected, idle.connect.failed), (30, 0));
    assert!(idle.plan.tls_insecure);
    let connect = report(&format!("wss://127.0.0.1:{port}/echo --tls-insecure -s connect -c 40"));
    assert_eq!((connect.connect.connected, connect.connect.handshake_ns.count), (40, 40));
}

#[test]
fn who_is_not_trusted_is_told_by_name_and_nothing_is_measured() {
    let Secure { port, cacert } = server();
    let cacert = cacert.display();
    // Another file than ours: the certificate of a stranger.
    let stranger = std::env::temp_dir().join(format!("loadgen-stranger-{}.pem", std::process::id()));
    let made = TlsSettings {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        certificate: Certificate::SelfSigned { names: Vec::new(), written: Some(stranger.clone()) },
        min_version: TlsVersion::V12,
        tickets: None,
    };
    drop(Server::builder().tls(made).configure(|config| config.listen.clear()).bind().expect("a free port"));
    for (line, words) in [
        (format!("wss://127.0.0.1:{port}/echo --cacert {}", stranger.display()), "tls:"),
        // 127.0.0.2 is the same server, but not the one that the certificate is for.
        (format!("wss://127.0.0.2:{port}/echo --cacert {cacert}"), "not valid for name"),
        // An alert is no answer in HTTP.
        (format!("ws://127.0.0.1:{port}/echo"), "handshake"),
    ] {
        let report = report(&format!("{line} -s idle -c 3 --warmup 0s -d 200ms"));
        assert_eq!((report.connect.connected, report.connect.failed), (0, 3), "{line}");
        assert_eq!(report.verdict, Verdict::Invalid, "{line}");
        let told: Vec<&String> = report.connect.failures.keys().collect();
        assert!(told.iter().any(|why| why.contains(words)), "{line}: {told:?} and not {words}");
    }
    let _ = std::fs::remove_file(stranger);
}

#[test]
fn a_file_that_names_nobody_is_one_clear_line() {
    let empty = std::env::temp_dir().join(format!("loadgen-empty-{}.pem", std::process::id()));
    std::fs::write(&empty, "nothing").expect("a file of ours");
    let empty_path = empty.display().to_string();
    for (path, words) in [("/nowhere/ca.pem", "No such file"), (empty_path.as_str(), "no certificate in it")]
    {
        let output = loadgen(&format!("wss://127.0.0.1:1/ --cacert {path} -c 1"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains("--cacert") && said.contains(words), "{said}");
    }
    let _ = std::fs::remove_file(empty);
}
