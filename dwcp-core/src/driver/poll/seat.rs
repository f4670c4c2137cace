//! A session's seat on a poll thread: its turns, and what it waits for between them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bell::{Bell, Door};
use crate::driver::core::SessionCore;
use crate::driver::own_polls::Seen;
use crate::driver::path_io::PathIo;
use crate::driver::receive::Received;
use crate::driver::turn::{ReadySet, SessionObserver, Turn};
use crate::link::Readiness;
use crate::sync::atomic::AtomicBool;
use crate::wire::PathId;

/// One session of a thread that sleeps behind `D`.
pub(super) struct Seat<D> {
    turn: Turn,
    watches: Watches,
    caller: Arc<Caller<D>>,
    waker: Waker,
    /// When its next turn is due at the latest.
    deadline: Option<Instant>,
    /// When a turn last found something to do.
    pub(super) active: Instant,
    own_polls: Seen,
}

/// Calls for a turn of one session, from any thread.
struct Caller<D> {
    is_called: AtomicBool,
    bell: Arc<Bell<D>>,
}

impl<D: Door + Send + Sync> Wake for Caller<D> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_called.store(true, Ordering::SeqCst);
        self.bell.ring();
    }
}

/// How the thread waits for one path.
struct Watch {
    path: PathId,
    rx: Readiness,
    tx: Readiness,
    is_readable: bool,
    /// The next turn reads it, but nothing calls for one: whoever has it does.
    is_set_aside: bool,
    is_blocked: bool,
    is_writable: bool,
}

impl Watch {
    /// The descriptors to wait for: for something to read, unless it is what `others` read, and for room to write.
    fn wanted(&self, others: Option<PathId>) -> (Option<&Descriptor>, Option<&Descriptor>) {
        let is_ours = !self.is_set_aside && Some(self.path) != others;
        let reads = descriptor(&self.rx).filter(|_| is_ours);
        let writes = descriptor(&self.tx).filter(|_| self.is_blocked);
        (reads, writes)
    }

