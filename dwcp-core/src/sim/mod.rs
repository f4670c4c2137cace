//! The simulator: virtual clock, seeded faults, an oracle, and planted bugs that it must catch.
//!
//! One `u64` decides everything about a run: links, messages, faults, chance. [`run`] makes the run of a seed:
//! two machines, each with a thin driver (sealed records, posted receives, pulls, fences), links that break
//! in every way between them, applications that dawdle. Memory of a dead path may be written to until its
//! fence. The oracle judges from outside; what it finds comes back as a [`Failure`] that names the seed.

mod app;
mod bugs;
mod coverage;
mod deaf;
mod end;
mod exhaustive;
mod faults;
mod link;
mod oracle;
mod pattern;
mod random;
mod resume;
mod scenario;
mod trace;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use bugs::{Bug, bug, plant};
pub use coverage::{Coverage, THINGS};
pub use exhaustive::{Exhausted, Medium, Script, exhaust};
use scenario::Scenario;
use trace::Trace;
use world::World;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages delivered.
    pub messages: u64,
    /// Records sent.
    pub records: u64,
    /// What it came by.
    pub coverage: Coverage,
}

/// A run that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which run; scripts say it in words.
    pub run: String,
    /// Which rule.
    pub what: String,
    /// What happened, from the start.
    pub trace: Vec<String>,
}

/// Lines of the trace that a failure shows.
const TRACE_LINES: usize = 40;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The alternate form tells everything.
        let shown = if f.alternate() { self.trace.len() } else { TRACE_LINES };
        let hidden = self.trace.len().saturating_sub(shown);
        self.trace[hidden..].iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        write!(f, "{}: {}", self.run, self.what)
    }
}

impl std::error::Error for Failure {}

/// Makes the run of `seed`.
///
/// # Errors
/// [`Failure`]: a rule was broken, or the code panicked.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    judge(&format!("seed {seed}"), || Scenario::draw(seed)).map(|(outcome, _)| outcome)
}

/// Runs a scenario; again with a trace if it fails. Also returns the records that each end sent.
fn judge(run: &str, scenario: impl Fn() -> Scenario) -> Result<(Outcome, [u64; 2]), Failure> {
    let mut trace = Vec::new();
    if let Ok(done) = attempt(scenario(), false, &mut trace) {
        return Ok(done);
    }
    let what = match attempt(scenario(), true, &mut trace) {
        Err(what) => what,
        Ok(_) => "failed once and not again: the run is not determined by its seed".to_owned(),
    };
    Err(Failure { run: run.to_owned(), what, trace })
}

fn attempt(
    scenario: Scenario,
    is_traced: bool,
    trace: &mut Vec<String>,
) -> Result<(Outcome, [u64; 2]), String> {
    let mut world = World::new(scenario, Trace::new(is_traced));
    let result = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", words.unwrap_or("without words")))
    });
    *trace = world.trace.take();
    let coverage = std::mem::take(&mut world.coverage);
    let outcome = Outcome { messages: world.oracle.messages, records: world.records, coverage };
    result.map(|()| (outcome, [world.ends[0].records, world.ends[1].records]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::link::LinkSpec;
    use super::scenario::Fault;
    use super::*;

    /// A switch from a near path to one with that delay; what was told of paths.
    fn switch_to_far(delay_us: u64) -> Vec<String> {
        let mut scenario = Scenario::short(Medium::Stream, Vec::new());
        scenario.heartbeat = Duration::from_secs(1);
        scenario.switch_timeout = Duration::from_secs(5);
        scenario.chaos = Duration::from_millis(1_500);
        scenario.links = vec![LinkSpec::plain(50), LinkSpec::plain(delay_us)];
        for plan in &mut scenario.channels {
            for flow in &mut plan.flows {
                (flow.messages, flow.bytes_max, flow.gap) = (1_400, 300, Duration::from_millis(1));
            }
        }
        scenario.faults = vec![(Duration::from_millis(900), Fault::Switch { side: 0 })];
        let mut trace = Vec::new();
        attempt(scenario, true, &mut trace).unwrap_or_else(|what| panic!("{what}"));
        let is_told = |line: &String| line.contains("Switched") || line.contains("PathDown");
        trace.into_iter().filter(is_told).collect()
    }

    #[test]
    fn a_switch_to_a_far_path_sticks() {
        for delay_us in [5_000, 30_000, 100_000] {
            let told = switch_to_far(delay_us);
            let switched = told.iter().filter(|line| line.contains("epoch: 3")).count();
            assert_eq!(switched, 2, "both ends moved: {told:#?}");
            let is_given_up = told.iter().any(|line| line.contains("Silent"));
            assert!(!is_given_up, "a healthy path was given up: {told:#?}");
        }
    }
}
