//! Several addresses of one peer: those that do not answer hold up nobody.

mod common;

use std::net::TcpListener as Bare;
use std::time::{Duration, Instant};

use common::{Ca, listen, options, through};
use dwcp_core::link::{Dialer, Listener};
use dwcp_tcp::{TcpDialer, TcpOptions};
use socket2::{Domain, Socket, Type};

/// A port whose backlog is full: the kernel lets SYNs go unanswered, as a firewall does.
fn black_hole() -> (Socket, Vec<Socket>, String) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener
        .bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("good").into())
        .expect("free");
    listener.listen(0).expect("it listens");
    let address = listener.local_addr().expect("bound").as_socket().expect("an IP address");
    let fill = (0..4).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("it may");
        let _ = socket.connect(&address.into()); // in progress, or for ever
        socket
    });
    let fill = fill.collect();
    (listener, fill, address.to_string())
}

#[tokio::test]
async fn an_address_that_never_answers_holds_up_nobody() {
    let ca = Ca::new("test");
    let listener = listen(&ca.identity("b"));
    let (_hole, _fill, dead) = black_hole();
    let mut options: TcpOptions = options();
    options.connect_timeout = Duration::from_secs(60);
    let dialer = TcpDialer::new(ca.identity("a"), options);
    let addresses = [dead, listener.local_address()];
    let serve = async { listener.accept().await.expect("it comes").secure().await };
    let began = Instant::now();
    let (dialled, accepted) = tokio::join!(through(dialer.dial("b", &addresses)), serve);
    assert_eq!(dialled.expect("the second address answers").peer_id(), "b");
    assert_eq!(accepted.expect("good").peer_id(), "a");
    assert!(began.elapsed() < Duration::from_secs(50), "long before the first times out");
}

#[tokio::test]
async fn an_address_that_refuses_or_is_no_name_leaves_the_next_its_turn() {
    let ca = Ca::new("test");
    let listener = listen(&ca.identity("b"));
    let closed = Bare::bind("127.0.0.1:0").expect("free").local_addr().expect("bound").to_string();
    let dialer = TcpDialer::new(ca.identity("a"), options());
    let addresses = ["no port".to_owned(), closed, listener.local_address()];
    let serve = async { listener.accept().await.expect("it comes").secure().await };
    let (dialled, accepted) = tokio::join!(through(dialer.dial("b", &addresses)), serve);
    assert_eq!(dialled.expect("the last address answers").peer_id(), "b");
    assert!(accepted.is_ok());
}

#[tokio::test]
async fn an_address_that_connects_and_says_nothing_holds_up_nobody() {
    let ca = Ca::new("test");
    let listener = listen(&ca.identity("b"));
    // The kernel accepts for it, and nobody ever reads.
    let silent = Bare::bind("127.0.0.1:0").expect("free");
    let address = silent.local_addr().expect("bound").to_string();
    let mut options: TcpOptions = options();
    options.handshake_timeout = Duration::from_secs(60);
    let dialer = TcpDialer::new(ca.identity("a"), options);
    let addresses = [address, listener.local_address()];
    let serve = async { listener.accept().await.expect("it comes").secure().await };
    let began = Instant::now();
    let (dialled, accepted) = tokio::join!(through(dialer.dial("b", &addresses)), serve);
    assert_eq!(dialled.expect("the second address answers").peer_id(), "b");
    assert!(accepted.is_ok());
    assert!(began.elapsed() < Duration::from_secs(50), "long before the first times out");
}
