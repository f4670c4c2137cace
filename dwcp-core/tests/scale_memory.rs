//! Ten thousand sessions that share a memory too small for what their peers send.
#![cfg(feature = "tokio")]

mod nodes;

use std::time::{Duration, Instant};

use dwcp_core::link::MemoryNetwork;
use dwcp_core::{
    Channel, ChannelOptions, Endpoint, EndpointSettings, Message, Peer, Peers, Session,
};

use nodes::{node, peer};

const PATIENCE: Duration = Duration::from_secs(240);

const SESSIONS: usize = 10_000;
const MESSAGES: u64 = 5;
const BYTES: usize = 2_000;

fn message(session: usize, number: u64) -> Vec<u8> {
    let mut bytes = vec![number as u8; BYTES];
    bytes[..8].copy_from_slice(&(session as u64 * MESSAGES + number).to_le_bytes());
    bytes
}

/// Reads what all have sent, on all sessions at once: whole, in order, and no path was lost over it.
async fn read_all(incoming: Vec<(Channel, Session)>) {
    let began = Instant::now();
    let mut reading = tokio::task::JoinSet::new();
    for (index, (mut channel, session)) in incoming.into_iter().enumerate() {
        reading.spawn(async move {
            for number in 1..MESSAGES {
                let found = channel.receiver.recv().await.expect("intact").expect("more");
                assert!(found[..] == message(index, number)[..], "session {index}");
            }
            let reconnects = session.stats().reconnects_total;
            (channel, session, reconnects)
        });
    }
    let mut kept = Vec::new();
    let all = async {
        while let Some(read) = reading.join_next().await {
            kept.push(read.expect("all of it, in order"));
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all is read in the end");
    println!("read in {:?}", began.elapsed());
    assert_eq!(kept.len(), SESSIONS);
    assert_eq!(
        kept.iter().map(|(_, _, reconnects)| reconnects).sum::<u64>(),
        0,
        "no path was lost"
    );
}

/// Ten thousand peers send more than the node has memory for, while nobody reads: they wait. Then all of it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_sessions_share_a_small_memory() {
    const MEMORY_BYTES: usize = 32 << 20;
    let network = MemoryNetwork::default();
    let mut settings = EndpointSettings::default();
    settings.memory_budget_bytes = MEMORY_BYTES;
    // The heartbeats of twenty thousand ends in one process would take most of two processors.
    settings.heartbeat_interval = Duration::from_secs(10);
    let names: Vec<_> = (0..SESSIONS).map(|index| format!("n{index}")).collect();
    let peers = names.iter().map(|name| Peer::new(name, [format!("memory:{name}")]));
    let b = node(&network, "b", Peers::only(peers), &settings);
    settings.memory_budget_bytes = 1 << 20;
    let began = Instant::now();
    let (mut ends, mut channels): (Vec<Endpoint>, Vec<Channel>) = (Vec::new(), Vec::new());
    let mut incoming = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let a = node(&network, name, peer("b"), &settings);
        let (ours, theirs) = tokio::join!(a.connect("b"), b.accept());
        let (ours, theirs) = (ours.expect("it answers"), theirs.expect("it runs"));
        let mut channel = ours.open("x", ChannelOptions::default()).expect("room");
        channel.sender.send(message(index, 0)).await.expect("open");
        let mut incoming_channel = theirs.accept().await.expect("open");
        // Read at once: what nobody reads takes the memory that the next one needs to be opened.
        let first = incoming_channel.receiver.recv().await.expect("intact").expect("more");
        assert!(first[..] == message(index, 0)[..]);
        incoming.push((incoming_channel, theirs));
        channels.push(channel);
        ends.push(a);
    }
    println!("{SESSIONS} sessions in {:?}", began.elapsed());
    let began = Instant::now();
    for (index, channel) in channels.iter_mut().enumerate() {
        for number in 1..MESSAGES {
            let message = Message::from(message(index, number));
            channel.sender.send(message).await.expect("open");
        }
        channel.sender.flush();
    }
    let held = || b.stats().pool.used_bytes;
    let is_full = async {
        while held() < MEMORY_BYTES / 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_full).await.expect("the memory fills");
    println!("sent in {:?}; {} bytes used", began.elapsed(), held());
    read_all(incoming).await;
    let stats = b.stats().pool;
    assert!(stats.reserved_bytes <= MEMORY_BYTES + (16 << 20), "{stats:?}");
}
