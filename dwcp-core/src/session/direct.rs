//! Sessions without an endpoint: over one link that the caller brings, for programs without tokio.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{Session, SessionShared, Totals};
use crate::crypto::{Secret, SessionSecret, Suite};
use crate::driver::{Clock, PathIo, PathSetup, PollDriver, SessionCore, SessionObserver, TooWeak};
use crate::link::Link;
use crate::machine::{Event, Machine, Role, Settings};
use crate::mem::Pool;
use crate::wire::{PathId, SessionId};
#[cfg(feature = "tokio")]
use crate::{endpoint::Agreement, wire::Features};

/// What the two ends of a direct session have agreed on before.
#[derive(Clone)]
pub struct DirectSetup {
    /// The session's name, the same at both ends.
    pub id: SessionId,
    /// The peer's node id.
    pub peer: String,
    /// Which end this is: one dials, the other accepts.
    pub role: Role,
    /// What the handshake gave both ends. It must be new for each session: keys come from it alone, and a
    /// session that repeats another's keys protects nothing.
    pub exporter: Secret,
    /// How records are protected.
    pub suite: Arc<dyn Suite>,
    /// Memory for messages.
    pub pool: Pool,
    /// How long a receiver polls the link before it sleeps; zero: never.
    pub spin: Duration,
}

impl PollDriver {
    /// Begins a session over `link`, driven by these threads. There is no hello and no reconnect: the session
    /// ends (`Closed::Expired`) with its link.
    ///
    /// # Errors
    /// [`TooWeak`]: an untrusted link below `Aead`.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    pub fn begin(&self, link: Box<dyn Link>, setup: DirectSetup) -> Result<Session, TooWeak> {
        let session = assemble(link, setup, Clock::system())?;
        let totals = Arc::new(Totalled(session.shared.clone()));
        self.drive(session.core().clone(), totals);
        Ok(session)
    }
}

/// A session over `link` that nobody drives yet.
pub(crate) fn assemble(
    link: Box<dyn Link>,
    setup: DirectSetup,
    clock: Clock,
) -> Result<Session, TooWeak> {
    let DirectSetup { id, peer, role, exporter, suite, pool, spin } = setup;
    let secret = SessionSecret::from_exporter(&exporter, None);
    let hash = Sha256::new().chain_update(b"dwcp direct").chain_update(id.0).finalize();
    #[cfg(feature = "tokio")]
    let agreement = Agreement {
        version: crate::wire::VERSION,
        features: Features::default(),
        suite: suite.clone(),
        trusted_suite: suite.clone(),
    };
    let path = PathId(0);
    let keys = secret.path(path, &[0; 32], &[0; 32], &hash.into());
    let io = PathIo::new(
        link,
        &PathSetup {
            id: path,
            role,
            secret: &keys,
            suite,
            compression: None,
            version: crate::wire::VERSION,
        },
    )?;
    let mut settings = Settings::new(role, pool.clone());
    settings.time_to_live = Duration::ZERO;
    let core = SessionCore::new(Machine::new(settings), pool, clock, spin);
    let core = Arc::new(core);
    let mut challenge = [0; 16];
    getrandom::fill(&mut challenge).expect("the operating system has randomness");
    let attributes = io.path_attributes(true, challenge, 0);
    core.with_state(|state| {
        state.paths.push(Arc::new(io));
        state.paths_version += 1;
        state.machine.handle_path_up(core.clock.now(), path, attributes);
    });
    let shared = Arc::new(SessionShared {
        id,
        peer: peer.into(),
        peer_incarnation: 0,
        role,
        core,
        totals: Totals::new(),
        #[cfg(feature = "tokio")]
        secret,
        #[cfg(feature = "tokio")]
        agreement,
        #[cfg(feature = "tokio")]
        offers: Default::default(),
    });
    Ok(Session { shared })
}

/// Counts what only events tell.
struct Totalled(Arc<SessionShared>);

impl SessionObserver for Totalled {
    fn observe(&self, event: &Event) {
        if let Event::InDoubt { count, .. } = event {
            self.0.totals.in_doubt.fetch_add(*count, Ordering::Relaxed);
        }
    }

    fn path_needed(&self) {
        // Nobody can bring another: the session expires.
    }

    fn path_bootstrap(&self, _: Event) {
        // No other kind of path was agreed on.
    }
}

/// Wakes a thread that waits in [`block_on`].
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future of this crate in this thread, which sleeps meanwhile: the blocking form of every `async`
/// method that needs no timer.
pub fn block_on<F: Future>(future: F) -> F::Output {
    wait(future, None).expect("there is no deadline")
}

/// As [`block_on`], for at most `limit`; `None` when the future was not ready by then. It is dropped, which is
/// safe for the methods that say they are cancel-safe.
pub fn block_on_for<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    wait(future, Some(limit))
}

fn wait<F: Future>(future: F, limit: Option<Duration>) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        match limit.map(|limit| limit.saturating_sub(start.elapsed())) {
            None => std::thread::park(),
            Some(left) if left.is_zero() => return None,
            Some(left) => std::thread::park_timeout(left),
        }
    }
}

#[cfg(all(test, not(dwcp_loom)))]
mod tests {
    use super::*;
    use crate::crypto::ChecksumSuite;
    use crate::driver::PollSettings;
    use crate::link::memory_pair;
    use crate::machine::Closed;
    use crate::session::ChannelOptions;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn setup(role: Role) -> DirectSetup {
        DirectSetup {
            id: SessionId([7; 16]),
            peer: "peer".into(),
            role,
            exporter: Secret::new([3; 32]),
            suite: Arc::new(ChecksumSuite),
            pool: Pool::new(16 << 20),
            spin: Duration::ZERO,
        }
    }

    #[test]
    fn a_program_without_a_runtime_has_sessions() {
        let driver = PollDriver::start(&PollSettings::default()).expect("threads");
        let (ours, theirs) = memory_pair();
        let session = driver.begin(Box::new(ours), setup(Role::Dialer)).expect("trusted");
        let peer = driver.begin(Box::new(theirs), setup(Role::Acceptor)).expect("trusted");
        let echo = std::thread::spawn(move || {
            let mut channel = block_on(peer.accept()).expect("a channel");
            while let Some(message) = block_on(channel.receiver.recv()).expect("intact") {
                block_on(channel.sender.send(message)).expect("open");
            }
            channel.sender.finish();
            peer
        });
        let mut channel = session.open("echo", ChannelOptions::default()).expect("room");
        let nothing = block_on_for(Duration::from_millis(20), channel.receiver.recv());
        assert!(nothing.is_none());
        for length in [0, 1, 5_000, 200_000] {
            block_on(channel.sender.send(vec![5; length])).expect("open");
            let back = block_on_for(PATIENCE, channel.receiver.recv());
            let back = back.expect("in time").expect("intact").expect("more");
            assert!(back == vec![5; length]);
        }
        channel.sender.finish();
        let peer = echo.join().expect("the echo ends");
        assert!(session.cut(None));
        assert_eq!(block_on_for(PATIENCE, session.closed()), Some(Closed::Expired));
        assert_eq!(block_on_for(PATIENCE, peer.closed()), Some(Closed::Expired));
    }
}
