//! Two good nodes: what the handshake proves, and that it leaves the socket clean.

mod common;

use std::io::{Read, Write};
use std::time::SystemTime;

use common::rogue::{client_config, connect, serve, server_config};
use common::{Ca, Wanted, links, listen, meet, options, recv_exact, send_all, through, wait};
use dwcp_core::link::{Dialer, Link, Listener};
use dwcp_tcp::{ALPN, Identity, TcpDialer, TcpListener};
use rustls::version::TLS13;

#[tokio::test]
async fn both_ends_learn_who_the_other_is_and_share_a_secret() {
    let ca = Ca::new("ca");
    let (dialer, listener) =
        (TcpDialer::new(ca.identity("a"), options()), listen(&ca.identity("b")));
    let (dialled, accepted) = meet(&dialer, &listener, "b").await;
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    assert_eq!((dialled.peer_id(), accepted.peer_id()), ("b", "a"));
    assert!(dialled.peer_not_after() > SystemTime::now());
    dialled.send(b"hello").await.unwrap();
    assert_eq!(accepted.receive().await.unwrap(), b"hello");
    accepted.send(b"").await.unwrap();
    assert_eq!(dialled.receive().await.unwrap(), b"");
}

#[tokio::test]
async fn bytes_flow_both_ways_after_the_handshake() {
    let (dialled, accepted) = links(options()).await;
    let ((mut to_b, mut from_b), (mut to_a, mut from_a)) = (dialled.split(), accepted.split());
    send_all(&mut *to_b, b"there");
    send_all(&mut *to_a, b"back again");
    let (mut there, mut back) = ([0; 5], [0; 10]);
    recv_exact(&mut *from_a, &mut there);
    recv_exact(&mut *from_b, &mut back);
    assert_eq!((&there, &back), (b"there", b"back again"));
}

/// A server that answers the hello and sends `BEHIND` in the same write.
fn pushy_server(config: rustls::ServerConfig) -> impl FnOnce(std::net::TcpStream) {
    move |mut stream| {
        let mut tls = rustls::ServerConnection::new(config.into()).unwrap();
        rustls::Stream::new(&mut tls, &mut stream).read_exact(&mut [0; 7]).unwrap();
        push(&mut tls.into(), &mut stream);
    }
}

/// A client that sends its certificate, its hello and `BEHIND` in one write.
fn pushy_client(config: rustls::ClientConfig) -> impl FnOnce(std::net::TcpStream) {
    move |mut stream| {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let mut tls = rustls::ClientConnection::new(config.into(), name).unwrap();
        tls.write_tls(&mut stream).unwrap();
        while tls.is_handshaking() {
            tls.read_tls(&mut stream).unwrap();
            tls.process_new_packets().unwrap();
        }
        push(&mut tls.into(), &mut stream);
    }
}

const BEHIND: [u8; 3000] = [0x5a; 3000];

fn push(tls: &mut rustls::Connection, stream: &mut std::net::TcpStream) {
    tls.writer().write_all(&[5, 0]).unwrap();
    tls.writer().write_all(b"hello").unwrap();
    let mut out = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut out).unwrap();
    }
    out.extend_from_slice(&BEHIND);
    stream.write_all(&out).unwrap();
    let _ = stream.read(&mut [0; 1]); // until the test is done
}

fn behind(link: Box<dyn Link>) -> [u8; BEHIND.len()] {
    let (_sender, mut receiver) = link.split();
    let mut bytes = [0; BEHIND.len()];
    recv_exact(&mut *receiver, &mut bytes);
    bytes
}

#[tokio::test]
async fn no_byte_behind_the_last_hello_is_swallowed() {
    let ca = Ca::new("ca");
    let pems = ca.issue(&Wanted::node("b"));
    let (address, server) = serve(pushy_server(server_config(&pems, &TLS13, ALPN)));
    let dialer = TcpDialer::new(ca.identity("a"), options());
    let mut dialled = dialer.dial("b", &[address]).await.unwrap();
    dialled.send(b"hello").await.unwrap();
    assert_eq!(dialled.receive().await.unwrap(), b"hello");
    assert_eq!(behind(dialled.into_link().unwrap()), BEHIND);
    server.join().unwrap();
}

/// A server that reads once for each flight that it needs, and no more often.
fn terse_server(config: rustls::ServerConfig) -> impl FnOnce(std::net::TcpStream) {
    move |mut stream| {
        let mut tls = rustls::ServerConnection::new(config.into()).unwrap();
        let mut bytes = vec![0; 64 << 10];
        for _ in 0..2 {
            let count = stream.read(&mut bytes).unwrap();
            let mut rest = &bytes[..count];
            while !rest.is_empty() {
                tls.read_tls(&mut rest).unwrap();
                tls.process_new_packets().unwrap();
            }
            let mut out = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut out).unwrap();
            }
            stream.write_all(&out).unwrap();
        }
        let mut hello = [0; 7];
        tls.reader().read_exact(&mut hello).expect("it came with the last flight");
        assert_eq!(&hello, b"\x05\0hello");
        assert!(!tls.is_handshaking());
    }
}

