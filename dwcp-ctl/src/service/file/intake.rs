//! The receiving side of `file/1` without a network: messages in, files and replies out.
//!
//! A file is written under a temporary name and renamed only after its checksum was right and its bytes are on
//! disk. What a copy that breaks off leaves of a file is the beginning of the next copy of the same file, if the
//! sender's file begins with the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::AtFlags;
use sha2::{Digest, Sha256};

use super::disk::{Disk, Promise};
use super::intake_error::{IntakeError, at};
use super::part::{Part, Sender, Waiting, Whole, random_name};
use super::protocol::{
    Begin, Directory, ENTRIES_MAX, FileHead, Frame, Link, Prefix, Reply, VERSION,
};
use super::tree::{DEPTH_MAX, Place, count, descend, find, open_root, parts, stays_below};

/// Files whose beginning is known to be right and that wait for the rest.
const RESUMED_MAX: usize = 64;
/// Most questions and refusals of one copy: an honest sender asks twice about a file at most.
const QUESTIONS_MAX: u64 = 4 * ENTRIES_MAX;
/// How long all files of a copy may wait for a copy of the same files that is about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The first half of a name's SHA-256: nobody finds two names that have the same.
type NameHash = [u8; 16];

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

/// Takes one copy's messages.
pub struct Intake {
    reception: Reception,
    disk: Arc<Disk>,
    sender: Sender,
    /// Questions that may still be asked.
    questions_left: u64,
    /// Files of which a prefix was compared: once is enough, and costs a reading. The sender makes the names up, and may
    /// make up long ones: what is kept of each has one size, and there are as many as a copy has files.
    compared: HashSet<NameHash>,
    /// The lower one of both ends.
    version: u32,
    verify: bool,
    directory: Option<Place>,
    /// Files and directories that may still come.
    entries_left: u64,
    /// The parts of the directory that was last made below `directory`: each is on disk.
    last: Vec<String>,
    file: Option<Incoming>,
    /// By name.
    resumed: BTreeMap<String, Waiting>,
    /// The file under way was refused: the rest of it is on its way.
    is_refused: bool,
}

/// The file under way.
struct Incoming {
    part: Part,
    left: u64,
    /// Room on the disk for what is left.
    promise: Promise,
}

impl Intake {
    /// An intake of what `peer` sends, by the rules of `reception`; whether it may send has been looked at.
    /// All intakes that share a disk share `disk`. What takes long is left when `is_gone`.
    pub fn new(
        reception: Reception,
        disk: Arc<Disk>,
        peer: &str,
        is_gone: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        let (peer, is_gone) = (peer.to_owned(), Box::new(is_gone));
        Self {
            reception,
            disk,
            sender: Sender { peer, is_gone, patience: PATIENCE },
            questions_left: QUESTIONS_MAX,
            compared: HashSet::new(),
            version: 1,
            verify: false,
            directory: None,
            entries_left: ENTRIES_MAX,
            last: Vec::new(),
            file: None,
            resumed: BTreeMap::new(),
            is_refused: false,
        }
    }

    /// Takes one message; returns what to reply, if anything.
    ///
    /// # Errors
    /// [`IntakeError`]; the intake is over. What came of the file under way stays if the sender may go on from
    /// there later, and is gone otherwise.
    pub fn take(&mut self, message: &[u8]) -> Result<Option<Reply>, IntakeError> {
        let frame = Frame::decode(message)?;
        if self.is_refused && matches!(frame, Frame::Data(_) | Frame::End(_) | Frame::Abandon) {
            self.is_refused = matches!(frame, Frame::Data(_));
            return Ok(None);
        }
        self.is_refused = false;
        let is_content = matches!(frame, Frame::File(_) | Frame::Data(_));
        let name = match &frame {
            Frame::File(head) | Frame::Offer(head) => Some(head.name.clone()),
            Frame::Prefix(prefix) => Some(prefix.head.name.clone()),
            Frame::Directory(directory) => Some(directory.name.clone()),
            Frame::Link(link) => Some(link.name.clone()),
            Frame::Begin(_) | Frame::Data(_) | Frame::End(_) | Frame::Abandon => {
                self.file.as_ref().map(|file| file.part.head.name.clone())
            }
        };
        match (self.step(frame), name) {
            (Err(error), Some(name)) if self.version >= 2 && error.is_of_one_entry() => {
                self.ask()?;
                self.drop_file();
                self.is_refused = is_content;
                Ok(Some(Reply::Refused { name, message: error.to_string() }))
            }
            (Err(error @ (IntakeError::Full { .. } | IntakeError::NoSpace { .. })), _) => {
                // The room is worth more than what came.
                self.drop_file();
                Err(error)
            }
            (result, _) => result,
        }
    }

