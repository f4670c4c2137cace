//! Going out to peers: the first dial of a session, and the ones that bring it back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch as signal};
use tokio::time::Instant;

use super::accept::entered;
use super::greeting::{self, GreetingError};
use super::pace::Pace;
use super::registry::NotEntered;
use super::{Inner, lock, paths, spawn};
use crate::link::{DialError, SecuredConnection};
use crate::machine::{PathState, Role};
use crate::session::Session;
use crate::wire::{PathId, PathKind, Refusal};

/// Why there is no session.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The node is not among the peers.
    #[error("node {peer} is not among this node's peers: add it to `peers`")]
    NotAPeer {
        /// The node.
        peer: String,
    },
    /// The peer broke the protocol so often that it is refused for a while.
    #[error(
        "{peer} broke the protocol and is in quarantine for {} s more: see what it did in the evidence log, and lift \
         the quarantine once it is mended",
        left.as_secs() + 1
    )]
    Quarantined {
        /// The node.
        peer: String,
        /// For how much longer.
        left: Duration,
    },
    /// The peer has no address, and has not dialled us.
    #[error("peer {peer} has no address: add one to `peers`, or wait until it dials this node")]
    NoAddress {
        /// The node.
        peer: String,
    },
    /// The endpoint cannot dial, takes no new sessions any more, or is shut down.
    #[error("this endpoint does not dial: it has no dialer, is draining or shut down")]
    CannotDial,
    /// The session before is being closed, and that takes long: the peer lives and reads nothing, or there is no path
    /// to it.
    #[error("the session with {peer} that is being closed has not ended: try again, or abort it")]
    Closing {
        /// The node.
        peer: String,
    },
    /// The node has as many sessions as it may.
    #[error(
        "no session with {peer}: this node has {max} already, as many as `performance.maxConnections` (`sessions_max` of an \
         endpoint) allows"
    )]
    TooManySessions {
        /// The node.
        peer: String,
        /// What it may have.
        max: usize,
    },
    /// No secured connection came about.
    #[error("cannot connect to {peer}")]
    Dial {
        /// The node.
        peer: String,
        /// What failed.
        #[source]
        source: Arc<DialError>,
    },
    /// The peer answered and refused.
    #[error("{peer} refused the session: {reason}")]
    Refused {
        /// The node.
        peer: String,
        /// For programs.
        refusal: Refusal,
        /// For people.
        reason: String,
    },
    /// The hellos failed otherwise.
    #[error("the handshake with {peer} failed: {reason}")]
    Handshake {
        /// The node.
        peer: String,
        /// What failed.
        reason: String,
    },
}

/// Certificates that outlive the present ones by less are the same.
const RENEWAL_MIN: Duration = Duration::from_secs(1);

pub(super) async fn connect(inner: &Arc<Inner>, peer: &str) -> Result<Session, ConnectError> {
    // A peer that never takes its welcome in must not keep us from dialling.
    let (began, patience) = (Instant::now(), inner.settings.handshake_timeout);
    let mut dial = loop {
        // The peer's own dial, if it has been welcomed, brings the session.
        let left = patience.saturating_sub(began.elapsed());
        let _ = tokio::time::timeout(left, entered(inner, peer, None)).await;
        let mut registry = lock(&inner.registry);
        if let Some(session) = registry.session(peer) {
            return Ok(session);
        }
        if inner.is_draining.load(Ordering::SeqCst) {
            return Err(ConnectError::CannotDial);
        }
        match registry.dial(peer) {
            // Another one, just now.
            _ if registry.is_welcomed(peer, None) && began.elapsed() < patience => {}
            Some(dial) => break dial,
            None => {
                let (outcome, dial) = signal::channel(None);
                registry.set_dial(peer, Some(dial.clone()));
                let (room, peer) = (inner.clone(), peer.to_owned());
                spawn(inner, async move {
                    let done = UnderWay { inner: room, peer };
                    let result = first_dial(&done.inner, &done.peer).await;
                    drop(done);
                    outcome.send_replace(Some(result));
                });
                break dial;
            }
        }
    };
    match dial.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().expect("it was waited for"),
        Err(_) => Err(ConnectError::CannotDial), // the endpoint shut down
    }
}

/// A dial under way. However it ends, the next one may begin.
struct UnderWay {
    inner: Arc<Inner>,
    peer: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.inner.registry).set_dial(&self.peer, None);
        self.inner.changed.notify_waiters();
    }
}

