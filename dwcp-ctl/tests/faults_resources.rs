//! A machine that has nothing left: descriptors, room for the log. What runs goes on, what is refused says why, and when there
//! is room again all is as before.
#![allow(missing_docs)]

mod common;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{Daemon, FullPipe, PATIENCE, Ran, Room, noise, wait_for, write};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;

#[test]
fn without_descriptors_what_runs_goes_on_and_what_is_new_waits() {
    let room = Room::new(&["a", "b", "c"]);
    let config = |node: &str, more: &str| {
        let text = room
            .config_text(node, more)
            .replace("internet\n", "internet\nlimits: {maxOpenFiles: 64}\n");
        write(&room.path(&format!("{node}.yaml")), text.as_bytes());
    };
    config("b", "peers: [{nodeId: a}, {nodeId: c}]\nsecurity: {rateLimit: {enabled: false}}\n");
    let b = room.start("b");
    let address = room.address("b");
    for node in ["a", "c"] {
        room.config(node, &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    }
    let _a = room.start("a");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    // Strangers take all there are, and say nothing.
    let strangers: Vec<_> = (0..120).map(|_| TcpStream::connect(&address).unwrap()).collect();
    b.wait_for_log("cannot accept");
    let rest = b.rest();
    println!("without descriptors: {rest:?}");
    assert!(rest.wake_ups < 200.0 && rest.running < 0.5, "it turns in circles: {rest:?}");
    // The session that stands needs none.
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    drop(strangers);
    // Strangers lose their places, and a new peer comes in.
    wait_for("session of c", || {
        let ran = room.ctl(&["ping", "b", "--config", &room.text("c.yaml")]);
        (ran.code == 0).then_some(())
    });
    let status = wait_for("answer", || {
        let ran = room.ctl(&["--node", "b", "status"]);
        (ran.code == 3).then_some(ran)
    });
    assert!(
        status.stdout.contains("DWCP-H014") && status.stdout.contains("maxOpenFiles"),
        "{status:#?}"
    );
    let (_, metrics) = room.http("b", "/metrics");
    let counted = "dwcp_connections_turned_away_total{cause=\"not_accepted\"} ";
    let line = metrics.lines().find(|line| line.starts_with(counted)).unwrap();
    assert!(!line.ends_with(" 0"), "{line}");
}

#[test]
fn a_log_that_takes_nothing_holds_up_nobody_and_is_told() {
    let room = Room::new(&["a", "b"]);
    room.config("b", "peers: [{nodeId: a}]\nlogging: {output: /dev/full}\n");
    let _b = room.start("b");
    let address = room.address("b");
    room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    let _a = room.start("a");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    let status = room.ctl(&["--node", "b", "status"]);
    assert!(status.code == 3 && status.stdout.contains("DWCP-H013"), "{status:#?}");
    room.ctl(&["--node", "a", "ping", "b"]).ok();
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody() {
    let room = Room::new(&["a", "b"]);
    room.config("b", "peers: [{nodeId: a}]\nlogging: {level: trace}\nfiles: {receiveDirectory: inbox, keepFree: 0B}\n");
    std::fs::create_dir(room.path("inbox")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dwcpd"));
    command.args(["--config", &room.text("b.yaml"), "--runtime-dir", &room.text("run")]);
    let _b = Killed(command.stdout(Stdio::null()).stderr(writer).spawn().unwrap());
    drop(command); // its end of the pipe
    wait_for("daemon", || (room.ctl(&["status", "--node", "b"]).code != 4).then_some(()));
    let address = room.address("b");
    let admin = room.status("b")["admin"][0].as_str().unwrap().to_owned();
    room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n"));
    let _a = room.start("a");
    let file = room.path("data");
    write(&file, &noise(10_000, 1));
    // Each has its line: more than a pipe holds, and than may wait.
    wait_for("lost lines", || {
        for _ in 0..1_000 {
            TcpStream::connect(&admin).unwrap().write_all(b"nonsense\r\n\r\n").unwrap();
        }
        (room.status("b")["log_lines_lost_total"].as_u64().unwrap() > 0).then_some(())
    });
    room.ctl(&["--node", "a", "copy", file.to_str().unwrap(), "b:"]).ok();
    room.ctl(&["--node", "a", "ping", "b"]).ok();
    drop(reader);
}

#[test]
fn a_log_that_hangs_keeps_nobody_from_a_reload_or_the_end() {
    let room = Room::new(&["a"]);
    let mut pipe = FullPipe::new(&room.path("pipe"));
    room.config("a", "logging: {output: pipe}\n");
    let mut daemon = room.start("a");
    // More often than there may be threads that hang.
    for reloads in 1..=12 {
        daemon.signal(Signal::HUP);
        wait_for("reload", || {
            (room.status("a")["config"]["reloads_total"] == reloads).then_some(())
        });
    }
    // What waited is there once somebody reads, and what comes afterwards.
    let mut taken = String::new();
    wait_for("log", || {
        taken += &pipe.take();
        let are_there = ["is ready", "configuration reloaded"].map(|words| taken.contains(words));
        (are_there == [true; 2]).then_some(())
    });
    pipe.fill();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn a_reload_that_hangs_holds_up_neither_the_watchdog_nor_the_end() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    let manager = UnixDatagram::bind(room.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let said = Arc::<Mutex<Vec<String>>>::default();
    let page = said.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(count) = manager.recv(&mut buffer) {
            let words = String::from_utf8_lossy(&buffer[..count]).into_owned();
            page.lock().unwrap().push(words);
        }
    });
    let count =
        |words: &str| said.lock().unwrap().iter().filter(|message| message.contains(words)).count();
    let heard = |words: &str, times: usize| {
        wait_for(words, || (count(words) >= times).then_some(()));
    };
    let notify = format!("NOTIFY_SOCKET={}", room.text("notify"));
    let mut daemon = room.start_in(&["env", &notify, "WATCHDOG_USEC=400000"], "a");
    let reloads = || room.status("a")["config"]["reloads_total"].as_u64().unwrap();
    // Whoever opens a pipe that nobody reads waits for a reader.
    let pipe = room.path("pipe");
    drop(FullPipe::new(&pipe));
    room.config("a", "byzantine: {enabled: true, evidenceLog: pipe}\n");
    daemon.signal(Signal::HUP);
    heard("RELOADING=1", 1);
    heard("WATCHDOG=1", count("WATCHDOG=1") + 3);
    // One at a time: the second begins when the first is over, and reads the file again.
    let mut second = room.spawn_ctl(&["--node", "a", "reload"]);
    assert_eq!(reloads(), 0);
    let reader = File::open(&pipe).unwrap();
    assert!(wait_for("answer", || second.try_wait().unwrap()).success());
    assert_eq!(reloads(), 2);
    drop(reader);
    daemon.signal(Signal::HUP);
    heard("RELOADING=1", 3);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0, "{}", daemon.log());
}

/// A pipe in the place of a configuration: whoever reads that hangs until the pipe is dropped.
struct HangingFile {
    path: PathBuf,
    /// What was there before.
    text: String,
    /// This end, once the other one is being read.
    writer: Option<File>,
}

impl HangingFile {
    fn at(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::remove_file(path).unwrap();
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        Self { path: path.to_owned(), text, writer: None }
    }

    /// Waits until somebody reads it.
    fn is_read(&mut self) {
        let nonblock = OFlags::NONBLOCK.bits() as i32;
        let open = || OpenOptions::new().write(true).custom_flags(nonblock).open(&self.path).ok();
        self.writer = Some(wait_for("reader", open));
    }

    /// Puts a file there that answers, with `more` in it; who reads the pipe goes on to hang.
    fn replace(&self, more: &str) {
        let next = self.path.with_extension("next");
        write(&next, format!("{}{more}", self.text).as_bytes());
        std::fs::rename(next, &self.path).unwrap();
    }

    /// Gives who still reads it what was there before, and waits until that is read.
    fn answer(mut self, daemon: &Daemon) {
        self.writer.take().unwrap().write_all(self.text.as_bytes()).unwrap();
        let gone = format!("{} (deleted)", self.path.display());
        let descriptors = format!("/proc/{}/fd", daemon.id());
        wait_for("end of reading", || {
            let all = std::fs::read_dir(&descriptors).unwrap().flatten();
            let mut targets = all.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            (!targets.any(|target| target.as_os_str() == gone.as_str())).then_some(())
        });
    }
}

/// Asks for a reload of `a`, for longer than one may take.
fn reload(room: &Room) -> Ran {
    let run = room.text("run");
    common::ctl(&["--runtime-dir", &run, "--timeout", "90s", "--node", "a", "reload"])
}

#[test]
fn a_reload_that_hangs_is_given_up_and_what_it_still_reads_is_dropped() {
    let room = Room::new(&["a"]);
    let path = room.config("a", "");
    let daemon = room.start("a");
    let mut file = HangingFile::at(&path);
    let refused = std::thread::scope(|scope| {
        let asked = scope.spawn(|| reload(&room));
        file.is_read();
        asked.join().unwrap()
    });
    let has_words = refused.stderr.contains("a.yaml: no answer within 30 s: its volume hangs");
    assert!(refused.code == 1 && has_words, "{refused:#?}");
    daemon.wait_for_log("reload refused, nothing has changed");
    let status = room.ctl(&["--node", "a", "status"]);
    assert!(status.code == 3 && status.stdout.contains("DWCP-H011"), "{status:#?}");
    assert!(room.http("a", "/metrics").1.contains("dwcp_config_last_reload_success 0"));
    // The next one goes on, and what the one before comes to is nobody's.
    let before = room.status("a")["config"]["sha256"].clone();
    file.replace("# newer\n");
    reload(&room).ok();
    let newest = room.status("a")["config"].clone();
    assert_ne!(newest["sha256"], before);
    file.answer(&daemon);
    room.ctl(&["--node", "a", "status"]).ok();
    assert_eq!(room.status("a")["config"], newest);
}

#[test]
fn a_restart_does_not_wait_for_a_reload_that_hangs() {
    let room = Room::new(&["a"]);
    let path = room.config("a", "");
    let mut daemon = room.start("a");
    let mut file = HangingFile::at(&path);
    let restart = ["--node", "a", "restart", "-o", "json"];
    // If the new process does not start, the reload begins anew.
    let refused = std::thread::scope(|scope| {
        let asked = scope.spawn(|| reload(&room));
        file.is_read();
        file.replace("netwrok: {}\n");
        assert_eq!(room.ctl(&restart).code, 1);
        asked.join().unwrap()
    });
    assert!(refused.code == 1 && refused.stderr.contains("netwrok"), "{refused:#?}");
    assert_eq!(room.status("a")["pid"], daemon.id());
    // Otherwise the new process has read the file.
    file.replace("");
    let mut second = HangingFile::at(&path);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| reload(&room));
        second.is_read();
        second.replace("");
        let report = room.ctl(&restart).ok().json();
        assert_eq!(room.status("a")["pid"], report["pid"]);
        asked.join().unwrap().ok();
    });
    // A thread that hangs keeps nobody from the end.
    assert_eq!(daemon.wait(), 0, "{}", daemon.log());
    room.ctl(&["--node", "a", "drain"]).ok();
}

