//! Every key of the configuration and the words of the code that read it. A key that is in neither this list
//! nor the loader's table of those that are not obeyed yet fails the test below: none is accepted in silence.

/// `(key, words)`: the words stand in the sources of the loader's resolution, this crate, or the daemon.
#[rustfmt::skip]
const OBEYED: &[(&str, &str)] = &[
    ("mode", "self.mode"),
    ("nodeId", "&config.node_id"),
    ("listen", "self.listen"),
    ("peers[].nodeId", "peer.node_id"),
    ("peers[].addresses", "peer.addresses"),
    ("admin.listen", "admin_addresses()"),
    ("admin.tokenFile", "admin.token_file"),
    ("admin.socket", "admin.socket"),
    ("admin.group", "admin.group"),
    ("keys.cert", "keys.cert"),
    ("keys.key", "keys.key"),
    ("keys.ca", "keys.ca"),
    ("keys.clusterKey", "keys.cluster_key"),
    ("session.timeToLive", "session.time_to_live"),
    ("session.window", "session.window"),
    ("session.maxMessageSize", "session.max_message_size"),
    ("session.drainTimeout", "session.drain_timeout"),
    ("session.handshakeTimeout", "session.handshake_timeout"),
    ("session.reconnectDelayMax", "session.reconnect_delay_max"),
    ("forwards[].name", "forward.name"),
    ("forwards[].listen", "forward.listen"),
    ("forwards[].peer", "forward.peer"),
    ("forwards[].target", "forward.target"),
    ("forwards[].priority", "forward.priority"),
    ("forwards[].compress", "forward.compress"),
    ("forwardTargets[].target", "allowed.target"),
    ("forwardTargets[].from", "allowed.from"),
    ("files.receiveDirectory", "files.receive_directory"),
    ("files.from", "files.from"),
    ("files.maxFileSize", "files.max_file_size"),
    ("files.keepFree", "files.keep_free"),
    ("network.transport", "self.transport"),
    ("network.transports[].name", "entry.name"),
    ("network.transports[].enabled", "entry.enabled"),
    ("network.transports[].priority", "entry.priority"),
    ("network.port", "self.network.port"),
    ("network.bindAddress", "self.network.bind_address"),
    ("network.fallback.enabled", "network.fallback.enabled"),
    ("network.fallback.transport", "running on tcp"), // the one value it has
    ("network.tcp.enabled", "network.tcp.enabled"),
    ("network.tcp.congestionControl", "tcp.congestion_control"),
    ("network.tcp.noDelay", "tcp.no_delay"),
    ("network.tcp.fastOpen", "tcp.fast_open"),
    ("network.tcp.fastOpenQueueLength", "tcp.fast_open_queue_length"),
    ("network.tcp.keepAlive", "tcp.keep_alive.then"),
    ("network.tcp.keepAliveInterval", "tcp.keep_alive_interval"),
    ("network.tcp.keepAliveProbes", "tcp.keep_alive_probes"),
    ("network.tcp.userTimeout", "tcp.user_timeout"),
    ("network.tcp.sendBuffer", "tcp.send_buffer"),
    ("network.tcp.recvBuffer", "tcp.recv_buffer"),
    ("network.tcp.notSentLowWater", "tcp.not_sent_low_water"),
    ("network.tcp.listenBacklog", "tcp.listen_backlog"),
    ("performance.targetLatencyMicros", "performance.target_latency_micros"),
    ("performance.targetLatencyMs", "performance.target_latency_ms"),
    ("performance.targetLatency", "performance.target_latency"),
    ("performance.pollingMode", "performance.polling_mode"),
    ("performance.maxConnections", "performance.max_connections"),
    ("performance.cpuAffinity.enabled", "affinity.enabled"),
    ("performance.cpuAffinity.cores", "affinity.cores"),
    ("protocol.version", "env!(\"CARGO_PKG_VERSION\")"), // the one value it has
    ("protocol.compression.enabled", "self.protocol.compression.enabled"),
    ("protocol.compression.algorithm", "Zstd::new"), // `none` must agree with `enabled`
    ("protocol.compression.level", "compression.level"),
    ("protocol.compression.minSize", "compression.min_size"),
    ("protocol.encryption.enabled", "encryption.enabled"),
    ("protocol.encryption.algorithm", "suites::aes_256_gcm"), // `none` must agree with `enabled`
    ("protocol.encryption.implementation", "encryption.implementation"),
    ("protocol.encryption.disableInDatacenter", "encryption.disable_in_datacenter"),
    ("protocol.encryption.keyRotationInterval", "encryption.key_rotation_interval"),
    ("byzantine.enabled", "is_byzantine_tolerant()"),
    ("byzantine.authentication.method", "settings.hmac"), // the one value it has
    ("adaptive.switching.drainTimeout", "switching.drain_timeout"),
    ("adaptive.switching.gracefulTransition", "switching.drain_timeout"), // always so
    ("byzantine.rateLimit.enabled", "byzantine.rate_limit"),
    ("byzantine.rateLimit.requestsPerSecond", "limit.requests_per_second"),
    ("byzantine.rateLimit.burstSize", "limit.burst_size"),
    ("byzantine.reputation.enabled", "given.enabled"),
    ("byzantine.reputation.minReputation", "given.min_reputation"),
    ("byzantine.reputation.blacklistThreshold", "given.blacklist_threshold"),
    ("byzantine.reputation.decayInterval", "given.decay_interval"),
    ("byzantine.quarantine", "config.byzantine.quarantine"),
    ("byzantine.evidenceLog", "byzantine.evidence_log"),
    ("features.enableV3", "features.enable_v3"),
    ("features.enableCompression", "self.features.enable_compression"),
    ("features.enableByzantine", "self.features.enable_byzantine"),
    ("memory.poolSize", "memory.pool_size"),
    ("memory.budget", "memory.budget"),
    ("limits.maxOpenFiles", "limits.max_open_files"),
    ("limits.maxThreads", "limits.max_threads"),
    ("security.tls.minVersion", "Identity::load"), // the one value it has
    ("security.rateLimit.enabled", "limit.enabled"),
    ("security.rateLimit.requestsPerSecond", "limit.requests_per_second"),
    ("security.rateLimit.burstSize", "limit.burst_size"),
    ("cluster.failureDetection.heartbeatInterval", "failure_detection.heartbeat_interval"),
    ("cluster.failureDetection.timeoutMultiplier", "failure_detection.timeout_multiplier"),
    ("logging.level", "logging.level"),
    ("logging.format", "logging.format"),
    ("logging.output", "logging.output"),
    ("monitoring.metricsPort", "self.monitoring.metrics_port"),
    ("monitoring.healthCheckPath", "monitoring.health_check_path"),
];

mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use dwcp_core::config;

    use super::OBEYED;

    fn read(path: &Path, out: &mut String) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("readable") {
                read(&entry.expect("readable").path(), out);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("obeyed.rs")
        {
            out.push_str(&fs::read_to_string(path).expect("readable"));
        }
    }

    /// Keys that have a value of their own: not those that only hold others.
    fn leaves() -> impl Iterator<Item = &'static str> {
        let keys = config::keys();
        let is_leaf = |doc: &&config::KeyDoc| {
            let below = [format!("{}.", doc.path), format!("{}[].", doc.path)];
            !keys.iter().any(|other| below.iter().any(|start| other.path.starts_with(start)))
        };
        keys.iter().filter(is_leaf).map(|doc| doc.path.as_str())
    }

    #[test]
    fn every_key_is_read_or_known_not_to_be_obeyed_yet() {
        let obeyed: BTreeSet<_> = OBEYED.iter().map(|(key, _)| *key).collect();
        assert_eq!(obeyed.len(), OBEYED.len(), "a key stands once");
        let leaves: BTreeSet<_> = leaves().collect();
        for key in &leaves {
            let is_gap = config::is_not_obeyed_yet(key);
            assert!(
                obeyed.contains(key) != is_gap,
                "{key}: obey it and name it in dwcp-hybrid/src/obeyed.rs, or put it into \
                 dwcp-core/src/config/not_obeyed.rs; one of the two"
            );
        }
        let unknown: Vec<_> = obeyed.difference(&leaves).collect();
        assert!(unknown.is_empty(), "no such keys: {unknown:?}");
    }

    #[test]
    fn what_is_said_to_be_read_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut code = String::new();
        for path in ["dwcp-core/src/config/resolve.rs", "dwcp-hybrid/src", "dwcp-ctl/src"] {
            read(&root.join(path), &mut code);
        }
        for (key, words) in OBEYED {
            assert!(code.contains(words), "nothing reads {key} by `{words}` any more");
        }
    }
}
