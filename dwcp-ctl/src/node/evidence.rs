//! The evidence log: what peers did that no honest peer does, one JSON line each, `dwcp.evidence/v1`.
//!
//! Only what a peer's keys or certificate prove is in it, and no payload. Records are authenticated by keys that both
//! ends have: the log convinces its owner, not a judge.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use dwcp_core::{EndpointEvent, SessionEvent};
use serde::Serialize;
use tracing::warn;

/// The longest the file becomes: whoever wants more of it rotates it.
const BYTES_MAX: u64 = 64 << 20;

/// Where evidence goes, if anywhere.
#[derive(Default)]
pub(super) struct EvidenceLog(Mutex<State>);

#[derive(Default)]
struct State {
    file: Option<EvidenceFile>,
    /// Lines that could not be written since the file was opened, or perhaps were never come by, and why the last could not.
    lost: u64,
    reason: String,
}

/// The open file.
pub(super) struct EvidenceFile {
    path: PathBuf,
    file: File,
    bytes: u64,
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

impl EvidenceFile {
    /// Opens the file at `path`, or makes it, for the daemon's user alone.
    ///
    /// # Errors
    /// What the system says, with the path and the key that names it.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| {
            format!("byzantine.evidenceLog: cannot write {}: {error}", path.display())
        };
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes + line.len() as u64 > BYTES_MAX {
            let mib = BYTES_MAX >> 20;
            return Err(io::Error::other(format!("it has {mib} MiB: rotate it, then reload")));
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl EvidenceLog {
    /// Writes to `file` from now on.
    pub(super) fn set(&self, file: Option<EvidenceFile>) {
        *self.lock() = State { file, ..State::default() };
    }

    /// Writes a line if `event` is an offence, and there is a log.
    pub(super) fn note(&self, event: &EndpointEvent) {
        let Some(line) = line(event) else { return };
        let mut state = self.lock();
        let Some(file) = &mut state.file else { return };
        if let Err(error) = file.append(&line) {
            let reason = format!("{}: {error}", file.path.display());
            warn!(peer = event.peer, "evidence was not written: {reason}");
            state.lost += 1;
            state.reason = reason;
        }
    }

    /// So many events went by before they could be looked at: any of them may have been an offence.
    pub(super) fn miss(&self, events: u64) {
        let mut state = self.lock();
        if state.file.is_none() {
            return;
        }
        let reason = "events came faster than they could be looked at";
        warn!(events, "evidence may be lost: {reason}");
        state.lost += events;
        state.reason = reason.to_owned();
    }

    /// How many lines could not be written, and why the last could not; `None`: all were.
    pub(super) fn trouble(&self) -> Option<(u64, String)> {
        let state = self.lock();
        (state.lost > 0).then(|| (state.lost, state.reason.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
