//! A loss that only one end has noticed is the same event at both ends.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Ca, options};
use dwcp_core::{ChannelOptions, Endpoint, Peer, Peers};
use dwcp_tcp::{Identity, TcpDialer, TcpListener, suites};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener as Bare, TcpStream};
use tokio::sync::Notify;

fn end(identity: &Identity, peer: Peer) -> Endpoint {
    let listener =
        TcpListener::bind("127.0.0.1:0", options(), identity.clone()).expect("a free port");
    Endpoint::builder(identity.node_id())
        .dialer(Arc::new(TcpDialer::new(identity.clone(), options())))
        .listener(Box::new(listener))
        .suite(suites::aws_lc(false))
        .peers(Peers::only([peer]))
        .build()
        .expect("complete")
}

/// Carries connections to `target`. When `broken` is notified, the one that is there ends for the dialler, and
/// the target is told nothing.
async fn middle(listener: Bare, target: String, broken: Arc<Notify>) {
    let mut forgotten = Vec::new();
    loop {
        let (mut near, _) = listener.accept().await.expect("it listens");
        let mut far = TcpStream::connect(&target).await.expect("the target listens");
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            () = broken.notified() => forgotten.push(far),
        }
    }
}

#[tokio::test]
async fn a_loss_that_the_acceptor_never_noticed_counts_as_a_reconnection_there_too() {
    let ca = Ca::new("test");
    let b = end(&ca.identity("b"), Peer::new("a", [""; 0]));
    let between = Bare::bind("127.0.0.1:0").await.expect("a free port");
    let address = between.local_addr().expect("bound").to_string();
    let broken = Arc::new(Notify::new());
    tokio::spawn(middle(between, b.local_addresses()[0].clone(), broken.clone()));
    let a = end(&ca.identity("a"), Peer::new("b", [address]));
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    let (session, peer) = (session.expect("b answers"), peer.expect("b runs"));
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    channel.sender.send("before").await.expect("open");
    let mut incoming = peer.accept().await.expect("a channel");
    assert_eq!(incoming.receiver.recv().await.expect("intact").expect("one"), "before");
    broken.notify_one();
    channel.sender.send("after").await.expect("open");
    let back = incoming.receiver.recv();
    let message = tokio::time::timeout(Duration::from_secs(50), back).await.expect("it is back");
    assert_eq!(message.expect("intact").expect("one"), "after");
    let counts = [&session, &peer].map(|end| {
        let stats = end.stats();
        (stats.switches_total, stats.failovers_total, stats.reconnects_total)
    });
    assert_eq!(counts, [(0, 0, 1); 2], "one event, one count");
}
