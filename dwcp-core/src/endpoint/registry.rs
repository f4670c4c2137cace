//! The sessions of an endpoint, by peer.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch as signal;

use super::dial::ConnectError;
use crate::machine::{Role, Seldom};
use crate::session::Session;
use crate::wire::SessionId;

/// How a dial ended, for all who wait for it.
pub(super) type Outcome = Option<Result<Session, ConnectError>>;

/// Sessions of one peer that go on beside the present one, at most: a process that follows another may be followed before
/// that one is through. Without a limit a peer could have any number of sessions.
const LEAVING_MAX: usize = 4;

/// One session a peer, those that it follows, and the dial that may bring it.
pub(super) struct Registry {
    peers: HashMap<Arc<str>, Entry>,
    /// The sessions in `peers`, counted as they come and go: each hello asks, and looking at all of them would make the
    /// return of ten thousand peers cost a hundred million locks.
    count: usize,
    count_max: usize,
}

#[derive(Default)]
struct Entry {
    session: Option<Session>,
    /// Sessions whose process leaves at one end: they go on, and take nothing new.
    leaving: Seldom<Session>,
    dial: Option<signal::Receiver<Outcome>>,
    /// Sessions that the peer has been told of and that are not entered yet.
    welcomed: Seldom<SessionId>,
}

impl Entry {
    /// Keeps `session` beside the one that follows it; returns the one for which there is no place any more.
    fn leave(&mut self, session: Option<Session>) -> Option<Session> {
        let mut leaving = self.leaving.take();
        leaving.extend(session);
        leaving.retain(|session| !session.is_over());
        let oldest = (leaving.len() > LEAVING_MAX).then(|| leaving.remove(0));
        self.leaving.set(leaving);
        oldest
    }

    /// Whether another session may go on beside the present one without an end of those that do.
    fn has_room(&self) -> bool {
        self.leaving.iter().filter(|session| !session.is_over()).count() < LEAVING_MAX
    }

    fn all(&self) -> impl Iterator<Item = &Session> {
        self.session.iter().chain(self.leaving.iter())
    }

    fn count(&self) -> usize {
        usize::from(self.session.is_some()) + self.leaving.len()
    }
}

/// Why a session is not entered.
#[derive(Debug)]
pub(super) enum NotEntered {
    /// This one stands.
    OtherStands(Session),
    /// The node has as many as it may.
    Full,
}

/// What is known when a peer's hello for a new session comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The peer's hello gives way to our own dial.
    OursStands,
    /// The hello may begin a session; the old one, if any, is lost to the peer.
    Free,
}

impl Registry {
    /// For `count_max` sessions at most.
    pub(super) fn new(count_max: usize) -> Self {
        Self { peers: HashMap::new(), count: 0, count_max }
    }

    /// Changes what there is of `peer`. All that adds or removes sessions does it here.
    fn change<T>(&mut self, peer: &str, change: impl FnOnce(&mut Entry) -> T) -> T {
        let entry = self.entry(peer);
        let before = entry.count();
        let changed = change(entry);
        let after = entry.count();
        self.count = self.count - before + after;
        self.tidy(peer);
        changed
    }

    fn entry(&mut self, peer: &str) -> &mut Entry {
        let name = self.name(peer);
        self.peers.entry(name).or_default()
    }

    /// The name of `peer`, shared with all that know it by this.
    pub(super) fn name(&self, peer: &str) -> Arc<str> {
        self.peers.get_key_value(peer).map_or_else(|| peer.into(), |(name, _)| name.clone())
    }

    /// The session with `peer`, if it can be used.
    pub(super) fn session(&self, peer: &str) -> Option<Session> {
        self.live(peer).filter(|session| !session.is_closing())
    }

    /// The session with `peer` that one end has begun to close.
    pub(super) fn closing(&self, peer: &str) -> Option<Session> {
        self.live(peer).filter(Session::is_closing)
    }

    /// The session with `peer` that is not over.
    fn live(&self, peer: &str) -> Option<Session> {
        let session = self.peers.get(peer)?.session.as_ref()?;
        (!session.is_over()).then(|| session.clone())
    }

    pub(super) fn sessions(&self) -> Vec<Session> {
        let sessions = self.peers.values().flat_map(Entry::all);
        sessions.filter(|session| !session.is_over()).cloned().collect()
    }

    /// Whether a new session with `peer` would be one too many: there are as many as there may be, and none ends for it.
    pub(super) fn is_full(&self, peer: &str, predecessor: Option<u64>) -> bool {
        self.count >= self.count_max && self.would_grow(peer, predecessor)
    }

    /// Whether a new session with `peer` is one more than there are: it has none, or the one that it has goes on beside the
    /// new one, its predecessor's, and none ends for it.
    fn would_grow(&self, peer: &str, predecessor: Option<u64>) -> bool {
        let Some(entry) = self.peers.get(peer) else { return true };
        let Some(session) = &entry.session else { return true };
        let goes_on = Some(session.shared.peer_incarnation) == predecessor;
        goes_on && entry.has_room()
    }

