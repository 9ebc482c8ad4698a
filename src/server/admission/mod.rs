//! Who may come in: the settings of it, and the checks that a newcomer passes on its way to a service.
//!
//! ```text
//!   accept ──▶ PROXY header ──▶ place (its address) ──▶ origin ──▶ token ──▶ the handshake itself ──▶ pace ──▶ 101
//!               net/proxy        addresses               http/origin  tokens                            pace
//! ```
//!
//! A service never sees whom this turns away. What costs least comes first, and the pace comes last: who is refused for
//! another reason uses nothing up of what good clients may have.
//!
//! Invariants: a token is nowhere kept, printed or logged but as a digest and in the settings it came in; with every
//! flag left out, the only check is that of the origin.

pub mod addresses;
pub mod pace;
pub mod tokens;

use std::collections::HashSet;
use std::path::PathBuf;

use self::addresses::{Addresses, Verdict};
use self::pace::Pace;
pub use self::tokens::Secret;
use self::tokens::Tokens;
use super::publishing::open_to_others;
use super::routes::{Answer, Numbers};
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
pub use crate::http::Origins;
use crate::http::token::PROTOCOL_PREFIX;
use crate::http::{Barred, Request};
pub use crate::net::os::UNIX_MODE;
pub use crate::net::proxy::Proxies;
use crate::net::socket::Address;
use crate::net::{Net, Peer};
use crate::service::{Departure, Service};

/// The subprotocol that we agree to when a page has brought its token in the list of subprotocols and nothing else of
/// that list is ours: a browser gives up a connection for which none was chosen, and the token is never sent back.
pub const PROTOCOL: &str = "stentor";

/// The most handshakes a second that can be configured.
const HANDSHAKES_MAX: u32 = 1_000_000;
/// Characters below which a token can be guessed, and a warning is due.
const TOKEN_SHORT: usize = 16;

/// What an operator decides about newcomers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pages of which origins may connect and publish.
    pub origins: Origins,
    /// Tokens, of which a peer must bring one; none and no file: nobody is asked for one.
    pub tokens: Vec<Secret>,
    /// Tokens, of which whoever publishes by HTTP must bring one; none: as everybody else.
    pub publish_tokens: Vec<Secret>,
    /// A file of tokens, one a line.
    pub token_file: Option<PathBuf>,
    /// Connections of one address at most (of IPv6: of one /64).
    pub connections_per_ip: Option<usize>,
    /// Handshakes that may succeed in a second.
    pub handshakes_per_second: Option<u32>,
    /// Whether connections of `proxies` begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whose word is taken for the address of a client.
    pub proxies: Proxies,
    /// The permissions of the files of Unix sockets.
    pub unix_mode: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            origins: Origins::default(),
            tokens: Vec::new(),
            publish_tokens: Vec::new(),
            token_file: None,
            connections_per_ip: None,
            handshakes_per_second: None,
            proxy_protocol: false,
            proxies: Proxies::default(),
            unix_mode: UNIX_MODE,
        }
    }
}

impl Settings {
    /// Refuses settings that cannot work. A token that is none is told by its place, never by its text.
    ///
    /// # Errors
    /// One line that says what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if let Some(n) = self.tokens.iter().position(|token| !token.is_well_formed()) {
            return Err(format!("--token number {} is not a token: {}", n + 1, tokens::WANTED));
        }
        if let Some(n) = self.publish_tokens.iter().position(|token| !token.is_well_formed()) {
            return Err(format!("--publish-token number {} is not a token: {}", n + 1, tokens::WANTED));
        }
        if self.connections_per_ip == Some(0) {
            return Err("--connections-per-ip is at least 1; leave it out for no limit".to_owned());
        }
        if self.handshakes_per_second.is_some_and(|rate| !(1..=HANDSHAKES_MAX).contains(&rate)) {
            return Err("--handshakes-per-second is from 1 to 1m; leave it out for no limit".to_owned());
        }
        if self.proxy_protocol && self.proxies.is_empty() {
            return Err("--proxy-protocol wants --proxy-from: the addresses of the proxies that may say for whom they \
                 speak, as in --proxy-from 10.0.0.0/8"
                .to_owned());
        }
        if !self.proxy_protocol && !self.proxies.is_empty() {
            return Err("--proxy-from means nothing without --proxy-protocol".to_owned());
        }
        if self.unix_mode > 0o777 {
            return Err("--unix-mode is an octal mode up to 0777, as in 0660".to_owned());
        }
        Ok(())
    }

    /// What works but may not be what was meant. `plain` is where is listened without TLS, `tls` where with it.
    #[must_use]
    pub fn warnings(&self, plain: &[Address], tls: &[Address]) -> Vec<String> {
        let mut warnings = Vec::new();
        let is_asked =
            !self.tokens.is_empty() || !self.publish_tokens.is_empty() || self.token_file.is_some();
        if is_asked && let Some(address) = open_to_others(plain) {
            warnings.push(format!(
                "tokens travel in the clear to {address}: whoever listens on the way can use them; end TLS in front, or \
                 listen on a loopback address"
            ));
        }
        if let Some(address) = open_to_others(plain.iter().chain(tls)).filter(|_| !is_asked) {
            warnings.push(format!(
                "publishing is refused (POST /publish, GET /channels): others can reach {address}, so give --publish-token TOKEN \
                 or STENTOR_PUBLISH_TOKEN, or listen on loopback addresses only"
            ));
        }
        if self.tokens.iter().chain(&self.publish_tokens).any(|token| token.len() < TOKEN_SHORT) {
            warnings.push(format!("a token of fewer than {TOKEN_SHORT} characters can be guessed"));
        }
        warnings
    }
}

