//! Every order in which a thread may fall asleep while others wake it. Run by `.ci/rooms/mem`.

use std::mem::ManuallyDrop;
use std::sync::atomic::AtomicUsize as Plain;
use std::time::{Duration, Instant};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

use super::bell::{Bell, Door};
use super::seat::Seat;
use crate::crypto::{ChecksumSuite, Secret, SessionSecret};
use crate::driver::clock::Clock;
use crate::driver::turn::SessionObserver;
use crate::driver::{PathIo, PathSetup, SessionCore};
use crate::link::{MemoryLink, memory_pair};
use crate::machine::{Event, Machine, Priority, Role, Settings};
use crate::mem::Pool;
use crate::session::{ChannelOptions, DirectSetup, Sender, Session, assemble};
use crate::wire::{PathId, SessionId};

/// A wake descriptor and poll(2), as loom sees them.
struct Gate {
    notify: Notify,
    /// loom need not look at it: it is read when all is over.
    knocks: Plain,
}

impl Default for Gate {
    fn default() -> Self {
        Self { notify: Notify::new(), knocks: Plain::new(0) }
    }
}

impl Door for Gate {
    fn knock(&self) {
        self.knocks.fetch_add(1, Ordering::Relaxed);
        self.notify.notify();
    }
}

impl Gate {
    fn pass(&self) {
        self.notify.wait();
    }

    fn knocks(&self) -> usize {
        self.knocks.load(Ordering::Relaxed)
    }
}

/// Sleeps until `is_done`, by the rules of the bell. Returns how often it lay down.
fn sleep_until(bell: &Bell<Gate>, mut is_done: impl FnMut() -> bool) -> usize {
    let mut naps = 0;
    loop {
        bell.look();
        if is_done() {
            return naps;
        }
        if bell.arm() {
            naps += 1;
            bell.door().pass();
        }
    }
}

/// Tries the orders in which threads are interrupted so often at most.
fn bounded(preemptions: usize) -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model
}

/// One thread changes something and rings while `sleeper` waits for it.
fn change_and(sleeper: fn(&Bell<Gate>, &AtomicBool)) {
    loom::model(move || {
        let shared = Arc::new((Bell::new(Gate::default()), AtomicBool::new(false)));
        let others = shared.clone();
        // A model that fails must not touch it while it unwinds.
        let shared = ManuallyDrop::new(shared);
        let changer = thread::spawn(move || {
            others.1.store(true, Ordering::Relaxed);
            others.0.ring();
        });
        sleeper(&shared.0, &shared.1);
        changer.join().expect("changer");
        drop(ManuallyDrop::into_inner(shared));
    });
}

#[test]
fn loom_no_change_is_slept_through() {
    change_and(|bell, changed| {
        sleep_until(bell, || changed.load(Ordering::Relaxed));
    });
}

#[test]
fn loom_who_is_awake_is_not_knocked_for() {
    bounded(2).check(|| {
        let shared = Arc::new((Bell::new(Gate::default()), AtomicUsize::new(0)));
        let changers = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.1.fetch_add(1, Ordering::Relaxed);
                shared.0.ring();
            })
        });
        let shared = ManuallyDrop::new(shared);
        let (bell, changes) = &**shared;
        let naps = sleep_until(bell, || changes.load(Ordering::Relaxed) == 2);
        changers.into_iter().for_each(|changer| changer.join().expect("changer"));
        assert!(bell.door().knocks() <= naps, "a system call for nothing");
        drop(ManuallyDrop::into_inner(shared));
    });
}

/// The planted fault: look, then sleep, without looking whether it rang in between.
#[test]
#[should_panic(expected = "deadlock")]
fn loom_finds_the_thread_that_sleeps_without_looking_again() {
    change_and(|bell, changed| {
        while !changed.load(Ordering::Relaxed) {
            bell.look();
            let _ignored = bell.arm();
            bell.door().pass();
        }
    });
}

/// Nobody who needs to hear anything.
struct Deaf;

impl SessionObserver for Deaf {
    fn observe(&self, _: &Event) {}
    fn path_needed(&self) {}
    fn path_bootstrap(&self, _: Event) {}
}

/// A session over a link whose other end takes everything and says nothing.
fn session() -> (Session, MemoryLink) {
    let (link, peer) = memory_pair();
    let setup = DirectSetup {
        id: SessionId([7; 16]),
        peer: "peer".into(),
        role: Role::Dialer,
        exporter: Secret::new([3; 32]),
        suite: std::sync::Arc::new(ChecksumSuite),
        pool: Pool::new(1 << 20),
        spin: Duration::ZERO,
    };
    (assemble(Box::new(link), setup, Clock::stopped()).expect("trusted"), peer)
}

