//! Everything about a running node at one moment: `dwcp.node/v1`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dwcp_core::machine::{PathCause, PathState};
use dwcp_core::{PathStats, PeerConduct, Session, SessionStats};
use serde::{Deserialize, Serialize};

use super::Node;
use super::health::{Facts, Health, time_left};
use super::ledger::Totals;
use crate::service::forward::ForwardListener;

/// A node at one moment. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct Status {
    pub schema: String,
    pub version: String,
    pub node: String,
    pub mode: String,
    pub pid: u32,
    pub incarnation: u64,
    pub uptime_seconds: u64,
    pub config: ConfigStatus,
    #[serde(default)]
    pub features: FeatureStatus,
    pub health: Health,
    pub listen: Vec<String>,
    /// Addresses of the admin HTTP server.
    pub admin: Vec<String>,
    /// Configured peers without a session, and all sessions.
    pub peers: Vec<PeerStatus>,
    pub forwards: Vec<ForwardStatus>,
    pub memory: MemoryStatus,
    pub handshakes_ok_total: u64,
    pub handshakes_failed_total: u64,
    /// Of the failed ones: others needed the place.
    #[serde(default)]
    pub handshakes_dropped_total: u64,
    /// Of the failed ones: the address began too many.
    #[serde(default)]
    pub handshakes_too_fast_total: u64,
    /// Lines that are in no log.
    #[serde(default)]
    pub log_lines_lost_total: u64,
    /// Connections of others that came to nothing, for each cause.
    #[serde(default)]
    pub turned_away_total: BTreeMap<String, u64>,
    /// When the node's certificate ends, seconds since 1970.
    pub certificate_not_after: u64,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ConfigStatus {
    pub path: String,
    pub sha256: String,
    /// Seconds since 1970.
    pub loaded_at: u64,
    pub reloads_total: u64,
    pub last_reload_ok: bool,
}

/// The `features` in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FeatureStatus {
    /// Whether there are sessions at all.
    pub enable_v3: bool,
    pub enable_hybrid_mode: bool,
    pub enable_compression: bool,
    pub enable_byzantine: bool,
}

/// A peer and the session with it. Totals are those of all sessions with it since the daemon began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PeerStatus {
    pub peer: String,
    /// `steady`, `switching`, `holding` (no path, messages wait), `leaving` (its process goes, and no other has come yet), `idle` (no session, none wanted), `away`,
    /// `gone` (no session, and not configured any more), `quarantined` (it broke the protocol and is refused).
    pub state: String,
    /// Why a peer is away.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
    /// Kind of the active path.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active: Option<String>,
    pub paths: Vec<PathStatus>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_us: Option<f64>,
    pub channels: u64,
    /// Sessions beside this one that go on with an earlier process of the peer, until nothing is open there.
    #[serde(default)]
    pub leaving_sessions: u64,
    pub unacked_messages: u64,
    pub messages_sent_total: u64,
    pub messages_received_total: u64,
    pub bytes_sent_total: u64,
    pub bytes_received_total: u64,
    pub switches_total: u64,
    #[serde(default)]
    pub switches_failed_total: u64,
    pub failovers_total: u64,
    pub reconnects_total: u64,
    pub in_doubt_total: u64,
    /// Paths that ended, by cause.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub paths_lost_total: BTreeMap<String, u64>,
    /// Times the peer was not listened to for a while, because it asked more than `byzantine.rateLimit` allows.
    #[serde(default)]
    pub slowed_total: u64,
    /// From 1, flawless, down to 0; absent where it has never broken the protocol.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reputation: Option<f64>,
    /// Times it broke the protocol.
    #[serde(default)]
    pub offences_total: u64,
    /// How it did so last, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_offence: Option<String>,
    /// How much longer it is refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quarantine_seconds: Option<u64>,
}

