//! Channels, messages, credit and acks: frames that are well-formed and break a rule, or only look as if they did.

use crate::attacks::{Attack, offence, path_lost, served};
use crate::attacks_frames::sends;
use crate::ground::{MESSAGE_MAX, Scene};
use crate::peer::frame::{self, Data, FIN, Heard, NEXT};
use crate::peer::session::CREDIT;

const OUT_OF_PLACE: &str = "frame-out-of-place";

pub(crate) const ATTACKS: &[Attack] = &[
    offence(
        "fin-then-data",
        "data behind a Fin; a Fin that comes early, before data",
        OUT_OF_PLACE,
        |scene| {
            on_a_channel(scene, &[Data::new(FIN, 2, 2, b""), batch(3)]);
            on_a_channel(scene, &[Data::new(FIN, 2, 4, b""), batch(5)]);
            on_a_channel(scene, &[batch(5), Data::new(FIN, 2, 4, b"")]);
        },
    )
    .times(3),
    offence("data-before-open", "a channel that begins with a message", OUT_OF_PLACE, |scene| {
        sends(scene, |_| batch(1).encode());
    }),
    offence("open-again", "an Open as frame 2; one of 130 bytes", OUT_OF_PLACE, |scene| {
        on_a_channel(scene, &[Data { seq: 2, ..Data::open(2, "bench/sink") }]);
        sends(scene, |_| Data::open(2, &"x".repeat(129)).encode());
    })
    .times(2),
    offence(
        "open-malformed",
        "an Open of an unknown priority; empty; with a label that is no UTF-8",
        OUT_OF_PLACE,
        |scene| {
            for payload in [&b"\x07x"[..], b"", &[0, 0xc3, 0x28]] {
                sends(scene, |_| Data::new(frame::OPEN, 2, 1, payload).encode());
            }
        },
    )
    .times(3),
    offence(
        "foreign-channel",
        "an Open and a Reset of a channel that is the daemon's to open",
        "foreign-channel",
        |scene| {
            sends(scene, |_| Data::open(3, "bench/sink").encode());
            sends(scene, |peer| peer.control(&frame::reset(5, 1)));
        },
    )
    .times(2),
    offence(
        "batch-leads-out",
        "a batch whose length leads out of it; of 4 bytes; that ends in its length",
        OUT_OF_PLACE,
        |scene| {
            for payload in [&[16, 1][..], &[0xff, 0xff, 0xff, 0x7f], &[0x80]] {
                on_a_channel(
                    scene,
                    &[Data::batch(2, 2, &[b"{}"]), Data::new(frame::BATCH, 2, 3, payload)],
                );
            }
        },
    )
    .times(3),
    served(
        "batch-oddities",
        "an empty batch; empty messages; lengths that are longer than need be",
        |scene| {
            let mut peer = scene.begin();
            let channel = peer.open("bench/latency");
            peer.message(channel, b"{}");
            for payload in [&b""[..], &[0, 0, 0], &[0x80, 0]] {
                let seq = peer.next_seq(channel);
                peer.send(&Data::new(frame::BATCH, channel, seq, payload).encode());
            }
            peer.message(channel, b"the last");
            for expected in [&b""[..], b"", b"", b"", b"the last"] {
                assert_eq!(peer.receive(channel).as_deref(), Some(expected));
            }
        },
    ),
    offence(
        "message-too-long",
        "messages of one byte more than `session.maxMessageSize`; of 2^64 - 1",
        "message-too-long",
        |scene| {
            for total in [MESSAGE_MAX + 1, u64::MAX] {
                on_a_channel(scene, &[Data::first(2, 2, total, b"x")]);
            }
        },
    )
    .times(2),
    offence(
        "fragments-do-not-add-up",
        "a fragment without a message; more bytes than were announced; an empty one",
        OUT_OF_PLACE,
        |scene| {
            on_a_channel(scene, &[Data::new(NEXT, 2, 2, b"x")]);
            on_a_channel(
                scene,
                &[Data::first(2, 2, 10, b"12345"), Data::new(NEXT, 2, 3, b"123456")],
            );
            on_a_channel(scene, &[Data::first(2, 2, 10, b"12345"), Data::new(NEXT, 2, 3, b"")]);
        },
    )
    .times(3),
    offence(
        "message-cut-short",
        "a Batch, a First and a Fin before the end of a message",
        OUT_OF_PLACE,
        |scene| {
            for then in [batch(3), Data::first(2, 3, 1, b"x"), Data::new(FIN, 2, 3, b"")] {
                on_a_channel(scene, &[Data::first(2, 2, 10, b"12345"), then]);
            }
        },
    )
    .times(3),
    offence("fin-with-payload", "a Fin that has a payload", OUT_OF_PLACE, |scene| {
        on_a_channel(scene, &[Data::new(FIN, 2, 2, b"x")]);
    }),
    offence(
        "credit-overdrawn",
        "a byte more than the credit; 65 frames of a byte, which cost 1,024 each",
        "credit-exceeded",
        |scene| {
            // The first of them is missing: nothing is taken, and no credit given.
            let frames: Vec<_> = (3..68).map(batch).collect();
            on_a_channel(scene, &frames);
            let mut peer = scene.begin();
            peer.open("bench/sink");
            peer.send_body(&Data::first(2, 3, CREDIT + 1, &vec![0; CREDIT as usize + 1]));
            peer.wait_for_end();
        },
    )
    .times(2),
    offence(
        "too-far-ahead",
        "a frame 20,000 after the first that is missing",
        "too-far-ahead",
        |scene| {
            on_a_channel(scene, &[batch(20_000)]);
        },
    ),
    served(
        "credit-never-given",
        "a peer that gives no credit, and wants to be sent 3 s of data",
        |scene| {
            let mut peer = scene.begin();
            let channel = peer.open("bench/source");
            peer.message(channel, br#"{"size":16384,"duration_ms":3000}"#);
            for _ in 0..CREDIT / 16_384 {
                assert_eq!(peer.receive(channel).map(|message| message.len()), Some(16_384));
            }
            assert!(peer.is_alive() && peer.has_service());
        },
    ),
    served("credit-lowered", "credit of 10 bytes, of 0, after more was given", |scene| {
        let mut peer = scene.begin();
        let channel = peer.open("bench/latency");
        peer.message(channel, b"{}");
        peer.send(
            &[
                frame::credit(channel, 1 << 20),
                frame::credit(channel, 10),
                frame::credit(channel, 0),
            ]
            .concat(),
        );
        for _ in 0..100 {
            peer.message(channel, &[7; 1_000]);
            assert_eq!(peer.receive(channel), Some(vec![7; 1_000]));
        }
    }),
    served("credit-without-end", "credit of 2^64 - 1; for channels that are not", |scene| {
        let mut peer = scene.begin();
        let channel = peer.open("bench/latency");
        peer.message(channel, b"{}");
        peer.send(
            &[frame::credit(channel, u64::MAX), frame::credit(0, u64::MAX), frame::credit(999, 5)]
                .concat(),
        );
        peer.message(channel, &[7; 3_000]);
        assert_eq!(peer.receive(channel), Some(vec![7; 3_000]));
    }),
    offence(
        "ack-of-unsent",
        "acks of frames that were never sent: cumulative, in a range, on channel 0",
        "ack-of-unsent",
        |scene| {
            for ack in [frame::ack(2, 5, &[]), frame::ack(2, 0, &[(3, 4)]), frame::ack(0, 9, &[])] {
                sends(scene, |_| [Data::open(2, "bench/sink").encode(), ack].concat());
            }
        },
    )
    .times(3),
    offence(
        "confirm-of-unsent",
        "a Confirm of more messages than were sent",
        "ack-of-unsent",
        |scene| {
            sends(scene, |_| {
                [Data::open(2, "bench/sink").encode(), frame::confirm(2, 1_000)].concat()
            });
        },
    ),
    served(
        "ack-goes-back",
        "acks lower than those before, again and again; acks of channels that are not",
        |scene| {
            let mut peer = scene.begin();
            let channel = peer.open("bench/latency");
            peer.message(channel, b"{}");
            for count in 0..20_u64 {
                peer.message(channel, &count.to_le_bytes());
                assert_eq!(peer.receive(channel), Some(count.to_le_bytes().to_vec()));
                peer.send(
                    &[
                        frame::ack(channel, 0, &[]),
                        frame::ack(channel, count / 2, &[]),
                        frame::ack(998, 77, &[]),
                    ]
                    .concat(),
                );
            }
            assert!(peer.has_service());
        },
    ),
    served(
        "channel-said-to-be-over",
        "an ack of 2^64 - 1 for a channel that stands, while data is on its way",
        |scene| {
            let mut peer = scene.begin();
            let channel = peer.open("bench/latency");
            peer.message(channel, b"{}");
            peer.message(channel, b"lost");
            peer.send(&frame::ack(channel, u64::MAX, &[]));
            assert!(peer.is_alive() && peer.has_service());
        },
    ),
    offence("control-channel-reset", "a Reset of channel 0", "foreign-channel", |scene| {
        sends(scene, |peer| peer.control(&frame::reset(0, 1)));
    }),
    offence(
        "control-channel-said-to-be-over",
        "an ack of 2^64 - 1 for channel 0, on its own and in a Fenced",
        "ack-of-unsent",
        |scene| {
            sends(scene, |_| frame::ack(0, u64::MAX, &[]));
            sends(scene, |peer| peer.control(&frame::fenced(9, 0, u64::MAX)));
        },
    )
    .times(2),
    served(
        "talk-after-close",
        "a Close, then a channel and messages; another Close, and the same again",
        |scene| {
            let mut peer = scene.begin();
            for message in [frame::close(0, b"bye"), frame::close(7, b"bye again")] {
                let close = peer.control(&message);
                peer.send(&close);
                let channel = peer.open("bench/latency");
                peer.message(channel, b"{}");
                peer.message(channel, b"anybody?");
            }
            assert!(peer.is_alive(), "its link is the peer's to end");
        },
    ),
    offence(
        "offer-after-close",
        "a Close, and a PathOffer without `HYBRID` while the daemon waits for an ack",
        "offer-unasked",
        |scene| {
            let mut peer = scene.begin();
            let channel = peer.open("bench/latency");
            peer.message(channel, b"{}");
            peer.message(channel, b"never acked");
            peer.is_polite = false;
            assert!(peer.receive(channel).is_some());
            let close = peer.control(&frame::close(0, b"bye"));
            let offer = peer.control(&frame::path_offer(2));
            peer.send(&[close, offer].concat());
            peer.wait_for_end();
        },
    ),
    path_lost(
        "own-path-closed",
        "PathClosed and Fenced of the only path, on that path",
        "peer-closed",
        |scene| {
            let mut peer = scene.begin();
            let frames = [
                peer.control(&frame::path_closed(0)),
                peer.control(&frame::fenced(0, 0, 0)),
                peer.control(&frame::path_closed(0)),
            ];
            peer.send(&frames.concat());
            peer.wait_for_end();
            assert!(peer.resume(scene.address(), &scene.credentials(), 2).is_alive());
        },
    ),
    served("duplicates", "frames that were acked, sent 500 times again", |scene| {
        let mut peer = scene.begin();
        let channel = peer.open("bench/latency");
        peer.message(channel, b"{}");
        let seq = peer.next_seq(channel);
        let frame = Data::batch(channel, seq, &[b"once"]).encode();
        peer.send_all(std::iter::repeat_n(frame, 500));
        peer.message(channel, b"the next");
        assert_eq!(peer.receive(channel).as_deref(), Some(&b"once"[..]));
        assert_eq!(peer.receive(channel).as_deref(), Some(&b"the next"[..]));
    }),
    served(
        "service-misused",
        "an unknown service; JSON that is none; plans beyond their limits; forwards to targets that are not allowed",
        |scene| {
            let mut peer = scene.begin();
            let (unknown, malformed) = (1, 2);
            for (label, message, code) in [
                ("no/such", &b"{}"[..], unknown),
                ("bench/latency", b"][", malformed),
                ("bench/source", br#"{"size":99999999999,"duration_ms":1}"#, malformed),
                ("bench/source", br#"{"size":8,"duration_ms":99999999999}"#, malformed),
                ("forward/1", b"][", malformed),
            ] {
                let channel = peer.open(label);
                peer.message(channel, message);
                let reset = frame::reset(channel, code);
                let is_it =
                    |heard: &Heard| matches!(heard, Heard::Data(data) if data.payload == reset);
                assert!(peer.read_until(|peer| peer.heard.iter().any(is_it)), "{label}");
            }
            // An address that clouds serve secrets from, and one that there is: the daemon's own metrics.
            for target in ["169.254.169.254:80", scene.admin()] {
                let channel = peer.open("forward/1");
                let ask = format!("{{\"target\":\"{target}\",\"compress\":false}}");
                peer.message(channel, ask.as_bytes());
                let answer = peer.receive(channel).expect("an answer");
                let answer = String::from_utf8(answer).unwrap();
                assert!(answer.contains("\"refused\""), "{target}: {answer}");
                let is_end = |heard: &Heard| matches!(heard, Heard::Data(data) if (data.channel, data.kind) == (channel, FIN));
                assert!(peer.read_until(|peer| peer.heard.iter().any(is_end)), "{target}");
            }
            assert!(peer.is_alive() && peer.has_service());
        },
    ),
];

fn batch(seq: u64) -> Data {
    Data::batch(2, seq, &[b"x"])
}

/// Opens channel 2, which is in order, and sends these frames on it; the daemon ends the connection.
pub(crate) fn on_a_channel(scene: &Scene<'_>, frames: &[Data]) {
    sends(scene, |_| {
        let open = Data::open(2, "bench/sink");
        std::iter::once(&open).chain(frames).flat_map(Data::encode).collect()
    });
}
