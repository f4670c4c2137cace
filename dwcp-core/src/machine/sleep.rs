//! Links that move only while somebody polls them: receivers say when they sleep, senders wake them.

use super::*;
use crate::wire::{Frame, PathKind};

impl Machine {
    /// The driver of a link that makes no progress by itself found it idle (100 ms are a good time) and looks at
    /// it only every 10 ms from now on. The peer is told; its next message comes with
    /// [`Event::ProgressAsked`], by way of another path. Whatever is sent on `path` afterwards tells the peer
    /// that we are awake: call this again when it is idle again.
    pub fn handle_asleep(&mut self, path: PathId) {
        if let Some(path) = self.path_mut(path).filter(|path| path.is_validated()) {
            path.push(&Frame::Asleep);
        }
    }

    /// A message goes out on `path`, at which the peer hardly looks: it is told by another path, TCP if
    /// there is one, which reaches it by an interrupt. Without another, the peer sees the message when it looks.
    pub(super) fn wake_peer(&mut self, path: PathId) {
        let others = self.paths.iter_mut().filter(|other| other.id != path && other.is_validated());
        let other = others.min_by_key(|other| (other.attributes.kind != PathKind::Tcp, other.id));
        if let Some(other) = other {
            other.push(&Frame::Wake);
            let id = other.id;
            self.events.push_back(Event::TransmitNeeded(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkFeatures;
    use crate::mem::Pool;

    const NOW: Time = Time(5);
    const FAST: PathId = PathId(0);
    const TCP: PathId = PathId(2);
    /// The frames, encoded.
    const ASLEEP: [u8; 1] = [12];
    const WAKE: [u8; 1] = [13];

    /// A machine with these paths, the first of them active, and nothing to tell.
    fn machine(paths: &[(PathId, PathKind)]) -> Machine {
        let mut machine = Machine::new(Settings::new(Role::Dialer, Pool::new(1 << 24)));
        for &(path, kind) in paths {
            let attributes = PathAttributes {
                kind,
                features: LinkFeatures::RELIABLE | LinkFeatures::ORDERED,
                is_proven: true,
                challenge: [0; 16],
                receives_posted: 0,
                regions: Vec::new(),
                preference: 0,
            };
            machine.handle_path_up(NOW, path, attributes);
        }
        while machine.poll_event().is_some() {}
        machine
    }

    /// The frames but data, and the number of data frames, that go out on `path` now.
    fn sent(machine: &mut Machine, path: PathId) -> (Vec<u8>, usize) {
        let (mut batch, mut frames, mut data) = (TxBatch::default(), Vec::new(), 0);
        while machine.poll_transmit(NOW, path, &mut batch) {
            for record in batch.records() {
                frames.extend_from_slice(batch.frames(record));
                data += batch.data(record).len();
            }
        }
        (frames, data)
    }

    fn take(machine: &mut Machine, path: PathId, frames: Vec<Frame>) {
        let mut frames = frames;
        machine.handle_record(NOW, path, 0, &mut frames).expect("honest");
    }

    const BOTH: [(PathId, PathKind); 2] = [(FAST, PathKind::Fabric), (TCP, PathKind::Tcp)];

    #[test]
    fn the_next_message_to_a_sleeping_peer_wakes_it_by_another_path() {
        let mut machine = machine(&BOTH);
        let channel = machine.open(Priority::Interactive, "x").expect("room");
        assert_eq!(sent(&mut machine, FAST), (Vec::new(), 1), "Open");
        take(&mut machine, FAST, vec![Frame::Asleep]);
        assert_eq!(sent(&mut machine, TCP), (Vec::new(), 0), "nothing to say, nothing to wake for");
        for is_first in [true, false] {
            machine.send(channel, &Message::from("m")).expect("room");
            assert_eq!(sent(&mut machine, FAST).1, 1);
            let woken = is_first.then_some(Event::TransmitNeeded(TCP));
            assert_eq!(machine.poll_event(), woken);
            let frames = if is_first { WAKE.to_vec() } else { Vec::new() };
            assert_eq!(sent(&mut machine, TCP), (frames, 0));
        }
    }

    #[test]
    fn a_peer_that_sends_is_awake() {
        let mut machine = machine(&BOTH);
        machine.open(Priority::Interactive, "x").expect("room");
        take(&mut machine, FAST, vec![Frame::Asleep]);
        take(&mut machine, FAST, vec![Frame::Pong { token: 9 }]);
        assert_eq!(sent(&mut machine, FAST).1, 1);
        assert_eq!((machine.poll_event(), sent(&mut machine, TCP).0), (None, Vec::new()));
    }

    #[test]
    fn without_another_path_the_message_just_goes() {
        let mut machine = machine(&BOTH[..1]);
        machine.open(Priority::Interactive, "x").expect("room");
        take(&mut machine, FAST, vec![Frame::Asleep]);
        assert_eq!((sent(&mut machine, FAST).1, machine.poll_event()), (1, None));
    }

    #[test]
    fn sleep_is_announced_and_a_wake_asks_for_progress() {
        let mut machine = machine(&BOTH);
        machine.handle_asleep(FAST);
        assert_eq!(sent(&mut machine, FAST), (ASLEEP.to_vec(), 0));
        take(&mut machine, TCP, vec![Frame::Wake]);
        assert_eq!(machine.poll_event(), Some(Event::ProgressAsked));
    }
}