/// What has to be remembered to judge newcomers.
pub struct Gate {
    tokens: Option<Tokens>,
    publishers: Option<Tokens>,
    addresses: Option<Addresses>,
    pace: Option<Pace>,
    /// Connections of proxies that have not yet said for whom they speak.
    awaited: HashSet<ConnId>,
}

impl Gate {
    /// A gate that nobody has passed. The file of tokens is [read](Self::read_token_file) apart.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            tokens: Tokens::new(&settings.tokens, settings.token_file.clone()),
            publishers: Tokens::new(&settings.publish_tokens, None),
            addresses: settings.connections_per_ip.map(Addresses::new),
            pace: settings.handshakes_per_second.map(Pace::new),
            awaited: HashSet::new(),
        }
    }

    /// Reads the file of tokens, if there is one, and says how many it holds. After a failure the tokens before it hold.
    ///
    /// # Errors
    /// One line that says what is wrong with the file.
    pub fn read_token_file(&mut self) -> Result<Option<usize>, String> {
        self.tokens.as_mut().map_or(Ok(None), Tokens::read_file)
    }

    /// Whether one more handshake may succeed now, which then counts.
    pub(super) fn keeps_pace(&mut self, now: Nanos) -> bool {
        self.pace.as_mut().is_none_or(|pace| pace.take(now))
    }

    /// Whether `protocol` is a token in disguise, which no service is to hear of.
    pub(super) fn is_secret(&self, protocol: &str) -> bool {
        self.tokens.is_some() && protocol.starts_with(PROTOCOL_PREFIX)
    }

    /// The subprotocol to answer with: the service's choice, or ours if that was offered beside a token.
    pub(super) fn protocol<'s>(&self, chosen: Option<&'s str>, offered: &[&str]) -> Option<&'s str> {
        let is_ours = self.tokens.is_some() && offered.contains(&PROTOCOL);
        chosen.or(is_ours.then_some(PROTOCOL))
    }

    /// Whether `id` came when its address had all the connections that one may have.
    pub(super) fn is_over(&self, id: ConnId) -> bool {
        self.addresses.as_ref().is_some_and(|addresses| addresses.is_over(id))
    }

    /// Whether the address of `id` is not known yet.
    #[inline]
    pub(super) fn is_awaited(&self, id: ConnId) -> bool {
        !self.awaited.is_empty() && self.awaited.contains(&id)
    }

    /// Gives `id` a place under its address, if addresses are limited and the address is known. Who is one too many is
    /// told so by HTTP, like whoever comes when all places are taken, unless many wait to be told.
    pub(super) fn place(&mut self, id: ConnId, peer: impl FnOnce() -> Peer) -> Verdict {
        let Some(addresses) = &mut self.addresses else { return Verdict::In };
        let peer = peer();
        if peer == Peer::Awaited {
            self.awaited.insert(id);
        } else {
            self.awaited.remove(&id);
        }
        match peer {
            Peer::Ip(address) => addresses.enter(id, address.ip()),
            Peer::Local | Peer::Unknown | Peer::Awaited => Verdict::In,
        }
    }

    /// Forgets `id`.
    pub(super) fn leave(&mut self, id: ConnId) {
        self.awaited.remove(&id);
        if let Some(addresses) = &mut self.addresses {
            addresses.leave(id);
        }
    }

    /// Whether `request` brings what lets a publisher in: a token of publishers, or of everybody if those have none. `None` if
    /// neither is asked for.
    pub(super) fn knows_publisher(&self, request: &Request<'_, '_>) -> Option<Result<(), Barred>> {
        self.publishers.as_ref().or(self.tokens.as_ref()).map(|tokens| tokens.judge(request))
    }

    fn has_token(&self, request: &Request<'_, '_>) -> Result<(), Barred> {
        self.tokens.as_ref().map_or(Ok(()), |tokens| tokens.judge(request))
    }
}

impl<N: Net, S: Service> Worker<N, S> {
    /// A proxy has perhaps said whom `id` is: the address is counted now.
    pub(super) fn introduce(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        match self.gate.place(id, || self.net.peer(&connection.socket)) {
            Verdict::In => {}
            Verdict::Over => connection.facts.over = true,
            Verdict::Full => {
                self.metrics.refusals.count("accept", "address_full");
                self.doom(id, Departure::Refused);
            }
        }
    }

