//! The batch of a channel in its sender's hands: small messages go in without the session's lock.
//!
//! The sender gets it under that lock, once a flush is due and somebody is on the way to do it. Whoever takes the lock next
//! takes the batch back first ([`SessionCore::lock`](super::SessionCore::lock)), so that nobody sees a machine without
//! what was committed. The sender finds its hands empty then, and takes the lock for its next message.

use crate::machine::Lent;
use crate::sync::BriefLock;

/// A place for one batch.
#[derive(Default)]
pub(crate) struct Stage(BriefLock<Option<Lent>>);

impl Stage {
    /// Commits a message. False: there is no batch, or no room in it.
    #[inline]
    pub(crate) fn append(&self, message: &[u8]) -> bool {
        self.0.with(|lent| lent.as_mut().is_some_and(|lent| lent.append(message)))
    }

    /// The sender may fill `lent` from now on.
    pub(super) fn put(&self, lent: Lent) {
        let before = self.0.with(|place| place.replace(lent));
        debug_assert!(before.is_none(), "what was lent was taken back before");
    }

    /// Takes back what was lent, if something is.
    pub(super) fn take(&self) -> Option<Lent> {
        self.0.with(Option::take)
    }
}
