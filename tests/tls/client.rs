//! A TLS client for the tests, and a server for it to talk to.
//!
//! Invariant: each server has a certificate of its own, which its clients trust and nobody else does.

use crate::common::aftermath::{SERVED_WITHIN, Scene, echoed};
use crate::common::{PATIENCE, Peer, Response, Server, wait_for};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub(crate) type TlsStream = StreamOwned<ClientConnection, Straw>;

/// A socket that gives and takes at most so many bytes at once.
pub(crate) struct Straw {
    pub(crate) tcp: TcpStream,
    width: usize,
}

impl Read for Straw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wide = into.len().min(self.width);
        self.tcp.read(&mut into[..wide])
    }
}

impl Write for Straw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(&bytes[..bytes.len().min(self.width)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// A server with a plain port and one for TLS.
pub(crate) struct Secure {
    pub(crate) server: Scene,
    /// Of the TLS port.
    pub(crate) address: SocketAddr,
    /// The certificate to trust.
    pub(crate) written: PathBuf,
    /// The server has made it up.
    is_made: bool,
}

fn fresh(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("stentor-tls-{}-{n}-{name}", std::process::id()))
}

impl Secure {
    /// With a certificate that it makes up.
    pub(crate) fn start(args: &[&str]) -> Self {
        let written = fresh("ca.pem");
        let flag = format!("--tls-self-signed={}", written.display());
        Self::run(&[&[flag.as_str()], args].concat(), written, true)
    }

    /// With a certificate from files.
    pub(crate) fn start_with(files: &Files, args: &[&str]) -> Self {
        let (chain, key) = (files.chain.display().to_string(), files.key.display().to_string());
        Self::run(&[&["--tls-cert", &chain, "--tls-key", &key], args].concat(), files.chain.clone(), false)
    }

    fn run(args: &[&str], written: PathBuf, is_made: bool) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
        command.args(["--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"]).args(args);
        let server = Server::run(command);
        let log = server.log();
        let (_, rest) = log.split_once("wss://").expect("the line says where TLS is");
        let address = rest.split([',', ' ']).next().and_then(|word| word.parse().ok()).expect("an address");
        Self { server: Scene::of(server), address, written, is_made }
    }

    /// Asserts that nothing of a wrong is left: a good client is served over TLS, and another without.
    pub(crate) fn aftermath(&self) {
        let began = Instant::now();
        echoed(Client::of(self).open("/echo"));
        assert!(began.elapsed() < SERVED_WITHIN, "a good client was served after {:?}", began.elapsed());
        self.server.aftermath();
    }

    /// A connection that has not begun to speak TLS.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub(crate) fn metrics(&self) -> String {
        self.server.get("/metrics").text().to_owned()
    }

    /// Waits until the metrics have this line.
    pub(crate) fn counts(&self, line: &str) {
        wait_for(line, || self.metrics().lines().any(|found| found == line).then_some(()));
    }

    pub(crate) fn count(&self, kind: &str, label: &str) -> u64 {
        let head = format!("stentor_refusals_total{{kind=\"{kind}\",reason=\"{label}\"}} ");
        self.metrics().lines().find_map(|line| line.strip_prefix(&head)?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn stat(&self, key: &str) -> u64 {
        let stats: serde_json::Value =
            serde_json::from_str(self.server.get("/stats").text()).expect("it is JSON");
        stats[key].as_u64().expect("a number")
    }

    pub(crate) fn connections(&self) -> u64 {
        self.stat("connections")
    }

    /// Memory of the server's own that is in use, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        if self.is_made {
            let _ = std::fs::remove_file(&self.written);
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    stream
}

/// A certificate and a key in files of our own.
pub(crate) struct Files {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Made for the test, and gone with it.
    pub(crate) is_made: bool,
}

impl Files {
    pub(crate) fn new(name: &str) -> Self {
        let directory = fresh(name);
        std::fs::create_dir(&directory).expect("a directory of ours");
        Self { chain: directory.join("chain.pem"), key: directory.join("key.pem"), is_made: true }
    }

    pub(crate) fn chain(&self) -> &Path {
        &self.chain
    }

    pub(crate) fn key(&self) -> &Path {
        &self.key
    }

    /// A file beside them.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.chain.with_file_name("").join(name)
    }

    /// Writes a new pair for `name` and returns the certificate.
    pub(crate) fn write(&self, name: &str) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        std::fs::write(&self.key, made.signing_key.serialize_pem()).expect("a file of ours");
        std::fs::write(&self.chain, made.cert.pem()).expect("a file of ours");
        made.cert.der().clone()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.is_made {
            let _ = std::fs::remove_dir_all(self.chain.with_file_name(""));
        }
    }
}

