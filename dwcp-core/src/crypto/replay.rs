//! Replay protection by record number.

use super::OpenError;

/// Which record numbers of one path, direction, lane and phase have been opened.
///
/// The unordered window is the sliding window of RFC 4303 section 3.4.3, 16,384 numbers wide: such links have posted
/// receives, and no more records can be on their way than the peer has posted, a few hundred.
pub struct ReplayWindow {
    /// The next number an ordered link must bring; else one past the highest number seen.
    next: u64,
    /// `None` on ordered links. Bit `n % WINDOW` tells whether `n` was seen.
    seen: Option<Box<[u64; WORDS]>>,
}

const WINDOW: u64 = 16_384;
const WORDS: usize = (WINDOW / 64) as usize;

impl ReplayWindow {
    /// For links that deliver in order: the only good number is the next one.
    pub fn ordered() -> Self {
        Self::ordered_from(0)
    }

    /// The same, with `next` as the first good number.
    pub fn ordered_from(next: u64) -> Self {
        Self { next, seen: None }
    }

    /// The next number of an ordered link; else one past the highest seen.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// For links that do not.
    pub fn unordered() -> Self {
        Self { next: 0, seen: Some(Box::new([0; WORDS])) }
    }

    /// Whether record `number` may be opened. Changes nothing: the record is not yet known to be authentic.
    ///
    /// # Errors
    /// [`OpenError::OutOfOrder`] or [`OpenError::Replayed`].
    pub fn check(&self, number: u64) -> Result<(), OpenError> {
        let Some(seen) = &self.seen else {
            let expected = self.next;
            return if number == expected {
                Ok(())
            } else {
                Err(OpenError::OutOfOrder { number, expected })
            };
        };
        let too_old = number.saturating_add(WINDOW) < self.next;
        let repeated = number < self.next && !too_old && seen[word(number)] & bit(number) != 0;
        if too_old || repeated || number == u64::MAX {
            return Err(OpenError::Replayed { number });
        }
        Ok(())
    }

    /// Records that `number` was opened.
    ///
    /// # Panics
    /// If [`check`](Self::check) would have refused it.
    pub fn mark(&mut self, number: u64) {
        assert!(self.check(number).is_ok(), "only a checked number is marked");
        if let Some(seen) = &mut self.seen {
            // Numbers that the window moves over are new: clear their bits, at most one lap.
            for fresh in self.next.max((number + 1).saturating_sub(WINDOW))..number {
                seen[word(fresh)] &= !bit(fresh);
            }
            seen[word(number)] |= bit(number);
        }
        self.next = self.next.max(number + 1);
    }
}

fn word(number: u64) -> usize {
    (number % WINDOW / 64) as usize
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a set that remembers everything.
    #[test]
    fn the_window_agrees_with_a_naive_model() {
        let (mut window, mut model) = (ReplayWindow::unordered(), std::collections::HashSet::new());
        let (mut random, mut highest) = (1u64, 0u64);
        for _ in 0..200_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let jump = (random >> 33) % 40_000;
            let number =
                (highest + (random >> 60)).saturating_sub(if jump < 20_000 { jump } else { 0 });
            let fresh = number + WINDOW > highest && !model.contains(&number);
            let known = number + WINDOW > highest;
            assert_eq!(window.check(number).is_ok(), fresh && known, "{number} at {highest}");
            if fresh && known {
                window.mark(number);
                model.insert(number);
                highest = highest.max(number);
            }
        }
    }
}
