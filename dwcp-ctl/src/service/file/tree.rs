//! Names of a copy, and the directories they lead to. Every directory is opened one part at a time without
//! following links, so that no name leaves the receiving directory.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::disk::Disk;
use super::intake_error::{IntakeError, at};

/// Most parts of a name: so deep may a file lie.
pub(super) const PARTS_MAX: usize = 32;
const PART_BYTES_MAX: usize = 255;
/// The longest target of a link, bytes: Linux has none longer (PATH_MAX).
const TARGET_BYTES_MAX: usize = 4_095;

/// So many directories a copy's own may be below the receiving one.
pub(super) const DEPTH_MAX: u64 = PARTS_MAX as u64;

const FLAGS: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// A directory, and how messages call it.
pub(super) struct Place {
    pub(super) directory: OwnedFd,
    pub(super) shown: PathBuf,
}

/// The parts of a relative name; refuses all that is not plainly below.
pub(super) fn parts(name: &str, may_be_empty: bool) -> Result<Vec<&str>, IntakeError> {
    if name.is_empty() && may_be_empty {
        return Ok(Vec::new());
    }
    let parts: Vec<_> =
        name.strip_suffix('/').filter(|_| may_be_empty).unwrap_or(name).split('/').collect();
    if parts.len() > PARTS_MAX || !parts.iter().all(|part| is_part(part)) {
        return Err(IntakeError::Name { name: name.chars().take(PART_BYTES_MAX).collect() });
    }
    Ok(parts)
}

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= PART_BYTES_MAX
        && part != "."
        && part != ".."
        && !part.contains('\0')
        && !is_unfinished(part.as_bytes())
}

/// How the name of an unfinished file begins; 16 hexadecimal digits follow.
pub(super) const UNFINISHED: &str = ".dwcp-part-";

/// Whether `name` is one of our own for unfinished files. No peer may give it to anything: it would take the place of one.
pub(super) fn is_unfinished(name: &[u8]) -> bool {
    name.strip_prefix(UNFINISHED.as_bytes())
        .is_some_and(|rest| rest.len() == 16 && rest.iter().all(u8::is_ascii_hexdigit))
}

/// Whether a link called `name` may say `target`: relative, and from the link's directory not above the first
/// part of `name`. `..` may only come first: after a directory's name it need not mean that directory's parent,
/// because the name may be a link.
pub(super) fn stays_below(name: &str, target: &str) -> bool {
    let above = name.split('/').count() - 1;
    let mut parts = target.strip_suffix('/').unwrap_or(target).split('/').peekable();
    let mut up = 0;
    while parts.next_if(|part| *part == "..").is_some() {
        up += 1;
    }
    // A link on its own has nothing around it that was copied, too.
    target.len() <= TARGET_BYTES_MAX
        && above > 0
        && up < above
        && (target == "." || parts.all(is_part))
}

pub(super) fn open_root(root: &Path) -> Result<OwnedFd, IntakeError> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(|error| at(root)(error.into()))
}

/// One file or directory more, of which `left` may come.
pub(super) fn count(left: &mut u64, name: &str) -> Result<(), IntakeError> {
    *left = left.checked_sub(1).ok_or_else(|| IntakeError::TooMany { name: name.to_owned() })?;
    Ok(())
}

/// Opens, and makes where missing, the directory `parts` below `from`; what it makes counts against `left`.
/// Each part's name is on disk in the directory above when it returns; of the first `known` parts that is known
/// already.
pub(super) fn descend(
    disk: &Disk,
    from: Place,
    parts: &[&str],
    known: usize,
    left: &mut u64,
) -> Result<Place, IntakeError> {
    let Place { mut directory, mut shown } = from;
    for (index, part) in parts.iter().enumerate() {
        shown.push(part);
        let failed = at(&shown);
        let mut opened = rustix::fs::openat(&directory, *part, FLAGS, Mode::empty());
        let is_missing = matches!(opened, Err(Errno::NOENT));
        if is_missing {
            count(left, &shown.display().to_string())?;
            match rustix::fs::mkdirat(&directory, *part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            }
            opened = rustix::fs::openat(&directory, *part, FLAGS, Mode::empty());
        }
        let opened = opened.map_err(|error| failed(error.into()))?;
        // One that is there may have been made a moment ago, by another copy or before the power failed.
        if is_missing || index >= known {
            disk.sync(&directory).map_err(&failed)?;
        }
        directory = opened;
    }
    Ok(Place { directory, shown })
}

/// Opens the directory `parts` below `from`; `None` if it is not there, or is none.
pub(super) fn find(from: Place, parts: &[&str]) -> Option<Place> {
    let Place { mut directory, mut shown } = from;
    for part in parts {
        directory = rustix::fs::openat(&directory, *part, FLAGS, Mode::empty()).ok()?;
        shown.push(part);
    }
    Some(Place { directory, shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_in_the_tree_or_is_none() {
        for (name, target) in [
            ("tree/l", "file"),
            ("tree/l", "."),
            ("tree/l", "deep/er/file"),
            ("tree/a/l", "../file"),
            ("tree/a/l", ".."),
            ("tree/a/b/l", "../../file"),
            ("tree/a/l", "../b/"),
        ] {
            assert!(stays_below(name, target), "{name} -> {target}");
        }
        let long = "x/".repeat(2_048);
        for (name, target) in [
            ("l", "file"),
            ("tree/l", ""),
            ("tree/l", "/etc/passwd"),
            ("tree/l", ".."),
            ("tree/l", "../other"),
            ("tree/a/l", "../.."),
            ("tree/a/l", "../../tree/file"),
            ("tree/a/l", "b/../file"),
            ("tree/a/l", "b/../../../file"),
            ("tree/l", "a//b"),
            ("tree/l", "./a"),
            ("tree/l", "nul\0"),
            ("tree/l", &long),
        ] {
            assert!(!stays_below(name, target), "{name} -> {target}");
        }
    }
}
