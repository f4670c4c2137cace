//! The replay window against a set that remembers everything.

use std::collections::HashSet;

use dwcp_core::crypto::ReplayWindow;
use proptest::prelude::*;

/// The width that docs/protocol.md promises.
const WINDOW: u64 = 16_384;

/// Where the next number lies.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So far beyond the highest.
    Ahead(u64),
    /// So far behind it.
    Behind(u64),
    /// Around the edge of the window.
    Edge(i64),
    /// Far away.
    Any(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u64).prop_map(Step::Ahead),
        1 => (0..3 * WINDOW).prop_map(Step::Ahead),
        4 => (0..70u64).prop_map(Step::Behind),
        2 => (0..2 * WINDOW).prop_map(Step::Behind),
        2 => (-3..=3i64).prop_map(Step::Edge),
        1 => any::<u64>().prop_map(Step::Any),
    ]
}

proptest! {
    #![proptest_config(super::config("tests/property/replay.regressions"))]

    #[test]
    fn each_number_opens_once_and_only_within_the_window(
        start in prop_oneof![Just(0), Just(u64::MAX - 100_000), 0..u64::MAX / 2],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut window = ReplayWindow::unordered();
        let (mut seen, mut highest) = (HashSet::new(), None::<u64>);
        for step in steps {
            let from = highest.unwrap_or(start);
            let number = match step {
                Step::Ahead(by) => from.saturating_add(by),
                Step::Behind(by) => from.saturating_sub(by),
                Step::Edge(by) => from.saturating_sub(WINDOW).saturating_add_signed(by),
                // A leap to the end would leave nothing to try after it.
                Step::Any(number) => number.min(from.saturating_add(1 << 40)),
            };
            // The last number is never used: one past it has to be a number.
            let is_recent = highest.is_none_or(|highest| number > highest || highest - number < WINDOW);
            let is_good = number != u64::MAX && is_recent && !seen.contains(&number);
            prop_assert_eq!(window.check(number).is_ok(), is_good, "{} at {:?}", number, highest);
            if is_good {
                window.mark(number);
                seen.insert(number);
                highest = highest.max(Some(number));
            }
        }
    }

    #[test]
    fn in_order_only_the_next_number_opens(numbers in prop::collection::vec(0..12u64, 1..60)) {
        let (mut window, mut next) = (ReplayWindow::ordered(), 0);
        for number in numbers {
            prop_assert_eq!(window.check(number).is_ok(), number == next);
            if number == next {
                window.mark(number);
                next += 1;
            }
        }
    }
}
