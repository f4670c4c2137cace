//! What must be true of every run, judged from outside.
//!
//! It shares no code with the machine: it sees what the application committed and was given, the bytes of
//! sealed records, the frames that went over a link, and what the machine says of itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::pattern::Pattern;
use super::scenario::Side;
use crate::machine::Time;

/// Credit that a channel has from the start, and what the smallest frame costs: docs/protocol.md.
const FIRST_CREDIT: u64 = 65_536;
const LEAST_COST: u64 = 1_024;

#[derive(Default)]
pub(super) struct Oracle {
    seed: u64,
    flows: HashMap<(u32, Side), Flow>,
    keys: HashMap<(u32, Side), KeyUse>,
    /// Pulls whose target may still be written: path, channel, seq, by the reading side.
    pulls: HashSet<(Side, u32, u64)>,
    since: HashMap<(Side, &'static str, u32), Time>,
    violation: Option<String>,
    pub(super) messages: u64,
}

/// One direction of a channel.
#[derive(Default)]
struct Flow {
    lengths: Vec<u32>,
    delivered: u64,
    in_doubt: Option<(u64, u64)>,
    /// One end gave it up: what was committed may be lost, still in order and at most once.
    is_reset: bool,
    last_seq: u64,
    cost: u64,
    credit: u64,
    confirmed: u64,
}

/// Record numbers used on one path and direction.
#[derive(Default)]
struct KeyUse {
    phase: u64,
    numbers: HashSet<u64>,
}

impl Oracle {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(super) fn violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    pub(super) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(super) fn check(&mut self, is_good: bool, what: impl FnOnce() -> String) {
        if !is_good {
            self.fail(what());
        }
    }

    fn flow(&mut self, channel: u32, sender: Side) -> &mut Flow {
        self.flows
            .entry((channel, sender))
            .or_insert_with(|| Flow { credit: FIRST_CREDIT, ..Flow::default() })
    }

    /// The next message of a flow, to be filled before it is committed.
    pub(super) fn next_pattern(&mut self, channel: u32, sender: Side) -> Pattern {
        let number = self.flow(channel, sender).lengths.len() as u64;
        Pattern::new(self.seed, channel, sender, number)
    }

    pub(super) fn committed(&mut self, channel: u32, sender: Side, bytes: usize) {
        self.flow(channel, sender).lengths.push(bytes as u32);
    }

    pub(super) fn delivered(&mut self, channel: u32, sender: Side, message: &[u8]) {
        let seed = self.seed;
        let flow = self.flow(channel, sender);
        let number = flow.delivered;
        flow.delivered += 1;
        let expected = flow.lengths.get(number as usize).copied();
        let is_it = expected == Some(message.len() as u32)
            && Pattern::new(seed, channel, sender, number).matches(message);
        self.messages += 1;
        self.check(is_it, || {
            format!(
                "message {} of channel {channel} from side {sender} is not the one committed: {} \
                 bytes came, {expected:?} were sent",
                number + 1,
                message.len()
            )
        });
    }

    pub(super) fn confirmed(&mut self, channel: u32, sender: Side, messages: u64) {
        self.flow(channel, sender).confirmed = messages;
    }

    pub(super) fn reset(&mut self, channel: u32) {
        (0..2).for_each(|sender| self.flow(channel, sender).is_reset = true);
    }

    pub(super) fn in_doubt(&mut self, channel: u32, sender: Side, from: u64, count: u64) {
        let flow = self.flow(channel, sender);
        let again = flow.in_doubt.replace((from, count));
        self.check(again.is_none(), || format!("channel {channel} is in doubt twice"));
    }

    /// A sealed record: its header in the clear (docs/protocol.md, "Records").
    pub(super) fn sealed(&mut self, path: u32, sender: Side, record: &[u8]) {
        let phase = u64::from(record[0] & 3);
        let number = u64::from_le_bytes(record[8..16].try_into().expect("8 bytes"));
        let keys = self.keys.entry((path, sender)).or_default();
        if keys.phase & 3 != phase {
            keys.phase += 1;
            keys.numbers.clear();
        }
        let is_next_phase = keys.phase & 3 == phase;
        let is_fresh = keys.numbers.insert(number);
        self.check(is_next_phase && is_fresh, || {
            format!("path {path}: side {sender} used record number {number} twice under one key")
        });
    }

