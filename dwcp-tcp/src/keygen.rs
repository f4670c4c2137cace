//! Makes a CA and the certificates of nodes: `dwcp-ctl keys init`, and tests.
//!
//! Keys are ECDSA P-256. Nothing is written over unless asked, and no key is ever readable by others, not
//! even while it is being written.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

use crate::identity::{NODE_URI_PREFIX, valid_node_id};

/// Certificates count from a little earlier, for peers whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Why no keys were made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// The id may not name a node.
    #[error(
        "{id:?} is no node id: 1 to 64 letters, digits, `.`, `_`, `-`, with a letter or digit at both ends"
    )]
    NodeId {
        /// The id.
        id: String,
    },
    /// A DNS name does not fit a certificate.
    #[error("{name:?} is no DNS name")]
    Name {
        /// The name.
        name: String,
    },
    /// The CA's certificate or key cannot be used.
    #[error("cannot use the CA: {reason}")]
    Ca {
        /// What is wrong.
        reason: String,
    },
    /// The library failed.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file is there already.
    #[error("{path} exists already; remove it, or use --force to replace it")]
    Exists {
        /// The file.
        path: String,
    },
    /// A file cannot be written.
    #[error("{path}: cannot write")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A certificate and its private key, in PEM. The key is erased on drop.
pub struct KeyPem {
    /// The certificate.
    pub cert: String,
    /// The private key, PKCS #8.
    pub key: Zeroizing<String>,
}

/// A certificate authority for nodes.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: KeyPem,
}

/// What a node's certificate is to say.
#[derive(Clone, Debug)]
pub struct NodeRequest {
    /// The node's id: the SAN URI `dwcp://node/<nodeId>`.
    pub node_id: String,
    /// Further DNS names; DWCP does not need them.
    pub dns_names: Vec<String>,
    /// Further addresses; DWCP does not need them.
    pub addresses: Vec<IpAddr>,
    /// How long it is valid from now.
    pub valid_for: Duration,
}

impl NodeRequest {
    /// For a node without further names, valid for a year.
    pub fn new(node_id: &str) -> Self {
        Self {
            node_id: node_id.to_owned(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            valid_for: Duration::from_secs(365 * 86_400),
        }
    }
}

impl Ca {
    /// Makes a CA. It signs nodes only, no further CAs.
    ///
    /// # Errors
    /// [`KeygenError::Make`] if the library fails.
    pub fn new(name: &str, valid_for: Duration) -> Result<Self, KeygenError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid(&mut params, valid_for);
        let key = KeyPair::generate()?;
        let cert = params.self_signed(&key)?.pem();
        let pem = KeyPem { cert, key: Zeroizing::new(key.serialize_pem()) };
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Takes up a CA made earlier.
    ///
    /// # Errors
    /// [`KeygenError::Ca`] if the PEM is none of a CA, or the key not its.
    pub fn from_pem(cert: &str, key: &str) -> Result<Self, KeygenError> {
        let failed = |error: rcgen::Error| KeygenError::Ca { reason: error.to_string() };
        let pair = KeyPair::from_pem(key).map_err(failed)?;
        let is_pair = public_key(cert).is_some_and(|public| public == pair.public_key_raw());
        if !is_pair {
            let reason =
                "the key is not the certificate's, or the certificate does not parse".into();
            return Err(KeygenError::Ca { reason });
        }
        let issuer = Issuer::from_ca_cert_pem(cert, pair).map_err(failed)?;
        let pem = KeyPem { cert: cert.to_owned(), key: Zeroizing::new(key.to_owned()) };
        Ok(Self { issuer, pem })
    }

    /// The CA's own certificate and key.
    pub fn pem(&self) -> &KeyPem {
        &self.pem
    }

