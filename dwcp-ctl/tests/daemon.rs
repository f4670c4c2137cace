//! The life of a daemon: start, health, reload, drain, and what it says when it cannot start.
#![allow(missing_docs)]

mod common;

use common::{Daemon, Room, noise, wait_for, write};
use rustix::process::Signal;

/// Starts the daemon of `node`, which is to end by itself; its exit code and log.
fn fails(room: &Room, node: &str) -> (i32, String) {
    let mut daemon = room.spawn(node);
    (daemon.wait(), daemon.log())
}

#[test]
fn a_wrong_configuration_exits_78_with_the_caret() {
    let room = Room::new(&["a"]);
    room.config("a", "netwrok: {}\n");
    let (code, log) = fails(&room, "a");
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("^^^^^^^") && log.contains("did you mean `network`?"), "{log}");
}

#[test]
fn a_missing_device_exits_69_or_degrades() {
    let room = Room::new(&["a"]);
    let datacenter = |more: &str| {
        let text = room.config_text("a", more).replace("mode: internet", "mode: datacenter");
        write(&room.path("a.yaml"), text.as_bytes());
    };
    datacenter("network: {transport: rdma, fallback: {enabled: false}}\n");
    let (code, log) = fails(&room, "a");
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("network.fallback.enabled"), "{log}");
    datacenter("network: {transport: rdma, fallback: {enabled: true}}\n");
    let _daemon = room.start("a");
    let ran = room.ctl(&["status"]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stdout.contains("DEGRADED") && ran.stdout.contains("DWCP-H010"), "{ran:#?}");
    assert_eq!(room.http("a", "/readyz"), (200, "degraded\n".into()));
}

#[test]
fn keys_that_do_not_fit_are_named() {
    let room = Room::new(&["a", "b"]);
    let text = room.config_text("a", "").replace("keys/a/", "keys/b/");
    write(&room.path("a.yaml"), text.as_bytes());
    let (code, log) = fails(&room, "a");
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("nodeId is a") && log.contains("names b"), "{log}");
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let room = Room::new(&["a"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["\nlisten: [", "admin: {listen: ["] {
        let usual = format!("{key}\"127.0.0.1:0\"");
        let text = room.config_text("a", "").replace(&usual, &format!("{key}\"{address}\""));
        assert!(text.contains(&address));
        write(&room.path("a.yaml"), text.as_bytes());
        let (code, log) = fails(&room, "a");
        assert_eq!(code, 1, "{log}");
        assert!(log.contains(&address) && log.contains("ss -ltnp"), "{log}");
        assert_eq!(log.matches("cannot listen on").count(), log.matches("ERROR").count(), "{log}");
    }
}

#[test]
fn a_second_daemon_of_a_node_is_refused() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let _first = room.start("a");
    let (code, log) = fails(&room, "a");
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("node a runs already"), "{log}");
    assert_eq!(room.ctl(&["status"]).code, 0, "the first goes on");
    // A copy of the keys is another key file, and still the same socket.
    let text = room.config_text("a", "").replace("keys/a/", "keys/copy/");
    std::fs::create_dir(room.path("keys/copy")).unwrap();
    for name in ["node.crt", "node.key", "ca.crt"] {
        let from = room.path("keys/a").join(name);
        std::fs::copy(from, room.path("keys/copy").join(name)).unwrap();
    }
    write(&room.path("a.yaml"), text.as_bytes());
    let (code, log) = fails(&room, "a");
    assert!(code == 1 && log.contains("answers there already"), "{code} {log}");
}

#[test]
fn a_command_beside_a_daemon_never_ends_its_sessions() {
    let (room, _a, _b) = Room::pair("", "");
    // The node's name is in its certificate alone.
    let text = std::fs::read_to_string(room.path("a.yaml")).unwrap().replace("nodeId: a\n", "");
    assert!(!text.contains("nodeId: a"), "{text}");
    let nameless = room.text("nameless.yaml");
    std::fs::write(&nameless, text).unwrap();
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    let session = || room.status("a")["peers"][0]["session"].clone();
    let before = session();
    assert!(before.is_string(), "{}", room.status("a"));
    let ran = room.ctl(&["ping", "b", "--config", &nameless]).ok();
    assert!(ran.stderr.contains("through the daemon of a"), "{ran:#?}");
    // Where its socket is not found, the node is not taken from it either.
    let elsewhere = room.text("elsewhere");
    let named = room.text("a.yaml");
    for file in [&nameless, &named] {
        let ran = common::ctl(&["--runtime-dir", &elsewhere, "ping", "b", "--config", file]);
        let is_refused = ran.code == 1 && ran.stderr.contains("node a runs already");
        assert!(is_refused && ran.stderr.contains("--runtime-dir"), "{ran:#?}");
    }
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    assert_eq!(session(), before, "the daemon's session goes on");
}

