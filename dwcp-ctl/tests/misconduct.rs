//! A peer that breaks the protocol: what the daemon does, shows, keeps and forgives.
#![allow(missing_docs)]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{Daemon, FullPipe, Room, wait_for};
use dwcp_core::link::Dialer;
use dwcp_tcp::{Identity, IdentityFiles, TcpDialer, TcpOptions};
use rustix::process::Signal;
use serde_json::Value;

const BYZANTINE: &str = "byzantine: {enabled: true, evidenceLog: evidence.log}\n";

/// `b` with the peers `a` and `m`, and `a`, which has a session with it.
fn nodes() -> (Room, Daemon, Daemon) {
    let room = Room::new(&["a", "b", "m"]);
    room.config("b", &format!("peers: [{{nodeId: a}}, {{nodeId: m}}]\n{BYZANTINE}"));
    let b = room.start("b");
    let address = room.address("b");
    for node in ["a", "m"] {
        room.config(node, &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    }
    let a = room.start("a");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    (room, a, b)
}

/// A false hello behind the certificate of `node`.
fn false_hello(room: &Room, node: &str) {
    let keys = room.path("keys").join(node);
    let identity = Identity::load(IdentityFiles {
        cert: keys.join("node.crt"),
        key: keys.join("node.key"),
        ca: keys.join("ca.crt"),
    });
    let dialer = TcpDialer::new(identity.unwrap(), TcpOptions::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = room.address("b");
        let mut connection = dialer.dial("b", &[address]).await.unwrap();
        connection.send(b"hello, and be nice").await.unwrap();
        connection.receive().await.map(drop).unwrap_err();
    });
}

fn peer(room: &Room, name: &str) -> Value {
    let status = room.status("b");
    let peers = status["peers"].as_array().unwrap();
    peers.iter().find(|peer| peer["peer"] == name).unwrap().clone()
}

