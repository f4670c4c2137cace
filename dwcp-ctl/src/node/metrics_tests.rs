use std::collections::{HashMap, HashSet};

use super::*;
use crate::node::health::{Facts, Health};
use crate::node::status::{ConfigStatus, FeatureStatus, ForwardStatus, MemoryStatus};

fn path() -> PathStatus {
    PathStatus {
        id: "0".into(),
        kind: "tcp".into(),
        provider: "cubic".into(),
        state: "active".into(),
        local: "127.0.0.1:1".into(),
        remote: "127.0.0.1:2".into(),
        suite: "aes-256-gcm".into(),
        socket: None,
        rtt_us: Some(120.0),
        records_sent_total: 1,
        records_received_total: 2,
        bytes_sent_total: 3,
        bytes_received_total: 4,
        rekeys_total: 0,
        compressed_from_bytes_total: 0,
        compressed_to_bytes_total: 0,
    }
}

pub(crate) fn example() -> Status {
    let peer = PeerStatus {
        peer: "b\"\\".into(),
        state: "steady".into(),
        session: Some("00".into()),
        paths: vec![path()],
        unacked_messages: 7,
        paths_lost_total: [("bad-record".to_owned(), 2)].into(),
        ..PeerStatus::default()
    };
    let config = ConfigStatus {
        path: "/etc/dwcp/dwcp-v3.yaml".into(),
        sha256: "00".into(),
        loaded_at: 1,
        reloads_total: 2,
        last_reload_ok: true,
    };
    Status {
        schema: "dwcp.node/v1".into(),
        version: "3.0.0".into(),
        node: "a".into(),
        mode: "internet".into(),
        pid: 1,
        incarnation: 1,
        features: FeatureStatus { enable_v3: true, ..FeatureStatus::default() },
        uptime_seconds: 9,
        config,
        health: Health::of(&Facts::default()),
        listen: vec!["127.0.0.1:8080".into()],
        admin: vec!["127.0.0.1:9100".into()],
        peers: vec![peer],
        forwards: vec![ForwardStatus {
            name: "redis".into(),
            listen: "127.0.0.1:1".into(),
            peer: "b".into(),
            target: "127.0.0.1:6379".into(),
            connections: 1,
            connections_total: 2,
            failed_total: 0,
            sent_bytes_total: 3,
            received_bytes_total: 4,
        }],
        memory: MemoryStatus { used_bytes: 1, reserved_bytes: 2, limit_bytes: 3 },
        handshakes_ok_total: 1,
        handshakes_failed_total: 5,
        handshakes_dropped_total: 3,
        handshakes_too_fast_total: 2,
        log_lines_lost_total: 0,
        turned_away_total: [("refused".to_owned(), 1)].into(),
        certificate_not_after: 5,
    }
}

#[test]
fn the_page_obeys_the_rules_of_openmetrics() {
    let page = render(&example());
    assert!(page.ends_with("# EOF\n") && page.matches("# EOF").count() == 1);
    let mut kinds = HashMap::new();
    let mut current = String::new();
    let mut samples = HashSet::new();
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name.ends_with(&format!("_{unit}")), "{name} must end with its unit {unit}");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = match kinds[&current].as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            assert_eq!(name, format!("{current}{suffix}"), "a sample outside its family");
            assert!(samples.insert(series.to_owned()), "{series} twice");
        }
    }
}

#[test]
fn counters_of_a_peer_outlive_its_session() {
    let mut status = example();
    status.peers[0] = PeerStatus {
        peer: "b".into(),
        state: "idle".into(),
        in_doubt_total: 195,
        ..PeerStatus::default()
    };
    let page = render(&status);
    assert!(page.contains("dwcp_in_doubt_messages_total{peer=\"b\"} 195\n"), "{page}");
    assert!(!page.contains("dwcp_unacked_messages{"), "a gauge of a session that is not there");
}

#[test]
fn labels_are_escaped_and_figures_are_there() {
    let page = render(&example());
    assert!(page.contains(r#"dwcp_unacked_messages{peer="b\"\\"} 7"#), "{page}");
    assert!(page.contains("dwcp_health_status{status=\"failed\"} 1"));
    assert!(page.contains("dwcp_path_rtt_seconds"));
    assert!(page.contains("dwcp_forward_connections{forward=\"redis\"} 1"));
    assert!(page.contains("dwcp_forward_sent_bytes_total{forward=\"redis\"} 3"));
    assert!(page.contains("dwcp_forward_received_bytes_total{forward=\"redis\"} 4"));
}
