//! Whether numbered messages came once each and in order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Gaps remembered; a peer that makes more is not worth remembering.
const GAPS_MAX: usize = 10_000;

/// What was wrong with the order of messages. All zero: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Numbers that never came.
    pub lost: u64,
    /// Messages whose number had come before.
    pub duplicated: u64,
    /// Messages that came after a higher number.
    pub reordered: u64,
}

impl Order {
    /// Whether every message came once and in order.
    pub fn is_perfect(&self) -> bool {
        *self == Self::default()
    }
}

/// Checks numbers 0, 1, 2, … as they come.
#[derive(Debug, Default)]
pub struct SequenceCheck {
    next: u64,
    /// Numbers below `next` that have not come: start -> end (exclusive).
    gaps: BTreeMap<u64, u64>,
    order: Order,
}

impl SequenceCheck {
    /// Notes that `number` came.
    #[inline]
    pub fn note(&mut self, number: u64) {
        if number == self.next {
            self.next = number.saturating_add(1);
        } else {
            self.note_other(number);
        }
    }

    #[cold]
    fn note_other(&mut self, number: u64) {
        if number > self.next {
            self.order.lost += number - self.next;
            if self.gaps.len() < GAPS_MAX {
                self.gaps.insert(self.next, number);
            }
            self.next = number.saturating_add(1);
        } else if self.fill(number) {
            self.order.lost -= 1;
            self.order.reordered += 1;
        } else {
            self.order.duplicated += 1;
        }
    }

    /// Notes that `sent` messages were sent in all, and sums up.
    pub fn finish(mut self, sent: u64) -> Order {
        self.order.lost += sent.saturating_sub(self.next);
        self.order
    }

    /// Whether `number` was missing; it no longer is.
    fn fill(&mut self, number: u64) -> bool {
        let Some((&start, &end)) = self.gaps.range(..=number).next_back() else { return false };
        if number >= end {
            return false;
        }
        self.gaps.remove(&start);
        if start < number {
            self.gaps.insert(start, number);
        }
        if number + 1 < end {
            self.gaps.insert(number + 1, end);
        }
        true
    }
}

/// Writes `number` to the front of `message`, if it has room.
pub fn stamp(message: &mut [u8], number: u64) {
    if let Some(front) = message.first_chunk_mut::<8>() {
        *front = number.to_le_bytes();
    }
}

/// The number at the front of `message`; `None` if it has no room for one.
pub fn stamped(message: &[u8]) -> Option<u64> {
    message.first_chunk::<8>().map(|front| u64::from_le_bytes(*front))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(numbers: &[u64], sent: u64) -> Order {
        let mut check = SequenceCheck::default();
        numbers.iter().for_each(|&number| check.note(number));
        check.finish(sent)
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        assert!(check(&[0, 1, 2], 3).is_perfect());
        assert_eq!(check(&[0, 1], 3), Order { lost: 1, ..Order::default() });
        assert_eq!(check(&[0, 3], 4), Order { lost: 2, ..Order::default() });
        assert_eq!(check(&[0, 1, 1, 2], 3), Order { duplicated: 1, ..Order::default() });
        assert_eq!(check(&[0, 2, 1, 3], 4), Order { reordered: 1, ..Order::default() });
        let all = Order { lost: 1, duplicated: 1, reordered: 1 };
        assert_eq!(check(&[0, 4, 2, 2, 1], 5), Order { reordered: 2, ..all });
    }

    #[test]
    fn numbers_agree_with_a_naive_count() {
        let mut random = 9u64;
        for _ in 0..200 {
            let numbers: Vec<u64> = (0..50)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) % 40
                })
                .collect();
            let distinct: std::collections::HashSet<_> = numbers.iter().collect();
            let order = check(&numbers, 40);
            assert_eq!(order.lost, 40 - distinct.len() as u64);
            assert_eq!(order.duplicated, (numbers.len() - distinct.len()) as u64);
        }
    }

    #[test]
    fn a_hostile_number_neither_panics_nor_allocates() {
        let order = check(&[u64::MAX, 0, u64::MAX], 1);
        assert_eq!(order.reordered, 1);
    }

    #[test]
    fn stamps_are_read_back() {
        let mut message = [0; 9];
        stamp(&mut message, 77);
        assert_eq!(stamped(&message), Some(77));
        assert_eq!(stamped(&message[..7]), None);
    }
}
