//! Who the server is to those who ask by TLS: certificate and key, from files or made up, and the settings around them.
//!
//! Files are read here and nowhere else: at the start, where a mistake ends the program, and when told to
//! (SIGHUP), where a mistake leaves in use what was good before. Connections keep what they began with.
//!
//! Invariant: an [`Identity`] can be used: its key belongs to its certificate.

use std::fmt::{self, Write as _};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring as provider;
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::socket::Address;
use super::tickets::{SharedTickets, TicketSecret};

/// The largest file that is read, in bytes: a chain of certificates has a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Sessions kept for those who come back with TLS 1.2 and no ticket; the oldest makes room. Tickets cost no memory.
const SESSIONS_MAX: usize = 1024;

/// How long a certificate that was made up lasts: long enough for trying out.
const SELF_SIGNED_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// Clocks differ: it is valid since an hour ago.
const SELF_SIGNED_SLACK: Duration = Duration::from_secs(3_600);

/// TLS as an operator decides it.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Where TLS is spoken; at least one, TCP.
    pub listen: Vec<Address>,
    /// Who we say we are.
    pub certificate: Certificate,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// What the keys of session tickets follow from, where several workers have to read each other's; `None`: keys are drawn.
    pub tickets: Option<TicketSecret>,
}

/// Where certificate and key come from.
#[derive(Debug, Clone)]
pub enum Certificate {
    /// From two PEM files, read at the start and at SIGHUP.
    Files {
        /// The chain, our own certificate first.
        chain: PathBuf,
        /// The key, as PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
    /// Made up at the start, for trying out: nobody trusts it who has not been given it.
    SelfSigned {
        /// Names beside `localhost`, `127.0.0.1`, `::1` and the addresses of `listen`.
        names: Vec<String>,
        /// Where the certificate is written for clients that want to trust it; the key is never written.
        written: Option<PathBuf>,
    },
    /// Made up by somebody else, for several workers.
    Given(MadeUp),
}

/// A certificate that was made up, with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct MadeUp {
    /// The certificate, as DER.
    pub certificate: Vec<u8>,
    /// The key, as PKCS#8.
    pub key: Vec<u8>,
}

impl fmt::Debug for MadeUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MadeUp(hidden)")
    }
}

impl MadeUp {
    /// Makes up what `settings` ask for; `None` if their certificate is in files.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn for_all(settings: &TlsSettings) -> Result<Option<Self>, String> {
        match &settings.certificate {
            Certificate::SelfSigned { names, written } => {
                make_up(&settings.listen, names, written.as_deref()).map(Some)
            }
            Certificate::Files { .. } | Certificate::Given(_) => Ok(None),
        }
    }

    /// The SHA-256 fingerprint, as other programs print it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }

    fn into_chain(self) -> ChainAndKey {
        (vec![self.certificate.into()], PrivatePkcs8KeyDer::from(self.key).into())
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// RFC 5246, with the cipher suites that are still good.
    #[default]
    V12,
    /// RFC 8446.
    V13,
}

impl TlsVersion {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

impl TlsSettings {
    /// Refuses settings that cannot work; files are not looked at.
    ///
    /// # Errors
    /// One line that says what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.listen.is_empty() {
            return Err("a certificate without --tls-listen ADDRESS is shown to nobody".to_owned());
        }
        match self.listen.iter().find(|address| !matches!(address, Address::Tcp(_))) {
            Some(unix) => Err(format!("--tls-listen {unix}: TLS is for TCP, as in 0.0.0.0:9443")),
            None => Ok(()),
        }
    }
}

/// A certificate with its key, and how it is used.
#[derive(Debug)]
pub struct Identity {
    settings: TlsSettings,
    config: Arc<ServerConfig>,
    fingerprint: String,
}

impl Identity {
    /// Reads the files, or makes a certificate up.
    ///
    /// # Errors
    /// One line that says which file is wrong, why, and what would be right.
    pub fn load(settings: TlsSettings) -> Result<Self, String> {
        let (chain, key) = match &settings.certificate {
            Certificate::Files { chain, key } => (read_chain(chain)?, read_key(key)?),
            Certificate::SelfSigned { names, written } => {
                make_up(&settings.listen, names, written.as_deref())?.into_chain()
            }
            Certificate::Given(made_up) => made_up.clone().into_chain(),
        };
        let fingerprint = chain.first().map(|own| fingerprint(own)).unwrap_or_default();
        let tickets = settings.tickets.map(|secret| SharedTickets::new(secret, fingerprint.as_bytes()));
        let config = configure(chain, key, settings.min_version, tickets)
            .map_err(|error| explain(&settings.certificate, &error))?;
        Ok(Self { settings, config: Arc::new(config), fingerprint })
    }

