//! The world of one run: clock, event queue, both ends and the links between them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::app::{App, Desk};
use super::coverage::Coverage;
use super::end::{End, Payloads};
use super::link::{Link, LinkSpec};
use super::oracle::Oracle;
use super::random::Random;
use super::scenario::{Fault, Scenario, Side};
use super::trace::Trace;
use crate::crypto::{Secret, SessionSecret};
use crate::machine::{Closed, Time};
use crate::wire::PathId;

/// Something that will happen.
pub(super) enum Happening {
    /// The link stands at this side.
    PathUp {
        side: Side,
        link: usize,
    },
    /// A record arrives.
    Arrive {
        side: Side,
        link: usize,
        record: Vec<u8>,
    },
    /// The side learns that its link is gone.
    Notice {
        side: Side,
        link: usize,
    },
    /// A pull ends; good or not.
    PullEnd {
        side: Side,
        link: usize,
        token: u64,
    },
    /// Something lands late in memory that a dead path knew.
    Late {
        side: Side,
        link: usize,
        token: u64,
    },
    /// The fence of a dead path is complete.
    Fenced {
        side: Side,
        link: usize,
        is_good: bool,
    },
    /// Receives are posted again.
    Post {
        side: Side,
        link: usize,
    },
    /// The side looks at a link at which it hardly looks.
    Look {
        side: Side,
        link: usize,
    },
    Timer {
        side: Side,
    },
    /// The side looks for memory again.
    Retry {
        side: Side,
    },
    /// The application or a link may go on.
    Wake {
        side: Side,
    },
    /// The side learns that its peer knows the session no more.
    SessionLost {
        side: Side,
    },
    /// The dialer tries to connect anew.
    Connect,
    /// The hello that resumes the session over this link reaches the acceptor.
    Hello {
        link: usize,
    },
    Open {
        plan: usize,
    },
    Chance(Fault),
    ChaosEnds,
    Check,
}

struct Entry {
    at: Time,
    order: u64,
    what: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Chaos,
    /// Everything committed has to arrive by then.
    Recovery {
        until: Time,
    },
    /// The ends were asked to close.
    Closing {
        until: Time,
    },
}

pub(super) struct World {
    pub(super) now: Time,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
    pub(super) scenario: Scenario,
    pub(super) random: Random,
    pub(super) oracle: Oracle,
    pub(super) ends: [End; 2],
    pub(super) links: Vec<Link>,
    pub(super) secret: SessionSecret,
    pub(super) sources: Payloads,
    pub(super) outage_until: Time,
    pub(super) trace: Trace,
    pub(super) records: u64,
    pub(super) coverage: Coverage,
    phase: Phase,
    /// Checks in a row that found both ends at rest.
    calm_checks: u32,
    is_settled: bool,
}

/// Virtual time in which a session recovers from anything, once faults have stopped.
const RECOVERY: Duration = Duration::from_secs(40);
/// Events in one run, at most; beyond it the run does not end.
const STEPS_MAX: u64 = 3_000_000;
/// At rest, the last credit may be on its way for so long, if its path is not dead.
const CALM: Duration = Duration::from_millis(150);
const CHECK_EVERY: Duration = Duration::from_millis(20);

