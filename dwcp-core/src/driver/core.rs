//! What the threads that use one session share.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::clock::Clock;
use super::grave;
use super::own_polls::OwnPolls;
use super::path_io::PathIo;
use super::stage::Stage;
use super::waiting::Waiters;
use crate::link::Signal;
use crate::machine::{
    ChannelKey, Closed, Event, InDoubt, Machine, Priority, Seldom, Share, Time, shed,
};
use crate::mem::{Account, Pool};
use crate::rate::{Asked, SharedRate};
use crate::sync::{Mutex, MutexGuard};
use crate::wire::{Frame, PathId};

/// A session: the machine and its links, and who waits for what.
///
/// Locks are taken in this order: a half of a path, then `state`. `state` is held for moments only: never
/// while bytes are sealed, opened or moved.
pub(crate) struct SessionCore {
    state: Mutex<State>,
    /// Wakes the driver.
    pub(crate) wake: Arc<Signal>,
    pub(crate) clock: Clock,
    pub(crate) pool: Pool,
    /// How long a receiver polls the link before it sleeps.
    pub(crate) spin: Duration,
    /// Receivers that do.
    pub(super) own_polls: OwnPolls,
    /// The same pool for what is received, and what of it is out: in frames, and in messages that the application has.
    pub(super) receive_pool: Pool,
    pub(super) received: Arc<Account>,
    pub(crate) counters: SessionCounters,
    /// What the peer may ask for that costs it no credit.
    pub(super) request_rate: Arc<SharedRate>,
    /// What it has asked for lately, in this session and in others.
    pub(super) asked: Arc<Asked>,
}

/// Totals of one session.
#[derive(Default)]
pub(crate) struct SessionCounters {
    pub(crate) messages_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    /// Times the peer was not listened to for a while, because it asked too much.
    pub(crate) slowed: AtomicU64,
}

/// What `state` guards.
pub(crate) struct State {
    pub(crate) machine: Machine,
    /// Live paths.
    pub(crate) paths: Vec<Arc<PathIo>>,
    /// Grows with every change of `paths`.
    pub(crate) paths_version: u64,
    channels: Vec<Waiting>,
    /// Channels the peer opened and nobody has accepted.
    pub(crate) incoming: VecDeque<(ChannelKey, Priority, String)>,
    /// Who waits for one of those.
    pub(crate) accepts: Waiters,
    /// Who waits for acks or confirmations: looks again after each record.
    pub(crate) progress: Waiters,
    /// Who waits for the end.
    pub(crate) ends: Waiters,
    pub(crate) closed: Option<Box<Closed>>,
    /// What the end left in doubt, for as long as there is a handle: at most one entry a channel.
    pub(crate) in_doubt: Seldom<InDoubt>,
    /// What the peer asked on paths that stand by, and has no answer yet: the last question of each.
    pub(super) asked: Seldom<(PathId, u64)>,
    /// Events only the driver can act on.
    pub(crate) work: VecDeque<Event>,
    /// A flush was left to the driver and has not happened yet.
    pub(crate) is_flush_due: bool,
    /// Batches that senders fill without this lock. Only while a flush is due.
    lent: Vec<(ChannelKey, Arc<Stage>)>,
    /// A sender found no memory for so many bytes: other sessions' acks may free some, so the driver looks again.
    pub(crate) waits_for_memory: Option<usize>,
    /// A sender waits until the link takes something again.
    pub(crate) waits_for_link: bool,
    /// Messages that come in pieces, gathered by receivers.
    pub(crate) gathered: Gathered,
    pub(crate) flushed_at: Time,
    /// When the driver will look at the machine's timers next.
    pub(crate) armed: Time,
    /// Who waits for the end was told that new channels do not belong here.
    is_leaving_told: bool,
    /// The record in which the peer broke the protocol.
    pub(crate) offending: Option<Box<OffendingRecord>>,
}

/// Where the peer broke the protocol: for the evidence log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffendingRecord {
    /// The path it came on.
    pub path: PathId,
    /// The other end of that path's link.
    pub remote: String,
    /// Its number in its path, direction, lane and key phase.
    pub number: u64,
    /// The epoch in its header.
    pub epoch: u32,
}