    pub(super) fn by_id(&self, id: SessionId, peer: &str) -> Option<Session> {
        let found = self.peers.get(peer)?.all().find(|session| session.id() == id)?;
        (!found.is_over()).then(|| found.clone())
    }

    /// A session with `peer` that goes on although new channels do not belong on it.
    pub(super) fn leaving(&self, peer: &str) -> Option<Session> {
        let is_good = |session: &&Session| !session.is_over() && !session.is_closing();
        self.peers.get(peer)?.leaving.iter().rfind(is_good).cloned()
    }

    /// The session `id` with `peer` takes nothing new any more: the next one is another.
    /// Returns an older one that has to end for it.
    pub(super) fn retire(&mut self, peer: &str, id: SessionId) -> Option<Session> {
        self.change(peer, |entry| {
            let retired = entry.session.take_if(|session| session.id() == id);
            entry.leave(retired)
        })
    }

    /// The dial to `peer` under way.
    pub(super) fn dial(&self, peer: &str) -> Option<signal::Receiver<Outcome>> {
        self.peers.get(peer)?.dial.clone()
    }

    pub(super) fn set_dial(&mut self, peer: &str, dial: Option<signal::Receiver<Outcome>>) {
        self.entry(peer).dial = dial;
        self.tidy(peer);
    }

    /// The peer is about to be told of a session, which may come back to us before it is entered.
    pub(super) fn welcome(&mut self, peer: &str, id: SessionId) {
        self.entry(peer).welcomed.push(id);
    }

    /// That time is over: the session is entered, or will never be.
    pub(super) fn end_welcome(&mut self, peer: &str, id: SessionId) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.welcomed.retain(|welcomed| *welcomed != id);
            entry.welcomed.shed();
        }
        self.tidy(peer);
    }

    /// Whether the session `id`, or any if it is `None`, is on its way in.
    pub(super) fn is_welcomed(&self, peer: &str, id: Option<SessionId>) -> bool {
        let Some(entry) = self.peers.get(peer) else { return false };
        entry.welcomed.iter().any(|welcomed| id.is_none_or(|id| id == *welcomed))
    }

    /// Of two simultaneous dials that of the lower node id stands. A session we dialled stands likewise as
    /// long as it has a path and the peer is still the same process.
    pub(super) fn standing(&self, ours: &str, peer: &str, incarnation: u64) -> Standing {
        let Some(entry) = self.peers.get(peer) else { return Standing::Free };
        let is_ours_alive = entry.session.as_ref().is_some_and(|session| {
            session.role() == Role::Dialer
                && session.shared.peer_incarnation == incarnation
                && has_path(session)
        });
        if ours < peer && (entry.dial.is_some() || is_ours_alive) {
            Standing::OursStands
        } else {
            Standing::Free
        }
    }

    /// Enters a session; returns the one that ends for it. One with `predecessor`, a life of the peer that goes on beside the
    /// new one, is not replaced. An error is the one that stands: while each end dialled the other, that of the lower
    /// node id came first.
    pub(super) fn insert(
        &mut self,
        ours: &str,
        session: &Session,
        predecessor: Option<u64>,
    ) -> Result<Option<Session>, NotEntered> {
        let peer = session.peer_id();
        // Others may have come in while its handshake was on its way.
        if self.is_full(peer, predecessor) {
            return Err(NotEntered::Full);
        }
        self.change(peer, |entry| {
            let is_before = |old: &mut Session| Some(old.shared.peer_incarnation) == predecessor;
            let before = entry.session.take_if(is_before);
            let oldest = entry.leave(before);
            if let Some(old) = &entry.session {
                let dialled_by_lower = (old.role() == Role::Dialer) == (ours < peer);
                let is_simultaneous = old.role() != session.role()
                    && old.shared.peer_incarnation == session.shared.peer_incarnation;
                if is_simultaneous && dialled_by_lower && has_path(old) {
                    return Err(NotEntered::OtherStands(old.clone()));
                }
            }
            Ok(entry.session.replace(session.clone()).filter(|old| !old.is_over()).or(oldest))
        })
    }

    pub(super) fn remove(&mut self, peer: &str, id: SessionId) {
        self.change(peer, |entry| {
            entry.session.take_if(|session| session.id() == id);
            entry.leaving.retain(|session| session.id() != id);
        });
    }

    fn tidy(&mut self, peer: &str) {
        let is_empty = |entry: &Entry| {
            entry.all().next().is_none() && entry.dial.is_none() && entry.welcomed.is_empty()
        };
        if self.peers.get(peer).is_some_and(is_empty) {
            self.peers.remove(peer);
        }
    }
}

/// Whether a session is there to stay: it has a path, and nobody closes it.
fn has_path(session: &Session) -> bool {
    let state = session.core().lock();
    state.machine.active_path().is_some() && !state.machine.is_closing()
}
