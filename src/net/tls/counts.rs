//! What became of those who speak TLS, counted: handshakes, whole, resumed or failed, and messages that took several turns.
//!
//! A handshake belongs to the transport, which no phase of the turn knows of; so it is counted here, where it is made, and the
//! page of numbers asks for it.
//!
//! Invariants: every connection to a TLS listener is counted once at most, under one of the three; reasons are our own words.

use rustls::HandshakeKind;

/// Why a handshake failed that nobody broke: the peer ended its side first.
pub(super) const LEFT: &str = "left";
/// Its socket broke.
pub(super) const BROKEN: &str = "broken";
/// We ended it: it took too long, or what stands before TLS was wrong.
pub(super) const UNFINISHED: &str = "unfinished";

/// What one handshake came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was made, with a certificate.
    Full,
    /// It was made, with a ticket of an earlier one.
    Resumed,
    /// It was not, for this reason.
    Failed(&'static str),
}

impl From<HandshakeKind> for Outcome {
    fn from(kind: HandshakeKind) -> Self {
        match kind {
            HandshakeKind::Resumed => Self::Resumed,
            HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest => Self::Full,
        }
    }
}

/// The counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsCounts {
    /// Handshakes made with a certificate.
    pub full: u64,
    /// Handshakes made with a ticket of an earlier one.
    pub resumed: u64,
    /// Sends that left some for the next turn although the socket takes more.
    pub sends_cut: u64,
    failed: Vec<(&'static str, u64)>,
}

impl TlsCounts {
    /// Handshakes that failed, by reason.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.failed.iter().copied()
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Full => self.full += 1,
            Outcome::Resumed => self.resumed += 1,
            Outcome::Failed(reason) => match self.failed.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => self.failed.push((reason, 1)),
            },
        }
    }
}
