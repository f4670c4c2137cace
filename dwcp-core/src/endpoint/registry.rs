//! The sessions of an endpoint, by peer.

use std::collections::HashMap;

use tokio::sync::watch as signal;

use super::dial::ConnectError;
use crate::machine::Role;
use crate::session::Session;
use crate::wire::SessionId;

/// How a dial ended, for all who wait for it.
pub(super) type Outcome = Option<Result<Session, ConnectError>>;

/// One session a peer, and the dial that may bring it.
#[derive(Default)]
pub(super) struct Registry {
    peers: HashMap<String, Entry>,
}

#[derive(Default)]
struct Entry {
    session: Option<Session>,
    dial: Option<signal::Receiver<Outcome>>,
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
    /// The live session with `peer`.
    pub(super) fn session(&self, peer: &str) -> Option<Session> {
        let session = self.peers.get(peer)?.session.as_ref()?;
        (!session.is_over()).then(|| session.clone())
    }

    pub(super) fn sessions(&self) -> Vec<Session> {
        let sessions = self.peers.values().filter_map(|entry| entry.session.as_ref());
        sessions.filter(|session| !session.is_over()).cloned().collect()
    }

    pub(super) fn by_id(&self, id: SessionId, peer: &str) -> Option<Session> {
        self.session(peer).filter(|session| session.id() == id)
    }

    /// The dial to `peer` under way.
    pub(super) fn dial(&self, peer: &str) -> Option<signal::Receiver<Outcome>> {
        self.peers.get(peer)?.dial.clone()
    }

    pub(super) fn set_dial(&mut self, peer: &str, dial: Option<signal::Receiver<Outcome>>) {
        self.peers.entry(peer.to_owned()).or_default().dial = dial;
    }

    /// Of two simultaneous dials that of the lower node id stands. A session we dialled stands likewise as
    /// long as it has a path and the peer is still the same process.
    pub(super) fn standing(&self, ours: &str, peer: &str, incarnation: u64) -> Standing {
        let Some(entry) = self.peers.get(peer) else { return Standing::Free };
        let is_ours_alive = entry.session.as_ref().is_some_and(|session| {
            session.role() == Role::Dialer
                && session.shared.peer_incarnation == incarnation
                && session.core().lock().machine.active_path().is_some()
        });
        if ours < peer && (entry.dial.is_some() || is_ours_alive) {
            Standing::OursStands
        } else {
            Standing::Free
        }
    }

    /// Enters a session; returns the one it replaces.
    pub(super) fn insert(&mut self, session: Session) -> Option<Session> {
        let entry = self.peers.entry(session.peer_id().to_owned()).or_default();
        entry.session.replace(session).filter(|old| !old.is_over())
    }

    pub(super) fn remove(&mut self, peer: &str, id: SessionId) {
        let Some(entry) = self.peers.get_mut(peer) else { return };
        if entry.session.as_ref().is_some_and(|session| session.id() == id) {
            entry.session = None;
        }
        if entry.session.is_none() && entry.dial.is_none() {
            self.peers.remove(peer);
        }
    }
}
