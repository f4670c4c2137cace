//! Regions: the large allocations that slots are cut from.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names one region of a pool, so that a path can map a slot to the key it registered the region under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(pub u32);

/// Regions start on a page, as device registration wants it.
const PAGE_BYTES: usize = 4096;

/// One zeroed, page-aligned allocation. The kernel gives it real pages only when they are touched.
pub(super) struct Region {
    /// What the allocator gave; the region starts at the first page boundary in it.
    allocation: NonNull<u8>,
    base: NonNull<u8>,
    pub(super) bytes: usize,
    pub(super) id: RegionId,
}

// SAFETY: a region owns its allocation and hands out only raw addresses; who may read or write through them
// is decided by the slots (`SlotMut` is unique, `Slot` is read-only).
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` gives no access to the bytes.
unsafe impl Sync for Region {}

impl Region {
    /// A region of so many bytes; `None` if the system has no memory for it. What makes a pool grow is what peers send: it
    /// waits then, and the process goes on.
    pub(super) fn allocate(bytes: usize) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(bytes > 0, "a region is not empty");
        let layout = Self::layout(bytes)?;
        #[cfg(all(test, not(dwcp_loom)))]
        if planted::IS_SHORT.get() {
            return None;
        }
        // SAFETY: the layout has a non-zero size, asserted above.
        let allocation = unsafe { alloc_zeroed(layout) };
        let allocation = NonNull::new(allocation)?;
        let skip = allocation.align_offset(PAGE_BYTES);
        assert!(skip < PAGE_BYTES, "a page boundary is near");
        // SAFETY: the layout has a page more than `bytes`, so the result and `bytes` after it are in bounds.
        let base = unsafe { allocation.add(skip) };
        let id = RegionId(NEXT.fetch_add(1, Ordering::Relaxed));
        Some(Self { allocation, base, bytes, id })
    }

    /// Asking the allocator for pages would make it write all the zeros itself, hence touch them all.
    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.checked_add(PAGE_BYTES)?, 16).ok()
    }

    /// The address `offset` bytes into the region.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.bytes, "offset lies in the region");
        // SAFETY: `offset` is less than `bytes`, all of which lie in the allocation from `base` on: the result is in
        // bounds and not null.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let layout = Self::layout(self.bytes).expect("it was allocated with it");
        // SAFETY: `allocation` came from `alloc_zeroed` with this very layout and is freed once, here.
        unsafe { dealloc(self.allocation.as_ptr(), layout) }
    }
}

/// A system without memory, for tests.
#[cfg(all(test, not(dwcp_loom)))]
pub(super) mod planted {
    use std::cell::Cell;

    thread_local!(pub(in crate::mem) static IS_SHORT: Cell<bool> = const { Cell::new(false) });
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_system_has_room_for_everything() {
        assert!(
            [usize::MAX, isize::MAX as usize].map(Region::allocate).iter().all(Option::is_none)
        );
    }
}
