//! Fills in what follows from other keys, and answers what the runtime asks.

use std::time::Duration;

use super::keys::{Config, Mode};
use super::keys_network::{Transport, TransportEntry};
use super::names::Address;
use super::setting::Auto;
use crate::crypto::Protection;
use crate::wire::PathKind;

impl Config {
    /// The configuration of a file that only says `mode`.
    pub fn defaults(mode: Mode) -> Self {
        let text = format!("mode: {}\n", mode.name());
        match super::load_str("defaults", &text).config {
            Some(config) => config,
            None => unreachable!("the defaults are valid; a test loads them"),
        }
    }

    /// Fills in derived values. The result, printed and loaded again, is the same.
    pub(crate) fn resolve(&mut self) {
        self.resolve_listeners();
        self.resolve_transports();
        self.protocol.compression.enabled =
            self.features.enable_compression.unwrap_or(self.protocol.compression.enabled);
        self.features.enable_compression = Some(self.protocol.compression.enabled);
        let asked = self.features.enable_byzantine.and_then(|flag| flag.get());
        let is_on = match asked {
            Some(asked) => asked,
            None => self.byzantine.enabled.or(self.mode != Mode::Datacenter),
        };
        self.byzantine.enabled = Auto::Is(is_on);
        self.features.enable_byzantine = Some(Auto::Is(is_on));
        if let Some(hugepages) = self.network.rdma.hugepages_enabled {
            self.memory.hugepages = Auto::Is(hugepages);
        }
    }

    fn resolve_listeners(&mut self) {
        let port = self.network.port;
        if self.listen.is_none() {
            let hosts = match self.network.bind_address {
                Some(bind) => vec![bind.get().to_string()],
                None => vec!["0.0.0.0".into(), "::".into()],
            };
            self.listen = Some(hosts.into_iter().map(|host| Address::new(host, port)).collect());
        }
        if let Some(first) = self.listen_addresses().first() {
            let first = first.port();
            self.network.port = first;
        }
        if self.admin.listen.is_none() {
            let port = self.monitoring.metrics_port;
            let hosts = ["127.0.0.1", "::1"];
            self.admin.listen = Some(hosts.map(|host| Address::new(host, port)).to_vec());
        }
        if let Some(first) = self.admin_addresses().first() {
            let first = first.port();
            self.monitoring.metrics_port = first;
        }
    }

    fn resolve_transports(&mut self) {
        let entries = self.network.transport_entries(self.mode);
        let first = entries.iter().find(|entry| entry.enabled).map(|entry| entry.name);
        self.network.transport = first;
        let uses_rdma = entries.iter().any(|entry| entry.enabled && entry.name == Transport::Rdma);
        self.network.transports = entries;
        self.network.rdma.enabled = Auto::Is(uses_rdma);
    }

    /// Addresses that take sessions. Empty: this node only dials.
    pub fn listen_addresses(&self) -> &[Address] {
        self.listen.as_deref().unwrap_or_default()
    }

    /// Addresses of the admin HTTP server. Empty: none.
    pub fn admin_addresses(&self) -> &[Address] {
        self.admin.listen.as_deref().unwrap_or_default()
    }

    /// The transports in use, the preferred one first; never empty in a valid configuration.
    pub fn transports(&self) -> Vec<Transport> {
        let entries = self.network.transports.iter();
        entries.filter(|entry| entry.enabled).map(|entry| entry.name).collect()
    }

    /// Whether frames of TCP paths are compressed where it helps.
    pub fn compresses(&self) -> bool {
        self.protocol.compression.enabled
    }

    /// Whether measures against misbehaving peers are taken.
    pub fn is_byzantine_tolerant(&self) -> bool {
        self.byzantine.enabled == Auto::Is(true)
    }

    /// How records of a path are protected. TCP is `Aead`, whatever the file says.
    pub fn protection(&self, kind: PathKind) -> Protection {
        let encryption = &self.protocol.encryption;
        let is_spared = self.mode == Mode::Hybrid && encryption.disable_in_datacenter;
        match kind {
            PathKind::Tcp => Protection::Aead,
            _ if self.mode == Mode::Internet || (encryption.enabled && !is_spared) => {
                Protection::Aead
            }
            _ if self.is_byzantine_tolerant() => Protection::MacOnly,
            _ => Protection::Checksum,
        }
    }

    /// The median round trip wanted.
    pub fn target_latency(&self) -> Option<Duration> {
        let performance = &self.performance;
        let micros = performance.target_latency_micros.map(Duration::from_micros);
        let millis = performance.target_latency_ms.map(Duration::from_millis);
        performance.target_latency.get().map(super::Time::get).or(micros).or(millis)
    }

    /// The throughput wanted, bits per second.
    pub fn target_throughput(&self) -> Option<u64> {
        let gbps = self.performance.target_throughput_gbps.map(super::Rate::gbps);
        self.performance.target_throughput.get().or(gbps).map(super::Rate::bits_per_second)
    }

    /// The configuration as YAML, every key with its value.
    pub fn effective_yaml(&self) -> String {
        serde_yaml::to_string(self)
            .unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
    }
}

impl super::keys_network::Network {
    /// The transports by priority, derived from `transport` where they are not listed.
    pub(crate) fn transport_entries(&self, mode: Mode) -> Vec<TransportEntry> {
        let mut entries = self.transports.clone();
        if entries.is_empty() {
            let preferred = self.transport.unwrap_or(match mode {
                Mode::Internet => Transport::Tcp,
                Mode::Datacenter | Mode::Hybrid => Transport::Rdma,
            });
            entries.push(TransportEntry { name: preferred, enabled: true, priority: 1 });
            if preferred != Transport::Tcp {
                let enabled = self.tcp.enabled;
                entries.push(TransportEntry { name: Transport::Tcp, enabled, priority: 2 });
            }
        }
        entries.sort_by_key(|entry| entry.priority);
        entries
    }
}
