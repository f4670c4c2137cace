//! Memory under pressure: full pools, tiny frames, channels and sessions that take and never give back.
#![cfg(feature = "tokio")]

use std::sync::Arc;
use std::time::Duration;

use dwcp_core::crypto::ChecksumSuite;
use dwcp_core::link::{LinkFeatures, MemoryNetwork};
use dwcp_core::machine::{Machine, PathAttributes, Settings, Time};
use dwcp_core::mem::{Payload, Pool};
use dwcp_core::wire::{
    DataFrame, DataKind, DecodeError, Decompress, Frame, PathId, PathKind, RecordEncoder,
    decode_record,
};
use dwcp_core::{
    ChannelOptions, Endpoint, EndpointSettings, Peer, Peers, Receiver, Role, Sender, Session,
};

const NOW: Time = Time(1_000_000);

fn build(network: &MemoryNetwork, node: &str, peer: &str, budget_bytes: usize) -> Endpoint {
    let mut settings = EndpointSettings::default();
    settings.memory_budget_bytes = budget_bytes;
    // A configuration promises no more than it has; its defaults, a quarter.
    settings.receive_budget_bytes = budget_bytes as u64 / 4;
    let builder = Endpoint::builder(node)
        .dialer(Arc::new(network.dialer(node)))
        .listener(Box::new(network.listener(node)))
        .suite(Arc::new(ChecksumSuite))
        .settings(settings)
        .peers(Peers::only([Peer::new(peer, [format!("memory:{peer}")])]));
    builder.build().expect("complete")
}

async fn sessions(a: &Endpoint, b: &Endpoint) -> (Session, Session) {
    let (session, peer) = tokio::join!(a.connect("b"), b.accept());
    (session.expect("b answers"), peer.expect("b runs"))
}

#[tokio::test]
async fn a_pool_full_of_unacked_messages_still_reads_their_acks() {
    let network = MemoryNetwork::default();
    let a = build(&network, "a", "b", 256 << 10);
    let b = build(&network, "b", "a", 1 << 30);
    let (session, _peer) = sessions(&a, &b).await;
    // Let the first credit and the like pass.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut channels = Vec::new();
    let mut is_full = false;
    while !is_full && channels.len() < 400 {
        let mut channel = session.open("c", ChannelOptions::default()).expect("room");
        is_full = channel.sender.try_send_copy(b"x").is_err();
        channels.push(channel);
    }
    assert!(is_full, "the pool was filled: {:?}", a.stats().pool);
    let left = session.drain(Duration::from_secs(20)).await;
    assert_eq!(left, 0, "messages never acked: {:?}", a.stats().pool);
}

