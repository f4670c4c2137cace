//! Simulated links: delay, bandwidth, order, and all the ways in which they go wrong.

use std::time::Duration;

use super::exhaustive::Medium;
use super::random::Random;
use crate::crypto::PathSecret;
use crate::link::LinkFeatures;
use crate::machine::Time;
use crate::wire::{PathId, PathKind};

/// What a link is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkSpec {
    pub(super) kind: PathKind,
    pub(super) features: LinkFeatures,
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    /// Bytes per microsecond, which is MB/s.
    pub(super) bandwidth: u64,
    /// Receives posted at each end.
    pub(super) receives: u64,
    pub(super) preference: u8,
}

impl LinkSpec {
    /// Anything from a TCP connection over the world to an RDMA cable.
    pub(super) fn draw(random: &mut Random, is_far: bool) -> Self {
        let reliable = LinkFeatures::RELIABLE;
        let ordered = reliable | LinkFeatures::ORDERED;
        let posted = LinkFeatures::MESSAGE_BOUNDARIES;
        let (kind, features) = random.pick(&[
            (PathKind::Tcp, ordered),
            (PathKind::Tcp, ordered),
            (PathKind::Rdma, ordered | posted),
            (PathKind::Rdma, ordered | posted | LinkFeatures::PULL),
            (PathKind::Fabric, reliable | posted),
            (PathKind::Fabric, reliable | posted | LinkFeatures::PULL),
        ]);
        let near = [(5, 5), (50, 20), (500, 300), (5_000, 2_000)];
        let far = [(50, 20), (5_000, 2_000), (30_000, 10_000), (75_000, 20_000)];
        let (delay, jitter) = random.pick(if is_far { &far } else { &near });
        Self {
            kind,
            features,
            delay: Duration::from_micros(delay),
            jitter: Duration::from_micros(jitter),
            bandwidth: random.pick(&[20, 200, 1_000, 10_000]),
            receives: random.pick(&[10, 16, 64]),
            preference: random.below(3) as u8,
        }
    }

    /// A fabric on which records overtake each other by far.
    pub(super) fn draw_unordered(random: &mut Random) -> Self {
        Self {
            kind: PathKind::Fabric,
            features: LinkFeatures::RELIABLE | LinkFeatures::MESSAGE_BOUNDARIES,
            delay: Duration::from_micros(random.between(50, 2_000)),
            jitter: Duration::from_micros(random.between(2_000, 20_000)),
            bandwidth: random.pick(&[200, 1_000, 10_000]),
            receives: random.pick(&[64, 128]),
            preference: random.below(3) as u8,
        }
    }

    /// A plain ordered link for scripted runs.
    pub(super) fn plain(delay_us: u64) -> Self {
        Self {
            kind: PathKind::Tcp,
            features: LinkFeatures::RELIABLE | LinkFeatures::ORDERED,
            delay: Duration::from_micros(delay_us),
            jitter: Duration::ZERO,
            bandwidth: 1_000,
            receives: 0,
            preference: 0,
        }
    }

    /// A link of a scripted run.
    pub(super) fn scripted(medium: Medium, delay_us: u64) -> Self {
        let (plain, posted) = (Self::plain(delay_us), LinkFeatures::MESSAGE_BOUNDARIES);
        let features = match medium {
            Medium::Stream => return plain,
            Medium::Messages => LinkFeatures::RELIABLE | posted,
            Medium::Pulls => LinkFeatures::RELIABLE | posted | LinkFeatures::PULL,
        };
        let (kind, jitter) = (PathKind::Fabric, Duration::from_micros(60));
        Self { kind, features, jitter, receives: 16, ..plain }
    }

    pub(super) fn has(&self, features: LinkFeatures) -> bool {
        self.features.has(features)
    }
}

/// One link of a run and the path over it.
pub(super) struct Link {
    pub(super) path: PathId,
    pub(super) spec: LinkSpec,
    pub(super) secret: PathSecret,
    pub(super) is_proven: bool,
    /// The dialer has no other path, and says so: the acceptor waits for its move.
    pub(super) is_awaited: bool,
    /// The dialer gives its older paths up for it.
    pub(super) renews: bool,
    /// The two directions, by the side they lead to.
    pub(super) ways: [Way; 2],
}

/// One direction of a link.
#[derive(Default)]
pub(super) struct Way {
    busy_until: Time,
    last_arrival: Time,
    stalled_until: Time,
    /// Nothing sent from now on arrives, and nobody is told.
    pub(super) is_hole: bool,
    /// What is still on its way is lost too.
    pub(super) is_dead: bool,
    pub(super) corrupts_next: bool,
    /// Came before the side it leads to had its end up.
    pub(super) early: Vec<Vec<u8>>,
}

/// A driver stops offering records to a link that has this much to do.
const BACKLOG: Duration = Duration::from_millis(3);

impl Way {
    /// When a record sent now arrives; `None`: never.
    pub(super) fn send(
        &mut self,
        now: Time,
        spec: &LinkSpec,
        bytes: usize,
        random: &mut Random,
    ) -> Option<Time> {
        let start = now.max(self.busy_until).max(self.stalled_until);
        self.busy_until = start + Duration::from_nanos(bytes as u64 * 1_000 / spec.bandwidth);
        if self.is_hole || self.is_dead {
            return None;
        }
        let jitter = random.below(spec.jitter.as_nanos() as u64 + 1);
        let mut arrival = self.busy_until + spec.delay + Duration::from_nanos(jitter);
        if spec.has(LinkFeatures::ORDERED) {
            arrival = arrival.max(self.last_arrival);
        }
        self.last_arrival = self.last_arrival.max(arrival);
        Some(arrival)
    }

    /// Whether everything sent in that time has been on its way as it should be.
    pub(super) fn was_sound_for(&self, now: Time, time: Duration) -> bool {
        !self.is_hole && !self.is_dead && now.since(self.stalled_until) >= time
    }

    pub(super) fn stall(&mut self, until: Time) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// When the link takes records again; `None`: it does now.
    pub(super) fn blocked_until(&self, now: Time) -> Option<Time> {
        let free = self.busy_until.max(self.stalled_until);
        (free.since(now) > BACKLOG).then_some(free)
    }
}