fn evidence(room: &Room) -> Vec<Value> {
    let text = std::fs::read_to_string(room.path("evidence.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_peer_that_offends_is_reported_quarantined_and_let_out() {
    let (room, _a, b) = nodes();
    for offences in 1..=4 {
        false_hello(&room, "m");
        wait_for("offence", || (peer(&room, "m")["offences_total"] == offences).then_some(()));
    }
    let shown = peer(&room, "m");
    assert_eq!(shown["state"], "quarantined", "{shown}");
    assert!(shown["reason"].as_str().unwrap().contains("a false hello"), "{shown}");
    assert!(shown["quarantine_seconds"].as_u64().unwrap() > 500, "{shown}");
    let screen = room.ctl(&["--node", "b", "status"]);
    assert_eq!(screen.code, 3, "{screen:#?}");
    for words in ["DWCP-H025", "quarantined", "4 offences", "peers lift"] {
        assert!(screen.stdout.contains(words), "{words}: {screen:#?}");
    }
    let (_, metrics) = room.http("b", "/metrics");
    for line in ["dwcp_peer_offences_total{peer=\"m\"} 4", "dwcp_peer_quarantined{peer=\"m\"} 1"] {
        assert!(metrics.lines().any(|other| other == line), "{line}:\n{metrics}");
    }
    // Refused in words; others are not touched.
    let refused = room.ctl(&["ping", "b", "--config", &room.text("m.yaml")]);
    assert!(refused.code == 4 && refused.stderr.contains("quarantine"), "{refused:#?}");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    assert_eq!(peer(&room, "a")["reputation"], Value::Null);

    let lines = wait_for("evidence", || Some(evidence(&room)).filter(|lines| lines.len() >= 4));
    assert_eq!(lines.len(), 4);
    for line in &lines {
        assert_eq!(line["schema"], "dwcp.evidence/v1");
        assert_eq!((&line["peer"], &line["offence"]), (&"m".into(), &"false-hello".into()));
    }
    let reputations: Vec<_> =
        lines.iter().map(|line| line["reputation"].as_f64().unwrap()).collect();
    assert!(reputations.is_sorted_by(|a, b| a > b), "{reputations:?}");
    assert_eq!(lines[3]["quarantine_seconds"], 600);
    let mode = std::fs::metadata(room.path("evidence.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    room.ctl(&["--node", "b", "peers", "lift", "m"]).ok();
    let again = room.ctl(&["--node", "b", "peers", "lift", "m"]);
    assert!(again.code == 1 && again.stdout.contains("no quarantine"), "{again:#?}");
    b.wait_for_log("the quarantine was lifted");
    room.ctl(&["ping", "b", "--config", &room.text("m.yaml")]).ok();
    let screen = room.ctl(&["--node", "b", "status"]);
    assert!(screen.stdout.contains("DWCP-H024"), "on probation: {screen:#?}");
    // Nobody is judged without the rules.
    room.config("b", "peers: [{nodeId: a}, {nodeId: m}]\nbyzantine: {enabled: false}\n");
    room.ctl(&["--node", "b", "reload"]).ok();
    room.ctl(&["--node", "b", "status"]).ok();
}

#[test]
fn an_evidence_log_that_cannot_be_written_is_named() {
    let (room, _a, b) = nodes();
    let more = |log: &str| {
        let byzantine = format!("byzantine: {{enabled: true, evidenceLog: {log}}}\n");
        room.config("b", &format!("peers: [{{nodeId: a}}, {{nodeId: m}}]\n{byzantine}"));
        room.ctl(&["--node", "b", "reload"])
    };
    let refused = more("keys");
    assert!(refused.code == 1 && refused.stderr.contains("byzantine.evidenceLog"), "{refused:#?}");
    // A full disk, as far as writes can tell.
    more("/dev/full").ok();
    false_hello(&room, "m");
    b.wait_for_log("evidence was not written: /dev/full");
    let screen = room.ctl(&["--node", "b", "status"]);
    assert!(screen.stdout.contains("DWCP-H026"), "{screen:#?}");
    assert_eq!(peer(&room, "m")["offences_total"], 1, "it counts all the same");
    more("other.log").ok();
    room.ctl(&["--node", "b", "status"]).ok();
}

#[test]
fn an_evidence_log_that_hangs_holds_up_nobody_and_is_told() {
    let (room, _a, mut b) = nodes();
    let mut pipe = FullPipe::new(&room.path("pipe"));
    let byzantine = |log: &str| {
        let byzantine = format!("byzantine: {{enabled: true, evidenceLog: {log}}}\n");
        room.config("b", &format!("peers: [{{nodeId: a}}, {{nodeId: m}}]\n{byzantine}"));
        room.ctl(&["--node", "b", "reload"]).ok();
    };
    let offend = |offences: u64| {
        false_hello(&room, "m");
        wait_for("offence", || (peer(&room, "m")["offences_total"] == offences).then_some(()));
    };
    byzantine("pipe");
    offend(1);
    // Each looks at how the evidence is: more of them than the daemon has threads.
    for _ in 0..64 {
        assert_eq!(room.http("b", "/health").0, 200);
    }
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    let shown = || room.ctl(&["--node", "b", "status"]).stdout;
    let told = wait_for("DWCP-H026", || Some(shown()).filter(|shown| shown.contains("DWCP-H026")));
    assert!(told.contains("1 line of evidence") && told.contains("/pipe takes none"), "{told}");
    // Read, it takes what was waiting, whole.
    let mut taken = String::new();
    let line: Value = wait_for("line", || {
        taken += &pipe.take();
        serde_json::from_str(taken.trim_start_matches('.').strip_suffix('\n')?).ok()
    });
    assert_eq!(line["offence"], "false-hello");
    wait_for("health", || (!shown().contains("DWCP-H026")).then_some(()));
    // Another place can be chosen while it hangs.
    pipe.fill();
    offend(2);
    byzantine("other.log");
    offend(3);
    wait_for("evidence", || {
        let text = std::fs::read_to_string(room.path("other.log")).unwrap();
        (text.lines().count() == 1).then_some(())
    });
    // And it does not keep the daemon from its end.
    byzantine("pipe");
    false_hello(&room, "m");
    b.wait_for_log("the peer is in quarantine");
    b.signal(Signal::TERM);
    assert_eq!(b.wait(), 0);
    b.wait_for_log("pipe takes none");
}
