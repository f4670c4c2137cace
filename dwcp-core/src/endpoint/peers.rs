//! Whom a node talks to.

use std::collections::BTreeMap;

/// A node this one may have a session with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its node id, as its certificate proves it.
    pub node_id: String,
    /// Where it listens, in order of preference; none if it always dials us.
    pub addresses: Vec<String>,
}

impl Peer {
    /// A peer with its addresses (`host:port`).
    pub fn new<A: Into<String>>(node_id: &str, addresses: impl IntoIterator<Item = A>) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self { node_id: node_id.to_owned(), addresses }
    }
}

/// The set of peers: named ones, or every node of the CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    named: BTreeMap<String, Vec<String>>,
    allows_any: bool,
}

impl Peers {
    /// Only these.
    pub fn only(peers: impl IntoIterator<Item = Peer>) -> Self {
        peers.into_iter().fold(Self::default(), Self::with)
    }

    /// Every node whose certificate our CA signed.
    pub fn any() -> Self {
        Self { named: BTreeMap::new(), allows_any: true }
    }

    /// One more.
    #[must_use]
    pub fn with(mut self, peer: Peer) -> Self {
        self.named.insert(peer.node_id, peer.addresses);
        self
    }

    /// Whether a session with `node_id` is allowed.
    pub fn allows(&self, node_id: &str) -> bool {
        self.allows_any || self.named.contains_key(node_id)
    }

    /// Where `node_id` listens, if that is known.
    pub fn addresses(&self, node_id: &str) -> Option<&[String]> {
        self.named.get(node_id).map(Vec::as_slice)
    }

    /// The named peers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.named.iter().map(|(id, addresses)| (id.as_str(), addresses.as_slice()))
    }
}
