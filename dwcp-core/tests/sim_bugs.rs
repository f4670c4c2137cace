//! The oracle catches bugs: each planted one within the stated seeds, and nothing in the same seeds without.
#![cfg(feature = "sim")]

use dwcp_core::sim::{Bug, plant, run};

/// The first of `seeds` seeds that fails with `bug` breaks `rule`. The seed passes without the bug.
fn caught_within(seeds: u64, bug: Bug, rule: &str) {
    for seed in 1..=seeds {
        plant(Some(bug));
        let result = run(seed);
        plant(None);
        if let Err(failure) = result {
            run(seed).unwrap_or_else(|failure| panic!("without {bug:?}\n{failure}"));
            println!("{bug:?}: seed {seed}: {}", failure.what);
            assert!(failure.what.contains(rule), "by another rule than {rule}: {}", failure.what);
            return;
        }
    }
    panic!("{bug:?} was not caught within {seeds} seeds");
}

#[test]
fn a_repeated_nonce_is_caught() {
    caught_within(20, Bug::RepeatedNonce, "twice under one key");
}

#[test]
fn memory_reused_before_the_fence_is_caught() {
    caught_within(200, Bug::UnfencedReuse, "had handed on before the fence");
}

#[test]
fn a_failed_fence_taken_for_a_good_one_is_caught() {
    caught_within(1_000, Bug::FailedFenceIgnored, "had handed on before the fence");
}

#[test]
fn a_lost_switch_mark_is_caught() {
    caught_within(50, Bug::LostSwitchMark, "by a mark and stays in");
}

#[test]
fn a_lost_header_epoch_is_caught() {
    caught_within(50, Bug::LostHeaderEpoch, "by a header and stays in");
}

#[test]
fn leaking_credit_is_caught() {
    caught_within(200, Bug::CreditLeak, "stuck: undelivered Some");
}

#[test]
fn a_deaf_end_that_takes_its_path_for_silent_is_caught() {
    caught_within(1_000, Bug::DeafTakenForSilent, "for silent: what came waits there since");
}

#[test]
fn a_deaf_end_that_says_nothing_is_caught() {
    caught_within(1_000, Bug::DeafSaysNothing, "of its peer, which is deaf since");
}

#[test]
fn a_wrong_resume_range_is_caught() {
    caught_within(50, Bug::WrongResumeRange, "acks a frame that was never sent");
}
