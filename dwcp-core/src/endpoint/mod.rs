//! Endpoints: who a node is, whom it talks to, and the sessions it has.

mod accept;
mod agreement;
mod asked;
mod builder;
mod conduct;
#[cfg(test)]
mod conduct_tests;
mod dial;
mod gate;
mod greeting;
mod offering;
mod pace;
mod paths;
mod peers;
mod registry;
mod strangers;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch as signal};
use tokio::task::JoinSet;

pub(crate) use agreement::Agreement;
pub use builder::{BuildError, DriverKind, EndpointBuilder, EndpointSettings};
pub use conduct::{Offence, PeerConduct, ReputationRules};
pub use dial::ConnectError;
pub use peers::{Peer, Peers};

use crate::crypto::{ChecksumSuite, Suite};
use crate::driver::{
    Clock, Last, OffendingRecord, PollDriver, PollStats, SessionCore, SessionObserver, drive,
};
use crate::link::{Dialer, Listener, MemoryNetwork, PathProvider, Predecessor};
use crate::machine::{ReceiveBudget, Settings, SharedBudget};
use crate::mem::{Pool, PoolStats};
use crate::rate::{Rate, SharedRate};
use crate::session::{EventHub, Events, Session, SessionEvent};
use crate::wire::{Compression, SessionId};
use asked::AskedByPeer;
use conduct::{Conduct, Verdict};
use gate::Gate;
use registry::{NotEntered, Registry};
use strangers::{Cause, Strangers};

/// Time that a session has to close in good order once it is not to be.
const EXPULSION: Duration = Duration::from_secs(1);
/// Time that the two ends of a session have to say goodbye at the end of a drain.
const GOODBYE: Duration = Duration::from_secs(1);
/// What peers are told at the end of a drain.
const GOING_DOWN: &str = "the node is going down";
/// What a peer is told whose session would be one too many.
const FULL: &str = "this node has as many sessions as it may";

/// Who is told of sessions: see [`Endpoint::observe_sessions`].
pub type Observer = Box<dyn Fn(&Session) + Send + Sync>;

/// A node's end of all its sessions. Cloning gives another handle; when the last one is dropped, the
/// endpoint shuts down.
#[derive(Clone)]
pub struct Endpoint {
    handle: Arc<Handle>,
}

/// Ends the endpoint with its last handle: background tasks hold only the inner part.
struct Handle {
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.shut_down();
    }
}

/// What handles and background tasks share.
struct Inner {
    /// Where the endpoint's tasks run, whichever thread begins them.
    runtime: tokio::runtime::Handle,
    /// The threads that drive the sessions; `None`: tasks do.
    polls: Option<PollDriver>,
    node_id: String,
    incarnation: u64,
    settings: EndpointSettings,
    /// Those of the session that began last.
    session_settings: Last<Settings>,
    suites: Vec<Arc<dyn Suite>>,
    trusted_suites: Mutex<Vec<Arc<dyn Suite>>>,
    /// Whether records of new sessions are to carry an HMAC.
    wants_hmac: AtomicBool,
    compression: Option<Arc<dyn Compression>>,
    is_compressing: AtomicBool,
    dialer: Option<Arc<dyn Dialer>>,
    providers: Vec<Arc<dyn PathProvider>>,
    local_addresses: Vec<String>,
    peers: Mutex<Peers>,
    /// The processes that have the node's older sessions, the newest first.
    predecessors: Vec<Arc<dyn Predecessor>>,
    /// What it will listen on.
    listeners: Mutex<Vec<Box<dyn Listener>>>,
    /// Whether the listeners it was built with are to go on.
    is_listening: signal::Sender<bool>,
    registry: Mutex<Registry>,
    /// Sessions peers began, not yet accepted by the application.
    accepted: Mutex<VecDeque<Session>>,
    /// Raised whenever the registry or `accepted` changes.
    changed: Notify,
    hub: EventHub,
    /// Told of each session before anything happens with it.
    observer: OnceLock<Observer>,
    pool: Pool,
    receive_budget: ReceiveBudget,
    /// What sessions keep until it is acked, and what their receivers gather: each as much as the pool.
    send_budget: SharedBudget,
    gather_budget: SharedBudget,
    clock: Clock,
    is_draining: AtomicBool,
    is_over: signal::Sender<bool>,
    /// Handshakes of peers that come in; dropping a handle ends one.
    gate: Mutex<Gate<oneshot::Sender<()>>>,
    strangers: Mutex<Strangers>,
    conduct: Mutex<Conduct>,
    /// What each peer may ask for, and what it has asked for.
    request_rate: Arc<SharedRate>,
    asked: Mutex<AskedByPeer>,
    counters: Counters,
    /// Why the system gave no connection last, and when.
    not_accepted: Mutex<Option<(String, std::time::Instant)>>,
}