    /// What a connection that begins now is to use.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The SHA-256 fingerprint of the certificate, as other programs print it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Reads the files again. Connections that are open keep what they began with; sessions of the old certificate are
    /// not resumed under the new one.
    ///
    /// # Errors
    /// As [`load`](Self::load); what was in use stays in use.
    pub fn reload(&mut self) -> Result<String, String> {
        let Certificate::Files { chain, .. } = &self.settings.certificate else {
            return Ok("the self-signed certificate stays: there is no file to read".to_owned());
        };
        let told = format!("certificate read again from {}", chain.display());
        match Self::load(self.settings.clone()) {
            Ok(new) => {
                *self = new;
                Ok(format!("{told}, SHA-256 {}", self.fingerprint))
            }
            Err(why) => Err(format!("the certificate in use stays in use: {why}")),
        }
    }
}

fn configure(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    min_version: TlsVersion,
    tickets: Option<SharedTickets>,
) -> Result<ServerConfig, Error> {
    let versions: &[_] = match min_version {
        TlsVersion::V12 => &[&TLS13, &TLS12],
        TlsVersion::V13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()));
    let builder = builder.with_protocol_versions(versions)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key)?;
    // WebSocket begins as HTTP/1.1; who speaks only h2 is told so here and not by a parser (RFC 7301 §3.2).
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Keys of tickets change every six hours and are never written anywhere.
    config.ticketer = match tickets {
        Some(shared) => Arc::new(shared),
        None => provider::Ticketer::new()?,
    };
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    Ok(config)
}

fn explain(certificate: &Certificate, error: &Error) -> String {
    let Certificate::Files { chain, key } = certificate else {
        return format!("--tls-self-signed: {error}");
    };
    let (chain, key) = (chain.display(), key.display());
    if let Error::InconsistentKeys(_) = error {
        let rule = "the server's own certificate comes first";
        return format!("--tls-key {key}: does not belong to the first certificate in {chain}; {rule}");
    }
    if let Error::InvalidCertificate(why) = error {
        return format!("--tls-cert {chain}: the first certificate is broken ({why:?})");
    }
    format!("--tls-key {key}: {error}; a key is RSA (2048 to 8192 bits), ECDSA (P-256, P-384) or Ed25519")
}

fn read_file(flag: &str, path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("{flag} {}: {error}", path.display());
    let file = super::file::open(path).map_err(told)?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(told)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(format!("{flag} {}: has more than a mebibyte, which no PEM file needs", path.display()));
    }
    Ok(bytes)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read_file("--tls-cert", path)?;
    let told = |what: &str| format!("--tls-cert {}: {what}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if pem.first() == Some(&0x30) => {
            Err(told("is not PEM but looks like DER; `openssl x509 -inform der` turns one into the other"))
        }
        Ok(_) => Err(told("no certificate in it; it is wanted as PEM, from -----BEGIN CERTIFICATE----- on")),
        Err(error) => Err(told(&format!("is not good PEM: {error}"))),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read_file("--tls-key", path)?;
    let told = |what: &str| format!("--tls-key {}: {what}", path.display());
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        Err(_) if pem.windows(9).any(|word| word == b"ENCRYPTED") => Err(told(
            "the key is encrypted, and nobody is here to type the password; `openssl pkey` decrypts it",
        )),
        Err(rustls_pki_types::pem::Error::NoItemsFound) => {
            Err(told("no private key in it; it is wanted as PEM, from -----BEGIN PRIVATE KEY----- on"))
        }
        Err(error) => Err(told(&format!("is not good PEM: {error}"))),
    }
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn make_up(listen: &[Address], more: &[String], written: Option<&Path>) -> Result<MadeUp, String> {
    let told = |error: rcgen::Error| format!("--tls-self-signed: {error}");
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let addresses = listen.iter().filter_map(|address| match address {
        Address::Tcp(address) if !address.ip().is_unspecified() => Some(address.ip().to_string()),
        Address::Tcp(_) | Address::Unix(_) => None,
    });
    for name in addresses.chain(more.iter().cloned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut params = rcgen::CertificateParams::new(names).map_err(told)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "stentor, self-signed");
    let now = SystemTime::now();
    (params.not_before, params.not_after) =
        ((now - SELF_SIGNED_SLACK).into(), (now + SELF_SIGNED_LIFE).into());
    let key = rcgen::KeyPair::generate().map_err(told)?;
    let own = params.self_signed(&key).map_err(told)?;
    if let Some(path) = written {
        std::fs::write(path, own.pem())
            .map_err(|error| format!("--tls-self-signed: cannot write {}: {error}", path.display()))?;
    }
    Ok(MadeUp { certificate: own.der().to_vec(), key: key.serialize_der() })
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut text = String::new();
    for (at, byte) in digest.as_ref().iter().enumerate() {
        let colon = if at == 0 { "" } else { ":" };
        write!(text, "{colon}{byte:02X}").expect("a string takes everything");
    }
    text
}