    /// One question more.
    fn ask(&mut self) -> Result<(), IntakeError> {
        let left = self.questions_left.checked_sub(1);
        self.questions_left =
            left.ok_or_else(|| IntakeError::Unexpected("more questions than a copy has".into()))?;
        Ok(())
    }

    fn step(&mut self, frame: Frame<'_>) -> Result<Option<Reply>, IntakeError> {
        let (what, is_between) = match &frame {
            Frame::Begin(_) => ("a second beginning", false),
            Frame::File(_) => ("a file", true),
            Frame::Offer(_) => ("an offer", true),
            Frame::Prefix(_) => ("a prefix", true),
            Frame::Directory(_) => ("a directory", true),
            Frame::Link(_) => ("a link", true),
            Frame::Data(_) => ("data outside a file", false),
            Frame::End(_) => ("an end outside a file", false),
            Frame::Abandon => ("an abandonment outside a file", false),
        };
        if is_between && (self.directory.is_none() || self.file.is_some()) {
            let place = if self.file.is_some() { "within a file" } else { "before the beginning" };
            return Err(IntakeError::Unexpected(format!("{what} {place}")));
        }
        let is_of_2 =
            matches!(frame, Frame::Offer(_) | Frame::Prefix(_) | Frame::Link(_) | Frame::Abandon);
        if is_of_2 && self.version < 2 {
            return Err(IntakeError::Unexpected(format!("{what} in version 1")));
        }
        match frame {
            Frame::Begin(begin) => self.begin(&begin),
            Frame::Offer(head) => self.look(&head),
            Frame::Prefix(prefix) => self.compare(&prefix),
            Frame::File(head) => self.open(&head),
            Frame::Data(data) => self.write(data),
            Frame::End(end) => self.close(&end.sha256),
            Frame::Abandon => match self.file.is_some() {
                true => {
                    self.drop_file();
                    Ok(None)
                }
                false => Err(IntakeError::Unexpected(what.into())),
            },
            Frame::Directory(directory) => self.make(directory),
            Frame::Link(link) => self.link(link),
        }
    }

    /// Whether a file is under way.
    pub fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    fn drop_file(&mut self) {
        if let Some(file) = self.file.take() {
            file.part.remove();
        }
    }

    fn begin(&mut self, begin: &Begin) -> Result<Option<Reply>, IntakeError> {
        if self.directory.is_some() {
            return Err(IntakeError::Unexpected("a second beginning".into()));
        }
        if begin.files > self.entries_left {
            return Err(IntakeError::TooMany { name: format!("{} files", begin.files) });
        }
        let root = &self.reception.directory;
        let parts = parts(&begin.directory, true)?;
        let from = Place { directory: open_root(root)?, shown: root.clone() };
        // The sender did not count the way to its directory; it is short.
        let place = descend(&self.disk, from, &parts, 0, &mut DEPTH_MAX.clone())?;
        self.version = begin.version.min(VERSION);
        self.verify = begin.verify;
        // What the sender says is only worth an early refusal: each file is looked at again. Of what a sender of
        // version 2 says there may be something already.
        let room = self.disk.room(&place.directory, self.reception.keep_free_bytes);
        let room = room.map_err(at(&place.shown))?;
        if self.version < 2 && begin.bytes > room {
            return Err(no_room(&self.disk, &place, begin.bytes, room));
        }
        self.directory = Some(place);
        Ok(Some(Reply::Ready { version: VERSION, room_bytes: Some(room) }))
    }

    /// Tells what there is of a file.
    fn look(&mut self, head: &FileHead) -> Result<Option<Reply>, IntakeError> {
        let name = head.name.clone();
        self.ask()?;
        let parts = parts(&name, false)?;
        self.check_size(head)?;
        let (last, above) = parts.split_last().expect("a file's name has a part");
        let mut bytes = 0;
        if let Some(place) = find(self.root()?, above) {
            // What was begun is more likely to be the sender's than what is there, and of the same length by chance.
            let left = Part::left_behind(&mut self.sender, head, &place.directory);
            bytes = left.map_err(at(&place.shown))?;
            if bytes == 0 && Whole::find(place, last, head.bytes).is_ok() {
                bytes = head.bytes;
            }
        }
        Ok(Some(Reply::Has { name, bytes }))
    }

