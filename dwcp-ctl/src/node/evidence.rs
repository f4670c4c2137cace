//! The evidence log: what peers did that no honest peer does, one JSON line each, `dwcp.evidence/v1`.
//!
//! Only what a peer's keys or certificate prove is in it, and no payload. Records are authenticated by keys that both
//! ends have: the log convinces its owner, not a judge.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Display, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use dwcp_core::{EndpointEvent, SessionEvent};
use serde::Serialize;
use tracing::warn;

use super::lines::{LineFile, LineThread, LineThreads, Sink};

/// The longest the file becomes: whoever wants more of it rotates it.
const BYTES_MAX: u64 = 64 << 20;
/// How long a line may take to be written before it counts as not written.
const STALL: Duration = Duration::from_secs(5);

/// Where evidence goes, if anywhere.
pub(super) struct EvidenceLog {
    threads: LineThreads,
    file: Mutex<Option<EvidenceFile>>,
}

impl Default for EvidenceLog {
    fn default() -> Self {
        Self { threads: LineThreads::new("dwcpd-evidence"), file: Mutex::default() }
    }
}

/// The open file. Its figures begin with it.
pub(super) struct EvidenceFile {
    path: PathBuf,
    lines: LineThread,
}

/// The same for the thread that writes it.
struct EvidenceSink {
    path: PathBuf,
    file: LineFile<File>,
}

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    schema: &'static str,
    /// Seconds since 1970.
    at: f64,
    peer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    /// A name that programs can go by.
    offence: &'static str,
    /// The same in words.
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RecordLine<'a>>,
    reputation: f64,
    /// The peer is refused from now on, for so long; 0: it is not.
    quarantine_seconds: u64,
}

/// The record that it was in.
#[derive(Debug, Serialize)]
struct RecordLine<'a> {
    path: u32,
    remote: &'a str,
    number: u64,
    epoch: u32,
}

impl EvidenceSink {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        // What somebody made before, and no device or pipe.
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600)).map_err(|error| {
                let words = format!("others can read it, and its mode cannot be set: {error}");
                io::Error::new(error.kind(), words)
            })?;
        }
        let is_torn = metadata.is_file() && is_torn(path, metadata.len());
        Ok(Self { path: path.to_owned(), file: LineFile::new(file, is_torn) })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        // Another process of the node, which drains, may write to it too.
        let bytes = self.file.get().metadata()?.len();
        if bytes + line.len() as u64 > BYTES_MAX {
            let mib = BYTES_MAX >> 20;
            return Err(io::Error::other(format!("it has {mib} MiB: rotate it, then reload")));
        }
        self.file.put(line)
    }
}

impl Sink for EvidenceSink {
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        self.append(line).map_err(|error| {
            let reason = format!("{}: {error}", self.path.display());
            warn!("evidence was not written: {reason}");
            io::Error::new(error.kind(), reason)
        })
    }
}

impl EvidenceLog {
    /// Opens the file at `path`, or makes it, for the daemon's user alone. Takes as long as the volume likes.
    ///
    /// # Errors
    /// What the system says, with the path and the key that names it.
    pub(super) fn open(&self, path: &Path) -> Result<EvidenceFile, String> {
        let opened =
            EvidenceSink::open(path).and_then(|sink| self.threads.start(sink, Arc::default()));
        let lines = opened.map_err(|error| {
            format!("byzantine.evidenceLog: cannot write {}: {error}", path.display())
        })?;
        Ok(EvidenceFile { path: path.to_owned(), lines })
    }

    /// Writes to `file` from now on. What waits for the one before is written there, if it can be.
    pub(super) fn set(&self, file: Option<EvidenceFile>) {
        let before = std::mem::replace(&mut *self.lock(), file);
        if let Some((path, waiting)) = before.as_ref().and_then(EvidenceFile::stall) {
            warn!(waiting, "evidence waits for {path} still");
        }
    }

