//! The sending side of record protection on one path.

use std::sync::Arc;
use std::time::Duration;

use super::schedule::LaneSecret;
use super::{Direction, KeyMaterial, PathSecret, Seal, Suite};
use crate::machine::Time;
use crate::wire::{HEADER_BYTES, RecordHeader};

/// How much one key may protect. AES-256-GCM keeps an attacker's advantage under 2^-57 up to 2^36 blocks
/// of 16 bytes (draft-irtf-cfrg-aead-limits, section 5.1.1); we rekey at half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageLimits {
    /// Blocks of 16 bytes after which the sealer moves to the next key phase by itself.
    pub soft_blocks: u64,
    /// Blocks after which sealing is refused.
    pub hard_blocks: u64,
}

impl Default for UsageLimits {
    fn default() -> Self {
        Self { soft_blocks: 1 << 35, hard_blocks: 1 << 36 }
    }
}

/// What a key has been used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Records sealed under the present phase; the next record's number.
    pub records: u64,
    /// Blocks of 16 bytes sealed under the present phase.
    pub blocks: u64,
    /// Phases before this one.
    pub phase: u64,
}

/// Why a record was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key has reached its hard limit; only a rekey helps.
    #[error("the path's key has reached its hard usage limit")]
    KeyExhausted,
}

/// Seals the records of one path, direction and lane. Owns the record numbers: a (key, number) pair is used
/// once because this is the only place that makes one.
pub struct PathSealer {
    suite: Arc<dyn Suite>,
    secret: LaneSecret,
    keys: Box<KeyMaterial>,
    /// Made from `keys` when a record needs it, and let go of while the path [is idle](Self::shed).
    seal: Option<Box<dyn Seal>>,
    usage: Usage,
    limits: UsageLimits,
    lane: u8,
    /// The link delivers in order, so that the opener sees every phase before the next.
    is_ordered: bool,
    /// Since when this phase is in use for certain, on an unordered link.
    in_use_since: Option<Time>,
    pause: Duration,
    /// The least number not yet used under the present key.
    fresh: u64,
    /// The number of the present phase's first record.
    base: u64,
    /// Numbers go on from one phase to the next, so that nothing can be cut off between them unnoticed.
    counts_on: bool,
}

/// A record number about to be used.
struct Next {
    header: [u8; HEADER_BYTES],
    nonce: [u8; 12],
    number: u64,
    blocks: u64,
}

/// From this version on, record numbers of an ordered path go on from one key phase to the next.
pub(super) const VERSION_THAT_COUNTS_ON: u16 = 4;

/// Time between two rekeys on an unordered link: longer than any record is on its way.
pub const REKEY_PAUSE: Duration = Duration::from_secs(10);

impl PathSealer {
    /// The sealer of the first key phase. `is_ordered`: the link delivers in order.
    pub fn new(
        suite: Arc<dyn Suite>,
        path: &PathSecret,
        direction: Direction,
        lane: u8,
        is_ordered: bool,
    ) -> Self {
        let secret = path.lane(direction, lane);
        let keys = secret.keys();
        let limits = UsageLimits::default();
        Self {
            suite,
            secret,
            keys,
            seal: None,
            usage: Usage::default(),
            limits,
            lane,
            is_ordered,
            in_use_since: None,
            pause: REKEY_PAUSE,
            fresh: 0,
            base: 0,
            counts_on: is_ordered,
        }
    }

    /// The same for a session of `version`: before version 4, each phase counts from 0.
    #[must_use]
    pub fn of_version(mut self, version: u16) -> Self {
        self.counts_on &= version >= VERSION_THAT_COUNTS_ON;
        self
    }

    /// Replaces the usage limits; for tests that cross them.
    pub fn set_limits(&mut self, limits: UsageLimits) {
        assert!(limits.soft_blocks < limits.hard_blocks, "the soft limit comes first");
        self.limits = limits;
    }

    /// Replaces [`REKEY_PAUSE`]; for tests whose time is short.
    pub fn set_rekey_pause(&mut self, pause: Duration) {
        self.pause = pause;
    }

