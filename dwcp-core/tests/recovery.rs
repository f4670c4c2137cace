//! What brings a session its paths back, and how often: over in-memory links.

#![cfg(feature = "tokio")]

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::{LinkFeatures, MemoryNetwork, MemoryProvider, PathProvider, PendingLink};
use dwcp_core::machine::{Machine, PathAttributes, Settings, Time};
use dwcp_core::mem::Pool;
use dwcp_core::wire::{Compress, Compression, DecodeError, Decompress};
use dwcp_core::{
    ChannelOptions, Endpoint, EndpointSettings, PathId, PathKind, Peer, Peers, Role, Session,
};

type Provider = Arc<dyn PathProvider>;

fn node(network: &MemoryNetwork, name: &str, peer: &str, provider: Option<Provider>) -> Endpoint {
    let builder = Endpoint::builder(name)
        .dialer(Arc::new(network.dialer(name)))
        .listener(Box::new(network.listener(name)))
        .suite(Arc::new(ChecksumSuite))
        .settings(EndpointSettings::default())
        .peers(Peers::only([Peer::new(peer, ["memory"])]));
    match provider {
        Some(provider) => builder.path_provider(provider),
        None => builder,
    }
    .build()
    .expect("complete")
}

async fn sessions(a: &Endpoint, b: &Endpoint) -> (Session, Session) {
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    (session.expect("b answers"), peer.expect("b runs"))
}

/// Cuts the session's new path in the middle of what follows a reconnect, once.
struct Flapping {
    session: Mutex<Option<Session>>,
    calls: AtomicU32,
}

