//! Results to stdout, everything else to stderr.

use std::io::{IsTerminal, Write};

use dwcp_core::config::Colour;
use serde_json::Value;

use super::args::Format;
use crate::exit::Failure;

/// Where a command speaks to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    format: Format,
    quiet: bool,
}

impl Output {
    pub(super) fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes the result: `value`, or what `text` makes of it.
    pub(super) fn result(
        &self,
        value: &Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = if self.is_json() { value.to_string() } else { text() };
        self.print(&text)
    }

    /// Writes text to stdout, with a line end if it has none.
    pub(super) fn print(&self, text: &str) -> Result<(), Failure> {
        let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        let mut stdout = std::io::stdout().lock();
        match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::problem(format!("cannot write the result: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Says something on stderr.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Says what went wrong on stderr.
    pub(super) fn error(&self, text: &str) {
        eprintln!("dwcp-ctl: {}", text.trim_end());
    }

    /// Whether there is somebody to show progress to.
    pub(super) fn shows_progress(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Whether stdout takes colours.
    pub(super) fn colour(&self) -> Colour {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stdout().is_terminal() && !is_plain && !self.is_json() {
            Colour::On
        } else {
            Colour::Off
        }
    }
}
