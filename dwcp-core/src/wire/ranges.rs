//! Sets of sequence numbers as ranges.

use super::codec::{DecodeError, Reader, Write, malformed};

/// The most ranges an ack tells beyond its cumulative number.
pub const MAX_RANGES: usize = 32;

/// Ascending, disjoint, non-adjacent half-open ranges `start..end`, all above a base number.
///
/// On the wire: a count, then per range the gap from the end of the one before (u32, at least 1) and the
/// length (u32, at least 1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(pub Vec<(u64, u64)>);

impl Ranges {
    pub(super) fn encode(&self, base: u64, out: &mut Vec<u8>) {
        let count = self.0.len().min(MAX_RANGES);
        out.put_u8(count as u8);
        let mut at = base;
        for &(start, end) in &self.0[..count] {
            out.put_u32((start - at) as u32);
            out.put_u32((end - start) as u32);
            at = end;
        }
    }

    pub(super) fn decode(base: u64, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = usize::from(input.u8()?);
        if count > MAX_RANGES {
            return malformed("ack ranges");
        }
        let mut ranges = Vec::new();
        let mut at = base;
        for _ in 0..count {
            let (gap, length) = (u64::from(input.u32()?), u64::from(input.u32()?));
            let start = at.checked_add(gap).filter(|_| gap > 0);
            let end = start.and_then(|start| start.checked_add(length)).filter(|_| length > 0);
            let (Some(start), Some(end)) = (start, end) else { return malformed("ack ranges") };
            ranges.push((start, end));
            at = end;
        }
        Ok(Self(ranges))
    }

    /// Bytes the encoding takes.
    pub(super) fn encoded_bytes(&self) -> usize {
        1 + 8 * self.0.len().min(MAX_RANGES)
    }
}
