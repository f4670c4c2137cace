//! From the configuration's words to what the daemon does.

use std::path::PathBuf;

use dwcp_core::Priority;
use dwcp_core::config::{Config, ForwardPriority, NodeSet};

use crate::service::Offer;
use crate::service::file::Reception;
use crate::service::forward::{AllowList, Allowed, ForwardSpec};

/// What `config` offers to peers.
pub fn offer(config: &Config) -> Offer {
    let files = &config.files;
    let reception = files.receive_directory.as_ref().map(|directory| Reception {
        directory: directory.as_path().to_owned(),
        from: nodes(&files.from),
        file_bytes_max: files.max_file_size.bytes(),
        keep_free_bytes: files.keep_free.bytes(),
    });
    let targets = config
        .forward_targets
        .iter()
        .map(|allowed| Allowed { target: allowed.target.to_string(), from: nodes(&allowed.from) });
    Offer { reception, forward_targets: AllowList::new(targets) }
}

fn nodes(set: &NodeSet) -> Option<Vec<String>> {
    match set {
        NodeSet::Any => None,
        NodeSet::Only(nodes) => Some(nodes.iter().map(|node| node.as_str().to_owned()).collect()),
    }
}

/// The forwards of `config`.
pub fn forwards(config: &Config) -> Vec<ForwardSpec> {
    let spec = |forward: &dwcp_core::config::Forward| ForwardSpec {
        name: forward.name.as_str().to_owned(),
        listen: forward.listen.to_string(),
        peer: forward.peer.as_str().to_owned(),
        target: forward.target.to_string(),
        priority: match forward.priority {
            ForwardPriority::Interactive => Priority::Interactive,
            ForwardPriority::Bulk => Priority::Bulk,
        },
        compress: forward.compress,
    };
    config.forwards.iter().map(spec).collect()
}

/// Peers that a session is kept to: those that forwards go through, while there are sessions at all.
pub fn kept_peers(config: &Config) -> Vec<String> {
    if !config.features.enable_v3 {
        return Vec::new();
    }
    let mut peers: Vec<_> =
        config.forwards.iter().map(|forward| forward.peer.as_str().to_owned()).collect();
    peers.sort();
    peers.dedup();
    peers
}

/// The addresses of the admin HTTP server.
pub fn admin_addresses(config: &Config) -> Vec<String> {
    config.admin_addresses().iter().map(ToString::to_string).collect()
}

/// The command socket of the node called `node_id`.
pub fn socket_path(config: &Config, node_id: &str, runtime_directory: &std::path::Path) -> PathBuf {
    match config.admin.socket.get() {
        Some(path) => path.as_path().to_owned(),
        None => runtime_directory.join(format!("{node_id}.sock")),
    }
}

/// Keys that cannot change while the daemon runs, of those that differ between `old` and `new`.
pub fn restart_keys(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut check = |key, differs: bool| {
        if differs {
            keys.push(key);
        }
    };
    check("mode", old.mode != new.mode);
    check("nodeId", old.node_id != new.node_id);
    check("listen", old.listen != new.listen);
    check("admin", old.admin != new.admin);
    check("keys", old.keys != new.keys);
    check("session", old.session != new.session);
    check("network", old.network != new.network);
    check("performance", old.performance != new.performance);
    // Whether frames are compressed is agreed on anew by each session; how they are, is not.
    let protocol = |config: &Config| {
        let mut protocol = config.protocol.clone();
        protocol.compression.enabled = false;
        protocol
    };
    check("protocol", protocol(old) != protocol(new));
    check("memory", old.memory != new.memory);
    check("limits", old.limits != new.limits);
    check("security", old.security != new.security);
    check("cluster", old.cluster != new.cluster);
    check("monitoring", old.monitoring != new.monitoring);
    check("logging.format", old.logging.format != new.logging.format);
    check("logging.output", old.logging.output != new.logging.output);
    check(
        "features.enableHybridMode",
        old.features.enable_hybrid_mode != new.features.enable_hybrid_mode,
    );
    // The suites of records are chosen when the endpoint is made.
    check(
        "features.enableByzantine (byzantine.enabled)",
        old.is_byzantine_tolerant() != new.is_byzantine_tolerant(),
    );
    keys
}
