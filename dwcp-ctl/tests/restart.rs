//! A new process of a node follows the old one: no connection is refused, none is broken, nothing is lost.
#![allow(missing_docs)]

mod common;

use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use common::cable::{Cable, echo, say};
use common::{Daemon, END_PATIENCE, Ran, Room, wait_for, wait_within};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Pid, Signal, kill_process};

/// Opening does not wait.
const NONBLOCK: i32 = OFlags::NONBLOCK.bits() as i32;

/// Connects, speaks and leaves, again and again, until it is dropped.
struct Visitors {
    is_over: Arc<AtomicBool>,
    visits: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Visitors {
    /// Those of a forward to an echo.
    fn new(address: &str) -> Self {
        let address = address.to_owned();
        Self::of(3, move || {
            let mut stream = TcpStream::connect(&address).expect("never refused");
            for word in [&b"hello"[..], &[7; 5_000]] {
                say(&mut stream, word).expect("never broken");
            }
        })
    }

    /// Those of the admin server of `node`, as a balancer looks whether it is well, and those of its command socket.
    fn of_node(room: &Room, node: &str) -> [Self; 2] {
        let address = room.status(node)["admin"][0].as_str().unwrap().to_owned();
        let socket = room.path(&format!("run/{node}.sock"));
        let admin = Self::of(3, move || {
            for path in ["/livez", "/readyz"] {
                let (code, body) = common::http(&address, path);
                assert_eq!(code, 200, "{body}");
            }
        });
        let commands = Self::of(2, move || {
            let answer = command(&mut UnixStream::connect(&socket).expect("never refused"), STATUS);
            assert!(answer.starts_with(r#"{"answer":"done""#), "{answer}");
        });
        [admin, commands]
    }

    /// `count` that do what `visit` does.
    fn of(count: usize, visit: impl Fn() + Send + Sync + 'static) -> Self {
        let (is_over, visits) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let visit = Arc::new(visit);
        let thread = |_| {
            let (visit, is_over, visits) = (visit.clone(), is_over.clone(), visits.clone());
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    visit();
                    visits.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        Self { threads: (0..count).map(thread).collect(), is_over, visits }
    }

    /// Waits for some more of them.
    fn more(&self) {
        let before = self.visits.load(Ordering::Relaxed);
        wait_for("visitors", || {
            assert!(self.threads.iter().all(|thread| !thread.is_finished()), "one failed");
            (self.visits.load(Ordering::Relaxed) > before + 20).then_some(())
        });
    }

    fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// A command, as it is on the command socket.
const STATUS: &[u8] = b"{\"command\":\"status\"}\n";
const DRAIN: &[u8] = b"{\"command\":\"drain\"}\n";

/// Says `request` on a connection to the command socket; the answer.
fn command(stream: &mut UnixStream, request: &[u8]) -> String {
    stream.write_all(request).expect("never broken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("never broken");
    answer
}

/// Asks for `/readyz` on a connection that may go on after it; the answer's head.
fn is_ready(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").expect("never broken");
    // Nothing comes behind the answer: nothing else was asked.
    let mut answer = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        assert_ne!(answer.read_line(&mut text).expect("never broken"), 0, "{text}");
    }
    let text = text.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("it has one").parse().unwrap()];
    answer.read_exact(&mut body).expect("the whole body");
    text
}

/// A process that a daemon has started, and that is not this test's child. Dropping it ends it.
struct Stranger(u32);

impl Stranger {
    /// The process that `daemon` has started and that has not ended.
    fn child_of(daemon: &Daemon) -> Self {
        let is_child = |pid: &u32| stat(*pid).is_some_and(|(_, parent)| parent == daemon.id());
        let mut all = std::fs::read_dir("/proc").unwrap().flatten();
        let child = all.find_map(|entry| entry.file_name().to_str()?.parse().ok().filter(is_child));
        Self(child.expect("it has started one"))
    }

    fn is_there(&self) -> bool {
        // Whoever inherits orphans may be slow to bury them.
        stat(self.0).is_some_and(|(state, _)| state != "Z")
    }

    #[track_caller]
    fn wait(&self) {
        wait_within(END_PATIENCE, "end of a process", || (!self.is_there()).then_some(()));
    }
}

/// The state of a process, and its parent.
fn stat(pid: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0 as i32).unwrap();
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Stands between a new process and its readiness: it has taken over all that the old one has, and reads its token from
/// a pipe, in which this end writes nothing.
struct Gate {
    file: PathBuf,
    pipe: File,
}

impl Gate {
    fn file(room: &Room) -> String {
        room.text("token")
    }

    /// Has `start` begin a hand-over, and waits until the new process stands here.
    fn stop<T>(room: &Room, start: impl FnOnce() -> T) -> (Self, T) {
        let file = room.path("token");
        std::fs::remove_file(&file).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &file, FileType::Fifo, mode, 0).unwrap();
        let started = start();
        // It can be opened like this once the other end is.
        let open = || OpenOptions::new().write(true).custom_flags(NONBLOCK).open(&file).ok();
        let pipe = wait_for("new process at the gate", open);
        (Self { file, pipe }, started)
    }

    /// Lets those after it through.
    fn open_behind(&self) {
        let next = self.file.with_extension("next");
        write_token(&next);
        std::fs::rename(&next, &self.file).unwrap();
    }

    /// Lets it through, if it is still there, and those after it.
    fn open(mut self) {
        self.open_behind();
        let _ = self.pipe.write_all(b"word\n");
    }
}

fn write_token(path: &Path) {
    common::write(path, b"word\n");
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Asks for a restart of `a` in the background; what `dwcp-ctl` said.
fn ask(room: &Room) -> JoinHandle<Ran> {
    let run = room.text("run");
    std::thread::spawn(move || {
        common::ctl(&["--runtime-dir", &run, "--timeout", "60s", "--node", "a", "restart"])
    })
}

/// Starts a process that takes over from `a` by itself.
fn take_over(room: &Room) -> std::process::Child {
    let log = OpenOptions::new().create(true).append(true).open(room.path("taker.log")).unwrap();
    std::process::Command::new(env!("CARGO_BIN_EXE_dwcpd"))
        .args(["--take-over", "--config", &room.text("a.yaml")])
        .args(["--runtime-dir", &room.text("run")])
        .stderr(log)
        .spawn()
        .unwrap()
}

/// `a` serves as if nothing had been asked, and its next restart succeeds.
#[track_caller]
fn goes_on(room: &Room, a: &mut Daemon, stream: &mut TcpStream) -> Stranger {
    say(stream, b"as before").unwrap();
    assert!(a.is_running() && room.status("a")["pid"] == a.id());
    let new = restart(room, "a");
    say(stream, b"in the old process").unwrap();
    new
}

/// Two nodes with a forward from `a` to an echo behind `b`, joined by a cable; where the forward listens.
fn nodes() -> (Room, Daemon, Daemon, Cable, String) {
    nodes_with("")
}

/// The same, with `more` in the configuration of `a`.
fn nodes_with(more: &str) -> (Room, Daemon, Daemon, Cable, String) {
    let target = echo();
    let forward = format!(
        "forwards: [{{name: echo, listen: \"127.0.0.1:0\", peer: b, target: \"{target}\"}}]\n"
    );
    let room = Room::new(&["a", "b"]);
    write_token(&room.path("token"));
    let config = |node: &str, more: &str| {
        let text = room.config_text(node, more).replace("drainTimeout: 5s", "drainTimeout: 60s");
        let text =
            text.replace("admin: {", &format!("admin: {{tokenFile: \"{}\", ", Gate::file(&room)));
        common::write(&room.path(&format!("{node}.yaml")), text.as_bytes());
    };
    config("b", &format!("peers: [{{nodeId: a}}]\nforwardTargets: [\"{target}\"]\n"));
    let b = room.start("b");
    let cable = Cable::to(&room.address("b"));
    let address = &cable.address;
    config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n{forward}{more}"));
    let a = room.start("a");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    let address = room.status("a")["forwards"][0]["listen"].as_str().unwrap().to_owned();
    (room, a, b, cable, address)
}

fn restart(room: &Room, node: &str) -> Stranger {
    let before = room.status(node)["pid"].as_u64().unwrap();
    let report = room.ctl(&["--node", node, "restart", "-o", "json"]).ok().json();
    assert_eq!(report["schema"], "dwcp.restart/v1");
    assert_eq!(report["former_pid"], before);
    let new = Stranger(u32::try_from(report["pid"].as_u64().unwrap()).unwrap());
    assert_eq!(room.status(node)["pid"], new.0);
    new
}

/// Everything ends in good order; what the old processes had to say is in the logs.
fn stop(room: &Room, processes: Vec<(&str, Stranger)>) {
    for (node, process) in processes {
        room.ctl(&["--node", node, "drain"]).ok();
        process.wait();
    }
}

#[test]
fn a_restart_of_either_node_breaks_and_refuses_nothing() {
    let (room, mut a, mut b, cable, address) = nodes();
    let mut long = TcpStream::connect(&address).unwrap();
    say(&mut long, b"before").unwrap();
    let visitors = Visitors::new(&address);
    visitors.more();
    let programs = [Visitors::of_node(&room, "a"), Visitors::of_node(&room, "b")];
    let new_b = restart(&room, "b");
    visitors.more();
    say(&mut long, b"the target's node has another process").unwrap();
    let new_a = restart(&room, "a");
    visitors.more();
    say(&mut long, b"and the forward's node, too").unwrap();
    // The connection under the old sessions breaks: they come back through the new processes.
    cable.reset();
    visitors.more();
    say(&mut long, b"after a cut").unwrap();
    assert!(a.is_running() && b.is_running(), "they have the long connection");
    drop(long);
    visitors.more();
    assert_eq!((a.wait(), b.wait()), (0, 0), "they drained in good order");
    for daemon in [&a, &b] {
        daemon.wait_for_log("stopped; nothing was lost");
    }
    visitors.more();
    visitors.end();
    programs.into_iter().flatten().for_each(Visitors::end);
    stop(&room, vec![("a", new_a), ("b", new_b)]);
    for (node, log) in [("a", a.log()), ("b", b.log())] {
        assert!(!log.contains("in doubt") && !log.contains("ERROR"), "{node}: {log}");
    }
}

#[test]
fn programs_on_the_machine_see_nothing_of_restarts() {
    let (room, _a, _b, _cable, _address) = nodes();
    let visitors = Visitors::of_node(&room, "a");
    let mut processes: Vec<Stranger> = Vec::new();
    for _ in 0..4 {
        visitors.iter().for_each(Visitors::more);
        processes.push(restart(&room, "a"));
    }
    visitors.iter().for_each(Visitors::more);
    visitors.into_iter().for_each(Visitors::end);
    stop(&room, processes.pop().map(|last| ("a", last)).into_iter().collect());
    processes.iter().for_each(Stranger::wait);
}

#[test]
fn whoever_was_connected_before_a_restart_is_answered_after_it() {
    let (room, mut a, _b, _cable, _address) = nodes();
    let address = room.status("a")["admin"][0].as_str().unwrap().to_owned();
    let socket = room.path("run/a.sock");
    // Each is taken by the old process, before those that come after it.
    let [mut used, mut fresh, idle] = [(); 3].map(|()| TcpStream::connect(&address).unwrap());
    let [mut one, mut other] = [(); 2].map(|()| UnixStream::connect(&socket).unwrap());
    assert!(!is_ready(&mut used).contains("connection: close"), "it could go on");
    assert_eq!(common::http(&address, "/livez").0, 200);
    assert_eq!(room.status("a")["pid"], a.id());
    let new = restart(&room, "a");
    a.wait_for_log("another process is the node from now on");
    for stream in [&mut used, &mut fresh] {
        let head = is_ready(stream);
        assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
        assert_eq!(stream.read(&mut [0]).expect("never broken"), 0);
    }
    let answer = command(&mut one, STATUS);
    assert!(answer.starts_with(r#"{"answer":"done""#), "{answer}");
    let refused = command(&mut other, DRAIN);
    assert!(refused.contains("ask again"), "it is not the node any more: {refused}");
    // One that says nothing does not keep it.
    assert_eq!(a.wait(), 0, "{}", a.log());
    drop(idle);
    assert_eq!(room.status("a")["pid"], new.0);
    stop(&room, vec![("a", new)]);
}

#[test]
fn a_session_of_the_old_process_is_cut_while_it_drains() {
    let (room, mut a, _b, cable, address) = nodes();
    let mut long = TcpStream::connect(&address).unwrap();
    say(&mut long, b"before").unwrap();
    // `b` hears of the new process of `a` and keeps the session with the old one, which dialled it.
    let new_a = restart(&room, "a");
    wait_for("both sessions", || {
        let status = room.status("b");
        (status["peers"][0]["leaving_sessions"] == 1).then_some(())
    });
    for _ in 0..3 {
        cable.reset();
        say(&mut long, b"after a cut").unwrap();
    }
    drop(long);
    assert_eq!(a.wait(), 0);
    wait_for("end of the old session", || {
        (room.status("b")["peers"][0]["leaving_sessions"] == 0).then_some(())
    });
    stop(&room, vec![("a", new_a)]);
}

#[test]
fn a_new_process_that_cannot_start_leaves_the_old_one_as_it_is() {
    let (room, a, _b, _cable, address) = nodes();
    let good = std::fs::read_to_string(room.path("a.yaml")).unwrap();
    common::write(&room.path("a.yaml"), b"netwrok: {}\n");
    let refused = room.ctl(&["--node", "a", "restart"]);
    assert!(refused.code == 1 && refused.stderr.contains("exit status: 78"), "{refused:#?}");
    let mut stream = TcpStream::connect(&address).unwrap();
    say(&mut stream, b"as before").unwrap();
    assert_eq!(room.status("a")["pid"], a.id());
    // Nobody but the node's own processes may take it over without being asked: a second daemon is refused as ever.
    common::write(&room.path("a.yaml"), good.as_bytes());
    let mut second = room.spawn("a");
    assert_eq!(second.wait(), 1, "{}", second.log());
    // By signal, as an operator's unit would.
    a.signal(Signal::USR2);
    let pid = wait_for("new process", || {
        let pid = room.status("a")["pid"].as_u64().unwrap();
        (pid != u64::from(a.id())).then_some(pid)
    });
    say(&mut stream, b"still").unwrap();
    stop(&room, vec![("a", Stranger(u32::try_from(pid).unwrap()))]);
}

#[test]
fn taking_over_from_nobody_is_said_in_words() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dwcpd"))
        .args(["--take-over", "--config"])
        .arg(room.path("a.yaml"))
        .arg("--runtime-dir")
        .arg(room.path("run"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("cannot take over from the daemon at"), "{words}");
}

#[test]
fn of_two_hand_overs_at_once_the_second_is_refused() {
    let (room, mut a, _b, _cable, address) = nodes();
    let mut stream = TcpStream::connect(&address).unwrap();
    say(&mut stream, b"before").unwrap();
    let (gate, mut first) = Gate::stop(&room, || take_over(&room));
    let refused = room.ctl(&["--node", "a", "restart"]);
    assert!(refused.code == 1 && refused.stderr.contains("under way already"), "{refused:#?}");
    a.signal(Signal::USR2);
    let mut second = take_over(&room);
    assert_eq!(wait_for("end", || second.try_wait().unwrap()).code(), Some(1));
    let words = std::fs::read_to_string(room.path("taker.log")).unwrap();
    assert!(words.contains("under way already"), "{words}");
    assert_eq!(room.status("a")["pid"], a.id());
    gate.open();
    wait_for("the first", || (room.status("a")["pid"] == first.id()).then_some(()));
    say(&mut stream, b"in the old process").unwrap();
    drop(stream);
    assert_eq!(a.wait(), 0, "{}", a.log());
    room.ctl(&["--node", "a", "drain"]).ok();
    assert_eq!(wait_for("end", || first.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn of_a_restart_and_a_process_that_takes_over_the_second_is_refused() {
    let (room, mut a, _b, _cable, address) = nodes();
    let mut stream = TcpStream::connect(&address).unwrap();
    let (gate, asked) = Gate::stop(&room, || ask(&room));
    let new = Stranger::child_of(&a);
    let mut other = take_over(&room);
    assert_eq!(wait_for("end", || other.try_wait().unwrap()).code(), Some(1));
    let refused = room.ctl(&["--node", "a", "restart"]);
    assert!(refused.code == 1 && refused.stderr.contains("under way already"), "{refused:#?}");
    gate.open();
    asked.join().unwrap().ok();
    assert_eq!(room.status("a")["pid"], new.0);
    say(&mut stream, b"in the old process").unwrap();
    drop(stream);
    assert_eq!(a.wait(), 0, "{}", a.log());
    stop(&room, vec![("a", new)]);
}

#[test]
fn a_new_process_that_is_killed_before_it_is_ready_changes_nothing() {
    let (room, mut a, _b, _cable, address) = nodes();
    let mut stream = TcpStream::connect(&address).unwrap();
    let (gate, asked) = Gate::stop(&room, || ask(&room));
    gate.open_behind();
    drop(Stranger::child_of(&a));
    let failed = asked.join().unwrap();
    assert!(failed.code == 1 && failed.stderr.contains("signal: 9"), "{failed:#?}");
    let new = goes_on(&room, &mut a, &mut stream);
    stop(&room, vec![("a", new)]);
}

#[test]
fn a_new_process_without_an_old_one_ends() {
    let (room, mut a, _b, _cable, _address) = nodes();
    let (gate, asked) = Gate::stop(&room, || ask(&room));
    let new = Stranger::child_of(&a);
    a.signal(Signal::KILL);
    a.wait();
    gate.open();
    new.wait();
    assert_ne!(asked.join().unwrap().code, 0);
    a.wait_for_log("does not make way");
    assert_eq!(a.log().matches("dwcpd is ready").count(), 1, "{}", a.log());
    drop(room.start("a"));
}

#[test]
fn a_new_process_that_fails_after_it_has_taken_over_leaves_the_command_socket() {
    let (room, mut a, _b, _cable, address) = nodes();
    let mut stream = TcpStream::connect(&address).unwrap();
    let good = std::fs::read_to_string(room.path("a.yaml")).unwrap();
    let bad = format!("{good}byzantine: {{evidenceLog: /nonexistent/e.log}}\n");
    common::write(&room.path("a.yaml"), bad.as_bytes());
    let failed = room.ctl(&["--node", "a", "restart"]);
    assert!(failed.code == 1 && failed.stderr.contains("exit status"), "{failed:#?}");
    a.wait_for_log("/nonexistent/e.log");
    common::write(&room.path("a.yaml"), good.as_bytes());
    let new = goes_on(&room, &mut a, &mut stream);
    stop(&room, vec![("a", new)]);
}

#[test]
fn a_node_that_is_told_to_stop_ends_the_hand_over_first() {
    for is_started in [true, false] {
        let (room, mut a, _b, _cable, _address) = nodes();
        let (gate, taker) = Gate::stop(&room, || match is_started {
            true => Err(ask(&room)),
            false => Ok(take_over(&room)),
        });
        let child = is_started.then(|| Stranger::child_of(&a));
        a.signal(Signal::TERM);
        assert_eq!(a.wait(), 0, "{}", a.log());
        gate.open();
        if let Some(child) = &child {
            child.wait();
        }
        match taker {
            Ok(mut taker) => {
                assert_eq!(wait_for("end", || taker.try_wait().unwrap()).code(), Some(1));
            }
            Err(asked) => assert_ne!(asked.join().unwrap().code, 0),
        }
        assert!(!room.path("run/a.sock").exists(), "it removes what is its own");
        assert_eq!(a.log().matches("dwcpd is ready").count(), 1, "{}", a.log());
    }
}

#[test]
fn a_reload_during_a_hand_over_waits_for_its_end() {
    let (room, mut a, _b, _cable, address) = nodes();
    let mut stream = TcpStream::connect(&address).unwrap();
    let sha = |room: &Room| room.status("a")["config"]["sha256"].as_str().unwrap().to_owned();
    let change = |room: &Room, how: &str| {
        let text = std::fs::read_to_string(room.path("a.yaml")).unwrap();
        common::write(&room.path("a.yaml"), format!("{text}# {how}\n").as_bytes());
    };
    let before = sha(&room);
    // It fails: the old process reloads.
    let (gate, asked) = Gate::stop(&room, || ask(&room));
    change(&room, "for the old process");
    a.signal(Signal::HUP);
    let refused = room.ctl(&["--node", "a", "reload"]);
    assert!(refused.code == 1 && refused.stderr.contains("restart is under way"), "{refused:#?}");
    assert_eq!(sha(&room), before);
    gate.open_behind();
    drop(Stranger::child_of(&a));
    assert_eq!(asked.join().unwrap().code, 1);
    let reloaded = || Some(sha(&room)).filter(|sha| *sha != before);
    let before = wait_for("reload", reloaded);
    // It succeeds: the new one does.
    let (gate, asked) = Gate::stop(&room, || ask(&room));
    let new = Stranger::child_of(&a);
    change(&room, "for the new process");
    a.signal(Signal::HUP);
    // The refusal comes after the signal was seen, which is looked at in the same loop.
    let refused = room.ctl(&["--node", "a", "reload"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    gate.open();
    asked.join().unwrap().ok();
    assert_eq!(room.status("a")["pid"], new.0);
    wait_for("reload", || Some(sha(&room)).filter(|sha| *sha != before));
    say(&mut stream, b"in the old process").unwrap();
    drop(stream);
    assert_eq!(a.wait(), 0, "{}", a.log());
    stop(&room, vec![("a", new)]);
}

#[test]
fn the_first_signal_to_a_process_that_was_followed_cuts_nothing_off() {
    let (room, mut a, _b, _cable, address) = nodes();
    let mut stream = TcpStream::connect(&address).unwrap();
    say(&mut stream, b"before").unwrap();
    let new = restart(&room, "a");
    a.signal(Signal::TERM);
    a.wait_for_log("draining already");
    say(&mut stream, b"after the signal").unwrap();
    drop(stream);
    assert_eq!(a.wait(), 0, "{}", a.log());
    stop(&room, vec![("a", new)]);
}

#[test]
fn a_session_comes_back_through_two_processes_after_its_own() {
    for node in ["a", "b"] {
        let (room, mut a, mut b, cable, address) = nodes();
        let mut long = TcpStream::connect(&address).unwrap();
        say(&mut long, b"before").unwrap();
        let second = restart(&room, node);
        let peer = if node == "a" { "b" } else { "a" };
        // What peers know of a restart is not the matter here.
        let sessions = |count: u64| {
            wait_for("word of the restart", || {
                let status = room.status(peer);
                (status["peers"][0]["leaving_sessions"].as_u64() >= Some(count)).then_some(())
            });
        };
        sessions(1);
        let third = restart(&room, node);
        // The one in the middle has nothing to do and ends.
        second.wait();
        sessions(1);
        for _ in 0..3 {
            cable.reset();
            say(&mut long, b"after a cut").unwrap();
        }
        let mut fresh = TcpStream::connect(&address).unwrap();
        say(&mut fresh, b"a new one").unwrap();
        drop((long, fresh));
        let old = if node == "a" { &mut a } else { &mut b };
        assert_eq!(old.wait(), 0, "{}", old.log());
        assert!(!old.log().contains("in doubt"), "{}", old.log());
        stop(&room, vec![(node, third)]);
    }
}

#[test]
fn a_new_process_feeds_the_watchdog_of_the_old_one() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let heard = UnixDatagram::bind(room.path("notify")).unwrap();
    // Read as it comes: a daemon waits for a manager that does not.
    let (hear, words) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count) = heard.recv(&mut buffer) {
            if hear.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    let environment = format!(
        "export NOTIFY_SOCKET={} WATCHDOG_USEC=400000 WATCHDOG_PID=$$; exec \"$0\" \"$@\"",
        room.text("notify")
    );
    let mut a = room.start_in(&["sh", "-c", &environment], "a");
    let until = |word: &str| {
        let next = || words.recv_timeout(common::PATIENCE).unwrap_or_else(|_| panic!("no {word}"));
        while !next().contains(word) {}
    };
    until("WATCHDOG=1");
    let new = restart(&room, "a");
    until(&format!("MAINPID={}", new.0));
    assert_eq!(a.wait(), 0);
    // Nobody else is there to feed it.
    for _ in 0..4 {
        until("WATCHDOG=1");
    }
    stop(&room, vec![("a", new)]);
}

#[test]
fn a_node_with_a_hundred_forwards_restarts() {
    let forwards: String = (0..100)
        .map(|at| {
            format!(
                "  - {{name: f{at}, listen: \"127.0.0.1:0\", peer: b, target: \"127.0.0.1:9\"}}\n"
            )
        })
        .collect();
    let room = Room::new(&["a", "b"]);
    room.config("a", &format!("peers: [{{nodeId: b}}]\nforwards:\n{forwards}"));
    let mut a = room.start("a");
    let listens = |room: &Room| {
        let status = room.status("a");
        let forwards = status["forwards"].as_array().unwrap();
        forwards.iter().map(|one| one["listen"].to_string()).collect::<Vec<_>>()
    };
    let before = listens(&room);
    assert_eq!(before.len(), 100);
    let new = restart(&room, "a");
    assert_eq!(listens(&room), before);
    assert_eq!(a.wait(), 0);
    stop(&room, vec![("a", new)]);
}
