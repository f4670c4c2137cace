//! Acks: what the receiving half tells, and how it is written.

use std::collections::BTreeSet;

use dwcp_core::machine::halves::Receiving;
use dwcp_core::mem::{Payload, Pool, Slot};
use dwcp_core::wire::{
    Ack, DataFrame, DataKind, DecodeError, Decompress, Frame, MAX_RANGES, Ranges, RecordEncoder,
    decode_record,
};
use proptest::prelude::*;

/// Nothing here is compressed.
struct Plain;

impl Decompress for Plain {
    fn decompress(&mut self, _: &[u8], _: &mut [u8]) -> Result<(), DecodeError> {
        panic!("nothing is compressed")
    }
}

/// The frames of a record whose frame section is `frames`.
fn decoded(frames: &[u8]) -> Result<Vec<Frame>, DecodeError> {
    let mut encoder = RecordEncoder::default();
    encoder.put_frames(frames);
    let (_, section) = encoder.finish();
    let pool = Pool::new(1 << 20);
    let mut slot = pool.take(section.len()).expect("room");
    slot.extend(section);
    let plain: Slot = slot.freeze();
    let mut found = Vec::new();
    decode_record(&plain, &pool, &mut Plain, &mut found).map(|()| found)
}

/// Maximal runs of `numbers` above `base`, the first `MAX_RANGES`.
fn runs(numbers: &BTreeSet<u64>, base: u64) -> Vec<(u64, u64)> {
    let is_in = |number: u64| numbers.contains(&number);
    let starts = numbers.iter().copied().filter(|&at| at > base && !is_in(at - 1));
    let end_of = |start: u64| (start..).find(|&at| !is_in(at)).expect("the set ends");
    starts.map(|start| (start, end_of(start))).take(MAX_RANGES).collect()
}

fn frame(seq: u64) -> DataFrame {
    let payload = Payload::default();
    DataFrame { channel: 0, seq, kind: DataKind::Control, payload, length: 0, pull: None }
}

proptest! {
    #![proptest_config(super::config("tests/property/ranges.regressions"))]

    #[test]
    fn an_ack_tells_exactly_what_is_here(arrivals in prop::collection::vec(1..=200u64, 0..250)) {
        let (mut half, mut model) = (Receiving::new(0, 0), BTreeSet::new());
        for seq in arrivals {
            let is_duplicate = half.arrive(frame(seq)).expect("in its place");
            prop_assert_eq!(is_duplicate, !model.insert(seq));
            let cumulative = (1..).find(|seq| !model.contains(seq)).expect("the set ends") - 1;
            let ack = half.ack();
            prop_assert_eq!(ack.cumulative, cumulative);
            prop_assert_eq!(ack.ranges.0, runs(&model, cumulative));
        }
        // In order, each once.
        let taken: Vec<_> = std::iter::from_fn(|| half.take()).map(|frame| frame.seq).collect();
        prop_assert_eq!(taken, (1..=half.ack().cumulative).collect::<Vec<_>>());
    }

    #[test]
    fn an_ack_survives_the_wire(
        channel: u32,
        cumulative in 0..u64::MAX / 2,
        steps in prop::collection::vec((1..=u32::MAX, 1..=u32::MAX), 0..=MAX_RANGES),
    ) {
        let mut at = cumulative;
        let ranges = steps.iter().map(|&(gap, length)| {
            let start = at + u64::from(gap);
            at = start + u64::from(length);
            (start, at)
        });
        let ack = Ack { channel, cumulative, ranges: Ranges(ranges.collect()) };
        let mut bytes = Vec::new();
        Frame::Ack(ack.clone()).encode(&mut bytes);
        let frames = decoded(&bytes).expect("well formed");
        prop_assert!(matches!(&frames[..], [Frame::Ack(found)] if *found == ack));
    }

    #[test]
    fn whatever_decodes_is_ascending_and_disjoint(
        head in prop::array::uniform12(any::<u8>()),
        count in 0..=40u8,
        fields in prop::collection::vec(0..4u32, 0..80),
    ) {
        let mut bytes = vec![2];
        bytes.extend(head);
        bytes.push(count);
        bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        bytes.truncate(14 + 8 * usize::from(count));
        match decoded(&bytes) {
            Ok(frames) => {
                let [Frame::Ack(ack)] = &frames[..] else { panic!("{frames:?}") };
                let mut at = ack.cumulative;
                for &(start, end) in &ack.ranges.0 {
                    prop_assert!(at < start && start < end);
                    at = end;
                }
                let mut again = Vec::new();
                frames[0].encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
            Err(_) => {
                let is_short = fields.len() < 2 * usize::from(count);
                let has_zero = fields.iter().take(2 * usize::from(count)).any(|&field| field == 0);
                let cumulative = u64::from_le_bytes(head[4..].try_into().expect("eight bytes"));
                let overflows = cumulative > u64::MAX - 4 * 80;
                prop_assert!(is_short || has_zero || overflows || usize::from(count) > MAX_RANGES);
            }
        }
    }
}
