//! The pool: size classes of slots with a byte budget.

use std::collections::BTreeMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};

use super::account::Account;
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
///
/// A quarter of it is a reserve that only received records may use: un-acked messages never keep out the acks
/// that would free them. In the reserve each size has a quarter to itself. Behind both lies [`last`](Self::last).
#[derive(Clone)]
pub struct Pool {
    inner: Arc<PoolInner>,
    reserve: Arc<PoolInner>,
    last: Arc<PoolInner>,
    /// Whom what is taken is charged to.
    account: Option<Arc<Account>>,
}

/// The least reserve: a slot of each size. Pools below four times as much have it on top.
const RESERVE_MIN: usize = CLASS_BYTES.len() * CLASS_BYTES[CLASS_BYTES.len() - 1];

/// Two slots of each size: a record, and what it inflates to.
const LAST_BYTES: usize = 2 * RESERVE_MIN;

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
    /// What each class may reserve whatever the others do.
    guaranteed_bytes: usize,
    /// It is the memory behind the reserve.
    pub(super) is_last: bool,
    /// What each class has reserved.
    class_bytes: [AtomicUsize; CLASS_BYTES.len()],
}

#[derive(Default)]
struct Class {
    free: Vec<NonNull<SlotMeta>>,
    cuts: Vec<Cut>,
}

// SAFETY: the pointers in `free` point into the descriptions of `cuts`, which the class owns; `SlotMeta` is Sync.
unsafe impl Send for Class {}

/// A region cut into slots.
struct Cut {
    /// Every slot's description, at an address that never changes: from `Box::into_raw`, given back once, by `drop`.
    metas: NonNull<[SlotMeta]>,
    /// What the slots are cut from: freed with the cut.
    _region: Region,
}

// SAFETY: a cut owns its descriptions, which are Send and Sync, and its region.
unsafe impl Send for Cut {}

impl Cut {
    /// `None`: the system has no memory for it.
    fn new(class: usize, count: usize) -> Option<Self> {
        Some(Self::of(Region::allocate(CLASS_BYTES[class] * count)?, class))
    }

    /// Cuts `region` into as many slots as it has room for.
    fn of(region: Region, class: usize) -> Self {
        let size = CLASS_BYTES[class];
        let count = region.bytes / size;
        let metas: Box<[SlotMeta]> = (0..count)
            .map(|index| SlotMeta {
                refs: Default::default(),
                data: region.at(index * size),
                capacity: size as u32,
                class: class as u8,
                region: region.id,
                offset: (index * size) as u32,
                account: Default::default(),
                #[cfg(dwcp_loom)]
                bytes: loom::cell::UnsafeCell::new(()),
            })
            .collect();
        Self {
            metas: NonNull::new(Box::into_raw(metas)).expect("a Box is not null"),
            _region: region,
        }
    }

    fn slots(&self) -> usize {
        self.metas.len()
    }

    /// Where the descriptions begin.
    fn first(&self) -> NonNull<SlotMeta> {
        self.metas.cast()
    }

    /// The slots' descriptions, the last first.
    fn slots_backwards(&self) -> impl Iterator<Item = NonNull<SlotMeta>> {
        let first = self.first();
        // SAFETY: `first` and the `slots()` descriptions from it on are one allocation, which lives as long as the cut
        // that the iterator borrows.
        (0..self.slots()).rev().map(move |index| unsafe { first.add(index) })
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // SAFETY: `metas` came from `Box::into_raw` in `new` and is given back here only. No slot of it is out: a slot
        // that is out keeps the pool alive, and a cut that a pool lets go of before its end has all its slots free.
        drop(unsafe { Box::from_raw(self.metas.as_ptr()) });
    }
}

impl Pool {
    /// A pool that reserves at most `limit_bytes`; about a megabyte more if that is less than four, and two more
    /// that are touched only when all else is used up. Nothing is reserved yet.
    pub fn new(limit_bytes: usize) -> Self {
        let is_small = limit_bytes < 4 * RESERVE_MIN;
        let reserve_bytes = if is_small { RESERVE_MIN } else { limit_bytes / 4 };
        let main_bytes = if is_small { limit_bytes } else { limit_bytes - reserve_bytes };
        Self {
            inner: Arc::new(PoolInner::new(main_bytes, main_bytes / 8)),
            reserve: Arc::new(PoolInner::new(reserve_bytes, reserve_bytes / CLASS_BYTES.len())),
            last: Arc::new(PoolInner {
                is_last: true,
                ..PoolInner::new(LAST_BYTES, LAST_BYTES / CLASS_BYTES.len())
            }),
            account: None,
        }
    }