    /// Tells whether what there is of a file is what the sender has.
    fn compare(&mut self, prefix: &Prefix) -> Result<Option<Reply>, IntakeError> {
        let Prefix { head, held, sha256 } = prefix;
        let name = head.name.clone();
        self.ask()?;
        let parts = parts(&name, false)?;
        self.check_size(head)?;
        if *held > head.bytes {
            return Err(IntakeError::Unexpected("a prefix longer than its file".into()));
        }
        if self.compared.len() as u64 >= ENTRIES_MAX {
            return Err(IntakeError::TooMany { name });
        }
        if !self.compared.insert(hash_of_name(&name)) {
            return Err(IntakeError::Unexpected("a second prefix of the same file".into()));
        }
        let (last, above) = parts.split_last().expect("a file's name has a part");
        let differs = || Ok(Some(Reply::Differs { name: name.clone() }));
        if *held == 0 {
            return differs();
        }
        let Some(mut place) = find(self.root()?, above) else { return differs() };
        if *held == head.bytes {
            place = match Whole::find(place, last, head.bytes) {
                Ok(mut whole) => {
                    if whole.is(&self.sender, sha256, self.verify)? {
                        whole.keep(head.mode)?;
                        count(&mut self.entries_left, &name)?;
                        // Its name, and those above it, may have been made a moment ago, by somebody else.
                        let above = self.below(above)?;
                        self.disk.sync(&above.directory).map_err(at(&above.shown))?;
                        let (bytes, sha256) = (head.bytes, sha256.to_ascii_lowercase());
                        return Ok(Some(Reply::Saved { name, bytes, sha256 }));
                    }
                    whole.into_place()
                }
                Err(place) => place,
            };
        }
        if self.resumed.len() >= RESUMED_MAX {
            return Err(IntakeError::Unexpected("more files to go on with than may wait".into()));
        }
        let resumed = Part::resume(&mut self.sender, head, place, last, *held)?;
        let Some(part) = resumed else { return differs() };
        if !part.sha256().eq_ignore_ascii_case(sha256) {
            part.remove();
            return differs();
        }
        self.resumed.insert(name.clone(), part.wait());
        Ok(Some(Reply::Same { name }))
    }

    fn open(&mut self, head: &FileHead) -> Result<Option<Reply>, IntakeError> {
        let resumed = self.resumed.remove(&head.name);
        let parts = parts(&head.name, false)?;
        self.check_size(head)?;
        count(&mut self.entries_left, &head.name)?;
        let (last, above) = parts.split_last().expect("a file's name has a part");
        let (from, bytes) = (head.from, head.bytes);
        let part = match resumed {
            Some(part) if part.is_for(head) => part.go_on(find(self.root()?, above))?,
            _ if from > 0 => {
                return Err(IntakeError::Unexpected("a file from where it is not".into()));
            }
            resumed => {
                // It is of a state that the sender has no more. One that is not found again is left to the sweep.
                if let Some(part) = resumed
                    && let Ok(part) = part.go_on(find(self.root()?, above))
                {
                    part.remove();
                }
                let place = self.below(above)?;
                let mtime_ns = head.mtime_ns.filter(|_| self.version >= 2);
                let head = FileHead { mtime_ns, ..head.clone() };
                Part::create(&mut self.sender, head, place, last)?
            }
        };
        let left = bytes.saturating_sub(from);
        let keep_free = self.reception.keep_free_bytes;
        let promise = self.disk.promise(&part.place().directory, left, keep_free);
        let promise = match promise.map_err(at(&part.place().shown))? {
            Ok(promise) => promise,
            // What an earlier copy brought stays: nothing is written, and the next copy has less to bring. The disk is no
            // fuller than it was; it is a file that fills it which has to make way.
            Err(room) => return Err(no_room(&self.disk, part.place(), left, room)),
        };
        self.file = Some(Incoming { part, left, promise });
        Ok(None)
    }

    fn check_size(&self, head: &FileHead) -> Result<(), IntakeError> {
        let limit_bytes = self.reception.file_bytes_max;
        if head.bytes > limit_bytes {
            let name = head.name.clone();
            return Err(IntakeError::TooLarge { name, bytes: head.bytes, limit_bytes });
        }
        Ok(())
    }

