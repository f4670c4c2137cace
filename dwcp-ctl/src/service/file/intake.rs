//! The receiving side of `file/1` without a network: messages in, files and replies out.
//!
//! Every directory is opened one part at a time without following links, so that no name leaves the
//! receiving directory. A file is written under a temporary name and renamed only after its checksum was
//! right and its bytes are on disk.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use sha2::{Digest, Sha256};

use super::disk::{Disk, Promise};
use super::protocol::{Begin, Directory, ENTRIES_MAX, ENTRIES_WAY_OUT, FileHead, Frame, Reply};
use super::sweep;
use crate::service::ServiceError;
use crate::units::counted;

/// How the name of an unfinished file begins; 16 hexadecimal digits follow.
pub(super) const PART_PREFIX: &str = ".dwcp-part-";
const PARTS_MAX: usize = 32;
const PART_BYTES_MAX: usize = 255;

/// What a node takes, from whom and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reception {
    /// Files go below this directory.
    pub directory: PathBuf,
    /// The nodes that may send; `None`: every peer.
    pub from: Option<Vec<String>>,
    /// The largest file, bytes.
    pub file_bytes_max: u64,
    /// Kept free on the disk, bytes: a full disk hurts more than a refused transfer.
    pub keep_free_bytes: u64,
}

