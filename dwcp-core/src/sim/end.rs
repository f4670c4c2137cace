//! One end of the session: the machine and a thin driver around it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::deaf::Deaf;
use super::resume::Standing;
use super::scenario::{Scenario, Side};
use super::world::{Happening, World};
use crate::crypto::{ChecksumSuite, Direction, PathOpener, PathSealer, Suite};
use crate::link::LinkFeatures;
use crate::machine::{
    Closed, Machine, PathAttributes, PathCause, PathState, PullRequest, Role, Settings, Time,
    TxBatch,
};
use crate::mem::{CLASS_BYTES, Payload, Pool, RegionId, SlotMut};
use crate::wire::{Frame, PathId, RecordEncoder};

/// Longer than a record is on its way over a link with a short delay, also one that stalls.
const REKEY_PAUSE: Duration = Duration::from_millis(100);

/// Memory that can be pulled: what lies at an address of a path.
pub(super) type Payloads = HashMap<(PathId, u64), Payload>;

pub(super) struct End {
    pub(super) side: Side,
    /// `None` once the process was killed.
    pub(super) machine: Option<Machine>,
    pub(super) pool: Pool,
    pub(super) app: App,
    pub(super) paths: Vec<EndPath>,
    pub(super) frozen_until: Time,
    pub(super) deaf: Deaf,
    pub(super) closed: Option<Closed>,
    pub(super) is_gone: bool,
    pub(super) waits_for_acks: bool,
    /// Since when there is no path, and how long that had lasted at the end.
    pub(super) alone_since: Option<Time>,
    pub(super) was_alone_for: Duration,
    pub(super) batch: TxBatch,
    encoder: RecordEncoder,
    frames: Vec<Frame>,
    pub(super) records: u64,
    timer: Option<Time>,
    wake: Option<Time>,
    tokens: u64,
}

/// A path as its driver sees it.
pub(super) struct EndPath {
    pub(super) path: PathId,
    pub(super) link: usize,
    pub(super) sealer: PathSealer,
    opener: PathOpener,
    pub(super) is_down: bool,
    /// This side looks at the link only now and then.
    pub(super) dozes: bool,
    /// What came and is not read.
    pub(super) held: Vec<Vec<u8>>,
    /// Since when it could not be read.
    pub(super) unread_since: Option<Time>,
    /// The link is over, which is seen behind that.
    pub(super) ends_behind_held: bool,
    /// When something was read last.
    pub(super) heard: Time,
    is_released: bool,
    is_fenced: bool,
    is_unfenced: bool,
    /// Receives posted and used since.
    posted: u64,
    used: u64,
    /// Memory that the link may write to.
    targets: Vec<Target>,
}

/// Memory given to a link to write to: of a pull, or (without a request) the posted receives.
struct Target {
    token: u64,
    slot: SlotMut,
    request: Option<PullRequest>,
}

