//! How sessions end: what was committed arrives, or is told to be in doubt.
#![cfg(feature = "tokio")]

mod nodes;

use std::time::Duration;

use dwcp_core::link::MemoryNetwork;
use dwcp_core::{ChannelOptions, Closed, Endpoint, EndpointSettings, Peer, Peers, Session};

use nodes::{node, peer};

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

/// A drain is over in its time, and those that have everything are told: none takes the node for one that broke down.
#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_keeps_no_other_from_a_good_end() {
    const NAMES: [&str; 9] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];
    let network = MemoryNetwork::default();
    let settings = EndpointSettings::default();
    let peers = NAMES.map(|name| Peer::new(name, [format!("memory:{name}")]));
    let hub = node(&network, "hub", Peers::only(peers), &settings);
    let (mut nodes, mut kept, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for name in NAMES {
        nodes.push(node(&network, name, peer("hub"), &settings));
        let there = nodes.last().expect("just made");
        let (ours, theirs) = tokio::join!(hub.connect(name), there.accept());
        let (ours, theirs) = (ours.expect("it answers"), theirs.expect("it runs"));
        let mut channel = ours.open("x", ChannelOptions::default()).expect("room");
        // More than the window: whoever reads nothing never acks it.
        let bytes = if name == "n4" { 4 << 20 } else { 1_000 };
        channel.sender.send(vec![7; bytes]).await.expect("open");
        kept.push((ours, channel));
        ends.push(theirs);
    }
    let began = tokio::time::Instant::now();
    let drained = hub.drain(Duration::from_secs(3)).await;
    assert_eq!((drained.sessions, drained.unacked_messages), (NAMES.len(), 1));
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    for (name, end) in NAMES.into_iter().zip(&ends).filter(|(name, _)| *name != "n4") {
        let closed = tokio::time::timeout(LIMIT, end.closed()).await;
        let told = Closed::ByPeer { code: 0, reason: "the node is going down".into() };
        assert_eq!(closed, Ok(told), "{name}");
    }
}
