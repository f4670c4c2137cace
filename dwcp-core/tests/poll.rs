//! The poll driver's own promises: it sleeps when nothing happens, misses no wake-up, and leaves no thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::MemoryNetwork;
use dwcp_core::{
    ChannelOptions, DriverKind, Endpoint, EndpointSettings, Peer, Peers, PollMode, PollSettings,
    Session,
};

/// Long enough for any machine; a test that needs it has found a wake-up that was lost.
const PATIENCE: Duration = Duration::from_secs(60);

fn polled(adjust: impl FnOnce(&mut PollSettings)) -> EndpointSettings {
    let mut polls = PollSettings::default();
    adjust(&mut polls);
    let mut settings = EndpointSettings::default();
    settings.driver = DriverKind::Poll(polls);
    settings
}

fn endpoint(network: &MemoryNetwork, node: &str, settings: EndpointSettings) -> Endpoint {
    Endpoint::builder(node)
        .dialer(Arc::new(network.dialer(node)))
        .listener(Box::new(network.listener(node)))
        .suite(Arc::new(ChecksumSuite))
        .peers(Peers::any().with(Peer::new("hub", ["memory"])))
        .settings(settings)
        .build()
        .expect("complete")
}

async fn sessions(a: &Endpoint, b: &Endpoint) -> (Session, Session) {
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    (session.expect("b answers"), peer.expect("b runs"))
}

/// Sends each number there and back, with pauses around the time at which threads fall asleep.
async fn ping_pong(settings: &EndpointSettings, rounds: u64) {
    let (a, b) = Endpoint::pair_with(settings);
    let (session, peer) = sessions(&a, &b).await;
    let echo = tokio::spawn(async move {
        let mut channel = peer.accept().await.expect("a channel");
        while let Some(message) = channel.receiver.recv().await.expect("intact") {
            channel.sender.send(message).await.expect("open");
        }
    });
    let mut channel = session.open("echo", ChannelOptions::default()).expect("room");
    for round in 0..rounds {
        let pause = Duration::from_micros(round % 97);
        let until = Instant::now() + pause;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let trip = async {
            channel.sender.send(round.to_le_bytes().to_vec()).await.expect("open");
            channel.receiver.recv().await.expect("intact").expect("more")
        };
        let back = tokio::time::timeout(PATIENCE, trip).await;
        assert!(back.expect("no wake-up is lost") == round.to_le_bytes(), "round {round}");
    }
    channel.sender.finish();
    echo.await.expect("the peer ends in good order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_around_the_moment_of_falling_asleep() {
    for spin in [Duration::ZERO, Duration::from_micros(40)] {
        let mut settings = polled(|polls| polls.spin = spin);
        // No heartbeat comes to the rescue of a session that sleeps for ever.
        settings.heartbeat_interval = 100 * PATIENCE;
        ping_pong(&settings, 4_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_threads_work_and_never_sleep() {
    let settings = polled(|polls| polls.mode = PollMode::BusySpin);
    let (a, b) = Endpoint::pair_with(&settings);
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    channel.sender.send("hello").await.expect("open");
    let mut incoming = peer.accept().await.expect("a channel");
    let message = incoming.receiver.recv().await.expect("intact").expect("more");
    assert!(message == "hello");
    assert_eq!(a.stats().polls.wakeups_total, 0);
}

#[tokio::test]
async fn a_hundred_idle_sessions_wake_their_thread_for_heartbeats_only() {
    const SESSIONS: u64 = 100;
    let network = MemoryNetwork::default();
    let hub = endpoint(&network, "hub", polled(|_| ()));
    let mut peers = Vec::new();
    for number in 0..SESSIONS {
        let peer = endpoint(&network, &format!("peer-{number}"), EndpointSettings::default());
        let session = peer.connect("hub").await.expect("the hub answers");
        peers.push((peer, session));
    }
    let stats = hub.stats().polls;
    assert_eq!((stats.threads, stats.sessions), (1, SESSIONS as usize));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (before, began) = (hub.stats().polls.wakeups_total, Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (after, elapsed) = (hub.stats().polls.wakeups_total, began.elapsed().as_secs_f64());
    let rate = (after - before) as f64 / elapsed / SESSIONS as f64;
    println!("{rate:.2} wake-ups a second and session");
    // A heartbeat a second from each end, its answer, a timer.
    assert!(rate < 8.0, "{rate} wake-ups a second and session");
}

#[tokio::test]
async fn many_sessions_share_the_threads_evenly() {
    let network = MemoryNetwork::default();
    let hub = endpoint(&network, "hub", polled(|polls| polls.threads = 3));
    let mut peers = Vec::new();
    for number in 0..9 {
        let peer = endpoint(&network, &format!("peer-{number}"), polled(|_| ()));
        let session = peer.connect("hub").await.expect("the hub answers");
        let mut channel = session.open("x", ChannelOptions::default()).expect("room");
        channel.sender.send("hello").await.expect("open");
        channel.sender.acked().await.expect("it arrives");
        peers.push((peer, channel));
    }
    let stats = hub.stats().polls;
    assert_eq!((stats.threads, stats.sessions), (3, 9));
}

#[tokio::test]
async fn no_thread_is_left_after_the_end() {
    for is_dropped in [false, true] {
        let (a, b) = Endpoint::pair_with(&polled(|polls| polls.threads = 2));
        let (session, peer) = sessions(&a, &b).await;
        let inspector = a.clone();
        assert_eq!(inspector.stats().polls.threads, 2);
        a.shut_down();
        drop(a);
        if is_dropped {
            drop(b);
        } else {
            b.shut_down();
        }
        session.closed().await;
        peer.closed().await;
        let end = Instant::now() + PATIENCE;
        while inspector.stats().polls.threads > 0 {
            assert!(Instant::now() < end, "{:?}", inspector.stats());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(inspector.stats().polls.sessions, 0);
    }
}
