//! Notes that threads leave where another has the half of a path that they want.
//!
//! An attempt at a lock that fails orders nothing, and a look at a note may miss one that was left a moment ago. So both
//! sides change the note, whoever leaves it and whoever looks for it after giving the half back: of two changes one is
//! the second, and who makes that has seen all that the other did before. Without this each may miss the other, where
//! the processor allows it: what one came for is then done by nobody.

use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// At the sending half: whoever has it does for the others what they came for.
#[derive(Default)]
pub(super) struct SendNote {
    /// How often somebody came. It never goes back, so that no visit hides another.
    visits: AtomicU32,
}

impl SendNote {
    /// Has `work` done, which is given the half and gives it back: by this thread, again and again until nobody came
    /// meanwhile, or by the thread that has the half when `try_take` gives none. Whoever does it sees all that this
    /// thread did before.
    pub(super) fn serve<T>(
        &self,
        mut try_take: impl FnMut() -> Option<T>,
        mut work: impl FnMut(T),
    ) {
        self.visits.fetch_add(1, Ordering::SeqCst);
        while let Some(half) = try_take() {
            let seen = self.visits.load(Ordering::SeqCst);
            work(half);
            // A change, although the number stays as it is: see above.
            let order = Ordering::SeqCst;
            if self.visits.compare_exchange(seen, seen, order, order).is_ok() {
                return;
            }
        }
    }
}

/// At the receiving half: whoever has it wakes the driver when it leaves, if the driver came meanwhile.
#[derive(Default)]
pub(super) struct ReceiveNote {
    driver_came: AtomicBool,
}

impl ReceiveNote {
    /// The half, for the driver. `None`: whoever has it hears that the driver came.
    pub(super) fn try_take<T>(&self, try_take: impl FnOnce() -> Option<T>) -> Option<T> {
        self.driver_came.swap(true, Ordering::SeqCst);
        let half = try_take()?;
        self.driver_came.swap(false, Ordering::SeqCst);
        Some(half)
    }

    /// Gives the half back. Returns whether the driver is to be woken.
    #[must_use]
    pub(super) fn leave<T>(&self, half: T) -> bool {
        drop(half);
        self.driver_came.swap(false, Ordering::SeqCst)
    }
}