#[tokio::test]
async fn the_dialer_writes_twice_its_hello_among_it() {
    let ca = Ca::new("ca");
    let pems = ca.issue(&Wanted::node("b"));
    let (address, server) = serve(terse_server(server_config(&pems, &TLS13, ALPN)));
    let dialer = TcpDialer::new(ca.identity("a"), options());
    let mut dialled = dialer.dial("b", &[address]).await.unwrap();
    dialled.send(b"hello").await.unwrap();
    // The server has its own thread, and this one may end only after it.
    tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn nothing_may_come_behind_a_hello_before_its_reply() {
    let ca = Ca::new("ca");
    let pems = ca.issue(&Wanted::node("b"));
    let listener = listen(&ca.identity("a"));
    let config = client_config(Some(&pems), &TLS13, ALPN);
    let client = connect(listener.local_addr(), pushy_client(config));
    let refused = async {
        let mut accepted = listener.accept().await.unwrap().secure().await?;
        accepted.receive().await?;
        accepted.into_link()?;
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    let words =
        refused.await.expect_err("it cannot be a record: its keys need the reply").to_string();
    assert!(words.contains("bytes that are no TLS record (5a 5a"), "{words}");
    client.join().unwrap();
}

#[tokio::test]
async fn tls_adds_nothing_to_the_socket_after_the_hellos() {
    let (dialled, accepted) = links(options()).await;
    let ((sender_a, mut receiver_a), (sender_b, mut receiver_b)) =
        (dialled.split(), accepted.split());
    let would_block = |result: std::io::Result<usize>| {
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    };
    would_block(receiver_a.try_recv(&mut [0; 9]));
    would_block(receiver_b.try_recv(&mut [0; 9]));
    drop((sender_a, receiver_a));
    // The orderly end, and no close_notify before it.
    wait(&receiver_b.readiness(), false);
    assert_eq!(receiver_b.try_recv(&mut [0; 9]).unwrap(), 0);
    drop(sender_b);
}

#[tokio::test]
async fn a_hello_not_taken_keeps_the_socket_from_being_handed_over() {
    let ca = Ca::new("ca");
    let pems = ca.issue(&Wanted::node("b"));
    let listener = listen(&ca.identity("a"));
    let client = connect(listener.local_addr(), move |mut stream| {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let config = client_config(Some(&pems), &TLS13, ALPN);
        let mut tls = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut tls = rustls::Stream::new(&mut tls, &mut stream);
        // Two messages in one TLS record: both come with the first.
        tls.write_all(b"\x03\0one\x03\0two").unwrap();
        let _ = tls.read(&mut [0; 1]);
    });
    let mut accepted = listener.accept().await.unwrap().secure().await.unwrap();
    assert_eq!(accepted.receive().await.unwrap(), b"one");
    let error = accepted.into_link().err().expect("a message is left");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    client.join().unwrap();
}

#[tokio::test]
async fn new_handshakes_use_what_a_reload_brought() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let (a, b) = (old.identity("a"), old.identity("b"));
    let (dialer, listener) = (TcpDialer::new(a.clone(), options()), listen(&b));
    let (dialled, accepted) = meet(&dialer, &listener, "b").await;
    let (standing_a, standing_b) = (dialled.unwrap(), accepted.unwrap());
    let renew = |identity: &Identity| {
        let pems = new.issue(&Wanted::node(identity.node_id()));
        identity.replace(pems.cert.as_bytes(), pems.key.as_bytes(), pems.ca.as_bytes())
    };
    renew(&a).unwrap();
    let (dialled, _) = meet(&dialer, &listener, "b").await;
    let words = dialled.err().unwrap().to_string();
    assert!(words.contains("issued by CN=old, is not signed by a CA in our keys.ca"), "{words}");
    renew(&b).unwrap();
    let (dialled, accepted) = meet(&dialer, &listener, "b").await;
    assert!(dialled.is_ok() && accepted.is_ok());
    // Connections made before go on.
    let (mut standing_a, mut standing_b) = (standing_a, standing_b);
    standing_a.send(b"still here").await.unwrap();
    assert_eq!(standing_b.receive().await.unwrap(), b"still here");
}

#[tokio::test]
async fn addresses_of_both_families_and_names_work() {
    let ca = Ca::new("ca");
    let dialer = TcpDialer::new(ca.identity("a"), options());
    let listener = TcpListener::bind("[::]:0", options(), ca.identity("b")).unwrap();
    let port = listener.local_addr().port();
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let addresses = [format!("{host}:{port}")];
        let accept = async {
            let incoming = listener.accept().await.unwrap();
            let remote = incoming.remote_address().to_owned();
            (incoming.secure().await, remote)
        };
        let dial = through(dialer.dial("b", &addresses));
        let (dialled, (accepted, remote)) = tokio::join!(dial, accept);
        assert!(dialled.is_ok() && accepted.is_ok(), "{host}");
        assert!(!remote.contains("::ffff"), "{remote} is shown as IPv4");
    }
    let bound = dialer.bind("127.0.0.2:0".parse().unwrap());
    let addresses = [format!("127.0.0.1:{port}")];
    let accept = async { listener.accept().await.unwrap().remote_address().to_owned() };
    let (_, remote) = tokio::join!(bound.dial("b", &addresses), accept);
    assert!(remote.starts_with("127.0.0.2:"), "{remote}");
}

#[tokio::test]
async fn a_listener_that_cannot_bind_says_where() {
    let ca = Ca::new("ca");
    let first = listen(&ca.identity("a"));
    let taken = first.local_address();
    let error = TcpListener::bind(&taken, options(), ca.identity("a")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("cannot listen on {taken}: ")), "{error}");
    let mut shared = options();
    shared.reuse_port = true;
    let one = TcpListener::bind("127.0.0.1:0", shared.clone(), ca.identity("a")).unwrap();
    assert!(TcpListener::bind(&one.local_address(), shared, ca.identity("a")).is_ok());
}
