//! One consistent set of certificate, key and CA, and the TLS configurations made of it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use super::certificate::Facts;
use super::verify::{AnyNode, OneNode, Trust};
use super::{IdentityError, IdentityFiles};
use crate::handshake::{ALPN, certificate_problem};
use crate::secret_file::{SecretFileError, read_secret, read_whole};

/// What handshakes that begin now are done with.
pub(crate) struct Material {
    pub(crate) facts: Facts,
    pub(crate) server: Arc<ServerConfig>,
    client: ClientConfig,
    trust: Arc<Trust>,
}

/// The three parts in PEM, each with the name its errors bear.
struct Sources<'a> {
    cert: (&'a str, &'a [u8]),
    key: (&'a str, &'a [u8]),
    ca: (&'a str, &'a [u8]),
}

impl Material {
    pub(super) fn load(files: &IdentityFiles) -> Result<Self, IdentityError> {
        let names = [&files.cert, &files.key, &files.ca].map(|path| path.display().to_string());
        let cert = read(&files.cert, "certificate", false)?;
        let key = read(&files.key, "private key", true)?;
        let ca = read(&files.ca, "CA certificate", false)?;
        Self::new(&Sources {
            cert: (&names[0], &cert),
            key: (&names[1], &key),
            ca: (&names[2], &ca),
        })
    }

    /// Everything that keeps [`load`](Self::load) from succeeding, not only what it meets first.
    pub(super) fn problems(files: &IdentityFiles) -> Vec<IdentityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let names = [&files.cert, &files.key, &files.ca].map(|path| path.display().to_string());
        let [cert_name, key_name, ca_name] = names.each_ref().map(String::as_str);
        let mut problems = Vec::new();
        let chain = noted(&mut problems, || {
            let chain = certificates(
                (cert_name, &read(&files.cert, "certificate", false)?),
                "certificate",
            )?;
            Facts::read(&chain[0])
                .map_err(|found| IdentityError::NoNodeId { path: cert_name.to_owned(), found })?;
            Ok(chain)
        });
        let key = noted(&mut problems, || {
            private_key((key_name, &read(&files.key, "private key", true)?), &provider)
        });
        let trust = noted(&mut problems, || {
            trust((ca_name, &read(&files.ca, "CA certificate", false)?), &provider)
        });
        if let (Some(chain), Some(trust)) = (&chain, &trust) {
            noted(&mut problems, || check_own(trust, chain, cert_name));
        }
        if let (Some(chain), Some(key)) = (chain, key) {
            noted(&mut problems, || certified((cert_name, chain), (key_name, key)));
        }
        problems
    }

    pub(super) fn from_memory(cert: &[u8], key: &[u8], ca: &[u8]) -> Result<Self, IdentityError> {
        Self::new(&Sources { cert: ("cert", cert), key: ("key", key), ca: ("ca", ca) })
    }

    fn new(sources: &Sources<'_>) -> Result<Self, IdentityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(sources.cert, "certificate")?;
        let facts = Facts::read(&chain[0])
            .map_err(|found| IdentityError::NoNodeId { path: sources.cert.0.to_owned(), found })?;
        let trust = Arc::new(trust(sources.ca, &provider)?);
        check_own(&trust, &chain, sources.cert.0)?;
        let key = private_key(sources.key, &provider)?;
        let certified = Arc::new(certified((sources.cert.0, chain), (sources.key.0, key))?);
        let (client, server) = configs(&provider, &trust, &certified);
        Ok(Self { facts, server: Arc::new(server), client, trust })
    }

    /// The configuration to dial `peer_id` with.
    pub(crate) fn client(&self, peer_id: &str) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        let verifier = OneNode { trust: self.trust.clone(), expected: peer_id.to_owned() };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }
}

/// What `step` gives; its error goes to the others.
fn noted<T>(
    problems: &mut Vec<IdentityError>,
    step: impl FnOnce() -> Result<T, IdentityError>,
) -> Option<T> {
    step().map_err(|problem| problems.push(problem)).ok()
}