    /// Makes a key and a certificate for a node.
    ///
    /// # Errors
    /// [`KeygenError`] if the id or a name cannot be used.
    pub fn issue(&self, request: &NodeRequest) -> Result<KeyPem, KeygenError> {
        let id = &request.node_id;
        if !valid_node_id(id) {
            return Err(KeygenError::NodeId { id: id.clone() });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, id.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let uri = format!("{NODE_URI_PREFIX}{id}");
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        for name in &request.dns_names {
            let dns = name.as_str().try_into();
            let dns = dns.map_err(|_| KeygenError::Name { name: name.clone() })?;
            params.subject_alt_names.push(SanType::DnsName(dns));
        }
        params.subject_alt_names.extend(request.addresses.iter().copied().map(SanType::IpAddress));
        valid(&mut params, request.valid_for);
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?.pem();
        Ok(KeyPem { cert, key: Zeroizing::new(key.serialize_pem()) })
    }
}

fn valid(params: &mut CertificateParams, valid_for: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + valid_for).into();
}

/// The public key in a certificate, as the key pair tells it.
fn public_key(cert: &str) -> Option<Vec<u8>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(cert.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}

/// Writes `cert` (mode 0644) and `key` (mode 0600), each at once or not at all. The key goes first: a
/// certificate is never there without it.
///
/// # Errors
/// [`KeygenError::Exists`] unless `force`, before anything is written; [`KeygenError::Write`].
pub fn write(pem: &KeyPem, cert: &Path, key: &Path, force: bool) -> Result<(), KeygenError> {
    if !force {
        for path in [cert, key] {
            if path.symlink_metadata().is_ok() {
                return Err(KeygenError::Exists { path: path.display().to_string() });
            }
        }
    }
    write_file(key, pem.key.as_bytes(), 0o600, force)?;
    write_file(cert, pem.cert.as_bytes(), 0o644, force)
}

/// Writes one file of `mode`, at once or not at all; without `force` never over another.
///
/// # Errors
/// [`KeygenError::Exists`], [`KeygenError::Write`].
pub fn write_file(path: &Path, bytes: &[u8], mode: u32, force: bool) -> Result<(), KeygenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::Exists { path: path.display().to_string() },
        _ => KeygenError::Write { path: path.display().to_string(), source },
    };
    let temporary = temporary_name(path);
    let result = write_temporary(&temporary, bytes, mode).and_then(|()| {
        // A hard link, unlike a rename, never replaces what another process put there meanwhile.
        if force { fs::rename(&temporary, path) } else { fs::hard_link(&temporary, path) }
    });
    // After a rename it is gone already; after a failure it must not stay.
    let _ = fs::remove_file(&temporary);
    result.map_err(failed)?;
    // The directory entry is as durable as the file.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(directory.unwrap_or_else(|| Path::new(".")))
        .and_then(|d| d.sync_all())
        .map_err(failed)
}

fn temporary_name(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Identity, IdentityFiles};

    const DAY: Duration = Duration::from_secs(86_400);

    fn ca() -> Ca {
        Ca::new("test CA", 10 * DAY).unwrap()
    }

    #[test]
    fn keys_made_here_are_a_good_identity_with_private_files() {
        let room = tempfile::tempdir().unwrap();
        let path = |name: &str| room.path().join(name);
        let ca = ca();
        let request = NodeRequest {
            dns_names: vec!["node-1.example".into()],
            addresses: vec!["10.0.0.1".parse().unwrap()],
            ..NodeRequest::new("node-1")
        };
        write(&ca.issue(&request).unwrap(), &path("node.crt"), &path("node.key"), false).unwrap();
        write(ca.pem(), &path("ca.crt"), &path("ca.key"), false).unwrap();
        let mode = |name: &str| path(name).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("node.key"), mode("ca.key")), (0o600, 0o600));
        let files =
            IdentityFiles { cert: path("node.crt"), key: path("node.key"), ca: path("ca.crt") };
        let identity = Identity::load(files).unwrap();
        assert_eq!(identity.node_id(), "node-1");
        assert!(identity.not_after() > SystemTime::now() + 364 * DAY);
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 4, "no temporary file stays");
    }

    #[test]
    fn nothing_is_replaced_without_force() {
        let room = tempfile::tempdir().unwrap();
        let (cert, key) = (room.path().join("c"), room.path().join("k"));
        let node = ca().issue(&NodeRequest::new("n")).unwrap();
        fs::write(&cert, "mine").unwrap();
        let refused = write(&node, &cert, &key, false).unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("c exists already; remove it, or use --force to replace it")
        );
        assert!(!key.exists(), "nothing was written");
        assert!(write_file(&cert, b"x", 0o644, false).is_err());
        assert_eq!(fs::read(&cert).unwrap(), b"mine");
        write(&node, &cert, &key, true).unwrap();
        assert_eq!(fs::read_to_string(&cert).unwrap(), node.cert);
    }

    #[test]
    fn a_ca_made_earlier_goes_on_signing() {
        let first = ca();
        let pem = first.pem();
        let again = Ca::from_pem(&pem.cert, &pem.key).unwrap();
        let node = again.issue(&NodeRequest::new("n")).unwrap();
        let identity =
            Identity::from_pem(node.cert.as_bytes(), node.key.as_bytes(), pem.cert.as_bytes());
        assert_eq!(identity.unwrap().node_id(), "n");
        assert!(matches!(Ca::from_pem(&pem.cert, &ca().pem().key), Err(KeygenError::Ca { .. })));
        assert!(matches!(Ca::from_pem("no", &pem.key), Err(KeygenError::Ca { .. })));
    }

    #[test]
    fn ids_and_names_that_do_not_fit_are_refused() {
        for id in ["", "a/b", "a b", "../x"] {
            let refused = ca().issue(&NodeRequest::new(id));
            assert!(matches!(refused, Err(KeygenError::NodeId { .. })), "{id:?}");
        }
        let request = NodeRequest { dns_names: vec!["ä".into()], ..NodeRequest::new("n") };
        assert!(matches!(ca().issue(&request), Err(KeygenError::Name { .. })));
    }
}
