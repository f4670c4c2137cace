//! The log: tracing to stderr or a file, as text or JSON, its level changeable while the daemon runs.
//!
//! A thread of its own writes it: a disk that is full or a pipe that nobody reads holds up no session. What cannot be
//! written is dropped, and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dwcp_core::config::{LogFormat, LogLevel, LogOutput, Logging};
use tracing::warn;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::lines::{LineFile, LineThread, LineThreads, Sink, Tally};
use super::repeats::{RepeatFilter, Repeats};

/// Changes the level of the log, and follows its file.
pub struct LogControl {
    level: reload::Handle<LevelFilter, Registry>,
    file: Option<PathBuf>,
    repeats: Arc<Repeats>,
    lines: LogLines,
}

/// Writes the rest of the log when it is dropped.
pub struct LogEnd(LogLines);

impl Drop for LogEnd {
    fn drop(&mut self) {
        let thread = self.0.lock().take();
        _ = thread.map(LineThread::end);
    }
}

/// Takes lines for the thread that writes the log.
#[derive(Clone)]
struct LogLines(Arc<LogThreads>);

struct LogThreads {
    all: LineThreads,
    tally: Arc<Tally>,
    /// The one that writes; none at the end.
    present: Mutex<Option<LineThread>>,
}

impl LogLines {
    /// Writes to `sink` from now on. What waits is written where it was to go.
    fn set(&self, sink: impl Sink) -> io::Result<()> {
        let thread = self.0.all.start(sink, self.0.tally.clone())?;
        *self.lock() = Some(thread);
        Ok(())
    }

    /// Held to hand over a line, never while one is written.
    fn lock(&self) -> MutexGuard<'_, Option<LineThread>> {
        self.0.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What finds no room is counted.
        _ = self.lock().as_ref().map(|thread| thread.put(bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The file that the log goes to.
pub(super) type LogFile = LineFile<File>;

fn append(path: &Path) -> io::Result<LogFile> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file =
        file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(LineFile::new(file, false))
}

impl LogControl {
    /// Logs at `level` from now on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the subscriber is gone: nothing is logged then.
        let _ = self.level.modify(|filter| *filter = filter_of(level));
    }

    /// Lines that are in no log, because it takes none: a full disk, a pipe that nobody reads.
    pub(super) fn lost(&self) -> u64 {
        self.lines.0.tally.counts().lost
    }

    /// What the log holds back.
    pub(super) fn repeats(&self) -> &Arc<Repeats> {
        &self.repeats
    }

    /// What opens the log file anew, if the log goes to one: whoever rotates logs has moved it away. It takes as long as the volume
    /// likes; [`follow`](Self::follow) is to follow.
    pub(super) fn opener(
        &self,
    ) -> Option<impl FnOnce() -> io::Result<LogFile> + Send + 'static + use<>> {
        let path = self.file.clone()?;
        Some(move || append(&path))
    }

    /// Goes on in `file`. If that could not be opened, the log goes on in the old one.
    pub(super) fn follow(&self, file: io::Result<LogFile>) {
        if let Err(error) = file.and_then(|file| self.lines.set(file)) {
            warn!(%error, "cannot open the log file anew; the old one goes on");
        }
    }
}

/// Starts the log for this process.
///
/// # Errors
/// If the log file cannot be opened, or the process logs already.
pub fn start_logs(logging: &Logging) -> io::Result<(LogControl, LogEnd)> {
    let all = LineThreads::new("dwcpd-log");
    let threads = LogThreads { all, tally: Arc::default(), present: Mutex::default() };
    let lines = LogLines(Arc::new(threads));
    let (mut file, mut is_terminal) = (None, false);
    match &logging.output {
        LogOutput::Stderr => {
            is_terminal = io::stderr().is_terminal();
            lines.set(LineFile::new(io::stderr(), false))?;
        }
        LogOutput::File(path) => {
            file = Some(path.as_path().to_owned());
            lines.set(append(path.as_path())?)?;
        }
    }
    let writer = {
        let lines = lines.clone();
        move || lines.clone()
    };
    let (filter, level) = reload::Layer::new(filter_of(logging.level));
    let repeats = Arc::<Repeats>::default();
    let registry =
        tracing_subscriber::registry().with(filter).with(RepeatFilter::new(repeats.clone()));
    let result = match logging.format {
        LogFormat::Text => {
            let colours = is_terminal && std::env::var_os("NO_COLOR").is_none();
            let layer = fmt::layer().with_target(false).with_ansi(colours).with_writer(writer);
            registry.with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(writer);
            registry.with(layer).try_init()
        }
    };
    result.map_err(io::Error::other)?;
    let end = LogEnd(lines.clone());
    Ok((LogControl { level, file, repeats, lines }, end))
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
