//! What is measured against whom.

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// More of it.
    Higher,
    /// Less of it.
    Lower,
}

impl Better {
    /// The word in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// A figure, by the name that the report has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
}

/// Round trip, median.
pub const RTT: Metric = Metric { name: "rtt_p50_us", unit: "us", better: Better::Lower };
/// Processor time of both ends for each message.
pub const CPU_MESSAGE: Metric =
    Metric { name: "cpu_us_per_message", unit: "us", better: Better::Lower };
/// Messages a second.
pub const MESSAGES: Metric =
    Metric { name: "messages_per_s", unit: "messages/s", better: Better::Higher };
/// Bytes a second.
pub const BYTES: Metric = Metric { name: "bytes_per_s", unit: "bytes/s", better: Better::Higher };
/// Processor time of both ends for each byte.
pub const CPU_BYTE: Metric = Metric { name: "cpu_ns_per_byte", unit: "ns", better: Better::Lower };
/// Sessions begun, or brought back, a second.
pub const HANDSHAKES: Metric =
    Metric { name: "handshakes_per_s", unit: "1/s", better: Better::Higher };
/// Resident memory of the accepting end for each session.
pub const MEMORY: Metric =
    Metric { name: "bytes_per_session", unit: "bytes", better: Better::Lower };

/// Every metric.
pub const METRICS: [Metric; 7] = [RTT, CPU_MESSAGE, MESSAGES, BYTES, CPU_BYTE, HANDSHAKES, MEMORY];

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in the report.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// The program of ours.
    pub program: Program,
    /// Its words; `SECONDS` stands for the duration, `CORES` for the processors.
    pub ours: &'static str,
    /// `peer-bench` measurement and options.
    pub theirs: &'static str,
    /// Against whom, in the order of measuring.
    pub peers: &'static [&'static str],
    /// What is compared.
    pub metrics: &'static [Metric],
    /// Whether both ends share a processor.
    pub is_one_core: bool,
    /// Rounds at most; 0: as many as asked for.
    pub rounds_max: u32,
    /// Whether time is in the figures: only then it runs before all other work.
    pub is_timed: bool,
}

/// A program of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `dwcp-ctl`, as it ships.
    Ctl,
    /// `dwcp-clear`: sessions whose records are not encrypted, which no TCP path of a node can have.
    Clear,
}

const BASE: Scenario = Scenario {
    name: "",
    what: "",
    program: Program::Ctl,
    ours: "",
    theirs: "",
    peers: &[],
    metrics: &[],
    is_one_core: false,
    rounds_max: 0,
    is_timed: true,
};

/// All but those over a wide area network, which `dwcp-wan` measures.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pingpong-64",
        what: "64 B round trip, a processor each end",
        ours: "bench latency --self --cores CORES --size 64 --warm-up 200ms --duration SECONDS",
        theirs: "latency --size 64",
        peers: &["tokio-rustls", "spin-rustls", "raw-std", "tokio", "zeromq", "quinn", "tonic"],
        metrics: &[RTT],
        ..BASE
    },
    Scenario {
        name: "pingpong-64-onecore",
        what: "64 B round trip, both ends on one processor, async",
        ours: "bench latency --self --cores CORES --size 64 --warm-up 200ms --duration SECONDS",
        theirs: "latency --size 64",
        peers: &["tokio-rustls", "raw-std"],
        metrics: &[RTT, CPU_MESSAGE],
        is_one_core: true,
        ..BASE
    },
    Scenario {
        name: "pingpong-64-onecore-caller",
        what: "64 B round trip, both ends on one processor, in the callers' threads",
        ours: "bench latency --self --cores CORES --blocking --size 64 --warm-up 200ms --duration SECONDS",
        theirs: "latency --size 64",
        peers: &["tokio-rustls", "raw-std"],
        metrics: &[RTT, CPU_MESSAGE],
        is_one_core: true,
        ..BASE
    },
    Scenario {
        name: "pingpong-64-poll",
        what: "64 B round trip, polling driver",
        ours: "bench latency --self --cores CORES --polling --blocking --size 64 --warm-up 200ms --duration SECONDS",
        theirs: "latency --size 64",
        peers: &["raw-spin"],
        metrics: &[RTT],
        ..BASE
    },
    Scenario {
        name: "oneway-64",
        what: "64 B one way, async",
        ours: "bench throughput --self --cores CORES --size 64 --duration SECONDS",
        theirs: "messages --size 64",
        peers: &["zeromq", "length-delimited", "rustls-framed"],
        metrics: &[MESSAGES, CPU_MESSAGE],
        ..BASE
    },
    Scenario {
        name: "oneway-64-caller",
        what: "64 B one way, in the caller's thread",
        ours: "bench throughput --self --cores CORES --blocking --size 64 --duration SECONDS",
        theirs: "messages --size 64",
        peers: &["rustls-framed"],
        metrics: &[MESSAGES],
        ..BASE
    },
    Scenario {
        name: "oneway-1k",
        what: "1 KiB one way, async",
        ours: "bench throughput --self --cores CORES --size 1KiB --duration SECONDS",
        theirs: "messages --size 1024",
        peers: &["rustls-framed", "length-delimited", "zeromq"],
        metrics: &[MESSAGES],
        ..BASE
    },
    Scenario {
        name: "bulk-64k",
        what: "64 KiB one way",
        ours: "bench throughput --self --cores CORES --size 64KiB --duration SECONDS",
        theirs: "throughput --size 65536",
        peers: &["tokio-rustls"],
        metrics: &[BYTES, CPU_BYTE],
        ..BASE
    },
    Scenario {
        name: "bulk-1m",
        what: "1 MiB one way",
        ours: "bench throughput --self --cores CORES --size 1MiB --duration SECONDS",
        theirs: "throughput --size 1048576",
        peers: &["tokio-rustls", "quinn", "tonic"],
        metrics: &[BYTES],
        ..BASE
    },
    Scenario {
        name: "bulk-1m-clear",
        what: "1 MiB one way, not encrypted",
        program: Program::Clear,
        ours: "--cores CORES --size 1048576 --seconds SECONDS",
        theirs: "throughput --size 1048576",
        peers: &["tokio"],
        metrics: &[BYTES],
        ..BASE
    },
    Scenario {
        name: "handshake",
        what: "sessions begun, used once and closed",
        ours: "bench handshakes --cores CORES --duration SECONDS",
        theirs: "handshake",
        peers: &["tokio-rustls"],
        metrics: &[HANDSHAKES],
        ..BASE
    },
    Scenario {
        name: "resume",
        what: "sessions back after a cut, against whole handshakes",
        ours: "bench resumes --cores CORES --duration SECONDS",
        theirs: "handshake",
        peers: &["tokio-rustls"],
        metrics: &[HANDSHAKES],
        ..BASE
    },
    Scenario {
        name: "scale-rss",
        what: "10,000 idle sessions",
        ours: "bench sessions --cores CORES --sessions 10000",
        theirs: "idle --sessions 10000",
        peers: &["tokio-rustls"],
        metrics: &[MEMORY],
        rounds_max: 3,
        is_timed: false,
        ..BASE
    },
];

