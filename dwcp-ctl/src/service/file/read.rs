//! The sender's disk: reads what is to be sent, once the receiver has said what it has of it, and keeps account of what
//! the receiver has confirmed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::part::hex;
use super::send::{CopyResult, LeftOut};
use super::{Directory, End, FileHead, Frame, IntakeError, Kind, Link, Prefix, Reply, Source};
use crate::service::ServiceError;

/// Files that are asked about before the first of them is sent: with small files and a far receiver the answers
/// are there when they are needed.
const AHEAD: usize = 64;

/// Read at a time to compare, bytes: after each it is seen whether anybody still waits, and told how far it has come.
const COMPARED_BYTES: usize = 1 << 20;

/// Reads sources and writes messages, on a thread that may block.
pub(super) struct SourceReader {
    /// The lower version of both ends.
    version: u32,
    /// Most bytes of file in one message.
    piece_bytes: usize,
    /// None once there is nothing more to say: only answers are waited for.
    to_network: Option<mpsc::Sender<Vec<u8>>>,
    replies: mpsc::UnboundedReceiver<Reply>,
    notes: mpsc::UnboundedSender<Note>,
    /// What the receiver was asked about, by name.
    asked: HashMap<String, Asked>,
    /// To be sent next.
    ready: VecDeque<Begun>,
    /// Sent, and not confirmed, by name.
    ending: HashMap<String, Ending>,
    /// Given up at this end; the receiver may have refused it at the same time.
    given_up: HashSet<String>,
    /// Answers that came while a file was under way: what they lead to would be a message within it.
    deferred: VecDeque<Reply>,
}

/// What has come of something.
#[derive(Debug)]
pub(super) enum Note {
    /// A file is of another length than it was when it was counted.
    Length { before: u64, now: u64 },
    /// So many bytes were read to be compared with what the receiver has.
    Compared(u64),
    /// Of these, so many need not be sent.
    Resumed(u64),
    /// Of these, so many are to be sent all the same.
    Differs(u64),
    /// A file is confirmed.
    Saved(CopyResult),
    /// A link is.
    Linked,
    /// A directory is.
    Made,
    /// It was not copied.
    Failed(LeftOut),
}

/// A question.
enum Asked {
    /// What there is of it.
    Offered(Source),
    /// Whether that is how it begins.
    Compared(Begun),
}

/// What is to be confirmed.
enum Ending {
    File { bytes: u64, sha256: String, resumed_bytes: u64 },
    Link,
    Directory,
}

/// A file that is sent from somewhere on.
struct Begun {
    source: Source,
    /// Opened, and read up to there, if that is not the beginning.
    file: Option<File>,
    hash: Sha256,
    from: u64,
}

impl Begun {
    fn anew(source: Source) -> Self {
        Self { source, file: None, hash: Sha256::new(), from: 0 }
    }
}

/// Why the reader stops early.
enum Stop {
    /// The network gave up; it says why.
    Gone,
    Failed(ServiceError),
}

impl SourceReader {
    pub(super) fn new(
        version: u32,
        piece_bytes: usize,
        to_network: mpsc::Sender<Vec<u8>>,
        replies: mpsc::UnboundedReceiver<Reply>,
        notes: mpsc::UnboundedSender<Note>,
    ) -> Self {
        Self {
            version,
            piece_bytes,
            to_network: Some(to_network),
            replies,
            notes,
            asked: HashMap::new(),
            ready: VecDeque::new(),
            ending: HashMap::new(),
            given_up: HashSet::new(),
            deferred: VecDeque::new(),
        }
    }

