//! A file that is not whole yet.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Advice, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::disk::{Disk, Promise};
use super::intake_error::{IntakeError, at};
use super::lock::{Lock, lock};
use super::protocol::FileHead;
use super::tree::{Place, UNFINISHED};

/// Read at a time, bytes.
const READ_BYTES: usize = 256 << 10;
/// What is written goes to the disk while more of it comes, so many bytes at a time.
const BEGIN_BYTES: u64 = 8 << 20;
/// Pause between looks at a file that another copy writes.
const LOOK: Duration = Duration::from_millis(20);

/// Who sends, and how long what it wants is worth doing.
pub(super) struct Sender {
    pub(super) peer: String,
    /// Whether the copy has ended: nobody takes its answers.
    pub(super) is_gone: Box<dyn Fn() -> bool + Send>,
    /// How long its files may yet wait for a copy that is about to end, all together.
    pub(super) patience: Duration,
}

/// A file under a temporary name, locked against a [`sweep`](super::sweep()) and against other copies.
pub(super) struct Part {
    pub(super) head: FileHead,
    /// Its directory; none while it waits.
    place: Option<Place>,
    /// The name it will have in its directory.
    last: String,
    temporary: String,
    /// The name under which another copy of the same file finds it again, if there is one.
    own: Option<String>,
    /// Whether it stays when the copy breaks off.
    may_stay: bool,
    file: File,
    hash: Sha256,
    /// Bytes that are there and hashed.
    held: u64,
    /// Of these, the disk was asked to begin with so many.
    begun: u64,
    is_done: bool,
}

impl Part {
    /// An empty one. If another copy of the same file is under way it has a name that nobody finds again.
    pub(super) fn create(
        sender: &mut Sender,
        head: FileHead,
        place: Place,
        last: &str,
    ) -> Result<Self, IntakeError> {
        let failed = at(&place.shown.join(last));
        let own = own_name(&sender.peer, &head);
        let opened = match &own {
            Some(name) => create_own(sender, &place.directory, name).map_err(&failed)?,
            None => None,
        };
        let may_stay = opened.is_some();
        let (temporary, file) = match (&own, opened) {
            (Some(name), Some(file)) => (name.clone(), file),
            _ => random(&place.directory).map_err(&failed)?,
        };
        file.set_len(0).map_err(failed)?;
        let (place, last) = (Some(place), last.to_owned());
        let (hash, held, is_done) = (Sha256::new(), 0, false);
        Ok(Self {
            head,
            place,
            last,
            temporary,
            own,
            may_stay,
            file,
            hash,
            held,
            begun: 0,
            is_done,
        })
    }

    /// The one that an earlier copy of the same file left, if it has `held` bytes and nobody writes it, with
    /// those bytes hashed; those after them are gone.
    pub(super) fn resume(
        sender: &mut Sender,
        head: &FileHead,
        place: Place,
        last: &str,
        held: u64,
    ) -> Result<Option<Self>, IntakeError> {
        let shown = place.shown.join(last);
        let failed = at(&shown);
        let Some(temporary) = own_name(&sender.peer, head) else { return Ok(None) };
        let opened = open_own(sender, &place.directory, &temporary).map_err(&failed)?;
        let Some(mut file) = opened else { return Ok(None) };
        if file.metadata().map_err(&failed)?.len() < held {
            return Ok(None);
        }
        file.set_len(held).map_err(&failed)?;
        let hash = hash_of(&mut file, held, &sender.is_gone).map_err(failed)?;
        let hash = hash.ok_or_else(|| IntakeError::Gone { name: head.name.clone() })?;
        let (head, last, own) = (head.clone(), last.to_owned(), Some(temporary.clone()));
        let (place, may_stay, is_done) = (Some(place), true, false);
        let begun = held;
        Ok(Some(Self {
            head,
            place,
            last,
            temporary,
            own,
            may_stay,
            file,
            hash,
            held,
            begun,
            is_done,
        }))
    }

    /// How many bytes an earlier copy of the same file left; 0 also if another copy writes it now.
    pub(super) fn left_behind(
        sender: &mut Sender,
        head: &FileHead,
        directory: &OwnedFd,
    ) -> Result<u64, io::Error> {
        let Some(name) = own_name(&sender.peer, head) else { return Ok(0) };
        let file = open_own(sender, directory, &name)?;
        let bytes = file.and_then(|file| file.metadata().ok()).map_or(0, |found| found.len());
        Ok(bytes.min(head.bytes))
    }

    /// The SHA-256 of what is there.
    pub(super) fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// Its directory.
    pub(super) fn place(&self) -> &Place {
        self.place.as_ref().expect("only one that waits has none")
    }

    /// How messages call it.
    pub(super) fn shown(&self) -> PathBuf {
        self.place().shown.join(&self.last)
    }

    /// Lets it wait for its rest.
    pub(super) fn wait(mut self) -> Waiting {
        self.place = None;
        Waiting(self)
    }

