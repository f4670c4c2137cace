//! What a session without messages gives back: queues keep what they have grown to while there is something to do, so
//! that no message costs an allocation, and nothing when there is not.

use std::collections::VecDeque;

use super::Machine;

impl Machine {
    /// Whether a message or a control message came or went since this was asked last. Heartbeats are none.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Nothing has come or gone for a while: gives the memory of empty queues back. They grow anew with the next message.
    pub fn shed(&mut self) {
        let Self { events, paths, channels, pull_sources, pulls, offers, answers, .. } = self;
        shed(events);
        pull_sources.shed();
        pulls.shed();
        offers.shed();
        answers.shed();
        paths.iter_mut().for_each(|path| shed(&mut path.outbox));
        channels.shed();
    }
}

/// Gives the memory of a queue back that is empty.
pub(crate) fn shed<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > 0 {
        *queue = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_queue_is_let_go_of() {
        let mut queue = VecDeque::from([1, 2]);
        shed(&mut queue);
        assert_eq!(queue, [1, 2]);
        queue.clear();
        assert!(queue.capacity() > 0);
        shed(&mut queue);
        assert_eq!(queue.capacity(), 0);
    }
}
