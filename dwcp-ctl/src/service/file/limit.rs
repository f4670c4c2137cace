//! So many bytes a second and no more.

use std::time::Duration;

use tokio::time::Instant;

/// A limit of the rate. What was not used for a while is not made up for later.
pub(super) struct RateLimit {
    bytes_per_second: f64,
    /// When all that has been let through would have been through at the rate.
    due: Instant,
}

impl RateLimit {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1) as f64, due: Instant::now() }
    }

    /// Returns when `bytes` may go.
    ///
    /// # Cancel safety
    /// Dropping it lets nothing through; the bytes count all the same.
    pub(super) async fn take(&mut self, bytes: u64) {
        self.due = self.due.max(Instant::now());
        let go = self.due;
        self.due += Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        tokio::time::sleep_until(go).await;
    }

    /// The largest piece that is sent at once, bytes: a tenth of a second's, so that the rate is even.
    pub(super) fn piece_bytes(bytes_per_second: u64) -> usize {
        let tenth = usize::try_from(bytes_per_second / 10).unwrap_or(usize::MAX);
        tenth.clamp(4 << 10, super::DATA_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_has_so_many_bytes_and_idle_time_is_not_saved_up() {
        let mut limit = RateLimit::new(1_000);
        let begin = Instant::now();
        for _ in 0..11 {
            limit.take(100).await;
        }
        // The first goes at once, and each of the others after what was before it.
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begin = Instant::now();
        limit.take(2_000).await;
        limit.take(1).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
    }

    #[test]
    fn pieces_are_small_where_the_rate_is() {
        assert_eq!(RateLimit::piece_bytes(1), 4 << 10);
        assert_eq!(RateLimit::piece_bytes(1 << 20), (1 << 20) / 10);
        assert_eq!(RateLimit::piece_bytes(u64::MAX), super::super::DATA_BYTES_MAX);
    }
}
