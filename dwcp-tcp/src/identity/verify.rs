//! The check of a peer's certificate: the chain to our CA by webpki, the identity by the SAN URI.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
};

use super::certificate::Facts;
use super::known::{End, Known, Name};

thread_local! {
    /// The certificate that the last check on this thread refused. rustls keeps none of a failed handshake, and
    /// an error without the certificate's own words helps nobody.
    static REFUSED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The certificate refused by the `process_new_packets` that has just failed on this thread.
pub(crate) fn take_refused() -> Option<Vec<u8>> {
    REFUSED.take()
}

/// The peer proved to be another node than the one dialled.
#[derive(Debug)]
pub(crate) struct WrongNode {
    pub(crate) found: String,
}

impl fmt::Display for WrongNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate names {}", self.found)
    }
}

impl std::error::Error for WrongNode {}

/// The certificate holds no usable node id; the text says what it holds.
#[derive(Debug)]
pub(crate) struct NoNodeId(pub(crate) String);

impl fmt::Display for NoNodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoNodeId {}

/// What both directions check with.
#[derive(Debug)]
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    known: Known,
}

impl Trust {
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        // Built to find an unusable set of roots now rather than at the first handshake.
        WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .clear_root_hint_subjects()
            .build()?;
        Ok(Self { provider, roots, clients, known: Known::default() })
    }

    /// Checks the chain of a peer, unless the very same was found good before and is valid still. Returns what it says.
    fn identify(
        &self,
        end: End,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Facts, Error> {
        let name = Name::of(end, end_entity, intermediates);
        let facts = match self.known.find(&name, now) {
            Some(facts) => facts,
            None => {
                match end {
                    End::Server => self.check_server(end_entity, intermediates, now)?,
                    End::Client => self.check_client(end_entity, intermediates, now)?,
                }
                let facts = facts(end_entity)?;
                self.known.keep(name, &facts, end_entity, intermediates);
                facts
            }
        };
        facts.keep(end_entity);
        Ok(facts)
    }

    /// The chain of a node that was dialled.
    pub(super) fn check_server(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )
    }

    /// The chain of a node that dialled us.
    pub(super) fn check_client(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.clients.verify_client_cert(end_entity, intermediates, now).map(|_| ())
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks who dialled us.
#[derive(Debug)]
pub(super) struct AnyNode(pub(super) Arc<Trust>);

/// Checks whom we dialled.
#[derive(Debug)]
pub(super) struct OneNode {
    pub(super) trust: Arc<Trust>,
    pub(super) expected: String,
}

/// Remembers the certificate of a failed check for the error's words.
fn noted<T>(certificate: &[u8], result: Result<T, Error>) -> Result<T, Error> {
    if result.is_err() {
        REFUSED.set(Some(certificate.to_vec()));
    }
    result
}

fn facts(certificate: &[u8]) -> Result<Facts, Error> {
    Facts::read(certificate).map_err(|found| other(NoNodeId(found)))
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn only_tls13<T>() -> Result<T, Error> {
    Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
}

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // None: who connects need not learn our CA's name before proving anything.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        noted(end_entity, self.0.identify(End::Client, end_entity, intermediates, now))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.schemes()
    }
}

impl ServerCertVerifier for OneNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = self.trust.identify(End::Server, end_entity, intermediates, now);
        let found = noted(end_entity, checked)?.node_id;
        if found != self.expected {
            return Err(other(WrongNode { found }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.schemes()
    }
}
