//! Certificates of one run: P-256, self-signed, each end trusting exactly the other's.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::Failure;

pub const NAME: &str = "peer-bench.invalid";

/// What one end holds: its certificate and key, and the certificate of the other.
pub struct Identity {
    parts: [Vec<u8>; 3],
}

/// Both ends of a run.
pub fn pair() -> Result<(Identity, Identity), Failure> {
    let make = || rcgen::generate_simple_self_signed([NAME.to_string()]);
    let (ours, theirs) = (make()?, make()?);
    let identity = |own: &rcgen::CertifiedKey<rcgen::KeyPair>,
                    other: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let parts =
            [own.cert.der().to_vec(), own.signing_key.serialize_der(), other.cert.der().to_vec()];
        Identity { parts }
    };
    Ok((identity(&ours, &theirs), identity(&theirs, &ours)))
}

impl Identity {
    pub fn to_line(&self) -> String {
        let hex =
            |part: &Vec<u8>| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.parts.each_ref().map(hex).join(" ") + "\n"
    }

    pub fn from_line(line: &str) -> Result<Self, Failure> {
        let part = |hex: &str| -> Result<Vec<u8>, Failure> {
            (0..hex.len() / 2)
                .map(|at| Ok(u8::from_str_radix(&hex[2 * at..2 * at + 2], 16)?))
                .collect()
        };
        let parts: Vec<Vec<u8>> = line.split_whitespace().map(part).collect::<Result<_, _>>()?;
        Ok(Self { parts: parts.try_into().map_err(|_| "an identity has three parts")? })
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.parts[0].clone())]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.parts[1].clone()).into()
    }

    fn trusted(&self) -> Result<Arc<RootCertStore>, Failure> {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from(self.parts[2].clone()))?;
        Ok(store.into())
    }

    pub fn client_config(&self) -> Result<Arc<rustls::ClientConfig>, Failure> {
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.trusted()?);
        let mut config = builder.with_client_auth_cert(self.chain(), self.key())?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config.into())
    }

    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, Failure> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.trusted()?, provider()).build()?;
        let builder = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(self.chain(), self.key())?;
        // Nothing is resumed, so the tickets would be work for nothing.
        config.send_tls13_tickets = 0;
        Ok(config.into())
    }
}

/// AES-256-GCM only, as DWCP's own records, and X25519, which two DWCP nodes agree on.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites =
        vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    provider.into()
}
