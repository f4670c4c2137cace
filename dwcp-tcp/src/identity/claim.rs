//! One process a node: two with one certificate would push each other's sessions out at every peer, because a
//! peer takes the later one for a restart of the earlier.
//!
//! The claim is an exclusive `flock(2)` on the private key's file. Whoever can be the node can read that file, and
//! nobody else can take the lock; it needs no directory of its own, and the system drops it with the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tracing::warn;

use super::IdentityError;

/// The hold on a key file. Dropping it lets another process be the node.
pub(super) struct Claim {
    /// `None` where the file system has no such locks.
    held: Option<File>,
}

impl Claim {
    /// The lock as another process of this node holds it, on the file that `key` names now; `None`: it is another file.
    pub(super) fn inherited(file: File, key: &Path) -> Option<Self> {
        let now = File::open(key).ok()?;
        is_same(&file, &now).then_some(Self { held: Some(file) })
    }

    /// A descriptor that holds the lock as long as this claim does, or longer.
    pub(super) fn share(&self) -> Option<File> {
        self.held.as_ref()?.try_clone().ok()
    }

    /// Takes the lock on `key`, unless `before` is on the same file: then it stays with that one.
    pub(super) fn take(
        node_id: &str,
        key: &Path,
        before: Option<&Self>,
    ) -> Result<Option<Self>, IdentityError> {
        let file = File::open(key).map_err(|source| IdentityError::Read {
            path: key.display().to_string(),
            what: "private key",
            source,
        })?;
        if before.and_then(|claim| claim.held.as_ref()).is_some_and(|held| is_same(held, &file)) {
            return Ok(None);
        }
        match lock(&file) {
            Ok(()) => Ok(Some(Self { held: Some(file) })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(IdentityError::InUse {
                node_id: node_id.to_owned(),
                key: key.display().to_string(),
            }),
            Err(error) => {
                warn!(key = %key.display(), %error, "this file system has no locks: nothing keeps a second process from being this node");
                Ok(Some(Self { held: None }))
            }
        }
    }
}

/// Takes the lock; a process that is on its way out gets a moment to let go.
fn lock(file: &File) -> io::Result<()> {
    const TRIES: u32 = 5;
    const PAUSE: Duration = Duration::from_millis(50);
    let mut tries = 1;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

fn is_same(one: &File, other: &File) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
