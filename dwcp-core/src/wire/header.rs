//! The record header: docs/protocol.md section "Records".

use std::fmt;

use super::MAX_RECORD_BYTES;
use super::codec::{DecodeError, malformed};

/// Bytes of a record's header. They travel in the clear and are authenticated.
pub const HEADER_BYTES: usize = 16;

/// Names a path of a session: even ids are the dialer's, odd ones the acceptor's. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a record says in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Key phase modulo 4.
    pub phase: u8,
    /// Lane of the path, 0 to 7.
    pub lane: u8,
    /// Bytes that follow the header.
    pub length: u32,
    /// Epoch under which this path last became the sender's active one; 0 if it never did.
    pub epoch: u32,
    /// Record number in its path, direction, lane and phase.
    pub number: u64,
}

impl RecordHeader {
    /// The header's bytes.
    ///
    /// # Panics
    /// If a field is out of its range.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        assert!(self.phase < 4 && self.lane < 8, "phase and lane fit their bits");
        assert!(self.length as usize <= MAX_RECORD_BYTES, "the record is within its limit");
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&(self.length << 8).to_le_bytes());
        bytes[0] = self.phase | self.lane << 2;
        bytes[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[8..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`DecodeError`] when reserved bits are set or the length is over [`MAX_RECORD_BYTES`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, DecodeError> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let length = word(0) >> 8;
        if bytes[0] & 0xe0 != 0 || length as usize > MAX_RECORD_BYTES {
            return malformed("record header");
        }
        Ok(Self {
            phase: bytes[0] & 3,
            lane: bytes[0] >> 2 & 7,
            length,
            epoch: word(4),
            number: u64::from_le_bytes(bytes[8..].try_into().expect("8 bytes")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        for phase in 0..4 {
            for lane in 0..8 {
                let header = RecordHeader {
                    phase,
                    lane,
                    length: MAX_RECORD_BYTES as u32,
                    epoch: u32::MAX - 1,
                    number: u64::MAX - u64::from(lane),
                };
                assert_eq!(RecordHeader::decode(&header.encode()), Ok(header));
            }
        }
    }

    #[test]
    fn the_fullest_record_fits_its_header() {
        use crate::wire::{MAX_FRAME_BYTES, MAX_FRAMES_BYTES};
        let length = MAX_FRAME_BYTES + MAX_FRAMES_BYTES + 2 + crate::crypto::MAX_OVERHEAD_BYTES;
        let full = RecordHeader { phase: 0, lane: 0, length: length as u32, epoch: 0, number: 0 };
        assert_eq!(RecordHeader::decode(&full.encode()), Ok(full));
        let mut longer = full.encode();
        longer[..4].copy_from_slice(&((length as u32 + 1) << 8).to_le_bytes());
        assert!(RecordHeader::decode(&longer).is_err());
    }

    #[test]
    fn reserved_bits_and_lengths_over_the_limit_are_refused() {
        let good = RecordHeader { phase: 0, lane: 0, length: 1, epoch: 0, number: 0 }.encode();
        for bit in 5..8 {
            let mut bad = good;
            bad[0] |= 1 << bit;
            assert!(RecordHeader::decode(&bad).is_err());
        }
        let mut bad = good;
        bad[3] = 0xff;
        assert!(RecordHeader::decode(&bad).is_err());
    }
}
