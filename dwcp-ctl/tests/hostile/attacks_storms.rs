//! Much of what is small, cheap or never ends.
//!
//! The counts are what a debug build of a daemon takes in seconds: a million of what is a byte or nine, in records that are
//! full of them; a million channels as a claim, of which the daemon takes 4,096; of what asks for work, as much as
//! `byzantine.rateLimit` lets through in 5 s.

use std::time::Duration;

use crate::attacks::{Attack, End, Kind, offence, served, slowed};
use crate::ground::MESSAGE_MAX;
use crate::peer::frame::{self, Data, NEXT};
use crate::peer::record::FRAMES_MAX;
use crate::peer::session::Peer;

const MILLION: usize = 1_000_000;

pub(crate) const ATTACKS: &[Attack] = &[
    served("million-wakes", "a million frames of one byte", |scene| {
        let mut peer = scene.begin();
        for _ in 0..MILLION.div_ceil(FRAMES_MAX) {
            assert!(peer.send(&[frame::WAKE; FRAMES_MAX]));
        }
        assert!(peer.has_service());
    }),
    served("million-pongs", "a million answers to pings that were not sent", |scene| {
        let mut peer = scene.begin();
        assert!(peer.send_all(std::iter::repeat_n(frame::pong(1), MILLION)));
        assert!(peer.has_service());
    }),
    served(
        "million-acks",
        "a million acks and credits, of channels that are and that are not",
        |scene| {
            let mut peer = scene.begin();
            let frames = (0..MILLION / 2).flat_map(|number| {
                let channel = 2 * (number as u32 % 5_000);
                [frame::ack(channel, 0, &[]), frame::credit(channel, 5)]
            });
            assert!(peer.send_all(frames));
            assert!(peer.has_service());
        },
    ),
    served(
        "tiny-records",
        "20,000 records without a frame, and as many with one of one byte",
        |scene| {
            let mut peer = scene.begin();
            let mut bytes = Vec::new();
            for number in 0..40_000 {
                let frames: &[u8] = if number % 2 == 0 { &[] } else { &[frame::WAKE] };
                bytes.extend(peer.seal.seal(&[], frames));
            }
            assert!(peer.send_raw(&bytes));
            assert!(peer.has_service());
        },
    ),
    offence("million-channels", "a million channels", "too-many-channels", |scene| {
        let mut peer = scene.begin();
        peer.send_all(
            (1..=MILLION as u32).map(|channel| Data::open(2 * channel, "bench/sink").encode()),
        );
        peer.wait_for_end();
    }),
    offence(
        "million-scattered-channels",
        "a million channels, the ids of which have gaps",
        "too-many-channels",
        |scene| {
            let mut peer = scene.begin();
            // Each is reset, and counts no more: what is left are the gaps.
            let frames = (1..=MILLION as u32).flat_map(|number| [(number, 0), (number, 1)]);
            let mut controls = 0;
            peer.send_all(frames.map(|(number, step)| match step {
                0 => Data::open(4 * number, "bench/sink").encode(),
                _ => {
                    controls += 1;
                    Data::new(frame::CONTROL, 0, controls, &frame::reset(4 * number, 1)).encode()
                }
            }));
            peer.wait_for_end();
        },
    ),
    slowed("open-reset-storm", "20,000 channels, each opened and reset", |scene| {
        let mut peer = scene.begin();
        let mut frames = Vec::new();
        for _ in 0..20_000 {
            let channel = peer.new_channel();
            frames.push(Data::open(channel, "bench/latency").encode());
            frames.push(peer.control(&frame::reset(channel, 1)));
        }
        assert!(peer.send_all(frames));
        assert!(peer.has_service());
    }),
    slowed("ping-storm", "40,000 pings and challenges", |scene| {
        let mut peer = scene.begin();
        let challenge = [&[8][..], &[7; 16]].concat();
        assert!(
            peer.send_all((0..20_000).flat_map(|token| [frame::ping(token), challenge.clone()]))
        );
        assert!(peer.has_service());
    }),
    slowed("switch-request-storm", "20,000 wishes for other paths", |scene| {
        let mut peer = scene.begin();
        let frames: Vec<_> =
            (0..20_000).map(|path| peer.control(&frame::switch_request(path))).collect();
        assert!(peer.send_all(frames));
        assert!(peer.has_service());
    }),
    offence(
        "resets-never-acked",
        "20,000 channels of no service; the daemon's Resets are never acked",
        "control-unacked",
        |scene| {
            let mut peer = scene.begin();
            peer.is_polite = false;
            let frames: Vec<_> =
                (0..20_000).map(|_| Data::open(peer.new_channel(), "no/such").encode()).collect();
            peer.send_all(frames);
            peer.wait_for_end();
        },
    ),
    served(
        "unread-early-frames",
        "as much as credit allows on 1,000 channels, behind a frame that never comes",
        |scene| {
            let mut peer = scene.begin();
            let payload = vec![7; 60_000];
            for _ in 0..1_000 {
                let channel = peer.open("bench/sink");
                if !peer.send_body(&Data::first(channel, 3, 60_000, &payload)) {
                    break;
                }
            }
        },
    ),
    served(
        "unfinished-messages",
        "messages of 4 MiB on 500 channels, each without its last byte",
        |scene| {
            let mut peer = scene.begin();
            unfinished(&mut peer, 500);
        },
    ),
    Attack {
        name: "never-reading",
        kind: Kind::Outside,
        sent: "credit without end for 20 benches of 60 s, and nothing is read for 3 s; then the end",
        end: End::PathLost("link-failed"),
        run: |scene| {
            let mut peer = scene.begin();
            for _ in 0..20 {
                let channel = peer.open("bench/source");
                peer.send(&frame::credit(channel, u64::MAX / 2));
                peer.message(channel, br#"{"size":65536,"duration_ms":60000}"#);
            }
            for _ in 0..30 {
                std::thread::sleep(Duration::from_millis(100));
                assert!(peer.send(&frame::pong(1)), "it is heard, so its path stands");
            }
        },
    },
];

/// Begins the longest message there may be on each of so many channels, and sends all but the last byte of it, as credit
/// comes.
fn unfinished(peer: &mut Peer, channels: usize) {
    let piece = vec![7; 60_000];
    for _ in 0..channels {
        let channel = peer.open("bench/sink");
        peer.message(channel, b"{}");
        let mut left = MESSAGE_MAX - 1;
        let mut is_first = true;
        let (mut used, mut limit) = (1_024, 65_536);
        while left > 0 {
            let bytes = left.min(piece.len() as u64);
            while used + bytes > limit {
                let Some(raised) = peer.wait_for_credit(channel, limit) else { return };
                limit = raised;
            }
            used += bytes.max(1_024);
            let seq = peer.next_seq(channel);
            let piece = &piece[..bytes as usize];
            let data = match std::mem::take(&mut is_first) {
                true => Data::first(channel, seq, MESSAGE_MAX, piece),
                false => Data::new(NEXT, channel, seq, piece),
            };
            if !peer.send_body(&data) {
                return;
            }
            left -= bytes;
        }
    }
    assert!(peer.is_alive());
}
