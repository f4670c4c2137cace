//! Sessions over links in memory, on the runtime's paused time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::carry::AHEAD_BYTES;
use super::clock::Clock;
use super::core::SessionCore;
use super::path_io::{PathIo, PathSetup};
use super::receive::Received;
use super::scratch::{INPUT_BYTES, with_scratch};
use super::task::drive;
use super::turn::SessionObserver;
use crate::crypto::{ChecksumSuite, Secret, SessionSecret};
use crate::link::{Link, memory_pair};
use crate::machine::{Event, Machine, Priority, Role, Settings};
use crate::mem::{CLASS_BYTES, Message, Pool, SlotMut};
use crate::wire::{HEADER_BYTES, PathId};

/// Sets nothing up and tells nobody.
struct Deaf;

impl SessionObserver for Deaf {
    fn observe(&self, _: &Event) {}
    fn path_needed(&self) {}
    fn path_bootstrap(&self, _: Event) {}
}

const ROLES: [Role; 2] = [Role::Dialer, Role::Acceptor];

fn core(role: Role, pool: Pool, clock: Clock) -> Arc<SessionCore> {
    let machine = Machine::new(Settings::new(role, pool.clone()));
    Arc::new(SessionCore::new(machine, pool, clock, Duration::ZERO))
}

fn add_path(core: &SessionCore, id: PathId, link: Box<dyn Link>) -> Arc<PathIo> {
    let secret = SessionSecret::from_exporter(&Secret::new([3; 32]), None);
    let mut state = core.lock();
    let setup = PathSetup {
        id,
        role: state.machine.role(),
        secret: &secret.path(id, &[0; 32], &[0; 32], &[0; 32]),
        suite: Arc::new(ChecksumSuite),
        compression: None,
        version: crate::wire::VERSION,
    };
    let path = Arc::new(PathIo::new(link, &setup).expect("trusted"));
    state.paths.push(path.clone());
    state.paths_version += 1;
    state.machine.handle_path_up(core.clock.now(), id, path.path_attributes(true, [0; 16], 0));
    path
}

/// A session's two ends, with one path.
fn pair(clock: Clock, pools: [Pool; 2]) -> [Arc<SessionCore>; 2] {
    let (left, right) = memory_pair();
    let mut links = [left, right].into_iter();
    let mut pools = pools.into_iter();
    ROLES.map(|role| {
        let core = core(role, pools.next().expect("one each"), clock);
        add_path(&core, PathId(0), Box::new(links.next().expect("one each")));
        core
    })
}

/// Counts how often its future is polled, and drops it when that is too often: a task that spins leaves no other a turn.
struct Counted {
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    polls: Arc<AtomicUsize>,
}

const POLLS_MAX: usize = 1_000;

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.polls.fetch_add(1, Ordering::Relaxed) < POLLS_MAX {
            true => self.task.as_mut().poll(context),
            false => Poll::Ready(()),
        }
    }
}

/// Has a task drive the session. Returns how often that is polled.
fn driven(core: &Arc<SessionCore>) -> Arc<AtomicUsize> {
    let polls = Arc::<AtomicUsize>::default();
    let task = Box::pin(drive(core.clone(), Arc::new(Deaf)));
    tokio::spawn(Counted { task, polls: polls.clone() });
    polls
}

#[tokio::test(start_paused = true)]
async fn a_session_rests_however_long_the_process_has_run() {
    for days in [364, 366] {
        let clock = Clock::tokio();
        tokio::time::advance(Duration::from_secs(days * 86_400)).await;
        let ends = pair(clock, [(); 2].map(|()| Pool::new(1 << 20)));
        let polls = ends.each_ref().map(driven);
        tokio::time::sleep(Duration::from_secs(60)).await;
        for (core, polls) in ends.iter().zip(polls) {
            let polls = polls.load(Ordering::Relaxed);
            assert!((2..POLLS_MAX).contains(&polls), "{polls} polls in a minute after {days} days");
            let mut state = core.lock();
            assert!(!state.machine.is_over() && state.machine.active_path().is_some());
            state.machine.abort();
            drop(state);
            core.wake.raise();
        }
    }
}

/// Every slot of a pool that something received may have.
fn use_up(pool: &Pool) -> Vec<SlotMut> {
    CLASS_BYTES
        .iter()
        .rev()
        .flat_map(|&bytes| std::iter::from_fn(move || pool.take_for_receive(bytes)))
        .collect()
}

