//! Receivers that poll the link by themselves, as the threads of the poll driver see it: two that poll one link are one
//! too many, above all on one processor.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So long after a receiver began to poll, the thread leaves the link to receivers.
pub(super) const ASIDE: Duration = Duration::from_micros(200);

/// What the receivers of a session do.
#[derive(Default)]
pub(crate) struct OwnPolls {
    /// Somebody looks at this.
    is_watched: AtomicBool,
    begun: AtomicU64,
    /// The last one ended in vain: its receiver sleeps.
    is_over: AtomicBool,
}

impl OwnPolls {
    /// A thread of the poll driver drives the session.
    pub(super) fn watch(&self) {
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// A receiver begins to poll.
    pub(super) fn begin(&self) {
        if self.is_watched.load(Ordering::Relaxed) {
            self.is_over.store(false, Ordering::Relaxed);
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A receiver polled in vain. Returns whether the driver is to be woken: it polls from now on.
    pub(super) fn end_in_vain(&self) -> bool {
        let is_watched = self.is_watched.load(Ordering::Relaxed);
        is_watched && !self.is_over.swap(true, Ordering::SeqCst)
    }
}

/// What a thread has seen of them.
pub(super) struct Seen {
    begun: u64,
    /// When it was another number last.
    at: Option<Instant>,
}

impl Seen {
    pub(super) fn nothing() -> Self {
        Self { begun: 0, at: None }
    }

    /// For how long the thread need not poll, because receivers do. To be asked often.
    pub(super) fn looks(&mut self, polls: &OwnPolls, now: Instant) -> Option<Duration> {
        let begun = polls.begun.load(Ordering::Relaxed);
        if begun != self.begun {
            (self.begun, self.at) = (begun, Some(now));
        }
        let left = ASIDE.checked_sub(now.saturating_duration_since(self.at?));
        left.filter(|left| !left.is_zero() && !polls.is_over.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_makes_way_for_as_long_as_receivers_poll() {
        let (polls, mut seen, now) = (OwnPolls::default(), Seen::nothing(), Instant::now());
        polls.begin();
        assert!(seen.looks(&polls, now).is_none() && !polls.end_in_vain(), "nobody looks");
        polls.watch();
        assert!(seen.looks(&polls, now).is_none(), "none has begun");
        polls.begin();
        assert_eq!(seen.looks(&polls, now), Some(ASIDE));
        assert_eq!(seen.looks(&polls, now + ASIDE / 4), Some(ASIDE * 3 / 4));
        assert!(seen.looks(&polls, now + ASIDE).is_none(), "it does something else");
        polls.begin();
        assert!(seen.looks(&polls, now + ASIDE).is_some());
        assert!(polls.end_in_vain() && !polls.end_in_vain(), "told once");
        assert!(seen.looks(&polls, now + ASIDE).is_none(), "it sleeps: the thread polls");
        polls.begin();
        assert!(seen.looks(&polls, now + ASIDE).is_some());
    }
}
