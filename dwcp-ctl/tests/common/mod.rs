//! Two daemons on loopback, each a process of its own, and a `dwcp-ctl` to command them.
#![allow(dead_code, missing_docs)] // each test file uses a part of it

pub(crate) mod cable;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take before a test gives up. Generous: machines are slow and shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a daemon may take to end: clearly longer than any `drainTimeout` of these tests, or one that ends at its
/// deadline could not be told from one that does not end.
pub(crate) const END_PATIENCE: Duration = Duration::from_secs(180);

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs `dwcp-ctl` with `arguments`.
pub(crate) fn ctl(arguments: &[&str]) -> Ran {
    ctl_with(arguments, "")
}

/// The same with `stdin`.
pub(crate) fn ctl_with(arguments: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dwcp-ctl"))
        .args(arguments)
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until `look` finds something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look)
}

/// As [`wait_for`], so long.
#[track_caller]
pub(crate) fn wait_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {patience:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A directory with keys, configurations and command sockets.
pub(crate) struct Room {
    directory: tempfile::TempDir,
}

impl Room {
    /// A room with keys for `nodes`.
    pub(crate) fn new(nodes: &[&str]) -> Self {
        let room = Self { directory: tempfile::tempdir().unwrap() };
        let keys = room.path("keys");
        let mut arguments = vec!["keys", "init", "--dir", keys.to_str().unwrap()];
        arguments.extend(nodes);
        ctl(&arguments).ok();
        std::fs::create_dir(room.path("run")).unwrap();
        room
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes the configuration of `node`: the usual head, then `more`.
    pub(crate) fn config(&self, node: &str, more: &str) -> PathBuf {
        let path = self.path(&format!("{node}.yaml"));
        std::fs::write(&path, self.config_text(node, more)).unwrap();
        path
    }

    pub(crate) fn config_text(&self, node: &str, more: &str) -> String {
        format!(
            "mode: internet\nnodeId: {node}\nlisten: [\"127.0.0.1:0\"]\n\
             admin: {{listen: [\"127.0.0.1:0\"]}}\n\
             keys: {{cert: keys/{node}/node.crt, key: keys/{node}/node.key, ca: keys/{node}/ca.crt}}\n\
             session: {{drainTimeout: 5s}}\n{more}"
        )
    }

    /// Starts `dwcpd` with the configuration of `node` and waits until it answers.
    pub(crate) fn start(&self, node: &str) -> Daemon {
        let daemon = self.spawn(node);
        wait_for("ready daemon", || {
            (self.ctl(&["status", "--node", node]).code != 4).then_some(())
        });
        daemon
    }

    /// Starts `dwcpd` behind the words of `prefix`, which end by becoming it, and waits until it answers.
    pub(crate) fn start_in(&self, prefix: &[impl AsRef<str>], node: &str) -> Daemon {
        let daemon = self.spawn_in(prefix, node);
        wait_for("ready daemon", || {
            (self.ctl(&["status", "--node", node]).code != 4).then_some(())
        });
        daemon
    }

    /// Starts `dwcpd` and does not wait.
    pub(crate) fn spawn(&self, node: &str) -> Daemon {
        self.spawn_in(&[] as &[&str], node)
    }

    /// As [`start_in`](Self::start_in), and does not wait.
    pub(crate) fn spawn_in(&self, prefix: &[impl AsRef<str>], node: &str) -> Daemon {
        let log = self.path(&format!("{node}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let dwcpd = env!("CARGO_BIN_EXE_dwcpd");
        let words: Vec<_> = prefix.iter().map(AsRef::as_ref).chain([dwcpd]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg("--config")
            .arg(self.path(&format!("{node}.yaml")))
            .arg("--runtime-dir")
            .arg(self.path("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Daemon { child, log }
    }

    /// Runs `dwcp-ctl` against this room's daemons.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Ran {
        let run = self.text("run");
        let mut all = vec!["--runtime-dir", run.as_str(), "--timeout", "30s"];
        all.extend(arguments);
        ctl(&all)
    }

    /// The status of `node`.
    #[track_caller]
    /// Starts `dwcp-ctl` and does not wait for it.
    pub(crate) fn spawn_ctl(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dwcp-ctl"));
        command.args(["--runtime-dir", &self.text("run")]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    pub(crate) fn status(&self, node: &str) -> Value {
        self.ctl(&["status", "--node", node, "-o", "json"]).json()["nodes"][0].clone()
    }

    /// Where `node` takes sessions.
    pub(crate) fn address(&self, node: &str) -> String {
        self.status(node)["listen"][0].as_str().unwrap().to_owned()
    }

    /// Asks the admin server of `node` for `path`; the status code and the body.
    pub(crate) fn http(&self, node: &str, path: &str) -> (u16, String) {
        let address = self.status(node)["admin"][0].as_str().unwrap().to_owned();
        http(&address, path)
    }

    /// Two running nodes, `a` and `b`, that know each other; `a` dials. `more_a` and `more_b` are added to
    /// their configurations.
    pub(crate) fn pair(more_a: &str, more_b: &str) -> (Self, Daemon, Daemon) {
        let room = Self::new(&["a", "b"]);
        room.config("b", &format!("peers: [{{nodeId: a}}]\n{more_b}"));
        let b = room.start("b");
        let address = room.address("b");
        room.config("a", &format!("peers: [{{nodeId: b, addresses: [\"{address}\"]}}]\n{more_a}"));
        let a = room.start("a");
        (room, a, b)
    }
}

/// A daemon may have started another one, which is nobody's child: it ends with the room, also when a test fails.
impl Drop for Room {
    fn drop(&mut self) {
        let is_of_room = |pid: i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let room = self.directory.path().to_str().unwrap();
            String::from_utf8_lossy(&line).split('\0').any(|word| word.starts_with(room))
        };
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in pids.filter(|pid| is_of_room(*pid)).filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

pub(crate) fn http(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    // A daemon that hangs fails a test, and does not hang all of them.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

/// A running `dwcpd`. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end; the exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        let end = wait_within(END_PATIENCE, "end of the daemon", || self.child.try_wait().unwrap());
        end.code().unwrap_or(-1)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log contains `words`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, words: &str) {
        wait_for(&format!("`{words}` in the log"), || self.log().contains(words).then_some(()));
    }

    /// Looks a while at how much it does.
    pub(crate) fn rest(&self) -> Rest {
        const LOOKS: u32 = 200;
        const PAUSE: Duration = Duration::from_millis(20);
        let directory = format!("/proc/{}/task", self.id());
        // A thread that ends meanwhile is no longer there to be asked.
        let threads = || -> BTreeMap<PathBuf, (u64, bool)> {
            let threads = std::fs::read_dir(&directory).unwrap().flatten().map(|one| one.path());
            threads.filter_map(|path| thread_state(&path).map(|state| (path, state))).collect()
        };
        let (start, before) = (Instant::now(), threads());
        let (mut running, mut after) = (0, before.clone());
        for _ in 0..LOOKS {
            std::thread::sleep(PAUSE);
            after = threads();
            running += u32::from(after.values().any(|(_, is_running)| *is_running));
        }
        let so_far = |path| before.get(path).map_or(0, |(wake_ups, _)| *wake_ups);
        let wake_ups: u64 = after.iter().map(|(path, (now, _))| now - so_far(path)).sum();
        Rest {
            wake_ups: wake_ups as f64 / start.elapsed().as_secs_f64(),
            running: f64::from(running) / f64::from(LOOKS),
        }
    }
}

/// How much a process does. A slow machine makes neither figure large.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Times a second that one of its threads woke up.
    pub(crate) wake_ups: f64,
    /// The share of looks at which one of them ran, or waited for a processor: 1 for a loop that never sleeps.
    pub(crate) running: f64,
}

/// How often the thread with this directory in /proc has slept so far, and whether it runs.
pub(crate) fn thread_state(thread: &Path) -> Option<(u64, bool)> {
    let text = std::fs::read_to_string(thread.join("status")).ok()?;
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let wake_ups = value("voluntary_ctxt_switches:")?.parse().ok()?;
    Some((wake_ups, value("State:")?.starts_with('R')))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Words before a program that give it, and no other process, a file system of its own at `directory`: a tmpfs with `options`,
/// which goes when the program does. `None` where that cannot be.
pub(crate) fn own_disk(directory: &Path, options: &str) -> Option<Vec<String>> {
    own_mounts(&format!("mount -t tmpfs -o {options} none '{}'", directory.display()))
}

/// Words before a program that give it, and no other process, what the command `mount` mounts. `None` where that cannot be.
pub(crate) fn own_mounts(mount: &str) -> Option<Vec<String>> {
    let mut words = vec!["unshare", "--mount"];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend(["sh", "-c"]);
    let tried = Command::new(words[0]).args(&words[1..]).arg(mount).status();
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    let words = words.into_iter().map(str::to_owned).chain([script]);
    tried.is_ok_and(|status| status.success()).then(|| words.collect())
}

/// A pipe with a name that is full: whoever writes to it waits until it is read. It stands for a disk that hangs.
pub(crate) struct FullPipe(std::fs::File);

impl FullPipe {
    pub(crate) fn new(path: &Path) -> Self {
        use rustix::fs::{CWD, FileType, Mode, OFlags};
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // With both ends here nobody waits for the other one to be opened.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut pipe = Self(rustix::fs::open(path, flags, Mode::empty()).unwrap().into());
        pipe.fill();
        pipe
    }

    /// Fills what is free of it, page by page and then byte by byte.
    pub(crate) fn fill(&mut self) {
        for size in [4096, 1] {
            while self.0.write(&vec![b'.'; size]).is_ok() {}
        }
    }

    /// Takes what is in it; what was waiting comes after that.
    pub(crate) fn take(&mut self) -> String {
        let mut taken = Vec::new();
        let error = self.0.read_to_end(&mut taken).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        String::from_utf8(taken).unwrap()
    }
}

/// Notes that something cannot be tested here: it is counted and shown.
pub(crate) fn skip(what: &str, why: &str) {
    println!("skipped: {what}: {why}");
    if let Some(path) = std::env::var_os("DWCP_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.unwrap(), "{what}: {why}").unwrap();
    }
}

/// Bytes that repeat nowhere near, so that a shifted or lost block shows.
pub(crate) fn noise(bytes: usize, mut seed: u64) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes + 8);
    while all.len() < bytes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        all.extend_from_slice(&seed.to_le_bytes());
    }
    all.truncate(bytes);
    all
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}
