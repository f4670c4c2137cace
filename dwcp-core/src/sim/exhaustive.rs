//! Short scripted runs with a switch or a death at every record boundary.

use super::coverage::Coverage;
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
    /// The dialer switches and the acceptor asks it to, at every pair of boundaries.
    BothSwitch,
    /// The dialer switches and the acceptor gives its path in use up, at every pair of boundaries.
    SwitchAndClose,
    /// Both ends give their path in use up, at every pair of boundaries.
    BothClose,
    /// The dialer switches and the path in use dies, at every pair of boundaries.
    SwitchAndDeath,
    /// The dialer brings a further path and the path in use dies, at every pair of boundaries.
    ResumeAndDeath,
}

impl Script {
    /// The faults of the dialer's and the acceptor's boundary, of a script of pairs.
    fn pair(self) -> Option<[Fault; 2]> {
        let (switch, close) = (|side| Fault::Switch { side }, |side| Fault::CloseActive { side });
        let death = Fault::Kill { notices: [true, true] };
        match self {
            Self::Switch | Self::Death { .. } | Self::Hole { .. } => None,
            Self::BothSwitch => Some([switch(0), switch(1)]),
            Self::SwitchAndClose => Some([switch(0), close(1)]),
            Self::BothClose => Some([close(0), close(1)]),
            Self::SwitchAndDeath => Some([switch(0), death]),
            Self::ResumeAndDeath => Some([Fault::Resume { paths: 2, renews: false }, death]),
        }
    }

    /// The faults of each boundary, of a script without pairs: one run each.
    fn singles(self) -> Vec<Fault> {
        match self {
            // Either end may speak at either end's boundaries.
            Self::Switch => vec![Fault::Switch { side: 0 }, Fault::Switch { side: 1 }],
            Self::Death { notices } => vec![Fault::Kill { notices }],
            Self::Hole { toward } => vec![Fault::Hole { toward }],
            _ => Vec::new(),
        }
    }
}

/// What the links of a script are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Everything in order, as over TCP.
    Stream,
    /// Records overtake each other, each into a receive of its own, to which a dead link may write until its fence.
    Messages,
    /// The same, and larger payloads are pulled.
    Pulls,
}

/// What all runs of a script came by.
#[derive(Clone, Debug, Default)]
pub struct Exhausted {
    /// How many there were.
    pub runs: u64,
    /// Those in which a switch of the dialer began and a wish of the acceptor went out.
    pub both_switched: u64,
    /// What they came by.
    pub coverage: Coverage,
}

/// Makes all runs of a script.
///
/// # Errors
/// The first [`Failure`].
pub fn exhaust(script: Script, medium: Medium) -> Result<Exhausted, Failure> {
    let (_, records) = judge("no fault", || Scenario::short(medium, Vec::new()))?;
    let mut all = Exhausted::default();
    let mut play = |triggers: Vec<Trigger>| {
        let run = format!("script {triggers:?} over {medium:?}");
        let (outcome, _) = judge(&run, || Scenario::short(medium, triggers.clone()))?;
        let has = |what| outcome.coverage.count(what) > 0;
        all.runs += 1;
        all.both_switched += u64::from(has("switch begun") && has("switch wished"));
        all.coverage.merge(&outcome.coverage);
        Ok::<_, Failure>(())
    };
    let at = |side: Side, records: u64, fault: Fault| Trigger { side, records, fault };
    for (side, &last) in records.iter().enumerate() {
        for boundary in 1..=last {
            for fault in script.singles() {
                play(vec![at(side, boundary, fault)])?;
            }
        }
    }
    let Some(pair) = script.pair() else { return Ok(all) };
    for first in 1..=records[0] {
        for second in 1..=records[1] {
            play(vec![at(0, first, pair[0]), at(1, second, pair[1])])?;
        }
    }
    Ok(all)
}