/// Totals of an endpoint.
#[derive(Default)]
struct Counters {
    handshakes_ok: AtomicU64,
    handshakes_failed: AtomicU64,
    refused: AtomicU64,
    handshakes_dropped: AtomicU64,
    handshakes_too_fast: AtomicU64,
}

/// An endpoint at one moment.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Message memory.
    pub pool: PoolStats,
    /// What receive windows promise peers beyond 64 KiB a channel, of `receive_budget_bytes`.
    pub promised_bytes: u64,
    /// Live sessions.
    pub sessions: usize,
    /// Handshakes that gave a path.
    pub handshakes_ok_total: u64,
    /// Handshakes that failed: not DWCP, wrong certificates, no answer.
    pub handshakes_failed_total: u64,
    /// Hellos refused by this node: not a peer, unknown session, draining.
    pub refused_total: u64,
    /// The threads of the poll driver; all zero with the driver on tokio.
    pub polls: PollStats,
    /// Handshakes of peers coming in that were dropped because others needed the place; counted among the
    /// failed ones.
    pub handshakes_dropped_total: u64,
    /// Connections closed at once because their address begins handshakes too fast; likewise.
    pub handshakes_too_fast_total: u64,
    /// Connections of others that came to nothing, for each cause.
    pub turned_away_total: [(&'static str, u64); Cause::COUNT],
}

/// What a drain left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that were closed.
    pub sessions: usize,
    /// Messages that were not acked in time.
    pub unacked_messages: u64,
}

impl Inner {
    /// Whether compression is offered to new sessions.
    fn offers_compression(&self) -> bool {
        self.compression.is_some() && self.is_compressing.load(Ordering::Relaxed)
    }
}

