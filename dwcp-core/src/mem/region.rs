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
    base: NonNull<u8>,
    layout: Layout,
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
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("region size fits isize");
        // SAFETY: the layout has a non-zero size, asserted above.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        Self { base, layout, id: RegionId(NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// The address `offset` bytes into the region.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.layout.size(), "offset lies in the region");
        // SAFETY: `offset` is within the allocation, so the result is in bounds and not null.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this very layout and is freed once, here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}
