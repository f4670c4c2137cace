//! Time as an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since any fixed moment. The machine never reads a clock: its driver tells the time, and it
/// must never go back.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The time between `earlier` and this; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The multiple of `step` that is nearest; this time itself if `step` is zero.
    pub(crate) fn nearest(self, step: Duration) -> Self {
        let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
        match self.0.saturating_add(step / 2) {
            _ if step == 0 => self,
            shifted => Self(shifted - shifted % step),
        }
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Time {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.0 as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_multiple_is_before_or_behind() {
        let step = Duration::from_nanos(8);
        let nearest = |time: u64, step| Time(time).nearest(step).0;
        assert_eq!([0, 3, 4, 11, 12, 16].map(|time| nearest(time, step)), [0, 0, 8, 8, 16, 16]);
        assert_eq!([0, 7].map(|time| nearest(time, Duration::ZERO)), [0, 7]);
        assert_eq!(nearest(u64::MAX, step), u64::MAX - 7);
        assert_eq!(nearest(7, Duration::MAX), 0);
    }
}
