//! The sending half of a channel.

use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
#[cfg(feature = "tokio")]
use tokio::time::Instant;

use super::channel::ChannelShared;
use super::error::{SendError, describe_short};
use crate::driver::{CORK, CORK_BYTES, Locked, Stage, hold, wait};
use crate::machine::{BATCH_MESSAGE_BYTES_MAX, ChannelKey, InDoubt, SendError as Refused};
use crate::mem::{Message, SlotMut};

/// Sends messages on a channel, in order.
///
/// A message is *committed* when a call returns `Ok`: from then on the session delivers it exactly once, over
/// whatever paths there are. It is *acked* when it lies in the peer's receive window and *confirmed* when
/// the peer's application has said so.
///
/// A lone message leaves at once, in the caller's thread; under load messages gather and leave together.
/// Dropping the sender finishes the channel's direction after everything committed.
pub struct Sender {
    shared: Arc<ChannelShared>,
    cork: Cork,
}

/// What a sender has committed and not flushed.
#[derive(Default)]
struct Cork {
    /// Bytes committed since this sender last flushed.
    bytes: usize,
    /// Where messages go without the session's lock, once the sender has had use for it.
    stage: Option<Arc<Stage>>,
    /// Messages that went there since it was given a batch last; `None`: it has none.
    staged: Option<u32>,
    /// Messages to commit without, since it was of little use.
    unstaged: u32,
}

/// What a channel may hold of un-acked messages while the link takes nothing, what the link has among them: two full writes.
const LINK_FULL_BYTES: u64 = 2 * CORK_BYTES as u64;
/// Fewer messages than these are not worth a batch of the sender's own: others take the session's lock as often.
const STAGED_MIN: u32 = 4;
/// So many are committed without, then.
const UNSTAGED: u32 = 32;

/// How far the messages of a channel have come, counted from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Taken over by the session.
    pub committed: u64,
    /// In the peer's receive window.
    pub acked: u64,
    /// Confirmed by the peer's application.
    pub confirmed: u64,
}

impl Cork {
    /// Commits a message without the session's lock. False: there is no batch at hand, or no room in it.
    #[inline]
    fn append(&mut self, message: &[u8]) -> bool {
        let Some(staged) = &mut self.staged else { return false };
        if !self.stage.as_ref().is_some_and(|stage| stage.append(message)) {
            self.let_go();
            return false;
        }
        *staged += 1;
        self.bytes += message.len() + 2;
        true
    }

    /// There is no batch at hand any more.
    #[cold]
    fn let_go(&mut self) {
        if self.staged.take().is_some_and(|staged| staged < STAGED_MIN) {
            self.unstaged = UNSTAGED;
        }
    }

    /// A message of `bytes` was committed: decides who sends it, this thread now or the driver soon.
    fn push(&mut self, shared: &ChannelShared, mut state: Locked<'_>, bytes: usize) {
        let core = &shared.core;
        self.bytes += bytes + 2;
        let is_first = !state.is_flush_due;
        let is_due = |state: &Locked<'_>| {
            // As long as a full write is on its way besides, the peer has something to do, and waits for nothing.
            state.machine.kept_bytes(shared.key) < 2 * CORK_BYTES as u64
                && core.clock.now() >= state.flushed_at + CORK
        };
        let must_flush =
            self.bytes >= CORK_BYTES || (is_first && (state.machine.is_quiet() || is_due(&state)));
        if must_flush {
            let path = state.active_path().cloned();
            drop(state);
            self.bytes = 0;
            if let Some(path) = path {
                core.flush(&path);
            }
            return;
        }
        state.is_flush_due = true;
        if self.unstaged > 0 {
            self.unstaged -= 1;
        } else {
            let stage = self.stage.get_or_insert_default();
            self.staged = state.lend(shared.key, stage).then_some(0);
        }
        drop(state);
        if is_first {
            core.wake.raise();
        }
    }
}

impl Sender {
    pub(super) fn new(shared: Arc<ChannelShared>) -> Self {
        Self { shared, cork: Cork::default() }
    }

    pub(super) fn key(&self) -> ChannelKey {
        self.shared.key
    }

    /// The channel's id on the wire.
    pub fn id(&self) -> u32 {
        self.shared.key.id()
    }

