//! The receiving side of record protection on one path.

use std::sync::Arc;

use super::schedule::LaneSecret;
use super::sealer::VERSION_THAT_COUNTS_ON;
use super::{Direction, KeyMaterial, Open, PathSecret, ReplayWindow, Suite};
use crate::wire::{HEADER_BYTES, RecordHeader};

/// Why a record was refused. On a reliable link each of these fails the path: what arrives there wrong was
/// made wrong, and the session goes on elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The check of tag or MAC failed.
    #[error("record {number} is not authentic")]
    NotAuthentic {
        /// The number its header claims.
        number: u64,
    },
    /// An ordered link skipped or repeated a record.
    #[error("record {number} came where {expected} was due")]
    OutOfOrder {
        /// The number that came.
        number: u64,
        /// The number that was due.
        expected: u64,
    },
    /// The record was opened before, or is older than the replay window.
    #[error("record {number} was seen before or is too old")]
    Replayed {
        /// The number that came.
        number: u64,
    },
    /// The header names a lane this path does not have.
    #[error("record of lane {lane}, which this path does not have")]
    UnknownLane {
        /// The lane of the header.
        lane: u8,
    },
    /// The record is shorter than its protection.
    #[error("record of {length} bytes is shorter than its protection")]
    TooShort {
        /// Bytes after the header.
        length: usize,
    },
}

/// Opens the records of one path, direction and lane.
pub struct PathOpener {
    suite: Arc<dyn Suite>,
    lane: u8,
    current: Phase,
    /// The phase after `current`, made when a record first names it.
    next: Option<Box<Phase>>,
    /// The phase before `current`: on an unordered link its records may still arrive.
    previous: Option<Box<Phase>>,
    phase: u64,
    ordered: bool,
    /// Numbers go on from one phase to the next.
    counts_on: bool,
}

struct Phase {
    secret: LaneSecret,
    keys: Box<KeyMaterial>,
    /// Made from `keys` when a record needs it, and let go of while the path [is idle](PathOpener::shed).
    open: Option<Box<dyn Open>>,
    replay: ReplayWindow,
}

impl Phase {
    fn new(secret: LaneSecret, ordered: bool) -> Self {
        let replay = if ordered { ReplayWindow::ordered() } else { ReplayWindow::unordered() };
        Self { keys: secret.keys(), open: None, secret, replay }
    }
}

impl PathOpener {
    /// The opener of the first key phase. `ordered`: the link delivers in order, so any gap is an error.
    pub fn new(
        suite: Arc<dyn Suite>,
        path: &PathSecret,
        direction: Direction,
        lane: u8,
        ordered: bool,
    ) -> Self {
        let current = Phase::new(path.lane(direction, lane), ordered);
        let (next, previous, counts_on) = (None, None, ordered);
        Self { suite, lane, current, next, previous, phase: 0, ordered, counts_on }
    }

    /// The same for a session of `version`: before version 4, each phase counts from 0.
    #[must_use]
    pub fn of_version(mut self, version: u16) -> Self {
        self.counts_on &= version >= VERSION_THAT_COUNTS_ON;
        self
    }

    /// Bytes of plaintext in a record of `length` bytes after its header.
    ///
    /// # Errors
    /// [`OpenError::TooShort`].
    pub fn plain_bytes(&self, length: usize) -> Result<usize, OpenError> {
        length.checked_sub(self.suite.overhead_bytes()).ok_or(OpenError::TooShort { length })
    }