async fn first_dial(inner: &Arc<Inner>, peer: &str) -> Result<Session, ConnectError> {
    let too_many = || ConnectError::TooManySessions {
        peer: peer.to_owned(),
        max: inner.settings.sessions_max,
    };
    {
        let registry = lock(&inner.registry);
        if registry.is_full(peer, None) {
            return registry.leaving(peer).ok_or_else(too_many);
        }
    }
    // The peer would take a new hello for the word that nothing of the old session is left.
    let closing = lock(&inner.registry).closing(peer);
    if let Some(closing) = closing {
        tokio::time::timeout(inner.settings.handshake_timeout, closing.closed())
            .await
            .map_err(|_| ConnectError::Closing { peer: peer.to_owned() })?;
    }
    let handshake = |reason: String| ConnectError::Handshake { peer: peer.to_owned(), reason };
    let mut is_again = false;
    let (connection, greeting) = loop {
        let mut connection = match open(inner, peer).await {
            // It has to dial us. Until it does, its process before will do.
            Err(ConnectError::NoAddress { peer }) => {
                let leaving = lock(&inner.registry).leaving(&peer);
                return leaving.ok_or(ConnectError::NoAddress { peer });
            }
            opened => opened?,
        };
        match greeting::dialer(inner, &mut *connection, None).await {
            None => {
                let seconds = inner.settings.handshake_timeout.as_secs();
                return Err(handshake(format!("no reply within {seconds} s")));
            }
            Some(Err(GreetingError::Refused { refusal: Refusal::OtherDialStands, reason })) => {
                return other_dial(inner, peer, reason).await;
            }
            // A process may have taken the connection just before another one followed it.
            Some(Err(GreetingError::Refused { refusal: Refusal::Draining, .. })) if !is_again => {
                is_again = true;
            }
            Some(Err(GreetingError::Refused { refusal, reason })) => {
                return Err(ConnectError::Refused { peer: peer.to_owned(), refusal, reason });
            }
            Some(Err(error)) => return Err(handshake(error.to_string())),
            Some(Ok(greeting)) => break (connection, greeting),
        }
    };
    let link = connection.into_link().map_err(|error| handshake(error.to_string()))?;
    let session = paths::begin(inner, peer, Role::Dialer, link, &greeting)
        .map_err(|error| handshake(error.to_string()))?;
    Inner::count(&inner.counters.handshakes_ok);
    match inner.enter(&session, None) {
        Ok(None) => {}
        Ok(Some(old)) => old.abort(),
        // The peer dialled at the same time, and its session was there first.
        Err(NotEntered::OtherStands(standing)) => return Ok(standing),
        Err(NotEntered::Full) => return Err(too_many()),
    }
    paths::offer_all(inner, &session);
    Ok(session)
}

/// Waits for the session that the peer's own dial brings.
async fn other_dial(inner: &Inner, peer: &str, reason: String) -> Result<Session, ConnectError> {
    let arrives = async {
        loop {
            let changed = inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(session) = lock(&inner.registry).session(peer) {
                return session;
            }
            changed.await;
        }
    };
    let refusal = Refusal::OtherDialStands;
    tokio::time::timeout(inner.settings.handshake_timeout, arrives)
        .await
        .map_err(|_| ConnectError::Refused { peer: peer.to_owned(), refusal, reason })
}

async fn open(inner: &Inner, peer: &str) -> Result<Box<dyn SecuredConnection>, ConnectError> {
    let addresses = {
        let peers = lock(&inner.peers);
        if !peers.allows(peer) {
            return Err(ConnectError::NotAPeer { peer: peer.to_owned() });
        }
        if let Some(left) = inner.quarantined_for(peer) {
            return Err(ConnectError::Quarantined { peer: peer.to_owned(), left });
        }
        let addresses = peers.addresses(peer).filter(|addresses| !addresses.is_empty());
        addresses.ok_or_else(|| ConnectError::NoAddress { peer: peer.to_owned() })?.to_vec()
    };
    let dialer = inner.dialer.as_ref().ok_or(ConnectError::CannotDial)?;
    let limit = inner.settings.handshake_timeout;
    let dialled = tokio::time::timeout(limit, dialer.dial(peer, &addresses)).await;
    dialled
        .unwrap_or_else(|_| {
            let address = addresses.join(", ");
            Err(DialError::TimedOut { address, seconds: limit.as_secs() })
        })
        .map_err(|error| {
            Inner::count(&inner.counters.handshakes_failed);
            ConnectError::Dial { peer: peer.to_owned(), source: Arc::new(error) }
        })
}