    pub(super) fn write(&mut self, data: &[u8], promise: &mut Promise) -> Result<(), IntakeError> {
        self.file.write_all(data).map_err(at(&self.shown()))?;
        promise.fulfil(data.len() as u64);
        self.hash.update(data);
        self.held += data.len() as u64;
        if let Some(due) = NonZeroU64::new(self.held - self.begun)
            && due.get() >= BEGIN_BYTES
        {
            // Else all of it waits for the end, and the sender with it. A hint, which is also followed where there is no need.
            let _ = rustix::fs::fadvise(&self.file, self.begun, Some(due), Advice::DontNeed);
            self.begun = self.held;
        }
        Ok(())
    }

    /// Gives the file its name, once it is on disk; with `verify`, once the disk has given it back.
    pub(super) fn keep(
        mut self,
        sender: &Sender,
        disk: &Disk,
        verify: bool,
    ) -> Result<(), IntakeError> {
        // Whatever goes wrong from here on, its bytes are of no use to another copy.
        let was_own = std::mem::take(&mut self.may_stay);
        let failed = at(&self.shown());
        let name = || self.head.name.clone();
        set_mode(&self.file, self.head.mode).map_err(&failed)?;
        self.file.sync_all().map_err(&failed)?;
        if verify {
            forget(&self.file);
            let found = hash_of(&mut self.file, self.held, &sender.is_gone).map_err(&failed)?;
            let found = found.ok_or_else(|| IntakeError::Gone { name: name() })?;
            if found.finalize() != self.hash.clone().finalize() {
                return Err(IntakeError::ReadBack { name: name() });
            }
        }
        let directory = &self.place.as_ref().expect("only one that waits has none").directory;
        // What has the temporary name is what was written: nobody else may have put something there.
        if !is_named(&self.file, directory, &self.temporary).map_err(&failed)? {
            return Err(IntakeError::Replaced { name: name() });
        }
        rustix::fs::renameat(directory, &self.temporary, directory, &self.last)
            .map_err(|error| failed(error.into()))?;
        self.is_done = true;
        if let Some(own) = self.own.as_ref().filter(|_| !was_own) {
            // What an earlier copy left of it is of no use any more, unless it is another's that is under way.
            if matches!(open_locked(directory, own), Ok(Opened::Ours(_))) {
                let _ = rustix::fs::unlinkat(directory, own, AtFlags::empty());
            }
        }
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
        let stays = self.is_done || (self.may_stay && self.held > 0);
        if let Some(place) = self.place.as_ref().filter(|_| !stays) {
            // If this fails too, a hidden file stays; its name says what it is.
            let _ = rustix::fs::unlinkat(&place.directory, &self.temporary, AtFlags::empty());
        }
    }
}

/// A part whose beginning is known to be right, which waits for the rest. It is locked, and has no directory open: a copy has
/// many of them, and each descriptor is one of the node's. Dropped, it stays for the next copy of the same file.
pub(super) struct Waiting(Part);

impl Waiting {
    /// Whether `head` says how the rest of it comes.
    pub(super) fn is_for(&self, head: &FileHead) -> bool {
        self.0.held == head.from && self.0.head.bytes == head.bytes
    }

    /// The part again, if `place` is where it lies.
    pub(super) fn go_on(self, place: Option<Place>) -> Result<Part, IntakeError> {
        let Self(mut part) = self;
        let is_there = |place: &Place| is_named(&part.file, &place.directory, &part.temporary);
        let place = place.filter(|place| is_there(place).is_ok_and(|is_there| is_there));
        let replaced = || IntakeError::Replaced { name: part.head.name.clone() };
        let place = place.ok_or_else(replaced)?;
        part.place = Some(place);
        Ok(part)
    }
}

/// A whole file that is there under its own name.
pub(super) struct Whole {
    place: Place,
    last: String,
    file: File,
    bytes: u64,
}

impl Whole {
    /// The regular file `last` in `place` of `bytes`, if it can be read.
    pub(super) fn find(place: Place, last: &str, bytes: u64) -> Result<Self, Place> {
        let opened = open_regular(&place.directory, last, OFlags::RDONLY);
        match opened.ok().flatten() {
            Some(file) if file.metadata().is_ok_and(|found| found.len() == bytes) => {
                Ok(Self { place, last: last.to_owned(), file, bytes })
            }
            _ => Err(place),
        }
    }

    /// Whether its bytes have the checksum `sha256`. With `verify` they come from the disk, and not from memory.
    pub(super) fn is(
        &mut self,
        sender: &Sender,
        sha256: &str,
        verify: bool,
    ) -> Result<bool, IntakeError> {
        let shown = self.place.shown.join(&self.last);
        if verify {
            // Only what is on disk can be dropped from memory.
            self.file.sync_all().map_err(at(&shown))?;
            forget(&self.file);
        }
        let hash = hash_of(&mut self.file, self.bytes, &sender.is_gone).map_err(at(&shown))?;
        let name = || shown.display().to_string();
        let hash = hash.ok_or_else(|| IntakeError::Gone { name: name() })?;
        Ok(hex(&hash.finalize()).eq_ignore_ascii_case(sha256))
    }