    /// Opens one record (header and sealed bytes) into `out`, whose length is
    /// [`plain_bytes`](Self::plain_bytes) of it.
    ///
    /// # Errors
    /// See [`OpenError`]; the opener's state is then as before.
    pub fn open(
        &mut self,
        header: &RecordHeader,
        record: &[u8],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        if header.lane != self.lane {
            return Err(OpenError::UnknownLane { lane: header.lane });
        }
        let (header_bytes, sealed) = record.split_at(HEADER_BYTES);
        let ahead = header.phase.wrapping_sub(self.phase as u8) & 3;
        let phase = match ahead {
            0 => &mut self.current,
            1 => {
                let (current, ordered) = (&self.current, self.ordered);
                let next = self
                    .next
                    .get_or_insert_with(|| Box::new(Phase::new(current.secret.next(), ordered)));
                if self.counts_on {
                    // All of the phase before has come: nothing was cut off between the two.
                    next.replay = ReplayWindow::ordered_from(current.replay.next());
                }
                &mut **next
            }
            3 if self.previous.is_some() => self.previous.as_deref_mut().expect("checked"),
            _ => return Err(OpenError::NotAuthentic { number: header.number }),
        };
        phase.replay.check(header.number)?;
        let nonce = KeyMaterial::nonce(&phase.keys.iv, header.number);
        let (suite, keys) = (&self.suite, &phase.keys);
        phase
            .open
            .get_or_insert_with(|| suite.opener(keys))
            .open(&nonce, header_bytes, sealed, out)
            .map_err(|_| OpenError::NotAuthentic { number: header.number })?;
        // Only an authentic record may move the window or the phase.
        phase.replay.mark(header.number);
        if ahead == 1 {
            // What was the next is the current one, and the place of the one is that of the other.
            let mut next = self.next.take().expect("used just now");
            std::mem::swap(&mut self.current, &mut next);
            self.previous = (!self.ordered).then_some(next);
            self.phase += 1;
        }
        Ok(())
    }

    /// Nothing comes for a while: what the suite works out from the keys goes. The next record makes it anew, in less than
    /// a microsecond.
    pub fn shed(&mut self) {
        self.current.open = None;
    }

    /// Key phases passed so far.
    pub fn phase(&self) -> u64 {
        self.phase
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChecksumSuite, PathSealer, Secret, SessionSecret};
    use super::*;
    use crate::wire::PathId;

    fn pair(ordered: bool) -> (PathSealer, PathOpener) {
        let session = SessionSecret::from_exporter(&Secret::new([1; 32]), None);
        let path = session.path(PathId(0), &[0; 32], &[0; 32], &[0; 32]);
        let suite: Arc<dyn Suite> = Arc::new(ChecksumSuite);
        (
            PathSealer::new(suite.clone(), &path, Direction::ToAcceptor, 0, ordered),
            PathOpener::new(suite, &path, Direction::ToAcceptor, 0, ordered),
        )
    }

    fn both_shed(sealer: &mut PathSealer, opener: &mut PathOpener) {
        sealer.shed();
        opener.shed();
    }

    fn seal(sealer: &mut PathSealer, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(5, text, b"!", &mut out).expect("key is fresh");
        out
    }

    fn open(opener: &mut PathOpener, record: &[u8]) -> Result<Vec<u8>, OpenError> {
        let header = RecordHeader::decode(record[..HEADER_BYTES].try_into().unwrap()).unwrap();
        let mut out = vec![0; opener.plain_bytes(header.length as usize)?];
        opener.open(&header, record, &mut out).map(|()| out)
    }

    #[test]
    fn an_ordered_path_refuses_gaps_and_repeats() {
        let (mut sealer, mut opener) = pair(true);
        let records: Vec<_> = (0..3).map(|_| seal(&mut sealer, b"x")).collect();
        assert_eq!(open(&mut opener, &records[0]).unwrap(), b"x!");
        let gap = open(&mut opener, &records[2]);
        assert_eq!(gap, Err(OpenError::OutOfOrder { number: 2, expected: 1 }));
        let repeat = open(&mut opener, &records[0]);
        assert_eq!(repeat, Err(OpenError::OutOfOrder { number: 0, expected: 1 }));
        assert!(open(&mut opener, &records[1]).is_ok());
    }

    #[test]
    fn an_unordered_path_refuses_only_repeats() {
        let (mut sealer, mut opener) = pair(false);
        let records: Vec<_> = (0..3).map(|_| seal(&mut sealer, b"x")).collect();
        assert!(open(&mut opener, &records[2]).is_ok());
        assert!(open(&mut opener, &records[0]).is_ok());
        assert_eq!(open(&mut opener, &records[2]), Err(OpenError::Replayed { number: 2 }));
    }

