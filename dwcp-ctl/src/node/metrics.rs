//! The node's figures as OpenMetrics text.

use std::fmt::Write;

use super::health::Grade;
use super::status::{PathStatus, PeerStatus, Status};

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes one family after the other.
struct Page(String);

impl Page {
    /// Begins a family. The name of a counter is given without its `_total`.
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{opening}{label}=\"{}\"", escape(text));
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{closing} {value}");
    }

    fn gauge(&mut self, name: &str, unit: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", unit, help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", "", help);
        self.sample(&format!("{name}_total"), &[], value);
    }
}

/// The page of `/metrics`.
pub fn render(status: &Status) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    node(&mut page, status);
    peers(&mut page, status);
    paths(&mut page, status);
    forwards(&mut page, status);
    forward_bytes(&mut page, status);
    page.0.push_str("# EOF\n");
    page.0
}

fn node(page: &mut Page, status: &Status) {
    page.family("dwcp_build", "info", "", "Version and place of this node.");
    let labels = [
        ("version", status.version.as_str()),
        ("node", status.node.as_str()),
        ("mode", status.mode.as_str()),
    ];
    page.sample("dwcp_build_info", &labels, 1);
    page.family("dwcp_health_status", "gauge", "", "Health of the node: one of these is 1.");
    for grade in [Grade::Ok, Grade::Degraded, Grade::Failed] {
        let is_it = u8::from(status.health.status == grade);
        page.sample("dwcp_health_status", &[("status", grade.name())], is_it);
    }
    page.gauge("dwcp_uptime_seconds", "seconds", "Time since the start.", status.uptime_seconds);
    let sessions = status.peers.iter().filter(|peer| peer.session.is_some()).count();
    page.gauge("dwcp_active_connections", "", "Sessions that stand.", sessions);
    page.counter("dwcp_config_reloads", "Reloads that were accepted.", status.config.reloads_total);
    let reload_ok = u8::from(status.config.last_reload_ok);
    page.gauge(
        "dwcp_config_last_reload_success",
        "",
        "Whether the last reload was accepted.",
        reload_ok,
    );
    page.counter("dwcp_handshakes_ok", "Handshakes that succeeded.", status.handshakes_ok_total);
    page.counter(
        "dwcp_handshakes_failed",
        "Handshakes that failed.",
        status.handshakes_failed_total,
    );
    let dropped = "Of the failed handshakes, those that lost their place to others.";
    page.counter("dwcp_handshakes_dropped", dropped, status.handshakes_dropped_total);
    let too_fast = "Of the failed handshakes, those of addresses that began too many.";
    page.counter("dwcp_handshakes_too_fast", too_fast, status.handshakes_too_fast_total);
    page.counter("dwcp_log_lines_lost", "Lines that are in no log.", status.log_lines_lost_total);
    let help = "Connections of others that came to nothing, by cause.";
    page.family("dwcp_connections_turned_away", "counter", "", help);
    for (cause, count) in &status.turned_away_total {
        page.sample("dwcp_connections_turned_away_total", &[("cause", cause)], count);
    }
    let not_after = status.certificate_not_after;
    let help = "When the node's certificate ends, since 1970.";
    page.gauge("dwcp_certificate_not_after_seconds", "seconds", help, not_after);
    let memory = &status.memory;
    page.gauge("dwcp_memory_used_bytes", "bytes", "Message memory in use.", memory.used_bytes);
    page.gauge(
        "dwcp_memory_reserved_bytes",
        "bytes",
        "Message memory reserved.",
        memory.reserved_bytes,
    );
    page.gauge("dwcp_memory_limit_bytes", "bytes", "Most message memory.", memory.limit_bytes);
}

