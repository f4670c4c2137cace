use std::fs;

use super::super::protocol::End;
use super::*;

struct Room {
    directory: tempfile::TempDir,
    intake: Intake,
}

fn reception(directory: &Path) -> Reception {
    let directory = directory.to_owned();
    Reception { directory, from: None, file_bytes_max: 1_000, keep_free_bytes: 0 }
}

impl Room {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let intake = Intake::new(reception(directory.path()), Arc::default());
        Self { directory, intake }
    }

    fn begin(&mut self, below: &str) -> Result<Option<Reply>, IntakeError> {
        self.take(&Frame::Begin(Begin { directory: below.into(), files: 1, bytes: 5 }))
    }

    fn file(&mut self, name: &str, bytes: u64) -> Result<Option<Reply>, IntakeError> {
        self.take(&Frame::File(FileHead { name: name.into(), bytes, mode: 0o6777 }))
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
    assert_eq!(room.begin("").unwrap(), Some(Reply::Ready));
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
    room.intake = Intake::new(reception(room.directory.path()), Arc::default());
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
    let begin = Begin { directory: String::new(), files: 1, bytes: u64::MAX / 2 };
    assert!(matches!(room.take(&Frame::Begin(begin)), Err(IntakeError::Full { .. })));
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
    let mut intake = Intake::new(reception, disk.clone());
    let begin = Begin { directory: String::new(), files: 1, bytes: 0 };
    intake.take(&Frame::Begin(begin).encode()).unwrap();
    intake
}

fn head(name: &str, bytes: u64) -> Vec<u8> {
    Frame::File(FileHead { name: name.into(), bytes, mode: 0o644 }).encode()
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
    let begin = |files| Frame::Begin(Begin { directory: String::new(), files, bytes: 0 });
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
    let begin = Frame::Begin(Begin { directory: "in/box".into(), files: 1, bytes: 0 }).encode();
    let end = Frame::End(End { sha256: hex(&Sha256::digest(b"")) }).encode();
    let mut intake = Intake::new(reception(root), disk());
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
    let mut second = Intake::new(reception(root), disk());
    second.take(&begin).unwrap();
    second.take(&head("a/b/again", 0)).unwrap();
    second.take(&end).unwrap();
    assert!(durable.has(root, "in/box/a/b/again"));
}
