//! The configuration file as the daemon and the command line load it: the same way.

use std::path::Path;

use dwcp_core::config::{Colour, Config, Diagnostic, Severity, load_file};
use sha2::{Digest, Sha256};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{rendered}")]
pub struct LoadFailure {
    /// Every diagnostic with its line and caret.
    pub rendered: String,
    /// The first error in one line, and how many more there are.
    pub summary: String,
}

/// A configuration, what to warn of, and the digest of its text.
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Warnings and hints as text; empty if there are none.
    pub warnings: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// Loads the file at `path`.
///
/// # Errors
/// [`LoadFailure`] with all that is wrong.
pub fn load(path: &Path, colour: Colour) -> Result<LoadedConfig, LoadFailure> {
    let loaded = load_file(path);
    let rendered = loaded.render(colour);
    match loaded.config {
        Some(config) => {
            let digest = Sha256::digest(loaded.source.as_bytes());
            let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(LoadedConfig { config, warnings: rendered, sha256 })
        }
        None => Err(LoadFailure { rendered, summary: summary(&loaded.diagnostics) }),
    }
}

/// What stands first in the text may be a hint: what counts is the first error.
fn summary(diagnostics: &[Diagnostic]) -> String {
    let is_error = |found: &&Diagnostic| found.severity == Severity::Error;
    let errors: Vec<_> = diagnostics.iter().filter(is_error).collect();
    let Some(first) = errors.first() else { return "it cannot be loaded".into() };
    let Diagnostic { file, line, column, code, message, .. } = first;
    let more = match errors.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("error[{code}]: {message} ({file}:{line}:{column}){more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_summed_up_by_its_first_error_and_not_by_a_hint_before_it() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("x.yaml");
        std::fs::write(&path, "mode: internet\nfeatures: {enableV3: 7}\nnetwrok: 1\n").unwrap();
        let failure = load(&path, Colour::Off).err().unwrap();
        assert!(failure.summary.starts_with("error[DWCP-C"), "{}", failure.summary);
        assert!(failure.summary.contains("x.yaml:2:"), "{}", failure.summary);
        assert!(failure.summary.ends_with(", and 1 more"), "{}", failure.summary);
    }
}
