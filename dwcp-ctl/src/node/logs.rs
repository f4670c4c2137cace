//! The log: tracing to stderr or a file, as text or JSON, its level changeable while the daemon runs.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::sync::Mutex;

use dwcp_core::config::{LogFormat, LogLevel, LogOutput, Logging};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Changes the level of the log.
pub struct LogControl {
    level: reload::Handle<LevelFilter, Registry>,
}

impl LogControl {
    /// Logs at `level` from now on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the subscriber is gone: nothing is logged then.
        let _ = self.level.modify(|filter| *filter = filter_of(level));
    }
}

/// Starts the log for this process.
///
/// # Errors
/// If the log file cannot be opened, or the process logs already.
pub fn start_logs(logging: &Logging) -> io::Result<LogControl> {
    let (writer, is_terminal) = match &logging.output {
        LogOutput::Stderr => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
        LogOutput::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path.as_path());
            let file = file.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.as_path().display()))
            })?;
            (BoxMakeWriter::new(Mutex::new(file)), false)
        }
    };
    let (filter, level) = reload::Layer::new(filter_of(logging.level));
    let registry = tracing_subscriber::registry().with(filter);
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
    Ok(LogControl { level })
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
