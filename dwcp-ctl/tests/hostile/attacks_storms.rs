//! Much of what is small, cheap or never ends.
//!
//! The counts are what a debug build of a daemon takes in seconds: a million of what is a byte or nine, in records that are
//! full of them; a million channels as a claim, of which the daemon takes 4,096; of what asks for work, as much as
//! `byzantine.rateLimit` lets through in 5 s.

use std::time::Duration;

use crate::attacks::{Attack, offence, path_lost, served, slowed};
use crate::common::wait_for;
use crate::ground::MESSAGE_MAX;
use crate::peer::frame::{self, Data, FIN, NEXT};
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
    })
    .takes(
        24,
        "4,096 channels: both halves of each, their places in lists, and the tasks that serve them",
    ),
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
            let channels = || scene.ground.peer_status(scene.node())["channels"].as_u64();
            let is_alive = (0..40).all(|_| {
                let mut open = || {
                    let channel = peer.new_channel();
                    Data::open(channel, &format!("no/such/{channel}")).encode()
                };
                let frames: Vec<_> = (0..500).map(|_| open()).collect();
                let is_sent = peer.send_all(frames) && peer.is_alive();
                // No more at once than the daemon may have open.
                wait_for("resets", || channels().is_none_or(|open| open < 500).then_some(()));
                is_sent
            });
            assert!(!is_alive, "20,000 Resets wait for their acks");
            peer.wait_for_end();
        },
    )
    .takes(12, "8,192 Resets that wait for their acks, and the channels that they end"),
    served(
        "unfinished-messages",
        "messages of 4 MiB on 40 channels, each without its last byte",
        |scene| {
            let mut peer = scene.begin();
            unfinished(&mut peer, 40);
            assert!(peer.is_alive());
        },
    )
    .takes(
        32,
        "messages that are gathered: as much as the pool has, and one, which is copied as it grows",
    ),
    served(
        "frames-of-channels-that-are-over",
        "100,000 Fins on 5,000 channels that were reset, and no answer is read meanwhile",
        |scene| {
            let mut peer = scene.begin();
            let channels: Vec<_> = (0..5_000).map(|_| peer.new_channel()).collect();
            for part in channels.chunks(1_000) {
                let mut frames = Vec::new();
                for channel in part {
                    frames.push(Data::open(*channel, "bench/sink").encode());
                    frames.push(peer.control(&frame::reset(*channel, 1)));
                }
                assert!(peer.send_all(frames) && peer.is_alive());
            }
            let frames = channels.iter().cycle().take(100_000);
            assert!(peer.send_all(frames.map(|channel| Data::new(FIN, *channel, 9, b"").encode())));
            assert!(peer.is_alive() && peer.has_service());
        },
    ),
    path_lost(
        "unread-early-frames",
        "as much as credit allows on 1,000 channels, behind a frame that never comes",
        "memory-short",
        |scene| {
            let mut peer = scene.begin();
            let payload = vec![7; 60_000];
            for _ in 0..1_000 {
                let channel = peer.open("bench/sink");
                if !peer.send_body(&Data::first(channel, 3, 60_000, &payload)) {
                    break;
                }
            }
            peer.wait_for_end();
        },
    )
    .takes(20, "the pool: frames that wait for one that never comes"),
    path_lost(
        "never-reading",
        "credit without end for 20 benches of 60 s, and nothing is read for 3 s; then the end",
        "link-failed",
        |scene| {
            let mut peer = scene.begin();
            for number in 0..20 {
                let channel = peer.open("bench/source");
                peer.send(&frame::credit(channel, u64::MAX / 2));
                // Copied into the pool, or in memory of their own.
                let size = if number % 2 == 0 { 1_000 } else { 9_000 };
                let plan = format!("{{\"size\":{size},\"duration_ms\":60000}}");
                peer.message(channel, plan.as_bytes());
            }
            for _ in 0..30 {
                std::thread::sleep(Duration::from_millis(100));
                assert!(peer.send(&frame::pong(1)), "it is heard, so its path stands");
            }
        },
    )
    .takes(20, "messages that are not acked: as much as the pool has"),
];

/// A message that never ends.
struct Unfinished {
    channel: u32,
    left: u64,
    /// Credit that was used.
    used: u64,
}

impl Unfinished {
    /// The next piece, if there is credit for it, or for what opens the service.
    fn next(&mut self, peer: &mut Peer) -> Option<Data> {
        const PIECE: u64 = 60_000;
        if self.left == MESSAGE_MAX && self.used == 0 {
            self.used = 1_024;
            let seq = peer.next_seq(self.channel);
            return Some(Data::batch(self.channel, seq, &[b"{}"]));
        }
        let bytes = PIECE.min(self.left - 1);
        let cost = bytes.max(1_024);
        if bytes == 0 || self.used + cost > peer.credit_of(self.channel) {
            return None;
        }
        let (seq, piece) = (peer.next_seq(self.channel), vec![7; bytes as usize]);
        let is_first = self.left == MESSAGE_MAX;
        self.used += cost;
        self.left -= bytes;
        Some(match is_first {
            true => Data::first(self.channel, seq, MESSAGE_MAX, &piece),
            false => Data::new(NEXT, self.channel, seq, &piece),
        })
    }
}

/// Begins the longest message there may be on each of so many channels, and sends all but the last byte of it as credit
/// comes, until none has come for a second.
fn unfinished(peer: &mut Peer, channels: usize) {
    let begin = |peer: &mut Peer| Unfinished {
        channel: peer.open("bench/sink"),
        left: MESSAGE_MAX,
        used: 0,
    };
    let mut begun: Vec<_> = (0..channels).map(|_| begin(peer)).collect();
    let mut quiet = 0;
    while quiet < 20 {
        quiet += 1;
        for message in &mut begun {
            while let Some(data) = message.next(peer) {
                peer.send_body(&data);
                quiet = 0;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(peer.is_alive());
    }
}
