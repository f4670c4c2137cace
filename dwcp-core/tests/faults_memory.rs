//! Memory that is used up: nothing is lost, nothing hangs, and what ends says why.
#![cfg(feature = "tokio")]

mod nodes;

use std::time::Duration;

use dwcp_core::link::MemoryNetwork;
use dwcp_core::machine::Closed;
use dwcp_core::{Channel, ChannelOptions, Endpoint, EndpointSettings, Peers, RecvError, Session};

use nodes::{node, peer};

const PATIENCE: Duration = Duration::from_secs(240);

/// A dialer, an acceptor of `memory_bytes`, and their session. Silence is noticed within a third of a second.
async fn pair(memory_bytes: usize, time_to_live: Duration) -> (Session, Session, [Endpoint; 2]) {
    let network = MemoryNetwork::default();
    let mut settings = EndpointSettings::default();
    settings.heartbeat_interval = Duration::from_millis(100);
    settings.time_to_live = time_to_live;
    let a = node(&network, "a", peer("b"), &settings);
    settings.memory_budget_bytes = memory_bytes;
    let b = node(&network, "b", peer("a"), &settings);
    let (ours, theirs) = tokio::join!(a.connect("b"), b.accept());
    (ours.expect("it answers"), theirs.expect("it runs"), [a, b])
}

/// An application that does not read for a while: its peer waits, and no path is lost over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_for_memory_is_not_taken_for_dead() {
    let (ours, theirs, ends) = pair(8 << 20, Duration::from_secs(60)).await;
    let mut channels: Vec<_> =
        (0..200).map(|_| ours.open("x", ChannelOptions::default()).expect("room")).collect();
    let mut incoming = Vec::new();
    for channel in &mut channels {
        channel.sender.send_copy(&[0; 8]).await.expect("open");
        incoming.push(theirs.accept().await.expect("open"));
    }
    // Each within its credit of 64 KiB, and together far more than there is room for.
    for (index, channel) in channels.iter_mut().enumerate() {
        for number in 1..15_u64 {
            let mut message = vec![index as u8; 4_000];
            message[..8].copy_from_slice(&number.to_le_bytes());
            channel.sender.send(message).await.expect("open");
        }
        channel.sender.flush();
    }
    // Six times as long as silence may last.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used_bytes = ends[1].stats().pool.used_bytes;
    assert!(used_bytes > 3 << 20, "memory is short: {used_bytes} of what 11 MB would take");
    assert_eq!((theirs.stats().reconnects_total, ours.stats().reconnects_total), (0, 0));
    let mut reading = tokio::task::JoinSet::new();
    for mut channel in incoming {
        reading.spawn(async move {
            for number in 0..15_u64 {
                let message = channel.receiver.recv().await.expect("intact").expect("more");
                assert_eq!(message[..8], number.to_le_bytes());
            }
        });
    }
    let all = async {
        while let Some(read) = reading.join_next().await {
            read.expect("all in order");
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("it goes on");
    assert_eq!((theirs.stats().reconnects_total, ours.stats().reconnects_total), (0, 0));
}

/// Two hundred channels, each with a message on its way that only long waiting makes whole.
async fn half_come(ours: &Session, theirs: &Session) -> Vec<Channel> {
    let (mut outgoing, mut incoming) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let mut channel = ours.open("x", ChannelOptions::default()).expect("room");
        channel.sender.send_copy(b"first").await.expect("open");
        outgoing.push(channel);
        incoming.push(theirs.accept().await.expect("open"));
        incoming.last_mut().expect("one").receiver.recv().await.expect("intact").expect("more");
    }
    for mut channel in outgoing {
        tokio::spawn(async move { channel.sender.send(vec![7; 1 << 20]).await.map(|()| channel) });
    }
    // What has not come cannot be begun.
    tokio::time::sleep(Duration::from_millis(500)).await;
    incoming
}

/// Receivers that were told to stop wait for nothing: their session goes on, short of memory as it is.
#[tokio::test(start_paused = true)]
async fn messages_that_nobody_waits_for_end_no_session() {
    let (ours, theirs, _ends) = pair(8 << 20, Duration::from_secs(2)).await;
    let mut incoming = half_come(&ours, &theirs).await;
    for channel in &mut incoming {
        let receiving = channel.receiver.recv();
        let received = tokio::time::timeout(Duration::from_millis(10), receiving).await;
        assert!(received.is_err(), "there is no memory for the rest");
    }
    let closed = tokio::time::timeout(PATIENCE, theirs.closed()).await;
    assert!(closed.is_err(), "{closed:?}");
    let mut receiving = tokio::task::JoinSet::new();
    for mut channel in incoming {
        receiving.spawn(async move { channel.receiver.recv().await.map(drop) });
    }
    let closed = tokio::time::timeout(PATIENCE, theirs.closed()).await.expect("it gives up");
    assert_eq!(closed, Closed::MemoryShort);
    let all = async { while receiving.join_next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, all).await.expect("each hears of it");
}

