//! How often something may be asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::machine::Time;

/// So many a second in the long run, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; at least 1.
    pub per_second: u32,
    /// At once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// Time after which one more may come.
    pub(crate) fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }
}

/// A rate, or none, that many look at and that changes while they do.
#[derive(Debug, Default)]
pub(crate) struct SharedRate(AtomicU64);

impl SharedRate {
    #[cfg(any(feature = "tokio", test))]
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let shared = Self::default();
        shared.set(rate);
        shared
    }

    #[cfg(any(feature = "tokio", test))]
    pub(crate) fn set(&self, rate: Option<Rate>) {
        let packed = rate.map_or(0, |rate| {
            (u64::from(rate.per_second.max(1)) << 32) | u64::from(rate.burst.max(1))
        });
        self.0.store(packed, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Rate> {
        let packed = self.0.load(Ordering::Relaxed);
        let rate = Rate { per_second: (packed >> 32) as u32, burst: packed as u32 };
        (packed != 0).then_some(rate)
    }
}

/// What one peer has asked for, in all its sessions (the generic cell rate algorithm). Paid afterwards: what has been read is
/// served, and then the peer is not listened to until it has paid.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// When the burst is whole again, by the clock that the sessions share.
    whole: AtomicU64,
}

impl Asked {
    /// The peer has asked `count` times. Returns until when to listen to nothing more, if it is too much.
    pub(crate) fn note(&self, now: Time, rate: Rate, count: u32) -> Option<Time> {
        let cost = rate.interval().saturating_mul(count);
        let add = |whole| Some((Time(whole).max(now) + cost).0);
        let _ = self.whole.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        self.rests_until(now, rate)
    }

    /// Until when to listen to nothing that the peer says, because it has asked too much.
    pub(crate) fn rests_until(&self, now: Time, rate: Rate) -> Option<Time> {
        let burst = rate.interval().saturating_mul(rate.burst.max(1));
        let debt = self.whole().since(now).checked_sub(burst).filter(|debt| !debt.is_zero())?;
        Some(now + debt)
    }

    /// When nothing is owed any more.
    pub(crate) fn whole(&self) -> Time {
        Time(self.whole.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn a_peer_may_ask_its_burst_and_then_its_rate() {
        let rate = Rate { per_second: 10, burst: 5 };
        let asked = Asked::default();
        assert_eq!(asked.note(Time(0), rate, 5), None);
        assert_eq!(asked.note(Time(0), rate, 1), Some(Time(100 * MILLI)));
        assert_eq!(asked.note(Time(100 * MILLI), rate, 0), None, "it has paid");
        assert_eq!(asked.note(Time(200 * MILLI), rate, 1), None);
        assert_eq!(asked.note(Time(60_000 * MILLI), rate, 5), None, "the burst comes back");
        let flood = asked.note(Time(60_000 * MILLI), rate, 1_000);
        assert_eq!(flood, Some(Time(160_000 * MILLI)), "it costs what it is");
    }

    #[test]
    fn a_shared_rate_is_what_was_set_last() {
        let shared = SharedRate::new(None);
        assert_eq!(shared.get(), None);
        for rate in
            [Rate { per_second: 7, burst: 9 }, Rate { per_second: u32::MAX, burst: u32::MAX }]
        {
            shared.set(Some(rate));
            assert_eq!(shared.get(), Some(rate));
        }
        shared.set(None);
        assert_eq!(shared.get(), None);
    }
}
