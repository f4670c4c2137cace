//! The pool: size classes of slots with a byte budget.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};

use super::region::Region;
use super::slot::{Handle, SlotMeta, SlotMut};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Slot sizes, bytes. The two large ones hold a whole record: a frame of 64 or 256 KiB and 4 KiB of frames
/// and tags around it (`wire::MAX_FRAMES_BYTES`).
pub const CLASS_BYTES: [usize; 4] = [2 << 10, 16 << 10, 68 << 10, 260 << 10];

/// Slots added to a class at once: enough to amortise the region, little enough for a small service.
#[cfg(not(dwcp_loom))]
const CLASS_SLOTS: [usize; 4] = [128, 32, 16, 8];
/// One, so that threads meet at it.
#[cfg(dwcp_loom)]
const CLASS_SLOTS: [usize; 4] = [1; 4];

/// Slots for messages, shared by the sessions of an endpoint. Cloning shares the pool.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<PoolInner>,
}

/// What a pool holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Bytes of address space reserved from the system.
    pub reserved_bytes: usize,
    /// Bytes in slots that are out.
    pub used_bytes: usize,
    /// The most that may be reserved.
    pub limit_bytes: usize,
    /// Slots that were never given back because their path could not be fenced.
    pub leaked_slots: usize,
}

pub(super) struct PoolInner {
    classes: [Mutex<Class>; CLASS_BYTES.len()],
    reserved_bytes: AtomicUsize,
    used_bytes: AtomicUsize,
    leaked_slots: AtomicUsize,
    limit_bytes: usize,
}

#[derive(Default)]
struct Class {
    free: Vec<NonNull<SlotMeta>>,
    /// Every slot's description, at an address that never changes.
    metas: Vec<Box<[SlotMeta]>>,
    /// Owns the memory behind `metas`.
    regions: Vec<Region>,
}

// SAFETY: the pointers in `free` point into `metas`, which the class owns; `SlotMeta` is Sync.
unsafe impl Send for Class {}