impl End {
    pub(super) fn new(side: Side, scenario: &Scenario) -> Self {
        // A pool of its own: what is registered with links must not depend on the runs before.
        let pool = Pool::new(scenario.pool_bytes);
        let role = if side == 0 { Role::Dialer } else { Role::Acceptor };
        let settings = Settings {
            time_to_live: scenario.time_to_live,
            window_bytes: scenario.window_bytes,
            heartbeat_interval: scenario.heartbeat,
            heartbeat_slack: scenario.heartbeat_slack,
            timeout_multiplier: scenario.timeout_multiplier,
            switch_timeout: scenario.switch_timeout,
            pull_bytes_min: scenario.pull_bytes_min,
            ..Settings::new(role, pool.clone())
        };
        Self {
            side,
            machine: Some(Machine::new(settings)),
            pool,
            app: App::new(side),
            paths: Vec::new(),
            frozen_until: Time(0),
            deaf: Deaf::new(scenario.seed, side),
            closed: None,
            is_gone: false,
            waits_for_acks: false,
            alone_since: None,
            was_alone_for: Duration::ZERO,
            batch: TxBatch::default(),
            encoder: RecordEncoder::default(),
            frames: Vec::new(),
            records: 0,
            timer: None,
            wake: None,
            tokens: 0,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.machine.as_ref().is_none_or(Machine::is_over)
    }

    pub(super) fn active(&self) -> Option<PathId> {
        self.machine.as_ref().and_then(Machine::active_path)
    }

    pub(super) fn at_link(&mut self, link: usize) -> Option<&mut EndPath> {
        self.paths.iter_mut().find(|path| path.link == link)
    }

    /// What came over the link cannot be read.
    pub(super) fn want_at(&mut self, now: Time, link: usize) {
        if let Some(path) = self.at_link(link) {
            path.unread_since.get_or_insert(now);
        }
    }

    fn target(&mut self, capacity: usize, request: Option<PullRequest>) -> Option<Target> {
        self.tokens += 1;
        let slot = self.pool.take_for_receive(capacity)?;
        Some(Target { token: self.tokens, slot, request })
    }
}

/// The regions of a pool as a link registers them. Those made later are not known to it.
fn regions(pool: &Pool, path: PathId) -> Vec<(RegionId, u64, u64)> {
    // The largest class is too seldom used to be worth its memory.
    let slots = CLASS_BYTES[..3].iter().filter_map(|&bytes| pool.take(bytes));
    let id = |slot: SlotMut| slot.freeze().position().0;
    slots.map(id).map(|id| (id, u64::from(id.0 + 1) << 32, u64::from(path.0))).collect()
}

impl World {
    pub(super) fn path_up(&mut self, side: Side, link: usize) {
        let room = &self.links[link];
        let (path, spec) = (room.path, room.spec);
        if room.ways.iter().all(|way| way.is_dead) {
            // It broke while it was being made: the dialer tries again.
            return self.after(500, 20_000, Happening::Connect);
        }
        let Some(machine) = &mut self.ends[side].machine else { return };
        let (out, back) = match side {
            0 => (Direction::ToAcceptor, Direction::ToDialer),
            _ => (Direction::ToDialer, Direction::ToAcceptor),
        };
        let suite: Arc<dyn Suite> = Arc::new(ChecksumSuite);
        let is_ordered = spec.has(LinkFeatures::ORDERED);
        let attributes = PathAttributes {
            kind: spec.kind,
            features: spec.features,
            is_proven: room.is_proven,
            challenge: self.random.bytes(),
            receives_posted: spec.receives,
            regions: match spec.has(LinkFeatures::PULL) {
                true => regions(&self.ends[side].pool, path),
                false => Vec::new(),
            },
            preference: spec.preference,
        };
        let before = Standing::of(machine);
        if side == 1 && self.links[link].is_awaited {
            machine.await_move(path);
            self.coverage.note("move awaited");
        }
        machine.handle_path_up(self.now, path, attributes);
        let is_posted = spec.has(LinkFeatures::MESSAGE_BOUNDARIES);
        let receives = is_posted.then(|| self.ends[side].target(1, None)).flatten();
        let secret = &self.links[link].secret;
        self.ends[side].paths.push(EndPath {
            path,
            link,
            sealer: {
                let mut sealer = PathSealer::new(suite.clone(), secret, out, 0, is_ordered);
                sealer.set_rekey_pause(REKEY_PAUSE.max(spec.delay * 4));
                sealer
            },
            opener: PathOpener::new(suite, secret, back, 0, is_ordered),
            is_down: false,
            dozes: false,
            held: Vec::new(),
            unread_since: None,
            ends_behind_held: false,
            heard: self.now,
            is_released: false,
            is_fenced: false,
            is_unfenced: false,
            posted: spec.receives,
            used: 0,
            targets: receives.into_iter().collect(),
        });
        self.trace.note(self.now, || format!("[{side}] path {path} is up"));
        self.check_room(side, link, &before);
        self.renew(side, link);
        for record in std::mem::take(&mut self.links[link].ways[side].early) {
            self.arrive(side, link, record);
        }
    }

