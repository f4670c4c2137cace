//! Seeded runs of the simulator.
//!
//! The seeds are the same in every run, so that a failure is one of the change at hand. `DWCP_SIM_SEEDS` says
//! how many (200,000 in `.ci/run`), `DWCP_SIM_START` the first: `DWCP_SIM_START=$RANDOM$RANDOM
//! DWCP_SIM_SEEDS=200000 .ci/test sim` looks where nobody has looked. A failure says how to replay its seed.
#![cfg(feature = "sim")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dwcp_core::sim::{Coverage, Failure, run};

/// Seeds of the quick room.
const QUICK_SEEDS: u64 = 2_000;
/// Failures of the long run that are told.
const FAILURES_TOLD: usize = 5;
/// How often the long run says how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}

/// The command that makes the run of `seed` again, with its whole trace.
fn replay(seed: u64) -> String {
    format!(
        "DWCP_SIM_START={seed} DWCP_SIM_SEEDS=1 cargo test -p dwcp-core --all-features --profile sim \
         --test sim_seeds -- --nocapture seeds_keep_every_rule"
    )
}

/// Runs seeds over all processors. Panics with what failed first.
fn run_all(start: u64, count: u64) {
    let (next, done) = (AtomicU64::new(start), AtomicU64::new(0));
    let (messages, began) = (AtomicU64::new(0), Instant::now());
    let told = Mutex::new(began);
    let failures = Mutex::new(Vec::<(u64, Failure)>::new());
    let coverage = Mutex::new(Coverage::default());
    let work = || {
        while failures.lock().expect("no panic holds it").len() < FAILURES_TOLD {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= start + count {
                return;
            }
            match run(seed) {
                Ok(outcome) => {
                    messages.fetch_add(outcome.messages, Ordering::Relaxed);
                    coverage.lock().expect("no panic holds it").merge(&outcome.coverage);
                }
                Err(failure) => failures.lock().expect("no panic holds it").push((seed, failure)),
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let is_due = told.try_lock().is_ok_and(|mut told| {
                let is_due = told.elapsed() >= TOLD_EVERY;
                *told = if is_due { Instant::now() } else { *told };
                is_due
            });
            if is_due || done == count {
                let rate = done as f64 / began.elapsed().as_secs_f64();
                println!("{done} of {count} seeds from {start}, {rate:.0} seeds/s");
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
    let failures = failures.into_inner().expect("no panic holds it");
    for (seed, failure) in &failures {
        if count == 1 {
            println!("{failure:#}");
        } else {
            println!("{failure}\nto replay it: {}\n", replay(*seed));
        }
    }
    let seeds: Vec<_> = failures.iter().map(|(seed, _)| seed).collect();
    assert!(seeds.is_empty(), "seeds {seeds:?} failed; above is how to replay each");
    let coverage = coverage.into_inner().expect("no panic holds it");
    println!("{} messages delivered; {coverage}", messages.into_inner());
    // Fewer seeds are for one question.
    let missing = if count >= QUICK_SEEDS { coverage.missing() } else { Vec::new() };
    assert!(missing.is_empty(), "never in {count} runs: {missing:?}");
}

#[test]
fn seeds_keep_every_rule() {
    // The quick run begins where 2,000 seeds come by everything that is asked for below.
    run_all(setting("DWCP_SIM_START", 8_001), setting("DWCP_SIM_SEEDS", QUICK_SEEDS));
}

mod exhaustive {
    use dwcp_core::sim::{Exhausted, Medium, Script, exhaust};

    const MEDIA: [Medium; 3] = [Medium::Stream, Medium::Messages, Medium::Pulls];
    /// Of scripts with thousands of runs.
    const TWO_MEDIA: [Medium; 2] = [Medium::Stream, Medium::Messages];

    fn all_over(medium: Medium, script: Script, runs_min: u64) -> Exhausted {
        let all = exhaust(script, medium).unwrap_or_else(|failure| panic!("{script:?}\n{failure}"));
        let (runs, coverage) = (all.runs, &all.coverage);
        println!("{script:?} over {medium:?}: {runs} runs; {coverage}");
        assert!(runs >= runs_min, "{script:?} over {medium:?} made {runs} runs only");
        let is_plain = medium == Medium::Stream;
        let late = coverage.count("late landing");
        assert_eq!(late == 0, is_plain, "{script:?} over {medium:?}: {late} late landings");
        let pulls = coverage.count("pull");
        assert_eq!(pulls > 0, medium == Medium::Pulls, "{script:?} over {medium:?}: {pulls} pulls");
        all
    }

    fn all(media: &[Medium], script: Script, runs_min: u64) {
        media.iter().for_each(|&medium| _ = all_over(medium, script, runs_min));
    }

    #[test]
    fn a_switch_at_every_record_boundary() {
        all(&MEDIA, Script::Switch, 50);
    }

    #[test]
    fn a_death_at_every_record_boundary() {
        for notices in [[true, true], [true, false], [false, true], [false, false]] {
            all(&MEDIA, Script::Death { notices }, 30);
        }
        for toward in [[true, true], [true, false], [false, true]] {
            all(&MEDIA, Script::Hole { toward }, 30);
        }
    }

    #[test]
    fn both_ends_ask_for_a_switch_at_every_pair_of_boundaries() {
        for medium in TWO_MEDIA {
            let all = all_over(medium, Script::BothSwitch, 200);
            let both = all.both_switched;
            assert!(both >= 200, "over {medium:?} both asked in {both} of {} runs only", all.runs);
        }
    }

    #[test]
    fn a_switch_meets_a_failover_at_every_pair_of_boundaries() {
        all(&[Medium::Stream], Script::SwitchAndClose, 200);
        all(&[Medium::Stream], Script::BothClose, 200);
        all(&MEDIA, Script::SwitchAndDeath, 200);
    }

    #[test]
    fn a_resumption_meets_a_death_at_every_pair_of_boundaries() {
        all(&TWO_MEDIA, Script::ResumeAndDeath, 200);
    }
}
