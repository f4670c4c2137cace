//! A path that is not read for want of memory.

use std::time::Duration;

use crate::machine::Time;

/// The shortest pause between looks at memory that was short.
const RETRY: Duration = Duration::from_millis(1);
/// The longest: thousands of sessions may wait for it.
pub(super) const RETRY_MAX: Duration = Duration::from_millis(100);

/// How long to wait until memory is looked for again, that has been short for so long: an eighth more, so that whoever waits
/// shortly looks often, and thousands who wait for long do not take the processor from those who would free some.
pub(super) fn pause(waited: Duration, shortest: Duration) -> Duration {
    (waited / 8).clamp(shortest, RETRY_MAX)
}

/// What has arrived on a path stays there until there is memory. The longer that takes, the seldomer is it looked for.
/// Whoever reads the path, or loses it, ends this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Starved {
    /// Since when nothing at all was read.
    since: Time,
    /// Until then nobody looks.
    pub(super) until: Time,
    /// Since then the session has waited for itself, and its receivers have taken none of the pieces that are here.
    stuck_since: Time,
    /// Pieces taken until then.
    taken: u64,
    /// How long that was at the last look.
    pub(super) stuck: Duration,
}

/// What a look in vain has found.
pub(super) struct Look {
    /// Something was read before.
    pub(super) has_read: bool,
    /// Pieces of long messages that receivers have taken, ever.
    pub(super) taken: u64,
    /// Receivers wait, or did a moment ago, for room among their own session's pieces, hence for the rest of one of them, and that waits for
    /// memory that the session itself holds.
    pub(super) is_own: bool,
}

impl Starved {
    /// There was no memory again, or for the first time.
    pub(super) fn after(before: Option<Self>, now: Time, look: &Look) -> Self {
        let Look { has_read, taken, is_own } = *look;
        let mut starved = before.unwrap_or(Self {
            since: now,
            until: now,
            stuck_since: now,
            taken,
            stuck: Duration::ZERO,
        });
        if has_read {
            starved.since = now;
        }
        if !is_own || starved.taken != taken {
            (starved.stuck_since, starved.taken) = (now, taken);
        }
        starved.stuck = now.since(starved.stuck_since);
        starved.until = now + pause(now.since(starved.since), RETRY);
        starved
    }
}
