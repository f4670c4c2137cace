//! Slots: unique while written, shared while read.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use super::account::Account;
use super::pool::PoolInner;
use super::region::RegionId;
use crate::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

/// What the pool knows of a slot. Lives at a fixed address as long as the pool does, or until the pool gives the slot's
/// region back to the system, which it does only while none of its slots is out.
pub(super) struct SlotMeta {
    /// References out; 0 while the slot is in the free list.
    pub(super) refs: AtomicU32,
    pub(super) data: NonNull<u8>,
    pub(super) capacity: u32,
    pub(super) class: u8,
    pub(super) region: RegionId,
    /// Offset of `data` in its region, for device addresses.
    pub(super) offset: u32,
    /// Whom the slot is charged to while it is out: from `Arc::into_raw`, or null.
    pub(super) account: AtomicPtr<Account>,
    /// Stands for the bytes, so that loom sees who uses them when.
    #[cfg(dwcp_loom)]
    pub(super) bytes: loom::cell::UnsafeCell<()>,
}

// SAFETY: `SlotMeta` is plain data beside an atomic; the memory behind `data` is governed by SlotMut/Slot.
unsafe impl Send for SlotMeta {}
// SAFETY: as above; all fields but the atomics never change after construction.
unsafe impl Sync for SlotMeta {}

/// The most references a slot may have before one more is refused: so few that all threads together cannot make the
/// count come round before they give theirs back.
const REFS_MAX: u32 = u32::MAX / 2;

/// One counted reference to a slot, and (while it is out) to the pool.
pub(super) struct Handle {
    meta: NonNull<SlotMeta>,
    /// Keeps the pool alive, which keeps `meta` and the region while the slot is out. Every handle of a slot shares this
    /// one count: it is taken by the first and given back by the last.
    pool: NonNull<PoolInner>,
}

/// Shared by threads, and dropped by any of them.
const fn is_send_and_sync<T: Send + Sync>() {}
const _: () = is_send_and_sync::<(SlotMeta, PoolInner)>();

// SAFETY: a handle is a counted reference to data that is `Send` and `Sync`, the description and the pool, as is checked
// above: the last handle may drop the pool in any thread.
unsafe impl Send for Handle {}
// SAFETY: as above; `&Handle` gives `&SlotMeta` and `&PoolInner`.
unsafe impl Sync for Handle {}

impl Handle {
    /// The first handle of a slot that has just left the free list.
    pub(super) fn first(pool: Arc<PoolInner>, meta: NonNull<SlotMeta>) -> Self {
        let pool = NonNull::new(Arc::into_raw(pool).cast_mut()).expect("an Arc is not null");
        let handle = Self { meta, pool };
        let before = handle.meta().refs.swap(1, Ordering::Relaxed);
        assert_eq!(before, 0, "a slot leaves the free list without references");
        handle
    }

    /// Charges the slot to `account` until it is free again. For the only handle of a slot that is charged to nobody.
    fn charge(&self, account: Arc<Account>) {
        let meta = self.meta();
        account.add(u64::from(meta.capacity));
        let before = meta.account.swap(Arc::into_raw(account).cast_mut(), Ordering::Relaxed);
        assert!(before.is_null(), "a slot is charged once");
    }

    /// Ends what [`charge`](Self::charge) began. For the last handle of a slot.
    fn credit(&self) {
        let meta = self.meta();
        // Most slots are charged to nobody: a look is cheaper than a swap.
        if meta.account.load(Ordering::Relaxed).is_null() {
            return;
        }
        let account = meta.account.swap(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: `charge` stored what `Arc::into_raw` gave, and only the last handle takes it out, so this is the one
        // time that the count is taken back. It was stored while there was one handle: all others, this one among
        // them, came after it.
        let account = unsafe { Arc::from_raw(account.cast_const()) };
        account.sub(u64::from(meta.capacity));
    }

    /// Counts so many more references.
    fn count(&self, more: u32) {
        let refs = &self.meta().refs;
        let before = refs.fetch_add(more, Ordering::Relaxed);
        if before > REFS_MAX {
            // Not counted: whoever catches the panics may try as often as it likes, and a count that comes round
            // would free a slot that is still read.
            refs.fetch_sub(more, Ordering::Relaxed);
            panic!("a slot has {before} references; they are forgotten rather than dropped");
        }
    }

    #[inline]
    fn meta(&self) -> &SlotMeta {
        // SAFETY: `meta` points into a box of the pool's. This handle's share of the count keeps the pool alive, and the
        // pool keeps that box while one of its slots is out, as this one is until its last handle is gone.
        unsafe { self.meta.as_ref() }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        self.count(1);
        Self { meta: self.meta, pool: self.pool }
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        if self.meta().refs.fetch_sub(1, Ordering::Release) == 1 {
            self.give_back();
        }
    }
}

impl Handle {
    /// Ends the last handle.
    #[cold]
    fn give_back(&mut self) {
        // Pairs with the Release above: every use of the bytes happens before the slot is given away again.
        fence(Ordering::Acquire);
        self.credit();
        // SAFETY: this was the last handle, so the strong count leaked by `first` is ours to take back, once.
        let pool = unsafe { Arc::from_raw(self.pool.as_ptr().cast_const()) };
        pool.give_back(self.meta);
    }
}

/// References taken at once, to be given out one by one: whoever cuts a slot into many parts pays for one atomic operation
/// where each part would cost one.
pub(crate) struct Prepaid {
    slot: Slot,
    left: u32,
}

/// References that [`Prepaid`] takes at a time.
const PREPAID: u32 = 64;

impl Prepaid {
    /// Parts are to be cut of `slot`.
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot, left: 0 }
    }

    /// The part of the slot that starts at `start`.
    ///
    /// # Panics
    /// If it leaves the slot.
    #[inline]
    pub(crate) fn slice(&mut self, start: usize, len: usize) -> Slice {
        let end = start.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.slot.len as usize), "slice in slot");
        if self.left == 0 {
            self.refill();
        }
        self.left -= 1;
        // One of those that were counted: a handle like any other from here on.
        let handle = Handle { meta: self.slot.handle.meta, pool: self.slot.handle.pool };
        let slot = Slot { handle, len: self.slot.len };
        Slice { slot, start: start as u32, len: len as u32 }
    }

    #[cold]
    fn refill(&mut self) {
        self.slot.handle.count(PREPAID);
        self.left = PREPAID;
    }
}

