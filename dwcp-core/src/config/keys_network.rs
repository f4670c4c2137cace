//! `network`.

use super::names::NodeId;
use super::section::{item, section};
use super::setting::Auto;
use super::units::{Size, Time};
use super::words::words;
use super::{Mode, codes};
use crate::config::reader::Reader;
use crate::config::setting::{Ranged, Setting};
use crate::config::spanned::Node;
use crate::wire::PathKind;

words! {
    /// A kind of path.
    pub enum Transport {
        /// RDMA verbs.
        Rdma "rdma",
        /// libfabric, AWS EFA among it.
        Fabric "fabric",
        /// TCP sockets.
        Tcp "tcp",
    } refused {
        "quic" "DWCP 3 has no QUIC transport; tcp with BBR serves the internet",
        "efa" "EFA is a provider of the fabric transport",
        "dpdk" "DWCP 3 does not drive network cards itself",
        "udp" "DWCP 3 has no datagram transport",
    }
}

impl Transport {
    /// The kind of path this is.
    pub fn kind(self) -> PathKind {
        match self {
            Self::Rdma => PathKind::Rdma,
            Self::Fabric => PathKind::Fabric,
            Self::Tcp => PathKind::Tcp,
        }
    }
}

words! {
    /// A congestion control of the kernel.
    pub enum CongestionControl {
        /// Model-based; for long, lossy ways.
        Bbr "bbr",
        /// The kernel's usual one; for short ways.
        Cubic "cubic",
        /// The oldest.
        Reno "reno",
        /// For networks that mark packets.
        Dctcp "dctcp",
    }
}

words! {
    /// The kind of queue pair.
    pub enum QpType {
        /// Reliable connection.
        Rc "RC",
    } refused {
        "UD" "sessions need reliable connections",
        "UC" "sessions need reliable connections",
        "XRC" "sessions need one queue pair per peer",
        "DC" "sessions need one queue pair per peer",
    }
}

section! {
    mode;
    /// Transports, their devices and sockets.
    pub struct Network {
        /// The preferred transport. Default: rdma in datacenter mode, tcp in internet mode, the first of `transports` in hybrid mode.
        "transport" transport: Option<Transport> = None;
        /// Transports by priority, for hybrid mode.
        "transports" transports: Vec<TransportEntry> = Vec::new();
        /// The RDMA device, such as mlx5_0. `auto`: the first with an active port.
        "rdmaDevice" rdma_device: Auto<NodeId> = Auto::Auto;
        /// The port that takes sessions, where `listen` does not say. 0: the system chooses.
        "port" port: u16 = if mode == Mode::Internet { 443 } else { 8080 };
        /// The address that takes sessions, where `listen` does not say. Default: all.
        "bindAddress" bind_address: Option<BindAddress> = None;
        /// Starting without the preferred device.
        "fallback" fallback: Fallback = Fallback::defaults(mode);
        /// Verbs.
        "rdma" rdma: Rdma = Rdma::defaults(mode);
        /// Sockets.
        "tcp" tcp: Tcp = Tcp::defaults(mode);
    }
}

item! {
    mode;
    /// A transport and its place in the order.
    pub struct TransportEntry {
        /// Which one.
        "name" name: Transport;
        /// Whether it is used.
        "enabled" enabled: bool = true;
        /// Lower goes first.
        "priority" priority: u32 = 100;
    }
}

section! {
    mode;
    /// Starting without the preferred device.
    pub struct Fallback {
        /// Start degraded on TCP when the RDMA device is missing; otherwise the daemon ends with exit code 69.
        "enabled" enabled: bool = mode == Mode::Hybrid;
        /// What it falls back to.
        "transport" transport: FallbackTransport = FallbackTransport::Tcp;
    }
}

words! {
    /// What a node falls back to.
    pub enum FallbackTransport {
        /// TCP.
        Tcp "tcp",
    }
}

