//! One turn of a session: what happened, what is due, what is to be read and sent. Shared by all drivers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::better::Better;
use super::core::SessionCore;
use super::overtake::{Overtaking, Rounds, is_held};
use super::path_io::PathIo;
use super::receive::Received;
use super::starved::{RETRY_MAX, Starved, pause};
use crate::link::Fence;
use crate::machine::{Event, PathCause, PullRequest, Seldom, Time};
use crate::mem::Payload;
use crate::wire::{PathId, SwitchReason};

/// What a session's driver tells whoever set the session up.
pub(crate) trait SessionObserver: Send + Sync {
    /// Something worth telling happened: a path came or went, the session moved or ended.
    fn observe(&self, event: &Event);
    /// No path is left; the dialer connects anew.
    fn path_needed(&self);
    /// The peer offers a path, or answered an offer.
    fn path_bootstrap(&self, event: Event);
}

/// Tells which paths may have something to read.
pub(crate) trait ReadySet {
    /// Whether a read of `path` may find something.
    fn is_readable(&mut self, path: &PathIo) -> bool;
    /// `path` is about to be read: only what arrives from now on is news.
    fn will_read(&mut self, path: &PathIo);
    /// What a read of `path` came to. What [is set aside](Received::is_set_aside) the next turn tries again, but reading
    /// calls for none: whoever reads the path wakes the driver when it leaves, memory is looked for by time.
    fn was_read(&mut self, path: &PathIo, received: Received);
    /// Whether `path`, which was blocked, takes bytes again.
    fn is_writable(&mut self, path: &PathIo) -> bool;
    /// `path` is about to be closed.
    fn forget(&mut self, path: &PathIo);
}

/// Reads of one path in one turn: other sessions of the thread want their turn, too.
const READS_PER_TURN: usize = 8;
/// Pause between looks at a link that is being fenced.
const RETRY: Duration = Duration::from_millis(1);
/// The shortest pause between looks at a pool that is used up: whoever frees memory does not know who waits for it.
const MEMORY_RETRY: Duration = Duration::from_millis(5);
/// A link that is not fenced by then never will be.
const FENCE_DEADLINE: Duration = Duration::from_secs(2);

/// A driver of a busy session looks as often: as soon as anything that others do may become due (`ACK_DELAY`).
const BUSY_LOOK: Duration = Duration::from_millis(2);
/// Messages sent and reads, by applications' threads since the last look, of a busy session. Heartbeats are fewer.
const BUSY_WORK: u64 = 16;

/// A time that does not come.
const NEVER: Time = Time(u64::MAX);

/// Time without messages after which a session gives back what only messages need: long enough that what it costs to come
/// back, a few microseconds, does not matter beside the wake-ups of a session that is used as rarely.
const SHED_PAUSE: Duration = Duration::from_millis(250);

/// The driver's own part of a session.
pub(crate) struct Turn {
    core: Arc<SessionCore>,
    observer: Arc<dyn SessionObserver>,
    paths: Vec<Arc<PathIo>>,
    paths_version: u64,
    fencing: Seldom<(Arc<PathIo>, Time)>,
    better: Better,
    overtaking: Overtaking,
    /// Look again then, whatever the machine says; [`NEVER`]: no need.
    retry_at: Time,
    /// Since when senders or receivers have waited for memory; [`NEVER`]: none does.
    pool_waited: Time,
    /// What applications' threads had sent and read when the driver lay down last.
    work_seen: u64,
    /// When something was seen to have come or gone last, or the driver began.
    moved_at: Time,
    /// Records that had gone and come when the session gave back last what it did not need.
    shed_after: u64,
}

impl Turn {
    pub(crate) fn new(core: Arc<SessionCore>, observer: Arc<dyn SessionObserver>) -> Self {
        let version = u64::MAX; // none yet
        let moved_at = core.clock.now();
        Self {
            core,
            observer,
            paths: Vec::new(),
            paths_version: version,
            fencing: Seldom::default(),
            better: Better::default(),
            overtaking: Overtaking::default(),
            retry_at: NEVER,
            pool_waited: NEVER,
            work_seen: 0,
            moved_at,
            shed_after: u64::MAX, // never yet
        }
    }

    pub(crate) fn core(&self) -> &Arc<SessionCore> {
        &self.core
    }

    pub(crate) fn paths(&self) -> &[Arc<PathIo>] {
        &self.paths
    }

