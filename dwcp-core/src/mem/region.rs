//! Regions: the large allocations that slots are cut from.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
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
    pub(super) fn allocate(bytes: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(bytes > 0, "a region is not empty");
        let layout = Self::layout(bytes);
        // SAFETY: the layout has a non-zero size, asserted above.
        let allocation = unsafe { alloc_zeroed(layout) };
        let Some(allocation) = NonNull::new(allocation) else { handle_alloc_error(layout) };
        let skip = allocation.align_offset(PAGE_BYTES);
        assert!(skip < PAGE_BYTES, "a page boundary is near");
        // SAFETY: the layout has a page more than `bytes`, so the result and `bytes` after it are in bounds.
        let base = unsafe { allocation.add(skip) };
        Self { allocation, base, bytes, id: RegionId(NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// Asking the allocator for pages would make it write all the zeros itself, hence touch them all.
    fn layout(bytes: usize) -> Layout {
        let bytes = bytes.checked_add(PAGE_BYTES);
        let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes, 16).ok());
        layout.expect("region size fits isize")
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
        // SAFETY: `allocation` came from `alloc_zeroed` with this very layout and is freed once, here.
        unsafe { dealloc(self.allocation.as_ptr(), Self::layout(self.bytes)) }
    }
}