/// A path of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PathStatus {
    pub id: String,
    pub kind: String,
    pub provider: String,
    pub state: String,
    pub local: String,
    pub remote: String,
    pub suite: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub socket: Option<SocketStatus>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_us: Option<f64>,
    pub records_sent_total: u64,
    pub records_received_total: u64,
    pub bytes_sent_total: u64,
    pub bytes_received_total: u64,
    pub rekeys_total: u64,
    pub compressed_from_bytes_total: u64,
    pub compressed_to_bytes_total: u64,
}

/// Options of a path's socket as the kernel has them: buffers are twice what a program asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SocketStatus {
    pub congestion: String,
    pub send_buffer_bytes: u64,
    pub recv_buffer_bytes: u64,
    /// `off`, `unused` or `used`.
    pub fast_open: String,
    /// What was asked for and is not in force, with the remedy.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub differences: Vec<String>,
}

/// A forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ForwardStatus {
    pub name: String,
    pub listen: String,
    pub peer: String,
    pub target: String,
    pub connections: u64,
    pub connections_total: u64,
    pub failed_total: u64,
    pub sent_bytes_total: u64,
    pub received_bytes_total: u64,
}

/// Memory for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MemoryStatus {
    pub used_bytes: u64,
    pub reserved_bytes: u64,
    pub limit_bytes: u64,
}

impl Node {
    /// The node now.
    pub fn status(&self) -> Status {
        let sessions = self.endpoint.sessions();
        let stats = self.endpoint.stats();
        let totals = self.ledger.look(&sessions);
        let health = self.health_of(&sessions);
        let current = self.current();
        let config = ConfigStatus {
            path: self.config_path.display().to_string(),
            sha256: current.config_sha.clone(),
            loaded_at: unix_seconds(current.loaded_at),
            reloads_total: self.reloads_total.load(Ordering::Relaxed),
            last_reload_ok: current.reload_failure.is_none(),
        };
        let configured = current.config.peers.listed();
        let configured: Vec<_> = configured.iter().map(|peer| peer.node_id.to_string()).collect();
        Status {
            schema: "dwcp.node/v1".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.endpoint.node_id().to_owned(),
            mode: current.config.mode.name().to_owned(),
            pid: std::process::id(),
            incarnation: self.endpoint.incarnation(),
            features: FeatureStatus {
                enable_v3: current.config.features.enable_v3,
                enable_hybrid_mode: current.config.features.enable_hybrid_mode,
                enable_compression: current.config.compresses(),
                enable_byzantine: current.config.is_byzantine_tolerant(),
            },
            uptime_seconds: self.began.elapsed().as_secs(),
            health,
            listen: self.endpoint.local_addresses().to_vec(),
            admin: self.admin.clone(),
            peers: self.peers(&sessions, &configured, &totals),
            forwards: current.forwards.iter().map(forward_status).collect(),
            memory: MemoryStatus {
                used_bytes: stats.pool.used_bytes as u64,
                reserved_bytes: stats.pool.reserved_bytes as u64,
                limit_bytes: stats.pool.limit_bytes as u64,
            },
            handshakes_ok_total: stats.handshakes_ok_total,
            handshakes_failed_total: stats.handshakes_failed_total,
            handshakes_dropped_total: stats.handshakes_dropped_total,
            handshakes_too_fast_total: stats.handshakes_too_fast_total,
            log_lines_lost_total: self.logs.lost(),
            turned_away_total: stats
                .turned_away_total
                .iter()
                .map(|(cause, count)| ((*cause).to_owned(), *count))
                .collect(),
            certificate_not_after: unix_seconds(self.identity.not_after()),
            config,
        }
    }

    /// The node's health now.
    pub fn health(&self) -> Health {
        let sessions = self.endpoint.sessions();
        self.ledger.look(&sessions);
        self.health_of(&sessions)
    }

