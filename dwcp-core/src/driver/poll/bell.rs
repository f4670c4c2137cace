//! How other threads wake a poll thread: cheap while it is awake, one system call while it sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::sync::atomic::{AtomicU8, Ordering};

/// The thread is awake and looks again before it sleeps.
const AWAKE: u8 = 0;
/// The thread sleeps, or is about to: whoever rings knocks.
const ARMED: u8 = 1;
/// Somebody rang since the thread looked last.
const RUNG: u8 = 2;

/// What gets a sleeping thread up.
pub(super) trait Door {
    /// Ends the thread's sleep, or its next one if it has not begun.
    fn knock(&self);
}

/// The protocol between a thread that sleeps and those that wake it.
///
/// The thread calls [`look`](Self::look), then looks at everything others may have changed, then
/// [`arm`](Self::arm)s, and sleeps only if that says so. The others change something, then
/// [`ring`](Self::ring).
pub(super) struct Bell<D> {
    state: AtomicU8,
    door: D,
}

impl<D: Door> Bell<D> {
    pub(super) fn new(door: D) -> Self {
        Self { state: AtomicU8::new(AWAKE), door }
    }

    pub(super) fn door(&self) -> &D {
        &self.door
    }

    /// Something has changed that the thread should see.
    pub(super) fn ring(&self) {
        if self.state.swap(RUNG, Ordering::SeqCst) == ARMED {
            self.door.knock();
        }
    }

    /// The thread is about to look at everything: only what rings from now on is news.
    pub(super) fn look(&self) {
        self.state.swap(AWAKE, Ordering::SeqCst);
    }

    /// The thread is about to sleep. False: somebody rang since [`look`](Self::look), so look again.
    #[must_use]
    pub(super) fn arm(&self) -> bool {
        self.state.compare_exchange(AWAKE, ARMED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// A descriptor that a thread in poll(2) waits for.
pub(super) struct WakeFd(OwnedFd);

impl WakeFd {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Makes it wait for the next knock.
    pub(super) fn clear(&self) {
        // Nothing to read means that nobody has knocked.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl Door for WakeFd {
    fn knock(&self) {
        // The only error is a counter that is full: then it is readable already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use super::*;

    fn is_readable(fd: &WakeFd) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)).expect("poll") == 1
    }

    #[test]
    fn only_an_armed_bell_costs_a_system_call() {
        let bell = Bell::new(WakeFd::new().expect("a descriptor"));
        bell.ring();
        assert!(!bell.arm(), "it rang before");
        bell.look();
        assert!(!is_readable(bell.door()));
        assert!(bell.arm());
        bell.ring();
        bell.ring();
        assert!(is_readable(bell.door()));
        bell.door().clear();
        assert!(!is_readable(bell.door()));
    }
}
