//! Removes what copies that nobody has gone on with left behind.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::lock::{Lock, lock};
use super::tree::{PARTS_MAX, is_unfinished};

/// Entries that one sweep looks at: a huge tree is no reason to read a disk for hours.
const ENTRIES_MAX: usize = 2_000_000;
/// How deep it goes: a copy's directory has as many parts at most, and a name below it has.
const DEPTH_MAX: usize = 2 * PARTS_MAX;

/// How long an unfinished file is kept for a copy that goes on with it.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What came of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files that were removed.
    pub removed: usize,
    /// Whether there are more entries than one sweep looks at.
    pub is_cut_short: bool,
}

/// Removes unfinished files below `root` that belong to this process's user, that nobody has written since
/// `kept_for` and that nobody is writing: a receiver holds a lock on what it writes. Where there are no locks, age alone tells.
/// Follows no link.
///
/// It blocks. What cannot be read or removed stays: the next start tries again.
pub fn sweep(root: &Path, kept_for: Duration) -> Swept {
    let before = SystemTime::now().checked_sub(kept_for).unwrap_or(SystemTime::UNIX_EPOCH);
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut sweep = Sweep { before, left: ENTRIES_MAX, swept: Swept::default() };
    if let Ok(root) = rustix::fs::open(root, flags, Mode::empty()) {
        sweep.directory(&root, DEPTH_MAX);
    }
    sweep.swept
}

/// One that is under way.
struct Sweep {
    before: SystemTime,
    /// Entries that it may still look at.
    left: usize,
    swept: Swept,
}

impl Sweep {
    fn directory(&mut self, directory: &OwnedFd, depth: usize) {
        let Ok(entries) = Dir::read_from(directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.left == 0 {
                self.swept.is_cut_short = true;
                return;
            }
            self.left -= 1;
            self.entry(directory, name, entry.file_type(), depth);
        }
    }

    fn entry(&mut self, directory: &OwnedFd, name: &CStr, kind: FileType, depth: usize) {
        let look = || rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let kind = match kind {
            // Some file systems do not tell with the name what has it.
            FileType::Unknown => {
                look().map_or(kind, |found| FileType::from_raw_mode(found.st_mode))
            }
            known => known,
        };
        let is_unfinished = is_unfinished(name.to_bytes());
        let is_old = match kind {
            FileType::Directory if depth > 1 => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
                if let Ok(below) = rustix::fs::openat(directory, name, flags, Mode::empty()) {
                    self.directory(&below, depth - 1);
                }
                return;
            }
            FileType::Symlink if is_unfinished => {
                look().is_ok_and(|found| is_ours(&found) && is_older(&found, self.before))
            }
            FileType::RegularFile if is_unfinished => {
                let flags = OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let part = rustix::fs::openat(directory, name, flags, Mode::empty());
                let Ok(part) = part.map(File::from) else { return };
                let look = || rustix::fs::fstat(&part);
                // Locked until it is gone: its maker may be about to lock it.
                if look().is_ok_and(|found| is_ours(&found))
                    && lock(&part) != Lock::Busy
                    && look().is_ok_and(|found| is_older(&found, self.before))
                {
                    self.remove(directory, name);
                }
                return;
            }
            _ => false,
        };
        if is_old {
            self.remove(directory, name);
        }
    }

    fn remove(&mut self, directory: &OwnedFd, name: &CStr) {
        if rustix::fs::unlinkat(directory, name, AtFlags::empty()).is_ok() {
            self.swept.removed += 1;
        }
    }
}

fn is_older(found: &Stat, before: SystemTime) -> bool {
    let written = u64::try_from(found.st_mtime).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(written) <= before
}

fn is_ours(found: &Stat) -> bool {
    found.st_uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::super::lock::tests::without_locks;
    use super::*;

    #[test]
    fn only_parts_that_nobody_writes_are_removed() {
        let room = tempfile::tempdir().unwrap();
        let path = |name: &str| room.path().join(name);
        std::fs::create_dir_all(path("deep/er")).unwrap();
        std::fs::create_dir(path(".dwcp-part-00000000000000d0")).unwrap();
        let stale = [".dwcp-part-0123456789abcdef", "deep/er/.dwcp-part-ffffffffffffffff"];
        let kept = [
            ".dwcp-part-0123456789abcde",
            ".dwcp-part-0123456789abcdefa",
            ".dwcp-part-0123456789abcdeg",
            "dwcp-part-0123456789abcdef",
            "deep/file",
        ];
        for name in stale.iter().chain(&kept) {
            std::fs::write(path(name), b"x").unwrap();
        }
        let busy = File::create(path("deep/.dwcp-part-00000000000000bb")).unwrap();
        assert_eq!(lock(&busy), Lock::Got);
        // A link to elsewhere is neither followed nor removed.
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join(stale[0]), b"x").unwrap();
        std::os::unix::fs::symlink(other.path(), path("link")).unwrap();
        let target = other.path().join(stale[0]);
        // One that a receiver was about to rename when it was killed.
        let half_made = path(".dwcp-part-00000000000000aa");
        std::os::unix::fs::symlink(&target, &half_made).unwrap();
        let removed = |kept_for| sweep(room.path(), kept_for).removed;
        // Yesterday's copy may still go on.
        assert_eq!(removed(Duration::from_secs(3_600)), 0);
        assert_eq!(removed(Duration::ZERO), 3);
        assert!(half_made.symlink_metadata().is_err());
        assert!(stale.iter().all(|name| !path(name).exists()));
        assert!(kept.iter().all(|name| path(name).exists()) && target.exists());
        drop(busy);
        assert_eq!(removed(Duration::ZERO), 1);
        assert_eq!(sweep(&path("nowhere"), Duration::ZERO), Swept::default());
    }

    #[test]
    fn without_locks_age_alone_tells_what_was_left_behind() {
        let room = tempfile::tempdir().unwrap();
        std::fs::write(room.path().join(".dwcp-part-0123456789abcdef"), b"").unwrap();
        let _none = without_locks(Errno::NOSYS);
        assert_eq!(sweep(room.path(), Duration::from_secs(3_600)).removed, 0);
        assert_eq!(sweep(room.path(), Duration::ZERO).removed, 1);
    }

    #[test]
    fn what_the_file_system_does_not_tell_is_looked_at() {
        let room = tempfile::tempdir().unwrap();
        let name = ".dwcp-part-0123456789abcdef";
        std::fs::create_dir(room.path().join("deep")).unwrap();
        std::fs::write(room.path().join("deep").join(name), b"x").unwrap();
        std::fs::write(room.path().join("file"), b"x").unwrap();
        std::os::unix::fs::symlink("nowhere", room.path().join(name)).unwrap();
        let root = OwnedFd::from(File::open(room.path()).unwrap());
        let mut sweep = Sweep { before: SystemTime::now(), left: 1, swept: Swept::default() };
        for name in [c"deep", c"file", c".dwcp-part-0123456789abcdef", c"gone"] {
            sweep.entry(&root, name, FileType::Unknown, DEPTH_MAX);
        }
        assert_eq!(sweep.swept, Swept { removed: 2, is_cut_short: false });
        assert!(room.path().join("file").exists());
        // It says when it has not looked at everything.
        sweep.directory(&root, DEPTH_MAX);
        assert!(sweep.swept.is_cut_short);
    }
}
