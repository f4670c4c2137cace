//! What a session keeps of received frames: early ones, and those that the application has not taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The part of one channel in its session's count. Dropping it takes the part out.
#[derive(Debug, Default)]
pub(super) struct Held {
    session: Arc<AtomicU64>,
    here: u64,
}

impl Held {
    /// A part of `session`, which counts bytes of memory.
    pub(super) fn new(session: &Arc<AtomicU64>) -> Self {
        Self { session: session.clone(), here: 0 }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.here += bytes;
        self.session.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub(&mut self, bytes: u64) {
        self.here -= bytes;
        self.session.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.session.fetch_sub(self.here, Ordering::Relaxed);
    }
}