    #[test]
    fn rekeys_are_followed_and_old_phases_still_land_on_unordered_links() {
        for ordered in [true, false] {
            let (mut sealer, mut opener) = pair(ordered);
            let mut now = crate::machine::Time(1);
            for phase in 0..9 {
                assert!(open(&mut opener, &seal(&mut sealer, b"a")).is_ok());
                let late = seal(&mut sealer, b"late");
                if ordered {
                    assert!(open(&mut opener, &late).is_ok());
                }
                now = now + crate::crypto::REKEY_PAUSE;
                assert!(!sealer.rekey(now) || ordered || phase == 0);
                now = now + crate::crypto::REKEY_PAUSE;
                sealer.rekey(now);
                assert!(open(&mut opener, &seal(&mut sealer, b"b")).is_ok());
                assert_eq!(opener.phase(), phase + 1);
                assert_eq!(open(&mut opener, &late).is_ok(), !ordered);
            }
        }
    }

    #[test]
    fn what_is_cut_off_at_the_end_of_a_phase_is_noticed_from_version_4_on() {
        for (version, is_noticed) in [(3, false), (4, true)] {
            let (sealer, opener) = pair(true);
            let (mut sealer, mut opener) = (sealer.of_version(version), opener.of_version(version));
            assert!(open(&mut opener, &seal(&mut sealer, b"a")).is_ok());
            let _cut_off = seal(&mut sealer, b"b");
            assert!(sealer.rekey(crate::machine::Time(1)));
            let next = open(&mut opener, &seal(&mut sealer, b"c"));
            let gap = OpenError::OutOfOrder { number: 2, expected: 1 };
            assert_eq!(next.err(), is_noticed.then_some(gap), "version {version}");
        }
    }

    #[test]
    fn numbers_and_phases_go_on_after_what_was_let_go_of() {
        for ordered in [true, false] {
            let (mut sealer, mut opener) = pair(ordered);
            let early = seal(&mut sealer, b"early");
            for _ in 0..3 {
                assert!(ordered || open(&mut opener, &seal(&mut sealer, b"a")).is_ok());
                both_shed(&mut sealer, &mut opener);
            }
            assert!(open(&mut opener, &early).is_ok());
            both_shed(&mut sealer, &mut opener);
            assert!(open(&mut opener, &early).is_err(), "it was opened before");
            assert!(sealer.rekey(crate::machine::Time(1)));
            sealer.shed();
            assert!(open(&mut opener, &seal(&mut sealer, b"b")).is_ok());
            both_shed(&mut sealer, &mut opener);
            assert!(open(&mut opener, &seal(&mut sealer, b"c")).is_ok());
            assert_eq!((sealer.usage().phase, opener.phase()), (1, 1));
        }
    }

    #[test]
    fn a_forged_phase_does_not_move_the_opener() {
        let (mut sealer, mut opener) = pair(true);
        let mut record = seal(&mut sealer, b"x");
        record[0] ^= 1;
        assert_eq!(open(&mut opener, &record), Err(OpenError::NotAuthentic { number: 0 }));
        record[0] ^= 1;
        assert!(open(&mut opener, &record).is_ok());
        assert_eq!(opener.phase(), 0);
    }

    #[test]
    fn the_sealer_rekeys_at_the_soft_limit_and_stops_at_the_hard_one() {
        use super::super::{SealError, UsageLimits};
        let (mut sealer, mut opener) = pair(true);
        sealer.set_limits(UsageLimits { soft_blocks: 30, hard_blocks: 40 });
        for _ in 0..100 {
            assert!(open(&mut opener, &seal(&mut sealer, &[0; 15])).is_ok());
        }
        assert_eq!(sealer.usage().phase, 9);
        let too_much = sealer.seal(0, &[0; 1000], b"", &mut Vec::new());
        assert_eq!(too_much, Err(SealError::KeyExhausted));
    }
}
