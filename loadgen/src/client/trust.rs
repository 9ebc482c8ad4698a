//! Whom a run trusts over `wss`: the system's authorities, one file, or everybody.
//!
//! Why: without a flag loadgen judges a certificate as a browser on this machine would; `--cacert` takes the place of
//! the system's list, so that a test server is trusted and nobody else; `--tls-insecure` is for servers that cannot be
//! helped, and says so in the report.
//!
//! Invariants: sessions are not resumed, since ten thousand users do not share one ticket: every connection pays for its
//! whole handshake.

use crate::plan::Plan;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;

/// The settings of TLS for `plan`; `None` if no target asks for it.
///
/// # Errors
/// There is nobody to trust: a file that is not there or holds no certificate, or a system without a list. One line.
pub fn trust(plan: &Plan) -> Result<Option<Arc<ClientConfig>>, String> {
    if plan.targets.iter().all(|target| !target.tls) {
        return Ok(None);
    }
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if plan.tls_insecure {
        Arc::new(Anybody(Arc::clone(&provider)))
    } else {
        let roots = match &plan.cacert {
            Some(path) => from_file(path)?,
            None => of_the_system()?,
        };
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.dangerous();
    let mut config = builder.with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Some(Arc::new(config)))
}

fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let told = |what: String| format!("--cacert {}: {what}", path.display());
    let pem = std::fs::read(path).map_err(|error| told(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| told(format!("is not good PEM: {error}")))?;
        roots.add(certificate).map_err(|error| told(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(told(
            "no certificate in it; it is wanted as PEM, from -----BEGIN CERTIFICATE----- on".into(),
        ));
    }
    Ok(roots)
}

fn of_the_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's list may hold some that are too old to be read; the others count.
    let _ = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "this system has no list of certificate authorities{why}; --cacert FILE or --tls-insecure would work"
        ));
    }
    Ok(roots)
}

/// Believes any certificate, but not that its key was used where it was not.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
