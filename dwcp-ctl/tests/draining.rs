//! How a daemon stops: what runs may end, what is cut off is told.
#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{Daemon, PATIENCE, Room, wait_for};
use rustix::process::Signal;

/// Sends every byte back.
fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

/// A pair with a forward from `a` over `b` to an echo, one connection open through it; what runs at the end
/// of `a` may take `drain_timeout`.
fn pair_with_connection(drain_timeout: &str) -> (Room, Daemon, Daemon, TcpStream, String) {
    pair_in(&[], drain_timeout)
}

/// The same with the words of `prefix` before the command of `a`.
fn pair_in(prefix: &[&str], drain_timeout: &str) -> (Room, Daemon, Daemon, TcpStream, String) {
    let target = echo_server();
    let room = Room::new(&["a", "b", "c"]);
    room.config("b", &format!("peers: [{{nodeId: a}}]\nforwardTargets: [\"{target}\"]\n"));
    let b = room.start("b");
    let more = format!(
        "peers: [{{nodeId: b, addresses: [\"{}\"]}}, {{nodeId: c}}]\n\
         forwards: [{{name: echo, listen: \"127.0.0.1:0\", peer: b, target: \"{target}\"}}]\n",
        room.address("b")
    );
    let text = room.config_text("a", &more).replace("drainTimeout: 5s", drain_timeout);
    common::write(&room.path("a.yaml"), text.as_bytes());
    let a = if prefix.is_empty() { room.start("a") } else { room.start_in(prefix, "a") };
    let listen = room.status("a")["forwards"][0]["listen"].as_str().unwrap().to_owned();
    let stream = TcpStream::connect(&listen).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    echoes(&stream);
    (room, a, b, stream, listen)
}

fn echoes(mut stream: &TcpStream) {
    let mut back = [0; 5];
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

#[test]
fn what_runs_at_sigterm_goes_on_to_its_end_and_nothing_new_begins() {
    let (room, mut a, _b, stream, listen) = pair_with_connection("drainTimeout: 10m");
    let admin = room.status("a")["admin"][0].as_str().unwrap().to_owned();
    a.signal(Signal::TERM);
    a.wait_for_log("draining");
    assert_eq!(common::http(&admin, "/readyz").0, 503);
    assert_eq!(common::http(&admin, "/livez").0, 200);
    assert!(common::http(&admin, "/health").1.contains("under way: 1 forwarded connection"));
    let ran = room.ctl(&["--node", "a", "ping", "b"]);
    assert!(ran.code == 1 && ran.stderr.contains("drains"), "{ran:#?}");
    assert!(TcpStream::connect(&listen).is_err(), "new connections are refused");
    // The peer's new channels, too.
    let ran = room.ctl(&["--node", "b", "bench", "latency", "a", "--duration", "100ms"]);
    assert!(ran.code == 1 && ran.stderr.contains("drains"), "{ran:#?}");
    echoes(&stream);
    drop(stream);
    assert_eq!(a.wait(), 0, "{}", a.log());
    assert!(a.log().contains("nothing was lost"));
}

#[test]
fn a_session_that_begins_during_a_drain_is_closed() {
    let (room, mut a, _b, stream, _) = pair_with_connection("drainTimeout: 10m");
    let address = room.address("a");
    room.config("c", &format!("peers: [{{nodeId: a, addresses: [\"{address}\"]}}]\n"));
    let c = room.start("c");
    a.signal(Signal::TERM);
    a.wait_for_log("draining");
    // It may get an answer before the end.
    room.ctl(&["--node", "c", "ping", "a"]);
    c.wait_for_log("session up");
    wait_for("end of the session", || {
        (room.status("c")["peers"][0]["state"] == "idle").then_some(())
    });
    echoes(&stream);
    drop(stream);
    assert_eq!(a.wait(), 0, "{}", a.log());
}

#[test]
fn what_outlives_the_deadline_is_cut_off_and_told() {
    let (_room, mut a, b, mut stream, _) = pair_with_connection("drainTimeout: 100ms");
    a.signal(Signal::TERM);
    assert_eq!(a.wait(), 1, "{}", a.log());
    assert!(a.log().contains("1 forwarded connection"), "{}", a.log());
    assert!(!a.log().contains("nothing was lost"), "{}", a.log());
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no early end");
    b.wait_for_log("session over");
}

#[test]
fn a_drain_on_request_answers_with_what_came_of_it() {
    let (room, mut a, _b, stream, _) = pair_with_connection("drainTimeout: 10m");
    let line = ["--node", "a", "--timeout", "120s", "drain", "-o", "json"];
    let json = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let run = room.text("run");
            common::ctl(&[&["--runtime-dir", run.as_str()], &line[..]].concat())
        });
        a.wait_for_log("draining");
        let run = room.text("run");
        let early = ["--runtime-dir", &run, "--node", "a", "--timeout", "100ms", "drain"];
        let ran = common::ctl(&early);
        assert!(ran.code == 3 && ran.stdout.contains("1 forwarded connection"), "{ran:#?}");
        let ran = room.ctl(&["--node", "a", "reload"]);
        assert!(ran.code == 1 && ran.stderr.contains("drains"), "{ran:#?}");
        drop(stream);
        waiting.join().unwrap().ok().json()
    });
    assert_eq!(json["schema"], "dwcp.drain/v1");
    assert_eq!(json["is_over"], true);
    assert_eq!(json["cut_off"]["forwards"], 0);
    assert_eq!(a.wait(), 0, "{}", a.log());
    wait_for("end of the socket", || (!room.path("run/a.sock").exists()).then_some(()));
}

