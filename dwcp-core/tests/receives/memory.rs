//! What is read finds memory when it is what others wait for.

use std::time::Duration;

use dwcp_core::block_on_for;
use dwcp_core::mem::Payload;
use dwcp_core::wire::{DataFrame, DataKind};

use crate::by_hand::{ByHand, LONG};
use crate::link::Pulls;

#[test]
fn what_others_wait_for_finds_memory_when_they_hold_all_of_it() {
    let mut peer = ByHand::new(&Pulls::Arrive);
    peer.send(3);
    peer.until_used(9_000);
    let _all = peer.exhaust();
    peer.send(1);
    peer.send(2);
    let mut channel =
        block_on_for(LONG, peer.session.accept()).expect("it opens").expect("a channel");
    for seq in [2, 3] {
        let message = block_on_for(LONG, channel.receiver.recv()).expect("it is here");
        assert_eq!(message.expect("intact").expect("more")[..], [seq; 9_000]);
    }
}

#[test]
fn what_has_to_wait_too_ends_the_path_when_memory_is_gone() {
    let mut peer = ByHand::new(&Pulls::Arrive);
    peer.send(3);
    peer.until_used(9_000);
    let _all = peer.exhaust();
    peer.send(4);
    assert!(peer.is_over_within(LONG), "the path ends, and with it a session that has no other");
}

#[test]
fn without_anything_that_waits_a_record_stays_where_it_is_until_there_is_memory() {
    let mut peer = ByHand::new(&Pulls::Arrive);
    peer.send(1);
    let mut channel =
        block_on_for(LONG, peer.session.accept()).expect("it opens").expect("a channel");
    let all = peer.exhaust();
    peer.send(2);
    assert!(!peer.is_over_within(Duration::from_millis(300)));
    assert!(block_on_for(Duration::from_millis(1), channel.receiver.recv()).is_none());
    drop(all);
    let message = block_on_for(LONG, channel.receiver.recv()).expect("it is here");
    assert_eq!(message.expect("intact").expect("more")[..], [2; 9_000]);
}

#[test]
fn what_nobody_waits_for_does_not_take_the_last_memory() {
    let mut peer = ByHand::new(&Pulls::Arrive);
    peer.send(3);
    peer.until_used(9_000);
    let _all = peer.exhaust();
    let bytes = vec![1, b'y'];
    let (length, payload) = (bytes.len() as u32, Payload::Bytes(bytes.into()));
    let kind = DataKind::Open;
    peer.put(&DataFrame { channel: 4, seq: 1, kind, payload, length, pull: None });
    assert!(peer.is_over_within(LONG), "the path ends: the next one begins with what is missing");
}
