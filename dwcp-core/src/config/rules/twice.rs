//! Keys that say the same thing, differently.

use super::Rules;
use crate::config::codes::{self, Code};
use crate::config::keys_protocol::{CompressionAlgorithm, EncryptionAlgorithm};
use crate::config::setting::Auto;

pub(super) fn check(rules: &mut Rules<'_>) {
    let config = rules.config;
    let hugepages = config.memory.hugepages.get();
    if let Some(asked) = config.network.rdma.hugepages_enabled
        && hugepages.is_some_and(|pages| pages != asked)
    {
        let other = "network.rdma.hugepagesEnabled";
        rules.differ("memory.hugepages", other, codes::HUGEPAGES_TWICE, "memory.hugepages");
    }
    let compression = "protocol.compression.enabled";
    if let Some(asked) = config.features.enable_compression
        && rules.gives(compression)
        && config.protocol.compression.enabled != asked
    {
        rules.differ(
            "features.enableCompression",
            compression,
            codes::COMPRESSION_TWICE,
            compression,
        );
    }
    if let (Some(Auto::Is(asked)), Auto::Is(enabled)) =
        (config.features.enable_byzantine, config.byzantine.enabled)
        && asked != enabled
    {
        let flag = "features.enableByzantine";
        rules.differ(flag, "byzantine.enabled", codes::BYZANTINE_TWICE, "byzantine.enabled");
    }
    algorithms(rules);
    targets(rules);
}

fn algorithms(rules: &mut Rules<'_>) {
    let protocol = &rules.config.protocol;
    let compresses =
        rules.config.features.enable_compression.unwrap_or(protocol.compression.enabled);
    let keys = ["features.enableCompression", "protocol.compression.enabled"];
    if compresses
        && rules.is_sound(&keys)
        && protocol.compression.algorithm == CompressionAlgorithm::None
    {
        let path = "protocol.compression.algorithm";
        let message = "compression is enabled with the algorithm `none`";
        rules.error(path, codes::COMPRESSION_NONE, message, "write zstd, or `enabled: false`");
    }
    let is_enabled =
        protocol.encryption.enabled && rules.is_sound(&["protocol.encryption.enabled"]);
    if is_enabled && protocol.encryption.algorithm == EncryptionAlgorithm::None {
        let path = "protocol.encryption.algorithm";
        let message = "encryption is enabled with the algorithm `none`";
        rules.error(
            path,
            codes::ENCRYPTION_NONE,
            message,
            "write aes-256-gcm, or `enabled: false`",
        );
    }
}

fn targets(rules: &mut Rules<'_>) {
    let performance = &rules.config.performance;
    let nanos = [
        ("targetLatency", performance.target_latency.get().map(|time| time.get().as_nanos())),
        ("targetLatencyMicros", performance.target_latency_micros.map(|n| u128::from(n) * 1_000)),
        ("targetLatencyMs", performance.target_latency_ms.map(|n| u128::from(n) * 1_000_000)),
    ];
    rules.one_value(&nanos, codes::LATENCY_TWICE);
    let gbps = performance.target_throughput_gbps.map(|n| u128::from(n) * 1_000_000_000);
    let rate = performance.target_throughput.get().map(|rate| u128::from(rate.bits_per_second()));
    let bits = [("targetThroughput", rate), ("targetThroughputGbps", gbps)];
    rules.one_value(&bits, codes::THROUGHPUT_TWICE);
}

impl Rules<'_> {
    fn differ(&mut self, path: &str, other: &str, code: Code, keep: &str) {
        if !self.is_sound(&[path, other]) {
            return;
        }
        let line = self.line(other);
        let message = format!("`{path}` contradicts `{other}` on line {line}");
        self.error(
            path,
            code,
            message,
            format!("keep `{keep}`, delete the other: they decide the same thing"),
        );
    }

    /// Those of `performance` that are given must agree.
    fn one_value(&mut self, values: &[(&str, Option<u128>)], code: Code) {
        let given: Vec<_> =
            values.iter().filter_map(|(key, value)| Some((*key, (*value)?))).collect();
        if let [(first, value), rest @ ..] = given.as_slice()
            && let Some((other, _)) = rest.iter().find(|(_, other)| other != value)
        {
            let (path, other) = (format!("performance.{other}"), format!("performance.{first}"));
            self.differ(&path, &other, code, &other);
        }
    }
}
