//! Which files a copy consists of.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::protocol::{ENTRIES_MAX, ENTRIES_WAY_OUT};
use super::send::LeftOut;
use super::tree::{PARTS_MAX, is_unfinished, stays_below};

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its name at the receiver.
    pub name: String,
    /// The named tree that it was found in, if it was not named itself. Below it no link is followed.
    pub root: Option<Arc<Path>>,
    /// What it is.
    pub kind: Kind,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File {
        /// Its length now.
        bytes: u64,
        /// Its permission bits.
        mode: u32,
        /// When it was last written, nanoseconds since 1970.
        mtime_ns: i64,
        /// When anything of it last changed, nanoseconds since 1970: nobody can set that.
        changed_ns: i64,
    },
    /// A directory with nothing in it that is sent; the others come with their files.
    Directory,
    /// A symbolic link.
    Link {
        /// What it says.
        target: String,
    },
}

impl Source {
    /// Its length now; 0 of what is no file.
    pub fn bytes(&self) -> u64 {
        match self.kind {
            Kind::File { bytes, .. } => bytes,
            Kind::Directory | Kind::Link { .. } => 0,
        }
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }
}

/// What a copy consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// What is sent, in this order.
    pub sources: Vec<Source>,
    /// What is in the trees and cannot be sent, ever: sockets, devices, links that lead out.
    pub skipped: Vec<LeftOut>,
    /// What ought to be sent and cannot be read.
    pub failed: Vec<LeftOut>,
}

/// Why nothing can be sent.
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
    /// A socket or a device.
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

/// What `paths` name; directories with all below them if `recursive`.
///
/// # Errors
/// [`WalkError`] about the first path that cannot be sent: nothing is sent then. What is found in a tree and cannot
/// be sent is in the [`Walk`] instead.
pub fn walk(paths: &[PathBuf], recursive: bool) -> Result<Walk, WalkError> {
    walk_within(paths, recursive, ENTRIES_MAX)
}

fn walk_within(paths: &[PathBuf], is_recursive: bool, entries_max: u64) -> Result<Walk, WalkError> {
    let mut walker = Walker { entries_left: entries_max, root: None, found: Walk::default() };
    for path in paths {
        let name = name_of(path).ok_or_else(|| WalkError::Name(path.clone()))?;
        let failed = |source| WalkError::Io { path: path.clone(), source };
        // A link on the command line is followed, as cp does.
        let metadata = fs::metadata(path).map_err(failed)?;
        match metadata.file_type() {
            kind if kind.is_dir() && !is_recursive => {
                return Err(WalkError::Directory(path.clone()));
            }
            kind if kind.is_dir() => fs::read_dir(path).map(drop).map_err(failed)?,
            kind if kind.is_file() => fs::File::open(path).map(drop).map_err(failed)?,
            _ => return Err(WalkError::Special(path.clone())),
        }
        walker.root = metadata.is_dir().then(|| Arc::from(path.as_path()));
        walker.visit(path, name, &metadata)?;
    }
    let mut names = HashSet::new();
    match walker.found.sources.iter().find(|source| !names.insert(source.name.as_str())) {
        Some(twice) => Err(WalkError::Twice(twice.name.clone())),
        None => Ok(walker.found),
    }
}

/// A walk under way.
struct Walker {
    /// Files, directories and links that may still be come by, counted as the receiver does.
    entries_left: u64,
    root: Option<Arc<Path>>,
    found: Walk,
}

