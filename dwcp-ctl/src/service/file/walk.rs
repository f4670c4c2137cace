//! Which files a copy consists of.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::protocol::{ENTRIES_MAX, ENTRIES_WAY_OUT};

/// A file to send, or an empty directory to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its name at the receiver.
    pub name: String,
    /// Its length now.
    pub bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// Whether it is a directory; only empty ones are named, the others come with their files.
    pub is_directory: bool,
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// It cannot be looked at.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory was named without `--recursive`.
    #[error("{}: is a directory; use --recursive", .0.display())]
    Directory(PathBuf),
    /// A socket, a device, a link in a tree.
    #[error("{}: is not a regular file", .0.display())]
    Special(PathBuf),
    /// The name is not UTF-8, or is empty.
    #[error("{}: has no name that can be sent", .0.display())]
    Name(PathBuf),
    /// More than one copy has.
    #[error(
        "{}: a copy has {ENTRIES_MAX} files and directories at most, this is one more: {ENTRIES_WAY_OUT}", .0.display()
    )]
    TooMany(PathBuf),
    /// Two files would land under one name.
    #[error("two files would have the name {0} at the receiver")]
    Twice(String),
}

/// The files that `paths` name; directories with all below them if `recursive`.
///
/// # Errors
/// [`WalkError`] about the first path that cannot be sent: nothing is sent then.
pub fn walk(paths: &[PathBuf], recursive: bool) -> Result<Vec<Source>, WalkError> {
    walk_within(paths, recursive, ENTRIES_MAX)
}

fn walk_within(
    paths: &[PathBuf],
    is_recursive: bool,
    entries_max: u64,
) -> Result<Vec<Source>, WalkError> {
    let mut walk = Walk { is_recursive, entries_left: entries_max, sources: Vec::new() };
    for path in paths {
        let name = name_of(path)?;
        // A link on the command line is followed, as cp does; links in trees are refused.
        let metadata = fs::metadata(path).map_err(io_error(path))?;
        walk.visit(path, name, &metadata)?;
    }
    let mut names = HashSet::new();
    match walk.sources.iter().find(|source| !names.insert(source.name.as_str())) {
        Some(twice) => Err(WalkError::Twice(twice.name.clone())),
        None => Ok(walk.sources),
    }
}

/// A walk under way.
struct Walk {
    is_recursive: bool,
    /// Files and directories that may still be come by, counted as the receiver does.
    entries_left: u64,
    sources: Vec<Source>,
}

impl Walk {
    fn visit(
        &mut self,
        path: &Path,
        name: String,
        metadata: &fs::Metadata,
    ) -> Result<(), WalkError> {
        let too_many = || WalkError::TooMany(path.to_owned());
        self.entries_left = self.entries_left.checked_sub(1).ok_or_else(too_many)?;
        let mode = metadata.permissions().mode();
        if metadata.is_file() {
            let (path, bytes) = (path.to_owned(), metadata.len());
            self.sources.push(Source { path, name, bytes, mode, is_directory: false });
            return Ok(());
        }
        if !metadata.is_dir() {
            return Err(WalkError::Special(path.to_owned()));
        }
        if !self.is_recursive {
            return Err(WalkError::Directory(path.to_owned()));
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(io_error(path))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        if entries.is_empty() {
            let path = path.to_owned();
            self.sources.push(Source { path, name, bytes: 0, mode, is_directory: true });
            return Ok(());
        }
        for entry in entries {
            let path = entry.path();
            let metadata = entry.metadata().map_err(io_error(&path))?;
            self.visit(&path, format!("{name}/{}", name_of(&path)?), &metadata)?;
        }
        Ok(())
    }
}

fn name_of(path: &Path) -> Result<String, WalkError> {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| WalkError::Name(path.to_owned()))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> WalkError + use<> {
    let path = path.to_owned();
    move |source| WalkError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_trees_are_named_from_their_own_root() {
        let room = tempfile::tempdir().unwrap();
        let tree = room.path().join("tree");
        fs::create_dir_all(tree.join("deep")).unwrap();
        fs::create_dir(tree.join("hollow")).unwrap();
        fs::write(tree.join("a"), "1").unwrap();
        fs::write(tree.join("deep/b"), "22").unwrap();
        let names = |paths: &[PathBuf]| -> Vec<_> {
            walk(paths, true)
                .unwrap()
                .into_iter()
                .map(|source| (source.name, source.bytes))
                .collect()
        };
        assert_eq!(
            names(std::slice::from_ref(&tree)),
            [("tree/a".into(), 1), ("tree/deep/b".into(), 2), ("tree/hollow".into(), 0)]
        );
        assert_eq!(names(&[tree.join("a")]), [("a".to_owned(), 1)]);
        assert!(matches!(walk(std::slice::from_ref(&tree), false), Err(WalkError::Directory(_))));
        assert!(matches!(walk(&[tree.join("none")], true), Err(WalkError::Io { .. })));
        assert!(matches!(walk(&[tree.join("a"), tree.join("a")], true), Err(WalkError::Twice(_))));
        std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
        assert!(matches!(walk(&[tree], true), Err(WalkError::Special(_))));
    }
    #[test]
    fn more_than_a_copy_has_is_refused_by_name() {
        let room = tempfile::tempdir().unwrap();
        let tree = room.path().join("tree");
        fs::create_dir_all(tree.join("deep")).unwrap();
        fs::create_dir(tree.join("hollow")).unwrap();
        fs::write(tree.join("deep/a"), "").unwrap();
        // The tree, `deep`, `deep/a` and `hollow`.
        let paths = [tree.clone()];
        assert_eq!(walk_within(&paths, true, 4).unwrap().len(), 2);
        let refused = walk_within(&paths, true, 3).unwrap_err();
        assert!(matches!(&refused, WalkError::TooMany(path) if *path == tree.join("hollow")));
        assert!(refused.to_string().contains("100000 files and directories"), "{refused}");
    }
}
