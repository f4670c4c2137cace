//! The sender's disk: reads what is to be sent, once the receiver has said what it has of it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::part::hex;
use super::send::LeftOut;
use super::{Directory, End, FileHead, Frame, IntakeError, Kind, Link, Prefix, Reply, Source};
use crate::service::ServiceError;

/// Files that are asked about before the first of them is sent: with small files and a far receiver the answers
/// are there when they are needed.
const AHEAD: usize = 64;

/// Reads sources and writes messages, on a thread that may block.
pub(super) struct SourceReader {
    /// The lower version of both ends.
    version: u32,
    /// Most bytes of file in one message.
    piece_bytes: usize,
    to_network: mpsc::Sender<Vec<u8>>,
    replies: mpsc::UnboundedReceiver<Reply>,
    /// What cannot be read.
    failures: mpsc::UnboundedSender<LeftOut>,
    /// Asked about, by name.
    offered: HashMap<String, Source>,
    /// The receiver compares their beginnings with what it has, by name.
    compared: HashMap<String, Begun>,
    /// To be sent next.
    ready: VecDeque<Begun>,
}

/// A file that is sent from somewhere on.
pub(super) struct Begun {
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
        failures: mpsc::UnboundedSender<LeftOut>,
    ) -> Self {
        let (offered, compared, ready) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { version, piece_bytes, to_network, replies, failures, offered, compared, ready }
    }

    /// Sends all of `sources`. If they are more than the `room_bytes` of the receiver it first asks what is there
    /// already, and sends nothing if that does not make them fit.
    ///
    /// # Errors
    /// What ends the copy. A file that cannot be read does not, from version 2 on: it is among the failures.
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
                    let missing = open.remove(&*name).unwrap_or(0).saturating_sub(bytes);
                    wanted_bytes = wanted_bytes.saturating_add(missing);
                }
                Reply::Refused { name, .. } => {
                    open.remove(&*name);
                    refused.insert(name);
                }
                _ => {}
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
            while self.offered.len() + self.compared.len() + self.ready.len() < AHEAD
                && let Some(source) = sources.next()
            {
                self.begin(source)?;
            }
            while let Ok(reply) = self.replies.try_recv() {
                self.take(reply)?;
            }
            if let Some(next) = self.ready.pop_front() {
                self.transfer(next)?;
            } else if self.offered.is_empty() && self.compared.is_empty() {
                return Ok(());
            } else {
                let reply = self.replies.blocking_recv().ok_or(Stop::Gone)?;
                self.take(reply)?;
            }
        }
    }

    fn begin(&mut self, mut source: Source) -> Result<(), Stop> {
        match &source.kind {
            Kind::Directory => self.put(&Frame::Directory(Directory { name: source.name })),
            Kind::Link { .. } if self.version < 2 => {
                self.fail(&source, "the receiver is of a version that has no links")
            }
            Kind::Link { target } => {
                self.put(&Frame::Link(Link { name: source.name.clone(), target: target.clone() }))
            }
            Kind::File { .. } if self.version < 2 => {
                self.ready.push_back(Begun::anew(source));
                Ok(())
            }
            Kind::File { .. } => {
                // It may have been written since the walk.
                match look(&source) {
                    Ok(kind) => source.kind = kind,
                    Err(error) => return self.fail(&source, &error.to_string()),
                }
                self.put(&Frame::Offer(head(&source, 0)))?;
                self.offered.insert(source.name.clone(), source);
                Ok(())
            }
        }
    }

    /// What the receiver says about a file that is not under way.
    fn take(&mut self, reply: Reply) -> Result<(), Stop> {
        match reply {
            Reply::Has { name, bytes } => {
                let Some(source) = self.offered.remove(&name) else { return Ok(()) };
                if bytes == 0 || bytes > source.bytes() {
                    self.ready.push_back(Begun::anew(source));
                    return Ok(());
                }
                match read_prefix(source, bytes) {
                    Ok(begun) => {
                        let sha256 = hex(&begun.hash.clone().finalize());
                        let head = head(&begun.source, 0);
                        self.put(&Frame::Prefix(Prefix { head, held: bytes, sha256 }))?;
                        self.compared.insert(name, begun);
                    }
                    Err((source, error)) => self.fail(&source, &error.to_string())?,
                }
            }
            Reply::Same { name } => self.ready.extend(self.compared.remove(&name)),
            Reply::Differs { name } => {
                let begun = self.compared.remove(&name);
                self.ready.extend(begun.map(|begun| Begun::anew(begun.source)));
            }
            Reply::Saved { name, .. } => drop(self.compared.remove(&name)),
            Reply::Refused { name, .. } => {
                self.offered.remove(&name);
                self.compared.remove(&name);
            }
            Reply::Ready { .. } | Reply::Made { .. } | Reply::Failed { .. } => {}
        }
        Ok(())
    }

    /// Sends one file, from where it has come to.
    fn transfer(&mut self, begun: Begun) -> Result<(), Stop> {
        let Begun { source, file, mut hash, from } = begun;
        let mut file = match file.map_or_else(|| File::open(&source.path), Ok) {
            Ok(file) => file,
            Err(error) => return self.fail(&source, &error.to_string()),
        };
        let mut head = head(&source, from);
        if self.version < 2 {
            head.mtime_ns = None;
        }
        self.put(&Frame::File(head))?;
        let mut left = source.bytes() - from;
        while left > 0 {
            while let Ok(reply) = self.replies.try_recv() {
                if matches!(&reply, Reply::Refused { name, .. } if *name == source.name) {
                    return Ok(());
                }
                self.take(reply)?;
            }
            let want = left.min(self.piece_bytes as u64);
            let mut buffer = Frame::data_buffer(want as usize);
            match (&mut file).take(want).read_to_end(&mut buffer) {
                Ok(0) => return self.abandon(&source, "became shorter while it was sent"),
                Ok(got) => left -= got as u64,
                Err(error) => return self.abandon(&source, &error.to_string()),
            }
            hash.update(&buffer[1..]);
            self.to_network.blocking_send(buffer).map_err(|_| Stop::Gone)?;
        }
        // Half of one state and half of another is no copy of any.
        if self.version >= 2 && !look(&source).is_ok_and(|now| now == source.kind) {
            return self.abandon(&source, "was written while it was sent; copy it again");
        }
        self.put(&Frame::End(End { sha256: hex(&hash.finalize()) }))
    }

    fn put(&self, frame: &Frame<'_>) -> Result<(), Stop> {
        self.to_network.blocking_send(frame.encode()).map_err(|_| Stop::Gone)
    }

    /// The file under way comes no further.
    fn abandon(&self, source: &Source, why: &str) -> Result<(), Stop> {
        if self.version >= 2 {
            self.put(&Frame::Abandon)?;
        }
        self.fail(source, why)
    }

    /// `source` is not sent. To a receiver of version 1 no more is, either: it knows no file that is given up.
    fn fail(&self, source: &Source, why: &str) -> Result<(), Stop> {
        if self.version < 2 {
            let what = format!("{}: cannot be sent", source.path.display());
            return Err(Stop::Failed(ServiceError::Io { what, source: io::Error::other(why) }));
        }
        let _ = self.failures.send(LeftOut::new(&source.name, why));
        Ok(())
    }
}

