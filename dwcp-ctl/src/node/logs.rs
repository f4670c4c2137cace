//! The log: tracing to stderr or a file, as text or JSON, its level changeable while the daemon runs.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dwcp_core::config::{LogFormat, LogLevel, LogOutput, Logging};
use tracing::warn;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::repeats::{RepeatFilter, Repeats};

/// Changes the level of the log, and follows its file.
pub struct LogControl {
    level: reload::Handle<LevelFilter, Registry>,
    file: Option<LogFile>,
    repeats: Arc<Repeats>,
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
pub fn start_logs(logging: &Logging) -> io::Result<LogControl> {
    let mut log_file = None;
    let (writer, is_terminal) = match &logging.output {
        LogOutput::Stderr => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
        LogOutput::File(path) => {
            let file = LogFile::open(path.as_path())?;
            log_file = Some(file.clone());
            (BoxMakeWriter::new(move || file.clone()), false)
        }
    };
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
    Ok(LogControl { level, file: log_file, repeats })
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
