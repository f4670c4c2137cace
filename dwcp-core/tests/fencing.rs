//! A path that is down and cannot be fenced: what the peer may still read by it is not used for anything else.

use dwcp_core::link::LinkFeatures;
use dwcp_core::machine::{
    Event, Machine, PathAttributes, Priority, Settings, Time, TxBatch, Violation,
};
use dwcp_core::mem::{Message, Payload, Pool};
use dwcp_core::wire::{Control, DataFrame, DataKind, Frame, PathId, PathKind};
use dwcp_core::{PathCause, Role};

const NOW: Time = Time(1_000_000);
const PULLED: PathId = PathId(0);
const PLAIN: PathId = PathId(2);

/// A dialer that has offered a message to be pulled, and lost the path to be pulled by without a fence.
fn unfenced(pool: &Pool) -> Machine {
    let mut machine = Machine::new(Settings::new(Role::Dialer, pool.clone()));
    let mut slot = pool.take(64 << 10).expect("room");
    slot.set_len(64 << 10);
    let slot = slot.freeze();
    let region = slot.position().0;
    for (path, features) in [(PULLED, LinkFeatures::PULL), (PLAIN, LinkFeatures::ORDERED)] {
        let attributes = PathAttributes {
            kind: PathKind::Rdma,
            features: LinkFeatures::RELIABLE | features,
            is_proven: true,
            challenge: [0; 16],
            receives_posted: 64,
            regions: vec![(region, 1 << 32, 7)],
            preference: 0,
        };
        machine.handle_path_up(NOW, path, attributes);
    }
    let channel = machine.open(Priority::Bulk, "x").expect("room");
    let message = Message::from(slot.slice(0, 48 << 10));
    drop(slot);
    machine.send(channel, &message).expect("room");
    drop(message);
    let mut batch = TxBatch::default();
    assert!(machine.poll_transmit(NOW, PULLED, &mut batch));
    let is_pulled = |record| batch.data(record).iter().any(|data| data.frame.pull.is_some());
    assert!(batch.records().iter().any(is_pulled), "the message is offered");
    machine.handle_path_down(NOW, PULLED, PathCause::LinkFailed);
    machine.handle_fence_failed(PULLED);
    machine
}

/// Hears an ack of everything on the other path, and `control` if there is any.
fn hear(machine: &mut Machine, control: Option<&Control>) -> Result<(), Violation> {
    let mut batch = TxBatch::default();
    let mut frames = Vec::new();
    while machine.poll_transmit(NOW, PLAIN, &mut batch) {
        for data in batch.records().iter().flat_map(|record| batch.data(record)) {
            assert!(data.frame.pull.is_none(), "it goes out in a record");
            let (channel, cumulative) = (data.frame.channel, data.frame.seq);
            let ranges = Default::default();
            frames.push(Frame::Ack(dwcp_core::wire::Ack { channel, cumulative, ranges }));
        }
    }
    if let Some(control) = control {
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        let (length, payload) = (bytes.len() as u32, Payload::Bytes(bytes.into()));
        let kind = DataKind::Control;
        frames.push(Frame::Data(DataFrame {
            channel: 0,
            seq: 1,
            kind,
            payload,
            length,
            pull: None,
        }));
    }
    machine.handle_record(NOW, PLAIN, machine.epoch(), &mut frames)
}

#[test]
fn what_the_peer_may_still_read_stays_though_it_is_acked() {
    let pool = Pool::new(64 << 20);
    let mut machine = unfenced(&pool);
    hear(&mut machine, None).expect("good");
    assert!(machine.is_all_acked());
    let is_released = |event: &Event| matches!(event, Event::PathReleased(_));
    assert!(!std::iter::from_fn(|| machine.poll_event()).any(|event| is_released(&event)));
    assert!(pool.stats().used_bytes >= 64 << 10, "{:?}", pool.stats());
    machine.abort();
    drop(machine);
    assert_eq!(pool.stats().leaked_slots, 1);
    assert!(pool.stats().used_bytes >= 64 << 10, "{:?}", pool.stats());
}

#[test]
fn the_peers_fence_lets_go_of_it() {
    let pool = Pool::new(64 << 20);
    let mut machine = unfenced(&pool);
    let fenced = Control::Fenced { path: PULLED, received: Vec::new() };
    hear(&mut machine, Some(&fenced)).expect("good");
    drop(machine);
    assert_eq!((pool.stats().leaked_slots, pool.stats().used_bytes), (0, 0));
}
