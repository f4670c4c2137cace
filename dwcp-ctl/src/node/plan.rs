//! From the configuration's words to what the daemon does.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dwcp_core::Priority;
use dwcp_core::config::{Config, ForwardPriority, NodeSet};
use serde_json::Value;

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
    Offer { reception, forward_targets: AllowList::new(targets), bench_threads: false }
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

/// Keys, and all below them, that a reload can change. Whatever is not here needs a restart: a key that nobody
/// thought of is refused by name, not accepted and ignored.
const RELOADABLE: [&str; 8] = [
    "peers",
    "forwards",
    "forwardTargets",
    "files",
    "logging.level",
    // Whether frames are compressed is agreed on anew by each session; how they are, is not.
    "protocol.compression.enabled",
    // Likewise whether records carry an HMAC; rates and scores concern every session at once.
    "byzantine",
    "features",
];

/// Keys that cannot change while the daemon runs, of those that differ between `old` and `new`.
pub fn restart_keys(old: &Config, new: &Config) -> Vec<String> {
    let value = |config| serde_json::to_value(config).expect("a configuration is plain data");
    let mut keys = Vec::new();
    differences("", &value(old), &value(new), &mut keys);
    let is_reloadable = |key: &String| {
        RELOADABLE.iter().any(|reloadable| {
            key.strip_prefix(reloadable)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    keys.retain(|key| !is_reloadable(key));
    keys
}

/// The keys below `path` in which `old` and `new` differ. A list is one value.
fn differences(path: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    if old == new {
        return;
    }
    let empty = serde_json::Map::new();
    let (old, new) = match (old, new) {
        (Value::Object(old), Value::Object(new)) => (old, new),
        (Value::Object(old), Value::Null) => (old, &empty),
        (Value::Null, Value::Object(new)) => (&empty, new),
        _ => return keys.push(path.to_owned()),
    };
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let value = |of: &serde_json::Map<_, _>| of.get(name).cloned().unwrap_or_default();
        differences(&path, &value(old), &value(new), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("mode: internet\nnodeId: a\nkeys: {{cert: c, key: k, ca: a}}\n{more}");
        let loaded = dwcp_core::config::load_bytes("x", text.as_bytes(), None);
        loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
    }

    fn changed(old: &str, new: &str) -> Vec<String> {
        restart_keys(&config(old), &config(new))
    }

    #[test]
    fn each_key_that_needs_a_restart_is_named_in_full() {
        for (new, key) in [
            ("session: {drainTimeout: 7s}", "session.drainTimeout"),
            (
                "cluster: {failureDetection: {heartbeatInterval: 2s}}",
                "cluster.failureDetection.heartbeatInterval",
            ),
            ("adaptive: {switching: {cooldownPeriod: 31s}}", "adaptive.switching.cooldownPeriod"),
            ("admin: {tokenFile: t}", "admin.tokenFile"),
            ("logging: {format: json}", "logging.format"),
        ] {
            assert_eq!(changed("", new), [key], "{new}");
            assert_eq!(changed(new, ""), [key], "{new}");
        }
        let keys = changed("", "listen: [\"127.0.0.1:1\"]");
        assert!(keys.contains(&"listen".to_owned()), "{keys:?}");
    }

    #[test]
    fn what_a_reload_obeys_needs_no_restart() {
        for new in [
            "peers: [{nodeId: b}]",
            "forwards: [{name: f, listen: \"127.0.0.1:1\", peer: b, target: \"c:1\"}]\npeers: [{nodeId: b}]",
            "forwardTargets: [\"c:1\"]",
            "files: {keepFree: 2GiB}",
            "logging: {level: debug}",
            "features: {enableCompression: false}",
            "features: {enableV3: false}",
            // Both words for one thing.
            "byzantine: {enabled: false}\nfeatures: {enableByzantine: false}",
            "byzantine: {quarantine: 1h, rateLimit: {requestsPerSecond: 7}, evidenceLog: e.log}",
        ] {
            assert!(changed("", new).is_empty(), "{new}: {:?}", changed("", new));
        }
    }
}
