//! The word that opens the admin server to clients that are not on this machine.

use std::sync::{Arc, PoisonError, RwLock};

use dwcp_core::config::Config;
use dwcp_tcp::read_secret;
use zeroize::Zeroizing;

/// The word itself, which is erased when nobody needs it any more.
pub(crate) type Word = Arc<Zeroizing<String>>;

/// The token in force. A reload replaces it.
#[derive(Default)]
pub(super) struct Token {
    word: RwLock<Word>,
}

impl Token {
    pub(super) fn new(word: Word) -> Self {
        Self { word: RwLock::new(word) }
    }

    pub(super) fn set(&self, word: Word) {
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
pub(crate) fn read(config: &Config) -> Result<Word, String> {
    match &config.admin.token_file {
        Some(path) => read_file(path.as_path()),
        None => Ok(Word::default()),
    }
}

fn read_file(path: &std::path::Path) -> Result<Word, String> {
    let shown = path.display();
    let bytes =
        read_secret(path).map_err(|error| format!("`admin.tokenFile`: {shown}: {error}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        format!("`admin.tokenFile`: {shown}: is no text; put a long random word in it")
    })?;
    match text.trim() {
        "" => Err(format!("`admin.tokenFile`: {shown}: is empty; put a long random word in it")),
        token => Ok(word(token)),
    }
}

fn word(text: &str) -> Word {
    Arc::new(Zeroizing::new(text.to_owned()))
}

fn is_token(given: &str, wanted: &str) -> bool {
    let difference = given.bytes().zip(wanted.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    !wanted.is_empty() && given.len() == wanted.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_word_in_force_opens_and_no_other() {
        let token = Token::new(word("secret"));
        for header in ["Bearer secret", "bearer secret", "BEARER  secret "] {
            assert!(token.is_in(header), "{header}");
        }
        for header in ["", "secret", "Basic secret", "Bearer Secret", "Bearer secrets", "Bearer "] {
            assert!(!token.is_in(header), "{header}");
        }
        token.set(word("another"));
        assert!(token.is_in("Bearer another") && !token.is_in("Bearer secret"));
        assert!(!Token::default().is_in("Bearer "), "an empty token opens nothing");
    }

    #[test]
    fn a_token_is_a_word_that_others_cannot_read() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("token");
        for (mode, text, wanted) in [
            (0o600, &b" secret\n"[..], Ok("secret")),
            (0o644, b"secret\n", Err("chmod 600")),
            (0o600, b" \n", Err("is empty")),
            (0o600, b"\xff\n", Err("is no text")),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match (read_file(&path), wanted) {
                (Ok(read), Ok(wanted)) => assert_eq!(read.as_str(), wanted),
                (Err(words), Err(wanted)) => assert!(words.contains(wanted), "{words}"),
                (read, wanted) => panic!("{:?}, not {wanted:?}", read.map(|_| ())),
            }
        }
    }
}
