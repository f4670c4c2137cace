//! What is refused, and that each refusal says where, why and what to do.

mod common;

use std::time::{Duration, SystemTime};

use common::rogue::{
    client_config, connect, drips, says, serve, server_config, tls_client, tls_server,
};
use common::{Ca, DAY, Wanted, listen, options};
use dwcp_core::link::{DialError, Dialer, Listener};
use dwcp_tcp::{ALPN, TcpDialer, TcpListener};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::version::{TLS12, TLS13};

/// The words of a failed dial of a server that does `work`.
async fn dialled(ca: &Ca, work: impl FnOnce(std::net::TcpStream) + Send + 'static) -> String {
    let (address, thread) = serve(work);
    let dialer = TcpDialer::new(ca.identity("a"), options());
    let error = dialer.dial("b", std::slice::from_ref(&address)).await.err().expect("refused");
    thread.join().unwrap();
    let words = error.to_string();
    assert!(words.starts_with(&address), "{words} names {address}");
    words
}

/// The words of a listener that refuses a client that does `work`.
async fn accepted(
    listener: &TcpListener,
    work: impl FnOnce(std::net::TcpStream) + Send + 'static,
) -> String {
    let thread = connect(listener.local_addr(), work);
    let incoming = listener.accept().await.unwrap();
    let remote = incoming.remote_address().to_owned();
    let error = incoming.secure().await.err().expect("refused");
    thread.join().unwrap();
    let words = error.to_string();
    assert!(words.starts_with(&remote), "{words} names {remote}");
    words
}

/// A port that is taken and refuses connections as long as the socket lives.
fn dead_address() -> (socket2::Socket, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    (socket, address)
}

#[track_caller]
fn says_all(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "{words:?} says {part:?}");
    }
}

/// Certificates with one fault each, and the words for it.
fn faults() -> Vec<(Wanted, [&'static str; 2])> {
    let now = SystemTime::now();
    let good = || Wanted::node("b");
    let purpose = |usage| Wanted { usages: vec![usage], ..good() };
    vec![
        (
            Wanted { not_before: now - 9 * DAY, not_after: now - DAY, ..good() },
            ["of node b, issued by CN=ca, expired on", "renew it"],
        ),
        (
            Wanted { not_before: now + DAY, ..good() },
            ["of node b, issued by CN=ca, is valid only from", "clocks of both nodes"],
        ),
        (
            Wanted { uris: vec![], ..good() },
            ["names no node: it holds no SAN URI", "dwcp-ctl keys init"],
        ),
        (
            Wanted { uris: vec!["https://node/b".into()], ..good() },
            ["names no node: it holds no SAN URI", "dwcp://node/<nodeId>"],
        ),
        (
            Wanted { uris: vec!["dwcp://node/b".into(), "dwcp://node/c".into()], ..good() },
            ["names no node: it holds 2 node ids", "one SAN URI"],
        ),
        (
            Wanted { uris: vec!["dwcp://node/b/../c".into()], ..good() },
            ["its node id \"b/../c\" is not valid", "dwcp-ctl keys init"],
        ),
        (
            purpose(ExtendedKeyUsagePurpose::CodeSigning),
            ["is not for both ends of TLS", "serverAuth and clientAuth"],
        ),
    ]
}

#[tokio::test]
async fn a_server_with_a_faulty_certificate_is_refused_with_the_reason() {
    let ca = Ca::new("ca");
    for (wanted, words) in faults() {
        let config = server_config(&ca.issue(&wanted), &TLS13, ALPN);
        says_all(&dialled(&ca, tls_server(config)).await, &words);
    }
    for name in ["ca", "other ca"] {
        let stranger = Ca::new(name).issue(&Wanted::node("b"));
        let words = dialled(&ca, tls_server(server_config(&stranger, &TLS13, ALPN))).await;
        let issuer =
            format!("of node b, issued by CN={name}, is not signed by a CA in our keys.ca");
        says_all(&words, &[&issuer, "certificates of one CA"]);
    }
}

#[tokio::test]
async fn a_client_with_a_faulty_certificate_is_refused_with_the_reason() {
    let ca = Ca::new("ca");
    let listener = listen(&ca.identity("a"));
    for (wanted, words) in faults() {
        let config = client_config(Some(&ca.issue(&wanted)), &TLS13, ALPN);
        says_all(&accepted(&listener, tls_client(config)).await, &words);
    }
    let stranger = Ca::new("other ca").issue(&Wanted::node("b"));
    let config = client_config(Some(&stranger), &TLS13, ALPN);
    let words = accepted(&listener, tls_client(config)).await;
    says_all(&words, &["issued by CN=other ca, is not signed by a CA in our keys.ca", "one CA"]);
    let words = accepted(&listener, tls_client(client_config(None, &TLS13, ALPN))).await;
    says_all(&words, &["it sent no certificate", "keys.cert and keys.key"]);
}

#[tokio::test]
async fn another_node_than_the_one_dialled_is_refused_and_told() {
    let ca = Ca::new("ca");
    let (dialer, listener) =
        (TcpDialer::new(ca.identity("a"), options()), listen(&ca.identity("c")));
    let (dialled, accepted) = common::meet(&dialer, &listener, "b").await;
    let address = listener.local_address();
    let expected = format!("{address}: expected node b, but its certificate names c");
    assert_eq!(dialled.err().unwrap().to_string(), expected);
    says_all(&accepted.err().unwrap().to_string(), &["it dialled another node than this one"]);
}

#[tokio::test]
async fn a_dialer_whose_certificate_is_refused_learns_why() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    // It believes both CAs; the listener believes only its own.
    let mut pems = ours.issue(&Wanted::node("a"));
    pems.ca += &theirs.pem();
    let (dialer, listener) =
        (TcpDialer::new(pems.identity(), options()), listen(&theirs.identity("b")));
    let addresses = [listener.local_address()];
    let dial = async {
        let mut connection = dialer.dial("b", &addresses).await.unwrap();
        // The refusal may come before the hello is out; then the hello's error is not yet the reason.
        let _ = connection.send(b"hello").await;
        connection.receive().await.unwrap_err()
    };
    let accept = async { listener.accept().await.unwrap().secure().await.err().unwrap() };
    let (error, refused) = tokio::join!(dial, accept);
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    says_all(&error.to_string(), &[&addresses[0], "does not trust the CA", "its keys.ca"]);
    says_all(&refused.to_string(), &["issued by CN=ours, is not signed by a CA in our keys.ca"]);
}

