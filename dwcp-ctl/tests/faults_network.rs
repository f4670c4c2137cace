//! What a network does to connections between two nodes, on real sockets: a stream through a forward sees nothing of it.
#![allow(missing_docs)]

mod common;

use std::net::TcpStream;

use common::cable::{Cable, echo, say};
use common::{Daemon, Room, noise, wait_for, write};
use serde_json::Value;

/// Two nodes with a cable between them, and a stream through a forward to an echo.
struct Stage {
    room: Room,
    cable: Cable,
    stream: TcpStream,
    _daemons: (Daemon, Daemon),
}

/// Quick to notice, so that a test need not wait long.
const QUICK: &str =
    "cluster: {failureDetection: {heartbeatInterval: 200ms, timeoutMultiplier: 3}}\n";

impl Stage {
    /// `time_to_live` is that of sessions, as the configuration says it.
    fn new(time_to_live: &str) -> Self {
        let target = echo();
        let room = Room::new(&["a", "b"]);
        let config = |node: &str, more: &str| {
            let session = format!("drainTimeout: 5s, timeToLive: {time_to_live}");
            let text = room.config_text(node, &format!("{QUICK}{more}"));
            let text = text.replace("drainTimeout: 5s", &session);
            write(&room.path(&format!("{node}.yaml")), text.as_bytes());
        };
        config("b", &format!("peers: [{{nodeId: a}}]\nforwardTargets: [\"{target}\"]\n"));
        let b = room.start("b");
        let cable = Cable::to(&room.address("b"));
        let address = &cable.address;
        config(
            "a",
            &format!(
                "peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n\
                 forwards: [{{name: echo, listen: \"127.0.0.1:0\", peer: b, target: \"{target}\"}}]\n"
            ),
        );
        let a = room.start("a");
        room.ctl(&["--node", "a", "ping", "b"]).ok();
        let listen = room.status("a")["forwards"][0]["listen"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(listen).unwrap();
        say(&mut stream, b"hello").unwrap();
        Self { room, cable, stream, _daemons: (a, b) }
    }

    fn say(&mut self) {
        say(&mut self.stream, &noise(100_000, 7)).unwrap();
    }

    fn peer(&self, node: &str) -> Value {
        self.room.status(node)["peers"][0].clone()
    }

    fn count(&self, node: &str, what: &str) -> u64 {
        self.peer(node)[what].as_u64().unwrap()
    }

    /// All that was said has been acked, so that of what is said next alone anything can be in doubt.
    fn settle(&self) {
        for node in ["a", "b"] {
            let is_settled = || (self.count(node, "unacked_messages") == 0).then_some(());
            wait_for("acks of all", is_settled);
        }
    }

    /// Of the node that was said one message which nobody took: it is in doubt, and nothing else is. It was the stream's
    /// third, behind the target's name and the first word.
    fn check_doubt(&self) {
        wait_for("doubt", || (self.count("a", "in_doubt_total") > 0).then_some(()));
        assert_eq!(self.count("a", "in_doubt_total"), 1);
        let log = self._daemons.0.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains("messages in doubt")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("from=3 count=1"), "{told:?}");
    }

    /// Nothing was lost, and each end has come back at least so many times.
    fn check(&self, recoveries: u64) {
        for node in ["a", "b"] {
            assert_eq!(self.count(node, "in_doubt_total"), 0);
            let back = self.count(node, "reconnects_total") + self.count(node, "failovers_total");
            assert!(back >= recoveries, "{node}: {back} of {recoveries}");
        }
    }
}

#[test]
fn a_reset_connection_is_followed_by_another() {
    let mut stage = Stage::new("60s");
    for _ in 0..5 {
        stage.cable.reset();
        stage.say();
    }
    stage.check(5);
}

#[test]
fn a_black_hole_is_noticed_and_left() {
    let mut stage = Stage::new("60s");
    for _ in 0..2 {
        stage.cable.black_hole();
        stage.say();
    }
    stage.check(2);
}

#[test]
fn a_connection_that_only_one_end_has_lost_is_left_by_both() {
    let mut stage = Stage::new("60s");
    for _ in 0..3 {
        stage.cable.half_open();
        stage.say();
    }
    stage.check(3);
}

#[test]
fn another_address_is_the_same_node() {
    let mut stage = Stage::new("60s");
    for last in [2, 77, 3] {
        stage.cable.move_to(last);
        stage.cable.reset();
        stage.say();
        let remote = stage.peer("b")["paths"][0]["remote"].as_str().unwrap().to_owned();
        assert!(remote.starts_with(&format!("127.0.0.{last}:")), "{remote}");
    }
    stage.check(3);
}

#[test]
fn an_outage_shorter_than_the_time_to_live_is_waited_out() {
    let mut stage = Stage::new("60s");
    stage.cable.plug(false);
    stage.cable.reset();
    wait_for("holding", || (stage.peer("a")["state"] == "holding").then_some(()));
    let status = stage.room.ctl(&["--node", "a", "status"]);
    assert!(status.code == 3 && status.stdout.contains("DWCP-H022"), "{status:#?}");
    stage.cable.plug(true);
    stage.say();
    stage.check(1);
}

#[test]
fn an_outage_longer_than_the_time_to_live_ends_the_session_and_its_streams() {
    let mut stage = Stage::new("1s");
    let before = stage.peer("a")["session"].clone();
    stage.settle();
    stage.cable.plug(false);
    stage.cable.reset();
    let ended = say(&mut stage.stream, b"into the void").unwrap_err();
    assert_eq!(
        ended.kind(),
        std::io::ErrorKind::ConnectionReset,
        "the application is told: {ended}"
    );
    stage.cable.plug(true);
    let after = wait_for("session", || {
        let peer = stage.peer("a");
        peer["session"].is_string().then(|| peer["session"].clone())
    });
    assert_ne!(before, after);
    stage.check_doubt();
    assert_eq!(stage.count("b", "in_doubt_total"), 0, "it had nothing to say");
}

#[test]
fn a_peer_that_is_killed_is_gone_after_the_time_to_live() {
    let mut stage = Stage::new("1s");
    stage.settle();
    let pid = rustix::process::Pid::from_raw(stage._daemons.1.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    stage._daemons.1.wait();
    let ended = wait_for("end", || say(&mut stage.stream, b"anybody there?").err());
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "{ended}");
    stage.check_doubt();
}
