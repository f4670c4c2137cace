//! The daemon dials, and who answers is hostile.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use crate::attacks::{Attack, End, Kind, no_session, offence, path_lost};
use crate::attacks_door::ends;
use crate::common::{Ran, noise};
use crate::ground::Scene;
use crate::peer::bytes::random;
use crate::peer::frame::{self, Data};
use crate::peer::hello::{HYBRID, Hello, Welcome, ZSTD};
use crate::peer::keys;
use crate::peer::session::{Agreed, Known, Peer};
use crate::peer::tls::{Credentials, Tls};

const FALSE: &str = "false-hello";

pub(crate) const ATTACKS: &[Attack] = &[
    Attack::new(
        "answers-honestly",
        Kind::Allowed,
        "a Welcome as it should be",
        End::Served,
        |scene| {
            let mut socket = None;
            let ran = scene.be_dialled(|stream| {
                let mut peer = welcomes(scene, stream, |_| {});
                assert!(peer.is_alive() && peer.has_service());
                socket = Some(peer.stream.try_clone().unwrap());
                // It answers until the command has what it asked for.
                std::thread::spawn(move || peer.read_until(|_| false));
            });
            assert_eq!(ran.code, 0, "{ran:#?}");
            socket.unwrap().shutdown(Shutdown::Both).unwrap();
        },
    ),
    no_session(
        "answers-noise",
        "64 KiB of noise instead of TLS",
        "a DWCP node speaks TLS 1.3",
        |scene| {
            dial_fails(scene, |mut stream| {
                let _ = stream.write_all(&noise(64 << 10, 3));
                ends(&mut stream);
            });
        },
    ),
    no_session("answers-nothing", "nothing", "no answer to the handshake within 3 s", |scene| {
        dial_fails(scene, |mut stream| ends(&mut stream));
    }),
    no_session("answers-as-another", "the certificate of another node", "accomplice", |scene| {
        let credentials = scene.credentials_of(crate::ground::ACCOMPLICE);
        dial_fails(scene, |stream| refused_in_tls(stream, &credentials));
    }),
    no_session("answers-expired", "a certificate that ended", "expired", |scene| {
        let credentials = scene.certificate(true, &["dwcp://node/answers-expired"], |params| {
            params.not_before = rcgen::date_time_ymd(2_019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2_020, 1, 1);
        });
        dial_fails(scene, |stream| refused_in_tls(stream, &credentials));
    }),
    no_session("replies-nothing", "TLS, and no reply", "no reply within 3 s", |scene| {
        dial_fails(scene, |stream| {
            let mut tls = hears(scene, stream).0;
            ends(&mut tls.stream);
        });
    }),
    no_session(
        "replies-without-end",
        "a reply that says it has 65,535 bytes, and 16 MiB of it",
        "handshake",
        |scene| {
            dial_fails(scene, |stream| {
                let mut tls = hears(scene, stream).0;
                let _ = tls.send(&[0xff; 2]);
                let is_closed = (0..1_024).any(|_| tls.send(&[0; 16_000]).is_err());
                assert!(is_closed, "16 MiB were taken");
            });
        },
    ),
    offence(
        "replies-noise",
        "a reply that is none; one that ends in the middle; an empty one",
        FALSE,
        |scene| {
            for bytes in [&[7; 40][..], &[0, 3, 0, 1], &[]] {
                replies(scene, |_| bytes.to_vec());
            }
        },
    )
    .times(3),
    offence(
        "replies-invalid-utf8",
        "a refusal whose reason is no UTF-8; of 256 bytes",
        FALSE,
        |scene| {
            replies(scene, |_| vec![1, 5, 2, 0, 0xc3, 0x28]);
            replies(scene, |_| [&[1, 5, 0, 1][..], &[b'x'; 256]].concat());
        },
    )
    .times(2),
    offence(
        "welcome-other-version",
        "versions 2 and 5, of which neither was offered",
        FALSE,
        |scene| {
            for version in [2, 5] {
                false_welcome(scene, |welcome| welcome.version = version);
            }
        },
    )
    .times(2),
    offence("welcome-other-node", "a Welcome that names another node", FALSE, |scene| {
        false_welcome(scene, |welcome| welcome.node = b"a".to_vec());
    }),
    offence(
        "welcome-feature-not-offered",
        "features that the hello does not have",
        FALSE,
        |scene| {
            false_welcome(scene, |welcome| welcome.features |= HYBRID);
            false_welcome(scene, |welcome| welcome.features |= 1 << 31);
        },
    )
    .times(2),
    offence(
        "welcome-without-hmac",
        "a Welcome without the HMAC that the hello wants",
        FALSE,
        |scene| {
            false_welcome(scene, |welcome| welcome.features = ZSTD);
        },
    ),
    offence("welcome-suite-not-offered", "suites that the hello does not name", FALSE, |scene| {
        false_welcome(scene, |welcome| welcome.suite = b"crc32".to_vec());
        false_welcome(scene, |welcome| welcome.trusted_suite = b"rot13".to_vec());
    })
    .times(2),
    path_lost(
        "welcome-then-noise",
        "a Welcome, and noise where the first record is due",
        "bad-record",
        |scene| {
            scene.be_dialled(|stream| {
                let mut peer = welcomes(scene, stream, |_| {});
                peer.send_raw(&[0xff; 100]);
                ends(&mut peer.stream);
            });
        },
    ),
    offence(
        "acceptor-breaks-the-rules",
        "a channel that is the dialer's to open, by the acceptor",
        "foreign-channel",
        |scene| {
            scene.be_dialled(|stream| {
                let mut peer = welcomes(scene, stream, |_| {});
                peer.send(&Data::open(2, "bench/sink").encode());
                ends(&mut peer.stream);
            });
        },
    ),
    offence(
        "resumed-into-another",
        "a Welcome to a resumption that names another session",
        FALSE,
        |scene| {
            scene.be_dialled(|stream| {
                let mut peer = welcomes(scene, stream, |_| {});
                assert!(peer.is_alive());
                drop(peer);
                let (mut tls, hello, _) = hears(scene, scene.be_dialled_again());
                assert!(hello.resume.is_some());
                let mut welcome = Welcome::to(&hello, scene.node());
                welcome.session = random();
                let _ = tls.send_framed(&welcome.encode());
                ends(&mut tls.stream);
            });
        },
    ),
    path_lost(
        "acceptor-marks-for-ever",
        "1,000 higher epochs, each with a mark, then the end",
        "link-failed",
        |scene| {
            scene.be_dialled(|stream| {
                let mut peer = welcomes(scene, stream, |_| {});
                for epoch in 1..=1_000 {
                    peer.seal.epoch = 2 * epoch;
                    peer.send(&frame::switch_mark(2 * epoch, 0));
                }
                assert!(peer.is_alive());
            });
        },
    ),
];