    pub(super) fn notice(&mut self, side: Side, link: usize) {
        let (path, now) = (self.links[link].path, self.now);
        if self.is_end_unseen(side, link) {
            return;
        }
        if let Some(machine) = &mut self.ends[side].machine {
            machine.handle_path_down(now, path, PathCause::LinkFailed);
        }
    }

    pub(super) fn arrive(&mut self, side: Side, link: usize, record: Vec<u8>) {
        let now = self.now;
        if self.links[link].ways[side].is_dead || self.ends[side].machine.is_none() {
            return;
        }
        let is_deaf = self.ends[side].deaf.is_to(now, link);
        let Some(path) = self.ends[side].at_link(link) else {
            // The link keeps it until this side has its end up.
            return self.links[link].ways[side].early.push(record);
        };
        if path.is_down {
            return;
        }
        // What came before comes first.
        if path.dozes || !path.held.is_empty() || is_deaf {
            return path.held.push(record);
        }
        let id = path.path;
        let is_last = !self.ends[side].has_share(record.len());
        if is_last && !self.ends[side].has_last_room(record.len()) {
            // It stays where it is, and all behind it.
            self.coverage.note("memory short for receiving");
            let path = self.ends[side].at_link(link).expect("found above");
            path.dozes = true;
            path.held.push(record);
            let machine = self.ends[side].machine.as_mut().expect("looked at above");
            machine.handle_starved(now, id);
            self.ends[side].want_at(now, link);
            return self.after(500, 2_000, Happening::Look { side, link });
        }
        if is_last {
            self.coverage.note("last memory");
        }
        self.ends[side].deaf.has_read();
        let path = self.ends[side].at_link(link).expect("found above");
        path.heard = now;
        let has_receive = path.posted > path.used;
        if self.links[link].spec.has(LinkFeatures::MESSAGE_BOUNDARIES) {
            path.used += 1;
            self.oracle.check(has_receive, || {
                format!("a record came to side {side} on path {id} without a posted receive")
            });
            self.after(0, 30, Happening::Post { side, link });
        }
        let end = &mut self.ends[side];
        let mut frames = std::mem::take(&mut end.frames);
        let pool = if is_last { end.pool.last() } else { end.pool.clone() };
        let opened = end.open(link, &record, &pool, &mut frames);
        self.trace.note(now, || format!("[{side}] <- path {id}: {opened:?} {}", words(&frames)));
        match opened {
            Err(_) => {
                let machine = self.ends[side].machine.as_mut().expect("looked at above");
                machine.handle_path_down(now, id, PathCause::BadRecord);
            }
            Ok(epoch) => self.take_in(side, id, epoch, &mut frames, is_last),
        }
        frames.clear();
        self.ends[side].frames = frames;
    }

    /// Gives the frames of a record to the machine.
    fn take_in(
        &mut self,
        side: Side,
        id: PathId,
        epoch: u32,
        frames: &mut Vec<Frame>,
        is_last: bool,
    ) {
        let now = self.now;
        let machine = self.ends[side].machine.as_mut().expect("the caller looked");
        let told = Told::by(machine, id, epoch, frames);
        let asks = frames.iter().filter(|frame| matches!(frame, Frame::Ping { .. })).count();
        self.oracle.check(asks <= 1, || {
            format!("a record to side {side} on path {id} asks {asks} times for a sign of life")
        });
        for frame in &*frames {
            if let Frame::Credit { channel, limit } = frame {
                self.oracle.credit(*channel, side, *limit);
            }
        }
        let taken = match is_last {
            true => machine.handle_record_in_need(now, id, epoch, frames),
            false => machine.handle_record(now, id, epoch, frames).map(|()| true),
        };
        let is_heard = machine.is_over() || machine.epoch() >= told.epoch;
        self.oracle.check(is_heard, || {
            let (what, epoch, ours) = (told.what, told.epoch, machine.epoch());
            format!("side {side} was told of epoch {epoch} by {what} and stays in {ours}")
        });
        match taken {
            Ok(true) => {}
            Ok(false) => machine.handle_path_down(now, id, PathCause::MemoryShort),
            Err(violation) => {
                machine.handle_violation(violation);
                let told = format!("side {side} accuses an honest peer: {violation}");
                self.oracle.fail(told);
            }
        }
    }

