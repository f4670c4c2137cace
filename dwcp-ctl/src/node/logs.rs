//! The log: tracing to stderr or a file, as text or JSON, its level changeable while the daemon runs.
//!
//! A thread of its own writes it: a disk that is full or a pipe that nobody reads holds up no session. What cannot be
//! written is dropped, and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dwcp_core::config::{LogFormat, LogLevel, LogOutput, Logging};
use tracing::warn;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::repeats::{RepeatFilter, Repeats};

/// Changes the level of the log, and follows its file.
pub struct LogControl {
    level: reload::Handle<LevelFilter, Registry>,
    file: Option<LogFile>,
    repeats: Arc<Repeats>,
    /// Lines that found no room on their way to the writing thread.
    dropped: ErrorCounter,
    /// Lines that could not be written.
    failed: Arc<AtomicU64>,
}

/// Writes the rest of the log when it is dropped.
pub struct LogEnd {
    _guard: WorkerGuard,
}

/// Lines that may wait for the writing thread.
const LINES_WAITING_MAX: usize = 4_096;

/// Writes on, whatever comes of it, and counts what does not arrive.
struct Counting<W> {
    inner: W,
    failed: Arc<AtomicU64>,
}

impl<W: io::Write> io::Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.inner.write_all(bytes).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A log file that can be opened anew under its name.
#[derive(Clone)]
struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = Arc::new(Mutex::new(append(path)?));
        Ok(Self { path: path.to_owned(), file })
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

impl LogControl {
    /// Logs at `level` from now on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the subscriber is gone: nothing is logged then.
        let _ = self.level.modify(|filter| *filter = filter_of(level));
    }

    /// Lines that are in no log, because it takes none: a full disk, a pipe that nobody reads.
    pub(super) fn lost(&self) -> u64 {
        self.dropped.dropped_lines() as u64 + self.failed.load(Ordering::Relaxed)
    }

    /// What the log holds back.
    pub(super) fn repeats(&self) -> &Arc<Repeats> {
        &self.repeats
    }

    /// Opens the log file anew, if the log goes to one: whoever rotates logs has moved it away. If that fails, the
    /// log goes on in the old one.
    pub fn reopen(&self) {
        let Some(log) = &self.file else { return };
        match append(&log.path) {
            Ok(file) => *log.lock() = file,
            Err(error) => warn!(%error, "cannot open the log file anew; the old one goes on"),
        }
    }
}

/// Starts the log for this process.
///
/// # Errors
/// If the log file cannot be opened, or the process logs already.
pub fn start_logs(logging: &Logging) -> io::Result<(LogControl, LogEnd)> {
    let failed = Arc::<AtomicU64>::default();
    let mut log_file = None;
    let (writer, is_terminal) = match &logging.output {
        LogOutput::Stderr => (by_thread(io::stderr(), &failed), io::stderr().is_terminal()),
        LogOutput::File(path) => {
            let file = LogFile::open(path.as_path())?;
            log_file = Some(file.clone());
            (by_thread(file, &failed), false)
        }
    };
    let (writer, guard) = writer;
    let dropped = writer.error_counter();
    let (filter, level) = reload::Layer::new(filter_of(logging.level));
    let repeats = Arc::<Repeats>::default();
    let registry = tracing_subscriber::registry().with(filter).with(RepeatFilter(repeats.clone()));
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
    let control = LogControl { level, file: log_file, repeats, dropped, failed };
    Ok((control, LogEnd { _guard: guard }))
}

fn by_thread<W: io::Write + Send + 'static>(
    inner: W,
    failed: &Arc<AtomicU64>,
) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_WAITING_MAX)
        .thread_name("dwcpd-log")
        .finish(Counting { inner, failed: failed.clone() })
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