#[test]
fn a_restart_that_is_refused_does_not_disturb_a_reload() {
    let room = Room::new(&["a"]);
    let path = room.config("a", "");
    // A service that systemd cannot be told of.
    let environment =
        "export INVOCATION_ID=7 SYSTEMD_EXEC_PID=$$; unset NOTIFY_SOCKET; exec \"$0\" \"$@\"";
    let daemon = room.start_in(&["sh", "-c", environment], "a");
    let mut file = HangingFile::at(&path);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| reload(&room));
        file.is_read();
        // One that began anew would find this.
        file.replace("netwrok: {}\n");
        let refused = room.ctl(&["--node", "a", "restart"]);
        assert!(refused.code == 1 && refused.stderr.contains("NotifyAccess=all"), "{refused:#?}");
        daemon.signal(Signal::USR2);
        wait_for("two refusals", || {
            (daemon.log().matches("the node was not handed over").count() == 2).then_some(())
        });
        file.answer(&daemon);
        asked.join().unwrap().ok();
    });
    let status = room.status("a");
    assert_eq!(
        (&status["pid"], &status["config"]["reloads_total"]),
        (&daemon.id().into(), &1.into())
    );
}

#[test]
fn a_reload_is_not_said_to_be_done_by_a_process_that_read_the_file_before() {
    let room = Room::new(&["a"]);
    let path = room.config("a", "");
    let mut daemon = room.start("a");
    // It reads the file, and waits then for a reader of its log.
    let log = room.path("pipe");
    drop(FullPipe::new(&log));
    let mut file = HangingFile::at(&path);
    let mut taker = Command::new(env!("CARGO_BIN_EXE_dwcpd"));
    taker.args(["--take-over", "--config", &room.text("a.yaml")]);
    taker.args(["--runtime-dir", &room.text("run")]).stderr(Stdio::null());
    let mut taker = Killed(taker.spawn().unwrap());
    file.is_read();
    file.replace("");
    let mut writer = file.writer.take().unwrap();
    writer.write_all(format!("{}logging: {{output: pipe}}\n", file.text).as_bytes()).unwrap();
    drop(writer);
    // The file is changed, for the worse, and a reload of that is put off by the process.
    let mut changed = HangingFile::at(&path);
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| reload(&room));
        changed.is_read();
        changed.replace("netwrok: {}\n");
        let reader = File::open(&log).unwrap();
        let asked = asked.join().unwrap();
        // The reload goes on there, with the file that is there now.
        let is_told = || {
            let status = room.status("a");
            let is_refused = status["config"]["last_reload_ok"] == false;
            (status["pid"] == taker.0.id() && is_refused).then_some(())
        };
        wait_for("reload by the new process", is_told);
        room.ctl(&["--node", "a", "drain"]).ok();
        drop(reader);
        asked
    });
    assert!(asked.code == 1 && asked.stderr.contains("reload again once it is over"), "{asked:#?}");
    assert_eq!(daemon.wait(), 0, "{}", daemon.log());
    assert_eq!(wait_for("end", || taker.0.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn a_name_that_hangs_is_given_up_and_its_thread_is_counted() {
    let room = Room::new(&["a", "b"]);
    // Who looks a name up opens this first, and waits: it stands for a name service that hangs.
    let (hosts, services) = (room.path("hosts"), room.path("nsswitch.conf"));
    mknodat(CWD, &hosts, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    write(&services, b"hosts: files\n");
    let over = |file: &Path, place: &str| format!("mount --bind '{}' {place}", file.display());
    let (hosts, services) = (over(&hosts, "/etc/hosts"), over(&services, "/etc/nsswitch.conf"));
    let Some(words) = common::own_mounts(&format!("{hosts} && {services}")) else {
        return common::skip("a name service that hangs", "it needs a mount namespace, and glibc");
    };
    let path = room.config("a", "peers: [{nodeId: b}]\n");
    let mut daemon = room.start_in(&words, "a");
    // Each reload that is put off leaves the thread that reads the file.
    let (mut hanging, good) = (Vec::new(), std::fs::read(&path).unwrap());
    for _ in 0..3 {
        write(&path, &good);
        let mut file = HangingFile::at(&path);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| reload(&room));
            file.is_read();
            file.replace("netwrok: {}\n");
            assert_eq!(room.ctl(&["--node", "a", "restart"]).code, 1);
            assert_eq!(asked.join().unwrap().code, 1);
        });
        hanging.push(file);
    }
    let forward = "{name: web, listen: \"name.invalid:0\", peer: b, target: \"127.0.0.1:9\"}";
    room.config("a", &format!("peers: [{{nodeId: b}}]\nforwards: [{forward}]\n"));
    let refused = reload(&room);
    let words = "forward web: listen: name.invalid:0: no answer within 30 s: the name service";
    assert!(refused.code == 1 && refused.stderr.contains(words), "{refused:#?}");
    // It is one of the threads that there may be.
    let refused = reload(&room);
    assert!(refused.code == 1 && refused.stderr.contains("4 threads wait still"), "{refused:#?}");
    drop(hanging);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0, "{}", daemon.log());
}

#[test]
fn a_runtime_directory_without_room_is_named() {
    let room = Room::new(&["a"]);
    room.config("a", "");
    // The only inode is the directory's.
    let Some(disk) = common::own_disk(&room.path("run"), "nr_inodes=1") else {
        return common::skip("a full runtime directory", "it needs a mount namespace");
    };
    let mut daemon = room.spawn_in(&disk, "a");
    assert_eq!(daemon.wait(), 1);
    let log = daemon.log();
    let is_told = log.contains("run/a.sock: No space left on device") && log.contains("df -i");
    assert!(is_told && log.contains("--runtime-dir"), "{log}");
    // With room it is as before.
    let _daemon = room.start("a");
}

/// A process that ends with the test, whatever comes of that.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
