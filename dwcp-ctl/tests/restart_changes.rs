//! What a reload refuses, a restart takes: the new process goes by its own configuration, also where it has things of the
//! old one.
#![allow(missing_docs)]

mod common;

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use common::{Daemon, PATIENCE, Room, ctl, skip, wait_for};
use dwcp_tcp::succession::{Bequest, Candidate};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// Restarts `a`, which drains and ends: it has nothing to do. The new process.
fn restart(room: &Room, before: Option<&mut Daemon>) -> u32 {
    let report = room.ctl(&["--node", "a", "restart", "-o", "json"]).ok().json();
    if let Some(before) = before {
        assert_eq!(before.wait(), 0, "{}", before.log());
    }
    u32::try_from(report["pid"].as_u64().unwrap()).unwrap()
}

/// A reload refuses `key`.
fn is_for_a_restart(room: &Room, key: &str) {
    let refused = room.ctl(&["--node", "a", "reload"]);
    assert!(refused.code == 1 && refused.stderr.contains("a restart is needed"), "{refused:#?}");
    assert!(refused.stderr.contains(key), "{refused:#?}");
}

/// The configuration of `a`, with `section`, which the usual one has, replaced by `text`.
fn config(room: &Room, section: &str, text: &str) {
    let usual = room.config_text("a", "");
    let lines = usual.lines().map(|line| if line.starts_with(section) { text } else { line });
    let all = lines.collect::<Vec<_>>().join("\n") + "\n";
    common::write(&room.path("a.yaml"), all.as_bytes());
}

/// The name of a group that this process may give files to.
fn own_group() -> Option<String> {
    let gid = rustix::process::getegid().as_raw().to_string();
    let all = std::fs::read_to_string("/etc/group").unwrap();
    let mut groups = all.lines().map(|line| line.split(':').collect::<Vec<_>>());
    groups.find(|fields| fields[2] == gid).map(|fields| fields[0].to_owned())
}

#[test]
fn the_command_socket_goes_to_another_group() {
    let Some(own) = own_group() else {
        return skip("the group of a command socket", "this user's group has no name");
    };
    let room = Room::new(&["a"]);
    let group = |group: &str| {
        let text = format!("admin: {{listen: [\"127.0.0.1:0\"], group: {group}}}");
        config(&room, "admin:", &text);
    };
    let socket = || std::fs::metadata(room.path("run/a.sock")).unwrap();
    // A new process sees to it once it is the node, which may have been told by then.
    let is_open = |mode: u32, gid: Option<u32>| {
        let is_so =
            || socket().mode() & 0o777 == mode && gid.is_none_or(|gid| socket().gid() == gid);
        wait_for(&format!("mode {mode:o} for {gid:?}"), || is_so().then_some(()));
    };
    group("nobody-has-this-group");
    let mut a = room.start("a");
    assert_eq!(socket().mode() & 0o777, 0o600);
    group(&own);
    is_for_a_restart(&room, "admin.group");
    restart(&room, Some(&mut a));
    is_open(0o660, Some(rustix::process::getegid().as_raw()));
    if rustix::process::geteuid().is_root() {
        // Every system has it.
        group("daemon");
        restart(&room, None);
        is_open(0o660, Some(1));
    }
    group("nobody-has-this-group");
    restart(&room, None);
    // Who had access has none.
    is_open(0o600, None);
    room.ctl(&["--node", "a", "drain"]).ok();
}

/// The processors that a process may run on, as the kernel writes them.
fn processors(pid: impl std::fmt::Display) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap().trim().to_owned()
}

#[test]
fn processors_are_those_of_the_new_configuration() {
    let all = processors("self");
    let first: String = all.chars().take_while(char::is_ascii_digit).collect();
    if first == all {
        return skip("processors after a restart", "there is only one");
    }
    let room = Room::new(&["a"]);
    let bound = format!("performance: {{cpuAffinity: {{enabled: true, cores: [{first}]}}}}\n");
    room.config("a", &bound);
    let mut a = room.start("a");
    assert_eq!(processors(a.id()), first);
    room.config("a", "");
    is_for_a_restart(&room, "performance.cpuAffinity");
    let free = restart(&room, Some(&mut a));
    assert_eq!(processors(free), all);
    room.config("a", &bound);
    let again = restart(&room, None);
    assert_eq!(processors(again), first);
    let unchanged = restart(&room, None);
    assert_eq!(processors(unchanged), first);
    room.ctl(&["--node", "a", "drain"]).ok();
}