    /// Does what can be done now. Returns how much that was: 0 means wait.
    pub(crate) fn turn(&mut self, ready: &mut dyn ReadySet) -> usize {
        let now = self.core.clock.now();
        self.retry_at = NEVER;
        let mut count = self.act(ready, now);
        self.move_to_better(now);
        self.refresh();
        let is_judgement_due = self.core.lock().machine.is_judgement_due(now);
        for at in 0..self.paths.len() {
            // Whoever was kept from its links reads them before it takes the peer for silent, announced or not.
            let (done, last) = self.read(ready, at, now, is_judgement_due);
            count += done;
            if is_judgement_due {
                self.excuse(at, last, now);
            }
        }
        self.core.with_state(|state| {
            if state.machine.poll_timeout().is_some_and(|due| due <= now) {
                state.machine.handle_timeout(now);
            }
        });
        count += self.answer(ready, now);
        // Before the looks below: whoever commits after them wakes this driver by itself.
        self.core.lock().is_flush_due = false;
        for path in &self.paths {
            if ready.is_writable(path) {
                self.core.unblock(path);
                count += 1;
            } else if !path.is_blocked.load(Ordering::SeqCst)
                && self.core.lock().machine.wants_transmit(now, path.id)
            {
                self.core.flush(path);
                count += 1;
            }
        }
        self.look_for_memory(now);
        count + self.core.lock().work.len()
    }

    /// Wakes senders and receivers that wait for memory when there is some, and senders that wait for the link.
    fn look_for_memory(&mut self, now: Time) {
        let mut state = self.core.lock();
        let (mut wakers, mut is_waiting) = (Vec::new(), false);
        if let Some(bytes) = state.waits_for_memory {
            if state.machine.may_keep() && self.core.pool.take(bytes).is_some() {
                state.waits_for_memory = None;
                state.wake_senders(&mut wakers);
            } else {
                is_waiting = true;
            }
        }
        if state.gathered.is_waited_for {
            if state.gathered.has_room() {
                state.gathered.is_waited_for = false;
                state.wake_receivers(&mut wakers);
            } else {
                is_waiting = true;
            }
        }
        if state.waits_for_link && !state.is_link_blocked() {
            state.waits_for_link = false;
            state.wake_senders(&mut wakers);
        }
        drop(state);
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.pool_waited = if is_waiting { self.pool_waited.min(now) } else { NEVER };
        if is_waiting {
            self.look_again(now, pause(now.since(self.pool_waited), MEMORY_RETRY));
        }
    }

    fn look_again(&mut self, now: Time, pause: Duration) {
        self.retry_at = self.retry_at.min(now + pause);
    }

    /// When to take the next turn if nothing else calls for one. To be asked last before waiting.
    pub(crate) fn deadline(&mut self) -> Option<Time> {
        let now = self.core.clock.now();
        let busy = self.is_busy().then(|| now + BUSY_LOOK);
        let shed = self.shed(now);
        let mut state = self.core.lock();
        let retry = Some(self.retry_at).filter(|at| *at < NEVER);
        let due = [state.machine.poll_timeout(), retry, self.better.deadline(), busy, shed];
        let due = due.into_iter().flatten().min();
        state.armed = due.unwrap_or(NEVER);
        due
    }

    /// Has a session give back what it does not need, once it has been without messages for a while. Returns when that will
    /// be. What a heartbeat needs meanwhile comes back for a moment, and goes with this.
    fn shed(&mut self, now: Time) -> Option<Time> {
        if self.core.lock().machine.take_moved() {
            self.moved_at = now;
        }
        let at = self.moved_at + SHED_PAUSE;
        if now < at {
            return Some(at);
        }
        // Nothing has been needed since: a thread that polls comes by again and again.
        let records = self.paths.iter().map(|path| path.counters.records()).sum();
        if std::mem::replace(&mut self.shed_after, records) != records {
            self.core.lock().shed();
            self.fencing.shed();
            self.paths.iter().for_each(|path| self.core.shed(path));
        }
        None
    }

    /// Whether applications' threads do much by themselves. Each of their messages makes an ack due a little later than
    /// now: a driver that looks by then in any case need not be told.
    fn is_busy(&mut self) -> bool {
        let work = |path: &Arc<PathIo>| {
            path.sends.load(Ordering::Relaxed) + path.looks.load(Ordering::Relaxed)
        };
        let work: u64 = self.paths.iter().map(work).sum();
        let done = work.abs_diff(std::mem::replace(&mut self.work_seen, work));
        done >= BUSY_WORK
    }

