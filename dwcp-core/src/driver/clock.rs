//! The clock that drivers tell the machine.

use std::time::{Duration, Instant};

use crate::machine::Time;

/// Counts from the moment it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Start,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    /// The system's clock: threads of our own have no other.
    System(Instant),
    /// The runtime's, which a test may pause.
    #[cfg(feature = "tokio")]
    Tokio(tokio::time::Instant),
    /// None: what loom checks must not depend on how long it takes.
    #[cfg(all(test, dwcp_loom))]
    Stopped,
}

/// A time that lies beyond what an instant can say is as good as never.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

impl Clock {
    /// The clock for the driver on tokio.
    #[cfg(feature = "tokio")]
    pub(crate) fn tokio() -> Self {
        Self { start: Start::Tokio(tokio::time::Instant::now()) }
    }

    /// The clock for drivers with threads of their own.
    pub(crate) fn system() -> Self {
        Self { start: Start::System(Instant::now()) }
    }

    /// A clock that stands still.
    #[cfg(all(test, dwcp_loom))]
    pub(crate) fn stopped() -> Self {
        Self { start: Start::Stopped }
    }

    pub(crate) fn now(&self) -> Time {
        let elapsed = match self.start {
            Start::System(start) => start.elapsed(),
            #[cfg(feature = "tokio")]
            Start::Tokio(start) => start.elapsed(),
            #[cfg(all(test, dwcp_loom))]
            Start::Stopped => Duration::ZERO,
        };
        Time(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long until `time`; zero if it is past.
    pub(crate) fn until(&self, time: Time) -> Duration {
        Duration::from_nanos(time.0.saturating_sub(self.now().0)).min(NEVER)
    }

    /// The moment `time` names, for the runtime's timers.
    #[cfg(feature = "tokio")]
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        // What is left is bounded, not what has passed: a process may run for years.
        let latest = self.now() + NEVER;
        let after = Duration::from_nanos(time.min(latest).0);
        match self.start {
            Start::System(start) => tokio::time::Instant::from_std(start + after),
            Start::Tokio(start) => start + after,
        }
    }
}
