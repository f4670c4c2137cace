//! The receive window of a session beyond what each channel is born with, and the budget of the node that
//! it comes from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::WINDOW_STEP_MIN;

/// What the sessions of an endpoint together may promise their peers to receive, beyond
/// [`CHANNEL_WINDOW_MIN`](super::CHANNEL_WINDOW_MIN) a channel. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ReceiveBudget {
    left_bytes: Arc<AtomicU64>,
    total_bytes: u64,
}

impl ReceiveBudget {
    /// A budget of so many bytes.
    pub fn new(total_bytes: u64) -> Self {
        Self { left_bytes: Arc::new(AtomicU64::new(total_bytes)), total_bytes }
    }

    /// What is promised now, bytes.
    pub fn promised_bytes(&self) -> u64 {
        self.total_bytes - self.left_bytes.load(Ordering::Relaxed)
    }

    /// Takes `wanted` bytes or fewer for a session that holds `held`: never so much that it holds more than is
    /// left for all others. So nobody finds nothing, however long the others hold on to what they have.
    fn take(&self, wanted: u64, held: u64) -> u64 {
        let mut taken = 0;
        let order = Ordering::Relaxed;
        let _ = self.left_bytes.fetch_update(order, order, |left| {
            taken = wanted.min(left.saturating_sub(held) / 2);
            Some(left - taken)
        });
        taken
    }

    fn give_back(&self, bytes: u64) {
        self.left_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A session's part. Dropping it gives back what it holds.
#[derive(Debug)]
pub(super) struct Window {
    /// What the session may yet take by its own limit.
    spare_bytes: u64,
    held_bytes: u64,
    budget: ReceiveBudget,
}

impl Window {
    /// At most `limit_bytes` of `budget`.
    pub(super) fn new(limit_bytes: u64, budget: ReceiveBudget) -> Self {
        Self { spare_bytes: limit_bytes, held_bytes: 0, budget }
    }

    /// Takes at most `wanted` bytes for a channel; returns how many.
    pub(super) fn take(&mut self, wanted: u64) -> u64 {
        let taken = self.budget.take(wanted.min(self.spare_bytes), self.held_bytes);
        self.spare_bytes -= taken;
        self.held_bytes += taken;
        taken
    }

    /// As [`take`](Self::take), for a channel that has `held`: never so much that the others find less than a
    /// third of what it then has. One that was fast once, and is not read any more, keeps what it was told.
    pub(super) fn take_for_channel(&mut self, wanted: u64, held: u64) -> u64 {
        let share = (self.spare_bytes.saturating_mul(3).saturating_sub(held)) / 4;
        match wanted.min(share) {
            little if little < WINDOW_STEP_MIN => 0,
            most => self.take(most),
        }
    }

    /// A channel needs its part no more.
    pub(super) fn give_back(&mut self, bytes: u64) {
        // After the end of the session nothing is held.
        let bytes = bytes.min(self.held_bytes);
        self.held_bytes -= bytes;
        self.spare_bytes += bytes;
        self.budget.give_back(bytes);
    }

    /// The session is over: nothing is promised to anybody.
    pub(super) fn end(&mut self) {
        self.give_back(self.held_bytes);
        self.spare_bytes = 0;
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_no_more_than_its_limit() {
        let budget = ReceiveBudget::new(1 << 30);
        let mut window = Window::new(1_000, budget.clone());
        assert_eq!((window.take(600), window.take(600), window.take(600)), (600, 400, 0));
        window.give_back(600);
        assert_eq!(window.take(1_000), 600);
        assert_eq!(budget.promised_bytes(), 1_000);
        window.end();
        assert_eq!((window.take(1), budget.promised_bytes()), (0, 0));
        window.give_back(400);
        assert_eq!(budget.promised_bytes(), 0, "what was held is given back once");
    }

    #[test]
    fn all_sessions_share_the_budget_and_a_late_one_still_finds_something() {
        let budget = ReceiveBudget::new(256 << 20);
        let session = |_| {
            let mut window = Window::new(16 << 20, budget.clone());
            for _ in 0..50 {
                window.take(1 << 20);
            }
            window
        };
        let sessions: Vec<_> = (0..24).map(session).collect();
        assert!(budget.promised_bytes() <= 256 << 20);
        assert_eq!(sessions[0].held_bytes, 16 << 20);
        let late = Window::new(16 << 20, budget.clone()).take(1 << 20);
        assert!(late >= 16 << 10, "{late}");
        drop(sessions);
        assert_eq!(budget.promised_bytes(), 0);
    }
}
