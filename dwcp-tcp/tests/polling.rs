//! A receiver that polls reads what the session's driver then never sees.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Ca, options};
use dwcp_core::{ChannelOptions, Endpoint, EndpointSettings, Peer, Peers};
use dwcp_tcp::{Identity, TcpDialer, TcpListener, suites};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Nothing else wakes a driver of such an endpoint: what the polling receiver does not pass on waits for ever.
fn settings(spin: Duration) -> EndpointSettings {
    let mut settings = EndpointSettings::default();
    settings.heartbeat_interval = Duration::from_secs(600);
    settings.window_bytes = 0;
    settings.spin = spin;
    settings
}

fn end(identity: &Identity, peer: Peer, spin: Duration) -> Endpoint {
    let listener =
        TcpListener::bind("127.0.0.1:0", options(), identity.clone()).expect("a free port");
    Endpoint::builder(identity.node_id())
        .dialer(Arc::new(TcpDialer::new(identity.clone(), options())))
        .listener(Box::new(listener))
        .suite(suites::aws_lc(false))
        .settings(settings(spin))
        .peers(Peers::only([peer]))
        .build()
        .expect("complete")
}

/// Reads what comes and answers, in a thread of its own. Tells its address.
fn answering(identity: Identity, tell: oneshot::Sender<Vec<String>>) {
    let runtime =
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("it can");
    runtime.block_on(async move {
        let endpoint = end(&identity, Peer::new("a", [""; 0]), Duration::ZERO);
        tell.send(endpoint.local_addresses().to_vec()).expect("the test waits");
        let session = endpoint.accept().await.expect("it runs");
        let mut channel = session.accept().await.expect("a channel");
        while let Ok(Some(_)) = channel.receiver.recv().await {
            if channel.sender.send("read").await.is_err() {
                return;
            }
        }
    });
}

#[tokio::test]
async fn what_a_polling_receiver_reads_makes_go_what_waits_for_it() {
    let ca = Ca::new("test");
    let (tell, told) = oneshot::channel();
    let b = ca.identity("b");
    std::thread::spawn(move || answering(b, tell));
    let addresses = told.await.expect("it listens");
    // It polls until the answer is there, and its runtime has this thread only.
    let a = end(&ca.identity("a"), Peer::new("b", addresses), Duration::from_secs(5));
    let session = a.connect("b").await.expect("b answers");
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    for round in 0..100 {
        // Larger than the window: credit for the rest comes while the sender waits for the answer.
        channel.sender.send(vec![2; 300_000]).await.expect("open");
        let began = Instant::now();
        let answer = channel.receiver.recv().await.expect("intact").expect("more");
        assert_eq!(answer, "read");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "round {round}: what waited for credit stayed"
        );
    }
}
