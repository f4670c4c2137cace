//! An allocator that counts, for tests that hold "no allocation per message".
//!
//! ```
//! use dwcp_benches::counting_allocator::{CountingAllocator, allocations_during};
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator::new();
//!
//! let (count, boxed) = allocations_during(&ALLOCATOR, || Box::new(7));
//! assert_eq!((count, *boxed), (1, 7));
//! ```

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The system's allocator, with a count of the calls that gave out memory, in all threads.
#[derive(Debug, Default)]
pub struct CountingAllocator {
    allocations: AtomicU64,
    live_bytes: AtomicI64,
}

impl CountingAllocator {
    /// With a count of 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { allocations: AtomicU64::new(0), live_bytes: AtomicI64::new(0) }
    }

    /// Allocations and re-allocations since the process began.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Bytes given out and not yet given back, as they were asked for.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        self.live_bytes.fetch_add(bytes as i64, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to `System` with the arguments unchanged; counting touches no memory it manages.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: as above, of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.count(new_size);
        self.live_bytes.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: `memory` came from `System` by way of this allocator, with `layout`.
        unsafe { System.realloc(memory, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.live_bytes.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: `memory` came from `System` by way of this allocator, with `layout`.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// What `work` gives, and how many allocations every thread of the process made meanwhile.
pub fn allocations_during<T>(allocator: &CountingAllocator, work: impl FnOnce() -> T) -> (u64, T) {
    let before = allocator.allocations();
    let result = work();
    (allocator.allocations() - before, result)
}