fn head(source: &Source, from: u64) -> FileHead {
    let (bytes, mode, mtime_ns) = match source.kind {
        Kind::File { bytes, mode, mtime_ns } => (bytes, mode, Some(mtime_ns)),
        Kind::Directory | Kind::Link { .. } => (0, 0, None),
    };
    FileHead { name: source.name.clone(), bytes, mode, mtime_ns, from }
}

/// What the file is now.
fn look(source: &Source) -> io::Result<Kind> {
    let found = fs::metadata(&source.path)?;
    if !found.is_file() {
        return Err(io::Error::other("is no regular file any more"));
    }
    Ok(Kind::of_file(&found))
}

impl Kind {
    /// The file that `metadata` is of.
    pub(super) fn of_file(metadata: &fs::Metadata) -> Self {
        let seconds = metadata.mtime().saturating_mul(1_000_000_000);
        let mtime_ns = seconds.saturating_add(metadata.mtime_nsec());
        Self::File { bytes: metadata.len(), mode: metadata.permissions().mode(), mtime_ns }
    }
}

/// Reads the first `bytes` of a file.
fn read_prefix(source: Source, bytes: u64) -> Result<Begun, (Source, io::Error)> {
    let read = || {
        let mut file = File::open(&source.path)?;
        let mut hash = HashWriter(Sha256::new());
        if io::copy(&mut (&mut file).take(bytes), &mut hash)? < bytes {
            return Err(io::Error::other("became shorter while it was sent"));
        }
        Ok((file, hash.0))
    };
    match read() {
        Ok((file, hash)) => Ok(Begun { source, file: Some(file), hash, from: bytes }),
        Err(error) => Err((source, error)),
    }
}