/// Lets the daemon dial; the session does not come about.
fn dial_fails(scene: &Scene<'_>, serve: impl FnOnce(TcpStream)) {
    let ran: Ran = scene.be_dialled(serve);
    scene.fails_as_told(&ran);
}

fn refused_in_tls(stream: TcpStream, credentials: &Credentials) {
    let mut tls = Tls::server(stream, credentials);
    let heard = tls.handshake().and_then(|()| tls.receive_framed());
    assert!(heard.is_err(), "the hello is for nobody else");
}

/// TLS, and the daemon's hello.
fn hears(scene: &Scene<'_>, stream: TcpStream) -> (Tls, Hello, Vec<u8>) {
    let mut tls = Tls::server(stream, &scene.credentials());
    tls.handshake().unwrap();
    let bytes = tls.receive_framed().unwrap();
    (tls, Hello::decode(&bytes), bytes)
}

/// Answers the daemon's hello with what `make` makes; there is no session.
fn replies(scene: &Scene<'_>, make: impl FnOnce(&Hello) -> Vec<u8>) {
    dial_fails(scene, |stream| {
        let (mut tls, hello, _) = hears(scene, stream);
        assert_eq!((hello.versions, &hello.peer[..]), ((3, 4), scene.node().as_bytes()));
        let _ = tls.send_framed(&make(&hello));
        ends(&mut tls.stream);
    });
}

fn false_welcome(scene: &Scene<'_>, change: impl FnOnce(&mut Welcome)) {
    replies(scene, |hello| {
        let mut welcome = Welcome::to(hello, scene.node());
        change(&mut welcome);
        welcome.encode()
    });
}

/// Answers with a Welcome; the session of it.
fn welcomes(scene: &Scene<'_>, stream: TcpStream, change: impl FnOnce(&mut Welcome)) -> Peer {
    let (mut tls, hello, hello_bytes) = hears(scene, stream);
    let mut welcome = Welcome::to(&hello, scene.node());
    change(&mut welcome);
    let reply_bytes = welcome.encode();
    tls.send_framed(&reply_bytes).unwrap();
    let exporter = tls.exporter();
    let secret = keys::session_secret(&exporter);
    let known = Known { id: welcome.session, secret, first_exporter: exporter };
    let agreed = Agreed {
        root: secret,
        hello_bytes: &hello_bytes,
        reply_bytes: &reply_bytes,
        welcome: &welcome,
        direction: 1,
    };
    Peer::over(tls.stream, known, &hello, &agreed)
}
