//! What a bench may be asked for: looked at by the command line, by the node that measures, whoever asked it,
//! and by the peer that sends.

use std::time::Duration;

use super::{Direction, LatencyPlan, ThroughputPlan};

/// The shortest message, bytes: it carries its number.
pub const SIZE_MIN: usize = 8;
/// The longest message, bytes: what peers take by default is more.
pub const SIZE_MAX: usize = 16 << 20;
/// The longest that a node sends for a peer that measures: a bench is not a denial of service.
pub const SOURCE_DURATION_MAX: Duration = Duration::from_secs(600);
/// Most messages a second.
pub const RATE_MAX: f64 = 1e7;

/// Why a bench is not begun.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Messages without room for their number, or too long for peers.
    #[error("--size must be {SIZE_MIN} bytes to {} MiB", SIZE_MAX >> 20)]
    Size,
    /// No time to measure in.
    #[error("--duration must be 1ms at least: in less nothing is measured")]
    Short,
    /// Longer than the peer sends.
    #[error(
        "--duration must be {}s at most with --direction receive: a node sends no longer for its peer",
        SOURCE_DURATION_MAX.as_secs()
    )]
    Long,
    /// No rate, or one that nothing keeps.
    #[error("--rate is messages a second, more than 0 and at most {RATE_MAX}")]
    Rate,
    /// A thread that waits for its messages keeps no schedule, and the peer's sending end has none.
    #[error("--blocking goes with neither --rate nor --direction receive")]
    Blocking,
    /// So rare that none need be due.
    #[error(
        "--rate {rate} with --duration {seconds}s: not one message need be due; raise one of them"
    )]
    NoneDue {
        /// Messages a second.
        rate: f64,
        /// How long, seconds.
        seconds: f64,
    },
}

fn size(bytes: usize) -> Result<(), PlanError> {
    if (SIZE_MIN..=SIZE_MAX).contains(&bytes) { Ok(()) } else { Err(PlanError::Size) }
}

fn not_short(duration_ms: u64) -> Result<(), PlanError> {
    if duration_ms > 0 { Ok(()) } else { Err(PlanError::Short) }
}

/// Whether a node sends messages of `bytes` for `duration_ms` on a peer's behalf.
///
/// # Errors
/// What is wrong with it.
pub fn check_source(bytes: usize, duration_ms: u64) -> Result<(), PlanError> {
    size(bytes)?;
    not_short(duration_ms)?;
    if Duration::from_millis(duration_ms) > SOURCE_DURATION_MAX {
        return Err(PlanError::Long);
    }
    Ok(())
}

impl LatencyPlan {
    /// Whether it can be measured.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), PlanError> {
        size(self.size)?;
        not_short(self.duration_ms)?;
        let Some(rate) = self.rate else { return Ok(()) };
        if self.blocking {
            return Err(PlanError::Blocking);
        }
        if !(rate > 0.0 && rate <= RATE_MAX) {
            return Err(PlanError::Rate);
        }
        let seconds = self.duration_ms as f64 / 1e3;
        if rate * seconds < 1.0 {
            return Err(PlanError::NoneDue { rate, seconds });
        }
        Ok(())
    }
}

impl ThroughputPlan {
    /// Whether it can be measured.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), PlanError> {
        match self.direction {
            Direction::Receive if self.blocking => Err(PlanError::Blocking),
            Direction::Receive => check_source(self.size, self.duration_ms),
            Direction::Send => size(self.size).and_then(|()| not_short(self.duration_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency() -> LatencyPlan {
        LatencyPlan {
            size: 64,
            duration_ms: 1_000,
            warm_up_ms: 0,
            rate: None,
            cuts: 0,
            blocking: false,
        }
    }

    #[test]
    fn a_latency_bench_that_measures_nothing_is_refused() {
        assert_eq!(latency().check(), Ok(()));
        let with_rate = |rate| LatencyPlan { rate: Some(rate), ..latency() }.check();
        assert_eq!(with_rate(1.0), Ok(()));
        assert_eq!(with_rate(0.5), Err(PlanError::NoneDue { rate: 0.5, seconds: 1.0 }));
        for rate in [0.0, -1.0, f64::NAN, 2e7] {
            assert_eq!(with_rate(rate), Err(PlanError::Rate), "{rate}");
        }
        assert_eq!(LatencyPlan { duration_ms: 0, ..latency() }.check(), Err(PlanError::Short));
        for size in [0, 7, SIZE_MAX + 1] {
            assert_eq!(LatencyPlan { size, ..latency() }.check(), Err(PlanError::Size), "{size}");
        }
    }

    #[test]
    fn the_limit_of_the_peer_holds_where_the_peer_sends() {
        let plan = |direction, duration_ms| {
            ThroughputPlan { direction, size: 8, duration_ms, cuts: 0, blocking: false }.check()
        };
        assert_eq!(plan(Direction::Receive, 600_000), Ok(()));
        assert_eq!(plan(Direction::Receive, 600_001), Err(PlanError::Long));
        assert_eq!(plan(Direction::Send, 700_000), Ok(()));
        for direction in [Direction::Send, Direction::Receive] {
            assert_eq!(plan(direction, 0), Err(PlanError::Short));
        }
        let words = PlanError::Long.to_string();
        assert!(words.contains("600s") && words.contains("--direction receive"), "{words}");
    }
}