/// Sends more than one read takes, in records of so many bytes, on channels of their own: no credit has to come back.
fn send_much(core: &SessionCore, record_bytes: usize) {
    let path = core.path(PathId(0)).expect("it has one");
    while path.counters.bytes_sent.load(Ordering::Relaxed) < INPUT_BYTES as u64 * 3 / 2 {
        let channel =
            core.with_state(|state| state.machine.open(Priority::Bulk, "x")).expect("room");
        let message = Message::from(vec![7; record_bytes]);
        while core.with_state(|state| state.machine.send(channel, &message)).is_ok() {
            core.flush(&path);
        }
    }
}

/// Takes every message that is here, as applications would.
fn take_all(core: &SessionCore) {
    core.with_state(|state| {
        for at in 0..state.incoming.len() {
            let key = state.incoming[at].0;
            while state.machine.poll_message(key).is_some() {}
        }
    });
}

#[tokio::test(start_paused = true)]
async fn paths_that_wait_for_memory_leave_in_the_link_what_they_have_no_room_for() {
    for record_bytes in [60 << 10, 1_500] {
        let shared = Pool::new(4 << 20);
        let slots = use_up(&shared);
        let sessions: Vec<_> =
            (0..60).map(|_| pair(Clock::tokio(), [Pool::new(256 << 20), shared.clone()])).collect();
        for [dialer, acceptor] in &sessions {
            send_much(dialer, record_bytes);
            let path = acceptor.path(PathId(0)).expect("it has one");
            let looks = [(); 8].map(|()| acceptor.receive(&path));
            assert!(looks.contains(&Received::Starved), "{looks:?}");
        }
        let held = |core: &SessionCore| {
            let path = core.path(PathId(0)).expect("it has one");
            path.rx.lock().expect("sound").carry.held_bytes()
        };
        let all: usize = sessions.iter().map(|[_, acceptor]| held(acceptor)).sum();
        assert!(all <= AHEAD_BYTES + INPUT_BYTES, "{all} bytes at 60 paths of {record_bytes}");
        let last = held(&sessions[59][1]);
        assert!(last <= HEADER_BYTES, "{last} bytes where nothing is read ahead");
        // Nothing is lost.
        drop(slots);
        for [dialer, acceptor] in &sessions {
            tokio::time::advance(Duration::from_secs(1)).await;
            let path = acceptor.path(PathId(0)).expect("it has one");
            while acceptor.receive(&path) != Received::Empty {
                take_all(acceptor);
            }
            let sender = dialer.path(PathId(0)).expect("it has one");
            let sent = sender.counters.records_sent.load(Ordering::Relaxed);
            assert_eq!(path.counters.records_received.load(Ordering::Relaxed), sent);
            assert_eq!(held(acceptor), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_for_memory_copies_nothing() {
    let pool = Pool::new(4 << 20);
    let _slots = use_up(&pool);
    let [dialer, acceptor] = pair(Clock::tokio(), [Pool::new(256 << 20), pool.clone()]);
    send_much(&dialer, 1_500);
    let path = acceptor.path(PathId(0)).expect("it has one");
    assert_eq!(acceptor.receive(&path), Received::Starved);
    let place = || path.rx.lock().expect("sound").carry.rest().as_ptr_range();
    let before = place();
    // A thread of its own has no buffer yet, and needs none.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(acceptor.receive(&path), Received::Starved);
            assert!(with_scratch(|scratch| scratch.has_no_input()));
        });
    });
    assert_eq!(place(), before);
}

#[tokio::test(start_paused = true)]
async fn the_beginning_of_a_record_lies_in_memory_that_counts() {
    let pool = Pool::new(4 << 20);
    let [dialer, acceptor] = pair(Clock::tokio(), [Pool::new(256 << 20), pool.clone()]);
    send_much(&dialer, 60 << 10);
    let path = acceptor.path(PathId(0)).expect("it has one");
    assert_eq!(acceptor.receive(&path), Received::More, "it ends in the middle of a record");
    let rx = path.rx.lock().expect("sound");
    let begun = (rx.carry.is_begun(), rx.carry.len());
    assert!(begun.0 && begun.1 > HEADER_BYTES, "{begun:?} {:?}", pool.stats());
    assert_eq!(rx.carry.held_bytes(), 0);
}
