//! Memory that a peer decides how long to hold: messages that it does not ack, and messages of which it does not send the
//! end. No session holds more of it than it leaves to all others, whatever credit its peer gives or has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the sessions of an endpoint may hold together. Cloning shares it.
#[derive(Clone, Debug)]
pub struct SharedBudget {
    held: Arc<AtomicU64>,
    total_bytes: u64,
}

impl SharedBudget {
    /// A budget of so many bytes.
    pub fn new(total_bytes: u64) -> Self {
        Self { held: Arc::default(), total_bytes }
    }

    /// What all sessions hold now, bytes.
    pub fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Default for SharedBudget {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

/// A session's part of the budget, or what one channel has of that. Dropping it gives back what it holds.
#[derive(Debug, Default)]
pub struct Share {
    here: u64,
    session: Arc<AtomicU64>,
    budget: SharedBudget,
}

impl Share {
    /// The part of a new session.
    pub fn new(budget: SharedBudget) -> Self {
        Self { here: 0, session: Arc::default(), budget }
    }

    /// An empty part of the same session, for one of its channels.
    pub(super) fn of_channel(&self) -> Self {
        Self { here: 0, session: self.session.clone(), budget: self.budget.clone() }
    }

    /// Whether the session may hold more: whoever holds nothing always may (dynamic thresholds, Choudhury and Hahne 1998).
    pub fn may_grow(&self) -> bool {
        let own = self.session.load(Ordering::Relaxed);
        own == 0 || own.saturating_add(self.budget.held_bytes()) <= self.budget.total_bytes
    }

    /// What this part holds, bytes.
    pub(super) fn here(&self) -> u64 {
        self.here
    }

    /// Holds so many bytes more.
    pub fn add(&mut self, bytes: u64) {
        self.here += bytes;
        self.session.fetch_add(bytes, Ordering::Relaxed);
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives so many bytes back.
    pub fn sub(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.here, "{bytes} of {}", self.here);
        let bytes = bytes.min(self.here);
        self.here -= bytes;
        self.session.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Gives everything back.
    pub fn clear(&mut self) {
        self.sub(self.here);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_session_holds_more_than_it_leaves_to_the_others() {
        let budget = SharedBudget::new(1_000);
        let greedy = Share::new(budget.clone());
        let mut channels: Vec<_> = (0..10).map(|_| greedy.of_channel()).collect();
        let mut steps = 0;
        while channels[steps % 10].may_grow() {
            channels[steps % 10].add(10);
            steps += 1;
        }
        assert_eq!(steps, 51, "half of it, and the step that led beyond");
        let mut honest = Share::new(budget.clone());
        while honest.may_grow() {
            honest.add(10);
        }
        assert_eq!(budget.held_bytes(), 510 + 250, "half of what was left");
        assert!(!channels[0].may_grow());
        drop(channels);
        assert!(greedy.may_grow() && honest.may_grow());
        drop(honest);
        assert_eq!(budget.held_bytes(), 0);
    }
}