impl PathProvider for Flapping {
    fn kind(&self) -> PathKind {
        PathKind::Rdma
    }
    fn prepare(&self) -> io::Result<Box<dyn PendingLink>> {
        if let Some(session) = self.session.lock().expect("no panic").take() {
            self.calls.fetch_add(1, Ordering::SeqCst);
            // From outside, so that no worker's queue holds the driver.
            std::thread::spawn(move || session.cut(None)).join().expect("no panic");
            // Opening a device takes a while; the driver of the session runs on another worker meanwhile.
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(io::ErrorKind::Other.into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_path_lost_at_the_end_of_the_reconnect_that_made_it_is_replaced() {
    let network = MemoryNetwork::default();
    let provider = || Arc::new(Flapping { session: Mutex::default(), calls: AtomicU32::new(0) });
    let (at_a, at_b) = (provider(), provider());
    let a = node(&network, "a", "b", Some(at_a.clone()));
    let b = node(&network, "b", "a", Some(at_b));
    let (session, _peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    *at_a.session.lock().expect("no panic") = Some(session.clone());
    session.cut(None);
    channel.sender.send("after both").await.expect("open");
    assert_eq!(session.drain(Duration::from_secs(60)).await, 0, "somebody reconnects");
    assert_eq!(at_a.calls.load(Ordering::SeqCst), 1, "the race was set up");
}

#[tokio::test(start_paused = true)]
async fn paths_that_die_at_once_make_no_storm_of_handshakes() {
    let network = MemoryNetwork::default();
    let (a, b) = (node(&network, "a", "b", None), node(&network, "b", "a", None));
    let (session, _peer) = sessions(&a, &b).await;
    let began = tokio::time::Instant::now();
    let mut cuts = 0;
    while began.elapsed() < Duration::from_secs(30) {
        cuts += u32::from(session.cut(None));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // 0, 20, 40 ms, and so on up to 5 s.
    assert!((10..20).contains(&cuts), "{cuts} paths in 30 s");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(session.stats().active.is_some(), "it comes back");
    assert!(session.cut(None));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(session.stats().active.is_some(), "a path that lived is replaced at once");
}

#[test]
fn two_resumptions_do_not_get_the_same_path() {
    let mut machine = Machine::new(Settings::new(Role::Acceptor, Pool::new(1 << 20)));
    let up = |machine: &mut Machine, path| {
        let attributes = PathAttributes::plain(
            PathKind::Tcp,
            LinkFeatures::RELIABLE | LinkFeatures::ORDERED,
            true,
            [0; 16],
        );
        machine.handle_path_up(Time(1_000_000), path, attributes);
    };
    up(&mut machine, PathId(0));
    assert!(!machine.reserve_path(PathId(0)), "it is in use");
    assert!(!machine.reserve_path(PathId(1)), "it is ours to give");
    assert!(machine.reserve_path(PathId(2)));
    assert!(
        !machine.reserve_path(PathId(2)),
        "a second hello names it before the first has its path"
    );
    up(&mut machine, PathId(2));
    assert_eq!(machine.paths().count(), 2);
}

/// Payloads of one byte over and over, by that byte.
struct Repeats;

impl Compression for Repeats {
    fn name(&self) -> &'static str {
        "repeats"
    }
    fn compressor(&self) -> Box<dyn Compress> {
        Box::new(Self)
    }
    fn decompressor(&self) -> Box<dyn Decompress> {
        Box::new(Self)
    }
}

impl Compress for Repeats {
    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        let is_such = input.len() > 1_000 && input.iter().all(|byte| *byte == input[0]);
        if is_such {
            out.extend(vec![input[0]; 100]);
        }
        is_such
    }
}

impl Decompress for Repeats {
    fn decompress(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
        out.fill(input[0]);
        Ok(())
    }
}

#[tokio::test]
async fn memory_that_is_short_for_a_while_does_not_cost_the_path() {
    const COUNT: u8 = 200;
    let network = MemoryNetwork::default();
    let end = |name: &str, peer: &str, budget| {
        let mut settings = EndpointSettings::default();
        settings.memory_budget_bytes = budget;
        settings.heartbeat_interval = Duration::from_secs(60);
        Endpoint::builder(name)
            .dialer(Arc::new(network.dialer(name)))
            .listener(Box::new(network.listener(name)))
            .suite(Arc::new(ChecksumSuite))
            .compression(Arc::new(Repeats))
            .settings(settings)
            .peers(Peers::only([Peer::new(peer, ["memory"])]))
            .build()
            .expect("complete")
    };
    // What is 100 bytes long on the way takes 64 KiB at `b`, which has not as many of them.
    let (a, b) = (end("a", "b", 64 << 20), end("b", "a", 4 << 20));
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    let sends = tokio::spawn(async move {
        for number in 0..COUNT {
            channel.sender.send(vec![number; 60_000]).await.expect("open");
        }
        channel.sender.acked().await.expect("all arrives");
        channel
    });
    let mut incoming = peer.accept().await.expect("a channel");
    let mut held = Vec::new();
    let mut shortages = 0;
    for number in 0..COUNT {
        let next = tokio::time::timeout(Duration::from_millis(100), incoming.receiver.recv());
        let message = match next.await {
            Ok(message) => message,
            Err(_) => {
                shortages += 1;
                held.clear(); // memory is short: now there is some
                tokio::time::timeout(Duration::from_secs(60), incoming.receiver.recv())
                    .await
                    .unwrap_or_else(|_| panic!("it goes on after {number}: {:?}", b.stats().pool))
            }
        };
        let message = message.expect("intact").expect("more");
        assert!(message == vec![number; 60_000], "message {number}");
        held.push(message);
    }
    sends.await.expect("sender");
    assert!(shortages > 0, "memory was short");
    assert_eq!(session.stats().reconnects_total, 0, "the path was good");
    assert_eq!(a.stats().handshakes_ok_total, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fast_path_that_is_lost_is_offered_again_after_it_has_settled() {
    let network = MemoryNetwork::default();
    let fast = MemoryProvider::new(PathKind::Rdma);
    let provider = || -> Option<Provider> { Some(Arc::new(fast.clone())) };
    let (a, b) = (node(&network, "a", "b", provider()), node(&network, "b", "a", provider()));
    let (session, _peer) = sessions(&a, &b).await;
    let kind = || {
        let stats = session.stats();
        stats.paths.iter().find(|path| Some(path.id) == stats.active).map(|path| path.kind)
    };
    let becomes = async |wanted| {
        let began = tokio::time::Instant::now();
        while kind() != Some(wanted) || !session.stats().is_steady {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(began.elapsed() < Duration::from_secs(600), "{:?}", session.stats());
        }
        began.elapsed()
    };
    becomes(PathKind::Rdma).await;
    for settled in [5, 10, 20] {
        assert!(session.cut(None));
        becomes(PathKind::Tcp).await;
        let took = becomes(PathKind::Rdma).await;
        let settled = Duration::from_secs(settled);
        assert!(took >= settled - Duration::from_secs(1), "{took:?} instead of {settled:?}");
    }
    assert_eq!(session.stats().reconnects_total, 0, "tcp stood by");
}
