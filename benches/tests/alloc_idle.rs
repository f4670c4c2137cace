//! What an idle session holds: real TCP, encrypted, compression agreed on, counted in the whole process.

use std::sync::Arc;
use std::time::Duration;

use dwcp_benches::counting_allocator::CountingAllocator;
use dwcp_core::{Channel, ChannelOptions, Endpoint, Peer, Peers, Session};
use dwcp_tcp::keygen::{Ca, NodeRequest};
use dwcp_tcp::suites::{Backend, aes_256_gcm};
use dwcp_tcp::{Identity, TcpDialer, TcpListener, TcpOptions, Zstd};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const DAY: Duration = Duration::from_secs(86_400);
/// What one end of an idle session may hold, bytes: what docs/performance.md says, and a little.
const SESSION_BYTES_MAX: i64 = 4_400;
/// The same of an open channel.
const CHANNEL_BYTES_MAX: i64 = 850;
const SESSIONS: usize = 64;

fn identity(ca: &Ca, node: &str) -> Identity {
    let keys = ca.issue(&NodeRequest::new(node)).expect("a certificate");
    Identity::from_pem(keys.cert.as_bytes(), keys.key.as_bytes(), ca.pem().cert.as_bytes())
        .expect("keys that fit")
}

fn dialling(ca: &Ca, node: &str, address: &str) -> Endpoint {
    Endpoint::builder(node)
        .dialer(Arc::new(TcpDialer::new(identity(ca, node), TcpOptions::default())))
        .suite(aes_256_gcm(Backend::AwsLc, true))
        .compression(Arc::new(Zstd::default()))
        .peers(Peers::only([Peer::new("hub", [address])]))
        .build()
        .expect("complete")
}

/// A session that has carried a message each way on one channel.
async fn used(endpoint: &Endpoint, hub: &Endpoint) -> [(Session, Channel); 2] {
    let session = endpoint.connect("hub").await.expect("hub answers");
    let peer = hub.accept().await.expect("hub runs");
    let mut near = session.open("idle", ChannelOptions::default()).expect("room");
    near.sender.send("there").await.expect("open");
    let mut far = peer.accept().await.expect("a channel");
    far.receiver.recv().await.expect("intact").expect("more");
    far.sender.send("back").await.expect("open");
    near.receiver.recv().await.expect("intact").expect("more");
    near.sender.acked().await.expect("it arrived");
    far.sender.acked().await.expect("it arrived");
    [(session, near), (peer, far)]
}

// One test only: the count is of the whole process, and tests of one file run side by side.
#[tokio::test]
async fn an_idle_session_holds_little() {
    let ca = Ca::new("test", DAY).expect("a CA");
    let listener = TcpListener::bind("127.0.0.1:0", TcpOptions::default(), identity(&ca, "hub"))
        .expect("a port");
    let address = listener.local_addr().to_string();
    let hub = Endpoint::builder("hub")
        .listener(Box::new(listener))
        .suite(aes_256_gcm(Backend::AwsLc, true))
        .compression(Arc::new(Zstd::default()))
        .peers(Peers::any())
        .build()
        .expect("complete");
    let endpoints: Vec<_> =
        (0..SESSIONS).map(|number| dialling(&ca, &format!("node-{number}"), &address)).collect();
    // A first life of each session: what endpoints keep for all their sessions has grown by then.
    for endpoint in &endpoints {
        let [(session, near), (_, far)] = used(endpoint, &hub).await;
        drop((near, far));
        session.close(0, "again");
        session.closed().await;
    }
    settle().await;
    let before = ALLOCATOR.live_bytes();
    let held = || (ALLOCATOR.live_bytes() - before) / (2 * SESSIONS as i64);
    let (mut sessions, mut channels) = (Vec::new(), Vec::new());
    for endpoint in &endpoints {
        for (session, channel) in used(endpoint, &hub).await {
            sessions.push(session);
            channels.push(channel);
        }
    }
    settle().await;
    let with_channel = held();
    drop(channels);
    settle().await;
    let alone = held();
    println!(
        "an idle session holds {alone} bytes at each end, {with_channel} with an open channel"
    );
    assert!((1..=SESSION_BYTES_MAX).contains(&alone), "{alone} bytes");
    let channel = with_channel - alone;
    assert!((0..=CHANNEL_BYTES_MAX).contains(&channel), "{channel} bytes");
}

/// What is held for a moment only goes.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
