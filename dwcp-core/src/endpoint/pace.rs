//! How soon a session's dialer dials again.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause between attempts.
const RECONNECT_DELAY: Duration = Duration::from_millis(20);
/// However short the pauses may be: an address that refuses at once is not to be dialled without end.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// A path that lived as long was a good one: what ends it then has nothing to do with the attempts before.
const GOOD_LIFE: Duration = Duration::from_secs(1);

/// The pauses between the attempts of one session. They grow with attempts that fail, and with paths that
/// die young all the same: a path that dies as soon as it stands must not make a storm of handshakes.
pub(super) struct Pace {
    pause: Duration,
    pause_max: Duration,
    /// When the last attempt began.
    began: Option<Instant>,
    /// Since when there is a path, if the last attempt gave one.
    attached: Option<Instant>,
}

impl Pace {
    /// The pace of a session that has just got its first path.
    pub(super) fn new(now: Instant, pause_max: Duration) -> Self {
        let pause_max = pause_max.max(PAUSE_MIN);
        Self { pause: Duration::ZERO, pause_max, began: None, attached: Some(now) }
    }

    /// Something is lacking: when to try next. The attempt counts as begun then.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        if self.attached.take().is_some_and(|at| now >= at + GOOD_LIFE) {
            self.pause = Duration::ZERO;
        }
        let at = self.began.map_or(now, |began| (began + self.pause).max(now));
        self.began = Some(at);
        self.pause = (self.pause * 2).max(RECONNECT_DELAY).min(self.pause_max);
        at
    }

    /// The attempt gave a path.
    pub(super) fn note_path(&mut self, now: Instant) {
        self.attached = Some(now);
    }

    /// What is at stake has grown: the next attempt is due, and the pauses begin anew.
    pub(super) fn hurry(&mut self) {
        (self.pause, self.began) = (Duration::ZERO, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn paths_that_die_young_are_replaced_ever_more_slowly() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now, MAX);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let at = pace.next(now);
            pauses.push((at - now).as_millis());
            now = at;
            pace.note_path(now); // and it dies at once
        }
        assert_eq!(pauses, [0, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_000, 5_000, 5_000]);
        now += GOOD_LIFE;
        assert_eq!(pace.next(now), now, "this one lived");
        assert_eq!(pace.next(now) - now, RECONNECT_DELAY, "the attempt failed");
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_last_path_goes_nobody_waits_for_the_pause_of_a_standby() {
        let now = Instant::now();
        let mut pace = Pace::new(now, MAX);
        for _ in 0..10 {
            pace.next(now);
        }
        pace.hurry();
        assert_eq!(pace.next(now), now);
    }
}