    /// `side` hardly looks at its active path from now on, and says so.
    pub(super) fn doze(&mut self, side: Side) {
        let end = &mut self.ends[side];
        let Some(machine) = end.machine.as_mut().filter(|machine| !machine.is_over()) else {
            return;
        };
        let Some(active) = machine.active_path() else { return };
        let Some(path) = end.paths.iter_mut().find(|path| path.path == active) else { return };
        machine.handle_asleep(active);
        path.dozes = true;
        let link = path.link;
        self.after(100, 10_000, Happening::Look { side, link });
    }

    /// `side` is asked to look.
    pub(super) fn rouse(&mut self, side: Side) {
        let dozing = self.ends[side].paths.iter().filter(|path| path.dozes);
        let links: Vec<usize> = dozing.map(|path| path.link).collect();
        for link in links {
            self.after(0, 10, Happening::Look { side, link });
        }
    }

    pub(super) fn look(&mut self, side: Side, link: usize) {
        let Some(path) = self.ends[side].at_link(link) else { return };
        path.dozes = false;
        self.read_left(side);
    }

    pub(super) fn post(&mut self, side: Side, link: usize) {
        let end = &mut self.ends[side];
        let Some(path) = end.at_link(link).filter(|path| !path.is_down) else { return };
        path.posted += 1;
        let id = path.path;
        if let Some(machine) = &mut end.machine {
            machine.handle_receives_posted(id, 1);
        }
    }

    /// Begins a pull that the machine asked for.
    pub(super) fn begin_pull(&mut self, side: Side, request: PullRequest) {
        let (channel, seq) = (request.channel, request.seq);
        let target = self.ends[side].target(request.length as usize, Some(request));
        let target = target.expect("runs with pulls have a large pool");
        let token = target.token;
        let path = self.ends[side].paths.iter_mut().find(|path| path.path == request.path);
        let Some(path) = path.filter(|path| !path.is_down) else { return };
        self.oracle.pull_begins(side, channel, seq);
        path.targets.push(target);
        let link = path.link;
        let latest = if self.random.chance(10) { 30_000 } else { 300 };
        self.after(1, latest, Happening::PullEnd { side, link, token });
    }

    pub(super) fn pull_end(&mut self, side: Side, link: usize, token: u64) {
        let Some(path) = self.ends[side].at_link(link) else { return };
        // A work request of a dead path is flushed, or tells that it was done after all.
        if path.is_released || (path.is_down && !token.is_multiple_of(4)) {
            return;
        }
        let Some(at) = path.targets.iter().position(|target| target.token == token) else { return };
        let Target { mut slot, request, .. } = path.targets.swap_remove(at);
        let request = request.expect("a pull has a request");
        self.oracle.pull_over(side, request.channel, request.seq);
        let payload = self.read_source(side, link, &request).map(|bytes| {
            slot.extend(&bytes);
            // Now and then the source was changed meanwhile.
            if self.random.chance(2) && !bytes.is_empty() {
                slot[0] ^= 1;
            }
            Payload::Slot(slot.freeze().into())
        });
        let (now, is_good) = (self.now, payload.is_some());
        if !is_good {
            self.coverage.note("pull failed");
        }
        self.trace.note(now, || format!("[{side}] pull ends: {is_good} {request:?}"));
        let Some(machine) = &mut self.ends[side].machine else { return };
        if let Err(violation) = machine.handle_pull_complete(now, request, payload) {
            self.oracle.fail(format!("side {side} accuses an honest peer: {violation}"));
        }
    }