#[test]
fn silent_clients_keep_nobody_from_the_command_socket() {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::net::UnixStream;
    let room = Room::new(&["a"]);
    room.config("a", "");
    let _a = room.start("a");
    let socket = room.path("run/a.sock");
    // More than may be silent at a time: the oldest make way.
    let silent: Vec<_> = (0..100).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    room.ctl(&["status"]).ok();
    let (oldest, newest) = (&silent[0], &silent[99]);
    for stream in [oldest, newest] {
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    }
    assert_eq!((&*oldest).read(&mut [0; 1]).unwrap(), 0, "it had to go");
    let mut words = String::new();
    BufReader::new(newest).read_line(&mut words).unwrap();
    assert!(words.contains("no request within"), "{words}");
}

#[test]
fn health_and_metrics_are_served() {
    let (room, _a, _b) = Room::pair("", "");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    assert_eq!(room.http("a", "/livez"), (200, "ok\n".into()));
    assert_eq!(room.http("a", "/readyz"), (200, "ok\n".into()));
    let (code, body) = room.http("a", "/health");
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &health["status"]), (200, &"ok".into()));
    let (code, body) = room.http("a", "/metrics");
    assert_eq!(code, 200);
    for words in
        ["dwcp_build_info{", "dwcp_path_active{peer=\"b\"", "dwcp_active_connections 1", "# EOF"]
    {
        assert!(body.contains(words), "{words} in {body}");
    }
    assert_eq!(room.http("a", "/nothing").0, 404);
    let status = room.ctl(&["status"]).ok().stdout;
    assert!(status.contains("node a") && status.contains("node b"), "{status}");
    assert!(status.contains("tcp/") && status.contains("steady"), "{status}");
    let peers = room.ctl(&["--node", "a", "peers", "-o", "json"]).ok().json();
    assert_eq!(peers["schema"], "dwcp.peers/v1");
    assert_eq!(peers["peers"][0]["state"], "steady");
}

#[test]
fn messages_in_doubt_are_counted_and_shown_after_their_session() {
    let (room, _a, mut b) = Room::pair("", "files: {receiveDirectory: inbox, keepFree: 0B}\n");
    // The next life of `b` is to be found where this one was.
    let listen = format!("listen: [\"{}\"]", room.address("b"));
    std::fs::create_dir(room.path("inbox")).unwrap();
    let file = room.path("file");
    std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            room.ctl(&["--node", "a", "copy", "--no-compress", file.to_str().unwrap(), "b:"])
        });
        wait_for("beginning of the file", || {
            std::fs::read_dir(room.path("inbox")).unwrap().next().map(|_| ())
        });
        b.signal(Signal::STOP);
        wait_for("un-acked messages", || {
            (room.status("a")["peers"][0]["unacked_messages"].as_u64()? > 0).then_some(())
        });
        b.signal(Signal::KILL);
        b.wait();
        let text = room.config_text("b", "peers: [{nodeId: a}]\n");
        let text = text.replacen("listen: [\"127.0.0.1:0\"]", &listen, 1);
        write(&room.path("b.yaml"), text.as_bytes());
        b = room.start("b");
        let ran = copying.join().unwrap();
        assert!(ran.code == 1 && ran.stderr.contains("the peer restarted"), "{ran:#?}");
        assert!(ran.stderr.contains("in doubt"), "{ran:#?}");
    });
    wait_for("new session", || (room.ctl(&["--node", "a", "ping", "b"]).code == 0).then_some(()));
    let peer = room.status("a")["peers"][0].clone();
    assert_eq!(peer["state"], "steady", "{peer}");
    assert!(peer["in_doubt_total"].as_u64().unwrap() > 0, "{peer}");
    let line = format!("dwcp_in_doubt_messages_total{{peer=\"b\"}} {}\n", peer["in_doubt_total"]);
    assert!(room.http("a", "/metrics").1.contains(&line), "{line}");
    let ran = room.ctl(&["--node", "a", "status"]);
    assert!(ran.code == 3 && ran.stdout.contains("DWCP-H023"), "{ran:#?}");
}

#[test]
fn sigterm_drains_and_exits_0() {
    let (room, mut a, b) = Room::pair("", "");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    a.signal(Signal::TERM);
    assert_eq!(a.wait(), 0, "{}", a.log());
    assert!(a.log().contains("nothing was lost"), "{}", a.log());
    assert!(!room.path("run/a.sock").exists());
    b.wait_for_log("session over");
}

