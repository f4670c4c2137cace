//! The locks and atomics of the parts that loom checks: `RUSTFLAGS="--cfg dwcp_loom"` puts loom's in the place
//! of the standard library's (see `.ci/rooms/mem`).

#[cfg(dwcp_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(dwcp_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

/// A lock that is held for a copy of a few bytes, never over a call of anybody else's. Taking it costs one atomic operation,
/// where `Mutex` needs a second one to let go; whoever finds it taken looks again, and gives way soon.
#[derive(Default)]
#[cfg(not(dwcp_loom))]
pub(crate) struct BriefLock<T>(spin::mutex::SpinMutex<T>);

#[cfg(not(dwcp_loom))]
impl<T> BriefLock<T> {
    /// Does `work` with what is locked.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        match self.0.try_lock() {
            Some(mut inner) => work(&mut inner),
            None => work(&mut self.wait()),
        }
    }

    #[cold]
    fn wait(&self) -> spin::mutex::SpinMutexGuard<'_, T> {
        /// Looks before this thread gives way, and before it sleeps: whoever has the lock may have lost its processor to it.
        const LOOKS: u32 = 100;
        const YIELDS: u32 = 1_000;
        let mut looks = 0;
        loop {
            if let Some(inner) = self.0.try_lock() {
                return inner;
            }
            looks += 1;
            match looks {
                0..LOOKS => std::hint::spin_loop(),
                LOOKS..YIELDS => std::thread::yield_now(),
                // Of a lower priority, it gets its turn only so.
                _ => std::thread::sleep(std::time::Duration::from_micros(50)),
            }
        }
    }
}

#[derive(Default)]
#[cfg(dwcp_loom)]
pub(crate) struct BriefLock<T>(Mutex<T>);

#[cfg(dwcp_loom)]
impl<T> BriefLock<T> {
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().expect("nobody panicked"))
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use std::sync::Arc;

    use super::BriefLock;

    #[test]
    fn threads_have_it_one_after_the_other() {
        let lock = Arc::new(BriefLock::<(u64, u64)>::default());
        let count = |lock: Arc<BriefLock<(u64, u64)>>| {
            for _ in 0..20_000 {
                lock.with(|(one, other)| {
                    assert_eq!(one, other);
                    *one += 1;
                    *other += 1;
                });
            }
        };
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let lock = lock.clone();
                std::thread::spawn(move || count(lock))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("counted"));
        assert_eq!(lock.with(|counts| *counts), (80_000, 80_000));
    }
}