async fn pump(sender: &mut Sender, receiver: &mut Receiver, count: usize) {
    let send = async {
        for _ in 0..count {
            sender.send(vec![1; 256 << 10]).await.expect("open");
        }
    };
    let receive = async {
        for _ in 0..count {
            receiver.recv().await.expect("open").expect("more");
        }
    };
    tokio::join!(send, receive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_was_fast_once_leaves_window_for_the_others() {
    let (a, b) = Endpoint::pair();
    let (session, peer) = sessions(&a, &b).await;
    let mut room = Vec::new();
    for _ in 0..2 {
        let (mut sender, keep) =
            session.open("c", ChannelOptions::default()).expect("room").split();
        sender.send(&b"x"[..]).await.expect("open");
        let (other, mut receiver) = peer.accept().await.expect("channel").split();
        receiver.recv().await.expect("open").expect("one");
        pump(&mut sender, &mut receiver, 400).await;
        sender.acked().await.expect("acked");
        room.push((sender, receiver, keep, other));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut taken_kib = Vec::new();
    for (sender, ..) in &mut room {
        let mut kib = 0;
        while sender.try_send(vec![0; 16 << 10]).is_ok() {
            kib += 16;
        }
        taken_kib.push(kib);
    }
    assert!(taken_kib[1] > 128, "KiB that each channel takes while nobody reads: {taken_kib:?}");
}

/// Nothing is compressed here.
struct Incompressible;

impl Decompress for Incompressible {
    fn decompress(&mut self, _: &[u8], _: &mut [u8]) -> Result<(), DecodeError> {
        unreachable!("no record is compressed")
    }
}

fn acceptor() -> Machine {
    let mut machine = Machine::new(Settings::new(Role::Acceptor, Pool::new(1 << 30)));
    let attributes = PathAttributes::plain(
        PathKind::Tcp,
        LinkFeatures::RELIABLE | LinkFeatures::ORDERED,
        true,
        [0; 16],
    );
    machine.handle_path_up(NOW, PathId(0), attributes);
    machine
}

fn first(channel: u32, seq: u64, bytes: usize) -> DataFrame {
    let payload = Payload::Bytes(vec![0; bytes].into());
    let kind = if seq == 1 { DataKind::Open } else { DataKind::First { total: bytes as u64 } };
    DataFrame { channel, seq, kind, payload, length: bytes as u32, pull: None }
}

/// Sends records with a frame of `others` bytes, which is read at once, one of `bytes` that waits for a reader, and
/// `padding` bytes of pings. Returns the KiB that 60 such frames pin.
fn pinned_kib(others: usize, bytes: usize, padding: usize) -> usize {
    let pool = Pool::new(1 << 30);
    let mut machine = acceptor();
    let mut encoder = RecordEncoder::default();
    for seq in 1..=60 {
        encoder.clear();
        let mut pings = Vec::new();
        while pings.len() < padding {
            Frame::Ping { token: 1 }.encode(&mut pings);
        }
        encoder.put_frames(&pings);
        let size = |bytes| if seq == 1 { 1 } else { bytes };
        if others > 0 {
            encoder.put_data(&first(2, seq, size(others)), None);
        }
        encoder.put_data(&first(4, seq, size(bytes)), None);
        let (body, trailer) = encoder.finish();
        let mut slot = pool.take(body.len() + trailer.len()).expect("room");
        slot.extend(body);
        slot.extend(trailer);
        let mut frames = Vec::new();
        decode_record(&slot.freeze(), &pool, &mut Incompressible, &mut frames).expect("good");
        frames.retain(|frame| matches!(frame, Frame::Data(data) if data.channel == 4));
        machine.handle_record(NOW, PathId(0), 0, &mut frames).expect("within credit");
    }
    pool.stats().used_bytes >> 10
}

#[test]
fn a_frame_pins_at_most_eight_times_its_credit() {
    for (others, bytes, padding) in
        [(200 << 10, 1, 0), (60 << 10, 1, 0), (10 << 10, 900, 0), (0, 1, 3_000), (0, 1_000, 3_000)]
    {
        let kib = pinned_kib(others, bytes, padding);
        assert!(
            kib <= 8 * 60,
            "{others}, {bytes}, {padding}: {kib} KiB pinned by 60 KiB of credit"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_messages_that_share_too_little_memory_are_all_gathered_in_the_end() {
    let network = MemoryNetwork::default();
    let a = build(&network, "a", "b", 1 << 30);
    // A session has half of it, which holds the least window of each channel.
    let b = build(&network, "b", "a", 4 << 20);
    let (session, peer) = sessions(&a, &b).await;
    // Each is more than half of what all may gather, and they come side by side.
    const BYTES: usize = 2_800 << 10;
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..8 {
        let mut channel = session.open("c", ChannelOptions::default()).expect("room");
        channel.sender.send_copy(b"first").await.expect("open");
        channel.sender.flush();
        receivers.push(tokio::spawn({
            let mut incoming = peer.accept().await.expect("a channel");
            async move {
                incoming.receiver.recv().await.expect("open").expect("the first");
                incoming.receiver.recv().await.expect("open").expect("the long one").len()
            }
        }));
        senders.push(tokio::spawn(async move {
            channel.sender.send(vec![7; BYTES]).await.expect("open");
            channel.sender.acked().await.expect("open");
        }));
    }
    let all = async {
        for receiver in receivers {
            assert_eq!(receiver.await.expect("no panic"), BYTES);
        }
        for sender in senders {
            sender.await.expect("no panic");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("none waits for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_goes_leaves_its_place_to_those_that_wait_for_memory() {
    let network = MemoryNetwork::default();
    let a = build(&network, "a", "b", 1 << 30);
    let b = build(&network, "b", "a", 1 << 20);
    let (session, peer) = sessions(&a, &b).await;
    let mut begun = Vec::new();
    for _ in 0..4 {
        let mut channel = session.open("c", ChannelOptions::default()).expect("room");
        channel.sender.send(vec![7; 900 << 10]).await.expect("open");
        channel.sender.flush();
        let mut incoming = peer.accept().await.expect("a channel");
        // Some of it is gathered; then nobody asks for more.
        let taken = tokio::time::timeout(Duration::from_millis(50), incoming.receiver.recv()).await;
        begun.push((channel, incoming, taken.is_ok()));
    }
    let (_channel, mut last, is_whole) = begun.pop().expect("four");
    drop(begun);
    if !is_whole {
        let recv = tokio::time::timeout(Duration::from_secs(60), last.receiver.recv()).await;
        let message = recv.expect("those before it are gone").expect("open").expect("one");
        assert_eq!(message.len(), 900 << 10);
    }
}