impl World {
    pub(super) fn new(scenario: Scenario, trace: Trace) -> Self {
        let mut world = Self {
            now: Time(1_000_000),
            queue: BinaryHeap::new(),
            order: 0,
            random: Random::new(scenario.seed ^ 0x5eed),
            oracle: Oracle::new(scenario.seed),
            ends: [End::new(0, &scenario), End::new(1, &scenario)],
            links: Vec::new(),
            secret: SessionSecret::from_exporter(&Secret::new([7; 32]), None),
            sources: Payloads::default(),
            outage_until: Time(0),
            trace,
            records: 0,
            coverage: Coverage::default(),
            phase: Phase::Chaos,
            calm_checks: 0,
            is_settled: false,
            scenario,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        if !self.scenario.heartbeat_slack.is_zero() {
            self.coverage.note("heartbeats together");
        }
        let first = self.scenario.links[0];
        self.connect(first);
        for plan in 0..self.scenario.channels.len() {
            let at = self.now + self.scenario.channels[plan].at;
            self.at(at, Happening::Open { plan });
        }
        for index in 0..self.scenario.faults.len() {
            let (after, fault) = self.scenario.faults[index];
            self.at(self.now + after, Happening::Chance(fault));
        }
        for _ in 1..self.scenario.links.len() {
            let side = self.random.side();
            let after = self.random.micros(0, self.scenario.chaos.as_micros() as u64 / 4);
            self.at(self.now + after, Happening::Chance(Fault::Offer { side }));
        }
        self.at(self.now + self.scenario.chaos, Happening::ChaosEnds);
    }

    pub(super) fn at(&mut self, at: Time, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at, order: self.order, what }));
    }

    pub(super) fn after(&mut self, low_us: u64, high_us: u64, what: Happening) {
        let at = self.now + self.random.micros(low_us, high_us);
        self.at(at, what);
    }

    /// Runs to the end.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            let Some(Reverse(entry)) = self.queue.pop() else { return self.conclude() };
            self.now = self.now.max(entry.at);
            self.happen(entry.what);
            for side in 0..2 {
                self.pump(side);
            }
            if let Some(violation) = self.oracle.violation() {
                return Err(violation);
            }
            if self.is_settled {
                return self.conclude();
            }
        }
        Err("the run does not end: something keeps both ends busy".to_owned())
    }

    fn happen(&mut self, what: Happening) {
        if let Some(side) = what.side()
            && self.now < self.ends[side].frozen_until
        {
            let at = self.ends[side].frozen_until;
            return self.at(at, what);
        }
        match what {
            Happening::PathUp { side, link } => {
                self.path_up(side, link);
                self.read_left(side);
            }
            Happening::Arrive { side, link, record } => {
                self.arrive(side, link, record);
                self.read_left(side);
            }
            Happening::Notice { side, link } => self.notice(side, link),
            Happening::PullEnd { side, link, token } => self.pull_end(side, link, token),
            Happening::Late { side, link, token } => self.land_late(side, link, token),
            Happening::Fenced { side, link, is_good } => self.fenced(side, link, is_good),
            Happening::Post { side, link } => self.post(side, link),
            Happening::Look { side, link } => self.look(side, link),
            Happening::Timer { side } => {
                self.timer(side);
                self.read_left(side);
            }
            Happening::Retry { side } => self.retry(side),
            Happening::Wake { .. } => {}
            Happening::SessionLost { side } => {
                let now = self.now;
                self.ends[side]
                    .machine
                    .iter_mut()
                    .for_each(|machine| machine.handle_session_lost(now));
            }
            Happening::Connect => self.reconnect(),
            Happening::Hello { link } => self.hello(link),
            Happening::Open { plan } => self.open(plan),
            Happening::Chance(fault) => {
                // Nothing but the plan's own commands happens once faults have stopped.
                if self.phase == Phase::Chaos {
                    self.strike(fault);
                }
            }
            Happening::ChaosEnds => self.end_chaos(),
            Happening::Check => self.check(),
        }
    }

    fn open(&mut self, plan: usize) {
        let (now, room) = (self.now, &self.scenario.channels[plan]);
        let end = &mut self.ends[room.opener];
        let Some(machine) = &mut end.machine else { return };
        if let Ok(key) = machine.open(room.priority, &plan.to_string()) {
            end.app.add(now, key, plan);
        }
    }

    /// Lets the application of `side` act. Returns when it wants to be called again.
    pub(super) fn step_app(&mut self, side: Side, reads_rest: bool) -> Option<Time> {
        let end = &mut self.ends[side];
        let mut app = std::mem::replace(&mut end.app, App::new(side));
        let next = end.machine.as_mut().and_then(|machine| {
            let desk = &mut Desk {
                now: self.now,
                machine,
                oracle: &mut self.oracle,
                random: &mut self.random,
                coverage: &mut self.coverage,
                pool: &end.pool,
                plans: &self.scenario.channels,
            };
            if reads_rest {
                app.read_rest(desk);
                return None;
            }
            app.step(desk)
        });
        self.ends[side].app = app;
        next
    }

    /// A first or new connection between the two ends.
    pub(super) fn connect(&mut self, spec: LinkSpec) {
        let Some(machine) = &mut self.ends[0].machine else { return };
        let path = machine.allocate_path();
        // The session of a first connection is made with it.
        if !self.links.is_empty() {
            self.reserve(path);
        }
        let link = self.make_link(path, spec, true, &[0; 32], &[1; 32]);
        // The acceptor answers the hello last, the dialer takes the answer in: either may be the first to
        // have the path up, since records travel at once.
        for side in 0..2 {
            self.after(1, 200, Happening::PathUp { side, link });
        }
    }

    pub(super) fn make_link(
        &mut self,
        path: PathId,
        spec: LinkSpec,
        is_proven: bool,
        initiator_nonce: &[u8; 32],
        responder_nonce: &[u8; 32],
    ) -> usize {
        let secret = self.secret.path(path, initiator_nonce, responder_nonce, &[0; 32]);
        if spec.delay >= Duration::from_millis(30) {
            self.coverage.note("link far");
        }
        self.links.push(Link {
            path,
            spec,
            secret,
            is_proven,
            is_awaited: false,
            renews: false,
            ways: Default::default(),
        });
        self.links.len() - 1
    }

    fn reconnect(&mut self) {
        let Some(machine) = &self.ends[0].machine else { return };
        if machine.is_over() || machine.active_path().is_some() {
            return;
        }
        let is_frozen = self.now < self.ends[1].frozen_until;
        if self.now < self.outage_until || is_frozen {
            return self.after(5_000, 60_000, Happening::Connect);
        }
        if self.ends[1].is_over() {
            self.trace.note(self.now, || "the peer does not know the session".to_owned());
            let machine = self.ends[0].machine.as_mut().expect("looked at above");
            return machine.handle_session_lost(self.now);
        }
        let spec = self.next_spec();
        self.connect(spec);
        // An acceptor may wait for the dialer's move, or make one of its own: each has its turn.
        let link = self.links.last_mut().expect("it was just made");
        link.is_awaited = link.path.0 / 2 % 2 == 1;
    }

    /// What a link is like that nobody planned.
    pub(super) fn next_spec(&mut self) -> LinkSpec {
        if self.scenario.is_scripted {
            return LinkSpec { delay: Duration::from_micros(60), ..self.scenario.links[0] };
        }
        self.scenario.suit(LinkSpec::draw(&mut self.random, self.scenario.is_far))
    }

    fn end_chaos(&mut self) {
        self.trace.note(self.now, || "faults stop".to_owned());
        // A want of memory is no blow that is over at once: what has begun goes on.
        let hears_at = self.ends.iter().filter_map(|end| end.deaf.hears_at()).max();
        let since = hears_at.map_or(self.now, |at| at.max(self.now));
        self.phase = Phase::Recovery { until: since + self.recovery() };
        self.ends.iter_mut().for_each(|end| end.app.hurries = true);
        self.at(self.now, Happening::Check);
    }

    fn recovery(&self) -> Duration {
        // Around the world, two records of data a round trip are all that a link with few receives takes.
        if self.scenario.is_far { RECOVERY * 8 } else { RECOVERY }
    }

    /// Looks whether a phase has come to its end.
    fn check(&mut self) {
        let overs = [self.ends[0].is_over(), self.ends[1].is_over()];
        match self.phase {
            Phase::Chaos => {}
            _ if overs == [true, true] => return self.is_settled = true,
            // An end that never had a path: in truth there would be no session yet.
            _ if self.ends[1].paths.is_empty() && overs == [true, false] => {
                self.at(self.now, Happening::SessionLost { side: 1 });
            }
            Phase::Recovery { until } => {
                let is_deaf = self.ends.iter().any(|end| end.deaf.is_any(self.now));
                let is_at_rest = overs == [false, false] && !is_deaf && self.is_at_rest();
                self.calm_checks = if is_at_rest { self.calm_checks + 1 } else { 0 };
                let dead_for = self.scenario.heartbeat * (self.scenario.timeout_multiplier + 3);
                if CHECK_EVERY * self.calm_checks > dead_for + CALM {
                    self.check_rest();
                    self.phase = Phase::Closing { until: self.now + self.recovery() };
                    for side in (0..2).filter(|&side| self.scenario.closers[side]) {
                        let machine = self.ends[side].machine.as_mut().expect("it is not over");
                        machine.close(0, "done");
                    }
                } else if self.now > until {
                    let what = self.describe_stuck();
                    self.oracle.fail(what);
                }
            }
            Phase::Closing { until } => {
                self.oracle.check(self.now <= until, || "the session does not close".to_owned());
            }
        }
        self.at(self.now + CHECK_EVERY, Happening::Check);
    }

    /// Everything is committed, delivered, acked; both ends are steady.
    fn is_at_rest(&self) -> bool {
        self.oracle.undelivered().is_none()
            && self.ends.iter().all(|end| {
                let machine = end.machine.as_ref().expect("it is not over");
                end.app.is_done(&self.scenario.channels)
                    && machine.is_all_acked()
                    && machine.is_steady()
                    && end.app.channels.iter().all(|channel| {
                        let counts = machine.message_counts(channel.key);
                        let end_state = self.ends[1 - end.side].app.channels.iter();
                        let peer = end_state.filter(|other| other.key.id() == channel.key.id());
                        channel.is_released
                            || counts.2 >= peer.map(|peer| peer.confirmed()).max().unwrap_or(0)
                    })
            })
            && self.ends[0].active() == self.ends[1].active()
    }

    fn check_rest(&mut self) {
        for side in 0..2 {
            let end = &self.ends[side];
            let machine = end.machine.as_ref().expect("it is not over");
            for channel in end.app.channels.iter().filter(|channel| !channel.is_released) {
                let id = channel.key.id();
                let other = self.ends[1 - side].app.channels.iter();
                let is_read = other.clone().any(|other| other.key.id() == id && !other.is_released);
                if is_read {
                    self.oracle.check_rest(id, side);
                    self.oracle.check_counts(id, side, machine.message_counts(channel.key));
                }
            }
            let held = end.app.channels.iter().filter(|channel| !channel.is_released).count();
            let kept = machine.channel_count();
            let is_reaped = kept <= held;
            self.oracle.check(is_reaped, || {
                format!("side {side} keeps {kept} channels, its application holds {held}")
            });
            let is_told = !end.waits_for_acks;
            self.oracle.check(is_told, || format!("side {side} was never told AllAcked"));
        }
    }

    fn describe_stuck(&self) -> String {
        let mut what = format!("stuck: undelivered {:?}", self.oracle.undelivered());
        for end in &self.ends {
            match &end.machine {
                None => what += "; gone",
                Some(machine) => {
                    what += &format!(
                        "; side {}: over {}, active {:?}, epoch {}, steady {}, acked {}, done {}, \
                         in flight {:?}",
                        end.side,
                        machine.is_over(),
                        machine.active_path(),
                        machine.epoch(),
                        machine.is_steady(),
                        machine.is_all_acked(),
                        end.app.is_done(&self.scenario.channels),
                        machine.paths().map(|path| (path.id, path.in_flight)).collect::<Vec<_>>(),
                    );
                }
            }
        }
        what
    }

    /// After both ends are over.
    fn conclude(&mut self) -> Result<(), String> {
        for side in 0..2 {
            self.step_app(side, true);
        }
        for side in 0..2 {
            if let Some(closed) = self.ends[side].closed.clone() {
                let reader_lives = !self.ends[1 - side].is_gone;
                self.oracle.check_end(side, reader_lives);
                self.check_reason(side, &closed);
            }
        }
        match self.oracle.violation() {
            Some(violation) => Err(violation),
            None if self.is_settled => Ok(()),
            None => Err(format!("nothing will ever happen again; {}", self.describe_stuck())),
        }
    }

    fn check_reason(&mut self, side: Side, closed: &Closed) {
        let (is_closer, peer) = (self.scenario.closers[side], &self.ends[1 - side]);
        let is_good = match closed {
            Closed::ByUs => is_closer,
            Closed::ByPeer { .. } => self.scenario.closers[1 - side],
            Closed::Expired => self.ends[side].was_alone_for >= self.scenario.time_to_live,
            Closed::PeerRestarted => peer.is_over(),
            Closed::MemoryShort => self.is_short_of_memory(side),
            Closed::CertificateEnded | Closed::PeerViolated(_) => false,
        };
        self.oracle.check(is_good, || format!("side {side} ended as {closed:?}"));
    }
}

impl Happening {
    fn side(&self) -> Option<Side> {
        match *self {
            Self::PathUp { side, .. }
            | Self::Arrive { side, .. }
            | Self::Notice { side, .. }
            | Self::PullEnd { side, .. }
            | Self::Fenced { side, .. }
            | Self::Post { side, .. }
            | Self::Look { side, .. }
            | Self::Timer { side }
            | Self::Retry { side }
            | Self::SessionLost { side }
            | Self::Wake { side } => Some(side),
            Self::Late { .. } | Self::Chance(_) | Self::ChaosEnds | Self::Check => None,
            Self::Connect => Some(0),
            Self::Hello { .. } => Some(1),
            Self::Open { .. } => None,
        }
    }
}
