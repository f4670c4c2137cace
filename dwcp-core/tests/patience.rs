//! When a path is taken for dead, and how much goes out at once.

use std::time::Duration;

use dwcp_core::Role;
use dwcp_core::link::LinkFeatures;
use dwcp_core::machine::{
    Event, Machine, PathAttributes, Priority, Settings, TRANSMIT_BYTES, Time, TxBatch,
};
use dwcp_core::mem::{Message, Pool};
use dwcp_core::wire::{Frame, PathId, PathKind};

const START: Time = Time(1_000_000);
const PATHS: [PathId; 2] = [PathId(0), PathId(2)];

fn machine() -> Machine {
    let mut machine = Machine::new(Settings::new(Role::Dialer, Pool::new(1 << 30)));
    for path in PATHS {
        let attributes = PathAttributes::plain(
            PathKind::Tcp,
            LinkFeatures::RELIABLE | LinkFeatures::ORDERED,
            true,
            [0; 16],
        );
        machine.handle_path_up(START, path, attributes);
    }
    machine
}

/// The tokens of the pings that go out on `path`; no other frames may.
fn pings(machine: &mut Machine, now: Time, path: PathId) -> Vec<u64> {
    let (mut batch, mut frames) = (TxBatch::default(), Vec::new());
    while machine.poll_transmit(now, path, &mut batch) {
        batch.records().iter().for_each(|record| frames.extend_from_slice(batch.frames(record)));
    }
    let (all, rest) = frames.as_chunks::<9>();
    assert!(rest.is_empty() && all.iter().all(|frame| frame[0] == 6), "{frames:?}");
    all.iter().map(|frame| u64::from_le_bytes(frame[1..].try_into().expect("8 bytes"))).collect()
}

fn pong(machine: &mut Machine, now: Time, path: PathId, token: u64) {
    let mut frames = vec![Frame::Pong { token }];
    machine.handle_record(now, path, 0, &mut frames).expect("honest");
}

fn lost(machine: &mut Machine) -> Vec<PathId> {
    let down = |event| match event {
        Event::PathDown { path, .. } => Some(path),
        _ => None,
    };
    std::iter::from_fn(|| machine.poll_event()).filter_map(down).collect()
}

/// A machine that suspects its active path, at that time, and the tokens of its pings on both.
fn suspecting() -> (Machine, Time, [u64; 2]) {
    let mut machine = machine();
    machine.open(Priority::Interactive, "x").expect("room");
    assert!(pings(&mut machine, START, PATHS[0]).is_empty(), "the Open is on its way");
    // Nothing is known of the round trip: a second passes before anybody is asked.
    let early = START + Duration::from_millis(900);
    machine.handle_timeout(early);
    assert!(pings(&mut machine, early, PATHS[1]).is_empty());
    let now = START + Duration::from_millis(1_001);
    machine.handle_timeout(now);
    let asked = PATHS.map(|path| *pings(&mut machine, now, path).last().expect("it is asked"));
    assert_eq!(lost(&mut machine), []);
    (machine, now, asked)
}

#[test]
fn a_suspected_path_whose_answer_is_read_second_lives() {
    let (mut machine, asked_at, asked) = suspecting();
    // Both answers waited for a busy machine; the other path's is read first.
    let now = asked_at + Duration::from_millis(700);
    pong(&mut machine, now, PATHS[1], asked[1]);
    assert_eq!(lost(&mut machine), []);
    pong(&mut machine, now, PATHS[0], asked[0]);
    machine.handle_timeout(now + Duration::from_millis(1_500));
    assert_eq!(lost(&mut machine), []);
}

#[test]
fn a_suspected_path_lives_if_the_peer_was_kept_from_answering_on_it() {
    let (mut machine, asked_at, asked) = suspecting();
    // Between two answers the peer had no processor.
    pong(&mut machine, asked_at, PATHS[1], asked[1]);
    let now = asked_at + Duration::from_secs(3);
    machine.handle_timeout(now);
    let again = *pings(&mut machine, now, PATHS[1]).last().expect("it is asked once more");
    assert!(again > asked[1]);
    pong(&mut machine, now, PATHS[0], asked[0]);
    pong(&mut machine, now, PATHS[1], again);
    machine.handle_timeout(now);
    assert_eq!(lost(&mut machine), []);
}

#[test]
fn an_excused_path_that_is_dead_is_found_out_as_soon_as_any() {
    let (mut machine, asked_at, asked) = suspecting();
    let now = asked_at + Duration::from_millis(1);
    pong(&mut machine, now, PATHS[1], asked[1]);
    // A thread had it when it was to be judged.
    machine.excuse(now, PATHS[0]);
    for _ in 0..2 {
        let again = *pings(&mut machine, now, PATHS[1]).last().expect("it is asked at once");
        pong(&mut machine, now, PATHS[1], again);
        assert_eq!(lost(&mut machine), []);
        let due = machine.poll_timeout().expect("something is due");
        assert!(due <= now + Duration::from_secs(1), "{due:?}");
        machine.handle_timeout(now + Duration::from_millis(1_000));
    }
    assert_eq!(lost(&mut machine), [PATHS[0]]);
}

