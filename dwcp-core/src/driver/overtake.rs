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
use super::receive::Received;
use crate::machine::Time;
use crate::wire::PathId;

/// How long a thread is watched that has a half: one that runs goes round twice in a fraction of that.
const WATCH: Duration = Duration::from_micros(5);

/// Answers that wait, if some do.
#[derive(Default)]
pub(super) struct Overtaking(Option<Box<Waiting>>);

/// Since when they have waited, and for which rounds at which path.
struct Waiting {
    since: Time,
    path: PathId,
    before: Rounds,
}

/// How often those who had a half of a path went round until some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    looks: u64,
    sends: u64,
}

impl Rounds {
    /// Until now.
    pub(super) fn of(path: &PathIo) -> Self {
        let [looks, sends] = [&path.looks, &path.sends].map(|count| count.load(Ordering::Acquire));
        Self { looks, sends }
    }

    /// Whether who has the receiving half has since read all there was: one round may have begun before, a second one has
    /// not.
    fn has_looked(self, path: &PathIo) -> bool {
        Self::of(path).looks.wrapping_sub(self.looks) >= 2
    }

    /// The same of who has the sending half.
    fn has_sent(self, path: &PathIo) -> bool {
        Self::of(path).sends.wrapping_sub(self.sends) >= 2
    }
}

/// Whether what `path` carries is neither here nor out: `last` is what a read of it came to, and another thread has a half of
/// it and has not gone round since `rounds`.
pub(super) fn is_held(
    path: &PathIo,
    rounds: Rounds,
    last: Received,
    flush: impl FnOnce() -> bool,
) -> bool {
    let is_read = match last {
        Received::Nothing => soon(|| rounds.has_looked(path)),
        Received::More | Received::Starved(_) | Received::Resting(_) => false,
        Received::Empty | Received::Drained => true,
    };
    !is_read || !(flush() || soon(|| rounds.has_sent(path)))
}

/// Whether `is_so` within moments. It takes no turn of another thread's processor, and gives none away.
fn soon(is_so: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if is_so() || began.elapsed() >= WATCH {
            return is_so();
        }
        std::hint::spin_loop();
    }
}

impl Overtaking {
    /// The rounds at the active path that do not count yet.
    pub(super) fn rounds(&mut self, active: &PathIo, now: Time) -> Rounds {
        let begin = || Waiting { since: now, path: active.id, before: Rounds::of(active) };
        let waiting = self.0.get_or_insert_with(|| Box::new(begin()));
        if waiting.path != active.id {
            // The session has moved while they waited.
            **waiting = Waiting { since: waiting.since, ..begin() };
        }
        waiting.before
    }

    /// Whether answers wait on. `is_held`: as [`is_held`] says of the active path. `limit`: a thread that is at it for longer
    /// hangs.
    pub(super) fn waits(&mut self, is_held: bool, now: Time, limit: Duration) -> bool {
        let is_early = |waiting: &Waiting| now.since(waiting.since) < limit;
        let waits = is_held && self.0.as_deref().is_some_and(is_early);
        if !waits {
            self.0 = None;
        }
        waits
    }
}
