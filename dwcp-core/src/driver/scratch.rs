//! Buffers that belong to threads, so that a session holds none while it is idle.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use crate::machine::TxBatch;
use crate::wire::{Frame, HEADER_BYTES, MAX_RECORD_BYTES, RecordEncoder};

/// Room for one read: a record of the largest size, and more, so that small ones come many at a time.
pub(super) const INPUT_BYTES: usize = MAX_RECORD_BYTES + HEADER_BYTES + (128 << 10);

/// Spare buffers kept by the process. One that a thread took often comes back from another: bytes the link did not
/// take at once are written by the driver.
const SPARE_BUFFERS: usize = 32;
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// What a thread needs to move the records of any session.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) batch: TxBatch,
    pub(super) encoder: RecordEncoder,
    pub(super) frames: Vec<Frame>,
    pub(super) wakers: Vec<Waker>,
    /// What was taken in makes something to send on the path it came by.
    pub(super) is_flush_wanted: bool,
    input: Vec<u8>,
}

impl Scratch {
    /// Takes the read buffer out; give it back with [`put_input`](Self::put_input).
    pub(super) fn take_input(&mut self) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.input);
        input.resize(INPUT_BYTES, 0);
        input
    }

    pub(super) fn put_input(&mut self, input: Vec<u8>) {
        self.input = input;
    }

    /// Whether the thread has read nothing yet.
    #[cfg(all(test, feature = "tokio", not(dwcp_loom)))]
    pub(super) fn has_no_input(&self) -> bool {
        self.input.capacity() == 0
    }

    /// Wakes everybody who was found to have something to do.
    pub(super) fn wake_all(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// A buffer of any length and content.
pub(super) fn take_buffer() -> Vec<u8> {
    let own = OWN.try_with(Cell::take).unwrap_or_default();
    match own.capacity() {
        0 => SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default(),
        _ => own,
    }
}

/// Gives a buffer back.
pub(super) fn put_buffer(buffer: Vec<u8>) {
    if buffer.capacity() == 0 {
        return;
    }
    // A thread that is ending has none any more, and what it gives back is let go of.
    let Ok(other) = OWN.try_with(|own| own.replace(buffer)) else { return };
    if other.capacity() == 0 {
        return;
    }
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    if spare.len() < SPARE_BUFFERS {
        spare.push(other);
    }
}

// The one that the thread gave back last: most are taken and given back by the same, and threads need not meet for that.
thread_local!(static OWN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });

thread_local!(static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) });

/// Lends the thread's buffers to `work`. If that runs code of the application's which asks for them again, others
/// are made for it.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    // A thread that is ending has none any more.
    let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let result = work(&mut scratch);
    let _ = SCRATCH.try_with(|place| place.set(Some(scratch)));
    result
}
