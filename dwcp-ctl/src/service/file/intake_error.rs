//! Why a copy, or a file of it, is not taken.

use std::io;
use std::path::Path;

use super::protocol::{ENTRIES_MAX, ENTRIES_WAY_OUT};
use crate::service::ServiceError;
use crate::units::counted;

/// Why an intake ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// A name that could leave the directory, or is no name.
    #[error(
        "`{name}` is not a name below the receiving directory: no `..`, no empty part, no leading `/`, no unfinished file's"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Something the protocol does not allow here.
    #[error("unexpected message: {0}")]
    Unexpected(String),
    /// A link that leads out of what is copied, or is absolute.
    #[error(
        "{name} -> {target}: the link leads out of the tree that is copied, or is no relative path; it was not made"
    )]
    Link {
        /// The link.
        name: String,
        /// What it says.
        target: String,
    },
    /// Nobody waits for it any more.
    #[error("{name}: the copy has ended")]
    Gone {
        /// The file.
        name: String,
    },
    /// Not what was sent.
    #[error("{name}: the checksum does not match; the file was not kept")]
    Checksum {
        /// The file.
        name: String,
    },
    /// The disk gave back something else than was written to it.
    #[error(
        "{name}: the disk gave back other bytes than were written; the file was not kept. Look at the receiver's disk and memory"
    )]
    ReadBack {
        /// The file.
        name: String,
    },
    /// Its unfinished file is somebody else's, or gone.
    #[error(
        "{name}: somebody else removed or replaced the unfinished file in the receiver's directory; the file was not kept"
    )]
    Replaced {
        /// The file.
        name: String,
    },
    /// No room.
    #[error(
        "{path}: {} would come, {} are free for that (files.keepFree)",
        counted(*wanted_bytes, "byte", "bytes"), counted(*free_bytes, "byte", "bytes")
    )]
    Full {
        /// The directory.
        path: String,
        /// Free, without what is always kept free.
        free_bytes: u64,
        /// Announced.
        wanted_bytes: u64,
    },
    /// No room any more: others write to the disk, too, and file systems need more than the bytes.
    #[error(
        "{path}: the receiver's disk is full; this file was not kept, files confirmed before it stay. Free space there and copy again"
    )]
    NoSpace {
        /// The file.
        path: String,
    },
    /// Larger than this node takes.
    #[error(
        "{name}: {}, this node takes files up to {} (files.maxFileSize)",
        counted(*bytes, "byte", "bytes"), counted(*limit_bytes, "byte", "bytes")
    )]
    TooLarge {
        /// The file.
        name: String,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// More files than one copy has.
    #[error("{name}: a copy has {ENTRIES_MAX} files and directories at most: {ENTRIES_WAY_OUT}")]
    TooMany {
        /// The first that is too many.
        name: String,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The message cannot be read.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl IntakeError {
    /// Whether the rest of the copy may still be taken. A disk that is full or read-only takes nothing more, and who
    /// breaks the protocol is not listened to.
    pub(super) fn is_of_one_entry(&self) -> bool {
        match self {
            Self::Name { .. }
            | Self::Link { .. }
            | Self::Checksum { .. }
            | Self::ReadBack { .. }
            | Self::Replaced { .. }
            | Self::TooLarge { .. } => true,
            Self::Io { source, .. } => source.kind() != io::ErrorKind::ReadOnlyFilesystem,
            Self::Unexpected(_)
            | Self::Gone { .. }
            | Self::Full { .. }
            | Self::NoSpace { .. }
            | Self::TooMany { .. }
            | Self::Service(_) => false,
        }
    }
}

/// Makes an error about `path` of one of the system's.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> IntakeError + use<> {
    let path = path.display().to_string();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            IntakeError::NoSpace { path: path.clone() }
        }
        _ => IntakeError::Io { path: path.clone(), source },
    }
}
