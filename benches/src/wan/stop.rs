//! Stopping from outside: what has been started is ended, and whoever waits for it removes what it made.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

/// Whether to go on. Copies of one are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_stopped: AtomicBool,
    /// The process group that is being waited for.
    group: Mutex<Option<Pid>>,
}

impl Stop {
    /// One that INT, TERM and HUP stop, from now until the process ends.
    ///
    /// # Errors
    /// If no handler or thread can be had.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut int, mut term, mut hup) = {
            let _inside = runtime.enter();
            let of = |kind: fn() -> SignalKind| signal(kind());
            (of(SignalKind::interrupt)?, of(SignalKind::terminate)?, of(SignalKind::hangup)?)
        };
        let told = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hup.recv() => {} }
                    told.stop();
                }
            });
        })?;
        Ok(stop)
    }

    /// Stops: ends what runs, and lets nothing more begin.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::SeqCst);
        if let Some(group) = *self.group() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::SeqCst)
    }

    /// What is to be ended if it is stopped.
    pub(super) fn watch(&self, group: Option<Pid>) {
        *self.group() = group;
        // It may have been stopped just before.
        if let (Some(group), true) = (group, self.is_stopped()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn group(&self) -> std::sync::MutexGuard<'_, Option<Pid>> {
        self.0.group.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
