//! The word that opens the admin server to clients that are not on this machine.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, PoisonError, RwLock};

use dwcp_core::config::Config;

/// The token in force. A reload replaces it.
#[derive(Default)]
pub(super) struct Token {
    word: RwLock<Arc<str>>,
}

impl Token {
    pub(super) fn new(word: Arc<str>) -> Self {
        Self { word: RwLock::new(word) }
    }

    pub(super) fn set(&self, word: Arc<str>) {
        *self.word.write().unwrap_or_else(PoisonError::into_inner) = word;
    }

    /// Whether `header`, an Authorization header's value, brings the token. Takes a time that does not depend
    /// on where they differ.
    pub(super) fn is_in(&self, header: &str) -> bool {
        let wanted = self.word.read().unwrap_or_else(PoisonError::into_inner).clone();
        // The scheme's case does not matter (RFC 9110, 11.1).
        match header.split_once(' ') {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
                is_token(given.trim(), &wanted)
            }
            _ => false,
        }
    }
}

/// Reads the token that `config` names; empty, which opens nothing, if it names none.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub(crate) fn read(config: &Config) -> Result<Arc<str>, String> {
    match &config.admin.token_file {
        Some(path) => read_file(path.as_path()),
        None => Ok("".into()),
    }
}

fn read_file(path: &std::path::Path) -> Result<Arc<str>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("`admin.tokenFile`: {shown}: {error}"))?;
    let metadata = std::fs::metadata(path);
    let mode =
        metadata.map_err(|error| format!("`admin.tokenFile`: {shown}: {error}"))?.permissions();
    let mode = mode.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "`admin.tokenFile`: {shown}: mode {mode:04o} lets others read it; chmod 600 {shown}"
        ));
    }
    match text.trim() {
        "" => Err(format!("`admin.tokenFile`: {shown}: is empty; put a long random word in it")),
        token => Ok(token.into()),
    }
}

fn is_token(given: &str, wanted: &str) -> bool {
    let difference = given.bytes().zip(wanted.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    !wanted.is_empty() && given.len() == wanted.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_in_force_opens_and_no_other() {
        let token = Token::new("secret".into());
        for header in ["Bearer secret", "bearer secret", "BEARER  secret "] {
            assert!(token.is_in(header), "{header}");
        }
        for header in ["", "secret", "Basic secret", "Bearer Secret", "Bearer secrets", "Bearer "] {
            assert!(!token.is_in(header), "{header}");
        }
        token.set("another".into());
        assert!(token.is_in("Bearer another") && !token.is_in("Bearer secret"));
        assert!(!Token::default().is_in("Bearer "), "an empty token opens nothing");
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("token");
        std::fs::write(&path, "secret\n").unwrap();
        for (mode, is_fine) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = read_file(&path);
            assert_eq!(read.is_ok(), is_fine, "{mode:o} {read:?}");
            assert!(read.err().is_none_or(|words| words.contains("chmod 600")));
        }
    }
}