    /// Whether the link takes bytes again, without waiting for it.
    fn has_room(&self) -> bool {
        let Some(fd) = descriptor(&self.tx).filter(|_| self.is_blocked) else { return false };
        let mut wait = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)];
        // An interruption is looked at again in the next turn.
        poll(&mut wait, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

type Descriptor = Arc<dyn AsFd + Send + Sync>;

fn descriptor(readiness: &Readiness) -> Option<&Descriptor> {
    match readiness {
        Readiness::Fd(fd) => Some(fd),
        Readiness::Signal(_) => None,
    }
}

struct Watches(Vec<Watch>);

impl Watches {
    fn of(&mut self, path: &PathIo) -> Option<&mut Watch> {
        self.0.iter_mut().find(|watch| watch.path == path.id)
    }
}

impl ReadySet for Watches {
    fn is_readable(&mut self, path: &PathIo) -> bool {
        self.of(path).is_some_and(|watch| watch.is_readable)
    }

    fn will_read(&mut self, _: &PathIo) {
        // poll(2) tells what is there, not what is new: nothing is to be cleared.
    }

    fn was_read(&mut self, path: &PathIo, received: Received) {
        let Some(watch) = self.of(path) else { return };
        watch.is_readable = received == Received::More;
        watch.is_set_aside = received.is_set_aside();
    }

    fn is_writable(&mut self, path: &PathIo) -> bool {
        self.of(path).is_some_and(|watch| std::mem::take(&mut watch.is_writable))
    }

    fn forget(&mut self, path: &PathIo) {
        self.0.retain(|watch| watch.path != path.id);
    }
}

impl<D: Door + Send + Sync + 'static> Seat<D> {
    pub(super) fn new(
        core: Arc<SessionCore>,
        observer: Arc<dyn SessionObserver>,
        bell: Arc<Bell<D>>,
    ) -> Self {
        let caller = Arc::new(Caller { is_called: AtomicBool::new(true), bell });
        Self {
            turn: Turn::new(core, observer),
            watches: Watches(Vec::new()),
            waker: caller.clone().into(),
            caller,
            deadline: None,
            active: Instant::now(),
            own_polls: Seen::nothing(),
        }
    }

    /// Whether receivers of the session poll its links by themselves.
    pub(super) fn is_polled_by_others(&mut self, now: Instant) -> bool {
        self.polled_for(now).is_some()
    }

    /// For how long the thread may leave it to them before it looks again.
    pub(super) fn polled_for(&mut self, now: Instant) -> Option<Duration> {
        self.own_polls.looks(&self.turn.core().own_polls, now)
    }

    pub(super) fn is_done(&self) -> bool {
        self.turn.is_done()
    }

    /// Whether a turn is called for or due.
    pub(super) fn wants_turn(&self, now: Instant) -> bool {
        self.caller.is_called.load(Ordering::Relaxed)
            || self.watches.0.iter().any(|watch| watch.is_readable || watch.is_writable)
            || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// When the next turn is due at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Ends the session at once.
    pub(super) fn abort(&self) {
        self.turn.core().with_state(|state| state.machine.abort());
    }

    /// Takes a turn and gets ready to wait. `is_spinning`: links are read whether they were announced or not.
    /// Returns how much was done.
    pub(super) fn take_turn(&mut self, is_spinning: bool) -> usize {
        self.caller.is_called.swap(false, Ordering::SeqCst);
        for watch in &mut self.watches.0 {
            // A thread that never sleeps is never told.
            watch.is_writable |= watch.has_room();
            watch.is_readable |=
                watch.is_set_aside || (is_spinning && descriptor(&watch.rx).is_some());
            watch.is_set_aside = false;
        }
        let count = self.turn.turn(&mut self.watches);
        self.adopt();
        self.arm();
        count
    }

    /// Begins to wait for paths that are new.
    fn adopt(&mut self) {
        for path in self.turn.paths() {
            if self.watches.0.iter().any(|watch| watch.path == path.id) {
                continue;
            }
            self.watches.0.push(Watch {
                path: path.id,
                rx: path.rx_ready.clone(),
                tx: path.tx_ready.clone(),
                is_readable: true,
                is_set_aside: false,
                is_blocked: false,
                is_writable: false,
            });
        }
    }

    /// Registers for everything that has no descriptor.
    fn arm(&mut self) {
        let context = &mut Context::from_waker(&self.waker);
        for watch in &mut self.watches.0 {
            if let Readiness::Signal(signal) = &watch.rx
                && !watch.is_readable
                && signal.poll(context).is_ready()
            {
                watch.is_readable = true;
            }
            let path = self.turn.paths().iter().find(|path| path.id == watch.path);
            watch.is_blocked = path.is_some_and(|path| path.is_blocked.load(Ordering::SeqCst));
            if let Readiness::Signal(signal) = &watch.tx
                && watch.is_blocked
                && signal.poll(context).is_ready()
            {
                watch.is_writable = true;
            }
        }
        if self.turn.core().wake.poll(context).is_ready() {
            self.caller.is_called.store(true, Ordering::SeqCst);
        }
        let clock = self.turn.core().clock;
        self.deadline = self.turn.deadline().map(|due| Instant::now() + clock.until(due));
    }

    /// The path that receivers of the session poll by themselves while the thread makes way.
    pub(super) fn polled_by_others(&self) -> Option<PathId> {
        self.turn.core().peek().machine.active_path()
    }

    /// The descriptors to wait for, each with what to wait for, but for reading that of the path that `others` read. The same
    /// number in the same order as [`note`](Self::note) expects.
    pub(super) fn descriptors<'a>(&'a self, others: Option<PathId>, out: &mut Vec<PollFd<'a>>) {
        for watch in &self.watches.0 {
            let (reads, writes) = watch.wanted(others);
            if let Some(fd) = reads {
                out.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
            }
            if let Some(fd) = writes {
                out.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT));
            }
        }
    }

    /// Takes in what poll(2) said of the descriptors.
    pub(super) fn note(
        &mut self,
        others: Option<PathId>,
        said: &mut impl Iterator<Item = PollFlags>,
    ) {
        for watch in &mut self.watches.0 {
            let (reads, writes) = watch.wanted(others);
            let (reads, writes) = (reads.is_some(), writes.is_some());
            if reads {
                watch.is_readable = said.next().is_some_and(|flags| !flags.is_empty());
            }
            if writes {
                watch.is_writable = said.next().is_some_and(|flags| !flags.is_empty());
            }
        }
    }
}

impl<D> Drop for Seat<D> {
    fn drop(&mut self) {
        // Whatever took the seat away.
        self.turn.core().abandon();
    }
}
