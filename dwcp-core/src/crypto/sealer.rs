//! The sending side of record protection on one path.

use std::sync::Arc;

use super::schedule::LaneSecret;
use super::{Direction, KeyMaterial, PathSecret, Seal, Suite};
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
    seal: Box<dyn Seal>,
    iv: [u8; 12],
    usage: Usage,
    limits: UsageLimits,
    lane: u8,
}

impl PathSealer {
    /// The sealer of the first key phase.
    pub fn new(suite: Arc<dyn Suite>, path: &PathSecret, direction: Direction, lane: u8) -> Self {
        let secret = path.lane(direction, lane);
        let (seal, iv) = start(&*suite, &secret);
        let limits = UsageLimits::default();
        Self { suite, secret, seal, iv, usage: Usage::default(), limits, lane }
    }

    /// Replaces the usage limits; for tests that cross them.
    pub fn set_limits(&mut self, limits: UsageLimits) {
        assert!(limits.soft_blocks < limits.hard_blocks, "the soft limit comes first");
        self.limits = limits;
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
        let blocks = (plain as u64).div_ceil(16) + 2;
        if self.usage.blocks >= self.limits.soft_blocks {
            self.rekey();
        }
        if self.usage.blocks + blocks > self.limits.hard_blocks {
            return Err(SealError::KeyExhausted);
        }
        let number = self.usage.records;
        let header = RecordHeader {
            phase: (self.usage.phase & 3) as u8,
            lane: self.lane,
            length: (plain + self.suite.overhead_bytes()) as u32,
            epoch,
            number,
        }
        .encode();
        out[..HEADER_BYTES].copy_from_slice(&header);
        let nonce = KeyMaterial::nonce(&self.iv, number);
        self.seal.seal(&nonce, &header, body, trailer, &mut out[HEADER_BYTES..]);
        #[cfg(feature = "sim")]
        if crate::sim::bug(crate::sim::Bug::RepeatedNonce) && number % 64 == 9 {
            return Ok(()); // planted: the next record reuses this number
        }
        self.usage.records = number + 1;
        self.usage.blocks += blocks;
        Ok(())
    }

    /// Moves to the next key phase now. The old phase's secret is erased. A phase under which nothing was
    /// sealed stays: the opener follows one phase at a time, by its records. On unordered links leave a round
    /// trip between two calls, for the same reason.
    pub fn rekey(&mut self) {
        if self.usage.records == 0 {
            return;
        }
        self.secret = self.secret.next();
        (self.seal, self.iv) = start(&*self.suite, &self.secret);
        self.usage = Usage { phase: self.usage.phase + 1, ..Usage::default() };
    }

    /// What the present key has been used for.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

fn start(suite: &dyn Suite, secret: &LaneSecret) -> (Box<dyn Seal>, [u8; 12]) {
    let keys = secret.keys();
    (suite.sealer(&keys), keys.iv)
}

#[cfg(test)]
mod tests {
    use super::super::{ChecksumSuite, Secret, SessionSecret};
    use super::*;
    use crate::wire::PathId;

    #[test]
    fn an_unused_phase_has_no_successor() {
        let session = SessionSecret::from_exporter(&Secret::new([1; 32]), None);
        let path = session.path(PathId(0), &[0; 32], &[0; 32], &[0; 32]);
        let mut sealer = PathSealer::new(Arc::new(ChecksumSuite), &path, Direction::ToAcceptor, 0);
        (0..3).for_each(|_| sealer.rekey());
        assert_eq!(sealer.usage().phase, 0);
        sealer.seal(0, b"x", b"", &mut Vec::new()).expect("the key is fresh");
        (0..3).for_each(|_| sealer.rekey());
        assert_eq!(sealer.usage().phase, 1);
    }
}