    /// Reads the peer's memory, if the path still lets us.
    fn read_source(&mut self, side: Side, link: usize, request: &PullRequest) -> Option<Payload> {
        let peer = &mut self.ends[1 - side];
        let is_gone = peer.is_gone || peer.at_link(link).is_none_or(|path| path.is_fenced);
        if is_gone || self.links[link].ways[side].is_dead || self.random.chance(4) {
            return None;
        }
        let payload = self.sources.get(&(request.path, request.source.address))?.clone();
        if peer.at_link(link).is_some_and(|path| path.is_unfenced) {
            self.coverage.note("source read without a fence");
        }
        if let Payload::Slot(slice) = &payload {
            // One reference is the table's, one is ours: without another, the peer has let go of it.
            let is_held = slice.slot().references() > 2;
            self.oracle
                .check(is_held, || format!("{request:?} reads memory that the peer has handed on"));
        }
        Some(payload)
    }

    /// A path went down here: the driver ends the link and fences it.
    pub(super) fn end_link(&mut self, side: Side, path: PathId) {
        let Some(at) = self.ends[side].paths.iter().position(|other| other.path == path) else {
            return;
        };
        let room = &mut self.ends[side].paths[at];
        room.is_down = true;
        let link = room.link;
        let tokens: Vec<u64> = room.targets.iter().map(|target| target.token).collect();
        self.links[link].ways[side].is_dead = true;
        self.links[link].ways[1 - side].is_hole = true;
        if self.random.chance(70) {
            let side = 1 - side;
            self.after(1, 20_000, Happening::Notice { side, link });
        }
        let fence_us = match self.random.below(20) {
            0 => self.random.between(10_000, 200_000),
            _ => self.random.between(1, 3_000),
        };
        for token in tokens {
            if self.scenario.is_scripted || self.random.chance(60) {
                self.after(0, fence_us - 1, Happening::Late { side, link, token });
            }
        }
        let is_good = !self.random.chance(3);
        let at = self.now + Duration::from_micros(fence_us);
        self.at(at, Happening::Fenced { side, link, is_good });
    }

    pub(super) fn land_late(&mut self, side: Side, link: usize, token: u64) {
        if self.ends[side].is_gone {
            return;
        }
        let Some(path) = self.ends[side].at_link(link).filter(|path| !path.is_fenced) else {
            return;
        };
        match path.targets.iter_mut().find(|target| target.token == token) {
            Some(target) => {
                target.slot.all_mut()[0] ^= 0xff;
                self.coverage.note("late landing");
            }
            None if path.is_released => {
                let path = path.path;
                self.oracle.fail(format!(
                    "path {path} wrote to memory that side {side} had handed on before the fence"
                ));
            }
            None => {}
        }
    }

    pub(super) fn fenced(&mut self, side: Side, link: usize, is_good: bool) {
        let end = &mut self.ends[side];
        let Some(path) = end.at_link(link) else { return };
        // Without a fence what the path knows may be written and read for ever, and stays with it.
        (path.is_fenced, path.is_unfenced) = (is_good, !is_good);
        let id = path.path;
        let tokens: Vec<u64> = path.targets.iter().map(|target| target.token).collect();
        for target in &path.targets {
            if let Some(request) = target.request {
                self.oracle.pull_over(side, request.channel, request.seq);
            }
        }
        match &mut end.machine {
            Some(machine) if is_good => machine.handle_path_fenced(id),
            Some(machine) => machine.handle_fence_failed(id),
            None => {}
        }
        if !is_good {
            self.coverage.note("fence failed");
            self.trace.note(self.now, || format!("[{side}] the fence of path {id} failed"));
            for token in tokens {
                self.after(1, 100_000, Happening::Late { side, link, token });
            }
        }
    }

    /// The driver may reuse what the path could write to.
    pub(super) fn release_path(&mut self, side: Side, path: PathId) {
        let room = self.ends[side].paths.iter_mut().find(|other| other.path == path);
        if let Some(room) = room {
            room.is_released = true;
            room.targets.clear();
        }
    }

