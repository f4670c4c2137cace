//! Records that are not authentic, or not in their turn: whoever stands on the way can make them.

use std::io::Write;
use std::time::Duration;

use crate::attacks::{Attack, path_lost};
use crate::ground::Scene;
use crate::peer::frame;
use crate::peer::record::{Header, plaintext, seal};
use crate::peer::session::Peer;

const BAD: &str = "bad-record";

pub(crate) const ATTACKS: &[Attack] = &[
    path_lost(
        "record-truncated",
        "a record that lacks its last 8 bytes, then the next one",
        BAD,
        |scene| {
            spoils(scene, |peer| {
                let record = next(peer);
                [&record[..record.len() - 8], &next(peer)].concat()
            });
        },
    ),
    path_lost("record-flipped", "a bit of the ciphertext flipped", BAD, |scene| {
        spoils(scene, |peer| flipped(next(peer), 16));
    }),
    path_lost("tag-flipped", "a bit of the GCM tag flipped", BAD, |scene| {
        spoils(scene, |peer| {
            let record = next(peer);
            let tag = record.len() - 48;
            flipped(record, tag)
        });
    }),
    path_lost("mac-flipped", "a bit of the HMAC flipped", BAD, |scene| {
        spoils(scene, |peer| {
            let record = next(peer);
            let last = record.len() - 1;
            flipped(record, last)
        });
    }),
    path_lost("header-flipped", "another epoch in the header than was sealed", BAD, |scene| {
        spoils(scene, |peer| flipped(next(peer), 5));
    }),
    path_lost("record-replayed", "a record twice", BAD, |scene| {
        spoils(scene, |peer| next(peer).repeat(2));
    }),
    path_lost(
        "old-record-replayed",
        "the first record of the path, after 100 others",
        BAD,
        |scene| {
            let mut peer = Peer::begin(scene.address(), &scene.credentials(), &scene.hello());
            let first = next(&mut peer);
            peer.send_raw(&first);
            (0..100).for_each(|_| _ = peer.send(&frame::pong(1)));
            assert!(peer.is_alive());
            peer.send_raw(&first);
            peer.wait_for_end();
        },
    ),
    path_lost("records-reordered", "two records, the second first", BAD, |scene| {
        spoils(scene, |peer| {
            let first = next(peer);
            [next(peer), first].concat()
        });
    }),
    path_lost("record-left-out", "a record number left out", BAD, |scene| {
        spoils(scene, |peer| {
            drop(next(peer));
            next(peer)
        });
    }),
    path_lost("last-record-number", "record number 2^64 - 1", BAD, |scene| {
        sealed_as(scene, |header| header.number = u64::MAX);
    }),
    path_lost(
        "record-of-the-other-direction",
        "a record under the keys of the daemon's direction, in its turn",
        BAD,
        |scene| {
            let mut peer = scene.begin();
            let keys = peer.their_keys.clone();
            let record = seal(&keys, true, peer.seal.header(), &plaintext(&[], &frame::ping(1)));
            peer.send_raw(&record);
            peer.wait_for_end();
        },
    ),
    path_lost(
        "record-of-another-path",
        "a record of one path on another one of the session",
        BAD,
        |scene| {
            let mut peer = scene.begin();
            let mut second = peer.resume(scene.address(), &scene.credentials(), 2);
            let record = next(&mut peer);
            second.seal.number = peer.seal.number;
            second.send_raw(&record);
            second.wait_for_end();
            assert!(
                peer.resume(scene.address(), &scene.credentials(), 4).is_alive(),
                "the session stands"
            );
        },
    ),
    path_lost(
        "record-of-another-session",
        "a record of an earlier session of the same two nodes",
        BAD,
        |scene| {
            let mut old = Peer::begin(scene.address(), &scene.credentials(), &scene.hello());
            let record = next(&mut old);
            let mut peer = Peer::begin(scene.address(), &scene.credentials(), &scene.hello());
            peer.send_raw(&record);
            peer.wait_for_end();
        },
    ),
    path_lost(
        "wrong-phase",
        "key phases 2 and 3 before there was 1; the old phase after a rekey",
        BAD,
        |scene| {
            for phase in [2, 3] {
                sealed_as(scene, |header| header.phase = phase);
            }
            spoils(scene, |peer| {
                let old = peer.seal.clone();
                peer.seal.rekey();
                let rekeyed = next(peer);
                peer.seal = old;
                [rekeyed, next(peer)].concat()
            });
        },
    )
    .times(3),
    path_lost(
        "next-phase-forged",
        "the next key phase in the header, under keys of this one",
        BAD,
        |scene| {
            sealed_as(scene, |header| (header.phase, header.number) = (1, 0));
        },
    ),
    path_lost("wrong-lane", "lanes 1 and 7", BAD, |scene| {
        for lane in [1, 7] {
            sealed_as(scene, |header| header.lane = lane);
        }
    })
    .times(2),
    path_lost("reserved-bits", "bits of the header that are to be 0", BAD, |scene| {
        for reserved in [1, 4, 7] {
            sealed_as(scene, |header| header.reserved = reserved);
        }
    })
    .times(3),
    path_lost(
        "oversized-length",
        "lengths of 266,243 and 16,777,215 bytes, and nothing behind them",
        BAD,
        |scene| {
            for length in [266_243, 0xff_ffff] {
                spoils(scene, |peer| Header { length, ..peer.seal.header() }.encode());
            }
        },
    )
    .times(2),
    path_lost(
        "undersized-length",
        "lengths of 0 and 47 bytes: less than tag and HMAC",
        BAD,
        |scene| {
            for length in [0, 47] {
                spoils(scene, |peer| {
                    let header = Header { length, ..peer.seal.header() };
                    [header.encode(), vec![0; length as usize]].concat()
                });
            }
        },
    )
    .times(2),
    path_lost(
        "slow-loris-record",
        "a record of 266,242 bytes, one each 100 ms",
        "heartbeat-lost",
        |scene| {
            let mut peer = scene.begin();
            let header = Header { length: 266_242, ..peer.seal.header() };
            peer.send_raw(&header.encode());
            let mut stream = peer.stream.try_clone().unwrap();
            std::thread::spawn(move || {
                while stream.write_all(&[0]).is_ok() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
            peer.is_polite = false;
            peer.wait_for_end();
        },
    ),
    path_lost(
        "half-open",
        "nothing at all once the session stands: no pong, no ack, no end",
        "heartbeat-lost",
        |scene| {
            let mut peer = scene.begin();
            peer.is_polite = false;
            peer.wait_for_end();
        },
    ),
];

/// The next record as it should be.
fn next(peer: &mut Peer) -> Vec<u8> {
    peer.seal.seal(&[], &frame::pong(7))
}

fn flipped(mut record: Vec<u8>, at: usize) -> Vec<u8> {
    record[at] ^= 1;
    record
}

/// Sends the bytes that `make` makes of a good session; the path is lost.
fn spoils(scene: &Scene<'_>, make: impl FnOnce(&mut Peer) -> Vec<u8>) {
    let mut peer = scene.begin();
    let bytes = make(&mut peer);
    peer.send_raw(&bytes);
    peer.wait_for_end();
}

/// Sends a record that is sealed as it says, with a header that is changed.
fn sealed_as(scene: &Scene<'_>, change: impl FnOnce(&mut Header)) {
    spoils(scene, |peer| {
        let mut header = peer.seal.header();
        change(&mut header);
        seal(&peer.seal.keys, peer.seal.has_hmac, header, &plaintext(&[], &frame::pong(7)))
    });
}
