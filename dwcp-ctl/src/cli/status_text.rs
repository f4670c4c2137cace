//! A node's status on one screen: worst first, reasons in words, what to do next.

use std::time::Duration;

use super::table::{row, table};
use crate::node::health::Grade;
use crate::node::status::{PeerStatus, Status};
use crate::units;

/// The status as text.
pub(super) fn render(status: &Status) -> String {
    let up = units::long_time(Duration::from_secs(status.uptime_seconds));
    let mut text = format!(
        "dwcpd {}  node {}  mode {}  up {up}  config {} ({})\n",
        status.version,
        status.node,
        status.mode,
        status.config.sha256.get(..8).unwrap_or_default(),
        reloads(status.config.reloads_total),
    );
    let grade = status.health.status;
    let findings = units::counted(status.health.checks.len() as u64, "finding", "findings");
    text.push_str(&match grade {
        Grade::Ok => "health  ok\n".to_owned(),
        _ => format!("health  {}  {findings}\n", grade.name().to_uppercase()),
    });
    for check in &status.health.checks {
        text.push_str(&format!("  {}  {}\n    {}\n", check.code, check.message, check.remedy));
    }
    text.push_str(&features(status));
    if !status.listen.is_empty() {
        text.push_str(&format!("listen  {}\n", status.listen.join(", ")));
    }
    text.push_str(&peers(&status.peers));
    if !status.forwards.is_empty() {
        text.push('\n');
        text.push_str(&forwards(status));
    }
    text
}

fn features(status: &Status) -> String {
    let features = &status.features;
    let named = [
        (features.enable_compression, "compression"),
        (features.enable_hybrid_mode, "hybrid mode"),
        (features.enable_byzantine, "byzantine"),
    ];
    let on: Vec<_> = named.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| *name).collect();
    match (features.enable_v3, on.len()) {
        (false, _) => "features  version 3 is off: no sessions (features.enableV3)\n".into(),
        (true, 0) => String::new(),
        (true, _) => format!("features  {}\n", on.join(", ")),
    }
}

/// The peers of a node as a table.
pub(super) fn peers(peers: &[PeerStatus]) -> String {
    if peers.is_empty() {
        return "no peers\n".into();
    }
    let head =
        ["PEER", "ACTIVE", "PATHS", "RTT", "SENT", "RECEIVED", "UN-ACKED", "SWITCHES", "STATE"];
    let mut rows = vec![row(head)];
    rows.extend(peers.iter().map(peer));
    table(&rows)
}

fn peer(peer: &PeerStatus) -> Vec<String> {
    let paths: Vec<_> = peer
        .paths
        .iter()
        .map(|path| match path.state.as_str() {
            "active" => format!("{}/{}*", path.kind, path.provider),
            other => format!("{}/{}({other})", path.kind, path.provider),
        })
        .collect();
    let or_dash = |text: String| if text.is_empty() { "-".into() } else { text };
    let rtt = peer.rtt_us.map(|us| units::short_time(Duration::from_nanos((us * 1_000.0) as u64)));
    let moves = peer.switches_total + peer.failovers_total;
    let mut state = peer.state.clone();
    if peer.reconnects_total > 0 {
        state.push_str(&format!(
            ", {}",
            units::counted(peer.reconnects_total, "reconnect", "reconnects")
        ));
    }
    if peer.in_doubt_total > 0 {
        state.push_str(&format!(", {} in doubt", peer.in_doubt_total));
    }
    if peer.leaving_sessions > 0 {
        let count = units::counted(peer.leaving_sessions, "session", "sessions");
        state.push_str(&format!(", {count} of its process before"));
    }
    if peer.offences_total > 0 {
        let times = units::counted(peer.offences_total, "offence", "offences");
        state.push_str(&format!(", {times}, reputation {:.2}", peer.reputation.unwrap_or(1.0)));
    }
    if let Some(reason) = &peer.reason {
        state.push_str(&format!(": {reason}"));
    }
    vec![
        peer.peer.clone(),
        or_dash(peer.active.clone().unwrap_or_default()),
        or_dash(paths.join(",")),
        rtt.unwrap_or_else(|| "-".into()),
        units::bytes(peer.bytes_sent_total),
        units::bytes(peer.bytes_received_total),
        peer.unacked_messages.to_string(),
        moves.to_string(),
        state,
    ]
}

fn forwards(status: &Status) -> String {
    let mut rows = vec![row([
        "FORWARD", "LISTEN", "PEER", "TARGET", "OPEN", "TAKEN", "FAILED", "SENT", "RECEIVED",
    ])];
    rows.extend(status.forwards.iter().map(|forward| {
        vec![
            forward.name.clone(),
            forward.listen.clone(),
            forward.peer.clone(),
            forward.target.clone(),
            forward.connections.to_string(),
            forward.connections_total.to_string(),
            forward.failed_total.to_string(),
            units::bytes(forward.sent_bytes_total),
            units::bytes(forward.received_bytes_total),
        ]
    }));
    table(&rows)
}

fn reloads(count: u64) -> String {
    if count == 0 { "never reloaded".into() } else { units::counted(count, "reload", "reloads") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::metrics::tests::example;

    #[test]
    fn the_screen_names_node_health_and_peers() {
        let text = render(&example());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("dwcpd 3.0.0  node a  mode internet  up 9s"), "{text}");
        assert!(lines[1].starts_with("health  FAILED  2 findings"), "{text}");
        assert!(lines[2].starts_with("  DWCP-H002  "), "{text}");
        assert!(text.contains("tcp/cubic*") && text.contains("steady"), "{text}");
        assert!(text.contains("redis"), "{text}");
    }

    #[test]
    fn a_peer_that_is_away_says_why() {
        let away = PeerStatus {
            peer: "b".into(),
            state: "away".into(),
            reason: Some("connection refused".into()),
            ..PeerStatus::default()
        };
        assert!(peers(&[away]).contains("away: connection refused"));
        assert_eq!(peers(&[]), "no peers\n");
    }
}
