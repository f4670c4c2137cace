//! How peers behave inside authenticated sessions, and what follows: a score, and a quarantine below a limit.
//!
//! Only what a peer has provably said itself counts: frames of authentic records, and hellos behind its own
//! certificate. Bytes that anybody on the way can forge fail a path and cost no reputation, or a stranger could have
//! an honest peer refused. Time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::machine::{PathCause, Violation};

/// What one offence costs of a score that begins at 1.
const COST: f64 = 0.3;
/// Peers whose conduct is remembered: those that have the best score are forgotten first.
const PEERS_MAX: usize = 4_096;
/// As good as for ever: 30 years.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);
/// A loss of score that is as good as none.
const NOTHING: f64 = 0.001;

/// What a peer did that no honest peer does, proven by its keys or its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Offence {
    /// Frames that break a rule of the protocol. Their session is over.
    #[error("{0}")]
    Violation(Violation),
    /// An authentic record that does not decode. Its path is lost.
    #[error("an authentic record that does not decode: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A hello that is none, or that names another node than the certificate.
    #[error("a false hello: {what}")]
    Hello {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Offence {
    /// The name used in events, metrics and the evidence log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Violation(violation) => violation.name(),
            Self::Malformed { .. } => "malformed-record",
            Self::Hello { .. } => "false-hello",
        }
    }

    /// The offence behind the loss of a path, if there is one.
    pub(super) fn of_cause(cause: PathCause) -> Option<Self> {
        match cause {
            PathCause::Malformed { what } => Some(Self::Malformed { what }),
            _ => None,
        }
    }
}

/// How the conduct of peers is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReputationRules {
    /// Below this score a peer is reported.
    pub reputation_min: f64,
    /// Below this score it is quarantined.
    pub quarantine_below: f64,
    /// Half of a lost score comes back in this time.
    pub half_life: Duration,
    /// How long a peer is refused.
    pub quarantine: Duration,
}

/// A peer that has offended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerConduct {
    /// The peer.
    pub peer: String,
    /// From 1, flawless, down to 0.
    pub reputation: f64,
    /// Whether that is below what is reported.
    pub is_reported: bool,
    /// Offences since the endpoint began.
    pub offences_total: u64,
    /// The last of them, and how long ago it was.
    pub last: (Offence, Duration),
    /// How much longer the peer is refused.
    pub quarantined_for: Option<Duration>,
}

/// What follows from an offence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// The score after it; 1 where nobody judges.
    pub(super) reputation: f64,
    /// The peer is refused from now on, for so long.
    pub(super) quarantine: Option<Duration>,
}

/// The conduct of all peers.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    rules: Option<ReputationRules>,
    peers: HashMap<String, Record>,
}

#[derive(Debug)]
struct Record {
    /// Of the score, at `since`.
    lost: f64,
    since: Instant,
    offences: u64,
    last: (Offence, Instant),
    quarantined_until: Option<Instant>,
}

impl Record {
    fn lost(&self, now: Instant, half_life: Duration) -> f64 {
        let since = now.saturating_duration_since(self.since).as_secs_f64();
        let lost = self.lost * 0.5_f64.powf(since / half_life.as_secs_f64().max(0.001));
        if lost < NOTHING { 0.0 } else { lost }
    }