#[test]
fn a_suspected_path_that_stays_silent_while_another_answers_is_lost() {
    let (mut machine, asked_at, asked) = suspecting();
    let now = asked_at + Duration::from_millis(1);
    pong(&mut machine, now, PATHS[1], asked[1]);
    let due = machine.poll_timeout().expect("something is due");
    assert!(due <= now + Duration::from_secs(1), "{due:?}");
    let later = now + Duration::from_millis(1_001);
    machine.handle_timeout(later);
    assert_eq!(lost(&mut machine), [], "the peer may have had no processor since");
    let again = *pings(&mut machine, later, PATHS[1]).last().expect("it is asked once more");
    let later = later + Duration::from_millis(1);
    pong(&mut machine, later, PATHS[1], again);
    assert_eq!(lost(&mut machine), [], "its own answer may have come with it");
    assert_eq!(machine.poll_timeout(), Some(later), "all has been read by then");
    machine.handle_timeout(later);
    assert_eq!(lost(&mut machine), [PATHS[0]]);
    assert_eq!(machine.active_path(), Some(PATHS[1]));
}

#[test]
fn a_batch_is_no_larger_than_it_should_be() {
    let mut machine = machine();
    for _ in 0..8 {
        let channel = machine.open(Priority::Bulk, "x").expect("room");
        machine.send(channel, &Message::from(vec![0; 60 << 10])).expect("room");
    }
    let (mut batch, mut batches, mut bytes) = (TxBatch::default(), 0, 0);
    while machine.poll_transmit(START, PATHS[0], &mut batch) {
        assert!(batch.bytes() <= TRANSMIT_BYTES, "{}", batch.bytes());
        (batches, bytes) = (batches + 1, bytes + batch.bytes());
    }
    assert!(batches >= 2 && bytes >= 8 * (60 << 10), "{batches} batches of {bytes} bytes");
}

/// A machine with one path, whose heartbeats go out together with others'.
fn slack(role: Role) -> Machine {
    let mut settings = Settings::new(role, Pool::new(1 << 30));
    settings.heartbeat_slack = settings.heartbeat_interval / 8;
    let mut machine = Machine::new(settings);
    let features = LinkFeatures::RELIABLE | LinkFeatures::ORDERED;
    let attributes = PathAttributes::plain(PathKind::Tcp, features, true, [0; 16]);
    machine.handle_path_up(START, PATHS[0], attributes);
    machine
}

/// Pings and their answers; no other frames may be there.
fn probes(frames: &[u8]) -> Vec<Frame> {
    let (all, rest) = frames.as_chunks::<9>();
    assert!(rest.is_empty(), "{frames:?}");
    let token = |frame: &[u8; 9]| u64::from_le_bytes(frame[1..].try_into().expect("8 bytes"));
    let frame = |frame: &[u8; 9]| match frame[0] {
        6 => Frame::Ping { token: token(frame) },
        7 => Frame::Pong { token: token(frame) },
        other => panic!("frame {other}"),
    };
    all.iter().map(frame).collect()
}

#[test]
fn a_quiet_path_is_probed_by_one_end_and_at_moments_that_sessions_share() {
    let way = Duration::from_micros(300);
    let mut ends = [slack(Role::Dialer), slack(Role::Acceptor)];
    // When the pings of each end went out.
    let mut asked = [Vec::new(), Vec::new()];
    let (mut batch, mut now) = (TxBatch::default(), START);
    while now < START + Duration::from_secs(100) {
        let mut on_the_way = [Vec::new(), Vec::new()];
        for (at, end) in ends.iter_mut().enumerate() {
            end.handle_timeout(now);
            while end.poll_transmit(now, PATHS[0], &mut batch) {
                let records = batch.records().iter();
                records.for_each(|record| on_the_way[1 - at].extend(probes(batch.frames(record))));
            }
            let is_ping = |frame: &&Frame| matches!(frame, Frame::Ping { .. });
            asked[at].extend(on_the_way[1 - at].iter().filter(is_ping).map(|_| now));
        }
        now = now + way;
        let mut is_quiet = true;
        for (end, mut frames) in ends.iter_mut().zip(on_the_way) {
            is_quiet &= frames.is_empty();
            end.handle_record(now, PATHS[0], 0, &mut frames).expect("honest");
        }
        if is_quiet {
            now = ends.iter().filter_map(Machine::poll_timeout).min().expect("heartbeats");
        }
    }
    let [dialer, acceptor] = asked;
    assert!((95..=100).contains(&dialer.len()), "one a second: {dialer:?}");
    assert!((3..=5).contains(&acceptor.len()), "to measure the round trip: {acceptor:?}");
    assert!(dialer.iter().all(|at| at.0 % 125_000_000 == 0), "{dialer:?}");
}
