//! What is measured, and how a result is told.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Failure;
use crate::meter::Meter;

/// The first part of a latency run, not recorded: caches, congestion window and clock speed settle.
pub const WARM_UP: Duration = Duration::from_millis(200);

/// The clock is read once per so many small messages.
pub const MESSAGES_PER_LOOK: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    RoundTrips { p50_us: f64, p99_us: f64, count: u64 },
    Bytes(u64),
    Messages(u64),
    Handshakes(u64),
    Sessions(u64),
}

impl Outcome {
    pub fn count(&self) -> u64 {
        match *self {
            Self::RoundTrips { count, .. }
            | Self::Bytes(count)
            | Self::Messages(count)
            | Self::Handshakes(count)
            | Self::Sessions(count) => count,
        }
    }
}

/// Round trips of one run.
pub struct RoundTrips {
    histogram: Histogram<u64>,
    began: Instant,
    duration: Duration,
}

impl RoundTrips {
    pub fn begin(duration: Duration) -> Self {
        let histogram =
            Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("1 ns to 10 s at 3 digits");
        Self { histogram, began: Instant::now(), duration }
    }

    /// Takes a round trip that began at `sent`; false when the run is over.
    pub fn record(&mut self, sent: Instant, meter: &mut Meter) -> Result<bool, Failure> {
        let now = Instant::now();
        if !meter.has_begun() {
            if now - self.began > WARM_UP {
                meter.begin()?;
                self.began = Instant::now();
            }
            return Ok(true);
        }
        self.histogram.saturating_record(u64::try_from((now - sent).as_nanos())?);
        if now - self.began < self.duration {
            return Ok(true);
        }
        meter.end()?;
        Ok(false)
    }

    pub fn outcome(&self) -> Outcome {
        let us = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        Outcome::RoundTrips { p50_us: us(0.5), p99_us: us(0.99), count: self.histogram.len() }
    }
}
