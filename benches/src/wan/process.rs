//! Programs in a namespace: servers that end with us, and commands whose time is taken.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::namespace::Namespace;
use super::stop::Stop;

/// A program and what it says, in a file.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Running {
    /// Starts `command` in `namespace`, in a process group of its own.
    fn start(namespace: &Namespace, mut command: Command, log: &Path) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let told = |error: io::Error| format!("{name}: {error}");
        let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let other = file.try_clone().map_err(told)?;
        command.stdin(Stdio::null()).stdout(file).stderr(other).process_group(0);
        let child = namespace.run(|| command.spawn()).map_err(told)?;
        Ok(Self { child, name, log: log.into() })
    }

    /// A server. It is the first process of a space of processes: when it ends, all that it started ends.
    pub(super) fn server(
        namespace: &Namespace,
        program: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child=SIGKILL", "--"]);
        command.arg(program).args(arguments);
        let mut running = Self::start(namespace, command, log)?;
        running.name = program.display().to_string();
        Ok(running)
    }

    /// Waits until it listens.
    pub(super) fn wait_listening(&self, namespace: &Namespace, port: u16) -> Result<(), String> {
        namespace
            .wait_listening(port, Duration::from_secs(10))
            .map_err(|error| format!("{}: {error}\n{}", self.name, self.last_words()))
    }

    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Waits for its end, which has to be a good one.
    pub(super) fn finish(mut self, stop: &Stop) -> Result<(), String> {
        stop.watch(Some(Pid::from_child(&self.child)));
        let status = self.child.wait();
        stop.watch(None);
        if stop.is_stopped() {
            return Err("stopped".into());
        }
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{} ended with {status}\n{}", self.name, self.last_words())),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `wait` the number may be another's; before, it is ours even if the process has ended.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs `command` in `namespace` to its end, and then waits for `other`. Returns the seconds from its start.
pub(super) fn timed(
    namespace: &Namespace,
    command: Command,
    other: Option<Running>,
    log: &Path,
    stop: &Stop,
) -> Result<f64, String> {
    let began = Instant::now();
    Running::start(namespace, command, log)?.finish(stop)?;
    if let Some(other) = other {
        other.finish(stop)?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Runs `command` to its end, for what it does.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}\n{said}", arguments.join(" "), output.status))
}
