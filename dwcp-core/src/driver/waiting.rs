//! Futures that wait for something of a session: each has one place among those who wait, and takes it along
//! when it goes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::core::{SessionCore, State};

/// Who waits for one thing. However often a future is polled or made anew, no more wakers are kept than
/// futures live.
#[derive(Default)]
pub(crate) struct Waiters {
    /// By place, in growing order.
    wakers: Vec<(u64, Waker)>,
    next: u64,
}

impl Waiters {
    /// Keeps `waker` at `place`, a new one if there is none yet. Returns the waker it replaces: to drop one
    /// may run code of the application's, which no lock must hold up.
    fn register(&mut self, place: &mut Option<u64>, waker: &Waker) -> Option<Waker> {
        let known = place.and_then(|place| self.position(place));
        if let Some(at) = known {
            let kept = &mut self.wakers[at].1;
            return (!kept.will_wake(waker)).then(|| std::mem::replace(kept, waker.clone()));
        }
        *place = Some(self.next);
        if self.wakers.is_empty() {
            self.wakers.reserve_exact(1); // nearly always the only one
        }
        self.wakers.push((self.next, waker.clone()));
        self.next += 1;
        None
    }

    fn remove(&mut self, place: u64) -> Option<Waker> {
        let at = self.position(place)?;
        Some(self.wakers.remove(at).1)
    }

    fn position(&self, place: u64) -> Option<usize> {
        self.wakers.binary_search_by_key(&place, |(place, _)| *place).ok()
    }

    /// Moves every waker to `out`. Whoever has still to wait registers again.
    pub(super) fn take_all(&mut self, out: &mut Vec<Waker>) {
        out.extend(self.wakers.drain(..).map(|(_, waker)| waker));
    }
}

/// Which of a session's waiters.
pub(crate) type Queue = fn(&mut State) -> &mut Waiters;

/// Waits until `look` finds something. Whatever it changes in the state on the way is sent.
///
/// Cancel-safe as far as `look` is: it takes something only when it says `Ready`, which the caller then has.
pub(crate) fn wait<T, L>(
    core: &SessionCore,
    queue: Queue,
    look: L,
) -> impl Future<Output = T> + use<'_, T, L>
where
    L: FnMut(&mut State) -> Poll<T> + Unpin,
{
    Wait { core, queue, place: None, look }
}

struct Wait<'a, L> {
    core: &'a SessionCore,
    queue: Queue,
    place: Option<u64>,
    look: L,
}

impl<T, L> Future for Wait<'_, L>
where
    L: FnMut(&mut State) -> Poll<T> + Unpin,
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let mut state = this.core.lock();
        if let Poll::Ready(found) = (this.look)(&mut state) {
            return Poll::Ready(found);
        }
        let replaced = (this.queue)(&mut state).register(&mut this.place, context.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl<L> Drop for Wait<'_, L> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut state = self.core.lock();
        let removed = (self.queue)(&mut state).remove(place);
        drop(state);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Counted;
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_place_holds_one_waker_and_goes_with_its_future() {
        let (one, other) = (Arc::new(Counted), Arc::new(Counted));
        let (waker, another) = (Waker::from(one.clone()), Waker::from(other.clone()));
        let mut waiters = Waiters::default();
        let (mut first, mut second) = (None, None);
        for _ in 0..100 {
            assert!(waiters.register(&mut first, &waker).is_none());
            assert!(waiters.register(&mut second, &waker).is_none());
        }
        assert_eq!(Arc::strong_count(&one), 4);
        drop(waiters.register(&mut first, &another).expect("another task waits now"));
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&other)), (3, 3));
        drop(waiters.remove(second.expect("it has a place")));
        let mut woken = Vec::new();
        waiters.take_all(&mut woken);
        assert_eq!(woken.len(), 1);
        assert!(waiters.remove(first.expect("it had a place")).is_none(), "it was woken");
        assert!(waiters.register(&mut first, &waker).is_none(), "it waits again");
        assert_eq!(waiters.wakers.len(), 1);
    }
}
