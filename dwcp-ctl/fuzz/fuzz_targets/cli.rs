//! See tests/fuzz/targets/cli.rs.
#![no_main]

#[path = "../../tests/fuzz/targets/mod.rs"]
#[allow(dead_code)] // every target has all of them
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::cli::target(data));
