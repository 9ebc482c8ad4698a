//! A target: a `ws://` or `wss://` URL taken apart, and the address behind it.
//!
//! Why: ten thousand connections must not parse or resolve the same URL ten thousand times, and what goes into the
//! request line must not be able to break it (RFC 6455 §3 forbids fragments).
//!
//! Invariants: `authority` and `path` hold neither blanks nor control characters; `path` begins with `/`.

use super::UsageError;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// One server to measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Host and, unless it is the scheme's own, port: the `Host` header.
    pub authority: String,
    /// Path and query: the request's target.
    pub path: String,
    /// `wss`.
    pub tls: bool,
    host: String,
    port: u16,
    /// Where to connect; `None` until [`Target::resolve`].
    pub address: Option<SocketAddr>,
}

impl Target {
    /// Takes a URL apart: `ws[s]://HOST[:PORT][/PATH][?QUERY]`; without scheme, `ws://` is meant.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn parse(url: &str) -> Result<Self, UsageError> {
        let wrong = |why: &str| UsageError(format!("`{}` is no target: {why}", url.escape_debug()));
        let (tls, rest) = match url.split_once("://") {
            Some(("ws", rest)) => (false, rest),
            Some(("wss", rest)) => (true, rest),
            Some(_) => return Err(wrong("write ws://HOST[:PORT][/PATH] or wss://…")),
            None => (false, url),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("blanks, control and non-ASCII characters must be percent-encoded"));
        }
        if rest.contains('#') {
            return Err(wrong("a WebSocket URL has no fragment"));
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("the port is 1 to 65535"))?,
            ),
            Some(_) | None => (authority, if tls { 443 } else { 80 }),
        };
        if host.is_empty() || host.contains('@') {
            return Err(wrong("it needs a host, without user and password"));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let target = Self { authority: authority.to_owned(), path, tls, host, port, address: None };
        if tls {
            target.server_name().map_err(|why| wrong(&why))?;
        }
        Ok(target)
    }

    /// Whom the server must prove to be.
    ///
    /// # Errors
    /// The host can stand in no certificate.
    pub fn server_name(&self) -> Result<ServerName<'static>, String> {
        let name = ServerName::try_from(self.host.clone());
        name.map_err(|_| format!("`{}` is no name that a certificate can hold", self.host.escape_debug()))
    }

    /// The target that listens at `address`.
    pub fn at(address: SocketAddr, path: &str) -> Self {
        Self {
            authority: address.to_string(),
            path: path.to_owned(),
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
            address: Some(address),
        }
    }

    /// Completes what Engine.IO wants to be asked: a path, if the URL has none, and the protocol's version and transport in
    /// the query, unless they are there.
    pub fn speak_engine_io(&mut self, default_path: &str) {
        if self.path == "/" || self.path.starts_with("/?") {
            self.path.replace_range(..1, default_path);
        }
        if !self.path.contains("EIO=") {
            let sign = if self.path.contains('?') { '&' } else { '?' };
            self.path = format!("{}{sign}EIO=4&transport=websocket", self.path);
        }
    }

    /// Looks the host up, preferring IPv4, since source addresses and ports are counted there.
    ///
    /// # Errors
    /// The name has no address; says so in one line.
    pub fn resolve(&mut self) -> Result<SocketAddr, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let mut addresses: Vec<_> =
            found.map_err(|error| format!("cannot resolve `{}`: {error}", self.host))?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let address = addresses.first().ok_or_else(|| format!("`{}` has no address", self.host))?;
        self.address = Some(*address);
        Ok(*address)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            ("ws://localhost:9001/echo?x=1", "localhost:9001", "/echo?x=1", 9001),
            ("localhost", "localhost", "/", 80),
            ("ws://[::1]:9001", "[::1]:9001", "/", 9001),
            ("ws://[::1]/a", "[::1]", "/a", 80),
            ("ws://h?q", "h", "/?q", 80),
            ("wss://h", "h", "/", 443),
            ("wss://127.0.0.1:9443/a", "127.0.0.1:9443", "/a", 9443),
        ];
        for (url, authority, path, port) in cases {
            let target = Target::parse(url).expect(url);
            assert_eq!(target.tls, url.starts_with("wss"));
            assert_eq!(
                (target.authority.as_str(), target.path.as_str(), target.port),
                (authority, path, port)
            );
        }
    }

    #[test]
    fn what_is_no_target_is_explained() {
        for url in [
            "ws://",
            "ws://h:0/",
            "ws://h:99999/",
            "ws://h/a b",
            "ws://u@h/",
            "ftp://h",
            "wss://a..b/",
            "ws://h/#f",
            "ws://h/\r\nX: y",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn loopback_resolves_without_a_name_service() {
        let mut target = Target::parse("ws://127.0.0.1:9001/").expect("valid");
        assert_eq!(target.resolve().map(|address| address.port()), Ok(9001));
    }
}
