//! Frames that give more than they say, or want more memory than a frame may.

use crate::attacks::{Attack, offence, served};
use crate::ground::Scene;
use crate::peer::frame::{self, COMPRESSED, Data};
use crate::peer::hello::ZSTD;

const MALFORMED: &str = "malformed-record";
/// The most bytes of a payload before compression.
const FRAME_MAX: usize = 262_144;

pub(crate) const ATTACKS: &[Attack] = &[
    served("compressed-honestly", "frames of text, compressed", |scene| {
        let mut hello = scene.hello();
        hello.features = ZSTD;
        let mut peer = scene.begin_by(&hello);
        let channel = peer.open("bench/latency");
        peer.message(channel, b"{}");
        let text = b"to be or not to be, ".repeat(500);
        let seq = peer.next_seq(channel);
        let total = text.len() as u64;
        let data = Data {
            declared: Some(total as u32),
            ..Data::first(channel, seq, total, &zipped(&text))
        };
        peer.send(&data.with_flags(COMPRESSED).encode());
        assert_eq!(peer.receive(channel), Some(text));
    }),
    offence("bomb-declared", "a length of 262,145 bytes; of 2^32 - 1", MALFORMED, |scene| {
        for declared in [FRAME_MAX as u32 + 1, u32::MAX] {
            inflates(scene, declared, &zipped(&[0; 1_000]));
        }
    })
    .times(2),
    offence("bomb-ratio", "256 KiB of zeros in 30 bytes", MALFORMED, |scene| {
        let bomb = zipped(&vec![0; FRAME_MAX]);
        assert!(bomb.len() * 1_024 < FRAME_MAX, "{}", bomb.len());
        inflates(scene, FRAME_MAX as u32, &bomb);
    }),
    offence(
        "bomb-size",
        "64 MiB of zeros, declared as 256 KiB; 2,000 bytes, declared as 1,000; as 3,000",
        MALFORMED,
        |scene| {
            inflates(scene, FRAME_MAX as u32, &zipped(&vec![0; 64 << 20]));
            inflates(scene, 1_000, &zipped(&crate::common::noise(2_000, 1)));
            inflates(scene, 3_000, &zipped(&crate::common::noise(2_000, 1)));
        },
    )
    .times(3),
    offence(
        "bomb-without-size",
        "a frame without its content size; one that says less than it has",
        MALFORMED,
        |scene| {
            inflates(scene, 1_000, &by_hand(0x00, &[0x48], None, 1_000));
            inflates(scene, 1_000, &by_hand(0x80, &[0x48], Some(1_000), 200_000));
        },
    )
    .times(2),
    offence("bomb-window", "a window of 16 MiB; of 2 TiB", MALFORMED, |scene| {
        for exponent in [14, 31] {
            inflates(scene, 1_000, &by_hand(0x80, &[exponent << 3], Some(1_000), 1_000));
        }
    })
    .times(2),
    offence("bomb-dictionary", "a frame that wants a dictionary", MALFORMED, |scene| {
        inflates(scene, 1_000, &by_hand(0x81, &[0x48, 7], Some(1_000), 1_000));
    }),
    offence(
        "bomb-trailing",
        "bytes behind the frame; a second frame; a frame cut off",
        MALFORMED,
        |scene| {
            let frame = zipped(&crate::common::noise(1_000, 1));
            inflates(scene, 1_000, &[&frame[..], b"more"].concat());
            inflates(scene, 2_000, &frame.repeat(2));
            inflates(scene, 1_000, &frame[..frame.len() - 4]);
        },
    )
    .times(3),
    offence("compressed-noise", "noise that says it is compressed", MALFORMED, |scene| {
        inflates(scene, 1_000, &crate::common::noise(500, 9));
    }),
    offence("compressed-unasked", "a compressed frame, without `ZSTD`", MALFORMED, |scene| {
        compressed(scene, 0, 1_000, &zipped(&[7; 1_000]));
    }),
];

fn zipped(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

/// A Zstandard frame (RFC 8878) with a head of `descriptor` and `more`, a content size, and raw blocks of `bytes` bytes.
fn by_hand(descriptor: u8, more: &[u8], size: Option<u32>, bytes: u32) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, descriptor];
    out.extend(more);
    out.extend(size.iter().flat_map(|size| size.to_le_bytes()));
    let mut left = bytes;
    while left > 0 {
        let block = left.min(100_000);
        left -= block;
        out.extend_from_slice(&(u32::from(left == 0) | block << 3).to_le_bytes()[..3]);
        out.resize(out.len() + block as usize, 7);
    }
    out
}

/// Sends a compressed frame in a session with `ZSTD`; the daemon ends the connection.
fn inflates(scene: &Scene<'_>, declared: u32, payload: &[u8]) {
    compressed(scene, ZSTD, declared, payload);
}

fn compressed(scene: &Scene<'_>, features: u32, declared: u32, payload: &[u8]) {
    let mut hello = scene.hello();
    hello.features = features;
    let mut peer = scene.begin_by(&hello);
    peer.open("bench/sink");
    let data = Data { declared: Some(declared), ..Data::new(frame::BATCH, 2, 2, payload) };
    peer.send_body(&data.with_flags(COMPRESSED));
    peer.wait_for_end();
}
