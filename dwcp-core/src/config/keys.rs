//! The root of the configuration.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::codes;
use super::keys_adaptive::Adaptive;
use super::keys_network::Network;
use super::keys_node::{Admin, AllowedTarget, Files, Forward, Keys, Peer, Session};
use super::keys_operation::{Cluster, Features, Limits, Logging, Memory, Monitoring, Performance};
use super::keys_protocol::{Byzantine, Protocol, Security};
use super::names::{Address, NodeId};
use super::reader::Reader;
use super::reference::KeyDoc;
use super::section::item;
use super::setting::Setting;
use super::spanned::{Node, Scalar, Tree};
use super::words::words;

words! {
    /// Where the node lives; most defaults follow from it.
    pub enum Mode {
        /// RDMA in a trusted network, TCP as standby.
        Datacenter "datacenter",
        /// TCP only, always encrypted.
        Internet "internet",
        /// RDMA and TCP, chosen by measurement.
        Hybrid "hybrid",
    }
}

item! {
    of_mode;
    /// Configuration of a DWCP 3 node.
    pub struct Config {
        /// Where the node lives: `datacenter` (RDMA, trusted network), `internet` (TCP, encrypted) or `hybrid` (both). Most defaults follow from it.
        "mode" mode: Mode;
        /// The name of this node, as its certificate has it (`dwcp://node/<nodeId>`). Default: the name in the certificate.
        "nodeId" node_id: Option<NodeId> = None;
        /// Addresses that take sessions. Default: all addresses, port `network.port`. Empty: this node only dials.
        "listen" listen: Option<Vec<Address>> = None;
        /// Admin HTTP and the command socket.
        "admin" admin: Admin = Admin::defaults(of_mode);
        /// Nodes that sessions may be had with: a list, or `any` node with a certificate of `keys.ca`.
        "peers" peers: Peers = Peers::Listed(Vec::new());
        /// This node's certificate and what it trusts.
        "keys" keys: Keys = Keys::defaults(of_mode);
        /// Limits of a session.
        "session" session: Session = Session::defaults(of_mode);
        /// Local listeners whose connections are carried to a target behind a peer.
        "forwards" forwards: Vec<Forward> = Vec::new();
        /// What peers may reach through this node. Nothing else is reachable.
        "forwardTargets" forward_targets: Vec<AllowedTarget> = Vec::new();
        /// Reception of files from `dwcp-ctl copy`.
        "files" files: Files = Files::defaults(of_mode);
        /// Transports, their devices and sockets.
        "network" network: Network = Network::defaults(of_mode);
        /// Targets and processor use.
        "performance" performance: Performance = Performance::defaults(of_mode);
        /// Compression and encryption.
        "protocol" protocol: Protocol = Protocol::defaults(of_mode);
        /// Measures against peers that misbehave.
        "byzantine" byzantine: Byzantine = Byzantine::defaults(of_mode);
        /// Choice of the transport in hybrid mode.
        "adaptive" adaptive: Adaptive = Adaptive::defaults(of_mode);
        /// Switches for a gradual introduction.
        "features" features: Features = Features::defaults(of_mode);
        /// Memory for messages.
        "memory" memory: Memory = Memory::defaults(of_mode);
        /// The daemon's own limits.
        "limits" limits: Limits = Limits::defaults(of_mode);
        /// TLS and handshake limits.
        "security" security: Security = Security::defaults(of_mode);
        /// Detection of lost peers.
        "cluster" cluster: Cluster = Cluster::defaults(of_mode);
        /// The log.
        "logging" logging: Logging = Logging::defaults(of_mode);
        /// Health and metrics.
        "monitoring" monitoring: Monitoring = Monitoring::defaults(of_mode);
    }
}

/// Nodes that sessions may be had with.
#[derive(Clone, Debug, PartialEq)]
pub enum Peers {
    /// Any node with a certificate of our authority.
    Any,
    /// These.
    Listed(Vec<Peer>),
}

impl Peers {
    /// The listed peers; empty for `any`.
    pub fn listed(&self) -> &[Peer] {
        match self {
            Self::Any => &[],
            Self::Listed(peers) => peers,
        }
    }

    /// Whether sessions with `node` are allowed.
    pub fn allows(&self, node: &str) -> bool {
        *self == Self::Any || self.listed().iter().any(|peer| peer.node_id.as_str() == node)
    }
}

impl Setting for Peers {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match (&node.tree, node.scalar()) {
            (_, Some(Scalar::Text("any"))) => Some(Self::Any),
            (Tree::List(_), _) => Vec::read(node, reader).map(Self::Listed),
            (_, Some(Scalar::Text("all" | "*" | "everyone"))) => {
                reader.unexpected_help(node, codes::TYPE, &Self::kind(), "write `peers: any`")
            }
            _ => reader.unexpected_help(node, codes::TYPE, &Self::kind(), "write `- nodeId: NAME`"),
        }
    }
    fn kind() -> String {
        "a list of peers, or any".into()
    }
    fn describe(path: &str, out: &mut Vec<KeyDoc>) {
        Vec::<Peer>::describe(path, out);
    }
}

impl Serialize for Peers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::Listed(peers) => peers.serialize(serializer),
        }
    }
}

impl JsonSchema for Peers {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Peers".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let peers = generator.subschema_for::<Vec<Peer>>();
        json_schema!({ "anyOf": [{ "const": "any" }, peers] })
    }
}