impl Deref for Prepaid {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.slot
    }
}

impl Drop for Prepaid {
    fn drop(&mut self) {
        // `slot` has a reference of its own, and goes after this: none of these is the last.
        self.slot.handle.meta().refs.fetch_sub(self.left, Ordering::Release);
    }
}

/// A slot that only its holder can see: write it, then [`freeze`](Self::freeze) it.
///
/// Dropping it returns the memory to its pool.
pub struct SlotMut {
    handle: Handle,
    len: u32,
}

impl SlotMut {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, len: 0 }
    }

    /// The same, charged to `account` until nobody has it any more.
    pub(super) fn charged_to(self, account: &Arc<Account>) -> Self {
        self.handle.charge(account.clone());
        self
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes the slot can hold.
    pub fn capacity(&self) -> usize {
        self.handle.meta().capacity as usize
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// If they do not fit; see [`room`](Self::room).
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        let (at, room) = (self.len(), self.room());
        assert!(bytes.len() <= room, "{} bytes do not fit in {room}", bytes.len());
        self.all_mut()[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u32;
    }

    /// Has `bytes` of the memory that is `ahead` of what is written come to this processor, to be written to: who waits for its
    /// stores with each message (an atomic operation does) would wait for memory else.
    #[inline]
    pub(crate) fn prefetch(&self, ahead: usize, bytes: usize) {
        #[cfg(all(target_arch = "x86_64", not(dwcp_loom), not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            const LINE_BYTES: usize = 64;
            let from = self.len() + ahead;
            let end = (from + bytes).min(self.capacity());
            for at in (from..end).step_by(LINE_BYTES) {
                // SAFETY: the address lies in this slot, whose region is mapped; a prefetch reads and writes nothing.
                unsafe {
                    let at = self.handle.meta().data.as_ptr().add(at);
                    _mm_prefetch::<_MM_HINT_ET0>(at.cast::<i8>().cast_const());
                }
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(dwcp_loom), not(miri))))]
        let _ = (ahead, bytes);
    }

    /// Sets how many bytes count as written. Bytes never written are zero or left from an earlier use.
    ///
    /// # Panics
    /// If `len` is more than the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "length {len} is within the capacity");
        self.len = len as u32;
    }

    /// The whole slot, written or not.
    #[inline]
    pub fn all_mut(&mut self) -> &mut [u8] {
        let capacity = self.capacity();
        #[cfg(dwcp_loom)]
        self.handle.meta().bytes.with_mut(|_| ());
        // SAFETY: `data..data+capacity` is this slot's part of a live, initialised (zeroed) region; `SlotMut`
        // is the only handle of the slot, so the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.handle.meta().data.as_ptr(), capacity) }
    }

    /// Makes the slot shared and read-only.
    pub fn freeze(self) -> Slot {
        Slot { handle: self.handle, len: self.len }
    }
}

impl Deref for SlotMut {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        #[cfg(dwcp_loom)]
        self.handle.meta().bytes.with(|_| ());
        // SAFETY: as in `all_mut`; `len <= capacity` and a shared borrow of the unique handle.
        unsafe { std::slice::from_raw_parts(self.handle.meta().data.as_ptr(), self.len()) }
    }
}

impl DerefMut for SlotMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        &mut self.all_mut()[..len]
    }
}

impl fmt::Debug for SlotMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotMut({} of {} bytes)", self.len(), self.capacity())
    }
}

