//! The simulator: virtual clock, seeded faults, an oracle, and planted bugs that it must catch.

mod bugs;

pub use bugs::{Bug, bug, plant};