/// What the receivers of a session gather.
#[derive(Default)]
pub(crate) struct Gathered {
    share: Share,
    /// The channel that may go on although the share is used up: one always may, or none would ever end.
    eldest: Option<ChannelKey>,
    /// Pieces taken, ever.
    pub(crate) taken: u64,
    /// A receiver waits until it may go on: other sessions' may give some back, so the driver looks again.
    pub(crate) is_waited_for: bool,
    /// Receivers that do, or have not looked since they might.
    waiting: usize,
    /// One has begun to since [`was_waited_for`](Self::was_waited_for) was asked last, whether it goes on or not.
    has_waited: bool,
    /// When one was seen to wait last.
    waited_at: Option<Time>,
}

/// For so long a receiver that was told to stop counts as one that waits.
const WAIT_LAG: Duration = Duration::from_secs(1);

impl Gathered {
    /// Whether the receiver of `channel` may take another piece.
    pub(crate) fn may_take(&mut self, channel: ChannelKey) -> bool {
        self.share.may_grow() || *self.eldest.get_or_insert(channel) == channel
    }

    /// A receiver waits until it may. `is_first`: it did not before.
    pub(crate) fn wait(&mut self, is_first: bool) {
        self.waiting += usize::from(is_first);
        (self.is_waited_for, self.has_waited) = (true, true);
    }

    /// Whether a receiver waits, or did within the last second: one in a `select!` that drops its future again and again,
    /// or one that asks without waiting, wants no less what it cannot have. To be asked several times a second while it matters.
    pub(crate) fn was_waited_for(&mut self, now: Time) -> bool {
        if std::mem::take(&mut self.has_waited) || self.is_waited_for {
            self.waited_at = Some(now);
        }
        self.waited_at.is_some_and(|at| now.since(at) <= WAIT_LAG)
    }

    /// It waits no more: it went on, or whoever received was told to stop.
    pub(crate) fn stop_waiting(&mut self) {
        self.waiting -= 1;
        self.is_waited_for &= self.waiting > 0;
    }

    /// It has taken one of so many bytes.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.taken += 1;
        self.share.add(bytes);
    }

    /// It holds these no more: its message is whole, or nobody wants it.
    pub(crate) fn end(&mut self, channel: ChannelKey, bytes: u64) {
        self.share.sub(bytes);
        self.eldest = self.eldest.filter(|eldest| *eldest != channel);
    }

    /// Whether somebody who waits may go on.
    pub(crate) fn has_room(&self) -> bool {
        self.share.may_grow() || self.eldest.is_none()
    }
}

/// Who waits for one channel.
#[derive(Default)]
struct Waiting {
    recv: Option<Waker>,
    send: Option<Waker>,
    /// Nobody will read: what arrives is dropped.
    is_deaf: bool,
}

