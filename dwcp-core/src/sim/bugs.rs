//! Faults planted in the real code, to prove that the simulator would see them.

use std::cell::Cell;

/// A bug that can be switched on, for the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The sealer uses a record number twice under one key.
    RepeatedNonce,
    /// Memory of a dead path is given back before the path is fenced.
    UnfencedReuse,
    /// A SwitchMark goes unheard; the epochs in headers do not.
    LostSwitchMark,
    /// The epoch in a record's header goes unheard; SwitchMarks do not.
    LostHeaderEpoch,
    /// Credit for consumed frames is now and then not returned.
    CreditLeak,
    /// A path that could not be fenced is taken for one that was.
    FailedFenceIgnored,
    /// A path on which things wait unread is taken for silent.
    DeafTakenForSilent,
    /// An end that cannot read does not say that it is there.
    DeafSaysNothing,
    /// After a path is lost, an ack reports one frame more than was received.
    WrongResumeRange,
}

thread_local!(static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) });

/// Plants `bug` in this thread, or none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether `bug` is planted in this thread.
pub fn bug(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
