//! Before TLS, and in it: what anybody can do who reaches the port.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::attacks::{Attack, outside};
use crate::common::noise;
use crate::ground::{HANDSHAKE_TIMEOUT, Scene};
use crate::peer::session::{ALPN, greet};
use crate::peer::tls::{Credentials, Tls};

const NOT_SECURED: &str = "not_secured";

pub(crate) const ATTACKS: &[Attack] = &[
    outside("garbage", "64 KiB of noise instead of TLS", NOT_SECURED, |scene| {
        says(scene, &noise(64 << 10, 7));
    }),
    outside("http", "a request of HTTP", NOT_SECURED, |scene| {
        says(scene, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    }),
    outside(
        "oversized-tls-record",
        "a TLS record that says it has 65,535 bytes",
        NOT_SECURED,
        |scene| {
            says(scene, &[22, 3, 1, 0xff, 0xff, 1]);
        },
    ),
    outside("endless-tls", "TLS records of handshake that never end", NOT_SECURED, endless_tls),
    outside("tls-1.2", "a ClientHello of TLS 1.2", NOT_SECURED, |scene| {
        says(scene, &hello_of_tls_1_2());
    }),
    outside("wrong-alpn", "ALPN `h2`; none at all", NOT_SECURED, |scene| {
        let credentials = scene.credentials();
        is_refused(Tls::client(scene.connect(), Some(&credentials), &[b"h2"]), scene);
        is_refused(Tls::client(scene.connect(), Some(&credentials), &[]), scene);
    })
    .times(2),
    outside("no-certificate", "no certificate", NOT_SECURED, |scene| {
        is_refused(Tls::client(scene.connect(), None, &[ALPN]), scene);
    }),
    outside(
        "expired-certificate",
        "a certificate that ended; one that has not begun",
        NOT_SECURED,
        |scene| {
            for years in [2_019, 2_150] {
                let uri = format!("dwcp://node/{}", scene.node());
                shows(
                    scene,
                    &scene.certificate(true, &[&uri], |params| {
                        params.not_before = rcgen::date_time_ymd(years, 1, 1);
                        params.not_after = rcgen::date_time_ymd(years + 1, 1, 1);
                    }),
                );
            }
        },
    )
    .times(2),
    outside(
        "wrong-san",
        "a certificate that names no node; two nodes; a name that is none",
        NOT_SECURED,
        |scene| {
            let uris: [&[&str]; 4] = [
                &[],
                &["https://node/wrong-san"],
                &["dwcp://node/wrong-san", "dwcp://node/a"],
                &["dwcp://node/..%2f"],
            ];
            for uris in uris {
                shows(scene, &scene.certificate(true, uris, |_| {}));
            }
        },
    )
    .times(4),
    outside("unknown-ca", "a certificate of another CA of the same name", NOT_SECURED, |scene| {
        shows(scene, &scene.certificate(false, &["dwcp://node/unknown-ca"], |_| {}));
    }),
    outside(
        "not-in-peers",
        "a good certificate of a node that is not in `peers`",
        "refused",
        |scene| {
            let mut tls =
                Tls::client(scene.connect(), Some(&scene.credentials_of("stranger")), &[ALPN]);
            tls.handshake().unwrap();
            let mut hello = scene.hello();
            hello.node = b"stranger".to_vec();
            let (reply, _) = greet(&mut tls, &hello.encode()).unwrap();
            assert!(format!("{reply:?}").contains("not among"), "{reply:?}");
            ends(&mut tls.stream);
        },
    ),
    outside("slow-loris-tls", "a ClientHello, one byte each 100 ms", "timed_out", slow_loris),
    outside("silent-strangers", "300 connections that say nothing", "dropped", |scene| {
        let silent: Vec<_> = (0..300).map(|_| scene.connect_from(9)).collect();
        // The last ones have their places; the first have lost them.
        silent.iter().take(100).for_each(|stream| ends(&mut &*stream));
    })
    .at_least(100)
    .takes(12, "64 handshakes of one address with 128 KiB each"),
    outside("handshake-storm", "1,500 connections that end at once", "too_fast", |scene| {
        (0..1_500).for_each(|_| drop(scene.connect_from(10)));
    })
    .at_least(100)
    .takes(12, "64 handshakes of one address with 128 KiB each"),
];

/// Sees the daemon end the connection. What it says before does not matter.
pub(crate) fn ends(stream: &mut impl Read) {
    let result = stream.read_to_end(&mut Vec::new());
    assert!(!result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it was kept open");
}

fn says(scene: &Scene<'_>, bytes: &[u8]) {
    let mut stream = scene.connect();
    // It may be over before all is said.
    let _ = stream.write_all(bytes);
    ends(&mut stream);
}

/// TLS, or the greeting behind it, comes to nothing.
fn is_refused(mut tls: Tls, scene: &Scene<'_>) {
    let hello = scene.hello().encode();
    let greeted = tls.handshake().and_then(|()| greet(&mut tls, &hello));
    assert!(greeted.is_err(), "{greeted:?}");
    ends(&mut tls.stream);
}

fn shows(scene: &Scene<'_>, credentials: &Credentials) {
    is_refused(Tls::client(scene.connect(), Some(credentials), &[ALPN]), scene);
}

/// No extension in it offers TLS 1.3.
fn hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x42; 32]); // random
    body.push(0); // no session id
    body.extend([0, 4, 0xc0, 0x2f, 0xc0, 0x30]); // ECDHE with AES-GCM
    body.extend([1, 0]); // no compression
    let alpn = [0, 16, 0, 9, 0, 7, 6, b'd', b'w', b'c', b'p', b'/', b'3'];
    body.extend((alpn.len() as u16).to_be_bytes());
    body.extend(alpn);
    let mut message = vec![1, 0];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

/// A handshake message that announces 16 MiB, in records of 16 KiB.
fn endless_tls(scene: &Scene<'_>) {
    let mut stream = scene.connect();
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + (16 << 10), 0x42);
    let is_closed = (0..10_000).any(|_| stream.write_all(&record).is_err());
    assert!(is_closed, "160 MiB of handshake were taken");
}

fn slow_loris(scene: &Scene<'_>) {
    let mut tls = Tls::client(scene.connect(), Some(&scene.credentials()), &[ALPN]);
    drip(&mut tls.stream.try_clone().unwrap(), &tls.outgoing());
}

/// Sends `bytes` one by one, each 100 ms, until the daemon has had enough.
pub(crate) fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    let start = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        match stream.read(&mut [0; 1_024]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    // The limit counts from before the first byte.
    assert!(start.elapsed() >= HANDSHAKE_TIMEOUT / 2, "it was cut off early");
}