    /// The same pool, that charges what is taken of it to `account` until the last reference to it is gone.
    pub fn charged_to(&self, account: Arc<Account>) -> Self {
        Self { account: Some(account), ..self.clone() }
    }

    fn slot(&self, inner: &Arc<PoolInner>, meta: NonNull<SlotMeta>) -> SlotMut {
        let slot = SlotMut::new(Handle::first(Arc::clone(inner), meta));
        match &self.account {
            Some(account) => slot.charged_to(account),
            None => slot,
        }
    }

    /// The smallest free slot with room for `bytes`, or `None` when the budget is used up or no class is as
    /// large. Never blocks for memory.
    pub fn take(&self, bytes: usize) -> Option<SlotMut> {
        let first = CLASS_BYTES.iter().position(|&class| class >= bytes)?;
        let meta = self.inner.take(first, false)?;
        Some(self.slot(&self.inner, meta))
    }

    /// As [`take`](Self::take), for what has arrived: may use the reserve, and any larger slot.
    pub fn take_for_receive(&self, bytes: usize) -> Option<SlotMut> {
        let first = CLASS_BYTES.iter().position(|&class| class >= bytes)?;
        [false, true].into_iter().find_map(|upward| {
            [&self.inner, &self.reserve].into_iter().find_map(|inner| {
                let meta = inner.take(first, upward)?;
                Some(self.slot(inner, meta))
            })
        })
    }

    /// As [`take_for_receive`](Self::take_for_receive), for a session that holds `held` bytes of what it has received,
    /// handed on to the application or not: none if that is more than is left for all the others. However many sessions are not read, one that is finds
    /// memory (dynamic thresholds, Choudhury and Hahne 1998).
    pub fn take_share(&self, bytes: usize, held: u64) -> Option<SlotMut> {
        let left = [&self.inner, &self.reserve].map(|inner| inner.left_bytes());
        if held > left.iter().sum::<usize>() as u64 {
            return None;
        }
        self.take_for_receive(bytes)
    }

    /// The memory behind the reserve, as a pool. It is for what lets go of memory as soon as it is here: the frame
    /// that others have waited for since they came before their turn. They may hold all the rest, and were acked.
    /// What is handed on to an application is copied out of it. It is charged to nobody.
    pub fn last(&self) -> Self {
        let last = || Arc::clone(&self.last);
        Self { inner: last(), reserve: last(), last: last(), account: None }
    }

    /// What the pool holds now.
    pub fn stats(&self) -> PoolStats {
        let parts = [&self.inner, &self.reserve, &self.last];
        let sum = |of: fn(&PoolInner) -> usize| parts.iter().map(|inner| of(inner)).sum();
        PoolStats {
            reserved_bytes: sum(|inner| inner.reserved_bytes.load(Ordering::Relaxed)),
            used_bytes: sum(|inner| inner.used_bytes.load(Ordering::Relaxed)),
            limit_bytes: self.inner.limit_bytes + self.reserve.limit_bytes,
            leaked_slots: sum(|inner| inner.leaked_slots.load(Ordering::Relaxed)),
        }
    }

    /// Keeps the `slots` slots that `holder` holds out of the pool for ever, and counts them: their path could
    /// not be fenced, so something may still write to them or read them.
    pub fn leak<T>(&self, holder: T, slots: usize) {
        self.inner.leaked_slots.fetch_add(slots, Ordering::Relaxed);
        std::mem::forget(holder);
    }
}

