//! Batches of small messages and the lengths in them.

use dwcp_core::machine::halves::{Sending, read_length};
use dwcp_core::machine::{BATCH_MESSAGE_BYTES_MAX, SendError};
use dwcp_core::mem::Pool;
use dwcp_core::wire::DataKind;
use proptest::prelude::*;

/// LEB128 by the book, seven bits at a time.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number % 128) as u8;
        number /= 128;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low + 128);
    }
}

/// The messages of a batch, by our reader.
fn split(mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let (length, used) = read_length(rest)?;
        messages.push(rest[used..used + length].to_vec());
        rest = &rest[used + length..];
    }
    Some(messages)
}

#[test]
fn every_length_that_a_batch_may_hold_is_written_by_the_book() {
    for length in 0..=BATCH_MESSAGE_BYTES_MAX {
        let mut half = Sending::new(2, Pool::new(4 << 20));
        half.send(&vec![7; length]).expect("credit");
        let frame = half.transmit().expect("a frame");
        let mut wanted = leb128(length);
        wanted.extend(vec![7; length]);
        assert!(frame.payload[..] == wanted[..], "{length}");
    }
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let sizes = prop_oneof![
        6 => 0..200usize,
        2 => 120..140usize,
        1 => 0..=BATCH_MESSAGE_BYTES_MAX,
        1 => BATCH_MESSAGE_BYTES_MAX - 1..=BATCH_MESSAGE_BYTES_MAX,
    ];
    let message = (sizes, any::<u8>()).prop_map(|(size, fill)| vec![fill; size]);
    prop::collection::vec(message, 1..60)
}

proptest! {
    #![proptest_config(super::config("tests/property/batch.regressions"))]

    #[test]
    fn what_is_gathered_is_split_again(messages in messages(), every in 1..8usize) {
        let mut half = Sending::new(2, Pool::new(16 << 20));
        half.handle_credit(u64::MAX / 2);
        let (mut found, mut wanted_bytes, mut found_bytes) = (Vec::new(), 0, 0);
        let mut drain = |half: &mut Sending| {
            while let Some(frame) = half.transmit() {
                assert_eq!(frame.kind, DataKind::Batch);
                found_bytes += frame.payload.len();
                found.extend(split(&frame.payload).expect("well formed"));
            }
        };
        for (index, message) in messages.iter().enumerate() {
            prop_assert_eq!(half.send(message), Ok::<(), SendError>(()));
            wanted_bytes += leb128(message.len()).len() + message.len();
            // Frames are closed where they are taken: anywhere.
            if index % every == 0 {
                drain(&mut half);
            }
        }
        drain(&mut half);
        prop_assert!(found == messages);
        // A length prefix and the bytes, nothing else.
        prop_assert_eq!(found_bytes, wanted_bytes);
    }

    #[test]
    fn any_bytes_split_as_by_the_book_or_not_at_all(
        lengths in prop::collection::vec(0..20_000usize, 0..4),
        tail in prop::collection::vec(any::<u8>(), 0..6),
        fill in 0..40_000usize,
    ) {
        let mut bytes: Vec<u8> = lengths.iter().flat_map(|&length| leb128(length)).collect();
        bytes.extend(tail);
        bytes.resize(bytes.len() + fill, 0);
        // The first length, by the book: bytes up to the first whose high bit is off, three at most.
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).filter(|&at| at < 3);
        let wanted = end.and_then(|at| {
            let number = (0..=at).rev().fold(0, |sum, at| sum * 128 + usize::from(bytes[at] & 0x7f));
            (number < bytes.len() - at).then_some((number, at + 1))
        });
        prop_assert_eq!(read_length(&bytes), wanted);
    }
}