impl Pool {
    /// A pool that reserves at most `limit_bytes`. Nothing is reserved yet.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            inner: Arc::new(PoolInner {
                classes: Default::default(),
                reserved_bytes: AtomicUsize::new(0),
                used_bytes: AtomicUsize::new(0),
                leaked_slots: AtomicUsize::new(0),
                limit_bytes,
            }),
        }
    }

    /// The smallest free slot with room for `bytes`, or `None` when the budget is used up or no class is as
    /// large. Never blocks for memory.
    pub fn take(&self, bytes: usize) -> Option<SlotMut> {
        let first = CLASS_BYTES.iter().position(|&class| class >= bytes)?;
        let meta = self.inner.take(first)?;
        Some(SlotMut::new(Handle::first(Arc::clone(&self.inner), meta)))
    }

    /// Whether the budget allows a few more slots of every class.
    pub fn has_room(&self) -> bool {
        let used = self.inner.used_bytes.load(Ordering::Relaxed);
        used + 4 * CLASS_BYTES[CLASS_BYTES.len() - 1] <= self.inner.limit_bytes
    }

    /// What the pool holds now.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            reserved_bytes: self.inner.reserved_bytes.load(Ordering::Relaxed),
            used_bytes: self.inner.used_bytes.load(Ordering::Relaxed),
            limit_bytes: self.inner.limit_bytes,
            leaked_slots: self.inner.leaked_slots.load(Ordering::Relaxed),
        }
    }

    /// Keeps `slot` out of the pool for ever and counts it: its path could not be fenced, so something may
    /// still write to it.
    pub fn leak(&self, slot: super::Slot) {
        self.inner.leaked_slots.fetch_add(1, Ordering::Relaxed);
        std::mem::forget(slot);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

impl PoolInner {
    fn class(&self, class: usize) -> MutexGuard<'_, Class> {
        // A panic cannot happen while the lock is held in a way that breaks the list.
        self.classes[class].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, first: usize) -> Option<NonNull<SlotMeta>> {
        // A larger class may still have free slots when the budget has none for a new region.
        for (class, &bytes) in CLASS_BYTES.iter().enumerate().skip(first) {
            let mut room = self.class(class);
            if room.free.is_empty() && (class == first || self.is_exhausted()) {
                self.grow(class, &mut room);
            }
            if let Some(meta) = room.free.pop() {
                self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
                return Some(meta);
            }
        }
        None
    }

    fn is_exhausted(&self) -> bool {
        self.reserved_bytes.load(Ordering::Relaxed) >= self.limit_bytes
    }

    /// Adds a region to `class` if the budget allows it.
    fn grow(&self, class: usize, room: &mut Class) {
        let (size, count) = (CLASS_BYTES[class], CLASS_SLOTS[class]);
        let bytes = size * count;
        let reserve = |now: usize| now.checked_add(bytes).filter(|&sum| sum <= self.limit_bytes);
        let order = Ordering::Relaxed;
        if self.reserved_bytes.fetch_update(order, order, reserve).is_err() {
            return;
        }
        let region = Region::allocate(bytes);
        let metas: Box<[SlotMeta]> = (0..count)
            .map(|index| SlotMeta {
                refs: Default::default(),
                data: region.at(index * size),
                capacity: size as u32,
                class: class as u8,
                region: region.id,
                offset: (index * size) as u32,
                #[cfg(dwcp_loom)]
                bytes: loom::cell::UnsafeCell::new(()),
            })
            .collect();
        room.free.extend(metas.iter().rev().map(NonNull::from));
        room.metas.push(metas);
        room.regions.push(region);
        // So that giving a slot back never allocates.
        let slots = room.metas.len() * count;
        let free = room.free.len();
        room.free.reserve(slots - free);
    }

    pub(super) fn give_back(&self, meta: NonNull<SlotMeta>) {
        // SAFETY: `meta` points into `self.classes[..].metas`, which live as long as `self`.
        let class = usize::from(unsafe { meta.as_ref() }.class);
        self.used_bytes.fetch_sub(CLASS_BYTES[class], Ordering::Relaxed);
        self.class(class).free.push(meta);
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_returns_when_its_last_reference_is_dropped() {
        let pool = Pool::new(1 << 20);
        let mut slot = pool.take(100).expect("room");
        slot.extend(b"hello");
        let address = slot.as_ptr();
        let slot = slot.freeze();
        let part = slot.slice(1, 3);
        drop(slot);
        assert_eq!(&part[..], b"ell");
        assert_eq!(pool.stats().used_bytes, CLASS_BYTES[0]);
        drop(part);
        assert_eq!(pool.stats().used_bytes, 0);
        assert_eq!(pool.take(1).expect("room").as_ptr(), address, "last in, first out: cache-warm");
    }

    #[test]
    fn the_budget_is_never_exceeded() {
        let pool = Pool::new(CLASS_BYTES[0] * CLASS_SLOTS[0]);
        let slots: Vec<_> = std::iter::from_fn(|| pool.take(1)).collect();
        assert_eq!(slots.len(), CLASS_SLOTS[0]);
        assert_eq!(pool.stats().reserved_bytes, pool.stats().limit_bytes);
        assert!(pool.take(CLASS_BYTES[3]).is_none());
    }

    #[test]
    fn no_class_is_large_enough() {
        assert!(Pool::new(1 << 30).take(CLASS_BYTES[3] + 1).is_none());
    }

    #[test]
    fn slots_outlive_the_pool_handle() {
        let mut slot = Pool::new(1 << 20).take(8).expect("room");
        slot.extend(b"12345678");
        let slot = slot.freeze();
        let other = slot.clone();
        std::thread::spawn(move || assert_eq!(&other[..], b"12345678")).join().expect("thread");
        assert_eq!(slot.references(), 1);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn writing_past_the_end_panics() {
        Pool::new(1 << 20).take(1).expect("room").extend(&vec![0; CLASS_BYTES[0] + 1]);
    }

    #[test]
    fn a_leaked_slot_is_counted_and_never_reused() {
        let pool = Pool::new(1 << 20);
        let slot = pool.take(8).expect("room").freeze();
        pool.leak(slot);
        assert_eq!(pool.stats().leaked_slots, 1);
        assert_eq!(pool.stats().used_bytes, CLASS_BYTES[0]);
    }
}
