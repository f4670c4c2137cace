//! The oracle catches bugs: each planted one within the stated seeds, and nothing in the same seeds without.
#![cfg(feature = "sim")]

use dwcp_core::sim::{Bug, plant, run};

/// The first of `seeds` seeds that fails with `bug`, and why. The seed passes without it.
fn caught_within(bug: Bug, seeds: u64) -> String {
    for seed in 1..=seeds {
        plant(Some(bug));
        let result = run(seed);
        plant(None);
        if let Err(failure) = result {
            run(seed).unwrap_or_else(|failure| panic!("without {bug:?}\n{failure}"));
            println!("{bug:?}: seed {seed}: {}", failure.what);
            return failure.what;
        }
    }
    panic!("{bug:?} was not caught within {seeds} seeds");
}

#[test]
fn a_repeated_nonce_is_caught() {
    let what = caught_within(Bug::RepeatedNonce, 20);
    assert!(what.contains("under one key"), "{what}");
}

#[test]
fn memory_reused_before_the_fence_is_caught() {
    let what = caught_within(Bug::UnfencedReuse, 200);
    assert!(what.contains("handed on before the fence"), "{what}");
}

#[test]
fn a_failed_fence_taken_for_a_good_one_is_caught() {
    let what = caught_within(Bug::FailedFenceIgnored, 1_000);
    assert!(what.contains("handed on"), "{what}");
}

#[test]
fn a_lost_switch_mark_is_caught() {
    let what = caught_within(Bug::LostSwitchMark, 50);
    assert!(what.contains("steady false") || what.contains("while"), "{what}");
}

#[test]
fn leaking_credit_is_caught() {
    let what = caught_within(Bug::CreditLeak, 200);
    assert!(what.contains("credit") || what.contains("stuck"), "{what}");
}

#[test]
fn a_wrong_resume_range_is_caught() {
    let what = caught_within(Bug::WrongResumeRange, 50);
    let words = ["acks a frame that was never sent", "undelivered Some", "in doubt"];
    assert!(words.iter().any(|words| what.contains(words)), "{what}");
}