/// What a ratio must reach, and what it is to reach.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The scenario.
    pub scenario: &'static str,
    /// The peer.
    pub peer: &'static str,
    /// The metric.
    pub metric: &'static str,
    /// The least that will do: a ratio, ours by theirs.
    pub pass: f64,
    /// Where it ought to be.
    pub aim: f64,
}

const fn target(
    scenario: &'static str,
    peer: &'static str,
    metric: Metric,
    pass: f64,
    aim: f64,
) -> Target {
    Target { scenario, peer, metric: metric.name, pass, aim }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("oneway-64", "zeromq", MESSAGES, 5.0, 7.0),
    target("oneway-64", "length-delimited", MESSAGES, 1.7, 2.2),
    target("oneway-64", "rustls-framed", MESSAGES, 1.8, 2.5),
    target("oneway-64-caller", "rustls-framed", MESSAGES, 3.0, 4.0),
    target("oneway-1k", "rustls-framed", MESSAGES, 1.3, 1.6),
    target("oneway-1k", "length-delimited", MESSAGES, 0.75, 0.9),
    target("oneway-1k", "zeromq", MESSAGES, 2.5, 3.5),
    target("bulk-64k", "tokio-rustls", BYTES, 1.2, 1.4),
    target("bulk-64k", "tokio-rustls", CPU_BYTE, 0.8, 0.7),
    target("bulk-1m", "tokio-rustls", BYTES, 1.3, 1.6),
    target("bulk-1m", "quinn", BYTES, 3.5, 5.0),
    target("bulk-1m", "tonic", BYTES, 1.6, 2.2),
    target("bulk-1m-clear", "tokio", BYTES, 0.92, 1.0),
    target("pingpong-64", "tokio-rustls", RTT, 0.15, 0.09),
    target("pingpong-64", "spin-rustls", RTT, 0.95, 0.85),
    target("pingpong-64-onecore", "tokio-rustls", RTT, 0.95, 0.75),
    target("pingpong-64-onecore-caller", "tokio-rustls", RTT, 0.95, 0.75),
    target("pingpong-64-poll", "raw-spin", RTT, 1.15, 1.08),
    target("wan-incompressible", "payload-ceiling", BYTES, 0.92, 0.96),
    target("wan-compressible", "zstd-ncat", BYTES, 1.0, 1.15),
    target("wan-compressible", "rsync-z", BYTES, 1.5, 1.8),
    target("wan-compressible", "scp-c", BYTES, 3.3, 4.0),
    target("wan-compressible", "curl", BYTES, 5.3, 6.5),
    target("wan-1g-compressible", "zstd-ncat", BYTES, 1.15, 1.4),
    target("wan-1g-compressible", "rsync-z", BYTES, 2.0, 2.6),
    target("wan-1g-compressible", "scp-c", BYTES, 5.0, 7.0),
    target("scale-rss", "tokio-rustls", MEMORY, 0.75, 0.5),
    target("handshake", "tokio-rustls", HANDSHAKES, 0.8, 1.0),
    target("resume", "tokio-rustls", HANDSHAKES, 3.0, 5.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_one_of_something_that_is_measured() {
        for target in TARGETS.iter().filter(|target| !target.scenario.starts_with("wan-")) {
            let scenario = SCENARIOS.iter().find(|one| one.name == target.scenario);
            let scenario = scenario.unwrap_or_else(|| panic!("{target:?}"));
            assert!(scenario.peers.contains(&target.peer), "{target:?}");
            assert!(scenario.metrics.iter().any(|one| one.name == target.metric), "{target:?}");
        }
    }

    #[test]
    fn an_aim_is_further_than_what_will_do() {
        for target in TARGETS {
            let metric = METRICS.iter().find(|one| one.name == target.metric).expect("known");
            let is_further = match metric.better {
                Better::Higher => target.aim > target.pass,
                Better::Lower => target.aim < target.pass,
            };
            assert!(is_further, "{target:?}");
        }
    }
}
