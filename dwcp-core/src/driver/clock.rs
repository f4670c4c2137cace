//! The clock that drivers tell the machine.

use std::time::Duration;

use crate::machine::Time;

#[cfg(not(feature = "tokio"))]
use std::time::Instant;
#[cfg(feature = "tokio")]
use tokio::time::Instant;

/// Counts from the moment it was made. With tokio it obeys the runtime's paused time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The moment `time` names.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        // A time that lies beyond what an Instant can say is as good as never.
        const NEVER: Duration = Duration::from_secs(365 * 86_400);
        self.start + Duration::from_nanos(time.0).min(NEVER)
    }
}