    /// Sends what the machine wants to send. Returns whether there was anything.
    pub(super) fn transmit(&mut self, side: Side) -> bool {
        let mut any = false;
        for at in 0..self.ends[side].paths.len() {
            let (link, path) = (self.ends[side].paths[at].link, self.ends[side].paths[at].path);
            while !self.ends[side].paths[at].is_down {
                if let Some(free) = self.links[link].ways[1 - side].blocked_until(self.now) {
                    self.wake_at(side, free);
                    break;
                }
                if self.is_clogged(1 - side, link) {
                    break;
                }
                let (now, end) = (self.now, &mut self.ends[side]);
                let mut batch = std::mem::take(&mut end.batch);
                let machine = end.machine.as_mut().expect("a pumped end lives");
                let is_some = machine.poll_transmit(now, path, &mut batch);
                if is_some {
                    self.send_batch(side, at, &batch);
                }
                batch.clear();
                self.ends[side].batch = batch;
                if !is_some {
                    self.check_wants(side, path);
                    break;
                }
                any = true;
            }
        }
        any
    }

    /// A driver that asks first must not be told to go on for ever.
    fn check_wants(&mut self, side: Side, path: PathId) {
        let machine = self.ends[side].machine.as_ref().expect("a pumped end lives");
        let wants = machine.wants_transmit(self.now, path);
        self.oracle.check(!wants, || {
            format!("side {side} wants to transmit on path {path} and has nothing to transmit")
        });
    }

    fn send_batch(&mut self, side: Side, at: usize, batch: &TxBatch) {
        let active = self.ends[side].active();
        for record in batch.records() {
            let end = &mut self.ends[side];
            let path = &mut end.paths[at];
            let (link, id) = (path.link, path.path);
            end.encoder.clear();
            end.encoder.put_frames(batch.frames(record));
            for data in batch.data(record) {
                end.encoder.put_data(&data.frame, None);
            }
            let (body, trailer) = end.encoder.finish();
            let mut bytes =
                Vec::with_capacity(path.sealer.sealed_bytes(body.len() + trailer.len()));
            path.sealer.seal(record.epoch, body, trailer, &mut bytes).expect("the key is fresh");
            end.records += 1;
            self.oracle.sealed(id.0, side, &bytes);
            for data in batch.data(record) {
                let frame = &data.frame;
                let (channel, seq) = (frame.channel, frame.seq);
                let is_free = matches!(frame.kind, crate::wire::DataKind::Open)
                    || matches!(frame.kind, crate::wire::DataKind::Fin);
                self.oracle.sent(channel, side, seq, (!is_free).then_some(frame.length as usize));
                if let Some(pull) = frame.pull {
                    self.sources.insert((id, pull.address), frame.payload.clone());
                }
            }
            let is_data = !batch.data(record).is_empty();
            self.trace.note(self.now, || {
                let data = batch.data(record).iter();
                let data: Vec<_> = data.map(|d| (d.frame.channel, d.frame.seq)).collect();
                format!("[{side}] -> path {id} epoch {}: data {data:?}", record.epoch)
            });
            // Scripted faults strike between two records of a batch: what is active may change meanwhile.
            self.oracle.check(!is_data || active == Some(id), || {
                format!("side {side} sends data on path {id} while {active:?} is active")
            });
            self.launch(side, link, bytes);
            self.trigger(side);
        }
    }

    fn launch(&mut self, side: Side, link: usize, mut record: Vec<u8>) {
        let to = 1 - side;
        self.records += 1;
        let room = &mut self.links[link];
        let way = &mut room.ways[to];
        if std::mem::take(&mut way.corrupts_next) {
            let at = self.random.below(record.len() as u64) as usize;
            record[at] ^= 1 << self.random.below(8);
        }
        if let Some(at) = way.send(self.now, &room.spec, record.len(), &mut self.random) {
            self.at(at, Happening::Arrive { side: to, link, record });
        }
    }

    pub(super) fn wake_at(&mut self, side: Side, at: Time) {
        let wake = &mut self.ends[side].wake;
        if wake.is_none_or(|wake| wake > at || wake <= self.now) {
            *wake = Some(at);
            self.at(at, Happening::Wake { side });
        }
    }

    /// Tells when to come back, after everything else is polled.
    pub(super) fn arm_timer(&mut self, side: Side) {
        let now = self.now;
        let machine = self.ends[side].machine.as_ref().expect("a pumped end lives");
        let Some(at) = machine.poll_timeout() else { return };
        let at = at.max(now);
        let timer = &mut self.ends[side].timer;
        if timer.is_none_or(|timer| timer > at || timer < now) {
            *timer = Some(at);
            self.at(at, Happening::Timer { side });
        }
    }

