//! Values that name something: addresses, nodes, files.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::codes;
use super::reader::Reader;
use super::setting::Setting;
use super::spanned::{Node, Scalar, Tree};

/// `host:port`. Port 0 lets the system choose, where we listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// The name of a node, as its certificate has it: `dwcp://node/<nodeId>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(String);

/// A path. Relative ones have been joined to the directory of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePath(PathBuf);

/// Nodes that may do something: `any` of the peers, or a list of node ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeSet {
    /// Every peer.
    Any,
    /// These.
    Only(Vec<NodeId>),
}

impl Address {
    /// An address of a literal host.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
    /// The host: a name or an IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
    /// The host, if it is an IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = text.rsplit_once(':').ok_or("add the port, such as :8080")?;
        let port = match port.parse() {
            Ok(port) if port_is_plain(text) => port,
            _ => return Err("write a port from 0 to 65535"),
        };
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(ip)) if ip.parse::<std::net::Ipv6Addr>().is_ok() => ip,
            Some(_) => return Err("put an IPv6 address in the brackets: [::1]:8080"),
            None if host.contains(':') => {
                return Err("put an IPv6 address in brackets: [::1]:8080");
            }
            None if host.is_empty() => {
                return Err("name the host; 0.0.0.0 and [::] are all addresses");
            }
            None => host,
        };
        if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
            return Err("name a host such as node-1.example.org, or an IP address");
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Whether the port is digits only (`parse` takes `+1`).
fn port_is_plain(text: &str) -> bool {
    text.rsplit(':').next().is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = host.rsplit('.').next().unwrap_or("");
    // 300.1.2.3 is a mistyped address, not a name.
    host.len() <= 253 && host.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

const ADDRESS_KIND: &str = "an address such as 10.0.0.1:8080, node-1.example.org:443 or [::1]:9100";

impl Setting for Address {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(Scalar::Text(text)) = node.scalar() else {
            return reader.unexpected(node, codes::ADDRESS, ADDRESS_KIND);
        };
        match Self::parse(text) {
            Ok(address) => Some(address),
            Err(help) => reader.unexpected_help(node, codes::ADDRESS, ADDRESS_KIND, help),
        }
    }
    fn placeholder(_: &Reader<'_>) -> Option<Self> {
        Some(Self { host: String::new(), port: 0 }) // overlaps with nothing
    }
    fn kind() -> String {
        ADDRESS_KIND.into()
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$";
        json_schema!({ "type": "string", "pattern": pattern, "description": ADDRESS_KIND })
    }
}

impl NodeId {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it has other characters or another length than a node id may have.
    pub fn new(text: &str) -> Result<Self, NotANodeId> {
        let is_fine = crate::wire::valid_node_id(text);
        if is_fine { Ok(Self(text.to_owned())) } else { Err(NotANodeId) }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a node id has 1 to 64 letters, digits, `.`, `-`, `_`, with a letter or digit at both ends"
)]
pub struct NotANodeId;

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const NODE_ID_KIND: &str = "a node id (1 to 64 letters, digits, `.`, `-`, `_`)";

/// The fix for a text in the block form.
const ON_ONE_LINE: &str = "write it behind the colon, without `|` or `>`";

/// What is wrong with `text` as a node id, and what to do.
fn node_id_help(text: &str) -> String {
    if text.trim_end().contains(char::is_alphanumeric) && text.ends_with('\n') {
        return ON_ONE_LINE.into();
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match text.chars().find(|&c| !is_allowed(c)) {
        Some(' ') => "write `-`: a node id has no spaces".into(),
        Some(c) if c.is_control() => "delete the control character".into(),
        Some(c) => format!("delete or replace it: `{c}` is not allowed in a node id"),
        None if text.len() > crate::wire::MAX_NODE_ID_BYTES => {
            format!("shorten it: it has {} characters", text.len())
        }
        None => "begin and end with a letter or digit".into(),
    }
}

impl Setting for NodeId {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.scalar() {
            Some(Scalar::Text(text)) => match Self::new(text) {
                Ok(id) => Some(id),
                Err(_) => {
                    let help = node_id_help(text);
                    reader.unexpected_help(node, codes::NODE_ID, NODE_ID_KIND, &help)
                }
            },
            Some(Scalar::Unsigned(_) | Scalar::Float(_)) => {
                reader.unexpected_help(node, codes::NODE_ID, NODE_ID_KIND, "put it in quotes")
            }
            _ => reader.unexpected(node, codes::NODE_ID, NODE_ID_KIND),
        }
    }
    fn placeholder(_: &Reader<'_>) -> Option<Self> {
        Some(Self(String::new())) // no node has this name
    }
    fn kind() -> String {
        NODE_ID_KIND.into()
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for NodeId {
    fn schema_name() -> Cow<'static, str> {
        "NodeId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$";
        json_schema!({ "type": "string", "pattern": pattern, "description": NODE_ID_KIND })
    }
}

impl FilePath {
    /// From a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Setting for FilePath {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.scalar() {
            Some(Scalar::Text(text)) if !text.is_empty() && !text.contains(['\0', '\n']) => {
                Some(Self(reader.base.map_or_else(|| text.into(), |base| base.join(text))))
            }
            Some(Scalar::Text(text)) if text.contains('\n') => {
                reader.unexpected_help(node, codes::PATH, "a path", ON_ONE_LINE)
            }
            Some(Scalar::Text("")) => reader.unexpected_help(
                node,
                codes::PATH,
                "a path",
                "name a file, or delete the line",
            ),
            Some(Scalar::Unsigned(_) | Scalar::Float(_) | Scalar::Bool(_)) => {
                reader.unexpected_help(node, codes::PATH, "a path", "put it in quotes")
            }
            _ => reader.unexpected(node, codes::PATH, "a path"),
        }
    }
    fn kind() -> String {
        "a path".into()
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.display())
    }
}

impl JsonSchema for FilePath {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "FilePath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl NodeSet {
    /// Whether `node` is one of them.
    pub fn contains(&self, node: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ids) => ids.iter().any(|id| id.as_str() == node),
        }
    }
}

impl Setting for NodeSet {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match (&node.tree, node.scalar()) {
            (_, Some(Scalar::Text("any"))) => Some(Self::Any),
            (Tree::List(_), _) => Vec::read(node, reader).map(Self::Only),
            (_, Some(Scalar::Text("all" | "*" | "everyone"))) => {
                reader.unexpected_help(node, codes::TYPE, &Self::kind(), "write `any`")
            }
            _ => reader.unexpected(node, codes::TYPE, &Self::kind()),
        }
    }
    fn kind() -> String {
        "any, or a list of node ids".into()
    }
}

impl Serialize for NodeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::Only(ids) => ids.serialize(serializer),
        }
    }
}

impl JsonSchema for NodeSet {
    fn schema_name() -> Cow<'static, str> {
        "NodeSet".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let ids = generator.subschema_for::<Vec<NodeId>>();
        json_schema!({ "anyOf": [{ "const": "any" }, ids] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["10.0.0.1:8080", "[::1]:9100", "localhost:0", "node_1.example.org:443"] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "host",
            ":80",
            "host:",
            "host:+1",
            "host:65536",
            "::1:80",
            "[x]:1",
            "a b:1",
            "300.1.2.3:1",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn node_ids() {
        assert!(NodeId::new("dc-node-01.rack_2").is_ok());
        for bad in ["", "-a", "a-", "a/b", "é", &"x".repeat(65)] {
            assert!(NodeId::new(bad).is_err(), "{bad}");
        }
    }
}