pub(crate) fn read_certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate in it")
}

/// How to connect; connections of one client share what they know of the server.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    trusted: CertificateDer<'static>,
    config: ClientConfig,
    name: ServerName<'static>,
    width: usize,
}

impl Client {
    /// One that trusts `secure`.
    pub(crate) fn of(secure: &Secure) -> Self {
        Self::trusting(secure.address, &read_certificate(&secure.written))
    }

    pub(crate) fn trusting(address: SocketAddr, certificate: &CertificateDer<'static>) -> Self {
        Self {
            address,
            trusted: certificate.clone(),
            config: config(certificate, rustls::DEFAULT_VERSIONS),
            name: ServerName::try_from("localhost").expect("a name"),
            width: usize::MAX,
        }
    }

    pub(crate) fn name(mut self, name: &'static str) -> Self {
        self.name = ServerName::try_from(name).expect("a name");
        self
    }

    /// Speaks this version alone.
    pub(crate) fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.config = config(&self.trusted, &[version]);
        self
    }

    pub(crate) fn alpn(mut self, offered: &[&str]) -> Self {
        self.config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Comes back by a session's id (RFC 5246 §7.4.1.2), not by a ticket.
    pub(crate) fn without_tickets(mut self) -> Self {
        self.config.resumption =
            Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
        self
    }

    /// Reads and writes at most `width` bytes at once.
    pub(crate) fn straw(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// A connection whose handshake is made when something is read or written.
    pub(crate) fn connect(&self) -> TlsStream {
        let config = Arc::new(self.config.clone());
        let tls = ClientConnection::new(config, self.name.clone()).expect("the settings work");
        StreamOwned::new(tls, Straw { tcp: connect(self.address), width: self.width })
    }

    /// A WebSocket peer at `target`.
    pub(crate) fn open(&self, target: &str) -> Peer<TlsStream> {
        Peer::open(self.connect(), target)
    }

    /// Asks for a page and reads it.
    pub(crate) fn get(&self, target: &str) -> Response {
        let mut stream = self.connect();
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the server reads");
        Response::read(&mut stream, false)
    }

    /// Makes a handshake that must fail; says why it did.
    pub(crate) fn refused(&self) -> Error {
        let mut stream = self.connect();
        let failure = loop {
            match stream.conn.complete_io(&mut stream.sock) {
                // The client believes that all is well before the server has looked at its last words.
                Ok(_) if !stream.conn.is_handshaking() => match stream.read(&mut [0; 16]) {
                    Err(error) => break error,
                    Ok(n) => panic!("{n} bytes from a server that should have refused"),
                },
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        // The alert that says so, all of it.
        while stream.conn.wants_write() && stream.conn.write_tls(&mut stream.sock).is_ok() {}
        let inner = failure.into_inner().expect("TLS says why");
        inner.downcast_ref::<Error>().expect("an error of TLS").clone()
    }

    /// The bytes with which a handshake begins.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let config = Arc::new(self.config.clone());
        let mut tls = ClientConnection::new(config, self.name.clone()).expect("the settings work");
        let mut bytes = Vec::new();
        tls.write_tls(&mut bytes).expect("memory takes it");
        bytes
    }
}

fn config(trusted: &CertificateDer<'static>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    builder.expect("versions that there are").with_root_certificates(roots).with_no_client_auth()
}