    /// A data frame goes out.
    pub(super) fn sent(&mut self, channel: u32, sender: Side, seq: u64, payload: Option<usize>) {
        let flow = self.flow(channel, sender);
        if seq <= flow.last_seq {
            return; // again
        }
        let is_next = seq == flow.last_seq + 1;
        flow.last_seq = seq;
        flow.cost += payload.map_or(0, |bytes| (bytes as u64).max(LEAST_COST));
        let (cost, credit, is_reset) = (flow.cost, flow.credit, flow.is_reset);
        // What a reset channel had queued counts as acked when the peer says that it is over.
        self.check(is_next || is_reset, || {
            format!("channel {channel}: frame {seq} was sent before its turn")
        });
        self.check(cost <= credit || channel == 0, || {
            format!("channel {channel}: side {sender} sent {cost} of {credit} bytes of credit")
        });
    }

    pub(super) fn credit(&mut self, channel: u32, sender: Side, limit: u64) {
        let flow = self.flow(channel, sender);
        flow.credit = flow.credit.max(limit);
    }

    pub(super) fn pull_begins(&mut self, reader: Side, channel: u32, seq: u64) {
        let is_only = self.pulls.insert((reader, channel, seq));
        self.check(is_only, || {
            format!("frame {seq} of channel {channel} is pulled while an unfenced pull may land")
        });
    }

    pub(super) fn pull_over(&mut self, reader: Side, channel: u32, seq: u64) {
        self.pulls.remove(&(reader, channel, seq));
    }

    /// A state that may last only so long: `what` of `id` holds at `side` now, or does not.
    pub(super) fn bounded(
        &mut self,
        now: Time,
        state: (Side, &'static str, u32),
        holds: bool,
        limit: Duration,
    ) {
        if !holds {
            self.since.remove(&state);
            return;
        }
        let since = *self.since.entry(state).or_insert(now);
        let (side, what, id) = state;
        self.check(now.since(since) <= limit, || {
            format!("side {side}: {what} {id} has lasted since {since:?}")
        });
    }

    /// Forgets when states began at a side that could not act.
    pub(super) fn excuse(&mut self, side: Side) {
        self.since.retain(|state, _| state.0 != side);
    }

    /// Whether everything that was committed and not given up is with the other application.
    pub(super) fn undelivered(&self) -> Option<(u32, Side, u64, usize)> {
        let missing = |flow: &Flow| !flow.is_reset && flow.delivered < flow.lengths.len() as u64;
        let (key, flow) =
            self.flows.iter().filter(|(_, flow)| missing(flow)).min_by_key(|x| x.0)?;
        Some((key.0, key.1, flow.delivered, flow.lengths.len()))
    }

    /// At rest, all is consumed: a sender has again at least half of the smallest window.
    pub(super) fn check_rest(&mut self, channel: u32, sender: Side) {
        let flow = self.flow(channel, sender);
        let left = flow.credit - flow.cost;
        let is_open = !flow.is_reset;
        self.check(!is_open || left >= FIRST_CREDIT / 2, || {
            format!("channel {channel}: at rest side {sender} has only {left} bytes of credit")
        });
    }

    /// The counts that the sender's machine gives, at rest.
    pub(super) fn check_counts(&mut self, channel: u32, sender: Side, counts: (u64, u64, u64)) {
        let flow = self.flow(channel, sender);
        let committed = flow.lengths.len() as u64;
        let expected = (committed, committed, flow.confirmed);
        let is_good = flow.is_reset || counts == expected;
        self.check(is_good, || {
            format!("channel {channel} of side {sender} counts {counts:?}, not {expected:?}")
        });
    }

    /// After the end of the session at `sender`: what was acked, what is in doubt.
    pub(super) fn check_end(&mut self, sender: Side, reader_lives: bool) {
        let mut bad = None;
        for (&(channel, side), flow) in self.flows.iter().filter(|(_, flow)| !flow.is_reset) {
            if side != sender {
                continue;
            }
            let committed = flow.lengths.len() as u64;
            let (from, count) = flow.in_doubt.unwrap_or((committed + 1, 0));
            let is_whole = from + count == committed + 1;
            let is_kept = !reader_lives || flow.delivered + 1 >= from;
            if !(is_whole && is_kept) {
                let delivered = flow.delivered;
                bad = Some(format!(
                    "channel {channel} of side {side} ended with {committed} messages committed, \
                     {count} in doubt from {from}, {delivered} delivered"
                ));
            }
        }
        bad.into_iter().for_each(|what| self.fail(what));
    }
}