    /// Makes a directory that no file makes. One that is there already is fine.
    fn make(&mut self, wanted: Directory) -> Result<Option<Reply>, IntakeError> {
        let parts = parts(&wanted.name, false)?;
        count(&mut self.entries_left, &wanted.name)?;
        let (last, above) = parts.split_last().expect("a directory's name has a part");
        let above = self.below(above)?;
        // The message has counted for what it makes.
        let made = descend(&self.disk, above, &[last], 0, &mut 1)?;
        self.disk.sync(&made.directory).map_err(at(&made.shown))?;
        Ok(Some(Reply::Made { name: wanted.name }))
    }

    /// Makes a symbolic link, in place of what has its name if that is no directory.
    fn link(&mut self, wanted: Link) -> Result<Option<Reply>, IntakeError> {
        let Link { name, target } = wanted;
        let parts = parts(&name, false)?;
        if !stays_below(&name, &target) {
            return Err(IntakeError::Link { name, target });
        }
        count(&mut self.entries_left, &name)?;
        let (last, above) = parts.split_last().expect("a link's name has a part");
        let Place { directory, mut shown } = self.below(above)?;
        shown.push(last);
        let failed = |error: rustix::io::Errno| at(&shown)(error.into());
        let temporary = random_name().map_err(at(&shown))?;
        rustix::fs::symlinkat(&target, &directory, &temporary).map_err(failed)?;
        if let Err(error) = rustix::fs::renameat(&directory, &temporary, &directory, *last) {
            let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
            return Err(failed(error));
        }
        self.disk.sync(&directory).map_err(at(&shown))?;
        Ok(Some(Reply::Made { name }))
    }

    /// The directory of the copy, which has begun.
    fn root(&self) -> Result<Place, IntakeError> {
        let Place { directory, shown } = self.directory.as_ref().expect("the copy has begun");
        let directory = directory.try_clone().map_err(at(shown))?;
        Ok(Place { directory, shown: shown.clone() })
    }

    /// The directory `parts` below it, made where it is missing.
    fn below(&mut self, parts: &[&str]) -> Result<Place, IntakeError> {
        let known = self.last.iter().zip(parts).take_while(|(last, part)| last == *part).count();
        let from = self.root()?;
        let place = descend(&self.disk, from, parts, known, &mut self.entries_left)?;
        self.last = parts.iter().map(|part| (*part).to_owned()).collect();
        Ok(place)
    }

    fn write(&mut self, data: &[u8]) -> Result<Option<Reply>, IntakeError> {
        let Some(Incoming { part, left, promise }) = &mut self.file else {
            return Err(IntakeError::Unexpected("data outside a file".into()));
        };
        let length = data.len() as u64;
        if length > *left {
            return Err(IntakeError::Unexpected("more data than announced".into()));
        }
        // Others write to the disk, too: what was free when the file began may be gone.
        let room = self.disk.left(&part.place().directory, self.reception.keep_free_bytes);
        let room = room.map_err(at(&part.shown()))?;
        if length > room {
            return Err(no_room(&self.disk, part.place(), length, room));
        }
        part.write(data, promise)?;
        *left -= length;
        Ok(None)
    }

    fn close(&mut self, sha256: &str) -> Result<Option<Reply>, IntakeError> {
        let Some(Incoming { part, left, promise }) = self.file.take() else {
            return Err(IntakeError::Unexpected("an end outside a file".into()));
        };
        drop(promise);
        if left > 0 {
            return Err(IntakeError::Unexpected("less data than announced".into()));
        }
        let FileHead { name, bytes, .. } = part.head.clone();
        let found = part.sha256();
        if !found.eq_ignore_ascii_case(sha256) {
            part.remove();
            return Err(IntakeError::Checksum { name });
        }
        part.keep(&self.sender, &self.disk, self.verify)?;
        Ok(Some(Reply::Saved { name, bytes, sha256: found }))
    }
}

fn hash_of_name(name: &str) -> NameHash {
    let hash = Sha256::digest(name);
    std::array::from_fn(|index| hash[index])
}

/// `wanted_bytes` do not fit into the `free_bytes` that files may take.
fn no_room(disk: &Disk, place: &Place, wanted_bytes: u64, free_bytes: u64) -> IntakeError {
    let path = place.shown.display().to_string();
    match disk.left(&place.directory, 0) {
        Ok(0) => IntakeError::NoSpace { path },
        _ => IntakeError::Full { path, free_bytes, wanted_bytes },
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