    /// Bytes a record of `plain` bytes takes on the wire.
    pub fn sealed_bytes(&self, plain: usize) -> usize {
        HEADER_BYTES + plain + self.suite.overhead_bytes()
    }

    /// Seals `body | trailer` as the next record and appends it, header first, to `out`.
    ///
    /// # Errors
    /// [`SealError::KeyExhausted`] at the hard limit; nothing is appended then.
    ///
    /// # Panics
    /// If the record is larger than a header can say.
    pub fn seal(
        &mut self,
        epoch: u32,
        body: &[u8],
        trailer: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let at = out.len();
        out.resize(at + self.sealed_bytes(body.len() + trailer.len()), 0);
        self.seal_into(epoch, body, trailer, &mut out[at..]).inspect_err(|_| out.truncate(at))
    }

    /// As [`seal`](Self::seal), into `out`, whose length is exactly
    /// [`sealed_bytes`](Self::sealed_bytes) of both parts. Writes every byte of it.
    ///
    /// # Errors
    /// [`SealError::KeyExhausted`] at the hard limit; `out` is untouched then.
    ///
    /// # Panics
    /// If the length of `out` is another.
    pub fn seal_into(
        &mut self,
        epoch: u32,
        body: &[u8],
        trailer: &[u8],
        out: &mut [u8],
    ) -> Result<(), SealError> {
        let plain = body.len() + trailer.len();
        assert_eq!(out.len(), self.sealed_bytes(plain), "the room is that of one record");
        let next = self.next(epoch, plain)?;
        out[..HEADER_BYTES].copy_from_slice(&next.header);
        let sealed = &mut out[HEADER_BYTES..];
        self.cipher().seal(&next.nonce, &next.header, body, trailer, sealed);
        self.note_used(&next);
        Ok(())
    }

    /// As [`seal_into`](Self::seal_into), for a body that is sent from where it lies: `out`, whose length is that of a
    /// record without a body, gets what goes before it (a header) and behind it. False: the suite does not leave the
    /// plaintext as it is; nothing was sealed.
    ///
    /// # Errors
    /// As `seal_into`.
    ///
    /// # Panics
    /// If the length of `out` is another.
    pub fn seal_around(
        &mut self,
        epoch: u32,
        body: &[u8],
        trailer: &[u8],
        out: &mut [u8],
    ) -> Result<bool, SealError> {
        assert_eq!(out.len(), self.sealed_bytes(trailer.len()), "the room is that of one record");
        let next = self.next(epoch, body.len() + trailer.len())?;
        let (head, tail) = out.split_at_mut(HEADER_BYTES);
        let (behind, tag) = tail.split_at_mut(trailer.len());
        if !self.cipher().tag(&next.nonce, &next.header, body, trailer, tag) {
            return Ok(false);
        }
        head.copy_from_slice(&next.header);
        behind.copy_from_slice(trailer);
        self.note_used(&next);
        Ok(true)
    }

    /// What the next record is sealed with.
    fn next(&mut self, epoch: u32, plain: usize) -> Result<Next, SealError> {
        let blocks = (plain as u64).div_ceil(16) + 2;
        // On an unordered link so many records are more than can be on their way.
        let may_rekey = self.is_ordered || self.usage.records >= RECORDS_MIN;
        if self.usage.blocks >= self.limits.soft_blocks && may_rekey {
            self.next_phase();
        }
        if self.usage.blocks + blocks > self.limits.hard_blocks {
            return Err(SealError::KeyExhausted);
        }
        let number = self.base + self.usage.records;
        assert!(number >= self.fresh, "a record number is used once under a key");
        let header = RecordHeader {
            phase: (self.usage.phase & 3) as u8,
            lane: self.lane,
            length: (plain + self.suite.overhead_bytes()) as u32,
            epoch,
            number,
        }
        .encode();
        Ok(Next { header, nonce: KeyMaterial::nonce(&self.keys.iv, number), number, blocks })
    }

    fn note_used(&mut self, next: &Next) {
        let number = next.number;
        #[cfg(feature = "sim")]
        if crate::sim::bug(crate::sim::Bug::RepeatedNonce) && number % 64 == 9 {
            return; // planted: the next record reuses this number
        }
        self.usage.records = number + 1 - self.base;
        self.fresh = number + 1;
        self.usage.blocks += next.blocks;
    }

