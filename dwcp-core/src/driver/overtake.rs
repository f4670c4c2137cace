//! Answers do not overtake: what tells of another path waits for the threads that are at the active one.
//!
//! An answer on a path that stands by tells the peer that this end is there, and that whatever the active path does not
//! answer it has not got. That is not so while a thread of the application has a half of the active path and no
//! processor: the question, or the answer to it, is in that thread's hands, while the driver goes on elsewhere. On a busy
//! machine that lasts for longer than a path is waited for, and a healthy path would be given up.

use std::sync::TryLockError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::path_io::PathIo;
use crate::machine::Time;

/// The longest wait: a thread that is at a path for longer than that hangs, and this end is as good as dead there.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// Whether paths that stand by have to wait, and since when.
#[derive(Default)]
pub(super) struct Overtaking {
    since: Option<Time>,
    /// Looks at the active path's link until then.
    looks: u64,
}

impl Overtaking {
    /// Whether what is to go out on a path that stands by would overtake what somebody does at `active`.
    pub(super) fn would_overtake(&mut self, active: &PathIo, now: Time) -> bool {
        let is_sending = matches!(active.tx.try_lock(), Err(TryLockError::WouldBlock));
        let is_reading = matches!(active.rx.try_lock(), Err(TryLockError::WouldBlock));
        let looks = active.looks.load(Ordering::Relaxed);
        if !is_sending && !is_reading {
            self.since = None;
            return false;
        }
        let Some(since) = self.since else {
            (self.since, self.looks) = (Some(now), looks);
            return true;
        };
        // One look may have begun before; a second one has not.
        let has_looked = looks.wrapping_sub(self.looks) >= 2;
        let waits = (is_sending || !has_looked) && now.since(since) < WAIT_MAX;
        if !waits {
            self.since = None;
        }
        waits
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::crypto::{ChecksumSuite, Secret, SessionSecret};
    use crate::driver::PathSetup;
    use crate::link::memory_pair;
    use crate::machine::Role;
    use crate::wire::PathId;

    fn active() -> PathIo {
        let secret = SessionSecret::from_exporter(&Secret::new([3; 32]), None);
        let setup = PathSetup {
            id: PathId(0),
            role: Role::Dialer,
            secret: &secret.path(PathId(0), &[0; 32], &[0; 32], &[0; 32]),
            suite: Arc::new(ChecksumSuite),
            compression: None,
            version: crate::wire::VERSION,
        };
        PathIo::new(Box::new(memory_pair().0), &setup).expect("trusted")
    }

    #[test]
    fn a_path_that_stands_by_waits_for_whoever_sends_on_the_active_one_but_not_for_ever() {
        let (active, mut overtaking, now) = (active(), Overtaking::default(), Time(1_000_000_000));
        assert!(!overtaking.would_overtake(&active, now));
        let sender = active.tx.lock().expect("free");
        for later in [0, 1, 249] {
            assert!(overtaking.would_overtake(&active, now + Duration::from_millis(later)));
        }
        assert!(!overtaking.would_overtake(&active, now + WAIT_MAX));
        assert!(overtaking.would_overtake(&active, now + WAIT_MAX), "the next one waits anew");
        drop(sender);
        assert!(!overtaking.would_overtake(&active, now + WAIT_MAX));
    }

    #[test]
    fn it_waits_for_a_receiver_until_that_has_looked_once_more() {
        let (active, mut overtaking, now) = (active(), Overtaking::default(), Time(1_000_000_000));
        let _receiver = active.rx.lock().expect("free");
        assert!(overtaking.would_overtake(&active, now));
        active.looks.fetch_add(1, Ordering::Relaxed);
        assert!(overtaking.would_overtake(&active, now), "that look may have begun before");
        active.looks.fetch_add(1, Ordering::Relaxed);
        assert!(!overtaking.would_overtake(&active, now));
    }
}