    fn health_of(&self, sessions: &[Session]) -> Health {
        let current = self.current();
        let wanted = target_latency(&current.config);
        let mut facts = Facts {
            is_ready: self.is_ready.load(Ordering::Relaxed),
            is_draining: self.is_draining.load(Ordering::Relaxed),
            under_way: self.services.under_way.counts(),
            degraded: self.degraded.clone(),
            reload_failure: current.reload_failure.clone(),
            certificate_left: time_left(self.identity.not_after()),
            peers_away: self.keepers.away(),
            in_doubt: self.ledger.doubts(),
            conduct: self.endpoint.conduct(),
            evidence_trouble: self.evidence.trouble(),
            log_lines_lost: self.logs.lost(),
            refused_by_system: self.endpoint.accept_trouble(),
            ..Facts::default()
        };
        for stats in sessions.iter().map(Session::stats).filter(|stats| !stats.is_over) {
            if stats.active.is_none() {
                facts.holding.push(stats.peer.clone());
            }
            let found = active_path(&stats).and_then(|path| path.rtt);
            if let (Some(wanted), Some(found)) = (wanted, found)
                && found > wanted
            {
                facts.slow.push((stats.peer, wanted, found));
            }
        }
        Health::of(&facts)
    }

    fn peers(
        &self,
        sessions: &[Session],
        configured: &[String],
        totals: &BTreeMap<String, Totals>,
    ) -> Vec<PeerStatus> {
        let mut stats: Vec<_> = sessions.iter().map(Session::stats).collect();
        stats.retain(|stats| !stats.is_over);
        // A peer stands once, with the session that new channels belong on.
        stats.sort_by_key(|stats| (stats.is_leaving, stats.since));
        let mut peers: Vec<PeerStatus> = Vec::new();
        for stats in &stats {
            match peers.iter_mut().find(|known| known.peer == stats.peer) {
                Some(known) => known.leaving_sessions += 1,
                None => peers.push(peer_status(stats)),
            }
        }
        let away = self.keepers.away();
        for peer in configured.iter().chain(totals.keys()) {
            if peers.iter().any(|known| known.peer == *peer) {
                continue;
            }
            let reason = away.iter().find(|(name, ..)| name == peer).map(|(.., why)| why.clone());
            let state = match reason {
                Some(_) => "away",
                None if configured.contains(peer) => "idle",
                None => "gone",
            };
            peers.push(PeerStatus {
                peer: peer.clone(),
                state: state.into(),
                reason,
                ..PeerStatus::default()
            });
        }
        for conduct in self.endpoint.conduct() {
            match peers.iter_mut().find(|known| known.peer == conduct.peer) {
                Some(peer) => peer.set_conduct(&conduct),
                None => {
                    let mut peer = PeerStatus {
                        peer: conduct.peer.clone(),
                        state: "gone".into(),
                        ..PeerStatus::default()
                    };
                    peer.set_conduct(&conduct);
                    peers.push(peer);
                }
            }
        }
        for peer in &mut peers {
            peer.set_totals(&totals.get(&peer.peer).copied().unwrap_or_default());
        }
        peers.sort_by(|a, b| a.peer.cmp(&b.peer));
        peers
    }
}

/// The median round trip that the configuration wants.
fn target_latency(config: &dwcp_core::config::Config) -> Option<Duration> {
    let performance = &config.performance;
    let micros = performance.target_latency_micros.map(Duration::from_micros);
    let millis = performance.target_latency_ms.map(Duration::from_millis);
    micros.or(millis).or_else(|| performance.target_latency.get().map(|time| time.get()))
}

fn active_path(stats: &SessionStats) -> Option<&PathStats> {
    stats.paths.iter().find(|path| Some(path.id) == stats.active)
}

