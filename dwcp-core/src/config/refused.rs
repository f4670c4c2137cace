//! Keys that similar configurations have and DWCP 3 does not obey, each with the reason.

/// Why a key is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason {
    /// Completes "is not supported by DWCP 3: …".
    pub(crate) why: &'static str,
    /// What to do instead of the key, or that there is nothing else to do.
    pub(crate) instead: &'static str,
}

impl Reason {
    /// What to do about the key.
    pub(crate) fn help(&self) -> String {
        match self.instead {
            NOTHING => NOTHING.into(),
            instead => format!("{NOTHING}, and {instead}"),
        }
    }
}

/// The reason for `path` (`a.b[0].c`), if it or a key above it is in the table.
pub(crate) fn reason(path: &str) -> Option<Reason> {
    let plain = without_indices(path);
    let (_, why, instead) = REFUSED.iter().find(|(refused, _, _)| {
        plain.strip_prefix(refused).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })?;
    Some(Reason { why, instead })
}

/// All refused paths.
#[cfg(test)]
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().map(|(path, _, _)| *path)
}

fn without_indices(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

const NOTHING: &str = "delete the line";

#[rustfmt::skip]
static REFUSED: &[(&str, &str, &str)] = &[
    ("adaptive.perConnection", "every session chooses its path by itself already", NOTHING),
    ("adaptive.switching.predictionWindow", "it switches on what it measured, not on predictions", NOTHING),
    ("adaptive.switching.proactive", "it switches on what it measured, not on predictions", NOTHING),
    ("adaptive.thresholds.latencyMicros", "limits are criteria", "write a criterion with `metric: latency` in adaptive.datacenterCriteria"),
    ("adaptive.thresholds.latencyMs", "limits are criteria", "write a criterion with `metric: latency` in adaptive.internetCriteria"),
    ("adaptive.thresholds.packetLoss", "limits are criteria", "write a criterion with `metric: packetLoss`"),
    ("adaptive.thresholds.throughputGbps", "limits are criteria", "write a criterion with `metric: throughput`"),
    ("adaptive.thresholds.throughputMbps", "limits are criteria", "write a criterion with `metric: throughput`"),
    ("admin.token", "secrets do not belong in this file", "put the token in a file and name it with admin.tokenFile"),
    ("byzantine.authentication.keyRotation", "all keys of a path change together", "use protocol.encryption.keyRotationInterval"),
    ("byzantine.validation", "every record is authenticated and checked for replay, always", NOTHING),
    ("cache", "a transport caches nothing", NOTHING),
    ("cluster.discovery", "peers are named in this file", "list them under `peers`"),
    ("cluster.failureDetection.enabled", "lost peers are always looked for", NOTHING),
    ("cluster.failureDetection.suspicionMultiplier", "there is no suspicion phase", "use cluster.failureDetection.timeoutMultiplier"),
    ("cluster.gossip", "nodes do not gossip", "list the nodes under `peers`"),
    ("cluster.leaderElection", "no node leads", NOTHING),
    ("cluster.membership", "peers are named in this file", "list them under `peers`"),
    ("experimental", "there are no experimental features", NOTHING),
    ("features.enableAdaptiveMode", "hybrid mode is adaptive", "use adaptive.detection.enabled"),
    ("features.enableEncryption", "encryption is no matter of rollout", "use protocol.encryption.enabled"),
    ("limits.maxCPU", "processors are limited by systemd", "use CPUQuota= in the unit, or limits.maxThreads"),
    ("limits.maxMemory", "memory for messages is limited by `memory`", "use memory.poolSize, or MemoryMax= in the unit"),
    ("logging.compress", "it does not rotate logs", "leave that to the journal or logrotate"),
    ("logging.maxAge", "it does not rotate logs", "leave that to the journal or logrotate"),
    ("logging.maxBackups", "it does not rotate logs", "leave that to the journal or logrotate"),
    ("logging.maxSize", "it does not rotate logs", "leave that to the journal or logrotate"),
    ("logging.modeSwitchLog", "every switch is a line of the log", "read it with `journalctl -u dwcp`"),
    ("logging.perfLog", "figures are metrics", "read them from /metrics"),
    ("memory.hugepageSize", "hugepages have the size the system gives", NOTHING),
    ("memory.localAllocOnly", "memory lies where the thread that touches it first runs", "use NUMAPolicy= in the unit"),
    ("memory.numaAware", "memory lies where the thread that touches it first runs", "use NUMAPolicy= in the unit"),
    ("memory.preAllocate", "memory is taken as it is needed, up to memory.poolSize", NOTHING),
    ("migration", "sessions always move without loss", NOTHING),
    ("ml", "it decides by rules that can be read", "write criteria under `adaptive`"),
    ("monitoring.enabled", "health and metrics belong to the admin server", "switch it off with `admin: {listen: []}`"),
    ("monitoring.healthCheckInterval", "health is worked out when it is asked for", NOTHING),
    ("monitoring.metrics", "all metrics are always there", "choose in Prometheus"),
    ("monitoring.metricsInterval", "metrics are counted as things happen", NOTHING),
    ("monitoring.prometheus", "/metrics is always there for Prometheus to read", NOTHING),
    ("monitoring.tracing", "it sends no traces", "read the log with `journalctl -u dwcp`, and /metrics"),
    ("network.bindInterface", "it binds to addresses", "use `listen` or network.bindAddress"),
    ("network.fallback.port", "TCP has one port", "use network.port"),
    ("network.mtu", "the interface's MTU is used", "set it with `ip link`"),
    ("network.mtuProbing", "the kernel probes", "set it with `sysctl net.ipv4.tcp_mtu_probing=1`"),
    ("network.numaNode", "threads are bound to processors", "use performance.cpuAffinity.cores"),
    ("network.quic", "there is no QUIC transport", "let tcp with BBR serve the internet"),
    ("network.rdma.cqPollInterval", "completions are polled without a pause, or slept for", "use performance.pollingMode"),
    ("network.rdma.enableAtomicOperations", "it uses no remote atomics", NOTHING),
    ("network.rdma.hugepageSize", "hugepages have the size the system gives", NOTHING),
    ("network.rdma.maxSge", "records have the number of parts they need", NOTHING),
    ("network.rdma.memoryRegion", "all slots are registered", "use memory.poolSize"),
    ("network.tcp.mtuProbing", "the kernel probes", "set it with `sysctl net.ipv4.tcp_mtu_probing=1`"),
    ("network.tcp.quickAck", "the kernel chooses when to acknowledge", NOTHING),
    ("network.tcp.reuseAddr", "addresses are always reused after a restart", NOTHING),
    ("network.tcp.reusePort", "one process owns a port, so that two daemons cannot share it by mistake", NOTHING),
    ("network.transports.device", "there is one RDMA device per node", "use network.rdmaDevice"),
    ("network.transports.port", "all transports are set up through one port", "use network.port"),
    ("performance.batchSize", "batches are as large as what waits", NOTHING),
    ("performance.batchTimeout", "nothing waits for a batch to fill", NOTHING),
    ("performance.connectionPoolSize", "there is one session per peer", NOTHING),
    ("performance.cpuAffinity.mode", "threads are bound in turn", "use performance.cpuAffinity.cores"),
    ("performance.cpuAffinity.rxQueues", "queues of network cards are the system's", "see `ethtool -L`"),
    ("performance.cpuAffinity.txQueues", "queues of network cards are the system's", "see `ethtool -L`"),
    ("performance.directIO", "a transport has no disk", NOTHING),
    ("performance.eventTimeout", "waiting ends when something happens", NOTHING),
    ("performance.idleTimeout", "idle sessions cost next to nothing and stay", NOTHING),
    ("performance.pollTimeout", "waiting ends when something happens", "use performance.pollingMode"),
    ("performance.recvBufferSize", "sockets have buffers", "use network.tcp.recvBuffer"),
    ("performance.sendBufferSize", "sockets have buffers", "use network.tcp.sendBuffer"),
    ("protocol.compression.adaptiveLevelThreshold", "`level: auto` follows the bottleneck", "use protocol.compression.level: auto"),
    ("protocol.congestionControl", "TCP's is the kernel's, RDMA's the network card's", "use network.tcp.congestionControl"),
    ("protocol.flowControl", "flow control is by credit, always", "use session.window"),
    ("protocol.reliability", "delivery is exactly once and in order, always", NOTHING),
    ("qos", "channels have priorities; shaping is the kernel's", "use forwards[].priority, or `tc`"),
    ("security.allowedCIDRs", "nodes are known by certificate, not by address", "use `peers`, and a firewall for addresses"),
    ("security.authentication", "nodes are known by certificate; there are no tokens", "use `keys` and `peers`"),
    ("security.authorization", "peers may do what is listed", "use `peers`, `forwardTargets` and files.from"),
    ("security.blockedCIDRs", "nodes are known by certificate, not by address", "use `peers`, and a firewall for addresses"),
    ("security.tls.ca", "certificates are named once", "use keys.ca"),
    ("security.tls.cert", "certificates are named once", "use keys.cert"),
    ("security.tls.cipherSuites", "the handshake uses TLS 1.3's own", NOTHING),
    ("security.tls.enabled", "every session begins with TLS 1.3", NOTHING),
    ("security.tls.key", "keys are named once", "use keys.key"),
    ("telemetry", "it sends nothing by itself", "let Prometheus read /metrics"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    #[test]
    fn a_key_is_refused_with_all_below_it() {
        assert!(reason("network.quic").is_some());
        assert!(reason("network.quic.port").is_some());
        assert!(reason("network.transports[3].device").is_some());
        assert!(reason("network.quick").is_none());
        assert!(reason("mlx").is_none());
    }

    #[test]
    fn no_key_is_both_obeyed_and_refused() {
        for key in reference::keys() {
            assert!(reason(&key.path).is_none(), "{}", key.path);
        }
        let mut seen = std::collections::HashSet::new();
        assert!(paths().all(|path| seen.insert(path)));
    }
}
