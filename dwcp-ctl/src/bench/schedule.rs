//! When messages ought to be sent: the heart of measuring without coordinated omission.
//!
//! At a given rate, latency counts from the moment a message *ought* to have been sent. If one answer is
//! late, the messages behind it are late too, and the figures say so.

use std::time::{Duration, Instant};

/// Gives the intended moment of each message.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Instant,
    interval_ns: f64,
}

impl Schedule {
    /// `per_second` messages a second, the first at `start`.
    pub fn new(start: Instant, per_second: f64) -> Self {
        Self { start, interval_ns: 1e9 / per_second }
    }

    /// When message `number` ought to be sent. Computed from the start, so errors do not add up.
    pub fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos((self.interval_ns * number as f64) as u64)
    }

    /// Waits for `due`: sleeps while it is far, yields to other tasks when it is near, because the
    /// runtime's timer is no finer than a millisecond.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only waits.
    pub async fn wait(due: Instant) {
        const TIMER: Duration = Duration::from_millis(2);
        if let Some(early) = due.checked_sub(TIMER).filter(|early| *early > Instant::now()) {
            tokio::time::sleep_until(early.into()).await;
        }
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_evenly_spaced_and_do_not_drift() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 3_000.0);
        assert_eq!(schedule.due(0), start);
        let hour = schedule.due(3_000 * 3_600) - start;
        assert!(hour.abs_diff(Duration::from_secs(3_600)) < Duration::from_micros(1));
    }
}