    /// Sends all of `sources` and waits until each is confirmed. If they are more than the `room_bytes` of the
    /// receiver it first asks what is there already, and sends nothing if that does not make them fit.
    ///
    /// # Errors
    /// What ends the copy. A file that cannot be read does not, from version 2 on: it is among the notes.
    pub(super) fn run(
        mut self,
        mut sources: Vec<Source>,
        room_bytes: Option<u64>,
        place: &str,
    ) -> Result<(), ServiceError> {
        let all: u64 = sources.iter().map(Source::bytes).sum();
        let result = match room_bytes.filter(|room| self.version >= 2 && all > *room) {
            Some(room) => self.survey(&mut sources, room, place).and_then(|()| self.send(sources)),
            None => self.send(sources),
        };
        match result {
            Ok(()) | Err(Stop::Gone) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Asks about every file; `room_bytes` have to be enough for what is missing. What is refused is sent no more.
    fn survey(
        &mut self,
        sources: &mut Vec<Source>,
        room_bytes: u64,
        place: &str,
    ) -> Result<(), Stop> {
        let (mut wanted_bytes, mut refused) = (0_u64, HashSet::new());
        let mut open: HashMap<&str, u64> = HashMap::new();
        let mut files = sources.iter().filter(|source| source.is_file());
        loop {
            while open.len() < AHEAD
                && let Some(source) = files.next()
            {
                self.put(&Frame::Offer(head(source, 0)))?;
                open.insert(&source.name, source.bytes());
            }
            if open.is_empty() {
                break;
            }
            match self.replies.blocking_recv().ok_or(Stop::Gone)? {
                Reply::Has { name, bytes } => {
                    let length = open.remove(&*name).ok_or_else(|| unasked(&name))?;
                    wanted_bytes = wanted_bytes.saturating_add(length.saturating_sub(bytes));
                }
                Reply::Refused { name, message } => {
                    open.remove(&*name).ok_or_else(|| unasked(&name))?;
                    self.note(Note::Failed(LeftOut::new(&name, message)));
                    refused.insert(name);
                }
                other => self.take(other)?,
            }
        }
        if wanted_bytes > room_bytes {
            let path = place.to_owned();
            let full = IntakeError::Full { path, free_bytes: room_bytes, wanted_bytes };
            return Err(Stop::Failed(ServiceError::Refused(full.to_string())));
        }
        sources.retain(|source| !refused.contains(&source.name));
        Ok(())
    }

    fn send(&mut self, sources: Vec<Source>) -> Result<(), Stop> {
        let mut sources = sources.into_iter();
        loop {
            while self.asked.len() + self.ready.len() < AHEAD
                && let Some(source) = sources.next()
            {
                self.begin(source)?;
            }
            while let Some(reply) = self.deferred.pop_front() {
                self.take(reply)?;
            }
            while let Ok(reply) = self.replies.try_recv() {
                self.take(reply)?;
            }
            if let Some(next) = self.ready.pop_front() {
                self.transfer(next)?;
                continue;
            }
            if self.asked.is_empty() && sources.len() == 0 {
                // The channel's end goes with the last file, not a round trip behind its confirmation.
                self.to_network = None;
            }
            if self.to_network.is_none() && self.ending.is_empty() {
                return Ok(());
            }
            let reply = self.replies.blocking_recv().ok_or(Stop::Gone)?;
            self.take(reply)?;
        }
    }

    fn begin(&mut self, mut source: Source) -> Result<(), Stop> {
        match &source.kind {
            Kind::Directory => {
                self.ending.insert(source.name.clone(), Ending::Directory);
                self.put(&Frame::Directory(Directory { name: source.name }))
            }
            Kind::Link { .. } if self.version < 2 => {
                let why = "the receiver is of a version that has no links";
                self.note(Note::Failed(LeftOut::new(&source.name, why)));
                Ok(())
            }
            Kind::Link { target } => {
                let target = target.clone();
                self.ending.insert(source.name.clone(), Ending::Link);
                self.put(&Frame::Link(Link { name: source.name, target }))
            }
            Kind::File { .. } if self.version < 2 => {
                self.ready.push_back(Begun::anew(source));
                Ok(())
            }
            Kind::File { .. } => {
                // It may have been written since the walk.
                match open(&source) {
                    Ok((_, kind)) => self.is_now(&mut source, kind),
                    Err(error) => return self.fail(&source, &error.to_string()),
                }
                self.put(&Frame::Offer(head(&source, 0)))?;
                self.asked.insert(source.name.clone(), Asked::Offered(source));
                Ok(())
            }
        }
    }

    /// What the receiver says about something that is not under way.
    fn take(&mut self, reply: Reply) -> Result<(), Stop> {
        match reply {
            Reply::Has { name, bytes } => {
                let Some(Asked::Offered(source)) = self.asked.remove(&name) else {
                    return Err(unasked(&name));
                };
                match bytes {
                    0 => self.ready.push_back(Begun::anew(source)),
                    bytes if bytes > source.bytes() => return Err(unasked(&name)),
                    bytes => self.compare(source, bytes)?,
                }
            }
            Reply::Same { name } => {
                let Some(Asked::Compared(begun)) = self.asked.remove(&name) else {
                    return Err(unasked(&name));
                };
                self.ready.push_back(begun);
            }
            Reply::Differs { name } => {
                let Some(Asked::Compared(begun)) = self.asked.remove(&name) else {
                    return Err(unasked(&name));
                };
                self.note(Note::Differs(begun.from));
                self.ready.push_back(Begun::anew(begun.source));
            }
            Reply::Saved { name, bytes, sha256 } => self.saved(name, bytes, &sha256)?,
            Reply::Made { name } => match self.ending.remove(&name) {
                Some(Ending::Link) => self.note(Note::Linked),
                Some(Ending::Directory) => self.note(Note::Made),
                Some(Ending::File { .. }) | None => return Err(unasked(&name)),
            },
            Reply::Refused { name, message } => {
                let asked = self.asked.remove(&name);
                if let Some(Asked::Compared(begun)) = &asked {
                    self.note(Note::Differs(begun.from));
                }
                let was_there = asked.is_some() || self.ending.remove(&name).is_some();
                match was_there {
                    true => self.note(Note::Failed(LeftOut::new(&name, message))),
                    false if self.given_up.remove(&name) => {}
                    false => return Err(unasked(&name)),
                }
            }
            Reply::Failed { message } => {
                return Err(Stop::Failed(ServiceError::Refused(message)));
            }
            Reply::Ready { .. } => return Err(unasked("")),
        }
        Ok(())
    }

    /// A file is on the receiver's disk, with the checksum that it has here.
    fn saved(&mut self, name: String, bytes: u64, sha256: &str) -> Result<(), Stop> {
        let (ours, ours_sha256, resumed_bytes) = match self.asked.remove(&name) {
            Some(Asked::Compared(begun)) if begun.from == begun.source.bytes() => {
                self.note(Note::Resumed(begun.from));
                (begun.from, hex(&begun.hash.finalize()), begun.from)
            }
            Some(_) => return Err(unasked(&name)),
            None => match self.ending.remove(&name) {
                Some(Ending::File { bytes, sha256, resumed_bytes }) => {
                    (bytes, sha256, resumed_bytes)
                }
                Some(_) | None => return Err(unasked(&name)),
            },
        };
        if bytes != ours || !sha256.eq_ignore_ascii_case(&ours_sha256) {
            let what = format!("`{name}` confirmed with another length or checksum");
            return Err(Stop::Failed(ServiceError::Malformed(what)));
        }
        self.note(Note::Saved(CopyResult { name, bytes, sha256: ours_sha256, resumed_bytes }));
        Ok(())
    }

    /// Says what the file begins with, of which the receiver has `bytes`.
    fn compare(&mut self, mut source: Source, bytes: u64) -> Result<(), Stop> {
        let (file, kind) = match open(&source) {
            Ok(opened) => opened,
            Err(error) => return self.fail(&source, &error.to_string()),
        };
        if kind != source.kind {
            // The receiver has spoken of a state that is no more.
            self.is_now(&mut source, kind);
            self.ready.push_back(Begun::anew(source));
            return Ok(());
        }
        match self.read_prefix(&file, bytes)? {
            Ok(hash) => {
                let sha256 = hex(&hash.clone().finalize());
                let head = head(&source, 0);
                let name = head.name.clone();
                self.put(&Frame::Prefix(Prefix { head, held: bytes, sha256 }))?;
                let begun = Begun { source, file: Some(file), hash, from: bytes };
                self.asked.insert(name, Asked::Compared(begun));
                Ok(())
            }
            Err(error) => self.fail(&source, &error.to_string()),
        }
    }

    /// Hashes the first `bytes` of `file`. With a large file that takes long: it is left when the network has given up.
    fn read_prefix(&self, file: &File, bytes: u64) -> Result<io::Result<Sha256>, Stop> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; COMPARED_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX))];
        let mut read = 0;
        while read < bytes {
            if self.to_network.as_ref().is_none_or(mpsc::Sender::is_closed) {
                return Err(Stop::Gone);
            }
            let error = match file.take(bytes - read).read(&mut buffer) {
                Ok(0) => io::Error::other("became shorter while it was sent"),
                Ok(got) => {
                    hash.update(&buffer[..got]);
                    read += got as u64;
                    self.note(Note::Compared(got as u64));
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.note(Note::Differs(read));
            return Ok(Err(error));
        }
        Ok(Ok(hash))
    }

    /// What is to be read of a file, opened: from where the receiver has it, or all of it as it is now.
    fn reopen(&self, begun: Begun) -> Result<(Begun, File), (Source, io::Error)> {
        let Begun { mut source, file, hash, from } = begun;
        if let Some(file) = file {
            if file.metadata().is_ok_and(|now| Kind::of_file(&now) == source.kind) {
                self.note(Note::Resumed(from));
                return Ok((Begun { source, file: None, hash, from }, file));
            }
            // It has been written since it was compared, and that may have been anywhere.
            self.note(Note::Differs(from));
        }
        match open(&source) {
            Ok((file, kind)) => {
                self.is_now(&mut source, kind);
                Ok((Begun::anew(source), file))
            }
            Err(error) => Err((source, error)),
        }
    }

    /// Sends one file, from where it has come to.
    fn transfer(&mut self, begun: Begun) -> Result<(), Stop> {
        let (begun, mut file) = match self.reopen(begun) {
            Ok(opened) => opened,
            Err((source, error)) => return self.fail(&source, &error.to_string()),
        };
        let Begun { source, mut hash, from, .. } = begun;
        let mut head = head(&source, from);
        if self.version < 2 {
            head.mtime_ns = None;
        }
        self.put(&Frame::File(head))?;
        let mut left = source.bytes() - from;
        while left > 0 {
            while let Ok(reply) = self.replies.try_recv() {
                match reply {
                    Reply::Refused { name, message } if name == source.name => {
                        self.note(Note::Failed(LeftOut::new(name, message)));
                        return Ok(());
                    }
                    other => self.deferred.push_back(other),
                }
            }
            let want = left.min(self.piece_bytes as u64);
            let mut buffer = Frame::data_buffer(want as usize);
            match (&mut file).take(want).read_to_end(&mut buffer) {
                Ok(0) => return self.abandon(&source, "became shorter while it was sent"),
                Ok(got) => left -= got as u64,
                Err(error) => return self.abandon(&source, &error.to_string()),
            }
            // Half of one state and half of another is no copy of any, however much of it is still to come.
            let is_unchanged = file.metadata().is_ok_and(|now| Kind::of_file(&now) == source.kind);
            if self.version >= 2 && !is_unchanged {
                return self.abandon(&source, "was written while it was sent; copy it again");
            }
            hash.update(&buffer[1..]);
            self.say(buffer)?;
        }
        let (bytes, sha256) = (source.bytes(), hex(&hash.finalize()));
        let ending = Ending::File { bytes, sha256: sha256.clone(), resumed_bytes: from };
        self.ending.insert(source.name, ending);
        self.put(&Frame::End(End { sha256 }))
    }

    /// `source` is of this `kind` now.
    fn is_now(&self, source: &mut Source, kind: Kind) {
        let before = source.bytes();
        source.kind = kind;
        let now = source.bytes();
        if now != before {
            self.note(Note::Length { before, now });
        }
    }

    fn put(&self, frame: &Frame<'_>) -> Result<(), Stop> {
        self.say(frame.encode())
    }

    fn say(&self, message: Vec<u8>) -> Result<(), Stop> {
        let to_network = self.to_network.as_ref().ok_or(Stop::Gone)?;
        to_network.blocking_send(message).map_err(|_| Stop::Gone)
    }

    fn note(&self, note: Note) {
        // Whoever does not take it has given up.
        let _ = self.notes.send(note);
    }

    /// The file under way comes no further.
    fn abandon(&mut self, source: &Source, why: &str) -> Result<(), Stop> {
        if self.version >= 2 {
            self.put(&Frame::Abandon)?;
            self.given_up.insert(source.name.clone());
        }
        self.fail(source, why)
    }

    /// `source` is not sent. To a receiver of version 1 no more is, either: it knows no file that is given up.
    fn fail(&self, source: &Source, why: &str) -> Result<(), Stop> {
        if self.version < 2 {
            let what = format!("{}: cannot be sent", source.path.display());
            return Err(Stop::Failed(ServiceError::Io { what, source: io::Error::other(why) }));
        }
        self.note(Note::Failed(LeftOut::new(&source.name, why)));
        Ok(())
    }
}

