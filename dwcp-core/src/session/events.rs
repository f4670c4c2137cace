//! What sessions tell whoever watches an endpoint.

use std::time::SystemTime;

use tokio::sync::broadcast;

use crate::driver::OffendingRecord;
use crate::endpoint::Offence;
use crate::machine::{Closed, PathCause, Role, Switch, SwitchFailure};
use crate::wire::{PathId, PathKind, SessionId};

/// Events kept for a subscriber that is slow.
const BACKLOG: usize = 1_024;

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The session stands.
    Up {
        /// Which end we are.
        role: Role,
    },
    /// A path can be used.
    PathUp {
        /// The path.
        path: PathId,
        /// Its kind.
        kind: PathKind,
        /// Which one of that kind.
        provider: String,
    },
    /// A path is lost or given up.
    PathDown {
        /// The path.
        path: PathId,
        /// Why.
        cause: PathCause,
    },
    /// Data goes another way now.
    Switched(Switch),
    /// A switch was given up.
    SwitchFailed {
        /// The path that was not reached.
        to: PathId,
        /// Why.
        cause: SwitchFailure,
    },
    /// The peer's process leaves: what is open goes on, new channels belong on the session that
    /// `Endpoint::connect` gives from now on.
    PeerLeaves,
    /// No path is left: messages wait.
    Holding,
    /// Messages may or may not have been delivered, at most once.
    InDoubt {
        /// The channel.
        channel: u32,
        /// The first of them, counted from 1.
        from: u64,
        /// How many.
        count: u64,
    },
    /// The session ends soon, with a certificate of one end, unless that is renewed: the dialer dials again
    /// in time, and a handshake that proves a new one moves the end.
    CertificateEnds {
        /// Time left.
        within: std::time::Duration,
    },
    /// The peer did what no honest peer does, proven by its keys or its certificate.
    Offended {
        /// What.
        offence: Offence,
        /// Where, if it was in a record that was just taken in.
        record: Option<OffendingRecord>,
        /// The peer's score after it, from 1 down to 0.
        reputation: f64,
        /// It is refused from now on, for so long.
        quarantine: Option<std::time::Duration>,
    },
    /// The quarantine of the peer was lifted by hand.
    QuarantineLifted,
    /// The session is over.
    Closed(Closed),
}

/// An event with when and where it happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EndpointEvent {
    /// When.
    pub at: SystemTime,
    /// The peer.
    pub peer: String,
    /// The session; `None` where the event concerns the peer as such.
    pub session: Option<SessionId>,
    /// What.
    pub event: SessionEvent,
}

/// Receives the events of an endpoint from the moment of subscription.
pub struct Events {
    receiver: broadcast::Receiver<EndpointEvent>,
    missed: u64,
}

impl Events {
    /// The next event; `None` when the endpoint is gone.
    ///
    /// # Cancel safety
    /// Cancel-safe: no event is lost.
    pub async fn recv(&mut self) -> Option<EndpointEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => self.missed += count,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Events that were overwritten before this subscriber read them.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// Where events go.
pub(crate) struct EventHub {
    sender: broadcast::Sender<EndpointEvent>,
}

impl EventHub {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(BACKLOG).0 }
    }

    pub(crate) fn subscribe(&self) -> Events {
        Events { receiver: self.sender.subscribe(), missed: 0 }
    }

    pub(crate) fn publish(&self, peer: &str, session: Option<SessionId>, event: SessionEvent) {
        // Nobody listens: nobody misses it.
        if self.sender.receiver_count() == 0 {
            return;
        }
        let event = EndpointEvent { at: SystemTime::now(), peer: peer.to_owned(), session, event };
        let _ = self.sender.send(event);
    }
}
