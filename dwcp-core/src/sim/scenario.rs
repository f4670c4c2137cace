//! What happens in a run: drawn from the seed, or scripted.

use std::time::Duration;

use super::deaf::Deafness;
use super::exhaustive::Medium;
use super::link::LinkSpec;
use super::random::Random;
use crate::link::LinkFeatures;
use crate::machine::Priority;
use crate::wire::PathKind;

/// The dialer is side 0, the acceptor side 1.
pub(super) type Side = usize;

/// Everything that a run is set up with.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    /// Some links lead around the world.
    pub(super) is_far: bool,
    pub(super) heartbeat: Duration,
    /// Heartbeats of a process go out together, so much sooner or later.
    pub(super) heartbeat_slack: Duration,
    pub(super) timeout_multiplier: u32,
    pub(super) switch_timeout: Duration,
    pub(super) time_to_live: Duration,
    pub(super) window_bytes: u64,
    pub(super) pull_bytes_min: usize,
    /// Memory of each end, bytes.
    pub(super) pool_bytes: usize,
    /// Faults stop then.
    pub(super) chaos: Duration,
    /// The first link is dialled, the others are offered.
    pub(super) links: Vec<LinkSpec>,
    pub(super) channels: Vec<ChannelPlan>,
    pub(super) faults: Vec<(Duration, Fault)>,
    /// What is done when a side has sent that many records.
    pub(super) triggers: Vec<Trigger>,
    /// Whether links change their mind about anything by chance.
    pub(super) is_scripted: bool,
    /// Who closes at the end.
    pub(super) closers: [bool; 2],
}

/// One channel.
#[derive(Clone, Debug)]
pub(super) struct ChannelPlan {
    pub(super) opener: Side,
    pub(super) at: Duration,
    pub(super) priority: Priority,
    /// The two directions, by sender.
    pub(super) flows: [FlowPlan; 2],
    /// Both directions are finished and the channel is released when all is read.
    pub(super) finishes: bool,
}

/// One direction of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowPlan {
    pub(super) messages: u64,
    pub(super) bytes_max: u64,
    /// Time between two messages.
    pub(super) gap: Duration,
    pub(super) reader: Reader,
    pub(super) confirms: bool,
}

/// How the application reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Eager,
    /// One frame at a time, that far apart.
    Slow(Duration),
    /// Reads that many frames and then nothing until the faults are over.
    Stops(u64),
}

/// Something that goes wrong, or a command at a bad moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A live link breaks; the sides that notice are told.
    Kill {
        notices: [bool; 2],
    },
    /// A live link swallows everything in these directions (by destination).
    Hole {
        toward: [bool; 2],
    },
    Stall {
        toward: Side,
        time: Duration,
    },
    Corrupt {
        toward: Side,
    },
    Freeze {
        side: Side,
        time: Duration,
    },
    Switch {
        side: Side,
    },
    Rekey {
        side: Side,
    },
    ClosePath {
        side: Side,
    },
    /// As `ClosePath`, of the path in use.
    CloseActive {
        side: Side,
    },
    Offer {
        side: Side,
    },
    Reset {
        side: Side,
    },
    WatchAcks {
        side: Side,
    },
    /// No link can be made for a time, and all there are break.
    Outage {
        time: Duration,
    },
    Restart {
        side: Side,
    },
    /// The application closes the session, whatever is un-acked, also when there is no path.
    Close {
        side: Side,
    },
    /// The process says that it leaves; what is open goes on.
    Leave {
        /// Which.
        side: Side,
    },
    /// The side hardly looks at its active path any more, and says so.
    Doze {
        side: Side,
    },
    /// The side has no memory for what arrives.
    Deaf {
        side: Side,
        deafness: Deafness,
    },
    /// The dialer brings further paths by handshakes, whatever paths there are.
    Resume {
        /// At once.
        paths: u64,
        /// They take the place of the older ones, as when a certificate is renewed.
        renews: bool,
    },
}

