//! Latencies as they are measured, and what they come to.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency told apart, nanoseconds: longer ones count as this.
const LATENCY_MAX_NS: u64 = 600_000_000_000;

/// Percentiles of a set of latencies, microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct Percentiles {
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub max: f64,
    pub mean: f64,
}

/// Gathers latencies.
pub struct LatencyRecord {
    histogram: Histogram<u64>,
}

impl Default for LatencyRecord {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3);
        Self { histogram: histogram.expect("constant bounds are valid") }
    }
}

impl LatencyRecord {
    /// Notes one.
    pub fn note(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds.max(1));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// What they come to.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| us(self.histogram.value_at_quantile(quantile));
        if self.histogram.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            min: us(self.histogram.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: us(self.histogram.max()),
            mean: (self.histogram.mean() / 10.0).round() / 100.0,
        }
    }
}

/// Microseconds with two places: what a JSON reader can read.
fn us(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 10.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut record = LatencyRecord::default();
        (1..=1_000).for_each(|us| record.note(Duration::from_micros(us)));
        let found = record.percentiles();
        for (value, expected) in
            [(found.min, 1.0), (found.p50, 500.0), (found.p99, 990.0), (found.max, 1_000.0)]
        {
            assert!((value - expected).abs() <= expected * 0.002, "{value} is not {expected}");
        }
        assert_eq!(record.count(), 1_000);
    }

    #[test]
    fn nothing_and_too_much_do_not_panic() {
        assert_eq!(LatencyRecord::default().percentiles(), Percentiles::default());
        let mut record = LatencyRecord::default();
        record.note(Duration::MAX);
        record.note(Duration::ZERO);
        assert_eq!(record.count(), 2);
    }
}
