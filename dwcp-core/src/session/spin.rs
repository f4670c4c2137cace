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
    crowd: Crowd,
}

/// After so many polls in vain in a row, one in 2^10 receives tries again.
const FAILURES_MAX: u32 = 10;

impl Spin {
    pub(super) fn new(budget: Duration) -> Self {
        Self { budget, failures: 0, skip: 0, crowd: Crowd::default() }
    }

    pub(super) fn is_worthwhile(&mut self) -> bool {
        if self.budget.is_zero() {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        true
    }

    /// Polls the active path until `channel` has something to receive. Returns whether it has.
    pub(super) fn run(&mut self, core: &SessionCore, channel: ChannelKey) -> bool {
        let Some(path) = core.active_path().filter(|path| path.is_spinnable()) else {
            return false;
        };
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
    fn polls_in_vain_become_rare() {
        let mut spin = Spin::new(Duration::from_micros(60));
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
