//! Where and how this process runs, and what it used.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use crate::Failure;

/// Above what is measured, which could else keep it from a core.
const WATCHDOG_PRIORITY: u8 = 2;

/// A measurement that is so late has hung.
const GRACE: Duration = Duration::from_secs(10);

pub fn stay_on(core: usize) -> Result<(), Failure> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| format!("--cores: {error}; 'nproc' tells how many there are").into())
}

/// Puts this thread, and all that it starts from now on, before all ordinary work of its core. Round robin: of two
/// such threads on one core, one that spins cannot keep the other from running.
pub fn realtime() -> Result<(), Failure> {
    priority(1)
}

fn priority(priority: u8) -> Result<(), Failure> {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let value = ThreadPriority::Crossplatform(priority.try_into()?);
    set_thread_priority_and_policy(thread_native_id(), value, policy).map_err(|error| {
        let error = match error {
            thread_priority::Error::OS(code) => std::io::Error::from_raw_os_error(code).to_string(),
            error => error.to_string(),
        };
        format!("--realtime: {error}; run it as root, with CAP_SYS_NICE, or after 'ulimit -r {WATCHDOG_PRIORITY}'").into()
    })
}

/// Ends this process when a measurement does not end.
pub struct Watchdog {
    /// Closing it calls the watchdog off.
    _running: SyncSender<()>,
}

impl Watchdog {
    pub fn start(expected: Duration, is_realtime: bool) -> Self {
        let (running, stopped) = sync_channel(0);
        std::thread::spawn(move || {
            if is_realtime && let Err(error) = priority(WATCHDOG_PRIORITY) {
                return end(&error.to_string());
            }
            let limit = expected + GRACE;
            if stopped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                end(&format!("no end after {limit:.1?}; stopped"));
            }
        });
        Self { _running: running }
    }
}

#[expect(clippy::disallowed_methods, reason = "the main thread may be blocked for ever")]
fn end(message: &str) {
    eprintln!("peer-bench: {message}");
    std::process::exit(1);
}

/// What this process used: processor time of all its threads, and memory that it holds now.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    pub processor: Duration,
    pub resident_bytes: u64,
}

impl Usage {
    pub fn now() -> Result<Self, Failure> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|line| line.trim().strip_suffix("kB"))
            .ok_or("/proc/self/status has no VmRSS")?
            .trim()
            .parse()?;
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let processor = Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?);
        Ok(Self { processor, resident_bytes: kib * 1024 })
    }

    pub fn to_line(self) -> String {
        format!("{} {}", self.processor.as_nanos(), self.resident_bytes)
    }

    pub fn from_line(line: &str) -> Result<Self, Failure> {
        let (processor, resident) = line.split_once(' ').ok_or("a usage has two parts")?;
        let processor = Duration::from_nanos(processor.parse()?);
        Ok(Self { processor, resident_bytes: resident.trim().parse()? })
    }
}

/// Makes room for `wanted` open files.
pub fn allow_files(wanted: usize) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).map_err(
        |error| {
            format!("{wanted} open files: {error}; raise 'ulimit -Hn', or take fewer sessions")
                .into()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_survives_its_line() {
        let usage = Usage::now().unwrap();
        assert!(usage.resident_bytes > 0);
        assert_eq!(Usage::from_line(&usage.to_line()).unwrap(), usage);
        assert!(Usage::from_line("12").is_err());
    }
}
