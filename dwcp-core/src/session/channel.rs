//! Channels: a sender and a receiver.

use std::fmt;
use std::sync::Arc;

use super::{Receiver, Sender, Session};
use crate::driver::SessionCore;
use crate::machine::{ChannelKey, Priority};

/// How a channel is opened.
#[derive(Clone, Copy, Debug)]
pub struct ChannelOptions {
    /// Interactive frames go before bulk ones.
    pub priority: Priority,
    /// Whether frames may be compressed. Lengths of compressed frames tell something of their content:
    /// switch it off where secrets are mixed with text that others choose (CRIME).
    pub compress: bool,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self { priority: Priority::Interactive, compress: true }
    }
}

impl ChannelOptions {
    /// For large transfers: they give way to interactive channels.
    pub fn bulk() -> Self {
        Self { priority: Priority::Bulk, ..Self::default() }
    }

    /// The same, never compressed.
    pub fn uncompressed(self) -> Self {
        Self { compress: false, ..self }
    }
}

/// An ordered lane of messages in both directions.
pub struct Channel {
    session: Session,
    label: String,
    priority: Priority,
    /// Our direction.
    pub sender: Sender,
    /// The peer's direction.
    pub receiver: Receiver,
}

/// What the two halves share; the machine is told when both are gone.
pub(super) struct ChannelShared {
    pub(super) core: Arc<SessionCore>,
    pub(super) key: ChannelKey,
}

impl Drop for ChannelShared {
    fn drop(&mut self) {
        self.core.with_state(|state| state.machine.release(self.key));
        self.core.wake.raise();
    }
}

impl Channel {
    pub(super) fn new(
        session: Session,
        key: ChannelKey,
        priority: Priority,
        label: String,
    ) -> Self {
        let shared = Arc::new(ChannelShared { core: session.core().clone(), key });
        Self {
            sender: Sender::new(shared.clone()),
            receiver: Receiver::new(shared),
            session,
            label,
            priority,
        }
    }

    /// The channel's id on the wire: even if the session's dialer opened it.
    pub fn id(&self) -> u32 {
        self.sender.id()
    }

    /// What it is for, as its opener said.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its urgency.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The session it belongs to.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether frames of our direction may be compressed.
    pub fn set_compression(&self, may_compress: bool) {
        let key = self.sender.key();
        self.session.core().lock().machine.set_compression(key, may_compress);
    }

    /// Takes the halves apart, for two tasks.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({} {:?})", self.id(), self.label)
    }
}
