//! Removes what copies that nobody has gone on with left behind.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};

use super::tree::{PARTS_MAX, is_unfinished};

/// Entries that one sweep looks at: a huge tree is no reason to read a disk for hours.
const ENTRIES_MAX: usize = 2_000_000;
/// How deep it goes: a copy's directory has as many parts at most, and a name below it has.
const DEPTH_MAX: usize = 2 * PARTS_MAX;

/// How long an unfinished file is kept for a copy that goes on with it.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Removes unfinished files below `root` that belong to this process's user, that nobody has written since
/// `kept_for` and that nobody is writing: a receiver holds a lock on what it writes. Follows no link. Returns how
/// many were removed.
///
/// It blocks. What cannot be read or removed stays: the next start tries again.
pub fn sweep(root: &Path, kept_for: Duration) -> usize {
    let before = SystemTime::now().checked_sub(kept_for).unwrap_or(SystemTime::UNIX_EPOCH);
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open(root, flags, Mode::empty()) else { return 0 };
    let (mut left, mut removed) = (ENTRIES_MAX, 0);
    sweep_directory(&root, before, DEPTH_MAX, &mut left, &mut removed);
    removed
}

fn sweep_directory(
    directory: &OwnedFd,
    before: SystemTime,
    depth: usize,
    left: &mut usize,
    removed: &mut usize,
) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if *left == 0 {
            return;
        }
        *left -= 1;
        match entry.file_type() {
            FileType::Directory if depth > 1 => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
                if let Ok(below) = rustix::fs::openat(directory, name, flags, Mode::empty()) {
                    sweep_directory(&below, before, depth - 1, left, removed);
                }
            }
            FileType::Symlink if is_unfinished(name.to_bytes()) => {
                let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                let is_old = found.is_ok_and(|found| is_ours(&found) && is_older(&found, before));
                if is_old && rustix::fs::unlinkat(directory, name, AtFlags::empty()).is_ok() {
                    *removed += 1;
                }
            }
            FileType::RegularFile if is_unfinished(name.to_bytes()) => {
                let flags = OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let part = rustix::fs::openat(directory, name, flags, Mode::empty());
                let Ok(part) = part.map(File::from) else { continue };
                // Locked until it is gone: its maker may be about to lock it.
                let is_ours = rustix::fs::fstat(&part).is_ok_and(|found| is_ours(&found));
                if is_ours
                    && lock(&part)
                    && rustix::fs::fstat(&part).is_ok_and(|found| is_older(&found, before))
                    && rustix::fs::unlinkat(directory, name, AtFlags::empty()).is_ok()
                {
                    *removed += 1;
                }
            }
            _ => {}
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

/// Takes the lock that a receiver holds while it writes a part; false if somebody has it.
pub(super) fn lock(part: &File) -> bool {
    rustix::fs::flock(part.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
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
        assert!(lock(&busy));
        // A link to elsewhere is neither followed nor removed.
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join(stale[0]), b"x").unwrap();
        std::os::unix::fs::symlink(other.path(), path("link")).unwrap();
        let target = other.path().join(stale[0]);
        // One that a receiver was about to rename when it was killed.
        let half_made = path(".dwcp-part-00000000000000aa");
        std::os::unix::fs::symlink(&target, &half_made).unwrap();
        // Yesterday's copy may still go on.
        assert_eq!(sweep(room.path(), Duration::from_secs(3_600)), 0);
        assert_eq!(sweep(room.path(), Duration::ZERO), 3);
        assert!(half_made.symlink_metadata().is_err());
        assert!(stale.iter().all(|name| !path(name).exists()));
        assert!(kept.iter().all(|name| path(name).exists()) && target.exists());
        drop(busy);
        assert_eq!(sweep(room.path(), Duration::ZERO), 1);
        assert_eq!(sweep(&path("nowhere"), Duration::ZERO), 0);
    }
}