/// A shared, read-only slot. Cloning counts a reference; it copies nothing.
#[derive(Clone)]
pub struct Slot {
    handle: Handle,
    len: u32,
}

impl Slot {
    /// The part `range` of this slot.
    ///
    /// # Panics
    /// If the range leaves the slot.
    pub fn slice(&self, start: usize, len: usize) -> Slice {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len as usize),
            "slice in slot"
        );
        Slice { slot: self.clone(), start: start as u32, len: len as u32 }
    }

    /// Bytes of memory that the slot keeps.
    pub fn capacity(&self) -> usize {
        self.handle.meta().capacity as usize
    }

    /// The region the slot lies in, and where in it: what a path needs for a device address.
    pub fn position(&self) -> (RegionId, u64) {
        let meta = self.handle.meta();
        (meta.region, u64::from(meta.offset))
    }

    /// Whether it is of the [last memory](super::Pool::last).
    pub(super) fn is_last(&self) -> bool {
        // SAFETY: this handle's share of the count keeps the pool alive.
        unsafe { self.handle.pool.as_ref() }.is_last
    }

    /// References held to this slot, this one included. For tests and assertions.
    pub fn references(&self) -> u32 {
        self.handle.meta().refs.load(Ordering::Relaxed)
    }
}

impl Deref for Slot {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        #[cfg(dwcp_loom)]
        self.handle.meta().bytes.with(|_| ());
        // SAFETY: the slot was frozen, so no `SlotMut` of it exists and nothing writes; the handle keeps the
        // region alive; `len <= capacity`.
        unsafe { std::slice::from_raw_parts(self.handle.meta().data.as_ptr(), self.len as usize) }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({} bytes)", self.len)
    }
}

/// A part of a [`Slot`], with a reference of its own.
#[derive(Clone)]
pub struct Slice {
    slot: Slot,
    start: u32,
    len: u32,
}

impl Slice {
    /// The part of this slice that starts at `start`.
    ///
    /// # Panics
    /// If the range leaves the slice.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len as usize),
            "part in slice"
        );
        Self { slot: self.slot.clone(), start: self.start + start as u32, len: len as u32 }
    }

    /// The slot behind the slice, with the slice's reference to it.
    pub(crate) fn into_slot(self) -> Slot {
        self.slot
    }

    /// The slot behind the slice.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Where the slice starts in its slot, in bytes.
    pub fn start(&self) -> usize {
        self.start as usize
    }
}

impl From<Slot> for Slice {
    fn from(slot: Slot) -> Self {
        let len = slot.len;
        Self { slot, start: 0, len }
    }
}

impl Deref for Slice {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.slot[self.start as usize..(self.start + self.len) as usize]
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} bytes)", self.len)
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::mem::Pool;

    #[test]
    fn parts_cut_from_prepaid_references_free_the_slot_in_any_order() {
        let pool = Pool::new(1 << 20);
        for cut in [0, 1, PREPAID as usize, PREPAID as usize + 1, 200] {
            let mut slot = pool.take(512).expect("room");
            (0..=255).for_each(|byte| slot.extend(&[byte]));
            let mut prepaid = Prepaid::new(slot.freeze());
            let mut parts: Vec<_> = (0..cut).map(|at| prepaid.slice(at, 2)).collect();
            assert!(
                parts.iter().enumerate().all(|(at, part)| part[..] == [at as u8, at as u8 + 1])
            );
            parts.truncate(cut / 2);
            drop(prepaid);
            assert_eq!(pool.stats().used_bytes > 0, cut >= 2, "{cut}: kept as long as a part");
            if let Some(part) = parts.first() {
                assert_eq!(part.slot().references() as usize, cut / 2, "none is left over");
            }
            drop(parts);
            assert_eq!(pool.stats().used_bytes, 0, "{cut}");
        }
    }

    #[test]
    #[should_panic(expected = "slice in slot")]
    fn a_prepaid_part_stays_in_its_slot() {
        let mut slot = Pool::new(1 << 20).take(8).expect("room");
        slot.extend(&[0; 8]);
        Prepaid::new(slot.freeze()).slice(usize::MAX, 2);
    }

    #[test]
    fn references_beyond_the_most_are_refused_and_not_counted() {
        let pool = Pool::new(1 << 20);
        let slot = pool.take(1).expect("room").freeze();
        let refs = &slot.handle.meta().refs;
        refs.store(REFS_MAX, Ordering::Relaxed); // as if the others had been forgotten
        let last = slot.clone();
        for _ in 0..3 {
            let clone = catch_unwind(AssertUnwindSafe(|| slot.clone()));
            assert!(clone.is_err(), "one too many");
            assert_eq!(slot.references(), REFS_MAX + 1);
        }
        drop(last);
        assert_eq!(slot.references(), REFS_MAX);
        refs.store(1, Ordering::Relaxed);
        drop(slot);
        assert_eq!(pool.stats().used_bytes, 0);
    }
}
