//! Why there is no TLS with a peer, in few words.
//!
//! The library can say a hundred things; what becomes a label of a metric must be one of a few.
//!
//! Invariant: labels are our own words.

use std::fmt;
use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

/// Why there is no TLS with a peer.
#[derive(Debug, Clone)]
pub struct Refused {
    pub(super) label: &'static str,
    pub(super) why: String,
}

impl Refused {
    /// One of a few words for the metrics, if `error` says that a peer broke TLS.
    #[must_use]
    pub fn label_of(error: &io::Error) -> Option<&'static str> {
        error.get_ref()?.downcast_ref::<Self>().map(|refused| refused.label)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Refused {}

impl From<&Error> for Refused {
    fn from(error: &Error) -> Self {
        Self { label: label(error), why: error.to_string() }
    }
}

/// Sorts what the library can say into few words: labels of metrics are bounded.
fn label(error: &Error) -> &'static str {
    use AlertDescription as Alert;
    use PeerIncompatible as Why;
    // The library's enums grow: first match wins, and what is new to us is `malformed`.
    let known = [
        (
            "not_tls",
            matches!(
                error,
                Error::InvalidMessage(
                    InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion
                )
            ),
        ),
        (
            "version",
            matches!(
                error,
                Error::PeerIncompatible(
                    Why::Tls12NotOffered
                        | Why::Tls12NotOfferedOrEnabled
                        | Why::ServerDoesNotSupportTls12Or13
                        | Why::ServerTlsVersionIsDisabledByOurConfig
                        | Why::SupportedVersionsExtensionRequired
                )
            ),
        ),
        ("nothing_in_common", matches!(error, Error::PeerIncompatible(_))),
        ("alpn", matches!(error, Error::NoApplicationProtocol)),
        (
            "certificate_rejected",
            matches!(
                error,
                Error::AlertReceived(
                    Alert::UnknownCA
                        | Alert::BadCertificate
                        | Alert::CertificateUnknown
                        | Alert::CertificateExpired
                        | Alert::UnsupportedCertificate
                )
            ),
        ),
        ("alert", matches!(error, Error::AlertReceived(_))),
        ("record", matches!(error, Error::DecryptError | Error::PeerSentOversizedRecord)),
    ];
    known.iter().find(|(_, is_it)| *is_it).map_or("malformed", |(label, _)| label)
}
