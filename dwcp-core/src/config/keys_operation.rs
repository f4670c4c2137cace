//! `performance`, `features`, `memory`, `limits`, `cluster`, `logging`, `monitoring`.

use super::names::FilePath;
use super::reader::Reader;
use super::section::section;
use super::setting::{Auto, Setting};
use super::spanned::{Node, Scalar};
use super::units::{Rate, Size, Time};
use super::words::words;
use super::{Mode, codes};

section! {
    mode;
    /// Targets and processor use.
    pub struct Performance {
        /// The median round trip wanted, microseconds. Shown, and warned about when missed.
        "targetLatencyMicros" target_latency_micros: Option<u64> [1, 60_000_000] = None;
        /// The same in milliseconds.
        "targetLatencyMs" target_latency_ms: Option<u64> [1, 60_000] = None;
        /// The same as a duration. `auto`: none.
        "targetLatency" target_latency: Auto<Time> [Time::micros(1), Time::secs(60)] = Auto::Auto;
        /// The throughput wanted, Gbit/s.
        "targetThroughputGbps" target_throughput_gbps: Option<u64> [1, 10_000] = None;
        /// The same as a rate. `auto`: none.
        "targetThroughput" target_throughput: Auto<Rate> = Auto::Auto;
        /// Send from where the bytes lie, where the path can. `auto`: from a size where it pays.
        "zeroCopy" zero_copy: Auto<bool> = Auto::Auto;
        /// `true`: threads poll without sleeping, a core each: one for each of `cpuAffinity.cores`, else one. `auto`: they spin for a short time, then sleep. `false`: they sleep at once.
        "pollingMode" polling_mode: Auto<bool> = Auto::Auto;
        /// Most sessions of this node.
        "maxConnections" max_connections: u32 [1, 1_000_000] = 10_000;
        /// Processors for the daemon's threads.
        "cpuAffinity" cpu_affinity: CpuAffinity = CpuAffinity::defaults(mode);
    }
}

section! {
    mode;
    /// Processors for the daemon's threads.
    pub struct CpuAffinity {
        /// Whether they are bound.
        "enabled" enabled: bool = false;
        /// To these. With `pollingMode: true` each has a thread that polls. Empty: all.
        "cores" cores: Vec<u16> = Vec::new();
    }
}

section! {
    mode;
    /// Switches for a gradual introduction. The first and the third can be changed while the daemon runs.
    pub struct Features {
        /// Whether there are sessions at all. Switched off while the daemon runs, it closes those there are.
        "enableV3" enable_v3: bool = true;
        /// Whether hybrid mode switches transports.
        "enableHybridMode" enable_hybrid_mode: bool = mode == Mode::Hybrid;
        /// As `protocol.compression.enabled`. A change is agreed on by sessions that begin after it.
        "enableCompression" enable_compression: Option<bool> = None;
        /// As `byzantine.enabled`.
        "enableByzantine" enable_byzantine: Option<Auto<bool>> = None;
    }
}

section! {
    mode;
    /// Memory for messages.
    pub struct Memory {
        /// Whether slots lie in hugepages. `auto`: when there are any.
        "hugepages" hugepages: Auto<bool> = Auto::Auto;
        /// Most memory for slots, sent and received together. As much again at most is kept for messages that peers do not ack, and for messages of which they have not sent the end; no session holds more of either than it leaves to the others.
        "poolSize" pool_size: Size [Size::mib(8), Size::gib(4096)] = Size::mib(512);
        /// What all peers together may have sent and we not yet consumed, beyond 64 KiB a channel. No session holds more of it than it leaves to the others.
        "budget" budget: Size [Size::mib(1), Size::gib(4096)] = Size::mib(256);
    }
}

section! {
    mode;
    /// The daemon's own limits.
    pub struct Limits {
        /// Open files. `auto`: as many as the system allows this process (`LimitNOFILE=` of the unit).
        "maxOpenFiles" max_open_files: Auto<u64> [64, 1_073_741_816] = Auto::Auto;
        /// Worker threads. `auto`: one for each processor.
        "maxThreads" max_threads: Auto<u32> [1, 4096] = Auto::Auto;
    }
}

section! {
    mode;
    /// Detection of lost peers.
    pub struct Cluster {
        /// Heartbeats.
        "failureDetection" failure_detection: FailureDetection = FailureDetection::defaults(mode);
    }
}

section! {
    mode;
    /// Heartbeats. A path with un-acked data is watched far closer, by its round trip time.
    pub struct FailureDetection {
        /// Pause after which a quiet path is probed.
        "heartbeatInterval" heartbeat_interval: Time [Time::millis(10), Time::secs(600)] = Time::secs(1);
        /// Unanswered heartbeats after which a path counts as dead.
        "timeoutMultiplier" timeout_multiplier: u32 [2, 100] = 5;
    }
}

words! {
    /// How much is logged.
    pub enum LogLevel {
        /// A human must act.
        Error "error",
        /// Degraded by itself.
        Warn "warn",
        /// Changes of state.
        Info "info",
        /// Decisions.
        Debug "debug",
        /// Everything.
        Trace "trace",
    }
}

words! {
    /// How a log line looks.
    pub enum LogFormat {
        /// For people.
        Text "text",
        /// One JSON object a line.
        Json "json",
    }
}

section! {
    mode;
    /// The log.
    pub struct Logging {
        /// How much is logged.
        "level" level: LogLevel = LogLevel::Info;
        /// How a line looks.
        "format" format: LogFormat = LogFormat::Text;
        /// `stderr` (which systemd gives to its journal) or a file.
        "output" output: LogOutput = LogOutput::Stderr;
    }
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(FilePath),
}

impl Setting for LogOutput {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.scalar() {
            Some(Scalar::Text("stderr")) => Some(Self::Stderr),
            Some(Scalar::Text(text @ ("stdout" | "journald" | "journal" | "syslog"))) => {
                let message = format!("`{}: {text}` is not supported", reader.path());
                let help = "write stderr (systemd gives it to the journal) or the path of a file";
                reader.error(node.at, codes::UNSUPPORTED_VALUE, message, help);
                None
            }
            _ => FilePath::read(node, reader).map(Self::File),
        }
    }
    fn kind() -> String {
        "stderr or a path".into()
    }
}

impl serde::Serialize for LogOutput {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stderr => serializer.serialize_str("stderr"),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

impl schemars::JsonSchema for LogOutput {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LogOutput".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1 })
    }
}

section! {
    mode;
    /// Health and metrics.
    pub struct Monitoring {
        /// The port of the admin HTTP server, where `admin.listen` does not say.
        "metricsPort" metrics_port: u16 = 9100;
        /// A further path that answers as /health does.
        "healthCheckPath" health_check_path: HttpPath = HttpPath("/health".into());
    }
}

/// The path of a URL.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct HttpPath(String);

impl HttpPath {
    /// The path, with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for HttpPath {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(node, reader)?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._~-".contains(&b);
        if text.starts_with('/') && text.bytes().all(is_plain) {
            return Some(Self(text));
        }
        reader.unexpected(node, codes::PATH, &Self::kind())
    }
    fn kind() -> String {
        "a path that begins with a slash, such as /health".into()
    }
}

impl schemars::JsonSchema for HttpPath {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HttpPath".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^/[A-Za-z0-9/._~-]*$" })
    }
}