    /// Commits a message if there is room now.
    ///
    /// # Errors
    /// [`SendError`]: the message was not taken.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        if self.is_staged(&message) {
            return Ok(());
        }
        self.commit(&held(message)).map_err(|refused| self.error(refused))
    }

    /// Commits a copy of `bytes` if there is room now; see [`send_copy`](Self::send_copy).
    ///
    /// # Errors
    /// [`SendError`]: the message was not taken.
    pub fn try_send_copy(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        if self.is_staged(bytes) {
            return Ok(());
        }
        if bytes.len() > BATCH_MESSAGE_BYTES_MAX {
            return self.try_send(Bytes::copy_from_slice(bytes));
        }
        self.commit_copy(bytes).map_err(|refused| self.error(refused))
    }

    /// Commits a copy of `bytes`, waiting for room. For small messages the cheapest way: up to 8 KiB are copied
    /// straight to where they wait to be sent, and no memory of their own is needed.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// Cancel-safe: when the future is dropped before it is ready, the message was not taken.
    pub async fn send_copy(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        if self.is_staged(bytes) {
            return Ok(());
        }
        if bytes.len() > BATCH_MESSAGE_BYTES_MAX {
            return self.send(Bytes::copy_from_slice(bytes)).await;
        }
        poll_fn(|context| {
            self.poll_commit(context, bytes.len(), |sender| sender.commit_copy(bytes))
        })
        .await
    }

    /// Commits a message, waiting for room.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::SessionOver`] or [`SendError::TooLong`].
    ///
    /// # Cancel safety
    /// Cancel-safe: when the future is dropped before it is ready, the message was not taken.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        if self.is_staged(&message) {
            return Ok(());
        }
        let message = held(message);
        poll_fn(|context| {
            self.poll_commit(context, message.len(), |sender| sender.commit(&message))
        })
        .await
    }

    /// As [`send`](Self::send), and ends this direction with it, as [`finish`](Self::finish) does: both leave together, where one
    /// after the other they are two writes, and two wake-ups of the peer.
    ///
    /// # Errors
    /// As [`send`](Self::send); the direction is not finished then.
    ///
    /// # Cancel safety
    /// Cancel-safe: when the future is dropped before it is ready, the message was not taken, and nothing is finished.
    pub async fn send_last(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = held(message);
        poll_fn(|context| {
            self.poll_commit(context, message.len(), |sender| sender.commit_last(&message))
        })
        .await
    }

    /// As [`send`](Self::send), but waits no longer than `deadline`.
    ///
    /// # Errors
    /// Also [`SendError::DeadlinePassed`]; the message was not taken then.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    #[cfg(feature = "tokio")]
    pub async fn send_by(
        &mut self,
        message: impl Into<Message>,
        deadline: Instant,
    ) -> Result<(), SendError> {
        let sent = tokio::time::timeout_at(deadline, self.send(message)).await;
        sent.unwrap_or(Err(SendError::DeadlinePassed))
    }

    /// Room for a message of `bytes`, all zero, to be written in place and then committed. Messages over 8 KiB travel
    /// from there without another copy.
    ///
    /// # Errors
    /// [`SendError::Pool`] when memory is short, [`SendError::TooLong`] when no slot is as large (260 KiB):
    /// send such a message from memory of your own.
    pub fn try_claim(&mut self, bytes: usize) -> Result<Claim<'_>, SendError> {
        let slot = self.take_slot(bytes)?;
        Ok(Claim { sender: self, slot })
    }

    /// As [`try_claim`](Self::try_claim), waiting for room.
    ///
    /// # Errors
    /// As [`try_claim`](Self::try_claim), without `Window` and `Pool`.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn claim(&mut self, bytes: usize) -> Result<Claim<'_>, SendError> {
        let slot = poll_fn(|context| self.poll_slot(context, bytes)).await?;
        Ok(Claim { sender: self, slot })
    }

    /// A slot of `bytes`, if the window and the memory allow it now.
    fn take_slot(&self, bytes: usize) -> Result<SlotMut, SendError> {
        const SLOT_BYTES_MAX: usize = crate::mem::CLASS_BYTES[crate::mem::CLASS_BYTES.len() - 1];
        if bytes > SLOT_BYTES_MAX {
            return Err(SendError::TooLong { limit_bytes: SLOT_BYTES_MAX as u64 });
        }
        let core = &self.shared.core;
        let state = core.lock();
        if !state.machine.is_writable(self.shared.key) {
            return Err(SendError::Window);
        }
        if !state.machine.may_keep() {
            return Err(SendError::Pool);
        }
        drop(state);
        let mut slot = core.pool.take(bytes).ok_or(SendError::Pool)?;
        slot.set_len(bytes);
        slot.fill(0); // it may hold what another session sent or received
        Ok(slot)
    }

    fn poll_slot(
        &mut self,
        context: &mut Context<'_>,
        bytes: usize,
    ) -> Poll<Result<SlotMut, SendError>> {
        let mut slot = self.take_slot(bytes);
        if matches!(slot, Err(SendError::Window | SendError::Pool)) {
            self.flush();
            // Room may have come meanwhile; the waker must be there before the last look.
            self.register(context);
            self.shared.core.lock().machine.ask_writable(self.shared.key);
            slot = self.take_slot(bytes);
        }
        match slot {
            Err(SendError::Window) => Poll::Pending,
            Err(SendError::Pool) => self.await_memory(bytes),
            other => Poll::Ready(other),
        }
    }

    /// `bytes`: those of the message. A short one goes into a slot with its length before it; no other needs one.
    fn poll_commit(
        &mut self,
        context: &mut Context<'_>,
        bytes: usize,
        commit: impl Fn(&mut Self) -> Result<(), Refused>,
    ) -> Poll<Result<(), SendError>> {
        if self.is_link_full(context) {
            return Poll::Pending;
        }
        match commit(self) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(Refused::Window | Refused::Pool) => {}
            Err(refused) => return Poll::Ready(Err(self.error(refused))),
        }
        self.flush();
        // Room may have come meanwhile; the waker must be there before the last look.
        self.register(context);
        match commit(self) {
            Err(Refused::Window) => Poll::Pending,
            Err(Refused::Pool) => self.await_memory(bytes.min(BATCH_MESSAGE_BYTES_MAX) + 10),
            other => Poll::Ready(other.map_err(|refused| self.error(refused))),
        }
    }

    /// Whether the link takes nothing and has enough to send when it does. Whoever waits is woken then. The window is for the way
    /// to the peer: more than the link needs to go on is only memory that nobody has at hand any more when its turn comes.
    fn is_link_full(&self, context: &Context<'_>) -> bool {
        let mut state = self.shared.core.lock();
        let kept = state.machine.kept_bytes(self.shared.key);
        if kept < LINK_FULL_BYTES || !state.is_link_blocked() {
            return false;
        }
        state.waits_for_link = true;
        let replaced = state.wait_send(self.shared.key, context.waker());
        drop(state);
        drop(replaced);
        true
    }

    fn register(&self, context: &Context<'_>) {
        let mut state = self.shared.core.lock();
        let replaced = state.wait_send(self.shared.key, context.waker());
        drop(state);
        drop(replaced);
    }

    /// The pool had nothing for so many bytes. Whoever frees memory does not know who waits for it: the driver looks.
    fn await_memory<T>(&self, bytes: usize) -> Poll<T> {
        let core = &self.shared.core;
        let mut state = core.lock();
        let least = state.waits_for_memory.map_or(bytes, |least| least.min(bytes));
        state.waits_for_memory = Some(least);
        drop(state);
        core.wake.raise();
        Poll::Pending
    }

    /// Why a message was refused: a channel that takes no more may be one of a session that is over.
    fn error(&self, refused: Refused) -> SendError {
        let state = self.shared.core.lock();
        match (&refused, &state.closed) {
            (Refused::Closed, Some(why)) => SendError::SessionOver { why: describe_short(why) },
            _ => refused.into(),
        }
    }

    /// Commits a message without the session's lock, if there is a batch at hand and room in it. A flush is due then.
    #[inline]
    fn is_staged(&mut self, message: &[u8]) -> bool {
        if !self.cork.append(message) {
            return false;
        }
        if self.cork.bytes >= CORK_BYTES {
            self.flush();
        }
        true
    }

    fn commit(&mut self, message: &Message) -> Result<(), Refused> {
        let mut state = self.shared.core.lock();
        state.machine.send(self.shared.key, message)?;
        self.cork.push(&self.shared, state, message.len());
        Ok(())
    }

    fn commit_last(&mut self, message: &Message) -> Result<(), Refused> {
        let key = self.shared.key;
        self.shared.core.with_state(|state| {
            state.machine.send(key, message)?;
            state.machine.finish(key);
            Ok(())
        })?;
        self.flush();
        Ok(())
    }

    fn commit_copy(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut state = self.shared.core.lock();
        state.machine.send_copy(self.shared.key, bytes)?;
        self.cork.push(&self.shared, state, bytes.len());
        Ok(())
    }

    /// Sends what has gathered, now, in this thread.
    pub fn flush(&mut self) {
        self.cork.bytes = 0;
        self.shared.core.flush_active();
    }

    /// How far the channel's messages have come.
    pub fn counts(&self) -> MessageCounts {
        let state = self.shared.core.lock();
        let (committed, acked, confirmed) = state.machine.message_counts(self.shared.key);
        MessageCounts { committed, acked, confirmed }
    }

    /// Waits until everything committed so far is acked.
    ///
    /// # Errors
    /// [`SendError::Closed`] or [`SendError::SessionOver`] when the channel or session ended before.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn acked(&self) -> Result<(), SendError> {
        let committed = self.counts().committed;
        self.progress(|counts| counts.acked >= committed).await
    }

    /// Waits until the peer's application has confirmed `messages` messages, counted from the channel's
    /// beginning.
    ///
    /// # Errors
    /// [`SendError::Closed`] or [`SendError::SessionOver`] when the channel or session ended before.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn confirmed(&self, messages: u64) -> Result<(), SendError> {
        self.progress(|counts| counts.confirmed >= messages).await
    }

    async fn progress(
        &self,
        is_enough: impl Fn(MessageCounts) -> bool + Send + Unpin,
    ) -> Result<(), SendError> {
        let shared = &self.shared;
        shared.core.flush_active();
        wait(
            &shared.core,
            |state| &mut state.progress,
            |state| {
                let (committed, acked, confirmed) = state.machine.message_counts(shared.key);
                if is_enough(MessageCounts { committed, acked, confirmed }) {
                    return Poll::Ready(Ok(()));
                }
                if let Some(why) = &state.closed {
                    return Poll::Ready(Err(SendError::SessionOver { why: describe_short(why) }));
                }
                if state.machine.is_reset(shared.key) {
                    return Poll::Ready(Err(SendError::Closed));
                }
                Poll::Pending
            },
        )
        .await
    }

    /// The messages of this channel that the session's end left in doubt, if it did; see
    /// [`Session::in_doubt`](crate::Session::in_doubt).
    pub fn in_doubt(&self) -> Option<InDoubt> {
        let state = self.shared.core.lock();
        state.in_doubt.iter().find(|doubt| doubt.channel == self.shared.key.id()).copied()
    }

    /// Ends this direction in good order, after everything committed. The peer's
    /// [`recv`](crate::Receiver::recv) then gives `None`.
    pub fn finish(&mut self) {
        self.shared.core.with_state(|state| state.machine.finish(self.shared.key));
        self.flush();
    }

    /// Gives the channel up in both directions: what is un-acked may never arrive. The peer is told `code`.
    pub fn reset(&mut self, code: u32) {
        self.shared.core.with_state(|state| state.machine.reset(self.shared.key, code));
        self.flush();
    }
}

