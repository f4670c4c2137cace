//! Every order in which a thread may fall asleep while others wake it. Run by `.ci/rooms/mem`.

use std::task::{Context, Wake};

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::bell::{Bell, Door};
use crate::link::Signal;

/// A wake descriptor and poll(2), as loom sees them.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Door for Gate {
    fn knock(&self) {
        *self.is_open.lock().expect("no panic") = true;
        self.opened.notify_one();
    }
}

impl Gate {
    fn pass(&self) {
        let mut is_open = self.is_open.lock().expect("no panic");
        while !*is_open {
            is_open = self.opened.wait(is_open).expect("no panic");
        }
        *is_open = false;
    }
}

/// Sleeps until `is_done`, by the rules of the bell.
fn sleep_until(bell: &Bell<Gate>, mut is_done: impl FnMut() -> bool) {
    loop {
        bell.look();
        if is_done() {
            return;
        }
        if bell.arm() {
            bell.door().pass();
        }
    }
}

/// One thread changes something and rings while `sleeper` waits for it.
fn change_and(sleeper: fn(&Bell<Gate>, &AtomicBool)) {
    loom::model(move || {
        let shared = Arc::new((Bell::new(Gate::default()), AtomicBool::new(false)));
        let others = shared.clone();
        let changer = thread::spawn(move || {
            others.1.store(true, Ordering::Relaxed);
            others.0.ring();
        });
        sleeper(&shared.0, &shared.1);
        changer.join().expect("changer");
    });
}

#[test]
fn loom_no_change_is_slept_through() {
    change_and(|bell, changed| sleep_until(bell, || changed.load(Ordering::Relaxed)));
}

/// The planted fault: look, then sleep, without looking whether it rang in between.
#[test]
#[should_panic(expected = "deadlock")]
fn loom_finds_the_thread_that_sleeps_without_looking_again() {
    change_and(|bell, changed| {
        while !changed.load(Ordering::Relaxed) {
            bell.look();
            let _ignored = bell.arm();
            bell.door().pass();
        }
    });
}

/// Rings when a signal is raised.
struct Caller {
    bell: Arc<Bell<Gate>>,
    is_called: AtomicBool,
}

/// `Wake` wants the standard library's `Arc`.
struct CallerWaker(Arc<Caller>);

impl Wake for CallerWaker {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.is_called.store(true, Ordering::SeqCst);
        self.0.bell.ring();
    }
}

/// What a session's lock guards, of the protocol between senders and driver.
struct Timers {
    /// When something is due.
    due: u32,
    /// When the driver will look.
    armed: u32,
    is_flush_due: bool,
}

const NEVER: u32 = u32::MAX;

/// The driver of one session without work; `change` is what another thread does. The driver must see it.
fn drive_against(change: fn(&mut Timers) -> bool) {
    loom::model(move || {
        let bell = Arc::new(Bell::new(Gate::default()));
        let timers = Timers { due: NEVER, armed: 0, is_flush_due: false };
        let shared = Arc::new((Signal::default(), Mutex::new(timers)));
        let others = shared.clone();
        let sender = thread::spawn(move || {
            let must_wake = change(&mut others.1.lock().expect("no panic"));
            if must_wake {
                others.0.raise();
            }
        });
        let caller = Arc::new(Caller { bell: bell.clone(), is_called: AtomicBool::new(true) });
        let waker = std::sync::Arc::new(CallerWaker(caller.clone())).into();
        let context = &mut Context::from_waker(&waker);
        sleep_until(&bell, || {
            while caller.is_called.swap(false, Ordering::SeqCst) {
                // The turn, then the wake signal, then the deadline: in this order.
                let mut state = shared.1.lock().expect("no panic");
                if std::mem::take(&mut state.is_flush_due) {
                    return true;
                }
                drop(state);
                if shared.0.poll(context).is_ready() {
                    caller.is_called.store(true, Ordering::SeqCst);
                }
                let mut state = shared.1.lock().expect("no panic");
                state.armed = state.due;
                if state.armed != NEVER {
                    return true; // the sleep has an end
                }
            }
            false
        });
        sender.join().expect("sender");
    });
}

#[test]
fn loom_a_flush_left_to_the_driver_happens() {
    drive_against(|timers| {
        let is_first = !timers.is_flush_due;
        timers.is_flush_due = true;
        is_first
    });
}

#[test]
fn loom_a_sooner_deadline_is_noticed() {
    drive_against(|timers| {
        timers.due = 7;
        timers.due < timers.armed
    });
}

/// The planted fault: the sender wakes nobody.
#[test]
#[should_panic(expected = "deadlock")]
fn loom_finds_the_flush_that_nobody_is_told_of() {
    drive_against(|timers| {
        timers.is_flush_due = true;
        false
    });
}
