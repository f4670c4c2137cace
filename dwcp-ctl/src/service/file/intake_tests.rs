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
        let intake = Intake::new(reception(directory.path()));
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
    room.intake = Intake::new(reception(room.directory.path()));
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
