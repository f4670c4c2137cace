//! One path of a session, as the machine sees it.

use std::collections::VecDeque;
use std::time::Duration;

use super::settings::{FAILOVER_MIN, FAILOVER_RTTS, FAILOVER_UNKNOWN, MAX_FRAMES_AHEAD};
use super::{PathCause, Time};
use crate::link::LinkFeatures;
use crate::mem::{Payload, RegionId};
use crate::wire::{Frame, PathId, PathKind, PullSource};

/// What the driver tells of a new path.
#[derive(Clone, Debug)]
pub struct PathAttributes {
    /// Its kind.
    pub kind: PathKind,
    /// What its link guarantees.
    pub features: LinkFeatures,
    /// The handshake that made it has already proven both ends (the first path, a resumption).
    pub is_proven: bool,
    /// Unpredictable bytes for the challenge.
    pub challenge: [u8; 16],
    /// Records the peer may send at first: receives posted. Ignored without `MESSAGE_BOUNDARIES`.
    pub receives_posted: u64,
    /// Our memory that the peer can read on this path: region, address of its start, remote key.
    pub regions: Vec<(RegionId, u64, u64)>,
    /// Among validated paths, the one with the highest preference takes over.
    pub preference: u8,
}

impl PathAttributes {
    /// Of a path over a link without posted receives, readable memory or a preference.
    pub fn plain(
        kind: PathKind,
        features: LinkFeatures,
        is_proven: bool,
        challenge: [u8; 16],
    ) -> Self {
        let (receives_posted, regions, preference) = (0, Vec::new(), 0);
        Self { kind, features, is_proven, challenge, receives_posted, regions, preference }
    }
}

/// Where a path is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// The two ends have not yet proven it to each other.
    Validating,
    /// Ready to be switched to.
    Standby,
    /// New data goes here.
    Active,
    /// Switched away from; frames sent on it are not all acked.
    Draining,
    /// Down; something may still land from it.
    Fencing(PathCause),
}

/// Frames are in flight on a path and no ack comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    /// Since then. The path and all others were asked for a sign of life.
    pub(super) since: Time,
    /// The token of the first ping sent here since.
    token: u64,
    pub(super) stage: SuspicionStage,
}

/// How far a suspicion has come. The path's own answer clears it at each stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SuspicionStage {
    /// No path has answered.
    Asked,
    /// Another path answered then: from then on this one has its patience left to give its own.
    Doubted(Time),
    /// Its patience was over then, and the others were asked once more: a peer that is there, but was not given a
    /// processor between its answers on the other path and on this one, gives this one before any further answer.
    AskedAgain(Time),
    /// Another path answered that, then: what has not arrived by now was never sent.
    Condemned(Time),
}

pub(super) struct Path {
    pub(super) id: PathId,
    pub(super) attributes: PathAttributes,
    pub(super) state: PathState,
    /// Epoch under which we last sent data here.
    pub(super) epoch: u32,
    /// Frames that belong to this path and no other.
    pub(super) outbox: VecDeque<Frame>,
    pub(super) created: Time,
    pub(super) heard: Time,
    pub(super) sent: Time,
    /// The outstanding ping: token and when.
    pub(super) ping: Option<(u64, Time)>,
    next_token: u64,
    /// Heartbeats without an answer.
    pub(super) missed: u32,
    /// When an answer to a ping last came, and when that ping was sent.
    pub(super) answered: Option<(Time, Time)>,
    pub(super) rtt: Option<Duration>,
    ack_rtt: Option<Duration>,
    /// Frames of ours on their way here, and when their ack last made progress.
    pub(super) in_flight: usize,
    pub(super) progress: Time,
    /// The peer hardly looks at this path: a Wake goes before the next message.
    pub(super) peer_sleeps: bool,
    /// The path may be dead.
    pub(super) suspected: Option<Box<Suspicion>>,
    /// Records we sent, and the limit the peer granted.
    pub(super) records_sent: u64,
    pub(super) records_limit: u64,
    /// Receives we have granted in all.
    records_granted: u64,
    records_told: u64,
}

impl Path {
    pub(super) fn new(now: Time, id: PathId, attributes: PathAttributes) -> Self {
        let state = if attributes.is_proven { PathState::Standby } else { PathState::Validating };
        let mut path = Self {
            id,
            state,
            epoch: 0,
            outbox: VecDeque::new(),
            created: now,
            heard: now,
            sent: now,
            ping: None,
            next_token: 1,
            missed: 0,
            answered: None,
            rtt: None,
            ack_rtt: None,
            in_flight: 0,
            progress: now,
            peer_sleeps: false,
            suspected: None,
            records_sent: 0,
            records_limit: 0,
            records_granted: attributes.receives_posted,
            records_told: attributes.receives_posted,
            attributes,
        };
        if path.has(LinkFeatures::MESSAGE_BOUNDARIES) {
            // Both ends post as many at the start: the bootstrap said so.
            path.records_limit = path.attributes.receives_posted;
        }
        if !path.attributes.is_proven {
            let token = path.attributes.challenge;
            path.push(&Frame::PathChallenge { token });
        }
        path
    }

    pub(super) fn has(&self, features: LinkFeatures) -> bool {
        self.attributes.features.has(features)
    }

    pub(super) fn is_live(&self) -> bool {
        !matches!(self.state, PathState::Fencing(_))
    }

