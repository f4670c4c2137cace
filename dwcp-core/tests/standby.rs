//! A session on a fast path keeps TCP standing by, and falls back to it when the fast path swallows everything.

use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::{MemoryNetwork, MemoryProvider};
use dwcp_core::{ChannelOptions, Endpoint, PathKind, Peer, Peers, Session};

fn pair(provider: &MemoryProvider) -> (Endpoint, Endpoint) {
    let network = MemoryNetwork::default();
    let end = |node: &str, peer: &str| {
        Endpoint::builder(node)
            .dialer(Arc::new(network.dialer(node)))
            .listener(Box::new(network.listener(node)))
            .suite(Arc::new(ChecksumSuite))
            .peers(Peers::only([Peer::new(peer, ["memory"])]))
            .path_provider(Arc::new(provider.clone()))
            .build()
            .expect("complete")
    };
    (end("a", "b"), end("b", "a"))
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not happen within 30 s");
}

fn active_kind(session: &Session) -> Option<PathKind> {
    let stats = session.stats();
    stats.paths.iter().find(|path| Some(path.id) == stats.active).map(|path| path.kind)
}

fn tcp_of(session: &Session) -> Vec<dwcp_core::PathId> {
    let stats = session.stats();
    let tcp = stats.paths.iter().filter(|path| path.kind == PathKind::Tcp);
    tcp.map(|path| path.id).collect()
}

#[tokio::test]
async fn tcp_that_stands_by_is_made_again_when_it_dies() {
    let provider = MemoryProvider::new(PathKind::Rdma);
    let (a, b) = pair(&provider);
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("b answers"), peer.expect("b runs"));
    let is_fast = |session: &Session| active_kind(session) == Some(PathKind::Rdma);
    until("rdma", || is_fast(&session) && is_fast(&peer)).await;
    until("steady", || session.stats().is_steady).await;
    for end in [&session, &peer] {
        let before = tcp_of(&session);
        assert_eq!(before.len(), 1);
        assert!(end.cut(Some(before[0])), "it is there");
        until("another tcp path", || {
            let now = tcp_of(&session);
            now.len() == 1 && now != before && tcp_of(&peer) == now
        })
        .await;
        assert!(is_fast(&session) && is_fast(&peer), "it only stands by");
    }
    assert_eq!(session.stats().failovers_total + session.stats().reconnects_total, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_path_that_swallows_everything_under_load_is_left_and_nothing_is_lost() {
    const COUNT: u64 = 20_000;
    let provider = MemoryProvider::new(PathKind::Rdma);
    let (a, b) = pair(&provider);
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("b answers"), peer.expect("b runs"));
    until("rdma", || active_kind(&session) == Some(PathKind::Rdma)).await;
    let mut channel = session.open("load", ChannelOptions::default()).expect("room");
    let fast = provider.clone();
    let sends = tokio::spawn(async move {
        for number in 0..COUNT {
            if number == COUNT / 2 {
                fast.set_black_hole(true);
            }
            channel.sender.send(number.to_le_bytes().repeat(10)).await.expect("open");
        }
        channel.sender.acked().await.expect("all arrives");
        channel
    });
    let mut incoming = peer.accept().await.expect("a channel");
    for number in 0..COUNT {
        let message = incoming.receiver.recv().await.expect("intact").expect("more");
        assert!(message == number.to_le_bytes().repeat(10), "message {number}");
    }
    let _open = sends.await.expect("sender");
    for end in [&session, &peer] {
        until("tcp", || active_kind(end) == Some(PathKind::Tcp)).await;
        let stats = end.stats();
        assert_eq!((stats.unacked_messages, stats.in_doubt_total), (0, 0));
        assert_eq!(stats.reconnects_total, 0, "the standby was there");
    }
    assert!(session.stats().failovers_total >= 1);
}