    /// Moves to the next key phase, if it may now; `false`: ask again later. The old phase's secret is erased.
    ///
    /// The opener follows one phase at a time, by its records. So a phase under which nothing was sealed stays, and
    /// on an unordered link each lasts [`REKEY_PAUSE`] from the first call that finds it in use.
    pub fn rekey(&mut self, now: Time) -> bool {
        if self.usage.records == 0 {
            return false;
        }
        if !self.is_ordered {
            let since = *self.in_use_since.get_or_insert(now);
            // Nothing is before the first phase: no record of an earlier one is on its way.
            if self.usage.phase > 0 && now.since(since) < self.pause {
                return false;
            }
        }
        self.next_phase();
        true
    }

    fn next_phase(&mut self) {
        self.secret = self.secret.next();
        (self.keys, self.seal) = (self.secret.keys(), None);
        self.base = if self.counts_on { self.base + self.usage.records } else { 0 };
        self.usage = Usage { phase: self.usage.phase + 1, ..Usage::default() };
        (self.in_use_since, self.fresh) = (None, self.base);
    }

    fn cipher(&mut self) -> &mut dyn Seal {
        let (suite, keys) = (&self.suite, &self.keys);
        &mut **self.seal.get_or_insert_with(|| suite.sealer(keys))
    }

    /// Nothing is sealed for a while: what the suite works out from the keys goes. The next record makes it anew, in less
    /// than a microsecond, and the numbers go on.
    pub fn shed(&mut self) {
        self.seal = None;
    }

    /// What the present key has been used for.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

/// Records of a phase after which an unordered link has none of the phase before on its way: the replay window.
const RECORDS_MIN: u64 = 16_384;

#[cfg(test)]
mod tests {
    use super::super::{ChecksumSuite, Secret, SessionSecret};
    use super::*;
    use crate::wire::PathId;

    #[test]
    fn an_unused_phase_has_no_successor() {
        let session = SessionSecret::from_exporter(&Secret::new([1; 32]), None);
        let path = session.path(PathId(0), &[0; 32], &[0; 32], &[0; 32]);
        let suite = Arc::new(ChecksumSuite);
        let mut sealer = PathSealer::new(suite, &path, Direction::ToAcceptor, 0, true);
        (0..3).for_each(|_| assert!(!sealer.rekey(Time(1))));
        assert_eq!(sealer.usage().phase, 0);
        sealer.seal(0, b"x", b"", &mut Vec::new()).expect("the key is fresh");
        (0..3).for_each(|_| _ = sealer.rekey(Time(1)));
        assert_eq!(sealer.usage().phase, 1);
    }

    #[test]
    fn on_an_unordered_link_each_phase_lasts_a_while() {
        let session = SessionSecret::from_exporter(&Secret::new([1; 32]), None);
        let path = session.path(PathId(0), &[0; 32], &[0; 32], &[0; 32]);
        let suite = Arc::new(ChecksumSuite);
        let mut sealer = PathSealer::new(suite, &path, Direction::ToAcceptor, 0, false);
        let seal = |sealer: &mut PathSealer| sealer.seal(0, b"x", b"", &mut Vec::new());
        seal(&mut sealer).expect("fresh");
        assert!(sealer.rekey(Time(5)), "nothing was before the first phase");
        let late = Time(5) + 2 * REKEY_PAUSE;
        assert!(!sealer.rekey(late), "nothing was sealed yet");
        seal(&mut sealer).expect("fresh");
        assert!(!sealer.rekey(late), "its first record may be on its way");
        assert!(!sealer.rekey(late + REKEY_PAUSE / 2));
        assert!(sealer.rekey(late + REKEY_PAUSE));
        // Nor does the soft limit make phases faster than an opener can follow.
        sealer.set_limits(UsageLimits { soft_blocks: 3, hard_blocks: 1 << 36 });
        (0..RECORDS_MIN).for_each(|_| seal(&mut sealer).expect("fresh"));
        assert_eq!(sealer.usage().phase, 2);
        seal(&mut sealer).expect("fresh");
        assert_eq!(sealer.usage().phase, 3);
    }
}