/// A scripted fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trigger {
    pub(super) side: Side,
    pub(super) records: u64,
    pub(super) fault: Fault,
}

impl Scenario {
    /// The run of `seed`.
    pub(super) fn draw(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let chaos_us_max = if random.chance(10) { 2_000_000 } else { 150_000 };
        let chaos = random.micros(2_000, chaos_us_max);
        // From chance of its own: what else happens in the run of a seed does not depend on it.
        let is_far = Random::new(seed ^ 0xfa5).chance(20);
        let heartbeats = if is_far { [400, 600, 1_000] } else { [20, 50, 200] };
        let heartbeat = Duration::from_millis(random.pick(&heartbeats));
        let links = (0..random.between(1, 3)).map(|_| LinkSpec::draw(random, is_far)).collect();
        let is_big = random.chance(10);
        let channels = random.between(1, if is_big { 12 } else { 4 });
        let calm = random.chance(10);
        let faults = if calm { 0 } else { random.between(1, 8) };
        let dozes = Fault::draw_dozes(seed, chaos);
        let closes = Fault::draw_closes(seed, chaos);
        let resumes = Fault::draw_resumes(seed, chaos);
        let leaves = Fault::draw_leaves(seed, chaos);
        let timeout_multiplier = random.between(2, 5) as u32;
        let deafness = Fault::draw_deafness(seed, chaos, heartbeat * timeout_multiplier);
        let scenario = Self {
            seed,
            is_far,
            heartbeat,
            heartbeat_slack: draw_slack(seed, heartbeat),
            timeout_multiplier,
            switch_timeout: Duration::from_millis(random.pick(&match is_far {
                true => [1_000, 2_000, 3_000],
                false => [100, 400, 1_000],
            })),
            time_to_live: Duration::from_millis(random.pick(&[1_000, 3_000, 10_000])),
            window_bytes: random.pick(&[0, 0, 256 << 10, 4 << 20]),
            pull_bytes_min: random.pick(&[1, 4 << 10, 32 << 10]),
            pool_bytes: draw_pool(seed),
            chaos,
            channels: (0..channels).map(|_| ChannelPlan::draw(random, chaos, is_big)).collect(),
            faults: (0..faults)
                .map(|_| (random.micros(0, chaos.as_micros() as u64), Fault::draw(random)))
                .chain(dozes)
                .chain(closes)
                .chain(resumes)
                .chain(leaves)
                .chain(deafness)
                .collect(),
            links,
            triggers: Vec::new(),
            is_scripted: false,
            closers: random.pick(&[[true, false], [false, true], [true, true]]),
        };
        let scenario = scenario.tighten();
        let links = scenario.links.iter().map(|&link| scenario.suit(link)).collect();
        Self { links, ..scenario }
    }

    /// How long an end may be silent before its path is lost.
    pub(super) fn tolerance(&self) -> Duration {
        self.heartbeat * self.timeout_multiplier
    }

    /// Now and then, from chance of its own: much data in little memory, and links on which most of it comes before
    /// its turn, so that only the last memory is left for what it waits for.
    fn tighten(mut self) -> Self {
        let random = &mut Random::new(self.seed ^ 0x719);
        if !random.chance(2) {
            return self;
        }
        (self.pool_bytes, self.window_bytes) = (300 << 10, 4 << 20);
        self.chaos = self.chaos.max(Duration::from_millis(100));
        self.links = vec![LinkSpec::draw_unordered(random), LinkSpec::draw_unordered(random)];
        let plans = (0..random.between(2, 6)).map(|_| ChannelPlan::draw_large(random));
        self.channels = plans.collect();
        let chaos_us = self.chaos.as_micros() as u64;
        for _ in 0..random.between(0, 3) {
            let (toward, time) = (random.side(), random.micros(10_000, 80_000));
            self.faults.push((random.micros(0, chaos_us), Fault::Stall { toward, time }));
            self.faults.push((random.micros(0, chaos_us), Fault::Switch { side: 0 }));
        }
        self
    }