    /// Whether the session is over and nothing is left to close.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.core.lock();
        self.fencing.is_empty()
            && state.machine.is_over()
            && state.paths.is_empty()
            && state.work.is_empty()
    }

    fn refresh(&mut self) {
        let state = self.core.lock();
        if state.paths_version != self.paths_version {
            self.paths.clone_from(&state.paths);
            self.paths_version = state.paths_version;
        }
    }

    /// Acts on the machine's events.
    fn act(&mut self, ready: &mut dyn ReadySet, now: Time) -> usize {
        let mut count = 0;
        while let Some(event) = { self.core.lock().work.pop_front() } {
            count += 1;
            self.better.note(now, &event);
            match &event {
                Event::PathDown { path, .. } => {
                    self.observer.observe(&event);
                    self.take_down(ready, *path, now);
                }
                Event::PathNeeded => self.observer.path_needed(),
                Event::PathOffered { .. } | Event::PathAnswered { .. } => {
                    self.observer.path_bootstrap(event);
                }
                Event::Pull(request) => self.pull(*request, now),
                Event::ProgressAsked => self.progress(),
                Event::PathValidated(path) => {
                    self.observer.observe(&event);
                    self.consider(*path, now);
                }
                _ => self.observer.observe(&event),
            }
        }
        self.fence(now);
        count
    }

    /// Looks at every link, whatever its readiness says.
    fn progress(&mut self) {
        self.refresh();
        for path in &self.paths {
            if let Ok(mut rx) = path.rx.try_lock() {
                rx.link.wake_up();
            }
            for _ in 0..READS_PER_TURN {
                if self.core.receive(path) != Received::More {
                    break;
                }
            }
        }
    }

    /// A path with a higher preference than the active one takes over as soon as it stands.
    fn consider(&mut self, path: PathId, now: Time) {
        let state = self.core.lock();
        let preference = |id| state.machine.preference_of(id);
        let is_better =
            state.machine.active_path().is_some_and(|active| preference(path) > preference(active));
        if is_better && state.machine.role() == crate::machine::Role::Dialer {
            self.better.begin(now, path);
        }
    }

    fn move_to_better(&mut self, now: Time) {
        let Some(path) = self.better.due(now) else { return };
        let reason = SwitchReason::BetterPath;
        let asked = self.core.with_state(|state| state.machine.request_switch(now, path, reason));
        self.better.note_asked(now, asked);
    }

    fn take_down(&mut self, ready: &mut dyn ReadySet, id: PathId, now: Time) {
        let path = {
            let mut state = self.core.lock();
            let Some(at) = state.paths.iter().position(|path| path.id == id) else { return };
            state.paths_version += 1;
            state.paths.remove(at)
        };
        self.refresh();
        ready.forget(&path);
        // A thread that polls the link sees its end and leaves.
        if let Ok(mut tx) = path.tx.lock() {
            tx.is_dead = true;
            tx.link.shut_down();
        }
        self.fencing.push((path, now));
    }

    fn fence(&mut self, now: Time) {
        let core = &self.core;
        let mut is_any_pending = false;
        self.fencing.retain(|(path, since)| {
            let Ok(mut rx) = path.rx.lock() else { return false };
            rx.is_ended = true;
            // Nobody opens it any more, and a link that cannot be fenced is kept for ever.
            rx.carry.clear();
            rx.opened = None;
            let is_late = now >= *since + FENCE_DEADLINE;
            match rx.link.poll_fenced() {
                Fence::Pending if !is_late => {
                    is_any_pending = true;
                    return true;
                }
                Fence::Done => {
                    drop(rx);
                    core.with_state(|state| state.machine.handle_path_fenced(path.id));
                }
                Fence::Pending | Fence::Failed => {
                    tracing::warn!(path = path.id.0, "the path could not be fenced");
                    // The link keeps what it was given to write to, and is itself kept for ever.
                    core.pool.leak(path.clone(), rx.pulls.len());
                    drop(rx);
                    core.with_state(|state| state.machine.handle_fence_failed(path.id));
                }
            }
            false
        });
        if is_any_pending {
            self.look_again(now, RETRY);
        }
    }

    fn pull(&self, request: PullRequest, now: Time) {
        let started = self.core.path(request.path).is_some_and(|path| {
            let Ok(mut rx) = path.rx.lock() else { return false };
            let target = self.core.receive_pool.take(request.length as usize);
            let Some(target) = target else { return false };
            let token = rx.next_token;
            rx.next_token += 1;
            let PullRequest { source, length, .. } = request;
            let is_started = rx.link.start_pull(token, source, length, target).is_ok();
            if is_started {
                rx.pulls.push((token, request));
            }
            is_started
        });
        if !started {
            self.end_pull(request, None, now);
        }
    }

    fn end_pull(&self, request: PullRequest, payload: Option<Payload>, now: Time) {
        self.core.with_state(|state| {
            if let Err(violation) = state.machine.handle_pull_complete(now, request, payload) {
                state.machine.handle_violation(violation);
            }
        });
    }

    /// The path is not judged now if what has arrived is not all read, or if a thread that sends on it may have the question
    /// still in its hands.
    fn excuse(&self, at: usize, last: Received, now: Time) {
        let path = &self.paths[at];
        if self.core.lock().machine.may_be_judged(path.id)
            && is_held(path, Rounds::of(path), last, || self.core.flush(path))
        {
            self.core.with_state(|state| state.machine.excuse(now, path.id));
        }
    }

    /// Answers what was asked on paths that stand by, once the active one is read and flushed.
    fn answer(&mut self, ready: &mut dyn ReadySet, now: Time) -> usize {
        let (active, limit) = {
            let state = self.core.lock();
            if state.asked.is_empty() {
                return 0;
            }
            (state.machine.active_path(), state.machine.answer_wait_max())
        };
        let (mut count, mut is_at_it) = (0, false);
        if let Some(at) = self.paths.iter().position(|path| Some(path.id) == active) {
            let rounds = self.overtaking.rounds(&self.paths[at], now);
            let (done, last) = self.read(ready, at, now, true);
            count += done;
            let path = &self.paths[at];
            is_at_it = is_held(path, rounds, last, || self.core.flush(path));
        }
        if self.overtaking.waits(is_at_it, now, limit) {
            self.look_again(now, RETRY);
            return count;
        }
        self.core.with_state(|state| {
            for (path, token) in state.asked.take() {
                state.machine.handle_ping(now, path, token);
            }
        });
        count + 1
    }

    /// Returns how often something was read, and what the last look came to. `is_wanted`: whether or not something was
    /// announced.
    fn read(
        &mut self,
        ready: &mut dyn ReadySet,
        at: usize,
        now: Time,
        mut is_wanted: bool,
    ) -> (usize, Received) {
        let path = self.paths[at].clone();
        let (mut count, mut last) = (0, Received::Empty);
        while ready.is_readable(&path) | std::mem::take(&mut is_wanted) {
            ready.will_read(&path);
            let received = self.core.receive(&path);
            ready.was_read(&path, received);
            last = received;
            match received {
                Received::Drained | Received::More => count += 1,
                Received::Starved(starved) => self.wait_for_memory(&path, starved, now),
                Received::Resting(until) => self.rest(&path, until, now),
                Received::Empty | Received::Nothing => {}
            }
            if count >= READS_PER_TURN {
                break;
            }
        }
        self.collect(&path, now);
        (count, last)
    }

    /// What has arrived on `path` stays there until there is memory.
    fn wait_for_memory(&mut self, path: &PathIo, starved: Starved, now: Time) {
        self.core.with_state(|state| {
            state.machine.handle_starved(now, path.id);
            if state.machine.give_up_for_memory(starved.stuck) {
                tracing::warn!(
                    path = path.id.0,
                    "half-come messages hold the session's part of the memory"
                );
            }
        });
        self.look_again(now, starved.until.since(now));
    }

    /// The peer of `path` is not listened to until then. That end is not taken for dead meanwhile, nor this one.
    fn rest(&mut self, path: &PathIo, until: Time, now: Time) {
        self.core.with_state(|state| state.machine.handle_starved(now, path.id));
        self.look_again(now, until.since(now).min(RETRY_MAX));
    }

    /// Reports pulls that ended and receives that were posted.
    fn collect(&self, path: &PathIo, now: Time) {
        let Ok(mut rx) = path.rx.try_lock() else { return };
        let posted = rx.link.take_posted();
        let mut ended = Vec::new();
        while let Some(pulled) = rx.link.poll_pulled() {
            if let Some(at) = rx.pulls.iter().position(|(token, _)| *token == pulled.token) {
                ended.push((rx.pulls.swap_remove(at).1, pulled.slot.ok()));
            }
        }
        drop(rx);
        for (request, slot) in ended {
            self.end_pull(request, slot.map(|slot| Payload::Slot(slot.freeze().into())), now);
        }
        if posted > 0 {
            self.core.with_state(|state| state.machine.handle_receives_posted(path.id, posted));
        }
    }
}

/// Drops the link under `path`, as a broken cable would.
pub(crate) fn cut(core: &SessionCore, path: &PathIo) {
    // Whoever sends just now may be the caller: the driver shuts the link down in any case.
    if let Ok(mut tx) = path.tx.try_lock() {
        tx.link.shut_down();
    }
    core.with_state(|state| {
        let now = core.clock.now();
        state.machine.handle_path_down(now, path.id, PathCause::LinkFailed);
    });
}
