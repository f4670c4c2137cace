//! Authentic records that do not decode, control messages and epochs that no honest peer sends.

use crate::attacks::{Attack, offence, served};
use crate::attacks_channels::on_a_channel;
use crate::ground::Scene;
use crate::peer::frame::{self, BODY, CONTROL, Data};
use crate::peer::session::Peer;

const MALFORMED: &str = "malformed-record";

pub(crate) const ATTACKS: &[Attack] = &[
    offence("unknown-frame", "a frame of type 0; 14; 255", MALFORMED, |scene| {
        for kind in [0, 14, 255] {
            sends(scene, |_| vec![kind, 1, 2, 3]);
        }
    })
    .times(3),
    offence(
        "frame-cut-off",
        "an Ack, a Data and a Ping that end in the middle of a field",
        MALFORMED,
        |scene| {
            let data = Data::open(2, "x").encode();
            for frame in [&frame::ack(0, 0, &[(1, 1)])[..20], &data[..12], &frame::ping(1)[..5]] {
                sends(scene, |_| frame.to_vec());
            }
        },
    )
    .times(3),
    offence("plaintext-too-short", "a plaintext of 0 and of 1 byte", MALFORMED, |scene| {
        for bytes in [0, 1] {
            plain(scene, &vec![0; bytes]);
        }
    })
    .times(2),
    offence(
        "frame-section-leads-out",
        "a frame section of 65,535 bytes in a plaintext of 10; one of 4,049",
        MALFORMED,
        |scene| {
            plain(scene, &[0xff; 10]);
            let mut wakes = vec![frame::WAKE; 4_049];
            wakes.extend(4_049_u16.to_le_bytes());
            plain(scene, &wakes);
        },
    )
    .times(2),
    offence("body-without-frame", "a body that no frame names", MALFORMED, |scene| {
        bodies(scene, &[7; 100], &frame::pong(1));
    }),
    offence("body-named-twice", "two frames that name the same body", MALFORMED, |scene| {
        let data = |seq| Data::new(frame::BATCH, 2, seq, &[1; 100]).with_flags(BODY).encode();
        bodies(
            scene,
            &[1; 100],
            &[Data::open(2, "bench/sink").encode(), data(2), data(3)].concat(),
        );
    }),
    offence(
        "body-of-other-length",
        "a frame that says the body has 101 bytes, which has 100",
        MALFORMED,
        |scene| {
            let data = Data { length: Some(101), ..Data::new(frame::BATCH, 2, 2, &[1; 100]) };
            bodies(scene, &[1; 100], &data.with_flags(BODY).encode());
        },
    ),
    offence(
        "payload-leads-out",
        "payloads of 2^32 - 1, 2^32 - 16 and 4,000 bytes that are not there",
        MALFORMED,
        |scene| {
            for length in [u32::MAX, 0xffff_fff0, 4_000] {
                let data = Data { length: Some(length), ..Data::new(frame::BATCH, 2, 2, &[1; 8]) };
                sends(scene, |_| data.encode());
            }
        },
    )
    .times(3),
    offence("sequence-out-of-range", "frame numbers 0 and 2^64 - 1", MALFORMED, |scene| {
        for seq in [0, u64::MAX] {
            sends(scene, |_| Data::batch(2, seq, &[b"x"]).encode());
        }
    })
    .times(2),
    offence("unknown-data-kind", "data kinds 6 and 7; bits that are to be 0", MALFORMED, |scene| {
        for (kind, flags) in [(6, 0), (7, 0), (frame::BATCH, 0x40)] {
            sends(scene, |_| Data::new(kind, 2, 1, b"x").with_flags(flags).encode());
        }
    })
    .times(3),
    offence(
        "ranges-overlap",
        "ranges of an ack with a gap of 0; of length 0; 33 of them",
        MALFORMED,
        |scene| {
            let ranges: [&[(u32, u32)]; 3] = [&[(2, 5), (0, 5)], &[(1, 0)], &[(1, 1); 33]];
            for ranges in ranges {
                sends(scene, |_| frame::ack(0, 0, ranges));
            }
        },
    )
    .times(3),
    offence("ranges-overflow", "ranges of an ack that lead beyond 2^64", MALFORMED, |scene| {
        sends(scene, |_| frame::ack(0, u64::MAX - 1, &[(u32::MAX, u32::MAX)]));
    }),
    offence(
        "epoch-in-header",
        "epochs 2^32 - 1 and 70,000 in a header",
        "epoch-too-high",
        |scene| {
            for epoch in [u32::MAX, 70_000] {
                sends(scene, |peer| {
                    peer.seal.epoch = epoch;
                    frame::ping(1)
                });
            }
        },
    )
    .times(2),
    offence(
        "epoch-in-mark",
        "epochs 2^32 - 1 and 70,000 in a SwitchMark",
        "epoch-too-high",
        |scene| {
            for epoch in [u32::MAX, 70_000] {
                sends(scene, |_| frame::switch_mark(epoch, 0));
            }
        },
    )
    .times(2),
    served(
        "epoch-goes-back",
        "epochs and marks lower than those before; marks of paths that are not",
        |scene| {
            let mut peer = scene.begin();
            peer.seal.epoch = 9;
            assert!(peer.is_alive());
            for (epoch, path) in [(1, 0), (3, 0), (60_000, 99), (60_000, 4)] {
                peer.seal.epoch = 0;
                peer.send(&frame::switch_mark(epoch, path));
            }
            assert!(peer.has_service());
        },
    ),
    offence("unknown-control", "control messages of type 0, 9 and 255", "bad-control", |scene| {
        for kind in [0, 9, 255] {
            controls(scene, &[kind, 0, 0, 0, 0]);
        }
    })
    .times(3),
    offence(
        "leaving-in-version-3",
        "a Leaving in a session of version 3",
        "bad-control",
        |scene| {
            let mut hello = scene.hello();
            hello.versions = (3, 3);
            let mut peer = scene.begin_by(&hello);
            let leaving = peer.control(&[8]);
            peer.send(&leaving);
            peer.wait_for_end();
        },
    ),
    served("leaving-for-ever", "300 Leavings", |scene| {
        let mut peer = scene.begin();
        let leavings: Vec<_> = (0..300).map(|_| peer.control(&[8])).collect();
        peer.send_all(leavings);
        assert!(peer.has_service());
    }),
    offence(
        "control-left-over",
        "a control message with a byte left over; one without its last; an empty one",
        "bad-control",
        |scene| {
            let whole = frame::reset(2, 1);
            for message in [[&whole[..], &[0]].concat(), whole[..8].to_vec(), Vec::new()] {
                controls(scene, &message);
            }
        },
    )
    .times(3),
    offence(
        "control-long-fields",
        "a reason of 257 bytes; one that is no UTF-8; a bootstrap of 1,025",
        "bad-control",
        |scene| {
            let mut offer = frame::path_offer(2);
            offer.truncate(38);
            offer.extend(1_025_u16.to_le_bytes());
            offer.extend([0; 1_025]);
            for message in [frame::close(0, &[b'x'; 257]), frame::close(0, &[0xc3, 0x28]), offer] {
                controls(scene, &message);
            }
        },
    )
    .times(3),
    offence(
        "control-too-long",
        "a control message of 2,054 bytes",
        "frame-out-of-place",
        |scene| {
            controls(scene, &[6; 2_054]);
        },
    ),
    offence(
        "control-elsewhere",
        "a control frame on channel 2, behind its Open; a Batch and a Fin on channel 0",
        "frame-out-of-place",
        |scene| {
            on_a_channel(scene, &[Data::new(CONTROL, 2, 2, &frame::reset(9, 1))]);
            sends(scene, |_| Data::new(frame::BATCH, 0, 1, b"\0").encode());
            sends(scene, |_| Data::new(frame::FIN, 0, 1, b"").encode());
        },
    )
    .times(3),
    offence(
        "control-too-far-ahead",
        "frame 300 of channel 0, while 1 is missing",
        "too-far-ahead",
        |scene| {
            sends(scene, |_| Data::new(CONTROL, 0, 300, &frame::reset(2, 1)).encode());
        },
    ),
    served(
        "control-with-a-gap",
        "255 control frames of 2,053 bytes, of which the first is missing",
        |scene| {
            let mut peer = scene.begin();
            let message = vec![9; 2_053];
            for seq in 2..=256 {
                peer.send_body(&Data::new(CONTROL, 0, seq, &message));
            }
            assert!(peer.is_alive());
        },
    ),
    offence("endless-offers", "1,000 PathOffers, without `HYBRID`", "offer-unasked", |scene| {
        let mut peer = scene.begin();
        let offers: Vec<_> =
            (1..=1_000).map(|offer| peer.control(&frame::path_offer(2 * offer))).collect();
        peer.send_all(offers);
        peer.wait_for_end();
    }),
    offence(
        "foreign-offer",
        "a PathOffer of an id that is the daemon's to give; of path 0",
        "foreign-path",
        |scene| {
            controls(scene, &frame::path_offer(1));
            controls(scene, &frame::path_offer(0));
        },
    )
    .times(2),
    offence(
        "answer-without-offer",
        "a PathAnswer to what was not offered",
        "foreign-path",
        |scene| {
            controls(scene, &frame::path_answer(1));
        },
    ),
    served(
        "unknown-paths",
        "PathClosed, Fenced and SwitchRequest of paths that are not",
        |scene| {
            let mut peer = scene.begin();
            for message in
                [frame::path_closed(77), frame::fenced(99, 0, 0), frame::switch_request(51)]
            {
                let frame = peer.control(&message);
                peer.send(&frame);
            }
            assert!(peer.has_service());
        },
    ),
    offence(
        "fence-acks-the-unsent",
        "a Fenced whose report acks what was never sent",
        "ack-of-unsent",
        |scene| {
            controls(scene, &frame::fenced(99, 0, 50));
        },
    ),
    offence(
        "pull-over-tcp",
        "a First to be pulled from the sender's memory",
        "frame-out-of-place",
        |scene| {
            sends(scene, |_| {
                let pull = Data {
                    flags: frame::PULL,
                    declared: Some(65_536),
                    ..Data::first(2, 2, 65_536, b"")
                };
                [Data::open(2, "bench/sink").encode(), pull.encode()].concat()
            });
        },
    ),
    offence(
        "pull-with-payload",
        "a frame to be pulled that has its payload with it",
        MALFORMED,
        |scene| {
            sends(scene, |_| {
                let pull = Data {
                    flags: frame::PULL,
                    declared: Some(8),
                    length: Some(8),
                    ..Data::first(2, 2, 8, b"")
                };
                [pull.encode(), vec![0; 8]].concat()
            });
        },
    ),
];

/// Sends a record with the frames that `make` makes; the daemon ends the connection.
pub(crate) fn sends(scene: &Scene<'_>, make: impl FnOnce(&mut Peer) -> Vec<u8>) {
    let mut peer = scene.begin();
    let frames = make(&mut peer);
    peer.send(&frames);
    peer.wait_for_end();
}

/// The same with one control message.
fn controls(scene: &Scene<'_>, message: &[u8]) {
    sends(scene, |peer| peer.control(message));
}

/// The same with a plaintext as it is.
fn plain(scene: &Scene<'_>, plain: &[u8]) {
    let mut peer = scene.begin();
    let record = peer.seal.seal_plain(plain);
    peer.send_raw(&record);
    peer.wait_for_end();
}

/// The same with a body.
fn bodies(scene: &Scene<'_>, body: &[u8], frames: &[u8]) {
    let mut peer = scene.begin();
    let record = peer.seal.seal(body, frames);
    peer.send_raw(&record);
    peer.wait_for_end();
}