    /// Gives it the permissions `mode`; its bytes are on disk then.
    pub(super) fn keep(&self, mode: u32) -> Result<(), IntakeError> {
        // Somebody else's file has the right bytes all the same.
        let _ = set_mode(&self.file, mode);
        self.file.sync_all().map_err(at(&self.place.shown.join(&self.last)))
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

/// The hash of the first `bytes`, or of all if it has become shorter; `None` if nobody wants it any more.
fn hash_of(file: &mut File, bytes: u64, is_gone: &dyn Fn() -> bool) -> io::Result<Option<Sha256>> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; READ_BYTES]);
    file.seek(SeekFrom::Start(0))?;
    let mut file = file.take(bytes);
    loop {
        if is_gone() {
            return Ok(None);
        }
        match file.read(&mut buffer)? {
            0 => return Ok(Some(hash)),
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
    Some(format!("{UNFINISHED}{}", hex(&hash.finalize()[..8])))
}

/// Opens the regular file `name`; `None` if it is not there or is something else.
fn open_regular(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<Option<File>> {
    // Without NONBLOCK a FIFO would wait for its other end.
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => {
            let found = rustix::fs::fstat(&file)?;
            let is_regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
            Ok(is_regular.then(|| File::from(file)))
        }
        // Somebody else's, a directory, a link: not ours to use. The disk's own troubles are everybody's.
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::ROFS)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// What came of an attempt to have an unfinished file for oneself.
enum Opened {
    Ours(File),
    /// Another copy writes it.
    Busy,
    /// There is none that can be used.
    None,
}

fn open_locked(directory: &OwnedFd, name: &str) -> io::Result<Opened> {
    let Some(file) = open_regular(directory, name, OFlags::RDWR)? else { return Ok(Opened::None) };
    match lock(&file) {
        Lock::Got => {}
        Lock::Busy => return Ok(Opened::Busy),
        Lock::None => return Ok(Opened::None),
    }
    // After the lock: between opening and locking it a sweep may have removed it, or a copy given it its final
    // name. Both do so while they hold the lock.
    let found = rustix::fs::fstat(&file)?;
    let is_ours = found.st_nlink == 1 && found.st_uid == rustix::process::geteuid().as_raw();
    Ok(if is_ours && is_named(&file, directory, name)? { Opened::Ours(file) } else { Opened::None })
}

/// Whether `file` is what `name` names.
fn is_named(file: &File, directory: &OwnedFd, name: &str) -> io::Result<bool> {
    let found = rustix::fs::fstat(file)?;
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((found.st_dev, found.st_ino) == (named.st_dev, named.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens the unfinished file `name` and locks it; `None` if there is none to use. A copy that was broken off a moment ago
/// may still hold it.
fn open_own(sender: &mut Sender, directory: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    loop {
        match open_locked(directory, name)? {
            Opened::Ours(file) => return Ok(Some(file)),
            Opened::None => return Ok(None),
            Opened::Busy if sender.patience < LOOK || (sender.is_gone)() => return Ok(None),
            Opened::Busy => {
                std::thread::sleep(LOOK);
                sender.patience -= LOOK;
            }
        }
    }
}

/// As [`open_own`], and makes it if it is not there. `None` also where there are no locks: two copies that went on with one file
/// could take it for whole while the other one cuts it short.
fn create_own(sender: &mut Sender, directory: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let file = File::from(file);
            let got = lock(&file);
            let is_named = is_named(&file, directory, name)?;
            match got {
                Lock::Got if is_named => Ok(Some(file)),
                // Between making and locking it another copy has found it, and may be writing it: the name is not ours to
                // remove.
                Lock::Got | Lock::Busy => open_own(sender, directory, name),
                // Nobody has a lock here, and nobody would write it.
                Lock::None => {
                    if is_named {
                        let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
                    }
                    Ok(None)
                }
            }
        }
        Err(Errno::EXIST) => open_own(sender, directory, name),
        Err(error) => Err(error.into()),
    }
}

/// A name for something unfinished that nothing else has.
pub(super) fn random_name() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{UNFINISHED}{}", hex(&random)))
}

/// A new file with a name of its own, locked where there are locks.
fn random(directory: &OwnedFd) -> io::Result<(String, File)> {
    loop {
        let name = random_name()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let file = File::from(file);
        // A sweep may have come between making it and locking it. Without locks it goes by age, and this is new.
        if lock(&file) != Lock::Got || rustix::fs::fstat(&file)?.st_nlink > 0 {
            return Ok((name, file));
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