    /// The link as this run can have it: what can be pulled is kept to the end, for which small pools have no room.
    pub(super) fn suit(&self, mut link: LinkSpec) -> LinkSpec {
        if self.pool_bytes < POOL_BYTES && link.has(LinkFeatures::PULL) {
            (link.kind, link.features) = (PathKind::Tcp, LinkSpec::plain(1).features);
        }
        link
    }

    /// Two paths, two channels, a few messages each way; for exhaustive runs.
    pub(super) fn short(medium: Medium, triggers: Vec<Trigger>) -> Self {
        let flow = FlowPlan {
            // Fewer where runs take longer.
            messages: if medium == Medium::Stream { 3 } else { 2 },
            bytes_max: 20_000,
            gap: Duration::from_micros(150),
            reader: Reader::Eager,
            confirms: true,
        };
        let plan = |opener| ChannelPlan {
            opener,
            at: Duration::from_micros(900),
            priority: Priority::Interactive,
            flows: [flow; 2],
            finishes: true,
        };
        Self {
            seed: 1,
            is_far: false,
            heartbeat: Duration::from_millis(20),
            heartbeat_slack: Duration::ZERO,
            timeout_multiplier: 3,
            switch_timeout: Duration::from_millis(100),
            time_to_live: Duration::from_secs(10),
            window_bytes: 1 << 20,
            pull_bytes_min: 4 << 10,
            pool_bytes: POOL_BYTES,
            chaos: Duration::from_millis(5),
            links: vec![LinkSpec::scripted(medium, 50), LinkSpec::scripted(medium, 80)],
            channels: vec![plan(0), plan(1)],
            faults: Vec::new(),
            triggers,
            is_scripted: true,
            closers: [true, false],
        }
    }
}

/// Memory that is never short.
const POOL_BYTES: usize = 1 << 30;

/// From chance of its own, as those below.
fn draw_pool(seed: u64) -> usize {
    let random = &mut Random::new(seed ^ 0x9001);
    if random.chance(10) { random.pick(&[300 << 10, 1 << 20, 4 << 20]) } else { POOL_BYTES }
}

/// The same. The seeds that failed once draw none (`sim_regressions.rs` looks): they try what they tried.
fn draw_slack(seed: u64, heartbeat: Duration) -> Duration {
    if Random::new(seed ^ 0x15de).chance(25) { heartbeat / 8 } else { Duration::ZERO }
}

impl ChannelPlan {
    fn draw_large(random: &mut Random) -> Self {
        Self {
            opener: random.side(),
            at: random.micros(0, 1_000),
            priority: Priority::Interactive,
            flows: [FlowPlan::draw_large(random), FlowPlan::draw_large(random)],
            finishes: random.chance(60),
        }
    }

    fn draw(random: &mut Random, chaos: Duration, is_big: bool) -> Self {
        let latest = chaos.as_micros() as u64 / 2;
        Self {
            opener: random.side(),
            at: random.micros(0, latest),
            priority: random.pick(&[Priority::Interactive, Priority::Bulk]),
            flows: [FlowPlan::draw(random, is_big), FlowPlan::draw(random, is_big)],
            finishes: random.chance(60),
        }
    }
}

impl FlowPlan {
    fn draw_large(random: &mut Random) -> Self {
        Self {
            messages: random.between(10, 80),
            bytes_max: random.pick(&[20_000, 60_000, 150_000]),
            gap: Duration::ZERO,
            reader: Reader::Eager,
            confirms: false,
        }
    }