    /// Has a line written if `event` is an offence, and there is a log. Never blocks.
    pub(super) fn note(&self, event: &EndpointEvent) {
        let Some(line) = line(event) else { return };
        let file = self.lock();
        let Some(file) = &*file else { return };
        if !file.lines.put(line) {
            let path = file.path.display();
            warn!(peer = event.peer, "evidence was not written: {path}: too much waits for it");
        }
    }

    /// So many events went by before they could be looked at: any of them may have been an offence.
    pub(super) fn miss(&self, events: u64) {
        let file = self.lock();
        let Some(file) = &*file else { return };
        let reason = "events came faster than they could be looked at";
        warn!(events, "evidence may be lost: {reason}");
        file.lines.tally().lose(events, reason);
    }

    /// How many lines could not be written, or perhaps were never come by, since the file was opened, and why the last
    /// could not; `None`: all were.
    pub(super) fn trouble(&self) -> Option<(u64, String)> {
        let file = self.lock();
        let file = file.as_ref()?;
        let counts = file.lines.tally().counts();
        match file.stall() {
            Some((path, waiting)) => {
                let reason = format!("{path} takes none: its volume hangs, or nobody reads it");
                Some((counts.lost + waiting, reason))
            }
            None => (counts.lost > 0).then_some((counts.lost, counts.reason)),
        }
    }

    /// Waits a while until all is written: the process ends.
    pub(super) fn end(&self) {
        let Some(EvidenceFile { path, lines }) = self.lock().take() else { return };
        let lost = lines.end();
        if lost > 0 {
            warn!(lost, "evidence was not written: {} takes none", path.display());
        }
    }

    /// Held to hand over a line, never while one is written.
    fn lock(&self) -> MutexGuard<'_, Option<EvidenceFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EvidenceFile {
    /// Where lines wait because the first of them has not been written for long, and how many.
    fn stall(&self) -> Option<(Display<'_>, u64)> {
        let counts = self.lines.tally().counts();
        let is_stalled = counts.since.is_some_and(|since| since.elapsed() >= STALL);
        is_stalled.then(|| (self.path.display(), counts.waiting))
    }
}

/// Whether the file at `path`, which has so many bytes, ends in the middle of a line: who wrote it had no room, or died.
fn is_torn(path: &Path, bytes: u64) -> bool {
    let mut last = [b'\n'];
    let read = bytes.checked_sub(1).map(|at| File::open(path)?.read_exact_at(&mut last, at));
    matches!(read, Some(Ok(()))) && last != [b'\n']
}

fn line(event: &EndpointEvent) -> Option<Vec<u8>> {
    let SessionEvent::Offended { offence, record, reputation, quarantine } = &event.event else {
        return None;
    };
    let since = event.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = Line {
        schema: "dwcp.evidence/v1",
        at: since.as_millis() as f64 / 1_000.0,
        peer: &event.peer,
        session: event.session.map(|session| session.to_string()),
        offence: offence.name(),
        what: offence.to_string(),
        record: record.as_ref().map(|record| RecordLine {
            path: record.path.0,
            remote: &record.remote,
            number: record.number,
            epoch: record.epoch,
        }),
        reputation: (reputation * 1_000.0).round() / 1_000.0,
        quarantine_seconds: quarantine.map_or(0, |time| time.as_secs()),
    };
    let mut bytes = serde_json::to_vec(&line).expect("plain data serialises");
    bytes.push(b'\n');
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_there_is_made_its_owners_and_its_last_line_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("e.log");
        for (before, after) in [
            ("", "{\"a\":1}\n"),
            ("{\"b\":2}\n", "{\"b\":2}\n{\"a\":1}\n"),
            ("{\"b\":", "{\"b\":\n{\"a\":1}\n"),
        ] {
            std::fs::write(&path, before).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            let mut sink = EvidenceSink::open(&path).unwrap();
            sink.put(b"{\"a\":1}\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
        }
    }
}
