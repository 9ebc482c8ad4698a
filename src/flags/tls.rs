//! The flags of TLS: where it is spoken, who we are there, which versions.
//!
//! Which flags need which is said to the parser, so that what makes no sense ends with its usage.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, ValueEnum};
use stentor::server::{Address, Certificate, Config, TlsSettings, TlsVersion};

#[derive(Args, Debug)]
#[command(next_help_heading = "TLS")]
#[command(group(ArgGroup::new("identity").args(["tls_cert", "tls_self_signed"])))]
pub(crate) struct TlsOptions {
    /// Where to listen for TLS (wss, https): IP:PORT, [IPv6]:PORT or NAME:PORT; repeat for more. With this, there is
    /// no plain port unless --listen is given as well.
    #[arg(
        long,
        env = "STENTOR_TLS_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ',',
        requires = "identity"
    )]
    tls_listen: Vec<Listen>,
    /// The certificate chain as PEM, the server's own first. Read again at SIGHUP.
    #[arg(long, env = "STENTOR_TLS_CERT", value_name = "FILE", requires_all = ["tls_listen", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its key as PEM: PKCS#8, PKCS#1 or SEC1. Read again at SIGHUP.
    #[arg(long, env = "STENTOR_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// For trying out: a certificate of our own making, for localhost and the addresses of --tls-listen. It is written to
    /// FILE, for clients that are to trust it.
    #[arg(
        long,
        env = "STENTOR_TLS_SELF_SIGNED",
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        requires = "tls_listen"
    )]
    tls_self_signed: Option<String>,
    /// The oldest version of TLS that is spoken.
    #[arg(long, env = "STENTOR_TLS_MIN_VERSION", value_enum, default_value_t = VersionName::V12)]
    tls_min_version: VersionName,
}

/// An address, and the name that it was given by.
#[derive(Clone, Debug)]
struct Listen {
    address: Address,
    host: String,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse()?;
        let host = text.rsplit_once(':').map_or("", |(host, _)| host);
        Ok(Self { address, host: host.to_owned() })
    }
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum VersionName {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

impl TlsOptions {
    /// Enters the settings that the flags stand for.
    pub(crate) fn apply(self, config: &mut Config) {
        let certificate = match (self.tls_cert, self.tls_key, self.tls_self_signed) {
            (Some(chain), Some(key), _) => Certificate::Files { chain, key },
            (_, _, Some(file)) => {
                let is_name = |host: &&Listen| host.host.contains(|c: char| c.is_ascii_alphabetic());
                let named =
                    self.tls_listen.iter().filter(is_name).filter(|listen| !listen.host.contains(':'));
                Certificate::SelfSigned {
                    names: named.map(|listen| listen.host.clone()).collect(),
                    written: (!file.is_empty()).then(|| file.into()),
                }
            }
            (_, _, None) => return,
        };
        let min_version = match self.tls_min_version {
            VersionName::V12 => TlsVersion::V12,
            VersionName::V13 => TlsVersion::V13,
        };
        let listen = self.tls_listen.into_iter().map(|listen| listen.address).collect();
        config.tls = Some(TlsSettings { listen, certificate, min_version, tickets: None });
    }
}

/// The settings as flags that would bring them about.
pub(crate) fn effective(config: &Config) -> Vec<String> {
    let Some(tls) = &config.tls else { return Vec::new() };
    // A name that was given goes into the certificate, so it is told by name.
    let named = |address: &Address| {
        let (Address::Tcp(tcp), Certificate::SelfSigned { names, .. }) = (address, &tls.certificate) else {
            return address.to_string();
        };
        let mut names = names.iter().map(|name| format!("{name}:{}", tcp.port()));
        names.find(|name| name.parse().as_ref() == Ok(address)).unwrap_or_else(|| address.to_string())
    };
    let mut lines: Vec<String> =
        tls.listen.iter().map(|address| format!("tls-listen {}", named(address))).collect();
    match &tls.certificate {
        Certificate::Files { chain, key } => {
            lines.push(format!("tls-cert {}", chain.display()));
            lines.push(format!("tls-key {}", key.display()));
        }
        Certificate::SelfSigned { written, .. } => {
            let file = written.iter().map(|file| format!("={}", file.display()));
            lines.push(format!("tls-self-signed{}", file.collect::<String>()));
        }
        // Workers are given it by their supervisor, and never asked for their flags.
        Certificate::Given(_) => {}
    }
    lines.push(format!("tls-min-version {}", tls.min_version.name()));
    lines
}