/// The runtime's time, which tests may pause.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain tables: no panic leaves them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    /// Starts to describe the endpoint of node `node_id`.
    pub fn builder(node_id: &str) -> EndpointBuilder {
        EndpointBuilder::new(node_id)
    }

    /// Two endpoints, nodes `a` and `b`, joined in memory: for tests of what is built on sessions. Nothing is
    /// encrypted. They obey tokio's paused time.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn pair() -> (Self, Self) {
        Self::pair_with(&EndpointSettings::default())
    }

    /// As [`pair`](Self::pair), both with `settings`. With the poll driver they live by the system's clock.
    ///
    /// # Panics
    /// Outside a tokio runtime, or when `settings` cannot be obeyed.
    pub fn pair_with(settings: &EndpointSettings) -> (Self, Self) {
        let network = MemoryNetwork::default();
        let end = |node: &str, peer: &str| {
            Self::builder(node)
                .dialer(Arc::new(network.dialer(node)))
                .listener(Box::new(network.listener(node)))
                .suite(Arc::new(ChecksumSuite))
                .peers(Peers::only([Peer::new(peer, [format!("memory:{peer}")])]))
                .settings(settings.clone())
                .build()
                .expect("the description is complete")
        };
        (end("a", "b"), end("b", "a"))
    }

    /// Who we are.
    pub fn node_id(&self) -> &str {
        &self.inner().node_id
    }

    /// Tells this life of the process from others.
    pub fn incarnation(&self) -> u64 {
        self.inner().incarnation
    }

    /// The addresses it listens on.
    pub fn local_addresses(&self) -> &[String] {
        &self.inner().local_addresses
    }

    /// Begins to take connections, if it does not yet.
    pub fn listen(&self) {
        let listeners = std::mem::take(&mut *lock(&self.inner().listeners));
        listeners.into_iter().for_each(|listener| listen(self.inner(), listener));
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }

    /// The session with `peer`: the standing one, or a new one.
    ///
    /// # Errors
    /// [`ConnectError`] says what failed at which address, and what to do.
    ///
    /// # Cancel safety
    /// Cancel-safe: a dial that was begun goes on, and serves the next call.
    pub async fn connect(&self, peer: &str) -> Result<Session, ConnectError> {
        dial::connect(self.inner(), peer).await
    }

    /// The next session that a peer begins; `None` once the endpoint is shut down.
    ///
    /// # Cancel safety
    /// Cancel-safe: no session is lost.
    pub async fn accept(&self) -> Option<Session> {
        let inner = self.inner();
        loop {
            let changed = inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // First: a handshake that was on its way may add one after the end.
            if *inner.is_over.borrow() {
                return None;
            }
            if let Some(session) = lock(&inner.accepted).pop_front() {
                return Some(session);
            }
            changed.await;
        }
    }

    /// Has `observer` told of every session from now on, whichever end begins it, before its [`SessionEvent::Up`]: who keeps
    /// books misses none, however short its life. Events may be missed, and [`sessions`](Self::sessions) has only those
    /// that stand. It must not block. Returns false, and changes nothing, if there is one already.
    pub fn observe_sessions(&self, observer: Observer) -> bool {
        self.inner().observer.set(observer).is_ok()
    }

    /// The sessions that have not ended.
    pub fn sessions(&self) -> Vec<Session> {
        lock(&self.inner().registry).sessions()
    }

    /// The session `id` with `peer`, if it has not ended. However many there are, none of the others is looked at.
    pub fn session(&self, peer: &str, id: SessionId) -> Option<Session> {
        lock(&self.inner().registry).by_id(id, peer)
    }

    /// Whom this node talks to.
    pub fn peers(&self) -> Peers {
        lock(&self.inner().peers).clone()
    }

    /// Replaces the peers. Sessions with nodes that are no longer among them take nothing more and are closed;
    /// what is not acked within a second is in doubt.
    pub fn set_peers(&self, peers: Peers) {
        let inner = self.inner();
        // First: a handshake that ends from now on is judged by the new ones.
        *lock(&inner.peers) = peers;
        for session in self.sessions() {
            inner.expel_stranger(&session);
        }
    }

    /// Whether compression is offered to sessions that begin from now on, where the endpoint was built with
    /// one. Sessions that are there keep what they agreed on.
    pub fn set_compression(&self, is_offered: bool) {
        self.inner().is_compressing.store(is_offered, Ordering::Relaxed);
    }

    /// Whether records of sessions that begin from now on are to carry an HMAC beside the tag. Sessions that are there
    /// keep what they agreed on.
    pub fn set_hmac(&self, is_wanted: bool) {
        self.inner().wants_hmac.store(is_wanted, Ordering::Relaxed);
    }

    /// How records may be protected on trusted media in sessions that begin from now on; `suites` is in order of
    /// preference, at most four, and without any the present ones stay.
    pub fn set_trusted_suites(&self, mut suites: Vec<Arc<dyn Suite>>) {
        suites.truncate(crate::wire::MAX_SUITES);
        if !suites.is_empty() {
            *lock(&self.inner().trusted_suites) = suites;
        }
    }

    /// What the peer of each session may ask for that costs it no credit, from now on.
    pub fn set_request_rate(&self, rate: Option<Rate>) {
        self.inner().request_rate.set(rate);
    }

    /// How peers that break the protocol are judged from now on. Scores stay; without rules nobody is refused.
    pub fn set_reputation(&self, rules: Option<ReputationRules>) {
        lock(&self.inner().conduct).set_rules(rules);
    }

    /// The peers that have broken the protocol, in the order of their names.
    pub fn conduct(&self) -> Vec<PeerConduct> {
        lock(&self.inner().conduct).all(now())
    }

    /// Lets `peer` out of quarantine, on probation: one more offence may bring it back. False if it is in none.
    pub fn lift_quarantine(&self, peer: &str) -> bool {
        let is_lifted = lock(&self.inner().conduct).lift(now(), peer);
        if is_lifted {
            self.inner().hub.publish(peer, None, SessionEvent::QuarantineLifted);
        }
        is_lifted
    }

    /// Figures of this moment.
    pub fn stats(&self) -> EndpointStats {
        let inner = self.inner();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EndpointStats {
            pool: inner.pool.stats(),
            promised_bytes: inner.receive_budget.promised_bytes(),
            sessions: lock(&inner.registry).sessions().len(),
            handshakes_ok_total: get(&inner.counters.handshakes_ok),
            handshakes_failed_total: get(&inner.counters.handshakes_failed),
            refused_total: get(&inner.counters.refused),
            polls: inner.polls.as_ref().map(PollDriver::stats).unwrap_or_default(),
            handshakes_dropped_total: get(&inner.counters.handshakes_dropped),
            handshakes_too_fast_total: get(&inner.counters.handshakes_too_fast),
            turned_away_total: lock(&inner.strangers).totals(),
        }
    }

    /// Why the system gave no connection the last time that it did not, and how long ago that was.
    pub fn accept_trouble(&self) -> Option<(String, Duration)> {
        let last = lock(&self.inner().not_accepted);
        last.as_ref().map(|(why, at)| (why.clone(), now().saturating_duration_since(*at)))
    }

    /// Everything that happens to sessions from now on.
    pub fn subscribe(&self) -> Events {
        self.inner().hub.subscribe()
    }

    /// Ends in good order: takes no new sessions, waits until what is committed is acked, at most
    /// `deadline`, and closes every session. All do that at once, so that one that does not get through keeps none of
    /// the others from it. Sessions have a second more to say goodbye.
    ///
    /// # Cancel safety
    /// When the future is dropped, the endpoint stays: it takes no new sessions.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let inner = self.inner();
        inner.is_draining.store(true, Ordering::SeqCst);
        let sessions = self.sessions();
        let mut drained = Drained { sessions: sessions.len(), unacked_messages: 0 };
        let mut ends = JoinSet::new();
        for session in sessions {
            ends.spawn_on(drain(session, deadline), &inner.runtime);
        }
        while let Some(end) = ends.join_next().await {
            drained.unacked_messages += end.unwrap_or_default();
        }
        drained
    }

    /// Leaves the node to a successor: no new sessions from now on, and the listeners are closed, for which the successor
    /// has the same sockets; `relay` brings what resumes a session of this endpoint. Peers are told, and open new channels
    /// on sessions with the successor; what is open goes on. [`drain`](Self::drain) ends it.
    ///
    /// Peers that speak version 3 are not told: their sessions end, as with a restart, as soon as the successor has one with
    /// them.
    pub fn leave(&self, relay: Box<dyn Listener>) {
        let inner = self.inner();
        inner.is_draining.store(true, Ordering::SeqCst);
        inner.is_listening.send_replace(false);
        lock(&inner.listeners).clear();
        spawn(inner, accept::run(inner.clone(), relay, accept::Origin::Successor));
        for session in self.sessions() {
            session.leave();
        }
    }

    /// Ends at once: what is un-acked is in doubt.
    ///
    /// With the poll driver its threads end as soon as the sessions' links are closed.
    pub fn shut_down(&self) {
        self.inner().shut_down();
    }
}