/// Why an intake ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// A name that could leave the directory, or is no name.
    #[error(
        "`{name}` is not a name below the receiving directory: no `..`, no empty part, no leading `/`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Something the protocol does not allow here.
    #[error("unexpected message: {0}")]
    Unexpected(&'static str),
    /// Not what was sent.
    #[error("{name}: the checksum does not match; the file was not kept")]
    Checksum {
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

/// Takes one copy's messages.
pub struct Intake {
    reception: Reception,
    disk: Arc<Disk>,
    directory: Option<(OwnedFd, PathBuf)>,
    /// Files and directories that may still come.
    entries_left: u64,
    /// The parts of the directory that was last opened below `directory`: each is on disk.
    last: Vec<String>,
    file: Option<Part>,
}

/// A file that is not whole yet. Dropping it removes it.
struct Part {
    head: FileHead,
    directory: OwnedFd,
    temporary: String,
    last: String,
    shown: PathBuf,
    file: File,
    hash: Sha256,
    left: u64,
    /// Room on the disk for what is left.
    promise: Promise,
    is_kept: bool,
}

impl Intake {
    /// An intake by the rules of `reception`; whether the peer may send has been looked at.
    /// All intakes that share a disk share `disk`.
    pub fn new(reception: Reception, disk: Arc<Disk>) -> Self {
        let (directory, file, last) = (None, None, Vec::new());
        Self { reception, disk, directory, entries_left: ENTRIES_MAX, last, file }
    }

    /// Takes one message; returns what to reply, if anything.
    ///
    /// # Errors
    /// [`IntakeError`]; the intake is over and the unfinished file gone.
    pub fn take(&mut self, message: &[u8]) -> Result<Option<Reply>, IntakeError> {
        match Frame::decode(message)? {
            Frame::Begin(begin) => self.begin(&begin),
            Frame::File(head) => self.open(head),
            Frame::Data(data) => self.write(data),
            Frame::End(end) => self.close(&end.sha256),
            Frame::Directory(directory) => self.make(directory),
        }
    }

    /// Whether a file is under way.
    pub fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    fn begin(&mut self, begin: &Begin) -> Result<Option<Reply>, IntakeError> {
        if self.directory.is_some() {
            return Err(IntakeError::Unexpected("a second beginning"));
        }
        if begin.files > self.entries_left {
            return Err(IntakeError::TooMany { name: format!("{} files", begin.files) });
        }
        let root = &self.reception.directory;
        let parts = parts(&begin.directory, true)?;
        // The sender did not count the way to its directory; it is short.
        let way = &mut (PARTS_MAX as u64);
        let (directory, shown) = descend(&self.disk, open_root(root)?, root, &parts, 0, way)?;
        // What the sender says is only worth an early refusal: each file is looked at again.
        let room = self.disk.room(&directory, self.reception.keep_free_bytes);
        let room = room.map_err(at(&shown))?;
        if begin.bytes > room {
            return Err(no_room(&self.disk, &directory, &shown, begin.bytes, room));
        }
        self.directory = Some((directory, shown));
        Ok(Some(Reply::Ready))
    }

    fn open(&mut self, head: FileHead) -> Result<Option<Reply>, IntakeError> {
        if self.directory.is_none() {
            return Err(IntakeError::Unexpected("a file before the beginning"));
        }
        if self.file.is_some() {
            return Err(IntakeError::Unexpected("a file within a file"));
        }
        let limit_bytes = self.reception.file_bytes_max;
        if head.bytes > limit_bytes {
            return Err(IntakeError::TooLarge { name: head.name, bytes: head.bytes, limit_bytes });
        }
        let parts = parts(&head.name, false)?;
        count(&mut self.entries_left, &head.name)?;
        let (last, above) = parts.split_last().expect("a file's name has a part");
        let (directory, shown) = self.below(above)?;
        let keep_free = self.reception.keep_free_bytes;
        let promise = self.disk.promise(&directory, head.bytes, keep_free).map_err(at(&shown))?;
        let promise =
            promise.map_err(|room| no_room(&self.disk, &directory, &shown, head.bytes, room))?;
        self.file = Some(Part::create(head.clone(), directory, &shown, last, promise)?);
        Ok(None)
    }

    /// Makes a directory that no file makes. One that is there already is fine.
    fn make(&mut self, wanted: Directory) -> Result<Option<Reply>, IntakeError> {
        if self.directory.is_none() {
            return Err(IntakeError::Unexpected("a directory before the beginning"));
        }
        if self.file.is_some() {
            return Err(IntakeError::Unexpected("a directory within a file"));
        }
        let parts = parts(&wanted.name, false)?;
        count(&mut self.entries_left, &wanted.name)?;
        let (last, above) = parts.split_last().expect("a directory's name has a part");
        let (above, shown) = self.below(above)?;
        // The message has counted for what it makes.
        let (made, shown) = descend(&self.disk, above, &shown, &[last], 0, &mut 1)?;
        self.disk.sync(&made).map_err(at(&shown))?;
        Ok(Some(Reply::Made { name: wanted.name }))
    }

    /// The directory `parts` below that of the copy, which has begun.
    fn below(&mut self, parts: &[&str]) -> Result<(OwnedFd, PathBuf), IntakeError> {
        let (directory, shown) = self.directory.as_ref().expect("the copy has begun");
        let copy = directory.try_clone().map_err(at(shown))?;
        let known = self.last.iter().zip(parts).take_while(|(last, part)| last == *part).count();
        let place = descend(&self.disk, copy, shown, parts, known, &mut self.entries_left)?;
        self.last = parts.iter().map(|part| (*part).to_owned()).collect();
        Ok(place)
    }

    fn write(&mut self, data: &[u8]) -> Result<Option<Reply>, IntakeError> {
        let Some(part) = &mut self.file else {
            return Err(IntakeError::Unexpected("data outside a file"));
        };
        let length = data.len() as u64;
        if length > part.left {
            return Err(IntakeError::Unexpected("more data than announced"));
        }
        // Others write to the disk, too: what was free when the file began may be gone.
        let room = self.disk.left(&part.directory, self.reception.keep_free_bytes);
        let room = room.map_err(at(&part.shown))?;
        if length > room {
            let (directory, shown) = (&part.directory, &part.shown);
            return Err(no_room(&self.disk, directory, shown, length, room));
        }
        part.file.write_all(data).map_err(at(&part.shown))?;
        part.promise.fulfil(length);
        part.hash.update(data);
        part.left -= length;
        Ok(None)
    }

    fn close(&mut self, sha256: &str) -> Result<Option<Reply>, IntakeError> {
        let Some(mut part) = self.file.take() else {
            return Err(IntakeError::Unexpected("an end outside a file"));
        };
        if part.left > 0 {
            return Err(IntakeError::Unexpected("less data than announced"));
        }
        let found = hex(&part.hash.finalize_reset());
        if !found.eq_ignore_ascii_case(sha256) {
            return Err(IntakeError::Checksum { name: part.head.name.clone() });
        }
        part.keep(&self.disk)?;
        let FileHead { name, bytes, .. } = part.head.clone();
        Ok(Some(Reply::Saved { name, bytes, sha256: found }))
    }
}

/// `wanted_bytes` do not fit into the `free_bytes` that files may take.
fn no_room(
    disk: &Disk,
    directory: &OwnedFd,
    shown: &Path,
    wanted_bytes: u64,
    free_bytes: u64,
) -> IntakeError {
    let path = shown.display().to_string();
    match disk.left(directory, 0) {
        Ok(0) => IntakeError::NoSpace { path },
        _ => IntakeError::Full { path, free_bytes, wanted_bytes },
    }
}

/// A new file with a name of its own, locked: a [`sweep`](super::sweep()) leaves it alone.
fn temporary(directory: &OwnedFd) -> io::Result<(String, File)> {
    loop {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{PART_PREFIX}{}", hex(&random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let file = File::from(file);
        // A sweep may have come between making it and locking it. File systems without locks have no sweep.
        if !sweep::lock(&file) || rustix::fs::fstat(&file)?.st_nlink > 0 {
            return Ok((name, file));
        }
    }
}

impl Part {
    fn create(
        head: FileHead,
        directory: OwnedFd,
        above: &Path,
        last: &str,
        promise: Promise,
    ) -> Result<Self, IntakeError> {
        let shown = above.join(last);
        let (temporary, file) = temporary(&directory).map_err(at(&shown))?;
        Ok(Self {
            left: head.bytes,
            head,
            directory,
            temporary,
            last: last.to_owned(),
            shown,
            file,
            hash: Sha256::new(),
            promise,
            is_kept: false,
        })
    }

    /// Gives the file its name, once it is on disk.
    fn keep(&mut self, disk: &Disk) -> Result<(), IntakeError> {
        let failed = at(&self.shown);
        // Nobody else may write, nothing may be set-uid: the mode comes from another machine.
        let mode = Mode::from_raw_mode(self.head.mode & 0o755 | 0o600);
        rustix::fs::fchmod(&self.file, mode).map_err(|error| failed(error.into()))?;
        self.file.sync_all().map_err(&failed)?;
        rustix::fs::renameat(&self.directory, &self.temporary, &self.directory, &self.last)
            .map_err(|error| failed(error.into()))?;
        self.is_kept = true;
        disk.sync(&self.directory).map_err(failed)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_kept {
            // If this fails too, a hidden file stays; its name says what it is.
            let _ = rustix::fs::unlinkat(&self.directory, &self.temporary, AtFlags::empty());
        }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> IntakeError + use<> {
    let path = path.display().to_string();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            IntakeError::NoSpace { path: path.clone() }
        }
        _ => IntakeError::Io { path: path.clone(), source },
    }
}

/// The parts of a relative name; refuses all that is not plainly below.
fn parts(name: &str, may_be_empty: bool) -> Result<Vec<&str>, IntakeError> {
    if name.is_empty() && may_be_empty {
        return Ok(Vec::new());
    }
    let parts: Vec<_> =
        name.strip_suffix('/').filter(|_| may_be_empty).unwrap_or(name).split('/').collect();
    let is_fine = |part: &&str| {
        !part.is_empty()
            && part.len() <= PART_BYTES_MAX
            && *part != "."
            && *part != ".."
            && !part.contains('\0')
    };
    if parts.len() > PARTS_MAX || !parts.iter().all(is_fine) {
        return Err(IntakeError::Name { name: name.chars().take(PART_BYTES_MAX).collect() });
    }
    Ok(parts)
}

fn open_root(root: &Path) -> Result<OwnedFd, IntakeError> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(|error| at(root)(error.into()))
}

/// One file or directory more, of which `left` may come.
fn count(left: &mut u64, name: &str) -> Result<(), IntakeError> {
    *left = left.checked_sub(1).ok_or_else(|| IntakeError::TooMany { name: name.to_owned() })?;
    Ok(())
}

/// Opens, and makes where missing, the directory `parts` below `from`; what it makes counts against `left`.
/// Follows no link. Each part's name is on disk in the directory above when it returns; of the first `known`
/// parts that is known already.
fn descend(
    disk: &Disk,
    mut from: OwnedFd,
    shown: &Path,
    parts: &[&str],
    known: usize,
    left: &mut u64,
) -> Result<(OwnedFd, PathBuf), IntakeError> {
    let mut shown = shown.to_owned();
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    for (index, part) in parts.iter().enumerate() {
        shown.push(part);
        let failed = at(&shown);
        let mut opened = rustix::fs::openat(&from, *part, flags, Mode::empty());
        let is_missing = matches!(opened, Err(rustix::io::Errno::NOENT));
        if is_missing {
            count(left, &shown.display().to_string())?;
            match rustix::fs::mkdirat(&from, *part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            }
            opened = rustix::fs::openat(&from, *part, flags, Mode::empty());
        }
        let opened = opened.map_err(|error| failed(error.into()))?;
        // One that is there may have been made a moment ago, by another copy or before the power failed.
        if is_missing || index >= known {
            disk.sync(&from).map_err(&failed)?;
        }
        from = opened;
    }
    Ok((from, shown))
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