/// A configuration with `forwards`, and something that needs a restart: the time of a drain.
fn with_forwards(room: &Room, forwards: &str, drain_timeout: &str) {
    let text = room.config_text("a", &format!("peers: [{{nodeId: b}}]\nforwards: [{forwards}]\n"));
    let text = text.replace("drainTimeout: 5s", &format!("drainTimeout: {drain_timeout}"));
    common::write(&room.path("a.yaml"), text.as_bytes());
}

fn forward(name: &str, listen: &str) -> String {
    format!("{{name: {name}, listen: \"{listen}\", peer: b, target: \"127.0.0.1:9\"}}")
}

/// The forwards of `a`: names and places.
fn listens(room: &Room) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let status = room.status("a");
    let forwards = status["forwards"].as_array().unwrap();
    forwards.iter().map(|one| (text(&one["name"]), text(&one["listen"]))).collect()
}

#[test]
fn a_renamed_forward_keeps_its_socket() {
    let room = Room::new(&["a", "b"]);
    let any = "127.0.0.1:0";
    with_forwards(&room, &[forward("x", any), forward("y", any)].join(", "), "5s");
    let mut a = room.start("a");
    let before = listens(&room);
    // `y` stays what it is, though the renamed one is looked for before it.
    with_forwards(&room, &[forward("z", any), forward("y", any)].join(", "), "6s");
    is_for_a_restart(&room, "session.drainTimeout");
    restart(&room, Some(&mut a));
    let after = listens(&room);
    assert_eq!(after, [("z".into(), before[0].1.clone()), before[1].clone()]);
    room.ctl(&["--node", "a", "drain"]).ok();
    // Likewise on a port that is named.
    let place = after[0].1.clone();
    with_forwards(&room, &forward("z", &place), "5s");
    let mut a = room.start("a");
    with_forwards(&room, &forward("w", &place), "6s");
    is_for_a_restart(&room, "session.drainTimeout");
    restart(&room, Some(&mut a));
    assert_eq!(listens(&room), [("w".to_owned(), place)]);
    room.ctl(&["--node", "a", "drain"]).ok();
}

