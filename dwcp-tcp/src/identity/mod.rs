//! Who this node is: certificate chain, private key, and the CA whose nodes it believes.
//!
//! A node's id is the SAN URI `dwcp://node/<nodeId>` of its certificate; DNS names and addresses in it do not
//! matter to DWCP.

mod certificate;
mod claim;
mod error;
mod known;
mod material;
mod verify;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use certificate::NODE_URI_PREFIX;
pub(crate) use certificate::{Description, Facts};
use claim::Claim;
pub use dwcp_core::wire::{MAX_NODE_ID_BYTES, valid_node_id};
pub use error::IdentityError;
pub(crate) use material::Material;
pub(crate) use verify::{NoNodeId, WrongNode, take_refused};

/// Where an identity lies on disk, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The node's certificate, then intermediate ones if there are any.
    pub cert: PathBuf,
    /// Its private key (PKCS #8, SEC 1 or PKCS #1), readable by its owner alone.
    pub key: PathBuf,
    /// The certificates of the CAs whose nodes are believed. Two during a change of CA.
    pub ca: PathBuf,
}

/// A node's identity. Cheap to clone; clones share it, and [`reload`](Self::reload) changes all of them.
///
/// Handshakes that begin after a reload use the new certificate, key and CA; live sessions go on.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    node_id: String,
    files: Option<IdentityFiles>,
    /// Held only to clone or replace the `Arc`.
    current: Mutex<Arc<Material>>,
    /// Held by a process that is the node.
    claim: Mutex<Option<Arc<Claim>>>,
}

/// What lies in an identity's files now, checked and not in force: [`Identity::renew`] puts it in force. Dropped, it changes nothing.
pub struct Renewal {
    material: Material,
    /// On the key file, if that is another one and the identity was claimed.
    claim: Option<Claim>,
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renewal({})", self.material.facts.node_id)
    }
}

impl Identity {
    /// Reads and checks the files: key and certificate belong together, the CA signed the certificate, it is
    /// valid now, and nobody but the owner can read the key.
    ///
    /// # Errors
    /// [`IdentityError`] names the file and the remedy.
    pub fn load(files: IdentityFiles) -> Result<Self, IdentityError> {
        let material = Material::load(&files)?;
        Ok(Self::new(material, Some(files)))
    }

    /// As [`load`](Self::load) from memory. Such an identity has nothing to [`reload`](Self::reload) from; see
    /// [`replace`](Self::replace).
    ///
    /// # Errors
    /// As [`load`](Self::load), with `cert`, `key` and `ca` for the files' names.
    pub fn from_pem(cert: &[u8], key: &[u8], ca: &[u8]) -> Result<Self, IdentityError> {
        Ok(Self::new(Material::from_memory(cert, key, ca)?, None))
    }

    /// Everything that keeps [`load`](Self::load) from succeeding with `files`, not only what it meets first.
    pub fn problems(files: &IdentityFiles) -> Vec<IdentityError> {
        Material::problems(files)
    }

    fn new(material: Material, files: Option<IdentityFiles>) -> Self {
        let node_id = material.facts.node_id.clone();
        let (current, claim) = (Mutex::new(Arc::new(material)), Mutex::new(None));
        Self(Arc::new(Inner { node_id, files, current, claim }))
    }

    /// Makes this process the node, as long as the identity or a clone of it lives: no other process that uses
    /// the same key file may claim it meanwhile. A [`reload`](Self::reload) claims the new key file, too. An
    /// identity from memory has nothing to claim by, and several claims of one identity are one.
    ///
    /// Blocks for up to 200 ms if another process is just letting go.
    ///
    /// # Errors
    /// [`IdentityError::InUse`] if another process, or another identity in this one, is the node.
    pub fn claim(&self) -> Result<(), IdentityError> {
        let Some(files) = &self.0.files else { return Ok(()) };
        let mut claim = locked(&self.0.claim);
        if let Some(taken) = Claim::take(&self.0.node_id, &files.key, claim.as_deref())? {
            *claim = Some(Arc::new(taken));
        }
        Ok(())
    }