/// Ends one session in good order, as far as its peer lets it: returns what was not acked at the deadline.
async fn drain(session: Session, deadline: Duration) -> u64 {
    let unacked = session.drain(deadline).await;
    session.close(0, GOING_DOWN);
    // Not out of the deadline: one that was acked at its last moment is still told. A peer that is gone does not answer.
    if tokio::time::timeout(GOODBYE, session.closed()).await.is_err() {
        session.abort();
    }
    unacked
}

impl Inner {
    fn shut_down(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.is_over.send_replace(true);
        let sessions = lock(&self.registry).sessions();
        sessions.iter().for_each(Session::abort);
        lock(&self.accepted).clear();
        self.changed.notify_waiters();
        if let Some(polls) = &self.polls {
            polls.stop();
        }
    }

    /// Moves the records of a session until it is over.
    fn drive(&self, core: Arc<SessionCore>, observer: Arc<dyn SessionObserver>) {
        match &self.polls {
            Some(polls) => polls.drive(core, observer),
            None => drop(self.runtime.spawn(drive(core, observer))),
        }
    }

    /// Enters a new session, and only then tells of it: whoever hears of a session finds it. Returns the one
    /// it replaces; or, as an error, why it is ended instead.
    fn enter(
        self: &Arc<Self>,
        session: &Session,
        predecessor: Option<u64>,
    ) -> Result<Option<Session>, NotEntered> {
        let entered = lock(&self.registry).insert(&self.node_id, session, predecessor);
        let old = entered.inspect_err(|error| match error {
            NotEntered::OtherStands(_) => session.abort(),
            // Its peer has been welcomed, or has welcomed us: without a word it would wait for its return.
            NotEntered::Full => self.dismiss(session, FULL),
        })?;
        if let Some(observer) = self.observer.get() {
            observer(session);
        }
        if session.is_over() {
            // Its end may have been before it was entered, and then nobody removes it.
            lock(&self.registry).remove(session.peer_id(), session.id());
        }
        let role = session.role();
        let (peer, id) = (session.peer_id(), Some(session.id()));
        self.hub.publish(peer, id, SessionEvent::Up { role });
        // What went over the sessions while the handshake was on its way did not see this one.
        if *self.is_over.borrow() {
            session.abort();
        } else if !*self.is_listening.borrow() {
            session.leave();
        } else if self.is_draining.load(Ordering::SeqCst) {
            session.close(0, GOING_DOWN);
        }
        if self.quarantined_for(peer).is_some() {
            session.abort();
        }
        self.expel_stranger(session);
        Ok(old)
    }