impl Walker {
    /// Looks at `path`; the only errors are those that leave nothing to be sent.
    fn visit(
        &mut self,
        path: &Path,
        name: String,
        metadata: &fs::Metadata,
    ) -> Result<(), WalkError> {
        let too_many = || WalkError::TooMany(path.to_owned());
        self.entries_left = self.entries_left.checked_sub(1).ok_or_else(too_many)?;
        let kind = metadata.file_type();
        if name.split('/').count() > PARTS_MAX {
            self.fail(path, &format!("lies deeper than {PARTS_MAX} directories"));
        } else if name.rsplit('/').next().is_some_and(|last| is_unfinished(last.as_bytes())) {
            self.skip(path, "an unfinished file of a copy");
        } else if kind.is_file() {
            self.add(path, name, Kind::of_file(metadata));
        } else if kind.is_symlink() {
            self.link(path, name);
        } else if kind.is_dir() {
            self.directory(path, name)?;
        } else {
            self.skip(path, "a socket, a pipe or a device");
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path, name: String) -> Result<(), WalkError> {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.fail(path, &error.to_string());
                return Ok(());
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        let before = self.found.sources.len();
        for entry in entries {
            let path = entry.path();
            let Some(last) = name_of(&path) else {
                self.fail(&path, "has no name that can be sent: it is not UTF-8");
                continue;
            };
            match entry.metadata() {
                Ok(metadata) => self.visit(&path, format!("{name}/{last}"), &metadata)?,
                Err(error) => self.fail(&path, &error.to_string()),
            }
        }
        if self.found.sources.len() == before {
            self.add(path, name, Kind::Directory);
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, name: String) {
        match fs::read_link(path) {
            Ok(target) => match target.to_str() {
                Some(target) if stays_below(&name, target) => {
                    let target = target.to_owned();
                    self.add(path, name, Kind::Link { target });
                }
                _ => {
                    let words =
                        format!("a link to {}, which leads out of the tree", target.display());
                    self.skip(path, &words);
                }
            },
            Err(error) => self.fail(path, &error.to_string()),
        }
    }

    fn add(&mut self, path: &Path, name: String, kind: Kind) {
        let root = self.root.clone();
        self.found.sources.push(Source { path: path.to_owned(), name, root, kind });
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.found.skipped.push(LeftOut::new(path.display().to_string(), why));
    }

    fn fail(&mut self, path: &Path, why: &str) {
        self.found.failed.push(LeftOut::new(path.display().to_string(), why));
    }
}

fn name_of(path: &Path) -> Option<String> {
    path.file_name()
        .and_then(|name| name.to_str())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
            let sources = walk(paths, true).unwrap().sources.into_iter();
            sources.map(|source| (source.name.clone(), source.bytes())).collect()
        };
        assert_eq!(
            names(std::slice::from_ref(&tree)),
            [("tree/a".into(), 1), ("tree/deep/b".into(), 2), ("tree/hollow".into(), 0)]
        );
        assert_eq!(names(&[tree.join("a")]), [("a".to_owned(), 1)]);
        assert!(matches!(walk(std::slice::from_ref(&tree), false), Err(WalkError::Directory(_))));
        assert!(matches!(walk(&[tree.join("none")], true), Err(WalkError::Io { .. })));
        assert!(matches!(walk(&[tree.join("a"), tree.join("a")], true), Err(WalkError::Twice(_))));
        let pipe = tree.join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(walk(&[pipe], true), Err(WalkError::Special(_))));
    }

    #[test]
    fn what_cannot_be_sent_is_named_and_the_rest_is_found() {
        let room = tempfile::tempdir().unwrap();
        let tree = room.path().join("tree");
        fs::create_dir_all(tree.join("only-special")).unwrap();
        fs::write(tree.join("file"), "1").unwrap();
        for (target, link) in [("file", "good"), ("/etc/passwd", "far"), ("../other", "out")] {
            symlink(target, tree.join(link)).unwrap();
        }
        let pipe = tree.join("only-special/pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        let odd = std::os::unix::ffi::OsStrExt::from_bytes(&b"odd\xff"[..]);
        fs::write(tree.join::<&std::ffi::OsStr>(odd), "").unwrap();
        let found = walk(std::slice::from_ref(&tree), true).unwrap();
        let names: Vec<_> = found.sources.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["tree/file", "tree/good", "tree/only-special"]);
        assert_eq!(found.sources[1].kind, Kind::Link { target: "file".into() });
        assert_eq!(found.sources[2].kind, Kind::Directory, "what it holds is no file");
        let skipped: Vec<_> = found.skipped.iter().map(|one| one.message.as_str()).collect();
        let leads_out = "which leads out of the tree";
        assert_eq!(
            skipped,
            [
                &format!("a link to /etc/passwd, {leads_out}"),
                "a socket, a pipe or a device",
                &format!("a link to ../other, {leads_out}")
            ]
            .map(|words: &str| words)
        );
        assert!(found.failed.len() == 1 && found.failed[0].message.contains("not UTF-8"));
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
        assert_eq!(walk_within(&paths, true, 4).unwrap().sources.len(), 2);
        let refused = walk_within(&paths, true, 3).unwrap_err();
        assert!(matches!(&refused, WalkError::TooMany(path) if *path == tree.join("hollow")));
        assert!(refused.to_string().contains("100000 files and directories"), "{refused}");
    }
}
