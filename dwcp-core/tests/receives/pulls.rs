//! What a link reads from the peer's memory, and what becomes of the memory it was given for that.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dwcp_core::block_on_for;
use dwcp_core::mem::Payload;
use dwcp_core::wire::{DataFrame, DataKind, PullSource};

use crate::by_hand::{ByHand, LONG};
use crate::link::Pulls;

const BYTES: usize = 50_000;

/// Opens the channel and announces a message that lies at `address`, full of its low byte.
fn announce(peer: &mut ByHand, address: u64, crc: u32) {
    peer.send(1);
    let source = PullSource { address, key: 0, crc };
    let frame = DataFrame {
        channel: 2,
        seq: 2,
        kind: DataKind::First { total: BYTES as u64 },
        payload: Payload::default(),
        length: BYTES as u32,
        pull: Some(source),
    };
    peer.put(&frame);
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_announced_message_is_read_and_delivered() {
    let mut peer = ByHand::new(&Pulls::Arrive);
    announce(&mut peer, 7, crc32fast::hash(&[7; BYTES]));
    peer.ping();
    let mut channel =
        block_on_for(LONG, peer.session.accept()).expect("it opens").expect("a channel");
    let message = block_on_for(LONG, channel.receiver.recv()).expect("it is here");
    assert!(message.expect("intact").expect("more")[..] == [7; BYTES]);
}

#[test]
fn memory_that_changed_since_is_not_delivered() {
    let mut peer = ByHand::new(&Pulls::Arrive);
    announce(&mut peer, 7, crc32fast::hash(&[8; BYTES]));
    peer.ping();
    let mut channel =
        block_on_for(LONG, peer.session.accept()).expect("it opens").expect("a channel");
    assert!(block_on_for(Duration::from_millis(200), channel.receiver.recv()).is_none());
    let bytes = vec![9; BYTES];
    let kind = DataKind::First { total: BYTES as u64 };
    let payload = Payload::Bytes(bytes.clone().into());
    let length = BYTES as u32;
    peer.put(&DataFrame { channel: 2, seq: 2, kind, payload, length, pull: None });
    let message = block_on_for(LONG, channel.receiver.recv()).expect("it came in a record");
    assert!(message.expect("intact").expect("more")[..] == bytes);
}

#[test]
fn memory_of_a_path_that_cannot_be_fenced_is_leaked_and_counted() {
    let mut peer = ByHand::new(&Pulls::Unknown);
    announce(&mut peer, 7, 0);
    let pool = peer.pool.clone();
    until("the pull begins", || pool.stats().used_bytes >= BYTES);
    peer.socket.shutdown(Shutdown::Both).expect("it is open");
    until("the fence fails", || pool.stats().leaked_slots == 1);
    drop(peer);
    assert!(pool.stats().used_bytes >= BYTES, "nobody gets it again: {:?}", pool.stats());
}

#[test]
fn memory_of_a_path_is_free_when_its_fence_is_through_and_not_before() {
    let is_still = Arc::new(AtomicBool::new(false));
    let mut peer = ByHand::new(&Pulls::Stop(is_still.clone()));
    announce(&mut peer, 7, 0);
    let pool = peer.pool.clone();
    until("the pull begins", || pool.stats().used_bytes >= BYTES);
    peer.socket.shutdown(Shutdown::Both).expect("it is open");
    assert!(peer.is_over_within(LONG));
    assert!(pool.stats().used_bytes >= BYTES, "the link may still write: {:?}", pool.stats());
    is_still.store(true, Ordering::Release);
    until("it comes back", || pool.stats().used_bytes == 0);
    assert_eq!(pool.stats().leaked_slots, 0);
}
