//! Sessions over links in memory, on the runtime's paused time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::clock::Clock;
use super::core::SessionCore;
use super::path_io::{PathIo, PathSetup};
use super::task::drive;
use super::turn::SessionObserver;
use crate::crypto::{ChecksumSuite, Secret, SessionSecret};
use crate::link::{Link, memory_pair};
use crate::machine::{Event, Machine, Role, Settings};
use crate::mem::Pool;
use crate::wire::PathId;

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
