//! What two nodes do for each other: ping, bench, forwards, whole while the connection is cut.
#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use common::{Daemon, PATIENCE, Room, noise, wait_for};

#[test]
fn ping_answers_and_an_unknown_peer_exits_4() {
    let (room, _a, _b) = Room::pair("", "");
    let ran = room.ctl(&["--node", "a", "ping", "b", "-c", "3", "-o", "json"]).ok();
    let json = ran.json();
    assert_eq!(json["schema"], "dwcp.ping/v1");
    assert_eq!(json["rtt_us"].as_array().unwrap().len(), 3);
    let unknown = room.ctl(&["--node", "a", "ping", "c"]);
    assert!(unknown.code == 4 && unknown.stderr.contains("peers"), "{unknown:#?}");
    let many = room.ctl(&["ping", "b"]);
    assert!(many.code == 2 && many.stderr.contains("--node"), "{many:#?}");
}

#[test]
fn a_dead_peer_is_named_with_its_address() {
    let room = Room::new(&["a", "b"]);
    // Bound and not listening: nobody else takes the port, and nobody answers.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{dead}\"]}}]\n"));
    let _a = room.start("a");
    let ran = room.ctl(&["ping", "b"]);
    assert_eq!(ran.code, 4, "{ran:#?}");
    assert!(ran.stderr.contains(&dead.to_string()) && ran.stderr.contains("refused"), "{ran:#?}");
}

#[test]
fn a_foreign_certificate_is_refused_on_both_sides() {
    let room = Room::new(&["a", "b"]);
    room.config("b", "peers: [{nodeId: a}]\n");
    let _b = room.start("b");
    let address = room.address("b");
    let foreign = Room::new(&["a"]);
    foreign.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    let _a = foreign.start("a");
    let ran = foreign.ctl(&["ping", "b"]);
    assert_eq!(ran.code, 4, "{ran:#?}");
    assert!(ran.stderr.contains("handshake failed") && ran.stderr.contains("CA"), "{ran:#?}");
    assert_eq!(room.status("b")["peers"][0]["state"], "idle");
}

#[test]
fn without_a_daemon_ping_dials_by_itself() {
    let room = Room::new(&["a", "b"]);
    room.config("b", "peers: [{nodeId: a}]\n");
    let _b = room.start("b");
    let address = room.address("b");
    let config = room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    room.ctl(&["ping", "b", "--config", config.to_str().unwrap()]).ok();
}

#[test]
fn benches_report_what_they_saw() {
    let (room, _a, _b) = Room::pair("", "");
    let line = ["--node", "a", "bench", "latency", "b", "--duration", "1s", "-o", "json"];
    let json = room.ctl(&line).ok().json();
    assert_eq!(json["schema"], "dwcp.bench-latency/v1");
    assert_eq!(json.get("rate"), Some(&serde_json::Value::Null), "{json}");
    assert!(json["messages"].as_u64().unwrap() > 0);
    let us = &json["latency_us"];
    let value = |name: &str| us[name].as_f64().unwrap();
    assert!(
        value("min") <= value("p50")
            && value("p50") <= value("p99")
            && value("p99") <= value("max")
    );
    assert_eq!(json["order"], serde_json::json!({"lost": 0, "duplicated": 0, "reordered": 0}));
    assert_eq!(json["environment"]["path"], "tcp");
    assert!(json["environment"]["suite"].as_str().unwrap().contains("aes-256-gcm"));
    for direction in ["send", "receive"] {
        let line = [
            "--node",
            "a",
            "bench",
            "throughput",
            "b",
            "--duration",
            "1s",
            "--direction",
            direction,
            "--cut",
            "2",
            "-o",
            "json",
        ];
        let json = room.ctl(&line).ok().json();
        assert_eq!(json["schema"], "dwcp.bench-throughput/v1");
        assert_eq!(json["order"], serde_json::json!({"lost": 0, "duplicated": 0, "reordered": 0}));
        assert_eq!(json["cuts"]["made"], 2, "{json}");
        assert!(json["bytes_per_second"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_bench_with_itself_needs_nothing() {
    for line in [
        &["bench", "latency", "--self", "--duration", "500ms", "--rate", "500"][..],
        &["bench", "throughput", "--self", "--duration", "500ms", "--cut", "1"],
    ] {
        let ran = common::ctl(line);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert!(ran.stdout.contains("0 lost, 0 duplicated, 0 reordered"), "{ran:#?}");
    }
}

/// Sends every byte back; at the end of input, ends its own output.
fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                let (mut from, mut to) = (&stream, &stream);
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn forward_pair(target: &str, allowed: &str) -> (Room, Daemon, Daemon, String) {
    let forward = format!(
        "forwards: [{{name: echo, listen: \"127.0.0.1:0\", peer: b, target: \"{target}\"}}]\n"
    );
    let (room, a, b) = Room::pair(&forward, &format!("forwardTargets: [{allowed}]\n"));
    let address = room.status("a")["forwards"][0]["listen"].as_str().unwrap().to_owned();
    (room, a, b, address)
}

#[test]
fn a_forward_carries_both_ways_through_cuts_and_closes_by_halves() {
    const BYTES: usize = 48 << 20;
    let target = echo_server();
    let (room, _a, _b, address) = forward_pair(&target, &format!("\"{target}\""));
    let stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let sent = noise(BYTES, 3);
    let (mut reader, mut writer) = (&stream, &stream);
    let received = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for (index, block) in sent.chunks(BYTES / 4).enumerate() {
                if index > 0 {
                    room.ctl(&["--node", "a", "cut", "b"]);
                }
                writer.write_all(block).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        writing.join().unwrap();
        received
    });
    assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
    let peer = room.status("a")["peers"][0].clone();
    assert!(peer["reconnects_total"].as_u64().unwrap() >= 3, "{peer}");
    assert_eq!(peer["in_doubt_total"], 0);
    wait_for("end of the connection", || {
        (room.status("a")["forwards"][0]["connections"] == 0).then_some(())
    });
}

#[test]
fn a_target_that_is_not_there_or_not_allowed_is_a_reset() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (allowed, words) in
        [(format!("\"{dead}\""), "cannot connect"), (String::new(), "not among")]
    {
        let (_room, a, _b, address) = forward_pair(&dead, &allowed);
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let error = stream.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        a.wait_for_log(words);
    }
}

#[test]
fn an_idle_daemon_sleeps() {
    let (room, a, b) = Room::pair("", "");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    for daemon in [a, b] {
        // A heartbeat a second, and a few timers.
        let rest = daemon.rest();
        println!("idle: {rest:?}");
        assert!(rest.wake_ups < 25.0 && rest.running < 0.5, "{rest:?}");
    }
}
