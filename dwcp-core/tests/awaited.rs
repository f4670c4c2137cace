//! A dialer without a path resumes: the acceptor waits for its word, and says none of its own that would be overruled.

use dwcp_core::link::LinkFeatures;
use dwcp_core::machine::{Machine, PathAttributes, Priority, Settings, Time, TxBatch};
use dwcp_core::mem::{Message, Pool};
use dwcp_core::wire::{Frame, PathId, PathKind};
use dwcp_core::{PathCause, Role};

const NOW: Time = Time(1_000_000);
const FIRST: PathId = PathId(0);
const NEXT: PathId = PathId(2);
/// What the dialer declares after the first path: odd, and above the acceptor's 2.
const EPOCH: u32 = 3;

fn path_up(machine: &mut Machine, path: PathId) {
    let features = LinkFeatures::RELIABLE | LinkFeatures::ORDERED;
    let attributes = PathAttributes::plain(PathKind::Tcp, features, true, [0; 16]);
    machine.handle_path_up(NOW, path, attributes);
}

/// An acceptor that has lost its path, and has something to send.
fn acceptor() -> Machine {
    let mut machine = Machine::new(Settings::new(Role::Acceptor, Pool::new(64 << 20)));
    path_up(&mut machine, FIRST);
    let channel = machine.open(Priority::Bulk, "x").expect("room");
    machine.send(channel, &Message::from(vec![7; 64])).expect("room");
    machine.handle_path_down(NOW, FIRST, PathCause::LinkFailed);
    machine.handle_path_fenced(FIRST);
    assert_eq!(machine.active_path(), None);
    machine
}

/// The epochs of the records that go out on the new path, and how many frames of data they carry.
fn sent(machine: &mut Machine) -> (Vec<u32>, usize) {
    let (mut batch, mut epochs, mut data) = (TxBatch::default(), Vec::new(), 0);
    while machine.poll_transmit(NOW, NEXT, &mut batch) {
        for record in batch.records() {
            data += batch.data(record).iter().filter(|data| data.frame.channel != 0).count();
            epochs.push(record.epoch);
        }
        batch.clear();
    }
    epochs.dedup();
    (epochs, data)
}

fn hear_move(machine: &mut Machine) {
    let mut frames = vec![Frame::SwitchMark { epoch: EPOCH, to: NEXT }];
    machine.handle_record(NOW, NEXT, EPOCH, &mut frames).expect("good");
}

#[test]
fn the_acceptor_follows_and_sends_at_once() {
    let mut machine = acceptor();
    machine.await_move(NEXT);
    path_up(&mut machine, NEXT);
    assert_eq!((machine.active_path(), machine.epoch()), (None, 0));
    assert_eq!(sent(&mut machine), (Vec::new(), 0));
    hear_move(&mut machine);
    assert_eq!((machine.active_path(), machine.epoch()), (Some(NEXT), EPOCH));
    let (epochs, data) = sent(&mut machine);
    assert_eq!(epochs, [EPOCH]);
    assert!(data > 0, "the dialer's word came with its acks: nothing is held");
}

#[test]
fn one_that_was_not_told_makes_a_move_of_its_own_and_is_overruled() {
    let mut machine = acceptor();
    path_up(&mut machine, NEXT);
    assert_eq!((machine.active_path(), machine.epoch()), (Some(NEXT), 2));
    assert_eq!(sent(&mut machine), (vec![2], 0), "data waits for the dialer's word");
    hear_move(&mut machine);
    assert_eq!(machine.epoch(), EPOCH);
    let (epochs, data) = sent(&mut machine);
    assert_eq!(epochs, [EPOCH]);
    assert!(data > 0);
}

#[test]
fn another_path_is_not_waited_for() {
    let mut machine = acceptor();
    machine.await_move(PathId(4));
    path_up(&mut machine, NEXT);
    assert_eq!(machine.active_path(), Some(NEXT));
}
