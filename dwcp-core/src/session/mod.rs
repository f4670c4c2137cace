//! The public face of a session: handles, channels, statistics.

mod batch;
mod channel;
mod direct;
mod error;
#[cfg(feature = "tokio")]
mod events;
mod receiver;
mod sender;
mod spin;
mod stats;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

pub use batch::Batch;
pub use channel::{Channel, ChannelOptions};
#[cfg(all(test, dwcp_loom))]
pub(crate) use direct::assemble;
pub use direct::{DirectSetup, block_on, block_on_for};
pub use error::{RecvError, Retry, Scope, SendError, SessionError, TryRecvError};
#[cfg(feature = "tokio")]
pub(crate) use events::EventHub;
#[cfg(feature = "tokio")]
pub use events::{EndpointEvent, Events, SessionEvent};
pub use receiver::{Chunk, Receiver};
pub use sender::{Claim, MessageCounts, Sender};
pub(crate) use stats::Totals;
pub use stats::{PathStats, SessionStats, SwitchRecord};

#[cfg(feature = "tokio")]
use crate::crypto::SessionSecret;
use crate::driver::{SessionCore, cut, wait};
#[cfg(feature = "tokio")]
use crate::endpoint::Agreement;
#[cfg(feature = "tokio")]
use crate::machine::Seldom;
use crate::machine::{Closed, InDoubt, PathState, Role, SwitchError};
use crate::wire::{PathId, PathKind, SessionId, SwitchReason};

/// A session with a peer. Cloning gives another handle of the same session.
///
/// It outlives its paths: while none is there, messages wait, up to the endpoint's `time_to_live`. Dropping
/// the handles does not end it; [`close`](Self::close) does, or its endpoint's end.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<SessionShared>,
}

/// What the handles of one session share.
pub(crate) struct SessionShared {
    pub(crate) id: SessionId,
    pub(crate) peer: Arc<str>,
    pub(crate) peer_incarnation: u64,
    pub(crate) role: Role,
    pub(crate) core: Arc<SessionCore>,
    pub(crate) totals: Totals,
    #[cfg(feature = "tokio")]
    pub(crate) secret: SessionSecret,
    #[cfg(feature = "tokio")]
    pub(crate) agreement: Agreement,
    /// Paths we offered and the peer has not answered.
    #[cfg(feature = "tokio")]
    pub(crate) offers: Mutex<Seldom<Offer>>,
}

/// An offer of a path that the peer has not answered.
#[cfg(feature = "tokio")]
pub(crate) struct Offer {
    pub(crate) path: PathId,
    pub(crate) kind: PathKind,
    pub(crate) nonce: [u8; 32],
    pub(crate) pending: Box<dyn crate::link::PendingLink>,
}

impl Session {
    /// The session's name, the same at both ends.
    pub fn id(&self) -> SessionId {
        self.shared.id
    }

    /// The peer's node id, as its certificate proves it.
    pub fn peer_id(&self) -> &str {
        &self.shared.peer
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.shared.role
    }

    /// Whether the session has ended.
    pub fn is_over(&self) -> bool {
        self.core().lock().closed.is_some()
    }