#[test]
fn a_port_that_moves_to_an_address_that_overlaps_is_named_and_changes_nothing() {
    let room = Room::new(&["a", "b"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (one, all) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    with_forwards(&room, &forward("x", &one), "5s");
    let mut a = room.start("a");
    let refused = |words: &str| {
        let refused = room.ctl(&["--node", "a", "restart"]);
        assert_eq!(refused.code, 1, "{refused:#?}");
        a.wait_for_log(words);
        let said = format!("has that port at {one}");
        assert!(a.log().rsplit(words).next().unwrap().contains(&said), "{}", a.log());
        assert_eq!(listens(&room), [("x".to_owned(), one.clone())]);
    };
    with_forwards(&room, &forward("x", &all), "6s");
    refused(&format!("forward x: cannot listen on {all}"));
    // Likewise for what else listens.
    for (section, text, words) in [
        ("admin:", format!("admin: {{listen: [\"{one}\"]}}"), "admin HTTP: cannot listen on"),
        ("listen:", format!("listen: [\"{all}\"]"), "cannot listen on"),
    ] {
        config(&room, section, &text);
        refused(words);
    }
    with_forwards(&room, &forward("x", "127.0.0.1:0"), "6s");
    restart(&room, Some(&mut a));
    room.ctl(&["--node", "a", "drain"]).ok();
}

#[test]
fn the_command_socket_moves() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let mut a = room.start("a");
    let elsewhere = room.text("else");
    let socket = format!("{elsewhere}/a.sock");
    let text = format!("admin: {{listen: [\"127.0.0.1:0\"], socket: \"{socket}\"}}");
    config(&room, "admin:", &text);
    is_for_a_restart(&room, "admin.socket");
    // One that fails leaves both places as they were.
    let good = std::fs::read_to_string(room.path("a.yaml")).unwrap();
    let bad = format!("{good}byzantine: {{evidenceLog: /nonexistent/e.log}}\n");
    common::write(&room.path("a.yaml"), bad.as_bytes());
    assert_eq!(room.ctl(&["--node", "a", "restart"]).code, 1);
    assert!(room.path("run/a.sock").exists() && !room.path("else/a.sock").exists());
    common::write(&room.path("a.yaml"), good.as_bytes());
    let new = restart(&room, Some(&mut a));
    let at = |directory: &str, words: &[&str]| {
        let global = ["--runtime-dir", directory, "--timeout", "30s", "--node", "a"];
        ctl(&[&global[..], words].concat())
    };
    let pid = |directory: &str| {
        at(directory, &["status", "-o", "json"]).json()["nodes"][0]["pid"].as_u64()
    };
    assert_eq!(pid(&elsewhere), Some(new.into()));
    assert!(!room.path("run/a.sock").exists(), "nobody is there any more");
    // From there on as ever, and back.
    let report = at(&elsewhere, &["restart", "-o", "json"]).ok().json();
    assert_eq!(pid(&elsewhere), report["pid"].as_u64());
    room.config("a", "");
    let report = at(&elsewhere, &["restart", "-o", "json"]).ok().json();
    assert_eq!(room.status("a")["pid"], report["pid"]);
    assert!(!room.path("else/a.sock").exists(), "nobody is there any more");
    room.ctl(&["--node", "a", "drain"]).ok();
}

#[test]
fn another_node_does_not_follow() {
    let room = Room::new(&["a", "b"]);
    room.config("a", "");
    let a = room.start("a");
    common::write(&room.path("a.yaml"), room.config_text("b", "").as_bytes());
    assert_eq!(room.ctl(&["--node", "a", "restart"]).code, 1);
    a.wait_for_log("stop the one and start the other");
    assert_eq!(room.status("a")["pid"], a.id());
}

/// Plays the process before the one that connects to `commands`, and gives it `listener`, until it is ready.
async fn hand_over(commands: &UnixListener, listener: &std::net::TcpListener) -> Candidate {
    let (mut stream, _) = commands.accept().await.unwrap();
    while stream.read_u8().await.unwrap() != b'\n' {}
    stream.write_all(b"{\"answer\":\"done\",\"result\":{\"node\":\"a\"}}\n").await.unwrap();
    let socket = listener.try_clone().unwrap().into();
    let sockets = vec![("listen 127.0.0.1:0".into(), socket)];
    let bequest = Bequest { incarnation: 7, sockets, ..Bequest::default() };
    bequest.send(stream).await.unwrap().ready().await.unwrap().expect("it has all it needs")
}

#[test]
fn a_socket_goes_by_new_options_once_its_new_process_is_the_node() {
    let room = Room::new(&["a"]);
    room.config("a", "network: {tcp: {noDelay: false}}\n");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let is_undelayed = || SockRef::from(&listener).tcp_nodelay().unwrap();
    SockRef::from(&listener).set_tcp_nodelay(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let commands =
        runtime.block_on(async { UnixListener::bind(room.path("former.sock")).unwrap() });
    let ready = || {
        let taker = Command::new(env!("CARGO_BIN_EXE_dwcpd"))
            .args(["--take-over", "--take-over-from", &room.text("former.sock")])
            .args(["--config", &room.text("a.yaml"), "--runtime-dir", &room.text("run")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let given = async { tokio::time::timeout(PATIENCE, hand_over(&commands, &listener)).await };
        (taker, runtime.block_on(given).expect("it is ready"))
    };
    // One that is not accepted has changed nothing for the process that is the node still.
    let (mut taker, candidate) = ready();
    assert!(is_undelayed());
    drop(candidate);
    assert_eq!(wait_for("end", || taker.try_wait().unwrap()).code(), Some(1));
    assert!(is_undelayed());
    let (mut taker, candidate) = ready();
    let _relay = runtime.block_on(candidate.accept()).unwrap();
    wait_for("new options", || (!is_undelayed()).then_some(()));
    room.ctl(&["--node", "a", "drain"]).ok();
    assert_eq!(wait_for("end", || taker.try_wait().unwrap()).code(), Some(0));
}
