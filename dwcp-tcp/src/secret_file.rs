//! Files that hold a secret. Nobody but their owner may use them, and the owner is the process's user, or root: whoever
//! owns a file can read it and put another one in its place.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::process::geteuid;
use zeroize::Zeroizing;

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a secret is not taken from a file, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// Others than its owner may use it.
    #[error("mode {mode:04o} lets others read it; run: chmod 600 {path}")]
    Mode {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Its owner is neither root nor who reads it.
    #[error("it belongs to user {owner}, who can read and replace it; run: chown {user} {path}")]
    Owner {
        /// The file.
        path: String,
        /// Its owner's number.
        owner: u32,
        /// The number of who reads it.
        user: u32,
    },
}

/// Reads the secret in the file at `path`. The bytes are erased when they are dropped.
///
/// # Errors
/// [`SecretFileError`]: it cannot be read, or others can.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let file = File::open(path)?;
    // Of the open file: the name may be another one's a moment later.
    let metadata = file.metadata()?;
    check(path, &metadata)?;
    Ok(read_whole(file, &metadata)?)
}

/// What is in `file`.
pub(crate) fn read_whole(file: File, metadata: &Metadata) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for the whole file at once: a vector that grows leaves copies of a key behind.
    let length = metadata.len().min(MAX_FILE_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the open file is its owner's alone, and who that is.
fn check(path: &Path, metadata: &Metadata) -> Result<(), SecretFileError> {
    let path = || path.display().to_string();
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Mode { path: path(), mode });
    }
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    if !is_trusted(owner, user) {
        return Err(SecretFileError::Owner { path: path(), owner, user });
    }
    Ok(())
}

fn is_trusted(owner: u32, user: u32) -> bool {
    owner == 0 || owner == user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_belongs_to_root_or_to_who_reads_it() {
        for (owner, user, is_fine) in
            [(0, 0, true), (0, 7, true), (7, 7, true), (7, 0, false), (7, 8, false)]
        {
            assert_eq!(is_trusted(owner, user), is_fine, "{owner} {user}");
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("secret");
        std::fs::write(&path, "secret\n").unwrap();
        for (mode, is_fine) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = read_secret(&path).map(|bytes| bytes.to_vec());
            match is_fine {
                true => assert_eq!(read.unwrap(), b"secret\n"),
                false => assert!(read.unwrap_err().to_string().contains("chmod 600"), "{mode:o}"),
            }
        }
    }
}
