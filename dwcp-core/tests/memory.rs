//! Memory that is short: what nobody reads of one peer leaves the others theirs.

#![cfg(feature = "tokio")]

use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::MemoryNetwork;
use dwcp_core::{Channel, ChannelOptions, Endpoint, EndpointSettings, Peer, Peers, Session};

const LONG: Duration = Duration::from_secs(60);

fn node(network: &MemoryNetwork, name: &str, peers: &[&str], memory_bytes: usize) -> Endpoint {
    let mut settings = EndpointSettings::default();
    settings.memory_budget_bytes = memory_bytes;
    let peers = peers.iter().map(|peer| Peer::new(peer, [format!("memory:{peer}")]));
    Endpoint::builder(name)
        .dialer(Arc::new(network.dialer(name)))
        .listener(Box::new(network.listener(name)))
        .suite(Arc::new(ChecksumSuite))
        .settings(settings)
        .peers(Peers::only(peers))
        .build()
        .expect("complete")
}

async fn sessions(dialer: &Endpoint, acceptor: &Endpoint, name: &str) -> (Session, Session) {
    let (ours, theirs) = tokio::join!(dialer.connect(name), acceptor.accept());
    (ours.expect("it answers"), theirs.expect("it runs"))
}

/// One peer's unread channels, each within its credit of 64 KiB, leave the others memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_peer_sends_and_nobody_reads_leaves_the_others_memory() {
    let network = MemoryNetwork::default();
    let a = node(&network, "a", &["b", "c"], 32 << 20);
    let (b, c) = (node(&network, "b", &["a"], 1 << 30), node(&network, "c", &["a"], 1 << 30));
    let (greedy, _unread) = sessions(&b, &a, "a").await;
    let (honest, served) = sessions(&c, &a, "a").await;
    let mut channel = honest.open("c", ChannelOptions::default()).expect("room");
    channel.sender.send_copy(b"hello").await.expect("open");
    let mut theirs = served.accept().await.expect("open");
    theirs.receiver.recv().await.expect("intact").expect("more");
    let open = |_| greedy.open("h", ChannelOptions::default()).expect("room");
    let mut channels: Vec<Channel> = (0..140).map(open).collect();
    for _ in 0..31 {
        for channel in &mut channels {
            // Each in a record of its own, and in a slot that is eight times as large.
            let _ = channel.sender.try_send_copy(&[1; 2_060]);
            channel.sender.flush();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let used = a.stats().pool.used_bytes;
    assert!(used > 8 << 20, "{used} bytes: it is no test");
    for bytes in [9_000, 1, 60_000, 300_000] {
        channel.sender.send(vec![7; bytes]).await.expect("open");
        let message =
            tokio::time::timeout(LONG, theirs.receiver.recv()).await.expect("there is memory");
        assert_eq!(message.expect("intact").expect("more").len(), bytes);
    }
    assert_eq!(served.stats().reconnects_total, 0, "nor was its path lost");
}
