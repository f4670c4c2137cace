//! Answers do not overtake: what tells of another path waits for the threads that are at that path.
//!
//! An answer on a path that stands by tells the peer that this end is there, and that whatever the active path does not
//! answer it has not got. That is not so while a thread of the application has a half of the active path and no
//! processor: the question, or the answer to it, is in that thread's hands, while the driver goes on elsewhere. On a busy
//! machine that lasts for longer than a path is waited for, and a healthy path would be given up. So the driver reads and
//! flushes the active path before it answers on another, and waits for whoever has a half of it; nor does it judge a path
//! at which somebody is.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::path_io::PathIo;
use crate::machine::Time;

/// How long a thread is watched that has the receiving half: one that runs looks twice in a fraction of that.
const WATCH: Duration = Duration::from_micros(50);

/// How long answers have waited.
#[derive(Default)]
pub(super) struct Overtaking {
    since: Option<Time>,
}

impl Overtaking {
    /// Whether answers wait on. `is_held`: somebody is at the active path, and what it holds is neither here nor there.
    /// `limit`: a thread that is at it for longer hangs.
    pub(super) fn waits(&mut self, is_held: bool, now: Time, limit: Duration) -> bool {
        let since = *self.since.get_or_insert(now);
        let waits = is_held && now.since(since) < limit;
        if !waits {
            self.since = None;
        }
        waits
    }
}

/// Whether the thread that has the receiving half of `path` looks for what has arrived: one look may have begun before,
/// a second one has not.
pub(super) fn is_looked_at(path: &PathIo) -> bool {
    let (seen, began) = (path.looks.load(Ordering::Relaxed), Instant::now());
    loop {
        if path.looks.load(Ordering::Relaxed).wrapping_sub(seen) >= 2 {
            return true;
        }
        if began.elapsed() >= WATCH {
            return false;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_while_somebody_is_at_the_active_path_but_not_for_ever() {
        let (mut overtaking, now) = (Overtaking::default(), Time(1_000_000_000));
        let limit = Duration::from_millis(250);
        assert!(!overtaking.waits(false, now, limit));
        for later in [0, 1, 249] {
            assert!(overtaking.waits(true, now + Duration::from_millis(later), limit));
        }
        assert!(!overtaking.waits(true, now + limit, limit));
        assert!(overtaking.waits(true, now + limit, limit), "the next one waits anew");
        assert!(!overtaking.waits(false, now + limit, limit));
    }
}
