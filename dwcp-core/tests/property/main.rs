//! Parts of the protocol against naive models that share no code with them.
//!
//! Cases are drawn from a fixed seed, so that a failure is one of the change at hand; what failed once is
//! kept beside this file and tried first. `DWCP_PROPERTY_SEED` and `DWCP_PROPERTY_CASES` look elsewhere.
#![cfg(all(feature = "sim", feature = "tokio"))]

mod batch;
mod credit;
mod ranges;
mod replay;

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};

/// How the properties of the file `name` are tried.
fn config(name: &'static str) -> Config {
    let setting = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| {
            text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number"))
        })
    };
    Config {
        cases: u32::try_from(setting("DWCP_PROPERTY_CASES", 512)).expect("fewer cases"),
        rng_seed: RngSeed::Fixed(setting("DWCP_PROPERTY_SEED", 0x5eed)),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(name))),
        ..Config::default()
    }
}
