//! Messages cost no allocation once a session is warm: over TCP, encrypted, counted in the whole process.

use std::sync::Arc;
use std::time::Duration;

use dwcp_benches::counting_allocator::CountingAllocator;
use dwcp_core::{Channel, ChannelOptions, Endpoint, Peer, Peers};
use dwcp_tcp::keygen::{Ca, NodeRequest};
use dwcp_tcp::suites::{Backend, aes_256_gcm};
use dwcp_tcp::{Identity, TcpDialer, TcpListener, TcpOptions};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const DAY: Duration = Duration::from_secs(86_400);

fn identity(ca: &Ca, node: &str) -> Identity {
    let keys = ca.issue(&NodeRequest::new(node)).expect("a certificate");
    Identity::from_pem(keys.cert.as_bytes(), keys.key.as_bytes(), ca.pem().cert.as_bytes())
        .expect("keys that fit")
}

/// Both ends of a channel between two endpoints of this process; the endpoints keep it alive.
async fn channel() -> (Channel, Channel, [Endpoint; 2]) {
    let ca = Ca::new("test", DAY).expect("a CA");
    let listener = TcpListener::bind("127.0.0.1:0", TcpOptions::default(), identity(&ca, "b"))
        .expect("a port");
    let address = listener.local_addr().to_string();
    let b = Endpoint::builder("b")
        .listener(Box::new(listener))
        .suite(aes_256_gcm(Backend::AwsLc, true))
        .peers(Peers::any())
        .build()
        .expect("complete");
    let a = Endpoint::builder("a")
        .dialer(Arc::new(TcpDialer::new(identity(&ca, "a"), TcpOptions::default())))
        .suite(aes_256_gcm(Backend::AwsLc, true))
        .peers(Peers::only([Peer::new("b", [address])]))
        .build()
        .expect("complete");
    let session = a.connect("b").await.expect("b answers");
    let peer = b.accept().await.expect("b runs");
    let mut near = session.open("count", ChannelOptions::default()).expect("room");
    near.sender.send("first").await.expect("open");
    let mut far = peer.accept().await.expect("a channel");
    far.receiver.recv().await.expect("intact").expect("more");
    (near, far, [a, b])
}

/// `rounds` times `burst` messages there, then one back.
async fn exchange(near: &mut Channel, far: &mut Channel, rounds: usize, burst: usize) {
    static MESSAGE: &[u8] = &[7; 64];
    for _ in 0..rounds {
        for _ in 0..burst {
            near.sender.send(MESSAGE).await.expect("open");
        }
        near.sender.flush();
        for _ in 0..burst {
            let message = far.receiver.recv().await.expect("intact").expect("more");
            assert_eq!(message.len(), 64);
        }
        far.sender.send(MESSAGE).await.expect("open");
        near.receiver.recv().await.expect("intact").expect("more");
    }
}

// One test only: the count is of the whole process, and tests of one file run side by side.
#[tokio::test]
async fn messages_cost_no_allocation_once_warm() {
    let (mut near, mut far, _endpoints) = channel().await;
    exchange(&mut near, &mut far, 2_000, 50).await;
    let before = ALLOCATOR.allocations();
    exchange(&mut near, &mut far, 1_000, 1).await;
    exchange(&mut near, &mut far, 1_000, 50).await;
    let count = ALLOCATOR.allocations() - before;
    assert_eq!(count, 0, "allocations in 53,000 messages");
}