fn peer_status(stats: &SessionStats) -> PeerStatus {
    let state = match stats.active {
        _ if stats.is_leaving => "leaving",
        None => "holding",
        Some(_) if stats.is_steady => "steady",
        Some(_) => "switching",
    };
    let active = active_path(stats);
    PeerStatus {
        peer: stats.peer.clone(),
        state: state.into(),
        reason: None,
        session: Some(stats.id.to_string()),
        active: active.map(|path| path.kind.name().to_owned()),
        paths: stats.paths.iter().map(path_status).collect(),
        since: Some(unix_seconds(stats.since)),
        rtt_us: active.and_then(|path| path.rtt).map(micros),
        channels: stats.channels as u64,
        unacked_messages: stats.unacked_messages,
        ..PeerStatus::default()
    }
}

impl PeerStatus {
    fn set_totals(&mut self, totals: &Totals) {
        self.messages_sent_total = totals.messages_sent;
        self.messages_received_total = totals.messages_received;
        self.bytes_sent_total = totals.bytes_sent;
        self.bytes_received_total = totals.bytes_received;
        self.switches_total = totals.switches;
        self.switches_failed_total = totals.switches_failed;
        self.failovers_total = totals.failovers;
        self.reconnects_total = totals.reconnects;
        self.in_doubt_total = totals.in_doubt;
        self.slowed_total = totals.slowed;
        let lost = PathCause::NAMES.iter().zip(totals.paths_lost).filter(|(_, count)| *count > 0);
        self.paths_lost_total = lost.map(|(name, count)| ((*name).to_owned(), count)).collect();
    }

    fn set_conduct(&mut self, conduct: &PeerConduct) {
        let (last, ago) = conduct.last;
        self.reputation = Some((conduct.reputation * 1_000.0).round() / 1_000.0);
        self.offences_total = conduct.offences_total;
        self.last_offence = Some(last.to_string());
        let Some(left) = conduct.quarantined_for else { return };
        self.quarantine_seconds = Some(left.as_secs() + 1);
        if self.session.is_none() {
            let (left, ago) = (crate::units::long_time(left), crate::units::long_time(ago));
            self.state = "quarantined".into();
            self.reason =
                Some(format!("for {left} more, because it broke the protocol {ago} ago: {last}"));
        }
    }
}

fn path_status(path: &PathStats) -> PathStatus {
    let state = match path.state {
        PathState::Validating => "validating",
        PathState::Standby => "standby",
        PathState::Active => "active",
        PathState::Draining => "draining",
        PathState::Fencing(_) => "fencing",
    };
    PathStatus {
        id: path.id.to_string(),
        kind: path.kind.name().into(),
        provider: path.provider.clone(),
        state: state.into(),
        local: path.local.clone(),
        remote: path.remote.clone(),
        suite: path.suite.into(),
        socket: path.socket.as_ref().map(|socket| SocketStatus {
            congestion: socket.congestion.clone(),
            send_buffer_bytes: socket.send_buffer_bytes,
            recv_buffer_bytes: socket.recv_buffer_bytes,
            fast_open: socket.fast_open.into(),
            differences: socket.differences.clone(),
        }),
        rtt_us: path.rtt.map(micros),
        records_sent_total: path.records_sent_total,
        records_received_total: path.records_received_total,
        bytes_sent_total: path.bytes_sent_total,
        bytes_received_total: path.bytes_received_total,
        rekeys_total: path.rekeys_total,
        compressed_from_bytes_total: path.compressed_from_bytes_total,
        compressed_to_bytes_total: path.compressed_to_bytes_total,
    }
}

fn forward_status(forward: &ForwardListener) -> ForwardStatus {
    let (spec, counts) = (forward.spec(), forward.counts());
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    ForwardStatus {
        name: spec.name.clone(),
        listen: forward.address().to_string(),
        peer: spec.peer.clone(),
        target: spec.target.clone(),
        connections: get(&counts.connections),
        connections_total: get(&counts.connections_total),
        failed_total: get(&counts.failed_total),
        sent_bytes_total: get(&counts.sent_bytes_total),
        received_bytes_total: get(&counts.received_bytes_total),
    }
}

fn micros(duration: Duration) -> f64 {
    (duration.as_nanos() as f64 / 10.0).round() / 100.0
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
