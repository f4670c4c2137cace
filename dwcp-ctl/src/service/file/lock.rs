//! The lock that tells an unfinished file that is being written from one that was left behind.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

/// What came of an attempt to lock a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// It is this process's until the file is closed.
    Got,
    /// Somebody else has it.
    Busy,
    /// The file system has no locks, or none to give now: nobody can tell whether somebody else writes it.
    None,
}

/// Takes the lock that a receiver holds while it writes a part, if that can be had at once.
pub(super) fn lock(part: &File) -> Lock {
    match retry_on_intr(|| take(part)) {
        Ok(()) => Lock::Got,
        Err(Errno::WOULDBLOCK) => Lock::Busy,
        Err(_) => Lock::None,
    }
}

fn take(part: &File) -> Result<(), Errno> {
    #[cfg(test)]
    if let Some(error) = tests::REFUSED.get() {
        return Err(error);
    }
    flock(part.as_fd(), FlockOperation::NonBlockingLockExclusive)
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// What the file system says to this thread instead of giving a lock.
        pub(super) static REFUSED: Cell<Option<Errno>> = const { Cell::new(None) };
    }

    /// As long as this is kept, file systems have no locks for this thread: they say `error`.
    pub(in super::super) fn without_locks(error: Errno) -> impl Drop {
        struct Again;
        impl Drop for Again {
            fn drop(&mut self) {
                REFUSED.set(None);
            }
        }
        REFUSED.set(Some(error));
        Again
    }

    #[test]
    fn only_a_lock_that_somebody_has_is_busy() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("part");
        let (one, other) = (File::create(&path).unwrap(), File::create(&path).unwrap());
        assert_eq!((lock(&one), lock(&other)), (Lock::Got, Lock::Busy));
        for error in [Errno::NOSYS, Errno::NOLCK, Errno::OPNOTSUPP, Errno::INVAL] {
            let _none = without_locks(error);
            assert_eq!(lock(&one), Lock::None, "{error}");
        }
        drop(one);
        assert_eq!(lock(&other), Lock::Got);
    }
}