/// Hashes what is written to it.
struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver that answers by `answer`, in `version`: what it was sent, and what failed. In place of data: how
    /// much it was.
    fn converse(
        version: u32,
        sources: Vec<Source>,
        room_bytes: Option<u64>,
        mut answer: impl FnMut(&Frame<'_>) -> Option<Reply>,
    ) -> (Result<(), ServiceError>, Vec<String>, Vec<LeftOut>) {
        let (to_network, mut from_disk) = mpsc::channel(1);
        let (to_disk, replies) = mpsc::unbounded_channel();
        let (failures, mut failed) = mpsc::unbounded_channel();
        let reader = SourceReader::new(version, 4, to_network, replies, failures);
        let reading = std::thread::spawn(move || reader.run(sources, room_bytes, "b:in"));
        let mut said = Vec::new();
        while let Some(message) = from_disk.blocking_recv() {
            let frame = Frame::decode(&message).unwrap();
            said.push(match &frame {
                Frame::Offer(head) => format!("offer {}", head.name),
                Frame::Prefix(Prefix { head, held, .. }) => format!("prefix {} {held}", head.name),
                Frame::File(FileHead { name, from, mtime_ns, .. }) => {
                    format!("file {name} {from}{}", if mtime_ns.is_some() { " kept" } else { "" })
                }
                Frame::Data(data) => format!("data {}", data.len()),
                Frame::End(_) => "end".into(),
                Frame::Directory(directory) => format!("directory {}", directory.name),
                other => format!("{other:?}"),
            });
            if let Some(reply) = answer(&frame) {
                to_disk.send(reply).unwrap();
            }
        }
        let left_out = std::iter::from_fn(|| failed.try_recv().ok()).collect();
        (reading.join().unwrap(), said, left_out)
    }

    fn source(room: &tempfile::TempDir, name: &str, content: &[u8]) -> Source {
        let path = room.path().join(name);
        fs::write(&path, content).unwrap();
        let kind = Kind::of_file(&fs::metadata(&path).unwrap());
        Source { path, name: name.into(), kind }
    }

    #[test]
    fn a_receiver_of_version_1_is_asked_nothing() {
        let room = tempfile::tempdir().unwrap();
        let hollow = Source { path: "h".into(), name: "h".into(), kind: Kind::Directory };
        let sources = vec![source(&room, "a", b"hello"), hollow];
        let (result, said, failed) = converse(1, sources.clone(), None, |_| None);
        result.unwrap();
        assert_eq!(said, ["directory h", "file a 0", "data 4", "data 1", "end"]);
        assert!(failed.is_empty());
        // It knows no file that is given up.
        fs::remove_file(&sources[0].path).unwrap();
        let (result, _, _) = converse(1, sources, None, |_| None);
        assert!(result.unwrap_err().to_string().contains("cannot be sent"));
    }

    #[test]
    fn files_go_on_from_where_the_receiver_has_them() {
        let room = tempfile::tempdir().unwrap();
        let names = ["new", "begun", "there", "other", "refused", "lies"];
        let sources = names.map(|name| source(&room, name, b"hello")).to_vec();
        let name = |head: &FileHead| head.name.clone();
        let (result, said, failed) = converse(2, sources, Some(1_000), |frame| match frame {
            Frame::Offer(head) => Some(match &*head.name {
                "new" => Reply::Has { name: name(head), bytes: 0 },
                "begun" => Reply::Has { name: name(head), bytes: 3 },
                "refused" => Reply::Refused { name: name(head), message: "no".into() },
                "lies" => Reply::Has { name: name(head), bytes: 6 },
                _ => Reply::Has { name: name(head), bytes: 5 },
            }),
            Frame::Prefix(Prefix { head, sha256, .. }) => Some(match &*head.name {
                "begun" => {
                    assert_eq!(*sha256, hex(&Sha256::digest(b"hel")));
                    Reply::Same { name: name(head) }
                }
                "there" => Reply::Saved { name: name(head), bytes: 5, sha256: sha256.clone() },
                _ => Reply::Differs { name: name(head) },
            }),
            Frame::End(End { sha256 }) => {
                assert_eq!(*sha256, hex(&Sha256::digest(b"hello")), "it is that of the whole file");
                None
            }
            _ => None,
        });
        result.unwrap();
        assert!(failed.is_empty());
        let count = |word: &str| said.iter().filter(|said| said.starts_with(word)).count();
        assert_eq!((count("offer"), count("prefix"), count("file"), count("end")), (6, 3, 4, 4));
        let after = |what: &str| {
            let at =
                said.iter().position(|said| said == what).unwrap_or_else(|| panic!("{said:?}"));
            said[at + 1].clone()
        };
        assert_eq!(after("file begun 3 kept"), "data 2");
        for whole in ["new", "other", "lies"] {
            assert_eq!(after(&format!("file {whole} 0 kept")), "data 4");
        }
    }

    #[test]
    fn many_are_asked_about_before_the_first_answer_is_needed() {
        let room = tempfile::tempdir().unwrap();
        let sources: Vec<_> =
            (0..AHEAD + 1).map(|index| source(&room, &format!("f{index}"), b"")).collect();
        let mut asked = VecDeque::new();
        let (result, said, _) = converse(2, sources, None, |frame| {
            if let Frame::Offer(head) = frame {
                asked.push_back(head.name.clone());
            }
            let is_time = asked.len() >= AHEAD || matches!(frame, Frame::End(_));
            let name = is_time.then(|| asked.pop_front()).flatten()?;
            Some(Reply::Has { name, bytes: 0 })
        });
        result.unwrap();
        assert!(said[..AHEAD].iter().all(|said| said.starts_with("offer")), "{said:?}");
        assert_eq!(said.iter().filter(|said| *said == "end").count(), AHEAD + 1);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_sent() {
        let room = tempfile::tempdir().unwrap();
        let sources =
            ["gone", "written", "good"].map(|name| source(&room, name, b"hello")).to_vec();
        fs::remove_file(room.path().join("gone")).unwrap();
        let written = room.path().join("written");
        let (result, said, failed) = converse(2, sources, None, |frame| match frame {
            Frame::Offer(head) => Some(Reply::Has { name: head.name.clone(), bytes: 0 }),
            Frame::File(head) if head.name == "written" => {
                fs::write(&written, b"other").unwrap();
                File::open(&written).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
                None
            }
            _ => None,
        });
        result.unwrap();
        let names: Vec<_> = failed.iter().map(|failed| &*failed.name).collect();
        assert_eq!(names, ["gone", "written"]);
        assert!(said.contains(&"Abandon".into()), "{said:?}");
        assert_eq!(said.iter().filter(|said| *said == "end").count(), 1);
    }

    #[test]
    fn more_than_there_is_room_for_is_found_out_before_anything_is_sent() {
        let room = tempfile::tempdir().unwrap();
        let sources = || ["a", "b", "c"].map(|name| source(&room, name, b"hello")).to_vec();
        let there = |frame: &Frame<'_>| match frame {
            Frame::Offer(head) if head.name == "c" => {
                Some(Reply::Refused { name: "c".into(), message: "no".into() })
            }
            Frame::Offer(head) => {
                let bytes = if head.name == "a" { 4 } else { 0 };
                Some(Reply::Has { name: head.name.clone(), bytes })
            }
            Frame::Prefix(prefix) => Some(Reply::Same { name: prefix.head.name.clone() }),
            _ => None,
        };
        let (result, said, _) = converse(2, sources(), Some(5), there);
        let refused = result.unwrap_err().to_string();
        assert!(refused.contains("b:in: 6 bytes would come, 5 bytes are free"), "{refused}");
        assert_eq!(said, ["offer a", "offer b", "offer c"]);
        let (result, said, _) = converse(2, sources(), Some(6), there);
        result.unwrap();
        assert!(said.contains(&"file a 4 kept".into()), "{said:?}");
        assert_eq!(said.iter().filter(|said| *said == "offer c").count(), 1, "once was enough");
    }
}