/// Receivers in a `select!` that drops their futures, or that only ask, want no less what they cannot have.
#[tokio::test(start_paused = true)]
async fn receivers_that_never_wait_for_long_end_their_session_by_name() {
    for only_asks in [false, true] {
        let (ours, theirs, _ends) = pair(8 << 20, Duration::from_secs(2)).await;
        let mut incoming = half_come(&ours, &theirs).await;
        let receiving = async {
            loop {
                for Channel { receiver, .. } in &mut incoming {
                    if only_asks {
                        _ = receiver.try_recv();
                        continue;
                    }
                    tokio::select! {
                        biased;
                        _ = receiver.recv() => {}
                        () = std::future::ready(()) => {} // something else to do
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let closed = async {
            tokio::select! {
                closed = theirs.closed() => closed,
                () = receiving => unreachable!("it goes on for ever"),
            }
        };
        let closed = tokio::time::timeout(PATIENCE, closed).await.expect("it does not hang");
        assert_eq!(closed, Closed::MemoryShort);
    }
}

/// Half-come messages on more channels than there is memory for: no receiver can go on. The session ends and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_can_never_be_whole_end_their_session_by_name() {
    let (ours, theirs, _ends) = pair(8 << 20, Duration::from_secs(2)).await;
    let incoming = half_come(&ours, &theirs).await;
    let mut receiving = tokio::task::JoinSet::new();
    for mut channel in incoming {
        receiving.spawn(async move { channel.receiver.recv().await.map(drop) });
    }
    let closed = tokio::time::timeout(PATIENCE, theirs.closed()).await.expect("it does not hang");
    assert_eq!(closed, Closed::MemoryShort);
    assert_eq!(theirs.stats().reconnects_total, 0, "nor was a path lost before");
    let mut refused = 0;
    while let Some(received) = receiving.join_next().await {
        if let Err(RecvError::SessionOver { why }) = received.expect("no panic") {
            assert_eq!(why, Closed::MemoryShort);
            refused += 1;
        }
    }
    assert!(refused > 0);
}

/// An application that keeps what one peer sends keeps that peer waiting, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_the_application_keeps_are_charged_to_their_session() {
    const BYTES: usize = 60_000;
    let network = MemoryNetwork::default();
    let mut settings = EndpointSettings::default();
    let [a, c] = ["a", "c"].map(|name| node(&network, name, peer("hub"), &settings));
    settings.memory_budget_bytes = 8 << 20;
    let hub = node(&network, "hub", Peers::any(), &settings);
    let connect = async |end: &Endpoint| {
        let (ours, theirs) = tokio::join!(end.connect("hub"), hub.accept());
        (ours.expect("it answers"), theirs.expect("it runs"))
    };
    let (greedy, theirs) = connect(&a).await;
    let (mut kept, mut channels) = (Vec::new(), Vec::new());
    let waiting = loop {
        let mut channel = greedy.open("x", ChannelOptions::default()).expect("room");
        channel.sender.send(vec![kept.len() as u8; BYTES]).await.expect("open");
        channels.push(channel);
        let arrival = async {
            let mut incoming = theirs.accept().await.expect("open");
            incoming.receiver.recv().await.expect("intact").expect("more")
        };
        let mut arrival = Box::pin(arrival);
        match tokio::time::timeout(Duration::from_secs(1), &mut arrival).await {
            Ok(message) => kept.push(message),
            Err(_) => break arrival,
        }
        assert!(kept.len() < 100, "it has more than is left for the others");
    };
    assert!(kept.len() > 30, "half of all is for one: {}", kept.len());
    // Records of every size find room.
    let (modest, theirs) = connect(&c).await;
    for bytes in [1, 10_000, BYTES, 250_000] {
        let mut channel = modest.open("x", ChannelOptions::default()).expect("room");
        let arrival = async {
            channel.sender.send(vec![7; bytes]).await.expect("open");
            let mut incoming = theirs.accept().await.expect("open");
            incoming.receiver.recv().await.expect("intact").expect("more")
        };
        let message = tokio::time::timeout(PATIENCE, arrival).await.expect("it does not wait");
        assert_eq!(message.len(), bytes);
    }
    // What is let go of is the peer's again.
    let count = kept.len();
    drop(kept);
    let message = tokio::time::timeout(PATIENCE, waiting).await.expect("it goes on");
    assert!(message.len() == BYTES && message[0] == count as u8);
}