#[test]
fn drain_on_request_stops_the_daemon() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let mut daemon = room.start("a");
    room.ctl(&["drain"]).ok();
    assert_eq!(daemon.wait(), 0, "{}", daemon.log());
}

fn reload(room: &Room, daemon: &Daemon, by_signal: bool) -> u64 {
    let before = room.status("a")["config"]["reloads_total"].as_u64().unwrap();
    if by_signal {
        daemon.signal(Signal::HUP);
        wait_for("reload", || {
            room.status("a")["config"]["reloads_total"].as_u64().filter(|count| *count > before)
        })
    } else {
        room.ctl(&["--node", "a", "reload"]).ok();
        room.status("a")["config"]["reloads_total"].as_u64().unwrap()
    }
}

#[test]
fn a_good_reload_changes_peers_and_forwards() {
    let room = Room::new(&["a", "b"]);
    room.config("b", "peers: [{nodeId: a}]\n");
    let _b = room.start("b");
    room.config("a", "");
    let a = room.start("a");
    assert_eq!(room.ctl(&["--node", "a", "ping", "b"]).code, 4);
    let address = room.address("b");
    let peers = format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n");
    let forward =
        "forwards: [{name: web, listen: \"127.0.0.1:0\", peer: b, target: \"127.0.0.1:9\"}]\n";
    room.config("a", &format!("{peers}{forward}"));
    assert_eq!(reload(&room, &a, true), 1);
    assert_eq!(room.status("a")["forwards"][0]["name"], "web");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    room.config("a", &peers);
    assert_eq!(reload(&room, &a, false), 2);
    assert!(room.status("a")["forwards"].as_array().unwrap().is_empty());
}

#[test]
fn a_forward_is_changed_on_the_socket_it_has() {
    use std::io::Read;
    let (room, a, _b) = Room::pair("", "");
    let head = std::fs::read_to_string(room.path("a.yaml")).unwrap();
    let forwards = |text: &str| {
        write(&room.path("a.yaml"), format!("{head}forwards: [{text}]\n").as_bytes());
        reload(&room, &a, false);
        room.status("a")["forwards"].clone()
    };
    let forward = |name: &str, listen: &str, target: &str| {
        format!("{{name: {name}, listen: \"{listen}\", peer: b, target: \"{target}\"}}")
    };
    let chosen = forwards(&forward("web", "127.0.0.1:0", "127.0.0.1:9"));
    let listen = chosen[0]["listen"].as_str().unwrap().to_owned();
    // A target that is not allowed: the connection is reset, and counted.
    let connect = || {
        let mut stream = std::net::TcpStream::connect(&listen).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        assert!(stream.read(&mut [0; 1]).is_err());
    };
    connect();
    let changed = forwards(&forward("web", "127.0.0.1:0", "127.0.0.1:10"));
    assert_eq!(
        (&changed[0]["target"], &changed[0]["listen"]),
        (&"127.0.0.1:10".into(), &listen.clone().into())
    );
    connect();
    a.wait_for_log("127.0.0.1:10 is not among");
    wait_for("count", || (room.status("a")["forwards"][0]["failed_total"] == 2).then_some(()));
    assert_eq!(room.status("a")["forwards"][0]["connections_total"], 2, "counted on");
    // Two forwards change their places.
    let other = forwards(&format!(
        "{}, {}",
        forward("web", "127.0.0.1:0", "127.0.0.1:10"),
        forward("db", "127.0.0.2:0", "127.0.0.1:11")
    ));
    assert_eq!(other.as_array().unwrap().len(), 2);
    let swapped = forwards(&format!(
        "{}, {}",
        forward("db", "127.0.0.1:0", "127.0.0.1:11"),
        forward("web", "127.0.0.2:0", "127.0.0.1:10")
    ));
    let db = swapped.as_array().unwrap().iter().find(|forward| forward["name"] == "db").unwrap();
    assert_eq!(db["listen"].as_str(), Some(listen.as_str()));
    let web = swapped.as_array().unwrap().iter().find(|forward| forward["name"] == "web").unwrap();
    assert_eq!(web["connections_total"], 2, "it counts on, wherever it listens");
}