/// A figure of a peer.
type PeerFigure = (&'static str, &'static str, &'static str, fn(&PeerStatus) -> u64);

fn peers(page: &mut Page, status: &Status) {
    let counters: [PeerFigure; 11] = [
        ("dwcp_messages_sent", "", "Messages committed.", |peer| peer.messages_sent_total),
        ("dwcp_messages_received", "", "Messages received.", |peer| peer.messages_received_total),
        ("dwcp_sent_bytes", "bytes", "Bytes sent, re-sent ones included.", |peer| {
            peer.bytes_sent_total
        }),
        ("dwcp_received_bytes", "bytes", "Bytes received.", |peer| peer.bytes_received_total),
        ("dwcp_mode_switches", "", "Moves to another path, voluntary or after the peer.", |peer| {
            peer.switches_total
        }),
        ("dwcp_mode_switches_failed", "", "Voluntary moves given up.", |peer| {
            peer.switches_failed_total
        }),
        ("dwcp_failovers", "", "Involuntary moves to another path.", |peer| peer.failovers_total),
        ("dwcp_reconnects", "", "Returns after a time without path.", |peer| peer.reconnects_total),
        ("dwcp_in_doubt_messages", "", "Messages whose fate is unknown.", |peer| {
            peer.in_doubt_total
        }),
        ("dwcp_peer_offences", "", "Times a peer broke the protocol.", |peer| peer.offences_total),
        (
            "dwcp_peer_slowed",
            "",
            "Times a peer was read more slowly for asking too much.",
            |peer| peer.slowed_total,
        ),
    ];
    let with_session = || status.peers.iter().filter(|peer| peer.session.is_some());
    for (name, unit, help, value) in counters {
        page.family(name, "counter", unit, help);
        // Counters outlive sessions: one that vanished with its session would hide what it counted.
        for peer in &status.peers {
            page.sample(&format!("{name}_total"), &[("peer", &peer.peer)], value(peer));
        }
    }
    page.family("dwcp_channels_open", "gauge", "", "Open channels.");
    for peer in with_session() {
        page.sample("dwcp_channels_open", &[("peer", &peer.peer)], peer.channels);
    }
    page.family("dwcp_unacked_messages", "gauge", "", "Messages committed and not yet acked.");
    for peer in with_session() {
        page.sample("dwcp_unacked_messages", &[("peer", &peer.peer)], peer.unacked_messages);
    }
    paths_lost(page, status);
    page.family("dwcp_peer_reputation", "gauge", "", "Score of a peer, from 1 down to 0.");
    for peer in &status.peers {
        page.sample(
            "dwcp_peer_reputation",
            &[("peer", &peer.peer)],
            peer.reputation.unwrap_or(1.0),
        );
    }
    page.family("dwcp_peer_quarantined", "gauge", "", "Whether a peer is in quarantine.");
    for peer in &status.peers {
        let is_it = u8::from(peer.quarantine_seconds.is_some());
        page.sample("dwcp_peer_quarantined", &[("peer", &peer.peer)], is_it);
    }
    page.family("dwcp_peer_state", "gauge", "", "State of each peer: 1 for the one it is in.");
    for peer in &status.peers {
        page.sample("dwcp_peer_state", &[("peer", &peer.peer), ("state", &peer.state)], 1);
    }
}

fn paths_lost(page: &mut Page, status: &Status) {
    page.family("dwcp_paths_lost", "counter", "", "Paths that ended, by cause.");
    for peer in &status.peers {
        for (cause, count) in &peer.paths_lost_total {
            page.sample("dwcp_paths_lost_total", &[("peer", &peer.peer), ("cause", cause)], count);
        }
    }
}

/// A figure of a path.
type PathFigure = (&'static str, &'static str, &'static str, fn(&PathStatus) -> u64);

fn paths(page: &mut Page, status: &Status) {
    let counters: [PathFigure; 7] = [
        ("dwcp_path_records_sent", "", "Records sent.", |path| path.records_sent_total),
        ("dwcp_path_records_received", "", "Records received.", |path| path.records_received_total),
        ("dwcp_path_sent_bytes", "bytes", "Bytes sent.", |path| path.bytes_sent_total),
        ("dwcp_path_received_bytes", "bytes", "Bytes received.", |path| path.bytes_received_total),
        ("dwcp_path_rekeys", "", "Key phases passed.", |path| path.rekeys_total),
        ("dwcp_path_compression_in_bytes", "bytes", "Bytes before compression.", |path| {
            path.compressed_from_bytes_total
        }),
        ("dwcp_path_compression_out_bytes", "bytes", "Bytes after compression.", |path| {
            path.compressed_to_bytes_total
        }),
    ];
    for (name, unit, help, value) in counters {
        page.family(name, "counter", unit, help);
        for (peer, path) in all_paths(status) {
            page.sample(&format!("{name}_total"), &labels(peer, path), value(path));
        }
    }
    page.family("dwcp_path_rtt_seconds", "gauge", "seconds", "Smoothed round trip of probes.");
    for (peer, path) in all_paths(status) {
        if let Some(rtt_us) = path.rtt_us {
            page.sample("dwcp_path_rtt_seconds", &labels(peer, path), rtt_us / 1e6);
        }
    }
    page.family("dwcp_path_active", "gauge", "", "Whether data goes this way.");
    for (peer, path) in all_paths(status) {
        page.sample("dwcp_path_active", &labels(peer, path), u8::from(path.state == "active"));
    }
}

fn all_paths(status: &Status) -> impl Iterator<Item = (&PeerStatus, &PathStatus)> {
    status.peers.iter().flat_map(|peer| peer.paths.iter().map(move |path| (peer, path)))
}

fn labels<'a>(peer: &'a PeerStatus, path: &'a PathStatus) -> [(&'static str, &'a str); 4] {
    [("peer", &peer.peer), ("path", &path.id), ("kind", &path.kind), ("provider", &path.provider)]
}

fn forwards(page: &mut Page, status: &Status) {
    page.family("dwcp_forward_connections", "gauge", "", "Connections open through a forward.");
    for forward in &status.forwards {
        page.sample("dwcp_forward_connections", &[("forward", &forward.name)], forward.connections);
    }
    page.family("dwcp_forward_accepted", "counter", "", "Connections taken by a forward.");
    for forward in &status.forwards {
        let labels = [("forward", forward.name.as_str())];
        page.sample("dwcp_forward_accepted_total", &labels, forward.connections_total);
    }
    page.family("dwcp_forward_failed", "counter", "", "Connections that found no target.");
    for forward in &status.forwards {
        let labels = [("forward", forward.name.as_str())];
        page.sample("dwcp_forward_failed_total", &labels, forward.failed_total);
    }
}

/// Bytes through forwards, each way.
fn forward_bytes(page: &mut Page, status: &Status) {
    page.family("dwcp_forward_sent_bytes", "counter", "bytes", "Bytes carried to targets.");
    for forward in &status.forwards {
        let labels = [("forward", forward.name.as_str())];
        page.sample("dwcp_forward_sent_bytes_total", &labels, forward.sent_bytes_total);
    }
    page.family("dwcp_forward_received_bytes", "counter", "bytes", "Bytes carried from targets.");
    for forward in &status.forwards {
        let labels = [("forward", forward.name.as_str())];
        page.sample("dwcp_forward_received_bytes_total", &labels, forward.received_bytes_total);
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(crate) mod tests;