    fn draw(random: &mut Random, is_big: bool) -> Self {
        let (messages, bytes_max) = match random.below(if is_big { 8 } else { 7 }) {
            0 => (0, 1),
            1..=3 => (random.between(1, 30), 300),
            4 | 5 => (random.between(1, 12), 12_000),
            6 => (random.between(1, 3), 150_000),
            _ => (random.between(50, 400), random.pick(&[10, 2_000, 20_000])),
        };
        Self {
            messages,
            bytes_max,
            gap: if random.chance(40) { Duration::ZERO } else { random.micros(1, 3_000) },
            reader: match random.below(4) {
                0 => Reader::Slow(random.micros(10, 4_000)),
                1 => Reader::Stops(random.below(6)),
                _ => Reader::Eager,
            },
            confirms: random.chance(30),
        }
    }
}

impl Fault {
    /// From chance of its own: what else happens in the run of a seed does not depend on it.
    fn draw_dozes(seed: u64, chaos: Duration) -> Vec<(Duration, Self)> {
        let random = &mut Random::new(seed ^ 0xd02e);
        let count = if random.chance(30) { random.between(1, 6) } else { 0 };
        let dozes = (0..count).map(|_| {
            let at = random.micros(0, chaos.as_micros() as u64);
            (at, Self::Doze { side: random.side() })
        });
        dozes.collect()
    }

    /// Closes at any time, half of them while no path can be had.
    fn draw_closes(seed: u64, chaos: Duration) -> Vec<(Duration, Self)> {
        let random = &mut Random::new(seed ^ 0xc105e);
        if !random.chance(10) {
            return Vec::new();
        }
        let at = random.micros(0, chaos.as_micros() as u64);
        let mut faults = Vec::new();
        if random.chance(50) {
            faults.push((at, Self::Outage { time: random.micros(1_000, 800_000) }));
        }
        let after = random.micros(0, 10_000);
        faults.push((at + after, Self::Close { side: random.side() }));
        faults
    }

    /// Processes that say that they leave, one or both.
    fn draw_leaves(seed: u64, chaos: Duration) -> Vec<(Duration, Self)> {
        let random = &mut Random::new(seed ^ 0x1ea5e);
        let count = if random.chance(10) { random.between(1, 2) } else { 0 };
        let leaves = (0..count).map(|_| {
            let at = random.micros(0, chaos.as_micros() as u64);
            (at, Self::Leave { side: random.side() })
        });
        leaves.collect()
    }

    /// Further paths that are proven, now and then more than a session may have.
    fn draw_resumes(seed: u64, chaos: Duration) -> Vec<(Duration, Self)> {
        let random = &mut Random::new(seed ^ 0x2e50);
        let count = if random.chance(15) { random.between(1, 4) } else { 0 };
        let resumes = (0..count).map(|_| {
            let at = random.micros(0, chaos.as_micros() as u64);
            let paths = match random.below(10) {
                0..=5 => 1,
                6..=8 => random.between(2, 3),
                _ => random.between(7, 12),
            };
            (at, Self::Resume { paths, renews: random.chance(25) })
        });
        resumes.collect()
    }

    fn draw(random: &mut Random) -> Self {
        let side = random.side();
        let both = [[true, true], [true, false], [false, true]];
        match random.below(100) {
            0..=11 => Self::Kill { notices: random.pick(&both) },
            12..=14 => Self::Kill { notices: [false, false] },
            15..=22 => Self::Hole { toward: random.pick(&both) },
            23..=29 => Self::Stall { toward: side, time: random.micros(100, 60_000) },
            30..=33 => Self::Corrupt { toward: side },
            34..=38 => Self::Freeze { side, time: random.micros(100, 200_000) },
            39..=60 => Self::Switch { side },
            61..=65 => Self::Rekey { side },
            66..=71 => Self::ClosePath { side },
            72..=75 => Self::CloseActive { side },
            76..=85 => Self::Offer { side },
            86..=89 => Self::Reset { side },
            90..=92 => Self::WatchAcks { side },
            93..=97 => Self::Outage { time: random.micros(1_000, 500_000) },
            98 => Self::Outage { time: Duration::from_secs(15) },
            _ => Self::Restart { side },
        }
    }
}
