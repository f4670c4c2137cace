//! Keys and sets of ids.

use std::fmt;

/// A channel of a session: its id on the wire and where the machine keeps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelKey {
    pub(super) index: u32,
    pub(super) id: u32,
}

impl ChannelKey {
    /// The id on the wire: even if the dialer opened it.
    pub fn id(self) -> u32 {
        self.id
    }

    /// A small number that no other open channel of this end has: for tables beside the machine. Used again
    /// once the channel is over.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}", self.id)
    }
}

/// A set of numbers kept as disjoint ranges `start..end`, ascending. Small as long as the numbers are dense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeSet(Vec<(u64, u64)>);

impl RangeSet {
    pub(super) fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|&(start, _)| start <= number);
        after > 0 && number < self.0[after - 1].1
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, number: u64) {
        debug_assert!(!self.contains(number));
        let at = self.0.partition_point(|&(start, _)| start <= number);
        let joins_before = at > 0 && self.0[at - 1].1 == number;
        let joins_after = self.0.get(at).is_some_and(|&(start, _)| start == number + 1);
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 += 1,
            (false, true) => self.0[at].0 = number,
            (false, false) => {
                // Nearly always the only one: a vector would begin with room for four.
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (number, number + 1));
            }
        }
    }

    pub(super) fn ranges(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_agrees_with_a_naive_one() {
        let (mut set, mut model, mut random) = (RangeSet::default(), [false; 200], 7u64);
        for _ in 0..5_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let number = (random >> 33) as usize % 200;
            assert_eq!(set.contains(number as u64), model[number]);
            if !model[number] {
                set.insert(number as u64);
                model[number] = true;
            }
        }
        let starts = (0..200).filter(|&n| model[n] && (n == 0 || !model[n - 1])).count();
        assert_eq!(set.ranges(), starts);
    }
}
