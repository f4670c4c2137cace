//! What is measured, and how a result is told.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The first part of a latency run, not recorded: caches, congestion window and clock speed settle.
pub const WARM_UP: Duration = Duration::from_millis(200);

pub enum Outcome {
    Latency { p50_us: f64, p99_us: f64, count: u64 },
    Throughput { bytes: u64, seconds: f64 },
    Messages { count: u64, seconds: f64 },
}

/// Round trips of one run.
pub struct RoundTrips {
    histogram: Histogram<u64>,
    began: Instant,
    end: Instant,
}

impl RoundTrips {
    pub fn begin(duration: Duration) -> Self {
        let began = Instant::now();
        let histogram =
            Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("1 ns to 10 s at 3 digits");
        Self { histogram, began, end: began + WARM_UP + duration }
    }

    /// Takes a round trip that began at `sent`; false when the run is over.
    pub fn record(&mut self, sent: Instant) -> bool {
        let now = Instant::now();
        if now - self.began > WARM_UP {
            self.histogram
                .saturating_record(u64::try_from((now - sent).as_nanos()).unwrap_or(u64::MAX));
        }
        now < self.end
    }

    pub fn outcome(&self) -> Outcome {
        let us = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        Outcome::Latency { p50_us: us(0.5), p99_us: us(0.99), count: self.histogram.len() }
    }
}
