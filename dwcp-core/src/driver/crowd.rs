//! Whether others want the processor on which a thread polls.

use std::time::{Duration, Instant};

/// What one polling thread has seen of others.
#[derive(Default)]
pub(crate) struct Crowd {
    looks: u32,
    /// It gives way after so many more looks, each time.
    gives_way: u32,
}

/// Looks after which the thread gives way once, to see whether anybody wants that.
const LOOKS: u32 = 8;
/// After others had the processor it gives way so often, each time.
const GIVES_WAY: u32 = 64;
/// Giving way takes less where nobody wants it: a system call, and no change of threads.
const UNWANTED_MAX: Duration = Duration::from_micros(2);

impl Crowd {
    /// Before the first look: the peer that shares this processor has had no turn to answer in, if others had it lately.
    pub(super) fn begin(&mut self) {
        if self.gives_way > 0 {
            self.pause();
        }
    }

    /// Between two looks. Where no processor is idle, the peer (or whoever has the answer) needs this one: there a pause in the
    /// place of giving way made a round trip a third longer, and its tail five times. Where one is idle, giving way is
    /// a system call that nobody wants, and as long as a look.
    pub(super) fn pause(&mut self) {
        self.looks = self.looks.wrapping_add(1);
        if self.gives_way == 0 && !self.looks.is_multiple_of(LOOKS) {
            return std::hint::spin_loop();
        }
        let before = Instant::now();
        std::thread::yield_now();
        self.note(before.elapsed());
    }

    /// Giving way took so long.
    fn note(&mut self, taken: Duration) {
        self.gives_way = match taken > UNWANTED_MAX {
            true => GIVES_WAY,
            false => self.gives_way.saturating_sub(1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_way_for_as_long_as_others_want_it() {
        let mut crowd = Crowd::default();
        crowd.note(UNWANTED_MAX);
        assert_eq!(crowd.gives_way, 0);
        crowd.note(UNWANTED_MAX * 2);
        assert_eq!(crowd.gives_way, GIVES_WAY);
        (0..GIVES_WAY).for_each(|_| crowd.note(Duration::ZERO));
        assert_eq!(crowd.gives_way, 0);
        // Nobody wants it: a look comes first.
        crowd.begin();
        assert_eq!(crowd.looks, 0);
        // Looks in between are counted by themselves.
        (0..100).for_each(|_| crowd.pause());
        assert_eq!(crowd.looks, 100);
    }
}
