//! Limits that honest ends must never be accused of passing.

use super::*;
use crate::link::LinkFeatures;
use crate::mem::Pool;
use crate::wire::{
    DataFrame, DataKind, DecodeError, Decompress, Frame, MAX_CHANNELS, PathKind, RecordEncoder,
    decode_record,
};

/// Two machines with paths between them, and nothing that gets lost.
struct Pair {
    ends: [Machine; 2],
    paths: Vec<PathId>,
    now: Time,
    pool: Pool,
}

/// Nothing is compressed here.
struct Incompressible;

impl Decompress for Incompressible {
    fn decompress(&mut self, _: &[u8], _: &mut [u8]) -> Result<(), DecodeError> {
        unreachable!("no record is compressed")
    }
}

impl Pair {
    fn new() -> Self {
        Self::with_paths([&[PathId(0)], &[PathId(0)]])
    }

    /// The paths come up in this order at either end.
    fn with_paths(paths: [&[PathId]; 2]) -> Self {
        let pool = Pool::new(1 << 30);
        let end = |role, paths: &[PathId]| {
            let mut machine = Machine::new(Settings::new(role, pool.clone()));
            let attributes = PathAttributes::plain(
                PathKind::Tcp,
                LinkFeatures::RELIABLE | LinkFeatures::ORDERED,
                true,
                [0; 16],
            );
            for path in paths {
                machine.handle_path_up(Time(1), *path, attributes.clone());
            }
            machine
        };
        let ends = [end(Role::Dialer, paths[0]), end(Role::Acceptor, paths[1])];
        Self { ends, paths: paths[0].to_vec(), now: Time(1), pool }
    }