    /// As [`claim`](Self::claim), with the claim of the process before this one, which shared it. If the key file is
    /// another one since, that is claimed.
    ///
    /// # Errors
    /// As `claim`.
    pub fn claim_after(&self, before: Option<OwnedFd>) -> Result<(), IdentityError> {
        if let (Some(files), Some(before)) = (&self.0.files, before)
            && let Some(inherited) = Claim::inherited(before.into(), &files.key)
        {
            *locked(&self.0.claim) = Some(Arc::new(inherited));
            return Ok(());
        }
        self.claim()
    }

    /// The claim, for a process that is to follow this one as the node; `None` if there is none, or the file system has no
    /// locks.
    pub fn share_claim(&self) -> Option<OwnedFd> {
        locked(&self.0.claim).as_ref()?.share().map(OwnedFd::from)
    }

    /// Reads the files again. All or nothing: on an error the identity stays as it was.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`IdentityError::NodeChanged`] if the new certificate is another node's,
    /// [`IdentityError::InUse`] if this identity was [claimed](Self::claim) and another process has the new key.
    pub fn reload(&self) -> Result<(), IdentityError> {
        self.renew(self.read_again()?);
        Ok(())
    }

    /// The first half of a [`reload`](Self::reload): reads the files, and changes nothing. Takes as long as their volume likes, and
    /// holds up nobody else meanwhile.
    ///
    /// # Errors
    /// As `reload`.
    pub fn read_again(&self) -> Result<Renewal, IdentityError> {
        let Some(files) = &self.0.files else { return Err(IdentityError::NotFromFiles) };
        let material = Material::load(files)?;
        self.check(&material)?;
        // Whoever hands the node over looks at the claim: it is not locked while a volume is waited for.
        let before = locked(&self.0.claim).clone();
        let claim = match before {
            Some(before) => Claim::take(&self.0.node_id, &files.key, Some(&before))?,
            None => None,
        };
        Ok(Renewal { material, claim })
    }

    /// The second half: puts in force what was [read](Self::read_again) for this identity.
    pub fn renew(&self, renewal: Renewal) {
        let Renewal { material, claim } = renewal;
        *locked(&self.0.current) = Arc::new(material);
        if let Some(claim) = claim {
            *locked(&self.0.claim) = Some(Arc::new(claim));
        }
    }

    /// Replaces an identity that lives in memory.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub fn replace(&self, cert: &[u8], key: &[u8], ca: &[u8]) -> Result<(), IdentityError> {
        let material = Material::from_memory(cert, key, ca)?;
        self.check(&material)?;
        *locked(&self.0.current) = Arc::new(material);
        Ok(())
    }

    /// Whether `material` is this node's.
    fn check(&self, material: &Material) -> Result<(), IdentityError> {
        let found = &material.facts.node_id;
        if *found != self.0.node_id {
            return Err(IdentityError::NodeChanged {
                expected: self.0.node_id.clone(),
                found: found.clone(),
            });
        }
        Ok(())
    }

    /// This node's id; the same for the identity's whole life.
    pub fn node_id(&self) -> &str {
        &self.0.node_id
    }

    /// When the present certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.material().facts.not_after
    }

    /// The files it was loaded from.
    pub fn files(&self) -> Option<&IdentityFiles> {
        self.0.files.as_ref()
    }

    pub(crate) fn material(&self) -> Arc<Material> {
        locked(&self.0.current).clone()
    }
}

/// The id of the node whose certificate is the first in the PEM file `cert`. Looks at nothing else: neither whether
/// it is valid, nor whether there is a key for it.
///
/// # Errors
/// [`IdentityError`] if there is no certificate of a node in it.
pub fn node_id_of_certificate(cert: &std::path::Path) -> Result<String, IdentityError> {
    material::node_id_of(cert)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.0.node_id)
    }
}
