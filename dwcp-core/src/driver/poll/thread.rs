//! The loop of one poll thread: spin, arm, look again, sleep.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::PollMode;
use super::bell::{Bell, WakeFd};
use super::seat::Seat;
use crate::driver::core::SessionCore;
use crate::driver::turn::SessionObserver;

/// A session on its way to the thread.
pub(super) type Arrival = (Arc<SessionCore>, Arc<dyn SessionObserver>);

/// What a thread shares with those who give it sessions.
pub(super) struct Shared {
    pub(super) bell: Arc<Bell<WakeFd>>,
    /// `None`: the thread takes no more.
    arrivals: Mutex<Option<Vec<Arrival>>>,
    is_stopping: AtomicBool,
    /// Sessions given to the thread and not over.
    pub(super) sessions: AtomicUsize,
    /// Times it came back from sleep.
    pub(super) wakeups: AtomicU64,
    pub(super) is_running: AtomicBool,
}

impl Shared {
    pub(super) fn new(bell: Bell<WakeFd>) -> Self {
        Self {
            bell: Arc::new(bell),
            arrivals: Mutex::new(Some(Vec::new())),
            is_stopping: AtomicBool::new(false),
            sessions: AtomicUsize::new(0),
            wakeups: AtomicU64::new(0),
            is_running: AtomicBool::new(true),
        }
    }

    /// Hands a session to the thread; one that has ended aborts it.
    pub(super) fn give(&self, core: Arc<SessionCore>, observer: Arc<dyn SessionObserver>) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = arrivals.as_mut() else {
            drop(arrivals);
            return core.abandon();
        };
        queue.push((core, observer));
        self.sessions.fetch_add(1, Ordering::Relaxed);
        drop(arrivals);
        self.bell.ring();
    }

    /// Aborts what the thread drives; it ends when all of that is closed.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.bell.ring();
    }
}

/// The thread's own part.
pub(super) struct Thread {
    shared: Arc<Shared>,
    seats: Vec<Seat<WakeFd>>,
    mode: PollMode,
    spin: Duration,
    /// When anything happened last.
    active: Instant,
}

impl Thread {
    pub(super) fn new(shared: Arc<Shared>, mode: PollMode, spin: Duration) -> Self {
        Self { shared, seats: Vec::new(), mode, spin, active: Instant::now() }
    }

    /// Drives sessions until it is stopped and all of them are over.
    pub(super) fn run(mut self) {
        /// Looks in vain after which a thread that spins gives way once.
        const GIVE_WAY: u32 = 16;
        let mut in_vain = 0;
        loop {
            self.shared.bell.look();
            let is_stopping = self.shared.is_stopping.load(Ordering::SeqCst);
            self.admit(is_stopping);
            let now = Instant::now();
            if self.round(now) {
                self.active = now;
                continue;
            }
            if is_stopping && self.seats.is_empty() {
                return;
            }
            let aside = self.aside(now);
            let is_spinning =
                self.mode == PollMode::BusySpin || now.duration_since(self.active) < self.spin;
            if is_spinning && aside.is_none() {
                in_vain = (in_vain + 1) % GIVE_WAY;
                match in_vain {
                    // Whoever shares the processor may be the one that everybody waits for.
                    0 => std::thread::yield_now(),
                    _ => std::hint::spin_loop(),
                }
                continue;
            }
            // Who rings from here on knocks; who rang before makes us look again.
            if self.shared.bell.arm() {
                self.sleep(aside);
            }
        }
    }

    /// For how long the links of all sessions are polled by their receivers, if they are.
    fn aside(&mut self, now: Instant) -> Option<Duration> {
        let mut least = None;
        for seat in &mut self.seats {
            let left = seat.polled_for(now)?;
            least = Some(least.map_or(left, |least: Duration| least.min(left)));
        }
        least
    }

    /// Seats the sessions that have arrived.
    fn admit(&mut self, is_stopping: bool) {
        let mut arrivals = self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = match arrivals.as_mut() {
            Some(queue) if is_stopping => {
                let last = std::mem::take(queue);
                *arrivals = None;
                last
            }
            Some(queue) => std::mem::take(queue),
            None => return,
        };
        drop(arrivals);
        for (core, observer) in arrived {
            self.seats.push(Seat::new(core, observer, self.shared.bell.clone()));
        }
        if is_stopping {
            self.seats.iter().for_each(Seat::abort);
        }
    }

    /// Gives every session that wants one a turn. Returns whether anything was done.
    fn round(&mut self, now: Instant) -> bool {
        let (mut is_any, mut at) = (false, 0);
        while let Some(seat) = self.seats.get_mut(at) {
            let is_hot = (self.mode == PollMode::BusySpin
                || now.duration_since(seat.active) < self.spin)
                && !seat.is_polled_by_others(now);
            if !is_hot && !seat.wants_turn(now) {
                at += 1;
                continue;
            }
            // A broken invariant ends its session; the thread's others are sound.
            let turn = catch_unwind(AssertUnwindSafe(|| (seat.take_turn(is_hot), seat.is_done())));
            match turn {
                Ok((count, false)) => {
                    if count > 0 {
                        seat.active = now;
                        is_any = true;
                    }
                    at += 1;
                }
                Ok((_, true)) | Err(_) => {
                    drop(self.seats.swap_remove(at));
                    self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        is_any
    }

    /// Sleeps until a descriptor is ready, somebody rings, or a deadline passes. `aside`: for so long at most, and whatever
    /// arrives where receivers read.
    fn sleep(&mut self, aside: Option<Duration>) {
        let now = Instant::now();
        let mut limit = aside;
        for seat in &self.seats {
            // A seat may have been called before the bell was armed, or hold a path it read only in part.
            if seat.wants_turn(now) {
                return;
            }
            if let Some(deadline) = seat.deadline() {
                let left = deadline.saturating_duration_since(now);
                limit = Some(limit.map_or(left, |limit| limit.min(left)));
            }
        }
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs() as _,
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut waits = vec![PollFd::new(self.shared.bell.door(), PollFlags::IN)];
        let others = |seat: &Seat<WakeFd>| aside.and_then(|_| seat.polled_by_others());
        let read_by_others: Vec<_> = self.seats.iter().map(others).collect();
        let seats = self.seats.iter().zip(&read_by_others);
        seats.for_each(|(seat, others)| seat.descriptors(*others, &mut waits));
        // An interruption is as good as a wake-up.
        let ready = poll(&mut waits, limit.as_ref()).unwrap_or(0);
        let said: Vec<PollFlags> = waits.iter().map(PollFd::revents).collect();
        drop(waits);
        self.shared.wakeups.fetch_add(1, Ordering::Relaxed);
        if ready == 0 {
            return;
        }
        let mut said = said.into_iter();
        if said.next().is_some_and(|flags| !flags.is_empty()) {
            self.shared.bell.door().clear();
        }
        let seats = self.seats.iter_mut().zip(&read_by_others);
        seats.for_each(|(seat, others)| seat.note(*others, &mut said));
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // However the loop ended: what comes from now on is aborted by who brings it.
        let arrived = self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).take();
        arrived.into_iter().flatten().for_each(|(core, _)| core.abandon());
        self.seats.clear();
        self.shared.is_running.store(false, Ordering::SeqCst);
    }
}
