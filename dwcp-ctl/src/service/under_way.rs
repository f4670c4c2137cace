//! What goes on between nodes right now, so that a drain can let it end and say what did not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::labels;
use crate::units::counted;

/// A kind of work that a drain waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Files going out or coming in.
    Copy,
    /// A forwarded connection, at either end.
    Forward,
    /// A bench, at either end.
    Bench,
    /// A short command, such as a ping.
    Command,
}

impl Work {
    /// The work of a channel labelled `label`, if there is a service of that name.
    pub fn of(label: &str) -> Option<Self> {
        match label {
            labels::FILE => Some(Self::Copy),
            labels::FORWARD => Some(Self::Forward),
            labels::BENCH_LATENCY | labels::BENCH_SINK | labels::BENCH_SOURCE => Some(Self::Bench),
            _ => None,
        }
    }
}

/// How much of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct WorkCounts {
    pub copies: u64,
    pub forwards: u64,
    pub benches: u64,
    pub commands: u64,
}

impl WorkCounts {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.copies + self.forwards + self.benches + self.commands
    }

    /// In words, such as `1 copy, 2 forwarded connections`; `nothing` if there is none.
    pub fn words(&self) -> String {
        let named = [
            (self.copies, "copy", "copies"),
            (self.forwards, "forwarded connection", "forwarded connections"),
            (self.benches, "bench", "benches"),
            (self.commands, "command", "commands"),
        ];
        let words: Vec<_> = named
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| counted(*count, one, many))
            .collect();
        if words.is_empty() { "nothing".into() } else { words.join(", ") }
    }

    fn of(&mut self, work: Work) -> &mut u64 {
        match work {
            Work::Copy => &mut self.copies,
            Work::Forward => &mut self.forwards,
            Work::Bench => &mut self.benches,
            Work::Command => &mut self.commands,
        }
    }
}

/// Counts the work of a node, and takes no more once it is closed.
#[derive(Default)]
pub struct UnderWay {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    counts: WorkCounts,
}

/// A piece of work, until it is dropped.
pub struct Place {
    under_way: Arc<UnderWay>,
    work: Work,
}

impl UnderWay {
    /// A place for new work; `None` once nothing more is taken.
    pub fn begin(self: &Arc<Self>, work: Work) -> Option<Place> {
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        *state.counts.of(work) += 1;
        Some(Place { under_way: Arc::clone(self), work })
    }

    /// Takes nothing more from now on; what is under way goes on.
    pub fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Whether nothing more is taken.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// What is under way now.
    pub fn counts(&self) -> WorkCounts {
        self.lock().counts
    }

    /// Waits until nothing is under way.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only waits.
    pub async fn idle(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.counts().total() == 0 {
                return;
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.under_way.lock().counts.of(self.work) -= 1;
        self.under_way.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_began_before_the_close_is_waited_for_and_nothing_else_begins() {
        let under_way = Arc::new(UnderWay::default());
        under_way.idle().await;
        let (copy, forward) = (under_way.begin(Work::Copy), under_way.begin(Work::Forward));
        under_way.close();
        assert!(under_way.begin(Work::Bench).is_none() && under_way.is_closed());
        assert_eq!(under_way.counts().words(), "1 copy, 1 forwarded connection");
        let waiting = tokio::spawn({
            let under_way = under_way.clone();
            async move { under_way.idle().await }
        });
        drop(copy);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(forward);
        waiting.await.unwrap();
        assert_eq!(under_way.counts().words(), "nothing");
    }
}
