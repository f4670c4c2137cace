//! Every order in which threads may meet at a session: what one puts in is sent, however the others leave or fall
//! asleep. Run by `.ci/rooms/mem`.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Plain};
use std::task::{Context, Wake, Waker};

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use super::notes::{ReceiveNote, SendNote};
use crate::link::Signal;

/// A task that sleeps until it is woken.
struct Sleeper {
    bed: Notify,
    /// loom need not look at it: it is read when all is over.
    wakes: AtomicUsize,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Plain::Relaxed);
        self.bed.notify();
    }
}

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Self { bed: Notify::new(), wakes: AtomicUsize::new(0) })
    }

    /// Sleeps until the signal is seen. Returns how often it lay down.
    fn see(self: &Arc<Self>, signal: &Signal) -> usize {
        let waker = Waker::from(self.clone());
        let mut naps = 0;
        while signal.poll(&mut Context::from_waker(&waker)).is_pending() {
            naps += 1;
            self.bed.wait();
        }
        naps
    }
}

/// Tries the orders in which threads are interrupted so often at most.
fn bounded(preemptions: usize) -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model
}

/// `raisers` threads change something and raise the signal; the sleeper sleeps until it has seen all.
fn signalled(raisers: u32, model: &loom::model::Builder) {
    model.check(move || {
        let shared = Arc::new((Signal::default(), AtomicU32::new(0)));
        let threads: Vec<_> = (0..raisers)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1.fetch_add(1, Ordering::Relaxed);
                    shared.0.raise();
                })
            })
            .collect();
        let kept = ManuallyDrop::new((shared, Sleeper::new()));
        let ((signal, changes), sleeper) = (&*kept.0, &kept.1);
        let (mut naps, mut seen) = (0, 0);
        while seen < raisers {
            naps += sleeper.see(signal);
            let now = changes.load(Ordering::Relaxed);
            assert!(now > seen || seen > 0, "what came before the signal is there");
            seen = now;
        }
        threads.into_iter().for_each(|raiser| raiser.join().expect("raiser"));
        assert!(sleeper.wakes.load(Plain::Relaxed) <= naps, "nobody awake is woken");
        drop(ManuallyDrop::into_inner(kept));
    });
}

#[test]
fn loom_a_signal_is_seen_with_all_that_came_before_it() {
    signalled(1, &loom::model::Builder::new());
}

#[test]
fn loom_of_two_signals_none_is_lost() {
    signalled(2, &bounded(2));
}

/// The lock of a half, as weak as the standard library's: an attempt that fails is a relaxed look, which may be at what
/// was a moment ago. (loom's own lock orders more than that.)
#[derive(Default)]
struct Latch {
    is_taken: AtomicBool,
}

struct Taken<'a>(&'a Latch);

impl Latch {
    fn try_take(&self) -> Option<Taken<'_>> {
        let (taking, failing) = (Ordering::Acquire, Ordering::Relaxed);
        let is_free = !self.is_taken.load(failing)
            && self.is_taken.compare_exchange(false, true, taking, failing).is_ok();
        is_free.then(|| Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.is_taken.swap(false, Ordering::Release);
    }
}

/// What threads have to send, and the half through which it goes.
#[derive(Default)]
struct Sending {
    note: SendNote,
    half: Latch,
    /// What was committed and not sent.
    waiting: AtomicU32,
    sent: AtomicU32,
}

impl Sending {
    fn commit(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// As relaxed as can be: what orders it is the note and the latch.
    fn send_with(&self, half: Taken<'_>) {
        let count = self.waiting.load(Ordering::Relaxed);
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        self.sent.store(self.sent.load(Ordering::Relaxed) + count, Ordering::Relaxed);
        drop(half);
    }

    fn commit_and_send(&self) {
        self.commit();
        self.note.serve(|| self.half.try_take(), |half| self.send_with(half));
    }

    fn assert_all_sent(&self, count: u32) {
        assert_eq!(self.sent.load(Ordering::Relaxed), count, "nobody sends it");
    }
}

#[test]
fn loom_what_is_committed_while_another_sends_is_sent() {
    bounded(3).check(|| {
        let sending = Arc::new(Sending::default());
        let other = sending.clone();
        let other = thread::spawn(move || other.commit_and_send());
        sending.commit_and_send();
        other.join().expect("the other");
        sending.assert_all_sent(2);
    });
}

#[test]
fn loom_what_is_committed_while_two_others_send_is_sent() {
    bounded(2).check(|| {
        let sending = Arc::new(Sending::default());
        let others = [(); 2].map(|()| {
            let sending = sending.clone();
            thread::spawn(move || sending.commit_and_send())
        });
        sending.commit_and_send();
        others.into_iter().for_each(|other| other.join().expect("the other"));
        sending.assert_all_sent(3);
    });
}

/// The planted fault: a note that is set and looked at, and not changed by the look.
#[test]
#[should_panic(expected = "nobody sends it")]
fn loom_finds_the_note_that_is_only_looked_at() {
    fn commit_and_send((note, sending): &(AtomicBool, Sending)) {
        sending.commit();
        note.store(true, Ordering::SeqCst);
        while let Some(half) = sending.half.try_take() {
            note.store(false, Ordering::SeqCst);
            sending.send_with(half);
            if !note.load(Ordering::SeqCst) {
                break;
            }
        }
    }
    loom::model(|| {
        let shared = Arc::new((AtomicBool::new(false), Sending::default()));
        let other = shared.clone();
        let other = thread::spawn(move || commit_and_send(&other));
        commit_and_send(&shared);
        other.join().expect("the other");
        shared.1.assert_all_sent(2);
    });
}

/// The receiving half, and the signal that wakes the driver.
#[derive(Default)]
struct Receiving {
    note: ReceiveNote,
    half: Latch,
    wake: Signal,
}

/// Receivers have the half and leave while the driver comes; the driver sleeps until it may read.
fn driver_and_receivers(count: usize, preemptions: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let shared = Arc::new(Receiving::default());
        let receivers: Vec<_> = (0..count)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let Some(half) = shared.half.try_take() else { return };
                    if shared.note.leave(half) {
                        shared.wake.raise();
                    }
                })
            })
            .collect();
        let sleeper = Sleeper::new();
        // A model that fails must not touch it while it unwinds.
        let kept = ManuallyDrop::new((shared, sleeper));
        let (shared, sleeper) = &*kept;
        while shared.note.try_take(|| shared.half.try_take()).is_none() {
            sleeper.see(&shared.wake);
        }
        receivers.into_iter().for_each(|receiver| receiver.join().expect("receiver"));
        drop(ManuallyDrop::into_inner(kept));
    });
}

#[test]
fn loom_the_driver_hears_of_a_receiver_that_leaves() {
    driver_and_receivers(1, None);
}

#[test]
fn loom_the_driver_hears_of_the_last_of_two_receivers() {
    driver_and_receivers(2, Some(2));
}
