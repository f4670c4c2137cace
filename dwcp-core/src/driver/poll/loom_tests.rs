//! Every order in which a thread may fall asleep while others wake it. Run by `.ci/rooms/mem`.

use std::mem::ManuallyDrop;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

use super::bell::{Bell, Door};

/// A wake descriptor and poll(2), as loom sees them.
struct Gate(Notify);

impl Default for Gate {
    fn default() -> Self {
        Self(Notify::new())
    }
}

impl Door for Gate {
    fn knock(&self) {
        self.0.notify();
    }
}

impl Gate {
    fn pass(&self) {
        self.0.wait();
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
        // A model that fails must not touch it while it unwinds.
        let shared = ManuallyDrop::new(shared);
        let changer = thread::spawn(move || {
            others.1.store(true, Ordering::Relaxed);
            others.0.ring();
        });
        sleeper(&shared.0, &shared.1);
        changer.join().expect("changer");
        drop(ManuallyDrop::into_inner(shared));
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
