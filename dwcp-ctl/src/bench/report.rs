//! What a bench comes to.

use std::time::Duration;

use dwcp_core::Session;
use serde::{Deserialize, Serialize};

use super::latency_record::Percentiles;
use super::sequence::Order;

/// Where and over what was measured: figures without it mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The version of DWCP.
    pub version: String,
    /// Processors of this machine.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Kind of the path that was active at the end: `tcp`, `rdma`, `fabric`.
    pub path: String,
    /// Its provider: the congestion control in use, or the device.
    pub provider: String,
    /// How its records were protected.
    pub suite: String,
    /// Whether this is a build without optimisation.
    pub debug_build: bool,
}

impl Environment {
    /// That of `session`, now.
    pub fn of(session: &Session) -> Self {
        let stats = session.stats();
        let path = stats.paths.iter().find(|path| Some(path.id) == stats.active);
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel("osrelease"),
            path: path.map_or_else(String::new, |path| path.kind.name().to_owned()),
            provider: path.map_or_else(String::new, |path| path.provider.clone()),
            suite: path.map_or_else(String::new, |path| path.suite.to_string()),
            debug_build: cfg!(debug_assertions),
        }
    }
}

/// What the kernel says of itself; empty without /proc.
pub(crate) fn kernel(name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    text.unwrap_or_default().trim().to_owned()
}

/// Processor time of both ends while it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// This end, percent of one processor.
    pub local_percent: f64,
    /// The peer, percent of one processor.
    pub peer_percent: f64,
    /// Both ends, nanoseconds for each byte of payload; absent where bytes are not the point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nanoseconds_per_byte: Option<f64>,
}

impl Cpu {
    pub(super) fn new(
        local: Duration,
        peer: Duration,
        elapsed: Duration,
        bytes: Option<u64>,
    ) -> Self {
        let elapsed = elapsed.as_secs_f64().max(1e-9);
        let percent = |time: Duration| round(time.as_secs_f64() / elapsed * 100.0, 1);
        let total = (local + peer).as_nanos() as f64;
        Self {
            local_percent: percent(local),
            peer_percent: percent(peer),
            nanoseconds_per_byte: bytes.map(|bytes| round(total / (bytes.max(1) as f64), 4)),
        }
    }
}

/// Connections cut on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    /// Asked for.
    pub asked: u32,
    /// Made.
    pub made: u32,
    /// Times the session came back on a new connection.
    pub reconnects: u64,
    /// Messages whose fate is not known.
    pub in_doubt: u64,
}

/// What `bench latency` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// `dwcp.bench-latency/v1`.
    pub schema: String,
    /// The other node.
    pub peer: String,
    /// Bytes of each message.
    pub size: usize,
    /// Messages a second that were asked for; null: each follows the answer to the one before.
    pub rate: Option<f64>,
    /// How long it ran, without the warm-up.
    pub seconds: f64,
    /// Round trips that count.
    pub messages: u64,
    /// Messages that were due and not sent before the end: the rate is more than the path carries.
    #[serde(default)]
    pub unsent: u64,
    /// Round trips, microseconds. With a rate they count from the moment a message ought to have been sent.
    pub latency_us: Percentiles,
    /// Faults of the order in which answers came.
    pub order: Order,
    /// Processor time.
    pub cpu: Cpu,
    /// Cuts.
    pub cuts: Cuts,
    /// Where it was measured.
    pub environment: Environment,
}

/// What `bench throughput` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThroughputReport {
    /// `dwcp.bench-throughput/v1`.
    pub schema: String,
    /// The other node.
    pub peer: String,
    /// `send` or `receive`, as this end sees it.
    pub direction: super::Direction,
    /// Bytes of each message.
    pub size: usize,
    /// From the first message to the last, as the receiving end saw it.
    pub seconds: f64,
    /// Messages received.
    pub messages: u64,
    /// Bytes received.
    pub bytes: u64,
    /// `bytes / seconds`.
    pub bytes_per_second: f64,
    /// `messages / seconds`.
    pub messages_per_second: f64,
    /// Faults of the order in which messages came.
    pub order: Order,
    /// Processor time.
    pub cpu: Cpu,
    /// Cuts.
    pub cuts: Cuts,
    /// Where it was measured.
    pub environment: Environment,
}

/// `value` to `digits` places: what a JSON reader can read.
pub(super) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_a_share_of_the_run() {
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        let cpu = Cpu::new(one, two, two, Some(3_000_000_000));
        assert_eq!(cpu.local_percent, 50.0);
        assert_eq!(cpu.peer_percent, 100.0);
        assert_eq!(cpu.nanoseconds_per_byte, Some(1.0));
        assert_eq!(Cpu::new(one, one, Duration::ZERO, Some(0)).nanoseconds_per_byte, Some(2e9));
    }
}
