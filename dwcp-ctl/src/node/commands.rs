//! The command socket's language: one JSON object a line.
//!
//! The client sends one [`Request`] and reads [`Answer`]s: any number of `progress`, then one `done` or
//! `failed`. Closing the connection cancels what was asked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench::{LatencyPlan, ThroughputPlan};
use crate::service::file::CopyProgress;
use crate::service::under_way::Work;

/// The longest line, bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What a client asks of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything about the node: `dwcp.node/v1`.
    Status,
    /// Read the configuration again, all or nothing.
    Reload,
    /// Stop, as SIGTERM does: `dwcp.drain/v1` when it is over, or after `wait_ms` how far it is.
    Drain {
        /// How long to wait for the end.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Start a new process of this node, which takes over: `dwcp.restart/v1` once it serves.
    Restart {
        /// Also where it looks as if whoever has started the daemon took its end for the end of the node.
        #[serde(default)]
        force: bool,
    },
    /// Give the node to the asking process: after the answer come its sockets.
    HandOver,
    /// End the quarantine of a peer: `dwcp.lift/v1`.
    Lift {
        /// The peer.
        peer: String,
    },
    /// Do something with a peer.
    Run(Operation),
}

/// Something that needs a session with a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum Operation {
    /// Round trips of probes.
    Ping {
        /// The peer.
        peer: String,
        /// How many.
        count: u32,
        /// How long each may take.
        timeout_ms: u64,
    },
    /// Drop the link under the session, as a broken cable would.
    Cut {
        /// The peer.
        peer: String,
    },
    /// Go on with new keys, on every path of the session.
    Rekey {
        /// The peer.
        peer: String,
    },
    /// `bench latency`.
    BenchLatency {
        /// The peer.
        peer: String,
        /// What to measure.
        plan: LatencyPlan,
    },
    /// `bench throughput`.
    BenchThroughput {
        /// The peer.
        peer: String,
        /// What to measure.
        plan: ThroughputPlan,
    },
    /// Send files.
    Copy {
        /// The peer.
        peer: String,
        /// Where to, below the peer's directory.
        directory: String,
        /// Files, as absolute paths that the daemon can read.
        files: Vec<std::path::PathBuf>,
        /// Directories with all below them.
        recursive: bool,
        /// Whether frames may be compressed.
        compress: bool,
        /// Whether the receiver reads each file back from its disk.
        #[serde(default)]
        verify: bool,
        /// So many bytes of files a second at most.
        #[serde(default)]
        limit_bytes_per_second: Option<u64>,
    },
}

impl Operation {
    /// What a drain counts it as.
    pub fn work(&self) -> Work {
        match self {
            Self::Ping { .. } | Self::Cut { .. } | Self::Rekey { .. } => Work::Command,
            Self::BenchLatency { .. } | Self::BenchThroughput { .. } => Work::Bench,
            Self::Copy { .. } => Work::Copy,
        }
    }

    /// The peer it is about.
    pub fn peer(&self) -> &str {
        match self {
            Self::Ping { peer, .. }
            | Self::Cut { peer }
            | Self::Rekey { peer }
            | Self::BenchLatency { peer, .. }
            | Self::BenchThroughput { peer, .. }
            | Self::Copy { peer, .. } => peer,
        }
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// How far a copy has come.
    Progress(CopyProgress),
    /// It is done.
    Done {
        /// The result, with its schema.
        result: Value,
    },
    /// It failed.
    Failed {
        /// The exit code that the client ought to end with.
        exit: u8,
        /// Why, for people.
        message: String,
    },
}

/// What `ping` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingReport {
    /// `dwcp.ping/v1`.
    pub schema: String,
    /// The peer.
    pub peer: String,
    /// Kind of the path.
    pub path: String,
    /// Round trips, microseconds.
    pub rtt_us: Vec<f64>,
}

/// What `cut` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutReport {
    /// `dwcp.cut/v1`.
    pub schema: String,
    /// The peer.
    pub peer: String,
    /// Whether there was a link to drop.
    pub was_cut: bool,
}

/// What `rekey` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RekeyReport {
    /// `dwcp.rekey/v1`.
    pub schema: String,
    /// The peer.
    pub peer: String,
    /// Paths whose next record has a new key; 0: there is no session.
    pub paths: usize,
}

/// What `peers lift` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiftReport {
    /// `dwcp.lift/v1`.
    pub schema: String,
    /// The peer.
    pub peer: String,
    /// Whether it was in quarantine.
    pub was_lifted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_round_trip_in_one_line() {
        let peer = String::from("b");
        let plan = LatencyPlan {
            size: 64,
            duration_ms: 1,
            warm_up_ms: 0,
            rate: Some(1.0),
            cuts: 0,
            blocking: false,
        };
        for request in [
            Request::Status,
            Request::Drain { wait_ms: Some(5) },
            Request::Run(Operation::Cut { peer: peer.clone() }),
            Request::Run(Operation::BenchLatency { peer, plan }),
        ] {
            let line = serde_json::to_string(&request).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        }
        let answer = Answer::Failed { exit: 4, message: "no\nbody".into() };
        assert!(!serde_json::to_string(&answer).unwrap().contains('\n'));
        let drain = serde_json::from_str::<Request>("{\"command\":\"drain\"}").unwrap();
        assert_eq!(drain, Request::Drain { wait_ms: None });
        assert!(serde_json::from_str::<Request>("{\"command\":\"format\"}").is_err());
    }
}