impl SessionCore {
    pub(crate) fn new(machine: Machine, pool: Pool, clock: Clock, spin: Duration) -> Self {
        let received = Arc::<Account>::default();
        Self {
            receive_pool: pool.charged_to(received.clone()),
            received,
            state: Mutex::new(State {
                machine,
                paths: Vec::new(),
                paths_version: 0,
                channels: Vec::new(),
                incoming: VecDeque::new(),
                accepts: Waiters::default(),
                progress: Waiters::default(),
                ends: Waiters::default(),
                closed: None,
                in_doubt: Seldom::default(),
                asked: Seldom::default(),
                work: VecDeque::new(),
                is_flush_due: false,
                lent: Vec::new(),
                waits_for_memory: None,
                waits_for_link: false,
                gathered: Gathered::default(),
                flushed_at: Time(0),
                armed: Time(u64::MAX),
                is_leaving_told: false,
                offending: None,
            }),
            wake: Arc::default(),
            clock,
            pool,
            spin,
            own_polls: OwnPolls::default(),
            counters: SessionCounters::default(),
            request_rate: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// What the receivers of all sessions may gather together.
    #[cfg(any(feature = "tokio", test))]
    pub(crate) fn with_gather_budget(self, budget: crate::machine::SharedBudget) -> Self {
        self.lock().gathered.share = Share::new(budget);
        self
    }

    /// The peer may ask no more than `rate`; `asked` is what it has asked for in all its sessions.
    #[cfg(feature = "tokio")]
    pub(crate) fn with_request_rate(mut self, rate: Arc<SharedRate>, asked: Arc<Asked>) -> Self {
        (self.request_rate, self.asked) = (rate, asked);
        self
    }

    /// Until when the peer is not listened to, because it asked too much: not on another path either.
    #[cfg(feature = "tokio")]
    pub(crate) fn rests_until(&self) -> Option<Time> {
        self.asked.rests_until(self.clock.now(), self.request_rate.get()?)
    }

    /// The state, with all that was committed.
    pub(crate) fn lock(&self) -> Locked<'_> {
        let mut state = self.peek();
        if !state.lent.is_empty() {
            state.take_back();
        }
        state
    }

    /// The state, but for what senders have committed without the lock since it was taken last: for those who only want
    /// to know of what was received, and of paths.
    pub(crate) fn peek(&self) -> Locked<'_> {
        grave::enter();
        // The machine asserts its invariants; after a panic inside it the session is of no use, but other
        // sessions are, so the lock stays usable for closing.
        Locked(Some(self.state.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Runs `work` on the state, then wakes whoever its events concern.
    pub(crate) fn with_state<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = work(&mut state);
        let (mut wakers, mut needs_driver) = (Vec::new(), false);
        state.dispatch(&mut wakers, &mut needs_driver);
        drop(state);
        if needs_driver {
            self.wake.raise();
        }
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// A path by its id.
    pub(crate) fn path(&self, id: PathId) -> Option<Arc<PathIo>> {
        self.lock().paths.iter().find(|path| path.id == id).cloned()
    }

    /// Sends what there is to send on the active path, in this thread.
    pub(crate) fn flush_active(&self) {
        if let Some(path) = self.active_path() {
            self.flush(&path);
        }
    }

    /// Moves every live path to its next key phase with its next record.
    pub(crate) fn rekey(&self) {
        let paths = self.lock().paths.clone();
        for path in paths {
            path.wants_rekey.store(true, Ordering::Relaxed);
            self.flush(&path);
        }
    }

    /// Nobody drives the session any more: it ends, its links too, and so does the applications' waiting.
    pub(super) fn abandon(&self) {
        let end = || self.with_state(|state| state.machine.abort());
        // A machine that has panicked may do so again, and a second panic in the same unwinding ends the process.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(end)).is_err() {
            tracing::error!("a session could not be ended in good order");
        }
        let paths = std::mem::take(&mut self.lock().paths);
        for path in paths {
            let mut tx = path.tx.lock().unwrap_or_else(PoisonError::into_inner);
            tx.is_dead = true;
            tx.link.shut_down();
        }
    }

    /// The path that data goes to.
    pub(crate) fn active_path(&self) -> Option<Arc<PathIo>> {
        self.peek().active_path().cloned()
    }
}

/// The locked state. What the application brought and is let go of meanwhile is dropped after the unlocking.
pub(crate) struct Locked<'a>(Option<MutexGuard<'a, State>>);

impl Deref for Locked<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        self.0.as_ref().expect("it is there until the drop")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("it is there until the drop")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0 = None;
        grave::leave();
    }
}

impl State {
    /// Lends the batch that `channel` is filling to its sender. Returns whether there is one. Only while a flush is due: whoever
    /// does it takes the batch back.
    pub(crate) fn lend(&mut self, channel: ChannelKey, stage: &Arc<Stage>) -> bool {
        debug_assert!(self.is_flush_due, "somebody comes for it");
        let Some(lent) = self.machine.lend_batch(channel) else { return false };
        stage.put(lent);
        self.lent.push((channel, stage.clone()));
        true
    }

    /// Takes back what senders have.
    #[cold]
    fn take_back(&mut self) {
        while let Some((channel, stage)) = self.lent.pop() {
            if let Some(lent) = stage.take() {
                self.machine.take_back(channel, lent);
            }
        }
    }

    /// Whether the link that data goes to takes nothing now.
    pub(crate) fn is_link_blocked(&self) -> bool {
        self.active_path().is_some_and(|path| path.is_blocked.load(Ordering::SeqCst))
    }

    pub(crate) fn active_path(&self) -> Option<&Arc<PathIo>> {
        let active = self.machine.active_path()?;
        self.paths.iter().find(|path| path.id == active)
    }

    /// Keeps what `frames` asks on a path that stands by for the driver, which answers when the active path is read and
    /// flushed. Returns whether there was anything.
    pub(super) fn put_off_answers(&mut self, path: PathId, frames: &mut Vec<Frame>) -> bool {
        let mut last = None;
        frames.retain(|frame| match frame {
            Frame::Ping { token } => {
                last = Some(*token);
                false
            }
            _ => true,
        });
        let Some(token) = last else { return false };
        self.asked.retain(|(other, _)| *other != path);
        self.asked.push((path, token));
        true
    }

