//! Who has how much of a pool.

use crate::sync::atomic::{AtomicU64, Ordering};

/// The slots that are out on somebody's behalf, by [`Pool::charged_to`](super::Pool::charged_to): from the moment they
/// are taken until the last reference to them is gone, whoever has it.
#[derive(Debug, Default)]
pub struct Account {
    bytes: AtomicU64,
}

impl Account {
    /// Bytes of the slots that are out.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