    pub(super) fn timer(&mut self, side: Side) {
        let now = self.now;
        self.ends[side].timer = None;
        let Some(machine) = &mut self.ends[side].machine else { return };
        // What a timeout does may make another one due, at once but not for ever.
        let mut calls = 0;
        while machine.poll_timeout().is_some_and(|at| at <= now) {
            machine.handle_timeout(now);
            machine.shed(); // a driver does it when nothing happens: it must never matter
            calls += 1;
            if calls > 8 {
                let at = machine.poll_timeout();
                return self.oracle.fail(format!("side {side}: the timeout stays at {at:?}"));
            }
        }
    }
}

impl End {
    /// Whether there is ordinary memory for a record of so many bytes.
    fn has_share(&self, bytes: usize) -> bool {
        let held = self.machine.as_ref().map_or(0, Machine::held_bytes);
        self.pool.take_share(bytes, held).is_some()
    }

    /// Whether the last memory may be used for a record of so many bytes, and has room.
    fn has_last_room(&self, bytes: usize) -> bool {
        let has_early = self.machine.as_ref().is_some_and(Machine::has_early_frames);
        has_early && self.pool.last().take(bytes).is_some()
    }

    /// Opens and decodes a record. Returns its epoch.
    fn open(
        &mut self,
        link: usize,
        record: &[u8],
        pool: &Pool,
        frames: &mut Vec<Frame>,
    ) -> Result<u32, String> {
        use crate::wire::{HEADER_BYTES, RecordHeader, decode_record};
        let path = self.at_link(link).expect("the caller found it");
        let header = record[..HEADER_BYTES].try_into().expect("a whole header");
        let header = RecordHeader::decode(&header).map_err(|error| error.to_string())?;
        if header.length as usize + HEADER_BYTES != record.len() {
            return Err("a record of another length".to_owned());
        }
        let plain = path.opener.plain_bytes(header.length as usize);
        let plain = plain.map_err(|error| error.to_string())?;
        let mut slot = pool.take_for_receive(plain).expect("looked for before");
        slot.set_len(plain);
        path.opener.open(&header, record, &mut slot).map_err(|error| error.to_string())?;
        decode_record(&slot.freeze(), pool, &mut Incompressible, frames)
            .map_err(|error| error.to_string())?;
        Ok(header.epoch)
    }
}

/// The highest epoch that a record tells an end, which it has to follow: docs/protocol.md, "Switching".
struct Told {
    epoch: u32,
    what: &'static str,
}

impl Told {
    fn by(machine: &Machine, path: PathId, epoch: u32, frames: &[Frame]) -> Self {
        let state = |id| machine.paths().find(|path| path.id == id).map(|path| path.state);
        let is_live = |id| state(id).is_some_and(|state| !matches!(state, PathState::Fencing(_)));
        if !is_live(path) {
            return Self { epoch: 0, what: "nothing" };
        }
        let mut told = Self { epoch, what: "a header" };
        for frame in frames {
            if let &Frame::SwitchMark { epoch, to } = frame
                && is_live(to)
                && state(to) != Some(PathState::Validating)
                && epoch > told.epoch
            {
                told = Self { epoch, what: "a mark" };
            }
        }
        told
    }
}

/// Nothing is compressed here.
struct Incompressible;

impl crate::wire::Decompress for Incompressible {
    fn decompress(&mut self, _: &[u8], _: &mut [u8]) -> Result<(), crate::wire::DecodeError> {
        unreachable!("no record of a run is compressed")
    }
}

fn words(frames: &[Frame]) -> String {
    let mut words = String::new();
    for frame in frames {
        words += &match frame {
            Frame::Data(data) => {
                format!(" {:?}({}#{}, {} bytes)", data.kind, data.channel, data.seq, data.length)
            }
            other => format!(" {other:?}"),
        };
    }
    words
}
