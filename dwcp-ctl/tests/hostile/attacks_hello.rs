//! Behind a good certificate: hellos that are none, or that want less than both ends can.

use std::net::Shutdown;
use std::time::Duration;

use crate::attacks::{Attack, offence, outside, path_lost, served};
use crate::attacks_door::{drip, ends};
use crate::ground::Scene;
use crate::peer::frame;
use crate::peer::hello::{HMAC, Hello, Reply};
use crate::peer::keys;
use crate::peer::session::{Agreed, Known, Peer, greet};

const FALSE_HELLO: &str = "false-hello";

pub(crate) const ATTACKS: &[Attack] = &[
    outside("hello-never-sent", "TLS, and then nothing", "timed_out", |scene| {
        ends(&mut scene.secured().stream);
    }),
    outside("hello-drips", "a hello, one byte of TLS each 100 ms", "timed_out", |scene| {
        let mut tls = scene.secured();
        let hello = scene.hello().encode();
        let framed = [&(hello.len() as u16).to_le_bytes()[..], &hello].concat();
        let sealed: Vec<u8> = framed.iter().flat_map(|byte| tls.sealed(&[*byte])).collect();
        drip(&mut tls.stream, &sealed);
    }),
    outside("hello-cut-off", "half a hello, then the end of the stream", "no_hello", |scene| {
        let mut tls = scene.secured();
        let hello = scene.hello().encode();
        tls.send(&(hello.len() as u16).to_le_bytes()).unwrap();
        tls.send(&hello[..hello.len() / 2]).unwrap();
        tls.stream.shutdown(Shutdown::Write).unwrap();
        ends(&mut tls.stream);
    }),
    outside(
        "hello-oversized",
        "a hello that says it has 1,025 bytes; 65,535",
        "no_hello",
        |scene| {
            for length in [1_025_u16, u16::MAX] {
                let mut tls = scene.secured();
                tls.send(&length.to_le_bytes()).unwrap();
                let _ = tls.send(&[0; 16_000]);
                ends(&mut tls.stream);
            }
        },
    )
    .times(2),
    offence(
        "hello-truncated",
        "a hello that ends in the middle of a field",
        FALSE_HELLO,
        |scene| {
            let hello = scene.hello().encode();
            for bytes in [&hello[..0], &hello[..41], &hello[..hello.len() - 1]] {
                is_no_hello(scene, bytes);
            }
        },
    )
    .times(3),
    offence("hello-invalid-utf8", "a node id that is no UTF-8", FALSE_HELLO, |scene| {
        says(scene, |hello| hello.node = vec![0xc3, 0x28]);
        says(scene, |hello| hello.peer = vec![0xff; 64]);
    })
    .times(2),
    offence("hello-bad-magic", "other letters than `DWCP`", FALSE_HELLO, |scene| {
        says(scene, |hello| hello.magic = *b"HTTP");
    }),
    offence(
        "hello-long-fields",
        "a node id of 65 bytes; 5 suites, none, a name of 33 bytes",
        FALSE_HELLO,
        |scene| {
            says(scene, |hello| hello.node = vec![b'n'; 65]);
            says(scene, |hello| hello.suites = vec![b"aes-256-gcm".to_vec(); 5]);
            says(scene, |hello| hello.trusted_suites.clear());
            says(scene, |hello| hello.suites = vec![vec![b's'; 33]]);
        },
    )
    .times(4),
    offence(
        "hello-of-another",
        "the id of an honest node, behind one's own certificate",
        FALSE_HELLO,
        |scene| {
            let mut hello = scene.hello();
            hello.node = b"a".to_vec();
            is_refused(scene, &hello, 1);
        },
    ),
    outside("hello-for-another", "a hello for another node", "refused", |scene| {
        let mut hello = scene.hello();
        hello.peer = b"a".to_vec();
        is_refused(scene, &hello, 1);
    }),
    outside("version-downgrade", "versions 1 to 2; 5 to 9; 5 to 4", "refused", |scene| {
        for versions in [(1, 2), (5, 9), (5, 4)] {
            let mut hello = scene.hello();
            hello.versions = versions;
            is_refused(scene, &hello, 0);
        }
    })
    .times(3),
    outside(
        "suites-stripped",
        "no suite but `crc32` for untrusted paths; an unknown one for trusted media",
        "refused",
        |scene| {
            for list in [0, 1] {
                let mut hello = scene.hello();
                let suites = if list == 0 { &mut hello.suites } else { &mut hello.trusted_suites };
                *suites = vec![if list == 0 { b"crc32".to_vec() } else { b"rot13".to_vec() }];
                is_refused(scene, &hello, 7);
            }
        },
    )
    .times(2),
    served(
        "features-stripped",
        "a hello without features, and with all bits that have no meaning",
        |scene| {
            let mut peer = scene.begin();
            assert!(peer.seal.has_hmac, "the daemon wants it, whatever the hello says");
            assert!(peer.has_service());
            let mut hello = scene.hello();
            hello.features = !7;
            let mut peer = scene.begin_by(&hello);
            assert!(peer.seal.has_hmac && peer.has_service());
        },
    ),
    path_lost(
        "hmac-left-out",
        "records without the HMAC that was agreed on",
        "bad-record",
        |scene| {
            let mut peer = scene.begin();
            peer.seal.has_hmac = false;
            peer.send(&frame::ping(1));
            peer.wait_for_end();
        },
    ),
    path_lost(
        "hello-changed-on-the-way",
        "keys of a transcript in which features were stripped",
        "bad-record",
        |scene| {
            let mut tls = scene.secured();
            let hello = scene.hello();
            let bytes = hello.encode();
            let (reply, reply_bytes) = greet(&mut tls, &bytes).unwrap();
            let Reply::Welcome(welcome) = reply else { panic!("{reply:?}") };
            let mut other = hello.clone();
            other.features |= HMAC;
            let exporter = tls.exporter();
            let secret = keys::session_secret(&exporter);
            let agreed = Agreed {
                root: secret,
                hello_bytes: &other.encode(),
                reply_bytes: &reply_bytes,
                welcome: &welcome,
                direction: 0,
            };
            let known = Known { id: welcome.session, secret, first_exporter: exporter };
            let mut peer = Peer::over(tls.stream, known, &hello, &agreed);
            peer.send(&frame::ping(1));
            ends(&mut peer.stream);
        },
    ),
    outside(
        "bytes-behind-the-hello",
        "application data of TLS behind the hello",
        "not_usable",
        |scene| {
            let mut tls = scene.secured();
            let hello = scene.hello().encode();
            let framed = [&(hello.len() as u16).to_le_bytes()[..], &hello, &[1; 100]].concat();
            tls.send(&framed).unwrap();
            ends(&mut tls.stream);
        },
    ),
    path_lost("tls-goes-on", "TLS where the first record is due", "bad-record", |scene| {
        let mut tls = scene.secured();
        greet(&mut tls, &scene.hello().encode()).unwrap();
        let _ = tls.send(&[1; 8_000]);
        ends(&mut tls.stream);
    }),
    served(
        "greets-again-and-again",
        "300 hellos for a new session, each of a new incarnation",
        |scene| {
            let mut last = None;
            for _ in 0..300 {
                last = Some(scene.begin());
            }
            assert!(last.is_some_and(|mut peer| peer.has_service()));
        },
    ),
    served(
        "endless-succession",
        "60 hellos, each of which names the life before it as its predecessor, and all go on",
        |scene| {
            let mut lives: Vec<Peer> = Vec::new();
            for _ in 0..60 {
                let mut hello = scene.hello();
                hello.predecessor = lives.last().map(|life| life.hello.incarnation);
                lives.push(scene.begin_by(&hello));
            }
            let live = lives.iter_mut().filter_map(|life| life.is_alive().then_some(())).count();
            assert!(live <= 5, "{live} lives of one node have sessions");
            assert!(lives.last_mut().is_some_and(Peer::has_service));
        },
    ),
    served(
        "endless-leaving",
        "60 hellos, each after a Leaving on the session before, and all go on",
        |scene| {
            let mut lives: Vec<Peer> = Vec::new();
            for _ in 0..60 {
                let mut hello = scene.hello();
                // The same life: nothing but the Leaving makes room for another session.
                hello.incarnation = 7;
                let mut life = scene.begin_by(&hello);
                let leaving = life.control(&[8]);
                life.send(&leaving);
                assert!(life.is_alive());
                lives.push(life);
            }
            let live = lives.iter_mut().filter_map(|life| life.is_alive().then_some(())).count();
            assert!(live <= 5, "{live} sessions of one node");
        },
    ),
];

/// Says a hello of `bytes`, which the daemon takes for none.
fn is_no_hello(scene: &Scene<'_>, bytes: &[u8]) {
    let mut tls = scene.secured();
    tls.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let greeted = greet(&mut tls, bytes);
    assert!(greeted.is_err(), "{greeted:?}");
    ends(&mut tls.stream);
}

fn says(scene: &Scene<'_>, change: impl FnOnce(&mut Hello)) {
    let mut hello = scene.hello();
    change(&mut hello);
    is_no_hello(scene, &hello.encode());
}

/// The daemon answers `hello` with this refusal.
pub(crate) fn is_refused(scene: &Scene<'_>, hello: &Hello, refusal: u8) {
    let mut tls = scene.secured();
    let (reply, _) = greet(&mut tls, &hello.encode()).unwrap();
    let is_it = matches!(&reply, Reply::Refused { refusal: found, .. } if *found == refusal);
    assert!(is_it, "{reply:?}");
    ends(&mut tls.stream);
}
