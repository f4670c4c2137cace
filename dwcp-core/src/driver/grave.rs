//! Memory that the application brought is let go of when no lock is held: its owner's `drop` may be code of the
//! application's, which may use the very session that is locked.

use std::cell::{Cell, RefCell};

use bytes::Bytes;

use crate::mem::{Message, Payload};

thread_local! {
    /// Sessions this thread has locked.
    static LOCKED: Cell<usize> = const { Cell::new(0) };
    /// What is let go of once none is.
    static GRAVE: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// This thread is about to lock a session.
pub(super) fn enter() {
    LOCKED.set(LOCKED.get() + 1);
}

/// This thread has unlocked a session.
pub(super) fn leave() {
    let left = LOCKED.get() - 1;
    LOCKED.set(left);
    if left == 0 {
        // None is there for nearly every lock. They are taken out first: what runs now may lock again.
        // A thread that ends has no grave any more, and nothing to put there.
        let buried = GRAVE.try_with(|grave| {
            let mut grave = grave.borrow_mut();
            (!grave.is_empty()).then(|| std::mem::take(&mut *grave))
        });
        drop(buried);
    }
}

/// Memory of the application's on its way through the machine.
struct Held(Bytes);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if LOCKED.get() > 0 {
            let bytes = std::mem::take(&mut self.0);
            let _ = GRAVE.try_with(|grave| grave.borrow_mut().push(bytes));
        }
    }
}

/// The message in a form that may be let go of under a lock. The memory is shared, not copied.
pub(crate) fn hold(message: Message) -> Message {
    match message.0 {
        Payload::Bytes(bytes) => Message(Payload::Bytes(Bytes::from_owner(Held(bytes)))),
        Payload::Slot(_) => message,
    }
}
