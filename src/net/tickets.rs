//! Session tickets that every worker of a machine can read.
//!
//! A peer that comes back reaches another worker as likely as not, since the kernel chooses. So the workers do not draw keys of
//! their own: their supervisor draws one secret for all, and each derives the same keys from it. A key serves six hours and is
//! read for six more; it follows from the secret, the number of those six hours since 1970, and the certificate, so that
//! sessions of a certificate that was exchanged are not resumed under the new one.
//!
//! ```text
//!   key    = HMAC-SHA-256(secret, number of the six hours u64 · SHA-256 of the certificate)
//!   ticket = nonce (12 bytes) · ChaCha20-Poly1305 of the session
//! ```
//!
//! Invariants: nonces are drawn at random (a key serves six hours: far fewer tickets than 2³²); the secret is never written.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;

/// How long a key serves.
const SPAN: Duration = Duration::from_secs(6 * 3600);

/// What all keys follow from; shared by the workers of a machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TicketSecret([u8; 32]);

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(hidden)")
    }
}

impl TicketSecret {
    /// Draws one.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn draw() -> Result<Self, String> {
        let mut secret = [0; 32];
        let drawn = SystemRandom::new().fill(&mut secret);
        drawn.map(|()| Self(secret)).map_err(|_| "the system gives no random numbers".to_owned())
    }

    /// The one that was told by whoever drew it; `None` if it has another length.
    #[must_use]
    pub fn told(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// For telling another process.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Makes and reads tickets.
#[derive(Debug)]
pub(super) struct SharedTickets {
    secret: TicketSecret,
    certificate: Vec<u8>,
}

impl SharedTickets {
    /// With keys that follow from `secret` and the certificate whose SHA-256 is `certificate`.
    pub(super) fn new(secret: TicketSecret, certificate: &[u8]) -> Self {
        Self { secret, certificate: certificate.to_vec() }
    }

    fn key(&self, number: u64) -> Option<LessSafeKey> {
        let secret = hmac::Key::new(HMAC_SHA256, &self.secret.0);
        let mut context = hmac::Context::with_key(&secret);
        context.update(&number.to_le_bytes());
        context.update(&self.certificate);
        let key = UnboundKey::new(&CHACHA20_POLY1305, context.sign().as_ref()).ok()?;
        Some(LessSafeKey::new(key))
    }

    fn seal(&self, number: u64, session: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = session.to_vec();
        let key = self.key(number)?;
        let nonced = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonced, Aad::empty(), &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    fn open(&self, number: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE_LEN>()?;
        let mut session = sealed.to_vec();
        let key = self.key(number)?;
        let len =
            key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut session).ok()?.len();
        session.truncate(len);
        Some(session)
    }
}

/// The number of the six hours that are now.
fn number_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / SPAN.as_secs())
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        SPAN.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(number_now(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let now = number_now();
        [now, now.wrapping_sub(1)].into_iter().find_map(|number| self.open(number, cipher))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_by_who_shares_secret_and_certificate_and_by_nobody_else() {
        let secret = TicketSecret::draw().unwrap();
        let ticket = SharedTickets::new(secret, b"certificate").encrypt(b"session").unwrap();
        let other = TicketSecret::told(&[7; 32]).unwrap();
        assert_eq!(SharedTickets::new(secret, b"certificate").decrypt(&ticket).unwrap(), b"session");
        assert_eq!(SharedTickets::new(other, b"certificate").decrypt(&ticket), None);
        assert_eq!(SharedTickets::new(secret, b"another").decrypt(&ticket), None);
        assert_eq!(SharedTickets::new(secret, b"certificate").decrypt(&ticket[..20]), None);
    }

    #[test]
    fn a_key_is_read_for_one_span_after_its_own() {
        let tickets = SharedTickets::new(TicketSecret::draw().unwrap(), b"certificate");
        let now = number_now();
        assert!(tickets.decrypt(&tickets.seal(now - 1, b"session").unwrap()).is_some());
        assert!(tickets.decrypt(&tickets.seal(now - 2, b"session").unwrap()).is_none());
    }
}
