//! A bounded poll of the link before a receiver sleeps.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::driver::{Crowd, SessionCore};
use crate::machine::ChannelKey;

/// Decides when polling is worth its time: as long as it finds something. A wake-up of a halted processor
/// takes 35 to 40 microseconds, a poll that succeeds less than one (docs/performance.md).
pub(super) struct Spin {
    budget: Duration,
    /// Polls in vain, in a row.
    failures: u32,
    /// Receives that do without, before the next attempt.
    skip: u32,
    /// Since when the receiver has slept, as long as that matters.
    asleep: Option<Instant>,
    crowd: Crowd,
}

/// In the place of a number of receives: none polls until the receiver has slept for a short time. Of a new channel nobody knows
/// whether its peer answers soon: many carry one question and its answer, and where many come, or come back, at once, a poll keeps
/// all others from the thread.
const UNTIL_SHORT: u32 = u32::MAX;
/// A sleep is short that a poll might have spared: so many times as long as a poll. To wake up takes its part of it.
const SHORT: u32 = 4;
/// After so many polls in vain in a row, one in 2^10 receives tries again.
const FAILURES_MAX: u32 = 10;

impl Spin {
    pub(super) fn new(budget: Duration) -> Self {
        Self { budget, failures: 0, skip: UNTIL_SHORT, asleep: None, crowd: Crowd::default() }
    }

    pub(super) fn is_worthwhile(&mut self) -> bool {
        if self.budget.is_zero() || self.skip == UNTIL_SHORT {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        true
    }

    /// The receiver is about to sleep.
    pub(super) fn note_sleep(&mut self) {
        if self.skip == UNTIL_SHORT && !self.budget.is_zero() {
            self.asleep.get_or_insert_with(Instant::now);
        }
    }

    /// Something has come, and the receiver may have slept before.
    #[inline]
    pub(super) fn note_awake(&mut self) {
        if let Some(since) = self.asleep.take() {
            self.learn(since.elapsed());
        }
    }

    fn learn(&mut self, slept: Duration) {
        if slept <= self.budget * SHORT {
            self.skip = 0;
        }
    }

    /// Polls the active path until `channel` has something to receive. Returns whether it has.
    pub(super) fn run(&mut self, core: &SessionCore, channel: ChannelKey) -> bool {
        let Some(path) = core.active_path().filter(|path| path.is_spinnable()) else {
            return false;
        };
        // What is left to the driver may be the question: it might have to wait for this very thread.
        if core.peek().is_flush_due {
            core.flush(&path);
        }
        // The wall clock, not the runtime's: a paused one would never end.
        let start = Instant::now();
        let is_readable = || core.peek().machine.is_readable(channel);
        let budget = self.budget;
        let keep_on = || start.elapsed() < budget;
        let found = core.spin(&path, is_readable, keep_on, &mut self.crowd);
        if found {
            self.failures = 0;
        } else {
            self.failures = (self.failures + 1).min(FAILURES_MAX);
            self.skip = (1 << self.failures) - 1;
        }
        found
    }

    /// Uses up a unit of the task's budget with tokio; pending when there is none left.
    #[cfg(feature = "tokio")]
    pub(super) fn poll_budget(context: &mut Context<'_>) -> Poll<()> {
        tokio::task::coop::poll_proceed(context).map(|proceed| proceed.made_progress())
    }

    /// Without a runtime nobody else waits for this thread.
    #[cfg(not(feature = "tokio"))]
    pub(super) fn poll_budget(_: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_channel_polls_once_an_answer_has_come_soon() {
        let budget = Duration::from_micros(60);
        let mut spin = Spin::new(budget);
        (0..100).for_each(|_| assert!(!spin.is_worthwhile()));
        spin.learn(budget * SHORT * 2);
        assert!(!spin.is_worthwhile());
        spin.learn(budget);
        assert!(spin.is_worthwhile());
    }

    #[test]
    fn polls_in_vain_become_rare() {
        let mut spin = Spin::new(Duration::from_micros(60));
        spin.learn(Duration::ZERO);
        let mut attempts = 0;
        for _ in 0..10_000 {
            if spin.is_worthwhile() {
                attempts += 1;
                spin.failures = (spin.failures + 1).min(FAILURES_MAX);
                spin.skip = (1 << spin.failures) - 1;
            }
        }
        assert!((10..30).contains(&attempts), "{attempts}");
        assert!(!Spin::new(Duration::ZERO).is_worthwhile());
    }
}
