//! The driver on threads of its own: each takes the turns of many sessions.
//!
//! A thread spins while something has lately happened, then arms its bell, looks at its links once more (by
//! poll(2), which tells of everything that is there, not of what is new) and sleeps until a descriptor is
//! ready, somebody rings, or a session's deadline passes. A wake-up costs time linear in the thread's
//! sessions: take more threads for thousands of busy ones. It runs under the ordinary scheduler:
//! a thread that spins under SCHED_FIFO can hang its processor.

mod bell;
#[cfg(all(test, dwcp_loom))]
mod loom_tests;
mod seat;
mod thread;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

use self::bell::{Bell, WakeFd};
use self::thread::{Shared, Thread};
use super::core::SessionCore;
use super::turn::SessionObserver;

/// What a poll thread does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PollMode {
    /// Spins for a bounded time after something happened, then sleeps.
    #[default]
    Adaptive,
    /// Never sleeps: each thread uses up a processor, also when nothing happens. Give it one that nobody else
    /// needs.
    BusySpin,
}

/// How the poll driver runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PollSettings {
    /// Threads, at least 1. Each session stays on one of them.
    pub threads: usize,
    /// What they do when there is nothing to do.
    pub mode: PollMode,
    /// How long a thread spins after something happened before it sleeps; zero: not at all.
    pub spin: Duration,
    /// Processors to pin the threads to, in turn; empty: wherever the system likes.
    pub cores: Vec<usize>,
}

impl Default for PollSettings {
    fn default() -> Self {
        Self {
            threads: 1,
            mode: PollMode::Adaptive,
            spin: Duration::from_micros(60),
            cores: Vec::new(),
        }
    }
}

/// What the poll threads do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PollStats {
    /// Threads that run.
    pub threads: usize,
    /// Sessions they drive.
    pub sessions: usize,
    /// Times one of them came back from sleep.
    pub wakeups_total: u64,
}

/// Threads that drive sessions. Dropping it aborts the sessions; the threads end when those are closed.
pub struct PollDriver {
    threads: Vec<Arc<Shared>>,
}

/// Threads are numbered over the life of the process, so that their names differ.
static STARTED: AtomicUsize = AtomicUsize::new(0);

impl PollDriver {
    /// Starts the threads, named `dwcp-poll-N`.
    ///
    /// # Errors
    /// `InvalidInput` for no thread, or for a processor that is not there; else what the system says of
    /// threads and descriptors. No thread is left then.
    pub fn start(settings: &PollSettings) -> io::Result<Self> {
        if settings.threads == 0 {
            let reason = "the poll driver needs at least 1 thread";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        // What was started ends with `driver` when a later thread fails.
        let mut driver = Self { threads: Vec::new() };
        let mut cores = settings.cores.iter().copied().cycle();
        for _ in 0..settings.threads {
            driver.threads.push(start_thread(settings, cores.next())?);
        }
        Ok(driver)
    }

    /// What the threads do now.
    pub fn stats(&self) -> PollStats {
        let mut stats = PollStats::default();
        for thread in &self.threads {
            stats.threads += usize::from(thread.is_running.load(Ordering::SeqCst));
            stats.sessions += thread.sessions.load(Ordering::Relaxed);
            stats.wakeups_total += thread.wakeups.load(Ordering::Relaxed);
        }
        stats
    }

    /// Drives a session, on the thread that has the fewest.
    pub(crate) fn drive(&self, core: Arc<SessionCore>, observer: Arc<dyn SessionObserver>) {
        let thread = self
            .threads
            .iter()
            .min_by_key(|thread| thread.sessions.load(Ordering::Relaxed))
            .expect("there is at least one thread");
        core.own_polls.watch();
        thread.give(core, observer);
    }

    /// Aborts every session; the threads end when those are closed, at most seconds later.
    pub(crate) fn stop(&self) {
        self.threads.iter().for_each(|thread| thread.stop());
    }
}

impl Drop for PollDriver {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start_thread(settings: &PollSettings, core: Option<usize>) -> io::Result<Arc<Shared>> {
    let shared = Arc::new(Shared::new(Bell::new(WakeFd::new()?)));
    let thread = Thread::new(shared.clone(), settings.mode, settings.spin);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let (tell, told) = sync_channel(1);
    std::thread::Builder::new().name(format!("dwcp-poll-{number}")).spawn(move || {
        let pinned = core.map_or(Ok(()), pin);
        let is_pinned = pinned.is_ok();
        // Nobody may be waiting for it any more.
        let _ = tell.send(pinned);
        if is_pinned {
            thread.run();
        }
    })?;
    told.recv().map_err(|_| io::Error::other("the poll thread ended at once"))??;
    Ok(shared)
}

/// Pins this thread to `core`.
fn pin(core: usize) -> io::Result<()> {
    let refuse = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot pin a poll thread to processor {core}: {error}"),
        )
    };
    if core >= CpuSet::MAX_CPU {
        return Err(refuse(io::ErrorKind::InvalidInput.into()));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| refuse(error.into()))
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_obeyed_are_refused_by_name() {
        let none = PollSettings { threads: 0, ..PollSettings::default() };
        let refused = PollDriver::start(&none).err().expect("refused").to_string();
        assert!(refused.contains("at least 1 thread"), "{refused}");
        for core in [1_000, 1_000_000] {
            let far = PollSettings { cores: vec![core], ..PollSettings::default() };
            let refused = PollDriver::start(&far).err().expect("refused").to_string();
            assert!(refused.contains(&format!("to processor {core}")), "{refused}");
        }
    }
}
