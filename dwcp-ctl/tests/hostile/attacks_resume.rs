//! Sessions that are not one's own to resume, or not in this way.

use std::net::Shutdown;

use crate::attacks::{Attack, outside, served};
use crate::attacks_hello::is_refused;
use crate::common::wait_for;
use crate::ground::{ACCOMPLICE, Scene};
use crate::peer::bytes::random;
use crate::peer::frame;
use crate::peer::hello::{Hello, Reply, Resume};
use crate::peer::keys;
use crate::peer::session::{Peer, greet};

const REFUSED: &str = "refused";
const UNKNOWN_SESSION: u8 = 2;
const BAD_PROOF: u8 = 3;
const NO_COMMON_SUITE: u8 = 7;
const OTHER_INCARNATION: u8 = 8;

pub(crate) const ATTACKS: &[Attack] = &[
    outside("resume-random-proof", "a random proof", REFUSED, |scene| {
        let mut peer = scene.begin();
        refuses(scene, &peer, 2, BAD_PROOF, |hello, _| proof(hello, random()));
        assert!(peer.is_alive(), "the session stands");
    }),
    outside(
        "resume-old-exporter",
        "a proof over the exporter of the first connection",
        REFUSED,
        |scene| {
            let mut peer = scene.begin();
            let old = keys::resume_proof(&peer.known.secret, &peer.known.first_exporter);
            refuses(scene, &peer, 2, BAD_PROOF, |hello, _| proof(hello, old));
            assert!(peer.is_alive());
        },
    ),
    outside(
        "resume-replayed",
        "the hello of an earlier resumption, word for word",
        REFUSED,
        |scene| {
            let peer = scene.begin();
            let mut tls = scene.secured();
            let bytes = peer.resumption(2, &tls.exporter()).encode();
            let (reply, _) = greet(&mut tls, &bytes).unwrap();
            assert!(matches!(reply, Reply::Welcome(_)), "it is good once: {reply:?}");
            let hello = Hello::decode(&bytes);
            is_refused(scene, &hello, BAD_PROOF);
        },
    ),
    outside(
        "resume-of-another-node",
        "the session of another node, with its true secret",
        REFUSED,
        |scene| {
            let credentials = scene.credentials_of(ACCOMPLICE);
            let mut other =
                Peer::begin(scene.address(), &credentials, &Hello::new(ACCOMPLICE, "b"));
            assert!(other.is_alive());
            refuses(scene, &other, 2, UNKNOWN_SESSION, |hello, _| hello.node = scene.node().into());
            assert!(other.is_alive() && other.has_service());
        },
    ),
    outside("resume-of-none", "a session that never was", REFUSED, |scene| {
        let peer = scene.begin();
        refuses(scene, &peer, 2, UNKNOWN_SESSION, |hello, _| {
            hello.resume.as_mut().unwrap().session = random();
        });
    }),
    outside(
        "resume-used-path",
        "a path id that was used; one that is the daemon's to give",
        REFUSED,
        |scene| {
            let peer = scene.begin();
            let mut second = peer.resume(scene.address(), &scene.credentials(), 2);
            for path in [0, 2, 7] {
                refuses(scene, &peer, path, BAD_PROOF, |_, _| {});
            }
            assert!(second.is_alive() && second.has_service());
        },
    )
    .times(3),
    outside("resume-other-life", "another incarnation than the session's", REFUSED, |scene| {
        let mut peer = scene.begin();
        refuses(scene, &peer, 2, OTHER_INCARNATION, |hello, _| hello.incarnation += 1);
        assert!(peer.is_alive());
    }),
    outside("resume-downgrade", "other suites than were agreed on", REFUSED, |scene| {
        let mut peer = scene.begin();
        refuses(scene, &peer, 2, NO_COMMON_SUITE, |hello, _| {
            hello.suites = vec![b"crc32".to_vec()];
        });
        assert!(peer.is_alive());
    }),
    outside("resume-after-the-end", "a session that was closed", REFUSED, |scene| {
        let mut peer = scene.begin();
        let close = peer.control(&frame::close(0, b"bye"));
        peer.send(&close);
        assert!(peer.is_alive(), "it has the Close");
        peer.stream.shutdown(Shutdown::Both).unwrap();
        wait_for("the end of the session", || {
            scene.ground.peer_status(scene.node())["session"].is_null().then_some(())
        });
        refuses(scene, &peer, 2, UNKNOWN_SESSION, |_, _| {});
    }),
    outside(
        "odd-first-path",
        "a new session over a path that is the daemon's to give",
        REFUSED,
        |scene| {
            let mut hello = scene.hello();
            hello.path = 1;
            is_refused(scene, &hello, BAD_PROOF);
        },
    ),
    served(
        "resume-storm",
        "100 resumptions of one session, each over a path of its own",
        |scene| {
            let mut peers = vec![scene.begin()];
            for path in 1..=100 {
                let next = peers[0].resume(scene.address(), &scene.credentials(), 2 * path);
                peers.push(next);
            }
            // Those that are being closed still show for a moment.
            wait_for("eight paths", || {
                let peer = scene.ground.peer_status(scene.node());
                (peer["paths"].as_array().unwrap().len() <= 8).then_some(())
            });
            assert!(peers.last_mut().unwrap().is_alive());
        },
    ),
];

fn proof(hello: &mut Hello, proof: [u8; 32]) {
    hello.resume.as_mut().unwrap().proof = proof;
}

/// A hello that resumes the session of `peer`, good but for what `change` does, is refused so.
fn refuses(
    scene: &Scene<'_>,
    peer: &Peer,
    path: u32,
    refusal: u8,
    change: impl FnOnce(&mut Hello, &Resume),
) {
    let mut tls = scene.secured();
    let mut hello = peer.resumption(path, &tls.exporter());
    let resume = hello.resume.clone().unwrap();
    change(&mut hello, &resume);
    let (reply, _) = greet(&mut tls, &hello.encode()).unwrap();
    let words = format!("{reply:?}");
    assert!(words.contains(&format!("refusal: {refusal},")), "{words}");
}