    /// Carries records until neither end has more to say.
    fn settle(&mut self) -> Result<(), Violation> {
        let (mut batch, mut encoder) = (TxBatch::default(), RecordEncoder::default());
        let mut quiet_rounds = 0;
        while quiet_rounds < 3 {
            quiet_rounds += 1;
            self.now = self.now + std::time::Duration::from_millis(2);
            let paths = self.paths.clone();
            for (side, path) in (0..2).flat_map(|side| paths.iter().map(move |path| (side, *path)))
            {
                while self.ends[side].poll_transmit(self.now, path, &mut batch) {
                    quiet_rounds = 0;
                    for record in batch.records() {
                        encoder.clear();
                        encoder.put_frames(batch.frames(record));
                        batch
                            .data(record)
                            .iter()
                            .for_each(|data| encoder.put_data(&data.frame, None));
                        let (body, trailer) = encoder.finish();
                        let mut slot = self.pool.take(body.len() + trailer.len()).expect("room");
                        slot.extend(body);
                        slot.extend(trailer);
                        let mut frames = Vec::new();
                        decode_record(&slot.freeze(), &self.pool, &mut Incompressible, &mut frames)
                            .expect("well-formed");
                        let peer = &mut self.ends[1 - side];
                        peer.handle_record(self.now, path, record.epoch, &mut frames)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, side: usize) -> Result<ChannelKey, SendError> {
        self.ends[side].open(Priority::Interactive, "x")
    }

    /// Channels the peer of `side` opened there since this was last asked.
    fn opened(&mut self, side: usize) -> Vec<ChannelKey> {
        let events = std::iter::from_fn(|| self.ends[side].poll_event());
        let opened = events.filter_map(|event| match event {
            Event::ChannelOpened { channel, .. } => Some(channel),
            _ => None,
        });
        opened.collect()
    }
}

#[test]
fn both_ends_open_as_many_channels_as_they_may_at_once() {
    let mut pair = Pair::new();
    for _ in 0..MAX_CHANNELS {
        for side in 0..2 {
            pair.open(side).expect("within the limit");
        }
    }
    for side in 0..2 {
        assert_eq!(pair.open(side), Err(SendError::Window));
    }
    pair.settle().expect("nobody broke a rule");
    for side in 0..2 {
        assert_eq!(pair.opened(side).len(), MAX_CHANNELS);
        assert_eq!(pair.ends[side].channel_count(), 2 * MAX_CHANNELS);
        assert_eq!(pair.open(side), Err(SendError::Window), "the peer's do not make room");
    }
}

#[test]
fn channels_that_are_over_on_the_wire_make_room_though_the_peer_holds_them() {
    let mut pair = Pair::new();
    for round in 0..2 {
        let ours: Vec<_> = (0..MAX_CHANNELS).map(|_| pair.open(0).expect("room")).collect();
        pair.settle().expect("nobody broke a rule");
        let theirs = pair.opened(1);
        assert_eq!(theirs.len(), MAX_CHANNELS, "round {round}");
        // The peer's application finishes them and forgets to let go.
        theirs.into_iter().for_each(|key| pair.ends[1].finish(key));
        ours.into_iter().for_each(|key| pair.ends[0].release(key));
        pair.settle().expect("nobody broke a rule");
    }
    assert!(pair.ends[1].channel_count() >= 2 * MAX_CHANNELS, "they are held");
}

#[test]
fn a_reset_counts_until_the_peer_has_heard_of_it() {
    let mut pair = Pair::new();
    let ours: Vec<_> = (0..MAX_CHANNELS).map(|_| pair.open(0).expect("room")).collect();
    pair.settle().expect("nobody broke a rule");
    pair.ends[0].reset(ours[0], 7);
    assert_eq!(pair.open(0), Err(SendError::Window), "an Open may overtake the Reset");
    pair.settle().expect("nobody broke a rule");
    pair.open(0).expect("the Reset is acked");
    pair.settle().expect("nobody broke a rule");
}

#[test]
fn one_channel_too_many_is_a_violation() {
    let mut pair = Pair::new();
    let open = |id| {
        let payload = Payload::Bytes(vec![0].into());
        let kind = DataKind::Open;
        Frame::Data(DataFrame { channel: id, seq: 1, kind, payload, length: 1, pull: None })
    };
    for count in 1..=MAX_CHANNELS as u32 + 1 {
        let result = pair.ends[1].handle_record(Time(2), PathId(0), 0, &mut vec![open(2 * count)]);
        let is_allowed = count as usize <= MAX_CHANNELS;
        assert_eq!(result, if is_allowed { Ok(()) } else { Err(Violation::TooManyChannels) });
    }
}

#[test]
fn ends_that_begin_on_different_paths_agree_on_one() {
    let (one, other) = (PathId(0), PathId(2));
    // Who has something to say: the dialer, the acceptor, both.
    for sides in [&[0][..], &[1], &[0, 1]] {
        let mut pair = Pair::with_paths([&[one, other], &[other, one]]);
        assert_ne!(pair.ends[0].active, pair.ends[1].active);
        for side in sides {
            pair.open(*side).expect("within the limit");
        }
        pair.settle().expect("nobody broke a rule");
        assert_eq!(pair.ends[0].active, pair.ends[1].active, "{sides:?}");
        assert_eq!(pair.ends[0].epoch(), pair.ends[1].epoch(), "{sides:?}");
        assert!(pair.ends.iter().all(|end| end.is_steady() && end.is_all_acked()), "{sides:?}");
    }
}

#[test]
fn a_session_that_lives_no_longer_than_its_path_waits_for_memory_all_the_same() {
    let seconds = std::time::Duration::from_secs;
    let mut settings = Settings::new(Role::Dialer, Pool::new(1 << 20));
    settings.time_to_live = seconds(0);
    let mut machine = Machine::new(settings);
    assert!(!machine.give_up_for_memory(seconds(4)) && !machine.is_over());
    assert!(machine.give_up_for_memory(seconds(5)) && machine.is_over());
}

/// A machine with one path, whose heart beats once a second, and the path.
fn beating(timeout_multiplier: u32) -> (Machine, PathId) {
    let mut settings = Settings::new(Role::Dialer, Pool::new(1 << 20));
    settings.timeout_multiplier = timeout_multiplier;
    let (mut machine, path) = (Machine::new(settings), PathId(0));
    let features = LinkFeatures::RELIABLE | LinkFeatures::ORDERED;
    let attributes = PathAttributes::plain(PathKind::Tcp, features, true, [0; 16]);
    machine.handle_path_up(Time(0), path, attributes);
    (machine, path)
}

fn seconds(count: u64) -> Time {
    Time(count * 1_000_000_000)
}

#[test]
fn a_path_is_silent_only_from_when_it_was_heard_last() {
    let (mut machine, path) = beating(2);
    // It is asked, asked again, and heard in the very moment of that.
    machine.handle_timeout(seconds(1));
    machine.handle_timeout(seconds(2));
    machine.handle_record(seconds(2), path, 0, &mut Vec::new()).expect("honest");
    machine.handle_timeout(seconds(3));
    assert_eq!(machine.active_path(), Some(path), "one heartbeat after it was heard");
    machine.handle_timeout(seconds(4));
    assert_eq!(machine.active_path(), None, "two heartbeats after");
}

#[test]
fn a_deaf_end_that_is_held_up_asks_once() {
    let (mut machine, path) = beating(2);
    // What has come cannot be read, and nothing can be sent.
    for second in 1..1_000 {
        machine.handle_timeout(seconds(second));
        machine.handle_starved(seconds(second), path);
    }
    assert_eq!(machine.active_path(), Some(path), "it is not silent");
    let mut batch = TxBatch::default();
    assert!(machine.poll_transmit(seconds(1_000), path, &mut batch));
    assert!(batch.bytes() < 10, "{} bytes for one question", batch.bytes());
    assert!(!machine.poll_transmit(seconds(1_000), path, &mut batch));
}
