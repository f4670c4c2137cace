//! Seeds that failed once, each with what was wrong. A change of what the simulator draws from a seed makes
//! them ordinary seeds; what they found has a test of its own where that was possible.
#![cfg(feature = "sim")]

use dwcp_core::sim::run;

const SEEDS: [(u64, &str); 17] = [
    (1, "the opener of a channel wanted an Open frame from the other direction, too"),
    (3, "a pulled frame counted with its payload when it was asked whether it fits a record"),
    (4, "the next frame to send was one already on its way"),
    (6, "an ack that was due on a path without room left the timeout in the past"),
    (
        26,
        "a path that takes over has a shorter heartbeat: its timeout is due at once, and not for ever",
    ),
    (235, "credit at rest"),
    (3_920, "records for a path that never came up at this side"),
    (
        5_156,
        "the last ack of a forgotten channel was lost with its path, while the frame's own path lived",
    ),
    (6_381, "what is registered with a link depended on runs before"),
    (9_185, "a failed fence left its pulls open"),
    (15_269, "credit was told for a channel whose Open had not gone out yet, and was lost"),
    (20_046, "a session whose peer restarted before the first path was up"),
    (46_803, "two rekeys without a record between them: the opener could not follow"),
    (
        421_220,
        "credit went out on a dead path just before a switch, and was told again only seconds after",
    ),
    (115_165, "frames of a reset channel that are never sent are no gap"),
    (941_036, "two paths came up at once, and each end went by another one for good"),
    (941_296, "the same"),
];

#[test]
fn seeds_that_failed_once_pass() {
    for (seed, why) in SEEDS {
        let outcome =
            run(seed).unwrap_or_else(|failure| panic!("{failure}\nIt failed before: {why}"));
        // These came later: whoever draws them otherwise changes what these seeds try.
        let later = ["deaf", "deaf by its own fault", "deaf for good", "heartbeats together"];
        let later = later.map(|what| (what, outcome.coverage.count(what)));
        assert!(later.iter().all(|(_, count)| *count == 0), "seed {seed} comes by {later:?}");
    }
}

/// Early frames held all memory of a pool: what they waited for found none. Each of these gets stuck without the last
/// memory, or when that takes in what nothing waits for. A change of the memory may make one of them ordinary: about one in a
/// hundred seeds comes by it.
const SEEDS_IN_NEED: [u64; 5] = [8_279, 10_469, 10_551, 11_234, 30_815];

#[test]
fn what_early_frames_wait_for_finds_the_last_memory() {
    let mut given_up = 0;
    for seed in SEEDS_IN_NEED {
        let coverage = run(seed).unwrap_or_else(|failure| panic!("{failure}")).coverage;
        assert!(coverage.count("last memory") > 0, "seed {seed} never comes to it: {coverage}");
        given_up += coverage.count("path down memory short");
    }
    assert!(given_up > 0, "the last memory had room for everything");
}
