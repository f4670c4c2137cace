//! What a run came by: faults, and what the machines told. A rule that no run comes near proves nothing.

use std::collections::BTreeMap;
use std::fmt;

use super::deaf::Deafness;
use super::scenario::Fault;
use crate::machine::{Closed, Event, PathCause, SwitchFailure};
use crate::wire::SwitchReason;

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    pub(super) fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds what another run came by.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
    }

    /// How often `what` happened.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Those of [`THINGS`] that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        THINGS.iter().copied().filter(|what| !self.0.contains_key(what)).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut things = self.0.iter().map(|(what, count)| format!("{what} {count}"));
        f.write_str(&things.by_ref().collect::<Vec<_>>().join(", "))
    }
}

/// Everything that seeded runs have to come by: every fault, and every event of the machine with every cause, but
/// `CertificateEnds` and what follows from it (no run has certificates) and `Closed::PeerViolated` (its peers are
/// honest). Runs also note, too rarely to be asked for: not even the last memory for a record, a path that comes to a full
/// session and is turned away, and a source that is read after its fence has failed.
pub const THINGS: [&str; 74] = [
    "acks watched",
    "all acked",
    "channel opened",
    "channel reset",
    "close",
    "close with data un-acked",
    "close without a path",
    "closed by peer",
    "closed by us",
    "closed expired",
    "closed memory short",
    "closed peer restarted",
    "deaf",
    "deaf by its own fault",
    "deaf for good",
    "deaf for longer than silence may last",
    "doze",
    "fence failed",
    "freeze",
    "heartbeats together",
    "in doubt",
    "last memory",
    "late landing",
    "leave",
    "link corrupts",
    "link cut",
    "link far",
    "link full",
    "link hole",
    "link stalls",
    "memory short for sending",
    "move awaited",
    "offer",
    "offer refused",
    "outage",
    "path answered",
    "path closed",
    "path down bad record",
    "path down closed",
    "path down heartbeat lost",
    "path down link failed",
    "path down memory short",
    "path down not validated",
    "path down peer closed",
    "path down silent",
    "path evicted",
    "path needed",
    "path offered",
    "path released",
    "path renewed",
    "path resumed beside another",
    "path validated",
    "peer leaves",
    "progress asked",
    "pull",
    "pull failed",
    "readable",
    "rekey",
    "reset",
    "restart",
    "resume",
    "resumes at once",
    "switch asked",
    "switch begun",
    "switch better or requested",
    "switch failed overtaken",
    "switch failed target down",
    "switch failed target silent",
    "switch first path",
    "switch followed",
    "switch path failed",
    "switch wished",
    "transmit needed",
    "writable",
];

/// The name of an event.
pub(super) fn of_event(event: &Event) -> &'static str {
    match event {
        Event::ChannelOpened { .. } => "channel opened",
        Event::Readable(_) => "readable",
        Event::Writable(_) => "writable",
        Event::ChannelReset { .. } => "channel reset",
        Event::AllAcked => "all acked",
        Event::PathValidated(_) => "path validated",
        Event::PathDown { cause, .. } => of_cause(*cause),
        Event::PathReleased(_) => "path released",
        Event::TransmitNeeded(_) => "transmit needed",
        Event::ProgressAsked => "progress asked",
        Event::PathNeeded => "path needed",
        Event::Switched(switch) => match switch.reason {
            SwitchReason::FirstPath => "switch first path",
            SwitchReason::PathFailed => "switch path failed",
            SwitchReason::FollowedPeer => "switch followed",
            SwitchReason::Requested | SwitchReason::BetterPath => "switch better or requested",
        },
        Event::SwitchFailed { cause, .. } => match cause {
            SwitchFailure::TargetDown => "switch failed target down",
            SwitchFailure::TargetSilent => "switch failed target silent",
            SwitchFailure::Overtaken => "switch failed overtaken",
        },
        Event::PathOffered { .. } => "path offered",
        Event::PathAnswered { .. } => "path answered",
        Event::Pull(_) => "pull",
        Event::InDoubt { .. } => "in doubt",
        Event::CertificateEnds { .. } => "certificate ends",
        Event::PeerLeaves => "peer leaves",
        Event::Closed(why) => match why {
            Closed::ByPeer { .. } => "closed by peer",
            Closed::ByUs => "closed by us",
            Closed::Expired => "closed expired",
            Closed::PeerRestarted => "closed peer restarted",
            Closed::MemoryShort => "closed memory short",
            Closed::CertificateEnded => "closed certificate ended",
            Closed::PeerViolated(_) => "closed peer violated",
        },
    }
}

fn of_cause(cause: PathCause) -> &'static str {
    match cause {
        PathCause::LinkFailed => "path down link failed",
        PathCause::BadRecord => "path down bad record",
        PathCause::Malformed { .. } => "path down malformed record",
        PathCause::MemoryShort => "path down memory short",
        PathCause::Silent => "path down silent",
        PathCause::HeartbeatLost => "path down heartbeat lost",
        PathCause::NotValidated => "path down not validated",
        PathCause::PeerClosed => "path down peer closed",
        PathCause::Closed => "path down closed",
    }
}

/// The name of a fault.
pub(super) fn of_fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Kill { .. } => "link cut",
        Fault::Hole { .. } => "link hole",
        Fault::Stall { .. } => "link stalls",
        Fault::Corrupt { .. } => "link corrupts",
        Fault::Freeze { .. } => "freeze",
        Fault::Switch { .. } => "switch asked",
        Fault::Rekey { .. } => "rekey",
        Fault::ClosePath { .. } | Fault::CloseActive { .. } => "path closed",
        Fault::Offer { .. } => "offer",
        Fault::Reset { .. } => "reset",
        Fault::WatchAcks { .. } => "acks watched",
        Fault::Outage { .. } => "outage",
        Fault::Restart { .. } => "restart",
        Fault::Deaf { deafness: Deafness { time: None, .. }, .. } => "deaf for good",
        Fault::Deaf { deafness: Deafness { is_stuck: true, .. }, .. } => "deaf by its own fault",
        Fault::Deaf { .. } => "deaf",
        Fault::Doze { .. } => "doze",
        Fault::Close { .. } => "close",
        Fault::Leave { .. } => "leave",
        Fault::Resume { .. } => "resume",
    }
}