    /// Whether it is about to end in good order: nothing more is taken.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_closing(&self) -> bool {
        self.core().lock().machine.is_closing()
    }

    pub(crate) fn core(&self) -> &Arc<SessionCore> {
        &self.shared.core
    }

    /// Opens a channel: an ordered lane of messages in both directions. The peer gets it from
    /// [`accept`](Self::accept) as soon as the first record arrives there.
    ///
    /// # Errors
    /// [`SessionError::Over`] after the session's end; [`SessionError::TooManyChannels`].
    ///
    /// # Panics
    /// If `label` is longer than [`MAX_LABEL_BYTES`](crate::wire::MAX_LABEL_BYTES).
    pub fn open(&self, label: &str, options: ChannelOptions) -> Result<Channel, SessionError> {
        use crate::machine::SendError as Refused;
        let key = self.core().with_state(|state| {
            let key = state.machine.open(options.priority, label).map_err(|error| match error {
                Refused::Window => SessionError::TooManyChannels,
                _ => SessionError::Over,
            })?;
            state.start_waiting(key);
            state.machine.set_compression(key, options.compress);
            // It leaves with the first message, which nearly always follows at once; the driver comes for it otherwise.
            state.is_flush_due |= state.machine.active_path().is_some();
            Ok(key)
        })?;
        self.core().wake.raise();
        Ok(Channel::new(self.clone(), key, options.priority, label.to_owned()))
    }

    /// The next channel the peer opens. Several tasks may wait; each channel goes to one of them.
    ///
    /// # Errors
    /// [`SessionError::Over`] once the session has ended, or this end has begun to [`close`](Self::close) it.
    ///
    /// # Cancel safety
    /// Cancel-safe: no channel is lost.
    pub async fn accept(&self) -> Result<Channel, SessionError> {
        let (key, priority, label) = wait(
            self.core(),
            |state| &mut state.accepts,
            |state| {
                if state.machine.is_closed_by_us() {
                    return Poll::Ready(Err(SessionError::Over));
                }
                match state.incoming.pop_front() {
                    Some(opened) => Poll::Ready(Ok(opened)),
                    None if state.closed.is_some() => Poll::Ready(Err(SessionError::Over)),
                    None => Poll::Pending,
                }
            },
        )
        .await?;
        Ok(Channel::new(self.clone(), key, priority, label))
    }

    /// Figures of this moment.
    pub fn stats(&self) -> SessionStats {
        stats::collect(self)
    }

    /// Moves the session to its path of kind `to`. Ends with an event: `Switched` or `SwitchFailed`.
    ///
    /// # Errors
    /// [`SwitchError`]; nothing has begun then.
    pub fn switch(&self, to: PathKind, reason: SwitchReason) -> Result<(), SwitchError> {
        let core = self.core();
        let now = core.clock.now();
        core.with_state(|state| {
            let is_target = |path: &crate::machine::PathView| path.kind == to;
            let active = state.machine.active_path();
            let path = state
                .machine
                .paths()
                .filter(is_target)
                .filter(|path| Some(path.id) == active || path.state == PathState::Standby)
                .map(|path| path.id)
                .next()
                .ok_or(SwitchError::NotReady)?;
            state.machine.request_switch(now, path, reason)
        })?;
        core.wake.raise();
        Ok(())
    }

    /// Moves every live path to its next key phase, from its next record on.
    pub fn rekey(&self) {
        self.core().rekey();
    }

    /// Drops the link under `path`, or under the active one, as a broken cable would. The session goes on:
    /// this is how tests and demonstrations cause a failover. Returns whether there was such a path.
    pub fn cut(&self, path: Option<PathId>) -> bool {
        let core = self.core();
        let path = path.map_or_else(|| core.active_path(), |id| core.path(id));
        if let Some(path) = &path {
            cut(core, path);
        }
        path.is_some()
    }

    /// Waits until everything committed on every channel is acked. Returns at once when the session is over.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn all_acked(&self) {
        let core = self.core();
        core.flush_active();
        wait(
            core,
            |state| &mut state.progress,
            |state| match state.machine.is_all_acked() || state.closed.is_some() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
    }

    /// Messages committed on any channel and not acked.
    pub fn unacked_messages(&self) -> u64 {
        self.core().lock().machine.unacked_messages()
    }

    /// What the session's end left in doubt: messages that were committed and not acked, and that may or may
    /// not have arrived, at most once. One entry for each channel that had such messages; empty while the
    /// session lives. It can be asked for as long as there is a handle, also where
    /// [`SessionEvent::InDoubt`](crate::SessionEvent::InDoubt) came too fast to be read.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        self.core().lock().in_doubt.to_vec()
    }

    /// Waits until everything committed on every channel is acked, at most `deadline`. Returns how many
    /// messages are not.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    #[cfg(feature = "tokio")]
    pub async fn drain(&self, deadline: Duration) -> u64 {
        // What is left after the deadline is the answer, not an error.
        let _ = tokio::time::timeout(deadline, self.all_acked()).await;
        self.unacked_messages()
    }

    /// The round trip of a probe over the active path.
    ///
    /// # Errors
    /// [`SessionError::Over`]; [`SessionError::NoPath`] when no path answers within `deadline`.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    #[cfg(feature = "tokio")]
    pub async fn ping(&self, deadline: Duration) -> Result<Duration, SessionError> {
        let answer = self.round_trip();
        tokio::time::timeout(deadline, answer).await.unwrap_or(Err(SessionError::NoPath))
    }

    /// As `ping` (feature `tokio`), for as long as the session lives.
    ///
    /// # Errors
    /// [`SessionError::Over`].
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn round_trip(&self) -> Result<Duration, SessionError> {
        let core = self.core();
        let asked = core.clock.now();
        let mut answer = pin!(wait(
            core,
            |state| &mut state.progress,
            |state| {
                if state.closed.is_some() {
                    return Poll::Ready(Err(SessionError::Over));
                }
                if let Some(rtt) = state.machine.answered_since(asked) {
                    return Poll::Ready(Ok(rtt));
                }
                // The answer that just came may be one to an older question, or the path another than before.
                state.machine.ping_active(core.clock.now());
                Poll::Pending
            }
        ));
        poll_fn(|context| {
            let answered = answer.as_mut().poll(context);
            if answered.is_pending() {
                core.flush_active();
            }
            answered
        })
        .await
    }

    /// Ends the session in good order: nothing more is taken, and when everything is acked the peer is told
    /// `code` (0 for a normal end) and `reason` (at most 256 bytes of it). Until then what the peer sends on
    /// open channels still arrives; channels that it opens do not.
    ///
    /// Without a path it waits for one, within the time to live, if anything is un-acked. A peer that lives and
    /// reads nothing can put the end off for ever: [`drain`](Self::drain) (feature `tokio`) waits for a bounded time, and [`abort`](Self::abort) does not wait.
    pub fn close(&self, code: u32, reason: &str) {
        self.core().with_state(|state| state.machine.close(code, reason));
        self.core().wake.raise();
    }

    /// Ends the session at once: what is un-acked is in doubt.
    pub fn abort(&self) {
        self.core().with_state(|state| state.machine.abort());
        self.core().wake.raise();
    }

    /// Tells the peer that this process leaves: all that is open goes on.
    #[cfg(feature = "tokio")]
    pub(crate) fn leave(&self) {
        self.core().with_state(|state| state.machine.leave());
        self.core().wake.raise();
    }

    /// Whether one end's process leaves: what is open goes on, and new channels belong on a session with its successor.
    pub fn is_leaving(&self) -> bool {
        self.core().lock().machine.is_leaving()
    }

    /// Waits until new channels do not belong here any more: one end's process leaves, or the session is over.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn left(&self) {
        wait(
            self.core(),
            |state| &mut state.ends,
            |state| match state.machine.is_leaving() || state.closed.is_some() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
    }

    /// Waits for the session's end and tells why.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn closed(&self) -> Closed {
        wait(
            self.core(),
            |state| &mut state.ends,
            |state| match &state.closed {
                Some(why) => Poll::Ready((**why).clone()),
                None => Poll::Pending,
            },
        )
        .await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} with {})", self.shared.id, self.shared.peer)
    }
}
