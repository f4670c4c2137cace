//! Sessions over in-memory links: the real machine, driver and API.

use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::{MemoryNetwork, MemoryProvider};
use dwcp_core::{
    ChannelOptions, Closed, DriverKind, Endpoint, EndpointSettings, Message, PathKind, Peer, Peers,
    PollSettings, RecvError, SendError, Session, SessionEvent, SwitchReason, TryRecvError,
};

fn settings(driver: DriverKind) -> EndpointSettings {
    let mut settings = EndpointSettings::default();
    settings.driver = driver;
    settings
}

fn pair(driver: DriverKind) -> (Endpoint, Endpoint) {
    Endpoint::pair_with(&settings(driver))
}

/// A session between the nodes of a pair, from both ends.
async fn sessions(a: &Endpoint, b: &Endpoint) -> (Session, Session) {
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    (session.expect("b answers"), peer.expect("b runs"))
}

fn payload(index: usize) -> Vec<u8> {
    let sizes = [0, 1, 64, 127, 128, 1_000, 8_192, 8_193, 65_536, 65_537, 300_000, 1_200_000];
    let length = sizes[index % sizes.len()];
    (0..length).map(|at| (at * 31 + index * 7) as u8).collect()
}

async fn messages_of_every_size_arrive_once_and_in_order(driver: DriverKind) {
    let (a, b) = pair(driver);
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("sizes", ChannelOptions::default()).expect("room");
    let sends = tokio::spawn(async move {
        for index in 0..60 {
            channel.sender.send(payload(index)).await.expect("open");
        }
        channel.sender.finish();
        channel.sender.acked().await.expect("all arrives");
        channel
    });
    let mut channel = peer.accept().await.expect("a channel");
    assert_eq!(channel.label(), "sizes");
    for index in 0..60 {
        let message = channel.receiver.recv().await.expect("intact").expect("more");
        assert!(message == payload(index), "message {index} of {} bytes", message.len());
    }
    assert!(channel.receiver.recv().await.expect("intact").is_none());
    assert!(channel.receiver.recv().await.expect("intact").is_none(), "the end stays the end");
    sends.await.expect("sender");
}

async fn a_hundred_thousand_small_messages_survive_cuts(driver: DriverKind) {
    const COUNT: u64 = 100_000;
    let (a, b) = pair(driver);
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("flood", ChannelOptions::default()).expect("room");
    let sends = tokio::spawn(async move {
        for number in 0..COUNT {
            channel.sender.send(number.to_le_bytes().to_vec()).await.expect("open");
            if number % 20_000 == 10_000 {
                session.cut(None);
            }
        }
        channel.sender.acked().await.expect("all arrives");
        (session, channel)
    });
    let mut channel = peer.accept().await.expect("a channel");
    for number in 0..COUNT {
        let message = channel.receiver.recv().await.expect("intact").expect("more");
        assert_eq!(message[..], number.to_le_bytes());
    }
    let (session, _open) = sends.await.expect("sender");
    assert!(matches!(channel.receiver.try_recv(), Err(TryRecvError::Empty)));
    let stats = session.stats();
    assert!(stats.reconnects_total >= 1, "{stats:?}");
    assert_eq!((stats.unacked_messages, stats.in_doubt_total), (0, 0));
}

fn hybrid(driver: DriverKind, kinds: &[PathKind]) -> (Endpoint, Endpoint) {
    let network = MemoryNetwork::default();
    let providers: Vec<_> = kinds.iter().map(|&kind| MemoryProvider::new(kind)).collect();
    let settings = settings(driver);
    let end = |node: &str, peer: &str| {
        let mut builder = Endpoint::builder(node)
            .settings(settings.clone())
            .dialer(Arc::new(network.dialer(node)))
            .listener(Box::new(network.listener(node)))
            .suite(Arc::new(ChecksumSuite))
            .peers(Peers::only([Peer::new(peer, ["memory"])]));
        for provider in &providers {
            builder = builder.path_provider(Arc::new(provider.clone()));
        }
        builder.build().expect("complete")
    };
    (end("a", "b"), end("b", "a"))
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not happen within 10 s");
}

fn active_kind(session: &Session) -> Option<PathKind> {
    let stats = session.stats();
    stats.paths.iter().find(|path| Some(path.id) == stats.active).map(|path| path.kind)
}