    /// Closes a newcomer without a word.
    pub(super) fn turn_away(&mut self, socket: N::Socket) {
        self.metrics.accepted += 1;
        self.metrics.refusals.count("accept", "address_full");
        self.metrics.departed(Departure::Refused);
        self.net.close(socket);
    }

    /// Whether the peer may come in: as a WebSocket, or as one who publishes.
    pub(super) fn may_enter(&self, request: &Request<'_, '_>) -> Result<(), Barred> {
        self.config.admission.origins.judge(request.headers(), request.host)?;
        self.gate.has_token(request)
    }

    /// Whether the peer may have this answer. Pages hold no secret, and whether we live is everybody's business; numbers
    /// tell who else is here. Their origin is not asked for: without CORS no browser lets a foreign page read them.
    pub(super) fn may_have(&self, request: &Request<'_, '_>, answer: &Answer) -> Result<(), Barred> {
        match answer {
            Answer::Post(_) => {
                self.config.admission.origins.judge(request.headers(), request.host)?;
                self.may_publish(request)
            }
            Answer::Channels(_) | Answer::Channel(_) => self.may_publish(request),
            Answer::Text(Numbers::Stats | Numbers::Metrics) => self.gate.has_token(request),
            Answer::Text(Numbers::Health)
            | Answer::Page(_)
            | Answer::WebSocketOnly
            | Answer::Malformed(_)
            | Answer::Refused(_) => Ok(()),
        }
    }

    /// Reads the file of tokens again, if there is one. Who is in stays in.
    pub(super) fn reload_tokens(&mut self) -> bool {
        match self.gate.read_token_file() {
            Ok(Some(tokens)) => tracing::info!(tokens, "the file of tokens has been read again"),
            Ok(None) => return false,
            Err(error) => tracing::error!(%error, "the tokens before it still hold"),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_told_what_would_be_right() {
        assert_eq!(Settings::default().check(), Ok(()));
        type Change = fn(&mut Settings);
        let wrong: [(&str, Change); 8] = [
            ("--publish-token", |settings| settings.publish_tokens.push("not/a token".into())),
            ("--token", |settings| settings.tokens.push("not/a token".into())),
            ("--token", |settings| settings.tokens.push("".into())),
            ("--connections-per-ip", |settings| settings.connections_per_ip = Some(0)),
            ("--handshakes-per-second", |settings| settings.handshakes_per_second = Some(0)),
            ("--proxy-protocol", |settings| settings.proxy_protocol = true),
            ("--proxy-from", |settings| settings.proxies = "::1".parse().unwrap()),
            ("--unix-mode", |settings| settings.unix_mode = 0o1000),
        ];
        for (flag, change) in wrong {
            let mut settings = Settings::default();
            change(&mut settings);
            let error = settings.check().unwrap_err();
            assert!(error.starts_with(flag) && !error.contains("not/a token"), "{error}");
        }
    }

    #[test]
    fn a_token_on_the_open_network_is_warned_of() {
        let listen = |text: &str| vec![text.parse::<Address>().unwrap()];
        let mut settings = Settings::default();
        assert!(settings.warnings(&listen("127.0.0.1:1"), &[]).is_empty());
        assert!(settings.warnings(&[], &listen("0.0.0.0:1"))[0].contains("--publish-token"));
        settings.tokens.push("0123456789abcdef".into());
        assert!(settings.warnings(&listen("0.0.0.0:1"), &[])[0].contains("0.0.0.0:1"));
        for loopback in ["127.0.0.1:1", "[::1]:1", "unix:/tmp/x"] {
            assert!(settings.warnings(&listen(loopback), &[]).is_empty(), "{loopback}");
        }
        settings.tokens.push("short".into());
        assert!(settings.warnings(&listen("[::1]:1"), &[])[0].contains("guessed"));
    }

    #[test]
    fn settings_can_be_shown_without_their_tokens() {
        let settings = Settings { tokens: vec!["swordfish".into()], ..Settings::default() };
        assert!(!format!("{settings:?}").contains("swordfish"));
    }

    #[test]
    fn our_own_subprotocol_is_chosen_only_beside_a_token_and_only_if_offered() {
        let settings = Settings { tokens: vec!["abc".into()], ..Settings::default() };
        let gate = Gate::new(&settings);
        assert_eq!(gate.protocol(None, &["x", "stentor"]), Some("stentor"));
        assert_eq!(gate.protocol(Some("chat"), &["stentor", "chat"]), Some("chat"));
        assert_eq!(gate.protocol(None, &["x"]), None);
        assert!(gate.is_secret("token.abc") && gate.is_secret("token.x") && !gate.is_secret("tokens"));
        let open = Gate::new(&Settings::default());
        assert_eq!(open.protocol(None, &["stentor"]), None);
        assert!(!open.is_secret("token.abc"));
    }
}
