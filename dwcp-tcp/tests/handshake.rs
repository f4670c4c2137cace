//! Two good nodes: what the handshake proves, and that it leaves the socket clean.

mod common;

use std::time::SystemTime;

use common::{Ca, links, listen, meet, options, recv_exact, send_all};
use dwcp_tcp::TcpDialer;

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
