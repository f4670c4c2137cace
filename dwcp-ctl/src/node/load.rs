//! The configuration file as the daemon and the command line load it: the same way.

use std::path::Path;

use dwcp_core::config::{Colour, Config, load_file};
use sha2::{Digest, Sha256};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{rendered}")]
pub struct LoadFailure {
    /// Every diagnostic with its line and caret.
    pub rendered: String,
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
        None => Err(LoadFailure { rendered }),
    }
}