/// A real session with its real seat on a thread that sleeps by the rules of the bell. `senders` threads do `send`, each
/// on a channel of its own; the thread sleeps until all of it is on the link. The clock stands still, so that no
/// deadline helps out.
fn a_session_on_a_thread(senders: usize, preemptions: usize, send: fn(&mut Sender)) {
    let mut model = bounded(preemptions);
    model.max_branches = 20_000;
    model.check(move || {
        let now = Instant::now();
        let (session, peer) = session();
        let bell = std::sync::Arc::new(Bell::new(Gate::default()));
        let observer = std::sync::Arc::new(Deaf);
        let mut seat = Seat::new(session.core().clone(), observer, bell.clone());
        let channels: Vec<_> = (0..senders)
            .map(|_| session.open("", ChannelOptions::default()).expect("room").split())
            .collect();
        while seat.take_turn(false) > 0 {}
        let (senders, receivers): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
        let senders: Vec<_> = senders
            .into_iter()
            .map(|mut sender| {
                thread::spawn(move || {
                    send(&mut sender);
                    sender
                })
            })
            .collect();
        let everything = ManuallyDrop::new((session, peer, receivers, bell.clone()));
        let core = everything.0.core();
        let mut seat = ManuallyDrop::new(seat);
        let committed = 2 * senders.len() as u64;
        let (mut naps, mut is_all) = (0, false);
        while !is_all {
            bell.look();
            if seat.wants_turn(now) {
                seat.take_turn(false);
            }
            let state = core.lock();
            is_all = state.machine.unacked_messages() == committed
                && !state.machine.wants_transmit(core.clock.now(), PathId(0));
            drop(state);
            // As `Thread::sleep` does.
            if !is_all && bell.arm() {
                naps += 1;
                if !seat.wants_turn(now) {
                    bell.door().pass();
                }
            }
        }
        let senders: Vec<_> =
            senders.into_iter().map(|sender| sender.join().expect("sender")).collect();
        assert!(bell.door().knocks() <= naps, "a system call for nothing");
        drop(ManuallyDrop::into_inner(seat));
        drop(ManuallyDrop::into_inner(everything));
        drop(senders);
    });
}

/// Takes what turns are called for, until the thread would sleep for good.
fn rest(seat: &mut Seat<Gate>, now: Instant) {
    while seat.wants_turn(now) {
        seat.take_turn(false);
    }
}

/// A path of a session, to a peer that takes everything and says nothing.
fn add_path(core: &SessionCore, id: PathId) -> MemoryLink {
    let (link, peer) = memory_pair();
    let secret = SessionSecret::from_exporter(&Secret::new([3; 32]), None);
    let setup = PathSetup {
        id,
        role: Role::Dialer,
        secret: &secret.path(id, &[0; 32], &[0; 32], &[0; 32]),
        suite: std::sync::Arc::new(ChecksumSuite),
        compression: None,
        version: crate::wire::VERSION,
    };
    let path = PathIo::new(Box::new(link), &setup).expect("trusted");
    let attributes = path.path_attributes(true, [0; 16], 0);
    core.with_state(|state| {
        state.paths.push(std::sync::Arc::new(path));
        state.paths_version += 1;
        state.machine.handle_path_up(core.clock.now(), id, attributes);
    });
    peer
}

const HEARTBEAT: Duration = Duration::from_secs(60);

/// With nothing on its way the driver sleeps until the next heartbeat. What is sent meanwhile is due to be acked sooner,
/// since there is another path to go to.
#[test]
fn loom_the_driver_is_up_in_time_for_what_another_thread_has_sent() {
    bounded(3).check(|| {
        let now = Instant::now();
        let pool = Pool::new(1 << 20);
        let mut settings = Settings::new(Role::Dialer, pool.clone());
        settings.heartbeat_interval = HEARTBEAT;
        let machine = Machine::new(settings);
        let core = SessionCore::new(machine, pool, Clock::stopped(), Duration::ZERO);
        let core = std::sync::Arc::new(core);
        let peers = [0, 2].map(|id| add_path(&core, PathId(id)));
        let bell = std::sync::Arc::new(Bell::new(Gate::default()));
        let mut seat = Seat::new(core.clone(), std::sync::Arc::new(Deaf), bell);
        rest(&mut seat, now);
        let theirs = core.clone();
        let opener = thread::spawn(move || {
            let opened = theirs.with_state(|state| state.machine.open(Priority::Bulk, ""));
            theirs.flush_active();
            opened.is_ok()
        });
        let kept = ManuallyDrop::new((core, peers));
        let mut seat = ManuallyDrop::new(seat);
        seat.take_turn(false);
        assert!(opener.join().expect("opener"), "there is room");
        rest(&mut seat, now);
        let state = kept.0.lock();
        let due = state.machine.poll_timeout().expect("what was sent is to be acked");
        assert!(due < kept.0.clock.now() + HEARTBEAT, "sooner than the heartbeat");
        assert!(due >= state.armed, "it sleeps beyond what is due at {due:?}");
        drop(state);
        drop(ManuallyDrop::into_inner(seat));
        drop(ManuallyDrop::into_inner(kept));
    });
}

fn send_two(sender: &mut Sender) {
    sender.try_send_copy(b"a").expect("room");
    sender.try_send_copy(b"b").expect("room");
}

#[test]
fn loom_what_one_thread_sends_leaves_while_the_driver_falls_asleep() {
    a_session_on_a_thread(1, 3, send_two);
}

#[test]
fn loom_what_two_threads_send_leaves_while_the_driver_falls_asleep() {
    a_session_on_a_thread(2, 1, send_two);
}