/// What a dialer's session lacks.
pub(super) fn is_path_wanted(session: &Session) -> bool {
    let state = session.core().lock();
    if state.machine.is_over() {
        return false;
    }
    let live = |path: &crate::machine::PathView| !matches!(path.state, PathState::Fencing(_));
    let has_tcp = state.machine.paths().any(|path| path.kind == PathKind::Tcp && live(&path));
    // A session on another kind of path falls back to TCP: one such path always stands by.
    state.machine.active_path().is_none() || !has_tcp
}

/// What the dialer of a session goes by when something is lacking.
pub(super) struct Mending {
    pub(super) pace: Mutex<Pace>,
    /// Notified when something got worse meanwhile.
    pub(super) hurry: Notify,
    /// A task does it.
    pub(super) is_going_on: AtomicBool,
}

/// Dials until the session has what it lacks: a path at all, or TCP standing by.
pub(super) async fn mend(inner: Arc<Inner>, session: Session, mending: Arc<Mending>) {
    while is_path_wanted(&session) {
        let now = Instant::now();
        let at = lock(&mending.pace).next(now);
        // What is due now is not for the timer, whose least wait is a millisecond.
        if at > now {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(at) => {}
                () = mending.hurry.notified() => {
                    lock(&mending.pace).hurry();
                    continue;
                }
            }
        }
        if !is_path_wanted(&session) {
            return;
        }
        match resume(&inner, &session, None).await {
            Ok(()) => lock(&mending.pace).note_path(Instant::now()),
            Err(Failure::Lost) => {
                let now = session.core().clock.now();
                session.core().with_state(|state| state.machine.handle_session_lost(now));
                session.core().wake.raise();
                return;
            }
            Err(Failure::Passing(reason)) => {
                tracing::debug!(peer = session.peer_id(), reason, "reconnecting failed");
            }
        }
    }
}

/// The session ends soon with its certificates: dials, a few times, to prove new ones, and moves to that path.
pub(super) async fn renew(inner: Arc<Inner>, session: Session) {
    loop {
        let left = || {
            let core = session.core();
            core.lock().machine.certificate_left(core.clock.now()).unwrap_or_default()
        };
        let before = left();
        if before < RENEWAL_MIN || session.is_over() {
            return;
        }
        match resume(&inner, &session, Some(before)).await {
            Ok(()) => return,
            Err(Failure::Lost) => return, // the loss of the present path says so in its turn
            Err(Failure::Passing(reason)) => {
                tracing::debug!(peer = session.peer_id(), reason, "not renewed");
            }
        }
        tokio::time::sleep(left() / 2).await;
    }
}

enum Failure {
    /// Worth another attempt.
    Passing(String),
    /// The peer no longer has the session.
    Lost,
}

/// Adds a TCP path. With `renews`, only if its certificates outlive that time; the older TCP paths go then.
async fn resume(
    inner: &Arc<Inner>,
    session: &Session,
    renews: Option<Duration>,
) -> Result<(), Failure> {
    let passing = |reason: &dyn std::fmt::Display| Failure::Passing(reason.to_string());
    let mut connection = open(inner, session.peer_id()).await.map_err(|error| passing(&error))?;
    let path = session.core().lock().machine.allocate_path();
    let greeting = greeting::dialer(inner, &mut *connection, Some((session, path))).await;
    let greeting =
        greeting.ok_or_else(|| passing(&"no reply in time"))?.map_err(|error| match error {
            GreetingError::OtherIncarnation
            | GreetingError::Refused {
                refusal: Refusal::UnknownSession | Refusal::OtherIncarnation,
                ..
            } => Failure::Lost,
            other => passing(&other),
        })?;
    if renews.is_some_and(|left| greeting.certificates_left <= left + RENEWAL_MIN) {
        return Err(passing(&"the certificates are the same"));
    }
    let link = connection.into_link().map_err(|error| passing(&error))?;
    let older = tcp_paths(session);
    paths::join(inner, session, link, &greeting).map_err(|error| passing(&error))?;
    Inner::count(&inner.counters.handshakes_ok);
    if renews.is_some() {
        let core = session.core();
        let now = core.clock.now();
        core.with_state(|state| {
            older.into_iter().for_each(|path| state.machine.close_path(now, path));
        });
        core.wake.raise();
    }
    paths::offer_all(inner, session);
    Ok(())
}

fn tcp_paths(session: &Session) -> Vec<PathId> {
    let state = session.core().lock();
    let tcp = state.machine.paths().filter(|path| path.kind == PathKind::Tcp);
    tcp.map(|path| path.id).collect()
}
