//! Sessions over links in memory, on the runtime's paused time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::carry::{AHEAD_BYTES, Ahead, Carry};
use super::clock::Clock;
use super::core::SessionCore;
use super::overtake::{Rounds, is_held};
use super::path_io::{PathIo, PathSetup};
use super::receive::Received;
use super::scratch::{INPUT_BYTES, with_scratch};
use super::task::drive;
use super::turn::{ReadySet, SessionObserver, Turn};
use crate::crypto::{ChecksumSuite, Secret, SessionSecret};
use crate::link::{Link, memory_pair};
use crate::machine::{
    Closed, Event, Machine, PathState, Priority, Role, Settings, SharedBudget, Time,
};
use crate::mem::{CLASS_BYTES, Message, Pool, SlotMut};
use crate::wire::{Frame, HEADER_BYTES, PathId};

/// Sets nothing up and tells nobody.
struct Deaf;

impl SessionObserver for Deaf {
    fn observe(&self, _: &Event) {}
    fn path_needed(&self) {}
    fn path_bootstrap(&self, _: Event) {}
}

const ROLES: [Role; 2] = [Role::Dialer, Role::Acceptor];

/// Bytes that receivers may gather.
const GATHERED: u64 = 1 << 20;

fn core(role: Role, pool: Pool, clock: Clock) -> Arc<SessionCore> {
    let machine = Machine::new(Settings::new(role, pool.clone()));
    let core = SessionCore::new(machine, pool, clock, Duration::ZERO);
    Arc::new(core.with_gather_budget(SharedBudget::new(GATHERED)))
}

/// What is read ahead on the path counts with `ahead`, and not with what other tests read.
fn add_path(core: &SessionCore, id: PathId, link: Box<dyn Link>, ahead: &Ahead) -> Arc<PathIo> {
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
    let mut path = PathIo::new(link, &setup).expect("trusted");
    path.rx.get_mut().expect("sound").carry = Carry::new(ahead.clone());
    let path = Arc::new(path);
    state.paths.push(path.clone());
    state.paths_version += 1;
    state.machine.handle_path_up(core.clock.now(), id, path.path_attributes(true, [0; 16], 0));
    path
}

/// A session's two ends, with one path.
fn pair(clock: Clock, pools: [Pool; 2]) -> [Arc<SessionCore>; 2] {
    pair_beside(clock, pools, &Ahead::default())
}

/// The same, beside other sessions whose paths count with `ahead`.
fn pair_beside(clock: Clock, pools: [Pool; 2], ahead: &Ahead) -> [Arc<SessionCore>; 2] {
    let (left, right) = memory_pair();
    let mut links = [left, right].into_iter();
    let mut pools = pools.into_iter();
    ROLES.map(|role| {
        let core = core(role, pools.next().expect("one each"), clock);
        add_path(&core, PathId(0), Box::new(links.next().expect("one each")), ahead);
        core
    })
}

/// Counts how often its future is polled, and drops it when that is too often: a task that spins leaves no other a turn.
struct Counted {
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    polls: Arc<AtomicUsize>,
}

const POLLS_MAX: usize = 10_000;

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

/// Announces what arrives on one path and on no other: a thread that was kept from its links has not heard yet.
struct Only(Option<PathId>);

impl ReadySet for Only {
    fn is_readable(&mut self, path: &PathIo) -> bool {
        self.0.take_if(|id| *id == path.id).is_some()
    }
    fn will_read(&mut self, _: &PathIo) {}
    fn was_read(&mut self, _: &PathIo, _: Received) {}
    fn is_writable(&mut self, _: &PathIo) -> bool {
        false
    }
    fn forget(&mut self, _: &PathIo) {}
}

/// Two ends of a session with two paths, and the paths of the first, the active one before the one that stands by. A task
/// drives the second end.
fn late_and_prompt() -> ([Arc<SessionCore>; 2], [Arc<PathIo>; 2]) {
    let [late, prompt] = pair(Clock::tokio(), [(); 2].map(|()| Pool::new(1 << 20)));
    let (left, right) = memory_pair();
    let standby = add_path(&late, PathId(2), Box::new(left), &Ahead::default());
    add_path(&prompt, PathId(2), Box::new(right), &Ahead::default());
    driven(&prompt);
    let active = late.path(PathId(0)).expect("it stands");
    ([late, prompt], [active, standby])
}

