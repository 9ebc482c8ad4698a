//! The flags that say who may come in: origins, tokens, how many, how fast, through which proxies.
//!
//! Invariants: a token is never printed, not by `--help`, not by `--check`, not by an error; a flag left out leaves its
//! default.

use std::path::PathBuf;

use stentor::server::Config;
use stentor::server::admission::{Origins, Proxies, Settings};

use super::units::count;

/// Who may come in.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Who may come in")]
pub(super) struct AdmissionFlags {
    /// Pages of which origins may connect and publish: same (as the Host), any, or a list such as
    /// https://example.com,https://*.example.com,same,null. Programs, which send no Origin, pass.
    #[arg(long, env = "STENTOR_ORIGIN", value_name = "ORIGINS", default_value = "same")]
    origin: Origins,
    /// A token that lets a peer in, given as Authorization: Bearer, ?access_token= or subprotocol token.SECRET; repeat
    /// for more. Others see it in the list of processes: prefer the variable, or --token-file.
    #[arg(long, env = "STENTOR_TOKEN", value_name = "SECRET", value_delimiter = ',', hide_env_values = true)]
    token: Vec<String>,
    /// A token for those who publish by HTTP and ask for the channels (POST /publish, GET /channels), given as
    /// Authorization: Bearer; repeat for more. Wanted where others than this machine can connect.
    #[arg(
        long,
        env = "STENTOR_PUBLISH_TOKEN",
        value_name = "SECRET",
        value_delimiter = ',',
        hide_env_values = true
    )]
    publish_token: Vec<String>,
    /// A file of tokens, one a line, # begins a comment; read again on SIGHUP.
    #[arg(long, env = "STENTOR_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The most connections of one address (of IPv6: one /64); more are answered with 503. Default: no limit.
    #[arg(long, env = "STENTOR_CONNECTIONS_PER_IP", value_name = "N", value_parser = count)]
    connections_per_ip: Option<usize>,
    /// WebSocket handshakes that may succeed in a second, and at once; more are answered with 503. Default: no limit.
    #[arg(long, env = "STENTOR_HANDSHAKES_PER_SECOND", value_name = "RATE", value_parser = count)]
    handshakes_per_second: Option<usize>,
    /// Connections of the proxies in --proxy-from begin with a PROXY protocol header, version 2.
    #[arg(long, env = "STENTOR_PROXY_PROTOCOL")]
    proxy_protocol: bool,
    /// The proxies that may say for whom they speak: IP, IP/BITS or unix, as in 10.0.0.0/8,::1.
    #[arg(long, env = "STENTOR_PROXY_FROM", value_name = "LIST")]
    proxy_from: Option<Proxies>,
    /// The permissions of the files of Unix sockets, in octal.
    #[arg(long, env = "STENTOR_UNIX_MODE", value_name = "MODE", default_value = "0600", value_parser = mode)]
    unix_mode: u32,
}

impl AdmissionFlags {
    /// Puts the settings that the flags stand for into `config`.
    pub(super) fn apply(self, config: &mut Config) {
        config.admission = Settings {
            origins: self.origin,
            tokens: self.token.into_iter().map(Into::into).collect(),
            publish_tokens: self.publish_token.into_iter().map(Into::into).collect(),
            token_file: self.token_file,
            connections_per_ip: self.connections_per_ip,
            handshakes_per_second: self
                .handshakes_per_second
                .map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)),
            proxy_protocol: self.proxy_protocol,
            proxies: self.proxy_from.unwrap_or_default(),
            unix_mode: self.unix_mode,
        };
    }
}

/// The settings as flags. Tokens are counted, not shown.
pub(super) fn effective(config: &Config) -> Vec<String> {
    let settings = &config.admission;
    let mut lines = vec![format!("origin {}", settings.origins)];
    lines.extend(settings.tokens.iter().map(|_| "token (hidden)".to_owned()));
    lines.extend(settings.publish_tokens.iter().map(|_| "publish-token (hidden)".to_owned()));
    lines.extend(settings.token_file.iter().map(|file| format!("token-file {}", file.display())));
    lines.extend(settings.connections_per_ip.map(|max| format!("connections-per-ip {max}")));
    lines.extend(settings.handshakes_per_second.map(|rate| format!("handshakes-per-second {rate}")));
    if settings.proxy_protocol {
        lines.extend(["proxy-protocol".to_owned(), format!("proxy-from {}", settings.proxies)]);
    }
    lines.push(format!("unix-mode {:04o}", settings.unix_mode));
    lines
}

fn mode(text: &str) -> Result<u32, String> {
    let wanted = || "wants an octal mode up to 0777, as in 0660".to_owned();
    let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if !is_octal {
        return Err(wanted());
    }
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!((mode("0660"), mode("600"), mode("0")), (Ok(0o660), Ok(0o600), Ok(0)));
        for wrong in ["", "rw", "0o660", "668", "1000", "+7", "99999999999999999999"] {
            assert!(mode(wrong).unwrap_err().contains("0660"), "{wrong}");
        }
    }
}