impl Class {
    /// Takes out a cut of which no slot is out.
    fn take_idle(&mut self) -> Option<Cut> {
        // By address: a region's id may come again in a process that lives for long, and a cut that is taken for idle
        // while a slot of it is out would take the memory from under its holder.
        let mut free: BTreeMap<_, _> = self.cuts.iter().map(|cut| (cut.first(), 0)).collect();
        for meta in &self.free {
            let of_its_cut = free.range_mut(..=*meta).next_back();
            *of_its_cut.expect("what is free is of a cut").1 += 1;
        }
        let is_idle = |cut: &Cut| free.get(&cut.first()) == Some(&cut.slots());
        let cut = self.cuts.iter().position(is_idle).map(|at| self.cuts.swap_remove(at))?;
        let last = cut.slots_backwards().next().expect("a cut has slots");
        self.free.retain(|meta| *meta < cut.first() || *meta > last);
        Some(cut)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

impl PoolInner {
    fn new(limit_bytes: usize, guaranteed_bytes: usize) -> Self {
        Self {
            classes: Default::default(),
            reserved_bytes: AtomicUsize::new(0),
            used_bytes: AtomicUsize::new(0),
            leaked_slots: AtomicUsize::new(0),
            limit_bytes,
            guaranteed_bytes,
            is_last: false,
            class_bytes: Default::default(),
        }
    }

    fn class(&self, class: usize) -> MutexGuard<'_, Class> {
        // A panic cannot happen while the lock is held in a way that breaks the list.
        self.classes[class].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.used_bytes.load(Ordering::Relaxed))
    }

    /// `upward`: a larger class may grow for it, too.
    fn take(&self, first: usize, upward: bool) -> Option<NonNull<SlotMeta>> {
        self.take_now(first, upward)
            .or_else(|| self.reclaim(first).then(|| self.take_now(first, upward)).flatten())
    }