fn states(core: &SessionCore) -> Vec<PathState> {
    core.lock().machine.paths().map(|path| path.state).collect()
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_read_before_a_path_is_taken_for_silent() {
    let ([late, _prompt], _) = late_and_prompt();
    let mut turn = Turn::new(late.clone(), Arc::new(Deaf));
    late.with_state(|state| state.machine.open(Priority::Interactive, "x").expect("room"));
    // The peer answers at once, on both paths; of those on the active one this end hears last.
    for _ in 0..4 {
        for _ in 0..3 {
            turn.turn(&mut Only(Some(PathId(2))));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(1_001)).await;
    }
    assert_eq!(states(&late), [PathState::Active, PathState::Standby]);
}

#[tokio::test(start_paused = true)]
async fn a_path_is_not_judged_while_a_thread_without_a_processor_has_a_half_of_it() {
    for is_receiver in [true, false] {
        let ([late, _prompt], [active, _]) = late_and_prompt();
        let mut turn = Turn::new(late.clone(), Arc::new(Deaf));
        turn.turn(&mut Only(None));
        late.with_state(|state| state.machine.open(Priority::Interactive, "x").expect("room"));
        late.flush(&active);
        {
            let _receiver = is_receiver.then(|| active.rx.lock().expect("free"));
            let _sender = (!is_receiver).then(|| active.tx.lock().expect("free"));
            for _ in 0..1_000 {
                turn.turn(&mut Only(Some(PathId(2))));
                assert_eq!(states(&late), [PathState::Active, PathState::Standby], "{is_receiver}");
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        for _ in 0..3_000 {
            turn.turn(&mut Only(Some(PathId(2))));
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        assert_eq!(states(&late), [PathState::Active, PathState::Standby], "{is_receiver}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_threads_that_are_at_the_active_path_but_not_for_ever() {
    for is_receiver in [true, false] {
        let ([late, _prompt], [active, standby]) = late_and_prompt();
        let mut turn = Turn::new(late.clone(), Arc::new(Deaf));
        turn.turn(&mut Only(None));
        let mut waited = async || {
            let sent = || standby.counters.records_sent.load(Ordering::Relaxed);
            let (before, asked_at) = (sent(), tokio::time::Instant::now());
            let mut frames = vec![Frame::Ping { token: 7 }, Frame::Pong { token: 8 }];
            assert!(late.lock().put_off_answers(standby.id, &mut frames));
            assert!(matches!(frames[..], [Frame::Pong { token: 8 }]), "{frames:?}");
            loop {
                turn.turn(&mut Only(None));
                if late.lock().asked.is_empty() {
                    break;
                }
                assert_eq!(sent(), before);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(sent(), before + 1);
            asked_at.elapsed()
        };
        assert_eq!(waited().await, Duration::ZERO, "nobody is there");
        {
            let _receiver = is_receiver.then(|| active.rx.lock().expect("free"));
            let _sender = (!is_receiver).then(|| active.tx.lock().expect("free"));
            let (waited, limit) = (waited().await, Duration::from_millis(100));
            assert!(waited >= limit && waited < limit * 2, "{is_receiver}: {waited:?}");
        }
        assert_eq!(waited().await, Duration::ZERO, "nobody is there any more");
    }
}

#[test]
fn a_thread_that_goes_round_is_told_from_one_without_a_processor() {
    let [core, _peer] = pair(Clock::system(), [(); 2].map(|()| Pool::new(1 << 20)));
    let path = core.path(PathId(0)).expect("it stands");
    let held = |rounds, last, is_flushed| is_held(&path, rounds, last, || is_flushed);
    let rounds = Rounds::of(&path);
    assert!(!held(rounds, Received::Empty, true), "nobody is there");
    assert!(held(rounds, Received::More, true) && held(rounds, Received::Nothing, true));
    assert!(held(rounds, Received::Empty, false));
    for count in [&path.looks, &path.sends] {
        count.fetch_add(1, Ordering::Release);
    }
    assert!(held(rounds, Received::Nothing, true), "that round may have begun before");
    assert!(held(rounds, Received::Empty, false));
    for count in [&path.looks, &path.sends] {
        count.fetch_add(1, Ordering::Release);
    }
    assert!(!held(rounds, Received::Nothing, false));
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
    let path = core.active_path().expect("it has one");
    while path.counters.bytes_sent.load(Ordering::Relaxed) < INPUT_BYTES as u64 * 3 / 2 {
        let channel =
            core.with_state(|state| state.machine.open(Priority::Bulk, "x")).expect("room");
        let message = Message::from(vec![7; record_bytes]);
        while core.with_state(|state| state.machine.send(channel, &message)).is_ok() {
            core.flush(&path);
        }
    }
}

fn is_starved(received: Received) -> bool {
    matches!(received, Received::Starved(_))
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
        let ahead = Ahead::default();
        let begin = |_| pair_beside(Clock::tokio(), [Pool::new(256 << 20), shared.clone()], &ahead);
        let sessions: Vec<_> = (0..60).map(begin).collect();
        for [dialer, acceptor] in &sessions {
            send_much(dialer, record_bytes);
            let path = acceptor.path(PathId(0)).expect("it has one");
            let looks = [(); 8].map(|()| acceptor.receive(&path));
            assert!(looks.into_iter().any(is_starved), "{looks:?}");
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
                tokio::time::advance(Duration::from_millis(1)).await;
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
    assert!(is_starved(acceptor.receive(&path)));
    tokio::time::advance(Duration::from_secs(1)).await;
    let place = || path.rx.lock().expect("sound").carry.rest().as_ptr_range();
    let before = place();
    // A thread of its own has no buffer yet, and needs none.
    let runtime = tokio::runtime::Handle::current();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _entered = runtime.enter();
            assert!(is_starved(acceptor.receive(&path)));
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

#[tokio::test(start_paused = true)]
async fn memory_is_not_looked_for_before_its_time_whoever_asks() {
    let pool = Pool::new(4 << 20);
    let slots = use_up(&pool);
    let [dialer, acceptor] = pair(Clock::tokio(), [Pool::new(256 << 20), pool.clone()]);
    send_much(&dialer, 1_500);
    let path = acceptor.path(PathId(0)).expect("it has one");
    assert!(is_starved(acceptor.receive(&path)));
    drop(slots);
    for _ in 0..100 {
        // There is memory now; nobody has looked.
        assert!(is_starved(acceptor.receive(&path)));
    }
    assert_eq!(pool.stats().used_bytes, 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(acceptor.receive(&path), Received::More);
}

/// A session whose acceptor has no memory for what has come, while receivers wait for the rest of half-come messages.
struct Short {
    pool: Pool,
    slots: Vec<SlotMut>,
    dialer: Arc<SessionCore>,
    acceptor: Arc<SessionCore>,
}

impl Short {
    /// Both ends are driven.
    fn new(held_bytes: u64) -> Self {
        let short = Self::undriven(held_bytes);
        [&short.dialer, &short.acceptor].into_iter().for_each(|core| drop(driven(core)));
        short
    }

    fn undriven(held_bytes: u64) -> Self {
        let pool = Pool::new(4 << 20);
        let slots = use_up(&pool);
        let [dialer, acceptor] = pair(Clock::tokio(), [Pool::new(256 << 20), pool.clone()]);
        {
            // One gathers all that may be gathered, another waits for it.
            let mut state = acceptor.lock();
            let channel = state.machine.open(Priority::Bulk, "").expect("room");
            state.gathered.add(GATHERED + 1);
            assert!(state.gathered.may_take(channel), "one always may");
            state.gathered.wait(true);
        }
        acceptor.received.add(held_bytes);
        send_much(&dialer, 1_500);
        Self { pool, slots, dialer, acceptor }
    }

    /// Whether the session has been ended for want of memory so many seconds later.
    async fn is_over_after(&self, seconds: u64) -> bool {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let why = self.acceptor.lock().closed.as_deref().cloned();
        assert!(matches!(why, None | Some(Closed::MemoryShort)), "{why:?}");
        why.is_some()
    }
}

/// Much of what is in use in [`Short`].
const MUCH: u64 = 2 << 20;

#[tokio::test(start_paused = true)]
async fn a_session_gives_up_for_memory_that_it_holds_itself() {
    let mut short = Short::new(MUCH);
    assert!(!short.is_over_after(50).await);
    assert!(short.is_over_after(20).await);
    // Others would find room, and it does not: it holds more than it leaves to them.
    short = Short::new(100 << 20);
    short.slots.truncate(short.slots.len() / 2);
    assert!(short.is_over_after(70).await);
}

#[tokio::test(start_paused = true)]
async fn a_session_does_not_give_up_for_memory_that_others_hold() {
    let short = Short::new(64 << 10);
    assert!(!short.is_over_after(200).await);
    short.acceptor.received.add(MUCH);
    assert!(!short.is_over_after(50).await);
    assert!(short.is_over_after(20).await, "from then on it waits for itself");
}

/// Somebody waits for a moment, again and again: no look of the driver sees it.
async fn wait_now_and_then(short: &Short, seconds: u64, pause: Duration) {
    let until = short.acceptor.clock.now() + Duration::from_secs(seconds);
    while short.acceptor.clock.now() < until {
        let mut state = short.acceptor.lock();
        state.gathered.wait(true);
        state.gathered.stop_waiting();
        drop(state);
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_again_and_again_has_waited_all_the_time() {
    let [often, seldom] = [(); 2].map(|()| Short::new(MUCH));
    for short in [&often, &seldom] {
        short.acceptor.lock().gathered.stop_waiting();
    }
    wait_now_and_then(&often, 50, Duration::from_millis(800)).await;
    assert!(!often.is_over_after(0).await);
    wait_now_and_then(&often, 20, Duration::from_millis(800)).await;
    assert!(often.is_over_after(0).await);
    wait_now_and_then(&seldom, 200, Duration::from_secs(3)).await;
    assert!(!seldom.is_over_after(0).await, "nobody waits most of the time");
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_peer_asks_too_much_does_not_give_up() {
    let short = Short::new(MUCH);
    let path = short.acceptor.path(PathId(0)).expect("it has one");
    let until = short.acceptor.clock.now() + Duration::from_secs(300);
    path.rx.lock().expect("sound").rests_until = until;
    assert!(!short.is_over_after(299).await, "it rests");
    assert!(short.is_over_after(70).await, "now it waits for memory");
}

#[tokio::test(start_paused = true)]
async fn time_without_a_path_is_no_waiting_for_memory() {
    let short = Short::undriven(MUCH);
    let look = |id| match short.acceptor.receive(&short.acceptor.path(id).expect("it stands")) {
        Received::Starved(starved) => starved.stuck,
        other => panic!("{other:?}"),
    };
    assert_eq!(look(PathId(0)), Duration::ZERO);
    tokio::time::advance(Duration::from_secs(50)).await;
    assert_eq!(look(PathId(0)), Duration::from_secs(50));
    tokio::time::advance(Duration::from_secs(50)).await;
    let (left, right) = memory_pair();
    let dialer = core(Role::Dialer, Pool::new(256 << 20), short.acceptor.clock);
    let ahead = Ahead::default();
    add_path(&dialer, PathId(2), Box::new(left), &ahead);
    add_path(&short.acceptor, PathId(2), Box::new(right), &ahead);
    send_much(&dialer, 1_500);
    assert_eq!(look(PathId(2)), Duration::ZERO, "another path, another episode");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_read_ends_the_waiting_for_memory() {
    let mut short = Short::new(MUCH);
    assert!(!short.is_over_after(50).await);
    // A receiver that polls finds memory, and takes all there is before the driver looks again.
    short.slots.clear();
    let path = short.acceptor.path(PathId(0)).expect("it has one");
    let held = &short.acceptor.received;
    held.sub(MUCH);
    while short.acceptor.receive(&path) != Received::Empty {
        if let Some(starved) = &mut path.rx.lock().expect("sound").starved {
            starved.until = Time(0);
        }
        let mut rounds = 0..100;
        short.acceptor.spin(
            &path,
            || false,
            || rounds.next().is_some(),
            &mut crate::driver::Crowd::default(),
        );
        take_all(&short.acceptor);
    }
    held.add(MUCH);
    short.slots = use_up(&short.pool);
    send_much(&short.dialer, 1_500);
    assert!(!short.is_over_after(50).await);
    assert!(short.is_over_after(20).await);
}
