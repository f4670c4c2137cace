//! Endpoints on one network in memory.

use std::sync::Arc;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::MemoryNetwork;
use dwcp_core::{Endpoint, EndpointSettings, Peer, Peers};

pub(crate) fn node(
    network: &MemoryNetwork,
    name: &str,
    peers: Peers,
    settings: &EndpointSettings,
) -> Endpoint {
    Endpoint::builder(name)
        .dialer(Arc::new(network.dialer(name)))
        .listener(Box::new(network.listener(name)))
        .suite(Arc::new(ChecksumSuite))
        .settings(settings.clone())
        .peers(peers)
        .build()
        .expect("complete")
}

pub(crate) fn peer(name: &str) -> Peers {
    Peers::only([Peer::new(name, [format!("memory:{name}")])])
}