    /// Whether it may carry data once it is active.
    pub(super) fn is_validated(&self) -> bool {
        self.is_live() && self.state != PathState::Validating
    }

    /// Queues a frame that must go out here.
    pub(super) fn push(&mut self, frame: &Frame) {
        // Only answers to the peer grow it beyond a few frames; a peer that asks faster than it reads gets
        // no more answers. An honest one has fewer pulls going on than frames ahead.
        let frames_max = match frame {
            Frame::Pong { .. } | Frame::PathResponse { .. } => 64,
            Frame::PullDone { .. } => MAX_FRAMES_AHEAD as usize,
            _ => usize::MAX,
        };
        if matches!(frame, Frame::SwitchMark { .. }) {
            // The latest says all that one before it said.
            self.outbox.retain(|frame| !matches!(frame, Frame::SwitchMark { .. }));
        }
        if matches!(frame, Frame::Ping { .. }) {
            // Nobody waits for the answer to an older one. A path that is held up while it is not silent would gather
            // one for each heartbeat.
            self.outbox.retain(|frame| !matches!(frame, Frame::Ping { .. }));
        }
        if self.outbox.len() < frames_max {
            if self.outbox.is_empty() {
                self.outbox.reserve_exact(1); // a ping or its answer, and nothing else for most of a path's life
            }
            self.outbox.push_back(frame.clone());
        }
    }

    /// Asks for an answer, unless one is due.
    pub(super) fn ping(&mut self, now: Time) {
        if self.ping.is_none() {
            let token = self.next_token;
            self.next_token += 1;
            self.ping = Some((token, now));
            self.push(&Frame::Ping { token });
        }
    }

    /// An answer to a ping.
    pub(super) fn handle_pong(&mut self, now: Time, token: u64) {
        if let Some((_, asked)) = self.ping.take_if(|(asked, _)| *asked == token) {
            smooth(&mut self.rtt, now.since(asked));
            self.answered = Some((now, asked));
            self.missed = 0;
        }
        // The path itself answers: it is slow, not dead. Also to a ping that was repeated meanwhile.
        let is_since =
            |suspected: &mut Box<Suspicion>| (suspected.token..self.next_token).contains(&token);
        if self.suspected.take_if(is_since).is_some() {
            self.progress = now;
        }
    }

    pub(super) fn sample_ack(&mut self, round_trip: Duration) {
        smooth(&mut self.ack_rtt, round_trip);
    }

    /// Time without ack progress after which the path is suspected.
    pub(super) fn patience(&self) -> Duration {
        match self.ack_rtt.max(self.rtt) {
            Some(round_trip) => FAILOVER_MIN.max(round_trip * FAILOVER_RTTS),
            None => FAILOVER_UNKNOWN,
        }
    }

    /// Asks for an answer to a question that is asked now, whatever was asked before.
    pub(super) fn ping_anew(&mut self, now: Time) {
        self.ping = None;
        self.ping(now);
    }

    /// The path may be dead: it is asked.
    pub(super) fn suspect(&mut self, now: Time) {
        let token = self.next_token;
        let suspicion = Suspicion { since: now, token, stage: SuspicionStage::Asked };
        self.suspected = Some(Box::new(suspicion));
        self.ping_anew(now);
    }

    /// When a suspected path is to be looked at, if it does not answer before.
    pub(super) fn doubt_timeout(&self) -> Option<Time> {
        match self.suspected.as_ref()?.stage {
            SuspicionStage::Doubted(at) => Some(at + self.patience()),
            SuspicionStage::Condemned(at) => Some(at),
            SuspicionStage::Asked | SuspicionStage::AskedAgain(_) => None,
        }
    }

    pub(super) fn is_measured(&self) -> bool {
        self.rtt.is_some() || self.ack_rtt.is_some()
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.rtt.or(self.ack_rtt).unwrap_or(Duration::from_millis(1))
    }

    /// Whether a record may go that leaves at least `reserve` of the receives the peer has posted.
    pub(super) fn record_room(&self, reserve: u64) -> bool {
        !self.has(LinkFeatures::MESSAGE_BOUNDARIES)
            || self.records_sent + reserve < self.records_limit
    }

    /// Tells the peer of receives posted, a few at a time.
    pub(super) fn grant_records(&mut self, count: u64) {
        self.records_granted += count;
        let worth_telling = (self.attributes.receives_posted / 4).max(1);
        if self.records_granted >= self.records_told + worth_telling {
            self.records_told = self.records_granted;
            // It goes first, and only the newest: the last record of all may be needed for it.
            self.outbox.retain(|frame| !matches!(frame, Frame::PathCredit { .. }));
            self.outbox.push_front(Frame::PathCredit { records: self.records_granted });
        }
    }

    /// Where the peer can read `payload`, if this path lets it.
    pub(super) fn pull_source(&self, payload: &Payload) -> Option<PullSource> {
        let Payload::Slot(slice) = payload else { return None };
        let (region, offset) = slice.slot().position();
        let regions = &self.attributes.regions;
        let &(_, base, key) = regions.iter().find(|(id, _, _)| *id == region)?;
        let address = base + offset + slice.start() as u64;
        Some(PullSource { address, key, crc: crc32fast::hash(payload) })
    }
}

/// Exponential smoothing with weight 1/8 (RFC 6298 section 2).
fn smooth(average: &mut Option<Duration>, sample: Duration) {
    *average = Some(match *average {
        None => sample,
        Some(old) => (old * 7 + sample) / 8,
    });
}
