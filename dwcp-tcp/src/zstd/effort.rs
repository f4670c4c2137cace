//! When to try, and how hard.

use super::Level;

/// The ladder of `auto`, from no compression up. Break-even at level 1 is a link of about 5 Gbit/s
/// (docs/performance.md); above level 5 a core no longer fills 1 Gbit/s.
const LADDER: [Option<i32>; 6] = [None, Some(-5), Some(-1), Some(1), Some(3), Some(5)];
/// Where it starts: level 1.
const START: usize = 3;
/// Reports in a row that move the level up, and down: the processor being short is felt at once by everybody.
const UP_AFTER: u32 = 8;
const DOWN_AFTER: u32 = 2;

/// The level of one path.
pub(super) struct Effort {
    fixed: Option<i32>,
    step: usize,
    was_link: bool,
    in_a_row: u32,
}

impl Effort {
    pub(super) fn new(level: Level) -> Self {
        let fixed = match level {
            Level::Auto => None,
            Level::Fixed(level) => Some(level),
        };
        Self { fixed, step: START, was_link: false, in_a_row: 0 }
    }

    /// The level to use now; `None`: do not compress.
    pub(super) fn level(&self) -> Option<i32> {
        self.fixed.or(LADDER[self.step])
    }

    pub(super) fn note(&mut self, is_link: bool) {
        self.in_a_row = if self.was_link == is_link { self.in_a_row + 1 } else { 1 };
        self.was_link = is_link;
        if is_link && self.in_a_row >= UP_AFTER {
            self.step = (self.step + 1).min(LADDER.len() - 1);
            self.in_a_row = 0;
        } else if !is_link && self.in_a_row >= DOWN_AFTER {
            self.step = self.step.saturating_sub(1);
            self.in_a_row = 0;
        }
    }
}

/// Misses in a row after which frames are only sampled.
const MISSES: u32 = 4;
/// The first and the longest distance between samples, frames. A miss costs about a send, so one in 256 is
/// below 1 %.
const FIRST_DISTANCE: u32 = 8;
const LONGEST_DISTANCE: u32 = 256;

/// Decides which frames of a path are tried.
#[derive(Default)]
pub(super) struct Sampler {
    misses: u32,
    /// Frames to let pass before the next try.
    skip: u32,
    distance: u32,
}

impl Sampler {
    /// Whether to try this frame.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        is_due
    }

    /// The outcome of a try.
    pub(super) fn note(&mut self, has_paid: bool) {
        if has_paid {
            *self = Self::default();
            return;
        }
        self.misses += 1;
        if self.misses >= MISSES {
            self.distance = (self.distance * 2).clamp(FIRST_DISTANCE, LONGEST_DISTANCE);
            self.skip = self.distance - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames tried of `frames`, of which those from `pays_from` pay.
    fn tried(frames: u32, pays_from: u32) -> u32 {
        let mut sampler = Sampler::default();
        let mut tried = 0;
        for frame in 0..frames {
            if sampler.is_due() {
                tried += 1;
                sampler.note(frame >= pays_from);
            }
        }
        tried
    }

    #[test]
    fn incompressible_data_is_hardly_ever_tried() {
        // 4 misses, then after 8, 16, … 256, 256 frames.
        assert_eq!(tried(4, u32::MAX), 4);
        assert_eq!(tried(3 + 8 + 1, u32::MAX), 5);
        assert_eq!(tried(100_000, u32::MAX), 398);
    }

    #[test]
    fn compressible_data_is_always_tried_again_after_one_success() {
        assert_eq!(tried(1_000, 0), 1_000);
        let misses = tried(10_000, u32::MAX);
        let then = tried(20_000, 10_000) - misses;
        assert!(then > 10_000 - LONGEST_DISTANCE, "{then} of 10,000 tried");
    }

    #[test]
    fn the_level_follows_the_bottleneck() {
        let mut effort = Effort::new(Level::Auto);
        assert_eq!(effort.level(), Some(1));
        let mut note = |is_link, times| {
            (0..times).for_each(|_| effort.note(is_link));
            effort.level()
        };
        assert_eq!(note(true, 7), Some(1));
        assert_eq!(note(true, 1), Some(3));
        assert_eq!(note(true, 100), Some(5));
        assert_eq!(note(false, 1), Some(5));
        assert_eq!(note(false, 1), Some(3));
        assert_eq!(note(false, 100), None);
        assert_eq!(note(true, 8), Some(-5));
        // Neither end for long: the level stays.
        for _ in 0..50 {
            assert_eq!((note(true, 1), note(false, 1)), (Some(-5), Some(-5)));
        }
    }

    #[test]
    fn a_fixed_level_stays() {
        let mut effort = Effort::new(Level::Fixed(-7));
        for is_link in [true, false] {
            (0..100).for_each(|_| effort.note(is_link));
            assert_eq!(effort.level(), Some(-7));
        }
    }
}
