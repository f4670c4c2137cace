//! How sessions end: what was committed arrives, or is told to be in doubt.
#![cfg(feature = "tokio")]

use std::time::Duration;

use dwcp_core::{ChannelOptions, Endpoint, Session};

const LIMIT: Duration = Duration::from_secs(20);

async fn sessions(a: &Endpoint, b: &Endpoint) -> (Session, Session) {
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    (session.expect("b answers"), peer.expect("b runs"))
}

#[tokio::test]
async fn a_session_closed_in_a_moment_without_a_path_still_delivers() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("c", ChannelOptions::default()).expect("room");
    channel.sender.send(&b"one"[..]).await.expect("open");
    channel.sender.acked().await.expect("acked");
    let mut other = peer.accept().await.expect("channel");
    assert_eq!(other.receiver.recv().await.expect("one").expect("one"), b"one");
    session.cut(None); // a reconnect takes a millisecond
    channel.sender.send(&b"two"[..]).await.expect("open");
    session.close(0, "done");
    assert!(channel.sender.send(&b"three"[..]).await.is_err(), "it is closing");
    let two = tokio::time::timeout(LIMIT, other.receiver.recv()).await;
    assert!(matches!(&two, Ok(Ok(Some(message))) if *message == b"two"), "{two:?}");
    tokio::time::timeout(LIMIT, session.closed()).await.expect("it ends then");
}

#[tokio::test]
async fn an_abort_without_a_path_ends_at_once() {
    let (a, b) = Endpoint::pair();
    let (session, _peer) = sessions(&a, &b).await;
    let mut channel = session.open("c", ChannelOptions::default()).expect("room");
    session.cut(None);
    channel.sender.send(&b"one"[..]).await.expect("open");
    session.abort();
    assert!(session.is_over());
}
