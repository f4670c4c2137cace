//! A file that is not whole yet.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Advice, AtFlags, FileType, Mode, OFlags};
use sha2::{Digest, Sha256};

use super::disk::{Disk, Promise};
use super::intake_error::{IntakeError, at};
use super::protocol::FileHead;
use super::sweep;
use super::tree::Place;

/// How the name of an unfinished file begins; 16 hexadecimal digits follow.
pub(super) const PART_PREFIX: &str = ".dwcp-part-";

/// Read at a time, bytes.
const READ_BYTES: usize = 256 << 10;

/// A file under a temporary name, locked against a [`sweep`](super::sweep()) and against other copies.
pub(super) struct Part {
    pub(super) head: FileHead,
    pub(super) place: Place,
    /// The name it will have in its directory.
    last: String,
    temporary: String,
    /// Whether the temporary name is that of the file, under which another copy finds it again.
    may_stay: bool,
    file: File,
    hash: Sha256,
    /// Bytes that are there and hashed.
    held: u64,
    is_done: bool,
}

impl Part {
    /// An empty one. If another copy of the same file is under way it has a name that nobody finds again.
    pub(super) fn create(
        peer: &str,
        head: FileHead,
        place: Place,
        last: &str,
    ) -> Result<Self, IntakeError> {
        let failed = at(&place.shown.join(last));
        let own = own_name(peer, &head);
        let opened = match &own {
            Some(name) => open_own(&place.directory, name, OFlags::CREATE).map_err(&failed)?,
            None => None,
        };
        let (temporary, file, may_stay) = match (own, opened) {
            (Some(name), Some(file)) => (name, file, true),
            _ => {
                let (name, file) = random(&place.directory).map_err(&failed)?;
                (name, file, false)
            }
        };
        file.set_len(0).map_err(failed)?;
        let last = last.to_owned();
        let (hash, held, is_done) = (Sha256::new(), 0, false);
        Ok(Self { head, place, last, temporary, may_stay, file, hash, held, is_done })
    }

    /// The one that an earlier copy of the same file left, if it has `held` bytes and nobody writes it, with
    /// those bytes hashed; those after them are gone.
    pub(super) fn resume(
        peer: &str,
        head: &FileHead,
        place: Place,
        last: &str,
        held: u64,
    ) -> Result<Result<Self, Place>, IntakeError> {
        let failed = at(&place.shown.join(last));
        let Some(temporary) = own_name(peer, head) else { return Ok(Err(place)) };
        let opened = open_own(&place.directory, &temporary, OFlags::empty()).map_err(&failed)?;
        let Some(mut file) = opened else { return Ok(Err(place)) };
        if file.metadata().map_err(&failed)?.len() < held {
            return Ok(Err(place));
        }
        file.set_len(held).map_err(&failed)?;
        let hash = hash_of(&mut file).map_err(failed)?;
        let (head, last, may_stay, is_done) = (head.clone(), last.to_owned(), true, false);
        Ok(Ok(Self { head, place, last, temporary, may_stay, file, hash, held, is_done }))
    }

    /// How many bytes an earlier copy of the same file left; 0 also if another copy writes it now.
    pub(super) fn left_behind(peer: &str, head: &FileHead, directory: &OwnedFd) -> u64 {
        let file = own_name(peer, head)
            .and_then(|name| open_own(directory, &name, OFlags::empty()).ok()?);
        let bytes = file.and_then(|file| file.metadata().ok()).map_or(0, |found| found.len());
        bytes.min(head.bytes)
    }

    /// The SHA-256 of what is there.
    pub(super) fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// Bytes that are there.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// How messages call it.
    pub(super) fn shown(&self) -> PathBuf {
        self.place.shown.join(&self.last)
    }

    pub(super) fn write(&mut self, data: &[u8], promise: &mut Promise) -> Result<(), IntakeError> {
        self.file.write_all(data).map_err(at(&self.shown()))?;
        promise.fulfil(data.len() as u64);
        self.hash.update(data);
        self.held += data.len() as u64;
        Ok(())
    }

    /// Gives the file its name, once it is on disk; with `verify`, once the disk has given it back.
    pub(super) fn keep(mut self, disk: &Disk, verify: bool) -> Result<(), IntakeError> {
        // Whatever goes wrong from here on, its bytes are of no use to another copy.
        self.may_stay = false;
        let failed = at(&self.shown());
        set_mode(&self.file, self.head.mode).map_err(&failed)?;
        self.file.sync_all().map_err(&failed)?;
        if verify {
            forget(&self.file);
            let found = hash_of(&mut self.file).map_err(&failed)?;
            if found.finalize() != self.hash.clone().finalize() {
                return Err(IntakeError::ReadBack { name: self.head.name.clone() });
            }
        }
        let directory = &self.place.directory;
        rustix::fs::renameat(directory, &self.temporary, directory, &self.last)
            .map_err(|error| failed(error.into()))?;
        self.is_done = true;
        disk.sync(directory).map_err(failed)
    }