/// Shorter messages are copied at once; the memory of longer ones is let go of when they are acked.
fn held(message: impl Into<Message>) -> Message {
    let message = message.into();
    if message.len() > BATCH_MESSAGE_BYTES_MAX { hold(message) } else { message }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({:?})", self.shared.key)
    }
}

/// Memory for one message, claimed from the endpoint's pool. Dropping it aborts: nothing is sent.
pub struct Claim<'a> {
    sender: &'a mut Sender,
    slot: SlotMut,
}

impl Claim<'_> {
    /// Commits the message.
    ///
    /// # Errors
    /// [`SendError`]: the window filled up meanwhile, or the channel closed. The content is lost with it;
    /// to keep it, send a [`Message`] instead.
    pub fn commit(self) -> Result<(), SendError> {
        let Self { sender, slot } = self;
        sender.commit(&slot.into()).map_err(|refused| sender.error(refused))
    }

    /// Shortens the message to `bytes`.
    ///
    /// # Panics
    /// If it is not as long.
    pub fn truncate(&mut self, bytes: usize) {
        assert!(bytes <= self.slot.len(), "a claim can only be shortened");
        self.slot.set_len(bytes);
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.slot
    }
}

impl DerefMut for Claim<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.slot
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({} bytes)", self.slot.len())
    }
}