    fn quarantined_for(&self, now: Instant) -> Option<Duration> {
        self.quarantined_until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

impl Conduct {
    pub(super) fn new(rules: Option<ReputationRules>) -> Self {
        Self { rules, peers: HashMap::new() }
    }

    /// Judges by other rules from now on. What peers have lost stays lost; without rules nobody is refused.
    pub(super) fn set_rules(&mut self, rules: Option<ReputationRules>) {
        self.rules = rules;
    }

    /// `peer` has offended.
    pub(super) fn note(&mut self, now: Instant, peer: &str, offence: Offence) -> Verdict {
        self.make_room(now, peer);
        let record = self.peers.entry(peer.to_owned()).or_insert(Record {
            lost: 0.0,
            since: now,
            offences: 0,
            last: (offence, now),
            quarantined_until: None,
        });
        record.offences += 1;
        record.last = (offence, now);
        let Some(rules) = self.rules else { return Verdict { reputation: 1.0, quarantine: None } };
        record.lost = (record.lost(now, rules.half_life) + COST).min(1.0);
        record.since = now;
        let reputation = 1.0 - record.lost;
        if reputation >= rules.quarantine_below {
            return Verdict { reputation, quarantine: None };
        }
        // A quarantine that is to last for ever has no end that a clock can show.
        let until = now.checked_add(rules.quarantine).unwrap_or_else(|| now + FOR_EVER);
        record.quarantined_until = Some(until);
        Verdict { reputation, quarantine: Some(rules.quarantine) }
    }

    /// How much longer `peer` is refused; `None`: it is not.
    pub(super) fn quarantined_for(&mut self, now: Instant, peer: &str) -> Option<Duration> {
        let rules = self.rules?;
        let record = self.peers.get_mut(peer)?;
        let left = record.quarantined_for(now);
        if left.is_none() && record.quarantined_until.take().is_some() {
            Self::release(record, now, rules);
        }
        left
    }

    /// Ends the quarantine of `peer`; false if there was none.
    pub(super) fn lift(&mut self, now: Instant, peer: &str) -> bool {
        if self.quarantined_for(now, peer).is_none() {
            return false;
        }
        let (Some(rules), Some(record)) = (self.rules, self.peers.get_mut(peer)) else {
            return false;
        };
        record.quarantined_until = None;
        Self::release(record, now, rules);
        true
    }

    /// Whoever comes out of quarantine is on probation: midway between what is reported and what is refused, unless
    /// time has given it more. One more offence may be enough then.
    fn release(record: &mut Record, now: Instant, rules: ReputationRules) {
        let probation = (rules.reputation_min + rules.quarantine_below) / 2.0;
        record.lost = record.lost(now, rules.half_life).min(1.0 - probation);
        record.since = now;
    }

    /// All peers that have offended, in the order of their names.
    pub(super) fn all(&mut self, now: Instant) -> Vec<PeerConduct> {
        let names: Vec<_> = self.peers.keys().cloned().collect();
        let mut all: Vec<_> = names.into_iter().filter_map(|peer| self.one(now, peer)).collect();
        all.sort_by(|a, b| a.peer.cmp(&b.peer));
        all
    }

    fn one(&mut self, now: Instant, peer: String) -> Option<PeerConduct> {
        let quarantined_for = self.quarantined_for(now, &peer);
        let record = self.peers.get(&peer)?;
        let reputation = self.rules.map_or(1.0, |rules| 1.0 - record.lost(now, rules.half_life));
        let (last, at) = record.last;
        Some(PeerConduct {
            peer,
            reputation,
            is_reported: self.rules.is_some_and(|rules| reputation < rules.reputation_min),
            offences_total: record.offences,
            last: (last, now.saturating_duration_since(at)),
            quarantined_for,
        })
    }

    /// With `peers: any` there may be many: of those that are free, the one with the best score makes room.
    fn make_room(&mut self, now: Instant, peer: &str) {
        if self.peers.len() < PEERS_MAX || self.peers.contains_key(peer) {
            return;
        }
        let half_life = self.rules.map_or(Duration::MAX, |rules| rules.half_life);
        let weight =
            |record: &Record| (record.quarantined_for(now).is_some(), record.lost(now, half_life));
        let best = self.peers.iter().min_by(|(_, a), (_, b)| {
            let (a, b) = (weight(a), weight(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        if let Some(best) = best.map(|(name, _)| name.clone()) {
            self.peers.remove(&best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ReputationRules = ReputationRules {
        reputation_min: 0.5,
        quarantine_below: 0.1,
        half_life: Duration::from_secs(3_600),
        quarantine: Duration::from_secs(600),
    };
    const BAD: Offence = Offence::Malformed { what: "x" };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn is_near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn offences_add_up_to_a_report_and_then_to_a_quarantine() {
        let (mut conduct, now) = (Conduct::new(Some(RULES)), Instant::now());
        let mut seen = Vec::new();
        for _ in 0..4 {
            let verdict = conduct.note(now, "m", BAD);
            let told = conduct.all(now).remove(0);
            assert!(is_near(told.reputation, verdict.reputation));
            seen.push((told.is_reported, verdict.quarantine.is_some()));
        }
        assert_eq!(seen, [(false, false), (true, false), (true, false), (true, true)]);
        assert_eq!(conduct.quarantined_for(now, "m"), Some(RULES.quarantine));
        assert_eq!(conduct.quarantined_for(now, "honest"), None);
        assert_eq!(conduct.all(now)[0].offences_total, 4);
    }

    #[test]
    fn a_quarantine_may_be_for_ever() {
        let rules = ReputationRules { quarantine: Duration::MAX, ..RULES };
        let (mut conduct, now) = (Conduct::new(Some(rules)), Instant::now());
        (0..4).for_each(|_| _ = conduct.note(now, "m", BAD));
        let years = |years: u64| now + seconds(years * 365 * 86_400);
        assert!(conduct.quarantined_for(years(29), "m").is_some());
    }

    #[test]
    fn half_of_what_was_lost_comes_back_in_the_half_life() {
        let (mut conduct, start) = (Conduct::new(Some(RULES)), Instant::now());
        conduct.note(start, "m", BAD);
        for (after, lost) in [(0, 0.3), (3_600, 0.15), (7_200, 0.075), (36_000, 0.0)] {
            let told = conduct.all(start + seconds(after)).remove(0);
            assert!(is_near(told.reputation, 1.0 - lost), "after {after} s: {}", told.reputation);
        }
        // An offence a half-life is never enough: 0.3 + 0.15 + 0.075 + … stays below 0.6.
        for hour in 1..100 {
            let verdict = conduct.note(start + seconds(hour * 3_600), "m", BAD);
            assert_eq!(verdict.quarantine, None, "{hour}");
        }
    }

    #[test]
    fn a_quarantine_ends_by_time_or_by_hand_and_leaves_a_probation() {
        for by_hand in [false, true] {
            let (mut conduct, start) = (Conduct::new(Some(RULES)), Instant::now());
            (0..4).for_each(|_| _ = conduct.note(start, "m", BAD));
            let end = start + if by_hand { seconds(5) } else { RULES.quarantine };
            assert_eq!(conduct.lift(end, "m"), by_hand, "there is nothing to lift at its end");
            assert!(!conduct.lift(end, "m") && !conduct.lift(end, "honest"));
            assert_eq!(conduct.quarantined_for(end, "m"), None);
            let told = conduct.all(end).remove(0);
            assert!(is_near(told.reputation, 0.3) && told.is_reported, "{told:?}");
            let verdict = conduct.note(end, "m", BAD);
            assert_eq!(verdict.quarantine, Some(RULES.quarantine), "on probation once is enough");
        }
    }

    #[test]
    fn without_rules_offences_are_counted_and_nobody_is_refused() {
        let (mut conduct, now) = (Conduct::new(None), Instant::now());
        for _ in 0..9 {
            assert_eq!(conduct.note(now, "m", BAD), Verdict { reputation: 1.0, quarantine: None });
        }
        assert_eq!(conduct.quarantined_for(now, "m"), None);
        assert_eq!(conduct.all(now)[0].offences_total, 9);
        // Switched on and off: what was a quarantine holds again only while there are rules.
        conduct.set_rules(Some(RULES));
        (0..4).for_each(|_| _ = conduct.note(now, "m", BAD));
        conduct.set_rules(None);
        assert_eq!(conduct.quarantined_for(now, "m"), None);
        conduct.set_rules(Some(RULES));
        assert!(conduct.quarantined_for(now, "m").is_some());
    }

    #[test]
    fn memory_is_bounded_and_the_worst_are_remembered() {
        let (mut conduct, now) = (Conduct::new(Some(RULES)), Instant::now());
        (0..4).for_each(|_| _ = conduct.note(now, "worst", BAD));
        for number in 0..PEERS_MAX + 100 {
            conduct.note(now, &format!("n{number}"), BAD);
            assert!(conduct.peers.len() <= PEERS_MAX);
        }
        assert!(conduct.quarantined_for(now, "worst").is_some());
    }
}