async fn the_session_moves_to_the_better_path_and_back_when_it_is_cut(driver: DriverKind) {
    let (a, b) = hybrid(driver, &[PathKind::Rdma]);
    let (session, peer) = sessions(&a, &b).await;
    let echo = tokio::spawn(async move {
        let mut channel = peer.accept().await.expect("a channel");
        while let Some(message) = channel.receiver.recv().await.expect("intact") {
            channel.sender.send(message).await.expect("open");
        }
        peer
    });
    let mut channel = session.open("echo", ChannelOptions::default()).expect("room");
    until("the switch to rdma", || active_kind(&session) == Some(PathKind::Rdma)).await;
    for round in 0..400_usize {
        channel.sender.send(payload(round % 10)).await.expect("open");
        let back = channel.receiver.recv().await.expect("intact").expect("more");
        assert!(back == payload(round % 10), "round {round}");
        match round {
            100 => {
                until("steady", || session.stats().is_steady).await;
                session.switch(PathKind::Tcp, SwitchReason::Requested).expect("tcp stands by");
            }
            200 => {
                until("tcp", || active_kind(&session) == Some(PathKind::Tcp)).await;
                until("steady", || session.stats().is_steady).await;
                session.switch(PathKind::Rdma, SwitchReason::Requested).expect("rdma stands by");
            }
            300 => {
                until("rdma", || active_kind(&session) == Some(PathKind::Rdma)).await;
                assert!(session.cut(None));
                until("failover", || active_kind(&session) == Some(PathKind::Tcp)).await;
            }
            _ => {}
        }
    }
    let stats = session.stats();
    // Either end may begin the failover; to the other one it is a switch that it follows.
    assert_eq!(stats.switches_total + stats.failovers_total, 4, "{stats:?}");
    assert!(stats.failovers_total <= 1, "{stats:?}");
    assert_eq!(stats.reconnects_total, 0);
    channel.sender.finish();
    echo.await.expect("the peer ends in good order");
}

async fn both_ends_dial_at_once_and_share_one_session(driver: DriverKind) {
    let (a, b) = pair(driver);
    let (left, right) = tokio::join!(a.connect("b"), b.connect("a"));
    let (left, right) = (left.expect("one stands"), right.expect("one stands"));
    assert_eq!(left.id(), right.id());
    assert_eq!((a.sessions().len(), b.sessions().len()), (1, 1));
}

