//! `admin`, `peers`, `keys`, `session`, `forwards`, `forwardTargets`, `files`.

use super::names::{Address, FilePath, NodeId, NodeSet};
use super::reader::Reader;
use super::reference::KeyDoc;
use super::section::{item, section};
use super::setting::{Auto, Setting};
use super::spanned::{Node, Tree};
use super::units::{Size, Time};
use super::words::words;

section! {
    mode;
    /// Admin HTTP and the command socket.
    pub struct Admin {
        /// Addresses of the admin HTTP server: /livez, /readyz, /health, /metrics. Empty: none. Default: 127.0.0.1 and `[::1]`, port `monitoring.metricsPort`.
        "listen" listen: Option<Vec<Address>> = None;
        /// File with the token that `/metrics` and details want off loopback.
        "tokenFile" token_file: Option<FilePath> = None;
        /// Unix socket for `dwcp-ctl`. `auto`: `<nodeId>.sock` in the runtime directory.
        "socket" socket: Auto<FilePath> = Auto::Auto;
        /// Group that may use the socket.
        "group" group: String = "dwcp".into();
    }
}

item! {
    mode;
    /// A node that sessions may be had with.
    pub struct Peer {
        /// Its name, as its certificate has it.
        "nodeId" node_id: NodeId;
        /// Where it listens, tried in order. Empty: it dials us.
        "addresses" addresses: Vec<Address> = Vec::new();
    }
}

section! {
    mode;
    /// This node's certificate and what it trusts. `dwcp-ctl keys init` makes them.
    pub struct Keys {
        /// This node's certificate chain, PEM.
        "cert" cert: FilePath = FilePath::new("/etc/dwcp/keys/node.crt");
        /// Its private key, PEM.
        "key" key: FilePath = FilePath::new("/etc/dwcp/keys/node.key");
        /// Certificate authorities that peers' certificates must come from, PEM.
        "ca" ca: FilePath = FilePath::new("/etc/dwcp/keys/ca.crt");
        /// A secret that all nodes share, mixed into every session's keys.
        "clusterKey" cluster_key: Option<FilePath> = None;
    }
}

section! {
    mode;
    /// Limits of a session.
    pub struct Session {
        /// How long a session outlives its last path. After that, un-acked messages are reported in doubt.
        "timeToLive" time_to_live: Time [Time::secs(1), Time::hours(24)] = Time::secs(60);
        /// What the peer may send before the application takes it.
        "window" window: Size [Size::kib(256), Size::gib(4)] = Size::mib(64);
        /// The largest message that is received whole.
        "maxMessageSize" max_message_size: Size [Size::kib(1), Size::gib(2)] = Size::mib(64);
        /// How long shutting down waits for what is under way (copies, forwarded connections, benches) and for acks.
        "drainTimeout" drain_timeout: Time [Time::secs(0), Time::hours(1)] = Time::secs(30);
        /// How long a handshake may take.
        "handshakeTimeout" handshake_timeout: Time [Time::millis(100), Time::secs(300)] = Time::secs(10);
        /// The longest pause between attempts to connect again.
        "reconnectDelayMax" reconnect_delay_max: Time [Time::millis(10), Time::hours(1)] = Time::secs(5);
    }
}

words! {
    /// How urgent a forward's bytes are.
    pub enum ForwardPriority {
        /// Before bulk.
        Interactive "interactive",
        /// What is left.
        Bulk "bulk",
    }
}

item! {
    mode;
    /// A local listener whose connections are carried to a target behind a peer.
    pub struct Forward {
        /// Its name in status and metrics.
        "name" name: NodeId;
        /// Where it listens, on this node.
        "listen" listen: Address;
        /// The peer that connects to the target.
        "peer" peer: NodeId;
        /// What the peer connects to; it must be among the peer's `forwardTargets`.
        "target" target: Address;
        /// `interactive` or `bulk`.
        "priority" priority: ForwardPriority = ForwardPriority::Interactive;
        /// Whether its bytes may be compressed. Leave it off where secrets and bytes of an attacker's choice mix:
        /// the length of what is sent would tell about the secrets.
        "compress" compress: bool = false;
    }
}

item! {
    mode;
    /// Something that peers may reach through this node. `host:port` alone allows every peer.
    pub struct ForwardTarget {
        /// What may be connected to.
        "target" target: Address;
        /// Who may: `any` peer, or node ids.
        "from" from: NodeSet = NodeSet::Any;
    }
}

section! {
    mode;
    /// Reception of files.
    pub struct Files {
        /// Received files are put below this directory. Absent: none are received.
        "receiveDirectory" receive_directory: Option<FilePath> = None;
        /// Who may send: `any` peer, or node ids.
        "from" from: NodeSet = NodeSet::Any;
        /// The largest file.
        "maxFileSize" max_file_size: Size [Size::new(1), Size::new(1 << 50)] = Size::gib(1024);
        /// Free space that is never used.
        "keepFree" keep_free: Size [Size::new(0), Size::new(1 << 50)] = Size::gib(1);
    }
}

/// Reads `host:port` as `{target: host:port}`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct AllowedTarget(pub ForwardTarget);

impl Setting for AllowedTarget {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let target = match &node.tree {
            Tree::Scalar { .. } => {
                ForwardTarget { target: Address::read(node, reader)?, from: NodeSet::Any }
            }
            _ => ForwardTarget::read(node, reader)?,
        };
        Some(Self(target))
    }
    fn placeholder(reader: &Reader<'_>) -> Option<Self> {
        ForwardTarget::placeholder(reader).map(Self)
    }
    fn kind() -> String {
        "host:port, or a mapping with target, from".into()
    }
    fn describe(path: &str, out: &mut Vec<KeyDoc>) {
        ForwardTarget::describe(path, out);
    }
}

impl schemars::JsonSchema for AllowedTarget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AllowedTarget".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (short, long) =
            (generator.subschema_for::<Address>(), generator.subschema_for::<ForwardTarget>());
        schemars::json_schema!({ "anyOf": [short, long] })
    }
}

impl std::ops::Deref for AllowedTarget {
    type Target = ForwardTarget;
    fn deref(&self) -> &ForwardTarget {
        &self.0
    }
}