#[tokio::test]
async fn other_protocols_are_named() {
    let ca = Ca::new("ca");
    let words = dialled(&ca, says(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    says_all(&words, &["it answered with an HTTP answer", "check host and port"]);
    says_all(&dialled(&ca, says(b"SSH-2.0-OpenSSH_9.2\r\n")).await, &["an SSH greeting"]);
    says_all(&dialled(&ca, says(&[0xff; 64])).await, &["ff ff ff ff ff", "TLS 1.3"]);
    let listener = listen(&ca.identity("b"));
    let words = accepted(&listener, says(b"GET / HTTP/1.1\r\n\r\n")).await;
    says_all(&words, &["it sent an HTTP request", "admin.listen"]);
    says_all(&accepted(&listener, says(&[0; 64])).await, &["00 00 00 00 00"]);
    // A record longer than TLS allows, and one that is well-framed nonsense.
    says_all(&accepted(&listener, says(&[22, 3, 3, 0xff, 0xff])).await, &["16 03 03 ff ff"]);
    says_all(&accepted(&listener, says(&[22, 3, 3, 0, 4, 9, 9, 9, 9])).await, &["TLS failed"]);
}

#[tokio::test]
async fn older_tls_and_tls_without_dwcp_are_refused() {
    let ca = Ca::new("ca");
    let good = ca.issue(&Wanted::node("b"));
    let words = dialled(&ca, tls_server(server_config(&good, &TLS12, ALPN))).await;
    says_all(&words, &["TLS 1.3", "check"]);
    let words = dialled(&ca, tls_server(server_config(&good, &TLS13, b""))).await;
    says_all(&words, &["ALPN dwcp/3", "no DWCP node"]);
    let words = dialled(&ca, tls_server(server_config(&good, &TLS13, b"h2"))).await;
    says_all(&words, &["ALPN dwcp/3"]);
    let listener = listen(&ca.identity("a"));
    let words = accepted(&listener, tls_client(client_config(Some(&good), &TLS12, ALPN))).await;
    says_all(&words, &["it does not offer what DWCP needs, TLS 1.3", "upgrade it"]);
    let words = accepted(&listener, tls_client(client_config(Some(&good), &TLS13, b"h2"))).await;
    says_all(&words, &["does not offer ALPN dwcp/3"]);
    let mut silent = client_config(Some(&good), &TLS13, ALPN);
    silent.alpn_protocols.clear();
    says_all(&accepted(&listener, tls_client(silent)).await, &["ALPN dwcp/3", "no DWCP node"]);
}

#[tokio::test]
async fn a_peer_that_drips_or_is_silent_is_dropped_at_the_limit() {
    let ca = Ca::new("ca");
    let mut short = options();
    short.handshake_timeout = Duration::from_secs(1);
    let listener = TcpListener::bind("127.0.0.1:0", short.clone(), ca.identity("b")).unwrap();
    let limit = "no answer to the handshake within 1 s";
    says_all(&accepted(&listener, drips).await, &[limit]);
    says_all(&accepted(&listener, says(b"")).await, &[limit]);
    let (address, thread) = serve(drips);
    let dialer = TcpDialer::new(ca.identity("a"), short);
    let error = dialer.dial("b", &[address]).await.err().unwrap();
    assert!(matches!(error, DialError::TimedOut { seconds: 1, .. }), "{error}");
    thread.join().unwrap();
}

#[tokio::test]
async fn the_limit_goes_on_through_the_hellos() {
    let ca = Ca::new("ca");
    let mut short = options();
    short.handshake_timeout = Duration::from_secs(1);
    let (dialer, listener) = (
        TcpDialer::new(ca.identity("a"), options()),
        TcpListener::bind("127.0.0.1:0", short, ca.identity("b")),
    );
    let (dialled, accepted) = common::meet(&dialer, &listener.unwrap(), "b").await;
    let error = accepted.unwrap().receive().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    drop(dialled);
}

#[tokio::test]
async fn endings_and_dead_addresses_are_told_apart() {
    let ca = Ca::new("ca");
    let words = dialled(&ca, drop).await;
    says_all(&words, &["in the middle of the handshake", "its log may say why"]);
    let dialer = TcpDialer::new(ca.identity("a"), options());
    let (_held, dead) = dead_address();
    let error = dialer.dial("b", std::slice::from_ref(&dead)).await.err().unwrap();
    assert_eq!(error.to_string(), format!("{dead}: cannot connect"));
    let error = dialer.dial("b", &["no-port".into()]).await.err().unwrap();
    assert_eq!(error.to_string(), "no-port: cannot resolve; write host:port or ip:port");
    let error = dialer.dial("b", &[]).await.err().unwrap();
    assert_eq!(error.to_string(), "peer b: cannot connect");
}

#[tokio::test]
async fn the_next_address_is_tried_and_the_telling_error_is_kept() {
    let ca = Ca::new("ca");
    let (dialer, listener) =
        (TcpDialer::new(ca.identity("a"), options()), listen(&ca.identity("b")));
    let (_held, dead) = dead_address();
    let other = listen(&ca.identity("c"));
    let addresses = [dead.clone(), listener.local_address()];
    let accept = async { listener.accept().await.unwrap().secure().await };
    let (dialled, accepted) = tokio::join!(common::through(dialer.dial("b", &addresses)), accept);
    assert!(dialled.is_ok() && accepted.is_ok());
    let addresses = [other.local_address(), dead];
    let accept = async { other.accept().await.unwrap().secure().await };
    let (dialled, _) = tokio::join!(dialer.dial("b", &addresses), accept);
    assert!(matches!(dialled.err(), Some(DialError::WrongNode { .. })));
}

#[tokio::test]
async fn a_hello_over_the_limit_is_refused_at_both_ends() {
    let ca = Ca::new("ca");
    let (dialer, listener) =
        (TcpDialer::new(ca.identity("a"), options()), listen(&ca.identity("b")));
    let (dialled, _accepted) = common::meet(&dialer, &listener, "b").await;
    let error = dialled.unwrap().send(&[0; 1025]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    // A rogue client sends a length of 1,025 by hand.
    let good = ca.issue(&Wanted::node("r"));
    let thread = connect(listener.local_addr(), move |mut stream| {
        use std::io::{Read, Write};
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let config = client_config(Some(&good), &TLS13, ALPN);
        let mut tls = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut tls = rustls::Stream::new(&mut tls, &mut stream);
        tls.write_all(&[1, 4, 0, 0]).unwrap();
        let _ = tls.read(&mut [0; 10]);
    });
    let mut connection = listener.accept().await.unwrap().secure().await.unwrap();
    let error = connection.receive().await.unwrap_err();
    says_all(&error.to_string(), &["its hello says it has 1025 bytes, 1024 are allowed"]);
    drop(connection);
    thread.join().unwrap();
}
