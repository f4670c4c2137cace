//! One command and what it printed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::scenario::{Metric, Program, Scenario};

/// Where the programs are, and how they run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `dwcp-ctl`.
    pub ctl: PathBuf,
    /// `dwcp-clear`.
    pub clear: PathBuf,
    /// `peer-bench`.
    pub peers: PathBuf,
    /// How long each measurement lasts.
    pub seconds: f64,
    /// The processors of both ends.
    pub cores: [usize; 2],
    /// Under SCHED_RR, before all other work of those processors: needs root.
    pub is_realtime: bool,
}

/// What a run may take beyond its measurement, seconds: ten thousand sessions have to begin first.
const GRACE: Duration = Duration::from_secs(120);

impl Programs {
    fn cores_of(&self, scenario: &Scenario) -> String {
        let [near, far] = self.cores;
        if scenario.is_one_core { format!("{near},{near}") } else { format!("{near},{far}") }
    }

    /// Runs ours. Returns what it printed.
    ///
    /// # Errors
    /// What failed, in words.
    pub fn ours(&self, scenario: &Scenario, more: &[String]) -> Result<Value, String> {
        let seconds = match scenario.program {
            Program::Ctl => format!("{}ms", (self.seconds * 1e3).round()),
            Program::Clear => self.seconds.to_string(),
        };
        let cores = self.cores_of(scenario);
        let words = scenario.ours.split(' ').map(|word| match word {
            "SECONDS" => seconds.clone(),
            "CORES" => cores.clone(),
            word => word.to_owned(),
        });
        let (program, json) = match scenario.program {
            Program::Ctl => (&self.ctl, vec!["-o".to_owned(), "json".to_owned()]),
            Program::Clear => (&self.clear, Vec::new()),
        };
        let words = json.into_iter().chain(words).chain(more.iter().cloned());
        let mut command = self.scheduled(program, scenario);
        command.args(words);
        self.run(command)
    }

    /// `program`, before all other work if time counts in `scenario`. This process comes before even that, so as to end it.
    fn scheduled(&self, program: &Path, scenario: &Scenario) -> Command {
        if !self.is_realtime {
            return Command::new(program);
        }
        let mut command = Command::new("chrt");
        let policy = if scenario.is_timed { ["-r", "1"] } else { ["-o", "0"] };
        command.args(policy).arg(program);
        command
    }

    /// Runs a peer. Returns what it printed.
    ///
    /// # Errors
    /// What failed, in words.
    pub fn theirs(&self, scenario: &Scenario, peer: &str) -> Result<Value, String> {
        let mut command = self.scheduled(&self.peers, scenario);
        let mut words = scenario.theirs.split(' ');
        command.args(words.next()).arg(peer).args(words);
        command.args(["--seconds", &self.seconds.to_string(), "--congestion", "cubic"]);
        command.args(["--cores", &self.cores_of(scenario)]);
        if self.is_realtime && scenario.is_timed {
            command.arg("--realtime");
        }
        self.run(command)
    }

    fn run(&self, command: Command) -> Result<Value, String> {
        let text = output(command, Duration::from_secs_f64(self.seconds) + GRACE)?;
        serde_json::from_str(&text).map_err(|error| format!("no JSON ({error}): {text}"))
    }
}

/// Runs `command` to its end, `limit` at most. Returns what it wrote to stdout.
///
/// # Errors
/// What failed, in words.
pub fn output(mut command: Command, limit: Duration) -> Result<String, String> {
    let name = format!("{command:?}").replace('"', "");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let read = |pipe: Option<&mut dyn Read>| {
        let mut text = String::new();
        pipe.map(|pipe| pipe.read_to_string(&mut text));
        text
    };
    let reader = std::thread::spawn(move || read(stdout.as_mut().map(|pipe| pipe as _)));
    let errors = std::thread::spawn(move || read(stderr.as_mut().map(|pipe| pipe as _)));
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name}: no end after {} s", limit.as_secs()));
            }
        }
    };
    let text = reader.join().unwrap_or_default();
    let errors = errors.join().unwrap_or_default();
    if status.success() { Ok(text) } else { Err(format!("{name}: {status}: {}", errors.trim())) }
}

/// The figure for `metric` in what a program of ours printed.
pub fn our_figure(metric: Metric, value: &Value) -> Option<f64> {
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_f64);
    // Both ends' processor time, microseconds a second.
    let cpu_us = || Some((number("/cpu/local_percent")? + number("/cpu/peer_percent")?) * 1e4);
    match metric.name {
        "rtt_p50_us" => number("/latency_us/p50"),
        "messages_per_s" => number("/messages_per_second"),
        "bytes_per_s" => number("/bytes_per_second"),
        "cpu_ns_per_byte" => number("/cpu/nanoseconds_per_byte"),
        "handshakes_per_s" => number("/per_second"),
        "bytes_per_session" => number("/bytes_per_session"),
        "cpu_us_per_message" => match number("/messages_per_second") {
            Some(rate) => Some(cpu_us()? / rate),
            // A round trip is two messages.
            None => Some(cpu_us()? * number("/seconds")? / (2.0 * number("/messages")?)),
        },
        _ => None,
    }
}

/// The figure for `metric` in what `peer-bench` printed.
pub fn their_figure(metric: Metric, value: &Value) -> Option<f64> {
    let name = match metric.name {
        "bytes_per_session" => "bytes_per_session_server",
        name => name,
    };
    value.get(name).and_then(Value::as_f64)
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{CPU_MESSAGE, MEMORY, RTT};
    use super::*;

    #[test]
    fn figures_are_found_where_the_programs_put_them() {
        let latency = serde_json::json!({
            "latency_us": {"p50": 7.5}, "seconds": 2.0, "messages": 100_000,
            "cpu": {"local_percent": 60.0, "peer_percent": 40.0},
        });
        assert_eq!(our_figure(RTT, &latency), Some(7.5));
        assert_eq!(our_figure(CPU_MESSAGE, &latency), Some(10.0));
        assert_eq!(our_figure(MEMORY, &latency), None);
        let throughput = serde_json::json!({
            "messages_per_second": 1e6, "cpu": {"local_percent": 100.0, "peer_percent": 100.0},
        });
        assert_eq!(our_figure(CPU_MESSAGE, &throughput), Some(2.0));
        let peer = serde_json::json!({"bytes_per_session_server": 10_000});
        assert_eq!(their_figure(MEMORY, &peer), Some(10_000.0));
    }

    #[test]
    fn a_program_that_fails_or_hangs_is_named() {
        let mut fails = Command::new("sh");
        fails.args(["-c", "echo why >&2; exit 3"]);
        let error = output(fails, Duration::from_secs(30)).expect_err("it fails");
        assert!(error.contains("sh") && error.contains("3") && error.contains("why"), "{error}");
        let mut hangs = Command::new("sleep");
        hangs.arg("100");
        let error = output(hangs, Duration::from_millis(50)).expect_err("it hangs");
        assert!(error.contains("sleep 100: no end"), "{error}");
    }
}