#[test]
fn a_token_is_read_again_and_a_log_file_followed() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new(&["a"]);
    let (token, log) = (room.path("token"), room.path("moved.log"));
    write(&token, b"first\n");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = room.config_text("a", "logging: {output: a.out}\n");
    let text = text.replace("admin: {listen", "admin: {tokenFile: token, listen");
    write(&room.path("a.yaml"), text.as_bytes());
    let a = room.start("a");
    std::fs::rename(room.path("a.out"), &log).unwrap();
    a.signal(Signal::HUP);
    wait_for("new log file", || {
        let text = std::fs::read_to_string(room.path("a.out")).unwrap_or_default();
        text.contains("configuration reloaded").then_some(())
    });
    assert!(!std::fs::read_to_string(&log).unwrap().contains("configuration reloaded"));
    write(&token, b"");
    let ran = room.ctl(&["reload"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("tokenFile") && ran.stderr.contains("empty"),
        "{ran:#?}"
    );
    write(&token, b"second\n");
    reload(&room, &a, false);
}

#[test]
fn strangers_do_not_fill_the_log() {
    const STRANGERS: u64 = 60;
    let room = Room::new(&["a"]);
    room.config("a", "");
    let mut a = room.start("a");
    let address = room.address("a");
    for _ in 0..STRANGERS {
        drop(std::net::TcpStream::connect(&address).unwrap());
    }
    wait_for("handshakes to fail", || {
        (room.status("a")["handshakes_failed_total"].as_u64()? >= STRANGERS).then_some(())
    });
    a.signal(Signal::TERM);
    assert_eq!(a.wait(), 0, "{}", a.log());
    let log = a.log();
    let lines = log.lines().filter(|line| line.contains("turned away")).count() as u64;
    assert!((1..STRANGERS / 2).contains(&lines), "{lines} lines: {log}");
    assert!(log.contains("more_since_last_line"), "{log}");
}

#[test]
fn a_warning_that_repeats_is_counted() {
    use std::io::Read;
    const TIMES: usize = 40;
    let forward =
        "forwards: [{name: f, listen: \"127.0.0.1:0\", peer: b, target: \"127.0.0.1:9\"}]\n";
    let (room, mut a, _b) = Room::pair(forward, "");
    let listen = room.status("a")["forwards"][0]["listen"].as_str().unwrap().to_owned();
    for _ in 0..TIMES {
        let mut stream = std::net::TcpStream::connect(&listen).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        assert!(stream.read(&mut [0; 1]).is_err(), "the target is not allowed");
    }
    a.signal(Signal::TERM);
    assert_eq!(a.wait(), 0, "{}", a.log());
    let log = a.log();
    let is_it = |line: &&str| line.contains("a forwarded connection failed peer=");
    let lines = log.lines().filter(is_it).count();
    assert!((1..TIMES / 2).contains(&lines), "{lines} lines: {log}");
    assert!(log.contains("not shown each time: a forwarded connection failed"), "{log}");
}

#[test]
fn clients_that_stay_keep_nobody_from_the_admin_server() {
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    const CLIENTS: usize = 64;
    let room = Room::new(&["a"]);
    room.config("a", "");
    let _a = room.start("a");
    let address = room.status("a")["admin"][0].as_str().unwrap().to_owned();
    let ask = |mut stream: &std::net::TcpStream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")?;
        stream.read(&mut [0; 1024])
    };
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            // Each asks again and again, so that no time-out ends it, until it is told to go.
            scope.spawn(|| {
                let stream = std::net::TcpStream::connect(&address).unwrap();
                stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
                let mut is_first = true;
                while !is_over.load(Ordering::Relaxed) && matches!(ask(&stream), Ok(1..)) {
                    answered
                        .fetch_add(usize::from(std::mem::take(&mut is_first)), Ordering::Relaxed);
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
            });
        }
        wait_for("all clients", || (answered.load(Ordering::Relaxed) == CLIENTS).then_some(()));
        let stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE / 2)).unwrap();
        let answer = ask(&stream);
        is_over.store(true, Ordering::Relaxed);
        assert!(matches!(answer, Ok(1..)), "{answer:?}");
    });
}

#[test]
fn a_bad_reload_changes_nothing_and_says_why() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let a = room.start("a");
    let refused = |words: &str| {
        let ran = room.ctl(&["reload"]);
        assert!(ran.code == 1 && ran.stderr.contains(words), "{ran:#?}");
    };
    room.config("a", "netwrok: {}\n");
    refused("did you mean `network`?");
    // A hint comes first in the text; what counts is the error.
    let status = room.status("a");
    let message = status["health"]["checks"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("error[DWCP-C") && message.contains("netwrok"), "{message}");
    assert_eq!(room.ctl(&["status"]).code, 3, "degraded until a reload is accepted");
    room.config("a", "cluster: {failureDetection: {heartbeatInterval: 2s}}\n");
    refused("a restart is needed to change cluster.failureDetection.heartbeatInterval");
    room.config("a", "adaptive: {switching: {cooldownPeriod: 31s}}\n");
    refused("adaptive.switching.cooldownPeriod");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    room.config(
        "a",
        &format!(
            "peers: [{{nodeId: b, addresses: [\"127.0.0.1:9\"]}}]\n\
             forwards: [{{name: web, listen: \"{address}\", peer: b, target: \"127.0.0.1:9\"}}]\n"
        ),
    );
    refused("cannot listen on");
    assert!(room.status("a")["peers"].as_array().unwrap().is_empty(), "all or nothing");
    room.config("a", "");
    reload(&room, &a, false);
    assert_eq!(room.ctl(&["status"]).code, 0);
}