    /// Removes it.
    pub(super) fn remove(mut self) {
        self.may_stay = false;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // One that stays is found again by the next copy of the same file, or by a sweep.
        let stays = self.may_stay && self.held > 0;
        if !self.is_done && !stays {
            // If this fails too, a hidden file stays; its name says what it is.
            let _ = rustix::fs::unlinkat(&self.place.directory, &self.temporary, AtFlags::empty());
        }
    }
}

/// A whole file that is there under its own name.
pub(super) struct Whole {
    place: Place,
    last: String,
    file: File,
}

impl Whole {
    /// The regular file `last` in `place` of `bytes`, if it can be read.
    pub(super) fn find(place: Place, last: &str, bytes: u64) -> Result<Self, Place> {
        let opened = open_regular(&place.directory, last, OFlags::RDONLY);
        match opened.ok().flatten() {
            Some(file) if file.metadata().is_ok_and(|found| found.len() == bytes) => {
                Ok(Self { place, last: last.to_owned(), file })
            }
            _ => Err(place),
        }
    }

    /// Whether its bytes have the checksum `sha256`. With `verify` they come from the disk, and not from memory.
    pub(super) fn is(&mut self, sha256: &str, verify: bool) -> Result<bool, IntakeError> {
        if verify {
            forget(&self.file);
        }
        let hash = hash_of(&mut self.file).map_err(at(&self.place.shown.join(&self.last)))?;
        Ok(hex(&hash.finalize()).eq_ignore_ascii_case(sha256))
    }

    /// Gives it the permissions `mode`; it is on disk then, name and all.
    pub(super) fn keep(self, disk: &Disk, mode: u32) -> Result<(), IntakeError> {
        let failed = at(&self.place.shown.join(&self.last));
        // Somebody else's file has the right bytes all the same.
        let _ = set_mode(&self.file, mode);
        self.file.sync_all().map_err(&failed)?;
        disk.sync(&self.place.directory).map_err(failed)
    }

    /// Gives the place back, when it is another file.
    pub(super) fn into_place(self) -> Place {
        self.place
    }
}

/// Nobody else may write, nothing may be set-uid: the mode comes from another machine.
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o755 | 0o600))?)
}

/// What is on disk need not stay in memory. A hint: file systems without a disk do not follow it.
fn forget(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

fn hash_of(file: &mut File) -> io::Result<Sha256> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; READ_BYTES]);
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash),
            got => hash.update(&buffer[..got]),
        }
    }
}

/// The temporary name of a file that tells when it was written: from the same peer, unchanged, it has the same one.
fn own_name(peer: &str, head: &FileHead) -> Option<String> {
    let written = head.mtime_ns?;
    let mut hash = Sha256::new();
    for part in [peer, "\0", &head.name, "\0"] {
        hash.update(part);
    }
    hash.update(head.bytes.to_le_bytes());
    hash.update(written.to_le_bytes());
    Some(format!("{PART_PREFIX}{}", hex(&hash.finalize()[..8])))
}

/// Opens the regular file `name`; `None` if it is not there or is something else.
fn open_regular(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<Option<File>> {
    // Without NONBLOCK a FIFO would wait for its other end.
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let found = rustix::fs::fstat(&file)?;
            let is_regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
            Ok(is_regular.then(|| File::from(file)))
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens the unfinished file `name` and locks it; `None` if it is not there, is not ours alone, or is being written.
fn open_own(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<Option<File>> {
    let Some(file) = open_regular(directory, name, OFlags::RDWR | flags)? else { return Ok(None) };
    if !sweep::lock(&file) {
        return Ok(None);
    }
    // After the lock: between opening and locking it a sweep may have removed it, or a copy given it its final
    // name. Both do so while they hold the lock.
    let found = rustix::fs::fstat(&file)?;
    let named = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => named,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_it = (found.st_dev, found.st_ino) == (named.st_dev, named.st_ino);
    let is_ours = found.st_nlink == 1 && found.st_uid == rustix::process::geteuid().as_raw();
    Ok((is_it && is_ours).then_some(file))
}

/// A new file with a name of its own, locked.
fn random(directory: &OwnedFd) -> io::Result<(String, File)> {
    loop {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{PART_PREFIX}{}", hex(&random));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let file = File::from(file);
        // A sweep may have come between making it and locking it. File systems without locks have no sweep.
        if !sweep::lock(&file) || rustix::fs::fstat(&file)?.st_nlink > 0 {
            return Ok((name, file));
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