    /// Hands the machine's events on: wakers of applications to `wakers`, the rest to the driver.
    pub(crate) fn dispatch(&mut self, wakers: &mut Vec<Waker>, needs_driver: &mut bool) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Readable(key) => {
                    let waiting = self.waiting(key);
                    if waiting.is_deaf {
                        while self.machine.poll_message(key).is_some() {}
                        *needs_driver = true;
                    } else {
                        wakers.extend(waiting.recv.take());
                    }
                }
                Event::Writable(key) => wakers.extend(self.waiting(key).send.take()),
                Event::ChannelOpened { channel, priority, label } => {
                    *self.waiting(channel) = Waiting::default();
                    self.incoming.push_back((channel, priority, label));
                    self.accepts.take_all(wakers);
                }
                Event::ChannelReset { channel, .. } => self.forget_incoming(channel),
                Event::AllAcked => {}
                // One byte of the peer's each; once is enough.
                Event::ProgressAsked if self.work.contains(&Event::ProgressAsked) => {}
                Event::InDoubt { channel, from, count } => {
                    self.in_doubt.push(InDoubt { channel, from, count });
                    self.work.push_back(event);
                    *needs_driver = true;
                }
                Event::PeerLeaves => {
                    self.work.push_back(Event::PeerLeaves);
                    *needs_driver = true;
                }
                Event::Closed(why) => {
                    self.closed = Some(Box::new(why.clone()));
                    self.accepts.take_all(wakers);
                    self.ends.take_all(wakers);
                    self.progress.take_all(wakers);
                    self.work.push_back(Event::Closed(why));
                    *needs_driver = true;
                }
                other => {
                    self.work.push_back(other);
                    *needs_driver = true;
                }
            }
        }
        self.progress.take_all(wakers);
        if self.machine.is_leaving() && !std::mem::replace(&mut self.is_leaving_told, true) {
            self.ends.take_all(wakers);
        }
        if self.machine.is_closing() {
            self.accepts.take_all(wakers); // nothing comes any more
        }
    }

    /// The peer gave up a channel that nobody has accepted: nobody will.
    fn forget_incoming(&mut self, key: ChannelKey) {
        if let Some(at) = self.incoming.iter().position(|(channel, ..)| *channel == key) {
            self.incoming.remove(at);
            self.machine.release(key);
        }
    }

    fn waiting(&mut self, key: ChannelKey) -> &mut Waiting {
        let index = key.index();
        if self.channels.len() <= index {
            if index < 2 {
                // Most sessions have one channel besides the control channel; a vector would begin with room for four.
                self.channels.reserve_exact(index + 1 - self.channels.len());
            }
            self.channels.resize_with(index + 1, Waiting::default);
        }
        &mut self.channels[index]
    }

    /// Nothing has come or gone for a while: gives back what empty queues have grown to.
    pub(super) fn shed(&mut self) {
        self.machine.shed();
        shed(&mut self.work);
        shed(&mut self.incoming);
        self.asked.shed();
        if self.lent.is_empty() {
            self.lent = Vec::new();
        }
    }

    /// Forgets who waited for a channel whose place is used anew.
    pub(crate) fn start_waiting(&mut self, key: ChannelKey) {
        *self.waiting(key) = Waiting::default();
    }

    /// Wakes every sender that waits.
    pub(crate) fn wake_senders(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.channels.iter_mut().filter_map(|waiting| waiting.send.take()));
    }

    /// Wakes all who wait to receive.
    pub(crate) fn wake_receivers(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.channels.iter_mut().filter_map(|waiting| waiting.recv.take()));
    }

    /// Keeps the waker of whoever waits to receive. Returns the one it replaces, to be dropped once the
    /// state is unlocked.
    pub(crate) fn wait_recv(&mut self, key: ChannelKey, waker: &Waker) -> Option<Waker> {
        set(&mut self.waiting(key).recv, waker)
    }

    /// The same for whoever waits to send.
    pub(crate) fn wait_send(&mut self, key: ChannelKey, waker: &Waker) -> Option<Waker> {
        set(&mut self.waiting(key).send, waker)
    }

    /// Nobody reads the channel any more: what is there and what comes is dropped.
    pub(crate) fn deafen(&mut self, key: ChannelKey) {
        self.waiting(key).is_deaf = true;
        while self.machine.poll_message(key).is_some() {}
    }
}

fn set(place: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match place {
        Some(kept) if kept.will_wake(waker) => None,
        _ => place.replace(waker.clone()),
    }
}