/// The receiver speaks of what it was not asked about.
fn unasked(name: &str) -> Stop {
    Stop::Failed(ServiceError::Malformed(format!("a word about `{name}` that nobody asked for")))
}

fn head(source: &Source, from: u64) -> FileHead {
    let (bytes, mode, mtime_ns) = match source.kind {
        Kind::File { bytes, mode, mtime_ns, .. } => (bytes, mode, Some(mtime_ns)),
        Kind::Directory | Kind::Link { .. } => (0, 0, None),
    };
    FileHead { name: source.name.clone(), bytes, mode, mtime_ns, from }
}

/// Opens a file, and tells what it is now. Below the tree that was named no link is followed: whoever owns the tree may have
/// put one there since the walk, and the daemon may read more than they may.
fn open(source: &Source) -> io::Result<(File, Kind)> {
    // Without NONBLOCK a FIFO would wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match &source.root {
        None => rustix::fs::openat(CWD, &source.path, flags, Mode::empty())?,
        Some(root) => {
            let below = source.path.strip_prefix(root).map_err(io::Error::other)?;
            let top = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
            let top = rustix::fs::openat(CWD, &**root, top, Mode::empty())?;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(top, below, flags, Mode::empty(), resolve)?
        }
    };
    let file = File::from(file);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("is no regular file any more"));
    }
    Ok((file, Kind::of_file(&found)))
}

impl Kind {
    /// The file that `metadata` is of.
    pub(super) fn of_file(metadata: &fs::Metadata) -> Self {
        let ns =
            |seconds: i64, part: i64| seconds.saturating_mul(1_000_000_000).saturating_add(part);
        Self::File {
            bytes: metadata.len(),
            mode: metadata.permissions().mode(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
