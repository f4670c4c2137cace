use std::fs;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::super::lock::tests::without_locks;
use super::super::part::hex;
use super::super::protocol::End;
use super::super::tree::UNFINISHED;
use super::*;

struct Room {
    directory: tempfile::TempDir,
    intake: Intake,
}

fn begin(below: &str, bytes: u64) -> Begin {
    Begin { directory: below.into(), files: 1, bytes, version: 1, verify: false }
}

fn intake(directory: &Path, peer: &str) -> Intake {
    Intake::new(reception(directory), Arc::default(), peer, || false)
}

fn of(name: &str, bytes: u64) -> FileHead {
    FileHead { name: name.into(), bytes, mode: 0o644, mtime_ns: Some(7), from: 0 }
}

fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn reception(directory: &Path) -> Reception {
    let directory = directory.to_owned();
    Reception { directory, from: None, file_bytes_max: 1_000, keep_free_bytes: 0 }
}

impl Room {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let intake = intake(directory.path(), "a");
        Self { directory, intake }
    }

    fn begin(&mut self, below: &str) -> Result<Option<Reply>, IntakeError> {
        self.take(&Frame::Begin(begin(below, 5)))
    }

    /// Begins a copy of version 2.
    fn begin_2(&mut self) {
        let begin = Begin { version: 2, ..begin("", 0) };
        let ready = self.take(&Frame::Begin(begin)).unwrap();
        assert!(matches!(ready, Some(Reply::Ready { version: 2, room_bytes: Some(_) })));
    }

    /// Another copy into the same directory.
    fn again(&mut self, peer: &str) {
        self.intake = intake(self.directory.path(), peer);
        self.begin_2();
    }

    /// Sends all of a file of which nothing is there.
    fn whole(&mut self, head: FileHead, content: &[u8]) -> Option<Reply> {
        assert_eq!(self.take(&Frame::File(head)).unwrap(), None);
        self.data(content).unwrap();
        self.end(content).unwrap()
    }

    fn offer(&mut self, head: FileHead) -> u64 {
        match self.take(&Frame::Offer(head)).unwrap() {
            Some(Reply::Has { bytes, .. }) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn prefix(&mut self, head: FileHead, held: &[u8]) -> Option<Reply> {
        let (held, sha256) = (held.len() as u64, sum(held));
        self.take(&Frame::Prefix(Prefix { head, held, sha256 })).unwrap()
    }

    fn file(&mut self, name: &str, bytes: u64) -> Result<Option<Reply>, IntakeError> {
        self.take(&Frame::File(FileHead { mode: 0o6777, ..of(name, bytes) }))
    }

    fn data(&mut self, data: &[u8]) -> Result<Option<Reply>, IntakeError> {
        self.take(&Frame::Data(data))
    }

    fn end(&mut self, of: &[u8]) -> Result<Option<Reply>, IntakeError> {
        self.take(&Frame::End(End { sha256: hex(&Sha256::digest(of)) }))
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<Option<Reply>, IntakeError> {
        self.intake.take(&frame.encode())
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.directory.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn a_file_appears_under_its_name_only_when_it_is_whole() {
    let mut room = Room::new();
    assert!(matches!(room.begin("").unwrap(), Some(Reply::Ready { version: VERSION, .. })));
    room.file("hello", 5).unwrap();
    room.data(b"hel").unwrap();
    assert!(room.names().iter().all(|name| name.starts_with(".dwcp-part-")));
    room.data(b"lo").unwrap();
    let Some(Reply::Saved { bytes: 5, sha256, .. }) = room.end(b"hello").unwrap() else { panic!() };
    assert_eq!(sha256, hex(&Sha256::digest(b"hello")));
    assert_eq!(room.names(), ["hello"]);
    let path = room.directory.path().join("hello");
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn a_wrong_checksum_keeps_nothing() {
    let mut room = Room::new();
    room.begin("").unwrap();
    room.file("hello", 5).unwrap();
    room.data(b"hello").unwrap();
    assert!(matches!(room.end(b"other"), Err(IntakeError::Checksum { .. })));
    assert!(room.names().is_empty());
}

#[test]
fn a_copy_that_breaks_off_keeps_the_old_file() {
    let mut room = Room::new();
    fs::write(room.directory.path().join("hello"), "old").unwrap();
    room.begin("").unwrap();
    room.file("hello", 5).unwrap();
    room.data(b"he").unwrap();
    assert!(room.intake.is_in_file());
    room.intake = intake(room.directory.path(), "a");
    assert_eq!(room.names(), ["hello"]);
    assert_eq!(fs::read(room.directory.path().join("hello")).unwrap(), b"old");
}

#[test]
fn directories_are_made_below_and_names_that_leave_are_refused() {
    let mut room = Room::new();
    room.begin("in/box/").unwrap();
    room.file("a/b", 0).unwrap();
    room.end(b"").unwrap();
    assert!(room.directory.path().join("in/box/a/b").is_file());
    for bad in ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "nul\0", &"x".repeat(256)] {
        assert!(matches!(room.file(bad, 0), Err(IntakeError::Name { .. })), "{bad:?}");
    }
    assert!(matches!(Room::new().begin("../up"), Err(IntakeError::Name { .. })));
}

#[test]
fn links_are_not_followed() {
    let mut room = Room::new();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), room.directory.path().join("link")).unwrap();
    room.begin("").unwrap();
    assert!(matches!(room.file("link/file", 0), Err(IntakeError::Io { .. })));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn messages_out_of_place_are_refused() {
    assert!(matches!(Room::new().file("a", 1), Err(IntakeError::Unexpected(_))));
    assert!(matches!(Room::new().data(b"x"), Err(IntakeError::Unexpected(_))));
    assert!(matches!(Room::new().end(b""), Err(IntakeError::Unexpected(_))));
    let mut room = Room::new();
    room.begin("").unwrap();
    assert!(matches!(room.begin(""), Err(IntakeError::Unexpected(_))));
    room.file("a", 1).unwrap();
    assert!(matches!(room.file("b", 1), Err(IntakeError::Unexpected(_))));
    assert!(matches!(room.data(b"xy"), Err(IntakeError::Unexpected(_))));
    assert!(matches!(room.end(b""), Err(IntakeError::Unexpected(_))));
}

#[test]
fn more_than_the_disk_has_is_refused_at_the_start() {
    let mut room = Room::new();
    let far_too_much = Frame::Begin(begin("", u64::MAX / 2));
    assert!(matches!(room.take(&far_too_much), Err(IntakeError::Full { .. })));
    room.begin("").unwrap();
    assert!(matches!(room.file("huge", 1_001), Err(IntakeError::TooLarge { .. })));
}

/// A disk of `bytes` with nothing on it but the files of `directory`.
fn small_disk(directory: &Path, bytes: u64) -> Arc<Disk> {
    let directory = directory.to_owned();
    Arc::new(Disk::new(move |_| {
        let entries = fs::read_dir(&directory)?;
        Ok(bytes - entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>())
    }))
}

fn copy_on(room: &Room, disk: &Arc<Disk>, keep_free_bytes: u64) -> Intake {
    let reception = Reception { keep_free_bytes, ..reception(room.directory.path()) };
    let mut intake = Intake::new(reception, disk.clone(), "a", || false);
    intake.take(&Frame::Begin(begin("", 0)).encode()).unwrap();
    intake
}

fn head(name: &str, bytes: u64) -> Vec<u8> {
    Frame::File(of(name, bytes)).encode()
}

#[test]
fn what_is_kept_free_stays_free_whatever_was_announced() {
    let room = Room::new();
    let disk = small_disk(room.directory.path(), 300);
    // Nothing was announced, and more comes than there is room for.
    let mut first = copy_on(&room, &disk, 100);
    assert!(matches!(
        first.take(&head("a", 201)),
        Err(IntakeError::Full { free_bytes: 200, wanted_bytes: 201, .. })
    ));
    // Two at once share the room.
    let (mut first, mut second) = (copy_on(&room, &disk, 100), copy_on(&room, &disk, 100));
    first.take(&head("a", 150)).unwrap();
    let refused = second.take(&head("b", 51)).unwrap_err();
    assert!(refused.to_string().contains(": 51 bytes would come, 50 bytes are free"), "{refused}");
    first.take(&Frame::Data(&[7; 150]).encode()).unwrap();
    assert!(matches!(second.take(&head("b", 51)), Err(IntakeError::Full { free_bytes: 50, .. })));
    second.take(&head("b", 50)).unwrap();
    // What breaks off gives its room back.
    drop(first);
    copy_on(&room, &disk, 100).take(&head("c", 150)).unwrap();
    let directory = open_root(room.directory.path()).unwrap();
    assert_eq!(disk.room(&directory, 100).unwrap(), 150, "all but what `second` may still write");
}

#[test]
fn a_disk_that_others_fill_is_noticed_before_the_write() {
    let room = Room::new();
    let disk = small_disk(room.directory.path(), 300);
    let mut copy = copy_on(&room, &disk, 100);
    copy.take(&head("a", 150)).unwrap();
    fs::write(room.directory.path().join("other"), [0; 100]).unwrap();
    let refused = copy.take(&Frame::Data(&[7; 150]).encode());
    assert!(matches!(refused, Err(IntakeError::Full { free_bytes: 100, wanted_bytes: 150, .. })));
}

#[test]
fn an_empty_directory_is_made_below_and_nowhere_else() {
    let mut room = Room::new();
    let make = |name: &str| Frame::Directory(Directory { name: name.into() });
    assert!(matches!(room.take(&make("a")), Err(IntakeError::Unexpected(_))));
    room.begin("in").unwrap();
    for _ in 0..2 {
        let made = room.take(&make("a/b")).unwrap();
        assert_eq!(made, Some(Reply::Made { name: "a/b".into() }));
    }
    assert!(room.directory.path().join("in/a/b").is_dir());
    for bad in ["", "..", "a/../../b", "/a"] {
        assert!(matches!(room.take(&make(bad)), Err(IntakeError::Name { .. })), "{bad:?}");
    }
    room.file("f", 1).unwrap();
    assert!(matches!(room.take(&make("c")), Err(IntakeError::Unexpected(_))));
}

#[test]
fn a_copy_has_only_so_many_files_and_directories() {
    let begun = |entries: u64| {
        let mut room = Room::new();
        room.intake.entries_left = entries;
        // The way to the copy's directory does not count.
        room.begin("in/box").unwrap();
        room
    };
    let whole = |room: &mut Room, name: &str| {
        room.file(name, 0)?;
        room.end(b"")
    };
    let make = |name: &str| Frame::Directory(Directory { name: name.into() });
    // Files, and directories made for them.
    let mut room = begun(4);
    whole(&mut room, "a/b/c").unwrap();
    whole(&mut room, "a/b/d").unwrap();
    let refused = whole(&mut room, "a/b/e").unwrap_err();
    assert!(matches!(&refused, IntakeError::TooMany { name } if name == "a/b/e"), "{refused}");
    assert!(refused.to_string().contains("100000 files and directories"), "{refused}");
    let mut room = begun(2);
    let refused = whole(&mut room, "a/b/c").unwrap_err();
    assert!(matches!(&refused, IntakeError::TooMany { name } if name.ends_with("in/box/a/b")));
    assert!(!room.directory.path().join("in/box/a/b").exists());
    // Directories by name, each once, and those that are there as well.
    let mut room = begun(2);
    room.take(&make("a")).unwrap();
    room.take(&make("a")).unwrap();
    assert!(matches!(room.take(&make("a")), Err(IntakeError::TooMany { .. })));
    // What is announced is looked at first.
    let begin = |files| Frame::Begin(Begin { files, ..begin("", 0) });
    let refused = Room::new().take(&begin(ENTRIES_MAX + 1)).unwrap_err();
    assert!(matches!(refused, IntakeError::TooMany { .. }), "{refused}");
    Room::new().take(&begin(ENTRIES_MAX)).unwrap();
}

/// What would still be there if the power failed: the names that a directory had when it was last put on disk.
#[derive(Default)]
struct Durable(std::sync::Mutex<std::collections::HashMap<u64, Vec<String>>>);

impl Durable {
    fn note(&self, directory: &OwnedFd) -> io::Result<()> {
        let names = rustix::fs::Dir::read_from(directory)?.map(|entry| {
            let entry = entry.unwrap();
            entry.file_name().to_str().unwrap().to_owned()
        });
        let inode = rustix::fs::fstat(directory)?.st_ino;
        self.0.lock().unwrap().insert(inode, names.collect());
        Ok(())
    }

    /// Whether each part of `name`, from `root` on, is named by a directory on disk.
    fn has(&self, root: &Path, name: &str) -> bool {
        use std::os::unix::fs::MetadataExt;
        let noted = self.0.lock().unwrap();
        let mut above = root.to_owned();
        name.split('/').all(|part| {
            let names = noted.get(&above.metadata().unwrap().ino());
            above.push(part);
            names.is_some_and(|names| names.iter().any(|name| name == part))
        })
    }
}

#[test]
fn what_is_confirmed_survives_a_power_failure_directories_and_all() {
    let room = tempfile::tempdir().unwrap();
    let root = room.path();
    let durable = Arc::new(Durable::default());
    let disk = || {
        let durable = Arc::clone(&durable);
        Arc::new(Disk::default().with_sync(move |directory| durable.note(directory)))
    };
    let begin = Frame::Begin(begin("in/box", 0)).encode();
    let end = Frame::End(End { sha256: hex(&Sha256::digest(b"")) }).encode();
    let mut intake = Intake::new(reception(root), disk(), "a", || false);
    intake.take(&begin).unwrap();
    for name in ["a/b/c", "a/b/d", "a/e/f", "g", "a/e/h"] {
        intake.take(&head(name, 0)).unwrap();
        assert!(matches!(intake.take(&end), Ok(Some(Reply::Saved { .. }))), "{name}");
        assert!(durable.has(root, &format!("in/box/{name}")), "{name}");
    }
    intake.take(&Frame::Directory(Directory { name: "a/m/n".into() }).encode()).unwrap();
    assert!(durable.has(root, "in/box/a/m/n"));
    // Directories that are there, but perhaps only in memory: another copy made them.
    durable.0.lock().unwrap().clear();
    let mut second = Intake::new(reception(root), disk(), "a", || false);
    second.take(&begin).unwrap();
    second.take(&head("a/b/again", 0)).unwrap();
    second.take(&end).unwrap();
    assert!(durable.has(root, "in/box/a/b/again"));
}

#[test]
fn a_copy_goes_on_where_the_one_before_broke_off() {
    let mut room = Room::new();
    room.begin_2();
    assert_eq!(room.offer(of("hello", 5)), 0);
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hel").unwrap();
    room.again("a");
    assert!(room.names().len() == 1 && room.names()[0].starts_with(UNFINISHED));
    assert_eq!(room.offer(of("hello", 5)), 3);
    let name = || "hello".to_owned();
    assert_eq!(room.prefix(of("hello", 5), b"hel"), Some(Reply::Same { name: name() }));
    // Data may come for others before the rest of it does.
    assert!(matches!(room.whole(of("other", 1), b"x"), Some(Reply::Saved { .. })));
    room.take(&Frame::File(FileHead { from: 3, ..of("hello", 5) })).unwrap();
    room.data(b"lo").unwrap();
    let sha256 = sum(b"hello");
    assert_eq!(
        room.end(b"hello").unwrap(),
        Some(Reply::Saved { name: name(), bytes: 5, sha256 }),
        "the checksum is that of the whole file"
    );
    assert_eq!(fs::read(room.directory.path().join("hello")).unwrap(), b"hello");
    assert_eq!(room.names().len(), 2);
}

#[test]
fn only_the_same_file_of_the_same_peer_goes_on() {
    let mut room = Room::new();
    room.begin_2();
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hel").unwrap();
    room.again("a");
    assert_eq!(room.offer(of("hello", 6)), 0, "another length");
    assert_eq!(room.offer(FileHead { mtime_ns: Some(8), ..of("hello", 5) }), 0, "written since");
    assert_eq!(room.offer(of("hello2", 5)), 0, "another name");
    assert_eq!(room.offer(of("sub/hello", 5)), 0, "another directory");
    assert!(room.names().iter().all(|name| name != "sub"), "asking makes nothing");
    room.again("b");
    assert_eq!(room.offer(of("hello", 5)), 0, "another peer");
    room.again("a");
    assert_eq!(room.offer(of("hello", 5)), 3);
    // Other bytes than the sender has are thrown away, and it begins anew.
    assert!(matches!(room.prefix(of("hello", 5), b"hex"), Some(Reply::Differs { .. })));
    assert!(room.names().is_empty());
    assert!(matches!(room.whole(of("hello", 5), b"hello"), Some(Reply::Saved { .. })));
}

#[test]
fn a_whole_file_that_is_there_is_not_sent_again() {
    let mut room = Room::new();
    room.begin_2();
    room.whole(of("hello", 5), b"hello");
    room.again("b");
    assert_eq!(room.offer(of("hello", 5)), 5);
    let sha256 = sum(b"hello");
    let saved = Reply::Saved { name: "hello".into(), bytes: 5, sha256 };
    assert_eq!(room.prefix(FileHead { mode: 0o755, ..of("hello", 5) }, b"hello"), Some(saved));
    let path = room.directory.path().join("hello");
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!(mode(&path), 0o755, "its permissions are those of the sender");
    // One byte is another: it stays as it is until the new one is whole.
    room.again("b");
    assert_eq!(room.offer(of("hello", 5)), 5);
    assert!(matches!(room.prefix(of("hello", 5), b"jello"), Some(Reply::Differs { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    // What is no regular file is not read, and gives way.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    let there = fs::metadata("/etc/hostname").map_or(5, |found| found.len());
    assert_eq!(room.offer(of("hello", there)), 0);
    room.whole(of("hello", 5), b"hello");
    assert!(path.symlink_metadata().unwrap().is_file());
}

#[test]
fn two_copies_of_one_file_at_once_are_both_whole() {
    let mut room = Room::new();
    room.begin_2();
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hel").unwrap();
    let mut second = intake(room.directory.path(), "a");
    let take = |intake: &mut Intake, frame: Frame<'_>| intake.take(&frame.encode());
    take(&mut second, Frame::Begin(Begin { version: 2, ..begin("", 0) })).unwrap();
    let has = take(&mut second, Frame::Offer(of("hello", 5))).unwrap();
    assert_eq!(has, Some(Reply::Has { name: "hello".into(), bytes: 0 }), "it is being written");
    take(&mut second, Frame::File(of("hello", 5))).unwrap();
    take(&mut second, Frame::Data(b"hello")).unwrap();
    room.data(b"lo").unwrap();
    assert!(matches!(room.end(b"hello").unwrap(), Some(Reply::Saved { .. })));
    let end = Frame::End(End { sha256: sum(b"hello") });
    assert!(matches!(take(&mut second, end).unwrap(), Some(Reply::Saved { .. })));
    assert_eq!(room.names(), ["hello"]);
    assert_eq!(fs::read(room.directory.path().join("hello")).unwrap(), b"hello");
}

#[test]
fn without_locks_a_file_is_copied_and_nothing_else_stays() {
    let mut room = Room::new();
    let _none = without_locks(Errno::NOLCK);
    room.begin_2();
    // Nobody can tell that it is being written: a second copy has a name of its own, and so has the first.
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hel").unwrap();
    let mut first = std::mem::replace(&mut room.intake, intake(room.directory.path(), "a"));
    room.begin_2();
    assert_eq!(room.offer(of("hello", 5)), 0);
    assert!(matches!(room.whole(of("hello", 5), b"hello"), Some(Reply::Saved { .. })));
    assert_eq!(room.names().len(), 2);
    first.take(&Frame::Data(b"lo").encode()).unwrap();
    let end = Frame::End(End { sha256: sum(b"hello") });
    assert!(matches!(first.take(&end.encode()).unwrap(), Some(Reply::Saved { .. })));
    assert_eq!(room.names(), ["hello"]);
    // What breaks off is not gone on with: it goes.
    room.take(&Frame::File(of("other", 5))).unwrap();
    room.data(b"oth").unwrap();
    room.again("a");
    assert_eq!(room.names(), ["hello"]);
}

/// Each step of one copy falls between any two of another at one time or another.
#[test]
fn copies_of_one_file_that_race_are_all_whole() {
    let room = Room::new();
    let barrier = std::sync::Barrier::new(4);
    let copy = || {
        let mut intake = intake(room.directory.path(), "a");
        let begin = Begin { version: 2, ..begin("", 0) };
        intake.take(&Frame::Begin(begin).encode()).unwrap();
        let round = |round| {
            let head = of(&format!("f{round}"), 5);
            let end = End { sha256: sum(b"hello") };
            // Who does not come to the barrier again would hold the others there for ever.
            barrier.wait();
            intake.take(&Frame::Offer(head.clone()).encode())?;
            intake.take(&Frame::File(head).encode())?;
            intake.take(&Frame::Data(b"hello").encode())?;
            intake.take(&Frame::End(end).encode())
        };
        (0..250).map(round).filter(|end| !matches!(end, Ok(Some(Reply::Saved { .. })))).count()
    };
    std::thread::scope(|scope| {
        let copies: Vec<_> = (0..4).map(|_| scope.spawn(copy)).collect();
        copies.into_iter().for_each(|copy| assert_eq!(copy.join().unwrap(), 0, "files not saved"));
    });
    let names = room.names();
    assert!(names.len() == 250 && names.iter().all(|name| name.starts_with('f')), "{names:?}");
}

#[test]
fn one_bad_file_does_not_end_the_copy() {
    let mut room = Room::new();
    room.begin_2();
    let refused = |reply: Option<Reply>, words: &str| {
        let Some(Reply::Refused { message, .. }) = &reply else { panic!("{reply:?}") };
        assert!(message.contains(words), "{message}");
    };
    refused(room.take(&Frame::Offer(of("../up", 1))).unwrap(), "is not a name below");
    refused(room.take(&Frame::Offer(of("huge", 1_001))).unwrap(), "files.maxFileSize");
    // A directory has the name. What is on its way for it is passed over.
    fs::create_dir(room.directory.path().join("taken")).unwrap();
    room.take(&Frame::File(of("taken", 1))).unwrap();
    room.data(b"x").unwrap();
    refused(room.end(b"x").unwrap(), "taken");
    fs::write(room.directory.path().join("file"), "").unwrap();
    refused(room.take(&Frame::File(of("file/below", 4))).unwrap(), "file");
    assert_eq!(room.data(b"xxxx").unwrap(), None);
    assert_eq!(room.end(b"xxxx").unwrap(), None);
    // Wrong bytes.
    room.take(&Frame::File(of("wrong", 1))).unwrap();
    room.data(b"y").unwrap();
    refused(room.end(b"x").unwrap(), "checksum");
    // The sender gives one up.
    room.take(&Frame::File(of("given-up", 9))).unwrap();
    room.data(b"y").unwrap();
    assert_eq!(room.take(&Frame::Abandon).unwrap(), None);
    assert!(matches!(room.whole(of("good", 1), b"x"), Some(Reply::Saved { .. })));
    let mut names = room.names();
    names.sort();
    assert_eq!(names, ["file", "good", "taken"]);
    // Whoever breaks the protocol is not listened to.
    assert!(matches!(room.data(b"x"), Err(IntakeError::Unexpected(_))));
    assert!(matches!(room.take(&Frame::Abandon), Err(IntakeError::Unexpected(_))));
    let from_where_it_is_not = Frame::File(FileHead { from: 1, ..of("new", 2) });
    assert!(matches!(room.take(&from_where_it_is_not), Err(IntakeError::Unexpected(_))));
    let longer = Frame::Prefix(Prefix { head: of("good", 1), held: 2, sha256: sum(b"xx") });
    assert!(matches!(room.take(&longer), Err(IntakeError::Unexpected(_))));
}

#[test]
fn version_1_keeps_nothing_and_knows_no_new_message() {
    let mut room = Room::new();
    room.begin("").unwrap();
    assert!(matches!(room.take(&Frame::Offer(of("a", 1))), Err(IntakeError::Unexpected(_))));
    let link = Frame::Link(Link { name: "t/l".into(), target: "x".into() });
    assert!(matches!(room.take(&link), Err(IntakeError::Unexpected(_))));
    room.file("a", 2).unwrap();
    room.data(b"x").unwrap();
    room.intake = intake(room.directory.path(), "a");
    assert!(room.names().is_empty());
}

#[test]
fn links_are_made_within_their_tree_and_nowhere_else() {
    let mut room = Room::new();
    room.begin_2();
    let link =
        |name: &str, target: &str| Frame::Link(Link { name: name.into(), target: target.into() });
    let made = room.take(&link("tree/a/l", "../file")).unwrap();
    assert_eq!(made, Some(Reply::Made { name: "tree/a/l".into() }));
    let path = room.directory.path().join("tree/a/l");
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../file"));
    // Again, and to somewhere else: it is replaced at once.
    room.take(&link("tree/a/l", "other")).unwrap();
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("other"));
    for target in ["/etc/passwd", "../../../etc/passwd", "b/../../..", ""] {
        let reply = room.take(&link("tree/a/bad", target)).unwrap();
        assert!(matches!(reply, Some(Reply::Refused { .. })), "{target}");
    }
    // Nothing is written through one that was made.
    room.take(&link("tree/up", "a")).unwrap();
    let reply = room.take(&Frame::File(of("tree/up/file", 0))).unwrap();
    assert!(matches!(reply, Some(Reply::Refused { .. })), "{reply:?}");
    // A directory stays.
    let reply = room.take(&link("tree/a", "b")).unwrap();
    assert!(matches!(reply, Some(Reply::Refused { .. })), "{reply:?}");
    let mut names: Vec<_> = fs::read_dir(room.directory.path().join("tree/a")).unwrap().collect();
    assert_eq!(names.pop().unwrap().unwrap().file_name(), "l");
    assert!(names.is_empty(), "nothing temporary is left");
}

#[test]
fn verified_files_are_read_back() {
    let mut room = Room::new();
    room.intake
        .take(&Frame::Begin(Begin { version: 2, verify: true, ..begin("", 0) }).encode())
        .unwrap();
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hello").unwrap();
    // A disk that keeps something else.
    let part = room.directory.path().join(&room.names()[0]);
    let mut other = fs::OpenOptions::new().write(true).open(part).unwrap();
    io::Write::write_all(&mut other, b"j").unwrap();
    let reply = room.end(b"hello").unwrap();
    let Some(Reply::Refused { message, .. }) = &reply else { panic!("{reply:?}") };
    assert!(message.contains("the disk gave back other bytes"), "{message}");
    assert!(room.names().is_empty());
    assert!(matches!(room.whole(of("hello", 5), b"hello"), Some(Reply::Saved { .. })));
}

#[test]
fn no_name_is_that_of_an_unfinished_file() {
    let mut room = Room::new();
    room.begin_2();
    for name in [".dwcp-part-0123456789abcdef", "a/.dwcp-part-0123456789abcdef/b"] {
        let reply = room.take(&Frame::Offer(of(name, 1))).unwrap();
        assert!(matches!(reply, Some(Reply::Refused { .. })), "{name}");
    }
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hello").unwrap();
    // Somebody on this machine puts another file in its place.
    let part = room.directory.path().join(&room.names()[0]);
    fs::write(room.directory.path().join("foreign"), b"other").unwrap();
    fs::rename(room.directory.path().join("foreign"), part).unwrap();
    let reply = room.end(b"hello").unwrap();
    assert!(matches!(reply, Some(Reply::Refused { .. })), "{reply:?}");
    assert!(!room.directory.path().join("hello").exists());
}

#[test]
fn what_was_begun_goes_before_what_is_there() {
    let mut room = Room::new();
    fs::write(room.directory.path().join("hello"), b"older").unwrap();
    room.begin_2();
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hel").unwrap();
    room.again("a");
    assert_eq!(room.offer(of("hello", 5)), 3);
    assert!(matches!(room.prefix(of("hello", 5), b"hel"), Some(Reply::Same { .. })));
    // Once is enough: each costs a reading.
    let again = Frame::Prefix(Prefix { head: of("hello", 5), held: 3, sha256: sum(b"hel") });
    assert!(matches!(room.take(&again), Err(IntakeError::Unexpected(_))));
}

/// A sender makes names up as it likes.
#[test]
fn what_is_kept_of_a_name_that_was_compared_is_little() {
    let mut room = Room::new();
    room.begin_2();
    let no_name = "x".repeat(60_000);
    let refused = room.prefix(of(&no_name, 5), b"hel");
    assert!(matches!(refused, Some(Reply::Refused { .. })), "{refused:?}");
    assert!(room.intake.compared.is_empty(), "it can be no file's");
    let long = vec!["x".repeat(255); 32].join("/");
    assert!(matches!(room.prefix(of(&long, 5), b"hel"), Some(Reply::Differs { .. })));
    let kept: usize = room.intake.compared.iter().map(size_of_val).sum();
    assert_eq!(kept, 16);
    // No more than a copy has files.
    let numbers = 0..ENTRIES_MAX as u128;
    room.intake.compared = numbers.map(u128::to_le_bytes).collect();
    let prefix = Frame::Prefix(Prefix { head: of("one more", 5), held: 3, sha256: sum(b"hel") });
    assert!(matches!(room.take(&prefix), Err(IntakeError::TooMany { .. })));
}

#[test]
fn a_copy_that_has_just_broken_off_is_waited_for() {
    let mut room = Room::new();
    room.begin_2();
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hel").unwrap();
    // Each time it has found the file locked it looks whether anybody still wants it.
    let (finds, found_locked) = std::sync::mpsc::channel();
    let reception = reception(room.directory.path());
    let mut next = Intake::new(reception, Arc::default(), "a", move || finds.send(()).is_err());
    next.sender.patience = Duration::from_secs(600);
    next.take(&Frame::Begin(Begin { version: 2, ..begin("", 0) }).encode()).unwrap();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| next.take(&Frame::Offer(of("hello", 5)).encode()).unwrap());
        found_locked.recv().unwrap();
        room.intake = intake(room.directory.path(), "a");
        let has = asking.join().unwrap();
        assert_eq!(has, Some(Reply::Has { name: "hello".into(), bytes: 3 }));
    });
}

#[test]
fn a_peer_asks_only_so_much() {
    let mut room = Room::new();
    room.begin_2();
    room.intake.questions_left = 2;
    room.offer(of("a", 1));
    assert!(matches!(room.take(&Frame::Offer(of("../b", 1))), Err(IntakeError::Unexpected(_))));
    room.again("a");
    room.take(&Frame::File(of("c", 300))).unwrap();
    room.data(&[7; 300]).unwrap();
    // What takes long is left when nobody waits for the answer.
    let reception = reception(room.directory.path());
    room.intake = Intake::new(reception, Arc::default(), "a", || true);
    room.begin_2();
    assert_eq!(room.offer(of("c", 300)), 300);
    let prefix = Frame::Prefix(Prefix { head: of("c", 300), held: 300, sha256: sum(&[7; 300]) });
    assert!(matches!(room.take(&prefix), Err(IntakeError::Gone { .. })));
}

/// A copy may have many files that wait for their rest: it holds the directories of none.
#[test]
fn a_file_that_waits_for_its_rest_finds_its_directory_again() {
    let mut room = Room::new();
    let begun = |room: &mut Room, name: &str| {
        room.again("a");
        room.take(&Frame::File(of(name, 5))).unwrap();
        room.data(b"hel").unwrap();
        room.again("a");
        assert!(matches!(room.prefix(of(name, 5), b"hel"), Some(Reply::Same { .. })));
    };
    begun(&mut room, "deep/hello");
    assert!(matches!(room.whole(of("deep/other", 1), b"x"), Some(Reply::Saved { .. })));
    room.take(&Frame::File(FileHead { from: 3, ..of("deep/hello", 5) })).unwrap();
    room.data(b"lo").unwrap();
    assert!(matches!(room.end(b"hello").unwrap(), Some(Reply::Saved { .. })));
    let path = |name: &str| room.directory.path().join(name);
    assert_eq!(fs::read(path("deep/hello")).unwrap(), b"hello");
    // Another directory has its name now.
    let (deep, moved) = (path("deep"), path("moved"));
    begun(&mut room, "deep/second");
    fs::rename(&deep, &moved).unwrap();
    fs::create_dir(&deep).unwrap();
    let refused = room.take(&Frame::File(FileHead { from: 3, ..of("deep/second", 5) })).unwrap();
    assert!(matches!(refused, Some(Reply::Refused { .. })), "{refused:?}");
    assert_eq!((room.data(b"lo").unwrap(), room.end(b"hello").unwrap()), (None, None));
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}

#[test]
fn what_waits_for_its_rest_makes_way_when_the_sender_begins_anew() {
    let mut room = Room::new();
    room.begin_2();
    room.take(&Frame::File(of("hello", 5))).unwrap();
    room.data(b"hel").unwrap();
    room.again("a");
    assert!(matches!(room.prefix(of("hello", 5), b"hel"), Some(Reply::Same { .. })));
    // It was written since.
    let now = FileHead { mtime_ns: Some(9), ..of("hello", 6) };
    assert!(matches!(room.whole(now, b"hello!"), Some(Reply::Saved { .. })));
    assert_eq!(room.names(), ["hello"]);
    assert_eq!(room.intake.sender.patience, PATIENCE, "it has not waited for itself");
    // A prefix of nothing is none.
    room.again("a");
    let nothing = room.prefix(of("other", 5), b"");
    assert!(matches!(nothing, Some(Reply::Differs { .. })) && room.intake.resumed.is_empty());
}

#[test]
fn what_an_earlier_copy_left_stays_when_there_is_no_room_for_its_rest() {
    let mut room = Room::new();
    room.begin_2();
    room.take(&Frame::File(of("hello", 300))).unwrap();
    room.data(&[7; 200]).unwrap();
    room.again("a");
    let go_on = |disk_bytes: u64| {
        let disk = small_disk(room.directory.path(), disk_bytes);
        let mut intake = Intake::new(reception(room.directory.path()), disk, "a", || false);
        let begin = Begin { version: 2, ..begin("", 0) };
        intake.take(&Frame::Begin(begin).encode()).unwrap();
        let prefix = Prefix { head: of("hello", 300), held: 200, sha256: sum(&[7; 200]) };
        let same = intake.take(&Frame::Prefix(prefix).encode()).unwrap();
        assert!(matches!(same, Some(Reply::Same { .. })), "{same:?}");
        let rest = FileHead { from: 200, ..of("hello", 300) };
        intake.take(&Frame::File(rest).encode()).map(|_| intake)
    };
    // Nothing was written, and the copy after this one has less to bring.
    assert!(matches!(go_on(250).err(), Some(IntakeError::Full { .. })));
    let mut intake = go_on(350).unwrap();
    // One that fills the disk gives back all that it has.
    fs::write(room.directory.path().join("other"), [0; 100]).unwrap();
    let refused = intake.take(&Frame::Data(&[7; 100]).encode());
    assert!(matches!(refused, Err(IntakeError::Full { .. })));
    assert_eq!(room.names(), ["other"]);
}
