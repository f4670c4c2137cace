//! Short scripted runs with a switch or a death at every record boundary.

use super::scenario::{Fault, Scenario, Side, Trigger};
use super::{Failure, judge};

/// What is done at every boundary, or at every pair of boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// The dialer switches, or the acceptor asks it to.
    Switch,
    /// The path in use dies; these ends notice.
    Death {
        /// Dialer, acceptor.
        notices: [bool; 2],
    },
    /// The path in use swallows what goes to these ends.
    Hole {
        /// Dialer, acceptor.
        toward: [bool; 2],
    },
    /// The dialer switches and the acceptor fails over, at every pair of boundaries.
    BothSwitch,
    /// Both ends give their path in use up, at every pair of boundaries.
    BothClose,
    /// The dialer switches and the path in use dies, at every pair of boundaries.
    SwitchAndDeath,
}

/// Makes all runs of a script and returns how many there were.
///
/// # Errors
/// The first [`Failure`].
pub fn exhaust(script: Script) -> Result<u64, Failure> {
    let (_, records) = judge("no fault", || Scenario::short(Vec::new()))?;
    let mut runs = 0;
    let mut play = |triggers: Vec<Trigger>| {
        runs += 1;
        let run = format!("script {triggers:?}");
        judge(&run, || Scenario::short(triggers.clone())).map(drop)
    };
    let at = |side: Side, records: u64, fault: Fault| Trigger { side, records, fault };
    let (switch, close) = (|side| Fault::Switch { side }, |side| Fault::CloseActive { side });
    for (side, &last) in records.iter().enumerate() {
        for boundary in 1..=last {
            let one = |fault| vec![at(side, boundary, fault)];
            match script {
                // Either end may speak at either end's boundaries.
                Script::Switch => {
                    play(one(switch(0)))?;
                    play(one(switch(1)))?;
                }
                Script::Death { notices } => play(one(Fault::Kill { notices }))?,
                Script::Hole { toward } => play(one(Fault::Hole { toward }))?,
                Script::BothSwitch | Script::BothClose | Script::SwitchAndDeath => {}
            }
        }
    }
    let pair = match script {
        Script::BothSwitch => [switch(0), close(1)],
        Script::BothClose => [close(0), close(1)],
        Script::SwitchAndDeath => [switch(0), Fault::Kill { notices: [true, true] }],
        _ => return Ok(runs),
    };
    for first in 1..=records[0] {
        for second in 1..=records[1] {
            play(vec![at(0, first, pair[0]), at(1, second, pair[1])])?;
        }
    }
    Ok(runs)
}
