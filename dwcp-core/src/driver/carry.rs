//! What was read from a link and is not opened yet: the beginning of a record, or records that there is no memory for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use super::scratch::INPUT_BYTES;
use crate::mem::SlotMut;
use crate::wire::HEADER_BYTES;

/// What the paths of the process hold together, outside of slots, of what they have read ahead. Beyond it a path reads
/// record by record, each only when there is memory for it: the rest stays in the link, where it holds up its sender.
pub(super) const AHEAD_BYTES: usize = 8 << 20;

/// What paths that share one limit hold now. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Ahead(Arc<AtomicUsize>);

impl Ahead {
    /// That of the process's paths.
    pub(super) fn of_process() -> Self {
        static AHEAD: LazyLock<Ahead> = LazyLock::new(Ahead::default);
        AHEAD.clone()
    }

    /// A path that held `before` holds `after`.
    fn change(&self, before: usize, after: usize) {
        // Most reads end with a record: threads need not meet at the count for that.
        if before != after {
            self.0.fetch_add(after, Ordering::Relaxed);
            self.0.fetch_sub(before, Ordering::Relaxed);
        }
    }

    fn has_room(&self) -> bool {
        self.0.load(Ordering::Relaxed) + INPUT_BYTES <= AHEAD_BYTES
    }
}

/// Bytes at the front of a path. It holds as much memory as they need, not more.
pub(super) struct Carry {
    /// Where they count.
    ahead: Ahead,
    /// Begins with a record of which a part has come, if that has its memory already. It will be opened to the same slot.
    slot: Option<SlotMut>,
    /// What comes behind, from `at` on.
    rest: Vec<u8>,
    at: usize,
}

impl Carry {
    /// Nothing yet; what comes counts with `ahead`.
    pub(super) fn new(ahead: Ahead) -> Self {
        Self { ahead, slot: None, rest: Vec::new(), at: 0 }
    }

    /// Moves all of it out.
    pub(super) fn take_all(&mut self) -> Self {
        let ahead = self.ahead.clone();
        std::mem::replace(self, Self::new(ahead))
    }

    /// Keeps `bytes`: in `slot` as many as it has room for.
    pub(super) fn keep(&mut self, bytes: &[u8], slot: Option<SlotMut>) {
        self.clear();
        let mut rest = bytes;
        self.slot = slot.map(|mut slot| {
            let count = bytes.len().min(slot.capacity());
            slot.set_len(0);
            slot.extend(&bytes[..count]);
            rest = &bytes[count..];
            slot
        });
        self.hold(rest);
    }

    fn hold(&mut self, bytes: &[u8]) {
        let before = self.rest.capacity();
        (self.rest, self.at) = (bytes.to_vec(), 0);
        self.ahead.change(before, self.rest.capacity());
    }

    /// Moves the beginning of a record to memory of its own.
    pub(super) fn begin(&mut self, slot: SlotMut) {
        let bytes = self.take_all();
        self.keep(bytes.rest(), Some(slot));
    }

    pub(super) fn len(&self) -> usize {
        self.slot.as_ref().map_or(0, SlotMut::len) + self.rest().len()
    }

    /// The header of the first record, if it has come.
    pub(super) fn header(&self) -> Option<[u8; HEADER_BYTES]> {
        let front = self.slot.as_deref().unwrap_or_else(|| self.rest());
        front.first_chunk().copied()
    }

    /// Whether the first record, of which a part has come, has its memory.
    pub(super) fn is_begun(&self) -> bool {
        self.slot.is_some()
    }

    /// What lies outside of a slot.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest[self.at..]
    }

    /// Copies all of it to the start of `out`, and gives the slot away.
    pub(super) fn take(&mut self, out: &mut [u8]) -> Option<SlotMut> {
        let slot = self.slot.take();
        let begun = slot.as_deref().unwrap_or_default();
        out[..begun.len()].copy_from_slice(begun);
        out[begun.len()..][..self.rest().len()].copy_from_slice(self.rest());
        self.clear();
        slot
    }

    /// So many bytes of the rest are done with.
    pub(super) fn skip(&mut self, count: usize) {
        self.at += count;
        if self.at >= self.rest.len().div_ceil(2) {
            let all = self.take_all();
            self.hold(all.rest());
        }
    }

    pub(super) fn clear(&mut self) {
        self.slot = None;
        self.hold(&[]);
    }

    /// Memory outside of slots.
    #[cfg(all(test, not(dwcp_loom)))]
    pub(super) fn held_bytes(&self) -> usize {
        self.rest.capacity()
    }

    /// Whether its path may read more than it has memory for.
    pub(super) fn may_read_ahead(&self) -> bool {
        self.ahead.has_room()
    }
}

impl Drop for Carry {
    fn drop(&mut self) {
        self.ahead.change(self.rest.capacity(), 0);
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use super::*;
    use crate::mem::Pool;

    #[test]
    fn what_is_kept_comes_back_in_order_and_holds_no_more_than_it_needs() {
        let bytes: Vec<u8> = (0..5_000).map(|at| at as u8).collect();
        let pool = Pool::new(1 << 20);
        let mut carry = Carry::new(Ahead::default());
        let mut out = vec![0; bytes.len()];
        for is_begun in [false, true] {
            carry.keep(&bytes, is_begun.then(|| pool.take(1).expect("room")));
            let in_slot = pool.stats().used_bytes;
            assert_eq!((carry.len(), carry.is_begun()), (bytes.len(), is_begun));
            assert_eq!(carry.held_bytes(), bytes.len() - in_slot);
            assert_eq!(carry.header().as_ref(), bytes.first_chunk());
            assert_eq!(carry.take(&mut out).is_some(), is_begun);
            assert_eq!(out, bytes);
            assert_eq!((carry.len(), carry.held_bytes(), carry.header()), (0, 0, None));
            out.fill(0);
        }
        carry.keep(&bytes, None);
        for at in (0..5_000).step_by(100) {
            assert_eq!(carry.rest(), &bytes[at..]);
            assert!(carry.held_bytes() <= 2 * carry.len());
            carry.skip(100);
        }
        assert_eq!(carry.held_bytes(), 0);
        carry.keep(&bytes[..20], None);
        carry.begin(pool.take(1).expect("room"));
        assert!(carry.is_begun() && carry.len() == 20 && carry.held_bytes() == 0);
    }

    #[test]
    fn what_is_read_ahead_counts_where_it_belongs_until_it_is_let_go_of() {
        let (full, other) = (Ahead::default(), Ahead::default());
        let mut carry = Carry::new(full.clone());
        carry.keep(&vec![7; AHEAD_BYTES], None);
        assert!(!Carry::new(full.clone()).may_read_ahead());
        assert!(Carry::new(other).may_read_ahead());
        let moved = carry.take_all();
        assert!(!carry.may_read_ahead(), "it has moved, and is still there");
        drop(moved);
        assert!(carry.may_read_ahead());
    }
}