#[test]
fn a_copy_under_way_ends_before_the_node_does() {
    let room = Room::new(&["a", "b"]);
    std::fs::create_dir(room.path("inbox")).unwrap();
    let text = room
        .config_text("b", "peers: [{nodeId: a}]\nfiles: {receiveDirectory: inbox, keepFree: 0B}\n");
    common::write(
        &room.path("b.yaml"),
        text.replace("drainTimeout: 5s", "drainTimeout: 10m").as_bytes(),
    );
    let mut b = room.start("b");
    let address = room.address("b");
    room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    let a = room.start("a");
    let file = room.path("large");
    let bytes = common::noise(12 << 20, 5);
    common::write(&file, &bytes);
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            let how = ["--limit", "2MB", "--no-compress"];
            let what = [file.to_str().unwrap(), "b:"];
            room.ctl(&[&["--node", "a", "copy"], &how[..], &what].concat())
        });
        wait_for("beginning of the file", || {
            std::fs::read_dir(room.path("inbox")).unwrap().next().map(|_| ())
        });
        // The sender stands still until the drain has begun, however long that takes: the copy is under way then.
        a.signal(Signal::STOP);
        b.signal(Signal::TERM);
        b.wait_for_log("draining");
        let log = b.log();
        let line = log.lines().find(|line| line.contains("draining")).unwrap();
        assert!(line.contains("1 copy"), "{line}");
        a.signal(Signal::CONT);
        copying.join().unwrap().ok();
    });
    assert_eq!(b.wait(), 0, "{}", b.log());
    assert!(std::fs::read(room.path("inbox/large")).unwrap() == bytes);
}

#[test]
fn the_service_manager_hears_of_the_drain_and_goes_on_hearing_of_life() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = |words: &str| loop {
        let mut buffer = [0; 512];
        let count = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{words}: {error}"));
        if String::from_utf8_lossy(&buffer[..count]).contains(words) {
            return;
        }
    };
    let notify = format!("NOTIFY_SOCKET={}", path.display());
    let prefix = ["env", notify.as_str(), "WATCHDOG_USEC=400000"];
    let (_room, mut a, _b, stream, _) = pair_in(&prefix, "drainTimeout: 10m");
    heard("READY=1");
    a.signal(Signal::TERM);
    heard("STOPPING=1");
    heard("WATCHDOG=1");
    drop(stream);
    assert_eq!(a.wait(), 0, "{}", a.log());
}