    fn take_now(&self, first: usize, upward: bool) -> Option<NonNull<SlotMeta>> {
        // A larger class may still have free slots when the budget has none for a new region.
        for (class, &bytes) in CLASS_BYTES.iter().enumerate().skip(first) {
            let mut room = self.class(class);
            if room.free.is_empty() && (class == first || upward || self.is_exhausted()) {
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

    /// Adds a region to `class` if the budget allows it and the system has memory.
    fn grow(&self, class: usize, room: &mut Class) {
        let size = CLASS_BYTES[class];
        let slots: usize = room.cuts.iter().map(Cut::slots).sum();
        let mut count = CLASS_SLOTS[class];
        // The last slots come in smaller lots.
        while count > 0 && !self.reserve(class, size * count) {
            count /= 2;
        }
        if count == 0 {
            return;
        }
        let Some(cut) = Cut::new(class, count) else {
            self.unreserve(class, size * count);
            return;
        };
        room.free.extend(cut.slots_backwards());
        room.cuts.push(cut);
        // So that giving a slot back never allocates.
        let free = room.free.len();
        room.free.reserve(slots + count - free);
    }

    /// Gives regions of other classes of which no slot is out back to the system, until one slot of `class` has room.
    /// Returns whether it has. Asked only when there is none.
    fn reclaim(&self, class: usize) -> bool {
        let order = Ordering::Relaxed;
        let has_room = || self.fits(class, self.reserved_bytes.load(order), CLASS_BYTES[class]);
        for other in (0..CLASS_BYTES.len()).filter(|&other| other != class) {
            let mut room = self.class(other);
            let least = room.cuts.iter().map(Cut::slots).min();
            while !has_room() && least.is_some_and(|least| room.free.len() >= least) {
                let Some(cut) = room.take_idle() else { break };
                let bytes = cut.slots() * CLASS_BYTES[other];
                drop(cut);
                self.unreserve(other, bytes);
            }
        }
        has_room()
    }

    /// Slots stay what they are while one of their region is out: what is reserved for one class must leave the others
    /// their part.
    fn fits(&self, class: usize, reserved: usize, bytes: usize) -> bool {
        let due = |other: usize| {
            let is_useful = other != class && self.guaranteed_bytes >= CLASS_BYTES[other];
            let held = self.class_bytes[other].load(Ordering::Relaxed);
            if is_useful { self.guaranteed_bytes.saturating_sub(held) } else { 0 }
        };
        let others: usize = (0..CLASS_BYTES.len()).map(due).sum();
        [bytes, others]
            .into_iter()
            .try_fold(reserved, usize::checked_add)
            .is_some_and(|all| all <= self.limit_bytes)
    }

    fn reserve(&self, class: usize, bytes: usize) -> bool {
        let order = Ordering::Relaxed;
        let more = |now: usize| self.fits(class, now, bytes).then(|| now + bytes);
        let is_reserved = self.reserved_bytes.fetch_update(order, order, more).is_ok();
        if is_reserved {
            self.class_bytes[class].fetch_add(bytes, order);
        }
        is_reserved
    }

    fn unreserve(&self, class: usize, bytes: usize) {
        self.reserved_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.class_bytes[class].fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, meta: NonNull<SlotMeta>) {
        // SAFETY: `meta` points into a cut of `self.classes`, which lives while one of its slots is out, as this one is.
        let class = usize::from(unsafe { meta.as_ref() }.class);
        self.used_bytes.fetch_sub(CLASS_BYTES[class], Ordering::Relaxed);
        self.class(class).free.push(meta);
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use super::*;
    use crate::mem::RegionId;
    use crate::mem::region::planted;

    /// A pool with room for much; less of it where each access is checked, which takes a thousand times as long.
    const LARGE: usize = if cfg!(miri) { 8 << 20 } else { 64 << 20 };

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
        let limit = CLASS_BYTES[0] * CLASS_SLOTS[0];
        let pool = Pool::new(limit);
        let slots: Vec<_> = std::iter::from_fn(|| pool.take(1)).collect();
        let bytes = slots.iter().map(SlotMut::capacity).sum::<usize>();
        assert_eq!(pool.stats().used_bytes, bytes);
        assert!(bytes <= limit && bytes > limit * 3 / 4, "{bytes} of {limit}");
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
    fn a_slot_is_charged_until_nobody_has_it() {
        let pool = Pool::new(1 << 20);
        let account = Arc::new(Account::default());
        let charged = pool.charged_to(account.clone());
        let free = pool.take(100).expect("room");
        assert_eq!(account.bytes(), 0, "that one is nobody's");
        let slot = charged.take(100).expect("room");
        let large = charged.take_share(60_000, account.bytes()).expect("room");
        assert_eq!(account.bytes(), (CLASS_BYTES[0] + CLASS_BYTES[2]) as u64);
        let part = slot.freeze().slice(0, 0);
        drop((large, charged, pool));
        assert_eq!(account.bytes(), CLASS_BYTES[0] as u64, "a part keeps the slot");
        std::thread::spawn(move || drop(part)).join().expect("thread");
        assert_eq!((account.bytes(), Arc::strong_count(&account)), (0, 1));
        drop(free);
        assert_eq!(account.bytes(), 0);
    }

    #[test]
    fn a_leaked_slot_is_counted_and_never_reused() {
        let pool = Pool::new(1 << 20);
        let slot = pool.take(8).expect("room").freeze();
        pool.leak(slot, 1);
        assert_eq!(pool.stats().leaked_slots, 1);
        assert_eq!(pool.stats().used_bytes, CLASS_BYTES[0]);
    }

    #[test]
    fn what_arrives_finds_room_of_every_size_in_a_pool_that_is_full() {
        for limit in [256 << 10, LARGE] {
            let pool = Pool::new(limit);
            let _sent: Vec<_> = std::iter::from_fn(|| pool.take(1)).collect();
            assert!(pool.take(1).is_none(), "it is full");
            let _acks: Vec<_> = std::iter::from_fn(|| {
                // As many small records as the reserve holds leave room for the larger ones.
                pool.take_for_receive(1).filter(|slot| slot.capacity() == CLASS_BYTES[0])
            })
            .collect();
            for &bytes in &CLASS_BYTES[1..] {
                assert!(pool.take_for_receive(bytes).is_some(), "{bytes} of {limit}");
            }
            assert!(pool.stats().reserved_bytes <= limit.max(RESERVE_MIN + (256 << 10)));
        }
    }

    #[test]
    fn the_last_part_has_room_for_two_of_each_size_when_all_else_is_used_up() {
        let pool = Pool::new(256 << 10);
        let _all: Vec<_> = std::iter::from_fn(|| pool.take_for_receive(1)).collect();
        let last = pool.last();
        let largest = CLASS_BYTES[CLASS_BYTES.len() - 1];
        let slots: Vec<_> =
            CLASS_BYTES.iter().chain(&CLASS_BYTES).map(|&bytes| last.take(bytes)).collect();
        assert!(slots.iter().all(Option::is_some));
        assert!(last.take(largest).is_none(), "and no more");
        drop(slots);
        assert!(last.take(largest).is_some(), "until they are given back");
        assert!(pool.take_for_receive(1).is_none(), "nothing else comes from it");
    }

    #[test]
    fn memory_that_one_size_has_done_with_serves_another() {
        for limit in [1 << 20, LARGE] {
            let pool = Pool::new(limit);
            for bytes in [1, 200_000, 3_000, 60_000, 1] {
                let slots: Vec<_> = std::iter::from_fn(|| pool.take(bytes)).collect();
                let taken: usize = slots.iter().map(SlotMut::capacity).sum();
                assert!(taken > limit / 4, "{taken} of {limit} in slots for {bytes}");
                let stats = pool.stats();
                assert!(stats.reserved_bytes <= stats.limit_bytes, "{stats:?}");
                // Those that stay are whole.
                assert!(slots.into_iter().all(|mut slot| {
                    slot.set_len(1);
                    slot[0] = 7;
                    slot.freeze()[0] == 7
                }));
            }
        }
    }

    #[test]
    fn a_slot_that_is_out_keeps_its_region() {
        let pool = Pool::new(1 << 20);
        let mut all: Vec<_> = std::iter::from_fn(|| pool.take(1)).collect();
        let mut kept = all.swap_remove(all.len() / 2);
        kept.extend(b"kept");
        drop(all);
        let _large: Vec<_> = std::iter::from_fn(|| pool.take(200_000)).collect();
        assert_eq!(&kept[..], b"kept");
    }

    #[test]
    fn regions_of_one_name_are_told_apart() {
        let cut = || {
            let mut region = Region::allocate(2 * CLASS_BYTES[0]).expect("memory");
            region.id = RegionId(7);
            Cut::of(region, 0)
        };
        let mut class = Class { free: Vec::new(), cuts: vec![cut(), cut(), cut()] };
        // One slot of the first is out, both of the second, none of the third.
        class.free.extend(class.cuts[0].slots_backwards().take(1));
        class.free.extend(class.cuts[2].slots_backwards());
        let idle = class.cuts[2].first();
        assert_eq!(class.take_idle().map(|cut| cut.first()), Some(idle));
        assert_eq!((class.cuts.len(), class.free.len()), (2, 1));
        assert!(class.take_idle().is_none(), "slots of the others are out");
    }

    #[test]
    fn what_arrives_takes_larger_slots_when_its_own_are_used_up() {
        let pool = Pool::new(8 << 20);
        let slots: Vec<_> = std::iter::from_fn(|| pool.take_for_receive(3_000)).collect();
        let taken: usize = slots.iter().map(SlotMut::capacity).sum();
        assert!(taken > 6 << 20, "{taken}");
    }

    #[test]
    fn who_holds_more_than_is_left_gets_nothing_and_the_others_do() {
        let pool = Pool::new(8 << 20);
        let mut held = Vec::new();
        while let Some(slot) = {
            let bytes: usize = held.iter().map(SlotMut::capacity).sum();
            pool.take_share(3_000, bytes as u64)
        } {
            held.push(slot);
        }
        let bytes: usize = held.iter().map(SlotMut::capacity).sum();
        assert!((3 << 20..5 << 20).contains(&bytes), "{bytes}: about half");
        assert!(CLASS_BYTES.iter().all(|&bytes| pool.take_share(bytes, 0).is_some()));
    }

    #[test]
    fn a_system_without_memory_is_as_good_as_a_pool_that_is_used_up() {
        let pool = Pool::new(LARGE);
        let kept = pool.take(1).expect("room");
        let before = pool.stats();
        planted::IS_SHORT.set(true);
        for &bytes in &CLASS_BYTES[1..] {
            assert!(pool.take(bytes).is_none() && pool.take_for_receive(bytes).is_none());
            assert!(pool.last().take(bytes).is_none());
        }
        assert!(pool.take_share(1, 0).is_some(), "what is there is given away");
        assert_eq!(pool.stats(), before, "nothing counts that is not there");
        planted::IS_SHORT.set(false);
        assert!(CLASS_BYTES.iter().all(|&bytes| pool.take(bytes).is_some()), "it comes back");
        drop(kept);
    }

    #[test]
    fn small_slots_leave_room_for_larger_ones() {
        let pool = Pool::new(LARGE);
        let small: Vec<_> =
            std::iter::from_fn(|| pool.take(1).filter(|slot| slot.capacity() == CLASS_BYTES[0]))
                .collect();
        assert!(small.len() * CLASS_BYTES[0] > LARGE * 3 / 8, "{} slots", small.len());
        assert!(CLASS_BYTES[1..].iter().all(|&bytes| pool.take(bytes).is_some()));
    }
}
