//! Where command sockets are.

use std::path::{Path, PathBuf};

/// The directory of command sockets: `asked`, or `/run/dwcp` if it is there, or a private one of the user.
pub fn runtime_directory(asked: Option<&Path>) -> PathBuf {
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    choose(asked, Path::new("/run/dwcp"), user.as_deref())
}

fn choose(asked: Option<&Path>, system: &Path, user: Option<&Path>) -> PathBuf {
    match (asked, user) {
        (Some(asked), _) => asked.to_owned(),
        (None, Some(user)) if !system.is_dir() && user.is_absolute() => user.join("dwcp"),
        _ => system.to_owned(),
    }
}

/// Every command socket in `directory`: the node's id and the socket's path, by id.
pub fn sockets(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_suffix(".sock")?.to_owned(), entry.path()))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_that_fits_is_taken() {
        let here = tempfile::tempdir().unwrap();
        let (system, none) = (here.path(), here.path().join("none"));
        let user = Path::new("/run/user/7");
        assert_eq!(choose(Some(Path::new("x")), system, Some(user)), Path::new("x"));
        assert_eq!(choose(None, system, Some(user)), system);
        assert_eq!(choose(None, &none, Some(user)), user.join("dwcp"));
        assert_eq!(choose(None, &none, None), none);
    }

    #[test]
    fn sockets_are_found_by_their_name() {
        let here = tempfile::tempdir().unwrap();
        for name in ["b.sock", "a.sock", "a.lock"] {
            std::fs::write(here.path().join(name), "").unwrap();
        }
        let names: Vec<_> = sockets(here.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(sockets(&here.path().join("none")).is_empty());
    }
}