    /// Ends a session with a node that is not among the peers: in order if that is soon done.
    fn expel_stranger(self: &Arc<Self>, session: &Session) {
        if !lock(&self.peers).allows(session.peer_id()) {
            self.dismiss(session, "no longer a peer");
        }
    }

    /// Ends a session that is not to be: in order if that is soon done.
    fn dismiss(self: &Arc<Self>, session: &Session, reason: &str) {
        session.close(0, reason);
        let session = session.clone();
        spawn(self, async move {
            if tokio::time::timeout(EXPULSION, session.closed()).await.is_err() {
                session.abort();
            }
        });
    }

    /// Whether `peer` is among the peers, and not in quarantine.
    fn may_have_sessions(&self, peer: &str) -> bool {
        lock(&self.peers).allows(peer) && self.quarantined_for(peer).is_none()
    }

    /// How much longer `peer` is refused; `None`: it is not.
    fn quarantined_for(&self, peer: &str) -> Option<Duration> {
        lock(&self.conduct).quarantined_for(now(), peer)
    }

    /// `peer` broke the protocol: tells of it, and ends what there is with it if that is one time too many.
    fn note_offence(
        &self,
        peer: &str,
        session: Option<SessionId>,
        offence: Offence,
        record: Option<OffendingRecord>,
    ) {
        let Verdict { reputation, quarantine } = lock(&self.conduct).note(now(), peer, offence);
        let event = SessionEvent::Offended { offence, record, reputation, quarantine };
        self.hub.publish(peer, session, event);
        if quarantine.is_some() {
            let sessions = lock(&self.registry).sessions();
            sessions.iter().filter(|one| one.peer_id() == peer).for_each(Session::abort);
        }
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.node_id())
    }
}

/// Bytes nobody can predict.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// The tasks of an endpoint end with it.
fn spawn(inner: &Arc<Inner>, task: impl Future<Output = ()> + Send + 'static) {
    let mut over = inner.is_over.subscribe();
    inner.runtime.spawn(async move {
        tokio::select! {
            () = task => {}
            _ = over.wait_for(|over| *over) => {}
        }
    });
}

/// Accepts what `listener` brings, as long as the endpoint lives and listens.
fn listen(inner: &Arc<Inner>, listener: Box<dyn Listener>) {
    let mut is_listening = inner.is_listening.subscribe();
    let accepting = accept::run(inner.clone(), listener, accept::Origin::Peers);
    spawn(inner, async move {
        tokio::select! {
            // What comes in once it is not to listen any more is the successor's.
            biased;
            _ = is_listening.wait_for(|is_listening| !is_listening) => {}
            () = accepting => {}
        }
    });
}

/// Gives every session new keys each `interval`, as long as the endpoint lives.
fn rotate_keys(inner: &Arc<Inner>, interval: Duration) {
    let room = inner.clone();
    spawn(inner, async move {
        loop {
            tokio::time::sleep(interval).await;
            let sessions = lock(&room.registry).sessions();
            sessions.iter().for_each(Session::rekey);
        }
    });
}