/// The node id in the first certificate of the PEM file `cert`.
pub(super) fn node_id_of(cert: &Path) -> Result<String, IdentityError> {
    let name = cert.display().to_string();
    let pem = read(cert, "certificate", false)?;
    let chain = certificates((&name, &pem), "certificate")?;
    let facts = Facts::read(&chain[0]);
    facts.map(|facts| facts.node_id).map_err(|found| IdentityError::NoNodeId { path: name, found })
}

fn configs(
    provider: &Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    certified: &Arc<CertifiedKey>,
) -> (ClientConfig, ServerConfig) {
    let resolver = Arc::new(SingleCertAndKey::from(certified.clone()));
    let nobody = OneNode { trust: trust.clone(), expected: String::new() };
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(nobody))
        .with_client_cert_resolver(resolver.clone());
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .with_client_cert_verifier(Arc::new(AnyNode(trust.clone())))
        .with_cert_resolver(resolver);
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    // A ticket would be a TLS record after the handshake, where records of the session are.
    server.send_tls13_tickets = 0;
    (client, server)
}

/// Our own certificate must pass the checks that peers with our CA make.
fn check_own(trust: &Trust, chain: &[CertificateDer<'_>], path: &str) -> Result<(), IdentityError> {
    let now = UnixTime::now();
    trust
        .check_server(&chain[0], &chain[1..], now)
        .and_then(|()| trust.check_client(&chain[0], &chain[1..], now))
        .map_err(|error| IdentityError::Unusable {
            path: path.to_owned(),
            reason: certificate_problem(&error, Some(&chain[0])),
        })
}

/// The private key, whichever certificate it belongs to.
fn private_key(
    (path, pem): (&str, &[u8]),
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn SigningKey>, IdentityError> {
    let parse = |reason: String| IdentityError::Parse {
        path: path.to_owned(),
        what: "private key",
        reason,
    };
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => IdentityError::NoSection {
            path: path.to_owned(),
            what: "private key",
            section: "PRIVATE KEY",
        },
        error => parse(error.to_string()),
    })?;
    provider.key_provider.load_private_key(key).map_err(|error| parse(error.to_string()))
}

/// The pair of `chain` and `key`, which the errors call `cert_name` and `key_name`.
fn certified(
    (cert_name, chain): (&str, Vec<CertificateDer<'static>>),
    (key_name, key): (&str, Arc<dyn SigningKey>),
) -> Result<CertifiedKey, IdentityError> {
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| IdentityError::KeyMismatch {
        key: key_name.to_owned(),
        cert: cert_name.to_owned(),
    })?;
    Ok(certified)
}

fn trust(source: (&str, &[u8]), provider: &Arc<CryptoProvider>) -> Result<Trust, IdentityError> {
    let parse = |reason: String| IdentityError::Parse {
        path: source.0.to_owned(),
        what: "CA certificate",
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(source, "CA certificate")? {
        roots.add(certificate).map_err(|error| parse(error.to_string()))?;
    }
    Trust::new(provider.clone(), Arc::new(roots)).map_err(|error| parse(error.to_string()))
}

/// At least one.
fn certificates(
    (path, pem): (&str, &[u8]),
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(chain) if chain.is_empty() => {
            Err(IdentityError::NoSection { path: path.to_owned(), what, section: "CERTIFICATE" })
        }
        Ok(chain) => Ok(chain),
        Err(error) => {
            Err(IdentityError::Parse { path: path.to_owned(), what, reason: error.to_string() })
        }
    }
}

/// Reads a file; a private one must be its owner's alone.
fn read(
    path: &Path,
    what: &'static str,
    is_private: bool,
) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let failed =
        |source: io::Error| IdentityError::Read { path: path.display().to_string(), what, source };
    if !is_private {
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        return read_whole(file, &metadata).map_err(failed);
    }
    read_secret(path).map_err(|error| match error {
        SecretFileError::Read(source) => failed(source),
        SecretFileError::Mode { path, mode } => IdentityError::KeyMode { path, mode },
        SecretFileError::Owner { path, owner, user } => {
            IdentityError::KeyOwner { path, owner, user }
        }
    })
}
