//! A new process of a node follows the old one: no connection is refused, none is broken, nothing is lost.
#![allow(missing_docs)]

mod common;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use common::cable::{Cable, echo, say};
use common::{Daemon, Room, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// Connects, speaks and leaves, again and again, until it is dropped.
struct Visitors {
    is_over: Arc<AtomicBool>,
    visits: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Visitors {
    fn new(address: &str) -> Self {
        let (is_over, visits) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = |_| {
            let (address, is_over, visits) = (address.to_owned(), is_over.clone(), visits.clone());
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(&address).expect("never refused");
                    for word in [&b"hello"[..], &[7; 5_000]] {
                        say(&mut stream, word).expect("never broken");
                    }
                    visits.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        Self { threads: (0..3).map(thread).collect(), is_over, visits }
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

/// A process that a daemon has started, and that is not this test's child. Dropping it ends it.
struct Stranger(u32);

impl Stranger {
    fn is_there(&self) -> bool {
        std::path::Path::new(&format!("/proc/{}", self.0)).exists()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0 as i32).unwrap();
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Two nodes with a forward from `a` to an echo behind `b`, joined by a cable; where the forward listens.
fn nodes() -> (Room, Daemon, Daemon, Cable, String) {
    let target = echo();
    let forward = format!(
        "forwards: [{{name: echo, listen: \"127.0.0.1:0\", peer: b, target: \"{target}\"}}]\n"
    );
    let room = Room::new(&["a", "b"]);
    let config = |node: &str, more: &str| {
        let text = room.config_text(node, more).replace("drainTimeout: 5s", "drainTimeout: 60s");
        common::write(&room.path(&format!("{node}.yaml")), text.as_bytes());
    };
    config("b", &format!("peers: [{{nodeId: a}}]\nforwardTargets: [\"{target}\"]\n"));
    let b = room.start("b");
    let cable = Cable::to(&room.address("b"));
    let address = &cable.address;
    config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n{forward}"));
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
        wait_for("end of the new process", || (!process.is_there()).then_some(()));
    }
}

#[test]
fn a_restart_of_either_node_breaks_and_refuses_nothing() {
    let (room, mut a, mut b, cable, address) = nodes();
    let mut long = TcpStream::connect(&address).unwrap();
    say(&mut long, b"before").unwrap();
    let visitors = Visitors::new(&address);
    visitors.more();
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
    stop(&room, vec![("a", new_a), ("b", new_b)]);
    for (node, log) in [("a", a.log()), ("b", b.log())] {
        assert!(!log.contains("in doubt") && !log.contains("ERROR"), "{node}: {log}");
    }
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