section! {
    mode;
    /// Verbs.
    pub struct Rdma {
        /// Whether RDMA paths are made. Default: where the transports ask for them.
        "enabled" enabled: Auto<bool> = Auto::Auto;
        /// The libfabric provider of the `fabric` transport, such as efa, efa-direct or tcp;ofi_rxm. `auto`: the best that is here.
        "provider" provider: Auto<String> = Auto::Auto;
        /// The device's port.
        "devicePort" device_port: u8 [1, 254] = 1;
        /// The GID index. `auto`: the RoCE v2 one of the port's address.
        "gidIndex" gid_index: Auto<u8> = Auto::Auto;
        /// The kind of queue pair.
        "qpType" qp_type: QpType = QpType::Rc;
        /// Most queue pairs of this node.
        "maxQueuePairs" max_queue_pairs: u32 [2, 262_144] = 1024;
        /// As `memory.hugepages`.
        "hugepagesEnabled" hugepages_enabled: Option<bool> = None;
        /// Entries of a completion queue.
        "cqDepth" cq_depth: u32 [64, 4_194_304] = 8192;
        /// Send work requests of a queue pair.
        "maxSendWr" max_send_wr: u32 [16, 32_768] = 4096;
        /// Receive work requests of a queue pair.
        "maxRecvWr" max_recv_wr: u32 [16, 32_768] = 4096;
        /// Bytes that are copied into the work request instead of being fetched.
        "maxInlineData" max_inline_data: Auto<u32> [0, 4096] = Auto::Auto;
        /// Reads of the peer's memory in flight.
        "maxRdmaReadAtomicOutstanding" max_reads: u8 [1, 128] = 16;
        /// Local ack timeout, 4.096 us * 2^n.
        "qpTimeout" qp_timeout: u8 [1, 31] = 14;
        /// Transport retries before the path fails. 7 is refused: it means for ever on some devices.
        "retryCount" retry_count: RetryCount [1, 6] = RetryCount(6);
        /// Retries when the peer has no receive posted; 7 is for ever.
        "rnrRetryCount" rnr_retry_count: u8 [0, 7] = 7;
        /// The pause before such a retry, as the InfiniBand specification numbers it.
        "minRnrTimer" min_rnr_timer: u8 [1, 31] = 12;
    }
}

section! {
    mode;
    /// Sockets.
    pub struct Tcp {
        /// Whether TCP paths are made. TCP is the standby of every RDMA session; without it a lost device ends the session.
        "enabled" enabled: bool = true;
        /// The congestion control. `auto`: cubic below 1 ms round trip, else bbr.
        "congestionControl" congestion_control: Auto<CongestionControl> = Auto::Auto;
        /// Send small records at once.
        "noDelay" no_delay: bool = true;
        /// Send the first bytes with the SYN.
        "fastOpen" fast_open: bool = mode != Mode::Datacenter;
        /// Connections that may wait with bytes in their SYN.
        "fastOpenQueueLength" fast_open_queue_length: u32 [1, 65_535] = 1024;
        /// Kernel keepalives, beside the session's own.
        "keepAlive" keep_alive: bool = true;
        /// Pause between them.
        "keepAliveInterval" keep_alive_interval: Time [Time::secs(1), Time::hours(9)] = Time::secs(10);
        /// Unanswered ones before the connection is closed.
        "keepAliveProbes" keep_alive_probes: u32 [1, 127] = 3;
        /// How long sent bytes may stay unacknowledged by the peer's kernel. `auto`: as long as the session tolerates.
        "userTimeout" user_timeout: Auto<Time> [Time::millis(100), Time::hours(24)] = Auto::Auto;
        /// Send buffer of the socket. `auto`: the kernel's tuning.
        "sendBuffer" send_buffer: Auto<Size> [Size::kib(4), Size::gib(1)] = Auto::Auto;
        /// Receive buffer of the socket. `auto`: the kernel's tuning.
        "recvBuffer" recv_buffer: Auto<Size> [Size::kib(4), Size::gib(1)] = Auto::Auto;
        /// Unsent bytes above which a socket counts as full. `auto`: 256 KiB.
        "notSentLowWater" not_sent_low_water: Auto<Size> [Size::kib(4), Size::gib(1)] = Auto::Auto;
        /// Connections that may wait to be accepted.
        "listenBacklog" listen_backlog: u32 [1, 65_535] = 4096;
    }
}

/// Transport retries of a queue pair, 0 to 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct RetryCount(pub(crate) u8);

impl RetryCount {
    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Setting for RetryCount {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let count = u8::read(node, reader)?;
        if count == 7 {
            let message = format!("`{}: 7` retries for ever on some devices", reader.path());
            let help = "use 1 to 6: a path to a dead peer must fail, so that another takes over";
            reader.error(node.at, codes::RETRY_TRAP, message, help);
            return None;
        }
        Some(Self(count))
    }
    fn kind() -> String {
        "a whole number from 1 to 6".into()
    }
}

impl Ranged for RetryCount {
    type Bound = u8;
    fn bounded(&self) -> Option<u8> {
        Some(self.0)
    }
}

impl schemars::JsonSchema for RetryCount {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RetryCount".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": 6 })
    }
}

/// An IP address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct BindAddress(std::net::IpAddr);

impl BindAddress {
    /// The address.
    pub fn get(self) -> std::net::IpAddr {
        self.0
    }
}

impl Setting for BindAddress {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match node.scalar() {
            Some(super::spanned::Scalar::Text(text)) => text,
            _ => "",
        };
        match text.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(ip) => Some(Self(ip)),
            Err(_) => reader.unexpected(node, codes::ADDRESS, &Self::kind()),
        }
    }
    fn kind() -> String {
        "an IP address such as 0.0.0.0, 10.0.0.1 or ::".into()
    }
}

impl schemars::JsonSchema for BindAddress {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BindAddress".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}