async fn a_session_without_a_path_expires_and_reports_what_is_in_doubt(driver: DriverKind) {
    let is_paused = driver == DriverKind::Tokio;
    let mut settings = settings(driver);
    // Threads live by the system's clock, which cannot be paused.
    settings.time_to_live = Duration::from_secs(if is_paused { 60 } else { 1 });
    let (a, b) = Endpoint::pair_with(&settings);
    let mut events = a.subscribe();
    let (session, _peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    channel.sender.send("one").await.expect("open");
    channel.sender.acked().await.expect("it arrives");
    // It says nothing, and nobody listens any more.
    b.shut_down();
    session.cut(None);
    for _ in 0..3 {
        channel.sender.send("lost").await.expect("the session holds");
    }
    let began = tokio::time::Instant::now();
    let why = session.closed().await;
    assert!(!is_paused || began.elapsed() <= Duration::from_secs(61), "{why:?}");
    assert_eq!(why, Closed::Expired);
    let refused = channel.sender.send("more").await.expect_err("the session is over");
    assert!(matches!(refused, SendError::SessionOver { .. }), "{refused:?}");
    assert!(refused.to_string().contains("time to live"), "it says why: {refused}");
    assert_eq!(channel.sender.acked().await, Err(refused));
    let mut doubt = None;
    while let Some(event) = events.recv().await {
        match event.event {
            SessionEvent::InDoubt { from, count, .. } => doubt = Some((from, count)),
            SessionEvent::Closed(_) => break,
            _ => {}
        }
    }
    assert_eq!(doubt, Some((2, 3)));
    assert!(matches!(channel.receiver.recv().await, Err(RecvError::SessionOver { .. })));
}

async fn a_drain_waits_for_acks_and_closes(driver: DriverKind) {
    let (a, b) = pair(driver);
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    for _ in 0..60 {
        channel.sender.send(vec![7; 1_000]).await.expect("open");
    }
    let mut incoming = peer.accept().await.expect("a channel");
    let drained = a.drain(Duration::from_secs(10)).await;
    assert_eq!((drained.sessions, drained.unacked_messages), (1, 0));
    assert_eq!(session.closed().await, Closed::ByUs);
    for _ in 0..60 {
        let message = incoming.receiver.recv().await.expect("intact").expect("more");
        assert!(message == [7; 1_000]);
    }
    assert!(matches!(peer.closed().await, Closed::ByPeer { code: 0, .. }));
}

async fn back_pressure_is_a_value_and_ends(driver: DriverKind) {
    let (a, b) = pair(driver);
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("slow", ChannelOptions::bulk()).expect("room");
    let mut sent = 0_u32;
    let refused = loop {
        match channel.sender.try_send(vec![1; 4_000]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100_000, "a reader that never reads must stop the sender");
    };
    assert_eq!(refused, SendError::Window);
    let soon = tokio::time::Instant::now() + Duration::from_millis(20);
    let late = channel.sender.send_by(vec![1; 4_000], soon).await;
    assert_eq!(late, Err(SendError::DeadlinePassed));
    let mut incoming = peer.accept().await.expect("a channel");
    let read = async {
        for _ in 0..=sent {
            incoming.receiver.recv().await.expect("intact").expect("more");
        }
    };
    let (sent_last, ()) = tokio::join!(channel.sender.send(vec![2; 4_000]), read);
    sent_last.expect("the window opens again");
}

async fn claims_chunks_and_confirmations(driver: DriverKind) {
    let (a, b) = pair(driver);
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    let reads = tokio::spawn(async move {
        let mut incoming = peer.accept().await.expect("a channel");
        let (mut bytes, mut lasts) = (0, 0);
        while lasts < 2 {
            let chunk = incoming.receiver.recv_chunk().await.expect("intact").expect("more");
            bytes += chunk.bytes.len();
            lasts += u32::from(chunk.is_last);
        }
        incoming.receiver.confirm(2);
        (incoming, bytes)
    });
    let mut claim = channel.sender.try_claim(100_000).expect("room");
    claim.fill(9);
    claim.truncate(90_000);
    claim.commit().expect("room");
    drop(channel.sender.claim(50).await.expect("room")); // aborted
    channel.sender.send(Message::from(vec![3; 200_000])).await.expect("open");
    let (mut incoming, bytes) = reads.await.expect("reader");
    assert_eq!(bytes, 290_000);
    channel.sender.confirmed(2).await.expect("the peer confirms");
    let counts = channel.sender.counts();
    assert_eq!((counts.committed, counts.acked, counts.confirmed), (2, 2, 2));
    session.ping(Duration::from_secs(5)).await.expect("the path answers");
    session.rekey();
    channel.sender.send("after the rekey").await.expect("open");
    assert!(incoming.receiver.recv().await.expect("intact").expect("more") == "after the rekey");
    assert_eq!(session.stats().paths[0].rekeys_total, 1);
}

async fn strangers_are_refused_in_words(driver: DriverKind) {
    let network = MemoryNetwork::default();
    let settings = settings(driver);
    let end = |node: &str, peers: Peers| {
        Endpoint::builder(node)
            .settings(settings.clone())
            .dialer(Arc::new(network.dialer(node)))
            .listener(Box::new(network.listener(node)))
            .suite(Arc::new(ChecksumSuite))
            .peers(peers)
            .build()
            .expect("complete")
    };
    let a = end("a", Peers::only([Peer::new("b", ["memory"])]));
    let b = end("b", Peers::default());
    let refused = a.connect("b").await.expect_err("a is no peer of b").to_string();
    assert!(refused.contains("not among this node's peers"), "{refused}");
    assert_eq!(b.stats().refused_total, 1);
    let unknown = a.connect("c").await.expect_err("c is no peer of a").to_string();
    assert!(unknown.contains("add it to `peers`"), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn keys_change_with_time() {
    let network = MemoryNetwork::default();
    let end = |node: &str, peer: &str, interval| {
        let mut settings = EndpointSettings::default();
        settings.key_rotation_interval = interval;
        Endpoint::builder(node)
            .dialer(Arc::new(network.dialer(node)))
            .listener(Box::new(network.listener(node)))
            .suite(Arc::new(ChecksumSuite))
            .peers(Peers::only([Peer::new(peer, ["memory"])]))
            .settings(settings)
            .build()
            .expect("complete")
    };
    let (a, b) = (end("a", "b", Some(Duration::from_secs(60))), end("b", "a", None));
    let (session, peer) = sessions(&a, &b).await;
    let mut channel = session.open("x", ChannelOptions::default()).expect("room");
    for minute in 1..4 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        channel.sender.send("under new keys").await.expect("open");
        channel.sender.acked().await.expect("the peer follows");
        let rekeys = session.stats().paths[0].rekeys_total;
        assert!(rekeys >= minute - 1, "{rekeys} rekeys in {minute} minutes");
    }
    assert_eq!(peer.stats().paths[0].rekeys_total, 0, "each end sees to its own direction");
}

/// The same tests under each driver.
macro_rules! with_each_driver {
    ($($(#[$on_tokio:meta])* | $(#[$on_threads:meta])* $name:ident;)*) => {
        mod on_tokio {
            $($(#[$on_tokio])* async fn $name() {
                super::$name(super::DriverKind::Tokio).await;
            })*
        }
        mod on_poll_threads {
            $($(#[$on_threads])* async fn $name() {
                super::$name(super::DriverKind::Poll(super::PollSettings::default())).await;
            })*
        }
    };
}

with_each_driver! {
    #[tokio::test] | #[tokio::test] messages_of_every_size_arrive_once_and_in_order;
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] | #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_hundred_thousand_small_messages_survive_cuts;
    #[tokio::test] | #[tokio::test] the_session_moves_to_the_better_path_and_back_when_it_is_cut;
    #[tokio::test] | #[tokio::test] both_ends_dial_at_once_and_share_one_session;
    #[tokio::test(start_paused = true)] | #[tokio::test] a_session_without_a_path_expires_and_reports_what_is_in_doubt;
    #[tokio::test] | #[tokio::test] a_drain_waits_for_acks_and_closes;
    #[tokio::test] | #[tokio::test] back_pressure_is_a_value_and_ends;
    #[tokio::test] | #[tokio::test] claims_chunks_and_confirmations;
    #[tokio::test] | #[tokio::test] strangers_are_refused_in_words;
}