#[test]
fn certificates_are_reloaded_under_a_live_session() {
    let (room, a, _b) = Room::pair("", "");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    let before = room.status("a")["certificate_not_after"].as_u64().unwrap();
    let keys = room.text("keys");
    common::ctl(&["keys", "init", "--dir", &keys, "--days", "30", "--force", "a"]).ok();
    reload(&room, &a, true);
    let after = room.status("a")["certificate_not_after"].as_u64().unwrap();
    assert!(after < before, "a shorter life than before");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    // A key that does not fit leaves the old one in force.
    write(&room.path("keys/a/node.key"), &noise(100, 1));
    assert_eq!(room.ctl(&["--node", "a", "reload"]).code, 1);
    room.ctl(&["--node", "a", "ping", "b"]).ok();
}

#[test]
fn features_are_reloaded_and_agreed_on_anew() {
    let (room, a, b) = Room::pair(
        "features: {enableCompression: true, enableByzantine: false}\n",
        "files: {receiveDirectory: inbox, keepFree: 0B}\n",
    );
    let _ = a;
    std::fs::create_dir(room.path("inbox")).unwrap();
    let file = room.path("zeros");
    write(&file, &vec![0; 1 << 20]);
    let compressed = || {
        room.ctl(&["--node", "a", "copy", file.to_str().unwrap(), "b:"]).ok();
        let status = room.status("a");
        let paths = status["peers"][0]["paths"].as_array().unwrap().clone();
        paths.iter().map(|path| path["compressed_from_bytes_total"].as_u64().unwrap()).sum::<u64>()
    };
    assert!(compressed() > 0);
    let reload_b = |features: &str| {
        let more = "peers: [{nodeId: a}]\nfiles: {receiveDirectory: inbox, keepFree: 0B}\n";
        room.config("b", &format!("{more}features: {features}\n"));
        let before = room.status("b")["config"]["reloads_total"].as_u64().unwrap();
        b.signal(Signal::HUP);
        wait_for("reload", || {
            (room.status("b")["config"]["reloads_total"].as_u64().unwrap() > before).then_some(())
        });
        room.status("b")["features"].clone()
    };
    // Switched off, it ends its sessions and takes none.
    assert_eq!(reload_b("{enableV3: false, enableCompression: false}")["enable_v3"], false);
    wait_for("end of the session", || {
        (room.status("a")["peers"][0]["state"] == "idle").then_some(())
    });
    assert_eq!(room.ctl(&["--node", "a", "ping", "b"]).code, 4);
    assert!(room.ctl(&["--node", "b", "status"]).stdout.contains("version 3 is off"));
    // Switched on, it takes them, and agrees on no compression with them.
    assert_eq!(reload_b("{enableCompression: false}")["enable_compression"], false);
    wait_for("session", || (room.ctl(&["--node", "a", "ping", "b"]).code == 0).then_some(()));
    assert_eq!(compressed(), 0);
    // One end that wants the HMAC is enough, for sessions that begin then.
    let has_hmac = || {
        let suite = room.status("a")["peers"][0]["paths"][0]["suite"].clone();
        suite.as_str().unwrap().contains("hmac-sha256")
    };
    assert!(has_hmac());
    for byzantine in [false, true] {
        let before = has_hmac();
        let features = reload_b(&format!("{{enableByzantine: {byzantine}}}"));
        assert_eq!(features["enable_byzantine"], byzantine);
        room.ctl(&["--node", "a", "ping", "b"]).ok();
        assert_eq!(has_hmac(), before, "what stands keeps what it agreed on");
        reload_b("{enableV3: false}");
        wait_for("end of the session", || {
            (room.status("a")["peers"][0]["state"] == "idle").then_some(())
        });
        reload_b(&format!("{{enableByzantine: {byzantine}}}"));
        wait_for("session", || (room.ctl(&["--node", "a", "ping", "b"]).code == 0).then_some(()));
        assert_eq!(has_hmac(), byzantine);
    }
}
